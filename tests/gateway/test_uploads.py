"""Large bodies: a file's content is decoded apart from its JSON, and nothing of what a body means changes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import bodies, inbound
from gateway.bodies import LONG, Incoming, decode_body
from gateway.sent import Sent
from sdk import MEGABYTE, Connector, File, InvalidInput, Model, Overloaded, Receipt, Received, callback, create
from sdk.files import Decoded
from tests.gateway.conftest import Start

CONTENT = os.urandom(LONG)
TEXT = base64.b64encode(CONTENT).decode()


class Settings(Model):
    pass


class Deposit(Model):
    title: str
    file: File | None = None
    more: list[File] = []
    content: str = ""


class Depot(Connector[Settings]):
    """Reçoit des fichiers."""

    name, title, category = "depot", "Dépôt", "Tests"

    @create("deposits", delivery="at-least-once", max_body=20 * MEGABYTE)
    async def deposit(self, deposit: Deposit) -> Receipt:
        """Déposer."""
        files = [file for file in (deposit.file, *deposit.more) if file is not None]
        told = [f"{file.filename}:{file.content_type}:{hashlib.sha256(file.content).hexdigest()}" for file in files]
        return Receipt(id="/".join([*told, str(len(deposit.content))]))

    @callback("rung")
    async def rung(self, received: Received) -> None:
        """Apprendre quelque chose."""


DEPOSIT = next(endpoint for endpoint in Depot.endpoints if endpoint.name == "deposits")


def plain(value: Any) -> Any:
    """The value as `json.loads` gives it."""
    if isinstance(value, Decoded):
        return value.text()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def received(raw: bytes, step: int) -> tuple[bytes, dict[str, Decoded]]:
    """The body as it is once it has arrived, `step` bytes at a time."""
    incoming = Incoming()
    for at in range(0, len(raw), step):
        incoming.extend(raw[at : at + step])
    return incoming.ended()


@pytest.mark.parametrize(
    ("document", "cut"),
    [
        (json.dumps({"file": {"content": TEXT, "filename": "é.pdf"}}), 1),
        (json.dumps({"file": {"content": TEXT}}, indent=3), 1),
        (json.dumps({"a": [{"content": TEXT}, {"content": TEXT}], "content": TEXT}), 3),
        ('{"file" : {"content"\n:\t"' + TEXT + '"}}', 1),
        (json.dumps({"content": "short"}), 0),
        (json.dumps({"content": TEXT[:-1]}), 0),
        (json.dumps({"content": TEXT[:-4] + "AB=="}), 0),  # B holds bits that no byte has: not what encoding would give
        (json.dumps({"content": TEXT + "AA=="}), 0),
        (json.dumps({"content": TEXT + "A"}), 0),
        (json.dumps({"content": base64.b64encode(bytes(LONG + 1)).decode() + "A" * 4}), 0),
        ('{"content"' + " " * 64 + ":" + "\n" * 64 + '"' + TEXT + '"}', 1),
        ('{"content"' + " " * 65 + ': "' + TEXT + '"}', 0),
        (json.dumps({"content": "AA==" * LONG}), 0),
        (json.dumps({"content": "AAAA" * LONG}), 1),
        (json.dumps({"content": TEXT[:80] + "\n" + TEXT[80:]}), 0),
        (json.dumps({"content": "é" * LONG}), 0),
        (json.dumps({"other": TEXT}), 0),
        (json.dumps({'x"content': TEXT}), 0),
        (json.dumps({"text": 'said "content":"' + TEXT + '"'}), 0),
        (json.dumps({"content": TEXT}).replace("/", "\\/"), 0),
        (json.dumps({"content": ["content", TEXT]}), 0),
    ],
)
def test_what_is_cut_out_and_put_back_is_the_body(document: str, cut: int) -> None:
    raw = document.encode()
    whole = Sent({}, (), "application/json", raw)
    for step in (len(raw), 65_536, 9_001, 7):
        rest, found = received(raw, step)
        assert len(found) == cut
        assert plain(decode_body("application/json", rest, found)) == json.loads(document)
    sent = Sent({}, (), "application/json", rest, found)
    assert sent.packed() == whole.packed()
    first, *pieces = sent.in_pieces()
    assert plain(Sent.unpacked(first, pieces).body(DEPOSIT)) == json.loads(document)
    assert sent.fingerprint(DEPOSIT, sent.body(DEPOSIT)) == whole.fingerprint(DEPOSIT, whole.body(DEPOSIT))


FRAGMENTS = [b'"content"', b'"', b":", b" ", b"\\", b"=", b"-", b"{", b"A", b"AAAA", b"AAAAAAAA", b"QUI=", b"QQ=="]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30), st.integers(1, 9))
def test_whatever_the_bytes_and_however_they_arrive_nothing_of_them_is_changed(parts: list[bytes], step: int) -> None:
    raw = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LONG", 8)
        found = received(raw, step)
    document, cut = found
    for name, one in cut.items():
        document = document.replace(name.encode(), one.text().encode())
    assert document == raw
    assert all(len(one.content) >= 4 for one in cut.values())


@pytest.mark.parametrize(
    "document", ['{"content": "' + TEXT, '{"content": "' + TEXT + '"', '"content": "' + TEXT + '"']
)
def test_a_truncated_large_body_is_refused_as_json(document: str) -> None:
    rest, found = received(document.encode(), 65_536)
    with pytest.raises(InvalidInput, match="JSON"):
        decode_body("application/json", rest, found)


def body(**more: Any) -> dict[str, Any]:
    return {"title": "t" * inbound.LARGE, **more}


async def test_a_large_file_reaches_its_connector_whole_and_is_replayed(start: Start) -> None:
    sent = body(
        file={"filename": "plan.bin", "content": TEXT, "content_type": "application/octet-stream"},
        more=[{"filename": "note.txt", "content": TEXT, "content_is_base64": False}],
    )
    key = {"Idempotency-Key": "one"}
    async with start(Depot) as gateway:
        first = await gateway.post("/depot/test/deposits", sent, headers=key)
        again = await gateway.post("/depot/test/deposits", sent, headers=key)
        status, _, other = await gateway.call("POST", "/depot/test/deposits", json=body(), headers=key)
    decoded, text = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha256(TEXT.encode()).hexdigest()
    assert first["data"]["id"] == (f"plan.bin:application/octet-stream:{decoded}/note.txt:text/plain:{text}/0")
    assert again["data"] == first["data"]
    assert (status, other["err_class"]) == (422, "KeyMismatch")


async def test_base64_that_no_file_takes_stays_a_text(start: Start) -> None:
    async with start(Depot) as gateway:
        answer = await gateway.post("/depot/test/deposits", body(content=TEXT))
        mixed = await gateway.post("/depot/test/deposits", body(content=TEXT, file={"content": TEXT}))
    assert answer["data"]["id"] == str(len(TEXT))
    assert mixed["data"]["id"].endswith(f"/{len(TEXT)}")


async def test_a_fault_beside_a_large_file_is_named(start: Start) -> None:
    async with start(Depot) as gateway:
        status, _, answer = await gateway.call(
            "POST", "/depot/test/deposits", json={"title": [], "file": {"content": TEXT * 4, "colour": "red"}}
        )
    assert status == 400
    assert answer["errors"].keys() == {"title", "file"}


async def test_large_bodies_that_come_together_beyond_what_a_process_holds_are_sent_back(start: Start) -> None:
    async with start(Depot, max_body=1_000_000) as gateway:
        held = gateway.server.dispatch._bodies
        with held.holding(3_900_000):
            status, headers, answer = await gateway.call("POST", "/depot/test/deposits", json=body())
            assert (status, answer["err_class"], headers["Retry-After"]) == (503, "Overloaded", "5")
            assert (await gateway.post("/depot/test/deposits", {"title": "small"}))["err"] == 0
        assert (await gateway.post("/depot/test/deposits", body()))["err"] == 0


async def test_whoever_calls_without_an_account_leaves_callers_their_room(start: Start) -> None:
    async with start(Depot, max_body=1_000_000) as gateway:
        opened = [await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2])) for _ in range(5)]
        for _, writer in opened:
            writer.write(b"POST /depot/test/rung HTTP/1.1\r\nHost: x\r\nContent-Length: 990000\r\n\r\n")
        refused, *_ = await asyncio.wait(
            [asyncio.ensure_future(reader.readline()) for reader, _ in opened], return_when=asyncio.FIRST_COMPLETED
        )
        assert b" 503 " in refused.pop().result()
        assert (await gateway.post("/depot/test/deposits", body()))["err"] == 0
        for _, writer in opened:
            writer.close()


def test_one_large_body_alone_is_always_received() -> None:
    held = inbound.Held(1)
    with held.holding(10_000_000), pytest.raises(Overloaded), held.holding(inbound.LARGE + 1):
        pass
    with held.holding(inbound.LARGE + 1):
        pass
