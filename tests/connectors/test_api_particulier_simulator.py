"""The simulator of API Particulier, seen from outside: plain requests over real connections."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from connectors.api_particulier import ApiParticulier
from connectors.api_particulier.opened import EVERY_SCOPE, OPENS
from connectors.api_particulier.people import ADELE, CASES
from connectors.api_particulier.routes import ROUTES
from connectors.api_particulier.simulator import RECIPIENT, SERVICES, TOKENS, ApiParticulierSimulator
from sdk.simulator import Clock
from tests.gateway.conftest import running

QUOTIENT = "/v3/dss/quotient_familial/identite"
CONNECTED = "/v3/dss/quotient_familial/france_connect"
SECOND = "/api/v2/composition-familiale-v2"
DEMO = {"Authorization": "Bearer jeton-de-demonstration"}
SECOND_ADELE = {
    "nomNaissance": "BRUNOIS",
    "prenoms[]": ["ADÈLE"],
    "anneeDateDeNaissance": "1985",
    "moisDateDeNaissance": "3",
    "jourDateDeNaissance": "14",
    "sexe": "F",
    "codePaysLieuDeNaissance": "99100",
    "codeInseeLieuDeNaissance": "35238",
}


@dataclass
class World:
    """The simulator, and somebody who calls it."""

    simulator: ApiParticulierSimulator
    session: aiohttp.ClientSession

    async def get(
        self, path: str, params: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], Any]:
        sent = [
            (name, item)
            for name, value in {"recipient": RECIPIENT, **(params or {})}.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        async with self.session.get(self.simulator.url + path, params=sent, headers=headers or DEMO) as answer:
            kind = answer.headers["Content-Type"]
            return answer.status, answer.headers, await answer.json(content_type=None) if "json" in kind else kind

    async def code(self, path: str, params: Mapping[str, Any] | None = None, **headers: str) -> tuple[int, str]:
        status, _, body = await self.get(path, params, {k.replace("_", "-"): v for k, v in headers.items()})
        return status, body["errors"][0]["code"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    simulator = ApiParticulierSimulator(clock=Clock(datetime(2026, 3, 14, 9, 30, tzinfo=UTC)))
    async with simulator, aiohttp.ClientSession() as session:
        yield World(simulator, session)


async def test_exactly_the_parameters_of_a_case_are_answered_whatever_their_case(world: World) -> None:
    lower = {**ADELE, "nomNaissance": "brunois", "prenoms[]": ["adèle"]}
    status, headers, body = await world.get(QUOTIENT, lower)
    assert (status, body["data"]["quotient_familial"]["valeur"]) == (200, 815)
    assert headers["Content-Type"].startswith("application/vnd.api+json")
    assert (body["links"], body["meta"]) == ({}, {})


@pytest.mark.parametrize("change", [{"nomUsage": "AUTRE"}, {"sexeEtatCivil": ""}, {"prenoms[]": ["ADÈLE", "JEANNE"]}])
async def test_one_parameter_more_or_less_finds_nobody(world: World, change: dict[str, Any]) -> None:
    assert await world.code(QUOTIENT, {**ADELE, **change}) == (404, "37003")


async def test_version_2_answers_a_bare_object_and_its_own_errors(world: World) -> None:
    key = {"X-Api-Key": "jeton-de-demonstration"}
    status, headers, body = await world.get(SECOND, SECOND_ADELE, key)
    assert (status, body["quotientFamilial"], headers["Content-Type"]) == (200, 815, "application/json")
    status, _, body = await world.get(SECOND, {**SECOND_ADELE, "sexe": "M"}, key)
    assert (status, body["error"]) == (404, "not_found")
    status, _, body = await world.get(SECOND, SECOND_ADELE, {"X-Api-Key": "inconnu"})
    assert (status, body["error"]) == (401, "access_denied")
    status, _, body = await world.get(SECOND, {**SECOND_ADELE, "recipient": "1"}, key)
    assert (status, body["error"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("inconnu", (401, "00101")),
        ("jeton-expire", (401, "00103")),
        ("jeton-divulgue", (401, "00105")),
        ("jeton-sans-perimetre", (403, "00100")),
        ("jeton-autre-adresse", (403, "00107")),
        ("fc-adele", (401, "00101")),
    ],
)
async def test_a_token_that_opens_nothing_is_refused(world: World, token: str, expected: tuple[int, str]) -> None:
    assert await world.code(QUOTIENT, ADELE, Authorization=f"Bearer {token}") == expected


@pytest.mark.parametrize(
    ("token", "expected"),
    [("fc-expire", (401, "50002")), ("inconnu", (401, "50002")), ("fc-sans-pivot", (401, "50003"))],
)
async def test_a_franceconnect_token_must_be_alive_and_know_who_it_is(
    world: World, token: str, expected: tuple[int, str]
) -> None:
    assert await world.code(CONNECTED, Authorization=f"Bearer {token}") == expected


async def test_franceconnect_shows_what_its_own_scopes_open(world: World) -> None:
    _, _, body = await world.get(CONNECTED, None, {"Authorization": "Bearer fc-adele-quotient"})
    assert list(body["data"]) == ["quotient_familial"]
    _, _, body = await world.get("/v3/mesri/statut_etudiant/france_connect", None, {"Authorization": "Bearer fc-yanis"})
    assert list(body["data"]) == ["admissions"]
    status, _, body = await world.get(SECOND, None, {"Authorization": "Bearer fc-adele"})
    assert (status, body["quotientFamilial"]) == (200, 815)


async def test_a_scope_that_is_missing_hides_its_members(world: World) -> None:
    _, _, body = await world.get(QUOTIENT, ADELE, {"Authorization": "Bearer jeton-publik-famille"})
    assert set(body["data"]) == {"quotient_familial", "allocataires", "enfants"}


@pytest.mark.parametrize(
    ("path", "params", "codes"),
    [
        (QUOTIENT, {**ADELE, "recipient": "21350238800018"}, ["00210"]),
        (QUOTIENT, {**ADELE, "recipient": ""}, ["00210"]),
        (QUOTIENT, {"recipient": "x"}, ["00420", "00400", "00210"]),
        (QUOTIENT, {**ADELE, "moisDateNaissance": "13", "sexeEtatCivil": "X"}, ["00423", "00427"]),
        ("/v3/cnous/etudiant_boursier/ine", {"ine": "1"}, ["00360"]),
        ("/v3/france_travail/statut/identifiant", {}, ["00380"]),
        ("/v3/men/scolarites/identite", {**ADELE, "anneeScolaire": "2025"}, ["00413"]),
    ],
)
async def test_all_that_is_wrong_is_told_together(
    world: World, path: str, params: dict[str, Any], codes: list[str]
) -> None:
    status, _, body = await world.get(path, params)
    assert (status, [error["code"] for error in body["errors"]]) == (422, codes)


async def test_addresses_that_are_unknown_or_retired(world: World) -> None:
    assert (await world.get("/v3/dss/inconnu/identite"))[0] == 404
    assert (await world.get("/api/v2/avis-imposition"))[0] == 410
    assert (await world.get("/api/v2/composition-familiale"))[0] == 410
    assert await world.code("/v9/men/scolarites/identite") == (404, "00402")


async def test_the_introspection_lists_the_scopes(world: World) -> None:
    status, _, body = await world.get("/api/introspect", None, {"X-Api-Key": "jeton-publik-famille"})
    assert (status, body["name"]) == (200, "")
    assert body["scopes"] == ["cnaf_allocataires", "cnaf_enfants", "cnaf_quotient_familial"]
    assert (await world.get("/api/introspect", {"token": "jeton-publik-famille"}, {"A": "b"}))[0] == 200
    assert (await world.get("/api/introspect", None, {"X-Api-Key": "fc-adele"}))[0] == 401


async def test_more_than_twenty_calls_a_second_are_refused_until_the_next_one(world: World) -> None:
    for left in range(19, -1, -1):
        status, headers, _ = await world.get(QUOTIENT, ADELE)
        assert (status, headers["RateLimit-Remaining"]) == (200, str(left))
    status, headers, body = await world.get(QUOTIENT, ADELE)
    assert (status, headers["Retry-After"], body["errors"][0]["code"]) == (429, "1", "00429")
    assert int(headers["RateLimit-Reset"]) == int(world.simulator.clock.now().timestamp()) + 1
    other = {"Authorization": "Bearer jeton-publik-famille"}
    assert (await world.get(QUOTIENT, ADELE, other))[0] == 200
    world.simulator.clock.advance(seconds=1)
    assert (await world.get(QUOTIENT, ADELE))[0] == 200


async def _refused_again_and_again(world: World) -> None:
    world.simulator.per_second = 0
    for _ in range(101):
        assert (await world.get(QUOTIENT, ADELE))[0] == 429


async def test_whoever_does_not_heed_is_banned_for_twelve_hours() -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    simulator = ApiParticulierSimulator(clock=Clock(datetime(2026, 3, 14, 9, 30, tzinfo=UTC)), wait=wait)
    async with simulator, aiohttp.ClientSession() as session:
        world = World(simulator, session)
        await _refused_again_and_again(world)
        assert simulator.executed("ban")
        simulator.per_second = 20
        assert waited == []
        await world.get(QUOTIENT, ADELE)
        assert waited == [120.0]  # it does not answer
        simulator.clock.advance(hours=12)
        assert (await world.get(QUOTIENT, ADELE))[0] == 200
        assert waited == [120.0]


async def test_more_than_a_thousand_calls_a_minute_is_a_ban_of_the_address(world: World) -> None:
    world.simulator.per_minute = 2
    for _ in range(3):
        await world.get(QUOTIENT, ADELE)
    assert len(world.simulator.executed("ban")) == 1


async def test_the_same_call_twice_at_once_is_refused() -> None:
    gate = asyncio.Event()

    async def wait(seconds: float) -> None:
        await gate.wait()

    simulator = ApiParticulierSimulator(wait=wait)
    simulator.provider_seconds = 1.0
    async with simulator, aiohttp.ClientSession() as session:
        world = World(simulator, session)
        tasks = [asyncio.create_task(world.get(QUOTIENT, ADELE)) for _ in range(2)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        status, _, body = done.pop().result()
        gate.set()
        assert (status, body["errors"][0]["code"]) == (409, "00015")
        assert sorted([(await task)[0] for task in tasks]) == [200, 409]


async def test_social_benefits_are_kept_for_an_hour_and_the_quotient_for_a_day(world: World) -> None:
    _, headers, _ = await world.get(QUOTIENT, ADELE)
    assert (headers["X-Response-Cached"], headers["X-Cache-Expires-in"]) == ("false", "")
    world.simulator.clock.advance(hours=23)
    _, headers, _ = await world.get(QUOTIENT, ADELE)
    assert (headers["X-Response-Cached"], headers["X-Cache-Expires-in"]) == ("true", "3600")
    _, headers, _ = await world.get(QUOTIENT, ADELE, {**DEMO, "Cache-Control": "no-cache"})
    assert headers["X-Response-Cached"] == "false"
    _, headers, _ = await world.get("/v3/france_travail/statut/identifiant", {"identifiant": "adele.brunois35"})
    assert "X-Response-Cached" not in headers


async def test_services_tell_their_state_and_it_can_be_changed(world: World) -> None:
    _, _, listed = await world.get("/api/pings")
    assert [each["name"] for each in listed] == list(SERVICES)
    assert (await world.get("/api/ping"))[2] == "pong"
    change = {"service": "ants", "status": "bad_gateway"}
    async with world.session.post(f"{world.simulator.url}/_simulator/services", data=change) as answer:
        assert answer.status == 200
    assert (await world.get("/api/ants/ping"))[0] == 502
    assert (await world.get("/api/impots/ping"))[::2] == (404, {})
    async with world.session.post(f"{world.simulator.url}/_simulator/services", data={"service": "x"}) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("fault", ApiParticulierSimulator.own_faults)
async def test_its_own_faults_have_the_shape_of_the_version(world: World, fault: str) -> None:
    expected = {"too-many-calls": 429, "provider-error": 502, "maintenance": 503, "conflict": 409, "retired": 410}
    for path, params in ((QUOTIENT, ADELE), (SECOND, SECOND_ADELE)):
        world.simulator.faults.next(fault)
        status, _, body = await world.get(path, params)
        assert status == (503 if path == SECOND and fault == "provider-error" else expected[fault])
        assert fault == "retired" or ("errors" in body or "error" in body)


async def test_the_ledger_names_no_person(world: World) -> None:
    await world.get(QUOTIENT, ADELE)
    await world.get(CONNECTED, None, {"Authorization": "Bearer fc-adele"})
    written = repr(world.simulator.ledger)
    assert len(world.simulator.executed("call")) == 2
    assert not [word for word in ("BRUNOIS", "ADÈLE", "adele", "1985") if word in written]


def test_every_route_has_somebody_and_every_scope_is_known() -> None:
    paths = {case.path for case in CASES}
    for route in ROUTES:
        path = route.path.replace("/france_connect", "/identite") if route.franceconnect else route.path
        assert path in paths or route.path in paths
        assert set(route.scopes) <= EVERY_SCOPE
    assert {case.path.split("/")[2 if case.path.startswith("/v") else 3] for case in CASES} >= {"dss", "scolarites"}
    assert len(TOKENS) > len([token for token in TOKENS.values() if token.person]) > 0
    assert all(OPENS.values())


async def test_every_line_of_the_demonstration_works(tmp_path: Path) -> None:
    async with (
        ApiParticulierSimulator() as simulator,
        running(tmp_path / "data", ApiParticulier, settings=simulator.demo_settings()) as gateway,
    ):
        for title, line in simulator.demo_lines(f"{gateway.url}/api-particulier/test"):
            url = urlsplit(shlex.split(line)[-1])
            found = await gateway.get(f"{url.path}?{url.query}")
            assert found["err"] == (1 if title.startswith("Quelqu'un d'inconnu") else 0), title
