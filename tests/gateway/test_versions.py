"""This version and the one before, on one database: what an update without an interruption needs."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy

import gateway.store.migrations.versions as versions
from gateway.store import REVISION, revision, sync_engine
from tests.previous import unpack
from tests.torture.processes import KEY, PATH, configure, killed, publisher, said, serve, spawn

BEFORE = "0001"
"""The schema of the version before."""
FILE = bytes(range(251)) * 1000


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""


class Town:
    """A gateway's folder and database, a publisher, and the gateways of either version that run on them."""

    def __init__(self, folder: Path, store: str, upstream: str, session: aiohttp.ClientSession) -> None:
        self.config = configure(folder, upstream, store=store, log_level="info")
        self.url = store or f"sqlite:///{folder / 'data' / 'relais.db'}"
        self.before = unpack(folder / "before")
        self._upstream = upstream
        self._session = session
        self._stack = AsyncExitStack()

    async def relais(self, *arguments: str) -> tuple[int, str]:
        """A command of this version: its exit code and what it said."""
        process = await spawn("-m", "gateway", *arguments, "-c", str(self.config))
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def serve(self, *, before: bool = False) -> tuple[str, asyncio.subprocess.Process]:
        """The address of a gateway, and its process."""
        held = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        old: dict[str, Any] = {"code": self.before, "connector": "records:Records"} if before else {}
        process = await serve(self.config, held, stdout=asyncio.subprocess.PIPE, **old)
        self._stack.push_async_callback(killed, process)
        await said(process, "serving")
        assert process.stdout
        reading = asyncio.create_task(process.stdout.read())  # it never waits for its reader
        self._stack.callback(reading.cancel)
        return f"http://127.0.0.1:{held.getsockname()[1]}", process

    async def create(self, url: str, key: str) -> Any:
        """A record with a file that is long enough to be kept apart."""
        headers = {"X-API-Key": KEY, "Idempotency-Key": key}
        sent = {"text": key, "file": {"filename": "plan.bin", "content": base64.b64encode(FILE).decode()}}
        async with self._session.post(url + PATH, json=sent, headers=headers) as answer:
            return await answer.json()

    async def ledger(self) -> Any:
        """What the publisher executed, by reference, and the digests of the files it was sent."""
        async with self._session.get(f"{self._upstream}/ledger") as answer:
            return await answer.json()

    def apart(self) -> set[str]:
        """The deliveries whose files are kept apart."""
        return set(self.column("SELECT delivery FROM contents"))

    def states(self) -> list[str]:
        return self.column("SELECT state FROM deliveries")

    def column(self, query: str) -> list[str]:
        engine = sync_engine(self.url)
        with engine.connect() as connection:
            found = list(connection.execute(sqlalchemy.text(query)).scalars())
        engine.dispose()
        return found

    async def settled(self) -> set[str]:
        """The states, once none is open."""
        async with asyncio.timeout(40):
            while {"SENDING", "UNKNOWN", "RECEIVED"} & (found := set(await asyncio.to_thread(self.states))):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return found

    async def killed_while_sending(self, url: str, process: asyncio.subprocess.Process, name: str) -> None:
        """Kills a gateway that is in the middle of creates; the other one ends them."""
        creates = asyncio.gather(*(self.create(url, f"{name}-{n}") for n in range(15)), return_exceptions=True)
        while not creates.done() and "SENDING" not in await asyncio.to_thread(self.states):
            pass
        await killed(process)
        await creates
        assert "UNKNOWN" not in await self.settled()

    async def close(self) -> None:
        await self._stack.aclose()


@asynccontextmanager
async def a_town(folder: Path, store: str, share: float) -> AsyncIterator[Town]:
    async with publisher(share, 1, 1.0) as upstream, aiohttp.ClientSession() as session:
        town = Town(folder, store, upstream, session)
        try:
            yield town
        finally:
            await town.close()


@pytest.mark.timeout(240)
async def test_the_version_before_and_this_one_serve_together(tmp_path: Path, store: str) -> None:
    async with a_town(tmp_path, store, share=0.0) as town:
        # The version before, with deliveries of its own.
        old, old_process = await town.serve(before=True)
        assert revision(town.url) == BEFORE
        first = {f"before-{n}": await town.create(old, f"before-{n}") for n in range(10)}

        # The database is brought up to date while it goes on serving, then both serve.
        if store:
            assert (await town.relais("db", "upgrade"))[1].startswith(f"{BEFORE} → {REVISION}")
        new, new_process = await town.serve()
        assert revision(town.url) == REVISION
        await asyncio.gather(*(town.create(url, f"both-{n}") for n in range(20) for url in (old, new)))
        for key, answer in first.items():
            if answer["err"] == 0:
                assert (await town.create(new, key))["data"] == answer["data"]
        kept = await town.create(new, "after")
        assert kept["err"] != 0 or (await town.create(old, "after"))["data"] == kept["data"]

        # Either ends what the other was at when it died.
        await town.killed_while_sending(old, old_process, "dying")
        assert town.apart() == set()  # the version before could not have read them

        # Once only this version lives, and until the version before is back.
        async with asyncio.timeout(20):
            for number in itertools.count():
                await town.create(new, f"alone-{number}")
                if town.apart():
                    break
        await town.serve(before=True)
        await town.killed_while_sending(new, new_process, "again")
        assert (await town.relais("db", "check"))[0] == 0
        ledger = await town.ledger()
        assert len(town.apart()) == 1
    executed = ledger["executed"]
    assert [reference for reference, numbers in executed.items() if len(numbers) > 1] == []
    assert len(executed) > 30
    assert ledger["files"] == [hashlib.sha256(FILE).hexdigest()]


ADDS = ("create_table", "create_index", "add_column")
"""What a migration may do: the version before goes on running on the changed tables."""


def migrations() -> list[Path]:
    return sorted(Path(versions.__path__[0]).glob("m*.py"))


@pytest.mark.parametrize("path", migrations()[1:], ids=lambda path: path.stem)
def test_a_migration_only_adds(path: Path) -> None:
    """What is dropped, renamed or made mandatory waits for the version after next, and for a change of this test."""
    wrong = []
    for call in [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]:
        what = ast.unparse(call.func)
        if what.startswith("op.") and what.removeprefix("op.") not in ADDS:
            wrong.append(ast.unparse(call))
        if what == "op.add_column":
            (column,) = (one for one in call.args if isinstance(one, ast.Call))
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in column.keywords}
            if options.get("nullable") == "False" and "server_default" not in options:
                wrong.append(ast.unparse(call))
            if options.get("unique") == "True" or options.get("primary_key") == "True":
                wrong.append(ast.unparse(call))
        if what == "op.create_index" and "unique=True" in ast.unparse(call):
            wrong.append(ast.unparse(call))
    assert wrong == []


def test_the_last_migration_is_the_schema_of_this_version() -> None:
    assert migrations()[-1].stem.startswith(f"m{REVISION}_")
    assert [path.stem[1:5] for path in migrations()] == [f"{n:04}" for n in range(1, len(migrations()) + 1)]
