"""Bringing to an end what nobody waits for any more: outcomes that are unknown, requests accepted for later.

A look at a delivery is harmless, whoever takes it and however often: the journal decides, by compare-and-set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from sdk.call import new_call, serving
from sdk.errors import RelaisError
from sdk.invoke import Arguments
from sdk.spec import Endpoint

from .deliveries import LONG_READ, Deliveries, done, kept_answer, named
from .journal import log
from .registry import Instance
from .sealing import Unsealable
from .sent import Sent
from .store import StoreUnavailable, records
from .store.records import AGAIN_AT_ONCE, Begun

__all__ = ["Follow"]

SEARCH_BUDGET = 25.0
"""Seconds one search at the publisher may take."""
AT_ONCE = 4
"""Deliveries followed at the same time by one process: callers come first."""


class Follow:
    """The follow-up of this process. `find` gives the instance `connector/instance` where it is configured."""

    def __init__(self, deliveries: Deliveries, find: Callable[[str], Instance | None]) -> None:
        self._deliveries = deliveries
        self._find = find
        self._looking: set[asyncio.Task[None]] = set()

    async def look(self) -> int:
        """Takes over from dead processes and looks at what is due; how many. Returns before the looks have ended."""
        journal = self._deliveries
        free = AT_ONCE - len(self._looking)
        if free <= 0:
            return 0

        under_way = frozenset(journal.under_way)

        def due(connection: Any) -> Any:
            now = journal.clock()
            taken = records.take_over(connection, now, journal.options.lease, journal.node, under_way)
            return taken, records.claim(connection, now, LONG_READ + SEARCH_BUDGET, free)

        taken, rows = await journal.store.run(due)
        if taken:
            log.warning("taken_over", deliveries=taken)
        for row in rows:
            task = asyncio.create_task(self._one(dict(row)))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
        return len(rows)

    async def settled(self) -> None:
        """Waits for the looks under way."""
        while self._looking:
            await asyncio.wait(set(self._looking))

    async def _one(self, row: dict[str, Any]) -> None:
        try:
            await self._end(row)
        except StoreUnavailable as error:
            log.error("follow_up_failed", delivery=row["id"], detail=error.detail)
        except Exception as error:
            log.error("follow_up_failed", delivery=row["id"], exc_info=error)

    async def _end(self, row: dict[str, Any]) -> None:
        instance = self._find(row["instance"])
        endpoint = next((e for e in instance.endpoints if named(e) == row["endpoint"]), None) if instance else None
        if instance is None or endpoint is None:
            await self._park(row, "no such endpoint any more")
        elif row["state"] == "RECEIVED" or (row["state"] == "NOT_SENT" and row["owed"]):
            await self._send(row, instance, endpoint, unresolved=row["unresolved"])
        elif row["state"] == "NOT_SENT":
            await self._step(row, {"next_at": None})
        elif row["delivery"] == "reconcilable":
            await self._search(row, instance, endpoint)
        elif row["delivery"] in AGAIN_AT_ONCE:
            await self._send(row, instance, endpoint, unresolved=True)
        else:
            await self._park(row, "unknown outcome")

    async def _search(self, row: dict[str, Any], instance: Instance, endpoint: Endpoint) -> None:
        """Found: it ends. Absent: sent again, but only when the search began after the quarantine."""
        journal = self._deliveries
        began = journal.clock()
        search = getattr(instance.connector, endpoint.declaration.find or "")
        call = new_call(SEARCH_BUDGET)
        try:
            with serving(call):
                async with asyncio.timeout(SEARCH_BUDGET):
                    found = await search(row["reference"])
        except (RelaisError, TimeoutError, NotImplementedError) as error:
            await self._later(row, f"search: {type(error).__name__}")
            return
        matches = found if isinstance(found, list) else [] if found is None else [found]
        if len(matches) > 1:
            log.error("duplicated", delivery=row["id"], instance=row["instance"], matches=len(matches))
            await self._step(row, {"state": "DUPLICATED", "next_at": None, "updated": journal.clock()})
        elif matches:
            value = endpoint.result.adapter.validate_python(matches[0])
            kept, _, number = kept_answer(endpoint, value)
            sealed = journal.seal.seal(kept, row["instance"], "answer", row["id"])
            await self._step(row, {**done(sealed, kept, number), "updated": journal.clock()})
        elif began < (row["quarantine"] or 0.0):
            pause = min(row["quarantine"] - began, max(1.0, row["patience"] / 10))
            await self._step(row, {"next_at": began + pause})
        else:
            await self._send(row, instance, endpoint, unresolved=False)

    async def _send(self, row: dict[str, Any], instance: Instance, endpoint: Endpoint, *, unresolved: bool) -> None:
        journal = self._deliveries
        if row["tries"] >= journal.options.tries:
            await self._park(row, "too many tries")
            return
        if row["request"] is None:
            await self._park(row, "the request was erased")
            return
        try:
            sent = Sent.unpacked(journal.seal.open(row["request"], row["instance"], "request", row["id"]))
            body = sent.body(endpoint)
            arguments: Arguments = sent.arguments(endpoint, body)
        except (Unsealable, RelaisError, ValueError) as error:
            await self._park(row, f"the request cannot be read: {type(error).__name__}")
            return
        again = records.resend(journal.clock(), journal.node, row["attempt"], unresolved=unresolved)
        again["tries"] = row["tries"] + 1
        if not await self._step(row, again):
            return  # its caller came back first
        begun = Begun("go", row["id"], row["attempt"] + 1, row["reference"], unresolved)
        attempt = journal.start(instance, endpoint, arguments, begun, new_call(0.0), owed=True)
        end = await attempt.ended
        log.info("followed", delivery=row["id"], instance=row["instance"], state=end.state, attempt=begun.attempt)

    async def _later(self, row: dict[str, Any], reason: str) -> None:
        journal = self._deliveries
        if row["tries"] + 1 >= journal.options.tries:
            await self._park(row, reason)
            return
        pause = min(journal.options.backoff * 2 ** row["tries"], 3600.0)
        await self._step(row, {"next_at": journal.clock() + pause, "tries": row["tries"] + 1})

    async def _park(self, row: dict[str, Any], reason: str) -> None:
        log.warning("parked", delivery=row["id"], instance=row["instance"], reason=reason)
        await self._step(row, {"state": "PARKED", "next_at": None, "updated": self._deliveries.clock()})

    async def _step(self, row: dict[str, Any], values: dict[str, Any]) -> bool:
        step = partial(records.step, delivery=row["id"], state=row["state"], attempt=row["attempt"], values=values)
        return await self._deliveries.store.run(step)
