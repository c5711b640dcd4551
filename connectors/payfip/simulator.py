"""PayFiP in miniature: the SOAP service, the payment page, the notification, and the life of an operation.

Facts and their sources are in the README beside this file. Amounts are integer cents, instants are UTC inside and
Europe/Paris in answers.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from sdk import Text
from sdk.simulator import Clock, SimRequest, SimResponse, Simulator, SoapCall, escape, on

SERVICE = "/tpa/services/securite"
PAGE = "/tpa/paiementws.web"
NAMESPACE = (
    "http://securite.service.tpa.cp.finances.gouv.fr/services/mas_securite/contrat_paiement_securise/"
    "PaiementSecuriseService"
)
PARIS = ZoneInfo("Europe/Paris")
DEBTS = Path(__file__).parent / "debts"
"""What the billing software of the demonstration exports: a table, and the invoices as PDF."""
OPENING_WINDOW = timedelta(minutes=15)
SECOND_THOUGHTS = timedelta(minutes=2)
KEPT = timedelta(days=365)
CLEANING = time(3, 0)

FAULTS: dict[str, str] = {
    "A1": "L'adresse mél est obligatoire.",
    "A2": "Adresse mél incorrecte. ",
    "D1": "L'adresse de redirection n'est pas conforme.",
    "M1": "Le format du montant n'est pas conforme.",
    "M3": "Le montant est inférieur au minimum autorisé.",
    "M5": "Le montant est supérieur au maximum autorisé.",
    "N1": "L'adresse de notification n'est pas conforme.",
    "P1": "IdOp incorrect.",
    "P3": "IdOp déjà utilisé.",
    "P4": "IdOp expiré.",
    "P5": "Résultat de la transaction non connu.",
    "R3": "Le format du paramètre REFDET n'est pas conforme",
    "S1": "Le type de saisie n'est pas conforme.",
    "T1": "Le numéro de client n'est pas conforme.",
    "T2": "Le client n'existe pas.",
    "T4": "Le client n'est pas ouvert au mode sécurisé.",
}
_TECHNICAL = {
    "tech-dysfonctionnement": "TechDysfonctionnementErreur",
    "tech-indisponibilite": "TechIndisponibiliteErreur",
    "tech-protocolaire": "TechProtocolaireErreur",
}
_CREATION_FIELDS = ("exer", "mel", "montant", "numcli", "objet", "refdet", "saisie", "urlnotif", "urlredirect")

ACTIONS: dict[str, tuple[str, str]] = {
    "payer": ("P", "Payer par carte"),
    "prelever": ("V", "Payer par prélèvement"),
    "refuser": ("R", "Carte refusée"),
    "refuser-prelevement": ("Z", "Prélèvement refusé"),
    "abandonner": ("A", "Abandonner"),
}


class Fault(Exception):
    """A functional refusal of PayFiP, by its code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Operation:
    """One idOp and what became of it. `result` is None until the payer has decided."""

    idop: str
    created: datetime
    fields: Mapping[str, str]
    opened: datetime | None = None
    result: str | None = None
    ended: datetime | None = None
    authorisation: str = ""

    @property
    def cleaned_at(self) -> datetime:
        """The night that forgets it when nothing happened: the first cleaning after its opening window."""
        late = (self.created + OPENING_WINDOW).astimezone(PARIS)
        night = datetime.combine(late.date(), CLEANING, PARIS)
        return night if night > late else datetime.combine(late.date() + timedelta(days=1), CLEANING, PARIS)

    def forgotten(self, now: datetime) -> bool:
        """Whether PayFiP no longer knows this idOp."""
        return now >= (self.cleaned_at if self.ended is None else self.ended + KEPT)


