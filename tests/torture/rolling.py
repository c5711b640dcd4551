"""Rolling restarts under load: a new gateway begins on the same listening socket, then the old one is told to stop.

    python -m tests.torture.rolling [--restarts 50] [--callers 12] [--abrupt]

Callers never wait for a restart, send nothing twice, and take any cut, refusal or unclear answer for a failure. Half of
them keep their connections, a few of those long enough idle to be closed by a gateway that drains. `--abrupt` kills the
old gateway instead of telling it to stop: what draining is for.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .line import Line
from .processes import PATH, configure, publisher, said, serve


@dataclass
class Figures:
    """What one run showed, for callers that keep their connections and for those that do not."""

    restarts: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    executed: int = 0
    twice: int = 0
    slowest: float = 0.0
    seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        return bool(self.failed) or self.twice > 0 or self.executed != self.calls.total()


@dataclass
class Run:
    """One run in `folder`: `restarts` rolling restarts of a gateway, `abrupt` or draining."""

    folder: Path
    restarts: int
    callers: int = 12
    abrupt: bool = False
    seed: int = 1
    store: str = ""

    async def __call__(self) -> Figures:
        began = time.monotonic()
        self.figures = figures = Figures()
        self.stopping = False
        async with publisher(0.0, self.seed, 1.0) as upstream:
            config = configure(self.folder, upstream, store=self.store, log_level="info")
            with socket.create_server(("127.0.0.1", 0), backlog=1024) as held:
                port = held.getsockname()[1]
                endings: list[asyncio.Task[int]] = []
                old = await self._serve(config, held, endings)
                callers = [asyncio.create_task(self._call(port, number)) for number in range(self.callers)]
                for _ in range(self.restarts):
                    new = await self._serve(config, held, endings)
                    old.send_signal(signal.SIGKILL if self.abrupt else signal.SIGTERM)
                    figures.restarts += 1
                    old = new
                await asyncio.sleep(0.5)
                self.stopping = True
                await asyncio.gather(*callers)
                old.terminate()
                codes = await asyncio.gather(*endings)
                if not self.abrupt and any(codes):
                    figures.failed[f"gateways that ended with {sorted(set(codes))}"] += 1
            async with aiohttp.ClientSession() as session, session.get(f"{upstream}/ledger") as answer:
                executed = (await answer.json())["executed"]
        figures.executed = len(executed)
        figures.twice = sum(len(numbers) > 1 for numbers in executed.values())
        figures.seconds = round(time.monotonic() - began, 1)
        return figures

    async def _serve(
        self, config: Path, held: socket.socket, endings: list[asyncio.Task[int]]
    ) -> asyncio.subprocess.Process:
        process = await serve(config, held, stdout=asyncio.subprocess.PIPE)
        await said(process, "serving")
        endings.append(asyncio.create_task(_ended(process)))
        return process

    async def _call(self, port: int, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        kept = number % 2 == 0
        name = "kept" if kept else "closed"
        pause = (0.0, 3.0) if number % 6 == 0 else (0.0, 0.06)  # a gateway that drains closes what is idle for 2 s
        line = Line(port, kept=kept)
        count = 0
        while not self.stopping:
            count += 1
            key = f"caller-{number}-{count}"
            began = time.monotonic()
            self.figures.calls[name] += 1
            try:
                status, body = await line.post(PATH, {"text": key}, key)
                if status != 200 or body["err"] != 0:
                    self.figures.failed[f"{name}: {status} {body['err_class']}"] += 1
            except (OSError, EOFError, TimeoutError) as error:
                self.figures.failed[f"{name}: {type(error).__name__}"] += 1
                line.close()
            self.figures.slowest = max(self.figures.slowest, time.monotonic() - began)
            await asyncio.sleep(chance.uniform(*pause))
        line.close()


async def _ended(process: asyncio.subprocess.Process) -> int:
    """The exit code of a process, whose lines are read so that it never waits for its reader."""
    await process.communicate()
    return process.returncode or 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--abrupt", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", default="")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), chosen.restarts, chosen.callers, chosen.abrupt, chosen.seed, chosen.store)
        found = asyncio.run(run())
    print("| restarts | calls, kept | calls, closed | failed | executed | twice | slowest | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    print(
        f"| {found.restarts} | {found.calls['kept']} | {found.calls['closed']} | **{found.failed.total()}** |"
        f" {found.executed} | {found.twice} | {found.slowest:.2f} s | {found.seconds} |"
    )
    for what, times in found.failed.most_common():
        print(f"{times} × {what}", file=sys.stderr)
    sys.exit(found.wrong)


if __name__ == "__main__":
    main()
