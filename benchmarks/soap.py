"""Reading SOAP answers: beside bare lxml, zeep and xmltodict; and what a large one costs everybody else.

`python -m benchmarks.soap` prints its tables in some two minutes; see README.md for the method.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import datetime
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]
import uvloop
import xmltodict
from lxml import etree
from zeep.helpers import serialize_object

from benchmarks import report
from benchmarks.processes import cpu_of, first_answer, free_port, on_cores, running
from benchmarks.soap_connector import ACCEPTED, LARGE
from benchmarks.soap_publisher import WSDL, answer
from sdk.soap import Soap
from sdk.soap.decoder import decode
from sdk.soap.envelopes import read
from sdk.soap.large import Job, Source, read_by_steps

API_KEY = "a-key-for-the-benchmark"
SIZES = {1: 200, 50: 20, 1_075: 2, LARGE: 1}  # records → times in a row
HEADERS = {"X-API-Key": API_KEY}

Cases = Mapping[str, Callable[[], Any]]


def interleaved(cases: Cases, times: int, rounds: int) -> dict[str, float]:
    """Median CPU seconds of each case, each round running all of them."""
    spent: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            _trim()
            before = time.process_time()
            for _ in range(times):
                case()
            spent[name].append((time.process_time() - before) / times)
    return {name: median(seen) for name, seen in spent.items()}


def _trim() -> None:
    """Every case begins with the memory the one before left given back to the system: it is paid by none, or by all."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


# --- in process -------------------------------------------------------------------------------------------------------


