"""What an operator may do to the journal: each change is one compare-and-set with its line in the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, func, or_, select, update

from . import contents as content_rows
from . import followed as followed_rows
from . import outbox, records
from .outbox import Told
from .records import PARKED, write_audit
from .tables import DEAD, OPEN, callbacks, contents, deliveries, followed, nodes

__all__ = [
    "SEALED",
    "Figures",
    "counts",
    "erase",
    "figures",
    "found",
    "report",
    "reseal",
    "resend",
    "resolve",
    "tell_again",
    "told",
]

table = deliveries.c


@dataclass(frozen=True, slots=True)
class Sealed:
    """The sealed columns of a table: column → the name it is sealed for; `page`: rows sealed again in one work."""

    table: Table
    fields: Mapping[str, str]
    page: int = 200


SEALED = (
    Sealed(deliveries, {name: name for name in ("request", "answer", "caller", "expected")}),
    Sealed(contents, {"piece": "content"}, page=8),
    Sealed(followed, {name: name for name in ("progress", "expected")}),
    Sealed(callbacks, {"body": "callback"}),
)


def found(
    connection: Connection,
    *,
    state: str = "",
    instance: str = "",
    reference: str = "",
    waiting: bool = False,
    most: int = 100,
) -> Sequence[RowMapping]:
    """Deliveries, the latest first; `reference` is ours, the publisher's number, the id or the caller's key. Only those
    that wait for a person where `waiting`.
    """
    query = select(deliveries).order_by(table.updated.desc()).limit(most)
    if state:
        query = query.where(table.state == state)
    if waiting:
        query = query.where(table.state.in_(PARKED))
    if instance:
        query = query.where(table.instance == instance)
    if reference:
        names = (table.reference, table.upstream_id, table.id)
        query = query.where(or_(*(name == reference for name in names), table.key == f"k:{reference}"))
    return connection.execute(query).mappings().all()


@dataclass(frozen=True, slots=True)
class Figures:
    """What stands in the store, for the metrics: deliveries without an end by state, callbacks by state, and processes
    seen alive; cheap to count, however long the journal.
    """

    deliveries: Mapping[str, int]
    callbacks: Mapping[str, int]
    processes: int


def figures(connection: Connection, now: float, lease: float) -> Figures:
    """The figures of this instant."""
    open_: dict[str, int] = dict.fromkeys((*records.UNDER_WAY, *PARKED), 0)
    for state, count in connection.execute(select(table.state, func.count()).where(OPEN).group_by(table.state)):
        open_[state] = int(count)
    waiting = select(func.count()).select_from(callbacks).where(callbacks.c.next_at.is_not(None))
    dead = select(func.count()).select_from(callbacks).where(DEAD)
    alive = select(func.count()).select_from(nodes).where(nodes.c.seen >= now - lease)
    told = {"PENDING": int(connection.scalar(waiting) or 0), "DEAD": int(connection.scalar(dead) or 0)}
    return Figures(open_, told, int(connection.scalar(alive) or 0))


def counts(connection: Connection, now: float, lease: float) -> dict[str, int]:
    """How many deliveries per state, objects followed, callbacks per state, what is overdue by a minute, how long
    the first of it has waited, and the living processes.
    """

    def many(*conditions: Any) -> int:
        return int(connection.execute(select(func.count()).where(*conditions)).scalar_one())

    states = connection.execute(select(table.state, func.count()).group_by(table.state)).all()
    told = connection.execute(select(callbacks.c.state, func.count()).group_by(callbacks.c.state)).all()
    late = now - 60
    due = (records.first_due(connection), followed_rows.first_due(connection), outbox.first_due(connection))
    first = [at for at in due if at is not None]
    overdue = (
        many(table.next_at < late) + many(followed.c.next_at < late) + many(outbox.FIRST, callbacks.c.next_at < late)
    )
    return {
        **{state: int(count) for state, count in states},
        "followed": many(followed.c.next_at.is_not(None)),
        **{f"callbacks {state}": int(count) for state, count in told},
        "overdue": overdue,
        "oldest due, seconds": max(0, int(now - min(first, default=now))),
        "processes": many(nodes.c.seen >= now - lease),
    }


def resolve(
    connection: Connection,
    delivery: str,
    state: str,
    upstream_id: str,
    now: float,
    actor: str,
    why: str,
    told: Callable[[RowMapping], Told | None] = lambda row: None,
) -> bool:
    """A person says how it ended: `DONE` or `REFUSED`; `told` gives the message for its caller. False when it does not
    wait for a person.
    """
    ended = {"state": state, "upstream_id": upstream_id, "next_at": None, "unresolved": False, "updated": now}
    if not _decided(connection, delivery, ended, now, actor, f"resolve {state}", why):
        return False
    row = records.find(connection, delivery)
    assert row is not None
    records.follows(connection, delivery, ended, told(row), now)
    return True


def resend(connection: Connection, delivery: str, now: float, actor: str, why: str) -> bool:
    """A person says that it was not executed: the gateway sends it again. False when it does not wait for a person."""
    again = {
        "state": "NOT_SENT",
        "owed": True,
        "next_at": now,
        "tries": 0,
        "unresolved": False,
        "quarantine": None,
        "updated": now,
    }
    return _decided(connection, delivery, again, now, actor, "resend", why)


def _decided(
    connection: Connection, delivery: str, values: dict[str, Any], now: float, actor: str, action: str, why: str
) -> bool:
    step = update(deliveries).where(table.id == delivery, table.state.in_(PARKED)).values(**values)
    if connection.execute(step).rowcount != 1:
        return False
    write_audit(connection, now, actor, action, delivery, why)
    return True


def erase(connection: Connection, reference: str, now: float, actor: str, why: str) -> int:
    """Erases requests, answers and messages of the ended deliveries of a reference; how many deliveries.

    What is still followed goes on: of it only the publisher's number is left, and whom to tell.
    """
    ended = ("DONE", "REFUSED", "NOT_SENT", *PARKED)
    ids = [row["id"] for row in found(connection, reference=reference, most=10_000) if row["state"] in ended]
    going_on = select(followed.c.delivery).where(followed.c.next_at.is_not(None))
    for one in ids:
        mine = update(deliveries).where(table.id == one)
        connection.execute(mine.values(request=None, answer=None))
        content_rows.erase(connection, one)
        connection.execute(mine.where(table.id.not_in(going_on)).values(caller=None, expected=None))
        connection.execute(update(followed).where(followed.c.delivery == one).values(progress=None))
        told = update(callbacks).where(callbacks.c.delivery == one)
        connection.execute(told.values(body=None))
        unsent = told.where(callbacks.c.state == "PENDING")
        connection.execute(unsent.values(state="DEAD", next_at=None, reason="erased"))
        write_audit(connection, now, actor, "erase", one, why)
    return len(ids)


def told(connection: Connection, *, state: str = "", delivery: str = "", most: int = 100) -> Sequence[RowMapping]:
    """Callbacks, the latest first."""
    query = select(callbacks).order_by(callbacks.c.updated.desc()).limit(most)
    if state:
        query = query.where(callbacks.c.state == state)
    if delivery:
        query = query.where(callbacks.c.delivery == delivery)
    return connection.execute(query).mappings().all()


def tell_again(connection: Connection, callback: str, now: float, actor: str, why: str) -> bool:
    """A person has a callback that was given up sent again, with as much time as a new one. False when it was not given
    up, or its content is erased.
    """
    column = callbacks.c
    dead = update(callbacks).where(column.id == callback, column.state == "DEAD", column.body.is_not(None))
    again = {"state": "PENDING", "next_at": now, "created": now, "updated": now, "tries": 0}
    if connection.execute(dead.values(**again)).rowcount != 1:
        return False
    write_audit(connection, now, actor, "callback resend", callback, why)
    return True


def report(connection: Connection, now: float, patience: float) -> list[tuple[str, str, str, str]]:
    """What nobody can call settled: `(kind, instance, delivery, detail)`, the oldest first.

    waiting    a delivery that a person must decide
    open       followed for more than `patience` seconds, without an end
    left       followed to the end of its cadence, without an end
    untold     a change that its caller has not accepted, an hour after it
    several    several objects of one subject that are not without effect
    """
    old, of = now - patience, followed.c
    lines: list[tuple[float, str, str, str, str]] = []
    for row in connection.execute(select(deliveries).where(table.state.in_(PARKED))).mappings():
        lines.append((row["updated"], "waiting", row["instance"], row["id"], row["state"]))
    unended = select(followed).where(~of.final, or_(of.created < old, of.next_at.is_(None)))
    for row in connection.execute(unended).mappings():
        kind = "left" if row["next_at"] is None else "open"
        lines.append((row["created"], kind, row["instance"], row["delivery"], f"{row['upstream_id']} {row['status']}"))
    column = callbacks.c
    unheard = or_(column.state == "DEAD", (column.state == "PENDING") & (column.created < now - 3600))
    for row in connection.execute(select(callbacks).where(unheard)).mappings():
        lines.append((row["created"], "untold", row["instance"], row["delivery"], f"{row['id']} {row['reason']}"))
    live = select(of.subject, of.instance, of.upstream_id, func.min(of.delivery), func.min(of.created)).where(
        of.subject != "", ~(of.final & of.void)
    )
    seen: dict[str, list[tuple[str, str, str, float]]] = {}
    for subject, *one in connection.execute(live.group_by(of.subject, of.instance, of.upstream_id)):
        seen.setdefault(subject, []).append((one[0], one[1], one[2], one[3]))
    for objects in seen.values():
        if len(objects) > 1:
            first = min(objects, key=lambda one: one[3])
            named = " ".join(sorted(number for _, number, _, _ in objects))
            lines.append((first[3], "several", first[0], first[2], named))
    return [line[1:] for line in sorted(lines)]


def reseal(
    connection: Connection,
    kept: Sealed,
    after: str,
    newest: bytes,
    again: Callable[[bytes, str, str, str], bytes],
) -> tuple[str, int]:
    """Seals the values of the next rows after the id `after` under the newest key: the last id read, and how many.

    `again(value, instance, field, id)` opens and seals. The last id is empty at the end.
    """
    columns = kept.table.c
    name = kept.table.primary_key.columns[0]
    page = select(name.label("id"), columns.instance, *(columns[field] for field in kept.fields)).where(name > after)
    rows = connection.execute(page.order_by(name).limit(kept.page).with_for_update()).mappings().all()
    changed = 0
    for row in rows:
        values = {
            column: again(row[column], row["instance"], field, row["id"])
            for column, field in kept.fields.items()
            if row[column] is not None and not row[column].startswith(newest)
        }
        if values:
            connection.execute(update(kept.table).where(name == row["id"]).values(**values))
            changed += 1
    return (rows[-1]["id"] if len(rows) == kept.page else ""), changed
