"""Compiled readers answer what zeep answers, whatever comes: the same value, or the same error."""

from __future__ import annotations

import random
import re
import uuid
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree
from pydantic import SecretStr
from zeep import xsd

from sdk import xml
from sdk.errors import InvalidInput, UpstreamInvalid, english
from sdk.files import File
from sdk.http import Http, Request, Response
from sdk.soap import Soap, wsdl
from sdk.soap.compiled import Readers
from sdk.soap.decoder import Answer, decode
from sdk.soap.encoder import NIL, encode, encode_answer
from sdk.soap.envelopes import by_steps, only_envelope, read
from sdk.soap.writers import Writers

from .test_zoo import FOLDERS, INTERFACES, REFUSED, _locations, _name, _operations, _result
from .wsdl_values import members_of

HERE = Path(__file__).parent
OURS = sorted([*(HERE / "wsdl").glob("[!o]*.wsdl"), *(HERE.parents[1] / "connectors").glob("*/*.wsdl")])
THEIRS = sorted(path for folder in FOLDERS for path in (INTERFACES / folder).rglob("*.wsdl"))
ADDRESS = "https://example.org/"
HOLD_ONE_ANOTHER = ("recursive", "list_parameter")  # structures that are compiled together
ROUNDS = 4  # spoilt answers of each operation


def _contracts() -> list[Any]:
    usable = [path for path in THEIRS if not {_name(path), _name(path).partition("/")[0]} & REFUSED.keys()]
    return [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in [*OURS, *usable]]


def _outcome(operation: wsdl.Operation, envelope: Any, *, by_zeep: bool) -> tuple[Any, bool]:
    """(value or reason of the refusal, whether it is compiled)."""
    try:
        answer = decode(operation, deepcopy(envelope), attached=by_zeep)
    except UpstreamInvalid as error:
        return error.detail, False
    return (answer.value, answer.headers), answer.compiled


def _shape(value: Any) -> Any:
    """A value with what `==` does not see: types, and the order of members."""
    if isinstance(value, dict):
        return type(value), [(name, _shape(each)) for name, each in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [_shape(each) for each in value]
    return type(value), repr(value) if isinstance(value, float) else value  # NaN is not equal to itself


def _same(operation: wsdl.Operation, envelope: Any) -> bool:
    compiled, by_reader = _outcome(operation, envelope, by_zeep=False)
    expected, _ = _outcome(operation, envelope, by_zeep=True)
    assert _shape(compiled) == _shape(expected), etree.tostring(envelope).decode()
    return by_reader


@pytest.mark.parametrize("path", _contracts())
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "tolerant"])
def test_any_answer_reads_the_same_both_ways(path: Path, strict: bool) -> None:
    for operation in _operations(wsdl.load(path, _locations(), strict=strict)):
        if operation.grammar.output is None or operation.grammar.output.body is None:
            continue
        chance = random.Random(operation.name)
        content = encode_answer(operation, _result(operation.grammar.output))
        whole = xml.parse(content.replace(b"Envelope ", b'Envelope xmlns:xs="http://www.w3.org/2001/XMLSchema" ', 1))
        read_by_reader = _same(operation, whole)
        assert read_by_reader == (operation.uncompiled is None)
        for _ in range(ROUNDS):
            spoilt = deepcopy(whole)
            for _ in range(chance.randint(1, 3)):
                _spoil(spoilt, chance)
            _same(operation, spoilt)


TEXTS = ["", " ", "0", "1", "-1", " 7 ", "true", "TRUE", " false", "NaN", "1e3", "12,50", "cid:x", "é", "1_0"]
DATES = ["2025-03-14", "2025-W11-5", "20250314", "2025-03-14Z", "2025-03-14T09:26:53", "2025-03-14T09:26:53Z"]
DATES += ["2025-03-14T09:26:53.123456789+01:00", "2025-03-14 09:26:53", "2025-03-14T09:26:53+0100", "2025-02-30"]
DATES += ["2025-03-14T24:00:00", "2025-03-14T09:26:53+01", "2025-03-14T09:26:53,5", "09:26:53", "PT2H", "2025-03"]


