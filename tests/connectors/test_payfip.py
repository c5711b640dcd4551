"""The PayFiP connector: before its simulator, before played answers, and through the gateway as w.c.s. calls it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from lxml import etree

from connectors.payfip import PayFiP, plain_text
from connectors.payfip.simulator import NAMESPACE, PAGE, PayFiPSimulator
from sdk import Misconfigured, RelaisError, Soap, SoapFault, UpstreamUnavailable
from sdk.call import new_call, serving
from sdk.simulator import Clock
from sdk.testing import Answer, Instance, Request, Response, answer, instance, simulated
from tests.gateway.conftest import running
from tests.wcs import WorkflowEngine

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "interfaces" / "payfip"
PACKAGE = Path(__file__).resolve().parents[2] / "connectors" / "payfip"
OPERATIONS: dict[str, dict[str, Any]] = {
    "creerPaiementSecurise": {
        "exer": "2025",
        "mel": "jeanne.martin@example.net",
        "montant": "4250",
        "numcli": "012345",
        "objet": "Restauration scolaire mars",
        "refdet": "FACT2025000117",
        "saisie": "T",
        "urlnotif": "https://demarches.example.net/payfip/notif?a=1&b=2",
        "urlredirect": "https://demarches.example.net/payfip/retour",
    },
    "recupererDetailPaiementSecurise": {"idOp": "5b0f6e40-00a8-11f0-9c1d-0213ad91a103"},
    "recupererDetailClient": {"numCli": "012345"},
}
IDOP = "5b0f6e40-00a8-11f0-9c1d-0213ad91a103"
DETAIL = {
    "dattrans": "14032025",
    "exer": "25",
    "heurtrans": "0931",
    "idOp": IDOP,
    "mel": "jeanne.martin@example.net",
    "montant": "4250",
    "numauto": "A55A55",
    "numcli": "012345",
    "objet": "Restauration scolaire mars",
    "refdet": "FACT2025000117",
    "resultrans": "P",
    "saisie": "T",
}
RETURNS: dict[str, dict[str, str]] = {
    "creerPaiementSecurise": {"idOp": IDOP},
    "recupererDetailPaiementSecurise": DETAIL,
    "recupererDetailClient": {"libelleN1": "RÉGIE", "libelleN2": "", "libelleN3": "VILLE", "numcli": "012345"},
}
SETTINGS = {
    "url": "https://payfip.example.org/tpa/services/securite",
    "client_number": "012345",
    "mode": "T",
    "notification_url": "https://relais.example.org/payfip/test/notification",
    "return_url": "https://demarches.example.org/",
}
DEBT = {
    "amount": "42.50",
    "email": "jeanne.martin@example.net",
    "reference": "FACT2025000117",
    "subject": "Restauration scolaire : été à l'école Saint-Exupéry",
}


def returned(operation: str, fields: dict[str, str]) -> str:
    """An answer of PayFiP, with the white space recordings show around values."""
    inside = "".join(f"\n  <{name}>\n    {value}\n  </{name}>" for name, value in fields.items())
    return (
        '<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body>'
        f'<ns2:{operation}Response xmlns:ns2="{NAMESPACE}"><return>{inside}</return></ns2:{operation}Response>'
        "</S:Body></S:Envelope>"
    )


def fault(code: str, element: str = "FonctionnelleErreur") -> str:
    return (
        '<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body>'
        '<S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope"><faultcode>S:Server</faultcode>'
        f"<faultstring>fr.gouv.finances.cp.tpa.webservice.exceptions.{element}</faultstring>"
        f'<detail><ns2:{element} xmlns:ns2="{NAMESPACE}"><code>{code}</code><descriptif/>'
        f"<libelle>jeanne.martin@example.net</libelle><severite>2</severite></ns2:{element}></detail></S:Fault>"
        "</S:Body></S:Envelope>"
    )


def played(text: str, status: int = 200) -> Instance[PayFiP]:
    """A connector whose PayFiP always answers this."""

    async def upstream(request: Request) -> Response:
        return answer(status, text=text)

    return instance(PayFiP, SETTINGS, upstream)


@dataclass
class Town:
    """The connector in front of the simulator, both at the same time, and a browser."""

    payfip: Instance[PayFiP]
    simulator: PayFiPSimulator
    browser: aiohttp.ClientSession

    async def create(self, **changes: Any) -> Answer:
        return await self.payfip.post("payments", DEBT | changes)

    async def created(self, **changes: Any) -> str:
        return str((await self.create(**changes)).data["id"])

    async def decided(self, action: str) -> str:
        """A payment the payer has decided upon."""
        payment = (await self.create()).data
        await (await self.browser.get(payment["url"])).read()
        await self.browser.post(
            self.simulator.url + PAGE, data={"idop": payment["id"], "action": action}, allow_redirects=False
        )
        return str(payment["id"])

    async def progress(self, idop: str, **query: Any) -> Any:
        return (await self.payfip.get(f"payments/{idop}", **query)).data

    async def notify(self, idop: str, **more: Any) -> Answer:
        return await self.payfip.post("notification", {"idop": idop, **more})


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    clock = Clock(datetime(2025, 3, 14, 8, 31, tzinfo=UTC))  # 09:31 in Paris
    simulator = PayFiPSimulator(clock=clock)
    simulator.notifications = "lost"
    async with simulated(PayFiP, simulator) as before, aiohttp.ClientSession() as browser:
        connector = PayFiP(before.connector.settings, before.connector.http, now=clock.now)
        yield Town(Instance(connector), simulator, browser)


# --- the contract -----------------------------------------------------------------------------------------------------


def originals() -> Path:
    wsdl = SHARED / "PaiementSecuriseService.wsdl"
    if not wsdl.is_file():
        pytest.skip("the DGFiP's own WSDL is not beside this checkout")
    return wsdl


def canonical(envelope: bytes) -> str:
    return str(etree.canonicalize(envelope.decode(), strip_text=True, rewrite_prefixes=True))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kept", ["all", "some", "none"])
def test_our_wsdl_writes_the_same_request_as_the_original(operation: str, kept: str) -> None:
    fields = OPERATIONS[operation]
    if kept != "all":
        fields = {name: value if kept == "some" and i % 2 else None for i, (name, value) in enumerate(fields.items())}
    ours, theirs = Soap(None, wsdl=PACKAGE / "payfip.wsdl"), Soap(None, wsdl=originals())
    assert canonical(ours.build(operation, arg0=fields)) == canonical(theirs.build(operation, arg0=fields))


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("without", ["nothing", "the last", "all"])
def test_our_wsdl_reads_the_same_answer_as_the_original(operation: str, without: str) -> None:
    fields = RETURNS[operation]
    fields = {} if without == "all" else dict(list(fields.items())[: -1 if without == "the last" else None])
    body = returned(operation, fields).encode()
    ours, theirs = Soap(None, wsdl=PACKAGE / "payfip.wsdl"), Soap(None, wsdl=originals())
    assert ours.decode(operation, body) == theirs.decode(operation, body)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "element",
    ["FonctionnelleErreur", "TechDysfonctionnementErreur", "TechIndisponibiliteErreur", "TechProtocolaireErreur"],
)
def test_our_wsdl_reads_the_same_fault_as_the_original(operation: str, element: str) -> None:
    def read(wsdl: Path) -> SoapFault:
        seen: list[SoapFault] = []
        soap = Soap(None, wsdl=wsdl, faults=lambda found: seen.append(found))
        with pytest.raises(RelaisError):
            soap.decode(operation, answer(500, text=fault("P5", element)))
        return seen[0]

    ours = read(PACKAGE / "payfip.wsdl")
    assert ours == read(originals())
    assert (ours.code, ours.type) == ("P5", element)


def test_our_wsdl_declares_the_same_operations_and_address_as_the_original() -> None:
    ours, theirs = Soap(None, wsdl=PACKAGE / "payfip.wsdl"), Soap(None, wsdl=originals())
    assert set(ours.operations()) == set(theirs.operations()) == set(OPERATIONS)
    assert 'location="https://www.payfip.gouv.fr/tpa/services/securite"' in (PACKAGE / "payfip.wsdl").read_text()


# --- creating ---------------------------------------------------------------------------------------------------------


async def test_a_payment_is_created_with_what_payfip_expects(town: Town) -> None:
    payment = (await town.create()).data
    assert town.simulator.operations[payment["id"]].fields == {
        "exer": "2025",
        "mel": "jeanne.martin@example.net",
        "montant": "4250",
        "numcli": "012345",
        "objet": "Restauration scolaire ete a l ecole Saint Exupery",
        "refdet": "FACT2025000117",
        "saisie": "T",
        "urlnotif": "https://demarches.example.net/payfip/notification",
        "urlredirect": "https://demarches.example.net/payfip/retour",
    }
    assert payment["url"] == f"{town.simulator.url}{PAGE}?idop={payment['id']}"
    assert payment["open_before"] == "2025-03-14T09:46:00+01:00"
    assert "display_id" not in payment


@pytest.mark.parametrize(
    ("amount", "cents"), [("1", "100"), ("1.01", "101"), (42.5, "4250"), ("0.29e2", "2900"), ("100000.00", "10000000")]
)
async def test_euros_become_exact_cents(town: Town, amount: Any, cents: str) -> None:
    idop = await town.created(amount=amount)
    assert town.simulator.operations[idop].fields["montant"] == cents


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", "0.99"),
        ("amount", "100000.01"),
        ("amount", "42.505"),
        ("amount", "quarante"),
        ("amount", "NaN"),
        ("amount", None),
        ("email", ""),
        ("email", "jeanne"),
        ("email", "a@b.c"),
        ("email", "j" * 70 + "@example.net"),
        ("reference", "ABCD"),
        ("reference", "FACT-2025-17"),
        ("reference", "A" * 31),
        ("reference", "FACT2025É"),
        ("year", 25),
        ("notification_url", "demarches"),
        ("notification_url", "https://demarches.example.net/" + "a" * 250),
        ("return_url", "ftp://demarches.example.net/"),
        ("unknown", "x"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_sent(town: Town, name: str, value: Any) -> None:
    refused = await town.create(**{name: value})
    assert (refused.status, refused.err_class) == (400, "InvalidInput")
    assert list(refused.body["errors"]) == [name]
    assert town.simulator.ledger == []


async def test_an_empty_address_is_the_one_of_the_settings_and_a_given_one_replaces_it(town: Town) -> None:
    idop = await town.created(notification_url="", return_url="https://demarches.example.net/12/")
    sent = town.simulator.operations[idop].fields
    assert sent["urlnotif"] == "https://demarches.example.net/payfip/notification"
    assert sent["urlredirect"] == "https://demarches.example.net/12/"


async def test_an_address_given_nowhere_is_asked_for() -> None:
    payfip = instance(PayFiP, SETTINGS | {"return_url": ""})
    refused = await payfip.post("payments", DEBT)
    assert refused.err_class == "InvalidInput"
    assert list(refused.body["errors"]) == ["return_url"]


async def test_the_budget_year_is_the_one_it_is_in_paris(town: Town) -> None:
    town.simulator.clock.advance(days=292, hours=15)  # 31 December 2025, 23:31 UTC
    assert town.simulator.operations[await town.created()].fields["exer"] == "2026"
    other = await town.created(year=2025, reference="FACT2025000118")
    assert town.simulator.operations[other].fields["exer"] == "2025"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Été à l'école Saint-Exupéry", "Ete a l ecole Saint Exupery"),
        ("Cœur & œuvre — n° 12", "Coeur oeuvre n 12"),
        ("  ", ""),
        ("a" * 99 + " bc", "a" * 99),
        ("日本", ""),
    ],
)
def test_a_subject_keeps_letters_without_accents_and_digits(text: str, plain: str) -> None:
    assert plain_text(text) == plain


async def test_a_subject_of_which_nothing_is_left_is_not_sent(town: Town) -> None:
    assert "objet" not in town.simulator.operations[await town.created(subject="—")].fields


@pytest.mark.parametrize("idop", ["", "12", "<script>"])
async def test_a_creation_without_a_usable_identifier_is_the_publishers_fault(idop: str) -> None:
    payfip = played(returned("creerPaiementSecurise", {"idOp": idop.replace("<", "&lt;")} if idop else {}))
    refused = await payfip.post("payments", DEBT)
    assert (refused.status, refused.err_class) == (502, "UpstreamInvalid")


# --- PayFiP's errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "err_class", "status", "field"),
    [
        ("A1", "InvalidInput", 400, "email"),
        ("A2", "InvalidInput", 400, "email"),
        ("M1", "InvalidInput", 400, "amount"),
        ("M3", "InvalidInput", 400, "amount"),
        ("M5", "InvalidInput", 400, "amount"),
        ("R3", "InvalidInput", 400, "reference"),
        ("S1", "Misconfigured", 500, ""),
        ("N1", "Misconfigured", 500, ""),
        ("D1", "Misconfigured", 500, ""),
        ("T1", "Misconfigured", 500, ""),
        ("T9", "Misconfigured", 500, ""),
        ("T10", "Misconfigured", 500, ""),
        ("P1", "NotFound", 200, ""),
        ("P3", "Rejected", 200, ""),
        ("P4", "Rejected", 200, ""),
        ("P5", "Rejected", 200, ""),
        ("Z9", "UpstreamInvalid", 502, ""),
    ],
)
async def test_a_code_of_payfip_says_who_must_act(code: str, err_class: str, status: int, field: str) -> None:
    refused = await played(fault(code), 500).post("payments", DEBT)
    assert (refused.err_class, refused.status) == (err_class, status)
    assert refused.body["err_code"] == code
    assert list(refused.body.get("errors", {})) == ([field] if field else [])
    assert "jeanne" not in json.dumps(refused.body)


@pytest.mark.parametrize(
    "element", ["TechDysfonctionnementErreur", "TechIndisponibiliteErreur", "TechProtocolaireErreur"]
)
async def test_a_technical_error_asks_to_wait_half_an_hour(element: str) -> None:
    payfip = played(fault("TECH", element), 500).connector
    with pytest.raises(UpstreamUnavailable) as raised:
        await payfip.client()
    assert raised.value.retry_after == 1800
    assert raised.value.processed is True


async def test_a_refusal_on_creation_is_known_to_have_created_nothing(town: Town) -> None:
    town.simulator.closed_clients.add("012345")
    with serving(new_call(repeatable=False)), pytest.raises(Misconfigured) as raised:
        await town.payfip.connector.client()
    assert raised.value.processed is True


@pytest.mark.parametrize(
    ("trouble", "err_class"),
    [
        ("html-200", "UpstreamInvalid"),
        ("empty-200", "UpstreamInvalid"),
        ("truncated", "UpstreamInvalid"),
        ("bad-status-line", "UpstreamInvalid"),
        ("status-503", "UpstreamUnavailable"),
        ("reset", "UpstreamUnavailable"),
        ("redirect", "Misconfigured"),
    ],
)
async def test_trouble_on_the_way_is_told_and_creates_once_at_most(town: Town, trouble: str, err_class: str) -> None:
    town.simulator.faults.next(trouble)
    assert (await town.create()).err_class == err_class
    assert len(town.simulator.executed("creerPaiementSecurise")) <= 1
    assert (await town.create()).data["id"]


# --- following --------------------------------------------------------------------------------------------------------


async def test_a_new_payment_is_pending(town: Town) -> None:
    progress = await town.progress(await town.created())
    assert (progress["status"], progress["final"], progress["text"]) == ("pending", False, "Paiement en attente")
    assert progress["amount"] is None


@pytest.mark.parametrize(
    ("action", "status", "means", "result"),
    [
        ("payer", "paid", "card", "P"),
        ("prelever", "paid", "direct-debit", "V"),
        ("refuser", "refused", "card", "R"),
        ("refuser-prelevement", "refused", "direct-debit", "Z"),
    ],
)
async def test_each_end_of_a_payment_has_its_status(
    town: Town, action: str, status: str, means: str, result: str
) -> None:
    progress = await town.progress(await town.decided(action))
    assert (progress["status"], progress["final"]) == (status, True)
    assert (progress["means"], progress["result"]) == (means, result)


async def test_a_paid_payment_tells_all_that_payfip_tells(town: Town) -> None:
    idop = await town.decided("payer")
    progress = await town.progress(idop)
    assert progress.pop("authorisation")
    assert progress == {
        "id": idop,
        "status": "paid",
        "text": "Payé par carte bancaire",
        "final": True,
        "updated": "2025-03-14T09:31:00+01:00",
        "result": "P",
        "means": "card",
        "amount": "42.50",
        "reference": "FACT2025000117",
        "subject": "Restauration scolaire ete a l ecole Saint Exupery",
        "test": True,
    }


async def test_an_abandon_stays_pending_for_two_minutes(town: Town) -> None:
    idop = await town.decided("abandonner")
    town.simulator.clock.advance(minutes=1, seconds=59)
    progress = await town.progress(idop)
    assert (progress["status"], progress["final"], progress["result"]) == ("pending", False, "A")
    town.simulator.clock.advance(seconds=1)
    progress = await town.progress(idop)
    assert (progress["status"], progress["final"]) == ("abandoned", True)


async def test_a_payment_never_made_expires_with_the_night(town: Town) -> None:
    idop = await town.created()
    town.simulator.clock.advance(minutes=16)
    assert (await town.progress(idop))["status"] == "pending"
    town.simulator.clock.advance(days=1)
    progress = await town.progress(idop)
    assert (progress["status"], progress["final"]) == ("expired", True)


async def test_what_is_not_an_identifier_is_refused_without_asking_payfip(town: Town) -> None:
    refused = await town.payfip.get("payments/12")
    assert (refused.status, list(refused.body["errors"])) == (400, ["idop"])
    assert town.simulator.ledger == []


async def test_white_space_around_values_is_not_part_of_them() -> None:
    progress = await played(returned("recupererDetailPaiementSecurise", DETAIL)).get(f"payments/{IDOP}")
    assert progress.data["authorisation"] == "A55A55"
    assert progress.data["amount"] == "42.50"


@pytest.mark.parametrize("query", [{"amount": "42.51"}, {"reference": "FACT2025000118"}])
async def test_a_paid_payment_of_another_debt_is_not_taken_for_this_one(query: dict[str, str]) -> None:
    payfip = played(returned("recupererDetailPaiementSecurise", DETAIL))
    refused = await payfip.get(f"payments/{IDOP}", **query)
    assert (refused.err_class, refused.body["err_code"]) == ("Rejected", "mismatch")
    assert (await payfip.get(f"payments/{IDOP}", amount="42.5", reference="FACT2025000117")).data["status"] == "paid"


@pytest.mark.parametrize("change", [{"numcli": "999999"}, {"saisie": "X"}, {"saisie": ""}])
async def test_a_payment_of_another_regie_or_mode_is_never_paid_here(change: dict[str, str]) -> None:
    refused = await played(returned("recupererDetailPaiementSecurise", DETAIL | change)).get(f"payments/{IDOP}")
    assert (refused.err_class, refused.body["err_code"]) == ("Rejected", "mismatch")


@pytest.mark.parametrize(
    "change",
    [
        {"idOp": "5b0f6e40-00a8-11f0-9c1d-0213ad91a104"},
        {"resultrans": "Q"},
        {"resultrans": ""},
        {"montant": "42,50"},
        {"montant": ""},
    ],
)
async def test_an_answer_outside_the_contract_is_never_a_state(change: dict[str, str]) -> None:
    refused = await played(returned("recupererDetailPaiementSecurise", DETAIL | change)).get(f"payments/{IDOP}")
    assert (refused.status, refused.err_class) == (502, "UpstreamInvalid")


@pytest.mark.parametrize("change", [{"dattrans": ""}, {"dattrans": "32132025"}, {"heurtrans": "9h31"}])
async def test_a_payment_with_an_unreadable_time_is_still_paid(change: dict[str, str]) -> None:
    progress = await played(returned("recupererDetailPaiementSecurise", DETAIL | change)).get(f"payments/{IDOP}")
    assert progress.data["status"] == "paid"
    assert "updated" not in progress.data


async def test_summer_time_is_told(town: Town) -> None:
    town.simulator.clock.advance(days=100)
    assert (await town.progress(await town.decided("payer")))["updated"] == "2025-06-22T10:31:00+02:00"


# --- notification, client, check --------------------------------------------------------------------------------------


async def test_a_notification_is_only_a_reason_to_look_the_payment_up(town: Town) -> None:
    idop = await town.created()
    assert (await town.notify(idop.upper())).body == {"err": 0, "data": None}
    assert idop in town.payfip.triggered
    assert town.simulator.executed("recupererDetailPaiementSecurise") == []
    assert (await town.progress(idop))["status"] == "pending"


async def test_a_notification_may_carry_fields_nobody_told_us_of(town: Town) -> None:
    assert (await town.notify(await town.created(), resultrans="P")).status == 200


@pytest.mark.parametrize("body", [{}, {"idop": "12"}, {"idop": "x' or '1"}])
async def test_a_notification_without_an_identifier_is_refused(town: Town, body: dict[str, str]) -> None:
    assert (await town.payfip.post("notification", body)).status == 400
    assert town.simulator.ledger == []


async def test_the_client_is_told_with_its_labels(town: Town) -> None:
    assert (await town.payfip.get("client")).data == {
        "number": "012345",
        "name": "RÉGIE DE DÉMONSTRATION",
        "labels": ["RÉGIE DE DÉMONSTRATION", "VILLE DE SIMULA", "SERVICES À LA POPULATION"],
    }


async def test_the_check_proves_the_client_number() -> None:
    async with simulated(PayFiP, PayFiPSimulator()) as payfip:
        await payfip.connector.check()
    async with simulated(PayFiP, PayFiPSimulator(), {"client_number": "654321"}) as payfip:
        with pytest.raises(Misconfigured) as raised:
            await payfip.connector.check()
    assert raised.value.code == "T2"


@pytest.mark.parametrize(
    "wrong", [{"client_number": "12345"}, {"mode": "A"}, {"notification_url": "https://a.example/" + "a" * 250}]
)
def test_settings_payfip_would_refuse_are_refused_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        instance(PayFiP, SETTINGS | wrong)


# --- through the gateway ----------------------------------------------------------------------------------------------

SIGNED = {"forms": {"signature": {"orig": "demarches.example.org", "key": "a shared key"}, "rights": ["payfip/*/*"]}}


async def test_a_workflow_engine_creates_a_payment_and_follows_it_until_it_is_paid(tmp_path: Path) -> None:
    async with (
        PayFiPSimulator() as simulator,
        running(tmp_path, PayFiP, settings=simulator.demo_settings(), clients=SIGNED) as gateway,
        WorkflowEngine(key="a shared key") as engine,
        aiohttp.ClientSession() as browser,
    ):
        base = f"{gateway.url}/payfip/test"
        created = await engine.call(f"{base}/payments", DEBT | {"notification_url": f"{base}/notification"})
        assert created.ok
        payment = created.data["data"]
        page = await (await browser.get(payment["url"])).text()
        assert "42,50 €" in page
        waiting = await engine.call(f"{base}/payments/{payment['id']}")
        assert (waiting.ok, waiting.data["data"]["status"]) == (True, "pending")
        await browser.post(simulator.url + PAGE, data={"idop": payment["id"], "action": "payer"}, allow_redirects=False)
        assert simulator.executed("notification")[0].fields["status"] == 200
        paid = await engine.call(f"{base}/payments/{payment['id']}?amount=42.50&reference=FACT2025000117")
        assert paid.data["data"]["status"] == "paid"
        assert paid.data["data"]["final"] is True


async def test_a_workflow_engine_reads_who_must_act_in_a_refusal(tmp_path: Path) -> None:
    async with (
        PayFiPSimulator() as simulator,
        running(tmp_path, PayFiP, settings=simulator.demo_settings(), clients=SIGNED) as gateway,
        WorkflowEngine(key="a shared key") as engine,
    ):
        url = f"{gateway.url}/payfip/test/payments"
        wrong = await engine.call(url, DEBT | {"reference": "ABCD"})
        assert (wrong.ok, wrong.status, wrong.app_error_code, wrong.stopped_by) == (False, 400, 1, "4xx")
        assert "reference" in wrong.desc
        simulator.faults.next("tech-indisponibilite")
        later = await engine.call(url, DEBT | {"reference": "FACT2025000118"})
        assert (later.status, later.stopped_by, later.headers["Retry-After"]) == (503, "5xx", "1800")
        simulator.faults.next("execute-then-reset")
        unknown = await engine.call(url, DEBT)
        assert not unknown.ok
        assert unknown.error_data["err_class"] == "OutcomeUnknown"


async def test_a_stranger_cannot_create_but_payfip_can_notify(tmp_path: Path) -> None:
    async with (
        PayFiPSimulator() as simulator,
        running(tmp_path, PayFiP, settings=simulator.demo_settings(), clients=SIGNED) as gateway,
        aiohttp.ClientSession() as stranger,
    ):
        base = f"{gateway.url}/payfip/test"
        async with stranger.post(f"{base}/payments", json=DEBT) as refused:
            assert refused.status == 401
        async with stranger.post(f"{base}/notification", data={"idop": IDOP}) as taken:
            assert taken.status == 200
    assert simulator.executed("creerPaiementSecurise") == []


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs bash and curl")
async def test_the_lines_of_the_demonstration_do_what_they_say(tmp_path: Path) -> None:
    async with PayFiPSimulator() as simulator:
        open_to_all = {"demo": {"ip": ["127.0.0.0/8"], "trusted_ip": True, "rights": ["*/*/*"]}}
        async with running(tmp_path, PayFiP, settings=simulator.demo_settings(), clients=open_to_all) as gateway:
            lines = [line for _, line in simulator.demo_lines(f"{gateway.url}/payfip/test")]
            script = "\n".join(f"{line}; echo" for line in lines)
            shell = await asyncio.create_subprocess_exec(
                "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            shown, created = await shell.communicate()
    assert '"url":' in created.decode()
    assert "RÉGIE DE DÉMONSTRATION" in shown.decode()
    assert '"status":"paid"' in shown.decode()
    assert "application/pdf" in shown.decode()
