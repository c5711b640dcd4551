"""Every shipped connector, through the real gateway, over its simulator: conformant in all that its endpoints honour.

An OpenAPI document is the only thing that crosses: the suite reads it as it would a publisher's.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest

import contract_tests
from contract_tests import openapi
from contract_tests.checks import registry
from contract_tests.core.endpoints import ENDPOINTS
from contract_tests.core.execute import execute
from contract_tests.wire import Wire
from gateway.registry import simulator_of
from tests.gateway.conftest import running

BASIC = {"user": "publik", "password": "the-password-of-the-tests"}
PROOF = {"Authorization": aiohttp.encode_basic_auth(BASIC["user"], BASIC["password"])}
SIGNATURE = {"orig": "demarches.example.org", "key": "the-signature-key-of-the-tests"}
CLIENTS = {
    "basic": {"basic": {"username": BASIC["user"], "password": BASIC["password"]}, "rights": ["*/*/*"]},
    "signed": {"signature": SIGNATURE, "rights": ["*/*/*"]},
}
SHIPPED = {point.name: point for point in entry_points(group="relais.connectors")}
Complete = Callable[[str, Any, dict[str, Any]], Awaitable[None]]


@dataclass
class Instance:
    """An instance served over its simulator: the gateway's address, the simulator, and the target."""

    url: str
    simulator: Any
    target: contract_tests.Target


async def _created(url: str, table: dict[str, Any], form: int = 1) -> str:
    """A request made by a form of its own, before the suite's."""
    from_form = {"Publik-Caller-URL": f"https://demarches.example.org/backoffice/management/prepare/{form}/"}
    async with (
        aiohttp.ClientSession(headers={**PROOF, **from_form}) as session,
        session.post(url + table["path"], json=table["body"]) as answer,
    ):
        body = await answer.json()
        assert body["data"], f"{table['path']}: {body['err_desc']} (show a creation that works in the demonstration)"
        return str(body["data"]["id"])


async def _payfip(url: str, simulator: Any, table: dict[str, Any]) -> None:
    """A payment that was paid is a final status."""
    if table["profile"] == "request":
        table["unknown_id"] = "00000000-00a8-11f0-9c1d-000000000000"
        table["final_id"] = await _created(url, table, form=2)
        page, choice = f"{simulator.url}/tpa/paiementws.web", {"idop": table["final_id"], "action": "payer"}
        async with aiohttp.ClientSession() as session:
            async with session.get(page, params={"idop": table["final_id"]}) as opened:
                assert opened.status == 200
            async with session.post(page, data=choice, allow_redirects=False) as done:
                assert done.status < 400


async def _municipal(url: str, simulator: Any, table: dict[str, Any]) -> None:
    """The reference is the connector's natural key."""
    if table["profile"] == "request":
        table["unique"] = ["reference"]


async def _tabular(url: str, simulator: Any, table: dict[str, Any]) -> None:
    if table["path"].endswith("/data"):
        table["failure"] = {"limit": "beaucoup"}


COMPLETE: Mapping[str, Complete] = {"municipal": _municipal, "payfip": _payfip, "tabular": _tabular}
"""What neither the OpenAPI document nor the demonstration can tell. Most connectors need no line here."""
MORE: Mapping[str, list[dict[str, Any]]] = {"tabular": [{"profile": "choices", "path": "/query/quartiers"}]}
"""Endpoints that honour a profile in some instances only; paths under the instance."""


def _demonstrated(simulator: Any, page: str) -> dict[str, dict[str, str]]:
    """Path → parameters of the first reading that the demonstration shows for it: what is known to work."""
    found: dict[str, dict[str, str]] = {}
    for _, line in simulator.demo_lines(page):
        words = shlex.split(line.split("|")[0]) if line.startswith("curl ") else []
        urls = [word for word in words if word.startswith(page)]
        if len(urls) == 1 and not {"-d", "-X", "--data-binary", "-F"} & set(words) and "$" not in urls[0]:
            parts = urlsplit(urls[0])
            found.setdefault(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))
    return found


def _bodies(simulator: Any, page: str) -> dict[str, dict[str, Any]]:
    """Path → body of the first creation that the demonstration shows for it."""
    found: dict[str, dict[str, Any]] = {}
    for _, line in simulator.demo_lines(page):
        body = re.search(r"-d '(\{.*?\})' ", line + " ")
        url = re.search(re.escape(page) + r"[^\s'\"$]*(?=[\s'\"]|$)", line)
        if body and url:
            found.setdefault(urlsplit(url[0]).path, json.loads(body[1]))
    return found


