"""Isolation: what one bad publisher, too many calls, and a very large file do to everybody else.

`python -m benchmarks.isolation` takes about five minutes and prints one table; `--part` chooses among them. Each figure
is the median of rounds that alternate with what they are compared with. Everything is on 127.0.0.1. Ten thousand calls
that wait are in `benchmarks.waiting`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gc
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
import psycopg
import uvloop

from benchmarks.processes import ROOT, first_answer, free_port, on_cores, raise_open_files, running
from benchmarks.report import machine
from benchmarks.upstream import ANSWER
from tests.postgres import Cluster, NotInstalled

API_KEY = "a-key-for-the-benchmark"
INSTANCES = 20
HEALTHY = [f"i{number}" for number in range(INSTANCES - 2)]
FROZEN, FLAPPING = "frozen", "flapping"
USEFUL = 2.0  # seconds
MOST_OPEN = 17_000  # connections; a question beyond is never answered
AT_ONCE = 256  # calls served at once with limits, and callers of the peak: more than the processor can keep up with
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
    asked: int
    cpu: float  # seconds of the gateway's processor meanwhile
    rate: float  # successes per second that came in time to be of use
    p50: float
    p99: float


def seen(answers: Sequence[tuple[int, float]], seconds: float, cpu: float) -> Seen:
    """From (status, seconds) of each call."""
    good = sorted(each * 1e3 for status, each in answers if status == 200)
    useful = sum(each <= USEFUL * 1e3 for each in good)
    at = lambda share: good[min(len(good) - 1, int(len(good) * share))] if good else 0.0  # noqa: E731
    return Seen(
        good=len(good),
        refused=sum(status not in (0, 200) for status, _ in answers),
        broken=sum(status == 0 for status, _ in answers),
        asked=len(answers),
        cpu=cpu,
        rate=useful / seconds,
        p50=at(0.5),
        p99=at(0.99),
    )


@dataclass(frozen=True)
class Running:
    """A gateway, its publishers, and where they are."""

    port: int
    process: psutil.Process
    upstream: int

    def cpu(self) -> float:
        """Seconds of processor it has used."""
        return float(sum(self.process.cpu_times()[:2]))

    async def switch(self, ill: bool, slow: float = QUICK) -> None:
        """Makes the two publishers ill or well, and all of them take `slow` seconds."""
        one = await line(self.upstream)
        await one.ask(get(f"/switch/{'ill' if ill else 'well'}/{slow}"))
        one.transport.abort()


class Open:
    """An open loop: questions leave at their instants, whether or not earlier ones were answered."""

    def __init__(self, one: Running, paths: Sequence[str], rate: float) -> None:
        self._gateway, self._requests, self._rate = one, [get(path) for path in paths], rate
        self._idle: list[Line] = []
        self._asking: set[asyncio.Task[None]] = set()
        self.answers: list[tuple[int, float]] = []

    async def run(self, seconds: float, before: float = 0.0) -> Seen:
        """Asks for `seconds`, after as many as `before` that do not count, and waits a little for what is still out."""
        gc.collect()
        gc.disable()  # a collection here would be seen as a wait there
        began = time.perf_counter()
        cpu, sent = 0.0, 0
        while (now := time.perf_counter() - began) < before + seconds:
            if now >= before and not cpu:
                cpu = self._gateway.cpu()
            while sent < now * self._rate:
                sent += 1
                if len(self._asking) == MOST_OPEN:
                    self.answers += [(0, 0.0)] * (now >= before)
                    continue
                task = asyncio.create_task(self._ask(self._requests[sent % len(self._requests)], now >= before))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
            await asyncio.sleep(0.002)
        cpu = self._gateway.cpu() - cpu
        if self._asking:
            _, late = await asyncio.wait(self._asking, timeout=1.5 * USEFUL)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for one in self._idle:
            one.transport.abort()
        gc.enable()
        return seen(self.answers, seconds, cpu)

    async def _ask(self, request: bytes, counted: bool) -> None:
        began = time.perf_counter()
        status = 0
        one = self._idle.pop() if self._idle else await line(self._gateway.port)
        try:
            status = await one.ask(request)
            if not one.transport.is_closing():
                self._idle.append(one)
        except asyncio.CancelledError:
            one.transport.abort()
        finally:
            if counted:
                self.answers.append((status, time.perf_counter() - began))


# --- the gateway under test -------------------------------------------------------------------------------------------


def settings(port: int, upstream: int, folder: Path, *, in_flight: int, http: str, store: str) -> Path:
    """Twenty instances of one connector, and one that receives files."""
    lines = [
        f'[gateway]\nlisten = "127.0.0.1:{port}"\ndata = "{folder / "data"}"\nworkers = 1',
        f'max_in_flight = {in_flight}\nmax_body = "100MB"',
        *([f'store = "{store}"'] if store else []),
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


@asynccontextmanager
async def gateway(*, in_flight: int = 2000, http: str = "limit = 50", store: str = "") -> AsyncIterator[Running]:
    """Started fresh, on a core of its own where there are two."""
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
        folder = Path(name)
        port, upstream = free_port(), free_port()
        config = settings(port, upstream, folder, in_flight=in_flight, http=http, store=store)
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


@dataclass(frozen=True)
class Row:
    """One line of the table: what the rounds gave, of which the median counts; `goal` as the reader may compare it."""

    what: str
    goal: str
    found: Sequence[float]
    form: str = "{:.0f}"

    def __str__(self) -> str:
        said = [self.form.format(each) for each in (median(self.found), min(self.found), max(self.found))]
        return f"| {self.what} | {self.goal or '–'} | {said[0]} | {said[1]} to {said[2]} |"


async def publishers(rounds: int, seconds: float) -> list[Row]:
    """Eighteen healthy publishers beside two that are well, ill, and well again, in each round: the second time that
    they are well tells how far two measures of the same lie apart.
    """
    well: list[Seen] = []
    ill: list[Seen] = []
    again: list[Seen] = []
    async with gateway(http="limit = 8, timeout = 5") as one:

        async def measured(is_ill: bool) -> Seen:
            await one.switch(is_ill)
            others = Open(one, _paths([FROZEN, FLAPPING]), 40)
            found, _ = await asyncio.gather(Open(one, _paths(HEALTHY), 360).run(seconds), others.run(seconds))
            return found

        await measured(False)  # the first calls open connections
        for turn in range(rounds):
            # Ill comes first every other time: what grows or tires with time weighs on both.
            order = (well, ill, again) if turn % 2 else (ill, well, again)
            for found in order:
                found.append(await measured(found is ill))
    usual = [(a.p99 + b.p99) / 2 for a, b in zip(well, again, strict=True)]
    healthy = "the eighteen healthy publishers"
    return [
        Row(f"p99 of {healthy}, the two others well, ms", "", usual, "{:.1f}"),
        Row(f"p99 of {healthy}, one frozen, one flapping, ms", "", [each.p99 for each in ill], "{:.1f}"),
        Row(
            "how much more, each round by itself",
            "≤ +10 %",
            [100 * (each.p99 / other - 1) for each, other in zip(ill, usual, strict=True)],
            "{:+.1f} %",
        ),
        Row(
            "the same between two measures without ill ones (noise)",
            "",
            [100 * (b.p99 / a.p99 - 1) for a, b in zip(well, again, strict=True)],
            "{:+.1f} %",
        ),
        Row(f"errors of {healthy} beside the ill ones", "0", [each.refused + each.broken for each in ill]),
    ]


LIMITS = {
    "with limits": {"in_flight": AT_ONCE, "http": "limit = 200, queue = 400"},
    "without": {"in_flight": 1_000_000, "http": "limit = 1000, queue = 100000, queue_wait = 25"},
}


async def overload(rounds: int, seconds: float) -> list[Row]:
    """2.5 times what a gateway can serve at most, with and without limits, each against its own peak just before."""
    shares: dict[str, list[float]] = {name: [] for name in LIMITS}
    by_cpu: dict[str, list[float]] = {name: [] for name in LIMITS}
    answers: dict[str, list[Seen]] = {name: [] for name in LIMITS}
    offered: list[float] = []
    for turn in range(rounds):
        for name in sorted(LIMITS, reverse=bool(turn % 2)):
            async with gateway(**LIMITS[name]) as one:  # type: ignore[arg-type]
                await _peak(one, 0.5)  # the first calls open connections
                peak, cheap = await _peak(one, seconds / 2)
                found = await Open(one, _paths(HEALTHY), 2.5 * peak).run(seconds, before=seconds)
            answers[name].append(found)
            shares[name].append(100 * found.rate / peak)
            by_cpu[name].append(100 * found.rate * seconds / found.cpu / cheap)
            offered.append(found.asked / seconds / peak)
    lines = [Row("overload: calls offered ÷ peak", "2.5", offered, "{:.2f}")]
    for name, each in answers.items():
        goal = "≥ 90 %" if name == "with limits" else ""
        lines += [
            Row(f"{name}: answered within {USEFUL:g} s ÷ peak, by processor", goal, by_cpu[name], "{:.0f} %"),
            Row(f"{name}: the same, by the clock", goal, shares[name], "{:.0f} %"),
            Row(f"{name}: p50 of the answers, ms", "", [one.p50 for one in each]),
            Row(f"{name}: p99 of the answers, ms", "", [one.p99 for one in each]),
            Row(f"{name}: sent back ÷ offered", "", [100 * one.refused / one.asked for one in each], "{:.0f} %"),
            Row(f"{name}: not answered ÷ offered", "", [100 * one.broken / one.asked for one in each], "{:.0f} %"),
        ]
    return lines


async def _peak(gateway: Running, seconds: float) -> tuple[float, float]:
    """Answers a second, by the clock and of the gateway's processor."""
    requests = [get(path) for path in _paths(HEALTHY)]
    good = 0
    cpu, until = gateway.cpu(), time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal good
        one = await line(gateway.port)
        while time.perf_counter() < until:
            status = await one.ask(requests[number % len(requests)])
            good += status == 200
            number += 1
        one.transport.abort()

    await asyncio.gather(*(caller(number) for number in range(AT_ONCE)))
    return good / seconds, good / (gateway.cpu() - cpu)


