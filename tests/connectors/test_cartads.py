"""The Cart@ds connector: before its simulator, before played answers, and through the gateway."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.cartads import Cartads
from connectors.cartads.board import read_posting
from connectors.cartads.sig import spelt
from connectors.cartads.simulator import AUTH, BOARD, SIG, CartadsSimulator
from sdk import Misconfigured, UpstreamInvalid
from sdk.samples import Sample, samples
from sdk.simulator import Clock
from sdk.testing import Request, Response, answer, connected, instance, simulated
from tests.gateway.conftest import running

NUMBER = "PC 076 540 25 00042"
NOON = datetime(2025, 3, 15, 12, 0, tzinfo=UTC)
SETTINGS: dict[str, Any] = {
    "sig": {
        "url": "https://cartads.example.org/cartads/api/Sig",
        "auth_url": "https://cartads.example.org/login",
        "client_id": "relais",
        "login": "sig",
        "password": "secret-of-the-test",
    },
    "board": {"url": "https://cartads.example.org/guichet-unique"},
}
FILE = {
    "IdDossier": 1,
    "NomDossier": NUMBER,
    "Stade": "Dossier déposé",
    "DateDepot": "2025-03-03T00:00:00",
}


def played(upstream: Any, **given: Any) -> Any:
    return instance(Cartads, SETTINGS, upstream, **given)


class Upstream:
    """Gives a token, then what it is told; keeps what it was asked."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.asked: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        if request.url.endswith("/login"):
            return answer(json={"Token": f"token-{self.logins}"})
        return self.answers.pop(0) if self.answers else answer(json=[])

    @property
    def logins(self) -> int:
        return sum(each.url.endswith("/login") for each in self.asked)


# --- following a file -------------------------------------------------------------------------------------------------


async def test_a_file_is_followed_from_filing_to_its_notified_decision() -> None:
    simulator = CartadsSimulator(clock=Clock(NOON))
    async with simulated(Cartads, simulator) as cartads:
        found = (await cartads.get(f"applications/{NUMBER}/progress")).data
        assert (found["status"], found["final"]) == ("En cours d'instruction", False)
        assert found["deadline"] == "2025-06-03"
        assert found["updated"] == "2025-03-14T10:22:31+01:00"
        simulator.files[0] |= {"Stade": "Décision notifiée", "DecisionSignataire": "Favorable"}
        found = (await cartads.get(f"applications/{NUMBER}/progress")).data
        assert (found["text"], found["final"], found["decision"]) == ("Votre décision est notifiée", True, "Favorable")


async def test_a_stage_without_a_setting_is_passed_on_and_final_once_notified() -> None:
    notified = FILE | {"Stade": "Archivé", "DateNotificationDecisionSignataire": "2025-05-02T00:00:00"}
    upstream = Upstream(answer(json=FILE), answer(json=notified))
    cartads = played(upstream)
    first = (await cartads.get(f"applications/{NUMBER}/progress")).data
    assert (first["status"], first["text"], first["final"]) == ("Dossier déposé", "Dossier déposé", False)
    second = (await cartads.get(f"applications/{NUMBER}/progress")).data
    assert (second["status"], second["final"], second["notified"]) == ("Archivé", True, "2025-05-02")


async def test_members_left_out_are_empty_and_not_an_error() -> None:
    cartads = played(Upstream(answer(json=FILE)))
    found = (await cartads.get(f"applications/{NUMBER}")).data
    assert found["deadline"] is None
    assert found["applicant"] == ""
    assert found["parcels"] == []


@pytest.mark.parametrize("written", ["PC0765402500042", "pc 076.540.25.00042", "PC 076 540 25 00042"])
async def test_a_number_is_spelt_as_cartads_writes_it(written: str) -> None:
    upstream = Upstream(answer(json=FILE))
    await played(upstream).get(f"applications/{written}")
    assert upstream.asked[-1].url.endswith("Dossier?nomDossier=PC+076+540+25+00042")