async def _tables(name: str, url: str, simulator: Any, document: Any) -> list[dict[str, Any]]:
    """The endpoints of the OpenAPI document with examples that work: those of the demonstration, or none needed."""
    page = f"{url}/{name}/test"
    shown, bodies = _demonstrated(simulator, page), _bodies(simulator, page)
    tables = []
    for table in openapi.endpoints(document).endpoints:
        given = shown.get(table["path"])
        if table["profile"] == "request":
            table["body"] = bodies.get(table["path"], table["body"])
            table["example_id"] = await _created(url, table)
        elif given is not None:
            table["example"] = given.get(table.get("q", "q"), "")
            table["params"] = {key: value for key, value in given.items() if key not in (table.get("q"), "id")}
        elif table.get("params") or table["path"] not in document["paths"]:
            continue  # it asks for something that exists, and the demonstration names nothing
        if table["profile"] == "search":
            assert table.get("example"), f"show a search in the demonstration of {name}: {table['path']}"
        if table["profile"] in ("envelope", "choices") and table.get("params"):
            table["failure"] = {next(iter(table["params"])): ""}  # what a form with an empty field sends
        if table["profile"] == "request":
            table["files"] = [one for one in table["files"] if one in table["body"]]
        tables.append(table)
    known = {table["path"] for table in tables}
    for path, params in shown.items():  # paths with a parameter inside
        described = any(
            re.fullmatch(re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(one)), path) for one in document["paths"]
        )
        if path not in known and described and not _is_status(path, tables):
            tables.append({"profile": "envelope", "path": path, "params": params})
    tables += [{**table, "path": f"/{name}/test{table['path']}"} for table in MORE.get(name, [])]
    for table in tables:
        if name in COMPLETE:
            await COMPLETE[name](url, simulator, table)
    return tables


def _is_status(path: str, tables: list[dict[str, Any]]) -> bool:
    return any("status" in one and path.startswith(one["status"].partition("{")[0]) for one in tables)


@asynccontextmanager
async def served(name: str, folder: Path, **options: Any) -> AsyncIterator[Instance]:
    connector = SHIPPED[name].load()
    simulator_kind = simulator_of(connector)
    assert simulator_kind is not None, f"{name} ships no simulator"
    async with (
        simulator_kind() as simulator,
        running(folder, connector, settings=simulator.demo_settings(), clients=CLIENTS, **options) as gateway,
    ):
        async with gateway.session.get(f"{gateway.url}/{name}/test/openapi.json", headers=PROOF) as answer:
            tables = await _tables(name, gateway.url, simulator, await answer.json())
        target = contract_tests.read(
            {
                "name": f"{name}/test",
                "base_url": gateway.url,
                "contact": "integration@example.org",
                "software": "Relais",
                "environment": "test",
                "description": f"/{name}/test/openapi.json",
                "auth": {**BASIC, "signature": SIGNATURE},
                "endpoints": [_known(table) for table in tables],
            }
        )
        yield Instance(gateway.url, simulator, target)


def _known(table: dict[str, Any]) -> dict[str, Any]:
    members = ENDPOINTS[table["profile"]].model_fields
    return {name: value for name, value in table.items() if name in members}


def _told(run: contract_tests.Run) -> str:
    wrong = [one for one in run.outcomes if one.status not in ("pass", "omit")]
    verdicts = [f"{one.profile.id}: {one.judgement} ({one.why.en})" for one in run.verdicts]
    return "\n".join([*verdicts, *(f"{one.status} {one.id}: {one.message.en} {one.trace}" for one in wrong)])


@pytest.mark.parametrize("name", SHIPPED)
async def test_a_shipped_connector_is_conformant_in_every_profile_it_honours(name: str, tmp_path: Path) -> None:
    async with served(name, tmp_path / "data") as instance:
        run = await contract_tests.certify(instance.target, rate=0, seed=1, allow_writes=True)
    assert run.conformant, _told(run)
    assert {"signed"} < {one.profile.id for one in run.verdicts}


def test_every_shipped_connector_is_judged() -> None:
    assert set(SHIPPED) >= {"payfip", "tabular"}


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
@pytest.mark.parametrize("name", SHIPPED)
async def test_a_misbehaving_business_software_is_a_clear_failure(name: str, fault: str, tmp_path: Path) -> None:
    """One gateway per fault: what follows would be answered by the circuit breaker, which proves less."""
    number = {"down": "PUB-UP-1", "hang": "PUB-UP-2", "garbage": "PUB-UP-3"}[fault]
    wanted = [one for one in registry.all() if one.requirements[0].id == number]
    only = SimpleNamespace(all=lambda: wanted)
    short = {"http": {"timeout": 0.4}, "deadline": 1.5}
    async with served(name, tmp_path / "data", **short) as instance, Wire(rate=0) as wire:
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
