"""Tables: what a row, a filter and a typed word cost in a table of a million rows, and what loading it costs.

`python -m benchmarks.tables` takes about three minutes; `--rows 40000` a few seconds. It generates its rows.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from benchmarks.loads import Load, served
from benchmarks.processes import ROOT, first_answer, free_port, on_cores, running
from benchmarks.report import machine
from sdk.matching import fold
from sdk.tabular import Table, TableOptions

API_KEY = "a-key-for-the-benchmark"
COLUMNS = ("id", "text", "type", "zip", "city", "lat", "lon", "owner", "active")
KINDS = ("rue", "avenue", "boulevard", "impasse", "place", "chemin", "allée", "quai", "cours", "square")
ARTICLES = ("de la", "du", "des", "de l'", "de")
ALPHABET = "eeeeeaaaaiiisssttnnnrrruulloodcmpvqfbghjxyzkwéèçàœ"


def rows_of(count: int, seed: int = 7) -> Iterator[list[str]]:
    """Addresses, as a town's register has them: accents, repeated words, some 20,000 different names."""
    chance = random.Random(seed)

    def name(letters: int) -> str:
        return "".join(chance.choices(ALPHABET, k=letters)).capitalize()

    names = [
        " ".join(name(chance.randint(3, 9)) for _ in range(chance.randint(1, 2))) for _ in range(min(20_000, count))
    ]
    cities = [name(chance.randint(4, 10)) for _ in range(2_000)]
    zips = [f"{chance.randint(1_000, 95_999):05d}" for _ in range(max(100, count // 40))]
    for number in range(count):
        kind = chance.choice(KINDS)
        label = f"{chance.randint(1, 250)} {kind} {chance.choice(ARTICLES)} {chance.choice(names)}"
        yield [
            f"A{number:07d}",
            label,
            kind,
            chance.choice(zips),
            chance.choice(cities),
            f"{chance.uniform(42, 51):.6f}",
            f"{chance.uniform(-4, 8):.6f}",
            chance.choice(names),
            "oui" if chance.random() < 0.9 else "non",
        ]


def write(path: Path, count: int) -> None:
    """Writes the table beside its place, then puts it there in one step."""
    scratch = path.with_suffix(".new")
    with scratch.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(COLUMNS)
        writer.writerows(rows_of(count))
    os.replace(scratch, path)


def table_of(path: Path, folder: Path, orders: Sequence[Sequence[str]] = ()) -> Table:
    """The table under test: one column besides the id and the label is indexed."""
    return Table(path, folder=folder, options=TableOptions(), id="id", text="text", index=("zip",), orders=orders)


# --- questions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One question: by id, by a column's value, or by what was typed; `sorted` by the label."""

    id: str = ""
    zip: str = ""
    q: str = ""
    sorted: bool = False


def questions(path: Path, count: int) -> dict[str, list[Question]]:
    """By kind, as many of each; the same for every run of as many rows."""
    chance = random.Random(3)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter=";")
        next(reader)
        share = max(1, sum(1 for _ in path.open(encoding="utf-8")) // (4 * count))
        sample = [row for at, row in enumerate(reader) if at % share == 0]
    chosen = [chance.choice(sample) for _ in range(count)]

    def fragment(row: list[str]) -> str:
        label = row[1]
        length = chance.randint(3, 10)
        start = chance.randint(0, max(0, len(label) - length))
        return label[start : start + length] if chance.random() > 0.1 else f"zq{chance.randint(100, 999)}x"

    letters = "abcdefghijklmnopqrstuvwxyz"
    return {
        "id": [Question(id=row[0]) for row in chosen],
        "filter on an indexed column": [Question(zip=row[3]) for row in chosen],
        "q: 3 to 10 characters, 10 % without a hit": [Question(q=fragment(row)) for row in chosen],
        "q: a whole word": [Question(q=max(row[1].split(), key=len)) for row in chosen],
        "q: the whole label": [Question(q=row[1]) for row in chosen],
        "q: two words, the second being typed": [Question(q=f"{row[2]} {row[1].split()[-1][:2]}") for row in chosen],
        "q and a filter": [Question(q=row[2], zip=row[3]) for row in chosen],
        "q: one letter": [Question(q=letter) for letter in letters],
        "q: one letter without a hit": [Question(q=letter) for letter in "ñßαяđ"] * 4,
        "q: two letters": [Question(q=chance.choice(letters) + chance.choice(letters)) for _ in range(count)],
        "q: two letters without a hit": [Question(q=pair) for pair in ("ñz", "ßq", "αx", "w'", "9k")] * 4,
        "q: a word without a hit": [Question(q=f"xqz{number}w") for number in range(count)],
        "q: two letters or a kind of street, sorted by the label": [
            Question(q=chance.choice([row[2], row[1].split()[-1][:2]]), sorted=True) for row in chosen
        ],
        "q: two very common words that never meet": [Question(q="chemin avenue"), Question(q="rue boulevard")] * 5,
    }


async def ask(table: Table, question: Question) -> int:
    """How many choices: at most 10 when something was typed."""
    if question.id:
        return len(await table.choices(only=question.id))
    where = {"zip": question.zip} if question.zip else None
    if not question.q:
        return len(await table.rows(where=where))
    order = ("text",) if question.sorted else ()
    return len(await table.choices(q=question.q, where=where, order=order, limit=10))


@dataclass(frozen=True)
class Times:
    """Milliseconds: `p50` and `p99` of CPU, `wall` the p99 of the clock, which other programs lengthen."""

    p50: float
    p99: float
    wall: float


def times_of(seconds: Sequence[tuple[float, float]]) -> Times:
    """Of one kind of question: (CPU, clock) of each."""
    cpu = sorted(each * 1e3 for each, _ in seconds)
    wall = sorted(each * 1e3 for _, each in seconds)
    last = min(len(seconds) - 1, int(len(seconds) * 0.99))
    return Times(cpu[len(cpu) // 2], cpu[last], wall[last])


async def timed(table: Table, asked: Sequence[Question]) -> Times:
    """Each question once, after three that warm."""
    for question in asked[:3]:
        await ask(table, question)
    seconds = []
    for question in asked:
        cpu, clock = time.process_time(), time.perf_counter()
        await ask(table, question)
        seconds.append((time.process_time() - cpu, time.perf_counter() - clock))
    return times_of(seconds)


# --- the naive ways ---------------------------------------------------------------------------------------------------


class Reread:
    """The file is read again at each question."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, question: Question) -> int:
        wanted = fold(question.q).split()
        found = 0
        with self._path.open(encoding="utf-8", newline="") as file:
            kept = (row for row in csv.DictReader(file, delimiter=";") if _kept(row, question, wanted))
            if question.sorted:
                return len(sorted(kept, key=lambda row: fold.__wrapped__(row["text"]))[:10])
            for found, _ in enumerate(kept, 1):
                if found >= 10 and question.q:
                    break
        return found


class Remembered:
    """Every row is a dict in the memory of the process, with a dict by id and one by zip code."""

    def __init__(self, path: Path) -> None:
        with path.open(encoding="utf-8", newline="") as file:
            self._rows = list(csv.DictReader(file, delimiter=";"))
        self._ids = {row["id"]: row for row in self._rows}
        self._zips: dict[str, list[dict[str, str]]] = {}
        for row in self._rows:
            row["norm"] = fold.__wrapped__(row["text"])
            self._zips.setdefault(row["zip"], []).append(row)

    def __call__(self, question: Question) -> int:
        if question.id:
            return question.id in self._ids
        rows = self._zips.get(question.zip, []) if question.zip else self._rows
        wanted = fold(question.q).split()
        kept = (row for row in rows if all(word in row["norm"] for word in wanted))
        if question.sorted:
            return len(sorted(kept, key=lambda row: row["norm"])[:10])
        found = 0
        for found, _ in enumerate(kept, 1):
            if found >= 10 and question.q:
                break
        return found


def _kept(row: dict[str, str], question: Question, wanted: Sequence[str]) -> bool:
    return (
        question.id in ("", row["id"])
        and question.zip in ("", row["zip"])
        and all(word in fold.__wrapped__(row["text"]) for word in wanted)
    )


def naive(kind: str, path: Path, asked: dict[str, list[Question]]) -> dict[str, Any]:
    """In a process of its own: the times of each kind of question, its loading and its memory."""
    before = psutil.Process().memory_full_info().uss
    began, cpu = time.perf_counter(), time.process_time()
    answer: Callable[[Question], int] = Reread(path) if kind == "reread" else Remembered(path)
    loading, cpu = time.perf_counter() - began, time.process_time() - cpu
    found: dict[str, Any] = {}
    most = 2 if kind == "reread" else 40
    for name, several in asked.items():
        seconds = []
        for question in several[:most]:
            used, clock = time.process_time(), time.perf_counter()
            answer(question)
            seconds.append((time.process_time() - used, time.perf_counter() - clock))
        found[name] = times_of(seconds).__dict__
    return {
        "times": found,
        "seconds": loading,
        "cpu": cpu,
        "memory": (psutil.Process().memory_full_info().uss - before) / 1e6,
    }


# --- loading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loading:
    """The second version of a table read while the first one answers."""

    seconds: float  # of wall clock, from the replacement to the first answer of the new version
    build_seconds: float  # of the process that builds
    build_cpu: float
    build_memory: float  # MB at its highest
    size: float  # MB of the file written
    asked: int  # questions answered meanwhile
    failed: int
    slowest: float  # ms, of those questions
    stall: float  # ms, the longest the loop did not turn
    stall_p99: float


async def load(path: Path, folder: Path, count: int) -> tuple[Table, Loading]:
    """A small version answers; the large one is put in its place; questions go on every 5 ms."""
    write(path, min(count, 20_000))
    table = table_of(path, folder)
    await table.refresh()
    large = path.with_name("large.csv")
    write(large, count)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    before = children.ru_utime + children.ru_stime
    os.replace(large, path)
    began = time.perf_counter()
    seconds: list[float] = []
    late: list[float] = []
    failed = 0
    done = asyncio.Event()

    async def beat() -> None:
        while not done.is_set():
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - start - 0.001)

    beating = asyncio.create_task(beat())
    while table.reading is None or table.reading.rows < count:
        start = time.perf_counter()
        try:
            failed += not await table.choices(q="rue", limit=10)
        except Exception:
            failed += 1
        seconds.append(time.perf_counter() - start)
        await asyncio.sleep(0.005)
        if time.perf_counter() - began > 900:
            sys.exit("The table was not loaded in a quarter of an hour.")
    elapsed = time.perf_counter() - began
    done.set()
    await beating
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    late.sort()
    return table, Loading(
        seconds=elapsed,
        build_seconds=elapsed - 2.0,  # the two looks before it
        build_cpu=children.ru_utime + children.ru_stime - before,
        build_memory=children.ru_maxrss / 1e3,
        size=sum(built.stat().st_size for built in folder.glob("*.sqlite")) / 1e6,  # noqa: ASYNC240
        asked=len(seconds),
        failed=failed,
        slowest=max(seconds) * 1e3,
        stall=late[-1] * 1e3,
        stall_p99=late[int(len(late) * 0.99)] * 1e3,
    )


# --- several processes on one index -----------------------------------------------------------------------------------


async def reader(path: Path, folder: Path, asked: dict[str, list[Question]]) -> None:
    """One of several processes: opens the index, asks everything twice, tells what memory that took, waits."""
    table = table_of(path, folder)
    before = _held()
    for _ in range(2):
        for several in asked.values():
            for question in several:
                if not question.sorted:
                    await ask(table, question)
    print("asked", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    now = _held()
    print(json.dumps({name: now[name] - before[name] for name in now}), flush=True)
    await table.close()


def _held() -> dict[str, float]:
    """MB: `anonymous` is this process's alone, `pss` counts a shared page once over those who map it."""
    text = Path("/proc/self/smaps_rollup").read_text()
    found = {name: int(size) / 1e3 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {"anonymous": found["Anonymous"], "pss": found["Pss"], "rss": found["Rss"]}


def memory(path: Path, folder: Path, processes: int, asking: int) -> dict[str, float]:
    """Medians over several processes that hold the same index open at once."""
    words = [sys.executable, "-m", "benchmarks.tables", "--as", "reader", str(path), str(folder), str(asking)]
    started = [
        subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    try:
        for one in started:
            assert one.stdout
            one.stdout.readline()
        told = []
        for one in started:
            assert one.stdin
            assert one.stdout
            one.stdin.write("tell\n")
            one.stdin.flush()
            told.append(json.loads(one.stdout.readline()))
    finally:
        for one in started:
            one.kill()
            one.communicate()
    return {name: median(each[name] for each in told) for name in told[0]}


# --- over HTTP --------------------------------------------------------------------------------------------------------


def over_http(path: Path, rounds: int, seconds: float) -> list[tuple[str, str, Load]]:
    """Autocompletion through the gateway beside two bare aiohttp handlers: one answers the same bytes without looking
    anything up, the other looks the same up in SQLite, and nothing else."""
    typed = {
        "nothing yet": "",
        "two letters": "ru",
        "a word of 6 letters": "avenue",
        "two words": "quai de",
        "no hit": "zqxvw",
    }
    found: list[tuple[str, str, Load]] = []
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
        folder = Path(name)
        port, other, third = free_port(), free_port(), free_port()
        (folder / "relais.toml").write_text(
            f"""
[gateway]
listen = "127.0.0.1:{port}"
data = "{folder / "data"}"
workers = 1

[clients.bench]
api_key = "{API_KEY}"
rights = ["*/*/*"]

[instances.tabular.streets.settings]
file = "{path}"
index = ["zip"]
"""
        )
        gateway = [sys.executable, "-m", "gateway", "serve", "--config", str(folder / "relais.toml")]
        bare = [sys.executable, "-m", "benchmarks.bare_answer", "--port", str(other), "--folder", str(folder)]
        naive = [sys.executable, "-m", "benchmarks.bare_table", "--port", str(third), "--file", str(path)]
        headers = {"X-API-Key": API_KEY}
        cores = sorted(os.sched_getaffinity(0))
        with (
            running(gateway, folder / "gateway.log", cores[:1]) as server,
            running(naive, folder / "naive.log", cores[1:] or cores) as search,
        ):
            for number, q in enumerate(typed.values()):
                asked = f"?q={quote(q)}&limit=10"
                answer = first_answer(
                    port, f"/tabular/streets/data{asked}", headers, server, folder / "gateway.log", 120
                )
                same = first_answer(third, f"/{asked}", {}, search, folder / "naive.log", 120)
                if [row["id"] for row in same["data"]] != [row["id"] for row in answer["data"]]:
                    sys.exit(f"The two searches for {q!r} do not find the same.")
                (folder / f"{number}.json").write_text(json.dumps(answer, ensure_ascii=False, separators=(",", ":")))
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(search.pid, cores[:1])
            with running(bare, folder / "bare.log", cores[:1]) as floor:
                first_answer(other, "/0", {}, floor, folder / "bare.log", 20)
                for _ in range(rounds):
                    for number, (kind, q) in enumerate(typed.items()):
                        asked = f"?q={quote(q)}&limit=10"
                        with on_cores(cores[1:] or cores):
                            at = f"/tabular/streets/data{asked}"
                            found.append((kind, "relais", served(port, at, server, headers, 16, seconds)))
                            found.append((kind, "search", served(third, f"/{asked}", search, {}, 16, seconds)))
                            found.append((kind, "bare", served(other, f"/{number}", floor, {}, 16, seconds)))
    return found


# --- the report -------------------------------------------------------------------------------------------------------


def report(
    rows: int,
    ours: dict[str, list[Times]],
    others: dict[str, dict[str, Any]],
    loading: Loading,
    held: dict[str, float],
    http: list[tuple[str, str, Load]],
) -> str:
    """Markdown."""
    lines = [
        "## Tables",
        f"{rows:,} rows of {len(COLUMNS)} columns. Milliseconds of CPU, p50 / p99, in process (*clock*: its p99); "
        "*÷* is the p50 of the naive way divided by ours.",
        "| Question | Relais | clock | list of dicts | ÷ | the CSV read again | ÷ |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, several in ours.items():
        p50, p99 = median(each.p50 for each in several), median(each.p99 for each in several)
        cells = [kind, f"{p50:.3f} / {p99:.3f}", f"{median(each.wall for each in several):.3f}"]
        for name in ("remembered", "reread"):
            one = others[name]["times"][kind]
            cells += [f"{one['p50']:.3g} / {one['p99']:.3g}", f"{one['p50'] / p50:.2g}×"]
        lines.append("| " + " | ".join(cells) + " |")
    remembered = others["remembered"]
    lines += [
        "",
        "| | Relais | list of dicts |",
        "|---|---:|---:|",
        f"| loading, s of CPU | {loading.build_cpu:.1f} (in a process apart) | {remembered['cpu']:.1f} (in each) |",
        f"| loading, s | {loading.build_seconds:.1f} | {remembered['seconds']:.1f} |",
        f"| memory of each process, MB | {held['anonymous']:.1f} of its own, {held['pss']:.0f} with its share of the "
        f"mapped file | {remembered['memory']:,.0f} |",
        f"| memory while loading, MB | {loading.build_memory:.0f}, given back | {remembered['memory']:,.0f} |",
        f"| index, MB | {loading.size:.0f} | – |",
        "",
        f"While it was loaded: {loading.asked:,} questions answered by the version of before, {loading.failed} failed, "
        f"the slowest in {loading.slowest:.1f} ms; the loop's longest stall {loading.stall:.1f} ms "
        f"(p99 {loading.stall_p99:.1f}). From the replacement of the file to the first answer of the new version "
        f"{loading.seconds:.1f} s, of which 2 s to see that it no longer changes.",
        "",
        "| Autocompletion over HTTP | calls/s | ÷ search | ÷ bytes | CPU µs/call | search | ÷ | bytes | ÷ | p99 ms "
        "| failed |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in dict.fromkeys(kind for kind, _, _ in http):
        loads: dict[str, list[Load]] = {}
        for named, who, one in http:
            if named == kind:
                loads.setdefault(who, []).append(one)
        rate = {who: median(one.rate for one in several) for who, several in loads.items()}
        cpu = {who: median(one.cpu for one in several) for who, several in loads.items()}
        lines.append(
            f"| {kind} | {rate['relais']:,.0f} "
            f"| {rate['relais'] / rate['search']:.0%} | {rate['relais'] / rate['bare']:.0%} "
            f"| {cpu['relais']:,.0f} | {cpu['search']:,.0f} | {cpu['relais'] / cpu['search']:.1f}× "
            f"| {cpu['bare']:,.0f} | {cpu['relais'] / cpu['bare']:.1f}× "
            f"| {median(one.p99 for one in loads['relais']) * 1e3:.1f} "
            f"| {sum(one.failed for several in loads.values() for one in several)} |"
        )
    lines += [
        "",
        f"**Machine.** {machine()}",
        "**Method.** Each question once, in process, medians of the rounds; the naive ways in processes of their own, "
        "2 and 40 questions of each kind. Memory: four processes that hold the same index open, after they asked "
        "everything twice. HTTP: 16 callers in a closed loop, one process of each server on one core, interleaved, "
        "beside two bare handlers, aiohttp on uvloop without rights, log or figures: *search* looks the same words up "
        "in SQLite inline (FTS5 trigrams, `json.dumps`), *bytes* answers what is ready.",
    ]
    return "\n\n".join(lines).replace("|\n\n|", "|\n|") + "\n"


async def _ours(
    path: Path, folder: Path, rows: int, asked_each: int, rounds: int
) -> tuple[dict[str, list[Times]], Loading]:
    table, loading = await load(path, folder, rows)
    asked = questions(path, asked_each)
    found: dict[str, list[Times]] = {kind: [] for kind in asked}
    in_order = table_of(path, folder.with_name("sorted"), orders=(("text",),))
    await in_order.refresh()
    for _ in range(rounds):
        for kind, several in asked.items():
            found[kind].append(await timed(in_order if several[0].sorted else table, several))
    await asyncio.gather(table.close(), in_order.close())
    return found, loading


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--asked", type=int, default=200, help="questions of each kind (default 200)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measure over HTTP (default 3)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--as", dest="part", nargs="+", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        kind, *words = args.part
        if kind == "reader":
            path, folder, asking = Path(words[0]), Path(words[1]), int(words[2])
            asyncio.run(reader(path, folder, questions(path, asking)))
        else:
            print(json.dumps(naive(kind, Path(words[0]), questions(Path(words[0]), int(words[1])))))
        return
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as name:
        path, folder = Path(name) / "streets.csv", Path(name) / "index"
        ours, loading = asyncio.run(_ours(path, folder, args.rows, args.asked, args.rounds))
        held = memory(path, folder, 4, args.asked)
        others = {}
        for kind in ("remembered", "reread"):
            words = [sys.executable, "-m", "benchmarks.tables", "--as", kind, str(path), str(args.asked)]
            others[kind] = json.loads(subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
        http = over_http(path, args.rounds, args.seconds)
    text = report(args.rows, ours, others, loading, held, http)
    print(text)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(text)
    sys.exit(bool(loading.failed or sum(one.failed for _, _, one in http)))


if __name__ == "__main__":
    main()
