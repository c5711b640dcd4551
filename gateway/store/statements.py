"""The statements that the tables share: adding a row unless it is there, taking what is due, and when more will be."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, update

__all__ = ["claim", "first_due", "insert", "insert_of"]


def insert(connection: Connection, into: Any) -> Any:
    """INSERT with `on_conflict_do_nothing`, in the database's dialect."""
    return insert_of(connection.dialect.name)(into)


@cache
def insert_of(dialect: str) -> Any:
    """`insert` of "sqlite" or "postgresql": SQLAlchemy has loaded that dialect alone, for its engine."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert


def claim(
    connection: Connection,
    table: Table,
    now: float,
    hold: float,
    most: int,
    *conditions: ColumnElement[bool],
    by: str = "instance",
    each: int = 1_000,
    busy: Collection[str] = (),
    **also: Any,
) -> list[dict[str, Any]]:
    """Rows whose `next_at` has come and that meet `conditions`, the longest due first; nobody else is given them for
    `hold` seconds, and whoever else claims meanwhile is not blocked. At most `each` with the same value in the column
    `by`, none whose value is `busy`. `also` are values set besides; the rows are given as they were before.
    """
    name, whose, due_at = table.primary_key.columns[0], table.c[by], table.c.next_at
    met = [due_at <= now, *conditions, *([whose.not_in(list(busy))] if busy else ())]
    rank = func.row_number().over(partition_by=whose, order_by=due_at).label("rank")
    ranked = select(name.label("name"), rank).where(*met).subquery()
    due = (
        select(table)
        .where(*met, name.in_(select(ranked.c.name).where(ranked.c.rank <= each)))
        .order_by(due_at)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    rows = [dict(row) for row in connection.execute(due).mappings()]
    if rows:
        held = update(table).where(name.in_([row[name.name] for row in rows]))
        connection.execute(held.values(next_at=now + hold, **also))
    return rows


def first_due(connection: Connection, table: Table, *conditions: ColumnElement[bool]) -> float | None:
    """The earliest `next_at` of the rows that meet `conditions`; None when none waits."""
    first = select(func.min(table.c.next_at)).where(table.c.next_at.is_not(None), *conditions)
    found = connection.execute(first).scalar()
    return None if found is None else float(found)
