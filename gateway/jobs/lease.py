"""The engine of the embedded database: this process looks by itself, at once when told, else twice a second.

The other processes on the same file are told nothing; they find what is due by looking as often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from gateway.journal import log
from gateway.looking import Look
from gateway.store import StoreUnavailable

__all__ = ["LeaseLoop"]

LOOK_EVERY = 0.5

Wait = Callable[[asyncio.Event, float], Awaitable[None]]


async def told_or(event: asyncio.Event, seconds: float) -> None:
    """Waits until `event` is set, at most so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class LeaseLoop:
    """One loop per kind of work. `wait` is `told_or`, or a test's own."""

    def __init__(self, clock: Callable[[], float], *, wait: Wait = told_or) -> None:
        self._clock = clock
        self._wait = wait
        self._told: dict[str, asyncio.Event] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def start(self, kinds: Mapping[str, Look]) -> None:
        """See `Engine`."""
        for kind in kinds.values():
            told = self._told[kind.name] = asyncio.Event()
            kind.freed = told.set
            self._loops.append(asyncio.create_task(self._keep_looking(kind, told)))

    def wake(self, kind: str, at: float) -> None:
        """See `Engine`; a later instant needs no telling, the loop will find it."""
        if kind in self._told and at <= self._clock():
            self._told[kind].set()

    async def stop(self) -> None:
        """See `Engine`."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops.clear()
        self._told.clear()

    async def _keep_looking(self, kind: Look, told: asyncio.Event) -> None:
        quiet = False
        while True:
            told.clear()
            try:
                while await kind.look():
                    pass  # until nothing more is due, or there is no more room
                quiet = False
            except StoreUnavailable as error:
                if not quiet:
                    log.error("store_unavailable", work=kind.name, detail=error.detail)
                quiet = True
            except Exception as error:
                log.error("look_failed", work=kind.name, exc_info=error)
            await self._wait(told, LOOK_EVERY)
