"""What is due is shared out: nobody is given a row twice, and one slow publisher does not hold up the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.store import Store, followed, outbox, records
from gateway.store.followed import Seen
from gateway.store.outbox import Told
from gateway.store.records import New


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    postgresql = request.param == "postgresql"
    opened = Store.open(
        str(request.getfixturevalue("postgres")) if postgresql else f"sqlite:///{tmp_path / 'relais.db'}"
    )
    yield opened
    await opened.close()


async def later(store: Store, *instances: str) -> None:
    """Deferred deliveries, due now."""
    for number, instance in enumerate(instances):
        new = New(
            id=records.new_id(),
            key=f"k:{number}",
            client="c",
            instance=instance,
            endpoint="POST y",
            delivery="idempotent",
            reference="r",
            fingerprint="f",
            patience=5.0,
            request_id="r",
            seal=lambda row: b"x",
            follow_after=60.0,
            caller=lambda row: b"c",
        )
        await store.run(partial(records.begin, new=new, node="n", now=float(number), lease=9.0, defer=True))


async def given(store: Store, now: float, most: int, each: int, *busy: str) -> Counter[str]:
    claim = partial(records.claim, now=now, hold=30.0, most=most, node="n", each=each, busy=busy)
    return Counter(row["instance"] for row in await store.run(claim))


async def test_one_publisher_is_given_only_its_share(store: Store) -> None:
    await later(store, *["a/slow"] * 6, *["b/fast"] * 2)
    assert await given(store, 10.0, 16, 4) == {"a/slow": 4, "b/fast": 2}
    assert await given(store, 10.0, 16, 4, "a/slow") == {}
    assert await given(store, 10.0, 1, 4) == {"a/slow": 1}
    assert await given(store, 41.0, 16, 9) == {"a/slow": 6, "b/fast": 2}


async def done(store: Store) -> dict[str, Any]:
    """The row, claimed, of what a delivery created; its caller is to be told of the end."""
    await later(store, "a/x")

    def work(connection: Any) -> Any:
        (row,) = records.claim(connection, 1.0, 30.0, 1, "n")
        records.step(connection, row["id"], "RECEIVED", 0, records.resend(1.0, "n", 0, unresolved=False))
        end = {"state": "DONE", "upstream_id": "P1", "next_at": None}
        records.finish(connection, row["id"], 1, "n", 1.0, end, told=lambda: Told("m0", b"x"))
        return followed.claim(connection, 100.0, 30.0, 1, 4)[0]

    return await store.run(work)


async def test_of_two_looks_one_tells_the_change(store: Store) -> None:
    row = await done(store)
    seen = Seen("paid", True, False, b"p")
    looks = [
        partial(followed.looked, row=row, now=101.0, next_at=None, seen=seen, told=Told(f"m{n}", b"x")) for n in (1, 2)
    ]
    assert [await store.run(look) for look in looks] == [True, False]
    told = await store.run(lambda c: outbox.claim(c, 200.0, 30.0, 9, 9))
    assert [message["id"] for message in told] == ["m0"]  # the first of its delivery, then the next
    assert await store.run(partial(outbox.sent, row=told[0], now=201.0, state="ACCEPTED", next_at=None, reason=""))
    told = await store.run(lambda c: outbox.claim(c, 202.0, 30.0, 9, 9))
    assert [message["id"] for message in told] == ["m1"]


async def test_a_look_that_comes_late_does_not_write_over_the_one_before(store: Store) -> None:
    slow = await done(store)
    (quick,) = await store.run(lambda c: followed.claim(c, 140.0, 30.0, 9, 9))
    looks = [(quick, "waiting", Told("m1", b"x")), (slow, "started", Told("m2", b"x"))]
    changed = [
        await store.run(
            partial(
                followed.looked, row=row, now=150.0, next_at=500.0, seen=Seen(status, False, False, b"p"), told=told
            )
        )
        for row, status, told in looks
    ]
    assert changed == [True, False]
    row = await store.run(lambda c: followed.of(c, quick["delivery"]))
    assert (row["status"], row["changes"]) == ("waiting", 1)  # type: ignore[index]


async def test_a_trigger_during_a_look_keeps_its_word(store: Store) -> None:
    row = await done(store)
    await store.run(lambda c: followed.trigger(c, "a/x", "POST y", ["P1"], 101.0, 0.0))
    seen = Seen("started", False, False, b"p")
    look = partial(followed.looked, row=row, now=102.0, next_at=500.0, seen=seen, told=None)
    assert await store.run(look)
    assert [again["status"] for again in await store.run(lambda c: followed.claim(c, 102.0, 30.0, 9, 9))] == ["started"]


async def test_a_message_given_to_two_is_settled_by_one(store: Store) -> None:
    await done(store)
    first = await store.run(lambda c: outbox.claim(c, 200.0, 30.0, 9, 9))
    second = await store.run(lambda c: outbox.claim(c, 240.0, 30.0, 9, 9))
    assert [row["id"] for row in (*first, *second)] == ["m0", "m0"]
    ends = [
        partial(outbox.sent, row=row[0], now=241.0, state="ACCEPTED", next_at=None, reason="")
        for row in (second, first)
    ]
    assert [await store.run(end) for end in ends] == [True, False]


@pytest.mark.parametrize(("under_way", "taken"), [(True, 0), (False, 1)])
async def test_a_process_knows_that_it_lives_whatever_a_clock_set_forward_says(
    store: Store, under_way: bool, taken: int
) -> None:
    await later(store, "a/b")
    (row,) = await store.run(partial(records.claim, now=1.0, hold=30.0, most=1, node="n"))
    sending = records.resend(1.0, "n", row["attempt"], unresolved=False)
    await store.run(partial(records.beat, node="n", now=1.0))
    assert await store.run(partial(records.step, delivery=row["id"], state="RECEIVED", attempt=0, values=sending))
    own = {row["id"]} if under_way else set()
    assert await store.run(partial(records.take_over, now=9_000.0, lease=9.0, node="n", under_way=own)) == taken
