"""What was created upstream, followed to its end: looked at on its cadence, each change of status told once.

The truth is what the endpoint's `follow` method reads; what the publisher calls us with (`@callback(looks=…)`) only
makes a look due.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from sdk.cadence import FOLLOW_AT, next_look
from sdk.call import new_call, within
from sdk.errors import NotFound, RelaisError
from sdk.invoke import absent, look_arguments, look_of, run
from sdk.model import Progress
from sdk.spec import Endpoint

from .callbacks import message, told
from .deliveries import LONGEST_NUMBER, Deliveries, storable
from .journal import log
from .looking import EACH, Look
from .registry import Instance
from .standing import instant, named
from .store import followed
from .store.followed import Seen
from .store.outbox import Told

__all__ = ["Following"]

LOOK_BUDGET = 25.0
"""Seconds one look at the publisher may take."""
SPARE = 5.0
"""Seconds between two looks at one object, however often a publisher calls."""
LONGEST_STATUS = 100
"""Characters of a status that are kept as they are."""


class Following(Look):
    """The looks of this process at what was created."""

    def __init__(self, deliveries: Deliveries, find: Callable[[str], Instance | None]) -> None:
        super().__init__("followed", deliveries.store, self._due, self._one_look, followed.first_due)
        self._deliveries = deliveries
        self._find = find

    async def trigger(self, instance: Instance, callback: Endpoint, ids: Sequence[str]) -> int:
        """What the publisher called about is looked at now; how many objects. Unknown ids change nothing."""
        made = next(e for e in instance.endpoints if e.attribute == callback.declaration.looks)
        now, ids = self._deliveries.clock(), [storable(one, LONGEST_NUMBER) for one in ids]
        asked = await self._deliveries.store.run(
            lambda connection: followed.trigger(connection, instance.where, named(made), ids, now, SPARE)
        )
        if asked:
            self._deliveries.wake(self.name, now)
        return asked

    def _due(self, connection: Any, most: int, busy: Collection[str]) -> Any:
        return followed.claim(connection, self._deliveries.clock(), 2 * LOOK_BUDGET, most, EACH, busy)

    async def _one_look(self, row: dict[str, Any]) -> None:
        journal = self._deliveries
        instance = self._find(row["instance"])
        made = next((e for e in instance.endpoints if named(e) == row["endpoint"]), None) if instance else None
        cadence, progress = FOLLOW_AT, None
        if instance is None or made is None or made.declaration.follow is None:
            log.warning("not_followed", delivery=row["delivery"], instance=row["instance"])
        else:
            cadence = made.declaration.follow_at or FOLLOW_AT
            progress = await self._look_at(row, instance, made)
        now = journal.clock()
        age = next_look(cadence, now - row["created"])
        next_at = row["created"] + age if age is not None and not (progress and progress.final) else None
        seen, message = (None, None) if progress is None else self._seen(row, progress)
        look = partial(followed.looked, row=row, now=now, next_at=next_at, seen=seen, told=message)
        if await journal.store.run(look):
            late = row["final"] or age is None  # it had ended without effect, or was not looked at any more
            log.info("status_changed", delivery=row["delivery"], instance=row["instance"], late=late)
            journal.wake("callbacks", now)

    def _seen(self, row: dict[str, Any], progress: Progress) -> tuple[Seen, Told]:
        """What is kept of a look, and what the caller is told should it be a change."""
        journal = self._deliveries
        sealed = journal.seal.seal(progress.model_dump_json().encode(), row["instance"], "progress", row["delivery"])
        void = progress.final and progress.void
        content = message(
            {**row, "id": row["delivery"]},
            instant(journal.clock()),
            state="DONE",
            status=progress.status,
            final=progress.final,
            data=progress.model_dump(mode="json"),
        )
        seen = Seen(storable(progress.status, LONGEST_STATUS), progress.final, void, sealed)
        return seen, told(journal.seal, row["instance"], content)

    async def _look_at(self, row: dict[str, Any], instance: Instance, made: Endpoint) -> Progress | None:
        """What the publisher says now, None when it says nothing: then there is a next time."""
        look = look_of(made, instance.endpoints)
        try:
            call = new_call(LOOK_BUDGET, unattended=True)
            call.made = partial(self._deliveries.standing.made, instance.where)
            async with within(call):
                arguments = look_arguments(look, row["upstream_id"], self._deliveries.standing.expected(row))
                return await run(instance.connector, look, arguments.keywords)  # type: ignore[no-any-return]
        except NotFound:
            return absent(made, row["upstream_id"])
        except (RelaisError, TimeoutError) as error:
            detail = getattr(error, "detail", "")
            log.warning("look_failed", delivery=row["delivery"], error=type(error).__name__, detail=detail)
        except Exception as error:
            log.error("look_failed", delivery=row["delivery"], exc_info=error)
        return None
