from __future__ import annotations

import contextlib
import json
import unicodedata
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies import MAX_KEYS, business_query, decode_body, decode_form, decode_json, unflatten
from gateway.errors import UnsupportedType
from sdk.errors import InvalidInput, Text

DECOMPOSED = "e\u0301"


def refused(raw: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        decode_json(raw)
    assert isinstance(caught.value.message, Text)
    return caught.value


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "vide"),
        (b" \r\n\t", "vide"),
        (b"\xef\xbb\xbf{}", "BOM"),
        ("{}".encode("utf-16"), "UTF-16"),
        ("{}".encode("utf-16-le"), "UTF-16"),
        ("{}".encode("utf-16-be"), "UTF-16"),
        ("{}".encode("utf-32"), "UTF-16"),
        ('{"a": "é"}'.encode("latin-1"), "UTF-8 (octet 8)"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (b'{"a": "\xc0\xaf"}', "UTF-8"),
        (b'{"a": NaN}', "« a » n'est pas un nombre fini"),
        (b'{"a": [1, -Infinity]}', "« a/1 » n'est pas un nombre fini"),
        (b"[1e400]", "« 0 » n'est pas un nombre fini"),
        (b"1e400", "« body » n'est pas un nombre fini"),
        (b"[0." + b"1" * 100_000 + b"]", "trop de chiffres"),
        (b"[9223372036854775808]", "« 0 » dépasse 64 bits"),
        (b"[-9223372036854775809]", "« 0 » dépasse 64 bits"),
        (b"[" + b"9" * 5000 + b"]", "« 0 » dépasse 64 bits"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "« a/b » est présent deux fois"),
        (b'{"a": 1, "a": 1}', "« a » est présent deux fois"),
        (b'[{"x": {"a": 1, "\\u0061": 1}}]', "« 0/x/a » est présent deux fois"),
        ('{"é": 1, "e\u0301": 2}'.encode(), "« é » est présent deux fois"),
        (b'{"a": "x\\u0000y"}', "« a » contient un caractère nul"),
        (b'{"a": "x\x00y"}', "ligne 1, colonne 9"),
        (b'{"a": {"b\\u0000": 1}}', "contient un caractère nul"),
        (b'{"a": ["\\ud800"]}', "« a/0 » contient une moitié de caractère"),
        (b'{"\\udfff": 1}', "contient une moitié de caractère"),
        (b"[" * 1_000_000, "imbrication"),
        (b'{"a":' * 100_000, "imbrication"),
        (b"[" * 33 + b"]" * 33, "imbrication"),
        (b"{", "ligne 1, colonne 2"),
        (b'{"a": 1\n"b"}', "ligne 2, colonne 1"),
        (b"{'a': 1}", "ligne 1"),
        (b"1 2", "ligne 1, colonne 3"),
        (b"[01]", "ligne 1"),
        (b"// x\n{}", "ligne 1"),
    ],
)
def test_hostile_json_is_refused_naming_the_fault_and_the_place(raw: bytes, words: str) -> None:
    assert words in refused(raw).message


@pytest.mark.parametrize(
    "raw", [b'{"a": "dupont"} x', b'{"secret": nope}', b'{"a": "dupont", "a": "dupont"}', b'["dupont\\ud800"]']
)
def test_a_refusal_never_repeats_a_value(raw: bytes) -> None:
    error = refused(raw)
    for said in (error.message, error.message.en, error.detail, repr(error.fields)):  # type: ignore[attr-defined]
        assert "dupont" not in said
        assert "nope" not in said


def test_a_refused_field_is_named_in_the_details_too() -> None:
    assert list(refused(b'{"a": [{"b": NaN}]}').fields) == ["a/0/b"]


def test_a_hostile_key_is_shown_short_and_on_one_line() -> None:
    raw = json.dumps({"a\nb\u202e" + "x" * 1000: float("nan")}).encode()
    (name,) = refused(raw).fields
    assert name.isprintable()
    assert len(name) <= 201


def test_sound_json_is_read_as_it_is() -> None:
    raw = b' {"a": [1, -2.5, true, null, "x", {}], "big": 9223372036854775807, "small": -9223372036854775808} '
    assert decode_json(raw) == {
        "a": [1, -2.5, True, None, "x", {}],
        "big": 9223372036854775807,
        "small": -9223372036854775808,
    }
    assert decode_json(b"[" * 32 + b"]" * 32)
    assert decode_json(b'"\\ud83d\\ude00"') == "😀"


