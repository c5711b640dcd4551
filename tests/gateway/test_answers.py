"""How an answer leaves: whole, framed for the caller's version of HTTP, on a connection kept or ended as it asked."""

from __future__ import annotations

import asyncio
import json
from email.utils import parsedate_to_datetime

import pytest

from .conftest import KEY, Start
from .garden import Garden


class Caller:
    """A caller that reads bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, *headers: str, method: str = "GET", version: str = "1.1") -> tuple[str, dict[str, str], bytes]:
        lines = [f"{method} /garden/test/flowers HTTP/{version}", "Host: x", f"X-API-Key: {KEY['X-API-Key']}", *headers]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        status, *said = (await self._reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in said)}
        assert len(found) == len(said), "a header is said twice"
        size = 0 if method == "HEAD" else int(found["content-length"])
        return status, found, await self._reader.readexactly(size)

    async def rest(self) -> bytes:
        """What comes until the gateway ends the connection."""
        return await self._reader.read()


@pytest.fixture
async def caller(start: Start) -> object:
    async with start(Garden, settings={"password": "x"}) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
        yield Caller(reader, writer)
        writer.close()


async def test_a_connection_serves_one_call_after_another(caller: Caller) -> None:
    for _ in range(3):
        status, headers, body = await caller.ask()
        assert status == "HTTP/1.1 200 OK"
        assert json.loads(body)["err"] == 0
        assert "connection" not in headers
        assert parsedate_to_datetime(headers["date"]).tzinfo is not None
        assert (headers["content-type"], headers["cache-control"]) == ("application/json", "no-store")
        assert (headers["x-content-type-options"], len(headers["x-request-id"])) == ("nosniff", 32)


async def test_a_caller_that_wants_no_more_is_told_and_left(caller: Caller) -> None:
    _, headers, _ = await caller.ask("Connection: close")
    assert headers["connection"] == "close"
    assert await caller.rest() == b""


async def test_an_old_caller_is_kept_when_it_asks_and_left_otherwise(caller: Caller) -> None:
    _, headers, body = await caller.ask("Connection: keep-alive", version="1.0")
    assert headers["connection"] == "keep-alive"
    assert json.loads(body)["err"] == 0
    _, headers, _ = await caller.ask(version="1.0")
    assert "connection" not in headers
    assert await caller.rest() == b""


async def test_head_is_answered_without_a_body_and_leaves_the_connection_usable(caller: Caller) -> None:
    status, headers, _ = await caller.ask(method="HEAD")
    assert status == "HTTP/1.1 405 Method Not Allowed"
    assert int(headers["content-length"]) > 0
    assert (await caller.ask())[0] == "HTTP/1.1 200 OK"
