"""What an operator may do to the journal: each change is one compare-and-set with its line in the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, func, or_, select, update

from .records import write_audit
from .tables import deliveries, nodes

__all__ = ["counts", "erase", "found", "reseal", "resend", "resolve"]

table = deliveries.c
TO_DECIDE = ("PARKED", "DUPLICATED")
"""The states that wait for a person."""


def found(
    connection: Connection, *, state: str = "", instance: str = "", reference: str = "", most: int = 100
) -> Sequence[RowMapping]:
    """Deliveries, the latest first; `reference` is ours, the publisher's number, the id or the caller's key."""
    query = select(deliveries).order_by(table.updated.desc()).limit(most)
    if state:
        query = query.where(table.state == state)
    if instance:
        query = query.where(table.instance == instance)
    if reference:
        names = (table.reference, table.upstream_id, table.id)
        query = query.where(or_(*(name == reference for name in names), table.key == f"k:{reference}"))
    return connection.execute(query).mappings().all()


def counts(connection: Connection, now: float, lease: float) -> dict[str, int]:
    """How many deliveries per state, those overdue by a minute, and the living processes."""
    states = connection.execute(select(table.state, func.count()).group_by(table.state)).all()
    overdue = connection.execute(select(func.count()).where(table.next_at < now - 60)).scalar_one()
    alive = connection.execute(select(func.count()).where(nodes.c.seen >= now - lease)).scalar_one()
    return {**{state: int(count) for state, count in states}, "overdue": int(overdue), "processes": int(alive)}


def resolve(
    connection: Connection, delivery: str, state: str, upstream_id: str, now: float, actor: str, why: str
) -> bool:
    """A person says how it ended: `DONE` or `REFUSED`. False when it does not wait for a person."""
    ended = {"state": state, "upstream_id": upstream_id, "next_at": None, "unresolved": False, "updated": now}
    return _decided(connection, delivery, ended, now, actor, f"resolve {state}", why)


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
    step = update(deliveries).where(table.id == delivery, table.state.in_(TO_DECIDE)).values(**values)
    if connection.execute(step).rowcount != 1:
        return False
    write_audit(connection, now, actor, action, delivery, why)
    return True


def erase(connection: Connection, reference: str, now: float, actor: str, why: str) -> int:
    """Erases requests and answers of the ended deliveries of a reference; how many."""
    ids = [
        row["id"]
        for row in found(connection, reference=reference, most=10_000)
        if row["state"] in ("DONE", "REFUSED", "NOT_SENT", *TO_DECIDE)
    ]
    for one in ids:
        connection.execute(update(deliveries).where(table.id == one).values(request=None, answer=None))
        write_audit(connection, now, actor, "erase", one, why)
    return len(ids)


def reseal(
    connection: Connection, after: str, most: int, newest: bytes, again: Callable[[bytes, str, str, str], bytes]
) -> tuple[str, int]:
    """Seals the values of the next rows after the id `after` under the newest key: the last id read, and how many.

    `again(value, instance, field, id)` opens and seals. The last id is empty at the end.
    """
    page = select(table.id, table.instance, table.request, table.answer).where(table.id > after)
    rows = connection.execute(page.order_by(table.id).limit(most).with_for_update()).mappings().all()
    changed = 0
    for row in rows:
        values = {
            field: again(row[field], row["instance"], field, row["id"])
            for field in ("request", "answer")
            if row[field] is not None and not row[field].startswith(newest)
        }
        if values:
            connection.execute(update(deliveries).where(table.id == row["id"]).values(**values))
            changed += 1
    return (rows[-1]["id"] if len(rows) == most else ""), changed