def _spoil(envelope: Any, chance: random.Random) -> None:
    """One change of what a publisher might send, right or wrong."""
    body = envelope.find("{*}Body")
    elements = list(body.iterdescendants())
    if not elements:
        return
    chosen = chance.choice(elements)
    parent = chosen.getparent()
    match chance.randrange(14):
        case 0:
            parent.remove(chosen)
        case 1:
            chosen.addnext(deepcopy(chosen))
        case 2:
            parent.append(chosen)
        case 3:
            chosen.text = chance.choice(TEXTS)
        case 4:
            chosen.text = chance.choice(DATES)
        case 5:
            chosen.set(f"{{{xml.XSI}}}nil", chance.choice(("true", "1", "false")))
        case 6:
            chosen.tag = xml.local(chosen)
        case 7:
            chosen.tag = f"{{urn:elsewhere}}{xml.local(chosen)}"
        case 8:
            etree.SubElement(chosen, chance.choice(("{urn:unknown}thing", xml.local(chosen)))).text = "more"
        case 9:
            chosen.clear()
        case 10:
            chosen.set(chance.choice(("id", "kind", "{urn:x}a")), chance.choice(TEXTS))
        case 11:
            del chosen[:]
        case 12:
            name = chance.choice(("xs:string", "xs:int", "xs:date", "xs:nothing", "nowhere:Thing"))
            chosen.set(f"{{{xml.XSI}}}type", name)
        case 13:
            del chosen[:]
            chosen.text = None
            chosen.set(f"{{{xml.XSI}}}nil", "true")


class ByZeep(Writers):
    """Leaves everything to zeep."""

    def write(self, element: Any, given: Any) -> None:
        return None


@pytest.mark.parametrize("path", _contracts())
def test_a_request_is_written_as_zeep_writes_it(path: Path) -> None:
    for operation in _operations(wsdl.load(path, _locations())):
        body = operation.grammar.input.body
        if body is None or not isinstance(body.type, xsd.ComplexType):
            continue
        by_zeep = replace(operation, contract=replace(operation.contract, writers=ByZeep()))
        whole, chance = members_of(body.type), random.Random(operation.name)
        for _ in range(ROUNDS):
            given = _fewer(whole, chance)
            assert _written(operation, given) == _written(by_zeep, given)


def _written(operation: wsdl.Operation, given: Any) -> str:
    """In a form that does not depend on prefixes; or the reason of the refusal."""
    try:
        written = encode(operation, named=given, address=ADDRESS, message_id=lambda: uuid.UUID(int=7))
    except (InvalidInput, TypeError) as error:
        return str(error)
    return etree.canonicalize(written.decode(), rewrite_prefixes=True)


def _fewer(value: Any, chance: random.Random) -> Any:
    """The value without some of its members and items, or with a strange one."""
    if isinstance(value, dict):
        return {name: _fewer(each, chance) for name, each in value.items() if chance.random() < 0.9}
    if isinstance(value, list):
        return [_fewer(each, chance) for each in value if chance.random() < 0.8]
    return chance.choice(VALUES) if chance.random() < 0.15 else value


class Colour(StrEnum):
    RED = "red"


VALUES = (
    *(None, NIL, True, 0, -1, 42, 2**40, 2**80, 10**1200, 1.5, float("nan")),
    *(Decimal("12.50"), Decimal("1e400"), Decimal("Inf")),
    *(*TEXTS, *DATES, "<a & b>\r\n\t", "\x00", "\ud800", "x" * 300, "\u2028\u0085", Colour.RED, SecretStr("s")),
    *(date(2025, 3, 14), datetime(2025, 3, 14, 9, 26), datetime(2025, 3, 14, tzinfo=UTC), timedelta(hours=2)),
    *(b"y", b"\xff", File(filename="f", content_type="", content=b"y"), [], ["x"], {}, {"a": 1}, {"xsi:type": "Thing"}),
)


