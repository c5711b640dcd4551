"""A table as a read-only SQLite file: one row per line, one folded text per row for searching, and its reading.

    r(rid, c0, c1, …, n3, …, norm)   c: the cells; n: the number of a declared integer or decimal column, NULL if empty
    f(norm)                          FTS5, trigrams: any substring of three characters or more
    about(name, value)               the `Reading`, the stamp of the source, what was indexed

The file is written once, elsewhere, then renamed into place: a reader never sees it change.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import unicodedata
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sdk.errors import InvalidInput, Text
from sdk.matching import fold

from .reading import read_table
from .types import CONVERT, TYPE_NAMES, Column, Reading, TableOptions

FORMAT = 1  # to be raised when what a file holds changes: the files of before are then built again
Where = Mapping[str, object]
OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "startswith", "empty")
_COMPARE = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MAX_WORDS = 32
_LISTED = 40


# --- templates --------------------------------------------------------------------------------------------------------

_CHANGES: dict[str, Callable[[str, int], str]] = {
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "title": lambda text, _: text.title(),
    "trim": lambda text, _: " ".join(text.split()),
    "first": lambda text, count: text[:count],
    "last": lambda text, count: text[-count:] if count else "",
    "zeros": lambda text, count: text.zfill(count) if text else "",
}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class UnknownColumn(Exception):
    """A `name` that is no column of the table, or a template that cannot be read; `message` says so, bilingual."""

    def __init__(self, name: str, message: Text) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


class Columns:
    """The columns of a table, found by their exact name or, failing that, without regard to case and accents."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.all = tuple(columns)
        self._exact = {column.name: at for at, column in enumerate(columns)}
        loose: dict[str, list[int]] = {}
        for at, column in enumerate(columns):
            loose.setdefault(_loose(column.name), []).append(at)
        self._loose = {name: found[0] for name, found in loose.items() if len(found) == 1}

    def at(self, name: str) -> int:
        """The position of a column. Raises UnknownColumn, listing those that exist."""
        found = self._exact.get(name, self._loose.get(_loose(name)))
        if found is None:
            names = ", ".join(column.name for column in self.all[:_LISTED])
            french = f"colonne inconnue « {name} » ; colonnes : {names}"
            raise UnknownColumn(name, Text(french, en=f'unknown column "{name}"; columns: {names}'))
        return found

    @property
    def names(self) -> list[str]:
        """Their names, in the table's order."""
        return [column.name for column in self.all]

    def name(self, name: str) -> str:
        """The name as the table writes it. Raises UnknownColumn."""
        return self.all[self.at(name)].name

    def __contains__(self, name: str) -> bool:
        return name in self._exact or _loose(name) in self._loose

    def filtered(self, key: str) -> tuple[str, str]:
        """The column and the comparison of a filter: `code__gte` → `code`, `gte`; neither is verified."""
        if key in self or "__" not in key:
            return key, "eq"
        name, _, operator = key.rpartition("__")
        return name, operator

    def sql(self, expression: str) -> str:
        """A column name, or a template such as `{Code_postal} {Nom_commune|title}`, as an SQL expression of text."""
        if expression in self._exact or "{" not in expression:
            return f"c{self.at(expression)}"
        return " || ".join(self._part(part) for part in parts(expression)) or "''"

    def _part(self, part: str | Place) -> str:
        if isinstance(part, str):
            return "'" + part.replace("'", "''") + "'"
        sql = f"c{self.at(part.column)}"
        for change, count in part.changes:
            sql = f"{change}_text({sql}, {count})"
        return sql


@dataclass(frozen=True, slots=True)
class Place:
    """A column in a template, and the changes its text goes through: `{code|zeros:5|first:2}`."""

    column: str
    changes: tuple[tuple[str, int], ...]


