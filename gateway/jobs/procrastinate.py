"""The engine of PostgreSQL, shared by every process and node: hints are jobs of procrastinate.

A hint is the name of a kind of work and the instant it is due. One that is due now wakes a worker by notification; one
for later is found by the workers' poll. At most one hint per kind and instant waits (its queueing lock), and each look
leaves one for the first row that is due after it: their number does not grow with the journal. A hint may be lost; the
sweep, a periodic task that runs once over all nodes, has every kind looked at and takes the jobs of dead workers over.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ProcrastinateException
from procrastinate.jobs import Status
from procrastinate.worker import Worker

from gateway.errors import BadSettings
from gateway.journal import log
from gateway.looking import Look
from gateway.store import StoreUnavailable
from sdk.errors import Text

from . import procrastinate_schema as schema

__all__ = ["Procrastinate"]

QUEUE = "relais"
AT_ONCE = 4
"""Jobs a worker has at the same time; each only begins what it finds."""
POLL = 0.5
"""Seconds between two looks of a worker at the hints that are for later."""
SWEEP_EVERY = 10
STALLED = 20.0
"""Seconds without a heartbeat after which a worker is dead."""
NEAR = 5.0
"""What is due so soon is waited for here: the database's clock may be ahead of ours."""
AGAIN = 0.25
"""Seconds before rows that another process has just locked are looked at again."""
PATIENCE = 5.0
"""Seconds waited for a connection."""


