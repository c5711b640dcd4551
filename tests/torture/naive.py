"""What one writes first: the same endpoint as a proxy that tries again on any failure. Its figures give the others
their meaning. Run as `python -m tests.torture.naive FD UPSTREAM_URL`.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import aiohttp
from aiohttp import web

ATTEMPTS = 3


async def main(listening: socket.socket, upstream: str) -> None:
    async def create(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        sent: dict[str, Any] = {"reference": request.headers["Idempotency-Key"], "text": body["text"]}
        for attempt in range(ATTEMPTS):
            try:
                async with session.post(f"{upstream}/records", json=sent) as answer:
                    if answer.status == 422:
                        return web.json_response({"err": 1, "err_class": "Rejected"})
                    answer.raise_for_status()
                    return web.json_response({"err": 0, "data": {"id": (await answer.json())["id"]}})
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                await asyncio.sleep(0.05 * 2**attempt)
        return web.json_response({"err": 1, "err_class": "UpstreamUnavailable"}, status=502)

    application = web.Application()
    application.router.add_post("/records/town/records", create)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.7)) as session:
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        print('{"event": "serving"}', flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
