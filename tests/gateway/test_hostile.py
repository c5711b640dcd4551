"""Whatever a caller sends and a publisher answers: the right error, no trace, and the next call still works."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.payfip import PayFiP
from sdk import Connector, HttpUrl, Model, Receipt, Rest, Row, create, get
from tests.sdk import wire_kit
from tests.sdk.wire_kit import HANG_UP, SILENCE, Seen

from .conftest import Gateway, Start


class Settings(Model):
    url: HttpUrl


class Note(Model):
    text: str
    lines: list[str] = []


class Notes(Connector[Settings]):
    """Notes kept by a publisher that may be hostile."""

    name, title = "notes", "Notes"

    def __init__(self, settings: Settings, http: Any) -> None:
        super().__init__(settings, http)
        self.rest = Rest(http, settings.url)

    @get
    async def notes(self) -> Row:
        """The notes."""
        return Row(**await self.rest.get("/notes"))

    @create("notes", delivery="at-most-once", max_body=200_000)
    async def add(self, note: Note) -> Receipt:
        """Add one."""
        return Receipt(id=str((await self.rest.post("/notes", json={"text": note.text}))["id"]))


class Publisher:
    """Answers with `bytes_` as they are."""

    def __init__(self) -> None:
        self.bytes_: Any = wire_kit.answer(200, b'{"id": 1}')
        self.seen: list[str] = []
        self.bodies: list[bytes] = []

    def __call__(self, seen: Seen) -> Any:
        self.seen.append(f"{seen.method} {seen.target}")
        self.bodies.append(seen.body)
        return self.bytes_


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
async def gateway(start: Start, publisher: Publisher) -> AsyncIterator[Gateway]:
    quick = {"timeout": 0.3, "retries": 0, "breaker": False}
    async with (
        wire_kit.upstream(publisher) as upstream,
        start(Notes, settings={"url": upstream.url}, http=quick) as running,
    ):
        yield running


def bomb() -> Iterator[bytes]:
    """1 GiB of zeros in 1 MiB of gzip: one compressed mebibyte, repeated."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield pack.compress(bytes(1024)) + pack.flush(zlib.Z_FULL_FLUSH)
    mebibyte = pack.compress(bytes(1024 * 1024)) + pack.flush(zlib.Z_FULL_FLUSH)
    for _ in range(1024):
        yield mebibyte


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(4096):
        yield b"10000\r\n" + b" " * 65536 + b"\r\n"


