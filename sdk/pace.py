"""Long work on the loop, in steps short enough for everybody else."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Collector", "Pace"]


class Collector:
    """Holds the garbage collector off while large values are made.

    Each of its full collections walks all that was made so far, several times in one conversion, a tenth of a second
    each. What is made meanwhile is freed by counting references; cycles wait for `after` seconds of calm, or for the
    end of `most` seconds, whichever comes first.
    """

    def __init__(self, after: float = 0.5, most: float = 30.0) -> None:
        self._after = after
        self._most = most
        self._held_at: float | None = None
        self._release: asyncio.TimerHandle | None = None

    def hold(self, loop: Any = None) -> None:
        """From now on, and for a while after the last time this was asked."""
        loop = loop or asyncio.get_running_loop()
        if self._held_at is None:
            if not gc.isenabled():
                return
            gc.disable()
            self._held_at = loop.time()
        if self._release is not None:
            self._release.cancel()
        left = self._held_at + self._most - loop.time()
        self._release = loop.call_later(max(0.0, min(self._after, left)), self.let_go)

    def let_go(self) -> None:
        """Collects as usual again."""
        if self._held_at is not None:
            self._held_at = self._release = None
            gc.enable()


collector = Collector()


class Pace:
    """`await pace.breathe()` between two steps lets the loop turn once `budget` seconds are spent since it did."""

    def __init__(
        self,
        budget: float = 0.00025,
        *,
        clock: Callable[[], float] = time.perf_counter,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._pause = pause
        self._since = clock()
        collector.hold()

    async def breathe(self) -> None:
        """Returns at once, or after two turns of the loop."""
        if self._clock() - self._since >= self._budget:
            await self._pause(0)
            await self._pause(0)  # a small call takes several turns
            self._since = self._clock()
