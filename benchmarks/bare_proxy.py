"""The floor for this work with the same libraries: aiohttp on uvloop, fetch, decode, encode again as `{err, data}`.

Over SOAP: a fixed text as envelope, and a hand-written walk over lxml's tree that believes whatever it finds.

No rights, no validation, no deadline, no log, no metrics: what it saves is the price of all those.
`python -m benchmarks.bare_proxy --port 8002 --upstream http://127.0.0.1:8001/record --processes 2`
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import uvloop
from aiohttp import web
from lxml import etree

ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
R = "{urn:example:records}"
QUESTION = (
    b'<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
    b'<r:search xmlns:r="urn:example:records"><r:status>open</r:status><r:most>1</r:most></r:search>'
    b"</s:Body></s:Envelope>"
)
SOAP = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:example:records:search"'}
NUMBERS: dict[str, Callable[[str], object]] = {"id": int, "attempts": int, "amount": float, "ratio": float}
UPSTREAM_CONNECTIONS = 500  # per process; aiohttp's default of 100 would halve the throughput at 200 callers


def application(upstream: str) -> web.Application:
    """The proxy: one session per process, one route."""
    app = web.Application()
    session = web.AppKey("session", aiohttp.ClientSession)

    async def opened(app: web.Application) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=UPSTREAM_CONNECTIONS, keepalive_timeout=30)
        async with aiohttp.ClientSession(connector=connector) as app[session]:
            yield

    async def record(request: web.Request) -> web.Response:
        async with request.app[session].get(upstream) as answer:
            answer.raise_for_status()
            data = json.loads(await answer.read())
        body = ENCODE({"err": 0, "data": data}).encode()
        return web.Response(body=body, content_type="application/json")

    async def search(request: web.Request) -> web.Response:
        async with request.app[session].post(upstream, data=QUESTION, headers=SOAP) as answer:
            answer.raise_for_status()
            tree = etree.fromstring(await answer.read())
        body = ENCODE({"err": 0, "data": [walked(one) for one in tree[0][0]]}).encode()
        return web.Response(body=body, content_type="application/json")

    app.cleanup_ctx.append(opened)
    app.router.add_get("/{connector}/{instance}/record", record)
    app.router.add_get("/{connector}/{instance}/search", search)
    return app


def walked(record: Any) -> dict[str, Any]:
    """A record's element as plain values."""
    found: dict[str, Any] = {"number": int(record.get("number")), "contact": [], "tag": []}
    for child in record:
        name = child.tag.removeprefix(R)
        if name == "tag":
            found["tag"].append(child.text)
        elif name == "contact":
            found["contact"].append({part.tag.removeprefix(R): part.text for part in child})
        elif len(child):
            found[name] = {part.tag.removeprefix(R): part.text for part in child}
        elif name == "paid":
            found[name] = child.text == "true"
        else:
            found[name] = NUMBERS[name](child.text) if name in NUMBERS else child.text
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    others: list[int] = []
    for _ in range(args.processes - 1):
        child = os.fork()
        if child == 0:
            others.clear()
            break
        others.append(child)
    try:
        web.run_app(
            application(args.upstream),
            host="127.0.0.1",
            port=args.port,
            reuse_port=True,  # the kernel spreads the connections over the processes
            backlog=4096,
            access_log=None,
            print=None,
            shutdown_timeout=0.5,
            loop=uvloop.new_event_loop(),
        )
    finally:
        for child in others:
            os.kill(child, signal.SIGTERM)
        for child in others:
            os.waitpid(child, 0)


if __name__ == "__main__":
    main()
