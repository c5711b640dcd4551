"""A table as a read-only SQLite file: one row per line, one folded text per row for searching, and its reading.

    r(rid, c0, c1, …, n3, …, norm)   c: the cells; n: the number of a declared integer or decimal column, NULL if empty
    f(norm)                          FTS5, trigrams: any substring of three characters or more
    v(term, docs)                    every trigram, and in how many rows: what a question will cost, and the trigrams
                                     that begin with a shorter word
    about(name, value)               the `Reading`, the stamp of the source, the columns searched

The file is written once, elsewhere, then renamed into place: a reader never sees it change. It is mapped, so that the
processes that read it share one copy in memory.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from sdk.errors import InvalidInput, Text
from sdk.matching import fold

from .templates import Columns, UnknownColumn, add_functions
from .types import CONVERT, TYPE_NAMES, Column, Reading

Where = Mapping[str, object]
OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "startswith", "empty")
_MATCHING = "r.rid IN (SELECT rowid FROM f WHERE f MATCH ?)"
_COMPARE = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MAX_WORDS = 32
_MAPPED = 1 << 40  # bytes; SQLite takes what it was built for (2 GiB)
_PAGES = 512  # KiB a connection keeps of its own: the mapped file is the real cache
_SPARE = 4  # connections kept open for threads
_CHEAP = 20  # looking for a word in one row costs as much as following so many entries of the word's own list
_FEW = 100  # rows below which nothing is worth measuring
_NARROW = 3_000  # rows looked at in some three milliseconds
_SCANNED = 400  # trigrams above which a letter is so common that reading the rows finds it sooner


def words(q: str) -> list[str]:
    """What must be found in a row, every one of them: the folded words of `q`, or all of it when it holds no letter."""
    folded = fold(q)
    found = list(dict.fromkeys(re.findall(r"[^\W_]+", folded)))
    if len(found) > _MAX_WORDS:
        raise _refusal("q", f"compte au plus {_MAX_WORDS} mots", f"takes at most {_MAX_WORDS} words")
    return found or [folded.strip()] * bool(folded.strip())


class Index:
    """One built file, open for reading. Not for two threads at the same time: `another` gives each its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inode = _inode(path)
        self._connections = _Connections(path)
        # Closed at the latest when nobody holds the index any more: a connector may forget a replaced one.
        self._database = self._connections.take()
        self._close = weakref.finalize(self, _closed, self._connections, self._database)
        about = dict(self._database.execute("SELECT name, value FROM about"))
        self.reading = Reading.unpack(json.loads(about["reading"]))
        self.stamp: dict[str, Any] = json.loads(about["stamp"])
        self._searched = frozenset(json.loads(about["searched"]))
        found = self._database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'f'").fetchone()
        self.trigrams = bool(found[0])
        self.columns = Columns(self.reading.columns)
        self._rows_each = self._read_selectivity()
        self._everywhere = self.reading.rows // 4  # rows of a word met so often that reading rows finds it at once

    def _read_selectivity(self) -> dict[str, int]:
        """Indexed expression → how many rows hold one of its values, on average."""
        indexed = "SELECT s.sql, t.stat FROM sqlite_master s JOIN sqlite_stat1 t ON t.idx = s.name WHERE s.sql <> ''"
        return {sql[sql.index("(") + 1 : -1]: int(stat.split()[1]) for sql, stat in self._database.execute(indexed)}

    def close(self) -> None:
        """Closes the file; the index cannot be used afterwards. What a thread is reading, it reads to its end."""
        self._close()

    @contextmanager
    def another(self) -> Iterator[Index]:
        """The same index for a thread. Raises OSError when its file has been replaced meanwhile."""
        database = self._connections.take()
        try:
            if _inode(self.path) != self.inode:
                raise FileNotFoundError(self.path)
            twin = copy(self)
            twin._database = database
            yield twin
        finally:
            self._connections.give_back(database)

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

    def is_quick(self, q: str | None, where: Where | None, equal: tuple[str, str] | None, limit: int | None) -> bool:
        """Whether the rows are found in a few milliseconds at most, so that asking needs no thread."""
        if self._fewest(where, equal) <= _NARROW:
            return True
        if not q or not self.trigrams:
            return False
        wanted = self._measured(words(q))
        if not wanted or not wanted[0].match:
            return False
        if wanted[0].rows <= _NARROW:
            return True
        # The first rows of a list are soon read, unless another list, or a filter, may refuse most of them.
        alone = all(word.rows >= self._everywhere for word in wanted[1:]) and not where and equal is None
        return alone and limit is not None and limit <= 100

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
        looked_for = words(q) if q else []
        fewest = self._fewest(where, equal)
        if looked_for and self.trigrams and fewest > _FEW:
            wanted = self._measured(looked_for)
            if not wanted[0].rows:
                return source, ["0"], []
            if wanted[0].match and wanted[0].rows < fewest:
                # The rarest word chooses the rows; a far commoner one is looked for in them, not in its long list.
                most = min(_CHEAP * wanted[0].rows, self._everywhere)
                matched = [word for word in wanted if word is wanted[0] or (word.match and word.rows <= most)]
                looked_for = [word.text for word in wanted if word not in matched]
                source = "f CROSS JOIN r ON r.rid = f.rowid"
                conditions.append("f MATCH ?")
                bound.append(" AND ".join(word.match for word in matched))
        for text in looked_for:
            conditions.append("instr(r.norm, ?)")
            bound.append(text)
        if equal is not None:
            conditions.append(f"{self.columns.sql(equal[0])} = ?")
            bound.append(equal[1])
        for key, value in (where or {}).items():
            sql, values = self._condition(key, value)
            conditions.append(sql)
            bound.extend(values)
        return source, conditions, bound

    def _measured(self, wanted: Sequence[str]) -> list[_Word]:
        """The words, the one found in the fewest rows first."""
        return sorted(map(self._measure, wanted), key=lambda word: word.rows)

    def _measure(self, word: str) -> _Word:
        if len(word) >= 3:
            terms = {word[at : at + 3] for at in range(len(word) - 2)}
            marks = ", ".join("?" * len(terms))
            known, rows = self._database.execute(
                f"SELECT count(*), min(docs) FROM v WHERE term IN ({marks})",  # noqa: S608 - question marks only
                [*terms],
            ).fetchone()
            return _Word(word, rows if known == len(terms) else 0, _phrase(word))
        beyond = word[:-1] + chr(min(ord(word[-1]) + 1, 0x10FFFF))
        beginning = "SELECT term, docs FROM v WHERE term >= ? AND term < ?"
        found = self._database.execute(beginning, [word, beyond]).fetchall()
        match = f"({' OR '.join(_phrase(term) for term, _ in found)})" if len(found) <= _SCANNED else ""
        return _Word(word, min(sum(docs for _, docs in found), self.reading.rows), match)

    def _fewest(self, where: Where | None, equal: tuple[str, str] | None) -> float:
        """How many rows are left by the indexed column that leaves the fewest, on average."""
        left = [] if equal is None else [self._rows_each.get(self.columns.sql(equal[0]), inf)]
        for key, value in (where or {}).items():
            name, operator = self.columns.filtered(key)
            if operator in ("eq", "in") and name in self.columns and value not in ("", None):
                each = self._rows_each.get(self._compared(self.columns.at(name)), inf)
                left.append(each * (1 if operator == "eq" and isinstance(value, str) else len(_listed(value))))
        return min(left, default=inf)

    def _compared(self, at: int) -> str:
        """The SQL column that a filter compares: the number where there is one."""
        return f"n{at}" if self.columns.all[at].type in ("integer", "decimal") else f"c{at}"

    def _condition(self, key: str, value: object) -> tuple[str, list[Any]]:
        name, operator = self.columns.filtered(key)
        if isinstance(value, _SEVERAL) and operator == "eq":
            operator = "in"
        if operator not in OPERATORS:
            french = f"comparaison inconnue « {operator} » ; possibles : {', '.join(OPERATORS)}"
            raise _refusal(key, french, f'unknown comparison "{operator}"; known: {", ".join(OPERATORS)}')
        try:
            at = self.columns.at(name)
        except UnknownColumn as error:
            raise _refusal(key, error.message, error.message.en) from None
        column = self.columns.all[at]
        sql, text = self._compared(at), _text(value)
        if operator == "empty":
            return f"c{at} {'<>' if text.casefold() in ('false', '0', 'no', 'non') else '='} ''", []
        if operator in ("contains", "startswith"):
            found = f"instr(fold(c{at}), ?) {'> 0' if operator == 'contains' else '= 1'}"
            if self.trigrams and at in self._searched and len(fold(text)) >= 3:
                return f"{_MATCHING} AND {found}", [_phrase(fold(text)), fold(text)]
            return found, [fold(text)]
        if operator == "in":
            asked = _listed(value)
            return f"{sql} IN ({', '.join('?' * len(asked))})", [_typed(key, item.strip(), column) for item in asked]
        if text == "" and operator in ("eq", "ne"):
            return f"c{at} {_COMPARE[operator]} ''", []
        if operator == "ne":
            return f"{sql} IS NOT ?", [_typed(key, text, column)]
        return f"{sql} {_COMPARE[operator]} ? AND c{at} <> ''", [_typed(key, text, column)]


