"""The connector of the SOAP comparison, with a heartbeat that measures what the loop of its process waits."""

from __future__ import annotations

import asyncio
import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from benchmarks.soap_publisher import WSDL
from sdk import Connector, Field, Http, HttpUrl, Model, Row, Soap, get
from sdk import xml as safe_xml
from sdk.http import Request
from sdk.soap.decoder import decode
from sdk.soap.encoder import http_headers

LARGE = 10_000  # records, 8 MB
ACCEPTED = 50_000_000  # bytes


class Settings(Model):
    url: HttpUrl = Field(description="Address of the benchmark's publisher")


class Address(Model):
    street: str
    zip: str
    city: str


class Contact(Model):
    kind: str
    value: str


class Record(Model):
    id: int
    reference: str
    name: str
    created: datetime
    due: date | None
    amount: Decimal
    ratio: float | None
    paid: bool
    status: str
    closed: date | None
    attempts: int | None
    address: Address | None
    contact: list[Contact]
    tag: list[str]
    comment: str | None
    number: int | None


class Records(Connector[Settings]):
    """Reads records of a publisher."""

    name, title, category = "records", "Banc d'essai SOAP", "Mesures"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self._one, self._many = (self._service(http, count) for count in (1, LARGE))
        self._late: list[float] = []
        self._steps: list[float] = []
        self._beat: asyncio.Task[None] | None = None

    def _service(self, http: Http, count: int) -> Soap:
        address = f"{str(self.settings.url).rstrip('/')}/{count}"
        return Soap(http, wsdl=WSDL, address=address, repeatable=["search"], max_bytes=ACCEPTED)

    @get
    async def one(self) -> list[Record]:
        """One record: an answer of 1 KB."""
        found: list[Record] = await self._one.call("search", name="Lefèvre", status="open", most=10)
        return found

    @get
    async def many(self) -> list[Record]:
        """Ten thousand records: an answer of 8 MB."""
        found: list[Record] = await self._many.call("search", most=LARGE)
        return found

    @get
    async def zeep(self) -> list[Record]:
        """The same, read by zeep on the loop."""
        operation = self._many.operation("search")
        body = self._many.build("search", most=LARGE)
        address = f"{str(self.settings.url).rstrip('/')}/{LARGE}"
        request = Request("POST", address, http_headers(operation), body, True, max_bytes=ACCEPTED)
        response = await self.http.send(request)
        found: list[Record] = decode(operation, safe_xml.parse(response.body, max_bytes=ACCEPTED)).value
        return found

    @get
    async def light(self) -> Row:
        """Nothing to ask anybody."""
        return Row(id="1", text="light")

    @get
    async def late(self) -> Row:
        """How late the loop was since this was last asked, and the most CPU spent between two turns of the heartbeat,
        in ms; starts measuring at the first time."""
        if self._beat is None:
            self._beat = asyncio.ensure_future(self._measure())
        late, steps = sorted(self._late), sorted(self._steps)
        self._late, self._steps = [], []
        return Row(late=_percentile(late, 1), late_p99=_percentile(late, 0.99), step=_percentile(steps, 1))

    async def _measure(self) -> None:
        while True:
            before, spent = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            self._late.append((time.perf_counter() - before) * 1000 - 1)
            self._steps.append((time.thread_time() - spent) * 1000)

    async def close(self) -> None:
        if self._beat is not None:
            self._beat.cancel()


def _percentile(seen: list[Any], part: float) -> float:
    return round(seen[min(len(seen) - 1, int(len(seen) * part))], 2) if seen else 0.0
