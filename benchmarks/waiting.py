"""What calls that wait cost: 10,000 at once, on ten slow publishers, in two processes. Memory, and whether all end.

`python -m benchmarks.waiting`: half a minute. Needs 18,000 open files per process.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import uvloop

from benchmarks.gateway import API_KEY
from benchmarks.processes import first_answer, free_port, memory_of, raise_open_files, running

INSTANCES = 10
CALLS = 10_000
DELAY = 20.0  # seconds the publishers take
ARRIVING = 64  # connections opened at once


def config(port: int, upstream_port: int, folder: Path) -> Path:
    """Ten instances of the benchmark's connector, each with room for a tenth of the calls."""
    file = folder / "relais.toml"
    instance = (
        f'settings = {{ url = "http://127.0.0.1:{upstream_port}/" }}\n'
        f"http = {{ allow_http = true, limit = {CALLS // INSTANCES}, timeout = 24, queue_wait = 20 }}\n"
    )
    file.write_text(
        f'[gateway]\nlisten = "127.0.0.1:{port}"\ndata = "{folder / "data"}"\nworkers = 2\n'
        f"max_in_flight = {CALLS}\n"
        '[egress]\nprivate = ["127.0.0.0/8"]\n'
        f'[clients.bench]\napi_key = "{API_KEY}"\nrights = ["*/*/*"]\n'
        + "".join(f"[instances.bench.town{number}]\n{instance}" for number in range(INSTANCES))
    )
    return file


async def wait_together(port: int) -> tuple[asyncio.Event, list[asyncio.Task[bool]]]:
    """All callers, each on its connection; the event is set once every question is sent."""
    gate, left, all_asked = asyncio.Semaphore(ARRIVING), [CALLS], asyncio.Event()

    async def caller(number: int) -> bool:
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            path = f"/bench/town{number % INSTANCES}/record"
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {API_KEY}\r\nConnection: close\r\n\r\n".encode()
            )
        left[0] -= 1
        if not left[0]:
            all_asked.set()
        answer = await reader.read()
        writer.close()
        return answer.startswith(b"HTTP/1.1 200") and b'{"err":0,' in answer

    return all_asked, [asyncio.create_task(caller(number)) for number in range(CALLS)]


async def measured() -> str:
    """The report."""
    with tempfile.TemporaryDirectory(prefix="relais-waiting-") as name:
        folder = Path(name)
        upstream_port, port = free_port(), free_port()
        slow = [sys.executable, "-m", "benchmarks.upstream", "--port", str(upstream_port), "--delay", str(DELAY)]
        serve = [sys.executable, "-m", "gateway", "serve", "--config", str(config(port, upstream_port, folder))]
        with (
            running(slow, folder / "upstream.log", [0]),
            running([*serve, "--connector", "benchmarks.connector:Bench"], folder / "log", [0]) as server,
        ):
            headers = {"X-API-Key": API_KEY}
            first_answer(port, "/bench/town0/openapi.json", headers, server, folder / "log", 30)
            idle = memory_of(server)
            all_asked, tasks = await wait_together(port)
            await asyncio.wait_for(all_asked.wait(), 60)
            most = 0.0
            while not any(task.done() for task in tasks):
                most = max(most, memory_of(server))
                await asyncio.sleep(0.2)
            answered = sum(await asyncio.gather(*tasks))
    return (
        f"{CALLS:,} calls waiting in two processes: {most:,.0f} MB ({(most - idle) / CALLS * 1000:,.1f} KB each, "
        f"{idle:,.0f} MB without any), {answered:,} answered."
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    raise_open_files(18_000)
    print(uvloop.run(measured()))


if __name__ == "__main__":
    main()
