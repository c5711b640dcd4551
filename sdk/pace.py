"""Long work on the loop, in steps short enough for everybody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["Pace"]


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

    async def breathe(self) -> None:
        """Returns at once, or after a turn of the loop."""
        if self._clock() - self._since >= self._budget:
            await self._pause(0)
            self._since = self._clock()
