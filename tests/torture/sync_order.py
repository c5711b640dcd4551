"""The order of the disk and the network: of each create, the journal is on disk before the publisher's first byte.

    python -m tests.torture.sync_order [--creates 1000]

Reads what `strace` saw of a real gateway: caller's request read, then a sync completed, then the request sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import aiohttp

from .kill_loop import ACTIVATE, CONFIG, KEY, ask, killed, said, spawn

_SYNC = re.compile(r"\b(?:fdatasync|fsync)\(\d+\) += 0|<\.\.\. (?:fdatasync|fsync) resumed>\) += 0")


def judged(trace: str) -> tuple[int, int]:
    """Requests sent to the publisher, and those that no completed sync preceded."""
    sent = early = 0
    synced = False
    for line in trace.splitlines():
        if "POST /records/town/records" in line:
            synced = False
        elif _SYNC.search(line):
            synced = True
        elif "POST /records HTTP" in line:
            sent += 1
            early += not synced
            synced = False
    return sent, early


async def trace(folder: Path, creates: int) -> str:
    """What strace saw of `creates` creates, one after the other."""
    hostile = await spawn("-m", "tests.torture.upstream", "0", "1", "1")
    upstream = f"http://127.0.0.1:{(await said(hostile))['port']}"
    config = folder / "relais.toml"
    config.write_text(CONFIG.format(key=KEY, upstream=upstream, store=""))
    calls = "trace=fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"
    seen = folder / "trace"
    strace = ["strace", "-D", "-f", "-qq", "-s", "48", "-e", calls, "-e", "signal=none", "-o", str(seen)]
    serve = [
        "-m",
        "gateway",
        "serve",
        "-c",
        str(config),
        "--workers",
        "1",
        "--connector",
        "tests.torture.records:Records",
    ]
    with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
        under = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
        python = [*strace, sys.executable, "-c", ACTIVATE, str(held.fileno()), sys.executable, *serve]
        served = await spawn("-c", under, *python, held=held)
        url = f"http://127.0.0.1:{held.getsockname()[1]}/records/town/records"
        async with aiohttp.ClientSession() as session:
            for number in range(creates):
                outcome, word = await ask(session, url, f"key-{number}")
                assert outcome == "done", word
        served.terminate()
        await served.wait()
        await killed(hostile)
    return await asyncio.to_thread(seen.read_text, "utf-8", "replace")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--creates", type=int, default=1000)
    chosen = parser.parse_args()
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    with tempfile.TemporaryDirectory() as folder:
        sent, early = judged(asyncio.run(trace(Path(folder), chosen.creates)))
    print(json.dumps({"sent": sent, "before_their_sync": early}))
    sys.exit(bool(early) or sent < chosen.creates)


if __name__ == "__main__":
    main()
