"""The ATAL connector, over both generations: before its simulator, before played answers, and through the gateway."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest
import structlog

from connectors.atal import Atal, Settings
from connectors.atal.simulator import DEMANDE, VILLE_AGILE, AtalSimulator
from gateway import journal
from sdk import Misconfigured
from sdk.samples import Sample, samples
from sdk.testing import Answer, Instance, Request, Response, answer, instance, simulated
from tests.gateway.conftest import KEY, running

PACKAGE = Path(__file__).resolve().parents[2] / "connectors" / "atal"
GENERATIONS: tuple[Literal["soap", "v6"], ...] = ("soap", "v6")
REQUEST = {
    "object": "Nid de poule",
    "description": "Devant le numéro 3",
    "place": "Rue du Lac",
    "type": "VOIRIE",
    "longitude": 1.0993,
    "latitude": 49.4431,
    "wished_date": "2025-03-20",
    "contact": {
        "last_name": "Martin",
        "first_name": "Jeanne",
        "email": "jeanne.martin@example.net",
        "phone": "0235000000",
        "mobile": "0601020304",
        "address": "3 rue du Lac",
        "zip_code": "76000",
        "city": "Rouen",
    },
}
PHOTO = {"filename": "trou.png", "content": base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()}
PERIOD = {"start": "2025-04-02T14:00", "end": "2025-04-02T18:00"}
SOAP = {"generation": "soap", "url": "https://atal.example.org/awa/services/DemandeService"}
V6 = {"generation": "v6", "url": "https://atal.example.org", "key": "cle"}


@dataclass
class Town:
    """The connector in front of the simulator, both at the same time."""

    atal: Instance[Atal]
    simulator: AtalSimulator

    async def create(self, **changes: Any) -> Answer:
        return await self.atal.post("requests", {**REQUEST, **changes})

    async def created(self, **changes: Any) -> str:
        return str((await self.create(**changes)).data["id"])

    async def act(self, request: str, **form: str) -> None:
        """What an agent does in ATAL."""
        demand = self.simulator.demand(request)
        assert demand is not None
        demand.state = form.get("state", demand.state)
        demand.responses += [form["response"]] if "response" in form else []


@pytest.fixture(params=GENERATIONS)
async def town(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    """Either generation: the same tests, word for word."""
    simulator = AtalSimulator(generation=request.param)
    async with simulated(Atal, simulator) as atal:
        yield Town(atal, simulator)


@pytest.fixture
async def v6() -> AsyncIterator[Town]:
    simulator = AtalSimulator(generation="v6")
    async with simulated(Atal, simulator) as atal:
        yield Town(atal, simulator)


@pytest.fixture
async def old() -> AsyncIterator[Town]:
    simulator = AtalSimulator(generation="soap")
    async with simulated(Atal, simulator) as atal:
        yield Town(atal, simulator)


def played(
    settings: dict[str, Any], answers: Callable[[Request], Response] | Response
) -> tuple[Instance[Atal], list[Request]]:
    """A connector whose ATAL answers this, and what it was sent."""
    sent: list[Request] = []

    async def upstream(request: Request) -> Response:
        sent.append(request)
        return answers if isinstance(answers, Response) else answers(request)

    return instance(Atal, settings, upstream), sent


# --- the same over both generations -----------------------------------------------------------------------------------


async def test_the_same_form_creates_a_request_in_either_generation(town: Town) -> None:
    receipt = (await town.create()).data
    assert receipt["display_id"] == "D-2025-00117"
    [entry] = town.simulator.executed("createRequest")
    assert entry.fields == {
        "generation": town.simulator.generation,
        "number": "D-2025-00117",
        "type": "1001",
        "located": True,
    }
    demand = town.simulator.demands["D-2025-00117"]
    assert (demand.fields["Object"], demand.fields["Localization"]) == ("Nid de poule", "Rue du Lac")
    assert "2025" in demand.fields["DesiredDate"]


async def test_a_request_without_place_nor_date_is_created_too(town: Town) -> None:
    bare = {"object": "Nid de poule", "longitude": "", "latitude": "", "wished_date": "", "contact": {}}
    assert (await town.atal.post("requests", bare)).data["id"]
    assert town.simulator.executed("createRequest")[0].fields["located"] is False


async def test_a_request_is_followed_until_its_end(town: Town) -> None:
    request = await town.created()
    first = (await town.atal.get(f"requests/{request}")).data
    assert (first["text"], first["final"], first["comments"]) == ("Demande reçue", False, [])
    await town.act(request, state="3", response="Trou rebouché")
    last = (await town.atal.get(f"requests/{request}")).data
    assert (last["text"], last["final"], last["comments"]) == ("Travaux terminés", True, ["Trou rebouché"])
    assert (last["id"], last["number"], last["object"]) == (request, "D-2025-00117", "Nid de poule")


async def test_a_state_the_settings_do_not_name_is_passed_on_untouched_and_never_final(town: Town) -> None:
    request = await town.created()
    await town.act(request, state="7")
    found = (await town.atal.get(f"requests/{request}")).data
    expected = "7" if town.simulator.generation == "v6" else "Ajournée"
    assert (found["status"], found["text"], found["final"]) == (expected, expected, False)


async def test_an_unknown_request_is_not_found(town: Town) -> None:
    assert (await town.atal.get("requests/00000000-0000-0000-0000-000000000000")).err_class == "NotFound"


async def test_a_comment_reaches_the_request_with_its_author(town: Town) -> None:
    request = await town.created()
    comment = {"text": "Il grandit.", "author": "Jeanne Martin"}
    assert (await town.atal.post(f"requests/{request}/comments", comment)).data is None
    demand = town.simulator.demand(request)
    assert demand is not None
    assert demand.comments == ["Jeanne Martin : Il grandit."]


async def test_a_file_arrives_byte_for_byte(town: Town) -> None:
    request = await town.created()
    received = (await town.atal.post(f"requests/{request}/attachments", {"file": PHOTO})).data
    assert (received["filename"], received["size"]) == ("trou.png", 264)
    demand = town.simulator.demand(request)
    assert demand is not None
    assert demand.files == [("trou.png", base64.b64decode(PHOTO["content"]))]


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("types", "Voirie"),
        ("thematics", "Voirie"),
        ("equipment", "Maison des associations"),
        ("services", "Relation usagers"),
        ("third-parties", "Relation usagers"),
    ],
)
async def test_each_reference_list_is_a_list_of_choices(town: Town, path: str, first: str) -> None:
    listed = (await town.atal.get(path)).data
    assert listed[0]["text"] == first
    assert all(each["id"] for each in listed)


async def test_archived_thematics_are_left_out_and_a_parent_keeps_its_own(town: Town) -> None:
    assert [each["text"] for each in (await town.atal.get("thematics", parent="1744")).data] == [
        "Voirie / Nid de poule"
    ]
    assert "Voirie / Pavés" not in [each["text"] for each in (await town.atal.get("thematics")).data]


async def test_an_agent_finds_a_request_by_words_of_its_object(town: Town) -> None:
    await town.create()
    [hit] = (await town.atal.get("search", q="nid de")).data
    assert hit["text"] == "D-2025-00117 Nid de poule"
    assert hit["description"] == "Rue du Lac — Demande reçue"
    assert (await town.atal.get("search", q="lampadaire d'angle")).data == []


async def test_atal_is_given_longer_than_others_to_answer(town: Town) -> None:
    assert town.atal.connector.settings.timeout == 20.0
    settings = SOAP if town.simulator.generation == "soap" else V6
    calls = (("GET", "requests/7", None), ("POST", "requests", {"object": "Nid"}), ("GET", "search?q=nid", None))
    for method, path, body in calls:
        played_town, sent = played({**settings, "timeout": 24}, answer(503))
        place, _, query = path.partition("?")
        await played_town.call(method, place, query=dict(parse_qsl(query)), body=body)
        assert [each.timeout for each in sent] == [24.0]


async def test_a_loan_may_be_accepted_again_after_it_was_cancelled(tmp_path: Path) -> None:
    simulator = AtalSimulator()
    form = {"Publik-Caller-URL": "https://demarches.example.net/backoffice/management/salle/7/"}
    async with simulator, running(tmp_path, Atal, settings=simulator.demo_settings()) as gateway:
        loan = (await gateway.post("/atal/test/loans/rooms", {"room": "52", **PERIOD}))["data"]["id"]
        for state in ("accepted", "cancelled", "accepted"):
            path = f"{gateway.url}/atal/test/loans/rooms/{loan}/state"
            async with gateway.session.post(path, json={"state": state}, headers={**KEY, **form}) as answered:
                assert (await answered.json())["data"]["state"] == state
    assert len(simulator.executed("decide")) == 3


async def test_the_check_proves_address_and_credentials(town: Town) -> None:
    await town.atal.connector.check()


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_refused_credentials_are_for_the_operator(generation: Literal["soap", "v6"]) -> None:
    simulator = AtalSimulator(generation=generation)
    async with simulated(Atal, simulator, {"key": "autre", "password": "autre"}) as atal:
        with pytest.raises(Misconfigured):
            await atal.connector.check()
        refused = await atal.post("requests", REQUEST)
    assert refused.err_class == "Misconfigured"
    assert simulator.executed("createRequest") == []


async def test_a_refused_request_keeps_the_reason(town: Town) -> None:
    refused = await town.create(type="JARDINS" if town.simulator.generation == "soap" else "1999")
    assert (refused.status, refused.err_class) == (200, "Rejected")
    expected = (
        "Ce type de demande n'existe pas."
        if town.simulator.generation == "soap"
        else "One or more validation errors occurred. RequestType : The request type is unknown."
    )
    assert refused.body["err_desc"] == expected
    assert town.simulator.executed("createRequest") == []


async def test_one_coordinate_without_the_other_is_refused_by_naming_it(town: Town) -> None:
    refused = await town.create(latitude="")
    assert (refused.err_class, list(refused.body["errors"])) == ("InvalidInput", ["latitude"])


@pytest.mark.parametrize(("field", "value"), [("object", ""), ("longitude", 200), ("wished_date", "20/03/2025")])
async def test_what_the_types_do_not_allow_is_refused_before_atal(town: Town, field: str, value: Any) -> None:
    refused = await town.create(**{field: value})
    assert (refused.err_class, list(refused.body["errors"])) == ("InvalidInput", [field])
    assert town.simulator.ledger == []


@pytest.mark.parametrize("fault", ["reset", "close", "status-503", "timeout"])
@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_read_is_repeated_when_the_connection_is_lost(generation: Literal["soap", "v6"], fault: str) -> None:
    simulator = AtalSimulator(generation=generation)
    async with simulated(Atal, simulator, {"timeout": 0.2}) as atal:
        simulator.faults.next(fault)
        found = await atal.get("services")
    assert found.err_class == ""


# --- what changes with an upgrade -------------------------------------------------------------------------------------


async def test_an_old_identifier_a_form_still_sends_is_understood_after_the_upgrade() -> None:
    town, sent = played(
        {**V6, "equivalents": {"types": {"VOIRIE": "1001"}, "services": {"DEMAT": "690"}}},
        answer(201, json={"Id": "11865d87-336b-49b3-e181-08d76f93d6b4"}),
    )
    asked = {"object": "Nid de poule", "type": "VOIRIE", "service": "DEMAT"}
    assert (await town.post("requests", asked)).data["id"] == "11865d87-336b-49b3-e181-08d76f93d6b4"
    assert json.loads(sent[0].body or b"") == {
        "Object": "Nid de poule",
        "RequestType": 1001,
        "RequestingDepartmentId": 690,
    }


async def test_a_request_made_before_the_upgrade_is_followed_by_its_number_after_it() -> None:
    before = AtalSimulator(generation="soap")
    async with simulated(Atal, before) as atal:
        number = (await atal.post("requests", REQUEST)).data["id"]
    after = AtalSimulator(generation="v6")
    after.demands = before.demands
    async with simulated(Atal, after) as atal:
        found = (await atal.get(f"requests/{number}")).data
        assert (found["id"], found["text"]) == (number, "Demande reçue")
        assert (await atal.post(f"requests/{number}/comments", {"text": "Il grandit."})).data is None
        assert (await atal.post(f"requests/{number}/attachments", {"file": PHOTO})).data["size"] == 264
        assert (await atal.get("requests/D-2024-00001")).err_class == "NotFound"
    assert [entry.operation for entry in after.ledger] == ["comment", "attach"]


async def test_an_identifier_v6_cannot_hold_is_refused_by_naming_the_field() -> None:
    town, sent = played(V6, answer())
    refused = await town.post("requests", {"object": "Nid de poule", "type": "VOIRIE"})
    assert (refused.err_class, list(refused.body["errors"])) == ("InvalidInput", ["type"])
    assert sent == []


@pytest.mark.parametrize("settings", [SOAP, V6], ids=GENERATIONS)
async def test_a_field_without_a_place_is_never_dropped_silently(settings: dict[str, Any]) -> None:
    town, sent = played(settings, answer())
    refused = await town.post("requests", {"object": "Nid de poule", "thematic": "1744"})
    assert (refused.err_class, refused.body["err_code"]) == ("Misconfigured", "no-place")
    assert "thematic" in refused.body["err_desc"]
    assert sent == []


async def test_a_default_without_a_place_is_simply_not_sent() -> None:
    town, sent = played({**SOAP, "defaults": {"requester": "13", "service": "DEMAT"}}, answer(503))
    await town.post("requests", {"object": "Nid de poule"})
    assert b"DEMAT" in (sent[0].body or b"")
    assert b">13<" not in (sent[0].body or b"")


# --- the older generation ---------------------------------------------------------------------------------------------


async def test_parameters_go_in_the_order_of_the_wsdl_and_absent_ones_are_empty(old: Town) -> None:
    seen: list[bytes] = []
    inner = old.simulator.services[DEMANDE].read_request

    def listening(body: bytes, content_type: str = "") -> Any:
        seen.append(body)
        return inner(body, content_type)

    old.simulator.services[DEMANDE].read_request = listening  # type: ignore[method-assign]
    await old.create()
    operation, given = inner(seen[0])
    assert operation == "insertDemandeXYByType"
    assert list(given.values()) == [
        "Martin Jeanne",
        "0235000000 / 0601020304",
        "jeanne.martin@example.net",
        "3 rue du Lac, 76000 Rouen",
        "Nid de poule",
        "Rue du Lac",
        "Devant le numéro 3",
        None,
        None,
        "DEMAT",
        "20/03/2025",
        "VOIRIE",
        "1.0993",
        "49.4431",
    ]
    assert b"<remoteAddress/>" in seen[0] or b"<remoteAddress></remoteAddress>" in seen[0]


async def test_coordinates_may_go_in_metres_of_lambert_93() -> None:
    town, sent = played({**SOAP, "soap": {"coordinates": "lambert93"}}, answer(503))
    await town.post("requests", {"object": "Nid de poule", "longitude": 1.0993, "latitude": 49.4431})
    assert b">562122.09<" in (sent[0].body or b"")
    assert b">6928734.09<" in (sent[0].body or b"")
    found = await town.post("requests", {"object": "Nid de poule", "longitude": 55.45, "latitude": -20.88})
    assert (found.err_class, len(sent)) == ("InvalidInput", 1)


async def test_without_coordinates_the_operation_without_them_is_called(old: Town) -> None:
    await old.create(longitude="", latitude="", type="")
    assert old.simulator.executed("createRequest")[0].fields["located"] is False


async def test_the_older_generation_lends_nothing_and_says_what_does(old: Town) -> None:
    for found in (
        await old.atal.get("rooms"),
        await old.atal.get("free-rooms", **PERIOD),
        await old.atal.post("loans/rooms", {"room": "52", **PERIOD}),
        await old.atal.get("loans/rooms/1"),
        await old.atal.get("attachments/1"),
    ):
        assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "not-offered")


CUSTOMER = """<wsdl:definitions xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" xmlns:xs="http://www.w3.org/2001/XMLSchema"
  xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:c="urn:customer" targetNamespace="urn:customer">
  <wsdl:types>
    <xs:schema targetNamespace="urn:customer" elementFormDefault="qualified" xmlns:t="urn:types">
      <xs:element name="creer"><xs:complexType><xs:sequence>
        <xs:element name="demande" type="t:Demande"/><xs:element name="version" type="xs:string" minOccurs="0"/>
      </xs:sequence></xs:complexType></xs:element>
      <xs:element name="creerResponse"><xs:complexType><xs:sequence>
        <xs:element name="retour" type="t:Retour"/></xs:sequence></xs:complexType></xs:element>
      <xs:element name="lire"><xs:complexType><xs:sequence>
        <xs:element name="in0" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
      <xs:element name="lireResponse"><xs:complexType><xs:sequence>
        <xs:element name="etat" type="xs:string" minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
      <xs:element name="joindre"><xs:complexType><xs:sequence>
        <xs:element name="in0" type="xs:string"/><xs:element name="in1" type="xs:base64Binary"/>
      </xs:sequence></xs:complexType></xs:element>
      <xs:element name="joindreResponse"><xs:complexType><xs:sequence/></xs:complexType></xs:element>
    </xs:schema>
    <xs:schema targetNamespace="urn:types" elementFormDefault="qualified" xmlns:u="urn:people">
      <xs:complexType name="Demande"><xs:sequence>
        <xs:element name="objet" type="xs:string"/><xs:element name="date" type="xs:date" minOccurs="0"/>
        <xs:element name="contact" type="u:Contact"/></xs:sequence></xs:complexType>
      <xs:complexType name="Retour"><xs:sequence>
        <xs:element name="code" type="xs:int"/><xs:element name="numero" type="xs:string"/>
      </xs:sequence></xs:complexType>
    </xs:schema>
    <xs:schema targetNamespace="urn:people" elementFormDefault="qualified">
      <xs:complexType name="Contact"><xs:sequence><xs:element name="nom" type="xs:string"/></xs:sequence>
      </xs:complexType>
    </xs:schema>
  </wsdl:types>
  MESSAGES
  <wsdl:portType name="P">OPERATIONS</wsdl:portType>
  <wsdl:binding name="B" type="c:P"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>BINDINGS</wsdl:binding>
  <wsdl:service name="S"><wsdl:port name="P" binding="c:B"><soap:address location="http://localhost/"/></wsdl:port>
  </wsdl:service>
