"""What a call through Relais is made of: CPU per part, each in a loop of its own, and all of them together.

One process, no load: `time.process_time` over some thousand turns, rounds interleaved, medians. A part alone finds its
data in the processor's caches: the sum is less than what a call costs under load.
`python -m benchmarks.parts`
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import structlog
import uvloop
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from benchmarks import bare_proxy, upstream
from benchmarks.connector import Bench, Found, Record, Settings
from benchmarks.processes import ROOT, free_port
from gateway import app, journal
from gateway.settings import GatewaySettings
from sdk import Connector, Http, envelope, get, read
from sdk.call import new_call, within
from sdk.invoke import bind
from sdk.messages import Response

API_KEY = "a-key-for-the-benchmark"
TURNS = 2000  # of a part, in a round
AT_ONCE = 16  # exchanges under way together, where a publisher is asked

Step = Callable[[], object]


class Still(Connector[Settings]):
    """Answers what it holds: a call with everything but a publisher."""

    name, title, category = "still", "Banc d'essai", "Mesures"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.record = read(Found, upstream.FOUND)

    @get
    async def search(self, most: int = 1) -> list[Found]:
        """The record."""
        return [self.record] * most


@dataclass(frozen=True)
class Row:
    """A part and its CPU in µs; `inside` when the line above holds it."""

    part: str
    cpu: float
    inside: bool = False


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = [f"| {'– ' if row.inside else ''}{row.part} | {row.cpu:,.1f} |" for row in rows]
    return "\n".join(["| Part of a call | CPU µs |", "|---|---:|", *lines])


def measure(rounds: int = 5) -> list[Row]:
    """All of it; some two seconds a round."""
    port = free_port()
    words = [sys.executable, "-m", "benchmarks.upstream", "--port", str(port), "--delay", "0"]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    publisher = subprocess.Popen(words, cwd=ROOT)
    try:
        with tempfile.TemporaryDirectory(prefix="relais-parts-") as folder:
            journal.configure("info", stream=journal.Lines(nowhere))
            return uvloop.run(_measured(port, Path(folder), rounds))
    finally:
        publisher.terminate()
        publisher.wait()
        journal.flush()
        structlog.reset_defaults()
        os.close(nowhere)


async def _measured(port: int, folder: Path, rounds: int) -> list[Row]:
    for _ in range(200):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        await asyncio.sleep(0.02)
    server = app.Server(_settings(folder, port), {"bench": Bench, "still": Still})
    await server.start(app.bind("127.0.0.1:0"))
    async with aiohttp.ClientSession() as session:
        steps = _steps(server, session, f"http://127.0.0.1:{port}/record")
        seen: dict[str, list[float]] = {part: [] for part in steps}
        for turn in range(rounds + 1):
            for part, step in steps.items():
                cpu = await _cpu(step, TURNS if turn else TURNS // 10)
                if turn:  # the first one warms
                    seen[part].append(cpu)
    await server.drain(grace=0.1)
    return [Row(part.removeprefix("– "), median(found), part.startswith("– ")) for part, found in seen.items()]


async def _cpu(step: Step, turns: int) -> float:
    """µs of one turn, the loop's own work included where it waits."""
    first = step()
    if not isinstance(first, Awaitable):
        began = time.process_time()
        for _ in range(turns):
            step()
        return (time.process_time() - began) / turns * 1e6
    await first
    left = iter(range(turns))

    async def caller() -> None:
        for _ in left:
            await step()  # type: ignore[misc]

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return (time.process_time() - began) / turns * 1e6


def _settings(folder: Path, port: int) -> GatewaySettings:
    instance = {
        "local": {
            "settings": {"url": f"http://127.0.0.1:{port}/"},
            "http": {"allow_http": True, "limit": bare_proxy.UPSTREAM_CONNECTIONS},
        }
    }
    return GatewaySettings.model_validate(
        {
            "gateway": {"data": str(folder)},
            "egress": {"private": ["127.0.0.0/8"]},
            "clients": {"bench": {"name": "bench", "api_key": API_KEY, "rights": ["*/*/*"]}},
            "instances": {"bench": instance, "still": instance},
        }
    )


def _request(path: str) -> web.Request:
    return make_mocked_request("GET", path, {"X-API-Key": API_KEY, "Accept": "application/json", "Host": "127.0.0.1"})


def _steps(server: app.Server, session: aiohttp.ClientSession, url: str) -> Mapping[str, Step]:
    dispatch = server.dispatch
    bench: Any = server.registry.instances["bench/local"].connector
    endpoint = next(one for one in server.registry.instances["still/local"].endpoints if one.name == "search")
    headers = _request("/").headers
    held = [read(Found, upstream.FOUND)]
    kept = endpoint.result.adapter.validate_python(held)
    still, rest, soap = (
        _request(p) for p in ("/still/local/search?most=1", "/bench/local/record", "/bench/local/search")
    )
    line = journal.log.bind()
    answer = Response(200, {"Content-Type": "text/xml; charset=utf-8"}, upstream.ENVELOPE % 1)

    async def access() -> None:
        client = await dispatch._access.authenticate("GET", "/still/local/search", "most=1", headers, "127.0.0.1")
        dispatch._access.authorize(client, "still", "local", "search")

    def validation() -> None:
        bind(endpoint, {}, [("most", "1")])
        endpoint.result.adapter.validate_python(held)

    def enveloped() -> None:
        body = envelope.success(endpoint.result.adapter.dump_json(kept), endpoint.result.contract)
        web.Response(body=body, content_type=envelope.CONTENT_TYPE)

    def told() -> None:
        call = new_call()
        line.info("call", request_id=call.request_id, client="bench", method="GET", instance="still/local",
                  endpoint="search", status=200, ms=1.2, upstream_ms=1.0, exchanges=1, received=0)  # fmt: skip

    def counted() -> None:
        dispatch._metrics.observe("still", "search", "ok", 0.001, 0.001, {})

    async def bare() -> None:
        async with session.get(url) as found:
            await found.read()

    async def wire() -> None:
        async with within(new_call()):
            await bench.http.get(url)

    return {
        "Access, validation, envelope, log line, metrics: a call that asks no publisher": lambda: dispatch(still),
        "– access (API key, rights)": access,
        "– validation (argument, result of 1 KB)": validation,
        "– envelope (JSON, response)": enveloped,
        "– log line": told,
        "– metrics (one process)": counted,
        "One exchange with the publisher, with breaker, limit, retry, egress": wire,
        "– the same with aiohttp's own client, nothing around it": bare,
        "SOAP, arguments to envelope": lambda: bench.service.build("search", status="open", most=1),
        "SOAP, envelope to values, 1 KB": lambda: bench.service.decode("search", answer),
        "SOAP, values to the declared model": lambda: read(Found, upstream.FOUND),
        "REST, JSON to the declared model": lambda: read(Record, upstream.RECORD),
        "A whole REST call but the server's side of HTTP": lambda: dispatch(rest),
        "A whole SOAP call but the server's side of HTTP": lambda: dispatch(soap),
    }


if __name__ == "__main__":
    print(table(measure()))