async def upload(rounds: int, size: int = 50_000_000) -> list[Row]:
    """A create with a file of `size` bytes in base64, journaled and sealed, beside light calls; on both databases."""
    content = base64.b64encode(os.urandom(size))
    body = b'{"file": {"filename": "plan.bin", "content": "' + content + b'"}}'
    head = f"POST /depot/local/deposits HTTP/1.1\r\nHost: relais\r\nX-API-Key: {API_KEY}\r\nIdempotency-Key: 1\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    found: dict[str, list[_Uploaded]] = {}
    with contextlib.ExitStack() as opened:
        request = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="relais-bench-"))) / "request"
        request.write_bytes(head.encode() + body)
        stores = {"SQLite": ""}
        with contextlib.suppress(NotInstalled):
            stores["PostgreSQL"] = opened.enter_context(Cluster(durable=True)).url
        for turn in range(rounds):
            for name in sorted(stores, reverse=bool(turn % 2)):
                where = stores[name] and await asyncio.to_thread(_database, stores[name], turn)
                found.setdefault(name, []).append(await _uploaded(request, where))
    lines = []
    for name, each in found.items():
        what = f"a file of {size / 1e6:.0f} MB, {name}:"
        shares = [one.memory * 1e6 / len(body) for one in each]
        lines += [
            Row(f"{what} longest wait of a light call, ms", "≤ 100", [one.wait * 1e3 for one in each]),
            Row(f"{what} memory ÷ the {len(body) / 1e6:.0f} MB of its body", "≤ 2.5×", shares, "{:.2f}×"),
            Row(f"{what} seconds", "", [one.seconds for one in each], "{:.2f}"),
            Row(f"{what} failed", "0", [not one.good for one in each]),
        ]
    return lines


