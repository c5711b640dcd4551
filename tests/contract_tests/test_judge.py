"""The judge stands: whatever a target does, it ends in bounded time and memory with an honest verdict."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

import contract_tests
from contract_tests.checks import registry
from contract_tests.core.case import user_agent
from contract_tests.core.check import Registry
from contract_tests.core.execute import execute
from contract_tests.core.record import record
from contract_tests.core.requirement import catalogue
from contract_tests.reference import Asked, Reference, Reply
from contract_tests.text import Text
from contract_tests.wire import Limits, Request, Wire

Answers = Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BOUNDED = Limits(patience=10.0, max_body=200_000)
IMPATIENT = Limits(patience=0.3)
GOOD = b'{"err": 0, "data": []}'


def reply(body: bytes = GOOD, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def raw(answers: Answers) -> AsyncIterator[str]:
    """A server of bytes: `answers` is given the head of each request."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await answers(await reader.readuntil(b"\r\n\r\n"), reader, writer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            writer.transport.abort()
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in (left := list(serving)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await server.wait_closed()
        for _ in range(3):  # aborted transports tell so at the loop's next turns
            await asyncio.sleep(0)


def target(url: str, profile: str = "search") -> contract_tests.Target:
    return contract_tests.read(
        {"name": "essai", "base_url": url, "endpoints": [{"profile": profile, "path": "/x", "example": "a"}]}
        if profile == "search"
        else {"name": "essai", "base_url": url, "endpoints": [{"profile": profile, "path": "/x"}]}
    )


async def judged(answers: Answers) -> contract_tests.Run:
    limits = IMPATIENT if answers is hang else BOUNDED
    async with raw(answers) as url:
        return await contract_tests.certify(target(url), rate=0, seed=1, limits=limits)


def verdict(run: contract_tests.Run) -> str:
    return run.verdicts[0].judgement


async def hang(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def reset(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def half(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply()[:-5])


async def not_http(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


async def endless(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
    while True:
        writer.write(b'"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",' * 1000)
        await writer.drain()


async def endless_headers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 100)
        await writer.drain()


BOMB = gzip.compress(b'{"err": 0, "data": "' + b"a" * 50_000_000 + b'"}')


async def bomb(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(BOMB, "Content-Encoding: gzip"))


async def broken_gzip(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(b"not gzip at all", "Content-Encoding: gzip"))


@pytest.mark.parametrize(
    ("answers", "requirement"),
    [
        (hang, "PUB-HTTP-4"),
        (reset, "PUB-HTTP-10"),
        (half, "PUB-HTTP-10"),
        (not_http, "PUB-HTTP-10"),
        (endless, "PUB-HTTP-11"),
        (endless_headers, "PUB-HTTP-10"),
        (bomb, "PUB-HTTP-11"),
        (broken_gzip, "PUB-HTTP-10"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_target_that_does_not_answer_is_judged_on_that_and_left_alone(
    answers: Answers, requirement: str
) -> None:
    run = await judged(answers)
    assert requirement in run.failing()
    assert verdict(run) == "not-conformant"
    assert len(run.exchanges) <= BOUNDED.give_up  # politeness: no more calls than it takes to know
    assert sum(len(one.response.body) for one in run.exchanges if one.response) < 1_000_000
    assert not any(one.status == "error" for one in run.outcomes)
    assert any("left alone" in one.message.en for one in run.outcomes)


async def test_a_redirect_to_another_host_is_not_followed_and_leaves_the_verdict_partial() -> None:
    called: list[bytes] = []

    async def elsewhere(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(head)
        writer.write(reply())

    async with raw(elsewhere) as other:

        async def redirects(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(reply(b"", f"Location: {other}/x", status="302 Found"))

        run = await judged(redirects)
    assert called == []
    assert "PUB-HTTP-2" in run.failing()
    assert verdict(run) in ("partial", "not-tested")


async def test_a_target_that_changes_its_answers_is_never_an_error_of_the_suite() -> None:
    bodies = [GOOD, b'{"err": 1}', b"[]", b"<html>", b'{"err": 0, "data": [{"url": "/x"}]}', b"null", b'{"data": {}}']
    count = 0

    async def changes(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writer.write(reply(bodies[count % len(bodies)]))

    run = await judged(changes)
    assert not any(one.status == "error" for one in run.outcomes), [
        o.trace for o in run.outcomes if o.status == "error"
    ]
    assert verdict(run) != "conformant"


JUNK = [
    b"null",
    b"12",
    b'"texte"',
    b"[[[]]]",
    b"{}",
    b'{"err": {}}',
    b'{"err": 0, "data": 1}',
    b'{"err": 0, "data": [null, 1, "a", [], {}]}',
    b'{"err": 0, "data": [{"id": [], "text": {}, "url": 1, "description": 2}]}',
    b'{"err": 0, "data": [{"id": true, "text": "\\ud800", "url": "http://[", "description": "<"}]}',
    b'{"err": 0, "features": [null, {"geometry": 1}, {"geometry": {"type": "Point", "coordinates": ["a"]}}]}',
    b'{"err": 0, "data": {"x_labels": 1, "series": [1, {"data": 2}]}}',
    b'{"err": 0, "data": [{"name": 1, "id": [], "url": "http://127.0.0.1", "filters": [1, {"options": [[1]]}]}]}',
    b'{"err": "NaN", "data": NaN}',
    b'{"err": 1e999, "data": [1e999]}',
    b"[" * 100_000,
    "é".encode("latin-1") * 50,
    b"\x00\xff\xfe" * 20,
    b"",
]


@pytest.mark.parametrize("body", JUNK, ids=range(len(JUNK)))
async def test_no_answer_whatever_its_shape_breaks_the_suite(body: bytes) -> None:
    class Junk(Reference):
        def finish(self, asked: Asked, reply: Reply) -> Reply:
            return replace(reply, body=body) if reply.kind == "success" else reply

    service = Junk()
    run = await execute(service.target(), service.send, registry, seed=1, allow_writes=True)
    assert [one.trace for one in run.outcomes if one.status == "error"] == []
    assert not run.conformant
    json.dumps(record(run), ensure_ascii=False).encode()


async def test_an_unreachable_target_is_not_tested_rather_than_failed() -> None:
    async with raw(hang) as url:
        closed = url
    run = await contract_tests.certify(target(closed), rate=0, limits=BOUNDED)
    assert verdict(run) == "not-tested" or not [one for one in run.outcomes if one.must and one.status == "fail"]
    assert any("cannot be reached" in one.message.en for one in run.outcomes)


async def test_an_error_of_the_suite_is_not_charged_to_the_target() -> None:
    both = Text("une phrase", "a sentence")
    faulty = Registry(catalogue())

    @faulty.check("PUB-ENV-1", title=both, consequence=both, remedy=both)
    async def breaks(case: object, endpoint: object) -> None:
        raise ZeroDivisionError("of ours")

    @faulty.check("PUB-ENV-2", title=both, consequence=both, remedy=both)
    async def holds(case: object, endpoint: object) -> None: ...

    service = Reference()
    run = await execute(service.target(), service.send, faulty, only=["search"])
    assert verdict(run) == "partial"
    assert "of ours" in next(one for one in run.outcomes if one.status == "error").message.en


async def test_a_run_ends_when_its_time_is_over() -> None:
    service = Reference()
    now = iter(range(0, 100_000, 20))
    run = await execute(
        service.target(), service.send, registry, limits=Limits(budget=100.0), clock=lambda: float(next(now))
    )
    assert len(run.exchanges) < 20
    assert any("time given to this run is over" in one.message.en for one in run.outcomes)
    assert not run.conformant


async def test_requests_are_paced_and_present_themselves() -> None:
    heads: list[bytes] = []
    waits: list[float] = []

    async def answers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(reply())

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with raw(answers) as url, Wire(rate=2.0, clock=lambda: 100.0, sleep=sleep) as wire:
        for _ in range(3):
            await wire(Request("GET", f"{url}/x", (("User-Agent", user_agent()),)))
    assert waits == [0.5, 1.0]
    assert all(b"contract-tests/" in head for head in heads)
    assert all(b"Accept" not in head for head in heads)  # nothing is added by the client


async def test_a_target_that_asks_to_wait_is_waited_for_once() -> None:
    waits: list[float] = []
    count = 0

    async def answers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        busy = reply(b"", "Retry-After: 7", status="429 Too Many Requests")
        writer.write(busy if count == 1 else reply())

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with raw(answers) as url, Wire(rate=1000.0, clock=lambda: 100.0, sleep=sleep) as wire:
        exchange = await wire(Request("GET", f"{url}/x"))
    assert exchange.response is not None
    assert exchange.response.status == 200
    assert 7.0 in waits


async def test_names_can_be_resolved_before_they_are_published() -> None:
    async def answers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(json.dumps(head.decode()).encode()))

    async with raw(answers) as url, Wire(rate=0, resolve={"futur.example.org": "127.0.0.1"}) as wire:
        port = url.rpartition(":")[2]
        exchange = await wire(Request("GET", f"http://futur.example.org:{port}/x"))
    assert exchange.response is not None
    assert b"Host: futur.example.org" in exchange.response.body


@pytest.mark.parametrize(("name", "body"), [("gzip", gzip.compress(GOOD)), ("deflate", zlib.compress(GOOD))])
async def test_compressed_answers_are_read(name: str, body: bytes) -> None:
    async def answers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(body, f"Content-Encoding: {name}"))

    async with raw(answers) as url, Wire(rate=0) as wire:
        exchange = await wire(Request("GET", f"{url}/x"))
    assert exchange.response is not None
    assert exchange.response.body == GOOD
