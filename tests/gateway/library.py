"""A connector for the tests: a library over SOAP, whose answers may be large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdk import Connector, Http, HttpUrl, Model, Soap, get

WSDL = Path(__file__).parents[1] / "sdk" / "wsdl" / "library.wsdl"
NAMESPACE = "urn:example:library"


class Settings(Model):
    url: HttpUrl


class Book(Model):
    code: str
    title: str | None = None
    subject: list[str] = []


class Library(Connector[Settings]):
    """Une bibliothèque."""

    name, title, category = "library", "Bibliothèque", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.soap = Soap(http, wsdl=WSDL, address=str(settings.url), repeatable=["find", "whoIs"])

    async def check(self) -> None:
        return None

    @get
    async def books(self) -> list[Book]:
        """Les livres."""
        return [Book(code=row.code, title=row.title, subject=row.subject) for row in await self._found()]

    @get
    async def raw(self) -> list[Book]:
        """Les livres, tels que lus."""
        found: list[Any] = await self._found()
        return [{"code": row["code"], "title": row["title"]} for row in found]  # type: ignore[misc]

    async def _found(self) -> Any:
        return await self.soap.call("find", words="x")


def found(books: int) -> bytes:
    """What the publisher answers."""
    rows = "".join(f"<l:book><l:code>{n}</l:code><l:title>Le livre {n}</l:title></l:book>" for n in range(books))
    return (
        f'<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/" xmlns:l="{NAMESPACE}"><S:Body>'
        f"<l:findResponse><l:books>{rows}</l:books></l:findResponse></S:Body></S:Envelope>"
    ).encode()