</wsdl:definitions>"""
OPERATIONS: dict[str, Any] = {
    "create": {
        "operation": "creer",
        "arguments": {
            "demande.objet": "{object}",
            "demande.date": "{wished_date}",
            "demande.contact.nom": "{contact_name}",
            "version": "Publik",
        },
        "result": {"number": "numero"},
    },
    "details": {"operation": "lire", "arguments": ["{request}"], "result": {"status": "etat"}},
    "attach": {"operation": "joindre", "arguments": ["{request}", "{content}"]},
}


@pytest.fixture
def customer(tmp_path: Path) -> dict[str, Any]:
    """The settings of a town whose WSDL looks like nothing we know."""
    names = ("creer", "lire", "joindre")
    messages = "".join(
        f'<wsdl:message name="{name}"><wsdl:part name="p" element="c:{name}"/></wsdl:message>'
        for each in names
        for name in (each, f"{each}Response")
    )
    operations = "".join(
        f'<wsdl:operation name="{name}"><wsdl:input message="c:{name}"/><wsdl:output message="c:{name}Response"/>'
        "</wsdl:operation>"
        for name in names
    )
    body = '<soap:body use="literal"/>'
    bindings = "".join(
        f'<wsdl:operation name="{name}"><soap:operation soapAction=""/><wsdl:input>{body}</wsdl:input>'
        f"<wsdl:output>{body}</wsdl:output></wsdl:operation>"
        for name in names
    )
    text = CUSTOMER.replace("MESSAGES", messages).replace("OPERATIONS", operations).replace("BINDINGS", bindings)
    (tmp_path / "demande.wsdl").write_text(text)
    soap = {"wsdl": tmp_path / "demande.wsdl", "operations": OPERATIONS, "date_format": "%Y-%m-%d"}
    return {**SOAP, "soap": soap}


def only_service(town: Instance[Atal]) -> Any:
    return town.connector.atal.services[0][0]  # type: ignore[attr-defined]


async def test_the_customers_wsdl_and_field_map_replace_ours(customer: dict[str, Any]) -> None:
    town, sent = played(
        customer,
        lambda request: answer(
            body=only_service(town).answer("creer", {"code": 0, "numero": "D-9"}), content_type="text/xml"
        ),
    )
    asked = {"object": "Nid de poule", "wished_date": "2025-03-20", "contact": {"last_name": "Martin"}}
    assert (await town.post("requests", asked)).data == {"id": "D-9", "display_id": "D-9"}
    operation, given = only_service(town).read_request(sent[0].body)
    assert operation == "creer"
    assert (given["demande"]["objet"], str(given["demande"]["date"])) == ("Nid de poule", "2025-03-20")
    assert (given["demande"]["contact"]["nom"], given["version"]) == ("Martin", "Publik")


async def test_a_date_the_form_left_empty_is_left_out_where_the_wsdl_wants_a_date(customer: dict[str, Any]) -> None:
    town, sent = played(customer, answer(503))
    await town.post("requests", {"object": "Nid de poule"})
    _, given = only_service(town).read_request(sent[0].body)
    assert given["demande"]["date"] is None


async def test_an_operation_of_ours_the_wsdl_gives_other_parameters_waits_for_its_map(
    customer: dict[str, Any],
) -> None:
    text = customer["soap"]["wsdl"].read_text().replace("joindre", "upload")
    customer["soap"]["wsdl"].write_text(text)
    operations = {name: call for name, call in OPERATIONS.items() if name != "attach"}
    town, sent = played({**customer, "soap": {**customer["soap"], "operations": operations}}, answer())
    refused = await town.post("requests/D-9/attachments", {"file": PHOTO})
    assert (refused.err_class, refused.body["err_code"]) == ("Misconfigured", "field-map")
    listed = await played(
        {**customer, "soap": {**customer["soap"], "operations": operations}, "lists": {"types": {"operation": "lire"}}},
        answer(),
    )[0].get("types")
    assert (listed.body["err_code"], "lists.types" in listed.body["err_desc"]) == ("field-map", True)
    assert sent == []


async def test_a_file_is_sent_once_in_base64_whatever_type_the_wsdl_gives_it(customer: dict[str, Any]) -> None:
    town, sent = played(
        customer, lambda request: answer(body=only_service(town).answer("joindre"), content_type="text/xml")
    )
    await town.post("requests/D-9/attachments", {"file": PHOTO})
    _, given = only_service(town).read_request(sent[0].body)
    assert given["in1"] == base64.b64decode(PHOTO["content"])


async def test_an_operation_the_customers_wsdl_lacks_is_named(customer: dict[str, Any]) -> None:
    town, sent = played(customer, answer())
    refused = await town.post("requests/D-9/comments", {"text": "Il grandit."})
    assert (refused.err_class, refused.body["err_code"]) == ("Misconfigured", "not-offered")
    assert "insertActionComment" in refused.body["err_desc"]
    assert (await town.get("types")).body["err_code"] == "not-offered"
    assert sent == []


@pytest.mark.parametrize(
    ("action", "call", "said"),
    [
        ("details", {"operation": "ouvrir"}, "ouvrir"),
        ("details", {"arguments": ["{request}", "{request}"]}, "1 paramètres"),
        ("details", {"arguments": {"in7": "{request}"}}, "in7"),
        ("create", {"arguments": {"demande.objet": "{objet}"}}, "{objet}"),
        ("create", {"arguments": {"demande.objet": "{object}"}}, "creer(demande: {"),
        ("create", {"arguments": {"demande.titre": "{object}"}}, "creer(demande: {"),
        ("attach", {"arguments": ["{request}"]}, "joindre(in0: string, in1: base64Binary)"),
        ("comment", {"operation": "commenter"}, "commenter"),
    ],
)
def test_a_field_map_the_wsdl_does_not_fit_is_refused_when_the_instance_starts(
    customer: dict[str, Any], action: str, call: dict[str, Any], said: str
) -> None:
    operations = {**OPERATIONS, action: {**OPERATIONS.get(action, {}), **call}}
    with pytest.raises(Misconfigured) as refused:
        instance(Atal, {**customer, "soap": {**customer["soap"], "operations": operations}})
    assert refused.value.code == "field-map"
    assert said in refused.value.message
    assert f"soap.operations.{action}" in refused.value.message


def test_a_wsdl_without_the_operations_a_request_needs_is_refused_when_the_instance_starts(
    customer: dict[str, Any],
) -> None:
    with pytest.raises(Misconfigured, match="insertDemandeByType"):
        instance(Atal, {**SOAP, "soap": {"wsdl": customer["soap"]["wsdl"]}})


async def test_a_list_may_be_written_in_the_settings(customer: dict[str, Any]) -> None:
    town, _ = played({**customer, "lists": {"types": {"values": {"VOIRIE": "Voirie"}}}}, answer())
    assert (await town.get("types")).data == [{"id": "VOIRIE", "text": "Voirie"}]


async def test_a_search_without_operation_finds_the_exact_number(customer: dict[str, Any]) -> None:
    state: list[str | None] = ["En cours", None]
    town, _ = played(
        customer, lambda request: answer(body=only_service(town).answer("lire", state.pop(0)), content_type="text/xml")
    )
    [hit] = (await town.get("search", q="D-9")).data
    assert (hit["text"], hit["description"]) == ("D-9", "En cours")
    assert (await town.get("search", q="D-8")).data == []


async def test_a_number_that_does_not_come_is_not_a_success(old: Town) -> None:
    town, _ = played(
        SOAP, lambda request: answer(body=only_service(town).answer("insertDemandeByType", ""), content_type="text/xml")
    )
    assert (await town.post("requests", {"object": "Nid de poule"})).err_class == "UpstreamInvalid"


async def test_an_undeclared_fault_shows_nothing_of_its_text(old: Town) -> None:
    fault = only_service(old.atal).fault(
        "upload", "Server", "jeanne.martin@example.net", {"code": "X"}, name="DemandeException"
    )
    town, _ = played(SOAP, answer(500, body=fault, content_type="text/xml"))
    refused = await town.post("requests/D-9/attachments", {"file": PHOTO})
    assert refused.err_class == "UpstreamInvalid"
    assert "jeanne" not in json.dumps(refused.body)


# --- v6 ---------------------------------------------------------------------------------------------------------------


async def test_a_v6_request_has_the_publishers_names_and_types() -> None:
    settings = {
        **V6,
        "v6": {"members": {"thematic": "ThematicIds[]"}},
        "defaults": {"requester": "13", "recipient": "1004"},
    }
    town, sent = played(
        settings, answer(201, json={"Id": 7, "Guid": "11865d87-336b-49b3-e181-08d76f93d6b4", "Number": "D7"})
    )
    receipt = (await town.post("requests", {**REQUEST, "type": "1001", "thematic": "1744"})).data
    assert receipt == {"id": "11865d87-336b-49b3-e181-08d76f93d6b4", "display_id": "D7"}
    assert (sent[0].method, sent[0].url, sent[0].headers["X-API-Key"]) == (
        "POST",
        "https://atal.example.org/api/WorksRequests",
        "cle",
    )
    assert json.loads(sent[0].body or b"") == {
        "Contact": {
            "FirstName": "Jeanne",
            "LastName": "Martin",
            "Email": "jeanne.martin@example.net",
            "Phone": "0235000000",
            "Mobile": "0601020304",
            "Address1": "3 rue du Lac",
            "ZipCode": "76000",
            "City": "Rouen",
        },
        "RequesterId": 13,
        "RecipientId": 1004,
        "RequestType": 1001,
        "ThematicIds": [1744],
        "Object": "Nid de poule",
        "Description": "Devant le numéro 3",
        "Localization": "Rue du Lac",
        "Longitude": 1.0993,
        "Latitude": 49.4431,
        "DesiredDate": "2025-03-20T12:00:00.000Z",
    }


def test_v6_without_a_key_is_refused_when_the_instance_starts() -> None:
    with pytest.raises(Misconfigured) as refused:
        instance(Atal, {"generation": "v6", "url": "https://atal.example.org"})
    assert refused.value.code == "key"


@pytest.mark.parametrize(
    "url", ["https://atal.example.org/", "https://atal.example.org/api", "https://atal.example.org/api/"]
)
async def test_the_address_may_end_with_a_slash_or_with_api(url: str) -> None:
    town, sent = played({**V6, "url": url}, answer(json=[]))
    await town.get("services")
    assert sent[0].url == "https://atal.example.org/api/ThirdParties?type=2"


async def test_an_instance_too_old_to_give_the_answers_is_asked_without_them_from_then_on(v6: Town) -> None:
    v6.simulator.knows_responses = False
    request = await v6.created()
    await v6.act(request, response="Trou rebouché")
    for _ in range(2):
        assert (await v6.atal.get(f"requests/{request}")).data["comments"] == []
    v6.simulator.knows_responses = True
    assert (await v6.atal.get(f"requests/{request}")).data["comments"] == []


async def test_the_refusal_of_an_option_may_also_come_with_status_200() -> None:
    def answers(request: Request) -> Response:
        if "expand" in request.url:
            return answer(json={"detail": "Could not find a property named 'Responses'"})
        return answer(json={"Id": "7", "RequestState": 1})

    town, sent = played(V6, answers)
    assert (await town.get("requests/7")).data["status"] == "1"
    assert len(sent) == 2


async def test_an_address_without_atal_is_for_the_operator() -> None:
    town, _ = played(V6, answer(404, text="Nothing here"))
    for found in (await town.get("services"), await town.post("requests", {"object": "Nid de poule"})):
        assert (found.err_class, found.body["err_code"]) == ("Misconfigured", "address")
    with pytest.raises(Misconfigured):
        await town.connector.check()


async def test_a_list_wrapped_as_odata_does_is_read_like_a_bare_one() -> None:
    town, _ = played(V6, answer(json={"value": [{"id": 690, "name": "Relation usagers"}]}))
    assert (await town.get("services")).data == [{"id": "690", "text": "Relation usagers"}]


@pytest.mark.parametrize("sent", [{"rows": []}, "text", [{"Name": "Sans identifiant"}], None])
async def test_what_is_not_the_agreed_list_is_the_publishers_fault(sent: Any) -> None:
    town, _ = played(V6, answer(json=sent))
    assert (await town.get("services")).err_class == "UpstreamInvalid"


async def test_a_row_without_label_is_shown_by_its_identifier() -> None:
    town, _ = played(V6, answer(json=[{"Id": 690}]))
    assert (await town.get("services")).data == [{"id": "690", "text": "690"}]


async def test_a_list_the_publisher_does_not_document_is_asked_for_in_the_settings() -> None:
    town, _ = played(V6, answer(json=[{"Id": 1, "Title": "Voirie"}]))
    assert (await town.get("types")).body["err_code"] == "not-offered"
    town, sent = played(
        {**V6, "lists": {"types": {"path": "/api/RequestTypes", "text": "Title"}}},
        answer(json=[{"Id": 1, "Title": "Voirie"}]),
    )
    assert (await town.get("types")).data == [{"id": "1", "text": "Voirie"}]
    assert sent[0].url == "https://atal.example.org/api/RequestTypes"


@pytest.mark.parametrize("body", [{}, {"Id": ""}, [], None])
async def test_a_v6_request_created_without_identifier_is_not_a_success(body: Any) -> None:
    town, _ = played(V6, answer(201, json=body))
    assert (await town.post("requests", {"object": "Nid de poule"})).err_class == "UpstreamInvalid"


async def test_a_request_without_state_is_the_publishers_fault() -> None:
    town, _ = played(V6, answer(json={"Id": "7", "Object": "Nid de poule"}))
    assert (await town.get("requests/7")).err_class == "UpstreamInvalid"


async def test_a_comment_is_refused_until_the_settings_say_where_it_goes() -> None:
    town, sent = played(V6, answer())
    refused = await town.post("requests/7/comments", {"text": "Il grandit."})
    assert (refused.err_class, refused.body["err_code"]) == ("Misconfigured", "not-offered")
    assert sent == []


@pytest.mark.parametrize("path", ["comments", "attachments"])
async def test_adding_to_an_unknown_request_is_not_found(v6: Town, path: str) -> None:
    body = {"text": "Il grandit."} if path == "comments" else {"file": PHOTO}
    refused = await v6.atal.post(f"requests/00000000-0000-0000-0000-000000000000/{path}", body)
    assert refused.err_class == "NotFound"


async def test_a_download_announced_as_html_is_known_by_its_bytes(v6: Town) -> None:
    request = await v6.created()
    received = (await v6.atal.post(f"requests/{request}/attachments", {"file": PHOTO})).data
    found = await v6.atal.get(f"attachments/{received['attachment']}")
    assert found.file is not None
    assert (found.file.filename, found.file.content_type, found.file.size) == ("trou.png", "image/png", 264)
    assert (await v6.atal.get("attachments/1")).status == 404


@pytest.mark.parametrize(("content", "kind"), [("Qm9uam91cg==", "text/plain"), ("PGh0bWw+PC9odG1sPg==", None)])
async def test_a_text_announced_as_html_is_a_text_and_a_page_is_refused(
    v6: Town, content: str, kind: str | None
) -> None:
    request = await v6.created()
    sent = {"file": {"filename": "trou.txt", "content": content}}
    received = (await v6.atal.post(f"requests/{request}/attachments", sent)).data
    found = await v6.atal.get(f"attachments/{received['attachment']}")
    assert (found.file.content_type if found.file else found.err_class) == (kind or "UpstreamInvalid")


async def test_an_attachment_without_key_is_the_publishers_fault() -> None:
    town, _ = played(V6, answer(json={"Id": 1}))
    assert (await town.get("attachments/1")).status == 502


async def test_a_quote_in_a_search_stays_inside_its_quotes() -> None:
    town, sent = played(V6, answer(json=[]))
    await town.get("search", q="rue d'Elbeuf') or true")
    assert "d%27%27Elbeuf%27%27%29" in sent[0].url


async def test_a_hit_leads_to_the_page_the_settings_name() -> None:
    row = {"Id": "11865d87-336b-49b3-e181-08d76f93d6b4", "Number": "D/7", "Object": "Nid"}
    town, _ = played({**V6, "page": "https://atal.example.org/#/demandes/{id}?n={number}"}, answer(json=[row]))
    [hit] = (await town.get("search", q="nid")).data
    assert hit["url"] == "https://atal.example.org/#/demandes/11865d87-336b-49b3-e181-08d76f93d6b4?n=D%2F7"


# --- rooms and material -----------------------------------------------------------------------------------------------


async def free(town: Town, **period: str) -> dict[str, bool]:
    listed = (await town.atal.get("free-rooms", **{**PERIOD, **period})).data
    return {each["text"]: not each.get("disabled", False) for each in listed}


async def lend(town: Town, room: str = "52", **more: Any) -> Answer:
    return await town.atal.post("loans/rooms", {"room": room, "people": 40, **PERIOD, **more})


async def test_rooms_are_what_may_be_lent_and_is_a_room(v6: Town) -> None:
    listed = (await v6.atal.get("rooms")).data
    assert [each["text"] for each in listed] == ["Maison des associations", "Salle du Lac", "Salle des fêtes"]
    assert [each["id"] for each in (await v6.atal.get("rooms", parent="50")).data] == ["51"]


async def test_a_room_lent_is_no_longer_free_while_it_is_lent(v6: Town) -> None:
    assert all((await free(v6)).values())
    loan = (await lend(v6)).data["id"]
    assert (await free(v6))["Salle des fêtes"] is False
    assert (await free(v6, start="2025-04-02T18:00", end="2025-04-02T19:00"))["Salle des fêtes"] is True
    await v6.atal.post(f"loans/rooms/{loan}/state", {"state": "cancelled"})
    assert (await free(v6))["Salle des fêtes"] is True


@pytest.mark.parametrize("lent", ["50", "51"])
async def test_a_room_lent_takes_what_it_is_part_of_and_its_parts(v6: Town, lent: str) -> None:
    await lend(v6, lent)
    assert await free(v6) == {"Maison des associations": False, "Salle du Lac": False, "Salle des fêtes": True}


async def test_the_busy_times_of_a_room_include_those_of_its_parts(v6: Town) -> None:
    await lend(v6, "51")
    found = (await v6.atal.get("rooms/50/busy", start="2025-04-02T00:00", end="2025-04-03T00:00")).data
    assert found == [{"start": "2025-04-02T14:00:00", "end": "2025-04-02T18:00:00", "room": "51"}]
    assert (await v6.atal.get("rooms/52/busy", **PERIOD)).data == []


async def test_a_room_is_not_lent_twice_unless_it_is_asked_for(v6: Town) -> None:
    await lend(v6)
    refused = await lend(v6)
    assert (refused.err_class, refused.body["err_code"]) == ("Rejected", "busy")
    assert len(v6.simulator.executed("lend")) == 1
    assert (await lend(v6, only_if_free=False)).data["id"] == "2574"


async def test_a_loan_is_accepted_then_cancelled(v6: Town) -> None:
    loan = (await lend(v6)).data["id"]
    found = (await v6.atal.get(f"loans/rooms/{loan}")).data
    assert (found["status"], found["state"], found["final"]) == ("0", "pending", False)
    accepted = (await v6.atal.post(f"loans/rooms/{loan}/state", {"state": "accepted"})).data
    assert (accepted["status"], accepted["state"], accepted["text"]) == ("2", "accepted", "Accepté")
    cancelled = (await v6.atal.post(f"loans/rooms/{loan}/state", {"state": "cancelled"})).data
    assert (cancelled["state"], cancelled["final"]) == ("cancelled", True)


async def test_a_loan_sends_the_publishers_members() -> None:
    def answers(request: Request) -> Response:
        return answer(201, json={"Id": 9}) if request.method == "POST" else answer(json=[])

    town, sent = played(V6, answers)
    asked = {"room": "52", "people": 40, "third_party": "690", **PERIOD}
    assert (await town.post("loans/rooms", asked)).data == {"id": "9"}
    assert json.loads(sent[-1].body or b"") == {
        "StartDate": "2025-04-02T14:00",
        "EndDate": "2025-04-02T18:00",
        "RequesterThirdPartyId": 690,
        "PlannedPeopleNumber": 40,
        "RealPeopleNumber": 0,
        "Rooms": [
            {
                "RoomId": 52,
                "StartDate": "2025-04-02T14:00",
                "EndDate": "2025-04-02T18:00",
                "Pricing": {
                    "AdditionalQuantity": 0,
                    "AppliedPricingId": 0,
                    "BaseQuantity": 0,
                    "SquareMetersNumber": 0,
                },
            }
        ],
    }


async def test_material_is_counted_over_the_whole_period(v6: Town) -> None:
    chairs = {"item": "3258", "third_party": "63"}
    await v6.atal.post(
        "loans/material", {**chairs, "quantity": 70, "start": "2025-04-02T14:00", "end": "2025-04-02T16:00"}
    )
    await v6.atal.post(
        "loans/material", {**chairs, "quantity": 80, "start": "2025-04-02T16:00", "end": "2025-04-02T18:00"}
    )
    listed = (await v6.atal.get("free-material", quantity=30, **PERIOD)).data
    assert [(each["text"], each["free"], each.get("disabled", False)) for each in listed] == [
        ("Chaise", 20, True),
        ("Barnum", 2, True),
    ]
    refused = await v6.atal.post("loans/material", {**chairs, "quantity": 21, **PERIOD})
    assert refused.body["err_code"] == "busy"
    assert (await v6.atal.post("loans/material", {**chairs, "quantity": 20, **PERIOD})).data["id"] == "2575"
    assert [each["text"] for each in (await v6.atal.get("material")).data] == ["Chaise", "Barnum"]


async def test_a_material_loan_is_followed_and_accepted_like_a_room(v6: Town) -> None:
    loan = (await v6.atal.post("loans/material", {"item": "3259", **PERIOD})).data["id"]
    await v6.atal.post(f"loans/material/{loan}/state", {"state": "accepted"})
    assert (await v6.atal.get(f"loans/material/{loan}")).data["state"] == "accepted"
    assert (await v6.atal.get(f"loans/rooms/{loan}")).err_class == "NotFound"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"end": "2025-04-02T14:00"}, "end"),
        ({"start": "demain"}, "start"),
        ({"room": "salle"}, "room"),
        ({"third_party": "le maire"}, "third_party"),
        ({"people": -1}, "people"),
    ],
)
async def test_a_wrong_loan_is_refused_by_naming_the_field(v6: Town, change: dict[str, Any], field: str) -> None:
    refused = await lend(v6, **change)
    assert (refused.err_class, list(refused.body["errors"])) == ("InvalidInput", [field])
    assert v6.simulator.executed("lend") == []


async def test_a_loan_without_borrower_is_refused() -> None:
    town, _ = played(V6, answer(json=[]))
    refused = await town.post("loans/rooms", {"room": "52", **PERIOD})
    assert list(refused.body["errors"]) == ["third_party"]


async def test_an_unknown_room_is_refused_by_atal(v6: Town) -> None:
    refused = await lend(v6, "60")
    assert (refused.err_class, "RoomId" in refused.body["err_desc"]) == ("Rejected", True)


async def test_an_attachment_is_one_multipart_part_named_file() -> None:
    town, sent = played(V6, answer(json={"Id": 18249}))
    received = (await town.post("requests/7/attachments", {"file": PHOTO})).data
    assert received == {"filename": "trou.png", "size": 264, "attachment": "18249"}
    body = sent[0].body or b""
    assert sent[0].headers["Content-Type"].startswith("multipart/form-data; boundary=")
    assert body.count(b"Content-Disposition") == 1
    assert (
        b'name="file"; filename="trou.png"\r\nContent-Type: image/png\r\n\r\n' + base64.b64decode(PHOTO["content"])
        in body
    )


async def test_a_state_that_did_not_change_is_not_a_success(v6: Town) -> None:
    loan = (await lend(v6)).data["id"]
    v6.simulator.faults.next("empty-200")
    refused = await v6.atal.post(f"loans/rooms/{loan}/state", {"state": "accepted"})
    assert refused.err_class == "UpstreamInvalid"


async def test_the_state_of_an_unknown_loan_is_not_found(v6: Town) -> None:
    assert (await v6.atal.post("loans/rooms/1/state", {"state": "accepted"})).err_class == "NotFound"
    assert (await v6.atal.get("loans/rooms/1")).err_class == "NotFound"


async def test_a_loan_state_nobody_documented_is_passed_on() -> None:
    town, _ = played(V6, answer(json={"Id": 9, "RequestState": 12}))
    found = (await town.get("loans/rooms/9")).data
    assert (found["status"], found["state"], found["final"]) == ("12", "", False)


async def test_moments_with_a_zone_are_compared_in_local_time() -> None:
    line = {"RoomId": 52, "StartDate": "2025-04-02T12:30:00Z", "EndDate": "2025-04-02T15:00:00+00:00"}

    def answers(request: Request) -> Response:
        if "Lines" in request.url:
            return answer(json=[line])
        return answer(json=[{"Id": 52, "Label": "Salle", "Type": 1, "CanBeLoaned": True}])

    town, sent = played(V6, answers)
    [busy] = (await town.get("rooms/52/busy", start="2025-04-02T12:00:00Z", end="2025-04-02T18:00")).data
    assert busy == {"start": "2025-04-02T14:30:00", "end": "2025-04-02T17:00:00", "room": "52"}
    asked = next(each.url for each in sent if "Lines" in each.url)
    assert "EndDate+gt+2025-04-02T14%3A00" in asked
    line["EndDate"] = "bientôt"
    assert (await town.get("rooms/52/busy", **PERIOD)).err_class == "UpstreamInvalid"


def test_a_zone_nobody_knows_is_refused_when_the_instance_starts() -> None:
    with pytest.raises(Misconfigured) as refused:
        instance(Atal, {**V6, "time_zone": "Europe/Rouen"})
    assert refused.value.code == "time-zone"


# --- samples, and the whole story through the gateway -----------------------------------------------------------------


@pytest.mark.parametrize("sample", samples(Atal), ids=lambda sample: sample.name)
async def test_a_sample_is_still_what_happens(sample: Sample) -> None:
    await sample.replay(Atal)


def test_every_endpoint_has_a_sample() -> None:
    shown = {sample.endpoint for sample in samples(Atal)}
    assert {each.attribute for each in Atal.endpoints} <= shown


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_a_citizens_whole_story_through_the_gateway(tmp_path: Path, generation: Literal["soap", "v6"]) -> None:
    simulator = AtalSimulator(generation=generation)
    async with simulator, running(tmp_path, Atal, settings=simulator.demo_settings()) as gateway:
        types = await gateway.get("/atal/test/types?q=voirie")
        assert types["data"][0]["text"] == "Voirie"
        created = await gateway.post("/atal/test/requests", REQUEST)
        request = created["data"]["id"]
        assert (await gateway.post(f"/atal/test/requests/{request}/attachments", {"file": PHOTO}))["err"] == 0
        assert (await gateway.post(f"/atal/test/requests/{request}/comments", {"text": "Il grandit."}))["err"] == 0
        assert (await gateway.get(f"/atal/test/requests/{request}"))["data"]["final"] is False
        form = {"state": "3", "response": "Trou rebouché"}
        async with gateway.session.post(f"{simulator.url}/_simulator/requests/{request}", data=form) as acted:
            assert acted.status == 200
        last = (await gateway.get(f"/atal/test/requests/{request}"))["data"]
        assert (last["text"], last["final"], last["comments"]) == ("Travaux terminés", True, ["Trou rebouché"])
        assert (await gateway.get("/atal/test/search?q=nid"))["data"][0]["text"] == "D-2025-00117 Nid de poule"
    operations = [entry.operation for entry in simulator.ledger if entry.operation != "test"]
    assert operations == ["createRequest", "attach", "comment"]


async def test_an_outcome_nobody_knows_is_said_through_the_gateway(tmp_path: Path) -> None:
    simulator = AtalSimulator()
    async with simulator, running(tmp_path, Atal, settings=simulator.demo_settings()) as gateway:
        simulator.faults.next("execute-then-reset", path="/api/WorksRequests")
        answered = await gateway.post("/atal/test/requests", REQUEST)
    assert answered["err_class"] == "OutcomeUnknown"
    assert len(simulator.executed("createRequest")) == 1


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    journal.configure("debug", stream=stream)
    yield stream
    structlog.reset_defaults()


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_no_personal_data_reaches_the_log(
    tmp_path: Path, log: io.StringIO, generation: Literal["soap", "v6"]
) -> None:
    simulator = AtalSimulator(generation=generation)
    async with simulator, running(tmp_path, Atal, settings=simulator.demo_settings()) as gateway:
        await gateway.post("/atal/test/requests", REQUEST)
        await gateway.post("/atal/test/requests", {**REQUEST, "type": "1999"})
        await gateway.get("/atal/test/search?q=Martin")
    assert '"event":"call"' in log.getvalue()
    found = [word for word in ("Martin", "jeanne", "0235000000", "rue du Lac") if word in log.getvalue()]
    assert found == []


def test_the_settings_of_the_readme_are_accepted() -> None:
    blocks = re.findall(r"^ *```toml\n(.*?)^ *```", (PACKAGE / "README.md").read_text("utf-8"), re.S | re.M)
    assert len(blocks) == 4
    for generation, others in (("v6", blocks[3:]), ("soap", blocks[2:])):
        [whole] = [each for each in blocks if f'generation = "{generation}"' in each]
        read = tomllib.loads(
            "\n".join([whole, *others]).replace('{ env = "', '"').replace('_KEY" }', '"').replace('_PASSWORD" }', '"')
        )
        Settings.model_validate(read["instances"]["atal"]["ville"]["settings"])


def test_the_wsdl_we_ship_says_that_it_is_assumed() -> None:
    for path in PACKAGE.glob("*.wsdl"):
        assert path.name.startswith("assumed-")
        assert "SUPPOSITION, NOT A CONTRACT" in path.read_text("utf-8")


def test_the_settings_may_name_the_customers_wsdl_beside_the_configuration(tmp_path: Path) -> None:
    shutil.copy(PACKAGE / "assumed-demande.wsdl", tmp_path / "demande.wsdl")
    shutil.copy(PACKAGE / "assumed-villeagile.wsdl", tmp_path / "villeagile.wsdl")
    others = [{"url": f"https://atal.example.org{VILLE_AGILE}", "wsdl": tmp_path / "villeagile.wsdl"}]
    town = instance(Atal, {**SOAP, "soap": {"wsdl": tmp_path / "demande.wsdl", "others": others}})
    assert town.connector.atal.assumed is False  # type: ignore[attr-defined]
