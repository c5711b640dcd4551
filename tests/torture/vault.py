"""The connector of the canaries: what a citizen and an operator would never want to see again, in every place."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sdk import (
    Choice,
    Connector,
    File,
    Http,
    HttpUrl,
    Model,
    Progress,
    Receipt,
    Received,
    Rest,
    Secret,
    callback,
    create,
    current_call,
    get,
)
from sdk.auth import basic


class Settings(Model):
    url: HttpUrl
    password: Secret
    token: Secret


class Person(Model):
    name: str
    email: str
    nir: str
    iban: str
    mode: str = ""
    age: int = 0
    photo: File | None = None


class Vault(Connector[Settings]):
    """Un coffre que l'on ouvre de toutes les façons."""

    name, title, category = "vault", "Coffre", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        way = http.using(basic("relais", settings.password))
        self.rest = Rest(way, settings.url, refusals=(422,))
        self.token = settings.token

    async def check(self) -> None:
        """Asks with the token in the query."""
        await self.rest.get("check", params={"token": self.token.get_secret_value()})

    @create("persons", delivery="reconcilable", find="find_person", longest=0.5, follow="progress")
    async def create_person(self, person: Person) -> Receipt:
        """Déposer une personne."""
        if person.mode == "crash":
            logging.getLogger("a.library").warning("cannot read %s", person.nir)
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"lost {person.iban}", "exception": RuntimeError(person.email)}
            )
            raise RuntimeError(f"no place for {person.name} {person.nir}")
        if person.mode == "invalid":
            Person.model_validate({"name": person.name, "email": person.email, "nir": [person.nir], "iban": None})
        sent = {**person.model_dump(mode="json", exclude={"photo"}), "reference": current_call().reference}
        if person.photo is not None:
            sent["photo"] = person.photo.content.decode("latin-1")
        return Receipt(id=str((await self.rest.post("persons", json=sent))["id"]))

    async def find_person(self, reference: str) -> list[Receipt]:
        """Those of this reference."""
        rows: Any = await self.rest.get("persons", params={"reference": reference})
        return [Receipt(id=str(row["id"])) for row in rows]

    @get("persons/{number}")
    async def progress(self, number: str) -> Progress:
        """Où en est la personne."""
        row = await self.rest.get(f"persons/{number}")
        return Progress(id=number, status=str(row["status"]), final=True)

    @get
    async def people(self, nir: str = "") -> list[Choice]:
        """Les personnes, par leur numéro."""
        rows: Any = await self.rest.get("people", params={"nir": nir})
        return [Choice(id=row["id"], text=row["text"]) for row in rows]

    @callback("notice")
    async def notice(self, received: Received) -> None:
        """Un avis."""
        if b"crash" in received.body:
            raise ValueError(received.body.decode())
