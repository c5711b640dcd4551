"""A town's own database, where a connector must read or write it directly (PostgreSQL, SQLite).

    self.town = Database(settings.database_url, http)
    self.records = self.town.table(settings.table)
    …
    async with self.town.reading() as session:
        rows = await session.rows(self.records, ["NUMERO", "ETAT"], where={"NUMERO": number})
    async with self.town.writing() as session:
        row, created = await session.insert_once(self.records, values, by="REF_EXT")
    …
    async def close(self) -> None:
        await self.town.close()

Names of tables and columns come from settings and are looked up in the database's own catalogue: what is not there is
`Misconfigured`, what is there is quoted by the library. Values are bound parameters, always; before anything is
written each is held to its column (length, character set, type) and refused by the name of the form's field.

A session is one transaction with a time limit. Before its commit nothing is executed for good, so every failure says
`processed=False`; a commit without an answer is in doubt (`processed=None`, and the call's `effect_sent` is set).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sdk.call import current_call
from sdk.errors import Overloaded, RelaisError, Text, UpstreamInvalid
from sdk.http import Http
from sdk.matching import fold
from sdk.model import Secret, invalid_input

from . import failures
from .columns import Shape, codec_of, fit, read_shape
from .opening import open_postgres, open_sqlite, read_target

__all__ = ["Database", "Session", "SqlTable"]

LONGEST_LIST = 1000
WAIT_FOR_CONNECTION = 1.0
"""Seconds a session waits for one of the connections."""
_READ_ONLY = "relais_read_only"
_WORDS = 8
_ACCENTED = "àáâãäåçèéêëìíîïñòóôõöùúûüýÿ"
_PLAIN = "aaaaaaceeeeiiiinooooouuuuyy"

_log = structlog.get_logger("relais.sql")


class SqlTable:
    """A table (or a view) of a `Database`; nothing is read of it before it is used. `setting` names it in errors."""

    def __init__(self, name: str, setting: str, charset: str) -> None:
        self.name = name
        self._setting = setting
        self._charset = charset
        self._shape: Shape | None = None

    async def _read(self, connection: AsyncConnection) -> Shape:
        if self._shape is None:
            self._shape = await connection.run_sync(read_shape, self.name, self._charset, self._setting)
        return self._shape

    def _forget(self) -> None:
        self._shape = None


class Database:
    """A database of the town's, opened when first used. `url`: `postgresql://user:password@host:port/name` or
    `sqlite:////whole/path`; the address must be one that the operator lets the gateway reach.

    `charset`: the character set the software reads, when it is narrower than the database's (`"cp1252"`); `timeout`:
    seconds for a whole transaction; `connections`: most at once; `setting` names `url` in errors. Raises
    `Misconfigured` for an address that is not one.
    """

    def __init__(
        self,
        url: Secret,
        http: Http,
        *,
        setting: str = "database_url",
        charset: str = "",
        timeout: float = 10.0,
        connections: int = 4,
    ) -> None:
        self._target = read_target(url, setting)
        self._http = http
        self._charset = charset
        codec_of(charset or "utf-8")
        self._timeout = timeout
        self._connections = connections
        self._tables: dict[str, SqlTable] = {}
        self._engine: AsyncEngine | None = None

    def table(self, name: str, *, setting: str = "table") -> SqlTable:
        """The table of this name (`schema.name`), as the catalogue spells it."""
        return self._tables.setdefault(name, SqlTable(name, setting, self._charset))

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """`async with database.reading() as session`: a read-only transaction."""
        return self._session(read_only=True)

    def writing(self) -> AbstractAsyncContextManager[Session]:
        """`async with database.writing() as session`: a transaction, committed when the block ends well."""
        return self._session(read_only=False)

    async def close(self) -> None:
        """Closes every connection."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    @asynccontextmanager
    async def _session(self, *, read_only: bool) -> AsyncIterator[Session]:
        call = current_call()
        allowed = min(self._timeout, call.remaining())
        if allowed <= 0:
            raise failures.late(processed=False, detail="no time left")
        started, outcome, committing = time.monotonic(), "cancelled", False
        try:
            async with asyncio.timeout(allowed), self._opened(read_only, allowed) as connection:
                yield Session(connection)
                if not read_only and not call.repeatable:
                    if call.guard is not None:
                        call.guard()
                    call.effects += 1
                    call.effect_sent = True
                committing = not read_only
                await connection.commit()
            outcome = "answered"
        except DBAPIError as error:
            failure = failures.explained(error, committing=committing)
            if failures.changed(failure):
                for table in self._tables.values():
                    table._forget()
            outcome = type(failure).__name__
            raise failure from None
        except NoConnectionFree:
            outcome = "Overloaded"
            raise Overloaded(
                Text("Trop de demandes à la fois pour la base.", en="Too many requests at once for the database."),
                retry_after=2.0,
            ) from None
        except TimeoutError:
            outcome = "timeout"
            raise failures.late(
                processed=None if committing else False, detail="commit in doubt" if committing else "before the commit"
            ) from None
        except RelaisError as error:
            outcome = type(error).__name__
            raise
        finally:
            spent = time.monotonic() - started
            call.exchanges += 1
            call.upstream_seconds += spent
            (_log.debug if outcome == "answered" else _log.info)(
                "upstream",
                instance=self._http.instance,
                method="READ" if read_only else "WRITE",
                host=self._target.shown,
                duration_ms=round(spent * 1000, 1),
                request_id=call.request_id,
                outcome=outcome,
            )

    @asynccontextmanager
    async def _opened(self, read_only: bool, allowed: float) -> AsyncIterator[AsyncConnection]:
        if self._engine is None:
            self._engine = self._make_engine()
        options: dict[str, Any] = {_READ_ONLY: read_only}
        if self._target.kind == "postgresql":
            options["postgresql_readonly"] = read_only
        async with self._engine.connect() as connection:
            await connection.execution_options(**options)
            if self._target.kind == "sqlite":
                until = time.monotonic() + allowed
                raw: Any = (await connection.get_raw_connection()).driver_connection
                await raw.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            await connection.begin()
            if self._target.kind == "postgresql":
                limit = str(max(1, int(allowed * 900)))  # sooner than our own limit, so that the server ends it cleanly
                await connection.execute(
                    sa.text("select set_config('statement_timeout', :t, true), set_config('lock_timeout', :t, true)"),
                    {"t": limit},
                )
            yield connection

    def _make_engine(self) -> AsyncEngine:
        sqlite = self._target.kind == "sqlite"

        async def open_one() -> Any:
            if sqlite:
                return await open_sqlite(self._target, self._timeout)
            return await open_postgres(self._target, self._http.egress, self._http.instance)

        engine = create_async_engine(
            f"{self._target.dialect}://",
            async_creator=open_one,
            pool_size=self._connections,
            max_overflow=0,
            pool_timeout=WAIT_FOR_CONNECTION,
            pool_recycle=300,
            pool_pre_ping=not sqlite,  # a connection the server dropped is found before anything is said on it
            hide_parameters=True,
            poolclass=sa.pool.AsyncAdaptedQueuePool,
        )
        if sqlite:
            sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine


