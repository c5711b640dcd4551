"""The PayFiP simulator, and through it the kit, seen from outside: hand-written envelopes over real connections."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import pytest
from aiohttp import web

from connectors.payfip.simulator import NAMESPACE, PAGE, SERVICE, PayFiPSimulator
from sdk.simulator import Clock, SimRequest, SimResponse, Simulator, on

FIELDS = {
    "exer": "2025",
    "mel": "jeanne.martin@example.net",
    "montant": "4250",
    "numcli": "012345",
    "objet": "Restauration scolaire mars",
    "refdet": "FACT2025000117",
    "saisie": "T",
    "urlnotif": "https://demarches.example.net/payfip/notif",
    "urlredirect": "https://demarches.example.net/payfip/retour",
}


@dataclass
class World:
    """The simulator, a browser, and a server that receives notifications."""

    simulator: PayFiPSimulator
    browser: aiohttp.ClientSession
    notified: list[Mapping[str, str]] = field(default_factory=list)
    notif_url: str = ""

    async def soap(self, operation: str, fields: Mapping[str, str], *, qualified: bool = False) -> tuple[int, str]:
        prefix = "s:" if qualified else ""
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
        envelope = (
            f'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:s="{NAMESPACE}"><e:Body>'
            f"<s:{operation}><{prefix}arg0>{inside}</{prefix}arg0></s:{operation}></e:Body></e:Envelope>"
        )
        return await self.post(SERVICE, envelope)

    async def post(self, path: str, body: str | Mapping[str, str]) -> tuple[int, str]:
        async with self.browser.post(self.simulator.url + path, data=body, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def get(self, path: str) -> tuple[int, str]:
        async with self.browser.get(self.simulator.url + path) as answer:
            return answer.status, await answer.text()

    async def create(self, **changes: str) -> str:
        status, answer = await self.soap("creerPaiementSecurise", FIELDS | {"urlnotif": self.notif_url} | changes)
        assert status == 200
        found = re.search("<return><idOp>([0-9a-f-]{36})</idOp></return>", answer)
        assert found
        return found[1]

    async def opened(self, **changes: str) -> str:
        idop = await self.create(**changes)
        await self.get(f"{PAGE}?idop={idop}")
        return idop

    async def decide(self, idop: str, action: str) -> tuple[int, str]:
        return await self.post(PAGE, {"idop": idop, "action": action})

    async def lookup(self, idop: str) -> tuple[int, str]:
        return await self.soap("recupererDetailPaiementSecurise", {"idOp": idop})

    async def code_of(self, idop: str) -> str:
        """The fault's code, or resultrans."""
        _, answer = await self.lookup(idop)
        found = re.search("<(?:code|resultrans)>(.*?)</", answer)
        assert found
        return found[1]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = Clock(datetime(2025, 3, 14, 8, 31, tzinfo=UTC))  # 09:31 in Paris
    async with PayFiPSimulator(clock=clock) as simulator, aiohttp.ClientSession() as browser:
        here = World(simulator, browser)

        async def receive(request: web.Request) -> web.Response:
            assert request.content_type == "application/x-www-form-urlencoded"
            here.notified.append({str(name): str(value) for name, value in (await request.post()).items()})
            return web.Response()

        application = web.Application()
        application.router.add_post("/notif", receive)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        here.notif_url = f"http://127.0.0.1:{runner.addresses[0][1]}/notif"
        yield here
        await runner.cleanup()


# --- creation ---------------------------------------------------------------------------------------------------------


async def test_each_creation_gives_a_new_version_1_identifier(world: World) -> None:
    first, second = await world.create(), await world.create()
    assert first != second
    assert first[14] == "1"


@pytest.mark.parametrize(
    ("field_name", "value", "code"),
    [
        ("mel", "", "A1"),
        ("mel", "pas une adresse", "A2"),
        ("mel", "a@b.c", "A2"),
        ("montant", "42.50", "M1"),
        ("montant", "99", "M3"),
        ("montant", "10000001", "M5"),
        ("refdet", "ABCD", "R3"),
        ("refdet", "FACT-2025-17", "R3"),
        ("saisie", "A", "S1"),
        ("urlnotif", "demarches", "N1"),
        ("urlredirect", "https://demarches.example.net/" + "a" * 250, "D1"),
        ("numcli", "12345", "T1"),
        ("numcli", "654321", "T2"),
        ("numcli", "999999", "T4"),
    ],
)
async def test_a_wrong_field_is_refused_with_its_code(world: World, field_name: str, value: str, code: str) -> None:
    status, answer = await world.soap("creerPaiementSecurise", FIELDS | {field_name: value})
    assert status == 500
    assert f"<code>{code}</code>" in answer
    assert world.simulator.ledger == []


