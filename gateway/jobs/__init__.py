"""Work without a caller: the follow-up of deliveries, the purge, what connectors schedule. Once over all processes.

A job is only a hint, "look at this now": what is to be done stands in the store, each row with the instant at which it
is due, so a hint that is lost or taken twice loses and doubles nothing. What carries the hints is an `Engine`: a loop
in the process (`lease.py`) on SQLite, procrastinate (`procrastinate.py`) on PostgreSQL. A sweep looks at every kind of
work again and again, and finds what no hint told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from sqlalchemy import Connection

from gateway.journal import log
from gateway.looking import Look
from gateway.store import Store, StoreUnavailable
from sdk.spec import CatchUp

from .lease import LeaseLoop
from .schedules import Schedules

__all__ = ["Engine", "Jobs", "engine_for"]


class Engine(Protocol):
    """What tells the processes of a gateway to look. It sets `Look.freed`, and calls `Look.look` in this process."""

    async def start(self, kinds: Mapping[str, Look]) -> None:
        """Begins. Raises `BadSettings` where the database must be brought up to date first."""

    def wake(self, kind: str, at: float) -> None:
        """Has some process look at `kind`, at the instant `at` (seconds since 1970; 0.0: now)."""

    async def stop(self) -> None:
        """Ends; nothing is looked at any more."""


def engine_for(url: str, clock: Callable[[], float] = time.time) -> Engine:
    """The engine of the store at `url`."""
    if url.startswith("sqlite"):
        return LeaseLoop(clock)
    from .procrastinate import Procrastinate  # only where it serves: it takes a while to import

    return Procrastinate(url, clock=clock)


class Jobs:
    """The work of this process: `looks`, and what is scheduled. `observe(kind, outcome)` counts what was looked at."""

    def __init__(
        self,
        store: Store,
        looks: Iterable[Look],
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        observe: Callable[[str, str], None] = lambda kind, outcome: None,
    ) -> None:
        self._engine = engine
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []
        self._schedules = Schedules(store, clock)
        self.kinds: dict[str, Look] = {look.name: look for look in (*looks, self._schedules)}
        for look in self.kinds.values():
            look.observe = observe

    def wake(self, kind: str, at: float = 0.0) -> None:
        """A hint: something of this kind is due at the instant `at` (0.0: now). Call it once the row is committed."""
        self._engine.wake(kind, at)

    def every(
        self,
        name: str,
        interval: float,
        work: Callable[[], Awaitable[object]],
        *,
        at_start: bool = False,
        catch_up: CatchUp = "once",
    ) -> None:
        """Runs `work` every `interval` seconds, once over all processes and nodes.

        Turns that nobody could take are caught up by one run (`once`), or left out until the next one (`skip`).
        """
        self._schedules.add(name, interval, work, at_start=at_start, catch_up=catch_up)
        self.wake(self._schedules.name)

    def keep(self, pause: float, work: Callable[[], Awaitable[object]]) -> None:
        """Runs `work` again and again in this very process, `pause` seconds apart, whatever the others do."""
        self._tasks.append(asyncio.create_task(self._keep(pause, work)))

    async def start(self) -> None:
        """Begins to look."""
        await self._engine.start(self.kinds)

    async def stop(self) -> None:
        """Takes nothing new; what is under way ends."""
        await self._engine.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def settled(self) -> None:
        """Waits for what is under way."""
        for kind in self.kinds.values():
            await kind.settled()

    def due(self, connection: Connection) -> dict[str, float]:
        """The instant of the row of each kind that has waited longest, or will be due first; none where none waits."""
        found = {name: kind.due(connection) for name, kind in self.kinds.items()}
        return {name: at for name, at in found.items() if at is not None}

    async def _keep(self, pause: float, work: Callable[[], Awaitable[object]]) -> None:
        quiet = False
        while True:
            try:
                await work()
                quiet = False
            except StoreUnavailable as error:
                if not quiet:
                    log.error("store_unavailable", detail=error.detail)
                quiet = True
            except Exception as error:
                log.error("internal", exc_info=error)
            await self._sleep(pause)