class Procrastinate:
    """The worker of this process, and the hints it gives. `sweep_every`: whole seconds, a divisor of 60."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        poll: float = POLL,
        sweep_every: int = SWEEP_EVERY,
        stalled: float = STALLED,
    ) -> None:
        self._url = url
        self._clock = clock
        self._sleep = sleep
        self._poll = poll
        self._sweep_every = sweep_every
        self._stalled = stalled
        self._kinds: Mapping[str, Look] = {}
        self._app: App | None = None
        self._worker: Worker | None = None
        self._stopping = False
        self._wanted: dict[str, float] = {}
        self._told = asyncio.Event()
        self._hinted: dict[str, float] = {}
        self._waiting: dict[str, tuple[float, asyncio.Handle]] = {}
        self._looks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._failing = False
        # What it writes there is said here, as lines of the gateway's own log.
        for name in ("procrastinate", "psycopg.pool"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    async def start(self, kinds: Mapping[str, Look]) -> None:
        """See `Engine`."""
        await asyncio.to_thread(_ready, self._url)
        self._kinds = kinds
        self._stopping = False
        for kind in kinds.values():
            kind.freed = partial(self._later, kind, 0.0)
        for loop in (self._keep_working, self._keep_hinting):
            self._loops.append(asyncio.create_task(loop()))
        for kind in kinds.values():
            self._later(kind, 0.0)

    def wake(self, kind: str, at: float) -> None:
        """See `Engine`."""
        if kind in self._kinds:
            now = self._clock()
            at = 0.0 if at <= now else math.ceil(2 * at) / 2
            # A look still to come finds this row too, or sees to the next look.
            if not now < self._hinted.get(kind, 0.0) <= at:
                self._wanted[kind] = min(at, self._wanted.get(kind, at))
                self._told.set()

    async def stop(self) -> None:
        """See `Engine`."""
        self._kinds = {}
        self._stopping = True
        if self._worker is not None:
            self._worker.stop()  # type: ignore[no-untyped-call]
            await asyncio.wait({self._loops[0]}, timeout=PATIENCE)
        left = set(self._loops)
        while left:  # again and again: a cancellation may be lost between the database's driver and asyncio
            for loop in left:
                loop.cancel()
            _, left = await asyncio.wait(left, timeout=1.0)
        self._loops.clear()
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
        if self._looks:
            await asyncio.wait(set(self._looks))

    # --- looking ------------------------------------------------------------------------------------------------------

    def _later(self, kind: Look, pause: float) -> None:
        """Has this process look at `kind` after `pause` seconds, or before."""
        loop = asyncio.get_running_loop()
        at, waiting = loop.time() + pause, self._waiting.get(kind.name)
        if kind.name not in self._kinds or (waiting is not None and waiting[0] <= at):
            return
        if waiting is not None:
            waiting[1].cancel()
        self._waiting[kind.name] = (at, loop.call_later(pause, self._begin, kind))

    def _begin(self, kind: Look) -> None:
        self._waiting.pop(kind.name, None)
        task = asyncio.create_task(self._look(kind.name))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _look(self, name: str) -> None:
        """Looks, and sees to the look after this one. A kind unknown here is that of another version of Relais."""
        kind = self._kinds.get(name)
        if kind is None:
            return
        try:
            taken = await kind.look()
            due = await kind.first_due()
        except StoreUnavailable as error:
            self._tell_failing(error.detail)
            self._later(kind, 1.0)
            return
        except Exception as error:
            log.error("look_failed", work=name, exc_info=error)
            self._later(kind, 1.0)
            return
        self._failing = False
        now = self._clock()
        if due is None:
            return
        if due > now + NEAR:
            self.wake(name, due)
        elif due > now:
            self._later(kind, due - now)
        elif taken:
            self.wake(name, now)  # more is due: others may have room; here, what ends makes room
        elif kind.room:
            self._later(kind, AGAIN)

    def _tell_failing(self, detail: str) -> None:
        if not self._failing:
            log.error("store_unavailable", work="jobs", detail=detail)
        self._failing = True

    # --- hinting ------------------------------------------------------------------------------------------------------

    async def _keep_hinting(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            wanted, self._wanted = self._wanted, {}
            for name, at in wanted.items():
                await self._hint(name, at)

    async def _hint(self, name: str, at: float) -> None:
        """One job, unless there is one that waits already; when it cannot be written, the sweep will do."""
        app = self._app
        if app is None:
            return
        when = datetime.fromtimestamp(at, UTC) if at else None
        lock = f"{name}@{at:.1f}" if at else name
        job = app.configure_task("look", queue=QUEUE, queueing_lock=lock, schedule_at=when)
        try:
            await job.defer_async(kind=name)
        except AlreadyEnqueued:
            pass
        except (ProcrastinateException, OSError, TimeoutError) as error:
            log.debug("hint_lost", work=name, detail=type(error).__name__)
            return
        if at and not self._clock() < self._hinted.get(name, 0.0) <= at:
            self._hinted[name] = at

    # --- working ------------------------------------------------------------------------------------------------------

    async def _keep_working(self) -> None:
        """Runs a worker, and another one when it gave up because the database went away."""
        while not self._stopping:
            why = "worker stopped"
            app = self._made()
            try:
                async with app.open_async():
                    if self._stopping:
                        return
                    self._app = app
                    self._worker = Worker(
                        app,
                        queues=[QUEUE],
                        concurrency=AT_ONCE,
                        fetch_job_polling_interval=self._poll,
                        delete_jobs="always",
                        install_signal_handlers=False,
                        update_heartbeat_interval=self._stalled / 4,
                        stalled_worker_timeout=self._stalled,
                        shutdown_graceful_timeout=PATIENCE,
                    )
                    await self._worker.run()  # type: ignore[no-untyped-call]
            except Exception as error:
                why = type(error).__name__
            finally:
                self._app = self._worker = None
            if not self._stopping:
                self._tell_failing(why)
                await self._sleep(1.0)

    def _made(self) -> App:
        connector = PsycopgConnector(
            conninfo=schema.plain(self._url),
            kwargs={"options": f"-c search_path={schema.NAME}", "application_name": "relais jobs"},
            min_size=1,
            max_size=3,
            timeout=PATIENCE,
        )
        app = App(connector=connector)

        @app.task(name="look", queue=QUEUE)
        async def look(kind: str) -> None:
            await self._look(kind)

        @app.periodic(cron=f"* * * * * */{self._sweep_every}")
        @app.task(name="sweep", queue=QUEUE, queueing_lock="sweep")
        async def sweep(timestamp: int) -> None:
            await self._sweep(app)

        return app

    async def _sweep(self, app: App) -> None:
        for name in self._kinds:
            self.wake(name, 0.0)
        stalled: Any = await app.job_manager.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=self._stalled)
        for job in stalled:
            self.wake(str(job.task_kwargs.get("kind")), 0.0)
            await app.job_manager.finish_job(job, status=Status.FAILED, delete_job=True)


def _ready(url: str) -> None:
    """Makes the tables of procrastinate where there are none. Raises `BadSettings` when that fails, or they are old."""
    try:
        if schema.missing(url):
            schema.upgrade(url)
        old = schema.pending(url)
    except psycopg.Error as error:
        why = f"{type(error).__name__} {error.sqlstate or ''}".strip()
        raise BadSettings(
            Text(
                f"la file des travaux ne peut pas être créée ({why}) : le rôle doit pouvoir créer un schéma",
                en=f"the queue of jobs cannot be made ({why}): the role must be able to create a schema there",
            )
        ) from None
    if old:
        raise BadSettings(
            Text(
                "la file des travaux n'est pas à jour : lancez « relais db upgrade »",
                en='the queue of jobs is not up to date: run "relais db upgrade"',
            )
        )
