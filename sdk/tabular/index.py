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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from math import inf, prod
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from sdk.errors import InvalidInput, Text
from sdk.matching import fold
from sdk.model import Choice

from .templates import Columns, UnknownColumn, add_functions
from .types import CONVERT, TYPE_NAMES, Column, Reading

Where = Mapping[str, object]
OPERATORS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "startswith", "empty")
_COMPARE = {"eq": "=", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MAX_WORDS = 32
_MAPPED = 1 << 40  # bytes; SQLite takes what it was built for (2 GiB)
_PAGES = 512  # KiB a connection keeps of its own: the mapped file is the real cache
_SPARE = 4  # connections kept open for threads
_PAIRS = 40  # members of a JSON object that SQLite writes at once: a function takes a hundred arguments
_LISTED = "f CROSS JOIN r ON r.rid = f.rowid"
_TRIGRAMS = 30  # of a word, that are measured: the rest of a longer one is looked for in the rows
_SCANNED = 400  # trigrams above which a letter is so common that reading the rows finds it sooner
_OPENED = 8  # lists, above which the first rows are better looked for in the rows themselves

# What a question costs, in µs: it only chooses between ways that find the same rows.
_OPEN = 10.0  # a list of rows, opened
_WALK = 0.012  # an entry of a list
_LOOK = 0.3  # a row looked at
_READ = 0.15  # a row looked at, in the order of the file
_STEP = 1.0  # a row looked at, in another order
_BEGUN = 30.0  # what comes before the first row of a list
_FOLD = 2.0  # a cell of it folded
_GIVE = 1.5  # a row given
_SAME = 0.67  # of the rows that hold one trigram of a word, those that hold another
_BUDGET = 500.0  # a question, on the loop
_STEPS = 1_000  # of SQLite's machine, in a turn
_TURN = 200.0  # the most they take
_TURNS = 8  # before a question that was thought short is given up on the loop
_FEW = 1_000  # rows of a table below which no question is long


class TooLong(Exception):
    """The question would hold the loop: to be asked in a thread (`Index.another`)."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows are asked for, and in which order: the file's, unless `order` says.

    `words`: each must be in the row (`words(q)`). `equal`: a column or template, and the text the row must have there.
    `early`: whoever asks stops reading after about so many rows.
    """

    words: Sequence[str] = ()
    where: Where = field(default_factory=dict)
    equal: tuple[str, str] | None = None
    order: Sequence[str] = ()
    distinct: Sequence[str] = ()
    limit: int | None = None
    offset: int = 0
    early: int | None = None


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
        way = self._way(asked)
        return () if way is None else self._read(selected, asked, way)

    def _sql(self, selected: str, asked: Question, way: _Way) -> str:
        kept = f" WHERE {' AND '.join(way.conditions)}" if way.conditions else ""
        source = way.source
        if asked.distinct:
            keys = ", ".join(map(self.columns.sql, asked.distinct))
            kept = f" WHERE rid IN (SELECT min(rid) FROM {source}{kept} GROUP BY {keys})"  # noqa: S608 - columns by position
            source = "r"
        terms = [term for name in asked.order for term in self.columns.order(name)]
        by = ", ".join([*terms, "f.rowid" if source is _LISTED else "rid"])
        return f"SELECT {selected} FROM {source}{kept} ORDER BY {by} LIMIT ? OFFSET ?"  # noqa: S608 - columns by position

    def _read(self, selected: str, asked: Question, way: _Way) -> Iterator[Any]:
        sql = self._sql(selected, asked, way)
        bound = [*way.bound, -1 if asked.limit is None else asked.limit, asked.offset]
        if not way.turns:
            yield from self._database.execute(sql, bound)
            return
        given, turns = 0, iter(range(way.turns))
        self._database.set_progress_handler(lambda: next(turns, None) is None, _STEPS)
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
        yield from islice(self._read(selected, asked, way.otherwise), given, None)  # the same rows in the same order

    def _way(self, asked: Question) -> _Way | None:
        """How the rows are found; None when there cannot be any. Raises TooLong."""
        held = _Held()
        if asked.equal is not None:
            held.add(f"{self.columns.sql(asked.equal[0])} = ?", asked.equal[1])
        for key, value in asked.where.items():
            self._hold(held, key, value)
        look = _LOOK + _FOLD * (held.folded + len(asked.order))
        fewest = min(self._fewest(asked.where, asked.equal), self.reading.rows)
        wanted = _least(asked.early, asked.limit, asked.offset)
        enough = None if asked.order or asked.distinct else wanted
        soon = enough is not None and self._hurried and enough * _GIVE <= _BUDGET
        lists: dict[str, list[_List]] = {}
        if (asked.words or held.texts) and self.trigrams and fewest * look > 2 * _OPEN:
            lists = self._lists([*asked.words, *held.texts])
            if not all(lists.values()):
                return None
            if soon and enough and not held.conditions and self._common(lists, enough):
                return self._by_lists([], asked.words, held, turns=_TURNS)
        taken, left, cost = self._taken(lists, fewest, look)
        way = self._by_lists(taken, asked.words, held)
        if enough is not None and (not way.conditions or (len(taken) == 1 and len(way.conditions) == 1)):
            cost = sum(one.opened * _OPEN for one in taken)  # nothing is left to verify: the first rows are the answer
            left = min(left, enough)
        cost += left * look + min(left, enough or left) * _GIVE
        if cost <= _BUDGET or self.reading.rows <= _FEW:
            return way
        if not asked.distinct and (walked := self._orders.get(tuple(asked.order))):
            return self._walked(walked, lists, fewest, wanted, held, asked, way, cost)
        if not self._hurried:
            return way
        if not soon:
            raise TooLong
        # The first rows of the rarest word are often soon found, unless something else refuses them.
        several = [one for each in lists.values() for one in each if one.opened <= _OPENED]
        rarest = min(several, key=_rows, default=None)
        taken = [rarest] if rarest and rarest.rows < fewest else []
        return self._by_lists(taken, asked.words, held, turns=_TURNS)

    def _walked(
        self,
        index: str,
        lists: Mapping[str, Sequence[_List]],
        fewest: float,
        wanted: int | None,
        held: _Held,
        asked: Question,
        sorting: _Way,
        cost: float,
    ) -> _Way:
        """By the index of an order, where that costs less than to find all rows and to sort them. Raises TooLong."""
        share = self._share(lists) * fewest / max(1, self.reading.rows)
        walk = min(self.reading.rows, wanted / share if wanted is not None else inf) * _STEP
        if self._hurried and walk > _BUDGET / 4:
            raise TooLong
        if walk >= cost:
            return sorting
        turns = _TURNS // 4 if self._hurried else int(cost / _TURN) + 1  # rows are read all over the file
        way = self._by_lists([], asked.words, held, turns=turns)
        way.source = f"r INDEXED BY {index}"
        way.otherwise = None if self._hurried else sorting
        return way

    def _by_lists(self, taken: Sequence[_List], words: Sequence[str], held: _Held, *, turns: int = 0) -> _Way:
        """The rows that are in all of these lists, held to the words they do not settle."""
        way = _Way(_LISTED if taken else "r", [], [], turns)
        if taken:
            way.conditions.append("f MATCH ?")
            way.bound.append(" AND ".join(map(self._match, taken)))
        settled = {one.word for one in taken if len(one.word) <= 3}
        for word in words:
            if word not in settled:
                way.conditions.append("instr(r.norm, ?)")
                way.bound.append(word)
        way.conditions += held.conditions
        way.bound += held.bound
        return way

    def _share(self, lists: Mapping[str, Sequence[_List]]) -> float:
        """Of all rows, those that hold every word, as if the words knew nothing of each other."""
        return prod(min(one.rows for one in several) / self.reading.rows for several in lists.values())

    def _common(self, lists: Mapping[str, Sequence[_List]], enough: int) -> bool:
        """Whether the words are met so often that reading the first rows costs less than opening a list."""
        opened = min(one.opened for several in lists.values() for one in several)
        return enough / self._share(lists) * _READ <= _BEGUN + _OPEN * opened

    def _taken(
        self, lists: Mapping[str, Sequence[_List]], rows: float, look: float
    ) -> tuple[list[_List], float, float]:
        """The lists worth intersecting, the rows they leave to be looked at, what walking them costs.

        A list is worth it when it spares more than it costs; that of another word spares most.
        """
        each = [one for several in lists.values() for one in several if one.opened <= _SCANNED]
        first = min(each, key=lambda one: one.cost + one.rows * look, default=None)
        if first is None or first.cost + first.rows * look >= rows * look:
            return [], rows, 0.0
        taken, left, cost = [first], float(first.rows), first.cost
        for one in sorted(each, key=lambda one: (one.word == first.word, one.rows)):
            if one is first:
                continue
            known = any(other.word == one.word for other in taken)
            share = max(one.rows / self.reading.rows, _SAME if known else 0.0)
            if left * (1 - share) * look > one.cost:
                taken.append(one)
                left, cost = left * share, cost + one.cost
        return taken, left, cost

    def _lists(self, words: Sequence[str]) -> dict[str, list[_List]]:
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
            word: [_List(word, term, *known[term]) for term in several] if known.keys() >= several else []
            for word, several in terms.items()
        }

    def _match(self, one: _List) -> str:
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


_rows = attrgetter("rows")


class _List(NamedTuple):
    """The rows where a trigram of `word` is; for a word of one or two letters, any of the `opened` trigrams that begin
    with it."""

    word: str
    term: str
    rows: int
    opened: int

    @property
    def cost(self) -> float:
        return self.opened * _OPEN + self.rows * _WALK


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


@dataclass(slots=True)
class _Way:
    """Where rows are taken from, and what they are held to there. After so many `turns` (0: any) this is given up, for
    the way `otherwise` or for a thread."""

    source: str
    conditions: list[str]
    bound: list[Any]
    turns: int
    otherwise: _Way | None = None


def _terms(word: str) -> set[str]:
    """The trigrams of a word, or itself when it is shorter."""
    return {word[at : at + 3] for at in range(min(max(1, len(word) - 2), _TRIGRAMS))}


def _least(early: int | None, limit: int | None, offset: int) -> int | None:
    known = [one for one in (early, None if limit is None else limit + offset) if one is not None]
    return min(known, default=None)


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
