"""The rows of what callers are still to be told: added with the change they tell of, kept until accepted or given up.

PENDING → PENDING              not accepted yet
        → ACCEPTED             the body is erased
        → DEAD                 given up: an operator looks
DEAD    → PENDING              by an operator, audited
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, and_, exists, func, literal, select, update

from . import statements
from .statements import insert
from .tables import callbacks, deliveries

__all__ = ["FIRST", "Told", "claim", "counts", "first_due", "sent", "tell"]

table = callbacks.c
State = Literal["PENDING", "ACCEPTED", "DEAD"]


@dataclass(frozen=True, slots=True)
class Told:
    """A message to a caller: its id, by which the receiver drops a repetition, and its body, sealed for that row."""

    id: str
    body: bytes


def tell(connection: Connection, delivery: str, told: Told, now: float) -> None:
    """Adds the message for the caller of `delivery`, unless that caller is not to be told anything."""
    of = deliveries.c
    before = select(func.coalesce(func.max(table.number), 0)).where(table.delivery == delivery).scalar_subquery()
    one = select(
        literal(told.id),
        of.id,
        before + 1,
        of.client,
        of.instance,
        literal("PENDING"),
        literal(0),
        literal(now),
        literal(now),
        literal(now),
        literal(""),
        literal(told.body),
    ).where(of.id == delivery, of.caller.is_not(None))
    made = insert(connection, callbacks).from_select([column.name for column in table], one).on_conflict_do_nothing()
    connection.execute(made)


_before = callbacks.alias().c
FIRST = and_(
    table.state == "PENDING",
    ~exists().where(_before.delivery == table.delivery, _before.state == "PENDING", _before.number < table.number),
)
"""Still to be told, and nothing of its delivery is to be told before."""


def claim(
    connection: Connection, now: float, hold: float, most: int, each: int, busy: Collection[str] = ()
) -> Sequence[dict[str, Any]]:
    """What is to be told now, as `statements.claim`; of one delivery only the first that is still to be told."""
    return statements.claim(connection, callbacks, now, hold, most, FIRST, each=each, busy=busy, by="client")


def first_due(connection: Connection) -> float | None:
    """When the first of them is to be told."""
    return statements.first_due(connection, callbacks, FIRST)


def sent(
    connection: Connection, row: dict[str, Any], now: float, state: State, next_at: float | None, reason: str
) -> bool:
    """Writes how the sending of the claimed `row` ended; False when somebody else was first."""
    values: dict[str, Any] = {"state": state, "next_at": next_at, "tries": row["tries"] + 1, "updated": now}
    values["reason"] = reason
    if state == "ACCEPTED":
        values["body"] = None
    mine = update(callbacks).where(table.id == row["id"], table.state == "PENDING", table.tries == row["tries"])
    return int(connection.execute(mine.values(**values)).rowcount) == 1


def counts(connection: Connection, delivery: str) -> dict[str, int]:
    """How many messages about a delivery, by state."""
    found = select(table.state, func.count()).where(table.delivery == delivery).group_by(table.state)
    return {state: int(count) for state, count in connection.execute(found)}
