"""Cart@ds in miniature: the API SIG with its login, the public board with its cookie and token, and a portal."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal

from sdk import Text
from sdk.simulator import Clock, SimRequest, SimResponse, Simulator, escape, on

from .portal import PARIS, deposit_id
from .simulator_data import ACCOUNT, BOARD_COMMUNES, DECISIONS, FILES, FILINGS, PORTAL
from .simulator_portal import CLOSED, Dropped, PortalSide

AUTH = "/cartads/api/Authentification/Login"
SIG = "/cartads/api/Sig"
BOARD = "/guichet-unique"
PORTAL_SERVICE = "/adscs/webservices/ServicePortail.svc"
TOKEN_LIFE = timedelta(hours=1)
SESSION_LIFE = timedelta(minutes=20)
_TOKEN = "__RequestVerificationToken"  # noqa: S105
_PDF = {"filename": "plan.pdf", "content": "JVBERi0xLjQK"}
DEPOSIT = {
    "commune": "76540",
    "type": "PCMI",
    "object": "1",
    "cerfa": {"filename": "cerfa.pdf", "content": "JVBERi0xLjQK"},
    "pieces": [{"code": "PCMI1", "file": _PDF}],
}
LATER_DEPOSIT = {"kind": "completion", "pieces": [{"code": "PCMI5", "file": _PDF}]}


class CartadsSimulator(Simulator):
    """API SIG, public board, portal."""

    name, title = "cartads", "Cart@ds CS"
    known: ClassVar[tuple[str, ...]] = (
        Text(
            "API SIG : connexion (SHA-256), jeton, chemins, paramètres, champs, clés absentes quand elles sont vides.",
            en="API SIG: login (SHA-256), token, paths, parameters, fields, members left out when unset.",
        ),
        Text(
            "Affichage : la page, son cookie et son jeton, les neuf colonnes exigées, l'ordre des cellules ; sans "
            "cookie la table répond une page d'erreur, pour une commune inconnue une table vide.",
            en="Board: the page, its cookie and token, the nine mandatory columns, the order of cells; without the "
            "cookie the table answers an error page, for an unknown commune an empty table.",
        ),
    )
    assumed: ClassVar[tuple[str, ...]] = (
        Text(
            "Le chemin de connexion, le 401 d'un mauvais compte ou d'un jeton fini, le 404 d'un dossier inconnu.",
            en="The login path, the 401 of a wrong account or an ended token, the 404 of an unknown file.",
        ),
        Text(
            "La durée du jeton (1 h) et de la session (20 min) ; l'ordre des dossiers ; le filtre par parcelle.",
            en="The life of tokens (1 h) and sessions (20 min); the order of files; the parcel filter.",
        ),
        Text(
            "Le portail entier : WSDL, opérations, chiffrement du jeton, nom et contenu de l'archive, numéro attribué "
            "10 minutes après. Seul l'enchaînement des étapes est public.",
            en="The whole portal: WSDL, operations, encryption of the token, name and content of the archive, number "
            "given 10 minutes later. Only the sequence of steps is public.",
        ),
    )

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"sftp": {}, "ftps": {"drop": "ftps"}}

    def __init__(self, *, clock: Clock | None = None, drop: Literal["sftp", "ftps"] = "sftp", **options: Any) -> None:
        super().__init__(clock=clock, **options)
        self.drop = drop
        self.files: list[dict[str, Any]] = [dict(each) for each in FILES]
        """The files, as the API gives them; unset members are absent."""
        self.tokens: dict[str, datetime] = {}
        self.sessions: dict[str, tuple[str, datetime]] = {}
        """Cookie → (verification token, when it was opened)."""
        self.portal = PortalSide(self.clock.now, self.record, self._attribute)

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listens, for HTTP and for SFTP."""
        await self.portal.start()
        await super().start(port, host)

    async def stop(self) -> None:
        """Stops listening."""
        await super().stop()
        await self.portal.stop()

    def demo_settings(self) -> dict[str, Any]:
        """The settings of a sample instance."""
        inbox = self.portal.inbox if self.drop == "sftp" else self.portal.ftps
        return {
            "sig": {
                "url": self.url + SIG,
                "auth_url": self.url + AUTH,
                "client_id": ACCOUNT["clientId"],
                "login": ACCOUNT["login"],
                "password": ACCOUNT["password"],
                "search_days": 3650,
            },
            "board": {"url": self.url + BOARD},
            "portal": {
                "services": [{"url": self.url + PORTAL_SERVICE}],
                **{name: PORTAL[name] for name in ("login", "password", "key", "iv")},
                self.drop: inbox.account() if inbox else {},
                "refusals": {CLOSED: "Le portail n'accepte pas de dépôt en ce moment."},
            },
            "stages": {"Décision notifiée": {"text": "Votre décision est notifiée", "final": True}},
        }

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """A file found, followed, and the board."""
        return [
            (
                Text("Suivre un dossier", en="Follow a file"),
                f"curl -s {base_url}/applications/PC0765402500042/progress",
            ),
            (Text("Chercher par parcelle", en="Find by parcel"), f"curl -s '{base_url}/search?q=AB+125'"),
            (
                Text("Les dossiers d'une commune", en="The files of a commune"),
                f"curl -s '{base_url}/applications?commune=076540&limit=2'",
            ),
            (Text("Communes affichées", en="Communes on the board"), f"curl -s {base_url}/board/communes"),
            (
                Text("Les décisions affichées", en="The posted decisions"),
                f"curl -s '{base_url}/board/decisions?commune=76540'",
            ),
            (
                Text("Types de dossier d'une commune", en="Types of file of a commune"),
                f"curl -s '{base_url}/types?commune=76540'",
            ),
            (
                Text("Le CERFA d'un permis", en="The CERFA form of a permit"),
                f"curl -s '{base_url}/forms?commune=76540&type=PCMI&object=1&q=permis'",
            ),
            (
                Text("Les pièces d'un permis", en="The pieces of a permit"),
                f"curl -s '{base_url}/pieces?commune=76540&type=PCMI&object=1'",
            ),
            (
                Text("Déposer un dossier", en="Deposit a file"),
                f"ID=$({_posted(f'{base_url}/deposits', DEPOSIT)} | tee /dev/stderr | "
                'sed \'s/.*"id": *"\\([^"]*\\).*/\\1/\')',
            ),
            (
                Text("Le ticket, jusqu'à ce que le dépôt soit fait", en="The ticket, until the deposit is made"),
                f"until curl -s {base_url.rsplit('/', 2)[0]}/deliveries/$ID | grep '\"DONE\"'; do sleep 1; done",
            ),
            (
                Text("Dix minutes plus tard (simulateur)", en="Ten minutes later (simulator)"),
                f"curl -s -d minutes=11 {self.url}/_simulator/clock",
            ),
            (Text("Le dépôt a son numéro", en="The deposit has its number"), f"curl -s {base_url}/deposits/$ID"),
            (
                Text("Les pièces qui manquent à un dossier", en="The pieces a file lacks"),
                f"curl -s {base_url}/files/48213/pieces/completion",
            ),
            (
                Text(
                    "Les déposer (de même : ouverture et achèvement des travaux)",
                    en="Deposit them (the start and the end of the works likewise)",
                ),
                _posted(f"{base_url}/files/48213/deposits", LATER_DEPOSIT),
            ),
            (Text("Les étapes d'un dossier", en="The steps of a file"), f"curl -s {base_url}/files/48213/steps"),
        ]

    # API SIG.

    @on("POST", AUTH)
    async def login(self, request: SimRequest) -> SimResponse:
        """A token for the account, whose password comes as its SHA-256."""
        try:
            sent = request.json()
        except ValueError:
            return SimResponse.json({"Message": "Requête invalide"}, 400)
        expected = {**ACCOUNT, "password": hashlib.sha256(ACCOUNT["password"].encode()).hexdigest()}
        if sent != expected:
            return SimResponse.json({"Message": "Identifiants refusés"}, 401)
        token = uuid.uuid4().hex
        self.tokens[token] = self.clock.now()
        self.record("login")
        return SimResponse.json({"Token": token})

    @on("GET", f"{SIG}/Dossiers")
    async def files_asked(self, request: SimRequest) -> SimResponse:
        """The files that satisfy the filters."""
        if refusal := self._unknown_token(request):
            return refusal
        asked = request.query
        found = [each for each in self.files if _satisfies(each, asked)]
        offset, limit = int(asked.get("offset", "0")), int(asked.get("limit", "1000"))
        self.record("list", found=len(found))
        return SimResponse.json(found[offset : offset + limit])

    @on("GET", f"{SIG}/Dossier")
    async def one(self, request: SimRequest) -> SimResponse:
        """One file, by its number with its spaces."""
        if refusal := self._unknown_token(request):
            return refusal
        asked = request.query.get("nomDossier", "")
        self.record("file", number=asked)
        for each in self.files:
            if each["NomDossier"] == asked:
                return SimResponse.json(each)
        return SimResponse.json({"Message": "Dossier introuvable"}, 404)

    def _unknown_token(self, request: SimRequest) -> SimResponse | None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        born = self.tokens.get(given)
        if born is None or self.clock.now() >= born + TOKEN_LIFE:
            return SimResponse.json({"Message": "Jeton refusé"}, 401)
        return None

    async def conclude(self, identifier: str) -> None:
        """The decision on a deposit is notified; one that was accepted for later is waited for, ten seconds at most."""
        name = f"{deposit_id(identifier)}.zip"
        for _ in range(100):
            if name in self.portal.deposits:
                break
            await self._wait(0.1)
        if (deposit := self.portal.deposits.get(name)) is not None:
            later = {"IdDossier": deposit.fields.get("idDossier"), "NomDossier": ""}
            deposit.file = deposit.file or (later if later["IdDossier"] else self._attribute(deposit))
            deposit.file["Stade"] = "Décision notifiée"

    @on("POST", "/_simulator/stage")
    async def move(self, request: SimRequest) -> SimResponse:
        """The instructor's work: `number`, and the members to set (`Stade`, `DecisionSignataire` …)."""
        form = request.form()
        number = form.pop("number", "")
        for each in self.files:
            if each["NomDossier"] == number:
                each |= {
                    **form,
                    "DateModificationDossier": self.clock.now().astimezone(PARIS).strftime("%Y-%m-%dT%H:%M:%S"),
                }
                return SimResponse.json(each)
        return SimResponse("Send number=…\n", 404)

    # The portal.

    @on("POST", PORTAL_SERVICE)
    async def service(self, request: SimRequest) -> SimResponse:
        """Every operation of the portal."""
        return self.portal.answer(request)

    def _attribute(self, dropped: Dropped) -> dict[str, Any]:
        """The file a deposit becomes."""
        rank, now = len(self.files) + 1, self.clock.now().astimezone(PARIS)
        kind, commune = str(dropped.fields.get("typeDossier"))[:2], str(dropped.fields.get("commune"))
        new = {
            "IdDossier": 48212 + rank,
            "NomDossier": f"{kind} 0{commune[:2]} {commune[2:]} {now:%y} {rank:05d}",
            "CoCommune": f"0{commune}",
            "CoTypeDossier": kind,
            "Parcelles": [],
            "DateDepot": dropped.told.astimezone(PARIS).strftime("%Y-%m-%dT00:00:00"),
            "DateModificationDossier": now.strftime("%Y-%m-%dT%H:%M:%S"),
            "Stade": "Dossier déposé",
        }
        self.files.append(new)
        self.record("attribution", filename=dropped.filename, number=new["NomDossier"])
        return new

    def refusal(self, request: SimRequest) -> SimResponse | None:
        """The portal is closed to deposits. The other doors have no known way of refusing."""
        return self.portal.refusal(request) if request.path == PORTAL_SERVICE else None

    # The public board.

    @on("GET", f"{BOARD}/Login/AffichageReglementaire")
    async def page(self, request: SimRequest) -> SimResponse:
        """The page: a cookie, a token, the communes."""
        cookie, token = uuid.uuid4().hex, uuid.uuid4().hex
        self.sessions[cookie] = (token, self.clock.now())
        options = "".join(
            f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in BOARD_COMMUNES.items()
        )
        self.record("board-page")
        return SimResponse(
            '<!DOCTYPE html><html lang="fr"><meta charset="utf-8"><title>Affichage réglementaire</title><form>'
            f'<input name="{_TOKEN}" type="hidden" value="{token}" />'
            f'<select id="Communes_OptionSelectionnee" name="Communes.OptionSelectionnee"><option value="">Commune'
            f'</option>{options}</select><select id="TypeInformation"><option selected="selected" value="1">Avis de '
            'dépôt</option><option value="2">Décisions</option></select></form></html>',
            200,
            "text/html; charset=utf-8",
            {"Set-Cookie": f".AspNetCore.Antiforgery.sim={cookie}; path=/; samesite=strict; httponly"},
        )

    @on("POST", f"{BOARD}/Login/GetRapportDossier")
    async def table(self, request: SimRequest) -> SimResponse:
        """The table, for a request that carries the cookie, the token and the nine columns."""
        form = request.form()
        cookie = request.headers.get("Cookie", "").partition("=")[2]
        token, opened = self.sessions.get(cookie, ("", datetime.min.replace(tzinfo=UTC)))
        if not token or form.get(_TOKEN) != token or self.clock.now() >= opened + SESSION_LIFE:
            return SimResponse.html("<!DOCTYPE html><html><body><h1>Erreur</h1></body></html>")
        rows = (DECISIONS if form.get("TypeInformation") == "2" else FILINGS).get(form.get("NCommune", ""), [])
        if any(f"columns[{column}][data]" not in form for column in range(9)):
            rows = []
        if kind := form.get("CoTypeDossier"):
            rows = [row for row in rows if str(row[1]).startswith(kind)]
        start, length = int(form.get("start", "0")), int(form.get("length", "10"))
        self.record("board", commune=form.get("NCommune", ""), information=form.get("TypeInformation", ""))
        answer = {
            "draw": form.get("draw", "1"),
            "recordsTotal": len(rows),
            "recordsFiltered": len(rows),
            "data": rows[start : start + length],
        }
        return SimResponse(json.dumps(answer, ensure_ascii=False), 200, "application/json; charset=utf-8")


def _posted(url: str, body: Mapping[str, Any]) -> str:
    headers = "-H 'Content-Type: application/json' -H \"Idempotency-Key: $RANDOM$RANDOM\""
    return f"curl -s {headers} -d '{json.dumps(body)}' {url}"


def _satisfies(each: Mapping[str, Any], asked: Mapping[str, str]) -> bool:
    def plain(parcel: str) -> tuple[str, ...]:
        return tuple(word.lstrip("0") for word in parcel.upper().split())[-2:]

    filed, modified = each["DateDepot"][:10], each["DateModificationDossier"][:10]
    return (
        asked.get("Communes") in (None, each["CoCommune"])
        and asked.get("typesDossier") in (None, each["CoTypeDossier"])
        and asked.get("dateDepotDebut", "") <= filed <= asked.get("dateDepotFin", "9")
        and asked.get("dateModification", "") <= modified
        and ("parcelle" not in asked or any(plain(asked["parcelle"]) == plain(one) for one in each["Parcelles"]))
    )


SIMULATOR = CartadsSimulator
