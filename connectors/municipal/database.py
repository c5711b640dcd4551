"""The town's own table, where no webservice exists: Relais is that webservice.

The external reference makes a creation safe to repeat: the row that carries it is the answer, whoever wrote it.
"""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from sdk import Choice, Hit, Http, Misconfigured, NotFound, Receipt, Text
from sdk.sql import Database

from .models import PLACEHOLDER, Columns, Intervention, InterventionProgress, Settings, TownBase, label
from .webservice import not_kept

PARIS = ZoneInfo("Europe/Paris")
_WRITTEN = tuple(name for name in Intervention.model_fields if name != "extra")
_MOST_KINDS = 1000


class TableRegister:
    """Interventions kept in a table of the town's database."""

    def __init__(self, settings: Settings, base: TownBase, http: Http) -> None:
        self._settings = settings
        self._base = base
        self._columns = {name: column for name in Columns.model_fields if (column := getattr(base.columns, name))}
        self._searched = [self._columns[name] for name in base.search if name in self._columns]
        if not self._searched or not set(base.search) <= set(Columns.model_fields):
            known = ", ".join(self._columns)
            raise Misconfigured(
                Text(
                    f"Réglage « database.search » : nommer des champs qui ont une colonne ({known}).",
                    en=f'Setting "database.search": name fields that have a column ({known}).',
                )
            )
        self._town = Database(
            base.url,
            http,
            setting="database.url",
            charset=base.charset,
            timeout=base.timeout,
            connections=base.connections,
        )
        self._records = self._town.table(base.table, setting="database.table")

    async def create(self, intervention: Intervention) -> Receipt:
        """Writes the row, unless one carries the reference already."""
        values, fields = self._row(intervention)
        async with self._town.writing() as session:
            row, _ = await session.insert_once(
                self._records, values, by=self._columns["reference"], returning=self._numbers(), fields=fields
            )
        return self._receipt(row)

    async def find(self, reference: str) -> list[Receipt]:
        """The rows that carry the reference."""
        async with self._town.reading() as session:
            rows = await session.rows(self._records, self._numbers(), where={self._columns["reference"]: reference})
        return [self._receipt(row) for row in rows]

    async def progress(self, number: str) -> InterventionProgress:
        """The state column, its words from the settings."""
        wanted = [self._columns[name] for name in ("number", "state", "comment", "updated") if name in self._columns]
        async with self._town.reading() as session:
            rows = await session.rows(self._records, wanted, where={self._columns["number"]: number}, limit=1)
        if not rows:
            raise NotFound(Text("Aucune fiche de ce numéro.", en="No record of this number."))
        status = _said(self._of(rows[0], "state"))
        state = label(self._settings.states, status)
        return InterventionProgress(
            id=number,
            status=status,
            text=state.text,
            final=state.final,
            updated=_moment(self._of(rows[0], "updated")),
            comment=_said(self._of(rows[0], "comment")),
        )

    async def search(self, q: str, limit: int) -> list[Hit]:
        """The rows that hold every word, newest number first."""
        if not self._settings.record_url:
            raise Misconfigured(
                Text(
                    "La recherche demande le réglage « record_url ».", en='The search needs the setting "record_url".'
                ),
                processed=False,
            )
        shown = [name for name in ("number", "subject", "state", "place") if name in self._columns]
        async with self._town.reading() as session:
            rows = await session.rows(
                self._records,
                [self._columns[name] for name in shown],
                search=self._searched,
                q=q,
                order=[f"-{self._columns['number']}"],
                limit=limit,
            )
        return [self._hit(row) for row in rows]

    async def kinds(self) -> list[Choice]:
        """The table of kinds, sorted by label."""
        if self._base.kinds is None:
            return []
        columns = [self._base.kinds.id, self._base.kinds.text]
        table = self._town.table(self._base.kinds.table, setting="database.kinds.table")
        async with self._town.reading() as session:
            rows = await session.rows(table, columns, order=[self._base.kinds.text], limit=_MOST_KINDS)
        return [
            Choice(id=_said(row[columns[0]]), text=_said(row[columns[1]])) for row in rows if _said(row[columns[0]])
        ]

    async def check(self) -> None:
        """Every table and column of the settings is there, and may be read."""
        async with self._town.reading() as session:
            await session.verify(self._records, list(self._columns.values()), setting="database.columns")
            await session.verify(self._records, list(self._base.extra.values()), setting="database.extra")
            await session.verify(self._records, list(self._base.constants), setting="database.constants")
            await session.rows(self._records, self._numbers(), limit=1)
        await self.kinds()

    async def close(self) -> None:
        """Closes the connections."""
        await self._town.close()

    def _row(self, intervention: Intervention) -> tuple[dict[str, Any], dict[str, str]]:
        """Column → value, and column → field of the form; fields without a column are refused."""
        values: dict[str, Any] = dict(self._base.constants)
        fields: dict[str, str] = {}
        lost: list[str] = []
        given = {name: getattr(intervention, name) for name in _WRITTEN}
        given |= {f"extra/{name}": value for name, value in intervention.extra.items()}
        places = self._columns | {f"extra/{name}": column for name, column in self._base.extra.items()}
        for name, value in given.items():
            if value is None or value == "":
                continue
            if name not in places:
                lost.append(name)
                continue
            values[places[name]] = value
            fields[places[name]] = name
        if lost:
            raise not_kept(sorted(lost))
        return values, fields

    def _numbers(self) -> list[str]:
        return [self._columns[name] for name in ("number", "display_number") if name in self._columns]

    def _of(self, row: dict[str, Any], name: str) -> Any:
        return row.get(self._columns.get(name, ""))

    def _receipt(self, row: dict[str, Any]) -> Receipt:
        return Receipt(id=_said(self._of(row, "number")), display_id=_said(self._of(row, "display_number")) or None)

    def _hit(self, row: dict[str, Any]) -> Hit:
        number, state = _said(self._of(row, "number")), _said(self._of(row, "state"))
        told = [label(self._settings.states, state).text, _said(self._of(row, "place"))]
        return Hit(
            url=self._settings.record_url.replace(PLACEHOLDER, quote(number, safe="")),
            text=f"{number} {_said(self._of(row, 'subject'))}",
            description=_plain(" · ".join(each for each in told if each)),
        )


def _said(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _plain(text: str) -> str:
    """Text for a place that takes HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _moment(value: Any) -> datetime | None:
    """A column without zone keeps the town's time."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=PARIS)
