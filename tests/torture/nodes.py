"""Two nodes on one PostgreSQL, behind a balancer, under load; one of them is killed with -9 and never comes back.

    python -m tests.torture.nodes [--keys 3000] [--workers 2] [--lease 10] [--callers 30]

The publisher is hostile. Of every key, whichever node it came to: never executed twice, executed once when its caller
was told so, never when its caller was refused. What the dead node was at is brought to its end by the other within
60 s. A signature is accepted once, and a schedule turned once, over both nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import yarl

from gateway.sealing import Seal
from gateway.signature import sign
from tests.postgres import Cluster

from .kill_loop import FINAL
from .processes import KEY, PATH, configure, publisher, said, serve
from .records import LONGEST
from .shared import TICK

LATER = PATH.replace("/records/town/records", "/records/town/later")
SIGNED = """
[clients.forms]
signature = { orig = "forms.example", key = "the-shared-key-of-the-forms" }
rights = ["*/*/*"]
"""
OPEN = "('RECEIVED', 'SENDING', 'UNKNOWN')"
TAKEN_OVER = 60.0
"""Seconds within which the other node has ended what the dead one was at."""


@dataclass
class Figures:
    """What one run showed."""

    keys: int = 0
    faults: int = 0
    told_done: int = 0
    told_refused: int = 0
    for_later: int = 0
    gave_up: int = 0
    lost: int = 0
    duplicates: int = 0
    refused_but_created: int = 0
    held: int = 0
    """Deliveries without an end when the node was killed."""
    sending: int = 0
    """Of them, those it was sending."""
    ended_after: float = 0.0
    """Seconds from the kill until all of those had ended."""
    unfinished: int = 0
    ticks: int = 0
    ticks_after: int = 0
    """Turns of the schedule once one node was left."""
    seconds: float = 0.0
    replays_refused: int = 0
    same_key_twice: int = 0
    """Keys sent to both nodes at the same instant, and executed more than once."""
    answers: Counter[str] = field(default_factory=Counter)

    @property
    def wrong(self) -> bool:
        lost_or_doubled = self.lost or self.duplicates or self.refused_but_created or self.same_key_twice
        late = self.unfinished or self.ended_after > TAKEN_OVER
        turns = self.ticks > self.seconds / TICK + 2 or not self.ticks_after
        return bool(lost_or_doubled or late or turns or self.replays_refused != 1)


@asynccontextmanager
async def balancer(ports: list[int]) -> AsyncIterator[int]:
    """A port that hands each connection to the next node that accepts it; what was sent is never sent again."""
    turn = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        turn += 1
        for port in (ports[turn % len(ports)], ports[(turn + 1) % len(ports)]):
            try:
                there, back = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            await asyncio.gather(carry(reader, back), carry(there, writer))
            return
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@dataclass
class Node:
    """A gateway: its folder, its port, its processes."""

    folder: Path
    port: int
    process: asyncio.subprocess.Process
    held: socket.socket

    async def killed(self) -> None:
        """kill -9 of the whole group, and the port is closed: nothing answers there any more."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        self.held.close()


