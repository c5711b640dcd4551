"""Isolation: what one bad publisher, too many calls, and a very large file do to everybody else.

`python -m benchmarks.isolation` takes about three minutes; `--part` chooses among them. Everything is on 127.0.0.1.
Ten thousand calls that wait are in `benchmarks.waiting`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]
import uvloop

from benchmarks.processes import ROOT, first_answer, free_port, on_cores, raise_open_files, running
from benchmarks.report import machine
from benchmarks.upstream import ANSWER

API_KEY = "a-key-for-the-benchmark"
INSTANCES = 20
HEALTHY = [f"i{number}" for number in range(INSTANCES - 2)]
FROZEN, FLAPPING = "frozen", "flapping"
USEFUL = 2.0  # seconds
QUICK = 0.02  # seconds a healthy publisher takes
LIBRARIES = ("aiohttp", "uvloop", "pydantic", "SQLAlchemy", "cryptography")
PARTS = ("publishers", "overload", "upload")


# --- the publishers ---------------------------------------------------------------------------------------------------


class Publisher(asyncio.Protocol):
    """One connection. The first step of the address says how it behaves, which a request to `/switch/…` changes."""

    ill = False  # whether the frozen one is frozen and the flapping one flaps
    slow = QUICK

    def __init__(self) -> None:
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for request in requests:
            path = request.split(b" ", 2)[1].decode()
            if path.startswith("/switch/"):
                _, _, ill, slow = path.split("/")
                Publisher.ill, Publisher.slow = ill == "ill", float(slow)
                self._answer()
            elif Publisher.ill and path.startswith(f"/{FROZEN}/"):
                continue
            elif Publisher.ill and path.startswith(f"/{FLAPPING}/") and int(time.monotonic() * 2) % 2:
                self._transport.abort()
            else:
                asyncio.get_running_loop().call_later(Publisher.slow, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def publish(port: int) -> None:
    """Answers until it is ended."""
    server = await asyncio.get_running_loop().create_server(Publisher, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


# --- the callers ------------------------------------------------------------------------------------------------------


class Line(asyncio.Protocol):
    """A kept connection: one question at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    async def ask(self, request: bytes) -> int:
        """The status of the answer, 0 when the connection broke."""
        if self.transport.is_closing():
            return 0
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        length = int(re.search(rb"content-length: *(\d+)", head)[1])  # type: ignore[index]
        if len(self._buffer) < end + 4 + length:
            return
        self._buffer = self._buffer[end + 4 + length :]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(int(head[9:12]))
        if b"\r\nconnection: close" in head:
            self.transport.close()


async def line(port: int) -> Line:
    """A new connection."""
    _, opened = await asyncio.get_running_loop().create_connection(Line, "127.0.0.1", port)
    return opened


