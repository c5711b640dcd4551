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
        self._since = self._until = 0.0
        self._holds = False

    def hold(self, loop: Any = None) -> None:
        """From now on, and for a while after the last time this was asked."""
        loop = loop or asyncio.get_running_loop()
        now = loop.time()
        self._until = now + self._after
        if not self._holds and gc.isenabled():
            gc.disable()
            self._holds, self._since = True, now
            loop.call_later(self._after, self._look, loop)

    def let_go(self) -> None:
        """Collects as usual again."""
        if self._holds:
            self._holds = False
            gc.enable()

    def _look(self, loop: Any) -> None:
        now = loop.time()
        if now >= min(self._until, self._since + self._most):
            self.let_go()
        else:
            loop.call_later(min(self._until, self._since + self._most) - now, self._look, loop)


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
            collector.hold()
            await self._pause(0)
            await self._pause(0)  # a small call takes several turns
            self._since = self._clock()
