"""The server: one process's life (`Server`), and several of them on one inherited socket (`serve`).

Draining (SIGTERM): readiness fails, every answer closes its connection, the listening stops, connections finish, then
the process ends; a call accepted is a call answered.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web
from sqlalchemy import Connection

from sdk.egress import Egress
from sdk.errors import RelaisError

from . import journal
from .access import Access
from .callbacks import Callbacks, open_ways, whom
from .deliveries import Deliveries
from .dispatch import Dispatch
from .door import Door
from .follow_up import Follow
from .following import Following
from .health import Watch
from .jobs import Jobs, engine_for
from .journal import log
from .metrics import Metrics
from .nonces import Nonces
from .registry import AnyConnector, Registry
from .sealing import Seal
from .settings import GatewaySettings, personal_days
from .store import Store, StoreUnavailable
from .store.operator import Figures, figures

GRACE = 25.0
PURGE_EVERY = 3600.0
FIGURES_EVERY = 5.0
IDLE_PATIENCE = 2.0
"""Seconds a silent connection is kept while draining: what its owner was just sending is still answered."""
COLLECT = (50_000, 20, 20)
"""When garbage is looked for (`gc.set_threshold`). A call leaves next to no cycle, but a thousand calls that wait are a
hundred thousand objects, which Python's own 700 has walked again and again: a third of what a call costs then."""
KEEP_ALIVE = 75.0
"""Seconds: above the 60 s after which usual front servers drop an idle connection, so that they close first."""


