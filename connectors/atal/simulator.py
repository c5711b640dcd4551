"""ATAL in miniature: the older SOAP services and the v6 API over one and the same database.

What is known and what is assumed is said in `known` and `assumed`, and in the README beside this file. Times are local.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from sdk import RelaisError, Soap, Text
from sdk.simulator import SimRequest, SimResponse, on

from .simulator_data import PATRIMONIES, STATES, THEMATICS, THIRD_PARTIES, TYPES, Demand
from .simulator_v6 import KEY, AtalV6, refused_by_v6

HERE = Path(__file__).parent
DEMANDE = "/awa/services/DemandeService"
VILLE_AGILE = "/awa/services/VilleAgileService"
USERNAME, PASSWORD = "relais", "secret"


class SoapRefusal(Exception):
    """A refusal of the SOAP service, by its code."""


class AtalSimulator(AtalV6):
    """Both generations of ATAL. `generation` is the one the sample instance talks to."""

    name, title = "atal", "ATAL"
    known = (
        Text(
            "v6 : chemins, noms en PascalCase, X-API-Key, tableaux nus, problem+json, pièce « file » en multipart.",
            en="v6: paths, PascalCase names, X-API-Key, bare arrays, problem+json, the multipart part « file ».",
        ),
        Text(
            "v6 : réponse vide d'un PATCH, type faux d'un téléchargement, états 0, 2, 3, 4 d'un emprunt.",
            en="v6: empty answer to a PATCH, wrong type of a download, states 0, 2, 3, 4 of a loan.",
        ),
        Text(
            "soap : noms et ordre des paramètres de insertDemande, insertDemandeByType, insertDemandeXYByType, "
            "retrieveDetailsDemande et upload (client d'un intégrateur) ; schémas sans import.",
            en="soap: names and order of the parameters of insertDemande, insertDemandeByType, insertDemandeXYByType, "
            "retrieveDetailsDemande and upload (an integrator's client); schemas without imports.",
        ),
    )
    assumed = (
        Text(
            "Tous les états des demandes, leurs numéros et leurs mots.",
            en="All the states of requests, their numbers and their words.",
        ),
        Text(
            "soap : espaces de noms, VilleAgileService, insertActionComment, infosDemandes, DemandeException et ses "
            "codes.",
            en="soap: namespaces, VilleAgileService, insertActionComment, infosDemandes, DemandeException and its "
            "codes.",
        ),
        Text(
            "v6 : membres Id (UUID), Number et RequestState d'une demande, Responses et leur Comment, "
            "POST …/Responses, "
            "Label du patrimoine et du matériel, Quantity en stock, RequestState dans Lines, codes 400 et 404.",
            en="v6: members Id (UUID), Number and RequestState of a request, Responses and their Comment, "
            "POST …/Responses, Label of patrimony and material, Quantity in stock, RequestState in Lines, 400 and 404.",
        ),
        Text(
            "ATAL accepte un emprunt qui en chevauche un autre ; les deux générations partagent une base.",
            en="ATAL accepts a loan that overlaps another; both generations share one database.",
        ),
    )

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"v6": {}, "soap": {"generation": "soap"}}

    def __init__(self, *, generation: Literal["soap", "v6"] = "v6", **options: Any) -> None:
        super().__init__(**options)
        self.generation = generation
        self.services = {
            DEMANDE: Soap(None, wsdl=HERE / "assumed-demande.wsdl"),
            VILLE_AGILE: Soap(None, wsdl=HERE / "assumed-villeagile.wsdl"),
        }

    # What `relais demo` asks for.

    def demo_settings(self) -> dict[str, Any]:
        """The settings of a sample instance; only `generation`, address and credentials tell the generations apart."""
        common = {
            "generation": self.generation,
            "states": {
                **_meant("0", "Demande reçue"),
                **_meant("1", "Demande prise en charge"),
                **_meant("2", "Travaux en cours"),
                **_meant("3", "Travaux terminés", final=True),
                **_meant("4", "Demande refusée", final=True),
            },
            "equivalents": {
                "types": {code: str(id) for code, (id, _) in TYPES.items()} if self.generation == "v6" else {},
                "services": {"DEMAT": "690"} if self.generation == "v6" else {},
                "equipment": {"PASTEUR": "60"} if self.generation == "v6" else {},
            },
        }
        if self.generation == "soap":
            return common | {
                "url": self.url + DEMANDE,
                "username": USERNAME,
                "password": PASSWORD,
                "defaults": {"service": "DEMAT"},
                "soap": {
                    "others": [{"url": self.url + VILLE_AGILE}],
                    "refusals": {"TYPE_INCONNU": "Ce type de demande n'existe pas."},
                },
            }
        return common | {
            "url": self.url,
            "key": KEY,
            "defaults": {"service": "690", "requester": "13", "recipient": "1004", "third_party": "63"},
            "lists": {"types": {"values": {str(id): label for id, label in TYPES.values()}}},
            "v6": {
                "comment_path": "/api/WorksRequests/{id}/Responses",
                "by_number": "Number eq {number}",
                "members": {"thematic": "ThematicIds[]"},
            },
        }

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """A request's story and a loan's, to paste line by line in one shell (`$ID` and `$LOAN` are kept)."""
        request = json.dumps(
            {
                "object": "Nid de poule",
                "description": "Devant le numéro 3",
                "place": "Rue du Lac",
                "type": "VOIRIE",
                "longitude": 1.0993,
                "latitude": 49.4431,
                "wished_date": "2025-03-20",
                "contact": {"last_name": "Martin", "first_name": "Jeanne", "email": "jeanne.martin@example.net"},
            },
            ensure_ascii=False,
        )
        loan = '{"room": "52", "start": "2025-04-02T14:00", "end": "2025-04-02T18:00", "people": 40}'
        photo = '{"file": {"filename": "trou.txt", "content": "Qm9uam91cg=="}}'
        period = "start=2025-04-02T14:00&end=2025-04-02T18:00"

        def post(path: str, body: str) -> str:
            key = '"Idempotency-Key: $RANDOM$RANDOM"'
            return f"curl -s -H {key} -H 'Content-Type: application/json' -d '{body}' {base_url}/{path}"

        keep = 'sed \'s/.*"id":"\\([^"]*\\).*/\\1/\''
        agent = f"curl -s -d state=3 --data-urlencode 'response=Trou rebouché' {self.url}/_simulator/requests/$ID"
        requests: list[tuple[str, str]] = [
            (Text("Les types de demande", en="Types of request"), f"curl -s {base_url}/types"),
            (
                Text("Les thématiques de la voirie", en="Thematics of the roads"),
                f"curl -s '{base_url}/thematics?parent=1744'",
            ),
            (
                Text("Créer une demande", en="Create a request"),
                f"ID=$({post('requests', request)} | tee /dev/stderr | {keep})",
            ),
            (Text("Y joindre un fichier", en="Attach a file"), post("requests/$ID/attachments", photo)),
            (
                Text("Ajouter un commentaire", en="Add a comment"),
                post("requests/$ID/comments", '{"text": "Il grandit."}'),
            ),
            (Text("Un agent y répond et termine (simulateur)", en="An agent answers and ends it (simulator)"), agent),
            (Text("Suivre la demande", en="Follow the request"), f"curl -s {base_url}/requests/$ID"),
            (Text("Chercher, pour un agent", en="Search, for an agent"), f"curl -s '{base_url}/search?q=nid'"),
        ]
        if self.generation == "soap":
            return requests
        return [
            *requests,
            (Text("Les salles libres", en="Free rooms"), f"curl -s '{base_url}/free-rooms?{period}'"),
            (
                Text("Emprunter une salle", en="Borrow a room"),
                f"LOAN=$({post('loans/rooms', loan)} | tee /dev/stderr | {keep})",
            ),
            (
                Text("Accepter l'emprunt", en="Accept the loan"),
                post("loans/rooms/$LOAN/state", '{"state": "accepted"}'),
            ),
            (
                Text("La salle n'est plus libre", en="The room is no longer free"),
                f"curl -s '{base_url}/free-rooms?{period}'",
            ),
        ]

    # What an agent does in ATAL.

    @on("POST", "/_simulator/requests/{request}")
    async def act(self, request: SimRequest) -> SimResponse:
        """Sets the `state` of a request (a number of `STATES`, or any other) and adds a `response`."""
        demand = self.demand(request.params["request"])
        if demand is None:
            return SimResponse("No such request.\n", 404)
        form = request.form()
        demand.state = form.get("state", demand.state)
        if form.get("response"):
            demand.responses.append(form["response"])
        return SimResponse.json({"number": demand.number, "uuid": demand.uuid, "state": demand.state})

    async def conclude(self, identifier: str) -> None:
        """An agent ends the request, or refuses the loan."""
        if (demand := self.demand(identifier)) is not None:
            demand.state = "3"
        for loans in self.loans.values():
            if identifier in loans:
                loans[identifier]["RequestState"] = 3

    # The older SOAP services.

    @on("GET", DEMANDE)
    @on("GET", VILLE_AGILE)
    async def contract(self, request: SimRequest) -> SimResponse:
        """The assumed WSDL, with this simulator's address."""
        name = "assumed-demande.wsdl" if request.path == DEMANDE else "assumed-villeagile.wsdl"
        wsdl = (HERE / name).read_text(encoding="utf-8").replace("https://atal.invalid", self.url)
        return SimResponse(wsdl, 200, "text/xml; charset=utf-8")

    @on("POST", DEMANDE)
    @on("POST", VILLE_AGILE)
    async def soap(self, request: SimRequest) -> SimResponse:
        """Every operation of both services; HTTP Basic is asked for."""
        expected = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if not secrets.compare_digest(request.headers.get("Authorization", ""), f"Basic {expected}"):
            return SimResponse.html("<html><body>401</body></html>", 401)
        service = self.services[request.path]
        try:
            operation, given = service.read_request(request.body)
        except RelaisError:
            return SimResponse("Not an operation of this service.", 500)
        try:
            value = self._operation(operation, {name: str(value or "") for name, value in given.items()})
        except SoapRefusal as refusal:
            return self._refused(request.path, operation, str(refusal))
        return SimResponse(service.answer(operation, value), 200, "text/xml; charset=utf-8")

    def refusal(self, request: SimRequest) -> SimResponse | None:
        """A problem document (v6), the declared exception (soap, where something is created)."""
        if request.path.startswith("/api/"):
            return refused_by_v6("ATAL refuse cette demande (simulateur).")
        try:
            operation, _ = self.services[request.path].read_request(request.body)
        except (KeyError, RelaisError):
            return None
        return self._refused(request.path, operation, "TYPE_INCONNU") if operation.startswith("insertDem") else None

    def _refused(self, path: str, operation: str, code: str) -> SimResponse:
        body = self.services[path].fault(
            operation, "Server", "DemandeException", {"code": code}, name="DemandeException"
        )
        return SimResponse(body, 500, "text/xml; charset=utf-8")

    def _operation(self, operation: str, given: Mapping[str, str]) -> Any:
        if operation == "testConnection":
            self.record("test", generation="soap")
            return {"description": "OK"}
        if operation.startswith("insertDemande"):
            return self._insert_over_soap(given)
        if operation.startswith("get"):
            return _soap_list(operation)
        if operation == "infosDemandes":
            found = [each for each in self.demands.values() if _found(given["texte"], each)]
            return [self._soap_details(each) for each in found]
        demand = self.demand(given["numeroDemande"])
        if operation == "retrieveDetailsDemande":
            return self._soap_details(demand) if demand else None
        if demand is None:
            raise SoapRefusal("DEMANDE_INCONNUE")
        if operation == "insertActionComment":
            self.comment(demand, given["commentaire"])
        else:
            try:
                content = base64.b64decode(given["contenu"], validate=True)
            except ValueError:
                raise SoapRefusal("FICHIER_ILLISIBLE") from None
            self.attach(demand, given["nomFichier"], content)
        return None

    def _insert_over_soap(self, given: Mapping[str, str]) -> str:
        kind = given.get("typeDemande", "")
        if kind and kind not in TYPES:
            raise SoapRefusal("TYPE_INCONNU")
        if given["dateSouhaitee"] and not re.fullmatch(r"\d\d/\d\d/\d{4}", given["dateSouhaitee"]):
            raise SoapRefusal("DATE_INVALIDE")
        fields = {
            "Object": given["demandeObjet"],
            "Description": given["demandeDescription"],
            "Localization": given["demandeLieu"],
            "RequestType": TYPES[kind][0] if kind else None,
            "DesiredDate": given["dateSouhaitee"],
            "Longitude": given.get("coordX") or None,
            "Latitude": given.get("coordY") or None,
            "Contact": {"LastName": given["contactNom"], "Phone": given["contactTelephone"]},
        }
        return self.insert("soap", fields).number

    def _soap_details(self, demand: Demand) -> dict[str, Any]:
        return {
            "codeDemande": demand.number,
            "commentairesDestinataires": "\n".join(demand.responses) or None,
            "etatDemande": {"description": STATES.get(demand.state, demand.state)},
            "objetDemande": demand.fields["Object"],
            "lieuDemande": demand.fields.get("Localization"),
        }


