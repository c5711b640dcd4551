"""Work that nobody waits for, found in the store: what is due is claimed, a few at a time, and each is handled apart.

Deliveries, what they created and what callers are to be told are three kinds of it. A look is harmless, whoever takes
it and however often: the rows decide, by compare-and-set.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from .journal import log
from .store import Store, StoreUnavailable

__all__ = ["AT_ONCE", "EACH", "Look"]

AT_ONCE = 16
"""Rows of a kind handled at the same time by one process: callers come first."""
EACH = 4
"""Of them, those of one instance (or one caller): one that does not answer must not hold up the others."""

Claim = Callable[[Any, int, Collection[str]], Sequence[dict[str, Any]]]
Due = Callable[[Any], float | None]


class Look:
    """One kind of work. `claim(connection, most, busy)` gives due rows, of which `whose` names the one they wait for;
    `handle(row)` ends each, and what goes wrong there is logged. `due(connection)` is when the first row is, or was,
    due (seconds since 1970); None when none waits.

    `freed` is called each time a row was handled, `observe(name, outcome)` with `ok`, `failed` or `store`.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        claim: Claim,
        handle: Callable[[dict[str, Any]], Awaitable[None]],
        due: Due,
        *,
        whose: str = "instance",
    ) -> None:
        self.name = name
        self.due = due
        self.freed: Callable[[], None] = lambda: None
        self.observe: Callable[[str, str], None] = lambda name, outcome: None
        self._store = store
        self._claim = claim
        self._handle = handle
        self._whose = whose
        self._handling: dict[asyncio.Task[None], str] = {}
        self._claiming = asyncio.Lock()

    @property
    def room(self) -> int:
        """How many more rows this process may handle now."""
        return AT_ONCE - len(self._handling)

    async def look(self) -> int:
        """Claims what is due; how many. Returns before they are handled. Raises `StoreUnavailable`."""
        async with self._claiming:
            room = self.room
            if room <= 0:
                return 0
            busy = [name for name, count in Counter(self._handling.values()).items() if count >= EACH]
            rows = await self._store.run(lambda connection: self._claim(connection, room, busy))
            for row in rows:
                task = asyncio.create_task(self._one(row))
                self._handling[task] = row[self._whose]
                task.add_done_callback(self._ended)
            return len(rows)

    async def first_due(self) -> float | None:
        """`due`, read now. Raises `StoreUnavailable`."""
        return await self._store.run(self.due)

    async def settled(self) -> None:
        """Waits for what is being handled."""
        while self._handling:
            await asyncio.wait(set(self._handling))

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._handling[task]
        self.freed()

    async def _one(self, row: dict[str, Any]) -> None:
        outcome = "ok"
        try:
            await self._handle(row)
        except StoreUnavailable as error:
            outcome = "store"
            log.error(f"{self.name}_failed", delivery=row.get("delivery", row.get("id")), detail=error.detail)
        except Exception as error:
            outcome = "failed"
            log.error(f"{self.name}_failed", delivery=row.get("delivery", row.get("id")), exc_info=error)
        self.observe(self.name, outcome)