class _Connections:
    """The open connections of one file: one per thread that asks, a few kept for the next ones."""

    def __init__(self, path: Path) -> None:
        quoted = str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        self._address = f"file:{quoted}?mode=ro&immutable=1"
        self._spare: list[sqlite3.Connection] = []
        self._closed = False

    def take(self) -> sqlite3.Connection:
        try:
            return self._spare.pop()
        except IndexError:
            pass
        database = sqlite3.connect(self._address, uri=True, check_same_thread=False, isolation_level=None)
        try:
            add_functions(database)
            database.execute(f"PRAGMA mmap_size={_MAPPED}")
            database.execute(f"PRAGMA cache_size=-{_PAGES}")
        except BaseException:
            database.close()
            raise
        return database

    def give_back(self, database: sqlite3.Connection) -> None:
        if self._closed or len(self._spare) >= _SPARE:
            database.close()
        else:
            self._spare.append(database)

    def close(self) -> None:
        self._closed = True
        while self._spare:
            self._spare.pop().close()


def _closed(connections: _Connections, database: sqlite3.Connection) -> None:
    connections.close()
    database.close()


@dataclass(frozen=True, slots=True)
class _Word:
    """A word looked for, the rows that may hold it at most, and what FTS5 must match (empty: read the rows)."""

    text: str
    rows: int
    match: str


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _inode(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


_SEVERAL = (list, tuple, set, frozenset)


def _listed(value: object) -> list[str]:
    return [_text(item) for item in value] if isinstance(value, _SEVERAL) else _text(value).split(",")


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
