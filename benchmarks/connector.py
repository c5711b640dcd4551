"""The connector of the comparison: one typed read over REST, written as any author would write it."""

from __future__ import annotations

from datetime import date, datetime

from sdk import Connector, Field, Http, HttpUrl, Model, Rest, get, read


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


class Bench(Connector[Settings]):
    """Reads one record of a slow publisher."""

    name, title, category = "bench", "Banc d'essai", "Mesures"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.publisher = Rest(http, settings.url)

    @get
    async def record(self) -> Record:
        """The record, 100 ms later."""
        return read(Record, await self.publisher.get("/record"))
