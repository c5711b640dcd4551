"""The store: one function, `run`, that carries out a piece of work in one durable transaction.

    Store.open("sqlite:///…/relais.db")         embedded: one file, WAL, synchronous=FULL
    Store.open("postgresql://…")                shared by several nodes

A work is a plain function of a SQLAlchemy `Connection` without other effect: it may be run again when its transaction
could not be committed. Works that wait are committed together: one sync of the disk for all of them. What `run`
returned is on disk.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.errors import BadSettings
from sdk.errors import RelaisError, Text

from .tables import audit, deliveries, metadata, nodes, nonces, schedules

__all__ = ["REVISION", "Store", "StoreUnavailable", "audit", "deliveries", "nodes", "nonces", "revision", "schedules"]

T = TypeVar("T")
Work = Callable[[Connection], T]

REVISION = "0004"
"""The schema this version is written for: the last file of `migrations/versions`."""
MOST_IN_A_GROUP = 100
PATIENCE = 5.0
"""Seconds waited for another process that writes to the same rows (PostgreSQL) or file (SQLite)."""
WRITERS = 2
"""Threads that write to PostgreSQL: while one waits for a row held elsewhere, the other goes on. SQLite has one."""
SLOWEST = 5_000_000
"""Bytes a second at which a long content is written to PostgreSQL at the slowest."""


class StoreUnavailable(RelaisError):
    """The journal cannot be written: nothing with an effect is sent; reads go on."""

    status = 503
    origin = "gateway"

    def __init__(self, *, detail: str = "") -> None:
        super().__init__(
            Text(
                "Le journal de la passerelle est indisponible ; rien n'a été transmis.",
                en="The gateway's journal is unavailable; nothing was sent.",
            ),
            detail=detail,
            retry_after=5.0,
            processed=False,
        )


class Store:
    """The open store; see `open`. `sqlite` says which of the two it is, `closed` that it takes no more work."""

    def __init__(self, url: str) -> None:
        self.sqlite = url.startswith("sqlite")
        self.closed = False
        self._engine = sqlite_engine(url) if self.sqlite else postgresql_engine(url)
        self._works: queue.SimpleQueue[tuple[Work[Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write, name="relais-store", daemon=True)
            for _ in range(1 if self.sqlite else WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def open(cls, url: str) -> Store:
        """The store at `url`, its tables made when there are none. Raises `BadSettings` with what to do."""
        with _alone_on(url):
            found = revision(url)
            if found is None:
                _make(url)
            elif found < REVISION and url.startswith("sqlite"):
                _migrate(url)
            elif found < REVISION:
                raise BadSettings(
                    Text(
                        f"la base est à la version {found}, il faut {REVISION} : lancez « relais db upgrade »",
                        en=f'the database is at version {found}, {REVISION} is needed: run "relais db upgrade"',
                    )
                )
            return cls(url)

    async def run(self, work: Work[T], size: int = 0) -> T:
        """What `work` returns, once its transaction is durable; it writes or reads `size` bytes where these are many.
        Raises `StoreUnavailable`: nothing was kept, except where the connection broke during the commit or was not
        heard of in time (PostgreSQL), when it may have been.
        """
        if self.closed:
            raise StoreUnavailable(detail="closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._works.put((work, future))
        if self.sqlite:
            return await future
        try:
            async with asyncio.timeout(PATIENCE + size / SLOWEST):
                return await future
        except TimeoutError as error:
            raise StoreUnavailable(detail="no answer in time") from error

    async def wipe(self) -> None:
        """Leaves nothing of what was erased in SQLite's files: its place is zeroed already; here the write-ahead log,
        which holds older pages, is cut. What PostgreSQL keeps of it goes with its own VACUUM.
        """
        if self.sqlite and not self.closed:
            await asyncio.to_thread(self._cut)

    def _cut(self) -> None:
        with suppress(SQLAlchemyError), self._engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    async def close(self) -> None:
        """Ends after the works already given."""
        self.closed = True
        threads, self._threads = self._threads, []
        for _ in threads:
            self._works.put(None)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        self._engine.dispose()

    # --- the writers of this process ----------------------------------------------------------------------------------

    def _write(self) -> None:
        ending = False
        while not ending:
            group, ending = self._next_group()
            if not group:
                continue
            done = self._together([work for work, _ in group])
            if done is None:
                done = [self._alone(work) for work, _ in group]
            ended = [(future, result) for (_, future), result in zip(group, done, strict=True)]
            for loop in {future.get_loop() for future, _ in ended}:
                try:
                    loop.call_soon_threadsafe(_settle, [one for one in ended if one[0].get_loop() is loop])
                except RuntimeError:
                    continue  # that loop has ended, and with it whoever waited

    def _next_group(self) -> tuple[list[tuple[Work[Any], asyncio.Future[Any]]], bool]:
        """The works that wait, at least one, but for those nobody waits for any more; and whether it was the end."""
        group: list[tuple[Work[Any], asyncio.Future[Any]]] = []
        given = self._works.get()
        while given is not None:
            if not given[1].done():
                group.append(given)
            if len(group) == MOST_IN_A_GROUP:
                return group, False
            try:
                given = self._works.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _together(self, works: list[Work[Any]]) -> list[Any] | None:
        """One transaction, one sync of the disk; None when one of them failed, and none was kept."""
        try:
            with self._engine.begin() as connection:
                return [work(connection) for work in works]
        except Exception:
            return None

    def _alone(self, work: Work[Any]) -> Any:
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, OSError) as error:
            failure = StoreUnavailable(detail=_told(error))
            failure.__cause__ = error
            return _Failed(failure)
        except Exception as error:
            return _Failed(error)


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _settle(ended: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in ended:
        if future.done():
            continue
        if isinstance(result, _Failed):
            future.set_exception(result.error)
        else:
            future.set_result(result)


def _told(error: BaseException) -> str:
    """What went wrong, without the statement's values."""
    cause = getattr(error, "orig", None) or error
    said = str(cause).splitlines()[0][:120] if isinstance(error, DBAPIError) and str(cause) else ""
    return f"{type(cause).__name__} {said}".strip()


