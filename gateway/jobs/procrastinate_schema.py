"""The tables of procrastinate, in a PostgreSQL schema of their own, `relais_jobs`.

It ships the whole of them in one file and the way from one version to the next as numbered migrations, without keeping
account: the account is the table `relais_migrations`. A migration named `…_pre_…` suits the version before and the one
after; a `…_post_…` one removes what only the version before used, so it waits until every node runs the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import psycopg

__all__ = ["NAME", "missing", "pending", "plain", "upgrade", "waiting"]

NAME = "relais_jobs"
LOCK = 7236453
"""Of one process at a time."""


def shipped() -> Path:
    """Where the installed procrastinate keeps its SQL; found without importing it."""
    found = find_spec("procrastinate")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "sql"


def plain(url: str) -> str:
    """The store's URL as the driver itself wants it."""
    return url.replace("+psycopg", "", 1)


def missing(url: str) -> bool:
    """Whether there are no such tables yet."""
    with _connected(url) as connection:
        return _applied(connection) is None


def pending(url: str, sql: Path | None = None) -> list[str]:
    """The migrations without which this version does not run."""
    left = _left(url, sql)
    return left[: len(left) - len(_at_the_end(left))]


def waiting(url: str, sql: Path | None = None) -> list[str]:
    """The migrations to apply once no node runs the version before."""
    return _at_the_end(_left(url, sql))


def upgrade(url: str, sql: Path | None = None, *, finish: bool = False) -> list[str]:
    """Makes the tables or brings them up to date; the migrations applied. `finish` applies those that wait, too.

    A `post` migration that stands before a `pre` one belongs to an earlier version, which no node runs any more.
    """
    sql = sql or shipped()
    with _connected(url) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        applied = _applied(connection)
        if applied is None:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {NAME}".encode())
            connection.execute("CREATE TABLE relais_migrations (name text PRIMARY KEY)")
            connection.execute((sql / "schema.sql").read_bytes())
            _note(connection, _names(sql))
            return []
        left = [name for name in _names(sql) if name not in applied]
        if not finish:
            left = left[: len(left) - len(_at_the_end(left))]
        for name in left:
            connection.execute((sql / "migrations" / name).read_bytes())
        _note(connection, left)
        return left


def _left(url: str, sql: Path | None) -> list[str]:
    with _connected(url) as connection:
        applied = _applied(connection)
    return [name for name in _names(sql or shipped()) if name not in (applied or ())]


def _at_the_end(left: Sequence[str]) -> list[str]:
    first = len(left)
    while first and "_post_" in left[first - 1]:
        first -= 1
    return list(left[first:])


def _names(sql: Path) -> list[str]:
    return sorted(path.name for path in (sql / "migrations").glob("*.sql"))


def _connected(url: str) -> psycopg.Connection:
    return psycopg.connect(plain(url), options=f"-c search_path={NAME}", connect_timeout=5)


def _applied(connection: psycopg.Connection) -> set[str] | None:
    if connection.execute("SELECT to_regclass(%s)", (f"{NAME}.relais_migrations",)).fetchone() == (None,):
        return None
    return {str(name) for (name,) in connection.execute("SELECT name FROM relais_migrations")}


def _note(connection: psycopg.Connection, names: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO relais_migrations VALUES (%s)", [(name,) for name in names])