@pytest.mark.parametrize("path", _contracts())
def test_what_a_call_usually_gives_is_written_in_the_short_way(path: Path) -> None:
    for operation in _operations(wsdl.load(path, _locations())):
        given = members_of(operation.sent.type) if operation.sent is not None else {}
        written = operation.sent is not None and operation.contract.writers.write(operation.sent, given) is not None
        assert written or path.is_relative_to(HERE) or path not in OURS, operation.name


@pytest.mark.parametrize("path", _contracts())
def test_an_answer_reads_the_same_from_its_bytes_and_while_it_grows(path: Path) -> None:
    for operation in _operations(wsdl.load(path, _locations())):
        if operation.whole is None:
            continue
        chance = random.Random(operation.name)
        whole = xml.parse(encode_answer(operation, _result(operation.grammar.output)))
        assert (_grown(operation, xml.serialize(whole), chance) is None) == (operation.arriving is None)
        for _ in range(ROUNDS):
            spoilt = deepcopy(whole)
            for _ in range(chance.randint(1, 2)):
                _spoil(spoilt, chance)
            body = xml.serialize(spoilt)
            expected = _by_zeep(operation, body)
            answer = _grown(operation, body, chance)
            if answer is not None:
                assert _shape((answer.value, answer.headers)) == expected, body
            assert _shape(_read(operation, body)) == expected, body


def _read(operation: wsdl.Operation, body: bytes) -> Any:
    try:
        answer = read(operation, body)
    except UpstreamInvalid as error:
        return error.detail
    return answer.value, answer.headers


def _grown(operation: wsdl.Operation, body: bytes, chance: random.Random) -> Answer | None:
    """Read in pieces of any size."""
    try:
        content = xml.in_utf8(only_envelope(body))
    except xml.XmlRefused:
        return None
    steps = by_steps(operation, content, size=chance.randint(1, 400))
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            answer: Answer | None = finished.value
            return answer


def _by_zeep(operation: wsdl.Operation, body: bytes) -> Any:
    try:
        envelope = xml.parse_utf8(xml.in_utf8(only_envelope(body)), max_depth=xml.PARSER_DEPTH)
    except xml.XmlRefused as refused:
        return str(refused)
    value, _ = _outcome(operation, envelope, by_zeep=True)
    return _shape(value)


