"""A publisher's SOAP service, through `Soap`: what is sent, what is understood, what is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sdk import soap as soap_module
from sdk import xml
from sdk.call import new_call, serving
from sdk.errors import (
    InvalidInput,
    Misconfigured,
    NotFound,
    Rejected,
    RelaisError,
    UpstreamInvalid,
    UpstreamUnavailable,
    english,
)
from sdk.files import File
from sdk.http import Http
from sdk.messages import Request, Response
from sdk.model import Model
from sdk.soap import NIL, Soap, SoapFault, UsernameToken, large
from sdk.soap.encoder import encode
from sdk.soap.wsdl import load

from .wire_kit import answer, upstream, way

WSDL = Path(__file__).parent / "wsdl"
ADDRESS = "https://library.example.org/ws"
ENV = "http://schemas.xmlsoap.org/soap/envelope/"
ENV12 = "http://www.w3.org/2003/05/soap-envelope"
L = "urn:example:library"


def library(http: Http | None = None, **options: Any) -> Soap:
    return Soap(http, **{"wsdl": WSDL / "library.wsdl", "address": ADDRESS, **options})


def registry(http: Http | None = None, **options: Any) -> Soap:
    return Soap(http, wsdl=WSDL / "registry.wsdl", address=ADDRESS, **options)


def attachments(http: Http | None = None, **options: Any) -> Soap:
    return Soap(http, wsdl=WSDL / "attachments.wsdl", address=ADDRESS, **options)


def envelope(body: str, *, namespace: str = ENV, header: str = "", more: str = "") -> bytes:
    return (
        f'<S:Envelope xmlns:S="{namespace}" xmlns:l="{L}" {more}>{header}<S:Body>{body}</S:Body></S:Envelope>'
    ).encode()


def found(*books: str) -> bytes:
    return envelope("<l:findResponse><l:books>" + "".join(books) + "</l:books></l:findResponse>")


def book(code: str, more: str = "") -> str:
    return f"<l:book><l:code>{code}</l:code>{more}</l:book>"


def replied(body: bytes, status: int = 200, content_type: str = "text/xml; charset=utf-8") -> Response:
    return Response(status, {"Content-Type": content_type} if content_type else {}, body)


class Publisher:
    """The other end: answers what it is told, keeps what it received."""

    def __init__(self, response: Response | Callable[[Request], Response]) -> None:
        self.response = response
        self.requests: list[Request] = []
        self.http = Http(self._send)

    async def _send(self, request: Request) -> Response:
        self.requests.append(request)
        return self.response if isinstance(self.response, Response) else self.response(request)


def sent(envelope_bytes: bytes) -> Any:
    return etree.fromstring(envelope_bytes)


def fault_of(soap: Soap, operation: str, response: Response | bytes) -> Any:
    with pytest.raises(RelaisError) as raised:
        soap.decode(operation, response)
    return raised.value


# --- calling ----------------------------------------------------------------------------------------------------------


async def test_a_call_over_a_real_connection_sends_the_envelope_and_returns_plain_values() -> None:
    body = found(book("A1", "<l:copies>3</l:copies>"))
    async with upstream(answer(200, body, Content_Type="text/xml; charset=utf-8")) as publisher, way(publisher) as http:
        books = await library(http, address=publisher.url + "/ws").call("find", words="jardin", limit=5)
    assert books[0]["code"] == "A1"
    assert books[0].copies == 3
    seen = publisher.requests[0]
    assert (seen.method, seen.target) == ("POST", "/ws")
    assert seen.headers["soapaction"] == '"urn:example:library:find"'
    assert seen.headers["content-type"] == "text/xml; charset=utf-8"
    assert sent(seen.body).findtext(f".//{{{L}}}words") == "jardin"


async def test_soap_12_has_its_own_content_type_and_puts_the_action_in_it() -> None:
    publisher = Publisher(replied(envelope("<l:addResponse><l:number>7</l:number></l:addResponse>", namespace=ENV12)))
    soap = library(publisher.http, port="Library12")
    assert await soap.call("add", book={"code": "A1"}) == "7"
    headers = publisher.requests[0].headers
    assert headers["Content-Type"] == 'application/soap+xml; charset=utf-8; action="urn:example:library:add"'
    assert "SOAPAction" not in headers
    assert sent(publisher.requests[0].body or b"").tag == f"{{{ENV12}}}Envelope"


async def test_the_address_given_replaces_the_one_of_the_wsdl() -> None:
    publisher = Publisher(replied(found()))
    await library(publisher.http).call("find", words="x")
    assert publisher.requests[0].url == ADDRESS


async def test_only_operations_declared_repeatable_are_sent_as_such() -> None:
    publisher = Publisher(replied(envelope("<l:addResponse/>")))
    soap = library(publisher.http, repeatable=["find"])
    await soap.call("add", book={"code": "A"})
    await soap.call("add", book={"code": "A"}, repeatable=True)
    publisher.response = replied(found())
    await soap.call("find", words="x")
    assert [request.repeatable for request in publisher.requests] == [None, True, True]


async def test_time_and_size_limits_reach_the_request() -> None:
    publisher = Publisher(replied(found()))
    soap = library(publisher.http, timeout=4.0, max_bytes=1000)
    await soap.call("find", words="x")
    await soap.call("find", words="x", timeout=9.0, max_bytes=2000)
    assert [(each.timeout, each.max_bytes) for each in publisher.requests] == [(4.0, 1000), (9.0, 2000)]


def test_an_unknown_operation_is_named_with_those_there_are() -> None:
    with pytest.raises(LookupError, match=r"no operation 'serach'; this port has: add, count, find"):
        library().build("serach")
    with pytest.raises(LookupError, match="no operation 'remove'"):
        library(repeatable=["remove"])


def test_operations_are_described_for_people() -> None:
    described = library().operations()
    assert described["find"].startswith(
        "find(words: string, limit?: int; headers: account) → [{code: string, title?: s"
    )
    assert attachments().operations()["plan"] == "plan(number: string) → {title: string, drawing: file}"
    assert described["tell"] == "tell(note: string) → nothing (one way)"
    assert (
        registry()
        .operations()["search"]
        .startswith("search(param-1: string, param-2: [int]) → [{name: string, age: int, friend?: {name:")
    )


# --- arguments --------------------------------------------------------------------------------------------------------


def test_arguments_go_by_name_or_by_position() -> None:
    soap = library()
    assert soap.build("find", "jardin", 5) == soap.build("find", limit=5, words="jardin")


def test_none_leaves_an_element_out_and_nil_sends_it_empty() -> None:
    content = library().build("add", book={"code": "A", "title": None, "bought": NIL})
    assert b"title" not in content
    assert sent(content).find(f".//{{{L}}}bought").get(f"{{{xml.XSI}}}nil") == "true"


def test_values_are_written_as_xml_schema_writes_them() -> None:
    content = library().build(
        "add",
        book={
            "code": "Été <&>",
            "copies": 3.0,
            "price": 1e-7,
            "bought": datetime(2025, 3, 14, 9, 26, tzinfo=UTC),
            "seen": date(2025, 3, 14),
            "lent": True,
            "subject": ["a", "b"],
            "shelf": "R2",
        },
    )
    book_sent = sent(content).find(f".//{{{L}}}book")
    texts = [child.text for child in book_sent]
    assert texts == ["Été <&>", "3", "0.0000001", "2025-03-14", "2025-03-14T00:00:00", "true", "a", "b"]
    assert book_sent.get("shelf") == "R2"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("copies", "three"),
        ("copies", 1.5),
        ("copies", True),
        ("price", float("nan")),
        ("price", "12,50"),
        ("lent", "non"),
        ("bought", "14/03/2025"),
        ("seen", "hier"),
    ],
)
def test_a_value_its_type_cannot_hold_is_refused_by_naming_the_field(member: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as refusal:
        library().build("add", book={"code": "A", member: value})
    assert list(refusal.value.fields) == [f"book/{member}"]
    assert str(value) not in str(refusal.value)


@pytest.mark.parametrize("text", ["a\x00b", "\x1b[0m", "\ud800", "\ufffe", "a\x0bb"])
def test_what_xml_cannot_carry_is_refused_by_naming_the_field(text: str) -> None:
    with pytest.raises(InvalidInput, match="book/subject/1") as refusal:
        library().build("add", book={"code": "A", "subject": ["fine", text]})
    assert list(refusal.value.fields) == ["book/subject/1"]
    assert text not in str(refusal.value)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_is_either_carried_whole_or_refused(text: str) -> None:
    soap = library()
    try:
        content = soap.build("find", words=text)
    except InvalidInput:
        return
    operation, arguments = soap.read_request(content)
    assert operation == "find"
    assert arguments["words"] == (text or None)


def test_a_wrong_argument_is_a_bug_told_with_the_right_ones() -> None:
    soap = library()
    with pytest.raises(TypeError, match=r"find: word is not an argument of it. Expected: find\(words: string"):
        soap.build("find", word="x")
    with pytest.raises(TypeError, match="find: it takes at most 2 arguments, 3 were given"):
        soap.build("find", "x", 1, 2)
    with pytest.raises(TypeError, match="find: Missing element words"):
        soap.build("find", limit=1)
    with pytest.raises(TypeError, match="add: titel is not a member of Book"):
        soap.build("add", book={"code": "A", "titel": "x"})
    with pytest.raises(TypeError, match=r"add: .*code takes a single value"):
        soap.build("add", book={"code": ["A"]})


def test_a_model_is_an_argument_like_a_dictionary() -> None:
    class Book(Model):
        code: str
        copies: int = 1
        title: str | None = None

    soap = library()
    assert soap.build("add", book=Book(code="A")) == soap.build("add", book={"code": "A", "copies": 1})


def test_a_boolean_or_a_date_given_for_a_text_is_written_as_xml_schema_does() -> None:
    content = library().build("add", book={"code": True, "title": datetime(2025, 3, 14, 9, 26)})
    assert [each.text for each in sent(content).find(f".//{{{L}}}book")] == ["true", "2025-03-14T09:26:00"]


def test_a_file_or_bytes_are_sent_in_base64_once() -> None:
    content = b"%PDF-1.4 \x00\xff"
    soap = library()
    for value in (content, File(content=content, filename="a.pdf")):
        assert (
            sent(soap.build("scan", number="7", content=value)).findtext(f".//{{{L}}}content")
            == base64.b64encode(content).decode()
        )
        assert (
            sent(soap.build("show", picture=value)).findtext(f".//{{{L}}}picture") == base64.b64encode(content).decode()
        )


def test_a_derived_type_is_chosen_by_its_name() -> None:
    content = library().build("add", book={"xsi:type": "Atlas", "code": "A", "scale": 25000})
    chosen = sent(content).find(f".//{{{L}}}book")
    prefix, _, name = chosen.get(f"{{{xml.XSI}}}type").partition(":")
    assert (chosen.nsmap[prefix], name) == (L, "Atlas")
    assert chosen.findtext(f"{{{L}}}scale") == "25000"
    assert library().read_request(content)[1]["book"]["scale"] == 25000
    with pytest.raises(TypeError, match='xsi:type "Map" names 0 types'):
        library().build("add", book={"xsi:type": "Map", "code": "A"})


def test_a_choice_takes_the_alternative_that_holds_what_is_given() -> None:
    content = library().build("whoIs", name="Martin", company="Martin SARL", note="x")
    assert [xml.local(each) for each in sent(content)[0][0]] == ["name", "company", "note"]
    assert library().read_request(content)[1] == {
        "name": "Martin",
        "firstName": None,
        "company": "Martin SARL",
        "card": None,
        "street": None,
        "town": None,
        "note": "x",
    }


def test_an_element_given_twice_stays_whole() -> None:
    made = xml.build("{urn:other}thing", {"a": 1})
    soap = library()
    assert soap.answer("whoIs", {"_value_3": [made, made]}) == soap.answer("whoIs", {"_value_3": [made, made]})
    assert made[0].text == "1"


# --- headers ----------------------------------------------------------------------------------------------------------


def test_soap_headers_come_from_the_service_and_from_the_call() -> None:
    soap = library(headers={"{urn:town}town": {"code": "57463"}})
    header = sent(soap.build("find", words="x", soap_headers={"account": "relais"})).find(f"{{{ENV}}}Header")
    assert header.findtext(f"{{{L}}}account") == "relais"
    assert header.find("{urn:town}town").findtext("code") == "57463"
    with pytest.raises(InvalidInput, match="town/code"):
        soap.build("find", words="x", soap_headers={"{urn:town}town": {"code": "\x00"}})
    with pytest.raises(TypeError, match="acount is not a SOAP header its WSDL declares"):
        soap.build("find", words="x", soap_headers={"acount": "relais"})


async def test_headers_and_attachments_of_an_answer_are_given_by_exchange() -> None:
    header = "<S:Header><l:session><l:ticket>T9</l:ticket></l:session><x:other xmlns:x='urn:x'>1</x:other></S:Header>"
    publisher = Publisher(replied(found().replace(b"<S:Body>", header.encode() + b"<S:Body>")))
    got = await library(publisher.http).exchange("find", words="x")
    assert got.value == []
    assert got.headers["session"] == {"ticket": "T9"}
    assert got.headers["other"] == "1"


def test_a_username_token_in_text_carries_neither_time_nor_nonce() -> None:
    content = library(security=UsernameToken("relais", "s3cret")).build("find", words="x")
    token = sent(content).find(".//{*}UsernameToken")
    assert [xml.local(each) for each in token] == ["Username", "Password"]
    assert token[1].text == "s3cret"
    assert token[1].get("Type").endswith("#PasswordText")
    assert "s3cret" not in repr(UsernameToken("relais", "s3cret"))
    with pytest.raises(Misconfigured):
        library(security=UsernameToken("relais", "s3\x00cret")).build("find", words="x")


def test_a_username_token_digest_is_computed_from_nonce_time_and_password() -> None:
    now = datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC)
    token = UsernameToken(
        "relais", "s3cret", digest=True, must_understand=True, now=lambda: now, nonce=lambda: b"0123456789abcdef"
    )
    header = sent(library(security=token).build("find", words="x")).find(".//{*}Security")
    texts = {xml.local(each): each.text for each in header[0]}
    expected = hashlib.sha1(b"0123456789abcdef2025-03-14T09:26:53Zs3cret").digest()
    assert texts["Password"] == base64.b64encode(expected).decode()
    assert texts["Nonce"] == base64.b64encode(b"0123456789abcdef").decode()
    assert texts["Created"] == "2025-03-14T09:26:53Z"
    assert header.get(f"{{{ENV}}}mustUnderstand") == "1"


def test_addressing_headers_are_sent_when_the_wsdl_asks_for_them() -> None:
    operation = attachments().operation("deed")
    fixed = uuid.UUID(int=7)
    content = encode(operation, named={"number": "7"}, address=ADDRESS, message_id=lambda: fixed)
    header = {xml.local(each): each.text for each in sent(content).find(f"{{{ENV}}}Header")}
    assert header["Action"] == "urn:example:attachments:deed"
    assert header["To"] == ADDRESS
    assert header["MessageID"] == f"urn:uuid:{fixed}"
    assert sent(library().build("find", words="x")).find(f"{{{ENV}}}Header") is None


# --- answers ----------------------------------------------------------------------------------------------------------


def test_values_keep_their_type_and_lists_stay_lists() -> None:
    one = book(
        "0042",
        "<l:title>Un été</l:title><l:copies>3</l:copies><l:price>12.50</l:price><l:bought>2025-03-14</l:bought>"
        "<l:seen>2025-03-14T09:26:53Z</l:seen><l:lent>1</l:lent><l:subject>a</l:subject>",
    )
    assert library().decode("find", found(one)) == [
        {
            "code": "0042",
            "title": "Un été",
            "copies": 3,
            "price": Decimal("12.50"),
            "bought": date(2025, 3, 14),
            "seen": datetime(2025, 3, 14, 9, 26, 53, tzinfo=UTC),
            "lent": True,
            "subject": ["a"],
            "shelf": None,
        }
    ]


def test_absent_nil_and_empty_are_told_apart() -> None:
    nil = f'<l:bought xmlns:i="{xml.XSI}" i:nil="true"/>'
    rows = library().decode("find", found(book("A", nil), book("B", "<l:title/>")))
    assert rows[0]["bought"] is None
    assert rows[0]["subject"] == []
    assert rows[1]["title"] is None
    assert library().decode("find", envelope("<l:findResponse/>")) == []
    assert library().decode("find", found()) == []


def test_unqualified_elements_are_read_where_qualified_ones_are_declared() -> None:
    body = envelope("<l:addResponse><number>7</number></l:addResponse>")
    assert library().decode("add", body) == "7"


def test_bare_values_are_read_even_of_one_character() -> None:
    assert library().decode("show", envelope("<l:note>A</l:note>")) == "A"
    assert library().decode("count", envelope("<l:count>1</l:count>")) == 1


def test_optional_sequences_choices_and_open_content_are_read_in_their_order() -> None:
    body = envelope(
        "<l:whoIsResponse><l:key>a</l:key><l:value>1</l:value><l:key>b</l:key><l:person>Martin</l:person>"
        "<l:firm>3</l:firm><l:person>Diaz</l:person><l:open><x>1</x><y>2</y></l:open>"
        '<o:extra xmlns:o="urn:o" kind="k"><o:n>1</o:n><o:n>2</o:n></o:extra></l:whoIsResponse>'
    )
    value = library().decode("whoIs", body)
    assert [(each["key"], each["value"]) for each in value["_value_1"]] == [("a", "1"), ("b", None)]
    assert value["_value_2"] == [{"person": "Martin"}, {"firm": 3}, {"person": "Diaz"}]
    assert value["open"] == [{"x": "1"}, {"y": "2"}]
    assert value["_value_3"] == [{"extra": {"@kind": "k", "n": ["1", "2"]}}]


def test_an_optional_group_that_nothing_matches_does_not_turn_for_ever() -> None:
    value = library().decode("whoIs", envelope("<l:whoIsResponse><l:nowhere/></l:whoIsResponse>"))
    assert value["_value_1"] == []
    assert value["_value_3"] == [{"nowhere": ""}]


def test_a_long_repeated_choice_is_read_in_time_proportional_to_its_length() -> None:
    body = "<l:whoIsResponse>" + "<l:person>x</l:person><l:firm>1</l:firm>" * 10_000 + "</l:whoIsResponse>"
    assert len(library().decode("whoIs", envelope(body))["_value_2"]) == 20_000


@pytest.mark.parametrize(
    "content",
    [
        "<l:copies>three</l:copies>",
        "<l:price>NaN</l:price>",
        "<l:price>12,50</l:price>",
        "<l:bought>14/03/2025</l:bought>",
        "<l:lent>oui</l:lent>",
        "<l:copies> </l:copies>",
    ],
)
def test_a_text_of_another_type_breaks_the_contract_and_is_not_shown(
    content: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = fault_of(library(), "find", found(book("A", content)))
    assert isinstance(error, UpstreamInvalid)
    assert error.processed is None
    text = etree.fromstring(f"<a xmlns:l='{L}'>{content}</a>").findtext("*", "").strip() or "absent"
    assert "book/" in error.detail
    assert text not in error.detail
    assert text not in caplog.text


def test_a_tolerant_service_keeps_wrong_texts_and_ignores_unknown_elements() -> None:
    soap = library(strict=False)
    body = found(book("A", "<l:title>x</l:title><l:bought>31/12/2024</l:bought><l:novelty>1</l:novelty>"))
    assert soap.decode("find", body)[0]["bought"] == "31/12/2024"
    assert library(strict=False).decode("find", found(book("B")))[0]["code"] == "B"


def test_an_undeclared_element_breaks_the_contract() -> None:
    error = fault_of(library(), "find", found(book("A", "<l:novelty>secret</l:novelty>")))
    assert isinstance(error, UpstreamInvalid)
    assert "unexpected element <novelty>" in error.detail
    assert "secret" not in error.detail


def test_a_derived_type_announced_by_the_answer_is_followed_and_an_unknown_one_ignored() -> None:
    xsi = f'xmlns:i="{xml.XSI}"'
    atlas = f'<l:book {xsi} i:type="l:Atlas"><l:code>A</l:code><l:scale>25000</l:scale></l:book>'
    other = f'<l:book {xsi} i:type="l:Comic"><l:code>B</l:code></l:book>'
    rows = library().decode("find", found(atlas, other))
    assert rows[0]["scale"] == 25000
    assert rows[1]["code"] == "B"


async def test_a_one_way_call_returns_none_once_acknowledged() -> None:
    for response in (Response(202, {}, b""), Response(204, {}, b""), replied(b""), replied(envelope(""))):
        assert await library(Publisher(response).http).call("tell", note="x") is None


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_an_empty_answer_is_never_a_success(status: int) -> None:
    with pytest.raises(UpstreamInvalid) as raised:
        await library(Publisher(Response(status, {}, b" \r\n")).http).call("add", book={"code": "A"})
    assert raised.value.processed is None


@pytest.mark.parametrize(
    "body",
    [
        envelope(""),
        envelope("<l:findResponse/>"),
        envelope("<other>1</other>"),
        f'<S:Envelope xmlns:S="{ENV}"/>'.encode(),
        b"<html><body>Maintenance</body></html>",
        b"<!DOCTYPE html><html><body>Maintenance</body></html>",
        b"Maintenance",
        b'{"error": "maintenance"}',
        envelope("<l:addResponse><l:number>7</l:number></l:addResponse>")[:-20],
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        + envelope("<l:addResponse><l:number>&x;</l:number></l:addResponse>"),
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_not_the_declared_answer_breaks_the_contract(body: bytes) -> None:
    error = fault_of(library(), "add", replied(body))
    assert isinstance(error, UpstreamInvalid)
    assert error.processed is None
    assert "aintenance" not in str(error) + error.detail


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("é".encode().join(envelope("<l:note>|</l:note>").split(b"|")), "text/xml"),
        (
            b'<?xml version="1.0" encoding="ISO-8859-1"?>' + envelope("<l:note>|</l:note>").replace(b"|", b"\xe9"),
            "text/xml",
        ),
        (envelope("<l:note>|</l:note>").replace(b"|", b"\xe9"), "text/xml; charset=ISO-8859-1"),
        (
            b'<?xml version="1.0" encoding="UTF-8"?>' + envelope("<l:note>|</l:note>").replace(b"|", "é".encode()),
            "text/xml; charset=ISO-8859-1",
        ),
        (
            b'<?xml version="1.0" encoding="ISO-8859-1"?>' + envelope("<l:note>|</l:note>").replace(b"|", b"\xe9"),
            "text/xml; charset=utf-8",
        ),
        (envelope("<l:note>|</l:note>").decode().replace("|", "é").encode("utf-16"), "text/xml"),
        (b"\xef\xbb\xbf" + envelope("<l:note>|</l:note>").replace(b"|", "é".encode()), "text/xml; charset=x-unknown"),
        (b"\r\n<?xml version='1.0'?>" + envelope("<l:note>&#233;</l:note>"), "text/xml"),
    ],
)
def test_the_encoding_is_found_whoever_announces_it(body: bytes, content_type: str) -> None:
    assert library().decode("show", replied(body, content_type=content_type)) == "é"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "iso-8859-1"])
def test_what_is_nil_or_of_a_derived_type_is_so_in_any_encoding(encoding: str) -> None:
    title = f'<l:title xmlns:i="{xml.XSI}" i:nil="true">left over</l:title>'
    atlas = f'<l:book xmlns:i="{xml.XSI}" i:type="l:Atlas"><l:code>A</l:code><l:scale>25000</l:scale></l:book>'
    body = found(book("é", title), atlas).decode()
    answered = replied(body.encode(encoding), content_type=f"text/xml; charset={encoding.removesuffix('-sig')}")
    rows = library().decode("find", answered)
    assert (rows[0]["code"], rows[0]["title"], rows[1]["scale"]) == ("é", None, 25000)


def test_what_surrounds_the_envelope_is_left_out() -> None:
    body = envelope("<l:note>x</l:note>")
    assert library().decode("show", b"HTTP junk\r\n<?xml version='1.0'?>" + body) == "x"
    assert library().decode("show", body + b"\r\n--junk after") == "x"


def test_the_wrapper_of_an_rpc_result_may_have_any_name() -> None:
    for name in ("sheetReturn", "return", "whatever"):
        body = envelope(f'<r:x xmlns:r="urn:example:registry"><{name}>v</{name}></r:x>')
        assert registry().decode("sheet", body) == "v"


def test_an_error_inside_a_normal_answer_is_raised_by_the_check() -> None:
    def refused(value: Any) -> None:
        if value == "KO":
            raise Rejected("non", code="KO")

    async def run(**options: Any) -> Any:
        publisher = Publisher(replied(envelope("<l:note>KO</l:note>")))
        return await library(publisher.http, **options).call("show", picture=b"", check=options.pop("last", None))

    assert asyncio.run(run()) == "KO"
    with pytest.raises(Rejected):
        asyncio.run(run(check=refused))


async def test_a_check_may_be_given_for_one_call() -> None:
    def refused(value: Any) -> None:
        raise Rejected(value)

    publisher = Publisher(replied(envelope("<l:note>KO</l:note>")))
    with pytest.raises(Rejected, match="KO"):
        await library(publisher.http).call("show", picture=b"", check=refused)


def test_xml_carried_in_a_string_is_read_whatever_encoding_it_declares() -> None:
    inner = "<?xml version='1.0' encoding='ISO-8859-1'?><ok etat='payé'/>".replace("<", "&lt;")
    value = registry().decode(
        "sheet",
        envelope(
            f'<r:sheetResponse xmlns:r="urn:example:registry"><sheetReturn>{inner}</sheetReturn></r:sheetResponse>'
        ),
    )
    assert xml.parse(value).get("etat") == "payé"


# --- rpc/encoded ------------------------------------------------------------------------------------------------------

ENCODED = (
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:enc="http://schemas.xmlsoap.org/soap/encoding/" xmlns:r="urn:example:registry"'
)


def test_an_encoded_request_says_its_types_and_arrays() -> None:
    content = registry().build("search", args={"param-1": "x", "param-2": [3, 4]})
    wrapper = sent(content)[0][0]
    assert wrapper.tag == "{urn:example:registry}search"
    assert wrapper.get(f"{{{ENV}}}encodingStyle") == "http://schemas.xmlsoap.org/soap/encoding/"
    kinds = {each.tag: each.get(f"{{{xml.XSI}}}type").rpartition(":")[2] for each in wrapper}
    assert kinds == {"param-1": "string", "param-2": "Array"}
    assert wrapper[1].get("{http://schemas.xmlsoap.org/soap/encoding/}arrayType").endswith(":int[2]")
    assert registry().read_request(content) == ("search", {"param-1": "x", "param-2": [3, 4]})
    assert registry().build("search", "x", [3, 4]) == content


def test_none_is_said_in_an_encoded_request() -> None:
    wrapper = sent(registry().build("search", None, []))[0][0]
    assert wrapper[0].get(f"{{{xml.XSI}}}nil") == "true"


def test_references_of_an_encoded_answer_are_followed() -> None:
    body = envelope(
        '<r:searchResponse><result xsi:type="enc:Array" enc:arrayType="r:Person[2]"><item href="#p1"/>'
        '<item href="#p2"/></result></r:searchResponse>'
        '<multiRef id="p1" enc:root="0" xsi:type="n:Person" xmlns:n="urn:example:registry">'
        '<name xsi:type="enc:string">Ana</name><age href="#a"/></multiRef>'
        '<multiRef id="p2" enc:root="0"><name xsi:type="xsd:string">Bo</name><age>7</age>'
        '<friend href="#p1"/></multiRef>'
        '<multiRef id="a" xsi:type="xsd:int">41</multiRef>',
        more=ENCODED,
    )
    people = registry().decode("search", body)
    assert [(each["name"], each["age"]) for each in people] == [("Ana", 41), ("Bo", 7)]
    assert people[1]["friend"]["name"] == "Ana"


def test_array_items_without_a_type_take_the_one_of_the_array() -> None:
    items = "<item><name>Ana</name><age>41</age></item>"
    for array in ('xsi:type="enc:Array" enc:arrayType="r:Person[1]"', "", 'xsi:type="r:People"'):
        body = envelope(f"<r:searchResponse><result {array}>{items}</result></r:searchResponse>", more=ENCODED)
        assert registry().decode("search", body)[0]["age"] == 41


def test_an_open_encoded_result_follows_the_types_it_announces() -> None:
    body = envelope(
        '<r:looseResponse><return xsi:type="enc:Array" enc:arrayType="xsd:int[2]"><i>1</i><i>2</i></return>'
        "<total>2</total></r:looseResponse>",
        more=ENCODED,
    )
    assert registry().decode("loose", body) == {"return": [1, 2], "total": 2}


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        ('<m id="a"><name>x</name><age>1</age><friend href="#a"/></m>', "contains itself"),
        ('<m id="b"/>', "reference to nothing"),
        (
            '<m id="a">'
            + '<friend href="#b"/>' * 50
            + "</m>"
            + "".join(
                f'<m id="{one}">' + f'<friend href="#{other}"/>' * 50 + "</m>"
                for one, other in ("bc", "cd", "de", "ef")
            )
            + '<m id="f"><name>x</name></m>',
            "unfold into more than",
        ),
    ],
)
def test_references_that_never_end_are_refused(references: str, reason: str) -> None:
    body = envelope(
        f'<r:searchResponse><result><item href="#a"/></result></r:searchResponse>{references}', more=ENCODED
    )
    error = fault_of(registry(), "search", body)
    assert isinstance(error, UpstreamInvalid)
    assert reason in error.detail


# --- attachments ------------------------------------------------------------------------------------------------------


def multipart(root: bytes, *parts: tuple[str, str, bytes], kind: str = "text/xml", before: bytes = b"") -> Response:
    pieces = [f"Content-Type: {kind}; charset=utf-8\r\nContent-ID: <root>\r\n\r\n".encode() + root]
    for content_id, content_type, content in parts:
        head = (
            f"Content-Type: {content_type}\r\nContent-ID: <{content_id}>\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        )
        pieces.append(head.encode() + content)
    body = before + b"".join(b"--=_B\r\n" + piece + b"\r\n" for piece in pieces) + b"--=_B--\r\n"
    return replied(body, content_type='multipart/related; boundary="=_B"; start="<root>"; type="application/xop+xml"')


XOP = "http://www.w3.org/2004/08/xop/include"
PDF = b"%PDF-1.4\r\n\r\n--=_\x00\xff"


def test_an_xop_answer_gives_the_bytes_where_the_schema_has_them() -> None:
    root = envelope(
        f'<l:scanResponse><l:content><x:Include xmlns:x="{XOP}" href="cid:c%401"/></l:content></l:scanResponse>'
    )
    response = multipart(root, ("c@1", "application/pdf", PDF), kind="application/xop+xml", before=b"preamble\r\n")
    assert library().decode("scan", response)["content"] == PDF


def test_the_same_bytes_inline_are_read_the_same() -> None:
    text = base64.b64encode(PDF).decode()
    body = envelope(f"<l:scanResponse><l:content>{text[:8]}\n{text[8:]}</l:content></l:scanResponse>")
    assert library().decode("scan", body)["content"] == PDF


def test_a_swa_reference_gives_a_file() -> None:
    root = envelope("<l:scanResponse><l:beside>cid:c1</l:beside></l:scanResponse>")
    response = multipart(root, ("c1", 'application/pdf; name="acte.pdf"', PDF))
    got = library().decode("scan", response)["beside"]
    assert (got.filename, got.content_type, got.content) == ("acte.pdf", "application/pdf", PDF)


async def test_parts_nobody_refers_to_are_given_by_exchange() -> None:
    publisher = Publisher(multipart(envelope("<l:note>x</l:note>"), ("c1", "text/plain", b"beside")))
    got = await library(publisher.http).exchange("show", picture=b"")
    assert got.value == "x"
    assert got.attachments["c1"].content == b"beside"


@pytest.mark.parametrize("content", ["jeanne@example.org", "abc", '<x:Include xmlns:x="{XOP}" href="http://x/"/>'])
def test_what_is_not_base64_is_not_taken_for_bytes(content: str) -> None:
    body = envelope(f"<l:scanResponse><l:content>{content.replace('{XOP}', XOP)}</l:content></l:scanResponse>")
    error = fault_of(library(), "scan", body)
    assert isinstance(error, UpstreamInvalid)
    assert "jeanne" not in error.detail


def test_a_boundary_that_begins_another_one_does_not_cut_it() -> None:
    parts = b"--ab\r\nContent-Type: text/xml\r\n\r\n%s\r\n--abc\r\n--ab--" % envelope("<l:note>x</l:note>\r\n--abc")
    response = replied(parts, content_type="multipart/related; boundary=ab")
    assert library().decode("show", response) == "x"


def test_parts_the_wsdl_binds_to_attachments_are_members_of_the_result() -> None:
    deed = envelope(
        '<a:deedResponse xmlns:a="urn:example:attachments"><title>Acte</title><pages>2</pages></a:deedResponse>'
    )
    value = attachments().decode("deed", multipart(deed, ("scan=1@x", "application/pdf", PDF)))
    assert value["deedResponse"] == {"title": "Acte", "pages": 2}
    assert value["scan"].content == PDF
    plan = envelope('<a:planResponse xmlns:a="urn:example:attachments"><title>Plan</title></a:planResponse>')
    value = attachments().decode("plan", multipart(plan, ("other", "image/png", b"\x89PNG\r\n\x1a\n")))
    assert value["title"] == "Plan"
    assert value["drawing"].content_type == "image/png"


def test_a_multipart_body_its_header_does_not_announce_is_recognised() -> None:
    response = multipart(envelope("<l:note>x</l:note>"), ("c1", "text/plain", b"beside"))
    assert library().decode("show", replied(b"\r\n" + response.body, content_type="text/xml")) == "x"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replied(r.body[:-12], content_type=r.headers["Content-Type"]),
        lambda r: replied(r.body, content_type="multipart/related"),
        lambda r: replied(r.body, content_type="multipart/related; boundary=other"),
        lambda r: replied(r.body.replace(b"cid:c1", b"cid:c2"), content_type=r.headers["Content-Type"]),
    ],
)
def test_a_broken_multipart_breaks_the_contract(spoil: Callable[[Response], Response]) -> None:
    root = envelope(
        f'<l:scanResponse><l:content><x:Include xmlns:x="{XOP}" href="cid:c1"/></l:content></l:scanResponse>'
    )
    error = fault_of(library(), "scan", spoil(multipart(root, ("c1", "application/pdf", PDF))))
    assert isinstance(error, UpstreamInvalid)


# --- faults and statuses ----------------------------------------------------------------------------------------------

REFUSAL = (
    "<S:Fault><faultcode>S:Server</faultcode><faultstring>fr.editeur.Erreur: Jeanne Martin</faultstring><detail>"
    "<l:refusal><l:code>P5</l:code><l:severity>2</l:severity><l:reason>one</l:reason></l:refusal></detail></S:Fault>"
)


def test_a_fault_is_handed_over_as_typed_data() -> None:
    faults: list[SoapFault] = []

    def note(fault: SoapFault) -> RelaisError | None:
        faults.append(fault)
        return None

    fault_of(library(faults=note), "add", replied(envelope(REFUSAL), 500))
    fault = faults[0]
    assert (fault.code, fault.type, fault.faultcode) == ("P5", "refusal", "Server")
    assert fault.detail == {"refusal": {"code": "P5", "severity": 2, "reason": ["one"]}}
    assert fault.string.endswith("Jeanne Martin")
    assert "Martin" not in repr(fault)


@pytest.mark.parametrize("name", ["P5", "refusal", "Server"])
def test_a_fault_means_what_its_code_its_type_or_its_faultcode_was_declared_to_mean(name: str) -> None:
    faults: Mapping[str, Any] = {name: lambda fault: Rejected("refusé", code=fault.code)}
    error = fault_of(library(faults=faults), "add", replied(envelope(REFUSAL), 500))
    assert isinstance(error, Rejected)
    assert error.code == "P5"


def test_a_fault_may_be_declared_as_one_of_the_six_errors() -> None:
    error = fault_of(library(faults={"P5": NotFound}), "add", replied(envelope(REFUSAL), 200))
    assert isinstance(error, NotFound)
    assert error.code == "P5"


def test_a_fault_nobody_declared_breaks_the_contract_without_its_text() -> None:
    error = fault_of(library(), "add", replied(envelope(REFUSAL), 500))
    assert isinstance(error, UpstreamInvalid)
    assert error.processed is None
    assert error.code == "P5"
    assert "Martin" not in str(error) + error.detail + english(error.message)


def test_a_fault_of_soap_12_gives_its_subcode() -> None:
    body = envelope(
        "<S:Fault><S:Code><S:Value>S:Sender</S:Value><S:Subcode><S:Value>l:TooMany</S:Value></S:Subcode></S:Code>"
        "<S:Reason><S:Text xml:lang='fr'>Trop</S:Text></S:Reason><S:Role>urn:here</S:Role></S:Fault>",
        namespace=ENV12,
    )
    seen: list[SoapFault] = []
    fault_of(library(port="Library12", faults=lambda f: seen.append(f)), "add", replied(body, 400))
    assert (seen[0].code, seen[0].faultcode, seen[0].string, seen[0].actor) == ("TooMany", "Sender", "Trop", "urn:here")


def test_a_fault_whose_detail_does_not_read_is_still_a_fault() -> None:
    body = REFUSAL.replace("<l:severity>2", "<l:severity>grave")
    error = fault_of(library(faults={"P5": lambda fault: Rejected("refusé")}), "add", replied(envelope(body), 500))
    assert isinstance(error, Rejected)


def test_refused_ws_security_is_for_the_operator() -> None:
    body = "<S:Fault><faultcode>wsse:FailedAuthentication</faultcode><faultstring>no</faultstring></S:Fault>"
    error = fault_of(library(), "add", replied(envelope(body), 500))
    assert isinstance(error, Misconfigured)
    assert error.processed is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Misconfigured),
        (302, Misconfigured),
        (307, Misconfigured),
        (401, Misconfigured),
        (403, Misconfigured),
        (404, Misconfigured),
        (400, UpstreamInvalid),
        (500, UpstreamInvalid),
        (429, UpstreamUnavailable),
        (502, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (504, UpstreamUnavailable),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>Jeanne Martin</html>"])
def test_a_status_without_a_soap_body_says_who_must_act(status: int, kind: type[RelaisError], body: bytes) -> None:
    response = Response(status, {"Content-Type": "text/html", "Retry-After": "120", "Location": "https://x/"}, body)
    error = fault_of(library(), "add", response)
    assert type(error) is kind
    assert error.processed is None
    assert "Martin" not in str(error) + error.detail
    assert error.retry_after == (120 if kind is UpstreamUnavailable else None)


def test_an_error_status_is_never_a_success_even_with_a_result() -> None:
    body = envelope("<l:addResponse><l:number>7</l:number></l:addResponse>")
    assert isinstance(fault_of(library(), "add", replied(body, 500)), UpstreamInvalid)


# --- the publisher's side ---------------------------------------------------------------------------------------------


def test_a_simulator_reads_requests_and_writes_answers_and_faults_with_the_same_contract() -> None:
    soap = library()
    assert soap.read_request(soap.build("add", book={"code": "A"}))[1]["book"]["code"] == "A"
    assert soap.decode("find", soap.answer("find", [{"code": "A"}]))[0]["code"] == "A"
    fault = soap.fault("add", "Server", "no", {"code": "P1"}, name="refusal")
    assert fault_of(library(faults={"P1": NotFound}), "add", replied(fault, 500)).code == "P1"
    twelve = library(port="Library12")
    fault = twelve.fault("add", "Receiver", "no", {"code": "P1"}, name="refusal")
    assert fault_of(library(port="Library12", faults={"refusal": NotFound}), "add", replied(fault, 500)).code == "P1"


# --- large answers ----------------------------------------------------------------------------------------------------

LARGE = found(*(book(f"{n:06}", "<l:price>12.50</l:price><l:bought>2025-03-14</l:bought>") for n in range(1200)))


async def test_a_large_answer_is_read_by_steps_that_let_the_loop_turn() -> None:
    assert len(LARGE) > soap_module.LARGE
    turns = 0

    async def everybody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.ensure_future(everybody_else())
    soap = library(Publisher(replied(LARGE)).http)
    with serving(new_call()) as call:
        assert await soap.call("find", words="x") == soap.decode("find", LARGE)
    others.cancel()
    assert turns > 3
    assert call.read_so == {"stepped": 1}


async def test_a_large_answer_that_breaks_its_contract_is_refused_as_a_small_one_is() -> None:
    soap = library(Publisher(replied(LARGE.replace(b"12.50", b"twelve"))).http)
    try:
        with pytest.raises(UpstreamInvalid) as raised:
            await soap.call("find", words="x")
        assert raised.value.detail.endswith("not of type decimal")
        torn = library(Publisher(replied(LARGE[:-40])).http)
        with pytest.raises(UpstreamInvalid, match="contrat"):
            await torn.call("find", words="x")
    finally:
        await soap.close()


PEOPLE = envelope("<l:whoIsResponse>" + "<l:person>x</l:person><l:firm>1</l:firm>" * 3_000 + "</l:whoIsResponse>")


async def test_a_large_answer_that_needs_zeep_is_read_in_a_process_apart_and_is_the_same() -> None:
    assert len(PEOPLE) > soap_module.LARGE
    soap = library(Publisher(replied(PEOPLE)).http)
    expected = soap.decode("whoIs", PEOPLE)
    assert len(expected["_value_2"]) == 6_000
    try:
        with serving(new_call()) as call:
            assert await soap.call("whoIs") == expected  # while the process starts: in a thread
            ready = large.apart.ready
            assert ready is not None
            await asyncio.wrap_future(ready)
            assert await soap.call("whoIs") == expected
        assert call.read_so == {"apart": 2}
        broken = replied(PEOPLE.replace(b"<l:firm>1<", b"<l:firm>one<"))
        with pytest.raises(UpstreamInvalid) as raised:
            await library(Publisher(broken).http).call("whoIs")
        assert raised.value.detail.endswith("not of type int")
        pool = large.apart.start()
        for process in list((pool._processes or {}).values()):
            process.kill()
            process.join()
        assert await soap.call("whoIs") == expected  # the process died: another way is found
    finally:
        await soap.close()


async def test_a_large_page_instead_of_an_envelope_means_what_its_status_means() -> None:
    page = b"<html>" + b"<p>maintenance</p>" * 10_000 + b"</html>"
    soap = library(Publisher(replied(page, status=503, content_type="text/html")).http)
    try:
        with pytest.raises(UpstreamUnavailable):
            await soap.call("find", words="x")
    finally:
        await soap.close()


async def test_a_large_file_is_accepted_only_where_it_is_asked_for() -> None:
    text = base64.b64encode(b"x" * 9_000_000)
    body = envelope("<l:scanResponse><l:content>|</l:content></l:scanResponse>").replace(b"|", text)
    with pytest.raises(UpstreamInvalid):
        await library(Publisher(replied(body)).http).call("scan", number="7")
    got = await library(Publisher(replied(body)).http, max_bytes=20_000_000).call("scan", number="7")
    assert len(got["content"]) == 9_000_000


# --- loading ----------------------------------------------------------------------------------------------------------


def wsdl_importing(folder: Path, *imports: str, name: str = "service.wsdl") -> Path:
    text = (WSDL / "library.wsdl").read_text()
    path = folder / name
    path.write_text(text.replace("<types>", "<types>" + "".join(imports), 1))
    return path


def schema_import(location: str, kind: str = "import") -> str:
    space = 'namespace="urn:elsewhere"' if kind == "import" else ""
    return (
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:here">'
        f'<xs:{kind} {space} schemaLocation="{location}"/></xs:schema>'
    )


ELSEWHERE = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:elsewhere"/>'


@pytest.mark.parametrize(
    "location",
    [
        "http://publisher.example.org/types.xsd",
        "https://publisher.example.org/types.xsd",
        "ftp://publisher.example.org/types.xsd",
        "//publisher.example.org/types.xsd",
        "file:///etc/hostname",
        "/etc/hostname",
        "../outside.xsd",
        "sub/../../outside.xsd",
        "absent.xsd",
        "types.xsd?xsd=1",
    ],
)
@pytest.mark.parametrize("kind", ["import", "include"])
def test_nothing_outside_the_folder_is_ever_opened(tmp_path: Path, location: str, kind: str) -> None:
    (tmp_path / "outside.xsd").write_text(ELSEWHERE)
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "link.xsd").symlink_to(tmp_path / "outside.xsd")
    with pytest.raises(Misconfigured) as refusal:
        Soap(None, wsdl=wsdl_importing(folder, schema_import(location, kind)))
    sentence = english(refusal.value.message)
    assert location.rpartition("/")[2] in sentence
    assert "locations" in sentence


def test_a_wsdl_import_obeys_the_same_rule(tmp_path: Path) -> None:
    text = (WSDL / "library.wsdl").read_text()
    importing = '<import namespace="urn:x" location="http://publisher.example.org/b.wsdl"/><types>'
    (tmp_path / "a.wsdl").write_text(text.replace("<types>", importing))
    with pytest.raises(Misconfigured, match=r"publisher\.example\.org/b\.wsdl"):
        Soap(None, wsdl=tmp_path / "a.wsdl")


def test_a_location_map_stands_for_the_network(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.xsd").write_text(ELSEWHERE)
    folder = tmp_path / "package"
    folder.mkdir()
    locations = {
        "http://publisher.example.org/types?xsd=1": tmp_path / "elsewhere.xsd",
        "types.svc?xsd=2": tmp_path / "elsewhere.xsd",
        "/schemas/types.xsd": tmp_path / "elsewhere.xsd",
    }
    imports = [schema_import(location) for location in locations]
    assert "find" in Soap(None, wsdl=wsdl_importing(folder, *imports), locations=locations).operations()


def test_a_link_that_leads_outside_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside.xsd").write_text(ELSEWHERE)
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "link.xsd").symlink_to(tmp_path / "outside.xsd")
    with pytest.raises(Misconfigured, match=r"outside\.xsd"):
        Soap(None, wsdl=wsdl_importing(folder, schema_import("link.xsd")))


def test_documents_that_include_one_another_are_read(tmp_path: Path) -> None:
    opening = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:elsewhere">'
    (tmp_path / "a.xsd").write_text(opening + '<xs:include schemaLocation="b.xsd"/></xs:schema>')
    (tmp_path / "b.xsd").write_text(opening + '<xs:include schemaLocation="a.xsd"/></xs:schema>')
    assert Soap(None, wsdl=wsdl_importing(tmp_path, schema_import("a.xsd"))).operations()


def test_imports_without_end_are_refused(tmp_path: Path) -> None:
    imports = []
    for n in range(501):
        (tmp_path / f"{n}.xsd").write_text(ELSEWHERE.replace("elsewhere", f"n{n}"))
        imports.append(schema_import(f"{n}.xsd").replace("elsewhere", f"n{n}"))
    with pytest.raises(Misconfigured, match="plus de 500 documents"):
        Soap(None, wsdl=wsdl_importing(tmp_path, *imports))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "it has a DOCTYPE"),
        ("<definitions>", "not well-formed"),
        ("", "not well-formed"),
        ("<html/>", "its root is <html>"),
        ("<description xmlns='http://www.w3.org/ns/wsdl'/>", "not a WSDL 1.1"),
    ],
)
def test_a_file_that_is_no_wsdl_is_refused_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.wsdl").write_text(text)
    with pytest.raises(Misconfigured) as refusal:
        Soap(None, wsdl=tmp_path / "a.wsdl")
    assert reason in english(refusal.value.message)
    assert "a.wsdl" in refusal.value.message


def test_a_missing_wsdl_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"absent\.wsdl"):
        Soap(None, wsdl=tmp_path / "absent.wsdl")


def test_a_wsdl_without_soap_over_http_is_refused_politely() -> None:
    with pytest.raises(Misconfigured) as refusal:
        Soap(None, wsdl=WSDL / "other_transports.wsdl")
    assert "JMS" in english(refusal.value.message)


def test_a_service_or_port_it_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(Misconfigured, match=r"Library/Library11, Library/Library12"):
        library(port="Library13")


def test_a_service_without_an_address_is_refused_when_built() -> None:
    publisher = Publisher(replied(found()))
    for address in ("", "CHANGE-ME", "jms:queue:x", "https://"):
        with pytest.raises(Misconfigured, match="adresse"):
            library(publisher.http, address=address)


def test_a_contract_is_read_once_and_shared_and_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path = wsdl_importing(tmp_path)
    first = load(path)
    assert load(path) is first
    path.write_text(path.read_text().replace("limit", "maximum"))
    assert load(path) is not first
    assert "maximum" in load(path).operations()["find"].signature()
    assert load(path).digest != first.digest


def test_a_fault_the_wsdl_refers_to_without_declaring_it_costs_nothing() -> None:
    assert "add" in library().operations()


# --- what a schema asks of values, and the faults it declares ---------------------------------------------------------

CIVIL = "urn:example:civil"
PERSON = (
    '<xs:element name="name" type="c:Name"/><xs:element name="title" type="c:Title" minOccurs="0"/>'
    '<xs:element name="children" type="xs:unsignedByte" minOccurs="0"/>'
    '<xs:element name="size" minOccurs="0"><xs:simpleType><xs:restriction base="xs:decimal">'
    '<xs:minExclusive value="0"/><xs:maxInclusive value="2.5"/></xs:restriction></xs:simpleType></xs:element>'
    '<xs:element name="tongues" minOccurs="0"><xs:simpleType><xs:list itemType="c:Tongue"/></xs:simpleType>'
    '</xs:element><xs:element name="place" type="c:Place" minOccurs="0"/>'
    '<xs:element name="odd" type="c:Odd" minOccurs="0"/>'
    '<xs:element name="near" type="c:Person" minOccurs="0" maxOccurs="unbounded"/>'
)


def civil(folder: Path, http: Http | None = None, **options: Any) -> Soap:
    """A contract full of enumerations, ranges, lengths and faults."""

    def simple(name: str, base: str, *facets: str) -> str:
        inside = "".join(f"<xs:{each.partition('=')[0]} value='{each.partition('=')[2]}'/>" for each in facets)
        return f'<xs:simpleType name="{name}"><xs:restriction base="{base}">{inside}</xs:restriction></xs:simpleType>'

    types = (
        simple("Name", "xs:string", "minLength=1", "maxLength=8", "pattern=[")
        + simple("AnyTitle", "xs:token", *(f"enumeration={each}" for each in ("MME", "M", "DR")))
        + simple("Title", "c:AnyTitle", "enumeration=MME", "enumeration=M")
        + simple("Tongue", "xs:string", "enumeration=fr", "enumeration=de")
        + simple("Odd", "xs:string", "maxLength=many", "maxInclusive=x")
        + '<xs:simpleType name="Place"><xs:union memberTypes="c:Tongue"><xs:simpleType>'
        + '<xs:restriction base="xs:string"><xs:maxLength value="3"/></xs:restriction></xs:simpleType></xs:union>'
        + f'</xs:simpleType><xs:complexType name="Person"><xs:sequence>{PERSON}</xs:sequence>'
        + '<xs:attribute name="sex"><xs:simpleType><xs:restriction base="xs:string"><xs:enumeration value="F"/>'
        + '<xs:enumeration value="M"/></xs:restriction></xs:simpleType></xs:attribute></xs:complexType>'
    )

    def element(name: str, members: str) -> str:
        return (
            f'<xs:element name="{name}"><xs:complexType><xs:sequence>{members}</xs:sequence></xs:complexType>'
            "</xs:element>"
        )

    elements = (
        element("enter", '<xs:element name="person" type="c:Person" maxOccurs="unbounded"/>')
        + element("enterResponse", '<xs:element name="person" type="c:Person" minOccurs="0"/>')
        + element("NotKnown", '<xs:element name="who" type="xs:string"/>')
    )
    messages = "".join(
        f'<message name="{name}"><part name="parameters" element="c:{part}"/></message>'
        for name, part in (("enter", "enter"), ("entered", "enterResponse"), ("notKnown", "NotKnown"))
    )
    port = "<input message='c:enter'/><output message='c:entered'/><fault name='NotKnownFault' message='c:notKnown'/>"
    bound = (
        "<soap:operation soapAction=''/><input><soap:body use='literal'/></input>"
        "<output><soap:body use='literal'/></output>"
        "<fault name='NotKnownFault'><soap:fault name='NotKnownFault' use='literal'/></fault>"
    )
    path = folder / "civil.wsdl"
    path.write_text(
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" '
        f'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:c="{CIVIL}" targetNamespace="{CIVIL}">'
        f'<types><xs:schema targetNamespace="{CIVIL}" elementFormDefault="qualified">{types}{elements}</xs:schema>'
        f'</types>{messages}<portType name="Civil"><operation name="enter">{port}</operation></portType>'
        '<binding name="Civil" type="c:Civil"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>'
        f'<operation name="enter">{bound}</operation></binding>'
        '<service name="Civil"><port name="Civil" binding="c:Civil"><soap:address location="http://localhost/"/></port>'
        "</service></definitions>"
    )
    return Soap(http, wsdl=path, **options)


def test_a_signature_shows_enumerations_and_declared_faults(tmp_path: Path) -> None:
    shown = civil(tmp_path).operations()["enter"]
    assert 'title?: "MME"|"M", children?: unsignedByte' in shown
    assert 'tongues?: ["fr"|"de"]' in shown
    assert 'sex?: "F"|"M"' in shown
    assert shown.endswith("} ! NotKnownFault {who: string}")


@pytest.mark.parametrize(
    ("members", "where", "french", "english_text"),
    [
        ({"title": "DR"}, "title", "doit valoir 'MME' ou 'M'", "must be 'MME' or 'M'"),
        ({"title": ""}, "title", "doit valoir 'MME' ou 'M'", "must be 'MME' or 'M'"),
        ({"sex": "X"}, "sex", "doit valoir 'F' ou 'M'", "must be 'F' or 'M'"),
        ({"tongues": ["fr", "en"]}, "tongues", "doit valoir 'fr' ou 'de'", "must be 'fr' or 'de'"),
        ({"children": 256}, "children", "doit être au plus 255", "must be at most 255"),
        ({"children": -1}, "children", "doit être au moins 0", "must be at least 0"),
        ({"children": "two"}, "children", "doit être un nombre entier", "must be a whole number"),
        ({"children": "1e999999999"}, "children", "doit être un nombre entier", "must be a whole number"),
        ({"size": 0}, "size", "doit être supérieur à 0", "must be greater than 0"),
        ({"size": Decimal("2.51")}, "size", "doit être au plus 2.5", "must be at most 2.5"),
        ({"name": "Clémentine"}, "name", "compte au plus 8 caractères", "takes at most 8 characters"),
        ({"name": ""}, "name", "doit compter au moins 1 caractère(s)", "needs at least 1 character(s)"),
    ],
)
def test_what_the_schema_refuses_is_refused_before_sending_in_both_languages(
    tmp_path: Path, members: dict[str, Any], where: str, french: str, english_text: str
) -> None:
    near = {"name": "Jeanne", "near": [{"name": "Paul"}, {"name": "Anne", **members}]}
    with pytest.raises(InvalidInput) as refusal:
        civil(tmp_path).build("enter", person=[near])
    path = f"person/0/near/1/{where}"
    assert refusal.value.fields == {path: [french]}
    assert [english(each) for each in refusal.value.fields[path]] == [english_text]
    assert english(refusal.value.message) == f'"{path}" {english_text}.'


def test_all_the_refused_fields_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refusal:
        civil(tmp_path).build("enter", [{"name": "", "title": "DR"}])
    assert sorted(refusal.value.fields) == ["person/0/name", "person/0/title"]


@pytest.mark.parametrize(
    "members",
    [
        {"title": " MME "},  # a token
        {"children": 255, "size": "2.5", "tongues": ["fr", "de"], "sex": "F"},
        {"place": "de"},
        {"place": "abc"},  # the type written inside the union
        {"odd": "facets that cannot be read are ignored"},
        {"title": None, "children": None},
    ],
)
def test_what_the_schema_takes_is_sent(tmp_path: Path, members: dict[str, Any]) -> None:
    assert b"Jeanne" in civil(tmp_path).build("enter", person=[{"name": "Jeanne", **members}])


def test_an_answer_may_hold_what_its_schema_does_not_know(tmp_path: Path) -> None:
    soap = civil(tmp_path)
    answered = {"name": "A name that is too long", "title": "PR", "sex": "X", "children": 300}
    person = soap.decode("enter", soap.answer("enter", answered))
    assert {name: person[name] for name in answered} == answered


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("person", "said"),
    [
        ([{"name": "A", "nam": "x"}], "nam is not a member of Person"),
        ([{"name": "A", "near": [{"name": "B", "titel": "M", "sexe": "F"}]}], "titel, sexe are not members of Person"),
        ([{"name": "A", "near": ["B"]}], "person/0/near/0 takes a structure"),
        ([{"name": "A", "tongues": "fr"}], "person/0/tongues takes a list"),
        ([{"name": {"first": "A"}}], "person/0/name takes a single value"),
        ([{"xsi:type": "Person", "name": "A", "nam": "x"}], "nam is not a member of Person"),
    ],
)
def test_a_misspelt_member_at_any_depth_is_a_bug_told_with_the_right_ones(
    tmp_path: Path, by_name: bool, person: Any, said: str
) -> None:
    with pytest.raises(TypeError) as raised:
        civil(tmp_path).build("enter", *([] if by_name else [person]), args={"person": person} if by_name else {})
    assert str(raised.value).startswith(f"enter: {said}. Expected: enter(person: [{{name: Name, title?:")


def test_an_argument_given_twice_is_a_bug() -> None:
    with pytest.raises(TypeError, match="words is given twice"):
        library().build("find", "x", words="y")


def test_a_misspelt_member_of_a_simulated_answer_or_fault_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="nam is not a member of Person"):
        civil(tmp_path).answer("enter", {"name": "A", "nam": "x"})
    with pytest.raises(TypeError, match="whom is not a member of"):
        civil(tmp_path).fault("enter", "Server", "no", {"whom": "x"}, name="NotKnownFault")


@pytest.mark.parametrize("key", ["NotKnownFault", "NotKnown", "Server"])
def test_a_declared_fault_goes_by_its_name_its_element_or_its_faultcode(tmp_path: Path, key: str) -> None:
    soap = civil(tmp_path, faults={key: NotFound})
    error = fault_of(soap, "enter", replied(soap.fault("enter", "Server", "no", {"who": "x"}, name="NotKnown"), 500))
    assert isinstance(error, NotFound)
    assert error.code == "NotKnownFault"
    assert error.message == "Introuvable dans le logiciel de l'éditeur."
    assert english(error.message) == "Not found in the publisher's software."


@pytest.mark.parametrize(
    "kind", [InvalidInput, NotFound, Rejected, Misconfigured, UpstreamInvalid, UpstreamUnavailable]
)
def test_a_class_given_for_a_fault_has_a_sentence_of_its_own_in_both_languages(
    tmp_path: Path, kind: type[RelaisError]
) -> None:
    soap = civil(tmp_path, faults={"NotKnown": kind})
    error = fault_of(soap, "enter", replied(soap.fault("enter", "Server", "no", {"who": "x"}, name="NotKnown"), 500))
    assert type(error) is kind
    assert english(error.message) != error.message


def test_the_name_of_a_fault_is_known_only_when_its_element_tells(tmp_path: Path) -> None:
    seen: list[SoapFault] = []
    soap = civil(tmp_path, faults=lambda fault: seen.append(fault))
    fault_of(soap, "enter", replied(soap.fault("enter", "Server", "no", {"who": "x"}, name="NotKnownFault"), 500))
    fault_of(soap, "enter", replied(soap.fault("enter", "Client", "no"), 500))
    assert [(each.code, each.name, each.type, each.faultcode) for each in seen] == [
        ("NotKnownFault", "NotKnownFault", "NotKnown", "Server"),
        ("Client", "", "", "Client"),
    ]


def test_a_copy_saved_beside_the_wsdl_stands_for_the_address_it_was_saved_from(tmp_path: Path) -> None:
    path = wsdl_importing(tmp_path, schema_import("http://publisher.example.org/ws/types.xsd"))
    with pytest.raises(Misconfigured, match=r"sous le nom types\.xsd, ou ailleurs avec locations="):
        Soap(None, wsdl=path)
    (tmp_path / "types.xsd").write_text(ELSEWHERE)
    assert "find" in Soap(None, wsdl=path).operations()


async def test_a_one_way_call_ends_with_its_acknowledgement_and_a_fault_is_still_one() -> None:
    publisher = Publisher(Response(202, {}, b""))
    soap = library(publisher.http, faults={"Busy": Rejected})
    assert await soap.call("tell", note="x") is None
    publisher.response = replied(envelope(""))
    assert await soap.call("tell", note="x") is None
    publisher.response = replied(envelope("<S:Fault><faultcode>S:Busy</faultcode></S:Fault>"), 500)
    with pytest.raises(Rejected):
        await soap.call("tell", note="x")
    with pytest.raises(TypeError, match="one way"):
        soap.answer("tell")