def get(path: str) -> bytes:
    """The request's bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: relais\r\nX-API-Key: {API_KEY}\r\n\r\n".encode()


@dataclass(frozen=True)
class Seen:
    """Answers by status, and the times of the successes: milliseconds."""

    good: int
    refused: int
    broken: int
    rate: float  # successes per second that came in time to be of use
    p50: float
    p99: float


def seen(answers: Sequence[tuple[int, float]], seconds: float) -> Seen:
    """From (status, seconds) of each call."""
    good = sorted(each * 1e3 for status, each in answers if status == 200)
    useful = sum(each <= USEFUL * 1e3 for each in good)
    at = lambda share: good[min(len(good) - 1, int(len(good) * share))] if good else 0.0  # noqa: E731
    return Seen(
        good=len(good),
        refused=sum(status not in (0, 200) for status, _ in answers),
        broken=sum(status == 0 for status, _ in answers),
        rate=useful / seconds,
        p50=at(0.5),
        p99=at(0.99),
    )


class Open:
    """An open loop: questions leave at their instants, whether or not earlier ones were answered."""

    def __init__(self, port: int, paths: Sequence[str], rate: float) -> None:
        self._port, self._requests, self._rate = port, [get(path) for path in paths], rate
        self._idle: list[Line] = []
        self.answers: list[tuple[int, float]] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float, patience: float = 10.0) -> Seen:
        """Asks for `seconds`, then waits for what is still out."""
        began = time.perf_counter()
        sent = 0
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * self._rate:
                task = asyncio.create_task(self._ask(self._requests[sent % len(self._requests)]))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
                sent += 1
            await asyncio.sleep(0.002)
        if self._asking:
            _, late = await asyncio.wait(self._asking, timeout=patience)
            self.answers += [(0, patience)] * len(late)
            for task in late:
                task.cancel()
        for one in self._idle:
            one.transport.abort()
        return seen(self.answers, seconds)

    async def _ask(self, request: bytes) -> None:
        began = time.perf_counter()
        one = self._idle.pop() if self._idle else await line(self._port)
        status = await one.ask(request)
        self.answers.append((status, time.perf_counter() - began))
        if not one.transport.is_closing():
            self._idle.append(one)


# --- the gateway under test -------------------------------------------------------------------------------------------


def settings(port: int, upstream: int, folder: Path, *, in_flight: int, http: str) -> Path:
    """Twenty instances of one connector, and one that receives files."""
    lines = [
        f'[gateway]\nlisten = "127.0.0.1:{port}"\ndata = "{folder / "data"}"\nworkers = 1',
        f'max_in_flight = {in_flight}\nmax_body = "100MB"',
        '[egress]\nprivate = ["127.0.0.0/8"]',
        f'[clients.bench]\napi_key = "{API_KEY}"\nrights = ["*/*/*"]',
        "[instances.depot.local]",
    ]
    for name in (*HEALTHY, FROZEN, FLAPPING):
        lines.append(f"[instances.bench.{name}]")
        lines.append(f'settings = {{ url = "http://127.0.0.1:{upstream}/{name}/" }}')
        lines.append(f"http = {{ allow_http = true, {http} }}")
    (folder / "relais.toml").write_text("\n".join(lines))
    return folder / "relais.toml"


@dataclass(frozen=True)
class Running:
    """A gateway, its publishers, and where they are."""

    port: int
    process: psutil.Process
    upstream: int

    async def switch(self, ill: bool, slow: float = QUICK) -> None:
        """Makes the two publishers ill or well, and all of them take `slow` seconds."""
        one = await line(self.upstream)
        await one.ask(get(f"/switch/{'ill' if ill else 'well'}/{slow}"))
        one.transport.abort()


@asynccontextmanager
async def gateway(*, in_flight: int = 2000, http: str = "limit = 50") -> AsyncIterator[Running]:
    """Started fresh, on a core of its own where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
        folder = Path(name)
        port, upstream = free_port(), free_port()
        config = settings(port, upstream, folder, in_flight=in_flight, http=http)
        words = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        words += ["--connector", "benchmarks.connector:Bench", "--connector", "benchmarks.depot:Depot"]
        publisher = [sys.executable, "-m", "benchmarks.isolation", "--publisher", str(upstream)]
        with (
            running(publisher, folder / "publisher.log", cores[1:] or cores),
            running(words, folder / "gateway.log", cores[:1]) as process,
        ):
            key = {"X-API-Key": API_KEY}
            await asyncio.to_thread(
                first_answer, port, f"/bench/{HEALTHY[0]}/record", key, process, folder / "gateway.log", 30
            )
            with on_cores(cores[1:] or cores):
                yield Running(port, process, upstream)


def _paths(names: Sequence[str]) -> list[str]:
    return [f"/bench/{name}/record" for name in names]


# --- the three parts --------------------------------------------------------------------------------------------------


async def publishers(rounds: int, seconds: float) -> list[str]:
    """Eighteen healthy publishers beside two that are well, then ill; interleaved."""
    well: list[Seen] = []
    ill: list[Seen] = []
    bad: list[Seen] = []
    async with gateway(http="limit = 8, timeout = 5") as one:
        for _ in range(rounds):
            for is_ill, found in ((False, well), (True, ill)):
                await one.switch(is_ill)
                others = Open(one.port, _paths([FROZEN, FLAPPING]), 40)
                healthy = Open(one.port, _paths(HEALTHY), 180)
                answers, beside = await asyncio.gather(healthy.run(seconds), others.run(seconds))
                found.append(answers)
                if is_ill:
                    bad.append(beside)
    p99 = [median(each.p99 for each in found) for found in (well, ill)]
    p50 = [median(each.p50 for each in found) for found in (well, ill)]
    failed = [sum(each.refused + each.broken for each in found) for found in (well, ill)]
    return [
        "### One frozen, one flapping, eighteen healthy publishers",
        "| The two others are | p50 ms | p99 ms | errors of the healthy ones |",
        "|---|---:|---:|---:|",
        f"| well | {p50[0]:.1f} | {p99[0]:.1f} | {failed[0]} |",
        f"| ill | {p50[1]:.1f} | {p99[1]:.1f} | {failed[1]} |",
        "",
        f"p99 {p99[1] / p99[0] - 1:+.0%} (goal ≤ +10 %). Open loop, 10 calls/s to each of the twenty, {seconds:g} s, "
        f"{rounds} rounds interleaved, publishers answer after {QUICK * 1e3:.0f} ms. Of the calls to the two ill ones "
        f"{sum(each.good for each in bad):,} were answered, {sum(each.refused for each in bad):,} refused in the "
        "envelope.",
    ]


