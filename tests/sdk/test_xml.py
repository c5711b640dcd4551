"""The one XML parser: what it refuses, what it understands, and the ways out of its trees."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sdk import xml
from sdk.errors import UpstreamInvalid
from sdk.model import Field, Model


def refusal(data: str | bytes, **limits: Any) -> UpstreamInvalid:
    with pytest.raises(UpstreamInvalid) as raised:
        xml.parse(data, **limits)
    assert raised.value.processed is None
    return raised.value


def entities(*lines: str, use: str = "&x;") -> str:
    return f"<!DOCTYPE a [{''.join(lines)}]><a>{use}</a>"


LAUGHS = [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10)]

HOSTILE = {
    "local file": entities('<!ENTITY x SYSTEM "file:///etc/passwd">'),
    "network": entities('<!ENTITY x SYSTEM "http://127.0.0.1:9/x">'),
    "parameter entity": '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:9/p"> %p;]><a/>',
    "external DTD": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>',
    "public DTD": '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/xhtml1.dtd"><html/>',
    "billion laughs": entities('<!ENTITY l0 "lol">', *LAUGHS, use="&l9;"),
    "quadratic": entities(f'<!ENTITY x "{"a" * 50_000}">', use="&x;" * 5_000),
    "in an attribute": f'<!DOCTYPE a [<!ENTITY l0 "lol">{"".join(LAUGHS)}]><a b="&l9;"/>',
    "after a comment": "<!-- -- >" + entities('<!ENTITY x "y">'),
    "after a well-formed comment": "<!-- x --><?pi?>" + entities('<!ENTITY x "y">'),
    "after the declaration": "<?xml version='1.0'?>\n" + entities('<!ENTITY x "y">'),
    "empty": "<!DOCTYPE a><a/>",
    "default attribute": '<!DOCTYPE a [<!ATTLIST a b CDATA "c">]><a/>',
    "in UTF-16": entities('<!ENTITY x SYSTEM "file:///etc/passwd">').encode("utf-16"),
    "in UTF-16 without a mark": entities('<!ENTITY x SYSTEM "file:///etc/passwd">').encode("utf-16-le"),
    "in UTF-7": b"<?xml version='1.0' encoding='utf-7'?>" + entities('<!ENTITY x "y">').encode("utf-7"),
    "undeclared entity": "<a>&nbsp;</a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_quickly_and_fetch_nothing(name: str) -> None:
    start = time.process_time()
    error = refusal(HOSTILE[name])
    assert time.process_time() - start < 0.2
    assert "root:" not in error.detail


def test_xinclude_and_stylesheets_are_only_elements() -> None:
    root = xml.parse(
        '<?xml-stylesheet href="http://127.0.0.1:9/x.xsl"?>'
        '<a xmlns:i="http://www.w3.org/2001/XInclude"><i:include href="/etc/passwd" parse="text"/></a>'
    )
    assert [xml.local(each) for each in root] == ["include"]
    assert root.text is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        " ",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "text",
        "<a b='1' b='2'/>",
        "<a>\x00</a>",
        "<p:a/>",
        b"\xff\xff",
        b"<a>\xe9</a>",
    ],
)
def test_what_is_not_well_formed_is_refused_with_a_place_and_no_content(data: str | bytes) -> None:
    assert refusal(data).detail


def test_an_error_shows_no_content() -> None:
    error = refusal("<dossier><nom>Jeanne Martin</nom><dossier>")
    assert "Martin" not in str(error) + error.detail
    assert "line 1" in error.detail


def test_size_elements_depth_and_names_are_capped() -> None:
    assert "larger than 100 bytes" in refusal("<a>" + "x" * 100 + "</a>", max_bytes=100).detail
    assert "larger than 100 bytes" in refusal("<a>" + "é" * 60 + "</a>", max_bytes=100).detail
    assert "more than 10 elements" in refusal("<a>" + "<b/>" * 10 + "</a>", max_elements=10).detail
    assert "more than 50000 elements" in refusal("<a>" + "<b/>" * 60_000 + "</a>", max_elements=50_000).detail
    assert "deeper than 200" in refusal("<a>" * 201 + "</a>" * 201).detail
    names = "".join(f"<n{n}/>" for n in range(25_000))
    assert "distinct names" in refusal(f"<a>{names}</a>").detail
    attributes = "".join(f"<n a{n}='1'/>" for n in range(25_000))
    assert "distinct names" in refusal(f"<a>{attributes}</a>").detail
    assert len(xml.parse("<a>" * 200 + "</a>" * 200)) == 1
    assert len(xml.parse("<a>" + "<b/>" * 60_000 + "</a>")) == 60_000


def test_a_text_above_ten_million_is_accepted_only_where_it_is_asked_for() -> None:
    data = b"<a>" + b"x" * 10_000_001 + b"</a>"
    refusal(data, max_bytes=20_000_000)
    assert len(xml.parse(data, max_bytes=20_000_000, huge=True).text) == 10_000_001
    refusal(data, huge=True, max_bytes=10_000_000)


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ("<a>é</a>", None),
        ("\ufeff<a>é</a>", None),
        ("  <?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>", None),
        ("<?xml version='1.0' encoding='UTF-16'?><a>é</a>", None),
        ("<a>é</a>".encode(), None),
        ("<a>é</a>".encode("utf-8-sig"), None),
        ("<a>é</a>".encode("utf-8-sig"), "iso-8859-1"),
        ("<a>é</a>".encode("utf-16"), None),
        ("<a>é</a>".encode("utf-16-be"), None),
        ("<?xml version='1.0' encoding='utf-16'?><a>é</a>".encode("utf-16"), "utf-8"),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>".encode("latin-1"), None),
        ("<?xml version='1.0' encoding='windows-1252'?><a>é</a>".encode("cp1252"), None),
        ("<a>é</a>".encode("latin-1"), "ISO-8859-1"),
        ("<?xml version='1.0' encoding='UTF-8'?><a>é</a>".encode("latin-1"), "ISO-8859-1"),
        ("<?xml version='1.0' encoding='UTF-8'?><a>é</a>".encode(), "ISO-8859-1"),
        ("<?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>".encode("latin-1"), "utf-8"),
        ("<a>é</a>".encode(), '"UTF-8"'),
    ],
)
def test_the_encoding_is_found_whoever_announces_it(data: str | bytes, charset: str | None) -> None:
    assert xml.parse(data, charset=charset).text == "é"


def test_a_declaration_inside_a_text_is_left_where_it_is() -> None:
    inner = '<?xml version="1.0" encoding="ISO-8859-1"?><ok etat="payé"/>'
    outer = xml.parse(f"<a><![CDATA[{inner}]]></a>")
    assert outer.text == inner
    assert xml.parse(outer.text).get("etat") == "payé"


def test_comments_do_not_cut_a_text() -> None:
    assert xml.parse("<a>one<!-- c -->two<?pi x?>three</a>").text == "onetwothree"


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300), st.text("<>/a&;!['\"= ?x-", max_size=80)))
@settings(max_examples=500, deadline=None)
def test_any_input_gives_an_element_or_one_error(data: str | bytes) -> None:
    try:
        root = xml.parse(data)
    except UpstreamInvalid:
        return
    assert isinstance(root, etree._Element)


async def test_a_large_document_is_parsed_beside_the_loop_with_the_same_result() -> None:
    data = "<a>" + "<b>x</b>" * 60_000 + "</a>"
    assert len(await xml.parse_async(data)) == 60_000
    assert xml.local(await xml.parse_async("<a/>")) == "a"
    with pytest.raises(UpstreamInvalid):
        await xml.parse_async(data + "<")


# --- models -----------------------------------------------------------------------------------------------------------


class Person(Model):
    name: str
    born: date | None = None


class File(Model):
    number: str = Field(validation_alias="@id")
    title: str = ""
    amount: Decimal | None = None
    paid: bool = False
    people: list[Person] = Field(default=[], validation_alias="people/person")
    tags: list[str] = []
    owner: Person | None = None
    street: str = ""
    open: dict[str, Any] = {}


DOSSIER = """
<d:dossier xmlns:d="urn:d" id=" 0042 ">
  <d:title>
    Un été
  </d:title>
  <amount>12.50</amount><paid>true</paid>
  <people><person><name>Ana</name><born>1984-02-29</born></person></people>
  <tags>one</tags>
  <owner><name>Bo</name><unknown>1</unknown></owner>
  <address><street kind="x">rue A</street></address>
  <open a="1"><b>2</b><b>3</b></open>