def _meant(code: str, text: str, final: bool = False) -> dict[str, Any]:
    return {name: {"text": text, "final": final} for name in (code, STATES[code])}


def _soap_list(operation: str) -> list[dict[str, Any]]:
    if operation == "getTypesDemande":
        return [{"code": code, "libelle": label} for code, (_, label) in TYPES.items()]
    if operation == "getThematiqueATAL":
        return [
            {"code": str(row["Id"]), "libelle": row["CompleteLabel"], "codeParent": _code(row["ParentThematicId"])}
            for row in THEMATICS
            if not row["Archived"]
        ]
    if operation == "getTypesEquipement":
        codes = {row["Id"]: row["Code"] for row in PATRIMONIES}
        return [
            {"code": row["Code"], "libelle": row["Label"], "codeParent": codes.get(row["ParentId"])}
            for row in PATRIMONIES
        ]
    services = operation == "getServices"
    rows = [row for row in THIRD_PARTIES if not services or row["Type"] == 2]
    return [{"code": row["Code"], ("libelle" if services else "nom"): row["Name"]} for row in rows]


def _code(value: Any) -> str | None:
    return None if value is None else str(value)


def _found(text: str, demand: Demand) -> bool:
    words = f"{demand.number} {demand.fields['Object']} {demand.fields.get('Description', '')}".casefold()
    return text.casefold() in words


SIMULATOR = AtalSimulator
