"""A conforming service, in memory: the town of Simula honours every profile. Mutants are it with one fault.

    service = Reference()
    run = await execute(service.target(), service.send, registry)      # in this process, no socket
    async with service.served() as url: …                              # or on a real one

It shows what the contract asks, nothing more; it is not meant to be copied as an application.
"""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from contract_tests.core.credentials import Basic, Signature
from contract_tests.core.endpoints import (
    Billing,
    Cell,
    Choices,
    Endpoint,
    Envelope,
    FileEndpoint,
    Map,
    Request,
    Search,
    Sms,
    Statistics,
    Status,
)
from contract_tests.core.target import Target
from contract_tests.service import KEY, ORIG, PASSWORD, USER, Asked, Kind, Reply, Service
from contract_tests.simula import BENCHES, INVOICES, PEOPLE, SCHOOLS

__all__ = ["KEY", "ORIG", "PASSWORD", "USER", "Asked", "Kind", "Reference", "Reply"]

PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
FIELDS = ("nom", "motif", "montant", "commentaire", "piece")
FILE_MEMBERS = {"filename", "content_type", "content", "content_is_base64"}


def plain(text: str) -> str:
    """Lower case, without accents."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


class Reference(Service):
    """The service and its endpoints. Its small methods are what mutants replace."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__(now)
        self.fault = ""
        self.requests: dict[str, dict[str, Any]] = {
            "D-1": {"id": "D-1", "status": "recu", "final": False, "nom": "Élodie"},
            "D-2": {"id": "D-2", "status": "clos", "final": True, "nom": "Noé"},
        }
        self.once: dict[str, str] = {}
        self.invoices = copy.deepcopy(INVOICES)
        self.paid: set[str] = set()
        self.reads = 0

    # --- the target ---------------------------------------------------------------------------------------------------

    def target(self, base_url: str = "http://127.0.0.1:8000") -> Target:
        """The service as its publisher declares it, every profile and feature included."""
        failing = {"echec": "1"}
        endpoints: tuple[Endpoint, ...] = (
            Choices(path="/schools", failure=failing),
            Search(path="/search", example="dupont", failure=failing),
            Request(
                path="/requests",
                status="/requests/{id}",
                body={"nom": "Élodie Dupont", "motif": "voirie", "montant": 12.5, "commentaire": "", "piece": None},
                required=["nom", "motif"],
                files=["piece"],
                echo={"nom": "nom"},
                example_id="D-1",
                final_id="D-2",
                statuses=["recu", "en-cours", "clos"],
                final_statuses=["clos"],
            ),
            Status(
                path="/requests/{id}",
                example_id="D-1",
                final_id="D-2",
                statuses=["recu", "en-cours", "clos"],
                final_statuses=["clos"],
            ),
            FileEndpoint(path="/files/fiche.pdf", missing="/files/absent.pdf", upload="/files", field="fichier"),
            Billing(path="/regie", name_id="elodie", other_name_id="noe"),
            Map(path="/benches", bbox=(-2.0, 47.0, -1.0, 48.0), failure=failing),
            Sms(path="/sms", to=["+33600000000"]),
            Statistics(path="/statistics", failure=failing),
            Cell(path="/cell", params={"user": "elodie"}, variables=["user"]),
            Envelope(path="/town", failure=failing),
        )
        return Target(
            name="Simula",
            base_url=base_url,
            endpoints=endpoints,
            contact="integration@simula.example.org",
            software="Référence",
            version="1",
            environment="test",
            description="/openapi.json",
            credentials=Basic(USER, PASSWORD),
            signature=Signature(ORIG, KEY),
            upstream=self.misbehaving,
        )

    @asynccontextmanager
    async def misbehaving(self, fault: str) -> AsyncIterator[None]:
        """The software behind the service is `down`, `hang`s or answers `garbage` meanwhile."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = ""

    def route(self, asked: Asked) -> Reply:
        """The endpoint of a path, if the method is its own."""
        first, _, rest = asked.path.strip("/").partition("/")
        routes: dict[str, dict[str, Callable[[Asked, str], Reply]]] = {
            "schools": {"GET": self.schools},
            "search": {"GET": self.search},
            "requests": {"GET": self.status} if rest else {"POST": self.create},
            "files": {"GET": self.file} if rest else {"POST": self.upload},
            "regie": {"POST": self.pay} if rest.endswith("/pay") else {"GET": self.billing},
            "benches": {"GET": self.benches},
            "sms": {"POST": self.sms},
            "statistics": {"GET": self.statistics},
            "cell": {"GET": self.cell},
            "town": {"GET": self.town},
            "openapi.json": {"GET": self.openapi},
        }
        methods = routes.get(first)
        if methods is None or (rest and first in ("schools", "search", "benches", "sms", "cell", "town")):
            return self.refusal(404, "UnknownEndpoint", "Adresse inconnue.")
        endpoint = methods.get(self.method(asked))
        if endpoint is None:
            reply = self.refusal(405, "MethodNotAllowed", "Méthode non prévue ici.")
            reply.headers["Allow"] = ", ".join(methods)
            return reply
        if "echec" in asked.params:
            return self.failure(400, "InvalidInput", "Échec demandé par le paramètre echec.")
        if self.fault and first != "openapi.json":
            return self.failure(504 if self.fault == "hang" else 502, "Upstream", "Le logiciel métier ne répond pas.")
        return endpoint(asked, rest)

    def method(self, asked: Asked) -> str:
        """The method that decides the endpoint."""
        return asked.method

    # --- lists and searches -------------------------------------------------------------------------------------------

    def matching(self, term: str, text: str) -> bool:
        """Every word of the term is in the text, whatever case and accents."""
        return all(word in plain(text) for word in plain(term).split())

    def schools(self, asked: Asked, rest: str) -> Reply:
        """A choice list."""
        rows = copy.deepcopy(SCHOOLS)
        if (wanted := asked.params.get("id")) is not None:
            rows = [row for row in rows if row["id"] == wanted]
        if (term := asked.params.get("q")) is not None:
            rows = [row for row in rows if self.matching(term, row["text"])]
        return self.success(rows)

    def search(self, asked: Asked, rest: str) -> Reply:
        """A search engine."""
        term = asked.params.get("q", "")
        found = [one for one in PEOPLE if term and self.matching(term, one["name"])]
        return self.success(
            [
                {
                    "url": f"https://dossiers.simula.example.org/{number}",
                    "text": one["name"],
                    "description": one["about"],
                }
                for number, one in enumerate(found)
            ]
        )

    # --- requests -----------------------------------------------------------------------------------------------------

    def read(self, asked: Asked) -> dict[str, Any] | Reply:
        """The body as an object, or its refusal."""
        try:
            value = json.loads(asked.body.decode("utf-8"))
        except (ValueError, RecursionError):
            return self.failure(400, "InvalidInput", "Le corps n'est pas du JSON.")
        if not isinstance(value, dict):
            return self.failure(400, "InvalidInput", "Le corps n'est pas un objet JSON.")
        return value

    def create(self, asked: Asked, rest: str) -> Reply:
        """Creates a request, once per idempotency key."""
        body = self.read(asked)
        if isinstance(body, Reply):
            return body
        if (wrong := self.wrong_field(body)) is not None:
            return self.failure(400, "InvalidInput", f"Le champ « {wrong} » est absent ou incorrect.")
        key = asked.headers.get("idempotency-key", "")
        if not (key and key in self.once):
            identifier = f"D-{len(self.requests) + 1}"
            self.requests[identifier] = {"id": identifier, "status": "recu", "final": False, "nom": body["nom"]}
            self.once[key] = identifier
        identifier = self.once[key]
        return self.success({"id": identifier, "display_id": f"SIM-{identifier[2:]}"})

    def wrong_field(self, body: dict[str, Any]) -> str | None:
        """The name of a field that is missing or not what it should be."""
        for name in ("nom", "motif"):
            value = body.get(name)
            if not isinstance(value, str) or not value or len(value) > 1000:
                return name
        if (unknown := next((name for name in body if name not in FIELDS), None)) is not None:
            return unknown
        comment = body.get("commentaire")
        if not (comment is None or (isinstance(comment, str) and len(comment) < 10_000)):
            return "commentaire"
        if not self.number(body.get("montant")):
            return "montant"
        piece = body.get("piece")
        return None if piece in (None, "") or self.good_file(piece) else "piece"

    def number(self, value: Any) -> bool:
        """An amount, also written as text, or left empty."""
        if value is None or value == "":
            return True
        try:
            float(value)
        except (TypeError, ValueError):
            return False
        return not isinstance(value, bool)

    def good_file(self, value: Any) -> bool:
        """A file as w.c.s. writes it."""
        if not isinstance(value, dict) or set(value) - FILE_MEMBERS:
            return False
        return isinstance(value.get("filename"), str) and isinstance(value.get("content"), str)

    def status(self, asked: Asked, rest: str) -> Reply:
        """Where a request stands."""
        found = self.requests.get(rest)
        return self.success(found) if found else self.failure(404, "NotFound", "Demande inconnue.")

    # --- files --------------------------------------------------------------------------------------------------------

    def file(self, asked: Asked, rest: str) -> Reply:
        """A file to download."""
        if rest != "fiche.pdf":
            return self.failure(404, "NotFound", "Fichier inconnu.")
        disposition = 'attachment; filename="fiche.pdf"'
        return Reply(200, PDF, {"Content-Type": "application/pdf", "Content-Disposition": disposition}, "file")

    def upload(self, asked: Asked, rest: str) -> Reply:
        """A file received."""
        body = self.read(asked)
        if isinstance(body, Reply):
            return body
        if set(body) != {"fichier"} or not self.good_file(body["fichier"]):
            return self.failure(400, "InvalidInput", "Le champ « fichier » est absent ou incorrect.")
        return self.success({"id": "P-1"})

    # --- billing ------------------------------------------------------------------------------------------------------

    def billing(self, asked: Asked, rest: str) -> Reply:
        """Invoices of a debtor, one invoice, or its PDF."""
        mine = self.of(asked.params.get("NameID", ""))
        match rest.strip("/").split("/"):
            case ["invoices"]:
                return self.success([one for one in mine if not one["paid"]])
            case ["invoices", "history"]:
                return self.success([one for one in mine if one["paid"]])
            case ["invoice", identifier, *more] if more in ([], ["pdf"]):
                found = next((one for one in self.visible(mine) if one["id"] == identifier), None)
                if found is None:
                    return self.failure(404, "NotFound", "Facture inconnue.")
                return self.pdf() if more else self.success(found)
        return self.refusal(404, "UnknownEndpoint", "Adresse inconnue.")

    def of(self, name: str) -> list[dict[str, Any]]:
        """The invoices of a debtor."""
        return self.invoices if name == "elodie" else []

    def visible(self, mine: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The invoices whose detail may be read."""
        return mine

    def pdf(self) -> Reply:
        """An invoice's PDF."""
        headers = {"Content-Type": "application/pdf", "Content-Disposition": 'attachment; filename="facture.pdf"'}
        return Reply(200, PDF, headers, "file")

    def pay(self, asked: Asked, rest: str) -> Reply:
        """The notice of a payment, repeated or not."""
        body = self.read(asked)
        if isinstance(body, Reply):
            return body
        found = next((one for one in self.of(asked.params.get("NameID", "")) if f"/{one['id']}/" in f"/{rest}/"), None)
        if found is None:
            return self.failure(404, "NotFound", "Facture inconnue.")
        self.paid.add(str(body.get("transaction_id")))
        found.update(paid=True, amount="0.00", pay_limit_date="")
        return self.success(None)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def benches(self, asked: Asked, rest: str) -> Reply:
        """A map layer."""
        features = [
            {
                "type": "Feature",
                "id": identifier,
                "geometry": {"type": "Point", "coordinates": [lon, lat]},
                "properties": {"id": identifier, "text": text},
            }
            for identifier, text, lon, lat in BENCHES
        ]
        return self.success(None).with_json({"err": 0, "type": "FeatureCollection", "features": features})

    def sms(self, asked: Asked, rest: str) -> Reply:
        """A message to send."""
        body = self.read(asked)
        if isinstance(body, Reply):
            return body
        to, message = body.get("to"), body.get("message")
        if not (isinstance(to, list) and to and all(isinstance(one, str) for one in to)):
            return self.failure(400, "InvalidInput", "Aucun destinataire.")
        if not isinstance(message, str) or len(message) > 1000 or not isinstance(body.get("from"), str):
            return self.failure(400, "InvalidInput", "Message absent ou trop long.")
        return self.success(None)

    def statistics(self, asked: Asked, rest: str) -> Reply:
        """The catalogue, and the data of the one statistic."""
        if rest == "visits":
            series = [{"label": "Accueil", "data": [12, None]}]
            return self.success({"x_labels": ["2025-01", "2025-02"], "series": series})
        if rest:
            return self.refusal(404, "UnknownEndpoint", "Adresse inconnue.")
        options = [{"id": "_all", "label": "Tous"}, {"id": "nord", "label": "Nord"}]
        return self.success(
            [
                {
                    "name": "Visites",
                    "id": "visits",
                    "url": f"http://{asked.headers['host']}/statistics/visits",
                    "filters": [{"id": "quartier", "label": "Quartier", "options": options}],
                }
            ]
        )

    def cell(self, asked: Asked, rest: str) -> Reply:
        """What a visitor should know; nothing for an anonymous one."""
        return self.success({"ramassage": "2025-03-04"} if asked.params.get("user") else {})

    def town(self, asked: Asked, rest: str) -> Reply:
        """A plain document."""
        return self.success({"name": "Simula", "inhabitants": 12_000})

    def openapi(self, asked: Asked, rest: str) -> Reply:
        """The description of the service."""
        paths = ["schools", "search", "requests", "requests/{id}", "files", "files/{name}", "regie/invoices/", "regie"]
        paths += ["benches", "sms", "statistics", "cell", "town"]
        described: dict[str, Any] = {f"/{path}": {} for path in paths}
        document = {"openapi": "3.1.0", "info": {"title": "Simula", "version": "1"}, "paths": described}
        return self.success(None).with_json(document)
