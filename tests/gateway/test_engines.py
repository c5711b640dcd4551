"""What carries the hints, on both databases: the lease loop and procrastinate pass the same tests."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, update
from typer.testing import CliRunner

from gateway.__main__ import commands
from gateway.errors import BadSettings
from gateway.jobs import Engine, Jobs, procrastinate, procrastinate_schema
from gateway.jobs.lease import LOOK_EVERY, LeaseLoop, told_or
from gateway.jobs.procrastinate import Procrastinate
from gateway.jobs.schedules import HOLD, next_turn
from gateway.looking import AT_ONCE, EACH, Look
from gateway.store import Store, StoreUnavailable, deliveries, records
from gateway.store.records import New

PATIENCE = 60.0
"""Seconds before a test gives up, far above what it waits for: what tells how soon is which engine path is open."""

SELDOM = 4.0
"""Seconds between two polls of a worker that must be told."""


async def until(true: Callable[[], object]) -> None:
    """Waits for what the database or another process does, and tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def only_told(event: asyncio.Event, seconds: float) -> None:
    """The wait of a lease loop that never looks by itself."""
    await event.wait()


class Process:
    """One process of a gateway: its work ends deliveries, and notes them in `worked`, which all of a test share."""

    def __init__(self, name: str, store: Store, engine: Engine, worked: list[str]) -> None:
        self.name = name
        self.store = store
        self.worked = worked
        self.began = asyncio.Event()
        self.fails: list[Exception] = []
        self.blocked: asyncio.Event | None = None
        self.look = Look("deliveries", store, self.claim, self.work, records.first_due)
        self.jobs = Jobs(store, [self.look], engine)

    def claim(self, connection: Connection, most: int, busy: Collection[str]) -> Sequence[Any]:
        if self.fails:
            raise self.fails.pop()
        return records.claim(connection, time.time(), 30.0, most, self.name, EACH, busy)

    async def work(self, row: Any) -> None:
        self.worked.append(row["id"])
        self.began.set()
        if self.blocked is not None:
            await self.blocked.wait()
        done = {"state": "DONE", "next_at": None}
        step = partial(records.step, delivery=row["id"], state=row["state"], attempt=row["attempt"], values=done)
        await self.store.run(step)

    async def began_one(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.began.wait()
        self.began.clear()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path / 'relais.db'}"


Start = Callable[..., Any]


@pytest.fixture
async def start(url: str) -> AsyncIterator[Start]:
    """`await start()` gives a running process; options close one way of being told."""
    worked: list[str] = []
    async with AsyncExitStack() as stack:

        @asynccontextmanager
        async def one(name: str, engine: Engine) -> AsyncIterator[Process]:
            store = Store.open(url)
            process = Process(name, store, engine, worked)
            await store.run(partial(records.beat, node=name, now=time.time() + 3600))
            await process.jobs.start()
            yield process
            await process.jobs.stop()
            if process.blocked is not None:
                process.blocked.set()
            await process.jobs.settled()
            await store.close()

        async def begin(name: str = "one", *, polls: bool = True, sweep_every: int = 30) -> Process:
            engine: Engine
            if url.startswith("sqlite"):
                engine = LeaseLoop(time.time, wait=told_or if polls else only_told)
            else:
                engine = Procrastinate(
                    url, clock=time.time, poll=0.5 if polls else SELDOM, sweep_every=sweep_every, stalled=4.0
                )
            process: Process = await stack.enter_async_context(one(name, engine))
            if isinstance(engine, Procrastinate):
                await until(lambda: listening(url))
            return process

        yield begin


