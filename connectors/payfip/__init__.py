"""PayFiP: payments to a public cashier (régie), by card or direct debit, on the DGFiP's payment page.

The publisher is the truth: a payment is what `recupererDetailPaiementSecurise` says, never what a notification or a
browser says. Amounts are exact decimals in euros here and integer cents on the wire; times are Europe/Paris.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from sdk import (
    HOUR,
    Connector,
    ErrorCode,
    Field,
    Http,
    HttpUrl,
    InvalidInput,
    Misconfigured,
    Model,
    NotFound,
    Progress,
    Receipt,
    Rejected,
    RelaisError,
    Row,
    Soap,
    SoapFault,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    callback,
    create,
    current_call,
    get,
)

PARIS = ZoneInfo("Europe/Paris")
OPENING_WINDOW = timedelta(minutes=15)
SECOND_THOUGHTS = timedelta(minutes=2)
"""How long an abandon may still turn into a payment."""
QUIET = timedelta(minutes=1)
"""How long a repeated notification of the same payment is not looked up again."""
REMEMBERED = 1000
PATIENCE = 5.0
"""Seconds a notification waits for the lookup before it is answered anyway."""
AFTER_TECHNICAL_ERROR = 1800.0
"""Seconds the DGFiP asks to wait after a technical error."""

EXAMPLE = "5b0f6e40-00a8-11f0-9c1d-0213ad91a103"
IDOP = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
ADDRESS = r"^(https?://[^\s/?#]\S*)?$"


class Settings(Model):
    """Une instance est une régie dans un mode."""

    url: HttpUrl = Field(
        default="https://www.payfip.gouv.fr/tpa/services/securite",
        description="Adresse du webservice, sans ?wsdl",
    )
    page_url: HttpUrl = Field(
        default="https://www.payfip.gouv.fr/tpa/paiementws.web",
        description="Adresse de la page de paiement",
    )
    client_number: str = Field(pattern=r"^[0-9]{6}$", description="Numéro de client (numcli) donné par la DGFiP")
    mode: Literal["T", "X", "W"] = Field(description="Environnement (saisie) : T test, X activation, W production")
    notification_url: str = Field(
        default="",
        max_length=249,
        pattern=ADDRESS,
        description="Où PayFiP annonce la fin d'un paiement : …/payfip/<instance>/notification. "
        "Son domaine doit être déclaré à la DGFiP",
    )
    return_url: str = Field(
        default="", max_length=249, pattern=ADDRESS, description="Où l'usager revient après la page de paiement"
    )


class PaymentRequest(Model):
    """Une dette à payer. Les adresses laissées vides sont celles du paramétrage."""

    amount: Decimal = Field(
        ge=1, le=100_000, decimal_places=2, description="Montant en euros, de 1 à 100000", examples=["42.50"]
    )
    email: str = Field(
        min_length=6,
        max_length=80,
        pattern=r"^[^@\s]+@[^@\s]+\.[^@\s.]+$",
        description="Adresse de courriel de l'usager, qui reçoit le justificatif",
        examples=["jeanne.martin@example.net"],
    )
    reference: str = Field(
        pattern=r"^[A-Za-z0-9]{6,30}$",
        description="Référence de la dette : 6 à 30 lettres sans accent ou chiffres",
        examples=["FACT2025000117"],
    )
    subject: str = Field(
        default="",
        description="Objet montré à l'usager ; accents et ponctuation sont retirés, 100 caractères sont gardés",
        examples=["Restauration scolaire mars"],
    )
    year: int | None = Field(
        default=None, ge=2000, le=2099, description="Exercice budgétaire ; l'année en cours par défaut"
    )
    notification_url: str = Field(
        default="", max_length=249, pattern=ADDRESS, description="À la place de celle du paramétrage"
    )
    return_url: str = Field(
        default="", max_length=249, pattern=ADDRESS, description="À la place de celle du paramétrage"
    )


class Payment(Receipt):
    """Un paiement à faire : envoyer l'usager sur `url`, une fois, avant `open_before`."""

    id: str = Field(description="Identifiant du paiement (idOp)", examples=[EXAMPLE])
    url: HttpUrl = Field(
        description="Page de paiement : une seule ouverture possible",
        examples=[f"https://www.payfip.gouv.fr/tpa/paiementws.web?idop={EXAMPLE}"],
    )
    open_before: datetime = Field(
        description="Au-delà, la page refuse de s'ouvrir", examples=["2025-03-14T09:46:00+01:00"]
    )


