"""Every endpoint of every connector × every way its publisher can fail, through the gateway, on its simulator.

What is called is found by `rehearsal`: a connector that arrives tomorrow is covered without a line here. For each
request that a call makes upstream, that request and all after it meet the fault. Held to: the class that
reliability-security tells for what was seen, the envelope, and the ledger: an effect is executed once at most, and an
answer that says it was not done is never wrong.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from gateway.registry import simulator_of
from sdk import Connector, NotFound, Rejected
from sdk.simulator import Simulator
from tests.connectors.rehearsal import Asked, Heard, Rehearsal, Stage, rehearse
from tests.gateway.conftest import running

OK, UNKNOWN = "", "OutcomeUnknown"
UNAVAILABLE, INVALID, WRONG = "UpstreamUnavailable", "UpstreamInvalid", "Misconfigured"
READS: Mapping[str, tuple[str, ...]] = {
    "slow": (OK,),
    "timeout": (UNAVAILABLE,),
    "execute-then-timeout": (UNAVAILABLE,),
    "reset": (UNAVAILABLE,),
    "execute-then-reset": (UNAVAILABLE,),
    "close": (UNAVAILABLE,),
    "execute-then-close": (UNAVAILABLE,),
    "status-500": (INVALID,),
    "execute-then-status-500": (INVALID,),
    "status-503": (UNAVAILABLE,),
    "status-403": (WRONG,),
    "truncated": (INVALID,),
    "bad-status-line": (INVALID,),
    "html-200": (INVALID,),
    "execute-then-html-200": (INVALID,),
    "empty-200": (INVALID,),
    "wrong-type": (OK, INVALID),
    "redirect": (WRONG,),
    "refusal": (OK, "Rejected", "NotFound", "InvalidInput"),
}
"""What a read answers. An effect that may have left answers an unknown outcome instead, save where it was refused."""
ONLY_EFFECTS = ("execute-then-close", "execute-then-status-500", "execute-then-html-200")
"""Kinds that a read cannot tell from the same without execution."""
SILENT = ("timeout", "execute-then-timeout")
LOUD = [kind for kind in READS if kind not in SILENT]
STATUS = {OK: {200}, UNKNOWN: {200}, UNAVAILABLE: {503, 504}, INVALID: {502}, WRONG: {500}, "InvalidInput": {400}}
SHIPPED = {point.name: point for point in entry_points(group="relais.connectors")}
VARIANTS = [
    (name, variant)
    for name, point in SHIPPED.items()
    if (kind := simulator_of(point.load())) is not None
    for variant in kind.variants
]
UNHURRIED: Mapping[str, Mapping[str, Any]] = {"api-particulier": {"calls_per_second": 1000}}
"""Settings without which the publisher's own pace would be the only thing measured."""


EXPLAINING = {("tabular", "diagnosis")}
"""Endpoints whose answer is what is wrong with their source."""
KEPT = {("tabular", ""), ("municipal", "database")}
"""Those that do not go to the publisher over HTTP at each call: a table that is kept, a database."""


@cache
def uncached(name: str) -> type[Connector[Any]]:
    """The connector whose results are not kept: what is kept would hide what is wrong upstream."""
    connector: type[Connector[Any]] = SHIPPED[name].load()
    own = type(connector.__name__, (connector,), {"__doc__": connector.__doc__, "__module__": connector.__module__})
    assert issubclass(own, Connector)
    own.endpoints = tuple(replace(each, declaration=replace(each.declaration, cache=0.0)) for each in own.endpoints)
    return own


@asynccontextmanager
async def staged(name: str, variant: str, folder: Path, *, patience: float | None = None) -> AsyncIterator[Stage]:
    """A simulator and a gateway before it, set in one of its variants; nothing is followed up meanwhile."""
    connector = uncached(name)
    kind: type[Simulator] | None = simulator_of(connector)
    assert kind is not None
    simulator = kind(**kind.variants[variant])
    simulator.slowness = 0.01
    if hasattr(simulator, "per_minute"):
        simulator.per_minute = 100_000
    async with simulator:
        settings = {**simulator.demo_settings(), **UNHURRIED.get(name, {})}
        http: dict[str, Any] = {"retries": 0, "breaker": False, "limit": 100}
        gateway_options: dict[str, Any] = {}
        if patience is not None:
            http["timeout"] = patience
            gateway_options["deadline"] = 5 * patience
            settings |= {"timeout": patience} if "timeout" in connector.settings_model.model_fields else {}
        own = {"settings": settings, "http": http, "deliveries": {"lease": 3600.0, "quarantine": 3600.0}}
        async with running(folder, connector, **own, **gateway_options) as gateway:
            stage = Stage(gateway, simulator, f"{name}/test")
            async with asyncio.timeout(30):
                # The instance's own check must be over: it would meet the faults planned for the calls.
                while not await stage.checked():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await gateway.server.jobs.stop()
            yield stage