class Server:
    """One process: its instances, its listening socket, its schedules.

    `lead` is True in the one process that checks availability and runs schedules. `registry` holds the instances when
    they were opened before this process was forked. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        connectors: Mapping[str, type[AnyConnector]],
        *,
        lead: bool = True,
        registry: Registry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._connectors = connectors
        self._lead = lead
        self._opened = registry
        self._clock = clock
        self._runners: list[web.ServerRunner] = []
        self.dispatch: Dispatch
        self.deliveries: Deliveries
        self.follow: Follow
        self.following: Following
        self.callbacks: Callbacks
        self.jobs: Jobs
        self.watch: Watch
        self.registry: Registry

    async def start(self, listening: socket.socket, admin: socket.socket | None = None) -> None:
        """Opens the instances and begins to answer. Raises `BadSettings`."""
        settings = self._settings.gateway
        folder = _folder(settings.data)
        ports = _ports(listening, admin)
        self.registry = self._opened or Registry.open(self._settings, self._connectors, denied_ports=ports)
        self._store = await asyncio.to_thread(Store.open, self._settings.store_url)
        access = Access(self._settings.clients, Nonces(self._store), self._clock, settings.trusted_proxies)
        metrics = Metrics()
        seal, clients = Seal(self._settings.keys_file), self._settings.clients
        self._ways = open_ways(clients.values(), self._towards(ports), folder)
        self.callbacks = Callbacks(self._store, seal, clients, self._ways, clock=self._clock, count=metrics.called_back)
        self.deliveries = Deliveries(
            self._store, seal, self._settings.deliveries, whom=partial(whom, clients), clock=self._clock
        )
        self.follow = Follow(self.deliveries, self.registry.instances.get)
        self.following = Following(self.deliveries, self.registry.instances.get)
        looks = (self.follow, self.following, self.callbacks)
        engine = engine_for(self._settings.store_url, self._clock)
        self.jobs = Jobs(self._store, looks, engine, clock=self._clock, observe=metrics.worked)
        self.deliveries.wake = self.jobs.wake
        self.watch = Watch(self.registry.instances.values(), folder, metrics, self.jobs, lead=self._lead)
        self.dispatch = Dispatch(
            self.registry,
            access,
            self.watch,
            metrics,
            self.deliveries,
            self.following,
            deadline=settings.deadline,
            max_in_flight=settings.max_in_flight,
            max_body=settings.max_body,
        )
        # What was built so far lives as long as the process: full collections need not walk it again.
        gc.collect()
        gc.freeze()
        await self._begin_work(metrics)
        await self._listen(self.dispatch, listening, self.dispatch.room)
        if admin is not None:
            await self._listen(partial(_figures, metrics), admin)
        self.watch.start()

    def _towards(self, denied_ports: frozenset[int]) -> Callable[[frozenset[tuple[str, int]]], Egress]:
        return partial(Egress, private=self._settings.egress.private, denied_ports=denied_ports)

    async def _begin_work(self, metrics: Metrics) -> None:
        """Makes this process known to the others, then takes its share of the work."""
        await self.deliveries.beat()
        self.jobs.keep(self._settings.deliveries.lease / 4, self.deliveries.beat)
        self.jobs.every("purge", PURGE_EVERY, partial(self.deliveries.purge, personal_days(self._settings)))
        await self.jobs.start()
        if self._lead:
            self.jobs.keep(FIGURES_EVERY, partial(self._measure, metrics))

    async def _measure(self, metrics: Metrics) -> None:
        """What stands in the store; read by one process of each node."""
        now, lease = self._clock(), self._settings.deliveries.lease

        def read(connection: Connection) -> tuple[Figures, dict[str, float]]:
            return figures(connection, now, lease), self.jobs.due(connection)

        try:
            found, due = await self._store.run(read)
        except StoreUnavailable:
            metrics.stored(None, {})
            raise
        metrics.stored(found, {work: max(0.0, now - due.get(work, now)) for work in self.jobs.kinds})

    async def _listen(
        self,
        answer: Callable[[web.BaseRequest], Any],
        listening: socket.socket,
        room: Callable[[], int] = lambda: sys.maxsize,
    ) -> None:
        server = Door(
            answer,
            room=room,
            sent_back=self.dispatch.sent_back,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=1.0,  # seconds for what is left of a refused body
            max_line_size=16_384,
            max_field_size=16_384,
        )
        runner = web.ServerRunner(server, shutdown_timeout=GRACE)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=1024).start()
        self._runners.append(runner)

    async def drain(self, grace: float = GRACE) -> None:
        """Stops accepting, lets what was accepted finish within `grace` seconds, then closes everything."""
        self.dispatch.draining = True
        await self.watch.stop()
        await self.jobs.stop()
        seen = asyncio.create_task(self._stay_seen())
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        loop = asyncio.get_running_loop()
        patience = loop.time() + min(IDLE_PATIENCE, grace)
        while any(connections_of(runner) for runner in self._runners) and loop.time() < patience:  # noqa: ASYNC110 aiohttp tells nobody
            await asyncio.sleep(0.02)
        try:
            async with asyncio.timeout(grace):
                # Waits for the answers under way; a connection silent until now is closed.
                for runner in self._runners:
                    await runner.cleanup()
                await self.jobs.settled()
                await self.dispatch.settled()
        except TimeoutError:
            log.warning("drain_cut_short", grace=grace)
        seen.cancel()
        await self.registry.close()
        for way in self._ways.values():
            await way.close()
        await self.deliveries.leave()
        await self._store.close()

    async def _stay_seen(self) -> None:
        """What is under way keeps its owner until it has ended: nobody takes it over from a process that drains."""
        while True:
            with suppress(StoreUnavailable):
                await self.deliveries.beat()
            await asyncio.sleep(self.deliveries.options.lease / 4)


def connections_of(runner: web.ServerRunner) -> int:
    """How many callers are still connected."""
    return len(runner.server.connections) if isinstance(runner.server, web.Server) else 0


async def _figures(metrics: Metrics, request: web.BaseRequest) -> web.StreamResponse:
    if request.path != "/metrics":
        return web.Response(status=404, text="see /metrics\n")
    text = await asyncio.to_thread(metrics.exposition)
    return web.Response(body=text, content_type="text/plain")


def _ports(*sockets: socket.socket | None) -> frozenset[int]:
    return frozenset(one.getsockname()[1] for one in sockets if one is not None)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def bind(address: str) -> socket.socket:
    """A listening socket for `host:port`; the one systemd handed over, if any, wins for the first call."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, int(port)))
    listening.listen(1024)
    listening.setblocking(False)
    return listening