async def test_a_fault_has_the_shape_of_the_contract(world: World) -> None:
    idop = await world.create()
    status, answer = await world.lookup(idop)
    assert status == 500
    assert "<faultcode>S:Server</faultcode>" in answer
    assert "<faultstring>fr.gouv.finances.cp.tpa.webservice.exceptions.FonctionnelleErreur</faultstring>" in answer
    assert (
        f'<ns2:FonctionnelleErreur xmlns:ns2="{NAMESPACE}"><code>P5</code><descriptif/>'
        "<libelle>Résultat de la transaction non connu.</libelle><severite>2</severite></ns2:FonctionnelleErreur>"
    ) in answer


async def test_qualified_children_are_not_read(world: World) -> None:
    _, answer = await world.soap("creerPaiementSecurise", FIELDS, qualified=True)
    assert "<code>T1</code>" in answer


async def test_the_name_of_the_identifier_is_case_sensitive(world: World) -> None:
    idop = await world.create()
    _, answer = await world.soap("recupererDetailPaiementSecurise", {"idop": idop})
    assert "<code>P1</code>" in answer


@pytest.mark.parametrize("body", ["", "not xml", "<a/>", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'])
async def test_what_is_not_an_envelope_is_a_client_fault(world: World, body: str) -> None:
    status, answer = await world.post(SERVICE, body)
    assert status == 500
    assert "<faultcode>S:Client</faultcode>" in answer


async def test_the_wsdl_is_served_with_the_simulators_address(world: World) -> None:
    _, wsdl = await world.get(f"{SERVICE}?wsdl")
    assert f'location="{world.simulator.url}{SERVICE}"' in wsdl


async def test_the_clients_labels_are_given(world: World) -> None:
    status, answer = await world.soap("recupererDetailClient", {"numCli": "012345"})
    assert status == 200
    assert "<libelleN1>RÉGIE DE DÉMONSTRATION</libelleN1>" in answer
    assert "<numcli>012345</numcli>" in answer


# --- the page and the life of a payment -------------------------------------------------------------------------------


async def test_a_payment_by_card_is_told_with_a_two_digit_year_and_paris_time(world: World) -> None:
    idop = await world.opened()
    await world.decide(idop, "payer")
    status, answer = await world.lookup(idop)
    assert status == 200
    for expected in (
        "<dattrans>14032025</dattrans>",
        "<heurtrans>0931</heurtrans>",
        "<exer>25</exer>",
        "<montant>4250</montant>",
        "<objet>Restauration scolaire mars</objet>",
        "<resultrans>P</resultrans>",
        "<numauto>",
    ):
        assert expected in answer


@pytest.mark.parametrize(
    ("action", "result", "authorised"),
    [
        ("payer", "P", True),
        ("prelever", "V", True),
        ("refuser", "R", False),
        ("refuser-prelevement", "Z", False),
        ("abandonner", "A", False),
    ],
)
async def test_each_decision_has_its_result(world: World, action: str, result: str, authorised: bool) -> None:
    idop = await world.opened()
    status, _ = await world.decide(idop, action)
    assert status == 303
    assert await world.code_of(idop) == result
    assert ("<numauto>" in (await world.lookup(idop))[1]) is authorised


async def test_the_subject_is_absent_when_it_was_not_sent(world: World) -> None:
    _, answer = await world.soap(
        "creerPaiementSecurise", {name: value for name, value in FIELDS.items() if name != "objet"}
    )
    idop = answer.partition("<idOp>")[2][:36]
    await world.get(f"{PAGE}?idop={idop}")
    world.simulator.notifications = "lost"
    await world.decide(idop, "payer")
    assert "<objet" not in (await world.lookup(idop))[1]


async def test_the_page_opens_only_once(world: World) -> None:
    idop = await world.create()
    _, first = await world.get(f"{PAGE}?idop={idop}")
    _, second = await world.get(f"{PAGE}?idop={idop}")
    assert "<form" in first
    assert "42,50 €" in first
    assert "(P3)" in second


async def test_the_page_no_longer_opens_after_15_minutes(world: World) -> None:
    idop = await world.create()
    world.simulator.clock.advance(minutes=15, seconds=1)
    assert "(P4)" in (await world.get(f"{PAGE}?idop={idop}"))[1]
    assert await world.code_of(idop) == "P5"


async def test_the_page_does_not_let_an_identifier_write_html(world: World) -> None:
    _, page = await world.get(f"{PAGE}?idop=%3Cscript%3E")
    assert "<script>" not in page
    assert "(P1)" in page


async def test_nobody_can_pay_on_a_page_that_was_not_opened(world: World) -> None:
    idop = await world.create()
    status, _ = await world.decide(idop, "payer")
    assert status == 400
    assert await world.code_of(idop) == "P5"


async def test_a_decision_is_taken_once(world: World) -> None:
    idop = await world.opened()
    await world.decide(idop, "refuser")
    _, page = await world.decide(idop, "payer")
    assert "(P3)" in page
    assert await world.code_of(idop) == "R"


async def test_an_abandon_may_turn_into_a_payment_during_two_minutes(world: World) -> None:
    soon, late = await world.opened(), await world.opened()
    await world.decide(soon, "abandonner")
    await world.decide(late, "abandonner")
    world.simulator.clock.advance(minutes=1)
    await world.decide(soon, "payer")
    world.simulator.clock.advance(minutes=2)
    await world.decide(late, "payer")
    assert await world.code_of(soon) == "P"
    assert await world.code_of(late) == "A"


async def test_an_unfinished_payment_is_pending_until_the_night_then_forgotten(world: World) -> None:
    idop = await world.opened()
    world.simulator.clock.advance(hours=17)  # 02:31 in Paris
    assert await world.code_of(idop) == "P5"
    world.simulator.clock.advance(minutes=30)
    assert await world.code_of(idop) == "P1"


async def test_a_payment_created_just_before_the_cleaning_outlives_it(world: World) -> None:
    world.simulator.clock.advance(hours=17, minutes=20)  # 02:51 in Paris
    idop = await world.create()
    world.simulator.clock.advance(minutes=12)
    assert await world.code_of(idop) == "P5"


async def test_a_finished_payment_is_known_for_a_year(world: World) -> None:
    idop = await world.opened()
    await world.decide(idop, "payer")
    world.simulator.clock.advance(days=364)
    assert await world.code_of(idop) == "P"
    world.simulator.clock.advance(days=2)
    assert await world.code_of(idop) == "P1"


# --- notifications ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "count"), [("sent", 1), ("lost", 0), ("twice", 2)])
async def test_notifications_can_be_lost_or_doubled(world: World, mode: str, count: int) -> None:
    await world.post("/_simulator/notifications", {"mode": mode})
    idop = await world.opened()
    await world.decide(idop, "payer")
    assert world.notified == [{"idop": idop}] * count
    assert await world.code_of(idop) == "P"


async def test_a_notification_nobody_answers_does_not_stop_the_payment(world: World) -> None:
    idop = await world.opened(urlnotif="http://127.0.0.1:1/nobody")
    status, _ = await world.decide(idop, "payer")
    assert status == 303
    assert world.simulator.executed("notification")[0].fields["status"] is None


async def test_an_unknown_mode_of_notification_is_refused(world: World) -> None:
    assert (await world.post("/_simulator/notifications", {"mode": "sometimes"}))[0] == 400


async def test_the_browser_comes_back_with_the_identifier(world: World) -> None:
    idop = await world.opened(urlredirect="https://demarches.example.net/retour?demande=12")
    async with world.browser.post(
        world.simulator.url + PAGE, data={"idop": idop, "action": "payer"}, allow_redirects=False
    ) as answer:
        assert answer.headers["Location"] == f"https://demarches.example.net/retour?demande=12&idop={idop}"


# --- the kit: faults, ledger, clock, honesty --------------------------------------------------------------------------


async def client_labels(world: World) -> tuple[int, str]:
    return await world.soap("recupererDetailClient", {"numCli": "012345"})


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reset", aiohttp.ClientOSError),
        ("close", aiohttp.ServerDisconnectedError),
        ("bad-status-line", aiohttp.ClientResponseError),
        ("truncated", aiohttp.ClientPayloadError),
    ],
)
async def test_a_broken_exchange_is_broken_once(world: World, fault: str, error: type[Exception]) -> None:
    world.simulator.faults.next(fault)
    with pytest.raises(error):
        await client_labels(world)
    assert (await client_labels(world))[0] == 200


