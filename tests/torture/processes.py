"""The real processes of the torture runs: gateways on a socket that somebody else holds, and a publisher."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
KEY = "the-key-of-the-torture"
PATH = "/records/town/records"
CONFIG = """
[gateway]
listen = "127.0.0.1:0"
data = "data"
log_level = "{log_level}"
{store}
[egress]
private = ["127.0.0.0/8"]

[clients.callers]
api_key = "{key}"
rights = ["*/*/*"]

[deliveries]
lease = 2
margin = 1
"""
INSTANCE = """
[instances.records.{name}]
settings = {{ url = "{upstream}" }}
http = {{ allow_http = true, timeout = {timeout}, limit = 100, breaker = false }}
"""
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""The protocol of systemd's socket activation: the socket is file 3, and the variables say for which process."""


def configure(
    folder: Path,
    upstream: str,
    *,
    store: str = "",
    log_level: str = "warning",
    instances: Sequence[str] = ("town",),
    timeout: float = 0.7,
) -> Path:
    """A relais.toml with instances of `Records`, at the publisher `upstream`."""
    chosen = f'store = "{store}"' if store else ""
    said = CONFIG.format(key=KEY, store=chosen, log_level=log_level)
    config = folder / "relais.toml"
    config.write_text(
        said + "".join(INSTANCE.format(name=name, upstream=upstream, timeout=timeout) for name in instances)
    )
    return config


async def spawn(
    *arguments: str,
    held: socket.socket | None = None,
    stdout: Any = asyncio.subprocess.PIPE,
    stderr: Any = None,
    code: Path = ROOT,
) -> asyncio.subprocess.Process:
    """`python …` with the packages in the folder `code`; `held` stays open in it under the same number."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=code,
        pass_fds=[held.fileno()] if held is not None else [],
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "RELAIS_LANG": "en"},
    )


async def serve(
    config: Path,
    held: socket.socket,
    *,
    stdout: Any = None,
    before: Sequence[str] = (),
    workers: int = 1,
    connector: str = "tests.torture.records:Records",
    code: Path = ROOT,
) -> asyncio.subprocess.Process:
    """`relais serve`, one process, on the socket `held`; started by the command `before` where there is one."""
    command = [sys.executable, "-m", "gateway", "serve", "-c", str(config), "--workers", str(workers)]
    command += ["--connector", connector]
    activated = ["-c", ACTIVATE, str(held.fileno()), *command]
    if before:
        under = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
        activated = ["-c", under, *before, sys.executable, *activated]
    return await spawn(*activated, held=held, stdout=stdout, code=code)


async def said(process: asyncio.subprocess.Process, event: str = "") -> dict[str, Any]:
    """The next JSON line of a process; that of this event."""
    assert process.stdout
    async with asyncio.timeout(30):
        while line := await process.stdout.readline():
            found: dict[str, Any] = json.loads(line)
            if not event or found.get("event") == event:
                return found
    raise AssertionError(f"the process ended without saying {event or 'anything'}")


async def killed(process: asyncio.subprocess.Process) -> None:
    """kill -9."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


@asynccontextmanager
async def publisher(share: float, seed: int, longest: float) -> AsyncIterator[str]:
    """The address of a hostile publisher (`upstream.py`), in a process of its own."""
    async with listening("-m", "tests.torture.upstream", str(share), str(seed), str(longest)) as url:
        yield url


@asynccontextmanager
async def listening(*arguments: str) -> AsyncIterator[str]:
    """The address of `python …`, which says its port as JSON when it listens."""
    process = await spawn(*arguments)
    try:
        yield f"http://127.0.0.1:{(await said(process))['port']}"
    finally:
        await killed(process)
