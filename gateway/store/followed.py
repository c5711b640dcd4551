"""The rows of what was created and is followed: made with their delivery's end, changed by one compare-and-set each.

open → open                a look saw no change, or another status
     → ended               the publisher says that nothing more will happen; `void` when it had no effect
     → left                its cadence is over: looked at no more by itself
left, void → any           a trigger: a late change is told, never ignored
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, case, false, func, literal, not_, null, or_, select, update

from . import statements
from .outbox import Told, tell
from .statements import insert
from .tables import deliveries, followed

__all__ = ["Seen", "claim", "first_due", "follow", "looked", "made", "of", "trigger"]

table = followed.c
CLOSED = and_(table.final, not_(table.void))
"""Nothing changes any more."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look saw; `progress` is sealed."""

    status: str
    final: bool
    void: bool
    progress: bytes


def follow(connection: Connection, now: float, delivery: str | None = None) -> None:
    """Begins to follow what a delivery created, where its endpoint declares it; without `delivery`, whatever a process
    of the version before left without.
    """
    of = deliveries.c
    nothing = literal(0)
    one = select(
        of.id,
        of.instance,
        of.endpoint,
        of.subject,
        of.upstream_id,
        literal(""),
        false(),
        false(),
        nothing,
        nothing,
        nothing,
        literal(now) + of.follow_after,
        null(),
        literal(now),
        literal(now),
        of.expected,
        null(),
    ).where(of.follow_after.is_not(None), of.upstream_id != "", of.state == "DONE")
    one = one.where(of.id == delivery if delivery is not None else of.id.not_in(select(table.delivery)))
    made = insert(connection, followed).from_select([column.name for column in table], one).on_conflict_do_nothing()
    connection.execute(made)


def of(connection: Connection, delivery: str) -> dict[str, Any] | None:
    """The row of what a delivery created."""
    found = connection.execute(select(followed).where(table.delivery == delivery)).mappings().first()
    return dict(found) if found else None


def made(connection: Connection, subject: str) -> Sequence[RowMapping]:
    """What was made for a subject, oldest first."""
    about = select(followed).where(table.subject == subject).order_by(table.created, table.delivery)
    return connection.execute(about).mappings().all()


def claim(
    connection: Connection, now: float, hold: float, most: int, each: int, busy: Collection[str] = ()
) -> Sequence[dict[str, Any]]:
    """What is to be looked at now, as `statements.claim`; `turn` is the claimer's, and a look counts from its start."""
    also: dict[str, Any] = {"turn": table.turn + 1, "looked": now}
    rows = statements.claim(connection, followed, now, hold, most, each=each, busy=busy, **also)
    return [{**row, "turn": row["turn"] + 1} for row in rows]


def first_due(connection: Connection) -> float | None:
    """When the first of them is to be looked at."""
    return statements.first_due(connection, followed)


def looked(
    connection: Connection, row: dict[str, Any], now: float, next_at: float | None, seen: Seen | None, told: Told | None
) -> bool:
    """Writes what a look at the claimed `row` saw, None when it saw nothing. True when this is the one that changed it:
    then, and only then, `told` is added for the caller.

    A trigger that came since keeps its word about the next look.
    """
    mine = table.delivery == row["delivery"]
    if seen is None or (seen.status, seen.final, seen.void) == (row["status"], row["final"], row["void"]):
        again = update(followed).where(mine, table.turn == row["turn"])
        connection.execute(again.values(next_at=next_at, looks=table.looks + 1, looked=now))
        return False
    closed = seen.final and not seen.void
    later = next_at if closed else case((table.turn == row["turn"], next_at), else_=table.next_at)
    change = (
        update(followed)
        .where(mine, table.changes == row["changes"], not_(CLOSED))
        .values(
            status=seen.status,
            final=seen.final,
            void=seen.void,
            progress=seen.progress,
            changes=table.changes + 1,
            looks=table.looks + 1,
            looked=now,
            updated=now,
            next_at=later,
        )
    )
    if connection.execute(change).rowcount != 1:
        return False
    if told is not None:
        tell(connection, row["delivery"], told, now)
    return True


def trigger(connection: Connection, instance: str, endpoint: str, ids: Sequence[str], now: float, spare: float) -> int:
    """Makes the next look at these ids due now, but not within `spare` seconds of the last one; how many.

    What is due already, or closed, or unknown, is left as it is.
    """
    at = func.coalesce(table.looked, 0.0) + spare
    soon = case((at > now, at), else_=now)
    asked = (
        update(followed)
        .where(
            table.instance == instance,
            table.upstream_id.in_(list(ids)),
            table.endpoint == endpoint,
            not_(CLOSED),
            or_(table.next_at.is_(None), table.next_at > soon),
        )
        .values(next_at=soon, turn=table.turn + 1)
    )
    return int(connection.execute(asked).rowcount)
