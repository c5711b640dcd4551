"""The public regulatory board of the "guichet unique": a page that gives a cookie and a token, a table behind it.

Rows are arrays of cells in the order of the page: posting date, number, filing date, applicant, place and parcels, land
area, works, figures, and on the board of decisions the decision. A row leaves the board after about two months.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from html.parser import HTMLParser
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import urlsplit

from sdk import MEGABYTE, Choice, Http, Misconfigured, NotFound, Response, Rest, Text, UpstreamInvalid

from .models import Posting
from .settings import Board

Information = Literal["filings", "decisions"]
BOARDS: dict[Information, str] = {"filings": "1", "decisions": "2"}
PAGE_PATH = "Login/AffichageReglementaire"
TABLE_PATH = "Login/GetRapportDossier"
COLUMNS = 9
TOKEN = "__RequestVerificationToken"  # noqa: S105
COMMUNES = "Communes_OptionSelectionnee"

_PARCELS = re.compile(r"\(([^()]*)\)\s*$")
_DECISION = re.compile(r"(.*?)\s+le\s+(\d{2}/\d{2}/\d{4})", re.DOTALL)


@dataclass(frozen=True)
class _Session:
    token: str
    cookies: str
    communes: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"_Session({len(self.communes)} communes)"


class _Page(HTMLParser):
    """The hidden token and the options of the select of communes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.token = ""
        self.communes: dict[str, str] = {}
        self._inside = False
        self._value = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "input" and named.get("name") == TOKEN:
            self.token = named.get("value") or ""
        elif tag == "select":
            self._inside = named.get("id") == COMMUNES
        elif tag == "option" and self._inside:
            self._value = named.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._inside = False
        if tag in ("option", "select"):
            self._value = ""

    def handle_data(self, data: str) -> None:
        if self._value and data.strip():
            self.communes[self._value] = " ".join(f"{self.communes.get(self._value, '')} {data}".split())


class _Lines(HTMLParser):
    """A cell as text, one line per `<br>`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        self.text += re.sub(r"\s+", " ", data)


class PublicBoard:
    """The board of one "guichet unique". Its session is opened when needed and again when it no longer works."""

    def __init__(self, board: Board, http: Http) -> None:
        self._url = board.url.rstrip("/")
        self._rest = Rest(http, self._url)
        self._session: _Session | None = None

    async def communes(self) -> list[Choice]:
        session = await self._open()
        return [Choice(id=value, text=text) for value, text in session.communes]

    async def rows(self, information: Information, commune: str, type: str, limit: int, offset: int) -> list[Posting]:
        fresh = self._session is None
        try:
            found = await self._table(information, commune, type, limit, offset)
        except (UpstreamInvalid, Misconfigured):
            if fresh:
                raise
            self._session = None  # an expired session is answered by a page of error
            found = await self._table(information, commune, type, limit, offset)
        rows = found.get("data") if isinstance(found, dict) else None
        if not isinstance(rows, list) or found.get("error"):
            raise UpstreamInvalid(_STRANGE, detail="no table in the answer")
        return [read_posting(row) for row in rows]

    async def check(self) -> None:
        self._session = None
        if not await self.communes():
            raise Misconfigured(
                Text("Le guichet unique n'affiche aucune commune.", en="The public board lists no commune."),
                detail="an empty menu",
            )

    async def _table(self, information: Information, commune: str, type: str, limit: int, offset: int) -> Any:
        session = self._session or await self._open()
        form = {
            "NCommune": commune,
            "CoTypeDossier": type,
            "TypeInformation": BOARDS[information],
            TOKEN: session.token,
            "draw": "1",
            "start": str(offset),
            "length": str(limit),
            "search[value]": "",
            "search[regex]": "false",
            "order[0][column]": "0",
            "order[0][dir]": "desc",
        }
        for column in range(COLUMNS):
            form |= {
                f"columns[{column}][data]": str(column),
                f"columns[{column}][name]": "",
                f"columns[{column}][searchable]": "true",
                f"columns[{column}][orderable]": "true",
                f"columns[{column}][search][value]": "",
                f"columns[{column}][search][regex]": "false",
            }
        parts = urlsplit(self._url)
        headers = {
            # Some fronts refuse a request that does not say which page it comes from.
            "Referer": f"{self._url}/{PAGE_PATH}",
            "Origin": f"{parts.scheme}://{parts.netloc}",
            "X-Requested-With": "XMLHttpRequest",
        }
        if session.cookies:
            headers["Cookie"] = session.cookies
        try:
            return await self._rest.post(TABLE_PATH, form=form, headers=headers, repeatable=True)
        except NotFound:
            raise Misconfigured(_NO_BOARD, detail="status 404 on the table") from None

    async def _open(self) -> _Session:
        try:
            answer = await self._rest.request(
                "GET", PAGE_PATH, headers={"Accept": "text/html"}, repeatable=True, max_bytes=MEGABYTE
            )
        except NotFound:
            raise Misconfigured(_NO_BOARD, detail="status 404 on the page") from None
        page = _Page()
        page.feed(answer.text())
        if not page.token:
            raise UpstreamInvalid(_STRANGE, detail="a page without its verification token")
        self._session = _Session(page.token, _cookies(answer), tuple(page.communes.items()))
        return self._session


def _cookies(answer: Response) -> str:
    """What the page set, as the `Cookie` header to send back."""
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.getall("Set-Cookie", []):  # type: ignore[attr-defined]
        try:
            jar.load(line)
        except CookieError:
            continue
    return "; ".join(f"{name}={morsel.coded_value}" for name, morsel in jar.items())


def read_posting(row: Any) -> Posting:
    """A row of the table, its cells in the order of the page."""
    if not isinstance(row, list) or len(row) < 8:
        raise UpstreamInvalid(_STRANGE, detail="a row with fewer than 8 cells")
    cells = [_plain(cell) for cell in [*row, ""]]
    place, parcels = cells[4], []
    if found := _PARCELS.search(place):
        place = place[: found.start()]
        parcels = [" ".join(each.split()) for each in found[1].split(",") if each.strip()]
    decision, decided = cells[8], None
    if match := _DECISION.fullmatch(decision):
        decision, decided = match[1], _day(match[2])
    if not cells[1]:
        raise UpstreamInvalid(_STRANGE, detail="a row without a number")
    return Posting(
        posted=_day(cells[0]),
        number=cells[1],
        filed=_day(cells[2]),
        applicant=cells[3],
        place=" ".join(place.split()),
        parcels=parcels,
        land_area=cells[5],
        works=cells[6],
        project=cells[7],
        decision=decision,
        decided=decided,
    )


def _plain(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    if "<" in text or "&" in text:
        reader = _Lines()
        reader.feed(text)
        reader.close()
        text = reader.text
    lines = (line.strip().removeprefix("- ") for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%d/%m/%Y").date()
    except ValueError:
        return None


_STRANGE = Text(
    "L'affichage réglementaire a répondu hors de ce qui est convenu.",
    en="The public board did not answer what was agreed.",
)
_NO_BOARD = Text(
    "Il n'y a pas d'affichage réglementaire à cette adresse : la vérifier dans la configuration.",
    en="There is no public board at this address: check it in the settings.",
)
