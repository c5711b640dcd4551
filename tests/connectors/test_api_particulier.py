"""The API Particulier connector: before played answers, before its simulator, and through the gateway."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from connectors.api_particulier import ApiParticulier
from connectors.api_particulier.pace import UNTOLD, Pace, Window
from connectors.api_particulier.parameters import Given
from connectors.api_particulier.refusals import refusal
from connectors.api_particulier.routes import LATER, LEFT_OUT, ROUTES, Route
from connectors.api_particulier.simulator import ApiParticulierSimulator
from sdk import Http, Misconfigured, Overloaded, UpstreamUnavailable
from sdk.samples import samples
from sdk.testing import Instance, Request, Response, answer, instance, simulated
from tests.gateway.conftest import lines, running

__all__ = ["lines"]

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "interfaces" / "api_particulier"
needs_originals = pytest.mark.skipif(not SHARED.exists(), reason="the publisher's documents are not at hand")
BASE = "https://particulier.api.gouv.fr"
SETTINGS = {"token": "jeton", "recipient": "21350238800019"}
ADELE = {
    "nom_naissance": "BRUNOIS",
    "prenoms": "ADÈLE",
    "date_naissance": "1985-03-14",
    "sexe": "F",
    "commune_naissance": "35238",
}
QUOTIENT = "quotient-familial/v3/identite"
ROUTE = {route.endpoint: route for route in ROUTES}
CALLS = {s.endpoint: s.call for s in samples(ApiParticulier) if s.name.endswith("/found")}


class Publisher:
    """A played API: scopes for the introspection, and answers for the rest, in order, the last one for ever."""

    def __init__(self, *answers: Response, scopes: tuple[str, ...] = ("cnaf_quotient_familial",)) -> None:
        self.answers = list(answers) or [answer(json={"data": {}, "links": {}, "meta": {}})]
        self.scopes = scopes
        self.requests: list[Request] = []
        self.introspections = 0

    async def __call__(self, request: Request) -> Response:
        if request.url.endswith("/api/introspect"):
            self.introspections += 1
            return answer(json={"_id": "1", "name": "", "scopes": list(self.scopes)})
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def sent(self) -> list[tuple[str, str]]:
        """The query of the last request, `recipient` aside."""
        pairs = parse_qsl(urlsplit(self.requests[-1].url).query, keep_blank_values=True)
        return [pair for pair in pairs if pair[0] != "recipient"]


def of(publisher: Publisher, **given: Any) -> Instance[ApiParticulier]:
    settings = {**SETTINGS, **given.pop("settings", {})}
    return instance(ApiParticulier, settings, publisher, **given)


# --- what goes out ----------------------------------------------------------------------------------------------------


async def test_an_identity_goes_out_with_the_publishers_names() -> None:
    publisher = Publisher()
    await of(publisher).get(QUOTIENT, **ADELE, nom_usage="KERVELLA", annee="2025", mois="12")
    assert urlsplit(publisher.requests[0].url).path == "/v3/dss/quotient_familial/identite"
    assert publisher.sent == [
        ("nomNaissance", "BRUNOIS"),
        ("prenoms[]", "ADÈLE"),
        ("nomUsage", "KERVELLA"),
        ("anneeDateNaissance", "1985"),
        ("moisDateNaissance", "3"),
        ("jourDateNaissance", "14"),
        ("sexeEtatCivil", "F"),
        ("codeCogInseePaysNaissance", "99100"),
        ("codeCogInseeCommuneNaissance", "35238"),
        ("annee", "2025"),
        ("mois", "12"),
    ]


async def test_version_2_has_other_names_for_the_same_parameters() -> None:
    publisher = Publisher(answer(json={}))
    await of(publisher).get("quotient-familial/v2/identite", **ADELE)
    assert [name for name, _ in publisher.sent] == [
        "nomNaissance",
        "prenoms[]",
        "anneeDateDeNaissance",
        "moisDateDeNaissance",
        "jourDateDeNaissance",
        "sexe",
        "codePaysLieuDeNaissance",
        "codeInseeLieuDeNaissance",
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ADÈLE", ["ADÈLE"]),
        ("Adèle Jeanne Marie Anne", ["Adèle", "Jeanne", "Marie"]),
        ("Jean Pierre, Louis", ["Jean Pierre", "Louis"]),
        (["Jean Pierre", "Louis"], ["Jean Pierre", "Louis"]),
        ("", []),
    ],
)
async def test_first_names_are_repeated_three_at_most(given: Any, expected: list[str]) -> None:
    publisher = Publisher()
    await of(publisher).get(QUOTIENT, **{**ADELE, "prenoms": given})
    assert [value for name, value in publisher.sent if name == "prenoms[]"] == expected


@pytest.mark.parametrize(
    ("born", "sent"),
    [
        ("1985-03", ["1985", "3"]),
        ("1985", ["1985"]),
        ("", []),
        ("1985-00-00", ["1985"]),
        ("1985-03-00", ["1985", "3"]),
    ],
)
async def test_a_birth_date_may_be_partly_known(born: str, sent: list[str]) -> None:
    publisher = Publisher()
    await of(publisher).get(QUOTIENT, **{**ADELE, "date_naissance": born})
    assert [value for name, value in publisher.sent if "DateNaissance" in name] == sent


async def test_fields_left_empty_in_a_form_are_not_sent() -> None:
    publisher = Publisher()
    left_empty = dict.fromkeys(("nom_usage", "nom_commune_naissance", "departement_naissance", "annee", "mois"), "")
    found = await of(publisher).get(QUOTIENT, **{**ADELE, "sexe": "", "pays_naissance": ""}, **left_empty)
    assert found.status == 200
    assert ("codeCogInseePaysNaissance", "99100") in publisher.sent
    assert not [name for name, value in publisher.sent if not value or name == "sexeEtatCivil"]


async def test_where_one_first_name_is_wanted_the_first_is_sent() -> None:
    publisher = Publisher(answer(json={}), scopes=("men_statut_scolarite", "cnous_identite"))
    particulier = of(publisher)
    given = {**CALLS["scolarites_v2_identite"]["query"], "prenoms": "LILOU ANNE"}
    await particulier.get("scolarites/v2/identite", **given)
    assert dict(publisher.sent)["prenom"] == "LILOU"
    given = {**CALLS["etudiant_boursier_v2_identite"]["query"], "prenoms": "YANIS PAUL"}
    await particulier.get("etudiant-boursier/v2/identite", **given)
    assert dict(publisher.sent)["prenoms"] == "YANIS PAUL"


async def test_how_well_identities_match_is_told_with_the_vehicle() -> None:
    async with simulated(ApiParticulier, ApiParticulierSimulator()) as particulier:
        found = await particulier.get(
            "immatriculation-vehicule/v3/france-connect", access_token="fc-adele", immatriculation="zz-123-ab"
        )
        assert found.data["identity_matching"]["overall_match"] is True


async def test_each_version_has_its_own_place_for_the_token() -> None:
    publisher = Publisher(answer(json={"data": {}}))
    particulier = of(publisher)
    await particulier.get(QUOTIENT, **ADELE)
    await particulier.get("quotient-familial/v2/identite", **ADELE)
    await particulier.get("quotient-familial/v2/france-connect", access_token="jeton-fc")
    later, second, connected = (request.headers for request in publisher.requests)
    assert later["Authorization"] == "Bearer jeton"
    assert "X-Api-Key" not in later
    assert second["X-Api-Key"] == "jeton"
    assert "Authorization" not in second
    assert connected["Authorization"] == "Bearer jeton-fc"
    assert "X-Api-Key" not in connected


async def test_franceconnect_sends_no_identity_and_asks_for_no_scope_of_ours() -> None:
    publisher = Publisher(scopes=())
    found = await of(publisher).get("quotient-familial/v3/france-connect", access_token="jeton-fc", mois="3")
    assert found.status == 200
    assert publisher.sent == [("mois", "3")]
    assert publisher.introspections == 0


async def test_the_recipient_and_what_the_administrator_adds_are_always_sent() -> None:
    publisher = Publisher()
    added = {"parameters": {"delegation_id": "42"}, "headers": {"X-Agent": "accueil"}}
    await of(publisher, settings=added).get(QUOTIENT, **ADELE)
    request = publisher.requests[0]
    assert {("recipient", SETTINGS["recipient"]), ("delegation_id", "42")} <= set(
        parse_qsl(urlsplit(request.url).query)
    )
    assert request.headers["X-Agent"] == "accueil"


@pytest.mark.parametrize("recipient", ["21350238800018", "35600000000013"])
def test_a_recipient_that_is_not_a_siret_is_refused_at_start(recipient: str) -> None:
    with pytest.raises(Misconfigured):
        instance(ApiParticulier, {**SETTINGS, "recipient": recipient})


@pytest.mark.parametrize("recipient", ["35600000000048", "35600000009075"])
def test_la_poste_has_its_own_rule(recipient: str) -> None:
    assert instance(ApiParticulier, {**SETTINGS, "recipient": recipient})


@pytest.mark.parametrize("token", ["", "a\nb", "jeton é"])
def test_a_token_that_cannot_travel_is_refused_at_start(token: str) -> None:
    with pytest.raises(Misconfigured):
        instance(ApiParticulier, {**SETTINGS, "token": token})


# --- what is refused before calling -----------------------------------------------------------------------------------

PUPIL = {
    "nom_naissance": "BRUNOIS",
    "prenoms": "LILOU",
    "date_naissance": "2012-05-02",
    "sexe": "F",
    "annee_scolaire": "2025",
}


@pytest.mark.parametrize(
    ("path", "given", "field"),
    [
        (QUOTIENT, {**ADELE, "nom_naissance": " "}, "nom_naissance"),
        (QUOTIENT, {**ADELE, "date_naissance": "1985-02-30"}, "date_naissance"),
        (QUOTIENT, {**ADELE, "date_naissance": "1899-01-01"}, "date_naissance"),
        (QUOTIENT, {**ADELE, "date_naissance": "2999-01-01"}, "date_naissance"),
        (QUOTIENT, {**ADELE, "date_naissance": "14/03/1985"}, "date_naissance"),
        (QUOTIENT, {**ADELE, "sexe": "X"}, "sexe"),
        (QUOTIENT, {**ADELE, "pays_naissance": "FR"}, "pays_naissance"),
        (QUOTIENT, {**ADELE, "commune_naissance": ""}, "commune_naissance"),
        (QUOTIENT, {**ADELE, "commune_naissance": "", "nom_commune_naissance": "RENNES"}, "commune_naissance"),
        (QUOTIENT, {**ADELE, "commune_naissance": "00123"}, "commune_naissance"),
        (QUOTIENT, {**ADELE, "mois": "13"}, "mois"),
        ("scolarites/v5/identite", PUPIL, "etablissement"),
        ("scolarites/v5/identite", {**PUPIL, "etablissement": "0351234X", "degre": "2D"}, "etablissement"),
        ("scolarites/v5/identite", {**PUPIL, "departements": "035"}, "etablissement"),
        ("etudiant-boursier/v4/ine", {"ine": "12"}, "ine"),
        ("etudiant-boursier/v4/ine", {"ine": "0123456789A", "annee_campagne": "2019"}, "annee_campagne"),
        ("quotient-familial/v3/france-connect", {"access_token": "é"}, "access_token"),
        ("quotient-familial/v3/france-connect", {}, "access_token"),
    ],
)
async def test_what_the_publisher_would_refuse_is_said_before_calling(
    path: str, given: Mapping[str, Any], field: str
) -> None:
    publisher = Publisher(scopes=tuple(scope for route in ROUTES for scope in route.scopes))
    found = await of(publisher).get(path, **given)
    assert (found.status, found.err_class, list(found.body["errors"])) == (400, "InvalidInput", [field])
    assert not publisher.requests


async def test_somebody_born_abroad_needs_no_town() -> None:
    publisher = Publisher()
    given = {**ADELE, "commune_naissance": "", "pays_naissance": "99109"}
    assert (await of(publisher).get(QUOTIENT, **given)).status == 200


# --- scopes -----------------------------------------------------------------------------------------------------------


async def test_a_missing_scope_is_named_and_nothing_is_sent() -> None:
    publisher = Publisher(scopes=("allocation_adulte_handicape",))
    found = await of(publisher).get(QUOTIENT, **ADELE)
    assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "scope-missing")
    assert "cnaf_quotient_familial" in found.body["err_desc"]
    assert not publisher.requests


async def test_a_scope_just_granted_is_seen_after_half_a_minute() -> None:
    publisher, now = Publisher(scopes=("dsnj_statut_service_national",)), [0.0]
    particulier = of(publisher, clock=lambda: now[0])
    assert (await particulier.get(QUOTIENT, **ADELE)).err_class == "Misconfigured"
    publisher.scopes = ("cnaf_quotient_familial",)
    assert (await particulier.get(QUOTIENT, **ADELE)).err_class == "Misconfigured"
    now[0] = 31.0
    assert (await particulier.get(QUOTIENT, **ADELE)).status == 200
    assert publisher.introspections == 2


async def test_scopes_are_not_asked_at_each_call() -> None:
    publisher, now = Publisher(), [0.0]
    particulier = of(publisher, clock=lambda: now[0])
    for _ in range(3):
        await particulier.get(QUOTIENT, **ADELE)
    assert publisher.introspections == 1
    now[0] = 601.0
    await particulier.get(QUOTIENT, **ADELE)
    assert publisher.introspections == 2


async def test_a_call_goes_on_when_the_scopes_cannot_be_read() -> None:
    asked: list[str] = []

    async def upstream(request: Request) -> Response:
        asked.append(urlsplit(request.url).path)
        return answer(503) if request.url.endswith("introspect") else answer(json={"data": {}})

    found = await instance(ApiParticulier, SETTINGS, upstream).get(QUOTIENT, **ADELE)
    assert (found.status, asked) == (200, ["/api/introspect", "/v3/dss/quotient_familial/identite"])


async def test_the_scopes_of_the_token_are_a_list_with_what_they_open() -> None:
    found = await of(Publisher()).get("scopes")
    assert found.data == [
        {
            "id": "cnaf_quotient_familial",
            "text": "cnaf_quotient_familial",
            "endpoints": [route.endpoint for route in ROUTES if route.resource == "quotient-familial"],
        }
    ]


async def test_check_refuses_a_token_that_opens_nothing() -> None:
    with pytest.raises(Misconfigured):
        await of(Publisher(scopes=())).connector.check()
    await of(Publisher()).connector.check()


async def test_what_a_scope_hides_is_absent_and_null_stays_null() -> None:
    publisher = Publisher(answer(json={"data": {"enfants": [{"nom_usage": None, "prenoms": "LILOU", "nouveau": 1}]}}))
    assert (await of(publisher).get(QUOTIENT, **ADELE)).data == {"enfants": [{"nom_usage": None, "prenoms": "LILOU"}]}


# --- what the publisher refuses ---------------------------------------------------------------------------------------


def v3(status: int, code: str, *, parameter: str = "", meta: Mapping[str, Any] | None = None) -> Response:
    source = {"parameter": parameter} if parameter else None
    error = {"code": code, "title": "Titre", "detail": f"Texte {code}", "source": source, "meta": meta or {}}
    return answer(status, json={"errors": [error]}, content_type="application/vnd.api+json; charset=utf-8")


def v2(status: int, error: str, text: str = "Texte v2") -> Response:
    return answer(status, json={"error": error, "reason": text, "message": text})


PLAIN = answer(410, text="Gone")
FRANCECONNECT = "quotient-familial/v3/france-connect"
SECOND = "quotient-familial/v2/identite"


@pytest.mark.parametrize(
    ("path", "response", "err_class", "code"),
    [
        (QUOTIENT, v3(401, "00101"), "Misconfigured", "00101"),
        (QUOTIENT, v3(401, "00103"), "Misconfigured", "00103"),
        (QUOTIENT, v3(401, "00105"), "Misconfigured", "00105"),
        (QUOTIENT, v3(403, "00100"), "Misconfigured", "00100"),
        (QUOTIENT, v3(403, "00107"), "Misconfigured", "00107"),
        (QUOTIENT, v3(403, "37005"), "Misconfigured", "37005"),
        (QUOTIENT, v3(422, "00210", parameter="recipient"), "Misconfigured", "00210"),
        (QUOTIENT, v3(422, "00203", parameter="recipient"), "Misconfigured", "00203"),
        (QUOTIENT, v3(422, "00211", parameter="recipient"), "Misconfigured", "00211"),
        (QUOTIENT, v3(422, "00425"), "InvalidInput", "00425"),
        (QUOTIENT, v3(422, "00355"), "Rejected", "00355"),
        (QUOTIENT, v3(422, "00391"), "Rejected", "00391"),
        (QUOTIENT, v3(422, "39400"), "Rejected", "39400"),
        (QUOTIENT, v3(409, "37015"), "Rejected", "37015"),
        (QUOTIENT, v3(404, "37003"), "NotFound", "37003"),
        (QUOTIENT, v3(404, "00402"), "Misconfigured", "00402"),
        (QUOTIENT, answer(404, text="Not found"), "Misconfigured", None),
        (QUOTIENT, PLAIN, "Misconfigured", None),
        (QUOTIENT, answer(302), "Misconfigured", None),
        (QUOTIENT, v3(502, "37999"), "UpstreamUnavailable", "37999"),
        (QUOTIENT, v3(503, "37020"), "UpstreamUnavailable", "37020"),
        (QUOTIENT, v3(504, "37002"), "UpstreamUnavailable", "37002"),
        (QUOTIENT, answer(502, text="Bad gateway"), "UpstreamUnavailable", None),
        (QUOTIENT, answer(500, json={"errors": [1]}), "UpstreamInvalid", None),
        (QUOTIENT, answer(418, text="?"), "UpstreamInvalid", None),
        (QUOTIENT, answer(200, text="<html>"), "UpstreamInvalid", None),
        (QUOTIENT, answer(200, json={"data": []}), "UpstreamInvalid", None),
        (QUOTIENT, answer(200, json=[]), "UpstreamInvalid", None),
        (QUOTIENT, answer(200, json={"data": {"enfants": "?"}}), "UpstreamInvalid", None),
        (FRANCECONNECT, v3(401, "50001"), "InvalidInput", "50001"),
        (FRANCECONNECT, v3(401, "00101"), "InvalidInput", "00101"),
        (FRANCECONNECT, v3(401, "50002"), "Rejected", "50002"),
        (FRANCECONNECT, v3(401, "00103"), "Rejected", "00103"),
        (FRANCECONNECT, v3(401, "50003"), "Misconfigured", "50003"),
        (FRANCECONNECT, v3(403, "00100"), "Misconfigured", "00100"),
        (SECOND, v2(401, "access_denied"), "Misconfigured", None),
        (SECOND, v2(400, "bad_request"), "InvalidInput", None),
        (SECOND, v2(400, "bad_request", "Le recipient est faux"), "Misconfigured", None),
        (SECOND, v2(400, "not_found"), "Rejected", None),
        (SECOND, v2(404, "not_found"), "NotFound", None),
        (SECOND, v2(409, "error"), "Rejected", None),
        (SECOND, v2(502, "network_error"), "UpstreamUnavailable", None),
        (SECOND, v2(503, "data_provider_error"), "UpstreamUnavailable", None),
        (SECOND, v2(504, "timeout_error"), "UpstreamUnavailable", None),
        (SECOND, answer(403, json={"errors": ["Adresse refusée"]}), "Misconfigured", None),
        (SECOND, PLAIN, "Misconfigured", None),
    ],
)
async def test_each_refusal_says_who_must_act(path: str, response: Response, err_class: str, code: str | None) -> None:
    given = {"access_token": "fc"} if path == FRANCECONNECT else ADELE
    found = await of(Publisher(response)).get(path, **given)
    assert (found.err_class, found.body.get("err_code")) == (err_class, code)
    if code is not None:
        assert found.body["err_desc"] == f"Texte {code}"


async def test_all_parameters_refused_together_are_told_together() -> None:
    errors = [{"code": code, "title": "T", "detail": f"Texte {code}"} for code in ("00425", "00424", "00427", "00999")]
    found = await of(Publisher(answer(422, json={"errors": errors}))).get(QUOTIENT, **ADELE)
    assert found.body["errors"] == {"date_naissance": ["Texte 00425", "Texte 00424"], "sexe": ["Texte 00427"]}
    assert found.body["err_desc"] == "Texte 00425 Texte 00424 Texte 00427 Texte 00999"


def test_when_to_come_back_is_what_the_publisher_says() -> None:
    by_meta = refusal(v3(503, "37020", meta={"retry_in": 300, "provider": "CNAV"}))
    by_header = refusal(answer(502, json={"errors": [{"code": "37001"}]}, headers={"Retry-After": "7"}))
    assert (by_meta.retry_after, by_header.retry_after) == (300.0, 7.0)


def test_a_text_of_the_publisher_is_one_clean_line() -> None:
    error = refusal(answer(404, json={"errors": [{"code": "37003", "detail": "Pas\u0000 trouvé\r\n<b>" + "x" * 900}]}))
    assert error.message.startswith("Pas trouvé <b>xx")
    assert len(error.message) == 500


# --- equal calls under way --------------------------------------------------------------------------------------------


async def test_equal_calls_under_way_share_one_request() -> None:
    gate = asyncio.Event()
    publisher = Publisher()

    async def slow(request: Request) -> Response:
        await gate.wait()
        return await publisher(request)

    particulier = instance(ApiParticulier, SETTINGS, slow)
    first = asyncio.create_task(particulier.get(QUOTIENT, **ADELE))
    second = asyncio.create_task(particulier.get(QUOTIENT, **ADELE))
    other = asyncio.create_task(particulier.get(QUOTIENT, **{**ADELE, "nom_naissance": "AUTRE"}))
    await asyncio.sleep(0)
    gate.set()
    assert {(await each).status for each in (first, second, other)} == {200}
    assert (len(publisher.requests), publisher.introspections) == (2, 1)


async def test_a_caller_that_leaves_does_not_end_the_request_of_the_others() -> None:
    gate = asyncio.Event()
    publisher = Publisher()

    async def slow(request: Request) -> Response:
        response = await publisher(request)
        await gate.wait()
        return response

    particulier = instance(ApiParticulier, SETTINGS, slow)
    path = "quotient-familial/v3/france-connect"
    first = asyncio.create_task(particulier.get(path, access_token="fc"))
    second = asyncio.create_task(particulier.get(path, access_token="fc"))
    for _ in range(5):
        await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert (await second).status == 200
    assert len(publisher.requests) == 1


async def _at_once(seconds: float) -> None:
    return None


async def test_a_call_another_machine_is_making_is_asked_again() -> None:
    publisher = Publisher(v3(409, "00015"), answer(409, json={"errors": ["en cours"]}), answer(json={"data": {}}))
    found = await of(publisher, sleep=_at_once).get(QUOTIENT, **ADELE)
    assert (found.status, len(publisher.requests)) == (200, 3)


async def test_a_call_another_machine_makes_for_too_long_is_told_to_come_back() -> None:
    error = refusal(v3(409, "00015"))
    assert isinstance(error, UpstreamUnavailable)
    assert (error.code, error.processed) == ("00015", False)


# --- limits -----------------------------------------------------------------------------------------------------------


class Time:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 2))
        self.now += seconds


Play = Callable[..., Any]


@pytest.fixture
def paced(tmp_path: Path) -> tuple[Time, Play]:
    """Calls of one process of an instance: `await call(response, instance="a")`."""
    time = Time()

    async def call(response: Response | None = None, *, name: str = "a", per_minute: int = 1000) -> Response:
        async def upstream(request: Request) -> Response:
            return response or answer(json={})

        folder = tmp_path / "api-particulier" / name
        http = Http(upstream, instance=f"api-particulier/{name}", folder=folder)
        pace = Pace(http, per_second=20, per_minute=per_minute, now=lambda: time.now, sleep=time.sleep)
        return await http.beneath(pace).get("https://api.example.org/")

    return time, call


async def test_the_21st_call_of_a_second_waits_for_all_processes_together(paced: tuple[Time, Play]) -> None:
    time, call = paced
    for _ in range(20):
        await call()
    assert time.waits == []
    await call()
    assert time.waits == [1.03]


async def test_another_token_has_its_own_second_but_not_its_own_minute(paced: tuple[Time, Play]) -> None:
    time, call = paced
    for _ in range(20):
        await call(per_minute=30)
    for _ in range(10):
        await call(name="b", per_minute=30)
    assert time.waits == []
    with pytest.raises(Overloaded) as refused:
        await call(name="b", per_minute=30)
    assert refused.value.retry_after == pytest.approx(61.8)


async def test_a_429_silences_everyone_for_as_long_as_it_says(paced: tuple[Time, Play]) -> None:
    time, call = paced
    await call(answer(429, headers={"Retry-After": "30"}))
    with pytest.raises(Overloaded) as refused:
        await call()
    assert refused.value.retry_after == pytest.approx(30.0)
    time.now += 28.0
    await call()
    assert time.waits == [2.0]


async def test_a_429_that_says_nothing_silences_for_a_minute(paced: tuple[Time, Play]) -> None:
    _, call = paced
    await call(answer(429))
    with pytest.raises(Overloaded) as refused:
        await call()
    assert refused.value.retry_after == pytest.approx(UNTOLD)


async def test_a_limit_of_the_token_that_is_used_up_is_waited_for(paced: tuple[Time, Play]) -> None:
    time, call = paced
    reset = str(int(time.now) + 2)
    await call(answer(json={}, headers={"RateLimit-Limit": "50", "RateLimit-Remaining": "0", "RateLimit-Reset": reset}))
    await call()
    assert time.waits == [2.0]


async def test_a_clock_set_back_does_not_silence_for_hours(paced: tuple[Time, Play]) -> None:
    time, call = paced
    for _ in range(20):
        await call()
    time.now -= 7200.0
    await call()
    assert time.waits == []


def test_a_damaged_file_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "pace").write_bytes(b"\x00\x01\x02")
    assert Window(tmp_path / "pace", 2, 1.0, now=lambda: 10.0).take(1.0) == 0.0


async def test_repetitions_of_the_sending_layer_are_paced_too() -> None:
    simulator = ApiParticulierSimulator()
    async with simulated(ApiParticulier, simulator) as particulier:
        simulator.faults.next("status-503", path="/v3/")
        assert (await particulier.get(QUOTIENT, **ADELE)).status == 200
        calls = (particulier.connector.http.folder / "pace-token").stat().st_size // 8 - 1
    assert calls == 3  # introspection, 503, answer


# --- before the simulator ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "err_class"),
    [
        ("status-401", "Misconfigured"),
        ("retired", "Misconfigured"),
        ("provider-error", "UpstreamUnavailable"),
        ("maintenance", "UpstreamUnavailable"),
    ],
)
async def test_what_only_this_publisher_says_has_its_class_on_every_route(fault: str, err_class: str) -> None:
    simulator = ApiParticulierSimulator(per_second=1000)
    async with simulated(ApiParticulier, simulator, {"calls_per_second": 1000}, retries=0) as particulier:
        for route in ROUTES:
            simulator.faults.next(fault, path=route.path)
            call = CALLS[route.attribute]
            found = await particulier.call("GET", call["path"], query=call["query"])
            assert (route.endpoint, found.err_class) == (route.endpoint, err_class)


async def test_a_refusal_of_limits_is_heeded_then_forgotten() -> None:
    simulator = ApiParticulierSimulator()
    async with simulated(ApiParticulier, simulator, retries=0) as particulier:
        simulator.faults.next("too-many-calls", path="/v3/")
        refused = await particulier.get(QUOTIENT, **ADELE)
        assert (refused.err_class, refused.body["err_code"]) == ("UpstreamUnavailable", "00429")


@pytest.mark.parametrize(
    ("name", "err_class"),
    [
        ("ENMAINTENANCE", "UpstreamUnavailable"),
        ("FOURNISSEURENPANNE", "UpstreamUnavailable"),
        ("HORSDELAI", "UpstreamUnavailable"),
        ("NONIDENTIFIABLE", "Rejected"),
        ("HOMONYMES", "Rejected"),
        ("PERSONNE", "NotFound"),
    ],
)
@pytest.mark.parametrize("version", [2, 3])
async def test_names_that_start_trouble(name: str, err_class: str, version: int) -> None:
    async with simulated(ApiParticulier, ApiParticulierSimulator(), retries=0) as particulier:
        found = await particulier.get(f"quotient-familial/v{version}/identite", **{**ADELE, "nom_naissance": name})
        assert (found.err_class, "(simulateur)" in found.body["err_desc"]) == (err_class, True)


@pytest.mark.parametrize(
    ("token", "code"), [("jeton-expire", None), ("jeton-divulgue", None), ("inconnu", None), ("fc-adele", None)]
)
async def test_a_token_that_is_not_valid_is_for_the_operator(token: str, code: str | None) -> None:
    async with simulated(ApiParticulier, ApiParticulierSimulator(), {"token": token}) as particulier:
        with pytest.raises(Misconfigured):
            await particulier.connector.check()


async def test_the_state_of_providers() -> None:
    simulator = ApiParticulierSimulator()
    simulator.services |= {"men_scolarite": "maintenance", "ants": "bad_gateway"}
    async with simulated(ApiParticulier, simulator) as particulier:
        states = {each["id"]: each["available"] for each in (await particulier.get("availability")).data}
        assert states.pop("men_scolarite") is states.pop("ants") is False
        assert len(states) == 19
        assert all(states.values())
        unknown = await particulier.get("availability/impots")
        assert (unknown.err_class, unknown.body["err_code"]) == ("NotFound", "unknown-service")


async def test_administrations_that_are_down_do_not_cut_the_others_nor_are_asked_again() -> None:
    simulator = ApiParticulierSimulator()
    simulator.per_second = simulator.per_minute = 1000
    simulator.services = dict.fromkeys(simulator.services, "bad_gateway")
    async with simulated(ApiParticulier, simulator, {"calls_per_second": 1000}) as particulier:
        assert not any(each["available"] for each in (await particulier.get("availability")).data)
        for _ in range(30):
            found = await particulier.get(QUOTIENT, **{**ADELE, "nom_naissance": "ENMAINTENANCE"})
            assert found.body["err_code"] == "37020"
        attempts = (particulier.connector.http.folder / "pace-token").stat().st_size // 8 - 1
        assert (await particulier.get(QUOTIENT, **ADELE)).status == 200
    assert attempts == 31  # and the introspection


# --- the publisher's own documents ------------------------------------------------------------------------------------


def _wires(route: Route) -> dict[str, Given]:
    return {
        wire: given
        for given in route.given
        for wire in (given.wire if isinstance(given.wire, tuple) else (given.wire,))
    }


RELAXED = {"prenoms[]", "sexeEtatCivil", "recipient"}
"""Mandatory in the document, not in the code; the recipient is ours."""


@needs_originals
def test_every_route_of_the_later_versions_is_covered_with_its_parameters_and_scopes() -> None:
    documented = {each["path"]: each for each in json.loads((SHARED / "operations_index.json").read_text("utf-8"))}
    ours = {route.path: route for route in ROUTES if route.version > 2 and route.path not in LATER}
    assert {path for path in documented if re.match(r"/v\d/", path)} == set(ours)
    for path, route in ours.items():
        wires = _wires(route)
        known = {*documented[path]["required"], *documented[path]["optional"]} - {"recipient", "Cache-Control"}
        assert set(wires) == known, path
        mandatory = {name for name, given in wires.items() if given.default is ...}
        for name in set(documented[path]["required"]) - RELAXED - mandatory:
            assert wires[name].default, (path, name)
        assert mandatory <= set(documented[path]["required"]), path
        assert set(route.scopes) == set(documented[path]["scopes"]), path
        assert route.old == documented[path]["deprecated"], path


@needs_originals
def test_every_route_of_version_2_is_covered_or_left_out_with_a_reason() -> None:
    document = (SHARED / "openapi" / "api_particulier_open_api_static-v2.yaml").read_text("utf-8")
    documented = set(re.findall(r"^  [\"']?(/api/[^\s\"':]+)[\"']?:", document, re.MULTILINE))
    covered = {route.path for route in ROUTES if route.version == 2} | {"/api/introspect", "/api/ping"}
    assert len(documented) > 12
    assert documented == covered | set(LEFT_OUT)


def _payloads() -> Iterator[tuple[str, Route, int, Any]]:
    names = {
        "v2_cnav_quotient_familial_v2": "quotient-familial/v2",
        "v3_cnav_allocation_adulte_handicape": "allocation-adulte-handicape/v3",
        "v3_cnav_allocation_soutien_familial": "allocation-soutien-familial/v3",
        "v3_cnav_quotient_familial": "quotient-familial/v3",
        "v3_cnav_revenu_solidarite_active": "revenu-solidarite-active/v3",
        "v3_cnous_etudiant_boursier": "etudiant-boursier/v3",
        "v3_france_travail_statut": "demandeur-emploi/v3",
        "v4_men_scolarites": "scolarites/v4",
    }
    ways = {"civility": "identite", "france_connect": "france-connect", "ine": "ine", "identifiant": "identifiant"}
    for path in sorted(SHARED.glob("payloads/api_particulier_*/*.y*ml")):
        name, _, way = path.parent.name.removeprefix("api_particulier_").partition("_with_")
        text = path.read_text("utf-8")
        status = re.search(r"^status: *(\d+)", text, re.MULTILINE)
        payload = re.search(r"^payload: *\|-?\n((?:(?: .*)?\n?)*)", text, re.MULTILINE)
        assert status
        assert payload
        route = ROUTE[f"{names[name]}/{ways.get(way, 'identite')}"]
        yield f"{path.parent.name}/{path.name}", route, int(status[1]), json.loads(textwrap.dedent(payload[1]))


@needs_originals
async def test_every_saved_answer_is_read_and_given_back_whole() -> None:
    read = 0
    for name, route, status, payload in _payloads():
        given = CALLS[route.attribute]["query"]
        found = await of(Publisher(answer(status, json=payload), scopes=route.scopes)).get(route.endpoint, **given)
        read += 1
        if status == 200:
            assert found.data == (payload if route.version == 2 else payload["data"]), name
        else:
            expected = {404: "NotFound", 422: "Rejected"}.get(status, "UpstreamUnavailable")
            assert found.err_class == expected, name
    assert read > 100


# --- through the gateway ----------------------------------------------------------------------------------------------

CANARIES = ("BRUNOIS", "Brunois", "ADÈLE", "AD%C3%88LE", "1985", "35238", "fc-adele", "jeton-de-demonstration")


async def test_a_quotient_by_identity_and_by_franceconnect_leaves_no_person_in_the_logs(
    tmp_path: Path, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    async with (
        ApiParticulierSimulator() as simulator,
        running(tmp_path / "data", ApiParticulier, settings=simulator.demo_settings()) as gateway,
    ):
        base = "/api-particulier/test/quotient-familial/v3"
        for _ in range(2):
            found = await gateway.get(f"{base}/identite", params=ADELE)
            assert found["data"]["quotient_familial"]["valeur"] == 815
        connected = await gateway.get(f"{base}/france-connect", params={"access_token": "fc-adele-quotient"})
        assert list(connected["data"]) == ["quotient_familial"]
        unknown = await gateway.get(f"{base}/identite", params={**ADELE, "nom_naissance": "PERSONNE"})
        assert (unknown["err"], unknown["err_class"], unknown["err_code"]) == (1, "NotFound", "37003")
        refused = await gateway.get(f"{base}/identite", params={**ADELE, "date_naissance": "1985-99-99"})
        assert refused["err_class"] == "InvalidInput"
        for month, fault in enumerate(("html-200", "truncated", "bad-status-line", "close", "redirect", "reset"), 1):
            simulator.faults.next(fault, path="/v3/")
            await gateway.get(f"{base}/identite", params={**ADELE, "annee": "2025", "mois": month})
        executed = len(simulator.executed("call"))
    assert executed == 2  # the second identical call is answered from the cache
    written = json.dumps(lines(), ensure_ascii=False)
    assert "upstream" in written
    assert "/v3/dss/quotient_familial/identite" in written
    assert [canary for canary in CANARIES if canary in written] == []


async def test_the_whole_story_of_a_family(tmp_path: Path) -> None:
    async with (
        ApiParticulierSimulator() as simulator,
        running(tmp_path / "data", ApiParticulier, settings=simulator.demo_settings()) as gateway,
    ):

        async def ask(path: str, **params: str) -> Any:
            return (await gateway.get(f"/api-particulier/test/{path}", params=params))["data"]

        assert (await ask("availability/cnaf_msa_quotient_familial"))["available"] is True
        family = await ask(QUOTIENT, **ADELE)
        child = family["enfants"][0]
        pupil = await ask(
            "scolarites/v5/identite",
            nom_naissance=child["nom_naissance"],
            prenoms=child["prenoms"],
            date_naissance=child["date_naissance"],
            sexe=child["sexe"],
            annee_scolaire="2025-2026",
            degre="2D",
            departements="035",
        )
        assert pupil["regime_pensionnat"]["code"] == "2"
        terms = await ask("participation-familiale-eaje/v3/france-connect", access_token="fc-adele")
        assert terms["parametres_calcul_participation_familiale"]["nombre_enfants_a_charge"] == 2
        assert {scope["id"] for scope in await ask("scopes")} >= {"cnaf_enfants", "men_statut_scolarite"}


async def test_a_scope_the_token_lacks_is_named_and_nobody_is_asked_for(tmp_path: Path) -> None:
    async with ApiParticulierSimulator() as simulator:
        settings = simulator.demo_settings() | {"token": "jeton-publik-famille"}
        async with running(tmp_path / "data", ApiParticulier, settings=settings) as gateway:
            status, _, found = await gateway.call("GET", "/api-particulier/test/statut-etudiant/v3/ine?ine=1234567890G")
        assert (status, found["err_class"], found["err_code"]) == (500, "Misconfigured", "scope-missing")
        assert "mesri_identite" in found["err_desc"]
        assert simulator.executed("call") == []


async def test_a_publisher_that_says_wait_is_left_alone_by_every_caller(tmp_path: Path) -> None:
    async with (
        ApiParticulierSimulator() as simulator,
        running(tmp_path / "data", ApiParticulier, settings=simulator.demo_settings()) as gateway,
    ):
        url = f"/api-particulier/test/{QUOTIENT}"
        await gateway.get("/api-particulier/test/scopes")
        simulator.faults.next("status-429", path="/v3/")
        first = await gateway.get(url, params={**ADELE, "annee": "2025", "mois": "1"})
        assert first["err_class"] in ("UpstreamUnavailable", "Overloaded")
        asked = [{**ADELE, "annee": "2025", "mois": str(month)} for month in range(2, 12)]
        answers = await asyncio.gather(*(gateway.call("GET", url, params=each) for each in asked))
        pupil = CALLS["scolarites_v5_identite"]
        other = await gateway.call("GET", f"/api-particulier/test/{pupil['path']}", params=pupil["query"])
        assert simulator.executed("call") == []
    for status, headers, found in (*answers, other):
        assert (status, found["err_class"]) == (503, "Overloaded")
        assert 50 <= int(headers["Retry-After"]) <= 62


async def test_equal_calls_of_several_callers_are_one_call_for_the_publisher(tmp_path: Path) -> None:
    async with ApiParticulierSimulator() as simulator:
        simulator.provider_seconds = 0.3
        settings = simulator.demo_settings()
        async with running(tmp_path / "data", ApiParticulier, settings=settings) as gateway:
            url = "/api-particulier/test/quotient-familial/v3/france-connect?access_token=fc-adele"
            answers = await asyncio.gather(*(gateway.get(url) for _ in range(5)))
    assert {found["err"] for found in answers} == {0}
    assert len(simulator.executed("call")) == 1
