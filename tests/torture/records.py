"""The connector of the torture runs: a create its publisher can be searched for, and one that it cannot."""

from __future__ import annotations

import hashlib
from typing import Any

from sdk import MEGABYTE, Connector, File, Http, HttpUrl, Model, Receipt, Rest, create, current_call

LONGEST = 1.0


class Settings(Model):
    url: HttpUrl


class Record(Model):
    text: str
    file: File | None = None


class Records(Connector[Settings]):
    """Des fiches, dans un logiciel qui va mal."""

    name, title, category = "records", "Fiches", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.rest = Rest(http, settings.url, refusals=(422,), unprocessed=(503,))

    @create("records", delivery="reconcilable", find="find_record", longest=LONGEST, max_body=10 * MEGABYTE)
    async def create_record(self, record: Record) -> Receipt:
        """Créer une fiche."""
        sent = {"reference": current_call().reference, "text": record.text}
        if record.file is not None:
            sent["file"] = hashlib.sha256(record.file.content).hexdigest()
        return Receipt(id=str((await self.rest.post("records", json=sent))["id"]))

    @create("slips", delivery="at-most-once")
    async def create_slip(self, record: Record) -> Receipt:
        """Créer une fiche qui ne se cherche pas."""
        return await self.create_record(record)

    async def find_record(self, reference: str) -> list[Receipt]:
        """The records that carry our reference."""
        rows: Any = await self.rest.get("records", params={"reference": reference})
        return [Receipt(id=str(row["id"])) for row in rows]