def inherited() -> socket.socket | None:
    """The socket of systemd's activation (`LISTEN_FDS`), or None."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and int(os.environ.get("LISTEN_FDS", "0")) > 0:
        listening = socket.socket(fileno=3)
        listening.setblocking(False)
        return listening
    return None


async def _live(server: Server, log_level: str, listening: socket.socket, admin: socket.socket | None) -> None:
    journal.configure(log_level)  # from here on lines are written by a thread, which a process that forks must not have
    gc.set_threshold(*COLLECT)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await server.start(listening, admin)
    log.info(
        "serving",
        address=listening.getsockname()[:2],
        admin=admin.getsockname()[:2] if admin else None,
        instances=len(server.registry.instances),
        pid=os.getpid(),
    )
    await stopping.wait()
    await server.drain()
    log.info("stopped", pid=os.getpid())


def serve(settings: GatewaySettings, connectors: Mapping[str, type[AnyConnector]], *, workers: int) -> int:
    """Serves until SIGTERM or Ctrl-C; returns the exit code. One process per worker, on one socket."""
    listening = inherited() or bind(settings.gateway.listen)
    admin = bind(settings.gateway.admin_listen) if settings.gateway.admin_listen else None
    journal.configure(settings.gateway.log_level, stream=sys.stdout)
    if workers == 1:
        registry = _opened_once(settings, connectors, _ports(listening, admin))
        server = Server(settings, connectors, registry=registry)
        uvloop.run(_live(server, settings.gateway.log_level, listening, admin))
        return 0
    return _supervise(settings, connectors, listening, admin, workers)


def _opened_once(
    settings: GatewaySettings, connectors: Mapping[str, type[AnyConnector]], ports: frozenset[int]
) -> Registry:
    """The instances, opened outside any event loop: the processes forked afterwards share them, WSDLs and all.

    Frozen, so that no collection walks them: their pages stay common, and the loop is not held for them. Not collected
    before: looking for the dozen objects that are garbage takes a tenth of a second.
    """
    gc.disable()
    try:
        return Registry.open(settings, connectors, denied_ports=ports)
    finally:
        gc.freeze()
        gc.enable()


def _supervise(
    settings: GatewaySettings,
    connectors: Mapping[str, type[AnyConnector]],
    listening: socket.socket,
    admin: socket.socket | None,
    workers: int,
) -> int:
    """Forks the workers and replaces one that dies; the first leads. Signals are passed on."""
    figures = tempfile.mkdtemp(prefix="relais-metrics-")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures
    importlib.import_module("prometheus_client")  # it reads the variable: from here on, and once for all
    registry = _opened_once(settings, connectors, _ports(listening, admin))
    children: dict[int, int] = {}
    stopping = False

    def start(rank: int) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            children[pid] = rank
            return
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            lead = rank == 0
            server = Server(settings, connectors, lead=lead, registry=registry)
            uvloop.run(_live(server, settings.gateway.log_level, listening, admin if lead else None))
            code = 0
        except RelaisError as error:
            log.error("worker_failed", reason=error.message)
            code = 3
        except Exception as error:
            log.error("worker_failed", exc_info=error)
        finally:
            journal.flush()
            os._exit(code)

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True
        listening.close()
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for rank in range(workers):
        start(rank)
    worst = 0
    while children:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        rank = children.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if stopping:
            worst = worst or (0 if code in (0, -signal.SIGTERM) else 1)
        elif code == 3:
            # Settings that one worker refuses, all will refuse: starting again would not help.
            worst = 1
            stop()
        else:
            log.error("worker_replaced", rank=rank, exit=code)
            start(rank)
    shutil.rmtree(figures, ignore_errors=True)
    return worst
