"""Creates at intervals around the time after which the publisher closes idle connections.

    python -m tests.torture.stale [--creates 10000]

On a connection kept open, a request may cross the publisher's closing: sent, unanswered, nobody knows. Each of several
instances creates one thing at a time, at intervals of 0.9 to 1.05 times that limit. The same intervals with a plain
client that keeps its connections stand beside.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from .line import Line
from .processes import configure, killed, listening, serve

KEEP_ALIVE = 0.3
"""Seconds after which the publisher closes an idle connection."""
LANES = 60


@dataclass
class Figures:
    """What one run showed: creates, what was not a success, and what the publisher executed."""

    creates: int = 0
    ambiguous: Counter[str] = field(default_factory=Counter)
    executed: int = 0
    twice: int = 0
    seconds: float = 0.0

    @property
    def wrong(self) -> bool:
        return bool(self.ambiguous) or self.twice > 0 or self.executed != self.creates


def pause(chance: random.Random) -> float:
    return KEEP_ALIVE * chance.uniform(0.9, 1.05)


async def relais(folder: Path, creates: int) -> Figures:
    """Through a gateway with an instance per lane, so that each connection is idle between two creates of its lane."""
    figures = Figures()
    began = time.monotonic()
    numbers = iter(range(creates))
    lanes = [f"lane{number}" for number in range(LANES)]

    async def lane(port: int, name: str) -> None:
        chance = random.Random(name)
        line = Line(port, kept=True)
        for number in numbers:
            figures.creates += 1
            status, body = await line.post(f"/records/{name}/records", {"text": str(number)}, f"key-{number}")
            if status != 200 or body["err"]:
                figures.ambiguous[f"{status} {body['err_class']} {body['err_desc']}"] += 1
            await asyncio.sleep(pause(chance))
        line.close()

    async with listening("-m", "tests.torture.stale", "--publisher") as upstream:
        config = configure(folder, upstream, instances=lanes, timeout=10.0)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
            served = await serve(config, held)
            await asyncio.gather(*(lane(held.getsockname()[1], name) for name in lanes))
            await killed(served)
        async with aiohttp.ClientSession() as session, session.get(f"{upstream}/ledger") as answer:
            executed: dict[str, int] = await answer.json()
    figures.executed, figures.twice = len(executed), sum(times > 1 for times in executed.values())
    figures.seconds = time.monotonic() - began
    return figures


async def plain(creates: int) -> Figures:
    """The same intervals, each lane with one connection kept by aiohttp's client."""
    figures = Figures()
    began = time.monotonic()
    numbers = iter(range(creates))

    async def lane(upstream: str, name: int) -> None:
        chance = random.Random(name)
        async with aiohttp.ClientSession() as session:
            for number in numbers:
                figures.creates += 1
                try:
                    async with session.post(f"{upstream}/records", json={"reference": str(number)}) as answer:
                        await answer.read()
                except (aiohttp.ClientError, OSError) as error:
                    figures.ambiguous[type(error).__name__] += 1
                await asyncio.sleep(pause(chance))

    async with listening("-m", "tests.torture.stale", "--publisher") as upstream:
        await asyncio.gather(*(lane(upstream, name) for name in range(LANES)))
        async with aiohttp.ClientSession() as session, session.get(f"{upstream}/ledger") as answer:
            executed: dict[str, int] = await answer.json()
    figures.executed, figures.twice = len(executed), sum(times > 1 for times in executed.values())
    figures.seconds = time.monotonic() - began
    return figures


async def serve_briefly() -> None:
    """The publisher: executes at once, and closes a connection that stays idle for `KEEP_ALIVE` after an answer."""
    executed: Counter[str] = Counter()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        patience = 30.0
        try:
            while True:
                async with asyncio.timeout(patience):
                    head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                sent = await reader.readexactly(int(length or b"0"))
                if sent:
                    executed[json.loads(sent)["reference"]] += 1
                said = json.dumps({"id": str(executed.total())} if sent else executed).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(said), said))
                await writer.drain()
                patience = KEEP_ALIVE
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--creates", type=int, default=10_000)
    parser.add_argument("--publisher", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.publisher:
        asyncio.run(serve_briefly())
    with tempfile.TemporaryDirectory() as folder:
        ours = asyncio.run(relais(Path(folder), chosen.creates))
    beside = asyncio.run(plain(max(100, chosen.creates // 5)))
    print("| | creates | ambiguous | executed | twice | seconds |")
    print("|---|---|---|---|---|---|")
    for name, found in (("Relais", ours), ("a client that keeps its connections", beside)):
        print(
            f"| {name} | {found.creates} | **{found.ambiguous.total()}** | {found.executed} | {found.twice} |"
            f" {found.seconds:.0f} |"
        )
    for what, times in ours.ambiguous.most_common():
        print(f"{times} × {what}", file=sys.stderr)
    sys.exit(ours.wrong)


if __name__ == "__main__":
    main()
