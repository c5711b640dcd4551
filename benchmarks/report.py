"""What the runs say, as Markdown: the table, the machine, what to be wary of."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Protocol

import psutil  # type: ignore[import-untyped]

from benchmarks.load import Figures

VERSIONS = ("aiohttp", "uvloop", "pydantic", "Django", "gunicorn", "requests")


@dataclass(frozen=True)
class Run:
    """One case, one number of callers, one round."""

    case: str
    callers: int
    figures: Figures
    server_cpu: float  # seconds of CPU of the server's processes during the measure
    memory: float  # MB at its end
    upstream_cpu: float
    foreign_cpu: float  # seconds of CPU used by processes that are not the comparison's
    restarted: bool  # a server process ended during the measure


@dataclass(frozen=True)
class Row:
    """The medians of the rounds of one case."""

    rounds: int
    rate: float  # calls per second
    cpu: float  # µs per call
    p50: float  # ms
    p99: float  # ms
    memory: float  # MB
    faults: int  # sum over the rounds


def faults(run: Run) -> int:
    """Answers that were not a success, whatever the reason."""
    return run.figures.refused + run.figures.broken + run.figures.wrong


def row(runs: Sequence[Run]) -> Row:
    """Rounds → medians."""
    return Row(
        rounds=len(runs),
        rate=median(run.figures.calls / run.figures.seconds for run in runs),
        cpu=median(run.server_cpu / max(1, run.figures.calls) * 1e6 for run in runs),
        p50=median(run.figures.p50 * 1e3 for run in runs),
        p99=median(run.figures.p99 * 1e3 for run in runs),
        memory=median(run.memory for run in runs),
        faults=sum(faults(run) for run in runs),
    )


class Case(Protocol):
    """What the table must know: the label, and the names of the proxy and of the Django a case is held against."""

    @property
    def label(self) -> str: ...
    @property
    def bare(self) -> str: ...
    @property
    def peer(self) -> str: ...


def table(runs: Sequence[Run], cases: Mapping[str, Case]) -> str:
    """The medians, CPU per call first."""
    lines = [
        "| Callers | Server | CPU µs/call | ÷ bare | ÷ Django | calls/s | ÷ bare | ÷ Django | p50 ms | p99 ms | MB "
        "| failed |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for callers in sorted({run.callers for run in runs}):
        rows = {
            case: row(found)
            for case in cases
            if (found := [run for run in runs if run.case == case and run.callers == callers])
        }
        for case, one in rows.items():
            floor, django = rows.get(cases[case].bare), rows.get(cases[case].peer)
            cells = [
                f"{callers:,}",
                cases[case].label,
                f"{one.cpu:,.0f}",
                _ratio(one.cpu, floor.cpu if floor else None),
                _ratio(one.cpu, django.cpu if django else None),
                f"{one.rate:,.0f}",
                _ratio(one.rate, floor.rate if floor else None),
                _ratio(one.rate, django.rate if django else None),
                f"{one.p50:,.0f}",
                f"{one.p99:,.0f}",
                f"{one.memory:,.0f}",
                str(one.faults),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(value: float, reference: float | None) -> str:
    if not reference:
        return "–"
    ratio = value / reference
    return f"{ratio:.0f}×" if ratio >= 20 else f"{ratio:.1f}×" if ratio >= 10 else f"{ratio:.2f}×"


def warnings(runs: Sequence[Run], labels: dict[str, str]) -> list[str]:
    """What makes figures doubtful, in sentences; empty when nothing does."""
    said: list[str] = []
    for run in runs:
        where = f"{labels[run.case]}, {run.callers:,} callers"
        seen, seconds = run.figures, run.figures.seconds
        if faults(run):
            said.append(
                f"{where}: {seen.refused} answers were not 2xx, {seen.broken} connections broke, "
                f"{seen.wrong} callers ended on an answer that was not a success."
            )
        if not seen.calls:
            said.append(f"{where}: not one call was answered during the measure.")
        if seen.waiting:
            said.append(f"{where}: {seen.waiting} callers never had an answer, not even while warming.")
        if run.restarted:
            said.append(f"{where}: a server process ended during the measure, its CPU is not counted.")
        if seen.cpu / seconds > 0.9:
            said.append(f"{where}: the callers' own process was busy {seen.cpu / seconds:.0%}: it set the limit.")
        if run.upstream_cpu / seconds > 0.9:
            said.append(f"{where}: the upstream was busy {run.upstream_cpu / seconds:.0%}: it set the limit.")
        if run.foreign_cpu / seconds > 0.1:
            said.append(f"{where}: something else used {run.foreign_cpu / seconds:.0%} of a core meanwhile.")
    return said


def machine(libraries: Sequence[str] = VERSIONS) -> str:
    """The machine and the versions, one paragraph."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in libraries)
    return (
        f"{date.today():%Y-%m-%d}. {model}, {cores} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()}, {platform.python_implementation()} {platform.python_version()}, "
        f"{versions}."
    )
