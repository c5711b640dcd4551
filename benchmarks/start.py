"""Starting: how soon twenty instances answer, and what a further instance and a further process cost in memory.

`python -m benchmarks.start` takes about a minute.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]

from benchmarks.large_contract import wsdl
from benchmarks.processes import ROOT, cpu_of, family, free_port, running
from benchmarks.report import machine

API_KEY = "a-key-for-the-benchmark"
LIBRARIES = ("aiohttp", "uvloop", "pydantic", "sqlalchemy", "lxml", "zeep")


@dataclass(frozen=True)
class Start:
    """One start; seconds, MB."""

    ready: float  # the first 200 of /health/ready
    answered: float  # the first 200 of an endpoint of each connector
    cpu: float  # of all processes, until then
    processes: int
    pss: float  # of all processes, what they share counted once
    own: float  # the private memory of the process that has most of it


def configured(folder: Path, port: int, soap: int, rest: int, tables: int) -> Path:
    """So many instances of each kind; the WSDL and the table are the same for all of a kind."""
    contract, table = folder / "large.wsdl", folder / "streets.csv"
    contract.write_text(wsdl())
    table.write_text("id;text\n" + "".join(f"{number};rue {number}\n" for number in range(1_000)))
    lines = [
        f'[gateway]\nlisten = "127.0.0.1:{port}"\ndata = "{folder / "data"}"',
        '[egress]\nprivate = ["127.0.0.0/8"]',
        f'[clients.bench]\napi_key = "{API_KEY}"\nrights = ["*/*/*"]',
    ]
    for number in range(soap):
        lines.append(f"[instances.large.i{number}]\nhttp = {{ allow_http = true }}")
        lines.append(f'settings = {{ wsdl = "{contract}", url = "http://127.0.0.1:1/{number}" }}')
    for number in range(rest):
        lines.append(f"[instances.bench.i{number}]\nhttp = {{ allow_http = true }}")
        lines.append(f'settings = {{ url = "http://127.0.0.1:1/{number}" }}')
    for number in range(tables):
        lines.append(f'[instances.tabular.i{number}]\nsettings = {{ file = "{table}" }}')
    (folder / "relais.toml").write_text("\n".join(lines))
    return folder / "relais.toml"


def start(folder: Path, workers: int, soap: int, rest: int, tables: int) -> Start:
    """One start in this folder: what an earlier one left there (the database, the tables' indexes) is found again."""
    port = free_port()
    config = configured(folder, port, soap, rest, tables)
    words = [sys.executable, "-m", "gateway", "serve", "--config", str(config), "--workers", str(workers)]
    words += ["--connector", "benchmarks.connector:Bench", "--connector", "benchmarks.large_contract:Large"]
    began = time.perf_counter()
    with running(words, folder / "log", sorted(os.sched_getaffinity(0)), _installed(folder)) as process:
        _until(port, "/health/ready", began, folder / "log")
        ready = time.perf_counter() - began
        for path in ("/large/i0/request", *(["/tabular/i0/data?q=12"] if tables else [])):
            _until(port, path, began, folder / "log")
        answered = time.perf_counter() - began
        cpu = sum(cpu_of(process).values())
        time.sleep(1.0)
        held = [_held(one) for one in family(process)]
    return Start(ready, answered, cpu, len(held), sum(pss for pss, _ in held), max(own for _, own in held))


def _installed(folder: Path) -> dict[str, str]:
    """Bytecode is kept between starts, as where Relais is installed."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder.parent / "bytecode")}


def _until(port: int, path: str, began: float, log: Path) -> None:
    while time.perf_counter() - began < 60:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path, headers={"X-API-Key": API_KEY})
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    sys.exit(f"{path} never answered 200. The server's output ends with:\n{log.read_text(errors='replace')[-2000:]}")


def _held(process: psutil.Process) -> tuple[float, float]:
    text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    found = {name: int(size) / 1e3 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return found["Pss"], found["Private_Dirty"] + found["Private_Clean"]


def imports(folder: Path) -> dict[str, float]:
    """Seconds of CPU to import what `relais serve` needs, and what an installation offers besides."""
    program = (
        "import time, json\nfrom pathlib import Path\n"
        "import gateway.__main__\nserve = time.process_time()\n"
        "from gateway.registry import installed\ninstalled()\n"
        "print(json.dumps({'serve': serve, 'every connector': time.process_time() - serve}))"
    )
    environ = {**os.environ, **_installed(folder)}
    runs = [
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, stdout=subprocess.PIPE, check=True)
        for _ in range(4)
    ]
    told = [json.loads(run.stdout) for run in runs[1:]]  # the first one writes the bytecode of what nobody configured
    return {name: median(one[name] for one in told) for name in told[0]}


def report(rounds: int) -> str:
    """The runs, then Markdown."""
    found: dict[str, list[Start]] = {}
    cases = {
        "20 instances, 1 process": (1, 8, 6, 6),
        "20 instances, 2 processes": (2, 8, 6, 6),
        "20 instances, 4 processes": (4, 8, 6, 6),
        "1 SOAP instance, 1 process": (1, 1, 0, 0),
        "20 SOAP instances, 1 process": (1, 20, 0, 0),
    }
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
        for case in cases:
            (Path(name) / case).mkdir()
            start(Path(name) / case, *cases[case])  # the first start of an installation makes its database
        for _ in range(rounds):
            for case, chosen in cases.items():
                found.setdefault(case, []).append(start(Path(name) / case, *chosen))
        costs = imports(Path(name) / "imports")
    lines = [
        "## Start and memory",
        "| | ready, s | first answers, s | CPU, s | memory of all, MB (PSS) | own memory of the largest, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]

    def of(case: str, field: str) -> float:
        return median(getattr(one, field) for one in found[case])

    for case in cases:
        lines.append(
            f"| {case} | {of(case, 'ready'):.2f} | {of(case, 'answered'):.2f} | {of(case, 'cpu'):.2f} "
            f"| {of(case, 'pss'):,.0f} | {of(case, 'own'):,.0f} |"
        )
    instance = (of("20 SOAP instances, 1 process", "pss") - of("1 SOAP instance, 1 process", "pss")) / 19
    process = (of("20 instances, 4 processes", "pss") - of("20 instances, 2 processes", "pss")) / 2
    size = len(wsdl().encode()) / 1e6
    lines += [
        "",
        f"A further instance of the same WSDL: {instance:.2f} MB (goal ≤ 1). A further process: {process:,.0f} MB. "
        f"Imports: {costs['serve']:.2f} s of CPU for `relais serve`, {costs['every connector']:.2f} s more for every "
        "connector installed, of which only the configured ones are paid.",
        "",
        f"**Method.** {rounds} starts of each, interleaved, medians; the first start, which makes the database, the "
        f"indexes and the bytecode, is left out. Twenty instances: 8 of a WSDL of {size:.1f} MB (1,000 types, 300 "
        "operations), 6 REST, 6 tables. Ready is the first 200 of `/health/ready`, asked every 5 ms from the "
        "launch of the command.",
        "",
        f"**Machine.** {machine(LIBRARIES)}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    args = parser.parse_args()
    text = report(args.rounds)
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(text)


if __name__ == "__main__":
    main()
