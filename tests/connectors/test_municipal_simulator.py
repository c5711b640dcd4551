"""The simulated town: honest, stateful, and every way it can fail met by every endpoint of the connector."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import aiohttp
import pytest

from connectors.municipal import Municipal
from connectors.municipal.simulator import PASSWORD, SIMULATOR, USER, MunicipalSimulator
from sdk.testing import Answer, Instance, simulated

BODY = {"reference": "VOI-2041", "kind": "VOIRIE", "subject": "Nid-de-poule", "place": "3 rue du Lac"}
QUICK = {"timeout": 0.2, "breaker": False, "retries": 0}
CALLS = ["create", "progress", "search", "kinds"]
FAULTS = {
    "timeout": "UpstreamUnavailable",
    "reset": "UpstreamUnavailable",
    "close": "UpstreamUnavailable",
    "execute-then-reset": "UpstreamUnavailable",
    "execute-then-close": "UpstreamUnavailable",
    "execute-then-timeout": "UpstreamUnavailable",
    "truncated": "UpstreamInvalid",
    "bad-status-line": "UpstreamInvalid",
    "html-200": "UpstreamInvalid",
    "empty-200": "UpstreamInvalid",
    "redirect": "Misconfigured",
    "status-401": "Misconfigured",
    "status-404": "Misconfigured",
    "status-500": "UpstreamInvalid",
    "execute-then-status-500": "UpstreamInvalid",
    "status-502": "UpstreamUnavailable",
    "status-503": "UpstreamUnavailable",
    "refusal": "Rejected",
    "no-err": "UpstreamInvalid",
    "err-true": "UpstreamInvalid",
    "bare-list": "UpstreamInvalid",
    "no-id": "UpstreamInvalid",
    "slow": "",
}


async def ask(town: Instance[Municipal], what: str) -> Answer:
    if what == "create":
        return await town.post("interventions", BODY)
    if what == "progress":
        return await town.get("interventions/1")
    return await town.get("search", q="lac") if what == "search" else await town.get("kinds")


async def at_once(seconds: float) -> None:
    return None


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", CALLS)
async def test_every_endpoint_names_who_must_act_for_every_fault(what: str, fault: str) -> None:
    simulator = MunicipalSimulator(wait=at_once)
    async with simulated(Municipal, simulator, **QUICK) as town:
        await town.post("interventions", {**BODY, "reference": "VOI-1"})
        simulator.faults.next(fault)
        found = await ask(town, what)
        assert found.err_class == FAULTS[fault]
        assert len(simulator.executed("created")) <= 1 + (what == "create")
        assert (await ask(town, what)).err_class == ""


async def test_text_in_another_encoding_is_the_towns_fault() -> None:
    simulator = MunicipalSimulator()
    async with simulated(Municipal, simulator) as town:
        simulator.faults.next("latin-1")
        assert (await town.get("interventions/1")).err_class == "UpstreamInvalid"


async def test_a_creation_in_doubt_is_found_by_its_reference() -> None:
    simulator = MunicipalSimulator()
    async with simulated(Municipal, simulator, **QUICK) as town:
        simulator.faults.next("execute-then-reset")
        assert (await town.post("interventions", BODY)).err_class == "UpstreamUnavailable"
        found = await town.connector.find_by_reference(BODY["reference"])
        assert [each.id for each in found] == ["1"]
    assert len(simulator.executed("created")) == 1


async def test_wrong_credentials_are_the_operators_business() -> None:
    async with MunicipalSimulator() as simulator:
        wrong = {**simulator.demo_settings()["webservice"], "password": "another"}
        async with simulated(Municipal, MunicipalSimulator(), {"webservice": wrong}) as town:
            for what in CALLS:
                assert (await ask(town, what)).err_class == "Misconfigured"
        assert simulator.ledger == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [({"subject": "x" * 61}, "simula.TooLong"), ({"kind": "PISCINE"}, "simula.UnknownKind")],
)
async def test_its_refusals_come_with_their_class(change: dict[str, Any], kind: str) -> None:
    simulator = MunicipalSimulator()
    async with simulated(Municipal, simulator) as town:
        found = await town.post("interventions", {**BODY, **change})
        assert (found.err_class, found.body["err_code"]) == ("Rejected", kind)
    assert simulator.ledger == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("[", "simula.BadRequest"),
        ("[]", "simula.BadRequest"),
        ('{"subject": {"a": 1}}', "simula.BadRequest"),
        ('{"place": "x"}', "simula.MissingField"),
        ('{"subject": "x", "ETAT": "DONE"}', "simula.UnknownField"),
    ],
)
async def test_it_refuses_what_is_not_a_flat_known_object(body: str, kind: str) -> None:
    async with MunicipalSimulator() as simulator, aiohttp.ClientSession() as session:
        account = {"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}
        async with session.post(f"{simulator.url}/interventions", data=body, headers=account) as said:
            assert (await said.json())["err_class"] == kind
        async with session.post(f"{simulator.url}/interventions", data=body) as said:
            assert said.status == 401


async def test_two_creations_of_one_reference_make_two_records() -> None:
    async with simulated(Municipal, MunicipalSimulator()) as town:
        ids = [(await town.post("interventions", BODY)).data["id"] for _ in range(2)]
    assert ids == ["1", "2"]


async def test_an_agent_moves_a_record_and_only_to_a_state_there_is() -> None:
    simulator = MunicipalSimulator()
    async with simulated(Municipal, simulator) as town, aiohttp.ClientSession() as session:
        await town.post("interventions", BODY)
        before = (await town.get("interventions/1")).data
        simulator.clock.advance(days=1)
        for state, status in (("PLAN", 200), ("GONE", 400)):
            async with session.post(f"{simulator.url}/_simulator/state", data={"number": "1", "state": state}) as said:
                assert said.status == status
        after = (await town.get("interventions/1")).data
        assert (before["status"], after["status"]) == ("NEW", "PLAN")
        assert after["updated"] > before["updated"]


async def test_it_says_what_it_knows_and_what_it_invents() -> None:
    async with (
        MunicipalSimulator() as simulator,
        aiohttp.ClientSession() as session,
        session.get(simulator.url) as said,
    ):
        page = await said.text()
    assert "document de Rouen" in page
    assert "micro-format" in page


async def test_its_database_lives_only_as_long_as_it_does() -> None:
    simulator = SIMULATOR()
    with pytest.raises(RuntimeError, match="not started"):
        simulator.database_settings()
    async with simulator:
        file = simulator.file
        assert await asyncio.to_thread(lambda: sqlite3.connect(file).close()) is None
        assert simulator.database_settings()["database"]["url"] == f"sqlite:///{file}"
    assert not await asyncio.to_thread(file.exists)


async def test_every_line_to_paste_is_for_an_endpoint_or_for_the_simulator() -> None:
    async with MunicipalSimulator() as simulator:
        lines = simulator.demo_lines("http://127.0.0.1:8000/municipal/demo")
        assert len(lines) == 6
        assert all("/municipal/demo/" in line or simulator.url in line for _, line in lines)
