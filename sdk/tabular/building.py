"""From a table to the SQLite file that answers for it; in a process of its own when it is large (`work`)."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import Text
from sdk.matching import fold

from .reading import read_table
from .templates import Columns, UnknownColumn, add_functions
from .types import Column, Reading, TableOptions

FORMAT = 3  # to be raised when what a file holds changes: the files of before are then built again
_PAGES = 32 * 1024  # KiB kept before they are written
_END = "\n\n"  # after each text, so that its last letters begin a trigram too
_MEMORY = 3 * 1024 * 1024 * 1024  # bytes a sheet may make its decoder ask for


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index is made for. `id` and `text` are a column or template; so are `index`; `search`: columns looked at
    by `q`; `orders`: those the rows are often asked in."""

    options: TableOptions = field(default_factory=TableOptions)
    id: str = ""
    text: str = ""
    index: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    orders: tuple[tuple[str, ...], ...] = ()

    def pack(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "options": self.options.model_dump(mode="json"),
            "id": self.id,
            "text": self.text,
            "index": list(self.index),
            "search": list(self.search),
            "orders": [list(order) for order in self.orders],
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Plan:
        """The plan that `pack` wrote."""
        return cls(
            TableOptions.model_validate(packed["options"]),
            packed["id"],
            packed["text"],
            tuple(packed["index"]),
            tuple(packed["search"]),
            tuple(map(tuple, packed["orders"])),
        )


def build(source: Path, target: Path, plan: Plan, stamp: Mapping[str, Any]) -> Reading:
    """Reads `source` and writes `target`; no `target` when `reading.fault` is set. Synchronous, CPU-bound.

    A column of the plan that is not in the table is passed over: whoever made the plan verifies it (`Columns.sql`).
    """
    target.unlink(missing_ok=True)
    database = sqlite3.connect(target, isolation_level=None)
    try:
        add_functions(database)
        database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; "
            f"PRAGMA cache_size=-{_PAGES}; BEGIN"
        )
        reading = read_table(source, plan.options, lambda columns, rows: _write_rows(database, columns, rows, plan))
        if reading.fault is None:
            _write_indexes(database, reading, plan)
        about = {
            "reading": reading.pack(),
            "stamp": dict(stamp),
            "searched": _searched(reading.columns, plan),
            "shortest": _shortest(database, reading, plan),
            "orders": _write_orders(database, reading, plan),
        }
        database.execute("CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT)")
        database.executemany(
            "INSERT INTO about VALUES (?, ?)", [(name, json.dumps(value)) for name, value in about.items()]
        )
        database.execute("COMMIT")
    finally:
        database.close()
    if reading.fault is not None:
        target.unlink(missing_ok=True)
    else:
        with target.open("rb") as written:
            os.fsync(written.fileno())
    return reading


def _write_rows(database: sqlite3.Connection, columns: Sequence[Column], rows: Iterator[list[str]], plan: Plan) -> None:
    numbers = [at for at, column in enumerate(columns) if column.type in ("integer", "decimal")]
    whole = {at for at in numbers if columns[at].type == "integer"}
    cells = [f"c{at} TEXT NOT NULL" for at in range(len(columns))]
    figures = [f"n{at} {'INTEGER' if at in whole else 'REAL'}" for at in numbers]
    database.execute(f"CREATE TABLE r(rid INTEGER PRIMARY KEY, {', '.join([*cells, *figures, 'norm TEXT NOT NULL'])})")
    searched = _searched(columns, plan)
    everything = len(searched) == len(columns)
    normal = fold.__wrapped__  # each text passes once: remembering it would only cost memory

    def values() -> Iterator[list[Any]]:
        for row in rows:
            looked_at = row if everything else [row[at] for at in searched]
            figured: list[Any] = [(int if at in whole else float)(row[at]) if row[at] else None for at in numbers]
            yield [*row, *figured, normal("\n".join(filter(None, looked_at))) + _END]

    marks = ", ".join("?" * (len(columns) + len(numbers) + 1))
    database.executemany(f"INSERT INTO r VALUES (NULL, {marks})", values())  # noqa: S608 - question marks only


def _searched(columns: Sequence[Column], plan: Plan) -> list[int]:
    names = Columns(columns)
    return [names.at(name) for name in plan.search if name in names] or list(range(len(columns)))