def test_the_spelling_keeps_modifications_corsica_and_what_it_does_not_know() -> None:
    assert spelt("PC01125820L0020M01") == "PC 011 258 20 L0020 M01"
    assert spelt("dp02a24725A0001") == "DP 02A 247 25 A0001"
    assert spelt(" autre   chose ") == "autre chose"


@pytest.mark.parametrize("unknown", [answer(404, json={}), answer(json=None), answer(json={})])
async def test_an_unknown_file_is_not_found(unknown: Response) -> None:
    found = await played(Upstream(unknown)).get(f"applications/{NUMBER}")
    assert (found.err_class, found.status) == ("NotFound", 200)


@pytest.mark.parametrize(
    "strange",
    [
        answer(json=FILE | {"NomDossier": "PC 076 540 25 99999"}),
        answer(json=[FILE]),
        answer(json={"IdDossier": 1}),
        answer(json=FILE | {"DateDepot": "03/03/2025"}),
        answer(json="PC"),
    ],
    ids=["another file", "a list", "no number", "a French date", "text"],
)
async def test_an_answer_out_of_the_contract_is_the_publishers_fault(strange: Response) -> None:
    assert (await played(Upstream(strange)).get(f"applications/{NUMBER}")).err_class == "UpstreamInvalid"


async def test_a_file_without_a_stage_cannot_be_followed() -> None:
    strange = {name: value for name, value in FILE.items() if name != "Stade"}
    found = await played(Upstream(answer(json=strange))).get(f"applications/{NUMBER}/progress")
    assert found.err_class == "UpstreamInvalid"


# --- lists and search -------------------------------------------------------------------------------------------------


async def test_filters_travel_under_the_publishers_names() -> None:
    upstream = Upstream()
    await played(upstream).get(
        "applications",
        commune="076540",
        type="PC",
        filed_from="2025-01-01",
        filed_to="2025-12-31",
        modified_since="2025-03-01",
        parcel="AB 0125",
        limit="50",
        offset="100",
    )
    assert upstream.asked[-1].url.partition("?")[2] == (
        "Communes=076540&typesDossier=PC&dateDepotDebut=2025-01-01&dateDepotFin=2025-12-31"
        "&dateModification=2025-03-01&parcelle=AB+0125&limit=50&offset=100"
    )


async def test_the_list_pages() -> None:
    async with simulated(Cartads, CartadsSimulator()) as cartads:
        first = (await cartads.get("applications", limit="2")).data
        second = (await cartads.get("applications", limit="2", offset="2")).data
    assert [each["number"][:2] for each in (*first, *second)] == ["PC", "DP", "CU"]


@pytest.mark.parametrize(
    ("q", "number"),
    [
        ("PC0765402500042", "PC 076 540 25 00042"),
        ("ab 125", "PC 076 540 25 00042"),
        ("lefevre", "CU 076 057 25 L0020"),
        ("pres chemin", "DP 076 540 25 00108"),
        ("PC0765402599999", None),
        ("introuvable", None),
    ],
)
async def test_agents_find_a_file_by_number_parcel_or_words(q: str, number: str | None) -> None:
    async with simulated(Cartads, CartadsSimulator()) as cartads:
        hits = (await cartads.get("search", q=q)).data
    assert [hit["text"].partition(" — ")[0] for hit in hits] == ([number] if number else [])
    assert all(hit["url"].startswith("https://cartads.example.net/dossier/") for hit in hits)


async def test_words_are_looked_for_among_files_modified_lately() -> None:
    upstream = Upstream()
    await played(upstream, now=lambda: NOON).get("search", q="rue du lac")
    assert "dateModification=2024-03-15" in upstream.asked[-1].url
    assert "limit=1000" in upstream.asked[-1].url


# --- the login --------------------------------------------------------------------------------------------------------


async def test_the_password_travels_only_as_its_digest() -> None:
    upstream = Upstream()
    await played(upstream).get("applications")
    sent = json.loads(upstream.asked[0].body or b"")
    digest = hashlib.sha256(b"secret-of-the-test").hexdigest()
    assert sent == {"clientId": "relais", "login": "sig", "password": digest}
    assert upstream.asked[1].headers["Authorization"] == "Bearer token-1"


