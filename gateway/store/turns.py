"""The rows of the schedules: `due` is the next turn, or, while somebody runs it, the end of its hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from .statements import insert
from .tables import schedules

__all__ = ["claim", "move", "plan", "planned"]

table = schedules.c


def plan(connection: Connection, name: str, due: float) -> None:
    """Makes the row of a schedule where there is none."""
    connection.execute(insert(connection, schedules).values(name=name, due=due).on_conflict_do_nothing())


def planned(connection: Connection, names: Sequence[str]) -> dict[str, float]:
    """When each of these is due."""
    found = connection.execute(select(table.name, table.due).where(table.name.in_(names)))
    return {name: float(due) for name, due in found}


def claim(connection: Connection, names: Sequence[str], now: float, hold: float, most: int) -> list[dict[str, Any]]:
    """Turns to run now: `{"id": name, "turn": instant, "held": until}`; they are nobody else's for `hold` seconds."""
    due = select(table.name, table.due).where(table.name.in_(names), table.due <= now).order_by(table.due).limit(most)
    rows = connection.execute(due.with_for_update(skip_locked=True)).all()
    held = update(schedules).where(table.name.in_([name for name, _ in rows]))
    if rows:
        connection.execute(held.values(due=now + hold))
    return [{"id": name, "turn": float(turn), "held": now + hold} for name, turn in rows]


def move(connection: Connection, name: str, held: float, due: float) -> bool:
    """Moves a turn that is held until `held` on to `due`; False when somebody else has it."""
    mine = update(schedules).where(table.name == name, table.due == held)
    return connection.execute(mine.values(due=due)).rowcount == 1