def _begin_sqlite(connection: sa.Connection) -> None:
    """Writers take their turn from the start: what `insert_once` reads stays true until it writes."""
    read_only = connection.get_execution_options().get(_READ_ONLY)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


class Session:
    """One transaction. Rows are dictionaries by column name; values are text, numbers, booleans, dates, None."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def verify(self, table: SqlTable, columns: Sequence[str], *, setting: str) -> None:
        """Raises `Misconfigured`, naming `setting`, unless the table and all the columns are there."""
        table._forget()
        (await table._read(self._connection)).require(columns, setting)

    async def rows(
        self,
        table: SqlTable,
        columns: Sequence[str],
        *,
        where: Mapping[str, Any] | None = None,
        search: Sequence[str] = (),
        q: str = "",
        order: Sequence[str] = (),
        limit: int = LONGEST_LIST,
        distinct: bool = False,
    ) -> list[dict[str, Any]]:
        """The rows that have these values, at most `limit`. Each word of `q` must be in one of the columns of
        `search`, accents and case apart. `order`: columns, `-` in front for descending.
        """
        if q and not search:
            raise ValueError("say in which columns to search")
        shape = await table._read(self._connection)
        wanted = [shape.column(name) for name in columns]
        query = sa.select(*wanted).limit(limit)
        conditions = _conditions(where or {}, shape)
        if conditions is None:
            return []
        query = query.where(*conditions)
        for word in fold(q).split()[:_WORDS]:
            if not shape.holds(word):
                return []
            searched = (self._folded(shape.column(name), shape) for name in search)
            query = query.where(sa.or_(*(each.contains(word, autoescape=True) for each in searched)))
        for name in order:
            column = shape.column(name.removeprefix("-"))
            query = query.order_by(column.desc() if name.startswith("-") else column.asc())
        try:
            found = await self._connection.execute(query.distinct() if distinct else query)
            return [_row(wanted, each) for each in found]
        except DBAPIError:
            raise
        except (StatementError, ValueError, LookupError) as error:  # SQLite keeps anything in any column
            raise UpstreamInvalid(
                Text(
                    "La base contient une valeur qui n'est pas du type de sa colonne.",
                    en="The database holds a value that is not of its column's type.",
                ),
                detail=type(error).__name__,
                processed=False,
            ) from None

    async def insert(
        self,
        table: SqlTable,
        values: Mapping[str, Any],
        *,
        returning: Sequence[str] = (),
        fields: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Writes a row and gives the `returning` columns of it, those the database fills included.

        `InvalidInput` names, for each value that does not fit, its field of the form (`fields`: column → field).
        """
        shape = await table._read(self._connection)
        wanted = [shape.column(name) for name in returning]
        query = sa.insert(shape.table).values(_checked(values, shape, fields or {}, whole=True))
        if not wanted:
            await self._connection.execute(query)
            return {}
        return _row(wanted, (await self._connection.execute(query.returning(*wanted))).one())

    async def insert_once(
        self,
        table: SqlTable,
        values: Mapping[str, Any],
        *,
        by: str,
        returning: Sequence[str] = (),
        fields: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], bool]:
        """Writes a row unless one has the same value in column `by`; the row, and whether it was written now.

        Two callers with the same value take turns, over all processes: the column needs no unique index.
        """
        shape = await table._read(self._connection)
        shape.require([by, *returning])
        fitted = _checked(values, shape, fields or {}, whole=True)
        if fitted.get(by) is None:
            raise ValueError("give the value that tells two rows apart")
        if self._connection.dialect.name == "postgresql":
            key = f"relais {table.name} {fitted[by]}"
            await self._connection.execute(
                sa.text("select pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key}
            )
        there = await self.rows(table, returning, where={by: fitted[by]}, limit=1)
        if there:
            return there[0], False
        await self._connection.execute(sa.insert(shape.table).values(fitted))
        written = await self.rows(table, returning, where={by: fitted[by]}, limit=1)
        if not written:  # a rule of the database changed the reference, or hides the row
            raise UpstreamInvalid(
                Text(
                    "La base n'a pas gardé l'enregistrement tel qu'il a été écrit.",
                    en="The database did not keep the record as it was written.",
                ),
                detail="the row is not found by its reference",
                processed=False,
            )
        return written[0], True

    async def update(
        self,
        table: SqlTable,
        values: Mapping[str, Any],
        *,
        where: Mapping[str, Any],
        fields: Mapping[str, str] | None = None,
    ) -> int:
        """Changes the rows that have the values of `where` (never none given); how many they are."""
        if not where:
            raise ValueError("say which rows to change")
        shape = await table._read(self._connection)
        conditions = _conditions(where, shape)
        fitted = _checked(values, shape, fields or {}, whole=False)
        if conditions is None:
            return 0
        query = sa.update(shape.table).values(fitted).where(*conditions)
        return (await self._connection.execute(query)).rowcount

    def _folded(self, column: sa.Column[Any], shape: Shape) -> sa.ColumnElement[str]:
        """The column without accents or case, as `fold` does it: by the library in SQLite, by the server elsewhere."""
        text: sa.ColumnElement[str] = sa.cast(column, sa.Text)
        if self._connection.dialect.name == "sqlite":
            return sa.func.relais_fold(text, type_=sa.Text)
        for ligature, letters in (("œ", "oe"), ("Œ", "oe"), ("æ", "ae"), ("Æ", "ae")):
            if shape.holds(ligature):
                text = sa.func.replace(text, ligature, letters, type_=sa.Text)
        # Capitals too: in some locales the server's own lower() knows only A to Z.
        pairs = [(a, p) for a, p in zip(_ACCENTED + _ACCENTED.upper(), _PLAIN * 2, strict=True) if shape.holds(a)]
        text = sa.func.translate(text, "".join(a for a, _ in pairs), "".join(p for _, p in pairs), type_=sa.Text)
        return sa.func.lower(text, type_=sa.Text)


def _checked(values: Mapping[str, Any], shape: Shape, fields: Mapping[str, str], *, whole: bool) -> dict[str, Any]:
    """The values as their columns take them, or `InvalidInput` naming the form's fields."""
    fitted, faults = fit(values, shape, whole=whole)
    if faults:
        raise invalid_input({fields.get(name, name): [sentence] for name, sentence in faults.items()})
    return fitted


def _conditions(where: Mapping[str, Any], shape: Shape) -> list[sa.ColumnElement[bool]] | None:
    """The columns have these values; None when no row can have them."""
    shape.require(where)
    fitted, faults = fit({name: value for name, value in where.items() if value is not None}, shape, whole=False)
    if faults or None in fitted.values() or not all(shape.holds(value) for value in where.values()):
        return None
    return [shape.column(name) == value for name, value in {**where, **fitted}.items()]


def _row(columns: Sequence[sa.Column[Any]], values: sa.Row[Any]) -> dict[str, Any]:
    """A fixed-width text comes padded: the spaces at its end are not part of it."""
    return {
        column.name: value.rstrip() if isinstance(value, str) and isinstance(column.type, sa.CHAR) else value
        for column, value in zip(columns, values, strict=True)
    }
