"""Every connector of the installation, through the real gateway, over its simulator: conformant in all it honours.

An OpenAPI document is the only thing that crosses: the suite reads it as it would a publisher's. A connector added
tomorrow is judged without a line here.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import contract_tests
from contract_tests import init
from contract_tests.checks import registry
from contract_tests.core.endpoints import Followed
from contract_tests.core.execute import execute
from contract_tests.openapi import derived
from contract_tests.pytest_plugin import suite
from contract_tests.wire import Wire
from sdk.openapi import document
from sdk.spec import Contract
from tests.contract_tests.every import EVERY
from tests.contract_tests.shipped import BASIC, SHIPPED, Kind, opened, served

pytestmark = pytest.mark.filterwarnings("ignore::contract_tests.pytest_plugin.Recommendation")

JUDGED = [*SHIPPED, *EVERY]

test_a_connector_is_conformant = suite(
    {kind.name: partial(opened, kind) for kind in JUDGED}, rate=0, seed=1, allow_writes=True
)

PROFILES: dict[Contract, set[str]] = {
    "choices": {"choices"},
    "hits": {"search"},
    "map": {"map"},
    "file": {"file", "billing"},
    "invoice": {"billing"},
    "invoices": {"billing"},
    "progress": {"request", "status", "envelope"},
    "receipt": {"request", "envelope"},
    "data": {"envelope", "billing", "choices", "sms", "statistics"},
}
"""The profiles under which an endpoint may be judged, by the contract that its result type names."""


@pytest.mark.parametrize("kind", JUDGED, ids=lambda kind: kind.name)
async def test_every_endpoint_is_judged_as_what_its_result_type_names(kind: Kind, tmp_path: Path) -> None:
    """Callbacks are called by the publisher, places are outside the envelope; a variant may leave an operation out."""
    async with served(kind, tmp_path / "data") as instance:
        told = {key: said for key, said in instance.unjudged.items() if kind.first or "Misconfigured" not in said}
        endless = [one.place for one in instance.target.endpoints if isinstance(one, Followed) and not one.final_id]
    assert told == {}, "show a call that works in the demonstration or in a sample"
    assert endless == [], "let the simulator conclude() what was created, or show one that is final"
    page = f"/{kind.connector.name}/test/"
    first, step = kind.part
    found = derived(document(kind.connector, "test"))
    here = {(one.method, one.template) for one in found.operations[first::step]}
    followed = {one.template for one in found.operations} ^ {page + one.path for one in kind.connector.endpoints}
    for endpoint in kind.connector.endpoints:
        key = (endpoint.method, page + endpoint.path)
        if endpoint.kind == "callback" or endpoint.result.contract == "places" or key not in here:
            assert key[1] in followed or key not in here
            continue
        if key in instance.profiles:
            assert instance.profiles[key] in PROFILES[endpoint.result.contract], key


async def test_the_file_that_init_writes_from_our_document_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(init.VARIABLE, BASIC["password"])
    kind = next(kind for kind in SHIPPED if kind.connector.name == "municipal")
    async with served(kind, tmp_path / "data") as instance:
        url = f"{instance.url}/municipal/test/openapi.json"
        document = await init.described(url, BASIC["user"])
        assert document is not None
        written = init.written(url, document, BASIC["user"])
        run = await contract_tests.certify(contract_tests.read(tomllib.loads(written)), rate=0, seed=1)
    assert {one.profile.id for one in run.verdicts} == {"request", "search", "choices"}
    assert {one.judgement for one in run.verdicts} <= {"conformant", "partial"}
    assert BASIC["password"] not in written


def test_every_connector_of_the_installation_is_judged() -> None:
    assert {kind.connector.name for kind in SHIPPED} == {p.load().name for p in entry_points(group="relais.connectors")}
    assert len(SHIPPED) > 6


FAULTS = {"down": "reset", "hang": "timeout", "garbage": "html-200"}
"""What the suite asks of the software behind a service, and the simulator's fault that does it."""


EXPLAINS = {"/tabular/test/diagnosis"}
"""Endpoints whose very answer is what is wrong with the upstream."""


def _misbehaving(simulator: Any) -> Callable[[str], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def meanwhile(fault: str) -> AsyncIterator[None]:
        simulator.faults.rate(1.0, FAULTS[fault])
        try:
            yield
        finally:
            simulator.faults.clear()

    return meanwhile


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", [kind for kind in SHIPPED if kind.part[0] == 0], ids=lambda kind: kind.name)
async def test_a_misbehaving_business_software_is_a_clear_failure(kind: Kind, fault: str, tmp_path: Path) -> None:
    """One gateway per fault: what follows would be answered by the circuit breaker, which proves less."""
    number = {"down": "PUB-UP-1", "hang": "PUB-UP-2", "garbage": "PUB-UP-3"}[fault]
    wanted = [one for one in registry.all() if one.requirements[0].id == number]
    only = SimpleNamespace(all=lambda: wanted)
    short = {"http": {"timeout": 0.4}, "deadline": 1.5}
    async with served(kind, tmp_path / "data", **short) as instance, Wire(rate=0) as wire:
        behind = replace(instance.target, upstream=_misbehaving(instance.simulator), signature=None)
        for endpoint in behind.endpoints:
            if endpoint.path in EXPLAINS:
                continue
            run = await execute(replace(behind, endpoints=(endpoint,)), wire, only, allow_writes=True)  # type: ignore[arg-type]
            outcome = run.outcomes[0]
            if outcome.status != "omit":
                assert outcome.status == "pass", f"{outcome.id}: {outcome.message.en}"
                return
    pytest.skip("it answers from what it keeps")