REHEARSED: dict[tuple[str, str], Rehearsal] = {}


async def rehearsed(name: str, variant: str, folder: Path) -> Rehearsal:
    if (name, variant) not in REHEARSED:
        async with staged(name, variant, folder / "rehearsal") as stage:
            REHEARSED[name, variant] = await rehearse(stage, uncached(name))
    return REHEARSED[name, variant]


def wrong(asked: Asked, kind: str, heard: Heard, effects: set[str]) -> list[str]:
    """What is not as promised in this answer."""
    found = []
    expected = {*READS[kind], *((UNKNOWN,) if asked.effect and kind != "slow" else ())}
    if OK in expected:  # it may say no of its own accord: a room that is taken by now
        declared = [each if isinstance(each, type) else each.error for each in asked.endpoint.declaration.errors]
        expected |= {each.__name__ for each in declared if each in (NotFound, Rejected)}
    if heard.err_class not in expected:
        found.append(f"answers {heard.err_class or 'a success'} instead of {' or '.join(map(repr, sorted(expected)))}")
    is_file = asked.endpoint.result.contract == "file"
    if heard.err_class and not heard.later:
        body = heard.body
        told = body["err"] == 1 and (body["data"] is None or heard.err_class == UNKNOWN)
        if not (told and body["err_desc"] and body["request_id"] and heard.headers.get("X-Error-Code") == "1"):
            found.append(f"is not the envelope: {sorted(body)}")
        if not is_file and heard.status not in STATUS.get(heard.err_class, {200}):
            found.append(f"has status {heard.status}")
        if is_file and heard.status < 400:
            found.append("gives an error as if it were a file")
    done, whole = [each for each in heard.executed if each in effects], asked.executed & effects
    if len(done) != len(set(done)):
        found.append(f"executes {done}")
    if whole and whole <= set(done) and heard.err_class not in (OK, UNKNOWN):
        found.append(f"says {heard.err_class} though {sorted(whole)} was executed")
    if whole - set(done) and heard.err_class == OK and kind != "refusal":
        found.append(f"says it is done though {sorted(whole - set(done))} was not executed")
    return found


@pytest.mark.parametrize("kinds", [LOUD[0::3], LOUD[1::3], LOUD[2::3]], ids=lambda kinds: "+".join(kinds))
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
async def test_an_endpoint_whose_publisher_fails_says_who_must_act(
    name: str, variant: str, kinds: list[str], tmp_path: Path
) -> None:
    faults, cases = [], 0
    played = await rehearsed(name, variant, tmp_path)
    async with staged(name, variant, tmp_path / "stage") as stage:
        for asked in played.calls:
            await stage.create(asked)
        for kind in kinds:
            for asked in played.calls:
                if (name, asked.path) in EXPLAINING or (kind in ONLY_EFFECTS and not asked.effect):
                    continue
                for after in range(asked.requests):
                    stage.simulator.faults.clear()
                    stage.simulator.faults.next(kind, times=50, after=after)
                    heard = await stage.ask(asked)
                    if stage.simulator.faults.waiting == 50:
                        break
                    cases += 1
                    said = wrong(asked, kind, heard, played.effects)
                    faults += [f"{asked.name}, {kind} at request {after}: {each}" for each in said]
    assert cases or (name, variant) in KEPT
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("kind", SILENT)
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
async def test_a_publisher_that_says_nothing_is_not_waited_for(
    name: str, variant: str, kind: str, tmp_path: Path
) -> None:
    faults = []
    played = await rehearsed(name, variant, tmp_path)
    asked = [each for each in played.calls if each.requests]
    async with staged(name, variant, tmp_path / "stage", patience=0.4) as stage:
        for each in played.calls:
            if each.effect:
                await stage.create(each)
        before = len(stage.simulator.ledger)
        stage.simulator.faults.rate(1.0, kind)
        answers = await asyncio.gather(*(stage.ask(each) for each in asked))
        for call, heard in zip(asked, answers, strict=True):
            heard.executed.clear()  # of all the calls at once: counted together below
            faults += [f"{call.name}, {kind}: {one}" for one in wrong(call, kind, heard, set())]
        done = Counter(each.operation for each in stage.simulator.ledger[before:])
        for operation in played.effects:
            calls = sum(operation in call.executed for call in asked)
            if done[operation] > calls:
                faults.append(f"{operation} was executed {done[operation]} times for {calls} calls")
    assert not faults, "\n".join(faults)
