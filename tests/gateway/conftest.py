"""A real gateway for each test: its own port, its own folder, its own upstream on this machine."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web

from gateway import app, journal
from gateway.settings import GatewaySettings
from sdk import Connector

KEY = {"X-API-Key": "the-key-of-the-tests"}
CLIENTS = {"tests": {"api_key": KEY["X-API-Key"], "rights": ["*/*/*"]}}


@dataclass
class Gateway:
    """A running gateway. `call` answers (status, headers, decoded body); each effect has a key of its own."""

    url: str
    session: aiohttp.ClientSession
    server: app.Server
    admin: str = ""

    async def call(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> tuple[int, Mapping[str, str], Any]:
        own_key = {"Idempotency-Key": uuid.uuid4().hex} if method != "GET" else {}
        sent = {**KEY, **own_key, **(headers or {})}
        async with self.session.request(
            method, self.url + path, headers=sent, allow_redirects=False, **options
        ) as answer:
            raw = await answer.read()
            is_json = answer.headers.get("Content-Type", "").startswith("application/json")
            return answer.status, answer.headers, json.loads(raw) if is_json else raw

    async def get(self, path: str, **options: Any) -> Any:
        return (await self.call("GET", path, **options))[2]

    async def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return (await self.call("POST", path, json=body, **options))[2]


Start = Callable[..., Any]


@asynccontextmanager
async def running(
    folder: Path,
    *connectors: type[Connector[Any]],
    settings: Mapping[str, Any] | None = None,
    http: Mapping[str, Any] | None = None,
    clients: Mapping[str, Any] | None = None,
    deliveries: Mapping[str, Any] | None = None,
    admin: bool = False,
    **gateway: Any,
) -> AsyncIterator[Gateway]:
    """A gateway with one instance `test` of each connector."""
    listening = app.bind("127.0.0.1:0")
    port = listening.getsockname()[1]
    chosen = GatewaySettings.model_validate(
        {
            "gateway": {"listen": f"127.0.0.1:{port}", "data": str(folder), **gateway},
            "deliveries": dict(deliveries or {}),
            "egress": {"private": ["127.0.0.0/8"]},
            "clients": {name: {"name": name, **one} for name, one in (clients or CLIENTS).items()},
            "instances": {
                connector.name: {
                    "test": {"settings": dict(settings or {}), "http": {"allow_http": True, **(http or {})}}
                }
                for connector in connectors
            },
        }
    )
    server = app.Server(chosen, {connector.name: connector for connector in connectors})
    figures = app.bind("127.0.0.1:0") if admin else None
    shown = f"http://127.0.0.1:{figures.getsockname()[1]}" if figures else ""
    await server.start(listening, figures)
    async with aiohttp.ClientSession() as session:
        yield Gateway(f"http://127.0.0.1:{port}", session, server, shown)
    await server.drain(grace=2.0)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """`async with start(Connector, settings={…}) as gateway`."""

    def begin(*connectors: type[Connector[Any]], **options: Any) -> Any:
        return running(tmp_path / "data", *connectors, **options)

    return begin


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What the gateway wrote in its log, line by line."""
    stream = io.StringIO()
    journal.configure("debug", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()


Answers = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def upstream(answers: Answers) -> AsyncIterator[str]:
    """A local server that plays the publisher; gives its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers(request)

    served = web.Application()
    served.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
