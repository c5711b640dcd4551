"""Work without a caller, once over all processes; on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from gateway.store import REVISION, Store, _migrate, deliveries, operator, records, revision, sync_engine, upgrade
from gateway.store.records import New, Retention
from gateway.store.tables import DEAD, OPEN


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path / 'relais.db'}"


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two processes on one database."""
    one, two = Store.open(url), Store.open(url)
    yield one, two
    await one.close()
    await two.close()


def shape(database: str) -> dict[str, object]:
    """Tables, columns and indexes, to compare."""
    engine = sync_engine(database)
    found = inspect(engine)
    seen = {
        table: (
            sorted((c["name"], str(c["type"]), c["nullable"], str(c["default"])) for c in found.get_columns(table)),
            sorted((i["name"] or "", tuple(i["column_names"])) for i in found.get_indexes(table)),
        )
        for table in found.get_table_names()
    }
    engine.dispose()
    return seen


def test_the_migrations_lead_to_the_tables_that_are_made_at_once(tmp_path: Path) -> None:
    pytest.importorskip("alembic")
    made, led = (f"sqlite:///{tmp_path / name}.db" for name in ("made", "led"))
    upgrade(made)
    _migrate(led)
    assert shape(made) == shape(led)
    assert revision(led) == REVISION


def new(number: int) -> New:
    return New(
        records.new_id(), f"k:{number}", "c", "i/x", "POST y", "reconcilable", "r", "f", 5.0, "r", lambda row: b"x"
    )


async def state_of(store: Store) -> list[Any]:
    return list(await store.run(lambda connection: connection.execute(select(deliveries)).mappings().all()))


async def test_what_a_dead_process_was_sending_is_taken_over_once(stores: tuple[Store, Store]) -> None:
    one, two = stores
    await one.run(lambda connection: records.beat(connection, "dead", 1000.0))
    await one.run(lambda connection: records.begin(connection, new(1), "dead", 1000.0, 10.0))
    take = partial(records.take_over, now=1009.0, lease=10.0)
    assert [await one.run(take), await two.run(take)] == [0, 0]
    take = partial(records.take_over, now=1011.0, lease=10.0)
    assert [await one.run(take), await two.run(take)] == [1, 0]
    row = (await state_of(one))[0]
    assert (row["state"], row["quarantine"], row["unresolved"]) == ("UNKNOWN", 1016.0, True)


async def test_a_delivery_is_given_to_one_process_at_a_time(stores: tuple[Store, Store]) -> None:
    for number in range(5):
        begin = partial(records.begin, new=new(number), node="n", now=1.0, lease=1.0, defer=True)
        await stores[0].run(begin)
    claim = partial(records.claim, now=2.0, hold=30.0, most=3, node="n")
    given = [row["id"] for store in (*stores, *stores) for row in await store.run(claim)]
    assert len(given) == len(set(given)) == 5
    later = await stores[0].run(partial(records.claim, now=40.0, hold=30.0, most=9, node="n"))
    assert len(later) == 5


async def test_what_has_ended_is_erased_then_forgotten(stores: tuple[Store, Store]) -> None:
    one = stores[0]
    begun = await one.run(lambda connection: records.begin(connection, new(1), "n", 0.0, 10.0))
    ended = {"state": "DONE", "answer": b"a", "upstream_id": "R1", "next_at": None}
    await one.run(lambda connection: records.finish(connection, begun.id, 1, "n", 0.0, ended))
    purge = partial(records.purge, keep=Retention(7.0, 30.0, 400.0))
    assert await one.run(partial(purge, now=5.0)) == (0, 0)
    assert await one.run(partial(purge, now=8.0)) == (1, 0)
    row = (await state_of(one))[0]
    assert (row["request"], row["answer"], row["upstream_id"]) == (None, None, "R1")
    assert await one.run(partial(purge, now=31.0)) == (0, 1)
    assert await state_of(one) == []


async def test_what_waits_for_a_person_is_not_purged(stores: tuple[Store, Store]) -> None:
    one = stores[0]
    begun = await one.run(lambda connection: records.begin(connection, new(1), "n", 0.0, 10.0))
    await one.run(lambda connection: records.finish(connection, begun.id, 1, "n", 0.0, {"state": "PARKED"}))
    assert await one.run(partial(records.purge, now=9e9, keep=Retention(7.0, 30.0, 400.0))) == (0, 0)


async def test_the_figures_of_the_store_count_what_has_no_end(stores: tuple[Store, Store]) -> None:
    one = stores[0]
    for number, state in enumerate(("UNKNOWN", "PARKED", "DONE")):
        begun = await one.run(
            lambda connection, number=number: records.begin(connection, new(number), "n", 0.0, 10.0)  # type: ignore[misc]
        )
        end = partial(records.finish, delivery=begun.id, attempt=1, node="n", now=0.0, values={"state": state})
        await one.run(end)
    await one.run(lambda connection: records.beat(connection, "n", 100.0))
    found = await one.run(partial(operator.figures, now=105.0, lease=10.0))
    assert found.deliveries == {"RECEIVED": 0, "SENDING": 0, "UNKNOWN": 1, "PARKED": 1, "DUPLICATED": 0}
    assert (found.callbacks, found.processes) == ({"PENDING": 0, "DEAD": 0}, 1)
    assert (await one.run(partial(operator.counts, now=105.0, lease=10.0)))["oldest due, seconds"] == 105


def test_what_has_no_end_is_counted_by_its_index(tmp_path: Path) -> None:
    upgrade(url := f"sqlite:///{tmp_path / 'relais.db'}")
    engine = sync_engine(url)
    with engine.connect() as connection:
        for table, condition in (("deliveries", OPEN), ("callbacks", DEAD)):
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN SELECT count(*) FROM {table} WHERE {condition}"))
            assert "USING COVERING INDEX" in str(plan.all())
    engine.dispose()