def parts(template: str) -> list[str | Place]:
    """The template's literal texts and places, in order; `{{` and `}}` are braces. Raises UnknownColumn."""
    found: list[str | Place] = []
    end = 0
    for match in _PLACE.finditer(template):
        literal, end = template[end : match.start()], match.end()
        if literal:
            found.append(literal)
        if match[0] in ("{{", "}}"):
            found.append(match[0][0])
        elif match[1]:
            name, *changes = match[1].split("|")
            found.append(Place(name.strip(), tuple(_change(change.strip(), template) for change in changes)))
        else:
            raise UnknownColumn(template, Text(f"modèle mal formé : {template}", en=f"malformed template: {template}"))
    if template[end:]:
        found.append(template[end:])
    return found


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with values in its places, changes applied. Raises UnknownColumn for a place without value."""
    filled = ""
    for part in parts(template):
        if isinstance(part, str):
            filled += part
            continue
        if part.column not in values:
            sentence = Text(f"« {part.column} » n'est pas donné", en=f'"{part.column}" is not given')
            raise UnknownColumn(part.column, sentence)
        text = values[part.column]
        for change, count in part.changes:
            text = _CHANGES[change](text, count)
        filled += text
    return filled


def _change(change: str, template: str) -> tuple[str, int]:
    name, _, count = change.partition(":")
    counted = name in ("first", "last", "zeros")
    if name not in _CHANGES or counted != bool(re.fullmatch(r"\d{1,2}", count)):
        known = "upper, lower, title, trim, first:N, last:N, zeros:N"
        raise UnknownColumn(
            template,
            Text(
                f"transformation inconnue « {change} » dans « {template} » ; possibles : {known}",
                en=f'unknown change "{change}" in "{template}"; known: {known}',
            ),
        )
    return name, int(count or 0)


def _loose(name: str) -> str:
    return re.sub(r"\W+", "_", fold(name)).strip("_")


def words(q: str) -> list[str]:
    """What must be found in a row, every one of them: the folded words of `q`, or all of it when it holds no letter."""
    folded = fold(q)
    found = list(dict.fromkeys(re.findall(r"[^\W_]+", folded)))
    if len(found) > _MAX_WORDS:
        raise _refusal("q", f"compte au plus {_MAX_WORDS} mots", f"takes at most {_MAX_WORDS} words")
    return found or [folded.strip()] * bool(folded.strip())


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What an index is made for. `id` is a column or template; so are `index`; `search`: columns looked at by `q`."""

    options: TableOptions = field(default_factory=TableOptions)
    id: str = ""
    index: tuple[str, ...] = ()
    search: tuple[str, ...] = ()

    def pack(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "format": FORMAT,
            "options": self.options.model_dump(mode="json"),
            "id": self.id,
            "index": list(self.index),
            "search": list(self.search),
        }

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Plan:
        """The plan that `pack` wrote."""
        return cls(
            TableOptions.model_validate(packed["options"]),
            packed["id"],
            tuple(packed["index"]),
            tuple(packed["search"]),
        )


def build(source: Path, target: Path, plan: Plan, stamp: Mapping[str, Any]) -> Reading:
    """Reads `source` and writes `target`; no `target` when `reading.fault` is set. Synchronous, CPU-bound.

    A column of the plan that is not in the table is passed over: whoever made the plan verifies it (`Columns.sql`).
    """
    target.unlink(missing_ok=True)
    database = sqlite3.connect(target, isolation_level=None)
    try:
        _add_functions(database)
        database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; BEGIN")
        reading = read_table(source, plan.options, lambda columns, rows: _write_rows(database, columns, rows, plan))
        if reading.fault is None:
            _write_indexes(database, reading, plan)
        about = {"reading": reading.pack(), "stamp": dict(stamp)}
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
    names = Columns(columns)
    searched = [names.at(name) for name in plan.search if name in names] or range(len(columns))
    everything = len(searched) == len(columns)
    normal = fold.__wrapped__  # each text passes once: remembering it would only cost memory

    def values() -> Iterator[list[Any]]:
        for row in rows:
            looked_at = row if everything else [row[at] for at in searched]
            figured: list[Any] = [(int if at in whole else float)(row[at]) if row[at] else None for at in numbers]
            yield [*row, *figured, normal("\n".join(filter(None, looked_at)))]

    marks = ", ".join("?" * (len(columns) + len(numbers) + 1))
    database.executemany(f"INSERT INTO r VALUES (NULL, {marks})", values())  # noqa: S608 - question marks only


