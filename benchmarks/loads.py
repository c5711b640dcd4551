"""One bounded load on one server that is already running, with the server's CPU: what the other benchmarks call."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from benchmarks.load import Figures
from benchmarks.processes import ROOT, cpu_of


@dataclass(frozen=True)
class Load:
    """What a closed loop of callers saw of a server."""

    rate: float  # calls answered 2xx, per second
    cpu: float  # µs of the server's CPU per call
    p50: float  # seconds
    p99: float
    failed: int


def served(
    port: int, path: str, server: psutil.Process, headers: Mapping[str, str], callers: int, seconds: float
) -> Load:
    """`callers` connections ask `path` for `seconds`, after half a second of warming."""
    words = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--path", path]
    words += ["--callers", str(callers), "--warm", "0.5", "--seconds", str(seconds)]
    for name, value in headers.items():
        words += ["--header", f"{name}: {value}"]
    load = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert load.stdout
    try:
        if load.stdout.readline() != b"measuring\n":
            sys.exit("The callers ended before their measure.")
        before = cpu_of(server)
        if load.stdout.readline() != b"measured\n":
            sys.exit("The callers ended before the end of their measure.")
        after = cpu_of(server)
        figures = Figures(**json.loads(load.stdout.read()))
    finally:
        load.kill()
        load.wait()
    used = sum(now - before.get(pid, 0.0) for pid, now in after.items())
    return Load(
        rate=figures.calls / figures.seconds,
        cpu=used / max(1, figures.calls) * 1e6,
        p50=figures.p50,
        p99=figures.p99,
        failed=figures.refused + figures.broken + figures.wrong,
    )