@dataclass(frozen=True)
class _Uploaded:
    """What one upload did: seconds, megabytes."""

    wait: float
    memory: float
    seconds: float
    good: bool


async def _uploaded(request: Path, store: str) -> _Uploaded:
    async with gateway(store=store) as one:
        _forget_peak(one.process)
        before = _memory(one.process)
        done = asyncio.Event()
        light: list[float] = []

        async def beside() -> None:
            probe = await line(one.port)
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
        seconds = time.perf_counter() - began
        done.set()
        await probing
        return _Uploaded(max(light), _peak_memory(one.process) - before, seconds, out.strip() == b"200")


def _database(server: str, number: int) -> str:
    """An empty database of that server."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database upload_{number}".encode())
    return f"{server.rpartition('/')[0]}/upload_{number}"


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
    """The chosen parts, as one table of Markdown."""
    rows: list[Row] = []
    if "publishers" in args.part:
        rows += await publishers(2 * args.rounds, args.seconds)
    if "overload" in args.part:
        rows += await overload(args.rounds, args.seconds)
    if "upload" in args.part:
        rows += await upload(args.rounds)
    return [
        "## Isolation",
        "",
        "| | goal | median | lowest to highest |",
        "|---|---|---:|---:|",
        *map(str, rows),
        "",
        f"**Method.** {args.rounds} rounds ({2 * args.rounds} with ill publishers), interleaved, one process; each "
        f"measure takes {args.seconds:g} s. Publishers answer after {QUICK * 1e3:.0f} ms; twenty instances, ill and "
        "healthy, are each called 20 times a second in an open loop. Overload: an open loop that has lasted for as "
        f"long before it is measured, against a closed loop of {AT_ONCE} callers just before (the peak). By processor: "
        "answers per second of the gateway's own, which other programs do not take from it. Sent back: 503; who "
        f"waits longer than {USEFUL:g} s has left the form; {MOST_OPEN:,} connections at most. Upload: a fresh gateway "
        "each time, PostgreSQL with its disk synced; memory is the kernel's peak (`VmHWM`) above what the process had "
        "before.",
        "",
        f"**Machine.** {machine(LIBRARIES)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolation", description=__doc__)
    parser.add_argument("--part", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measure (default 5)")
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
    signal.alarm(600)
    raise_open_files(20_000)
    text = "\n".join(uvloop.run(everything(args))) + "\n"
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(text)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
