"""What the journal costs: the same create with and without it, in turn, and how many a second are durable.

    python -m tests.torture.cost [--calls 2000] [--store URL]

On SQLite and on a PostgreSQL of its own that syncs its disk. A lone caller tells what is added to one call, at the
median; callers at once tell how many creates a second are on disk. The publisher costs nothing here, so that the rest
is the journal: sealing, two durable transactions, and the hand-over to them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from gateway.deliveries import Deliveries
from gateway.registry import Instance
from gateway.sealing import Seal
from gateway.sent import Sent
from gateway.settings import DeliveryOptions
from gateway.store import Store
from sdk.call import new_call, serving
from sdk.http import Http
from sdk.invoke import run
from tests.postgres import Cluster, NotInstalled

from .records import Records

BODY = json.dumps({"text": "x" * 2000}).encode()
ADDED = 2.0
"""Milliseconds that may be added to a call at the median."""
DURABLE = 500
"""Creates a second that must be on disk."""


@dataclass(frozen=True)
class Cost:
    """Of one database: milliseconds of a lone call at the median, by the clock and of processor; creates a second."""

    database: str
    without_ms: float
    with_ms: float
    without_cpu_ms: float
    with_cpu_ms: float
    at_once: int
    per_second: float
    cpu_ms_at_once: float

    @property
    def added_ms(self) -> float:
        return self.with_ms - self.without_ms


async def measure(database: str, url: str, folder: Path, calls: int, at_once: int = 32) -> Cost:
    """The cost on the store at `url`."""

    async def create(connector: Any, record: Any) -> dict[str, str]:
        return {"id": "R1"}

    played = type("Played", (Records,), {"__doc__": "Joué.", "__module__": __name__})
    endpoint = played.endpoints[0]
    object.__setattr__(endpoint, "function", create)
    connector = object.__new__(played)
    instance = Instance("records/town", "", connector, Http(None), frozenset(), 300.0, {})  # type: ignore[arg-type]
    store = Store.open(url)
    journal = Deliveries(store, Seal(folder / "keys"), DeliveryOptions(lease=600.0))
    await journal.beat()
    sent = Sent({}, (), "application/json", BODY)

    async def journaled(key: str) -> None:
        body = sent.body(endpoint)
        await journal.submit(
            instance,
            endpoint,
            sent,
            body,
            sent.arguments(endpoint, body),
            client="c",
            headers={"Idempotency-Key": key},
            call=new_call(repeatable=False),
        )

    async def bare(_: str) -> None:
        body = sent.body(endpoint)
        with serving(new_call()):
            await run(connector, endpoint, sent.arguments(endpoint, body).keywords)

    async def timed(one: Callable[[str], Awaitable[None]], key: str) -> tuple[float, float]:
        clock, processor = time.perf_counter(), time.process_time()
        await one(key)
        return 1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)

    for number in range(20):
        await journaled(f"warm{number}")
        await bare("")
    alone: list[tuple[float, float]] = []
    without: list[tuple[float, float]] = []
    for number in range(max(100, calls // 5)):
        alone.append(await timed(journaled, f"a{number}"))
        without.append(await timed(bare, ""))
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            await journaled(f"b{number}")

    clock, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    seconds, processed = time.perf_counter() - clock, time.process_time() - processor
    await store.close()
    return Cost(
        database,
        without_ms=statistics.median(wall for wall, _ in without),
        with_ms=statistics.median(wall for wall, _ in alone),
        without_cpu_ms=statistics.mean(cpu for _, cpu in without),
        with_cpu_ms=statistics.mean(cpu for _, cpu in alone),
        at_once=at_once,
        per_second=calls / seconds,
        cpu_ms_at_once=1000 * processed / calls,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--store", default="", help="measure this store only")
    chosen = parser.parse_args()

    def measured(database: str, url: str) -> Cost:
        with tempfile.TemporaryDirectory() as folder:
            where = url or f"sqlite:///{folder}/relais.db"
            return uvloop.run(measure(database, where, Path(folder), chosen.calls))

    found = [measured("given" if chosen.store else "SQLite", chosen.store)]
    if not chosen.store:
        try:
            with Cluster(durable=True) as cluster:
                found.append(measured("PostgreSQL", cluster.url))
        except NotInstalled as absent:
            print(absent)
    print("| database | without | with | added, p50 | processor | at once | creates/s | processor each |")
    print("|---|---|---|---|---|---|---|---|")
    for cost in found:
        print(
            f"| {cost.database} | {cost.without_ms:.3f} ms | {cost.with_ms:.2f} ms | **{cost.added_ms:.2f} ms** |"
            f" {cost.with_cpu_ms:.2f} ms (without: {cost.without_cpu_ms:.3f}) | {cost.at_once} |"
            f" **{cost.per_second:.0f}** | {cost.cpu_ms_at_once:.2f} ms |"
        )
    sys.exit(any(cost.added_ms > ADDED or cost.per_second < DURABLE for cost in found))


if __name__ == "__main__":
    main()
