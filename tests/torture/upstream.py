"""A hostile publisher with a ledger: a share of its requests fails, in ten ways, and some of those execute anyway.

    POST /records     {"reference": …, "text": …, "file": its digest} → {"id": …}
    GET  /records?reference=…                     → [{"id": …}, …]
    GET  /ledger                                  → {reference: [id, …]}, {fault: times}

Run as `python -m tests.torture.upstream SHARE SEED LONGEST`; LONGEST is its longest processing time in seconds.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import Counter, defaultdict

from aiohttp import web

FAULTS = (
    "reset",  # nothing executed, connection reset
    "execute-then-reset",
    "execute-then-500",
    "execute-then-timeout",
    "execute-late",  # connection reset now, executed within LONGEST
    "status-500",  # nothing executed, and nobody can know
    "execute-then-truncated",
    "execute-then-bad-status-line",
    "execute-then-html-200",
    "execute-then-empty-200",
    "refused",  # a declared refusal (422), nothing executed
    "unprocessed",  # 503, declared as not processed
)


class Ledger:
    """What was executed, by reference."""

    def __init__(self, share: float, seed: int, longest: float) -> None:
        self.executed: defaultdict[str, list[str]] = defaultdict(list)
        self.met: Counter[str] = Counter()
        self.history: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        self.files: set[str] = set()
        self.lag = 0.0
        self.ticks = 0
        self._share = share
        self._random = random.Random(seed)
        self._longest = longest
        self._late: set[asyncio.Task[None]] = set()

    def execute(self, reference: str) -> str:
        number = (
            f"R{sum(map(len, self.executed.values())) + 1}" if not self.executed[reference] else f"again-{reference}"
        )
        self.executed[reference].append(number)
        self.history[reference].append((time.time(), "executed"))
        return number

    async def records(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            reference = request.query["reference"]
            found = self.executed.get(reference, [])
            self.history[reference].append((time.time(), f"searched: {len(found)}"))
            return web.json_response([{"id": number} for number in found])
        said = await request.json()
        reference = said["reference"]
        self.files.add(said.get("file", ""))
        self.history[reference].append((time.time(), "received"))
        await asyncio.sleep(self._random.uniform(0, 0.05))
        fault = self._random.choice(FAULTS) if self._random.random() < self._share else ""
        self.history[reference].append((time.time(), fault or "none"))
        self.met[fault or "none"] += 1
        if fault.startswith("execute-then") or not fault:
            number = self.execute(reference)
        match fault.removeprefix("execute-then-"):
            case "":
                return web.json_response({"id": number})
            case "reset":
                return reset(request)
            case "execute-late":
                task = asyncio.create_task(self._later(reference, self._random.uniform(0, self._longest)))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
                return reset(request)
            case "500" | "status-500":
                return web.Response(status=500, text="<h1>error</h1>", content_type="text/html")
            case "timeout":
                await asyncio.sleep(self._longest)
                return reset(request)
            case "refused":
                return web.json_response({"error": "refused"}, status=422)
            case "unprocessed":
                return web.Response(status=503)
            case "html-200":
                return web.Response(text="<html>login</html>", content_type="text/html")
            case "empty-200":
                return web.Response()
        whole = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{"id": '
        if request.transport is not None:
            request.transport.write(b"NOT HTTP AT ALL\r\n\r\n" if fault.endswith("line") else whole)
            request.transport.close()
        return web.Response()

    async def _later(self, reference: str, delay: float) -> None:
        await asyncio.sleep(delay)
        self.execute(reference)

    async def ledger(self, request: web.Request) -> web.StreamResponse:
        twice = {name: self.history[name] for name, numbers in self.executed.items() if len(numbers) > 1}
        return web.json_response(
            {
                "executed": self.executed,
                "files": sorted(self.files),
                "met": self.met,
                "twice": twice,
                "lag": self.lag,
                "ticks": self.ticks,
            }
        )

    async def tick(self, request: web.Request) -> web.StreamResponse:
        self.ticks += 1
        return web.json_response({})

    async def measure(self) -> None:
        """The longest time this process was not served: its promise of LONGEST holds no better than that."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.05)
            self.lag = max(self.lag, time.monotonic() - before - 0.05)


def reset(request: web.Request) -> web.Response:
    if request.transport is not None:  # else its caller has left already
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def main(share: float, seed: int, longest: float) -> None:
    ledger = Ledger(share, seed, longest)
    application = web.Application()
    application.router.add_route("*", "/records", ledger.records)
    application.router.add_post("/ticks", ledger.tick)
    application.router.add_get("/ledger", ledger.ledger)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await ledger.measure()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
