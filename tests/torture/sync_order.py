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

from .kill_loop import ask
from .processes import PATH, configure, publisher, serve

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
    calls = "trace=fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"
    seen = folder / "trace"
    strace = ["strace", "-D", "-f", "-qq", "-s", "48", "-e", calls, "-e", "signal=none", "-o", str(seen)]
    async with publisher(0.0, 1, 1.0) as upstream:
        config = configure(folder, upstream)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as held:
            served = await serve(config, held, before=strace)
            url = f"http://127.0.0.1:{held.getsockname()[1]}{PATH}"
            async with aiohttp.ClientSession() as session:
                for number in range(creates):
                    outcome, word = await ask(session, url, f"key-{number}")
                    assert outcome == "done", word
            served.terminate()
            await served.wait()
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
