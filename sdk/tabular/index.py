"""A table as a read-only SQLite file: one row per line, one folded text per row for searching, and its reading.

    r(rid, c0, c1, …, n3, …, norm)   c: the cells; n: the number of a declared integer or decimal column, NULL if empty
    f(norm)                          FTS5, trigrams: which rows hold it, not where; the text is then looked for in them
    v(term, docs, lists)             every trigram, and in how many rows: what a question will cost; and the one or two
                                     letters they begin with, with the sum of their rows, and how many they are
    about(name, value)               the `Reading`, the stamp of the source, the columns searched, the shortest label,
                                     the orders in which `o0`, `o1` … are indexes of `r`

The file is written once, elsewhere, then renamed into place: a reader never sees it change. It is mapped, so that the
processes that read it share one copy in memory.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

from sdk.errors import InvalidInput, Text
from sdk.matching import fold
from sdk.model import Choice

from .templates import Columns, UnknownColumn, add_functions
from .types import CONVERT, TYPE_NAMES, Column, Reading
from .ways import STEPS, Listed, Measured, Question, TooLong, Way, Where, way_of

OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "startswith", "empty")
_COMPARE = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MAX_WORDS = 32
_MAPPED = 1 << 40  # bytes; SQLite takes what it was built for (2 GiB)
_PAGES = 512  # KiB a connection keeps of its own: the mapped file is the real cache
_SPARE = 4  # connections kept open for threads
_PAIRS = 40  # members of a JSON object that SQLite writes at once: a function takes a hundred arguments
_TRIGRAMS = 30  # of a word, that are measured: the rest of a longer one is looked for in the rows


def words(q: str) -> list[str]:
    """What must be found in a row, every one of them: the folded words of `q`, or all of it when it holds no letter."""
    folded = fold(q)
    found = list(dict.fromkeys(re.findall(r"[^\W_]+", folded)))
    if len(found) > _MAX_WORDS:
        raise _refusal("q", f"compte au plus {_MAX_WORDS} mots", f"takes at most {_MAX_WORDS} words")
    return found or [folded.strip()] * bool(folded.strip())


class Index:
    """One built file, open for reading. Not for two threads at the same time: `another` gives each its own."""

    def __init__(self, path: Path, *, hurried: bool = False) -> None:
        """`hurried`: what would hold the loop raises `TooLong`."""
        self.path = path
        self.inode = _inode(path)
        self._hurried = hurried
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
        self._shortest: dict[str, int] = json.loads(about["shortest"])
        self._orders = {tuple(order): f"o{at}" for at, order in enumerate(json.loads(about["orders"]))}

    def _read_selectivity(self) -> dict[str, int]:
        """Indexed expression → how many rows hold one of its values, on average."""
        indexed = "SELECT s.sql, t.stat FROM sqlite_master s JOIN sqlite_stat1 t ON t.idx = s.name WHERE s.sql <> ''"
        return {sql[sql.index("(") + 1 : -1]: int(stat.split()[1]) for sql, stat in self._database.execute(indexed)}

    def close(self) -> None:
        """Closes the file; the index cannot be used afterwards. What a thread is reading, it reads to its end."""
        self._close()

    def patient(self) -> Index:
        """The same index, on the same connection, that gives up nothing."""
        twin = copy(self)
        twin._hurried = False
        return twin

    @contextmanager
    def another(self) -> Iterator[Index]:
        """The same index for a thread. Raises OSError when its file has been replaced meanwhile."""
        database = self._connections.take()
        try:
            if _inode(self.path) != self.inode:
                raise FileNotFoundError(self.path)
            twin = self.patient()
            twin._database = database
            yield twin
        finally:
            self._connections.give_back(database)

    def select(self, outputs: Sequence[str], asked: Question) -> Iterable[tuple[str, ...]]:
        """The value of each output (columns or templates) for each row asked for.

        Raises UnknownColumn, InvalidInput for a filter, and TooLong, here or when the rows are read.
        """
        return self._found(", ".join(map(self.columns.sql, outputs)) or "''", asked)

    def may_be(self, text: str, label: str) -> bool:
        """Whether a row's `text` may be this label: none is shorter than the shortest."""
        return len(label) >= self._shortest.get(text, 0)

    def choices(self, id: str, text: str, asked: Question, *, extra: bool) -> Iterable[tuple[str, bytes]]:
        """For each row asked for its id and, as JSON, the choice it makes; empty when no row can be found. As `select`.

        SQLite writes the JSON: a row becomes one value instead of as many as it has columns.
        """
        return self._found(_choice(self.columns, id, text, extra), asked)

    def _found(self, selected: str, asked: Question) -> Iterable[Any]:
        held = self._held(asked)
        fewest = min(self._fewest(asked.where, asked.equal), self.reading.rows)
        known = Measured(asked, self.reading.rows, fewest, len(held.conditions), held.folded)
        if (asked.words or held.texts) and self.trigrams and known.is_long:
            known.lists = self._lists([*asked.words, *held.texts])
            if not all(known.lists.values()):
                return ()
        way = way_of(known, hurried=self._hurried, order=self._orders.get(tuple(asked.order), ""))
        return self._read(selected, asked, held, way)

    def _read(self, selected: str, asked: Question, held: _Held, way: Way) -> Iterator[Any]:
        sql, bound = self._sql(selected, asked, held, way)
        if not way.turns:
            yield from self._database.execute(sql, bound)
            return
        given, turns = 0, iter(range(way.turns))
        self._database.set_progress_handler(lambda: next(turns, None) is None, STEPS)
        try:
            for row in self._database.execute(sql, bound):
                yield row
                given += 1
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            if way.otherwise is None:
                raise TooLong from None
        finally:
            self._database.set_progress_handler(None, 0)
        # The same rows in the same order.
        yield from islice(self._read(selected, asked, held, way.otherwise), given, None)

    def _sql(self, selected: str, asked: Question, held: _Held, way: Way) -> tuple[str, list[Any]]:
        words = way.unsettled(asked.words)
        conditions = [*["instr(r.norm, ?)"] * len(words), *held.conditions]
        bound = [*words, *held.bound]
        source, position = f"r INDEXED BY {way.order}" if way.order else "r", "rid"
        if way.taken:
            source, position = "f CROSS JOIN r ON r.rid = f.rowid", "f.rowid"
            conditions.insert(0, "f MATCH ?")
            bound.insert(0, " AND ".join(map(self._match, way.taken)))
        kept = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if asked.distinct:
            keys = ", ".join(map(self.columns.sql, asked.distinct))
            kept = f" WHERE rid IN (SELECT min(rid) FROM {source}{kept} GROUP BY {keys})"  # noqa: S608 - columns by position
            source, position = "r", "rid"
        by = ", ".join([*(term for name in asked.order for term in self.columns.order(name)), position])
        sql = f"SELECT {selected} FROM {source}{kept} ORDER BY {by} LIMIT ? OFFSET ?"  # noqa: S608 - columns by position
        return sql, [*bound, -1 if asked.limit is None else asked.limit, asked.offset]

    def _held(self, asked: Question) -> _Held:
        """What rows are held to besides the words. Raises `InvalidInput` for a filter."""
        held = _Held()
        if asked.equal is not None:
            held.add(f"{self.columns.sql(asked.equal[0])} = ?", asked.equal[1])
        for key, value in asked.where.items():
            self._hold(held, key, value)
        return held

    def _lists(self, words: Sequence[str]) -> dict[str, list[Listed]]:
        """For each word the lists that hold all rows where it is; none when it is nowhere."""
        terms = {word: _terms(word) for word in words}
        asked = {term for several in terms.values() for term in several}
        marks = ", ".join("?" * len(asked))
        known: dict[str, tuple[int, int]] = {
            term: (min(rows, self.reading.rows), lists)
            for term, rows, lists in self._database.execute(
                f"SELECT term, docs, lists FROM v WHERE term IN ({marks})",  # noqa: S608 - question marks only
                [*asked],
            )
        }
        return {
            word: [Listed(word, term, *known[term]) for term in several] if known.keys() >= several else []
            for word, several in terms.items()
        }

    def _match(self, one: Listed) -> str:
        """What FTS5 must match: a trigram, or all that begin with a shorter word."""
        if len(one.term) == 3:
            return _phrase(one.term)
        beyond = one.term[:-1] + chr(min(ord(one.term[-1]) + 1, 0x10FFFF))
        beginning = "SELECT term FROM v WHERE term >= ? AND term < ? AND length(term) = 3"
        return f"({' OR '.join(_phrase(term) for (term,) in self._database.execute(beginning, [one.term, beyond]))})"

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

    def _hold(self, held: _Held, key: str, value: object) -> None:
        """Adds a filter to what the rows are held to."""
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
            held.add(f"c{at} {'<>' if text.casefold() in ('false', '0', 'no', 'non') else '='} ''")
        elif operator in ("contains", "startswith"):
            held.add(f"instr(fold(c{at}), ?) {'> 0' if operator == 'contains' else '= 1'}", fold(text))
            held.folded += 1
            if at in self._searched and len(fold(text)) >= 3:
                held.texts.append(fold(text))
        elif operator == "in":
            asked = _listed(value)
            held.add(
                f"{sql} IN ({', '.join('?' * len(asked))})", *(_typed(key, item.strip(), column) for item in asked)
            )
        elif text == "" and operator in ("eq", "ne"):
            held.add(f"c{at} {_COMPARE[operator]} ''")
        elif operator == "ne":
            held.add(f"{sql} IS NOT ?", _typed(key, text, column))
        else:
            held.add(f"{sql} {_COMPARE[operator]} ? AND c{at} <> ''", _typed(key, text, column))


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


@dataclass(slots=True)
class _Held:
    """What rows are held to besides the words: conditions, and texts that must be in what is searched."""

    conditions: list[str] = field(default_factory=list)
    bound: list[Any] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    folded: int = 0

    def add(self, condition: str, *bound: Any) -> None:
        self.conditions.append(condition)
        self.bound.extend(bound)


def _terms(word: str) -> set[str]:
    """The trigrams of a word, or itself when it is shorter."""
    return {word[at : at + 3] for at in range(min(max(1, len(word) - 2), _TRIGRAMS))}


@lru_cache(maxsize=256)
def _choice(columns: Columns, id: str, text: str, extra: bool) -> str:
    """SQL: a row's id, then its choice as JSON objects that together hold its members."""
    members = [("id", columns.sql(id)), ("text", columns.sql(text))]
    if extra:
        members += [(name, f"c{at}") for at, name in enumerate(columns.names) if name not in Choice.model_fields]
    pairs = ["'{}', {}".format(name.replace("'", "''"), sql) for name, sql in members]
    objects = (", ".join(pairs[at : at + _PAIRS]) for at in range(0, len(pairs), _PAIRS))
    return ", ".join([columns.sql(id), *(f"CAST(json_object({one}) AS BLOB)" for one in objects)])


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
