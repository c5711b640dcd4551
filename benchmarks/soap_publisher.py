"""A SOAP publisher: as many records as the path says, at once. `python -m benchmarks.soap_publisher --port 8001`

A bare asyncio protocol, so that it costs little beside what is measured. `answer(10_000)` is 8 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import uvloop

WSDL = Path(__file__).with_name("records.wsdl")
_STREETS = ("12 bis rue de la République", "3 place d'Armes", "48 avenue Foch", "7 rue des Clercs")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.I)


@cache
def answer(records: int) -> bytes:
    """The envelope of an answer; a record is some 930 bytes, 28 elements, one of them nil."""
    chance = random.Random(records)
    rows = "".join(_record(number, chance) for number in range(records))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/" xmlns:r="urn:example:records" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><S:Body><r:searchResponse>'
        f"{rows}</r:searchResponse></S:Body></S:Envelope>"
    ).encode()


def _record(number: int, chance: random.Random) -> str:
    contacts = "".join(
        f"<r:contact><r:kind>{kind}</r:kind><r:value>{chance.randrange(10**9)}</r:value></r:contact>"
        for kind in ("mail", "phone")[: chance.randint(1, 2)]
    )
    tags = "".join(f"<r:tag>{tag}</r:tag>" for tag in ("voirie", "travaux", "centre-ville")[: chance.randint(1, 3)])
    return (
        f'<r:record number="{number}"><r:id>{number}</r:id><r:reference>DEM-{number:08}</r:reference>'
        f"<r:name>Éléonore Lefèvre {number}</r:name><r:created>2026-03-02T09:41:{chance.randrange(60):02}</r:created>"
        f"<r:due>2026-04-{chance.randint(1, 30):02}</r:due><r:amount>{chance.randrange(10**6) / 100:.2f}</r:amount>"
        f"<r:ratio>{chance.random():.4f}</r:ratio><r:paid>{chance.choice(('true', 'false'))}</r:paid>"
        f'<r:status>{chance.choice(("open", "closed"))}</r:status><r:closed xsi:nil="true"/>'
        f"<r:attempts>{chance.randrange(9)}</r:attempts><r:address><r:street>{chance.choice(_STREETS)}</r:street>"
        f"<r:zip>57000</r:zip><r:city>Metz</r:city></r:address>{contacts}{tags}"
        f"<r:comment>{'Demande transmise au service. ' * chance.randint(3, 8)}</r:comment></r:record>"
    )


class Publisher(asyncio.Protocol):
    """One connection: an answer per request."""

    def __init__(self) -> None:
        self._rest = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end]
            length = _LENGTH.search(head)
            until = end + 4 + int(length[1] if length else 0)
            if len(self._rest) < until:
                return
            self._rest = self._rest[until:]
            body = answer(int(head.split(b" ", 2)[1].strip(b"/") or b"1"))
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
            self._transport.write(head + body)


async def serve(port: int) -> None:
    """Answers on 127.0.0.1 until cancelled."""
    server = await asyncio.get_running_loop().create_server(Publisher, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