# --- engines ----------------------------------------------------------------------------------------------------------


def driver_url(url: str) -> str:
    """The URL as SQLAlchemy wants it."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+psycopg://{url.removeprefix(scheme)}"
    return url


def sqlite_engine(url: str) -> Engine:
    """An engine whose every transaction takes the write lock at once and is on disk when it ends."""
    engine = sqlalchemy.create_engine(
        url, connect_args={"timeout": PATIENCE, "check_same_thread": False}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def postgresql_engine(url: str) -> Engine:
    """An engine whose every transaction ends within `PATIENCE`, also when its process was stopped in the middle of it:
    a frozen node holds no row for long, and a row held elsewhere fails the work that wants it, not those behind it.
    """
    engine = sqlalchemy.create_engine(
        driver_url(url),
        pool_size=WRITERS,
        connect_args={"connect_timeout": int(PATIENCE), "tcp_user_timeout": int(1000 * PATIENCE)},
        execution_options={"preserve_rowcount": True},  # of an INSERT too: whether the row was there already
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        most = int(1000 * PATIENCE)
        connection.execute(f"SET statement_timeout = {most}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {most}")
        connection.execute(f"SET lock_timeout = {most // 3}")
        connection.commit()

    return engine


def sync_engine(url: str) -> Engine:
    """An engine for a command (migrations, checks)."""
    if url.startswith("sqlite"):
        return sqlite_engine(url)
    return sqlalchemy.create_engine(driver_url(url), hide_parameters=True)


# --- schema -----------------------------------------------------------------------------------------------------------


def revision(url: str) -> str | None:
    """The schema's version in the database, None when it has none. Raises `BadSettings` when it cannot be reached."""
    path = url.removeprefix("sqlite:///")
    if url.startswith("sqlite") and not os.path.exists(path):
        return None
    engine = sync_engine(url)
    try:
        with engine.begin() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return None if found is None else str(found)
    except (SQLAlchemyError, OSError) as error:
        said = _told(error)
        raise BadSettings(
            Text(f"[gateway] store : base injoignable ({said})", en=f"[gateway] store: database out of reach ({said})")
        ) from None
    finally:
        engine.dispose()


def upgrade(url: str) -> str:
    """Brings the schema to this version; its name. One process at a time, the others wait and find it done."""
    with _alone_on(url):
        if revision(url) is None:
            _make(url)
        else:
            _migrate(url)
    return REVISION


def _make(url: str) -> None:
    """The tables of an empty database, at once; they are those that the migrations lead to (a test compares them)."""
    engine = sync_engine(url)
    try:
        with engine.begin() as connection:
            if not url.startswith("sqlite"):
                connection.execute(text("SELECT pg_advisory_xact_lock(7236451)"))
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                metadata.create_all(connection)
                connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
                connection.execute(text("INSERT INTO alembic_version VALUES (:v)"), {"v": REVISION})
    finally:
        engine.dispose()


def _migrate(url: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    engine = sync_engine(url)
    try:
        with engine.connect() as connection:
            if not url.startswith("sqlite"):
                connection.execute(text("SELECT pg_advisory_lock(7236451)"))
                connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


class _alone_on:
    """One process at a time on a SQLite file that is being made: SQLite does not wait while it turns a file to WAL."""

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("sqlite:///") + "-opening" if url.startswith("sqlite:///") else None

    def __enter__(self) -> None:
        self._lock = -1
        if self._path is not None:
            import fcntl

            self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self._lock >= 0:
            os.close(self._lock)
