"""What the operator is told of each publisher, beside the calls themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.health import Watch
from gateway.metrics import Metrics
from gateway.registry import Instance
from sdk import Connector, HttpUrl, Model, Rest, Row, every, get
from sdk.egress import Egress, hosts_of
from sdk.http import HttpOptions, open_http
from tests.sdk import wire_kit


class Settings(Model):
    url: HttpUrl


class Bell(Connector[Settings]):
    """A bell."""

    name, title = "bell", "Cloche"
    rung = 0

    async def check(self) -> None:
        await Rest(self.http, self.settings.url).get("/check")

    @get
    async def sound(self) -> Row:
        """Its sound."""
        return Row(**await Rest(self.http, self.settings.url).get("/sound"))

    @every(60, at_start=True)
    async def ring(self) -> None:
        type(self).rung += 1


class Waits:
    """A sleep that lets `turns` go by, then waits for the end of the test."""

    def __init__(self, turns: int) -> None:
        self.asked: list[float] = []
        self.turns = turns

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) >= self.turns:
            await asyncio.Event().wait()


def made(url: str, folder: Path, **http: Any) -> Instance:
    settings = Settings(url=url)
    hosts = hosts_of(settings)
    egress = Egress(hosts=hosts, private=("127.0.0.0/8",))
    way = open_http("bell/town", HttpOptions.model_validate(http), egress=egress, folder=folder)
    return Instance("bell/town", "Cloche", Bell(settings, way), way, hosts, 300.0, {})


async def test_the_limiter_and_the_breaker_are_exported(tmp_path: Path) -> None:
    async with wire_kit.upstream(wire_kit.answer(200, b"{}")) as upstream:
        instance = made(upstream.url, tmp_path, allow_http=True, limit=5)
        metrics = Metrics()
        metrics.upstream(instance.where, instance.http.state())
        await instance.http.close()
    text = metrics.exposition().decode()
    assert 'relais_upstream_requests{instance="bell/town",state="limit"} 5.0' in text
    assert 'relais_upstream_breaker_open{instance="bell/town",kind="read"} 0.0' in text


async def test_an_open_breaker_shows(tmp_path: Path) -> None:
    instance = made("http://127.0.0.1:1", tmp_path, allow_http=True, breaker_failures=1, retries=0)
    metrics = Metrics()
    watch = Watch([instance], tmp_path, metrics, lead=True)
    found = await watch.check(instance)
    metrics.upstream(instance.where, instance.http.state())
    await instance.http.close()
    assert found.state == "down"
    assert 'relais_upstream_breaker_open{instance="bell/town",kind="read"} 1.0' in metrics.exposition().decode()


async def test_only_the_lead_process_checks_and_runs_schedules(tmp_path: Path) -> None:
    async with wire_kit.upstream(wire_kit.answer(200, b"{}")) as upstream:
        instance = made(upstream.url, tmp_path, allow_http=True)
        before = Bell.rung
        others = Watch([instance], tmp_path, Metrics(), lead=False, sleep=Waits(1))
        others.start()
        await asyncio.sleep(0)
        await others.stop()
        assert (Bell.rung, upstream.requests) == (before, [])
        done = asyncio.Event()
        waits = Waits(4)

        async def sleep(seconds: float) -> None:
            if seconds == 60:
                done.set()
            await waits(seconds)

        lead = Watch([instance], tmp_path, Metrics(), lead=True, sleep=sleep)
        lead.start()
        async with asyncio.timeout(10):
            await done.wait()
        await lead.stop()
        await instance.http.close()
    assert Bell.rung > before


async def test_what_the_lead_finds_the_others_tell(tmp_path: Path) -> None:
    async with wire_kit.upstream(wire_kit.answer(401, b"{}")) as upstream:
        instance = made(upstream.url, tmp_path, allow_http=True)
        lead = Watch([instance], tmp_path, Metrics(), lead=True)
        other = Watch([instance], tmp_path, Metrics(), lead=False)
        assert other.of("bell/town").state == "unchecked"
        await lead.check(instance)
        await instance.http.close()
    assert other.of("bell/town").state == "refused"


@pytest.mark.parametrize(("days", "told"), [(10, [14]), (2, [3]), (25, [30])])
async def test_a_certificate_that_ends_soon_is_told(
    tmp_path: Path, lines: Callable[[], Any], days: int, told: list[int]
) -> None:
    town = wire_kit.Authority(tmp_path)
    tls = wire_kit.server_tls(town.issue("127.0.0.1", last_day=days))
    async with wire_kit.upstream(wire_kit.answer(200, b"{}"), tls=tls) as upstream:
        instance = made(upstream.url, tmp_path, ca_file=town.file)
        read = asyncio.Event()

        async def sleep(seconds: float) -> None:
            if seconds == 86_400:
                read.set()
            await asyncio.Event().wait()

        metrics = Metrics()
        watch = Watch([instance], tmp_path, metrics, lead=True, sleep=sleep)
        watch.start()
        async with asyncio.timeout(10):
            await read.wait()
        await watch.stop()
        await instance.http.close()
    assert [line["limit"] for line in lines() if line["event"] == "certificate_ends"] == told
    assert "relais_upstream_certificate_days" in metrics.exposition().decode()
