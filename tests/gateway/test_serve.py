"""The `relais serve` command as the operator runs it: real processes, real signals, one inherited socket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gateway.signature import sign

ROOT = Path(__file__).resolve().parents[2]
KEY = "the-signature-key-of-the-tests"
CONFIG = """
[gateway]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data = "data"

[clients.wcs]
basic = {{ username = "wcs", password = {{ env = "WCS_PASSWORD" }} }}
signature = {{ orig = "demarches.example.org", key = {{ file = "key" }} }}
rights = ["garden/*/*"]

[instances.garden.town]
settings = {{ password = "x"{more} }}
"""


ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""The protocol of systemd's socket activation: the socket is file 3, and the variables say for which process."""


def configured(folder: Path, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "key").write_text(KEY + "\n")
    (folder / "relais.toml").write_text(CONFIG.format(more=more))
    return folder / "relais.toml"


async def relais(*arguments: str, held: socket.socket | None = None, **environment: str) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "gateway", *arguments]
    if held is not None:
        command = [sys.executable, "-c", ACTIVATE, str(held.fileno()), *command]
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        pass_fds=[held.fileno()] if held is not None else [],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "WCS_PASSWORD": "pass-é", "RELAIS_LANG": "fr", **environment},
    )


class Served:
    """A running command; `events` are its log lines so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.url = self.admin = ""

    async def event(self, name: str, accept: Callable[[dict[str, Any]], bool] = lambda event: True) -> dict[str, Any]:
        """The next event of this name; fails after 20 s or at the end of the output."""
        assert self.process.stdout
        async with asyncio.timeout(20):
            while line := await self.process.stdout.readline():
                self.events.append(json.loads(line))
                if self.events[-1]["event"] == name and accept(self.events[-1]):
                    return self.events[-1]
        raise AssertionError(
            f"no {name} in {self.events} {await self.process.stderr.read() if self.process.stderr else ''!r}"
        )


@asynccontextmanager
async def served(
    config: Path, workers: int = 2, held: socket.socket | None = None, more: Sequence[str] = ()
) -> AsyncIterator[Served]:
    known = ("--connector", "tests.gateway.garden:Garden", *more)
    process = await relais("serve", "-c", str(config), "--workers", str(workers), *known, held=held)
    running = Served(process)
    try:
        for _ in range(workers):
            event = await running.event("serving")
            running.url = "http://{}:{}".format(*event["address"])
            running.admin = "http://{}:{}".format(*event["admin"]) if event.get("admin") else running.admin
        yield running
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(40):
                await process.communicate()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    basic = aiohttp.encode_basic_auth("wcs", "pass-é")
    async with aiohttp.ClientSession(headers={"Authorization": basic}) as session:
        yield session


@pytest.fixture
async def stranger() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        yield session


def signed(nonce: str) -> str:
    now = datetime.now(UTC)
    return sign("q=rose&orig=demarches.example.org", KEY, timestamp=now, nonce=nonce)


async def test_it_answers_and_stops_cleanly_on_sigterm(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with served(configured(tmp_path)) as running:
        async with session.get(f"{running.url}/garden/town/flowers?q=paquerette") as answer:
            assert (await answer.json())["data"] == [{"id": "1", "text": "Pâquerette"}]
        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            assert await running.process.wait() == 0


async def test_the_processes_share_the_calls(tmp_path: Path) -> None:
    async with served(configured(tmp_path)) as running:
        basic = {"Authorization": aiohttp.encode_basic_auth("wcs", "pass-é")}

        async def pid() -> int:
            async with (
                aiohttp.ClientSession(headers=basic) as session,
                session.get(f"{running.url}/garden/town/process") as answer,
            ):
                return int((await answer.json())["data"]["pid"])

        pids: set[int] = set()
        for _ in range(50):
            pids |= set(await asyncio.gather(*(pid() for _ in range(20))))
            if len(pids) == 2:
                break
        assert len(pids) == 2


async def test_a_replayed_signature_is_refused_by_every_process_and_after_a_restart(
    tmp_path: Path, stranger: aiohttp.ClientSession
) -> None:
    config = configured(tmp_path)
    query = signed("0123456789abcdef0123456789abcdef")

    async def statuses(url: str, times: int) -> list[int]:
        async def one() -> int:
            # The query is sent as signed, not encoded again.
            async with stranger.get(URL(f"{url}/garden/town/flowers?{query}", encoded=True)) as answer:
                return answer.status

        return sorted(await asyncio.gather(*(one() for _ in range(times))))

    async with served(config) as running:
        assert await statuses(running.url, 12) == [200, *[401] * 11]
    async with served(config) as running:
        assert await statuses(running.url, 2) == [401, 401]


async def test_a_process_that_dies_is_replaced(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    async with served(configured(tmp_path)) as running:
        victim = next(event["pid"] for event in running.events if event["event"] == "serving")
        os.kill(victim, signal.SIGKILL)
        await running.event("worker_replaced")
        await running.event("serving", lambda event: event["pid"] != victim)
        async with session.get(f"{running.url}/garden/town/flowers") as answer:
            assert answer.status == 200


async def test_the_figures_of_all_processes_are_summed_apart_from_the_callers(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    async with served(configured(tmp_path)) as running:
        for _ in range(7):
            async with session.get(f"{running.url}/garden/town/flowers") as answer:
                await answer.read()
        answered = 'relais_calls_total{connector="garden",endpoint="flowers",outcome="ok"} 7.0'
        text = ""
        async with asyncio.timeout(20):
            # The store is read every few seconds, calls are counted a moment later.
            while "relais_store_available 1.0" not in text or answered not in text:
                async with session.get(f"{running.admin}/metrics") as answer:
                    text = await answer.text()
                await asyncio.sleep(0.1)
        async with session.get(f"{running.url}/metrics") as answer:
            assert answer.status in (403, 404)
    for figure in ('deliveries{state="PARKED"} 0.0', 'callbacks_waiting{state="DEAD"} 0.0'):
        assert f"relais_{figure}" in text
    assert 'relais_work_oldest_due_seconds{work="deliveries"} 0.0' in text
    assert re.search(r"relais_processes [12]\.0", text)


async def test_a_restart_under_load_fails_no_call(tmp_path: Path) -> None:
    """On a socket that systemd holds: what waits in its queue is answered by the next gateway."""
    config = configured(tmp_path)
    basic = {"Authorization": aiohttp.encode_basic_auth("wcs", "pass-é")}
    answered: list[int] = []
    failed: list[str] = []
    stopping = asyncio.Event()

    async def caller(url: str) -> None:
        async with aiohttp.ClientSession(headers=basic) as session:
            while not stopping.is_set():
                try:
                    async with session.post(f"{url}/garden/town/seeds", json={"name": "rose"}) as answer:
                        await answer.read()
                        answered.append(answer.status)
                except aiohttp.ClientError as error:
                    failed.append(type(error).__name__)

    with socket.create_server(("127.0.0.1", 0), backlog=128) as held:
        async with served(config, held=held) as first:
            callers = [asyncio.create_task(caller(first.url)) for _ in range(8)]
            await first.event("call", lambda event: len(answered) > 50)
            first.process.send_signal(signal.SIGTERM)
            await first.process.communicate()
        before = len(answered)
        async with served(config, held=held) as second:
            await second.event("call", lambda event: len(answered) > before + 50)
            stopping.set()
            await asyncio.gather(*callers)
    assert failed == []
    assert set(answered) == {200}


async def test_two_services_share_a_file_and_a_socket_each_with_its_own_figures(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    config = configured(tmp_path)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as held, socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        config.write_text(config.read_text().replace('admin_listen = "127.0.0.1:0"', f'admin_listen = "{address}"'))
        async with (
            served(config, 1, held) as first,
            served(config, 1, held, ["--admin-listen", "127.0.0.1:0"]) as second,
        ):
            assert first.url == second.url
            assert first.admin == f"http://{address}" != second.admin
            for running in (first, second):
                async with session.get(f"{running.admin}/metrics") as answer:
                    assert answer.status == 200


async def test_a_wrong_setting_stops_the_command_with_its_place(tmp_path: Path) -> None:
    config = configured(tmp_path, more=", colour = 3")
    process = await relais("serve", "-c", str(config), "--connector", "tests.gateway.garden:Garden")
    out, err = await process.communicate()
    said = (out + err).decode()
    assert process.returncode == 1
    assert "line" in said or "ligne" in said
    assert "colour" in said
    assert "Traceback" not in said