@pytest.mark.parametrize(
    ("fault", "status", "inside"),
    [
        ("status-503", 503, "503"),
        ("html-200", 200, "<html>"),
        ("empty-200", 200, ""),
        ("redirect", 302, ""),
        ("tech-indisponibilite", 500, "TechIndisponibiliteErreur"),
    ],
)
async def test_a_spoilt_answer_executes_nothing(world: World, fault: str, status: int, inside: str) -> None:
    world.simulator.faults.next(fault)
    answered, body = await client_labels(world)
    assert answered == status
    assert inside in body
    assert world.simulator.ledger == []


async def test_an_operation_can_be_executed_and_its_answer_lost(world: World) -> None:
    world.simulator.faults.next("execute-then-reset")
    with pytest.raises(aiohttp.ClientOSError):
        await client_labels(world)
    assert len(world.simulator.executed("recupererDetailClient")) == 1


async def test_a_silent_simulator_still_stops_at_once() -> None:
    simulator = PayFiPSimulator()
    await simulator.start()
    simulator.faults.next("timeout")
    async with aiohttp.ClientSession() as browser:
        with pytest.raises(TimeoutError):
            await browser.get(simulator.url + PAGE, timeout=aiohttp.ClientTimeout(total=0.05))
    await simulator.stop()


