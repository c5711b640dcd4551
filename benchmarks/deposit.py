"""A large deposit on Cart@ds: memory of the gateway, and how long it stops answering others.

    python -m benchmarks.deposit [--megabytes 50] [--drop sftp|ftps]

One gateway process over the simulator; its peak is the kernel's (`VmHWM`), its stalls those of a `/health/live` asked
every 20 ms meanwhile. Bounded: one deposit, a minute at most. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import aiohttp

from connectors.cartads.simulator import CartadsSimulator

MEGABYTE = 1024 * 1024


def memory(pid: int, field: str) -> float:
    """Megabytes of `VmRSS` or `VmHWM`."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
    assert found
    return int(found[1]) / 1024


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def large(folder: Path) -> list[str]:
    """The files above 1 MiB in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [
        f"{path.name} ({path.stat().st_size / MEGABYTE:.0f} MiB)" for path in files if path.stat().st_size > MEGABYTE
    ]


def configuration(folder: Path, port: int, settings: dict[str, Any]) -> Path:
    """A gateway of one process; JSON strings and numbers are TOML's too."""
    portal = settings["portal"]
    drop = next(name for name in ("sftp", "ftps") if name in portal)
    service = portal["services"][0]["url"]
    lines = [
        "[gateway]",
        f'listen = "127.0.0.1:{port}"',
        f"data = {json.dumps(str(folder))}",
        'max_body = "200MB"',
        "workers = 1",
        "[egress]",
        'private = ["127.0.0.0/8"]',
        "[clients.bench]",
        'api_key = "the-key-of-the-bench"',
        'rights = ["*/*/*"]',
        "[instances.cartads.bench.http]",
        "allow_http = true",
        "[instances.cartads.bench.settings.portal]",
        f"services = [{{ url = {json.dumps(service)} }}]",
        *(f"{name} = {json.dumps(portal[name])}" for name in ("login", "password", "key", "iv")),
        f"[instances.cartads.bench.settings.portal.{drop}]",
        *(f"{name} = {json.dumps(value)}" for name, value in portal[drop].items()),
    ]
    path = folder / "relais.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


async def main(megabytes: int, drop: Literal["sftp", "ftps"]) -> None:
    """One deposit, and its table."""
    with tempfile.TemporaryDirectory(prefix="relais-deposit-") as place:
        folder = Path(place)
        async with CartadsSimulator(drop=drop) as simulator:
            port = free_port()
            config = configuration(folder, port, simulator.demo_settings())
            serving = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway", "serve", "--config", str(config)
            )
            try:
                async with asyncio.timeout(60):
                    await _measured(serving, port, megabytes, drop, folder)
            finally:
                serving.terminate()
                await serving.wait()


async def _measured(serving: Any, port: int, megabytes: int, drop: str, folder: Path) -> None:
    url = f"http://127.0.0.1:{port}"
    content = os.urandom(megabytes * MEGABYTE // 5)
    pieces = [
        {"code": f"PCMI{n}", "file": {"filename": f"{n}.bin", "content": base64.b64encode(content).decode()}}
        for n in range(5)
    ]
    cerfa = {"filename": "cerfa.pdf", "content": base64.b64encode(b"%PDF-1.4\n").decode()}
    body = json.dumps({"commune": "76540", "type": "PCMI", "object": "1", "cerfa": cerfa, "pieces": pieces}).encode()
    headers = {"X-API-Key": "the-key-of-the-bench", "Idempotency-Key": "1", "Content-Type": "application/json"}
    stalls: list[float] = []

    async def ask_meanwhile(session: aiohttp.ClientSession) -> None:
        while True:
            began = time.perf_counter()
            async with session.get(url + "/health/live") as answer:
                await answer.read()
            stalls.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)

    async with aiohttp.ClientSession() as session:
        await _answers(session, url)
        pid = _worker(serving.pid)
        before = memory(pid, "VmRSS")
        meanwhile = asyncio.create_task(ask_meanwhile(session))
        began = time.perf_counter()
        async with session.post(url + "/cartads/bench/deposits", data=body, headers=headers) as answer:
            ticket = (await answer.json())["data"]
        accepted = time.perf_counter() - began
        while True:
            async with session.get(url + ticket["status_url"], headers=headers) as answer:
                said = (await answer.json())["data"]
            if said["final"]:
                break
            await asyncio.sleep(0.1)
        done = time.perf_counter() - began
        meanwhile.cancel()
        peak = memory(pid, "VmHWM")
        await asyncio.sleep(0.5)
        after = memory(pid, "VmRSS")
    left = large(folder)
    sent = said["data"]["size"] / MEGABYTE if said["data"] else 0.0
    asked, grown = len(body) / MEGABYTE, (peak - before) * MEGABYTE / len(body)
    stalls.sort()
    print(f"drop by {drop}: {said['state']}, archive of {sent:.1f} MiB, request of {asked:.1f} MiB")
    print(f"  ticket after {accepted:.2f} s, deposited after {done:.2f} s")
    print(f"  memory: {before:.0f} MiB before, peak {peak:.0f} (+{grown:.2f} x request), {after:.0f} after")
    print(f"  /health/live: median {stalls[len(stalls) // 2] * 1000:.0f} ms, worst {stalls[-1] * 1000:.0f} ms")
    print(f"  files above 1 MiB left: {', '.join(left) or 'none'}")


async def _answers(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        try:
            async with session.get(url + "/health/live") as answer:
                await answer.read()
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)


def _worker(pid: int) -> int:
    """The process that serves: the only child, or the process itself."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return int(children[0]) if children else pid


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, default=50)
    options.add_argument("--drop", choices=("sftp", "ftps"), default="sftp")
    given = options.parse_args()
    asyncio.run(main(given.megabytes, given.drop))
