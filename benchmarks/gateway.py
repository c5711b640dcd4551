"""Calls per second and CPU per call of the gateway, beside a bare proxy and Django doing the same translation.

`python -m benchmarks.gateway` runs everything in about ten minutes, `--quick` in two; see README.md for the method.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from benchmarks import bare_proxy, parts, report, upstream
from benchmarks.load import GRACE, Figures
from benchmarks.processes import ROOT, cpu_of, first_answer, free_port, memory_of, on_cores, raise_open_files, running
from benchmarks.report import Run

PATHS = {"rest": "/bench/local/record", "soap": "/bench/local/search?most=1"}
API_KEY = "a-key-for-the-benchmark"
DJANGO_WORKERS, DJANGO_THREADS = 2, 4
DJANGO_RATE = DJANGO_WORKERS * DJANGO_THREADS / upstream.DELAY  # calls per second its threads allow
WARMING = 1.0  # seconds, at least

Command = Callable[[int, int, Path], Sequence[str]]
"""(own port, upstream's port, private folder) → what to start."""


@dataclass(frozen=True)
class Case:
    """A server to measure."""

    name: str
    label: str
    translation: Literal["rest", "soap"]
    processes: int
    command: Command | None  # None: the callers ask the upstream itself
    bare: str = ""  # the cases its ratios are taken to
    peer: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    rounds: int | None = None  # None: as many as asked for
    rate: float | None = None  # calls per second it cannot exceed, where that is few

    def is_slow(self, callers: int) -> bool:
        """Whether a turn of all callers takes so long that one round must do."""
        return self.rate is not None and callers / self.rate > 10


def relais(processes: int) -> Command:
    """`relais serve` with one client, one instance of the benchmark's connector."""

    def command(port: int, upstream_port: int, folder: Path) -> Sequence[str]:
        config = folder / "relais.toml"
        config.write_text(
            f"""
[gateway]
listen = "127.0.0.1:{port}"
max_in_flight = 5000
data = "{folder / "data"}"
workers = {processes}

[egress]
private = ["127.0.0.0/8"]

[clients.bench]
api_key = "{API_KEY}"
rights = ["*/*/*"]

[instances.bench.local]
settings = {{ url = "http://127.0.0.1:{upstream_port}/" }}
http = {{ allow_http = true, limit = {bare_proxy.UPSTREAM_CONNECTIONS}, queue = 5000, queue_wait = 25 }}
"""
        )
        connector = "benchmarks.connector:Bench"
        return [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--connector", connector]

    return command


def bare(processes: int) -> Command:
    """The bare aiohttp proxy."""

    def command(port: int, upstream_port: int, folder: Path) -> Sequence[str]:
        url = f"http://127.0.0.1:{upstream_port}/record"
        program = [sys.executable, "-m", "benchmarks.bare_proxy"]
        return [*program, "--port", str(port), "--upstream", url, "--processes", str(processes)]

    return command


def django(zeep: str) -> Command:
    """Django under gunicorn's threads; `zeep` is `cached` or `fresh`: how long it keeps its SOAP client."""
    return partial(_django, zeep)


def _django(zeep: str, port: int, upstream_port: int, folder: Path) -> Sequence[str]:
    options = {
        "--bind": f"127.0.0.1:{port}",
        "--workers": DJANGO_WORKERS,
        "--worker-class": "gthread",
        "--threads": DJANGO_THREADS,
        "--worker-connections": 4000,
        "--keep-alive": 120,
        "--graceful-timeout": 1,
        "--log-level": "warning",
    }
    words = [str(word) for option in options.items() for word in option]
    words += ["--env", f"UPSTREAM=http://127.0.0.1:{upstream_port}/record", "--env", f"ZEEP={zeep}"]
    return [sys.executable, "-m", "gunicorn", *words, "--no-control-socket", "benchmarks.django_peer:application"]


THREADS = f"gunicorn {DJANGO_WORKERS} × {DJANGO_THREADS} threads"
KEY = {"X-API-Key": API_KEY}
CASES = [
    Case("relais-1", "**Relais**, 1 process", "rest", 1, relais(1), "bare-1", "django", KEY),
    Case("bare-1", "bare aiohttp proxy, 1 process", "rest", 1, bare(1), "bare-1", "django"),
    Case("relais-2", "**Relais**, 2 processes", "rest", 2, relais(2), "bare-2", "django", KEY),
    Case("bare-2", "bare aiohttp proxy, 2 processes", "rest", 2, bare(2), "bare-2", "django"),
    Case("django", f"Django, {THREADS}, requests", "rest", 2, django("cached"), "bare-2", "django", rate=DJANGO_RATE),
    Case("upstream", "the upstream itself", "rest", 1, None, rounds=1),
    Case("soap-1", "**Relais**, 1 process", "soap", 1, relais(1), "soap-bare-1", "zeep", KEY),
    Case("soap-bare-1", "bare aiohttp proxy, 1 process", "soap", 1, bare(1), "soap-bare-1", "zeep"),
    Case("soap-2", "**Relais**, 2 processes", "soap", 2, relais(2), "soap-bare-2", "zeep", KEY),
    Case("soap-bare-2", "bare aiohttp proxy, 2 processes", "soap", 2, bare(2), "soap-bare-2", "zeep"),
    Case("zeep", f"Django, {THREADS}, zeep kept", "soap", 2, django("cached"), "soap-bare-2", "zeep", rate=DJANGO_RATE),
    Case(
        "zeep-fresh",
        f"Django, {THREADS}, zeep built per call",
        "soap",
        2,
        django("fresh"),
        "soap-bare-2",
        "zeep",
        rate=DJANGO_RATE,
    ),
]
QUICK = ["relais-1", "bare-1", "relais-2", "bare-2", "soap-1", "soap-bare-1", "zeep"]
LABELS = {case.name: f"{case.label} ({case.translation})" for case in CASES}


def length(case: Case, callers: int, seconds: float) -> float:
    """Seconds of measure: what was asked for, more where calls are few, less for the tools alone."""
    if case.command is None:
        return min(3.0, seconds)
    return max(seconds, 12.0 if case.is_slow(callers) else 8.0) if case.rate and seconds >= 3 else seconds


def cores(case: Case) -> tuple[Sequence[int], Sequence[int]]:
    """Which cores the server runs on, and which its callers and upstream: apart where there are enough of them."""
    everywhere = (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    )
    if len(everywhere) <= case.processes:
        return everywhere, everywhere
    return everywhere[: case.processes], everywhere[case.processes :]


def measure(case: Case, callers: int, seconds: float) -> Run:
    """One run: upstream and server started fresh, warmed, measured, ended."""
    seconds = length(case, callers, seconds)
    own, others = cores(case)
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
        folder = Path(name)
        upstream_port = free_port()
        slow = [sys.executable, "-m", "benchmarks.upstream", "--port", str(upstream_port)]
        with running(slow, folder / "upstream.log", own if case.command is None else others) as publisher:
            record = first_answer(upstream_port, "/record", {}, publisher, folder / "upstream.log", 10)
            if case.command is None:
                return _watch(case, callers, seconds, upstream_port, publisher, publisher, others)
            port = free_port()
            log = folder / "server.log"
            with running(case.command(port, upstream_port, folder), log, own) as server:
                answer = first_answer(port, PATHS[case.translation], case.headers, server, log, 30)
                if not is_same(case, answer, record):
                    sys.exit(f"{case.label} does not do the same translation, it answers {json.dumps(answer)[:500]}")
                return _watch(case, callers, seconds, port, server, publisher, others)


def is_same(case: Case, answer: Any, record: Any) -> bool:
    """Whether the answer is the translation every server must give: the upstream's record, in the envelope."""
    if case.translation == "soap":
        record = [{**upstream.FOUND, "attempts": answer["data"][0]["attempts"]}]
    return bool(answer == {"err": 0, "data": record})


def _watch(
    case: Case,
    callers: int,
    seconds: float,
    port: int,
    server: psutil.Process,
    publisher: psutil.Process,
    own_cores: Sequence[int],
) -> Run:
    """Runs the callers and reads the clocks of everybody when they begin and when they end."""
    words = [sys.executable, "-m", "benchmarks.load", "--port", str(port), "--path", PATHS[case.translation]]
    words += ["--callers", str(callers), "--warm", str(WARMING), "--seconds", str(seconds)]
    for name, value in case.headers.items():
        words += ["--header", f"{name}: {value}"]
    with on_cores(own_cores):
        load = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert load.stdout
    until = time.monotonic() + WARMING + seconds + GRACE
    try:
        _expect(load, b"measuring\n", until)
        before, publisher_before, everybody_before = cpu_of(server), cpu_of(publisher), _busy()
        _expect(load, b"measured\n", until)
        after, publisher_after, everybody_after = cpu_of(server), cpu_of(publisher), _busy()
        memory = memory_of(server)
        figures = Figures(**json.loads(load.stdout.read()))
    finally:
        load.kill()
        load.wait()
    server_cpu = sum(used - before.get(pid, 0.0) for pid, used in after.items())
    publisher_cpu = sum(publisher_after.values()) - sum(publisher_before.values())
    ours = server_cpu + figures.cpu + (0 if publisher.pid == server.pid else publisher_cpu)
    return Run(
        case=case.name,
        callers=callers,
        figures=figures,
        server_cpu=server_cpu,
        memory=memory,
        upstream_cpu=publisher_cpu,
        foreign_cpu=max(0.0, everybody_after - everybody_before - ours),
        restarted=not before.keys() <= after.keys(),
    )


def _expect(load: subprocess.Popen[bytes], line: bytes, until: float) -> None:
    assert load.stdout
    ready, _, _ = select.select([load.stdout], [], [], max(0.0, until - time.monotonic()))
    if not ready or load.stdout.readline() != line:
        sys.exit("The callers ended before their measure: see the lines above.")


def _busy() -> float:
    """Seconds of CPU everything on the machine has used."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0))


def markdown(runs: Sequence[Run], cost: Sequence[parts.Row], seconds: float, rounds: int) -> str:
    """The whole report."""
    doubts = report.warnings(runs, LABELS)

    def table(translation: str) -> str:
        chosen = {case.name: case for case in CASES if case.translation == translation}
        return report.table([run for run in runs if run.case in chosen], chosen)

    sections = [
        "# The gateway beside a bare proxy and Django",
        "Every server asks an upstream that answers 1 KB after "
        f'{upstream.DELAY * 1000:.0f} ms, decodes it, and answers it as `{{"err": 0, "data": …}}`.',
        "*÷ bare*: the figure divided by that of the bare proxy with as many processes; *÷ Django*: by that of Django "
        "(over SOAP, of Django with a zeep client kept per thread). For calls/s more is better, for CPU less. "
        "*Failed*: answers that were not a success; there must be none.",
        "## REST: 1 KB of JSON",
        table("rest"),
        "## SOAP: 1 KB, document/literal, 15 elements",
        table("soap"),
        "## What a call is made of",
        parts.table(cost),
        "## How",
        f"**Machine.** {report.machine()}",
        f"**Method.** {_method(seconds, rounds)}",
        "**Doubts.** " + ("None noticed." if not doubts else "\n\n" + "\n".join(f"- {doubt}" for doubt in doubts)),
    ]
    return "\n\n".join(sections) + "\n"


def _method(seconds: float, rounds: int) -> str:
    django_seconds = next(length(case, 2000, seconds) for case in CASES if case.rate)
    return f"""\
Closed loop: each caller keeps one connection and asks again as soon as it is answered; everything is on 127.0.0.1.
Each run starts upstream, server and callers fresh, warms {WARMING:g} s and until every caller was answered once, and
measures {seconds:g} s (Django at 2,000 callers {django_seconds:g} s, in one round only).
Rounds: {rounds}, interleaved; the table gives medians. CPU is user and system time of all the server's processes during
the measure over the calls answered 2xx in it; memory counts shared pages once. A server of one process has a core
apart from its callers and upstream, a server of two has two; where the machine has no core left they share all of them.
Bare proxy: {bare_proxy.UPSTREAM_CONNECTIONS} upstream connections per process, no log. Django: no middleware, no
database, one kept-alive `requests` session per thread, no access log; zeep reads its WSDL from a file. Relais: as
installed, with rights, validation, deadline, limits, metrics and a log line per call. *The upstream itself*: what
callers and upstream can do with nothing between them. *What a call is made of*: each part in a loop of its own, in one
process without load, {parts.TURNS:,} turns a round; parts alone find their data in the processor's caches, a call under
load does not."""


def plan(names: Iterable[str], callers: Sequence[int], rounds: int) -> list[tuple[Case, int]]:
    """The runs in order: rounds outside, so that what drifts on the machine drifts for every case alike."""
    chosen = [case for case in CASES if case.name in set(names)]
    runs: list[tuple[Case, int]] = []
    for turn in range(rounds):
        for count in callers:
            for case in chosen:
                if turn < (1 if case.is_slow(count) else case.rounds or rounds):
                    runs.append((case, count))
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--callers", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measure (default 6)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--case",
        nargs="+",
        default=None,
        choices=list(LABELS),
        metavar="CASE",
        help=f"only these: {', '.join(LABELS)}",
    )
    parser.add_argument("--quick", action="store_true", help="few cases, 200 callers, 3 s, one round")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    args = parser.parse_args()
    if args.quick:
        args.callers, args.seconds, args.rounds, args.case = [200], 3.0, 1, args.case or QUICK
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    raise_open_files(3 * max(args.callers) + 1000)
    runs: list[Run] = []
    todo = plan(args.case or list(LABELS), args.callers, args.rounds)
    for number, (case, callers) in enumerate(todo, 1):
        run = measure(case, callers, args.seconds)
        runs.append(run)
        one = report.row([run])
        print(
            f"{number:2}/{len(todo)}  {case.name:11} {callers:5,} callers  {one.rate:8,.0f} calls/s  "
            f"{one.cpu:6,.0f} µs/call  p50 {one.p50:6,.0f} ms  p99 {one.p99:6,.0f} ms  faults {one.faults}",
            file=sys.stderr,
            flush=True,
        )
    text = markdown(runs, parts.measure(1 if args.quick else 5), args.seconds, args.rounds)
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(text)
    sys.exit(any(report.faults(run) for run in runs))


if __name__ == "__main__":
    main()
