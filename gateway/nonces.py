"""Which signatures were already used: one SQLite file shared by the processes of a gateway, kept over restarts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import Internal
from .signature import WINDOW

__all__ = ["Nonces"]

KEPT = 4 * WINDOW  # seconds; a signature may be presented for 2 windows, the rest is for clocks that are set back
_PURGE_EVERY = 500


class Nonces:
    """Nonces already spent, in the file at `path` (its folder must exist). Nothing is opened before the first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="relais-nonces")
        self._connection: sqlite3.Connection | None = None
        self._spent = 0

    async def spend(self, orig: str, nonce: str, now: float) -> bool:
        """True once per `(orig, nonce)`, over all processes. `now`: seconds since 1970.

        Raises `Internal` when the file cannot be written: a signature that cannot be remembered is not accepted.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._spend, orig, nonce, now)
        except (sqlite3.Error, OSError, RuntimeError, UnicodeError) as error:
            raise Internal(detail=f"nonces cannot be written: {type(error).__name__}") from error

    async def close(self) -> None:
        """Closes the file; a later `spend` is refused."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=False)

    def _spend(self, orig: str, nonce: str, now: float) -> bool:
        if self._connection is None:
            self._connection = self._open()
        if self._spent % _PURGE_EVERY == 0:
            self._connection.execute("DELETE FROM nonces WHERE spent < ?", (now - KEPT,))
        self._spent += 1
        added = self._connection.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?, ?)", (orig, nonce, now))
        return added.rowcount == 1

    def _open(self) -> sqlite3.Connection:
        # One process at a time: SQLite does not wait for a lock when it turns a new file to WAL.
        lock = os.open(self._path.with_name(self._path.name + "-opening"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._prepared()
        finally:
            os.close(lock)

    def _prepared(self) -> sqlite3.Connection:
        # Autocommit: each INSERT is durable before its answer. check_same_thread stays on: one thread owns the file.
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS nonces (orig TEXT, nonce TEXT, spent REAL, PRIMARY KEY (orig, nonce))"
                " WITHOUT ROWID"
            )
            connection.execute("CREATE INDEX IF NOT EXISTS nonces_by_age ON nonces (spent)")
        except BaseException:
            connection.close()
            raise
        return connection
