"""The slow publisher: one record of 1 KB, 100 ms after it is asked for, in JSON or over SOAP.

`GET` anything answers the JSON record. `POST` is the operation `search` of `records.wsdl`: it answers the one record it
holds, which counts how often it was read (`attempts`), so that no two answers are the same.

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

FOUND: dict[str, Any] = {
    "number": 4211,
    "id": 42118,
    "reference": "DEM-0042118",
    "name": "Éléonore Lefèvre",
    "created": "2026-03-02T09:41:27+01:00",
    "due": "2026-04-15",
    "amount": 128.5,
    "ratio": 0.25,
    "paid": False,
    "status": "open",
    "closed": None,
    "attempts": 0,
    "address": {"street": "12 bis rue de la République", "zip": "57000", "city": "Metz"},
    "contact": [{"kind": "email", "value": "eleonore.lefevre@example.org"}, {"kind": "phone", "value": "0387000000"}],
    "tag": ["voirie", "travaux", "centre-ville"],
    "comment": "Pose d'un échafaudage",
}
"""What a caller of the SOAP translation is answered, `attempts` apart."""


def _element(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"<r:{name}>{''.join(_element(key, item) for key, item in value.items())}</r:{name}>"
    if isinstance(value, list):
        return "".join(_element(name, item) for item in value)
    if value is None:
        return f'<r:{name} xsi:nil="true"/>'
    return f"<r:{name}>{str(value).lower() if isinstance(value, bool) else value}</r:{name}>"


_MEMBERS = "".join(_element(n, "%07d" if n == "attempts" else v) for n, v in FOUND.items() if n != "number")
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><s:Body><r:searchResponse xmlns:r="urn:example:records">'
    f'<r:record number="{FOUND["number"]}">{_MEMBERS}</r:record></r:searchResponse></s:Body></s:Envelope>'
).encode()
SOAP_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(ENVELOPE % 0)
    + ENVELOPE
)


class Upstream(asyncio.Protocol):
    """One connection: an answer per request, by its method, whatever the path."""

    reads = 0

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float) -> None:
        self._loop = loop
        self._delay = delay
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (head := self._rest.find(b"\r\n\r\n")) >= 0:
            end = head + 4 + _length(self._rest[:head].lower())
            if len(self._rest) < end:
                return
            self._loop.call_later(self._delay, self._answer, self._rest.startswith(b"POST"))
            self._rest = self._rest[end:]

    def _answer(self, over_soap: bool) -> None:
        if self._transport.is_closing():
            return
        if over_soap:
            Upstream.reads += 1
            self._transport.write(SOAP_ANSWER % Upstream.reads)
        else:
            self._transport.write(ANSWER)


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


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
