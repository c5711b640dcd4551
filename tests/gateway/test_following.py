"""What was created is followed to its end; one delivery of a subject at a time; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.store.tables import deliveries, followed

from .conftest import Gateway, running, upstream
from .till import Publisher, Till


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The gateway's options for each database."""
    return {} if request.param == "sqlite" else {"store": request.getfixturevalue("postgres")}


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
async def gateway(tmp_path: Path, publisher: Publisher, store: dict[str, Any]) -> AsyncIterator[Gateway]:
    async with (
        upstream(publisher) as url,
        running(tmp_path / "data", Till, settings={"url": url}, http={"breaker": False}, **store) as one,
    ):
        yield one
        publisher.slow.set()


DEBT = {"reference": "2026-7", "year": 2026}


async def pay(gateway: Gateway, **changed: Any) -> tuple[int, Any, Any]:
    return await gateway.call("POST", "/till/test/payments", json={**DEBT, **changed})


async def rows(gateway: Gateway, table: Any = followed) -> list[Any]:
    query = select(table).order_by(table.c.created)
    found = await gateway.server.deliveries.store.run(lambda connection: connection.execute(query).mappings().all())
    return list(found)


async def change(gateway: Gateway, **values: Any) -> None:
    await gateway.server.deliveries.store.run(lambda connection: connection.execute(update(followed).values(**values)))


async def looked(gateway: Gateway, looks: int) -> Any:
    """The followed row once it was looked at so often."""
    async with asyncio.timeout(10):
        while (found := (await rows(gateway))[0])["looks"] < looks:
            await gateway.server.following.look()
            await gateway.server.following.settled()
    return found


async def test_what_is_created_is_followed_before_its_caller_is_answered(gateway: Gateway) -> None:
    _, _, body = await pay(gateway)
    assert body == {"err": 0, "data": {"id": "P1"}}
    (row,) = await rows(gateway)
    assert (row["upstream_id"], row["status"], row["final"], row["looks"]) == ("P1", "", False, 0)
    assert row["next_at"] - row["created"] == pytest.approx(120.0)