async def test_a_slow_answer_waits_and_is_whole(world: World) -> None:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    async with PayFiPSimulator(wait=wait) as simulator:
        simulator.faults.next("slow")
        async with world.browser.get(f"{simulator.url}{SERVICE}") as answer:
            assert "definitions" in await answer.text()
    assert waited == [simulator.slowness]


async def test_faults_follow_each_other_and_may_be_limited_to_a_path(world: World) -> None:
    world.simulator.faults.next("status-500", "status-502", path=SERVICE)
    assert (await world.get(f"{PAGE}?idop=x"))[0] == 200
    assert [(await client_labels(world))[0] for _ in range(3)] == [500, 502, 200]


async def test_a_rate_of_faults_is_drawn_from_its_seed(world: World) -> None:
    async def draw() -> list[int]:
        world.simulator.faults.rate(0.5, "status-503", seed=7)
        return [(await client_labels(world))[0] for _ in range(20)]

    first = await draw()
    assert set(first) == {200, 503}
    assert await draw() == first
    world.simulator.faults.clear()
    assert (await client_labels(world))[0] == 200


@pytest.mark.parametrize("kind", ["explode", "execute-then-explode", "status-200", "status-12"])
async def test_an_unknown_fault_is_refused_by_a_sentence_that_lists_them(world: World, kind: str) -> None:
    with pytest.raises(ValueError, match="choose among timeout"):
        world.simulator.faults.next(kind)


async def test_faults_ledger_and_clock_are_switched_over_http(world: World) -> None:
    assert (await world.post("/_simulator/faults", {"fault": "status-502", "times": "2"}))[0] == 200
    assert [(await client_labels(world))[0] for _ in range(3)] == [502, 502, 200]
    assert (await world.post("/_simulator/faults", {"fault": "explode"}))[0] == 400
    assert '"recupererDetailClient"' in (await world.get("/_simulator/ledger"))[1]
    assert "2025-03-14T08:51:00" in (await world.post("/_simulator/clock", {"minutes": "20"}))[1]
    assert (await world.post("/_simulator/clock", {"minutes": "-20"}))[0] == 400


async def test_the_ledger_holds_no_personal_data(world: World) -> None:
    idop = await world.opened()
    await world.decide(idop, "payer")
    _, ledger = await world.get("/_simulator/ledger")
    assert idop in ledger
    assert "jeanne" not in ledger


async def test_every_answer_says_it_comes_from_a_simulator(world: World) -> None:
    async with world.browser.get(world.simulator.url) as answer:
        assert answer.headers["X-Simulator"].startswith("payfip")
        page = await answer.text()
    assert "Connu" in page
    assert "Supposé" in page
    assert (await world.get("/nowhere"))[0] == 404


async def test_a_bug_of_a_simulator_is_a_500_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Simulator):
        name, title = "broken", "Broken"

        @on("GET", "/things/{number}")
        async def thing(self, request: SimRequest) -> SimResponse:
            return SimResponse.json({"number": int(request.params["number"])})

    async with Broken() as simulator, aiohttp.ClientSession() as browser:
        async with browser.get(f"{simulator.url}/things/12") as answer:
            assert await answer.json() == {"number": 12}
        async with browser.get(f"{simulator.url}/things/twelve") as answer:
            assert answer.status == 500
            assert "invalid literal" not in await answer.text()
    assert "the simulator broken failed" in caplog.text
