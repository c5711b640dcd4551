"""What runs every so many seconds, once over all processes and nodes: each schedule is a row with its next turn.

Whoever takes a turn holds the row while it runs, and moves it on when it has run; should it die, another process takes
the same turn once the hold is over.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from gateway.journal import log
from gateway.looking import Look
from gateway.store import Store, StoreUnavailable, turns
from sdk.spec import CatchUp

from .lease import told_or

__all__ = ["Schedules", "next_turn"]

HOLD = 15.0
"""Seconds a turn is held at a time: a process that died gives it back after so long."""
LATE = 60.0
"""A turn found so many seconds after its instant was missed (half the interval, for a short one)."""


@dataclass(frozen=True, slots=True)
class _Schedule:
    interval: float
    work: Callable[[], Awaitable[object]]
    at_start: bool
    catch_up: CatchUp


class Schedules(Look):
    """The schedules of this process, as one kind of work."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        super().__init__("schedules", store, self._due_turns, self._turn, self._first, whose="id")
        self._clock = clock
        self._known: dict[str, _Schedule] = {}

    def add(
        self,
        name: str,
        interval: float,
        work: Callable[[], Awaitable[object]],
        *,
        at_start: bool,
        catch_up: CatchUp,
    ) -> None:
        """Makes a schedule known; its row is made at the next look."""
        self._known[name] = _Schedule(interval, work, at_start, catch_up)

    def _due_turns(self, connection: Connection, most: int, busy: Collection[str]) -> Sequence[dict[str, Any]]:
        now, names = self._clock(), list(self._known)
        planned = turns.planned(connection, names)
        for name in names:
            schedule = self._known[name]
            latest = now + max(schedule.interval, HOLD)
            if name not in planned:
                turns.plan(connection, name, now if schedule.at_start else now + schedule.interval)
            elif planned[name] > latest:  # its interval was longer, or the clock was wrong
                turns.move(connection, name, planned[name], latest)
        return turns.claim(connection, names, now, HOLD, most)

    def _first(self, connection: Connection) -> float | None:
        return min(turns.planned(connection, list(self._known)).values(), default=None)

    async def _turn(self, row: dict[str, Any]) -> None:
        name, turn, held = row["id"], row["turn"], row["held"]
        schedule = self._known[name]
        missed = self._clock() - turn > min(LATE, schedule.interval / 2)
        if missed and schedule.catch_up == "skip":
            log.info("turn_skipped", work=name)
        else:
            ended = asyncio.Event()
            holding = asyncio.create_task(self._hold(name, held, ended))
            try:
                await schedule.work()
            except Exception as error:
                log.error("schedule_failed", work=name, exc_info=error)
            finally:
                ended.set()
                held = await holding
        moved = partial(turns.move, name=name, held=held, due=next_turn(turn, self._clock(), schedule.interval))
        await self._store.run(moved)

    async def _hold(self, name: str, held: float, ended: asyncio.Event) -> float:
        """Keeps the turn until its work has `ended`; the last instant written."""
        while True:
            await told_or(ended, HOLD / 3)
            if ended.is_set():
                return held
            until = self._clock() + HOLD
            with suppress(StoreUnavailable):
                if await self._store.run(partial(turns.move, name=name, held=held, due=until)):
                    held = until


def next_turn(turn: float, now: float, interval: float) -> float:
    """The first instant after `now` that is a whole number of intervals after `turn`."""
    return turn + interval * max(1, math.floor((now - turn) / interval) + 1)