class PayFiPSimulator(Simulator):
    """PayFiP régie web service."""

    name, title = "payfip", "PayFiP"
    known = (
        Text(
            "Les trois opérations, leurs champs, leurs espaces de noms et la forme des erreurs (contrat de la DGFiP).",
            en="The three operations, their fields, namespaces and the shape of faults (DGFiP's contract).",
        ),
        Text(
            "15 minutes pour ouvrir la page, une seule ouverture (P3, P4), P5 puis P1 après le nettoyage de la nuit.",
            en="15 minutes to open the page, a single opening (P3, P4), P5 then P1 after the nightly cleaning.",
        ),
        Text(
            "La notification est un POST non signé de idop ; l'exercice revient sur deux chiffres.",
            en="The notification is an unsigned POST of idop; the year comes back with two digits.",
        ),
    )
    assumed = (
        Text("Le statut HTTP 500 des erreurs SOAP.", en="HTTP status 500 for SOAP faults."),
        Text(
            "Les libellés de A1, D1, M1, M3, M5, N1, P3, P4, S1 et T*, et l'ordre des vérifications.",
            en="The wording of A1, D1, M1, M3, M5, N1, P3, P4, S1 and T*, and the order of the checks.",
        ),
        Text("Le nettoyage a lieu à 3 h, heure de Paris.", en="The cleaning takes place at 3 am, Paris time."),
        Text(
            "Après un abandon, la page accepte encore un paiement pendant 2 minutes.",
            en="After an abandon, the page still takes a payment during 2 minutes.",
        ),
        Text(
            "numauto est présent pour un prélèvement accepté ; urlnotif et urlredirect sont obligatoires.",
            en="numauto is present for an accepted direct debit; urlnotif and urlredirect are mandatory.",
        ),
        Text(
            "Le nombre et l'aspect des écrans de paiement : ici une page, cinq boutons.",
            en="The number and looks of the payment screens: here one page, five buttons.",
        ),
    )
    own_faults: ClassVar[tuple[str, ...]] = tuple(_TECHNICAL)

    def __init__(self, *, clock: Clock | None = None, **options: Any) -> None:
        super().__init__(clock=clock, **options)
        self.clients = {"012345": ("RÉGIE DE DÉMONSTRATION", "VILLE DE SIMULA", "SERVICES À LA POPULATION")}
        """Client numbers and their three labels."""
        self.closed_clients = {"999999"}
        """Existing clients without the secure mode (T4)."""
        self.notifications = "sent"
        """What becomes of notifications: `sent`, `lost` or `twice`."""
        self.operations: dict[str, Operation] = {}

    def demo_settings(self) -> dict[str, Any]:
        """The settings of a sample instance."""
        return {
            "url": f"{self.url}{SERVICE}",
            "page_url": f"{self.url}{PAGE}",
            "client_number": "012345",
            "mode": "T",
            "notification_url": "https://demarches.example.net/payfip/notification",
            "return_url": "https://demarches.example.net/payfip/retour",
            "debts": {
                "file": str(DEBTS / "debts.csv"),
                "reference": "reference",
                "name_id": "redevable",
                "label": "objet",
                "amount": "reste_du",
                "total_amount": "montant",
                "created": "emise_le",
                "pay_limit": "a_payer_avant",
                "paid": "payee_le",
                "blocked": "blocage",
                "pdf": str(DEBTS),
                "other_payments": True,
            },
        }

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """The life of a payment, to paste line by line in one shell (the second keeps the identifier in `$IDOP`)."""
        body = (
            '{"amount": "42.50", "email": "jeanne.martin@example.net", "reference": "FACT2025000117", '
            f'"subject": "Restauration scolaire", "notification_url": "{base_url}/notification", '
            f'"return_url": "{base_url}"}}'
        )
        create = f"curl -s -H 'Content-Type: application/json' -d '{body}' {base_url}/payments"
        keep = 'sed \'s/.*"id":"\\([^"]*\\).*/\\1/\''
        page = f"{self.url}{PAGE}"
        return [
            (Text("La régie est-elle connue ?", en="Is the régie known?"), f"curl -s {base_url}/client"),
            (Text("Créer un paiement", en="Create a payment"), f"IDOP=$({create} | tee /dev/stderr | {keep})"),
            (
                Text(
                    "Ouvrir sa page, une seule fois (ou dans un navigateur)", en="Open its page, once (or in a browser)"
                ),
                f'curl -s "{page}?idop=$IDOP"',
            ),
            (Text("Payer", en="Pay"), f'curl -s -d "idop=$IDOP" -d action=payer {page}'),
            (Text("Suivre le paiement", en="Follow the payment"), f'curl -s "{base_url}/payments/$IDOP"'),
            (Text("Ce qu'un usager doit", en="What a payer owes"), f"curl -s '{base_url}/invoices?NameID=jeanne'"),
            (
                Text("Ce qu'il a payé", en="What was paid"),
                f"curl -s '{base_url}/invoices/history?NameID=jeanne'",
            ),
            (
                Text("Une facture, et son PDF", en="An invoice, and its PDF"),
                f"curl -s '{base_url}/invoice/FACT2025000117?NameID=jeanne' && "
                "curl -s -o /dev/null -w '\\n%{content_type}, %{size_download} bytes\\n' "
                f"'{base_url}/invoice/FACT2025000117/pdf?NameID=jeanne'",
            ),
        ]

    # The SOAP service.

    @on("GET", SERVICE)
    async def contract(self, request: SimRequest) -> SimResponse:
        """The WSDL, with this simulator's address."""
        wsdl = (Path(__file__).parent / "payfip.wsdl").read_text(encoding="utf-8")
        address = f"https://www.payfip.gouv.fr{SERVICE}"
        return SimResponse(wsdl.replace(address, f"{self.url}{SERVICE}"), 200, "text/xml; charset=utf-8")

    @on("POST", SERVICE)
    async def service(self, request: SimRequest) -> SimResponse:
        """The three operations."""
        try:
            call = request.soap()
        except ValueError:
            return _protocol_fault("The request is not a SOAP 1.1 envelope.")
        operations = {
            "creerPaiementSecurise": self._create,
            "recupererDetailPaiementSecurise": self._detail,
            "recupererDetailClient": self._client,
        }
        operation = operations.get(call.operation)
        if operation is None or call.namespace != NAMESPACE:
            return _protocol_fault("No such operation.")
        try:
            fields = operation(call)
        except Fault as fault:
            return _fault("FonctionnelleErreur", fault.code, FAULTS[fault.code])
        inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
        return SimResponse.soap(
            f'<ns2:{call.operation}Response xmlns:ns2="{NAMESPACE}"><return>{inside}</return>'
            f"</ns2:{call.operation}Response>"
        )

    def refusal(self, request: SimRequest) -> SimResponse | None:
        """The form of the reference, to a creation; an unknown idOp, to a lookup."""
        if request.path != SERVICE or b"recupererDetailClient" in request.body:
            return None
        code = "R3" if b"creerPaiementSecurise" in request.body else "P1"
        return _fault("FonctionnelleErreur", code, FAULTS[code])

    def spoil(self, fault: str, request: SimRequest) -> SimResponse:
        """One of the three technical faults of the contract."""
        return _fault(_TECHNICAL[fault], "TECH", "Service momentanément indisponible.")

    def _create(self, call: SoapCall) -> dict[str, str]:
        fields = {
            name: value for name in _CREATION_FIELDS if (value := call.text(f"arg0/{name}", namespace="")) is not None
        }
        self._check(fields)
        operation = Operation(str(uuid.uuid1(node=0x02_13AD_91A1_03)), self.clock.now(), fields)
        self.operations[operation.idop] = operation
        self.record(
            "creerPaiementSecurise",
            idop=operation.idop,
            refdet=fields["refdet"],
            montant=fields["montant"],
            saisie=fields["saisie"],
        )
        return {"idOp": operation.idop}

    def _check(self, fields: Mapping[str, str]) -> None:
        self._check_client(fields.get("numcli", ""))
        mail, amount = fields.get("mel", ""), fields.get("montant", "")
        if not mail:
            raise Fault("A1")
        if not 6 <= len(mail) <= 80 or not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", mail):
            raise Fault("A2")
        if not re.fullmatch(r"[0-9]+", amount):
            raise Fault("M1")
        if int(amount) < 100:
            raise Fault("M3")
        if int(amount) > 10_000_000:
            raise Fault("M5")
        if not re.fullmatch(r"[A-Za-z0-9]{6,30}", fields.get("refdet", "")):
            raise Fault("R3")
        if fields.get("saisie") not in ("T", "X", "W"):
            raise Fault("S1")
        for name, code in (("urlnotif", "N1"), ("urlredirect", "D1")):
            if not re.fullmatch(r"https?://[^\s/]\S*", fields.get(name, "")) or len(fields[name]) >= 250:
                raise Fault(code)

    def _check_client(self, number: str) -> None:
        if not re.fullmatch(r"[0-9]{6}", number):
            raise Fault("T1")
        if number in self.closed_clients:
            raise Fault("T4")
        if number not in self.clients:
            raise Fault("T2")

    def _detail(self, call: SoapCall) -> dict[str, str]:
        idop = call.text("arg0/idOp", namespace="") or ""
        operation = self._known(idop)
        self.record("recupererDetailPaiementSecurise", idop=idop)
        if operation.result is None or operation.ended is None:
            raise Fault("P5")
        ended = operation.ended.astimezone(PARIS)
        sent = operation.fields
        fields = {
            "dattrans": ended.strftime("%d%m%Y"),
            "exer": sent.get("exer", "")[-2:],
            "heurtrans": ended.strftime("%H%M"),
            "idOp": idop,
            "mel": sent["mel"],
            "montant": sent["montant"],
            "numauto": operation.authorisation,
            "numcli": sent["numcli"],
            "objet": sent.get("objet", ""),
            "refdet": sent["refdet"],
            "resultrans": operation.result,
            "saisie": sent["saisie"],
        }
        return {name: value for name, value in fields.items() if value}

    def _client(self, call: SoapCall) -> dict[str, str]:
        number = call.text("arg0/numCli", namespace="") or ""
        self._check_client(number)
        self.record("recupererDetailClient", numcli=number)
        labels = zip(("libelleN1", "libelleN2", "libelleN3"), self.clients[number], strict=True)
        return {**dict(labels), "numcli": number}

    def _known(self, idop: str) -> Operation:
        operation = self.operations.get(idop)
        if operation is None or operation.forgotten(self.clock.now()):
            raise Fault("P1")
        return operation

    # The payment page.

    @on("GET", PAGE)
    async def page(self, request: SimRequest) -> SimResponse:
        """Opens the payment page: once, within 15 minutes."""
        try:
            operation = self._known(request.query.get("idop", ""))
            if operation.opened is not None:
                raise Fault("P3")
            if self.clock.now() > operation.created + OPENING_WINDOW:
                raise Fault("P4")
        except Fault as fault:
            return _page(f"<p>{escape(FAULTS[fault.code].strip())} ({fault.code})</p>")
        operation.opened = self.clock.now()
        self.record("page", idop=operation.idop)
        cents = int(operation.fields["montant"])
        buttons = "".join(
            f'<button name="action" value="{name}">{label}</button> ' for name, (_, label) in ACTIONS.items()
        )
        return _page(
            f"<p>{escape(operation.fields.get('objet', ''))} — {escape(operation.fields['refdet'])}</p>"
            f"<p><strong>{cents // 100},{cents % 100:02d} €</strong></p>"
            f'<form method="post" action="{PAGE}"><input type="hidden" name="idop" value="{escape(operation.idop)}">'
            f"{buttons}</form>"
        )

    @on("POST", PAGE)
    async def decide(self, request: SimRequest) -> SimResponse:
        """The payer's decision: `idop` and `action`, one of the names of `ACTIONS`."""
        form = request.form()
        if form.get("action") not in ACTIONS:
            return _page(f"<p>action : {', '.join(ACTIONS)}</p>", 400)
        result, label = ACTIONS[form["action"]]
        now = self.clock.now()
        try:
            operation = self._known(form.get("idop", ""))
            undecided = operation.result is None or (
                operation.result == "A" and operation.ended is not None and now <= operation.ended + SECOND_THOUGHTS
            )
            if not undecided:
                raise Fault("P3")
        except Fault as fault:
            return _page(f"<p>{escape(FAULTS[fault.code].strip())} ({fault.code})</p>")
        if operation.opened is None:
            return _page(f"<p>La page doit d'abord être ouverte : GET {PAGE}?idop=…</p>", 400)
        operation.result, operation.ended = result, now
        operation.authorisation = f"{len(self.ledger) % 0xFFFFFF:06X}" if result in ("P", "V") else ""
        self.record("decision", idop=operation.idop, resultrans=result)
        await self._notify(operation)
        back = _with_idop(operation.fields["urlredirect"], operation.idop)
        answer = _page(f'<p>{label}.</p><p><a href="{escape(back)}">Retour</a></p>')
        return SimResponse(answer.body, 303, answer.content_type, {"Location": back})

    async def conclude(self, identifier: str) -> None:
        """The payer opens the page, and pays."""
        await self.page(SimRequest("GET", PAGE, {"idop": identifier}, {}, b""))
        await self.decide(SimRequest("POST", PAGE, {}, {}, urlencode({"idop": identifier, "action": "payer"}).encode()))

    async def _notify(self, operation: Operation) -> None:
        for _ in range({"lost": 0, "sent": 1, "twice": 2}[self.notifications]):
            status = await self.post_form(operation.fields["urlnotif"], {"idop": operation.idop})
            self.record("notification", idop=operation.idop, status=status)

    @on("POST", "/_simulator/notifications")
    async def switch_notifications(self, request: SimRequest) -> SimResponse:
        """What becomes of the next notifications: `mode` is sent, lost or twice."""
        mode = request.form().get("mode", "")
        if mode not in ("sent", "lost", "twice"):
            return SimResponse("Send mode=sent, lost or twice.\n", 400)
        self.notifications = mode
        return SimResponse(f"{mode}\n")


