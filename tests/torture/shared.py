"""The connector of the runs with several nodes: creates at once and for later, and work that is scheduled."""

from __future__ import annotations

from sdk import Receipt, create, every

from .records import LONGEST, Record, Records

TICK = 1.0
"""Seconds between two turns of the schedule."""


class Shared(Records):
    """Des fiches, tenues par plusieurs nœuds."""

    @create("later", delivery="reconcilable", find="find_record", longest=LONGEST, deferred=True)
    async def create_later(self, record: Record) -> Receipt:
        """Créer une fiche plus tard."""
        return await self.create_record(record)

    @every(TICK)
    async def tick(self) -> None:
        """One turn, told to the publisher."""
        await self.rest.post("ticks", json={}, repeatable=False)
