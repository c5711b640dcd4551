"""The kill loop: callers with stable keys, a gateway killed with -9 again and again, a hostile publisher; then the
publisher's ledger against what the callers were told.

    python -m tests.torture.kill_loop [--kills 200] [--keys 10000] [--naive] [--store URL | --postgresql] [--callers 60]

Of every key: never executed twice; executed once when its caller was told so; never when its caller was refused;
and every delivery of the journal ends.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.postgres import Cluster

from .processes import KEY, PATH, configure, killed, publisher, serve, spawn
from .records import LONGEST

FINAL = {"Rejected"}
FILE = bytes(range(251)) * 1000
BACK = 5.0
"""Seconds within which the service is back once what it stands on is repaired."""


@dataclass
class Figures:
    """What one run showed."""

    keys: int = 0
    kills: int = 0
    faults: int = 0
    told_done: int = 0
    told_refused: int = 0
    gave_up: int = 0
    lost: int = 0
    """Told done, and not executed."""
    duplicates: int = 0
    refused_but_created: int = 0
    without_row: int = 0
    """Executed, and not in the journal."""
    spoilt: int = 0
    """Files that reached the publisher other than they were sent."""
    back_after: float = 0.0
    """The longest time from the end of a trouble to the next success, seconds."""
    unfinished: int = 0
    """Deliveries of the journal without an end after quarantine + 30 s."""
    settled_after: float = 0.0
    seconds: float = 0.0
    publisher_lag: float = 0.0
    """The longest time the publisher's own process was not served, seconds."""
    answers: dict[str, int] = field(default_factory=dict)
    twice: dict[str, list[list[Any]]] = field(default_factory=dict)
    """What happened at the publisher to each reference it executed twice."""

    @property
    def wrong(self) -> bool:
        lost_or_doubled = self.lost or self.duplicates or self.refused_but_created or self.without_row
        return bool(lost_or_doubled or self.unfinished or self.spoilt) or self.back_after > BACK


