"""The store's one function, on both databases: what it returned is kept, what failed harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_bytes
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from gateway import store as under_test
from gateway.store import Store, StoreUnavailable, records
from gateway.store.records import New, Retention


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "postgresql":
        opened = Store.open(str(request.getfixturevalue("postgres")))
    else:
        opened = Store.open(f"sqlite:///{tmp_path / 'relais.db'}")
    yield opened
    await opened.close()


def due(connection: Connection, name: str, at: float) -> int:
    connection.execute(text("INSERT INTO schedules (name, due) VALUES (:name, :at)"), {"name": name, "at": at})
    return connection.execute(text("SELECT count(*) FROM schedules")).scalar_one()


async def test_many_works_at_once_are_all_carried_out_and_each_gets_its_own_answer(store: Store) -> None:
    async def one(number: int) -> int:
        await store.run(lambda connection: due(connection, f"n{number}", number))
        return await store.run(
            lambda connection: int(
                connection.execute(
                    text("SELECT due FROM schedules WHERE name = :name"), {"name": f"n{number}"}
                ).scalar_one()
            )
        )

    assert await asyncio.gather(*(one(number) for number in range(250))) == list(range(250))


async def test_a_work_that_fails_harms_none_of_those_committed_with_it(store: Store) -> None:
    def bad(_: Connection) -> None:
        raise ZeroDivisionError

    works: list[Any] = [lambda connection, n=number: due(connection, f"n{n}", n) for number in range(20)]
    works.insert(10, bad)
    works.insert(5, lambda connection: connection.execute(text("SELECT * FROM nowhere")))
    found = await asyncio.gather(*(store.run(work) for work in works), return_exceptions=True)
    assert [type(one) for one in found if not isinstance(one, int)] == [StoreUnavailable, ZeroDivisionError]
    assert await store.run(lambda c: c.execute(text("SELECT count(*) FROM schedules")).scalar_one()) == 20


async def test_a_closed_store_ends_what_it_was_given_and_takes_no_more(store: Store) -> None:
    given = [asyncio.ensure_future(store.run(lambda c, n=number: due(c, f"n{n}", n))) for number in range(150)]
    await asyncio.sleep(0)
    await store.close()
    assert len(await asyncio.gather(*given)) == 150
    with pytest.raises(StoreUnavailable):
        await store.run(lambda connection: due(connection, "late", 0.0))


async def test_a_row_held_elsewhere_fails_the_work_that_wants_it_and_none_behind_it(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "PATIENCE", 4.5)
    store = Store.open(postgres)
    await store.run(lambda connection: due(connection, "held", 0.0))

    def move(connection: Connection) -> None:
        connection.execute(text("UPDATE schedules SET due = 1 WHERE name = 'held'"))

    async with await psycopg.AsyncConnection.connect(postgres) as other:
        await other.execute("SELECT * FROM schedules FOR UPDATE")
        blocked = asyncio.ensure_future(store.run(move))
        behind = [asyncio.ensure_future(store.run(lambda c, n=n: due(c, f"n{n}", n))) for n in range(60)]
        await asyncio.gather(*behind)
        with pytest.raises(StoreUnavailable):
            await blocked
    await store.run(move)
    await store.close()


async def test_a_process_stopped_in_the_middle_of_a_transaction_gives_its_rows_back(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "PATIENCE", 0.6)
    frozen = under_test.postgresql_engine(postgres)
    store = Store.open(postgres)
    await store.run(lambda connection: due(connection, "held", 0.0))
    with frozen.connect() as connection:
        connection.execute(text("SELECT * FROM schedules FOR UPDATE"))

        async def moved() -> bool:
            try:
                await store.run(lambda c: c.execute(text("UPDATE schedules SET due = 1")).rowcount)
            except StoreUnavailable:
                return False
            return True

        async with asyncio.timeout(10):
            while not await moved():
                pass
        connection.invalidate()
    frozen.dispose()
    await store.close()


async def test_what_was_erased_is_gone_from_every_file_of_sqlite(tmp_path: Path) -> None:
    def content(folder: Path) -> bytes:
        return b"".join(file.read_bytes() for file in folder.iterdir())

    store = Store.open(f"sqlite:///{tmp_path / 'relais.db'}")
    marks = [token_bytes(size) for size in (40, 3_000, 20_000)]  # within a page, beyond one, over many

    def kept(number: int, mark: bytes) -> New:
        return New(
            f"id{number}",
            f"k:{number}",
            "c",
            "i/x",
            "P",
            "idempotent",
            "r",
            "f",
            1.0,
            "q",
            lambda _: mark,
            pieces=(lambda _: iter((b"head", mark[:999], mark[999:]))) if number else None,
        )

    for number, mark in enumerate(marks):
        await store.run(lambda c, n=number, m=mark: records.begin(c, kept(n, m), "n", 0.0, 10.0))
        ended = {"state": "DONE", "answer": mark[::-1], "next_at": None}
        await store.run(lambda c, n=number, e=ended: records.finish(c, f"id{n}", 1, "n", 0.0, e))
    whole = content(tmp_path)
    assert all(mark[:16] in whole for mark in marks)
    assert await store.run(lambda c: records.purge(c, 8.0, Retention(7.0, 30.0, 400.0))) == (3, 0)
    await store.wipe()
    left = content(tmp_path)
    for mark in marks:
        pieces = [mark[at : at + 16] for at in range(0, len(mark) - 16, 16)]
        assert not [piece for piece in pieces if piece in left or piece[::-1] in left]
    await store.close()
