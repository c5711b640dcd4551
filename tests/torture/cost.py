"""What the journal costs: the same create with and without it, and how many a second are durable.

python -m tests.torture.cost [--store URL]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.deliveries import Deliveries
from gateway.registry import Instance
from gateway.sealing import Seal
from gateway.sent import Sent
from gateway.settings import DeliveryOptions
from gateway.store import Store
from sdk.call import new_call, serving
from sdk.http import Http
from sdk.invoke import run

from .records import Records

BODY = json.dumps({"text": "x" * 2000}).encode()


async def measure(url: str, folder: Path, calls: int = 2000, at_once: int = 32) -> dict[str, float]:
    async def create(connector: Any, record: Any) -> dict[str, str]:
        return {"id": "R1"}

    endpoint = Records.endpoints[0]
    object.__setattr__(endpoint, "function", create)
    connector = object.__new__(Records)
    instance = Instance("records/town", "", connector, Http(None), frozenset(), 300.0, {})  # type: ignore[arg-type]
    store = Store.open(url)
    journal = Deliveries(store, Seal(folder / "keys"), DeliveryOptions(lease=600.0))
    await journal.beat()
    sent = Sent({}, (), "application/json", BODY)

    async def journaled(key: str) -> float:
        began = time.perf_counter()
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
        return time.perf_counter() - began

    async def bare() -> float:
        began = time.perf_counter()
        body = sent.body(endpoint)
        with serving(new_call()):
            await run(connector, endpoint, sent.arguments(endpoint, body).keywords)
        return time.perf_counter() - began

    alone = [await journaled(f"a{n}") for n in range(300)]
    without = [await bare() for _ in range(300)]
    numbers = iter(range(calls))

    async def caller() -> None:
        for number in numbers:
            await journaled(f"b{number}")

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    seconds = time.perf_counter() - began
    await store.close()
    return {
        "added_ms_p50": round(1000 * (statistics.median(alone) - statistics.median(without)), 2),
        "bare_ms_p50": round(1000 * statistics.median(without), 3),
        "durable_creates_per_second": round(calls / seconds),
        "at_once": at_once,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", default="")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = chosen.store or f"sqlite:///{folder}/relais.db"
        print(json.dumps(asyncio.run(measure(url, Path(folder)))))


if __name__ == "__main__":
    main()