@dataclass
class Run:
    """One run in `folder`. `naive` plays the retry wrapper instead of the gateway."""

    folder: Path
    kills: int
    keys: int
    naive: bool = False
    store: str = ""
    share: float = 0.2
    seed: int = 1
    callers: int = 20
    between: tuple[float, float] = (0.8, 1.8)
    longest_wait: float = 60.0
    answers: Counter[str] = field(default_factory=Counter)

    async def __call__(self) -> Figures:
        started = time.monotonic()
        figures = Figures(keys=self.keys)
        chance = random.Random(self.seed)
        told: dict[str, str] = {}
        async with publisher(self.share, self.seed, LONGEST) as upstream:
            configure(self.folder, upstream, store=self.store)
            with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
                url = f"http://127.0.0.1:{held.getsockname()[1]}{PATH}"
                served = await self._serve(held, upstream)
                waiting = iter(range(self.keys))
                async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
                    callers = asyncio.gather(
                        *(self._call(session, url, waiting, told, chance) for _ in range(self.callers))
                    )
                    while not callers.done() and figures.kills < self.kills:
                        await asyncio.wait({callers}, timeout=chance.uniform(*self.between))
                        served = await self.strike(served, held, upstream, figures)
                        figures.kills += 1
                    await callers
                    calm = time.monotonic()
                    if not self.naive:
                        figures.unfinished = await self._unfinished()
                    figures.settled_after = round(time.monotonic() - calm, 1)
                    await asyncio.sleep(LONGEST)  # what the publisher still executes late
                    async with session.get(f"{upstream}/ledger") as answer:
                        ledger = await answer.json()
                await killed(served)
        executed: dict[str, list[str]] = ledger["executed"]
        figures.faults = sum(times for kind, times in ledger["met"].items() if kind != "none")
        figures.answers = dict(self.answers.most_common())
        figures.publisher_lag = round(ledger["lag"], 3)
        figures.twice = ledger["twice"]
        figures.spoilt = len(set(ledger["files"]) - {"", hashlib.sha256(FILE).hexdigest()})
        figures.duplicates = sum(len(numbers) > 1 for numbers in executed.values())
        references = await asyncio.to_thread(self._references) if not self.naive else {key: key for key in told}
        figures.without_row = len(executed.keys() - set(references.values()))
        for key, outcome in told.items():
            times = len(executed.get(references.get(key, ""), ()))
            figures.told_done += outcome == "done"
            figures.told_refused += outcome == "refused"
            figures.gave_up += outcome == ""
            figures.lost += outcome == "done" and times == 0
            figures.refused_but_created += outcome == "refused" and times > 0
        figures.seconds = round(time.monotonic() - started, 1)
        return figures

    async def strike(
        self, served: asyncio.subprocess.Process, held: socket.socket, upstream: str, figures: Figures
    ) -> asyncio.subprocess.Process:
        """What goes wrong, again and again; the gateway afterwards."""
        await killed(served)
        return await self._serve(held, upstream)

    async def _call(
        self,
        session: aiohttp.ClientSession,
        url: str,
        waiting: Any,
        told: dict[str, str],
        chance: random.Random,
    ) -> None:
        for number in waiting:
            key = f"key-{number}"
            told[key] = ""
            limit = time.monotonic() + self.longest_wait
            while time.monotonic() < limit:
                outcome, word = await ask(session, url, key)
                self.answers[word] += 1
                if outcome:
                    told[key] = outcome
                    break
                if self.naive and word == "UpstreamUnavailable":
                    break  # its callers were told that it failed
                await asyncio.sleep(chance.uniform(0.05, 0.3))

    async def _unfinished(self) -> int:
        """How many deliveries have no end yet, at most quarantine + 30 s after the calm."""
        limit = time.monotonic() + LONGEST + 1 + 30
        left = 1
        while left and time.monotonic() < limit:
            await asyncio.sleep(0.2)
            left = await asyncio.to_thread(self._open)
        return left

    def _rows(self, query: str) -> list[Any]:
        import sqlalchemy

        url = self.store.replace("postgresql://", "postgresql+psycopg://") or f"sqlite:///{self.folder}/data/relais.db"
        engine = sqlalchemy.create_engine(url)
        try:
            with engine.connect() as connection:
                return list(connection.execute(sqlalchemy.text(query)))
        finally:
            engine.dispose()

    def _open(self) -> int:
        states = "('RECEIVED', 'SENDING', 'UNKNOWN')"
        return int(self._rows(f"SELECT count(*) FROM deliveries WHERE state IN {states}")[0][0])

    def _references(self) -> dict[str, str]:
        rows = self._rows("SELECT key, reference FROM deliveries")
        return {key.removeprefix("k:"): reference for key, reference in rows}

    async def _serve(self, held: socket.socket, upstream: str) -> asyncio.subprocess.Process:
        if self.naive:
            return await spawn("-m", "tests.torture.naive", str(held.fileno()), upstream, held=held, stdout=None)
        return await serve(self.folder / "relais.toml", held)


def body_of(key: str) -> dict[str, Any]:
    """What is sent under a key: one in ten with a file that the journal keeps in pieces."""
    sent: dict[str, Any] = {"text": f"text of {key}"}
    if key.endswith("7"):
        sent["file"] = {"filename": "plan.bin", "content": base64.b64encode(FILE).decode()}
    return sent


async def ask(session: aiohttp.ClientSession, url: str, key: str) -> tuple[str, str]:
    """`done`, `refused` or nothing yet; and what was said."""
    headers = {"X-API-Key": KEY, "Idempotency-Key": key}
    try:
        async with session.post(url, json=body_of(key), headers=headers) as answer:
            body = await answer.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        return "", type(error).__name__
    if body["err"] == 0:
        return "done", "done"
    return ("refused" if body["err_class"] in FINAL else ""), body["err_class"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--naive", action="store_true")
    parser.add_argument("--store", default="")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL of its own, that syncs its disk")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--callers", type=int, default=60)
    chosen = parser.parse_args()
    with contextlib.ExitStack() as open_:
        folder = open_.enter_context(tempfile.TemporaryDirectory())
        run = Run(
            Path(folder),
            chosen.kills,
            chosen.keys,
            chosen.naive,
            open_.enter_context(Cluster(durable=True)).url if chosen.postgresql else chosen.store,
            seed=chosen.seed,
            callers=chosen.callers,
        )
        figures = asyncio.run(run())
        if figures.duplicates and not chosen.naive:
            for reference in figures.twice:
                print(run._rows(f"SELECT * FROM deliveries WHERE reference = '{reference}'"), file=sys.stderr)
    print(json.dumps(asdict(figures), indent=1))
    sys.exit(figures.wrong)


if __name__ == "__main__":
    main()
