"""Results of `@get(cache=…)`: one shared fetch per key, and the last good answer while the publisher is down.

Keys hold the instance and the arguments; the key itself is a digest, so that no citizen's data stays readable in memory
dumps or statistics. Kept per process, at most `capacity` results, oldest use first out.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sdk.errors import UpstreamUnavailable

Freshness = Literal["fetched", "cached", "stale"]


@dataclass(slots=True)
class _Entry:
    value: Any
    at: float


def cache_key(where: str, endpoint: str, arguments: Mapping[str, Any]) -> str:
    """A digest of one call's identity."""
    text = repr((where, endpoint, sorted(arguments.items(), key=lambda item: item[0])))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


class Cache:
    """`clock` gives seconds."""

    def __init__(self, *, capacity: int = 2000, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Any]] = {}
        self._capacity = capacity
        self._clock = clock

    async def fetch(
        self, key: str, fetch: Callable[[], Awaitable[Any]], *, ttl: float, stale: float
    ) -> tuple[Any, Freshness]:
        """The value of `key`, at most `ttl` seconds old; up to `stale` seconds more when the publisher is down.

        Callers that come while a fetch is under way wait for that one. A caller that gives up does not end it.
        """
        entry = self._entries.get(key)
        if entry is not None and self._clock() - entry.at < ttl:
            self._entries.move_to_end(key)
            return entry.value, "cached"
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self._fly(key, fetch))
            # A failure nobody waits for any more has been answered already: it is not worth a warning.
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._flights[key] = flight
        try:
            return await asyncio.shield(flight), "fetched"
        except UpstreamUnavailable:
            if entry is not None and self._clock() - entry.at < ttl + stale:
                return entry.value, "stale"
            raise

    async def _fly(self, key: str, fetch: Callable[[], Awaitable[Any]]) -> Any:
        try:
            value = await fetch()
            self._entries[key] = _Entry(value, self._clock())
            self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
            return value
        finally:
            del self._flights[key]
