"""Starting what is measured, reading its CPU and memory, ending it: only ever processes of our own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port of 127.0.0.1 nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def raise_open_files(wanted: int) -> None:
    """Lets this process and its children open `wanted` files; ends the run with what to do where that is refused."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"This run needs {wanted} open files and the system allows {hard}: raise `ulimit -Hn`.")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else hard, hard))


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Processes started in this block run on these cores (all of them where the system cannot pin)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, cores: Sequence[int], env: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """The process of `command` and its children for the length of the block, its output in `log`."""
    with log.open("wb") as output, on_cores(cores):
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    process = psutil.Process(child.pid)
    try:
        yield process
    finally:
        try:
            tree = family(process)
            child.terminate()
            _, left = psutil.wait_procs(tree, timeout=3)
            for one in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        finally:
            child.wait(timeout=10)


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and everything it started that is alive."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []


def cpu_of(process: psutil.Process) -> dict[int, float]:
    """Seconds of CPU (user and system) used so far, per process of the family."""
    used: dict[int, float] = {}
    for one in family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            used[one.pid] = times.user + times.system
    return used


def memory_of(process: psutil.Process) -> float:
    """MB held by the family, memory shared between its processes counted once where the system tells."""
    total = 0
    for one in family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            held = one.memory_full_info()
            total += getattr(held, "pss", held.rss)
    return total / 1e6


def first_answer(
    port: int, path: str, headers: Mapping[str, str], process: psutil.Process, log: Path, patience: float
) -> Any:
    """The JSON of the first 200 of a server that is starting; ends the run with the server's own words otherwise."""
    until = time.monotonic() + patience
    said = "nothing listens"
    while time.monotonic() < until and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                return json.loads(body)
            said = f"{answer.status} {body[:500].decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            said = repr(error)
        finally:
            connection.close()
        time.sleep(0.05)
    words = log.read_text(errors="replace")[-2000:]
    sys.exit(f"The server of this case did not answer 200 ({said}). Its output ends with:\n{words}")