UPSTREAMS: dict[str, tuple[Any, str]] = {
    "silence": (SILENCE, "UpstreamUnavailable"),
    "hang up": (HANG_UP, "UpstreamUnavailable"),
    "bad status line": (b"HTTQ/1.1 2OO fine\r\n\r\n{}", "UpstreamInvalid"),
    "truncated body": (b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"id"', "UpstreamInvalid"),
    "html with 200": (wire_kit.answer(200, b"<html>login</html>", Content_Type="text/html"), "UpstreamInvalid"),
    "not json": (wire_kit.answer(200, b"{'id': 1}"), "UpstreamInvalid"),
    "nan": (wire_kit.answer(200, b'{"id": NaN}'), "UpstreamInvalid"),
    "empty": (wire_kit.answer(200, b""), "UpstreamInvalid"),
    "redirect": (wire_kit.answer(302, b"", Location="http://127.0.0.1:1/elsewhere"), "Misconfigured"),
    "refused credentials": (wire_kit.answer(401, b"no"), "Misconfigured"),
    "gzip bomb": (bomb, "UpstreamInvalid"),
    "endless": (endless, "UpstreamInvalid"),
    "latin-1": (wire_kit.answer(200, '{"id": "é"}'.encode("latin-1")), "UpstreamInvalid"),
    "server error with a trace": (
        wire_kit.answer(500, b"Traceback: password=hunter2", Content_Type="text/plain"),
        "UpstreamInvalid",
    ),
    "unavailable": (wire_kit.answer(503, b"later", Retry_After="7"), "UpstreamUnavailable"),
}


@pytest.mark.parametrize("case", UPSTREAMS, ids=lambda case: case.replace(" ", "-"))
async def test_a_hostile_answer_has_its_class_and_the_next_call_works(
    gateway: Gateway, publisher: Publisher, case: str
) -> None:
    well = publisher.bytes_
    answer, expected = UPSTREAMS[case]
    publisher.bytes_ = answer() if callable(answer) else answer
    status, headers, body = await gateway.call("GET", "/notes/test/notes")
    assert (body["err_class"], body["err"], headers["X-Error-Code"]) == (expected, 1, "1")
    assert status >= 500
    assert not any(word in json.dumps(body) for word in ("Traceback", "hunter2", "login", "elsewhere"))
    publisher.bytes_ = well
    assert (await gateway.get("/notes/test/notes"))["data"] == {"id": 1}


@pytest.mark.parametrize("case", [c for c in UPSTREAMS if c != "empty"], ids=lambda case: case.replace(" ", "-"))
async def test_a_creation_with_a_hostile_answer_is_sent_once_and_unknown(
    gateway: Gateway, publisher: Publisher, case: str
) -> None:
    answer, _ = UPSTREAMS[case]
    publisher.bytes_ = answer() if callable(answer) else answer
    body = await gateway.post("/notes/test/notes", {"text": "x"})
    assert body["err_class"] == "OutcomeUnknown"
    assert publisher.seen == ["POST /notes"]


async def test_an_unknown_outcome_tells_what_was_met(gateway: Gateway, publisher: Publisher) -> None:
    publisher.bytes_ = wire_kit.answer(401, b"no")
    body = await gateway.post("/notes/test/notes", {"text": "x"})
    assert body["err_class"] == "OutcomeUnknown"
    assert "identifiants" in body["err_desc"].partition("Ce qui s'est passé")[2]


HOSTILE_BODIES: dict[str, bytes] = {
    "deep": b'{"text":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "very deep": b"[" * 90_000,
    "huge integer": b'{"text": ' + b"9" * 5000 + b"}",
    "beyond 64 bits": b'{"text": 18446744073709551616}',
    "nan": b'{"text": NaN}',
    "infinity": b'{"text": -Infinity}',
    "overflow": b'{"text": 1e400}',
    "latin-1": '{"text": "é"}'.encode("latin-1"),
    "utf-16": '{"text": "x"}'.encode("utf-16"),
    "bom": b'\xef\xbb\xbf{"text": "x"}',
    "lone surrogate": b'{"text": "\\ud800"}',
    "nul": b'{"text": "a\\u0000b"}',
    "twice the same key": b'{"text": "a", "text": "b"}',
    "not an object": b"[]",
    "trailing": b'{"text": "x"} {}',
    "truncated": b'{"text": "x"',
    "conflicting flat keys": b'{"lines/0": "a", "lines/a": "b", "text": "x"}',
    "hole in a flat list": b'{"lines/0": "a", "lines/2": "b", "text": "x"}',
    "empty": b"",
}


@pytest.mark.parametrize("case", HOSTILE_BODIES, ids=lambda case: case.replace(" ", "-"))
async def test_a_hostile_body_is_refused_with_400_and_nothing_is_sent(
    gateway: Gateway, publisher: Publisher, case: str
) -> None:
    status, headers, body = await gateway.call(
        "POST", "/notes/test/notes", data=HOSTILE_BODIES[case], headers={"Content-Type": "application/json"}
    )
    assert (status, body["err"], body["err_class"], headers["X-Error-Code"]) == (400, 1, "InvalidInput", "1")
    assert publisher.seen == []


async def test_flat_keys_are_rebuilt(gateway: Gateway, publisher: Publisher) -> None:
    body = await gateway.post("/notes/test/notes", {"text": "x", "lines/0": "a", "lines/1": "b"})
    assert body["err"] == 0


async def test_decomposed_accents_are_composed_not_refused(gateway: Gateway, publisher: Publisher) -> None:
    body = await gateway.post("/notes/test/notes", {"text": "e\u0301te\u0301"})
    assert body["err"] == 0
    assert json.loads(publisher.bodies[0])["text"] == "été"


async def test_a_body_promised_but_never_sent_is_given_up(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.inbound.PATIENCE", 0.1)
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /notes/test/notes HTTP/1.1\r\nHost: x\r\nX-API-Key: the-key-of-the-tests\r\n"
        b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 408 " in head.splitlines()[0]
    assert json.loads(body)["err_class"] == "TooSlow"


async def test_a_compressed_body_is_not_inflated(gateway: Gateway, publisher: Publisher) -> None:
    status, _, body = await gateway.call(
        "POST",
        "/notes/test/notes",
        data=gzip.compress(b'{"text": "' + b"x" * 10_000_000 + b'"}'),
        headers={"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )
    assert (status, body["err_class"], publisher.seen) == (415, "UnsupportedType", [])


def envelope(content: str, prolog: str = "") -> bytes:
    return (
        f'{prolog}<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body>'
        '<n:recupererDetailClientResponse xmlns:n="http://securite.service.tpa.cp.finances.gouv.fr/services/mas_securite/'
        f'contrat_paiement_securise/PaiementSecuriseService"><return>{content}</return>'
        "</n:recupererDetailClientResponse></S:Body></S:Envelope>"
    ).encode()


SECRET = "content-of-a-local-file"


def documents(folder: Path | None) -> dict[str, bytes]:
    """Documents that try to read `folder/secret`, or to cost more than they weigh."""
    file = "file:///absent"
    if folder is not None:
        (folder / "secret").write_text(SECRET)
        file = (folder / "secret").as_uri()
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    name = "<libelleN1>{}</libelleN1><numcli>012345</numcli>"
    return {
        "internal entity": envelope(name.format("&x;"), '<!DOCTYPE x [<!ENTITY x "y">]>'),
        "external entity": envelope(name.format("&x;"), f'<!DOCTYPE x [<!ENTITY x SYSTEM "{file}">]>'),
        "parameter entity": envelope(name.format("x"), f'<!DOCTYPE x [<!ENTITY % p SYSTEM "{file}"> %p;]>'),
        "external dtd": envelope(name.format("x"), f'<!DOCTYPE x SYSTEM "{file}">'),
        "billion laughs": envelope(name.format("&l9;"), f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>'),
        "quadratic": envelope(name.format("&x;" * 20_000), f'<!DOCTYPE x [<!ENTITY x "{"y" * 20_000}">]>'),
        "entity in an attribute": envelope('<numcli a="&x;">1</numcli>', '<!DOCTYPE x [<!ENTITY x "y">]>'),
        "very deep": envelope("<a>" * 5000 + "</a>" * 5000),
        "very wide": envelope("<a/>" * 1_500_000),
        "huge text": envelope(name.format("x" * 10_500_000)),
        "truncated": envelope(name.format("x"))[:-30],
        "another encoding": envelope(name.format("x")).replace(b"x", b"\xff"),
        "xinclude": envelope(f'<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="{file}" parse="text"/>'),
        "not an envelope": b"<html><body>login</body></html>",
        "empty": b"",
    }


@pytest.mark.parametrize("case", sorted(documents(None)), ids=lambda case: case.replace(" ", "-"))
async def test_a_hostile_document_is_the_publishers_error_and_the_next_call_works(
    start: Start, tmp_path: Path, case: str
) -> None:
    document = documents(tmp_path)[case]
    good = envelope("<libelleN1>R\u00e9gie</libelleN1><numcli>012345</numcli>")
    answers = [document]

    def play(seen: Seen) -> bytes:
        return wire_kit.answer(200, answers[0], Content_Type="text/xml; charset=utf-8")

    async with wire_kit.upstream(play) as upstream:
        settings = {"url": f"{upstream.url}/securite", "client_number": "012345", "mode": "T"}
        async with start(PayFiP, settings=settings, http={"breaker": False}) as gateway:
            status, _, body = await gateway.call("GET", "/payfip/test/client")
            assert (status, body["err_class"]) == (502, "UpstreamInvalid")
            assert SECRET not in json.dumps(body)
            answers[0] = good
            assert (await gateway.get("/payfip/test/client"))["err"] == 0