def decoding(rounds: int) -> str:
    """CPU of reading the same bytes, as multiples of parsing them."""
    operation = Soap(None, wsdl=WSDL).operation("search")
    lines = ["| Answer | lxml, ms | Relais | Relais by steps | zeep | xmltodict |", "|---|---:|---:|---:|---:|---:|"]
    for records, times in SIZES.items():
        body = answer(records)
        job = Job(Source(WSDL, (), True, None, None), "search", body, "text/xml", ACCEPTED, True)
        if records < LARGE:  # what is kept alive would be walked by the collector during the measure
            _check(operation, body)
        cases: dict[str, Callable[[], Any]] = {
            "lxml": lambda body=body: etree.fromstring(body),
            "relais": lambda body=body: read(operation, body, "text/xml; charset=utf-8", max_bytes=ACCEPTED, huge=True),
            "steps": lambda job=job: uvloop.run(read_by_steps(operation, job)),
            "zeep": lambda body=body: _by_zeep(operation, body),
            "xmltodict": lambda body=body: xmltodict.parse(body),
        }
        if len(body) < 100_000:
            del cases["steps"]
        if records == LARGE:
            found = interleaved({name: cases.pop(name) for name in ("zeep", "xmltodict")}, 1, 1)
            found |= interleaved(cases, times, rounds)
        else:
            found = interleaved(cases, times, rounds)
        floor = found["lxml"]
        shown = [
            f"{found[name] / floor:.1f}×" if name in found else "–" for name in ("relais", "steps", "zeep", "xmltodict")
        ]
        lines.append(f"| {len(body) / 1000:,.0f} KB | {floor * 1000:.3f} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _check(operation: Any, body: bytes) -> None:
    found = read(operation, body)
    assert found.compiled
    assert found.value == decode(operation, etree.fromstring(body)).value


def _by_zeep(operation: Any, body: bytes) -> Any:
    element = operation.grammar.output.body
    found = element.parse(etree.fromstring(body)[0][0], operation.contract.document.types)
    return serialize_object(found)


def encoding(rounds: int) -> str:
    """CPU of writing one small request."""
    soap = Soap(None, wsdl=WSDL)
    message = soap.operation("search").grammar.input
    given = {"name": "Lefèvre", "status": "open", "since": datetime.date(2026, 1, 1), "most": 10}
    cases = {
        "Relais, values held to the schema": lambda: soap.build("search", **given),
        "zeep, values unchecked": lambda: etree.tostring(message.serialize(**given).content),
    }
    found = interleaved(cases, 300, rounds)
    rows = [f"| {name} | {seconds * 1e6:.0f} |" for name, seconds in found.items()]
    return "\n".join(["| Writing a request of four values | µs |", "|---|---:|", *rows])


# --- through a gateway ------------------------------------------------------------------------------------------------

CONFIG = """
[gateway]
listen = "127.0.0.1:{port}"
data = "{data}"
workers = 1

[egress]
private = ["127.0.0.0/8"]

[clients.bench]
api_key = "{key}"
rights = ["*/*/*"]

[instances.records.local]
settings = {{ url = "http://127.0.0.1:{publisher}/" }}
http = {{ allow_http = true, limit = 200, queue = 500, timeout = 60, max_bytes = 50000000 }}
"""


class Gateway:
    """A gateway of one process and its publisher, each on a core where there are two."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="relais-bench-")))
        cores = sorted(psutil.Process().cpu_affinity())
        self.others = cores[1:] or cores
        publisher, port = free_port(), free_port()
        program = [sys.executable, "-m", "benchmarks.soap_publisher", "--port", str(publisher)]
        stack.enter_context(running(program, folder / "publisher.log", self.others))
        config = folder / "relais.toml"
        config.write_text(CONFIG.format(port=port, data=folder / "data", key=API_KEY, publisher=publisher))
        program = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        program += ["--connector", "benchmarks.soap_connector:Records"]
        log = folder / "server.log"
        self.process = stack.enter_context(running(program, log, cores[:1]))
        self.url = f"http://127.0.0.1:{port}/records/local/"
        first_answer(port, "/records/local/light", HEADERS, self.process, log, 30)

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        return sum(cpu_of(self.process).values())


async def ask(session: aiohttp.ClientSession, address: str) -> bytes:
    """The answer, which must be a success."""
    async with session.get(address, headers=HEADERS) as response:
        body = await response.read()
    assert response.status == 200, body[:300]
    assert body.startswith(b'{"err":0'), body[:300]
    return body


async def callers(
    session: aiohttp.ClientSession, address: str, count: int, seconds: float, think: float = 0.0
) -> list[float]:
    """ms each call took: `count` callers, each asking again as soon as it is answered and has thought."""
    spent: list[float] = []
    until = time.perf_counter() + seconds

    async def one() -> None:
        while (before := time.perf_counter()) < until:
            await ask(session, address)
            spent.append((time.perf_counter() - before) * 1000)
            if think:
                await asyncio.sleep(think)

    await asyncio.gather(*(one() for _ in range(count)))
    return sorted(spent)


async def small_calls(gateway: Gateway, session: aiohttp.ClientSession, seconds: float) -> str:
    """CPU of the whole gateway for a SOAP call of 1 KB."""
    await callers(session, gateway.url + "one", 16, 1.0)
    before = gateway.cpu()
    one = await callers(session, gateway.url + "one", 16, seconds)
    spent = gateway.cpu() - before
    before = gateway.cpu()
    light = await callers(session, gateway.url + "light", 16, seconds)
    floor = gateway.cpu() - before
    rows = [
        f"| SOAP, 1 KB | {spent / len(one) * 1e6:.0f} | {len(one) / seconds:,.0f} |",
        f"| nothing upstream | {floor / len(light) * 1e6:.0f} | {len(light) / seconds:,.0f} |",
    ]
    return "\n".join(["| A call, 16 callers | CPU, µs | calls/s |", "|---|---:|---:|", *rows])


async def stalls(gateway: Gateway, session: aiohttp.ClientSession, turns: int) -> str:
    """How late the gateway's loop is while it converts 8 MB, to the last byte of JSON."""
    await ask(session, gateway.url + "late")
    rows = []
    for name, path in (("nothing", ""), ("Relais", "many"), ("zeep on the loop", "zeep")):
        if path:
            await ask(session, gateway.url + path)  # warm
        await ask(session, gateway.url + "late")
        seen = []
        for _ in range(turns if path != "zeep" else 1):
            before = time.perf_counter()
            if path:
                await ask(session, gateway.url + path)
            else:
                await asyncio.sleep(0.5)
            wall = time.perf_counter() - before
            late = json.loads(await ask(session, gateway.url + "late"))["data"]
            seen.append((wall * 1000, late["late_p99"], late["late"], late["step"]))
        wall, p99, most, step = (median(each[at] for each in seen) for at in range(4))
        rows.append(f"| {name} | {wall:,.0f} | {p99:.2f} | {most:,.1f} | {step:,.1f} |")
    head = [
        "| Converting 8 MB | wall, ms | late p99, ms | latest, ms | longest step, ms of CPU |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join([*head, *rows])


async def beside(gateway: Gateway, session: aiohttp.ClientSession, seconds: float) -> str:
    """Light calls beside two callers who keep converting 8 MB."""
    rows = []
    for name, path in (("nothing", ""), ("Relais", "many"), ("zeep on the loop", "zeep")):
        heavy = asyncio.ensure_future(callers(session, gateway.url + path, 2, seconds)) if path else None
        light = await callers(session, gateway.url + "light", 8, seconds, think=0.01)
        answered = len(await heavy) / seconds if heavy else 0
        p50, p99 = light[len(light) // 2], light[int(len(light) * 0.99)]
        rows.append(f"| {name} | {p50:,.1f} | {p99:,.1f} | {light[-1]:,.1f} | {answered:.1f} |")
    head = [
        "| Heavy calls beside | light p50, ms | p99, ms | slowest, ms | heavy answers/s |",
        "|---|---:|---:|---:|---:|",
    ]
    return "\n".join([*head, *rows])


async def through(seconds: float, turns: int) -> list[str]:
    """The tables that need a gateway."""
    with ExitStack() as stack:
        gateway = Gateway(stack)
        with on_cores(gateway.others):
            limits = aiohttp.ClientTimeout(total=120)
            async with aiohttp.ClientSession(timeout=limits, connector=aiohttp.TCPConnector(limit=0)) as session:
                return [
                    await small_calls(gateway, session, seconds),
                    await stalls(gateway, session, turns),
                    await beside(gateway, session, seconds),
                ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds in process (default 7)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measure through a gateway (default 8)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="add the report to this file too")
    chosen = parser.parse_args(arguments)
    parts = [
        "# SOAP answers",
        decoding(chosen.rounds),
        "CPU time as multiples of bare `lxml.etree.fromstring` on the same bytes. *Relais*: everything from the bytes "
        "to the values, caps and refusals included. *By steps*: the same, giving way to the loop. *zeep*: parse, read, "
        "`serialize_object`. *xmltodict*: untyped.",
        encoding(chosen.rounds),
        *asyncio.run(through(chosen.seconds, max(3, chosen.rounds))),
        f"**Machine.** {report.machine(('lxml', 'zeep', 'aiohttp', 'uvloop', 'pydantic'))}",
        f"**Method.** In process: {chosen.rounds} interleaved rounds, medians of CPU time (for 8 MB, zeep and "
        "xmltodict once). Through a gateway of one process, callers and publisher on the other core, all on 127.0.0.1: "
        "a heartbeat in the gateway's loop sleeps 1 ms and notes how late it is, and the CPU the loop spent meanwhile, "
        "which other programs do not disturb (medians of the conversions); light callers think 10 ms between calls.",
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if chosen.write:
        with chosen.write.open("a", encoding="utf-8") as file:
            file.write("\n" + text)


if __name__ == "__main__":
    main()
