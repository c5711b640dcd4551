"""How long what was kept is kept; on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.store import Store, records
from gateway.store import followed as follow_rows
from gateway.store.outbox import Told
from gateway.store.records import New, Retention
from gateway.store.tables import callbacks, deliveries, followed


@pytest.fixture(params=["sqlite", "postgresql"])
async def one(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of its own."""
    postgresql = request.param == "postgresql"
    store = Store.open(
        str(request.getfixturevalue("postgres")) if postgresql else f"sqlite:///{tmp_path / 'relais.db'}"
    )
    yield store
    await store.close()


DAY = 86_400.0
KEEP = Retention(personal=7 * DAY, kept=30 * DAY, subjects=400 * DAY, by_instance={"i/short": DAY})


async def lasting(store: Store, instance: str, *, subject: str = "", follow: bool = True) -> str:
    """A delivery that ended at 0, its object followed, its caller to be told."""
    made = New(
        id=records.new_id(),
        key=records.new_id(),
        client="c",
        instance=instance,
        endpoint="POST y",
        delivery="idempotent",
        reference="r",
        fingerprint="f",
        patience=5.0,
        request_id="r",
        seal=lambda row: b"x",
        subject=subject,
        follow_after=60.0 if follow else None,
        caller=lambda row: b"c",
    )
    end = {"state": "DONE", "answer": b"a", "upstream_id": "R1", "next_at": None}
    told = Told(f"m{made.id}", b"m")

    def work(connection: Any) -> None:
        records.begin(connection, made, "n", 0.0, 10.0)
        records.finish(connection, made.id, 1, "n", 0.0, end, told=lambda: told)

    await store.run(work)
    return made.id


async def values(store: Store, query: Any) -> list[Any]:
    return list(await store.run(lambda connection: connection.execute(query).scalars().all()))


async def settle(store: Store, delivery: str, **end: bool) -> None:
    def work(connection: Any) -> None:
        ended = {"final": True, "progress": b"p", "next_at": None, **end}
        connection.execute(update(followed).where(followed.c.delivery == delivery).values(**ended))
        mine = update(callbacks).where(callbacks.c.delivery == delivery)
        connection.execute(mine.values(state="ACCEPTED", body=None, next_at=None))

    await store.run(work)


async def test_an_instance_may_keep_what_is_personal_for_another_time(one: Store) -> None:
    short, long = await lasting(one, "i/short", follow=False), await lasting(one, "i/long", follow=False)
    await one.run(partial(records.purge, now=2 * DAY, keep=KEEP))
    assert await values(one, select(deliveries.c.id).where(deliveries.c.request.is_not(None))) == [long]
    await one.run(partial(records.purge, now=8 * DAY, keep=KEEP))
    assert await values(one, select(deliveries.c.id).where(deliveries.c.request.is_(None))) in (
        [short, long],
        [long, short],
    )


async def test_what_is_followed_or_still_to_be_told_is_kept_whole_otherwise_nothing_is_left(
    one: Store,
) -> None:
    delivery = await lasting(one, "i/x")
    await one.run(partial(records.purge, now=300 * DAY, keep=KEEP))
    assert await values(one, select(deliveries.c.caller)) == [b"c"]
    assert await values(one, select(deliveries.c.request)) == [None]
    await settle(one, delivery)
    await one.run(partial(records.purge, now=301 * DAY, keep=KEEP))
    for table in (deliveries, followed, callbacks):
        assert await values(one, select(table)) == []


async def test_what_was_made_for_a_subject_counts_longer_unless_it_had_no_effect(one: Store) -> None:
    paid, void = await lasting(one, "i/x", subject="a1"), await lasting(one, "i/x", subject="b2")
    await settle(one, paid)
    await settle(one, void, void=True)
    await one.run(partial(records.purge, now=31 * DAY, keep=KEEP))
    assert await values(one, select(deliveries.c.id)) == [paid]
    assert await one.run(partial(records.earlier, subject="a1")) == ("R1",)
    await one.run(partial(records.purge, now=401 * DAY, keep=KEEP))
    assert await values(one, select(deliveries.c.id)) == []


async def test_what_a_process_of_the_version_before_left_unfollowed_is_found(one: Store) -> None:
    await lasting(one, "i/x")
    await one.run(lambda connection: connection.execute(followed.delete()))
    for _ in range(2):
        await one.run(partial(follow_rows.follow, now=5.0))
    assert await values(one, select(followed.c.created)) == [5.0]
