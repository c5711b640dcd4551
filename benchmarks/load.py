"""The callers: each keeps one connection and asks again as soon as it is answered (a closed loop).

Warming lasts until every caller was answered once: queues are then as long as they get.

A bare asyncio protocol on uvloop in its own process, because it shares the machine with what it measures.
Prints `measuring`, `measured`, then one JSON object (the fields of `Figures`).
`python -m benchmarks.load --port 8002 --path /bench/local/record --callers 200 --warm 1 --seconds 6`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from typing import Any

import uvloop

CONNECTING_AT_ONCE = 64
SETTLING = (
    0.5  # seconds left to the server to accept everybody: a busy uvloop accepts one connection per turn of its loop
)
LONGEST_WARMING = 40.0  # seconds after which a caller still without an answer is no longer waited for
GRACE = 90  # seconds after which a stuck run ends itself


@dataclass(frozen=True)
class Figures:
    """What the callers saw between `measuring` and `measured`; durations in seconds."""

    seconds: float
    calls: int  # answered 2xx
    refused: int  # answered anything else
    broken: int  # connections that ended before their answer and answers that could not be read, warming included
    wrong: int  # callers whose last answer was not an object, or reported an error
    waiting: int  # callers never answered, not even while warming
    p50: float
    p99: float
    slowest: float
    cpu: float  # of this process


class Callers:
    """The shared state of all connections: where to, what to send, what came back."""

    def __init__(self, port: int, request: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self.port = port
        self.request = request
        self.loop = loop
        self.started = False
        self.measuring = False
        self.stopped = False
        self.latencies: list[float] = []
        self.refused = 0
        self.broken = 0
        self.all: list[Caller] = []
        self.everybody_served = asyncio.Event()
        self._unserved = 0

    def one_served(self) -> None:
        """A caller had its first answer."""
        self._unserved -= 1
        if not self._unserved:
            self.everybody_served.set()

    async def join(self, count: int) -> None:
        """Opens the connections, a few at a time so that no listen queue overflows."""
        self._unserved = count
        gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def one() -> None:
            async with gate:
                caller = Caller(self)
                self.all.append(caller)
                await caller.connect()

        await asyncio.gather(*(one() for _ in range(count)))


class Caller(asyncio.Protocol):
    """One caller on its connection."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._transport: Any = None
        self._buffer = b""
        self._asked = 0.0
        self._reconnecting: asyncio.Task[None] | None = None
        self.last_body: bytes | None = None

    async def connect(self) -> None:
        await self._callers.loop.create_connection(lambda: self, "127.0.0.1", self._callers.port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""
        if self._callers.started:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._callers.stopped:
            return
        if self._asked:
            self._callers.broken += 1
        self._reconnecting = self._callers.loop.create_task(self._again())

    async def _again(self) -> None:
        try:
            await self.connect()
        except OSError:
            self._callers.broken += 1

    def ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._callers.request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            self._buffer = buffer
            return
        head = buffer[:head_end].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._callers.broken += 1
            self._asked = 0.0
            self._transport.abort()
            return
        line_end = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : line_end if line_end >= 0 else None])
        end = head_end + 4 + length
        if len(buffer) < end:
            self._buffer = buffer
            return
        self._buffer = buffer[end:]
        self._answered(head, buffer[head_end + 4 : end])

    def _answered(self, head: bytes, body: bytes) -> None:
        callers = self._callers
        if self.last_body is None:
            callers.one_served()
        self.last_body = body
        if callers.measuring:
            if head[9:10] == b"2":
                callers.latencies.append(time.perf_counter() - self._asked)
            else:
                callers.refused += 1
        if b"\r\nconnection: close" in head:
            self._asked = 0.0
            self._transport.close()
        elif not callers.stopped:
            self.ask()


def is_success(body: bytes) -> bool:
    """Whether the body is a JSON object that reports no error (the upstream's own record has no `err`)."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("err", 0) == 0


async def run(port: int, request: bytes, callers: int, warm: float, seconds: float) -> Figures:
    """One measure."""
    loop = asyncio.get_running_loop()
    crowd = Callers(port, request, loop)
    await crowd.join(callers)
    await asyncio.sleep(SETTLING)
    crowd.started = True
    for caller in crowd.all:
        caller.ask()
    with contextlib.suppress(TimeoutError):
        await asyncio.gather(
            asyncio.sleep(warm), asyncio.wait_for(crowd.everybody_served.wait(), max(warm, LONGEST_WARMING))
        )
    gc.collect()
    gc.disable()
    crowd.measuring = True
    started, cpu = time.perf_counter(), time.process_time()
    print("measuring", flush=True)
    await asyncio.sleep(seconds)
    crowd.measuring = False
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu
    print("measured", flush=True)
    crowd.stopped = True
    latencies = sorted(crowd.latencies)

    def quantile(share: float) -> float:
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))] if latencies else 0.0

    return Figures(
        seconds=elapsed,
        calls=len(latencies),
        refused=crowd.refused,
        broken=crowd.broken,
        wrong=sum(1 for one in crowd.all if one.last_body is not None and not is_success(one.last_body)),
        waiting=sum(1 for one in crowd.all if one.last_body is None),
        p50=quantile(0.5),
        p99=quantile(0.99),
        slowest=quantile(1.0),
        cpu=cpu,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--header", action="append", default=[], help="'Name: value', may be repeated")
    parser.add_argument("--callers", type=int, required=True)
    parser.add_argument("--warm", type=float, required=True, help="seconds before the measure, at least")
    parser.add_argument("--seconds", type=float, required=True, help="seconds of measure")
    args = parser.parse_args()
    signal.alarm(int(args.warm + args.seconds) + GRACE)
    lines = [f"GET {args.path} HTTP/1.1", f"Host: 127.0.0.1:{args.port}", "Accept: application/json", *args.header]
    request = "\r\n".join([*lines, "", ""]).encode()
    figures = uvloop.run(run(args.port, request, args.callers, args.warm, args.seconds))
    print(json.dumps(asdict(figures)), flush=True)
    os._exit(0)  # thousands of open connections need no farewell


if __name__ == "__main__":
    main()