</d:dossier>
"""


def test_an_element_becomes_a_model_whose_lists_stay_lists() -> None:
    made = xml.element_to(File, xml.parse(DOSSIER), paths={"street": "address/street"})
    assert made == File(
        number="0042",
        title="Un été",
        amount=Decimal("12.50"),
        paid=True,
        people=[Person(name="Ana", born=date(1984, 2, 29))],
        tags=["one"],
        owner=Person(name="Bo"),
        street="rue A",
        open={"@a": "1", "b": ["2", "3"]},
    )


def test_absent_empty_and_nil_leave_the_default() -> None:
    nil = f'<owner xmlns:i="{xml.XSI}" i:nil="true"/>'
    made = xml.element_to(File, xml.parse(f"<x id='1'><amount/><paid> </paid>{nil}</x>"))
    assert (made.amount, made.paid, made.owner, made.people, made.title) == (None, False, None, [], "")


def test_what_lacks_or_does_not_read_is_named_without_its_value() -> None:
    with pytest.raises(UpstreamInvalid) as raised:
        xml.element_to(File, xml.parse("<x><amount>Jeanne</amount><people><person/></people></x>"))
    detail = raised.value.detail
    assert "@id: missing" in detail
    assert "amount: decimal_parsing" in detail
    assert "person.0.name: missing" in detail
    assert "Jeanne" not in detail + str(raised.value)


def test_an_element_repeated_where_one_is_declared_is_not_chosen_at_random() -> None:
    with pytest.raises(UpstreamInvalid, match="répète") as raised:
        xml.element_to(File, xml.parse("<x id='1'><title>a</title><title>b</title></x>"))
    assert "2 times title" in raised.value.detail


def test_a_path_may_end_on_an_attribute_or_on_the_element_itself() -> None:
    class Amount(Model):
        value: Decimal
        currency: str
        kind: str

    made = xml.element_to(
        Amount,
        xml.parse('<amount currency="EUR">12.5<more kind="net"/></amount>'),
        paths={"value": ".", "currency": "@currency", "kind": "more/@kind"},
    )
    assert made == Amount(value=Decimal("12.5"), currency="EUR", kind="net")


def test_a_dictionary_shows_attributes_texts_and_asked_lists() -> None:
    root = xml.parse('<p:a xmlns:p="urn:p" p:k="1">t<p:b>1</p:b><c><b>2</b></c></p:a>')
    assert xml.to_dict(root) == {"a": {"@k": "1", "#text": "t", "b": "1", "c": {"b": "2"}}}
    assert xml.to_dict(root, lists=("b",))["a"]["b"] == ["1"]


def test_a_dictionary_of_a_wide_document_is_made_in_a_bounded_time() -> None:
    root = xml.parse("<a>" + "<b/>" * 100_000 + "</a>")
    start = time.process_time()
    assert len(xml.to_dict(root)["a"]["b"]) == 100_000
    assert time.process_time() - start < 5


# --- building ---------------------------------------------------------------------------------------------------------


def test_a_document_is_built_from_plain_values() -> None:
    made = xml.build(
        "{urn:d}dossier",
        {"@id": 7, "{urn:d}titre": "Été <&>", "jour": date(2025, 3, 14), "oui": True, "n": [1, 2], "vide": None},
    )
    again = xml.parse(xml.serialize(made))
    assert again.get("id") == "7"
    assert [(each.tag, each.text) for each in again] == [
        ("{urn:d}titre", "Été <&>"),
        ("jour", "2025-03-14"),
        ("oui", "true"),
        ("n", "1"),
        ("n", "2"),
        ("vide", None),
    ]


@pytest.mark.parametrize("text", ["\x00", "\x1f", "\ud800", "\uffff"])
def test_what_xml_cannot_carry_is_never_written(text: str) -> None:
    assert xml.unwritable(text)
    with pytest.raises(ValueError, match=r"XML compatible|surrogates"):
        xml.build("a", text)


def test_no_module_but_this_one_parses_xml() -> None:
    package = Path(xml.__file__).parent
    forbidden = ("etree.fromstring(", "etree.parse(", "etree.XML(", "iterparse(", "XMLParser(", "xmltodict.parse(")
    for path in [*package.rglob("*.py"), *package.parent.joinpath("connectors").rglob("*.py")]:
        if path != Path(xml.__file__):
            assert not [call for call in forbidden if call in path.read_text(encoding="utf-8")], path.name
