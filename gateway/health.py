"""Whether each instance's publisher can be used: checked on a schedule, logged once on loss and once on return.

Three ways of being unavailable need three different people: `down` (wait), `refused` (the operator: address or
credentials), `changed` (the publisher: its answers broke their contract). The process that checks writes its findings
to a file of the data folder; the others read it, so that every process answers the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from sdk.call import new_call, serving, within
from sdk.errors import Misconfigured, RelaisError, Text, UpstreamUnavailable, english
from sdk.spec import Schedule

from .jobs import Jobs
from .journal import log
from .metrics import Metrics
from .registry import Instance

State = Literal["up", "down", "refused", "changed", "unchecked"]
CHECK_BUDGET = 25.0
MEASURED_EVERY = 5.0
CERTIFICATE_WARNINGS = (30, 14, 3)
"""Days before the end of a publisher's certificate."""

WHO_ACTS: dict[State, Text] = {
    "up": Text("disponible", en="available"),
    "down": Text("indisponible : attendre", en="down: wait"),
    "refused": Text("adresse ou identifiants refusés : l'exploitant", en="address or credentials refused: operator"),
    "changed": Text("réponses hors contrat : l'éditeur", en="contract changed: publisher"),
    "unchecked": Text("non vérifié", en="not checked"),
}


@dataclass(frozen=True, slots=True)
class Availability:
    """What the last check found. `since` and `at` are ISO 8601 UTC instants; `reason` is safe to show to a caller,
    `detail` to an operator.
    """

    state: State
    since: str = ""
    at: str = ""
    reason: str = ""
    reason_en: str = ""
    detail: str = ""


UNCHECKED = Availability("unchecked")


