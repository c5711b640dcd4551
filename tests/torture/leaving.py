"""Callers that leave, at any point of their call: while they speak, while they wait, while they are answered.

    python -m tests.torture.leaving [--calls 500]

Raw sockets and a real gateway. Each caller comes back with the same key: what it asked for was executed once, never
before its request was whole, and it is given the result. On a create that cannot be searched for, so that nothing but
the first attempt can know it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .line import Line, request
from .processes import configure, killed, publisher, serve

PATH = "/records/town/slips"
POINTS = (
    "before a word",
    "within the first line",
    "within the headers",
    "before the body",
    "within the body",
    "at the last byte",
    "within 5 ms",
    "within 80 ms",
    "at the first byte of the answer",
    "within the answer",
)
WAYS = ("hangs up", "resets")


@dataclass
class Figures:
    """What one run showed."""

    left: Counter[str] = field(default_factory=Counter)
    executed_before_return: int = 0
    early: int = 0
    """Executed although the request was never whole."""
    not_given: Counter[str] = field(default_factory=Counter)
    """Callers that came back and were not given the result."""
    executed: int = 0
    twice: int = 0
    seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        return bool(self.early or self.not_given or self.twice) or self.executed != self.left.total()


async def leave(port: int, key: str, point: str, way: str, chance: random.Random) -> bool:
    """Begins a call and leaves it there; whether its request was whole."""
    whole = request("POST", PATH, {"text": key}, key, kept=True)
    head = whole.index(b"\r\n\r\n") + 4
    first = whole.index(b"\r\n")
    spoken = {
        "before a word": 0,
        "within the first line": chance.randrange(1, first),
        "within the headers": chance.randrange(first, head - 2),
        "before the body": head,
        "within the body": chance.randrange(head + 1, len(whole)),
    }.get(point, len(whole))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(whole[:spoken])
    await writer.drain()
    if point.endswith("ms"):
        await asyncio.sleep(chance.uniform(0, float(point.split()[1]) / 1000))
    elif point.endswith("answer"):
        await reader.readexactly(1)
        if point.startswith("within"):
            await reader.readexactly(chance.randrange(1, 60))
    if way == "resets":
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    return spoken == len(whole)


async def come_back(port: int, key: str) -> str:
    """What a caller is told in the end, `done` or the error it still gets after ten seconds."""
    line = Line(port, kept=True)
    limit = time.monotonic() + 10
    while True:
        _, body = await line.post(PATH, {"text": key}, key)
        said = "done" if body["err"] == 0 else str(body["err_class"])
        if said != "InProgress" or time.monotonic() > limit:
            line.close()
            return said
        await asyncio.sleep(0.05)


async def run(folder: Path, calls: int, at_once: int = 10, seed: int = 1) -> Figures:
    """`calls` callers, each at one of the points, chosen at random."""
    figures = Figures()
    began = time.monotonic()
    chance = random.Random(seed)
    numbers = iter(range(calls))
    whole: dict[str, bool] = {}

    async def executed() -> dict[str, list[str]]:
        async with aiohttp.ClientSession() as session, session.get(f"{upstream}/ledger") as answer:
            found: dict[str, list[str]] = (await answer.json())["executed"]
            return found

    async def leaving(port: int) -> None:
        for number in numbers:
            key, point, way = f"key-{number}", POINTS[number % len(POINTS)], chance.choice(WAYS)
            figures.left[f"{point}, {way}"] += 1
            whole[key] = await leave(port, key, point, way, chance)

    async def returning(port: int, keys: list[str]) -> None:
        for key in keys:
            said = await come_back(port, key)
            if said != "done":
                figures.not_given[said] += 1

    async with publisher(0.0, seed, 1.0) as upstream:
        config = configure(folder, upstream, timeout=10.0)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
            port = held.getsockname()[1]
            served = await serve(config, held)
            await asyncio.gather(*(leaving(port) for _ in range(at_once)))
            await asyncio.sleep(0.5)  # the last of them are still being executed
            figures.executed_before_return = len(await executed())
            figures.early = max(0, figures.executed_before_return - sum(whole.values()))
            keys = list(whole)
            await asyncio.gather(*(returning(port, keys[lane::at_once]) for lane in range(at_once)))
            found = await executed()
            await killed(served)
    figures.executed, figures.twice = len(found), sum(len(numbers) > 1 for numbers in found.values())
    figures.seconds = time.monotonic() - began
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder), chosen.calls, seed=chosen.seed))
    print("| callers | points × ways | executed before they came back | early | without result | twice | seconds |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {found.left.total()} | {len(found.left)} | {found.executed_before_return} | **{found.early}** |"
        f" **{found.not_given.total()}** | **{found.twice}** | {found.seconds:.0f} |"
    )
    for what, times in found.not_given.most_common():
        print(f"{times} × {what}", file=sys.stderr)
    sys.exit(found.wrong)


if __name__ == "__main__":
    main()
