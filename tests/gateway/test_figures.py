"""What Prometheus is told of calls: few series whatever callers ask for, and how many are being served."""

from __future__ import annotations

import re

from gateway.metrics import Metrics

from .conftest import Start
from .garden import Garden


async def test_addresses_a_caller_invents_make_no_series(start: Start) -> None:
    async with start(Garden, settings={"password": "x"}) as gateway:
        await gateway.get("/garden/test/flowers")
        for number in range(20):
            await gateway.get(f"/garden/test/invented-{number}")
            await gateway.get(f"/invented-{number}/test/flowers")
            await gateway.get(f"/garden/invented-{number}/flowers")
        text = gateway.server.dispatch._metrics.exposition().decode()
    series = dict(re.findall(r"^relais_calls_total\{(.*)\} (\S+)$", text, re.MULTILINE))
    assert series == {
        'connector="garden",endpoint="flowers",outcome="ok"': "1.0",
        'connector="?",endpoint="?",outcome="UnknownEndpoint"': "60.0",
    }
    assert "invented" not in text


def test_the_calls_being_served_are_shown_when_they_are_looked_at() -> None:
    metrics = Metrics()
    metrics.in_flight += 3
    assert "relais_calls_in_flight 0.0" in metrics.exposition().decode()
    metrics.serving()
    assert "relais_calls_in_flight 3.0" in metrics.exposition().decode()