def _write_indexes(database: sqlite3.Connection, reading: Reading, plan: Plan) -> None:
    names = Columns(reading.columns)
    expressions: dict[str, None] = {}
    for expression in filter(None, (plan.id, *plan.index)):
        with suppress(UnknownColumn):
            expressions[names.sql(expression)] = None
    for count, expression in enumerate(expressions):
        database.execute(f"CREATE INDEX i{count} ON r({expression})")
    for at, column in enumerate(reading.columns):
        if column.type in ("integer", "decimal") and f"c{at}" in expressions:
            database.execute(f"CREATE INDEX n{at}_order ON r(n{at})")
    if plan.id:
        with suppress(UnknownColumn):
            _count_repeats(database, reading, plan.id, names.sql(plan.id))
    try:
        database.execute(
            "CREATE VIRTUAL TABLE f USING fts5(norm, content='r', content_rowid='rid', tokenize='trigram')"
        )
    except sqlite3.OperationalError:
        return  # an SQLite before 3.34 has no trigrams: rows are scanned, about fifty times slower but as right
    database.execute("INSERT INTO f(f) VALUES ('rebuild')")


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


def _add_functions(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA trusted_schema=ON")  # lets an index be made on a template; we wrote the file ourselves
    database.create_function("fold", 1, fold, deterministic=True)
    for name, change in _CHANGES.items():
        database.create_function(f"{name}_text", 2, change, deterministic=True)


# --- asking -----------------------------------------------------------------------------------------------------------


class Index:
    """One built file, open for reading. Not for two threads at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        status = path.stat()
        self.inode = (status.st_ino, status.st_mtime_ns)
        quoted = str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        self._database = sqlite3.connect(f"file:{quoted}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        try:
            _add_functions(self._database)
            about = dict(self._database.execute("SELECT name, value FROM about"))
            self.reading = Reading.unpack(json.loads(about["reading"]))
            self.stamp: dict[str, Any] = json.loads(about["stamp"])
            found = self._database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'f'").fetchone()
        except BaseException:
            self._database.close()
            raise
        # Closed at the latest when nobody holds the index any more: a connector may forget a replaced one.
        self._close = weakref.finalize(self, self._database.close)
        self.trigrams = bool(found[0])
        self.columns = Columns(self.reading.columns)

    def close(self) -> None:
        """Closes the file; the index cannot be used afterwards."""
        self._close()

    def select(
        self,
        outputs: Sequence[str],
        *,
        q: str | None = None,
        where: Where | None = None,
        equal: tuple[str, str] | None = None,
        order: Sequence[str] = (),
        distinct: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> Iterator[tuple[str, ...]]:
        """The value of each output (columns or templates) for each row kept, in the file's order unless `order` says.

        `equal`: (column or template, text) the row must hold. Raises UnknownColumn, and InvalidInput for a filter.
        """
        name = self.columns.sql
        selected = ", ".join(map(name, outputs)) or "''"
        source, conditions, bound = self._conditions(q, where, equal)
        kept = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if distinct:
            keys = ", ".join(map(name, distinct))
            kept = f" WHERE rid IN (SELECT min(rid) FROM {source}{kept} GROUP BY {keys})"  # noqa: S608 - columns by position
            source = "r"
        by = ", ".join([*map(self._by, order), "f.rowid" if source.startswith("f ") else "rid"])
        sql = f"SELECT {selected} FROM {source}{kept} ORDER BY {by} LIMIT ? OFFSET ?"  # noqa: S608 - columns by position
        yield from self._database.execute(sql, [*bound, -1 if limit is None else limit, offset])

    def _by(self, order: str) -> str:
        descending, name = order.startswith("-"), order.removeprefix("-")
        if name in self.columns:
            at = self.columns.at(name)
            column = self.columns.all[at]
            typed = column.type in ("integer", "decimal")
            sql, empty = (f"n{at}", f"n{at} IS NULL") if typed else (f"fold(c{at})", f"c{at} = ''")
        else:
            sql = f"fold({self.columns.sql(name)})"
            empty = f"{sql} = ''"
        return f"{empty}, {sql}{' DESC' if descending else ''}"

    def _conditions(
        self, q: str | None, where: Where | None, equal: tuple[str, str] | None
    ) -> tuple[str, list[str], list[Any]]:
        source = "r"
        conditions: list[str] = []
        bound: list[Any] = []
        wanted = words(q) if q else []
        long = [word for word in wanted if len(word) >= 3] if self.trigrams else []
        if long:
            source = "f CROSS JOIN r ON r.rid = f.rowid"
            conditions.append("f MATCH ?")
            bound.append(" ".join('"' + word.replace('"', '""') + '"' for word in long))
        for word in wanted:
            if word not in long:
                conditions.append("instr(r.norm, ?)")
                bound.append(word)
        if equal is not None:
            conditions.append(f"{self.columns.sql(equal[0])} = ?")
            bound.append(equal[1])
        for key, value in (where or {}).items():
            sql, values = self._condition(key, value)
            conditions.append(sql)
            bound.extend(values)
        return source, conditions, bound

    def _condition(self, key: str, value: object) -> tuple[str, list[Any]]:
        name, operator = self.columns.filtered(key)
        several = isinstance(value, (list, tuple, set, frozenset))
        if several and operator == "eq":
            operator = "in"
        if operator not in OPERATORS:
            french = f"comparaison inconnue « {operator} » ; possibles : {', '.join(OPERATORS)}"
            raise _refusal(key, french, f'unknown comparison "{operator}"; known: {", ".join(OPERATORS)}')
        try:
            at = self.columns.at(name)
        except UnknownColumn as error:
            raise _refusal(key, error.message, error.message.en) from None
        column = self.columns.all[at]
        number = column.type in ("integer", "decimal")
        sql, text = (f"n{at}" if number else f"c{at}"), _text(value)
        if operator == "empty":
            return f"c{at} {'<>' if text.casefold() in ('false', '0', 'no', 'non') else '='} ''", []
        if operator in ("contains", "startswith"):
            return f"instr(fold(c{at}), ?) {'> 0' if operator == 'contains' else '= 1'}", [fold(text)]
        if operator == "in":
            asked = [_text(item) for item in value] if several else text.split(",")  # type: ignore[attr-defined]
            return f"{sql} IN ({', '.join('?' * len(asked))})", [_typed(key, item.strip(), column) for item in asked]
        if text == "" and operator in ("eq", "ne"):
            return f"c{at} {_COMPARE[operator]} ''", []
        if operator == "ne":
            return f"{sql} IS NOT ?", [_typed(key, text, column)]
        return f"{sql} {_COMPARE[operator]} ? AND c{at} <> ''", [_typed(key, text, column)]


def _text(value: object) -> str:
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


def _refusal(key: str, french: str, english: str) -> InvalidInput:
    return InvalidInput(
        Text(f"« {key} » : {french}.", en=f'"{key}": {english}.'), fields={key: [Text(french, en=english)]}
    )


def _typed(key: str, text: str, column: Column) -> Any:
    """The value to compare with: text as it is, a number or date written as the column's type reads it."""
    if column.type == "text":
        return unicodedata.normalize("NFC", text)
    value = CONVERT[column.type](text)
    if value is None:
        french, english = TYPE_NAMES[column.type]
        raise _refusal(key, f"doit être {french}", f"must be {english}")
    return int(value) if column.type == "integer" else float(value) if column.type == "decimal" else value


# --- the process apart ------------------------------------------------------------------------------------------------

_MEMORY = 3 * 1024 * 1024 * 1024


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
