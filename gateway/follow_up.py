"""Bringing to an end what nobody waits for any more: outcomes that are unknown, requests accepted for later.

A look at a delivery is harmless, whoever takes it and however often: the journal decides, by compare-and-set.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from sdk.call import new_call, within
from sdk.errors import RelaisError, Text
from sdk.invoke import Arguments
from sdk.spec import Endpoint

from .deliveries import LONG_READ, Deliveries, done, forgotten, kept_answer
from .errors import NeedsOperator
from .journal import log
from .looking import EACH, Look
from .registry import Instance
from .sealing import Unsealable
from .sent import Sent
from .standing import named
from .store import StoreUnavailable, records
from .store.outbox import Told
from .store.records import AGAIN_AT_ONCE, Begun

__all__ = ["Follow"]

SEARCH_BUDGET = 25.0
"""Seconds one search at the publisher may take."""


class Follow(Look):
    """The follow-up of this process. `find` gives the instance `connector/instance` where it is configured."""

    def __init__(self, deliveries: Deliveries, find: Callable[[str], Instance | None]) -> None:
        super().__init__("deliveries", deliveries.store, self._due, self._end, records.first_due)
        self._deliveries = deliveries
        self._find = find

    def _due(self, connection: Any, most: int, busy: Collection[str]) -> Any:
        """Takes over from dead processes, then claims what is due."""
        journal, now = self._deliveries, self._deliveries.clock()
        taken = records.take_over(connection, now, journal.options.lease, journal.node, frozenset(journal.under_way))
        if taken:
            log.warning("taken_over", deliveries=taken)
        return records.claim(connection, now, LONG_READ + SEARCH_BUDGET, most, journal.node, EACH, busy)

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
        try:
            async with within(new_call(SEARCH_BUDGET, unattended=True)):
                found = await search(row["reference"])
            matches = found if isinstance(found, list) else [] if found is None else [found]
            value = endpoint.result.adapter.validate_python(matches[0]) if len(matches) == 1 else None
        except Exception as error:
            # Nothing was learnt of the delivery, be it by a bug: tried again, and a person decides in the end.
            if not isinstance(error, (RelaisError, TimeoutError, NotImplementedError)):
                log.error("internal", delivery=row["id"], instance=row["instance"], exc_info=error)
            await self._later(row, f"search: {type(error).__name__}")
            return
        if len(matches) > 1:
            log.error("duplicated", delivery=row["id"], instance=row["instance"], matches=len(matches))
            await self._stop(row, "DUPLICATED", error=NeedsOperator())
        elif matches:
            kept, answer, number = kept_answer(endpoint, value)
            sealed = journal.seal.seal(kept, row["instance"], "answer", row["id"])
            data = json.loads(answer.json) if answer.json else None
            await self._stop(row, "DONE", done(sealed, kept, number) | forgotten(endpoint), data=data)
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

        def read(sent: Sent) -> Arguments:
            return sent.arguments(endpoint, sent.body(endpoint))

        try:
            # Apart from the loop, and only its result is kept while it is sent: a request may hold large files.
            arguments = await asyncio.to_thread(read, await journal.request(row))
        except StoreUnavailable:
            raise
        except (Unsealable, RelaisError, ValueError) as error:
            await self._park(row, f"the request cannot be read: {type(error).__name__}")
            return
        again = records.resend(journal.clock(), journal.node, row["attempt"], unresolved=unresolved)
        again["tries"] = row["tries"] + 1

        def go(connection: Any) -> tuple[str, ...] | None:
            mine = records.step(connection, row["id"], row["state"], row["attempt"], again)
            return records.earlier(connection, row["subject"]) if mine else None

        earlier = await journal.store.run(go)
        if earlier is None:
            return  # its caller came back first
        begun = Begun(
            "go",
            row["id"],
            row["attempt"] + 1,
            row["reference"],
            unresolved,
            earlier=earlier,
            tells=row["caller"] is not None,
            tries=again["tries"],
        )
        call = new_call(0.0, unattended=True)
        attempt = journal.start(instance, endpoint, arguments, begun, call, owed=True)
        end = await attempt.ended
        log.info("followed", delivery=row["id"], instance=row["instance"], state=end.state, attempt=begun.attempt)

    async def _later(self, row: dict[str, Any], reason: str) -> None:
        journal = self._deliveries
        if row["tries"] + 1 >= journal.options.tries:
            await self._park(row, reason)
            return
        pause = journal.pause(row["tries"])
        await self._step(row, {"next_at": journal.clock() + pause, "tries": row["tries"] + 1})

    async def _park(self, row: dict[str, Any], reason: str) -> None:
        log.warning("parked", delivery=row["id"], instance=row["instance"], reason=reason)
        await self._stop(row, "PARKED", error=NeedsOperator(None if row["state"] == "UNKNOWN" else _NOT_SENT))

    async def _stop(
        self, row: dict[str, Any], state: str, values: Any = None, *, data: Any = None, error: RelaisError | None = None
    ) -> None:
        """Writes an end, and tells the caller that waits for it."""
        journal = self._deliveries
        ended = {"state": state, "next_at": None, "updated": journal.clock(), **(values or {})}
        told = journal.told(row, state, data=data, error=error) if row["caller"] is not None else None
        if await self._step(row, ended, told) and told is not None:
            journal.wake("callbacks", journal.clock())

    async def _step(self, row: dict[str, Any], values: dict[str, Any], told: Told | None = None) -> bool:
        if values.get("next_at") is not None:
            values = {"owner": None, **values}  # waits, and is nobody's meanwhile
        step = partial(
            records.step, delivery=row["id"], state=row["state"], attempt=row["attempt"], values=values, told=told
        )
        return await self._deliveries.store.run(step)


_NOT_SENT = Text(
    "La demande n'a pas pu être transmise malgré plusieurs essais : l'exploitant de la passerelle doit décider.",
    en="The request could not be passed on in spite of several tries: the gateway's operator must decide.",
)