async def test_all_callers_share_one_token_for_59_minutes() -> None:
    upstream, time = Upstream(), [0.0]
    cartads = played(upstream, clock=lambda: time[0])
    await asyncio.gather(*(cartads.get("applications") for _ in range(10)))
    time[0] = 58 * 60.0
    await cartads.get("applications")
    assert upstream.logins == 1
    time[0] = 59 * 60.0
    await cartads.get("applications")
    assert upstream.logins == 2


async def test_a_token_refused_early_is_renewed_once() -> None:
    upstream = Upstream(answer(401, json={}), answer(json=[FILE]))
    assert len((await played(upstream).get("applications")).data) == 1
    upstream = Upstream(answer(401, json={}), answer(401, json={}))
    assert (await played(upstream).get("applications")).err_class == "Misconfigured"
    assert upstream.logins == 2


async def test_a_token_that_ended_at_the_publisher_is_renewed() -> None:
    simulator = CartadsSimulator()
    async with simulated(Cartads, simulator) as cartads:
        await cartads.get("applications")
        simulator.clock.advance(hours=2)
        assert len((await cartads.get("applications")).data) == 3
    assert len(simulator.executed("login")) == 2


async def test_wrong_credentials_are_the_operators_and_not_shown() -> None:
    simulator = CartadsSimulator()
    async with simulator:
        settings = simulator.demo_settings()
    settings["sig"]["password"] = "wrong-secret"
    simulator = CartadsSimulator()
    async with simulator:
        sig = settings["sig"] | {"url": simulator.url + SIG, "auth_url": simulator.url + AUTH}
        async with simulated_at(simulator, {"sig": sig}) as cartads:
            found = await cartads.get("applications")
    assert found.err_class == "Misconfigured"
    assert "wrong-secret" not in json.dumps(found.body)


@pytest.mark.parametrize(
    ("login", "err_class"),
    [
        (answer(json={"Message": "non"}), "Misconfigured"),
        (answer(404, json={}), "Misconfigured"),
        (answer(json=["x"]), "UpstreamInvalid"),
        (answer(json={"Token": "é\n"}), "UpstreamInvalid"),
        (answer(json={"Token": 12}), "UpstreamInvalid"),
        (answer(text="<html></html>", content_type="text/html"), "UpstreamInvalid"),
        (answer(503), "UpstreamUnavailable"),
    ],
)
async def test_a_login_without_a_usable_token_says_who_must_act(login: Response, err_class: str) -> None:
    async def upstream(request: Request) -> Response:
        assert request.url.endswith("/login"), "nothing may be asked without a token"
        return login

    assert (await played(upstream).get("applications")).err_class == err_class


# --- the public board -------------------------------------------------------------------------------------------------


async def test_the_board_is_read_commune_by_commune() -> None:
    async with simulated(Cartads, CartadsSimulator()) as cartads:
        communes = (await cartads.get("board/communes")).data
        assert [each["text"] for each in communes] == ["ROUEN", "BARENTIN", "L'ÉPINAY-D'ESSAI"]
        filings = (await cartads.get("board/filings", commune="76540")).data
        assert [each["number"] for each in filings] == ["PC 076 540 25 00042", "DP 076 540 25 00108"]
        assert filings[0]["parcels"] == ["AB 125"]
        assert filings[0]["place"] == "12 RUE DU LAC 76000"
        assert filings[0]["project"] == "Surface plancher créée : 94,07 m²\nSurface plancher démolie : 0 m²"
        decisions = (await cartads.get("board/decisions", commune="76540")).data
        assert (decisions[0]["decision"], decisions[0]["decided"]) == ("Favorable avec réserve", "2025-03-07")
        assert (await cartads.get("board/filings", commune="99999")).data == []
        assert len((await cartads.get("board/filings", commune="76540", type="PC")).data) == 1
        assert len((await cartads.get("board/filings", commune="76540", limit="1", offset="1")).data) == 1


