"""The slow publisher: one JSON record of 1 KB, 100 ms after it is asked for.

A bare asyncio protocol, so that it costs as little as Python allows and is never what a comparison measures.
`python -m benchmarks.upstream --port 8001`
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import uvloop

DELAY = 0.1  # seconds
SIZE = 1024  # bytes of body

RECORD: dict[str, Any] = {
    "id": "2026-004211",
    "reference": "DEM-0042118",
    "status": "en cours d'instruction",
    "created": "2026-03-02T09:41:27+01:00",
    "due": "2026-04-15",
    "amount": 128.5,
    "paid": False,
    "attempts": 3,
    "applicant": {
        "name": "Éléonore Lefèvre",
        "email": "eleonore.lefevre@example.org",
        "street": "12 bis rue de la République",
        "zip": "57000",
        "city": "Metz",
    },
    "lines": [
        {"code": "VOI-01", "label": "Occupation du domaine public", "quantity": 12},
        {"code": "VOI-07", "label": "Pose d'un échafaudage", "quantity": 1},
        {"code": "ADM-02", "label": "Frais de dossier", "quantity": 1},
    ],
    "tags": ["voirie", "travaux", "centre-ville"],
    "comment": "",
}
RECORD["comment"] = "." * (SIZE - len(json.dumps(RECORD, ensure_ascii=False).encode()))
BODY = json.dumps(RECORD, ensure_ascii=False).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


class Upstream(asyncio.Protocol):
    """One connection: an answer per request without a body, whatever the path."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        self._loop = loop
        self._delay = delay
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for _ in requests:
            self._loop.call_later(self._delay, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


async def serve(port: int, delay: float) -> None:
    """Answers on 127.0.0.1 until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Upstream(loop, delay), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds before each answer")
    args = parser.parse_args()
    uvloop.run(serve(args.port, args.delay))


if __name__ == "__main__":
    main()