async def probe(instance: Instance, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Availability:
    """One check of one instance, at most 25 s; never raises."""
    moment = now().isoformat(timespec="seconds")

    def found(state: State, message: str = "", detail: str = "") -> Availability:
        return Availability(state, moment, moment, str(message), english(message), detail)

    try:
        async with within(new_call(CHECK_BUDGET)):
            await instance.connector.check()
    except NotImplementedError:
        return found("unchecked")
    except (UpstreamUnavailable, TimeoutError) as error:
        return found(
            "down", getattr(error, "message", Text("délai dépassé", en="timed out")), getattr(error, "detail", "")
        )
    except Misconfigured as error:
        return found("refused", error.message, error.detail)
    except RelaisError as error:
        return found("changed", error.message, error.detail)
    except Exception as error:
        log.error("check_failed", instance=instance.where, exc_info=error)
        return found("changed", Text("la vérification a échoué", en="the check itself failed"))
    return found("up")


class Watch:
    """The availability of every instance, and the work that connectors schedule (`@every`).

    `lead` is True in the one process that checks; `sleep` waits that many seconds.
    """

    def __init__(
        self,
        instances: Iterable[Instance],
        folder: Path,
        metrics: Metrics,
        jobs: Jobs | None = None,
        *,
        lead: bool,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._instances = {instance.where: instance for instance in instances}
        self._file = folder / "availability.json"
        self._metrics = metrics
        self._jobs = jobs
        self._lead = lead
        self._sleep = sleep
        self._found: dict[str, Availability] = {}
        self._read_at = 0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins measuring this process's instances and, in the lead one, checks and schedules."""
        self._tasks.append(asyncio.create_task(self._keep_measuring()))
        if self._jobs is not None:
            # Every process offers to run them: the store gives each turn to one, whichever processes are left.
            for instance in self._instances.values():
                for schedule in instance.connector.schedules:
                    name = f"{instance.where} {schedule.attribute}"
                    run = partial(self._run, instance, schedule)
                    self._jobs.every(name, schedule.interval, run, catch_up=schedule.catch_up)
        if not self._lead:
            return
        for instance in self._instances.values():
            self._tasks.append(asyncio.create_task(self._keep_checking(instance)))
            self._tasks.append(asyncio.create_task(self._keep_reading_certificates(instance)))
            self._tasks.extend(
                asyncio.create_task(self._keep_running(instance, schedule))
                for schedule in instance.connector.schedules
                if self._jobs is None or schedule.at_start
            )

    async def stop(self) -> None:
        """Ends what `start` began."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def of(self, where: str) -> Availability:
        """The last finding about `connector/instance`."""
        if not self._lead:
            self._read()
        return self._found.get(where, UNCHECKED)

    async def check(self, instance: Instance) -> Availability:
        """Checks now, remembers, and logs a change of state once."""
        before = self._found.get(instance.where, UNCHECKED)
        found = await probe(instance)
        if found.state == before.state:
            found = replace(found, since=before.since)
        else:
            event = "instance_available" if found.state in ("up", "unchecked") else "instance_unavailable"
            if not (before.state == "unchecked" and found.state == "up"):
                log.warning(
                    event,
                    instance=instance.where,
                    state=found.state,
                    before=before.state,
                    reason=found.reason,
                    detail=found.detail,
                )
        self._found[instance.where] = found
        self._metrics.available(instance.where, found.state in ("up", "unchecked"))
        self._write()
        return found

    async def _keep_checking(self, instance: Instance) -> None:
        while True:
            await self.check(instance)
            await self._sleep(instance.availability_every)

    async def _keep_measuring(self) -> None:
        while True:
            self._metrics.serving()
            for where, instance in self._instances.items():
                self._metrics.upstream(where, instance.http.state())
            await self._sleep(MEASURED_EVERY)

    async def _keep_reading_certificates(self, instance: Instance) -> None:
        """Says a month, two weeks and three days ahead that a publisher's certificate ends."""
        while True:
            for host, port in sorted(instance.hosts):
                try:
                    end = await instance.http.certificate_end(f"https://{host}:{port}/")
                except RelaisError:
                    continue  # no TLS there, or nobody: the availability check tells
                if end is not None:
                    days = (end - time.time()) / 86_400
                    self._metrics.certificate(instance.where, f"{host}:{port}", days)
                    if days <= CERTIFICATE_WARNINGS[0]:
                        urgency = next(limit for limit in reversed(CERTIFICATE_WARNINGS) if days <= limit)
                        log.warning(
                            "certificate_ends", instance=instance.where, host=host, days=int(days), limit=urgency
                        )
            await self._sleep(86_400.0)

    async def _keep_running(self, instance: Instance, schedule: Schedule) -> None:
        if not schedule.at_start:
            await self._sleep(schedule.interval)
        while True:
            await self._run(instance, schedule)
            if self._jobs is not None:
                return  # the turns after the first are shared
            await self._sleep(schedule.interval)

    async def _run(self, instance: Instance, schedule: Schedule) -> None:
        started = time.monotonic()
        outcome = "ok"
        try:
            with serving(new_call(schedule.interval, unattended=True)):
                await schedule.function(instance.connector)
        except RelaisError as error:
            outcome = type(error).__name__
            log.warning("schedule_failed", instance=instance.where, work=schedule.attribute, err_class=outcome)
        except Exception as error:
            outcome = "Internal"
            log.error("schedule_failed", instance=instance.where, work=schedule.attribute, exc_info=error)
        elapsed = round((time.monotonic() - started) * 1000)
        log.debug("schedule", instance=instance.where, work=schedule.attribute, outcome=outcome, ms=elapsed)

    def _write(self) -> None:
        scratch = self._file.with_suffix(".new")
        scratch.write_text(json.dumps({where: asdict(found) for where, found in self._found.items()}), "utf-8")
        os.replace(scratch, self._file)

    def _read(self) -> None:
        try:
            changed = self._file.stat().st_mtime_ns
            if changed != self._read_at:
                self._found = {
                    where: Availability(**found) for where, found in json.loads(self._file.read_text("utf-8")).items()
                }
                self._read_at = changed
        except (OSError, ValueError, TypeError):
            return