def listening(url: str) -> bool:
    return bool(jobs_of(url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"))


def jobs_of(url: str, query: str) -> list[Any]:
    with psycopg.connect(url, options=f"-c search_path={procrastinate_schema.NAME}", autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


async def received(store: Store, *, due: float = 0.0) -> str:
    """A delivery accepted for later, due at that instant."""
    name = records.new_id()
    new = New(name, f"k:{name}", "c", "i/x", "POST y", "idempotent", "r", "f", 5.0, "r", lambda row: b"x")
    await store.run(partial(records.begin, new=new, node="writer", now=due or time.time(), lease=10.0, defer=True))
    return name


async def test_work_begins_at_once_when_it_is_told(start: Start) -> None:
    process = await start(polls=False)
    waits = []
    for _ in range(5):
        one = await received(process.store)
        told = time.monotonic()
        process.jobs.wake("deliveries")
        await process.began_one()
        waits.append(time.monotonic() - told)
        assert process.worked[-1] == one
    # A worker that is just looking may miss a notification; then its poll finds the hint.
    assert min(waits) < SELDOM / 2


async def test_work_begins_when_it_is_due(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procrastinate, "NEAR", 0.0)
    process = await start()
    due = time.time() + 1.2
    await received(process.store, due=due)
    process.jobs.wake("deliveries", due)
    await process.began_one()
    assert time.time() >= due
    assert max(LOOK_EVERY, procrastinate.POLL) < 1.0


async def test_work_told_again_and_again_to_everybody_is_done_once(start: Start) -> None:
    one, two = await start("one"), await start("two")
    written = set()
    for _ in range(20):
        written.add(await received(one.store))
        for process in (one, two, one):
            process.jobs.wake("deliveries")
    await until(lambda: len(one.worked) >= 20)
    for process in (one, two):
        await process.look.look()
        await process.look.settled()
    assert sorted(one.worked) == sorted(written)


async def test_work_that_nobody_was_told_of_is_found(start: Start) -> None:
    process = await start(sweep_every=1)
    one = await received(process.store)
    await process.began_one()
    assert process.worked == [one]


async def test_more_work_than_room_is_done_by_whoever_has_room(start: Start) -> None:
    one, two = await start("one"), await start("two")
    one.blocked = asyncio.Event()
    for _ in range(12):
        await received(one.store)
    one.jobs.wake("deliveries")
    await until(lambda: len(one.worked) == 12 and two.began.is_set())
    assert len(set(one.worked)) == len(one.worked)


async def test_what_a_dead_process_held_is_taken_over(start: Start) -> None:
    process = await start(sweep_every=1)
    store = process.store
    held = await received(store, due=time.time() - 1)
    # It took the row, was never seen again, and told nobody.
    await store.run(lambda connection: connection.execute(update(deliveries).values(next_at=time.time() + 145.0)))
    await store.run(lambda connection: connection.execute(update(deliveries).values(owner="dead")))
    await store.run(partial(records.take_over, now=time.time(), lease=10.0, node="one"))
    await process.began_one()
    assert process.worked == [held]


async def test_a_look_that_raises_stops_nothing(start: Start) -> None:
    process = await start()
    process.fails = [ValueError("a bug"), StoreUnavailable(detail="away")]
    for _ in range(2):
        await received(process.store)
        process.jobs.wake("deliveries")
    await until(lambda: len(process.worked) >= 2)
    assert process.fails == []


async def test_work_that_raises_stops_nothing_and_makes_room(start: Start) -> None:
    process = await start()
    seen: list[str] = []
    process.look.observe = lambda name, outcome: seen.append(outcome)

    async def broken(row: Any) -> None:
        process.began.set()
        raise ValueError("a bug")

    process.look._handle = broken  # type: ignore[method-assign]
    await received(process.store)
    process.jobs.wake("deliveries")
    await process.began_one()
    await process.look.settled()
    assert (seen, process.look.room) == (["failed"], AT_ONCE)


async def test_a_process_that_stops_holds_nothing(start: Start, url: str) -> None:
    one, two = await start("one"), await start("two")
    await one.jobs.stop()
    await received(two.store)
    two.jobs.wake("deliveries")
    await two.began_one()
    assert await one.look.look() == 0
    if not url.startswith("sqlite"):
        assert len(jobs_of(url, "SELECT id FROM procrastinate_workers")) == 1
        assert jobs_of(url, "SELECT id FROM procrastinate_jobs WHERE worker_id IS NULL AND status = 'doing'") == []


async def test_the_store_away_and_back(start: Start, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    process = await start(sweep_every=1)
    if url.startswith("sqlite"):
        real = Store.run

        async def away(*_: Any) -> Any:
            raise StoreUnavailable(detail="away")

        monkeypatch.setattr(Store, "run", away)
        process.jobs.wake("deliveries")
        await asyncio.sleep(0)
        monkeypatch.setattr(Store, "run", real)
    else:
        name = url.rpartition("/")[2]
        with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            gone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            server.execute(gone, (name,))
            with pytest.raises(StoreUnavailable):
                await received(process.store)
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                one = await received(process.store)
                break
            except StoreUnavailable:
                await asyncio.sleep(0.05)
    await process.began_one()
    assert process.worked == [one]


# --- schedules --------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Deaf:
    """An engine that tells nobody: the test looks by itself."""

    async def start(self, kinds: Any) -> None: ...

    def wake(self, kind: str, at: float) -> None: ...

    async def stop(self) -> None: ...


@pytest.fixture
async def three(url: str) -> AsyncIterator[tuple[Clock, list[Jobs]]]:
    """Three processes on one database, and their clock."""
    clock = Clock(1000.0)
    stores = [Store.open(url) for _ in range(3)]
    yield clock, [Jobs(store, (), Deaf(), clock=clock) for store in stores]
    for store in stores:
        await store.close()


async def turned(processes: Sequence[Jobs]) -> None:
    """Each process looks at the schedules, and what it took has ended."""
    for process in processes:
        await process.kinds["schedules"].look()
        await process.settled()


def scheduled(processes: Sequence[Jobs], interval: float = 60.0, **options: Any) -> list[int]:
    """Declares the same schedule in each process; the list tells who ran it."""
    ran: list[int] = []

    async def run(rank: int) -> None:
        ran.append(rank)

    for rank, process in enumerate(processes):
        process.every("x", interval, partial(run, rank), **options)
    return ran


async def test_a_schedule_runs_once_over_all_processes(three: tuple[Clock, list[Jobs]]) -> None:
    clock, processes = three
    ran = scheduled(processes)
    await turned(processes)
    assert ran == []
    for clock.now in (1060.0, 1061.0, 1119.0, 1120.0):
        await turned(processes)
    assert len(ran) == 2


async def test_a_schedule_may_begin_at_once(three: tuple[Clock, list[Jobs]]) -> None:
    _, processes = three
    ran = scheduled(processes, at_start=True)
    await turned(processes)
    assert len(ran) == 1


@pytest.mark.parametrize(("catch_up", "times"), [("once", 1), ("skip", 0)])
async def test_missed_turns_are_made_up_for_once_or_left_out(
    three: tuple[Clock, list[Jobs]], catch_up: str, times: int
) -> None:
    clock, processes = three
    ran = scheduled(processes, catch_up=catch_up)
    await turned(processes)
    clock.now = 9000.0  # nobody was there for two hours
    await turned(processes)
    await turned(processes)
    assert len(ran) == times
    clock.now = 9041.0  # the next turn that was planned: 1060 + 133 × 60 = 9040
    await turned(processes)
    assert len(ran) == times + 1


async def test_a_turn_whose_process_died_is_taken_by_another(three: tuple[Clock, list[Jobs]]) -> None:
    clock, processes = three
    hanging = asyncio.Event()
    processes[0].every("x", 3600.0, hanging.wait, at_start=True)
    await processes[0].kinds["schedules"].look()
    ran = scheduled(processes[1:], 3600.0, at_start=True, catch_up="skip")
    await turned(processes[1:])
    assert ran == []
    clock.now += HOLD + 1
    await turned(processes[1:])
    assert len(ran) == 1
    hanging.set()
    await processes[0].settled()


async def test_a_schedule_whose_interval_was_shortened_comes_nearer(three: tuple[Clock, list[Jobs]]) -> None:
    clock, processes = three
    scheduled(processes[:1], 86_400.0)
    await turned(processes[:1])
    ran = scheduled(processes[1:], 60.0)
    await turned(processes[1:])
    clock.now += 61.0
    await turned(processes[1:])
    assert len(ran) == 1


async def test_a_schedule_that_raises_has_its_next_turn(three: tuple[Clock, list[Jobs]]) -> None:
    clock, processes = three
    ran: list[float] = []

    async def broken() -> None:
        ran.append(clock.now)
        raise ValueError("a bug")

    processes[0].every("x", 60.0, broken, at_start=True)
    await turned(processes[:1])
    clock.now += 60.0
    await turned(processes[:1])
    assert ran == [1000.0, 1060.0]


@pytest.mark.parametrize(
    ("turn", "now", "interval", "then"), [(0, 0, 60, 60), (0, 59.9, 60, 60), (0, 60, 60, 120), (30, 7231, 60, 7290)]
)
def test_the_next_turn_is_a_whole_number_of_intervals_away(
    turn: float, now: float, interval: float, then: float
) -> None:
    assert next_turn(turn, now, interval) == then


# --- procrastinate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_hints_do_not_grow_with_the_journal(start: Start, url: str) -> None:
    process = await start()
    later = time.time() + 100
    for number in range(300):
        process.jobs.wake("deliveries", later + number)
        process.jobs.wake("deliveries", later)
        await asyncio.sleep(0)
    engine = process.jobs._engine
    assert isinstance(engine, Procrastinate)
    await until(lambda: not engine._wanted)
    assert 1 <= len(jobs_of(url, "SELECT id FROM procrastinate_jobs WHERE task_name = 'look'")) <= 40


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_hint_that_a_dead_worker_had_taken_is_given_again(start: Start, url: str) -> None:
    process = await start(polls=False, sweep_every=1)
    one = await received(process.store)
    dead = jobs_of(
        url, "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1h') RETURNING id"
    )
    jobs_of(
        url,
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, worker_id)"
        f" VALUES ('relais', 'look', '{{\"kind\": \"deliveries\"}}', 'doing', {dead[0][0]})",
    )
    await process.began_one()
    assert process.worked == [one]
    await until(lambda: not (jobs_of(url, f"SELECT id FROM procrastinate_jobs WHERE worker_id = {dead[0][0]}")))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_hint_of_another_version_harms_nothing(start: Start, url: str) -> None:
    process = await start(polls=False)
    for task, kind in (("look", "unknown"), ("unknown", "deliveries")):
        jobs_of(
            url,
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
            f" VALUES ('relais', '{task}', '{{\"kind\": \"{kind}\"}}')",
        )
    await received(process.store)
    process.jobs.wake("deliveries")
    await process.began_one()


def a_later_version(folder: Path) -> Path:
    """The SQL of a procrastinate to come: a step for both versions, then one that removes what the old one used."""
    sql = shutil.copytree(procrastinate_schema.shipped(), folder / "sql")
    (sql / "migrations" / "99.00.00_01_pre_add.sql").write_text("CREATE TABLE added (a int)")
    (sql / "migrations" / "99.00.00_50_post_drop.sql").write_text("CREATE TABLE finished (a int)")
    return sql


def test_a_later_version_of_procrastinate_is_brought_in_two_steps(postgres: str, tmp_path: Path) -> None:
    assert procrastinate_schema.missing(postgres)
    assert procrastinate_schema.upgrade(postgres) == []
    assert not procrastinate_schema.missing(postgres)
    assert (procrastinate_schema.pending(postgres), procrastinate_schema.waiting(postgres)) == ([], [])
    sql = a_later_version(tmp_path)
    assert procrastinate_schema.pending(postgres, sql) == ["99.00.00_01_pre_add.sql"]
    assert procrastinate_schema.upgrade(postgres, sql) == ["99.00.00_01_pre_add.sql"]
    assert procrastinate_schema.pending(postgres, sql) == []
    assert procrastinate_schema.waiting(postgres, sql) == ["99.00.00_50_post_drop.sql"]
    assert procrastinate_schema.upgrade(postgres, sql) == []
    assert procrastinate_schema.upgrade(postgres, sql, finish=True) == ["99.00.00_50_post_drop.sql"]
    assert procrastinate_schema.waiting(postgres, sql) == []


def test_what_an_earlier_version_left_to_finish_is_finished_by_the_next(postgres: str, tmp_path: Path) -> None:
    sql = a_later_version(tmp_path)
    procrastinate_schema.upgrade(postgres)
    (sql / "migrations" / "99.01.00_01_pre_more.sql").write_text("CREATE TABLE more (a int)")
    assert [name[:8] for name in procrastinate_schema.upgrade(postgres, sql)] == ["99.00.00", "99.00.00", "99.01.00"]


def test_the_commands_bring_the_queue_up_to_date_and_finish_when_asked(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relais.toml").write_text(f'[gateway]\ndata = "data"\nstore = "{postgres}"\n')

    def relais(*arguments: str) -> tuple[int, str]:
        found = CliRunner().invoke(commands, ["db", *arguments, "-c", str(tmp_path / "relais.toml")])
        return found.exit_code, found.output

    assert relais("check")[0] == 1
    assert relais("upgrade")[0] == relais("check")[0] == 0
    sql = a_later_version(tmp_path)
    monkeypatch.setattr(procrastinate_schema, "shipped", lambda: sql)
    assert relais("check")[0] == 1
    code, said = relais("upgrade")
    assert (code, "+ 99.00.00_01_pre_add.sql" in said, "--finish" in said) == (0, True, True)
    assert relais("check")[0] == 0
    assert "+ 99.00.00_50_post_drop.sql" in relais("upgrade", "--finish")[1]
    assert "--finish" not in relais("upgrade")[1]


async def test_a_role_that_may_not_make_the_queue_is_told_what_it_needs(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    try:
        poor = postgres.replace("postgres@", "poor:poor@")
        with pytest.raises(BadSettings, match="schéma"):
            await Procrastinate(poor, clock=time.time).start({})
    finally:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("DROP ROLE poor")


async def test_a_queue_that_is_too_old_is_told_at_start(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    procrastinate_schema.upgrade(postgres)
    jobs_of(postgres, "DELETE FROM relais_migrations WHERE name = '03.04.00_01_pre_add_retry_failed_job_procedure.sql'")
    with pytest.raises(BadSettings, match="relais db upgrade"):
        await Procrastinate(postgres, clock=time.time).start({})


def test_a_gateway_on_sqlite_does_not_import_procrastinate() -> None:
    code = "import gateway.app, gateway.__main__, sys; sys.exit('procrastinate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