@dataclass
class Run:
    """One run in `folder`, on the PostgreSQL database `store`."""

    folder: Path
    store: str
    keys: int = 3000
    workers: int = 2
    lease: float = 10.0
    callers: int = 30
    seed: int = 1
    share: float = 0.2
    longest_wait: float = 60.0

    async def __call__(self) -> Figures:
        self.figures = figures = Figures(keys=self.keys)
        self.told: dict[str, str] = {}
        async with AsyncExitStack() as stack:
            upstream = await stack.enter_async_context(publisher(self.share, self.seed, LONGEST))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0))
            )
            first = await self._node("one", upstream, stack)
            second = await self._node("two", upstream, stack, keys=first.folder / "data" / "keys")
            port = await stack.enter_async_context(balancer([first.port, second.port]))
            began, ticks_before = time.monotonic(), await self._ticks(session, upstream)
            await self._shared(session, first, second, upstream)
            waiting = iter(range(self.keys))
            callers = asyncio.gather(*(self._call(session, port, waiting, number) for number in range(self.callers)))
            while len(self.told) < self.keys / 3 and not callers.done():  # noqa: ASYNC110 any instant under load will do
                await asyncio.sleep(0.02)
            await first.killed()
            killed = time.monotonic()
            held = await asyncio.to_thread(self._open)
            figures.held, figures.sending = len(held), sum(state == "SENDING" for _, state in held)
            ticks = await self._ticks(session, upstream)
            while held and time.monotonic() < killed + TAKEN_OVER + 10:
                await asyncio.sleep(0.1)
                still = {name for name, _ in await asyncio.to_thread(self._open)}
                held = [one for one in held if one[0] in still]
                if not held:
                    figures.ended_after = round(time.monotonic() - killed, 1)
            if held:
                figures.ended_after = TAKEN_OVER + 10
            await callers
            calm = time.monotonic()
            figures.unfinished = 1
            while figures.unfinished and time.monotonic() < calm + LONGEST + 31:
                await asyncio.sleep(0.1)
                figures.unfinished = len(await asyncio.to_thread(self._open))
            await asyncio.sleep(LONGEST)  # what the publisher still executes late
            # The dead node may have held a turn: it is the other's once the hold is over.
            ticks_now = ticks
            while ticks_now == ticks and time.monotonic() < killed + TAKEN_OVER:
                await asyncio.sleep(0.2)
                ticks_now = await self._ticks(session, upstream)
            figures.ticks, figures.ticks_after = ticks_now - ticks_before, ticks_now - ticks
            figures.seconds = round(time.monotonic() - began, 1)
            async with session.get(f"{upstream}/ledger") as answer:
                ledger = await answer.json()
        self._compare(ledger)
        return figures

    def _compare(self, ledger: dict[str, Any]) -> None:
        figures = self.figures
        executed: dict[str, list[str]] = ledger["executed"]
        figures.faults = sum(times for kind, times in ledger["met"].items() if kind != "none")
        figures.duplicates = sum(len(numbers) > 1 for numbers in executed.values())
        rows = {key.removeprefix("k:"): (reference, state) for key, reference, state in self._rows(EVERY)}
        for key, outcome in self.told.items():
            reference, state = rows.get(key, ("", ""))
            if outcome == "ticket":
                outcome = {"DONE": "done", "REFUSED": "refused"}.get(state, "")
                figures.for_later += 1
            times = len(executed.get(reference, ()))
            figures.told_done += outcome == "done"
            figures.told_refused += outcome == "refused"
            figures.gave_up += outcome == ""
            figures.lost += outcome == "done" and times == 0
            figures.refused_but_created += outcome == "refused" and times > 0

    async def _shared(self, session: aiohttp.ClientSession, first: Node, second: Node, upstream: str) -> None:
        """One signature and one key, given to both nodes."""
        query = sign(
            "orig=forms.example", "the-shared-key-of-the-forms", timestamp=datetime.now(UTC), nonce=f"n{self.seed}"
        )
        statuses = []
        for node in (first, second):
            signed = yarl.URL(f"http://127.0.0.1:{node.port}/records/town/up?{query}", encoded=True)
            async with session.get(signed) as answer:
                statuses.append(answer.status)
        self.figures.replays_refused = int(statuses == [200, 401])
        for number in range(20):
            key = f"both-{number}"
            self.told[key] = ""
            outcomes = await asyncio.gather(
                *(self._ask(session, node.port, PATH, key) for node in (first, second) for _ in range(2))
            )
            self.told[key] = next((one for one in outcomes if one), "")
        async with session.get(f"{upstream}/ledger") as answer:
            executed = (await answer.json())["executed"]
        self.figures.same_key_twice = sum(len(numbers) > 1 for numbers in executed.values())

    async def _node(self, name: str, upstream: str, stack: AsyncExitStack, keys: Path | None = None) -> Node:
        folder = self.folder / name
        (folder / "data").mkdir(parents=True)
        if keys is None:
            Seal(folder / "data" / "keys")
        else:
            shutil.copy(keys, folder / "data" / "keys")
        config = configure(folder, upstream, store=self.store, log_level="info")
        config.write_text(config.read_text().replace("lease = 2", f"lease = {self.lease}") + SIGNED)
        held = socket.create_server(("127.0.0.1", 0), backlog=512)
        process = await serve(
            config,
            held,
            stdout=asyncio.subprocess.PIPE,
            before=("setsid",),
            workers=self.workers,
            connector="tests.torture.shared:Shared",
        )
        for _ in range(self.workers):
            await said(process, "serving")
        assert process.stdout
        quiet = asyncio.create_task(_read(process.stdout))
        node = Node(folder, held.getsockname()[1], process, held)
        stack.callback(quiet.cancel)
        stack.push_async_callback(node.killed)
        return node

    async def _call(self, session: aiohttp.ClientSession, port: int, waiting: Any, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        for one in waiting:
            key = f"key-{one}"
            path = LATER if one % 3 == 0 else PATH
            self.told[key] = ""
            limit = time.monotonic() + self.longest_wait
            while time.monotonic() < limit:
                if outcome := await self._ask(session, port, path, key):
                    self.told[key] = outcome
                    break
                await asyncio.sleep(chance.uniform(0.05, 0.3))

    async def _ask(self, session: aiohttp.ClientSession, port: int, path: str, key: str) -> str:
        """`done`, `refused`, `ticket`, or nothing yet."""
        headers = {"X-API-Key": KEY, "Idempotency-Key": key, "Connection": "close"}
        url = f"http://127.0.0.1:{port}{path}"
        try:
            async with session.post(url, json={"text": f"text of {key}"}, headers=headers) as answer:
                body = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self.figures.answers[type(error).__name__] += 1
            return ""
        word = "done" if body["err"] == 0 else body["err_class"]
        self.figures.answers[word] += 1
        if body["err"] == 0:
            return "ticket" if path == LATER else "done"
        return "refused" if word in FINAL else ""

    async def _ticks(self, session: aiohttp.ClientSession, upstream: str) -> int:
        async with session.get(f"{upstream}/ledger") as answer:
            return int((await answer.json())["ticks"])

    def _open(self) -> list[tuple[str, str]]:
        return [(name, state) for name, state in self._rows(f"SELECT id, state FROM deliveries WHERE state IN {OPEN}")]

    def _rows(self, query: str) -> list[Any]:
        with psycopg.connect(self.store) as connection:
            return connection.execute(query.encode()).fetchall()


EVERY = "SELECT key, reference, state FROM deliveries"


async def _read(stream: asyncio.StreamReader) -> None:
    """A node never waits for its reader."""
    while await stream.read(65_536):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=3000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lease", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Cluster(durable=True) as cluster:
        run = Run(Path(folder), cluster.url, chosen.keys, chosen.workers, chosen.lease, chosen.callers, chosen.seed)
        found = asyncio.run(run())
    print("| keys | for later | faults | lost | twice | refused but created | held at the kill | sending |", end="")
    print(" ended after | unfinished | turns / seconds | signature twice |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    print(
        f"| {found.keys} | {found.for_later} | {found.faults} | **{found.lost}** | **{found.duplicates}** |"
        f" **{found.refused_but_created}** | {found.held} | {found.sending} | {found.ended_after} s |"
        f" {found.unfinished} | {found.ticks} / {found.seconds:.0f} |"
        f" {'refused' if found.replays_refused else 'ACCEPTED'} |"
    )
    print(found, file=sys.stderr)
    sys.exit(found.wrong)


if __name__ == "__main__":
    main()