async def overload(rounds: int, seconds: float) -> list[str]:
    """The rate a gateway can serve at most, then 2.5 times that, with and without limits."""
    peaks: list[float] = []
    limited: list[Seen] = []
    free: list[Seen] = []
    for _ in range(rounds):
        async with gateway(in_flight=64, http="limit = 200, queue = 400") as one:
            peak = await _peak(one.port, min(seconds, 3.0))
            peaks.append(peak)
            limited.append(await Open(one.port, _paths(HEALTHY), 2.5 * peak).run(seconds))
        async with gateway(in_flight=1_000_000, http="limit = 1000, queue = 100000, queue_wait = 25") as one:
            free.append(await Open(one.port, _paths(HEALTHY), 2.5 * peak).run(seconds))
    peak = median(peaks)
    rows = []
    for name, found in (("limits (`max_in_flight = 64`)", limited), ("no limits", free)):
        rate = median(each.rate for each in found)
        rows.append(
            f"| {name} | {rate:,.0f} | {rate / peak:.0%} | {median(each.p50 for each in found):,.0f} "
            f"| {median(each.p99 for each in found):,.0f} | {sum(each.refused for each in found):,} "
            f"| {sum(each.broken for each in found):,} |"
        )
    return [
        "### Overload: 2.5 times what can be served",
        f"Peak of a closed loop of 64 callers: {peak:,.0f} calls/s.",
        "",
        "| | answered/s | ÷ peak | p50 ms | p99 ms | sent back at once | never answered |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Open loop, {seconds:g} s, {rounds} rounds. Goal: ≥ 90 % of the peak. Sent back: 503 `Overloaded` with "
        "`Retry-After`. An answer counts when it comes within 2 s: later, the person has left the form.",
    ]


async def _peak(port: int, seconds: float) -> float:
    requests = [get(path) for path in _paths(HEALTHY)]
    good = 0
    until = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal good
        one = await line(port)
        while time.perf_counter() < until:
            status = await one.ask(requests[number % len(requests)])
            good += status == 200
            number += 1
        one.transport.abort()

    await asyncio.gather(*(caller(number) for number in range(64)))
    return good / seconds


async def upload(size: int, rounds: int, folder: Path) -> list[str]:
    """A file of `size` bytes in base64, while light calls go on."""
    content = base64.b64encode(os.urandom(size))
    body = b'{"file": {"filename": "plan.bin", "content": "' + content + b'"}}'
    rows = []
    for path, label in (("deposits", "a create: its request is journaled, sealed"),):
        stalls, memory, times, failed = [], [], [], 0
        for turn in range(rounds):
            async with gateway() as one:
                _forget_peak(one.process)
                before = _memory(one.process)
                head = f"POST /depot/local/{path} HTTP/1.1\r\nHost: relais\r\nX-API-Key: {API_KEY}\r\n"
                head += (
                    f"Content-Type: application/json\r\nIdempotency-Key: {turn}\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                request = folder / "request"
                request.write_bytes(head.encode() + body)
                done = asyncio.Event()
                light: list[float] = []

                async def beside(done: asyncio.Event = done, light: list[float] = light, port: int = one.port) -> None:
                    probe = await line(port)
                    while not done.is_set():
                        start = time.perf_counter()
                        await probe.ask(get("/health/live"))
                        light.append(time.perf_counter() - start)
                        await asyncio.sleep(0.002)

                probing = asyncio.create_task(beside())
                began = time.perf_counter()
                # In a process of its own: writing 67 MB would delay the light calls that are timed here.
                words = [sys.executable, "-m", "benchmarks.isolation", "--send", str(one.port), str(request)]
                sender = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
                out, _ = await sender.communicate()
                times.append(time.perf_counter() - began)
                done.set()
                await probing
                failed += out.strip() != b"200"
                stalls.append(max(light) * 1e3)
                memory.append(_peak_memory(one.process) - before)
        rows.append(
            f"| {label} | {median(stalls):.0f} | {median(memory):,.0f} | {median(memory) * 1e6 / len(body):.1f}× "
            f"| {median(times):.1f} | {failed} |"
        )
    return [
        f"### A file of {size / 1e6:.0f} MB, {len(body) / 1e6:.0f} MB of JSON",
        "| | longest wait of a light call, ms | memory, MB | ÷ the body | s | failed |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"Medians of {rounds} fresh gateways. Goals: ≤ 100 ms, ≤ 2.5×.",
    ]


def _memory(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1e6


def _forget_peak(process: psutil.Process) -> None:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def _peak_memory(process: psutil.Process) -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) / 1e3 if found else 0.0


async def send(port: int, request: Path) -> None:
    """Writes a request to the gateway; prints the status of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(await asyncio.to_thread(request.read_bytes))
    await writer.drain()
    head = await reader.readuntil(b"\r\n")
    print(head.split()[1].decode())


async def everything(args: argparse.Namespace) -> list[str]:
    """The chosen parts, as Markdown."""
    lines = ["## Isolation"]
    if "publishers" in args.part:
        lines += await publishers(args.rounds, args.seconds)
    if "overload" in args.part:
        lines += await overload(args.rounds, args.seconds)
    if "upload" in args.part:
        with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
            lines += await upload(50_000_000, args.rounds, Path(name))
    return [*lines, f"**Machine.** {machine(LIBRARIES)}"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measure (default 6)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--publisher", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--send", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publisher:
        raise_open_files(18_000)
        uvloop.run(publish(args.publisher))
    if args.send:
        asyncio.run(send(int(args.send[0]), Path(args.send[1])))
        return
    signal.alarm(900)
    raise_open_files(18_000)
    text = re.sub(r"\|\n\n\|", "|\n|", "\n\n".join(uvloop.run(everything(args)))) + "\n"
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(text)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