def test_decomposed_accents_are_composed_in_keys_and_texts() -> None:
    raw = json.dumps({DECOMPOSED: [DECOMPOSED, {"x": DECOMPOSED}]}).encode()
    assert decode_json(raw) == {"é": ["é", {"x": "é"}]}
    assert decode_json(f'"{DECOMPOSED}"'.encode()) == "é"


def test_renaming_keys_keeps_their_order() -> None:
    assert list(decode_json(f'{{"b": 1, "{DECOMPOSED}": 2, "a": 3}}'.encode())) == ["b", "é", "a"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=30,
)


def sane(value: Any, depth: int = 0) -> bool:
    if isinstance(value, str):
        return "\0" not in value and unicodedata.is_normalized("NFC", value) and value.encode() is not None
    if isinstance(value, dict):
        return depth < 32 and all(sane(k) and sane(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return depth < 32 and all(sane(item, depth + 1) for item in value)
    return not isinstance(value, int) or abs(value) <= 2**63


def read_or_refused(raw: bytes) -> None:
    try:
        value = decode_json(raw)
    except InvalidInput:
        return
    assert sane(value)
    json.dumps(value, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_any_json_is_read_clean_or_refused(value: Any) -> None:
    read_or_refused(json.dumps(value).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:0123456789eE+-.\\u nulltrueNaN', max_size=80).map(str.encode))
def test_any_bytes_are_read_clean_or_refused(raw: bytes) -> None:
    read_or_refused(raw)


# --- flat keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        ({"a": 1}, {"a": 1}),
        ({"a/b/0/c": 1, "a/b/1/c": 2, "d": [3]}, {"a": {"b": [{"c": 1}, {"c": 2}]}, "d": [3]}),
        ({"a/1": "y", "a/0": "x"}, {"a": ["x", "y"]}),
        ({"0/id": 1, "1/id": 2}, [{"id": 1}, {"id": 2}]),
        ({"a//b": 1, "c//d/e": 2}, {"a/b": 1, "c/d": {"e": 2}}),
        ({"a////b": 1}, {"a//b": 1}),
        ({"//a": 1}, {"/a": 1}),
        ({"a/²": 1}, {"a": {"²": 1}}),
        ({"a": {"x/y": 1}}, {"a": {"x/y": 1}}),
        ({"a/b": {"c": 1}}, {"a": {"b": {"c": 1}}}),
        ({"a/b": None}, {"a": {"b": None}}),
        ({}, {}),
        ([1], [1]),
        ("x", "x"),
    ],
)
def test_flat_keys_are_rebuilt(flat: Any, nested: Any) -> None:
    assert unflatten(flat) == nested


@pytest.mark.parametrize(
    ("flat", "key", "words"),
    [
        ({"a/0": 1, "a/2": 1}, "a/2", "« a/1 » manque"),
        ({"a/b/1/c": 1}, "a/b/1", "« a/b/0 » manque"),
        ({"1": 1, "x/y": 1}, "x", "on ne mélange pas noms et positions"),
        ({"a/0": 1, "a/b": 1}, "a/b", "« a/0 »"),
        ({"a": 1, "a/b": 1}, "a/b", "« a » serait à la fois une valeur et un groupe"),
        ({"a/b": 1, "a": 1}, "a", "à la fois"),
        ({"a": {"b": 1}, "a/c": 1}, "a/c", "à la fois"),
        ({"a": None, "a/c": 1}, "a/c", "à la fois"),
        ({"a/b/c": 1, "a/b/c/d": 1}, "a/b/c/d", "« a/b/c »"),
        ({"x//y": 1, "x//y/z": 1}, "x//y/z", "« x//y »"),
        ({"a/1": 1, "a/01": 1, "a/0": 1}, "a/01", "deux fois"),
        ({"a///b": 1}, "a///b", "trois barres"),
        ({"a/": 1}, "a/", "nom vide"),
        ({"/a": 1}, "/a", "nom vide"),
        ({"a/99999999999": 1}, "a/99999999999", "position trop grande"),
        ({"/".join("a" * 33): 1}, "/".join("a" * 33), "imbrication"),
    ],
)
def test_an_inconsistent_key_is_named_with_what_it_contradicts(flat: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        unflatten(flat)
    assert list(caught.value.fields) == [key]
    assert words in caught.value.message


def test_a_far_position_costs_nothing() -> None:
    with pytest.raises(InvalidInput, match="« a/0 » manque"):
        unflatten({"a/999999999": 1})


def test_too_many_flat_keys_are_refused() -> None:
    with pytest.raises(InvalidInput, match="10000 clés"):
        unflatten({f"a/{index}": 1 for index in range(MAX_KEYS + 1)})


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(alphabet="ab01/é", max_size=8), st.none() | st.integers(), max_size=6))
def test_any_flat_object_is_rebuilt_or_refused(flat: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidInput):
        unflatten(flat)


def flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict | list) or not value:
        return {prefix: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, Any] = {}
    for name, item in pairs:
        found |= flattened(item, f"{prefix}/{str(name).replace('/', '//')}" if prefix else str(name).replace("/", "//"))
    return found


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.integers() | st.booleans(),
        lambda inner: (
            st.dictionaries(st.from_regex(r"[a-z](/?[a-z])*", fullmatch=True), inner, min_size=1, max_size=3)
            | st.lists(inner, min_size=1, max_size=3)
        ),
        max_leaves=10,
    ).filter(lambda value: isinstance(value, dict))
)
def test_what_is_flattened_comes_back_the_same(value: Any) -> None:
    assert unflatten(flattened(value)) == value