def _with_idop(url: str, idop: str) -> str:
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({"idop": idop}))))
    return urlunsplit(parts._replace(query=query))


def _page(content: str, status: int = 200) -> SimResponse:
    return SimResponse.html(
        '<!DOCTYPE html><html lang="fr"><meta charset="utf-8"><title>PayFiP (simulateur)</title>'
        f"<body><h1>PayFiP : simulateur</h1>{content}</body></html>\n",
        status,
    )


def _fault(element: str, code: str, label: str) -> SimResponse:
    return SimResponse.soap(
        '<S:Fault xmlns:ns4="http://www.w3.org/2003/05/soap-envelope"><faultcode>S:Server</faultcode>'
        f"<faultstring>fr.gouv.finances.cp.tpa.webservice.exceptions.{element}</faultstring>"
        f'<detail><ns2:{element} xmlns:ns2="{NAMESPACE}"><code>{escape(code)}</code><descriptif/>'
        f"<libelle>{escape(label)}</libelle><severite>2</severite></ns2:{element}></detail></S:Fault>",
        status=500,
    )


def _protocol_fault(text: str) -> SimResponse:
    return SimResponse.soap(
        f"<S:Fault><faultcode>S:Client</faultcode><faultstring>{escape(text)}</faultstring></S:Fault>", status=500
    )


SIMULATOR = PayFiPSimulator
