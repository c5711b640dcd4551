"""The portal of Cart@ds: lists, a zip dropped on a real SFTP server, notified, followed."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import select, update

from connectors.cartads import Cartads
from connectors.cartads.deposits import zipped
from connectors.cartads.portal_token import opened_token, portal_token, secret_bytes
from connectors.cartads.simulator import PORTAL_SERVICE, CartadsSimulator
from gateway.store.tables import deliveries, followed
from sdk import Misconfigured, Secret
from sdk.call import Call, new_call, serving
from sdk.simulator import Clock
from sdk.testing import Answer, Instance, Request, Response, answer, connected, instance
from sdk.transfer.inbox import SftpInbox
from tests.gateway.conftest import KEY, Gateway, running
from tests.wcs import Forms

NOON = datetime(2025, 3, 15, 12, 0, tzinfo=UTC)
PDF = b"%PDF-1.4\n"
WSDL = Path(__file__).resolve().parents[2] / "connectors" / "cartads" / "assumed-portail.wsdl"


async def filed(cartads: Instance[Cartads], sent: Any) -> Answer:
    """The final answer to a deposit, which is deferred."""
    return await cartads.carry_out(await cartads.post("deposits", sent))


def file(name: str, content: bytes = PDF) -> dict[str, str]:
    return {"filename": name, "content": base64.b64encode(content).decode()}


def deposit(**changes: Any) -> dict[str, Any]:
    return {
        "commune": "76540",
        "type": "PCMI",
        "object": "1",
        "cerfa": file("formulaire rempli.pdf"),
        "pieces": [
            {"code": "PCMI1", "file": file("plan été.pdf")},
            {"code": "PCMI1", "file": file("../../plan.pdf", PDF + b"2" * 300_000)},
        ],
        "email": "jeanne.martin@example.net",
        "information": {"NumeroSuivi": "12-34"},
        **changes,
    }


LATER = {"kind": "completion", "pieces": [{"code": "PCMI5", "file": file("facades.pdf")}]}


@pytest.fixture
async def simulator() -> AsyncIterator[CartadsSimulator]:
    async with CartadsSimulator(clock=Clock(NOON)) as simulator:
        yield simulator


def on(simulator: CartadsSimulator, portal: dict[str, Any] | None = None, **http: Any) -> Any:
    """Cart@ds before a simulator that runs, its portal alone, with other settings for it."""
    settings = {"portal": simulator.demo_settings()["portal"] | (portal or {})}
    return connected(Cartads, settings, private=("127.0.0.0/8",), **{"allow_http": True, **http})


def dropping(simulator: CartadsSimulator, drop: Literal["sftp", "ftps"]) -> dict[str, Any]:
    """The sample settings, their portal dropping by `sftp` or by `ftps`."""
    simulator.drop = drop
    return simulator.demo_settings()


async def carried_out(gateway: Gateway, ticket: Any) -> Any:
    """What the ticket tells once the gateway has done it."""
    async with asyncio.timeout(20):
        while not (said := (await gateway.get(ticket["status_url"]))["data"])["final"]:
            await gateway.server.follow.look()
            await gateway.server.follow.settled()
    return said


def inbox(simulator: CartadsSimulator) -> SftpInbox:
    assert simulator.portal.inbox is not None
    return simulator.portal.inbox


def effects(simulator: CartadsSimulator) -> list[str]:
    return [each.operation for each in simulator.ledger if each.operation in ("drop", *NOTIFICATIONS)]


NOTIFICATIONS = ("NotifierDepotDossier", "NotifierDepotPieces")


# --- the story --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", ["sftp", "ftps"])
async def test_a_permit_from_the_choice_of_the_commune_to_the_missing_pieces(
    simulator: CartadsSimulator, tmp_path: Path, drop: Literal["sftp", "ftps"]
) -> None:
    async with running(tmp_path, Cartads, settings=dropping(simulator, drop)) as gateway:
        here = "/cartads/test"
        assert (await gateway.get(f"{here}/communes?q=rouen"))["data"] == [{"id": "76540", "text": "ROUEN"}]
        assert len((await gateway.get(f"{here}/types?commune=76540"))["data"]) == 3
        objects = await gateway.get(f"{here}/objects?commune=76540&type=PCMI")
        assert [each["text"] for each in objects["data"]] == ["Construction neuve", "Extension"]
        chosen = "commune=76540&type=PCMI&object=1"
        form = (await gateway.get(f"{here}/forms?{chosen}"))["data"][0]
        assert form["url"] == "https://cartads.example.net/cerfa/PCMI.pdf"
        pieces = (await gateway.get(f"{here}/pieces?{chosen}"))["data"]
        assert [(each["id"], each["mandatory"]) for each in pieces] == [
            ("PCMI1", True),
            ("PCMI2", True),
            ("PCMI7", False),
        ]
        ticket = (await gateway.post(f"{here}/deposits", deposit()))["data"]
        assert ticket["state"] == "RECEIVED"
        made = await carried_out(gateway, ticket)
        assert (made["data"]["id"], made["data"]["size"] > 0) == (f"relais-{ticket['id']}", True)
        asked = f"{here}/deposits/{ticket['id']}"
        waiting = (await gateway.get(asked))["data"]
        assert (waiting["status"], waiting["number"], waiting["final"]) == ("En attente d'enregistrement", "", False)
        simulator.clock.advance(minutes=11)
        known = (await gateway.get(asked))["data"]
        assert known["number"] == "PC 076 540 25 00004"
        assert [each["text"] for each in known["steps"]] == ["Dépôt", "Dossier déposé"]
        progress = await gateway.get(f"{here}/applications/{known['number'].replace(' ', '%20')}/progress")
        assert progress["data"]["status"] == "Dossier déposé"
        missing = (await gateway.get(f"{here}/files/{known['file']}/pieces/completion"))["data"]
        assert [each["id"] for each in missing] == ["PCMI5"]
        later = (await gateway.post(f"{here}/files/{known['file']}/deposits", LATER))["data"]
        await carried_out(gateway, later)
        assert (await gateway.get(f"{here}/deposits/{later['id']}"))["data"]["file"] == known["file"]
    assert effects(simulator) == ["drop", "NotifierDepotDossier", "drop", "NotifierDepotPieces"]


async def test_the_form_is_told_of_the_deposit_then_of_the_number_of_the_file(
    simulator: CartadsSimulator, tmp_path: Path
) -> None:
    async with Forms(keys={"relais.example.org": "the-secret"}) as forms:
        form = forms.add("permis", "12", triggers={"suivi"})
        callback = {
            "url": forms.url,
            "trigger": "suivi",
            "signature": {"orig": "relais.example.org", "key": "the-secret"},
            "http": {"allow_http": True},
        }
        client = {"api_key": KEY["X-API-Key"], "rights": ["*/*/*"], "callback": callback}
        settings = simulator.demo_settings()
        async with running(tmp_path, Cartads, settings=settings, clients={"wcs": client}) as gateway:

            async def told(count: int) -> Any:
                async with asyncio.timeout(20):
                    while len(form.told) < count:
                        for kind in (gateway.server.follow, gateway.server.following, gateway.server.callbacks):
                            await kind.look()
                            await kind.settled()
                return form.told[-1]

            caller = {"Publik-Caller-URL": f"{forms.url}/backoffice/management/permis/12/"}
            ticket = (await gateway.post("/cartads/test/deposits", deposit(), headers=caller))["data"]
            said = await told(1)
            assert (said["delivery"], said["state"], said["final"]) == (ticket["id"], "DONE", False)
            store = gateway.server.deliveries.store
            for moment, status, number in (
                (0, "En attente d'enregistrement", ""),
                (11, "Dossier déposé", "PC 076 540 25 00004"),
            ):
                simulator.clock.advance(minutes=moment)
                await store.run(lambda connection: connection.execute(update(followed).values(next_at=0.0)))
                said = await told(len(form.told) + 1)
                assert (said["status"], said["data"]["number"]) == (status, number)
            query = select(deliveries.c.state, deliveries.c.request)
            (kept,) = await store.run(lambda connection: connection.execute(query).all())
            assert tuple(kept) == ("DONE", None), "the citizen's pieces are not kept longer than the deposit"
        assert forms.faults == []


async def test_the_archive_holds_the_cerfa_and_every_piece_under_plain_names(simulator: CartadsSimulator) -> None:
    async with on(simulator) as cartads:
        answer = (await filed(cartads, deposit())).data
    told = simulator.executed("NotifierDepotDossier")[0]
    assert told.fields["names"] == ["CERFA.pdf", "PCMI1-01-plan-ete.pdf", "PCMI1-02-plan.pdf"]
    assert told.fields["filename"] == f"{answer['id']}.zip"
    sent = simulator.portal.deposits[f"{answer['id']}.zip"].fields
    assert (sent["courriel"], sent["objetDemande"]) == ("jeanne.martin@example.net", "1")
    assert sent["informations"] == {"KeyValueOfstringstring": [{"Key": "NumeroSuivi", "Value": "12-34"}]}


async def test_the_archive_is_never_whole_in_memory_nor_on_disk(simulator: CartadsSimulator) -> None:
    content = base64.b64decode(base64.b64encode(bytes(range(256)) * 8000))
    pieces = [piece async for piece in zipped([("a.bin", content), ("b.bin", content)], NOON)]
    assert max(map(len, pieces)) < 256 * 1024
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.read("b.bin") == content
    async with on(simulator) as cartads:
        await filed(cartads, deposit())
        assert list(cartads.connector.http.folder.rglob("*")) == []


@pytest.mark.parametrize(("kind", "code"), [("completion", "PCMI5"), ("doc", "DOC"), ("daact", "DAACT")])
async def test_pieces_expected_later_depend_on_the_moment(simulator: CartadsSimulator, kind: str, code: str) -> None:
    async with on(simulator) as cartads:
        assert [each["id"] for each in (await cartads.get(f"files/48213/pieces/{kind}")).data] == [code]
        await cartads.carry_out(await cartads.post("files/48213/deposits", LATER | {"kind": kind}))
    filename = simulator.executed("NotifierDepotPieces")[0].fields["filename"]
    assert simulator.portal.deposits[filename].fields["nature"] == kind


async def test_the_steps_of_a_file_on_paper_are_read_too(simulator: CartadsSimulator) -> None:
    async with on(simulator) as cartads:
        assert (await cartads.get("files/48213/steps")).data == [{"text": "Dépôt", "date": "2025-03-03T00:00:00+01:00"}]


async def test_an_unknown_deposit_is_not_found(simulator: CartadsSimulator) -> None:
    async with on(simulator) as cartads:
        assert (await cartads.get("deposits/relais-unknown")).err_class == "NotFound"


@pytest.mark.parametrize("drop", ["sftp", "ftps"])
async def test_what_a_crash_left_in_the_drop_folder_is_removed_at_start(
    simulator: CartadsSimulator, tmp_path: Path, drop: Literal["sftp", "ftps"]
) -> None:
    left = inbox(simulator).folder / ".relais-a.zip.01234567.part"
    left.write_bytes(b"half of a citizen's file")
    os.utime(left, (0, 0))
    async with running(tmp_path, Cartads, settings=dropping(simulator, drop)), asyncio.timeout(20):
        while left.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_portal_drops_by_one_protocol_and_not_two(simulator: CartadsSimulator) -> None:
    portal = simulator.demo_settings()["portal"]
    both = portal | {"ftps": dropping(simulator, "ftps")["portal"]["ftps"]}
    for given in (both, {name: value for name, value in portal.items() if name != "sftp"}):
        with pytest.raises(Misconfigured, match="sftp"):
            instance(Cartads, {"portal": given})


# --- never twice, never lost ------------------------------------------------------------------------------------------


def referenced(reference: str) -> Call:
    call = new_call(repeatable=False)
    call.reference = reference
    return call


async def put(cartads: Instance[Cartads], body: Any) -> Any:
    from connectors.cartads.deposits import Deposit

    return await cartads.connector.deposit(Deposit.model_validate(body))


async def test_a_deposit_carries_our_reference_and_is_found_by_it(simulator: CartadsSimulator) -> None:
    async with on(simulator) as cartads:
        assert await cartads.connector.find_deposit("ref/1") is None
        with serving(referenced("ref/1")):
            made = await put(cartads, deposit())
        found = await cartads.connector.find_deposit("ref/1")
    assert made.id == "relais-ref-1"
    assert found is not None
    assert found.id == made.id


async def test_a_notification_without_an_answer_is_in_doubt_then_found(simulator: CartadsSimulator) -> None:
    async with on(simulator, timeout=0.3) as cartads:
        simulator.faults.next("execute-then-close")
        call = referenced("ref-2")
        with serving(call), pytest.raises(Exception) as caught:
            await put(cartads, deposit())
        assert getattr(caught.value, "processed", 0) is None
        assert call.effect_sent
        assert await cartads.connector.find_deposit("ref-2") is not None
    assert effects(simulator) == ["drop", "NotifierDepotDossier"]


async def test_a_doubt_ends_by_finding_the_deposit_and_nothing_is_told_twice(
    simulator: CartadsSimulator, tmp_path: Path
) -> None:
    rules = {"quarantine": 0.0, "margin": 0.0, "backoff": 0.01}
    async with running(tmp_path, Cartads, settings=simulator.demo_settings(), deliveries=rules) as gateway:
        async with asyncio.timeout(20):
            # The gateway's own check of the instance must not meet the fault.
            while (await gateway.get("/cartads/test/up"))["data"]["state"] != "up":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        simulator.faults.next("execute-then-close", path=PORTAL_SERVICE)
        key = {"Idempotency-Key": "one-deposit"}
        ticket = (await gateway.post("/cartads/test/deposits", deposit(), headers=key))["data"]
        made = await carried_out(gateway, ticket)
        again = await gateway.post("/cartads/test/deposits", deposit(), headers=key)
        assert again["data"] == ticket
        found = await gateway.get(f"/cartads/test/deposits/{made['data']['id']}")
        assert found["data"]["status"] == "En attente d'enregistrement"
    assert effects(simulator) == ["drop", "NotifierDepotDossier"]


async def test_a_deposit_told_again_replaces_its_archive(simulator: CartadsSimulator) -> None:
    async with on(simulator, retries=0) as cartads:
        simulator.faults.next("status-503")
        with serving(referenced("ref-3")), pytest.raises(Exception):  # noqa: B017
            await put(cartads, deposit())
        assert await cartads.connector.find_deposit("ref-3") is None
        with serving(referenced("ref-3")):
            await put(cartads, deposit())
    assert effects(simulator) == ["drop", "drop", "NotifierDepotDossier"]
    assert list(inbox(simulator).folder.iterdir()) == []


@pytest.mark.parametrize(
    "fault", ["timeout", "reset", "close", "html-200", "empty-200", "redirect", "status-500", "execute-then-reset"]
)
async def test_a_spoilt_notification_is_never_sent_twice(simulator: CartadsSimulator, fault: str) -> None:
    async with on(simulator, timeout=0.3) as cartads:
        simulator.faults.next(fault)
        found = await filed(cartads, deposit())
    assert found.err_class in ("UpstreamUnavailable", "UpstreamInvalid", "Misconfigured")
    assert effects(simulator).count("NotifierDepotDossier") <= 1


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"cerfa": file("a.txt", b"some text")},
        {"pieces": [{"code": "../x", "file": file("a.pdf")}]},
        {"email": "not an address"},
        {"commune": ""},
        {"unknown": "x"},
    ],
    ids=["not a PDF", "code", "email", "commune", "unknown field"],
)
async def test_a_wrong_deposit_is_refused_before_anything_leaves(
    simulator: CartadsSimulator, changes: dict[str, Any]
) -> None:
    async with on(simulator) as cartads:
        assert (await filed(cartads, deposit(**changes))).err_class == "InvalidInput"
    assert inbox(simulator).connections == 0


async def test_a_drop_server_with_another_key_gets_nothing_and_nobody_is_told(simulator: CartadsSimulator) -> None:
    other = SftpInbox(Path())
    async with on(simulator, {"sftp": inbox(simulator).account(host_key=other.host_key)}) as cartads:
        found = await filed(cartads, deposit())
        assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "host-key")
        with pytest.raises(Misconfigured):
            await cartads.connector.check()
    assert effects(simulator) == []


async def test_a_connection_cut_during_the_drop_notifies_nobody(simulator: CartadsSimulator) -> None:
    inbox(simulator).cut_after = 10
    async with on(simulator) as cartads:
        assert (await filed(cartads, deposit())).err_class == "UpstreamUnavailable"
    assert effects(simulator) == []


async def test_a_refusal_named_in_the_settings_is_passed_on(simulator: CartadsSimulator) -> None:
    wrong = {"password": "wrong-secret"}
    async with on(simulator, wrong) as cartads:
        found = await cartads.get("communes")
        assert found.err_class == "UpstreamInvalid"
        assert "wrong-secret" not in json.dumps(found.body)
    async with on(simulator, wrong | {"refusals": {"Client": "Le portail refuse."}}) as cartads:
        found = await cartads.get("communes")
        assert (found.err_class, found.body["err_desc"]) == ("Rejected", "Le portail refuse.")


# --- another WSDL -----------------------------------------------------------------------------------------------------


async def test_the_customers_own_wsdl_and_names_are_used(simulator: CartadsSimulator, tmp_path: Path) -> None:
    own = tmp_path / "own.wsdl"
    text = WSDL.read_text("utf-8").replace("GetCommunes", "ListerVilles").replace("jeton", "token")
    own.write_text(text, "utf-8")
    service = {"url": simulator.url + PORTAL_SERVICE, "wsdl": str(own)}
    names = {
        action: {"arguments": {"token": "{token}"}, "operation": operation}
        for action, operation in {"communes": "ListerVilles", "types": "GetTypesDossier"}.items()
    }
    asked: list[bytes] = []

    async def upstream(request: Request) -> Response:
        asked.append(request.body or b"")
        pair = "<a:KeyValueOfstringstring><a:Key>1</a:Key><a:Value>VILLE</a:Value></a:KeyValueOfstringstring>"
        return answer(
            text='<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            '<ListerVillesResponse xmlns="urn:relais:assumed:cartads:portail"><ListerVillesResult '
            'xmlns:a="http://schemas.microsoft.com/2003/10/Serialization/Arrays">'
            f"{pair}</ListerVillesResult></ListerVillesResponse></s:Body></s:Envelope>"
        )

    others: dict[str, Any] = {action: {"arguments": {}} for action in OTHERS}
    portal = simulator.demo_settings()["portal"] | {"services": [service], "operations": others | names}
    cartads = instance(Cartads, {"portal": portal}, upstream)
    assert (await cartads.get("communes")).data == [{"id": "1", "text": "VILLE"}]
    assert b"ListerVilles>" in asked[0]
    assert b":token>" in asked[0]


OTHERS = (
    "objects",
    "forms",
    "pieces",
    "completion_pieces",
    "doc_pieces",
    "daact_pieces",
    "notify",
    "notify_pieces",
    "deposit",
    "steps",
)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ({"operation": "GetVilles"}, "GetVilles"),
        ({"arguments": {"cle": "{token}"}}, "cle"),
        ({"arguments": {"jeton": "{clef}"}}, "clef"),
    ],
)
async def test_a_wrong_name_in_the_settings_is_told_at_once(
    simulator: CartadsSimulator, operation: dict[str, Any], said: str
) -> None:
    portal = simulator.demo_settings()["portal"] | {"operations": {"communes": operation}}
    with pytest.raises(Misconfigured) as caught:
        instance(Cartads, {"portal": portal})
    assert (caught.value.code, said in caught.value.message) == ("field-map", True)


async def test_an_operation_the_wsdl_lacks_says_so_before_anything_is_dropped(
    simulator: CartadsSimulator, tmp_path: Path
) -> None:
    own = tmp_path / "own.wsdl"
    own.write_text(WSDL.read_text("utf-8").replace("NotifierDepotPieces", "AutreChose"), "utf-8")
    async with on(simulator, {"services": [{"url": simulator.url + PORTAL_SERVICE, "wsdl": str(own)}]}) as cartads:
        found = await cartads.carry_out(await cartads.post("files/48213/deposits", LATER))
    assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "field-map")
    assert inbox(simulator).connections == 0


@pytest.mark.parametrize("name", ["email", "information"])
async def test_what_the_customers_call_has_no_place_for_is_refused_not_dropped(
    simulator: CartadsSimulator, name: str
) -> None:
    notify = {"arguments": {"jeton": "{token}", "nomFichier": "{filename}"}}
    async with on(simulator, {"operations": {"notify": notify}}) as cartads:
        only = {"email": "", "information": {}} | {name: deposit()[name]}
        found = await filed(cartads, deposit(**only))
        assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "no-place")
        assert name in found.body["err_desc"]
        assert inbox(simulator).connections == 0
        assert (await filed(cartads, deposit(email="", information={}))).data["id"]


# --- the token --------------------------------------------------------------------------------------------------------


def test_the_token_holds_login_password_and_date_and_has_no_padding() -> None:
    key, iv = b"k" * 32, b"i" * 16
    token = portal_token("portail", "mot-de-passe", key, iv, NOON)
    assert "=" not in token
    assert opened_token(token, key, iv) == {
        "login": "portail",
        "password": "mot-de-passe",
        "date": "/Date(1742040000000)/",
    }


@pytest.mark.parametrize(("text", "size"), [("k" * 16, 16), ("00" * 32, 32), ("ab" * 16, 32), ("ab" * 24, 24)])
def test_a_key_is_text_or_hexadecimal(text: str, size: int) -> None:
    assert len(secret_bytes(Secret(text), (16, 24, 32), "portal.key")) == size


def test_a_key_of_another_size_is_refused_without_being_shown() -> None:
    with pytest.raises(Misconfigured) as caught:
        secret_bytes(Secret("too-short"), (16,), "portal.iv")
    assert "too-short" not in caught.value.message


async def test_the_simulator_refuses_a_notification_without_its_archive(simulator: CartadsSimulator) -> None:
    async with on(simulator) as cartads:
        inbox(simulator).arrived = lambda name: (inbox(simulator).folder / name).unlink()
        assert (await filed(cartads, deposit())).err_class == "UpstreamInvalid"
    assert simulator.portal.deposits == {}