async def test_a_look_sees_each_status_once_until_the_last(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    await change(gateway, next_at=0.0)
    row = await looked(gateway, 1)
    assert (row["status"], row["changes"], row["final"]) == ("started", 1, False)
    assert row["next_at"] - row["created"] == pytest.approx(120.0)
    await change(gateway, next_at=0.0)
    assert (await looked(gateway, 2))["changes"] == 1
    publisher.made["P1"] = "paid"
    await change(gateway, next_at=0.0)
    row = await looked(gateway, 3)
    assert (row["status"], row["changes"], row["final"], row["next_at"]) == ("paid", 2, True, None)


@pytest.mark.parametrize("strange", ["\0", "".join(map(chr, range(0x4E00, 0x7E00)))])
async def test_whatever_the_publisher_calls_it_the_outcome_is_written(
    gateway: Gateway, publisher: Publisher, strange: str
) -> None:
    publisher.prefix = strange
    async with asyncio.timeout(10):
        _, _, body = await pay(gateway)
    assert body["data"] == {"id": f"{strange}P1"}
    (delivery,) = await rows(gateway, deliveries)
    assert delivery["state"] == "DONE"
    (row,) = await rows(gateway)
    publisher.made[row["upstream_id"]] = f"{strange}started"
    await change(gateway, next_at=0.0)
    assert (await looked(gateway, 1))["changes"] == 1


async def test_the_caller_reads_how_far_it_is(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    publisher.made["P1"] = "paid"
    await change(gateway, next_at=0.0)
    await looked(gateway, 1)
    (delivery,) = await rows(gateway, deliveries)
    shown = await gateway.get(f"/deliveries/{delivery['id']}")
    progress = shown["data"]["followed"]
    assert (progress["id"], progress["status"], progress["final"], progress["next"]) == ("P1", "paid", True, None)
    assert progress["data"] == {"id": "P1", "status": "paid", "text": "", "final": True}


async def test_a_publisher_that_is_down_is_looked_at_later(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    publisher.down = True
    await change(gateway, next_at=0.0, created=0.0)
    row = await looked(gateway, 1)
    assert (row["changes"], row["status"], row["final"]) == (0, "", False)


async def test_the_cadence_slows_down_then_ends(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    now = gateway.server.deliveries.clock()
    for age, following in ((200.0, 300.0), (4000.0, 7200.0), (8.5 * 86400, 9 * 86400)):
        await change(gateway, next_at=0.0, created=now - age)
        looks = (await rows(gateway))[0]["looks"]
        row = await looked(gateway, looks + 1)
        assert row["next_at"] - row["created"] == pytest.approx(following)
    await change(gateway, next_at=0.0, created=now - 366 * 86400)
    assert (await looked(gateway, row["looks"] + 1))["next_at"] is None


async def test_what_the_publisher_no_longer_knows_ended_without_effect_where_declared(
    gateway: Gateway, publisher: Publisher
) -> None:
    await pay(gateway)
    del publisher.made["P1"]
    await change(gateway, next_at=0.0)
    row = await looked(gateway, 1)
    assert (row["status"], row["final"], row["void"], row["next_at"]) == ("NotFound", True, True, None)


async def ring(gateway: Gateway, number: str) -> Any:
    path = "/till/test/notification"
    async with gateway.session.post(gateway.url + path, json={"number": number}) as answer:
        assert answer.status == 200
        return await answer.json()


async def test_a_notification_makes_the_look_due_and_is_not_believed(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    assert await ring(gateway, "P1") == {"err": 0, "data": None}
    row = await looked(gateway, 1)
    assert (row["status"], row["final"]) == ("started", False)


@pytest.mark.parametrize("number", ["P2", ""])
async def test_an_unknown_notification_changes_nothing(gateway: Gateway, publisher: Publisher, number: str) -> None:
    await pay(gateway)
    before = await rows(gateway)
    assert await ring(gateway, number) == {"err": 0, "data": None}
    assert await rows(gateway) == before
    assert publisher.looks == 0


async def test_repeated_notifications_do_not_burden_the_publisher(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    for _ in range(5):
        await ring(gateway, "P1")
    await looked(gateway, 1)
    for _ in range(5):
        await ring(gateway, "P1")
        await gateway.server.following.look()
        await gateway.server.following.settled()
    row = (await rows(gateway))[0]
    assert publisher.looks == 1
    assert 0 < row["next_at"] - row["looked"] <= 5.0


async def test_a_notification_about_what_has_ended_changes_nothing(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    publisher.made["P1"] = "paid"
    await ring(gateway, "P1")
    before = await looked(gateway, 1)
    await ring(gateway, "P1")
    assert await rows(gateway) == [before]


@pytest.mark.parametrize("ended", ["without effect", "by the calendar"])
async def test_a_late_change_is_seen_when_the_publisher_calls(
    gateway: Gateway, publisher: Publisher, ended: str
) -> None:
    await pay(gateway)
    if ended == "without effect":
        publisher.made["P1"] = "refused"
        await change(gateway, next_at=0.0)
    else:
        await change(gateway, next_at=0.0, created=0.0)
    row = await looked(gateway, 1)
    assert row["next_at"] is None
    await change(gateway, looked=0.0)
    publisher.made["P1"] = "paid"
    await ring(gateway, "P1")
    row = await looked(gateway, 2)
    assert (row["status"], row["final"], row["void"], row["next_at"]) == ("paid", True, False, None)


# --- subjects ---------------------------------------------------------------------------------------------------------


async def test_the_second_request_of_a_subject_finds_what_the_first_made(
    gateway: Gateway, publisher: Publisher
) -> None:
    assert (await pay(gateway))[2]["data"] == {"id": "P1"}
    assert (await pay(gateway, note="again"))[2]["data"] == {"id": "P1"}
    assert (await pay(gateway, year=2027))[2]["data"] == {"id": "P2"}
    publisher.made["P1"] = "paid"
    _, _, body = await pay(gateway)
    assert (body["err_class"], body["err_desc"]) == ("Rejected", "Cette dette est déjà payée.")
    assert len(publisher.made) == 2


async def test_what_ended_without_effect_does_not_count(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway)
    publisher.made["P1"] = "refused"
    await change(gateway, next_at=0.0)
    await looked(gateway, 1)
    looks = publisher.looks
    assert (await pay(gateway))[2]["data"] == {"id": "P2"}
    assert publisher.looks == looks


async def test_one_request_of_a_subject_is_under_way_at_a_time(gateway: Gateway, publisher: Publisher) -> None:
    publisher.slow.clear()
    first = asyncio.create_task(pay(gateway))
    async with asyncio.timeout(5):
        while not await rows(gateway, deliveries):
            continue
    answers = await asyncio.gather(*(pay(gateway) for _ in range(5)))
    assert {(status, headers["Retry-After"], body["err_class"]) for status, headers, body in answers} == {
        (409, "10", "InProgress")
    }
    assert "même objet" in answers[0][2]["err_desc"]
    other = asyncio.create_task(pay(gateway, reference="2026-8"))
    publisher.slow.set()
    assert {(await first)[2]["data"]["id"], (await other)[2]["data"]["id"]} == {"P1", "P2"}
    assert (await pay(gateway))[2]["err"] == 0


async def test_many_requests_of_a_subject_at_once_make_one(gateway: Gateway, publisher: Publisher) -> None:
    answers = await asyncio.gather(*(pay(gateway) for _ in range(12)))
    assert len(publisher.made) == 1
    assert {status for status, _, _ in answers} <= {200, 409}


@pytest.mark.parametrize(("state", "said"), [("PARKED", "NeedsOperator"), ("UNKNOWN", "InProgress")])
async def test_a_subject_whose_outcome_is_unknown_waits(
    gateway: Gateway, publisher: Publisher, state: str, said: str
) -> None:
    await pay(gateway)
    await gateway.server.deliveries.store.run(
        lambda connection: connection.execute(update(deliveries).values(state=state))
    )
    _, _, body = await pay(gateway)
    assert body["err_class"] == said
    (row,) = await rows(gateway, deliveries)
    assert body["data"] == {"operation": row["id"], "status_url": f"/deliveries/{row['id']}"}
    assert len(publisher.made) == 1


async def test_a_look_asks_with_what_the_request_expected(gateway: Gateway, publisher: Publisher) -> None:
    await pay(gateway, note="Cantine, été")
    await change(gateway, next_at=0.0)
    await looked(gateway, 1)
    till = gateway.server.registry.instances["till/test"].connector
    assert till.notes == ["Cantine, été"]  # type: ignore[attr-defined]
    kept = [*await rows(gateway), *await rows(gateway, deliveries)]
    assert all(b"Cantine" not in (row["expected"] or b"") for row in kept)


async def test_what_was_made_for_a_subject_is_told_to_the_instance(gateway: Gateway, publisher: Publisher) -> None:
    _, _, paid = await pay(gateway)
    await pay(gateway, year=2025)
    publisher.made[paid["data"]["id"]] = "paid"
    await change(gateway, next_at=0.0)
    await looked(gateway, 1)
    assert (await gateway.get("/till/test/debts/2026-7?year=2026"))["data"] == [{"id": "P1", "text": "paid final"}]
    assert (await gateway.get("/till/test/debts/2026-7?year=2024"))["data"] == []


async def test_endpoints_that_name_one_subject_are_one_at_a_time(gateway: Gateway, publisher: Publisher) -> None:
    publisher.slow.clear()
    paying = asyncio.create_task(pay(gateway))
    await publisher.reached.wait()
    status, _, refused = await gateway.call("POST", "/till/test/payments/2026-7/cancel?year=2026")
    assert (status, refused["err_class"]) == (409, "InProgress")
    publisher.slow.set()
    await paying
    _, _, then = await gateway.call("POST", "/till/test/payments/2026-7/cancel?year=2026")
    assert then["data"]["id"] == "1"