def _write_indexes(database: sqlite3.Connection, reading: Reading, plan: Plan) -> None:
    names = Columns(reading.columns)
    expressions: dict[str, None] = {}
    for expression in filter(None, (plan.id, plan.text, *plan.index)):
        with suppress(UnknownColumn):
            expressions[names.sql(expression)] = None
    for count, expression in enumerate(expressions):
        database.execute(f"CREATE INDEX i{count} ON r({expression})")
    for at, column in enumerate(reading.columns):
        if column.type in ("integer", "decimal") and f"c{at}" in expressions:
            database.execute(f"CREATE INDEX n{at}_order ON r(n{at})")
    database.execute("PRAGMA analysis_limit=1000")
    database.execute("ANALYZE r")
    if plan.id:
        with suppress(UnknownColumn):
            _count_repeats(database, reading, plan.id, names.sql(plan.id))
    trigrams = "columnsize=0, detail=none, tokenize='trigram case_sensitive 1'"
    try:
        database.execute(f"CREATE VIRTUAL TABLE f USING fts5(norm, content='r', content_rowid='rid', {trigrams})")
    except sqlite3.OperationalError:
        return  # an SQLite before 3.34 has no trigrams: rows are scanned, about fifty times slower but as right
    database.execute("INSERT INTO f(f) VALUES ('rebuild')")
    database.execute("CREATE TABLE v(term TEXT PRIMARY KEY, docs INTEGER, lists INTEGER) WITHOUT ROWID")
    database.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, f, row)")
    database.execute("INSERT INTO v SELECT term, doc, 1 FROM temp.terms")
    database.execute("DROP TABLE temp.terms")
    for letters in (1, 2):
        beginnings = "SELECT substr(term, 1, ?) AS t, sum(docs), count(*) FROM v WHERE length(term) = 3 GROUP BY t"
        database.execute(f"INSERT INTO v {beginnings}", [letters])


def _shortest(database: sqlite3.Connection, reading: Reading, plan: Plan) -> dict[str, int]:
    """The length of the shortest label, in characters: what is typed is looked up as a whole label from there on."""
    try:
        sql = Columns(reading.columns).sql(plan.text) if plan.text and reading.fault is None else ""
    except UnknownColumn:
        sql = ""
    if not sql:
        return {}
    (length,) = database.execute(f"SELECT min(length({sql})) FROM r").fetchone()  # noqa: S608 - columns by position
    return {plan.text: length or 0}


def _write_orders(database: sqlite3.Connection, reading: Reading, plan: Plan) -> list[list[str]]:
    """The orders that rows can be read in without being sorted: the first by the index `o0`, and so on."""
    columns = Columns(reading.columns)
    written: list[list[str]] = []
    for order in plan.orders if reading.fault is None else ():
        with suppress(UnknownColumn):
            terms = ", ".join(term for name in order for term in columns.order(name))
            database.execute(f"CREATE INDEX o{len(written)} ON r({terms})")
            written.append(list(order))
    return written


def _count_repeats(database: sqlite3.Connection, reading: Reading, id: str, sql: str) -> None:
    distinct, empty = database.execute(
        f"SELECT count(DISTINCT {sql}), count(CASE WHEN {sql} = '' THEN 1 END) FROM r"  # noqa: S608 - columns by position
    ).fetchone()
    repeated = reading.rows - distinct - max(0, empty - 1)
    if repeated:
        reading.warnings.append(
            Text(
                f"Identifiant « {id} » répété : {repeated} lignes de trop ; la première sert.",
                en=f'Identifier "{id}" repeated: {repeated} rows too many; the first is used.',
            )
        )
    if empty:
        reading.warnings.append(
            Text(
                f"Identifiant « {id} » vide : {empty} lignes, qui ne sont pas proposées comme choix.",
                en=f'Identifier "{id}" empty: {empty} rows, not offered as choices.',
            )
        )


# --- the process apart ------------------------------------------------------------------------------------------------


def work() -> None:
    """Entry of the process that builds an index: one JSON job on stdin, the packed reading on stdout."""
    job = json.load(sys.stdin)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, ValueError, OSError):
        pass  # not offered here, or a stricter limit is already set
    os.nice(5)
    reading = build(Path(job["source"]), Path(job["target"]), Plan.unpack(job["plan"]), job["stamp"])
    json.dump(reading.pack(), sys.stdout)
