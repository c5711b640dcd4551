"""The connector of the comparison: a typed read over REST and one over SOAP, written as any author would write them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from sdk import Connector, Field, Http, HttpUrl, Model, Rest, Soap, get, read


class Settings(Model):
    url: HttpUrl = Field(description="Address of the benchmark's upstream")


class Applicant(Model):
    name: str
    email: str
    street: str
    zip: str
    city: str


class Line(Model):
    code: str
    label: str
    quantity: int


class Record(Model):
    id: str
    reference: str
    status: str
    created: datetime
    due: date
    amount: float
    paid: bool
    attempts: int
    applicant: Applicant
    lines: list[Line]
    tags: list[str]
    comment: str


class Address(Model):
    street: str
    zip: str
    city: str


class Contact(Model):
    kind: str
    value: str


class Found(Model):
    number: int
    id: int
    reference: str
    name: str
    created: datetime
    due: date | None
    amount: float
    ratio: float | None
    paid: bool
    status: str
    closed: date | None
    attempts: int | None
    address: Address | None
    contact: list[Contact]
    tag: list[str]
    comment: str | None


class Bench(Connector[Settings]):
    """Reads one record of a slow publisher."""

    name, title, category = "bench", "Banc d'essai", "Mesures"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.publisher = Rest(http, settings.url)
        self.service = Soap(http, wsdl=Path(__file__).with_name("records.wsdl"), address=settings.url)

    @get
    async def record(self) -> Record:
        """The record, 100 ms later."""
        return read(Record, await self.publisher.get("/record"))

    @get
    async def search(self, most: int = 1) -> list[Found]:
        """The records, 100 ms later."""
        return [read(Found, record) for record in await self.service.call("search", status="open", most=most)]