class PaymentProgress(Progress):
    """Où en est un paiement ; ce que PayFiP ne dit pas encore est vide ou nul."""

    id: str = Field(description="Identifiant du paiement (idOp)", examples=[EXAMPLE])
    status: Literal["pending", "paid", "refused", "abandoned", "expired"] = Field(
        description="pending (en attente), paid (payé), refused (refusé), abandoned (abandonné), expired (expiré)",
        examples=["paid"],
    )
    text: str = Field(description="L'état en toutes lettres", examples=["Payé par carte bancaire"])
    final: bool = Field(description="L'état ne changera plus", examples=[True])
    result: Literal["P", "V", "R", "Z", "A", ""] = Field(
        default="", description="Code de PayFiP (resultrans)", examples=["P"]
    )
    means: Literal["card", "direct-debit", ""] = Field(
        default="", description="card (carte) ou direct-debit (prélèvement)", examples=["card"]
    )
    amount: Decimal | None = Field(default=None, description="Montant en euros", examples=["42.50"])
    reference: str = Field(default="", description="Référence de la dette", examples=["FACT2025000117"])
    subject: str = Field(default="", description="Objet", examples=["Restauration scolaire mars"])
    authorisation: str = Field(default="", description="Numéro d'autorisation (numauto)", examples=["A55A55"])
    test: bool = Field(description="Vrai hors production : en mode T, aucun argent n'a circulé", examples=[True])


class Client(Model):
    """La régie, telle que la DGFiP la connaît."""

    number: str = Field(description="Numéro de client", examples=["012345"])
    name: str = Field(description="Premier libellé", examples=["REGIE DE RECETTES"])
    labels: list[str] = Field(
        description="Les libellés non vides, dans l'ordre", examples=[["REGIE DE RECETTES", "RESTAURATION SCOLAIRE"]]
    )


class Notification(Row):
    """Ce que PayFiP envoie à la fin d'un paiement, sans signature ni résultat."""

    idop: str = Field(pattern=IDOP, examples=[EXAMPLE])


_RESULTS: dict[str, tuple[Any, Any, Text]] = {
    "P": ("paid", "card", Text("Payé par carte bancaire", en="Paid by card")),
    "V": ("paid", "direct-debit", Text("Payé par prélèvement", en="Paid by direct debit")),
    "R": ("refused", "card", Text("Paiement par carte refusé", en="Card refused")),
    "Z": ("refused", "direct-debit", Text("Prélèvement refusé", en="Direct debit refused")),
    "A": ("abandoned", "", Text("Paiement abandonné", en="Abandoned")),
}
_PENDING = Text("Paiement en attente", en="Pending")
_EXPIRED = Text("Paiement expiré ou inconnu", en="Expired or unknown")

_FIELDS: dict[str, tuple[str, Text]] = {
    "A1": ("email", Text("est obligatoire", en="is required")),
    "A2": ("email", Text("n'est pas une adresse acceptée par PayFiP", en="is not an address PayFiP accepts")),
    "M1": ("amount", Text("n'a pas un format accepté par PayFiP", en="does not have a form PayFiP accepts")),
    "M3": ("amount", Text("est inférieur au minimum de PayFiP", en="is below PayFiP's minimum")),
    "M5": ("amount", Text("est supérieur au maximum de PayFiP", en="is above PayFiP's maximum")),
    "R3": ("reference", Text("n'a pas une forme acceptée par PayFiP", en="does not have a form PayFiP accepts")),
}
_SETTINGS: dict[str, tuple[str, str]] = {
    "D1": ("l'adresse de retour (return_url)", "the return address (return_url)"),
    "N1": ("l'adresse de notification (notification_url)", "the notification address (notification_url)"),
    "S1": ("le mode (mode)", "the mode (mode)"),
}
_REFUSALS: dict[str, Text] = {
    "P3": Text(
        "Ce paiement a déjà été ouvert : il en faut un nouveau.", en="This payment was already opened: make a new one."
    ),
    "P4": Text("Ce paiement a expiré : il en faut un nouveau.", en="This payment has expired: make a new one."),
    "P5": Text("Le résultat de ce paiement n'est pas encore connu.", en="The result of this payment is not known yet."),
}
_MISMATCH = Text(
    "Ce paiement n'est pas celui attendu (régie, mode, montant ou référence).",
    en="This payment is not the expected one (régie, mode, amount or reference).",
)
_NOT_KNOWN_YET, _UNKNOWN = "P5", "P1"

