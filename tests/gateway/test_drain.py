"""A process that ends: what it is at stays its own until it has ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlalchemy import Connection, select

from gateway.store import nodes

from .conftest import KEY, running, upstream
from .test_deliveries import Publisher, Seeds


async def test_a_process_that_drains_is_seen_alive_until_its_last_attempt_has_ended(tmp_path: Path) -> None:
    publisher = Publisher()
    publisher.modes = ["wait"]
    async with (
        upstream(publisher) as url,
        running(tmp_path, Seeds, settings={"url": url}, deliveries={"lease": 1}) as ending,
        running(tmp_path, Seeds, settings={"url": url}, deliveries={"lease": 1}) as staying,
    ):
        headers = {**KEY, "Idempotency-Key": "k"}
        sending = asyncio.create_task(
            ending.session.post(f"{ending.url}/seeds/test/found", json={"name": "rose"}, headers=headers)
        )
        await publisher.arrived.wait()
        node, store = ending.server.deliveries.node, staying.server.deliveries.store

        def seen(connection: Connection) -> float | None:
            return connection.execute(select(nodes.c.seen).where(nodes.c.id == node)).scalar()

        draining = asyncio.create_task(ending.server.drain())
        began = await store.run(seen)
        assert began is not None
        async with asyncio.timeout(10):
            while (await store.run(seen) or 0.0) < began + 1.5:  # noqa: ASYNC110 longer than the lease
                await asyncio.sleep(0.05)
        publisher.release.set()
        async with await sending as answer:
            assert (await answer.json())["data"]["id"] == "S0"
        await draining
        assert await store.run(seen) is None
    assert len(publisher.executed) == 1
