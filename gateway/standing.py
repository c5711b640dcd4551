"""Where deliveries stand, for whoever asks: their callers, their connectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from sdk.call import Made
from sdk.invoke import Arguments, look_arguments, run
from sdk.spec import Endpoint

from .errors import UnknownEndpoint
from .registry import Instance
from .sealing import Seal
from .sent import subject_digest
from .store import Store, followed, outbox, records

__all__ = ["Standing", "instant", "named"]


class Standing:
    """The journal as it is read; it changes nothing."""

    def __init__(self, store: Store, seal: Seal) -> None:
        self._store = store
        self._seal = seal

    async def made(self, where: str, subject: Mapping[str, object]) -> tuple[Made, ...]:
        """What the instance `where` made for a subject and follows; see `Call.made`."""
        digest = subject_digest(where, subject)
        rows = await self._store.run(lambda connection: followed.made(connection, digest))
        names = ("status", "final", "void", "created", "updated")
        return tuple(
            Made(id=row["upstream_id"], expected=dict(self.expected(row)), **{name: row[name] for name in names})
            for row in rows
        )

    def expected(self, row: Any) -> list[tuple[str, str]]:
        """The query of the looks at what was created."""
        if row["expected"] is None:
            return []
        kept = self._seal.read(row["expected"], row["instance"], "expected", row["delivery"])
        return [(name, value) for name, value in json.loads(kept)]

    async def state(self, delivery: str, client: str) -> dict[str, Any]:
        """Where a delivery of this client stands, with its final answer. Raises `UnknownEndpoint` for any other."""

        def read(connection: Any) -> Any:
            row = records.find(connection, delivery)
            return row, followed.of(connection, delivery), outbox.counts(connection, delivery)

        row, follow, messages = await self._store.run(read)
        if row is None or row["client"] != client:
            raise UnknownEndpoint()
        said: dict[str, Any] = {
            "id": row["id"],
            "endpoint": f"{row['instance']}/{row['endpoint'].partition(' ')[2]}",
            "state": row["state"],
            "final": row["state"] in records.ENDED and row["next_at"] is None,
            "attempts": row["attempt"],
            "created": instant(row["created"]),
            "updated": instant(row["updated"]),
            "err_class": row["err_class"] or None,
            "upstream_id": row["upstream_id"] or None,
            "data": None,
            "followed": None if follow is None else self._shown(follow),
            "callbacks": {name.lower(): count for name, count in messages.items()},
        }
        if row["answer"] is not None and row["state"] in ("DONE", "REFUSED"):
            kept = self._seal.read(row["answer"], row["instance"], "answer", row["id"])
            if row["state"] == "REFUSED":
                said |= json.loads(kept)
            elif kept[:1] == b"J":
                said["data"] = json.loads(kept[1:])
        return said

    async def followed_by_ticket(self, instance: Instance, look: Endpoint, arguments: Arguments) -> Any:
        """How a deferred request stands, asked by its ticket where what it becomes is followed; None for what is no
        ticket of such a request. A ticket is given as the request's identifier: it can be followed at once.
        """
        numbers = [arguments.keywords.get(one.argument) for one in look.parameters if one.place == "path"]
        tickets = [one for one in instance.connector.endpoints if one.declaration.deferred]
        if len(numbers) != 1 or look.attribute not in {one.declaration.follow for one in tickets}:
            return None
        ticket = str(numbers[0])
        row, follow = await self._store.run(lambda it: (records.find(it, ticket), followed.of(it, ticket)))
        if row is None or row["instance"] != instance.where:
            return None
        if row["state"] == "DONE":
            if row["upstream_id"] in ("", None, row["id"]):
                return None
            expected = self.expected(follow) if follow is not None else []
            asked = look_arguments(look, row["upstream_id"], expected)
            for one in look.parameters:  # what the caller says it expects is not put aside for what was asked then
                said = arguments.keywords.get(one.argument)
                if one.place == "query" and said not in (None, "", asked.keywords.get(one.argument)):
                    return None
            value = await run(instance.connector, look, asked.keywords)
            return value.model_copy(update={"id": row["id"]})
        over = row["state"] in records.ENDED and row["state"] not in records.PARKED and row["next_at"] is None
        try:
            return look.result.adapter.validate_python({"id": row["id"], "status": row["state"], "final": over})
        except ValidationError:  # a progress that says more than the gateway knows
            return None

    def _shown(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """How what was created stands, by the last look that saw a change."""
        progress = row["progress"]
        if progress is not None:
            progress = json.loads(self._seal.read(progress, row["instance"], "progress", row["delivery"]))
        return {
            "id": row["upstream_id"],
            "status": row["status"] or None,
            "final": row["final"],
            "looks": row["looks"],
            "looked": row["looked"] and instant(row["looked"]),
            "next": row["next_at"] and instant(row["next_at"]),
            "updated": instant(row["updated"]),
            "data": progress,
        }


def instant(seconds: float) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def named(endpoint: Endpoint) -> str:
    """An endpoint's name in the journal."""
    return f"{endpoint.method} {endpoint.path}"