_CLIENT_ERRORS: tuple[ErrorCode | type[RelaisError], ...] = (
    ErrorCode("T1", Misconfigured, "Numéro de client incorrect (T1 à T10 : client ou configuration chez la DGFiP)"),
    ErrorCode("T2", Misconfigured, "Le client n'existe pas chez la DGFiP"),
    ErrorCode("T4", Misconfigured, "Le client n'est pas ouvert au mode sécurisé"),
    UpstreamUnavailable,
)
_CREATION_ERRORS: tuple[ErrorCode | type[RelaisError], ...] = (
    *(ErrorCode(code, InvalidInput, f"{name} {said}") for code, (name, said) in _FIELDS.items()),
    *(ErrorCode(code, Misconfigured, f"PayFiP refuse {french}") for code, (french, _) in _SETTINGS.items()),
    *_CLIENT_ERRORS,
)


def _now() -> datetime:
    return datetime.now(UTC)


class PayFiP(Connector[Settings]):
    """Faire payer une dette en ligne à une régie, par carte ou prélèvement, et suivre le paiement.

    Le paiement créé donne l'adresse d'une page de la DGFiP, à ouvrir une seule fois et dans les 15 minutes. Son état
    se lit avec `payments/{idop}` ; la notification de PayFiP ne fait que hâter cette lecture.
    """

    name, title, category = "payfip", "PayFiP", "Paiement"
    confidence = Text(
        "Statut HTTP des erreurs et codes A1, D1, M*, N1, S1, T* : d'après des intégrateurs, non vérifiés.",
        en="HTTP status of faults and codes A1, D1, M*, N1, S1, T*: from integrators, not verified.",
    )

    def __init__(self, settings: Settings, http: Http, *, now: Callable[[], datetime] = _now) -> None:
        super().__init__(settings, http)
        self.now = now
        self._payfip = Soap(http, wsdl=self.file("payfip.wsdl"), address=settings.url, faults=_error)
        self._looked_up: OrderedDict[str, datetime] = OrderedDict()

    @create("payments", delivery="at-least-once", errors=_CREATION_ERRORS)
    async def create_payment(self, payment: PaymentRequest) -> Payment:
        """Créer un paiement et obtenir l'adresse de sa page.

        L'usager doit ouvrir la page dans les 15 minutes, une seule fois. Chaque appel crée un nouveau paiement : avant
        d'en créer un second pour la même dette, lire l'état du premier. Un paiement dont personne ne reçoit l'adresse
        ne peut pas être payé et disparaît la nuit suivante : recommencer après une erreur est donc sans danger.

        English:
        Create a payment and get the address of its page. The payer must open it within 15 minutes, once. A payment
        whose address nobody received cannot be paid and vanishes the next night, so trying again is harmless.
        """
        created = self.now().replace(microsecond=0)
        idop = await self._payfip.call(
            "creerPaiementSecurise",
            arg0={
                "exer": str(payment.year or created.astimezone(PARIS).year),
                "mel": payment.email,
                "montant": str(int(payment.amount.scaleb(2))),
                "numcli": self.settings.client_number,
                "objet": plain_text(payment.subject) or None,
                "refdet": payment.reference,
                "saisie": self.settings.mode,
                "urlnotif": self._address("notification_url", payment),
                "urlredirect": self._address("return_url", payment),
            },
        )
        idop = str(idop or "").strip()
        if not re.fullmatch(IDOP, idop):
            raise _invalid("creerPaiementSecurise without a usable idOp")
        return Payment(
            id=idop,
            url=f"{self.settings.page_url}?{urlencode({'idop': idop})}",
            open_before=(created + OPENING_WINDOW).astimezone(PARIS),
        )

    @get("payments/{idop}", errors=(Rejected, *_CLIENT_ERRORS))
    async def payment(
        self,
        idop: Annotated[str, Field(pattern=IDOP, description="Identifiant du paiement", examples=[EXAMPLE])],
        amount: Annotated[Decimal | None, Field(description="Montant attendu, en euros : refus s'il diffère")] = None,
        reference: Annotated[str, Field(description="Référence attendue : refus si elle diffère")] = "",
    ) -> PaymentProgress:
        """Lire l'état d'un paiement.

        Seule cette lecture fait foi. Un abandon reste « en attente » deux minutes, le temps d'un retour de l'usager.
        « expired » : jamais payé, et oublié de PayFiP (ou identifiant inconnu).

        English:
        The state of a payment; only this reading proves it. An abandon stays pending for two minutes. `expired`: never
        paid and forgotten by PayFiP, or an unknown identifier.
        """
        test = self.settings.mode != "W"
        try:
            found = await self._payfip.call("recupererDetailPaiementSecurise", arg0={"idOp": idop})
        except RelaisError as error:
            if error.code == _NOT_KNOWN_YET:
                return PaymentProgress(id=idop, status="pending", text=_PENDING, final=False, test=test)
            if error.code == _UNKNOWN:
                return PaymentProgress(id=idop, status="expired", text=_EXPIRED, final=True, test=test)
            raise
        if _text(found, "idOp").lower() != idop.lower():
            raise _invalid("recupererDetailPaiementSecurise about another idOp")
        progress = self._progress(idop, found, test)
        ours = (_text(found, "numcli"), _text(found, "saisie")) == (self.settings.client_number, self.settings.mode)
        if not ours or amount not in (None, progress.amount) or reference not in ("", progress.reference):
            raise Rejected(_MISMATCH, code="mismatch")
        return progress

    @get("client", cache=HOUR, errors=_CLIENT_ERRORS)
    async def client(self) -> Client:
        """Lire les libellés de la régie chez la DGFiP.

        English:
        The régie's labels, as the DGFiP knows them.
        """
        found = await self._payfip.call("recupererDetailClient", arg0={"numCli": self.settings.client_number})
        labels = [label for name in ("libelleN1", "libelleN2", "libelleN3") if (label := _text(found, name))]
        return Client(number=_text(found, "numcli"), name=labels[0] if labels else "", labels=labels)

    @callback("notification")
    async def notification(self, notification: Notification) -> None:
        """Recevoir de PayFiP l'annonce qu'un paiement est terminé.

        Elle n'est pas signée et ne prouve rien : l'état du paiement est relu chez PayFiP.

        English:
        PayFiP tells that a payment has ended. Unsigned, it proves nothing: the payment is looked up.
        """
        idop = notification.idop.lower()
        call = current_call()
        call.notes["idop"] = idop
        if self._just_looked_up(idop):
            call.notes["payment"] = "repeated"
            return
        call.deadline = min(call.deadline, call.clock() + PATIENCE)
        try:
            call.notes["payment"] = (await self.payment(idop)).status
        except RelaisError as error:
            # PayFiP can do nothing about it, and the payment is read again by whoever follows it.
            call.notes["payment"] = type(error).__name__

    async def check(self) -> None:
        """The régie exists at the DGFiP."""
        await self.client()

    def _address(self, name: str, payment: PaymentRequest) -> str:
        given: str = getattr(payment, name) or getattr(self.settings, name)
        if not given:
            raise InvalidInput(
                Text(
                    f"« {name} » manque dans l'appel et dans le paramétrage.",
                    en=f'"{name}" is missing from the call and from the settings.',
                ),
                fields={name: [Text("est obligatoire", en="is required")]},
            )
        return given

    def _progress(self, idop: str, found: Any, test: bool) -> PaymentProgress:
        result: Any = _text(found, "resultrans")
        if result not in _RESULTS:
            raise _invalid("recupererDetailPaiementSecurise with an undocumented resultrans")
        cents = _text(found, "montant")
        if not re.fullmatch(r"[0-9]{1,9}", cents):
            raise _invalid("recupererDetailPaiementSecurise with an amount that is not cents")
        status, means, text = _RESULTS[result]
        ended = _paris_time(_text(found, "dattrans"), _text(found, "heurtrans"))
        if result == "A" and ended is not None and self.now() < ended + SECOND_THOUGHTS:
            status, text = "pending", _PENDING
        return PaymentProgress(
            id=idop,
            status=status,
            text=text,
            final=status != "pending",
            updated=ended,
            result=result,
            means=means,
            amount=Decimal(cents).scaleb(-2),
            reference=_text(found, "refdet"),
            subject=_text(found, "objet"),
            authorisation=_text(found, "numauto"),
            test=test,
        )

    def _just_looked_up(self, idop: str) -> bool:
        now = self.now()
        before = self._looked_up.get(idop)
        if before is not None and now - before < QUIET:
            return True
        self._looked_up[idop] = now
        self._looked_up.move_to_end(idop)
        if len(self._looked_up) > REMEMBERED:
            self._looked_up.popitem(last=False)
        return False


