"""Work without a caller: the follow-up of deliveries, the purge, what connectors schedule. Once over all processes.

A job is only a hint, "look at this now": what is to be done stands in the store, so a turn that is lost or taken twice
loses and doubles nothing. This engine is a loop in each process over the store's leases; it serves both databases.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from .deliveries import Deliveries
from .journal import log
from .looking import Look
from .store import StoreUnavailable, followed, records
from .store.records import Retention

__all__ = ["Jobs"]

LOOK_EVERY = 0.5
PURGE_EVERY = 3600.0


class Jobs:
    """The loops of this process over `looks`, the kinds of work. `personal` is instance → days, where it differs."""

    def __init__(
        self,
        deliveries: Deliveries,
        looks: Sequence[Look],
        personal: Mapping[str, float] | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._deliveries = deliveries
        self._looks = tuple(looks)
        self._personal = dict(personal or {})
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Makes this process known, then begins. Raises `StoreUnavailable`."""
        await self._deliveries.beat()
        options = self._deliveries.options
        self._tasks.append(asyncio.create_task(self._keep(self._deliveries.beat, options.lease / 4)))
        for kind in self._looks:
            self._tasks.append(asyncio.create_task(self._keep(kind.look, LOOK_EVERY)))
        self.every("purge", PURGE_EVERY, self._purge)

    def every(
        self, name: str, interval: float, work: Callable[[], Awaitable[object]], *, at_start: bool = False
    ) -> None:
        """Runs `work` every `interval` seconds, once over all processes. A turn nobody could take is not caught up."""
        self._tasks.append(asyncio.create_task(self._keep_turning(name, interval, work, at_start)))

    async def stop(self) -> None:
        """Takes nothing new; what is under way ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def settled(self) -> None:
        """Waits for what is under way."""
        for kind in self._looks:
            await kind.settled()

    async def turn(self, name: str, interval: float, *, at_start: bool = False) -> float:
        """0 when the schedule `name` is this process's to run now, else the seconds to wait."""
        now = self._deliveries.clock()
        return await self._deliveries.store.run(
            partial(records.turn, name=name, now=now, interval=interval, at_start=at_start)
        )

    async def _keep(self, work: Callable[[], Awaitable[object]], pause: float) -> None:
        quiet = False
        while True:
            try:
                await work()
                quiet = False
            except StoreUnavailable as error:
                if not quiet:
                    log.error("store_unavailable", detail=error.detail)
                quiet = True
            await self._sleep(pause)

    async def _keep_turning(
        self, name: str, interval: float, work: Callable[[], Awaitable[object]], at_start: bool
    ) -> None:
        while True:
            try:
                pause = await self.turn(name, interval, at_start=at_start)
                if pause == 0.0:
                    await work()
                    continue
            except StoreUnavailable as error:
                log.error("store_unavailable", work=name, detail=error.detail)
                pause = 1.0
            await self._sleep(pause)

    async def _purge(self) -> None:
        options, now, day = self._deliveries.options, self._deliveries.clock(), 86_400.0
        keep = Retention(
            options.personal_days * day,
            options.kept_days * day,
            options.subject_days * day,
            {instance: days * day for instance, days in self._personal.items()},
        )

        def work(connection: Any) -> tuple[int, int]:
            followed.follow(connection, now)
            return records.purge(connection, now, keep)

        erased, forgotten = await self._deliveries.store.run(work)
        if erased or forgotten:
            log.info("purged", erased=erased, forgotten=forgotten)