# What two parsers may see differently, each as it may stand after a tag or, where it begins with a blank, in one.
STRANGE = [b"<!-- c -->", b"<!-- -- -->", b"<![CDATA[a<b]]>", b"<![CDATA[", b"<?pi x?>", b"<?xml version='1.0'?>"]
STRANGE += [b"&amp;", b"&nbsp;", b"&#65;", b"&#0;", b"&#xD800;", b"&#xFFFE;", b"&#x1F600;", b"&", b"<", b">", b"]]>"]
STRANGE += [b"\xef\xbf\xbe", b"\x01", b"\x00", b"\x7f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
STRANGE += [b"\r\n", b"\r", b"\t", b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"<x/>", b"<x>", b"</x>", b"<!"]
STRANGE += [b"<a:b:c/>", b"<:a/>", b"<a:/>", b"<xmlns:a/>", b"<\xc3\xa9/>", b"<\xf0\x90\x80\x80/>", b"<?XML?>"]
STRANGE += [b"<!DOCTYPE a>", b"<!DOCTYPE a [<!ENTITY x 'y'>]>&x;", b" a='1' a='2'", b" a='<'", b" a='&lt;'", b" a=1"]
STRANGE += [b" q='\n\t x'", b" q:a='1'", b" xml:lang=''", b" xml:id='1'", b" xmlns:q=''", b" xmlns=''"]
STRANGE += [b" xmlns:q='a}b'", b" xmlns:q='relative/x'", b" xmlns:xml='u'", b" xmlns:xmlns='u'"]
STRANGE += [b" xmlns:q='http://www.w3.org/XML/1998/namespace'", b" xmlns:i='%b' i:nil='true'" % xml.XSI.encode()]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_bytes_that_one_parser_takes_and_the_other_does_not_are_given_up(path: Path) -> None:
    for operation in wsdl.load(path).operations().values():
        if operation.arriving is None:
            continue
        chance = random.Random(operation.name)
        whole = xml.serialize(xml.parse(encode_answer(operation, _result(operation.grammar.output))))
        for strange in STRANGE:
            places = [found.end() for found in re.finditer(rb"<[\w:]+" if strange[:1] == b" " else rb"<[^?>]*>", whole)]
            for at in [*chance.sample(places, min(3, len(places))), chance.randrange(40, len(whole))]:
                body = whole[:at] + strange + whole[at:]
                answer = _grown(operation, body, chance)
                if answer is not None:
                    assert _shape((answer.value, answer.headers)) == _by_zeep(operation, body), body


def test_what_grows_is_as_deep_and_as_wide_as_a_whole_document_may_be() -> None:
    operation = wsdl.load(HERE / "wsdl" / "library.wsdl").operations()["find"]
    content = xml.in_utf8(encode_answer(operation, [{"code": "A"}]))
    before, after = content.split(b"A</")
    deep = before + b"<d>" * 100_000 + b"</d>" * 100_000 + b"A</" + after
    with pytest.raises(xml.XmlRefused, match="deeper"):
        _parsed(deep)
    assert _grown(operation, deep, random.Random(1)) is None
    wide = before + b"<d/>" * (xml.MAX_ELEMENTS + 1) + b"A</" + after
    with pytest.raises(xml.XmlRefused, match="more than"):
        _parsed(wide)
    with pytest.raises(xml.XmlRefused):
        _parsed(before + b"x" * xml.MAX_TEXT + after)


def _parsed(content: bytes) -> int:
    """In how many pieces."""
    growing, pieces = xml.Growing(content), 0
    while not growing.ended:
        growing.step()
        pieces += 1
    return pieces


@pytest.mark.parametrize("long", [b"<!--%b-->", b"<?p %b?>", b"<x a='%b'/>", b"<![CDATA[%b]]>", b"%b"])
def test_what_is_long_is_not_looked_through_again_at_each_piece(long: bytes) -> None:
    assert _parsed(b"<a>" + long % (b"x > &#65; " * 200_000) + b"</a>") < 12


def test_a_mark_or_blanks_before_the_envelope_do_not_cost_the_compiled_reader() -> None:
    operation = wsdl.load(HERE / "wsdl" / "library.wsdl").operations()["find"]
    content = encode_answer(operation, [{"code": "A"}])
    for before in (b"", b"\xef\xbb\xbf", b"\r\n"):
        assert read(operation, before + content).compiled


def test_a_structure_is_read_by_one_flat_function_that_can_be_read_by_people() -> None:
    operation = wsdl.load(HERE / "wsdl" / "library.wsdl").operations()["find"]
    assert operation.left() == {}
    assert (
        operation.contract.readers.functions["Books"].source
        == """\
def Books(element, absent=True):
    children = iter(element[:])
    child = next(children, END)
    tag = child.tag
    if not tag and absent and is_bare(element):
        return None
    v_book = []
    while tag == '{urn:example:library}book':
        v_book.append(Book(child))
        child = next(children, END)
        tag = child.tag
    if tag:
        raise Unsure
    value = Record()
    value['book'] = v_book
    return value
"""
    )


async def test_readers_are_compiled_for_the_first_answer_of_an_operation_and_for_that_operation_only(
    tmp_path: Path,
) -> None:
    async def answers(request: Request) -> Response:
        return Response(200, {"Content-Type": "text/xml"}, soap.answer("find", [{"code": "A"}]))

    path = tmp_path / "library.wsdl"
    path.write_bytes((HERE / "wsdl" / "library.wsdl").read_bytes())
    soap = Soap(Http(answers), wsdl=path, address=ADDRESS)
    functions = soap.operation("find").contract.readers.functions
    assert not functions
    assert [book["code"] for book in await soap.call("find", "x")] == ["A"]
    assert {"Book", "findResponse"} <= set(functions)
    assert not {"findResponse_arriving", "whoIsResponse"} & set(functions)


@pytest.mark.parametrize("path", _contracts())
def test_a_step_compiles_one_structure_and_the_steps_leave_nothing_to_compile(path: Path) -> None:
    contract = wsdl.load(path, _locations())
    for arriving in (False, True):
        readers = Readers(contract.document.types)
        for operation in _operations(contract):
            if operation.uncompiled is not None:
                continue
            body = operation.grammar.output.body
            known = len(_compiled(readers))
            for _ in readers.by_steps(body.type, body.name, arriving=arriving):
                assert len(_compiled(readers)) <= known + 1 or path.stem in HOLD_ONE_ANOTHER
                known = len(_compiled(readers))
            (readers.arriving if arriving else readers.whole)(body.type, body.name)
            assert len(_compiled(readers)) == known


def _compiled(readers: Readers) -> list[str]:
    return [name for name, function in readers.functions.items() if function.source]


@pytest.mark.parametrize("name", ["v_code", "following", "\uff32ecord", "\uff56_code", "1", "END"])
def test_whatever_a_type_is_called_its_reader_stands_in_nobodys_place(name: str) -> None:
    def structure(called: str, **members: Any) -> Any:
        elements = [xsd.Element(f"{{urn:x}}{each}", kind) for each, kind in members.items()]
        return xsd.ComplexType(xsd.Sequence(elements), qname=etree.QName("urn:x", called))

    inside = structure("T", a=xsd.String())
    inside.name = name
    readers = Readers(SimpleNamespace(settings=SimpleNamespace(strict=True)))
    read_one = readers.whole(structure("Book", code=inside, other=inside))
    element = etree.fromstring('<b xmlns="urn:x"><code><a>1</a></code><other><a>2</a></other></b>')
    assert read_one(element) == {"code": {"a": "1"}, "other": {"a": "2"}}


def test_types_announced_among_countless_namespaces_are_refused_not_counted_again_and_again() -> None:
    operation = wsdl.load(HERE / "wsdl" / "library.wsdl").operations()["find"]
    content = encode_answer(operation, [{"code": "A"}])
    many = " ".join(f"xmlns:p{number}='urn:p'" for number in range(300))
    typed = f"<code xmlns:i='{xml.XSI}' {many} i:type='p1:t'"
    spoilt = re.sub(rb"<([a-z0-9]+:)?code", typed.encode().replace(b"<code", rb"<\1code"), content, count=1)
    assert spoilt != content
    with pytest.raises(UpstreamInvalid) as refused:
        read(operation, spoilt)
    assert "namespaces" in refused.value.detail


@pytest.mark.parametrize(
    ("name", "operation", "reason"),
    [
        ("library", "whoIs", "a repeated group"),
        ("registry", "search", "SOAP encoding (rpc/encoded)"),
        ("attachments", "deed", "parts bound to attachments"),
    ],
)
def test_what_zeep_still_reads_is_told_with_its_reason(name: str, operation: str, reason: str) -> None:
    found = wsdl.load(HERE / "wsdl" / f"{name}.wsdl").operations()[operation]
    assert [english(each) for each in found.left().values()] == [reason]


def test_every_answer_the_connectors_read_is_compiled() -> None:
    for path in OURS:
        if path.is_relative_to(HERE):
            continue
        for operation in wsdl.load(path).operations().values():
            assert operation.left() == {}, operation.name