async def test_a_board_session_that_ended_is_opened_again() -> None:
    simulator = CartadsSimulator()
    async with simulated(Cartads, simulator) as cartads:
        await cartads.get("board/filings", commune="76540")
        await cartads.get("board/decisions", commune="76540")
        assert len(simulator.executed("board-page")) == 1
        simulator.clock.advance(minutes=30)
        assert len((await cartads.get("board/filings", commune="76540")).data) == 2
    assert len(simulator.executed("board-page")) == 2


async def test_a_table_that_stays_an_error_page_is_the_publishers_fault() -> None:
    asked: list[str] = []

    async def upstream(request: Request) -> Response:
        asked.append(request.method)
        page = '<input name="__RequestVerificationToken" value="t">' if request.method == "GET" else "<h1>Erreur</h1>"
        return answer(text=page, content_type="text/html")

    assert (await played(upstream).get("board/filings", commune="1")).err_class == "UpstreamInvalid"
    assert asked == ["GET", "POST"]


async def test_a_page_without_its_token_is_the_publishers_fault() -> None:
    async def upstream(request: Request) -> Response:
        return answer(text="<html><h1>Maintenance</h1></html>", content_type="text/html")

    assert (await played(upstream).get("board/communes")).err_class == "UpstreamInvalid"


@pytest.mark.parametrize("row", [None, {}, ["a"] * 7, ["01/01/2025", None, *[""] * 6]])
def test_a_row_out_of_shape_is_refused(row: Any) -> None:
    with pytest.raises(UpstreamInvalid):
        read_posting(row)


# --- settings, check, faults ------------------------------------------------------------------------------------------


async def test_a_door_that_is_not_set_says_so() -> None:
    cartads = instance(Cartads, {"board": SETTINGS["board"]})
    found = await cartads.get("applications")
    assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "not-set")
    cartads = instance(Cartads, {"sig": SETTINGS["sig"]})
    assert (await cartads.get("board/communes")).body["err_code"] == "not-set"


def test_an_instance_without_any_door_is_refused() -> None:
    with pytest.raises(Misconfigured):
        instance(Cartads, {})


async def test_check_opens_every_door_that_is_set() -> None:
    simulator = CartadsSimulator()
    async with simulated(Cartads, simulator) as cartads:
        await cartads.connector.check()
        assert [entry.operation for entry in simulator.ledger] == ["login", "list", "board-page", "GetCommunes"]


@pytest.mark.parametrize("path", [f"{SIG}/elsewhere", f"{BOARD}/elsewhere"])
async def test_check_tells_a_wrong_address(path: str) -> None:
    simulator = CartadsSimulator()
    async with simulator:
        settings = simulator.demo_settings()
        door = "sig" if path.startswith(SIG) else "board"
        chosen = {door: settings[door] | {"url": simulator.url + path}}
        async with simulated_at(simulator, chosen) as cartads:
            with pytest.raises(Misconfigured):
                await cartads.connector.check()


# --- through the gateway, and recorded --------------------------------------------------------------------------------


async def test_a_file_is_found_and_followed_through_the_gateway(tmp_path: Path) -> None:
    simulator = CartadsSimulator()
    async with simulator, running(tmp_path, Cartads, settings=simulator.demo_settings()) as gateway:
        hits = await gateway.get("/cartads/test/search?q=rue+du+lac")
        assert hits["data"][0]["text"] == "PC 076 540 25 00042 — 12 RUE DU LAC"
        found = await gateway.get("/cartads/test/applications/PC%20076%20540%2025%2000042/progress")
        assert found["data"]["status"] == "En cours d'instruction"
        board = await gateway.get("/cartads/test/board/decisions?commune=76540")
        assert board["data"][0]["number"] == "DP 076 540 25 00108"


@pytest.mark.parametrize("sample", samples(Cartads), ids=lambda sample: sample.name)
async def test_a_sample_is_still_what_happens(sample: Sample) -> None:
    await sample.replay(Cartads)


def simulated_at(simulator: CartadsSimulator, settings: dict[str, Any]) -> Any:
    """Cart@ds before a simulator that already runs, with these settings alone."""
    return connected(Cartads, settings, private=("127.0.0.0/8",), allow_http=True)
