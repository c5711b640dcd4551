"""The door of a full process: plain reads are sent back before anything is made of them, and nothing else changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway import door
from gateway.door import Door
from sdk import Connector, Model, Receipt, create, get

from .conftest import KEY, Gateway, Start


class Settings(Model):
    pass


class Order(Model):
    what: str


class Counter(Connector[Settings]):
    """Un guichet qui fait attendre."""

    name, title, category = "counter", "Guichet", "Tests"
    held = 0
    release = asyncio.Event()

    @get("slow")
    async def slow(self) -> Order:
        """Attendre."""
        Counter.held += 1
        await Counter.release.wait()
        return Order(what="slow")

    @get("quick")
    async def quick(self) -> Order:
        """Répondre."""
        return Order(what="quick")

    @create("orders", delivery="at-least-once")
    async def order(self, order: Order) -> Receipt:
        """Commander."""
        return Receipt(id="O1")


HEAD = f"Host: relais\r\nX-API-Key: {KEY['X-API-Key']}\r\n".encode()


def read(path: str = "quick", more: bytes = b"", version: bytes = b"1.1") -> bytes:
    """The bytes of a read."""
    return b"GET /counter/test/" + path.encode() + b" HTTP/" + version + b"\r\n" + HEAD + more + b"\r\n"


class Line:
    """A connection kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], Any]:
        """Status, headers in lower case, body."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers, json.loads(body)


@asynccontextmanager
async def line(gateway: Gateway) -> AsyncIterator[Line]:
    one = Line(*await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2])))
    yield one
    one.writer.close()


def door_of(gateway: Gateway) -> Door:
    server = gateway.server._runners[0].server
    assert isinstance(server, Door)
    return server


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 nobody tells
            await asyncio.sleep(0.005)


@pytest.fixture
async def full(start: Start) -> AsyncIterator[Gateway]:
    """A gateway that serves two calls at once, and does."""
    Counter.held, Counter.release = 0, asyncio.Event()
    async with start(Counter, max_in_flight=2) as gateway:
        waiting = [asyncio.create_task(gateway.get("/counter/test/slow")) for _ in range(2)]
        await until(lambda: Counter.held == 2)
        yield gateway
        Counter.release.set()
        for one in await asyncio.gather(*waiting):
            assert one["data"] == {"what": "slow"}


async def test_a_read_for_which_there_is_no_room_is_sent_back_in_the_envelope(full: Gateway) -> None:
    async with line(full) as one:
        status, headers, body = await one.ask(read())
        assert (status, headers["retry-after"], headers["x-error-code"]) == (503, "2", "1")
        assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")
        assert (body["err"], body["err_class"], body["data"], body["err_origin"]) == (1, "Overloaded", None, "gateway")
        assert "x-request-id" not in headers  # nothing was made of it
        assert (await one.ask(read(more=b"Accept-Language: en\r\n")))[2]["err_desc"] == "Overloaded; nothing was sent."
        Counter.release.set()
        await until(lambda: full.server.dispatch.room() == 2)
        assert (await one.ask(read()))[2]["data"] == {"what": "quick"}


async def test_whoever_watches_is_answered_whoever_calls(full: Gateway) -> None:
    async with line(full) as one:
        assert (await one.ask(b"GET /health/live HTTP/1.1\r\n" + HEAD + b"\r\n"))[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        read(more=b"Content-Length: 0\r\n"),
        read(more=b"X-Text: d\xc3\xa9j\xc3\xa0\r\ncontent-length: 0\r\n"),
        read(more=b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
        b"POST /counter/test/orders HTTP/1.1\r\nContent-Type: application/json\r\nIdempotency-Key: 1\r\n"
        + HEAD
        + b'Content-Length: 14\r\n\r\n{"what": "it"}',
    ],
)
async def test_what_is_not_a_plain_read_is_refused_as_any_call(full: Gateway, request_: bytes) -> None:
    async with line(full) as one:
        status, headers, body = await one.ask(request_)
    assert (status, body["err_class"]) == (503, "Overloaded")
    assert headers["x-request-id"]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (read(more=b"Connection: keep-alive\r\n"), True),
        (read(more=b"Connection: close\r\n"), False),
        (read(more=b"connection: x, Close\r\n"), False),
        (read(version=b"1.0"), False),
    ],
)
async def test_the_connection_of_a_read_that_is_sent_back_is_kept_as_it_asked(
    full: Gateway, asked: bytes, kept: bool
) -> None:
    async with line(full) as one:
        status, headers, _ = await one.ask(asked)
        assert (status, headers.get("connection")) == (503, None if kept else "close")
        if kept:
            assert (await one.ask(asked))[0] == 503
        else:
            assert await one.reader.read() == b""


async def test_a_read_that_comes_in_two_pieces_is_one_read(full: Gateway) -> None:
    async with line(full) as one:
        whole = read("quick", more=b"X-Long: GET /counter/test/quick HTTP/1.1\r\n")
        at = whole.index(b"GET /", 5)
        one.writer.write(whole[:at])
        await one.writer.drain()
        await asyncio.sleep(0.05)
        assert (await one.ask(whole[at:]))[1]["x-request-id"]  # the second piece looks like a read, and is none
        Counter.release.set()
        await until(lambda: full.server.dispatch.room() == 2)
        assert (await one.ask(read()))[2]["data"] == {"what": "quick"}


async def test_reads_sent_one_behind_the_other_are_answered_in_their_order(start: Start) -> None:
    Counter.held, Counter.release = 0, asyncio.Event()
    async with start(Counter, max_in_flight=1) as gateway, line(gateway) as one:
        one.writer.write(read("slow"))
        await until(lambda: Counter.held == 1)
        one.writer.write(read("quick") + read("quick"))
        one.writer.write(read("quick"))
        await asyncio.sleep(0.05)
        Counter.release.set()
        assert [(await one.answer())[2]["data"]["what"] for _ in range(4)] == ["slow", "quick", "quick", "quick"]


@pytest.mark.parametrize("pieces", [1, 2, 3])
async def test_a_body_that_looks_like_reads_is_a_body(full: Gateway, pieces: int) -> None:
    """Its request was answered before it came."""
    inner = read()
    head = b"POST /counter/test/orders HTTP/1.1\r\nContent-Type: application/json\r\nIdempotency-Key: 1\r\n" + HEAD
    async with line(full) as one:
        assert (await one.ask(head + f"Content-Length: {pieces * len(inner)}\r\n\r\n".encode()))[0] == 503
        for _ in range(pieces):
            one.writer.write(inner)
            await one.writer.drain()
            await asyncio.sleep(0.05)
        Counter.release.set()
        await until(lambda: full.server.dispatch.room() == 2)
        assert (await one.ask(read()))[2]["data"] == {"what": "quick"}  # not one more refusal


async def test_reads_without_a_pause_are_each_answered_once(start: Start) -> None:
    """Each comes as soon as the answer before has left, when aiohttp does not wait for it yet."""
    async with start(Counter, max_in_flight=1) as gateway:

        async def caller() -> list[int]:
            async with line(gateway) as one:
                answers = [await one.ask(read()) for _ in range(150)]
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await one.reader.read(1)
            assert {body["err_class"] for status, _, body in answers if status != 200} <= {"Overloaded"}
            return [status for status, _, _ in answers]

        statuses = [status for each in await asyncio.gather(*(caller() for _ in range(3))) for status in each]
        assert set(statuses) <= {200, 503}
        assert 200 in statuses
        assert (door_of(gateway).coming, gateway.server.dispatch.room()) == (0, 1)


async def test_as_many_reads_as_there_is_room_for_are_let_in_however_they_come(start: Start) -> None:
    Counter.held, Counter.release = 0, asyncio.Event()
    async with start(Counter, max_in_flight=3) as gateway:
        lines = [Line(*await asyncio.open_connection("127.0.0.1", int(gateway.url[17:]))) for _ in range(10)]
        for one in lines:
            one.writer.write(read("slow"))
        answers = [asyncio.create_task(one.answer()) for one in lines]
        await until(lambda: sum(answer.done() for answer in answers) == 7)
        Counter.release.set()
        statuses = sorted(status for status, _, _ in await asyncio.gather(*answers))
        assert statuses == [200] * 3 + [503] * 7
        for one in lines:
            one.writer.close()


@pytest.mark.parametrize(
    "left", [read("quick"), b"GET /\xff HTTP/1.1\r\nHost\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /counter/te"]
)
async def test_nothing_that_never_begins_takes_room_for_ever(start: Start, left: bytes) -> None:
    async with start(Counter, max_in_flight=1) as gateway:
        for _ in range(3):
            async with line(gateway) as one:
                one.writer.write(left)
        await until(lambda: door_of(gateway).coming == 0 and not door_of(gateway).connections)
        async with line(gateway) as one:
            assert (await one.ask(read()))[0] == 200


async def test_what_was_sent_back_is_counted_and_told_together(
    start: Start, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "TOLD_EVERY", 0.05)
    Counter.held, Counter.release = 0, asyncio.Event()
    async with start(Counter, max_in_flight=1, admin=True) as gateway, line(gateway) as slow, line(gateway) as one:
        slow.writer.write(read("slow"))
        await until(lambda: Counter.held == 1)
        for _ in range(5):
            assert (await one.ask(read()))[0] == 503
        await asyncio.sleep(0.1)
        async with gateway.session.get(gateway.admin + "/metrics") as answer:  # never refused
            figures = await answer.text()
        Counter.release.set()
        await slow.answer()
    assert 'relais_calls_total{connector="?",endpoint="?",outcome="Overloaded"} 5.0' in figures
    assert [said["sent_back"] for said in lines() if said["event"] == "overloaded"] == [5]