def plain_text(text: str) -> str:
    """The text with what PayFiP takes in a subject: letters without accents, digits, single spaces, 100 at most."""
    text = text.replace("œ", "oe").replace("Œ", "OE").replace("æ", "ae").replace("Æ", "AE").replace("ß", "ss")
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^A-Za-z0-9]", " ", letters).split())[:100].rstrip()


def _text(record: Any, name: str) -> str:
    """A field of an answer: recorded answers have white space around values, and leave absent ones out."""
    return str((record or {}).get(name) or "").strip()


def _paris_time(date: str, time: str) -> datetime | None:
    try:
        return datetime.strptime(f"{date} {time}", "%d%m%Y %H%M").replace(tzinfo=PARIS)
    except ValueError:
        return None


def _invalid(detail: str) -> UpstreamInvalid:
    return UpstreamInvalid(
        Text("PayFiP a répondu hors de son contrat.", en="PayFiP answered outside its contract."), detail=detail
    )


def _error(fault: SoapFault) -> RelaisError | None:
    """A fault of PayFiP as one of the six errors: a declared refusal, so nothing was created."""
    code = fault.code
    if fault.type.startswith("Tech"):
        return UpstreamUnavailable(
            Text("PayFiP est momentanément indisponible.", en="PayFiP is temporarily unavailable."),
            detail=f"{fault.type} {code}",
            code=code,
            retry_after=AFTER_TECHNICAL_ERROR,
            processed=True,
        )
    if fault.type != "FonctionnelleErreur":
        return None
    if code in _FIELDS:
        name, said = _FIELDS[code]
        message = Text(f"« {name} » {said}.", en=f'"{name}" {said.en}.')
        return InvalidInput(message, fields={name: [said]}, code=code)
    if code in _SETTINGS:
        french, english = _SETTINGS[code]
        return Misconfigured(
            Text(f"PayFiP refuse {french}.", en=f"PayFiP refuses {english}."), code=code, processed=True
        )
    if re.fullmatch(r"T[0-9]{1,2}", code):
        return Misconfigured(
            Text(
                "PayFiP refuse ce client : numéro ou ouverture du service à vérifier auprès de la DGFiP.",
                en="PayFiP refuses this client: check its number and its opening with the DGFiP.",
            ),
            code=code,
            processed=True,
        )
    if code == _UNKNOWN:
        return NotFound(_EXPIRED, code=code)
    if code in _REFUSALS:
        return Rejected(_REFUSALS[code], code=code)
    return None
