"""Tables (CSV, XLSX, ODS) as sources of lists: `Table` answers from an index that follows its file or address.

    table = Table(Path("rues.csv"), folder=http.folder, id="code", text="{type} {nom}")
    await table.choices(q="ile")                       # Choices: every typed word is in the label
    await table.rows(where={"ville": "Rennes", "habitants__gte": 1000}, order=("-habitants",), limit=10)

The index is a file in `folder`, built once for all processes, in a process apart, and mapped by all of them. A file is
looked at every second: its new version is read when it no longer changes, and answers from one instant on; the old one
keeps answering meanwhile, and for as long as the new one cannot be read.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from math import inf
from pathlib import Path
from typing import TypeVar

from sdk.errors import InvalidInput, Text
from sdk.matching import fold
from sdk.model import Choices

from .building import Plan
from .index import OPERATORS, Index, words
from .templates import Place, UnknownColumn, fill, parts
from .types import BadLine, Column, ColumnType, Reading, Structure, Structured, TableOptions, to_decimal
from .versions import UrlSource, Versions, misconfigured
from .ways import Question, TooLong, Where

__all__ = [
    "BadLine",
    "Column",
    "ColumnType",
    "Reading",
    "Structure",
    "Structured",
    "Table",
    "TableOptions",
    "UnknownColumn",
    "UrlSource",
    "columns_of",
    "fill",
    "to_decimal",
]

A = TypeVar("A")


class Table:
    """A table and its index.

    `source`: a file, or an address (`UrlSource`). `folder`: a private folder whose content can be rebuilt.
    `id` and `text`: a column, or a template (`"{Code_postal} {Nom_commune}"`); they make the choices. A template may
    change what it takes: `{nom|title}`, `upper`, `lower`, `trim`, `{code|zeros:5}`, `first:N`, `last:N`; `{{` is `{`.
    `index`: columns often filtered on; `filters`: filters often used (`code__gte`), whose columns are indexed too.
    `search`: columns looked at by `q`; those of `text` when left out, else all. `orders`: those often asked for: their
    first rows are read without sorting all.
    `setting`: name of the setting that gives the source, for error texts.
    Columns are named as in the header; case, accents and punctuation may be left out (`code_postal`).
    """

    def __init__(
        self,
        source: Path | UrlSource,
        *,
        folder: Path,
        options: TableOptions | None = None,
        id: str = "",
        text: str = "",
        index: Sequence[str] = (),
        filters: Sequence[str] = (),
        search: Sequence[str] = (),
        orders: Iterable[Sequence[str]] = (),
        setting: str = "file",
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.id, self.text = id, text
        try:
            searched = tuple(search) or columns_of(text)
        except UnknownColumn as error:
            raise misconfigured(setting, error.message) from None
        self._index_setting = tuple(index)
        indexed = tuple(dict.fromkeys([*index, *map(_column_of, filters)]))
        sorted_by = tuple(dict.fromkeys(tuple(order) for order in orders if order))
        self._plan = Plan(options or TableOptions(), id, text, indexed, searched, sorted_by)
        self._versions = Versions(source, folder, self._plan, setting, sleep)

    @property
    def reading(self) -> Reading | None:
        """What was found in the version that answers; None before the first question. See also `refused`."""
        return self._versions.reading

    @property
    def refused(self) -> Reading | None:
        """What was found in the source's present version when it cannot be read; None when it answers."""
        return self._versions.refused

    async def refresh(self) -> Reading:
        """Takes the source's present version; returns what was found in it.

        Raises `Misconfigured` when it is missing or cannot be read as a table (line number in the text), or when it
        has not the columns of `id`, `text`, `index`, `search`; `UpstreamUnavailable` when the address does not answer.
        The version of before keeps answering.
        """
        reading = await self._versions.refresh()
        plan = self._plan
        own = {"id": [self.id], "text": [self.text], "index": self._index_setting, "search": plan.search}
        for setting, expressions in own.items():
            await self.verify([each for each in expressions if each], setting=setting)
        return reading

    async def columns(self) -> tuple[Column, ...]:
        """The columns of the version that answers."""
        return (await self._versions.current()).columns.all

    async def rows(
        self,
        q: str | None = None,
        where: Where | None = None,
        *,
        order: Sequence[str] = (),
        distinct: Sequence[str] = (),
        columns: Sequence[str] | Mapping[str, str] = (),
        equal: tuple[str, str] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, str]]:
        """The rows kept, in the file's order unless `order` says (`"-population"` for descending).

        `q`: every word must be in the row, without regard to case and accents. `where`: column → value, or
        `column__op` with ne, lt, lte, gt, gte, in, contains, startswith, empty. `distinct`: the first row of the
        file for each combination. `columns`: those wanted, or name → column or template; the words that the template
        named `text` writes itself are not looked for. `equal`: a column or template, and its text. All values are text.
        Raises `InvalidInput` naming an unknown column and listing the known ones.
        """
        label = columns.get("text", "") if isinstance(columns, Mapping) else ""
        asked = Question(_beyond(q, label), where or {}, equal, order, distinct, limit, offset)

        def pick(index: Index) -> list[dict[str, str]]:
            if isinstance(columns, Mapping) and columns:
                names, outputs = list(columns), list(columns.values())
            else:
                names = outputs = [index.columns.name(column) for column in columns] or index.columns.names
            return [dict(zip(names, values, strict=True)) for values in index.select(outputs, asked)]

        try:
            return await self._ask(pick)
        except UnknownColumn as error:
            raise InvalidInput(
                Text(f"Demande refusée : {error.message}.", en=f"Refused: {error.message.en}."),
                fields={error.name: [error.message]},
            ) from None

    async def choices(
        self,
        *,
        id: str = "",
        text: str = "",
        q: str | None = None,
        only: str | None = None,
        where: Where | None = None,
        order: Sequence[str] = (),
        extra: bool = True,
        limit: int | None = None,
    ) -> Choices:
        """The rows as a form's list: `id` and `text` are columns or templates, those of the table when left out.

        `q`: every word must be in the row's searched columns; with a `limit`, the choice whose label is exactly `q`
        comes first. `only`: the choice of that id, compared as text. `extra`: every column goes along.
        Rows without id are left out; of several rows with the same id the first is kept (`reading.warnings` counts
        them): give a composed id (`"{code}-{cp}"`) to offer them all. Raises `Misconfigured` for an unknown column.
        """
        id, text = id or self.id, text or self.text or id or self.id
        typed, where = _beyond(q, text), where or {}
        asked = Question(typed, where, None if only is None else (id, only), order, early=limit)

        def pick(index: Index) -> Choices:
            found = index.choices(id, text, asked, extra=extra)
            first: Iterable[tuple[str, bytes]] = ()
            if q and limit is not None and found and only is None and index.may_be(text, label := q.strip()):
                # w.c.s. finds a choice again by its whole label.
                first = index.choices(id, text, Question(typed, where, (text, label), order, early=limit), extra=extra)
            most = inf if limit is None else limit
            kept: dict[str, bytes] = {}
            for key, *written in chain(first, found):
                if key and key not in kept:
                    kept[key] = written[0] if len(written) == 1 else _joined(written)
                    if len(kept) >= most or only is not None:
                        break
            return Choices(list(kept.values())[:limit])

        try:
            return await self._ask(pick)
        except UnknownColumn as error:
            raise misconfigured("id, text", error.message) from None

    async def verify(
        self, expressions: Sequence[str] = (), filters: Sequence[str] = (), *, setting: str = "columns"
    ) -> None:
        """Raises `Misconfigured` when a column, template or filter (`code__gte`) of `setting` is not of this table."""
        columns = (await self._versions.current()).columns
        try:
            for expression in expressions:
                columns.sql(expression)
            for name, operator in map(columns.filtered, filters):
                columns.at(name)
                if operator not in OPERATORS:
                    known = ", ".join(OPERATORS)
                    french = f"comparaison inconnue « {operator} » ; possibles : {known}"
                    raise UnknownColumn(operator, Text(french, en=f'unknown comparison "{operator}"; known: {known}'))
        except UnknownColumn as error:
            raise misconfigured(setting, error.message) from None

    async def close(self) -> None:
        """Stops a build under way and the following of the file, and closes the index."""
        await self._versions.close()

    async def _ask(self, question: Callable[[Index], A]) -> A:
        """Asks at once what is soon answered, the rest in a thread, on a connection of its own."""
        index = await self._versions.current()
        try:
            return question(index)
        except TooLong:
            return await asyncio.to_thread(self._ask_apart, index, question)

    def _ask_apart(self, index: Index, question: Callable[[Index], A]) -> A:
        try:
            with index.another() as twin:
                return question(twin)
        except (OSError, sqlite3.OperationalError):
            pass  # replaced or removed under our feet
        try:
            newer = Index(self._versions.path)
        except OSError:
            return question(index.patient())  # the one already open still holds it
        try:
            return question(newer)
        finally:
            newer.close()


def columns_of(text: str) -> tuple[str, ...]:
    """The columns a template takes, or the column itself. Raises UnknownColumn for a malformed template."""
    if "{" not in text:
        return (text,) * bool(text)
    return tuple(dict.fromkeys(part.column for part in parts(text) if isinstance(part, Place)))


def _column_of(key: str) -> str:
    """The column of a filter, before the columns are known; one that is none is passed over when the index is built."""
    name, _, operator = key.rpartition("__")
    return name if name and operator in OPERATORS else key


def _beyond(q: str | None, text: str) -> list[str]:
    """The words of `q` that the template's own words do not already hold: those are in every label."""
    if not q:
        return []
    literal = _literal(text) if "{" in text else ""
    return [word for word in words(q) if word not in literal]


@lru_cache(maxsize=256)
def _literal(template: str) -> str:
    return fold(" ".join(part for part in parts(template) if isinstance(part, str)))


def _joined(objects: Sequence[bytes]) -> bytes:
    """JSON objects as one, with the members of all."""
    return b"{" + b",".join(each[1:-1] for each in objects) + b"}"
