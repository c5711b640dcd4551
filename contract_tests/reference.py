"""A conforming service, in memory: the town of Simula honours every profile. Mutants are it with one fault.

    service = Reference()
    run = await execute(service.target(), service.send, registry)      # in this process, no socket
    async with service.served() as url: …                              # or on a real one

It shows what the contract asks, nothing more; it is not meant to be copied as an application.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import hmac
import json
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlsplit

from aiohttp import web

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
from contract_tests.simula import BENCHES, INVOICES, PEOPLE, SCHOOLS
from contract_tests.wire import Exchange, Limits, Response
from contract_tests.wire import Request as Sent

__all__ = ["Asked", "Reference", "Reply"]

ORIG, KEY = "demarches.simula.example.org", "la-cle-partagee-de-simula"
USER, PASSWORD = "publik", "le-mot-de-passe-de-simula"
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
Kind = Literal["success", "failure", "refusal", "file"]


@dataclass(frozen=True)
class Asked:
    """What the service received: `path` decoded, `query` as it came, header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def params(self) -> dict[str, str]:
        """The query's parameters; a repeated name keeps its last value."""
        return dict(parse_qsl(self.query, keep_blank_values=True, errors="replace"))


@dataclass
class Reply:
    """What it answers. `takes`: seconds pretended; `broken`: the connection is cut instead."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    kind: Kind = "success"
    takes: float = 0.0
    broken: bool = False

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    def with_json(self, value: Any) -> Reply:
        """The same reply with another document."""
        return replace(self, body=json.dumps(value, ensure_ascii=False).encode())


FIELDS = ("nom", "motif", "montant", "commentaire", "piece")
FILE_MEMBERS = {"filename", "content_type", "content", "content_is_base64"}


def plain(text: str) -> str:
    """Lower case, without accents."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


class Reference:
    """The service. Its small methods are what mutants replace."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.fault = ""
        self.nonces: set[str] = set()
        self.requests: dict[str, dict[str, Any]] = {
            "D-1": {"id": "D-1", "status": "recu", "final": False, "nom": "Élodie"},
            "D-2": {"id": "D-2", "status": "clos", "final": True, "nom": "Noé"},
        }
        self.once: dict[str, str] = {}
        self.invoices = copy.deepcopy(INVOICES)
        self.paid: set[str] = set()
        self.reads = 0

    # --- the target, and the ways in ----------------------------------------------------------------------------------

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

    async def send(self, request: Sent, limits: Limits = Limits()) -> Exchange:
        """Answers in this process, as a wire would."""
        parts = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers} | {"host": parts.netloc}
        reply = self(Asked(request.method, unquote(parts.path), parts.query, headers, request.body or b""))
        if reply.broken:
            return Exchange(request, None, datetime.now(UTC), 0.0, "broken", "ServerDisconnectedError")
        cut = len(reply.body) > limits.max_body
        body = reply.body[:65536] if cut else reply.body
        response = Response(reply.status, "", tuple(reply.headers.items()), body, cut)
        return Exchange(request, response, datetime.now(UTC), reply.takes)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """The service on a socket of this machine; gives its address."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            path, _, query = request.raw_path.partition("?")
            reply = self(Asked(request.method, unquote(path), query, headers, await request.read()))
            if reply.broken and request.transport is not None:
                request.transport.abort()
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def misbehaving(self, fault: str) -> AsyncIterator[None]:
        """The software behind the service is `down`, `hang`s or answers `garbage` meanwhile."""
        self.fault = fault
        try:
            yield
        finally:
            self.fault = ""

    # --- one call -----------------------------------------------------------------------------------------------------

    def __call__(self, asked: Asked) -> Reply:
        """The reply to a call."""
        reply = self.authenticate(asked) or self.route(asked)
        return self.finish(asked, reply)

    def finish(self, asked: Asked, reply: Reply) -> Reply:
        """The last word on a reply: what mutants spoil."""
        return reply

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

    def success(self, data: Any) -> Reply:
        """A favourable envelope."""
        return Reply(200, b"", {"Content-Type": "application/json"}).with_json({"err": 0, "data": data})

    def failure(self, status: int, kind: str, said: str) -> Reply:
        """An unfavourable envelope, from an endpoint."""
        reply = Reply(status, b"", {"Content-Type": "application/json"}, "failure")
        return reply.with_json({"err": 1, "err_class": kind, "err_desc": said, "data": None})

    def refusal(self, status: int, kind: str, said: str) -> Reply:
        """An unfavourable envelope, before any endpoint."""
        return replace(self.failure(status, kind, said), kind="refusal")

    # --- who calls ----------------------------------------------------------------------------------------------------

    def authenticate(self, asked: Asked) -> Reply | None:
        """None when the caller is known."""
        if (header := asked.headers.get("authorization")) is not None:
            user, password = self.basic(header)
            good = hmac.compare_digest(f"{user}:{password}".encode(), f"{USER}:{PASSWORD}".encode())
            return None if good else self.unknown(user, password)
        if "signature=" in asked.query:
            return self.signed(asked)
        return self.unknown("", "")

    def basic(self, header: str) -> tuple[str, str]:
        """User and password of an Authorization header; empty when it cannot be read."""
        try:
            held = base64.b64decode(header.partition(" ")[2], validate=True).decode()
        except (binascii.Error, ValueError):
            return "", ""
        user, _, password = held.partition(":")
        return user, password

    def unknown(self, user: str, password: str) -> Reply:
        """The refusal of a caller who did not prove who it is."""
        reply = self.refusal(401, "Unauthenticated", "Identifiants absents ou refusés.")
        reply.headers["WWW-Authenticate"] = 'Basic realm="Simula"'
        return reply

    def signed(self, asked: Asked) -> Reply | None:
        """None when the signature is good and new."""
        query, _, given = asked.query.rpartition("&signature=")
        params = dict(parse_qsl(query, keep_blank_values=True))
        good = (
            self.last(given)
            and self.caller(params)
            and self.algorithm(params)
            and self.matches(query, given)
            and self.timely(params)
            and self.new(params)
        )
        return None if good else self.refusal(403, "Forbidden", "Signature refusée.")

    def last(self, given: str) -> bool:
        """Nothing follows the signature."""
        return "&" not in given

    def caller(self, params: dict[str, str]) -> bool:
        """The caller has a key."""
        return params.get("orig") == ORIG

    def algorithm(self, params: dict[str, str]) -> bool:
        """The algorithm is one we compute."""
        return params.get("algo") == "sha256"

    def matches(self, query: str, given: str) -> bool:
        """The signature is that of all that precedes it."""
        expected = hmac.new(KEY.encode(), query.encode(), hashlib.sha256).digest()
        try:
            received = base64.b64decode(unquote_to_bytes(given.partition("&")[0]), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(expected, received)

    def timely(self, params: dict[str, str]) -> bool:
        """The call was signed within 30 seconds, either way."""
        return abs(self.late(params)) <= 30

    def late(self, params: dict[str, str]) -> float:
        """Seconds since the call was signed."""
        try:
            stamp = datetime.strptime(params.get("timestamp", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            return float("inf")
        return (self.now() - stamp).total_seconds()

    def new(self, params: dict[str, str]) -> bool:
        """The nonce was never seen."""
        nonce = params.get("nonce", "")
        if not nonce or nonce in self.nonces:
            return False
        self.nonces.add(nonce)
        return True

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