# --- forms and queries ------------------------------------------------------------------------------------------------


def test_a_form_is_read_with_repeated_keys_as_lists() -> None:
    assert decode_form(b"a=1&b=x+y&a=2&c=&a=%C3%A9") == {"a": ["1", "2", "é"], "b": "x y", "c": ""}
    assert decode_form(b"") == {}


def test_a_form_has_its_flat_keys_rebuilt() -> None:
    assert decode_form(b"lines%2F0%2Famount=12.50&lines/1/amount=3") == {
        "lines": [{"amount": "12.50"}, {"amount": "3"}]
    }


def test_a_form_in_latin_1_is_read_when_it_says_so() -> None:
    assert decode_form(b"a=%E9", "ISO-8859-1") == {"a": "é"}


def test_form_texts_are_composed() -> None:
    assert decode_form(f"a={DECOMPOSED}".encode()) == {"a": "é"}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"a=%E9", "utf-8"),
        (b"a=\xff", "utf-8"),
        (b"a=%zz", "« % »"),
        (b"a=1%", "« % »"),
        (b"a=%00", "caractère nul"),
        (b"&".join(b"a=1" for _ in range(MAX_KEYS + 1)), "10000 champs"),
        (b"a=1&a/b=2", "à la fois"),
    ],
)
def test_a_faulty_form_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_form(raw)
    assert words in caught.value.message


def test_the_signature_is_not_a_business_parameter() -> None:
    query = "q=caf%C3%A9&orig=o&algo=sha256&timestamp=t&nonce=n&signature=s&id=&q=b"
    assert business_query(query) == [("q", "café"), ("id", ""), ("q", "b")]


@pytest.mark.parametrize("query", ["most=1", "q=&id", "a=1&&a=2&", "=b&c==d", "z-._~=9", "&"])
def test_a_query_without_anything_to_decode_is_read_like_any_other(query: str) -> None:
    decoded = parse_qsl(query, keep_blank_values=True)
    assert business_query(query) == decoded
    assert business_query(query + "&%65=1") == [*decoded, ("e", "1")]
    assert business_query(query + "&signature=x&orig=y") == decoded


def test_a_query_sent_as_raw_utf_8_is_read() -> None:
    assert business_query("q=" + "é".encode().decode("ascii", "surrogateescape")) == [("q", "é")]


@pytest.mark.parametrize("query", ["q=%E9", "q=%zz", "q=\udce9", "q=%00", "&".join(["a=1"] * 1001)])
def test_a_faulty_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput):
        business_query(query)


# --- by type ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json; charset="utf8"',
        "application/json;charset=us-ascii",
        "application/ld+json",
        "text/json",
    ],
)
def test_json_is_read_under_its_names_and_without_a_type(content_type: str | None) -> None:
    assert decode_body(content_type, b'{"a/0": 1}') == {"a": [1]}


def test_a_json_object_without_slash_is_not_rebuilt() -> None:
    assert decode_body("application/json", b'{"1": 1, "0": 2}') == {"1": 1, "0": 2}


def test_a_form_is_read_under_its_name() -> None:
    assert decode_body("application/x-www-form-urlencoded; charset=utf-8", b"a/0=1") == {"a": ["1"]}


def test_neither_type_nor_body_is_no_body() -> None:
    assert decode_body(None, b"") is None


def test_json_announced_and_empty_is_refused() -> None:
    with pytest.raises(InvalidInput, match="vide"):
        decode_body("application/json", b"")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/x-www-form-urlencoded; charset=klingon",
        "json",
    ],
)
def test_any_other_type_is_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedType) as caught:
        decode_body(content_type, b"{}")
    assert caught.value.http_status == 415
