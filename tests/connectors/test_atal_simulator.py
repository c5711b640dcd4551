"""The ATAL simulator, seen from outside: hand-written requests over real connections."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connectors.atal import Atal
from connectors.atal.simulator import DEMANDE, PASSWORD, USERNAME, VILLE_AGILE, AtalSimulator
from connectors.atal.simulator_v6 import KEY
from tests.gateway.conftest import running

BASIC = {"Authorization": "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()}
NAMESPACE = "urn:relais:assumed:atal:demande"


@dataclass
class World:
    """The simulator and somebody who calls it."""

    simulator: AtalSimulator
    session: aiohttp.ClientSession

    async def v6(self, method: str, path: str, key: str = KEY, **options: Any) -> tuple[int, str, Any]:
        """Status, content type, and the JSON or the bytes."""
        url = self.simulator.url + path
        async with self.session.request(method, url, headers={"X-API-Key": key}, **options) as answer:
            raw = await answer.read()
            kind = answer.content_type
            return answer.status, kind, json.loads(raw) if kind.endswith("json") else raw

    async def soap(
        self, operation: str, *values: tuple[str, str], headers: dict[str, str] = BASIC, path: str = DEMANDE
    ) -> tuple[int, str]:
        namespace = NAMESPACE if path == DEMANDE else "urn:relais:assumed:atal:villeagile"
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in values)
        envelope = (
            '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
            f'<q:{operation} xmlns:q="{namespace}">{inside}</q:{operation}></e:Body></e:Envelope>'
        )
        async with self.session.post(self.simulator.url + path, data=envelope, headers=headers) as answer:
            return answer.status, await answer.text()

    async def insert(self, **changes: str) -> tuple[int, str]:
        fields = dict.fromkeys(
            (
                *("contactNom", "contactTelephone", "contactCourriel", "contactAdresse", "demandeObjet"),
                *("demandeLieu", "demandeDescription", "remoteAddress", "codeEquipement", "codeServiceDemandeur"),
                *("dateSouhaitee", "typeDemande"),
            ),
            "",
        )
        return await self.soap("insertDemandeByType", *{**fields, "demandeObjet": "Nid de poule", **changes}.items())


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AtalSimulator() as simulator, aiohttp.ClientSession() as session:
        yield World(simulator, session)


# --- the older services -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [DEMANDE, VILLE_AGILE])
async def test_the_wsdl_is_served_with_its_own_address_and_says_what_it_is(world: World, path: str) -> None:
    async with world.session.get(f"{world.simulator.url}{path}?wsdl") as answer:
        text = await answer.text()
    assert f'location="{world.simulator.url}{path}"' in text
    assert "SUPPOSITION, NOT A CONTRACT" in text


async def test_soap_without_the_account_is_refused(world: World) -> None:
    status, _ = await world.soap("testConnection", ("in0", ""), headers={})
    assert status == 401
    assert world.simulator.ledger == []


async def test_a_request_made_over_soap_is_read_back(world: World) -> None:
    status, answer = await world.insert(typeDemande="VOIRIE", dateSouhaitee="20/03/2025")
    assert (status, "<out>D-2025-00117</out>" in answer) == (200, True)
    status, answer = await world.soap("retrieveDetailsDemande", ("numeroDemande", "D-2025-00117"))
    assert "Nouvelle" in answer
    assert "Nid de poule" in answer


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"typeDemande": "JARDINS"}, "TYPE_INCONNU"), ({"dateSouhaitee": "2025-03-20"}, "DATE_INVALIDE")],
)
async def test_a_refusal_over_soap_is_a_declared_fault(world: World, changes: dict[str, str], code: str) -> None:
    status, answer = await world.insert(**changes)
    assert (status, f"<code>{code}</code>" in answer) == (500, True)
    assert world.simulator.ledger == []


async def test_a_file_that_is_not_base64_is_refused(world: World) -> None:
    await world.insert()
    number = ("numeroDemande", "D-2025-00117")
    _, answer = await world.soap("upload", number, ("nomFichier", "a.txt"), ("contenu", "é"))
    assert "FICHIER_ILLISIBLE" in answer
    _, answer = await world.soap("upload", ("numeroDemande", "D-0"), ("nomFichier", "a.txt"), ("contenu", ""))
    assert "DEMANDE_INCONNUE" in answer


async def test_a_list_over_soap(world: World) -> None:
    _, answer = await world.soap("getTiers", path=VILLE_AGILE)
    assert "Association du Lac" in answer
    _, answer = await world.soap("getServices", path=VILLE_AGILE)
    assert "Association du Lac" not in answer


async def test_what_is_no_operation_is_a_500(world: World) -> None:
    assert (await world.soap("effacerTout"))[0] == 500
    async with world.session.post(world.simulator.url + DEMANDE, data="bonjour", headers=BASIC) as answer:
        assert answer.status == 500


# --- v6 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/Thematics", "/api/WorksRequests/1", "/api/Attachments/Download/1"])
async def test_v6_without_the_key_is_a_problem_document(world: World, path: str) -> None:
    status, kind, problem = await world.v6("GET", path, key="autre")
    assert (status, kind, problem["detail"]) == (401, "application/problem+json", "Unauthorized")


async def test_lists_are_bare_arrays_and_take_odata_options(world: World) -> None:
    assert len((await world.v6("GET", "/api/Patrimonies"))[2]) == 4
    assert len((await world.v6("GET", "/api/Patrimonies", params={"$filter": "CanBeLoaned", "$top": "2"}))[2]) == 2
    assert [row["Id"] for row in (await world.v6("GET", "/api/Patrimonies", params={"$filter": "Id eq 52"}))[2]] == [52]
    assert [row["Id"] for row in (await world.v6("GET", "/api/ThirdParties?type=2"))[2]] == [690, 691]


@pytest.mark.parametrize("wanted", ["Id eq", "Id eq 5 and", "Id eq 5 xor Id eq 6", "a and b or c", "drop(table)"])
async def test_a_filter_it_does_not_understand_is_refused(world: World, wanted: str) -> None:
    status, kind, _ = await world.v6("GET", "/api/Patrimonies", params={"$filter": wanted})
    assert (status, kind) == (400, "application/problem+json")


async def test_names_are_bound_whatever_their_case(world: World) -> None:
    status, _, row = await world.v6("POST", "/api/WorksRequests", json={"object": "Nid", "latitude": 49.4})
    assert (status, row["Object"], row["Latitude"]) == (201, "Nid", 49.4)


async def test_what_is_wrong_in_a_request_is_told_field_by_field(world: World) -> None:
    status, _, problem = await world.v6("POST", "/api/WorksRequests", json={"RequestType": 1})
    assert (status, sorted(problem["errors"])) == (400, ["Object", "RequestType"])
    assert (await world.v6("POST", "/api/WorksRequests", data=b"{"))[0] == 400
    assert world.simulator.ledger == []


async def test_both_generations_share_one_database(world: World) -> None:
    await world.insert(typeDemande="VOIRIE")
    [row] = (await world.v6("GET", "/api/WorksRequests"))[2]
    assert (row["Number"], row["RequestType"], row["RequestState"]) == ("D-2025-00117", 1001, 0)
    assert (await world.v6("GET", f"/api/WorksRequests/{row['Id']}"))[0] == 200
    assert (await world.v6("GET", f"/api/WorksRequests/{row['Number']}"))[0] == 404


async def test_an_older_v6_names_the_option_it_does_not_know(world: World) -> None:
    _, _, row = await world.v6("POST", "/api/WorksRequests", json={"Object": "Nid"})
    path = f"/api/WorksRequests/{row['Id']}?$expand=Responses"
    assert (await world.v6("GET", path))[2]["Responses"] == []
    world.simulator.knows_responses = False
    status, _, problem = await world.v6("GET", path)
    assert (status, "Responses" in problem["detail"]) == (400, True)


async def test_an_attachment_needs_its_part_and_comes_back_under_a_wrong_type(world: World) -> None:
    _, _, row = await world.v6("POST", "/api/WorksRequests", json={"Object": "Nid"})
    path = f"/api/WorksRequests/{row['Id']}/Attachments"
    form = aiohttp.FormData()
    form.add_field("document", b"Bonjour", filename="a.txt")
    assert (await world.v6("POST", path, data=form))[0] == 400
    form = aiohttp.FormData()
    form.add_field("file", b"Bonjour", filename="a.txt")
    _, _, received = await world.v6("POST", path, data=form)
    _, _, about = await world.v6("GET", f"/api/Attachments/{received['Id']}")
    assert about["FileName"] == "a.txt"
    status, kind, content = await world.v6("GET", f"/api/Attachments/Download/{about['Key']}")
    assert (status, kind, content) == (200, "text/html", b"Bonjour")


async def test_a_loan_changes_state_with_an_empty_answer(world: World) -> None:
    times = {"StartDate": "2025-04-02T14:00", "EndDate": "2025-04-02T18:00"}
    loan = {**times, "RequesterThirdPartyId": 63, "Rooms": [{"RoomId": 52, **times}]}
    _, _, made = await world.v6("POST", "/api/RoomLoans", json=loan)
    status, _, content = await world.v6("PATCH", f"/api/RoomLoans?id={made['Id']}", json={"RequestState": 2})
    assert (status, content) == (200, b"")
    [line] = (await world.v6("GET", "/api/RoomLoans/Lines", params={"$filter": "(StartDate lt 2025-04-03T00:00)"}))[2]
    assert (line["RoomId"], line["RequestState"]) == (52, 2)
    assert (await world.v6("PATCH", f"/api/RoomLoans?id={made['Id']}", json={"RequestState": 9}))[0] == 400
    assert (await world.v6("PATCH", "/api/RoomLoans?id=1", json={"RequestState": 2}))[0] == 404
    assert [entry.operation for entry in world.simulator.ledger] == ["lend", "decide"]


async def test_an_agent_acts_on_a_request_by_either_of_its_names(world: World) -> None:
    await world.insert()
    url = f"{world.simulator.url}/_simulator/requests/D-2025-00117"
    async with world.session.post(url, data={"state": "3", "response": "Fait"}) as answer:
        assert (await answer.json())["state"] == "3"
    _, answer_text = await world.soap("retrieveDetailsDemande", ("numeroDemande", "D-2025-00117"))
    assert "Terminée" in answer_text
    assert "Fait" in answer_text
    async with world.session.post(f"{world.simulator.url}/_simulator/requests/D-0", data={}) as answer:
        assert answer.status == 404


async def test_its_first_page_tells_the_known_from_the_assumed(world: World) -> None:
    async with world.session.get(world.simulator.url) as answer:
        page = await answer.text()
    assert "Supposé" in page
    assert "X-API-Key" in page


@pytest.mark.parametrize("generation", ["soap", "v6"])
async def test_the_lines_of_the_demonstration_tell_a_whole_story(tmp_path: Path, generation: Any) -> None:
    simulator = AtalSimulator(generation=generation)
    async with simulator, running(tmp_path, Atal, settings=simulator.demo_settings()) as gateway:
        lines = [line for _, line in simulator.demo_lines(f"{gateway.url}/atal/test")]
        header = "curl() { command curl -H 'X-API-Key: the-key-of-the-tests' \"$@\"; }\n"
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", header + "\n".join(lines), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = (await shell.communicate())[0].decode()
    assert '"err": 1' not in output.replace('"err":1', '"err": 1')
    assert "Travaux terminés" in output
    if generation == "v6":
        assert "Accepté" in output
    expected = ["createRequest", "attach", "comment", *(["lend", "decide"] if generation == "v6" else [])]
    assert [entry.operation for entry in simulator.ledger if entry.operation != "test"] == expected
