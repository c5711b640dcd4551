"""By which way the rows of a question are found, and what that costs: decided from figures, before any row is read.

The rows that hold a trigram are a list of the index. Lists are intersected where that spares more than it costs; then
words are looked for in the rows that are left. Every way finds the same rows: a wrong estimate is only slow. On the
loop a way that may be long is tried for a few turns of SQLite's machine, and given up for a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from operator import attrgetter
from typing import NamedTuple

Where = Mapping[str, object]

# What a question costs, in µs.
_OPEN = 10.0  # a list, opened
_BEGUN = 30.0  # what comes before the first row of a list
_WALK = 0.012  # an entry of a list
_LOOK = 0.3  # a row looked at
_READ = 0.15  # a row looked at, in the order of the file
_STEP = 1.0  # a row looked at, in another order
_FOLD = 2.0  # a cell of it folded
_GIVE = 1.5  # a row given
_SAME = 0.67  # of the rows that hold one trigram of a word, those that hold another
_BUDGET = 500.0  # a question, on the loop

STEPS = 1_000  # of SQLite's machine: a turn
_TURN = 200.0  # the most it takes
_TURNS = 8  # before what was thought short is given up on the loop
_FEW = 1_000  # rows of a table below which no question is long
_JOINED = 400  # lists above which a letter is so common that reading the rows finds it sooner
_OPENED = 8  # lists above which the first rows are better looked for in the rows themselves


class TooLong(Exception):
    """The question would hold the loop: to be asked in a thread."""


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


class Listed(NamedTuple):
    """The rows where a trigram of `word` is; for a word of one or two letters, any of the `opened` trigrams that begin
    with it."""

    word: str
    term: str
    rows: int
    opened: int

    @property
    def cost(self) -> float:
        """Of walking it from end to end."""
        return self.opened * _OPEN + self.rows * _WALK


_rows = attrgetter("rows")


@dataclass(slots=True)
class Measured:
    """A question and the figures of the table it is put to.

    `rows` of the table; the `fewest` that an indexed column leaves; `conditions` besides the words, for which `folded`
    cells of a row are folded; the lists of each word, none where they need not be known.
    """

    asked: Question
    rows: int
    fewest: float
    conditions: int
    folded: int
    lists: dict[str, list[Listed]] = field(default_factory=dict)

    @property
    def look(self) -> float:
        """What a row costs that is looked at."""
        return _LOOK + _FOLD * (self.folded + len(self.asked.order))

    @property
    def is_long(self) -> bool:
        """Whether looking at every row that may be right costs more than knowing the lists."""
        return self.fewest * self.look > 2 * _OPEN

    @property
    def wanted(self) -> float:
        """How many rows will be read."""
        limit = inf if self.asked.limit is None else self.asked.limit + self.asked.offset
        return min(limit, inf if self.asked.early is None else self.asked.early)

    @property
    def enough(self) -> float | None:
        """How many rows need to be found; None for all."""
        return None if self.asked.order or self.asked.distinct or self.wanted == inf else self.wanted

    @property
    def read(self) -> float:
        """How many rows are read one after the other until those wanted are met, as if words were independent."""
        share = prod([min([one.rows for one in several]) / self.rows for several in self.lists.values()])
        return min(self.rows, self.wanted / (share * self.fewest / self.rows))

    @property
    def common(self) -> bool:
        """Whether its words are met so often that reading the first rows costs less than opening a list."""
        if not self.lists or self.conditions:
            return False
        opened = min([one.opened for several in self.lists.values() for one in several])
        return self.read * _READ <= _BEGUN + _OPEN * opened


@dataclass(slots=True)
class Way:
    """The rows that are in all lists `taken` (all rows where there is none), read along the index `order` where it is
    named. After so many `turns` (0: any) this is given up, for the way `otherwise` or for a thread."""

    taken: Sequence[Listed] = ()
    turns: int = 0
    order: str = ""
    otherwise: Way | None = None

    def unsettled(self, words: Sequence[str]) -> list[str]:
        """The words that still have to be looked for in the rows: a list says where a trigram is, not a longer word."""
        settled = {one.word for one in self.taken if len(one.word) <= 3}
        return [word for word in words if word not in settled]


def way_of(known: Measured, *, hurried: bool, order: str = "") -> Way:
    """The cheapest way. `order`: the index of the order asked for, if there is one. Raises TooLong, when `hurried`."""
    asked, enough = known.asked, known.enough
    soon = hurried and enough is not None and enough * _GIVE <= _BUDGET
    if soon and known.common:
        return Way(turns=_TURNS)
    taken, left, cost = _worth(known)
    way = Way(taken)
    if enough is not None and len(taken) <= 1 and not known.conditions and not way.unsettled(asked.words):
        left, cost = min(left, enough), sum(one.opened * _OPEN for one in taken)  # the first rows are the answer
    cost += left * known.look + min(left, enough or left) * _GIVE
    if cost <= _BUDGET or known.rows <= _FEW:
        return way
    if order and not asked.distinct:
        return _along(order, known, way, cost, hurried)
    if not hurried:
        return way
    if not soon:
        raise TooLong
    # The first rows of the rarest word are often soon found, unless something else refuses them.
    several = [one for each in known.lists.values() for one in each if one.opened <= _OPENED]
    rarest = min(several, key=_rows, default=None)
    return Way([rarest] if rarest and rarest.rows < known.fewest else [], _TURNS)


def _along(order: str, known: Measured, sorting: Way, cost: float, hurried: bool) -> Way:
    """Along the index of an order, where that costs less than finding all rows and sorting them."""
    walk = known.read * _STEP
    if hurried:
        if walk > _BUDGET / 4:
            raise TooLong
        return Way(turns=_TURNS // 4, order=order)  # fewer: these rows are all over the file
    return sorting if walk >= cost else Way((), int(cost / _TURN) + 1, order, sorting)


def _worth(known: Measured) -> tuple[list[Listed], float, float]:
    """The lists worth intersecting, the rows they leave to be looked at, what walking them costs.

    A list is worth it when it spares more than it costs; that of another word spares most.
    """
    look = known.look
    each = [one for several in known.lists.values() for one in several if one.opened <= _JOINED]
    first = min(each, key=lambda one: one.cost + one.rows * look, default=None)
    if first is None or first.cost + first.rows * look >= known.fewest * look:
        return [], known.fewest, 0.0
    taken, left, cost = [first], float(first.rows), first.cost
    for one in sorted(each, key=lambda one: (one.word == first.word, one.rows)):
        if one is first:
            continue
        alike = any(other.word == one.word for other in taken)
        share = max(one.rows / known.rows, _SAME if alike else 0.0)
        if left * (1 - share) * look > one.cost:
            taken.append(one)
            left, cost = left * share, cost + one.cost
    return taken, left, cost
