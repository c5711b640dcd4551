"""PayFiP: payments to a public cashier (régie), by card or direct debit, on the DGFiP's payment page.

The publisher is the truth: a payment is what `recupererDetailPaiementSecurise` says, never what a notification or a
browser says. Amounts are exact decimals in euros here and integer cents on the wire; times are Europe/Paris.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from sdk import (
    HOUR,
    MINUTE,
    Connector,
    Field,
    File,
    Http,
    InvalidInput,
    Invoice,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    RelaisError,
    Soap,
    Text,
    UpstreamInvalid,
    callback,
    create,
    current_call,
    every,
    get,
)

from .billing import UNKNOWN_INVOICE, Bills, settled
from .models import (
    EXAMPLE,
    IDOP,
    Client,
    Notification,
    Payment,
    PaymentNotice,
    PaymentProgress,
    PaymentRequest,
    Settings,
)
from .refusals import (
    ALREADY_PAID,
    CLIENT_ERRORS,
    CREATION_ERRORS,
    EXPIRED,
    MISMATCH,
    NOT_KNOWN_YET,
    NOT_PAID,
    PAID_ELSEWHERE,
    UNDER_WAY,
    UNKNOWN,
    refusal,
)

PARIS = ZoneInfo("Europe/Paris")
OPENING_WINDOW = timedelta(minutes=15)
SECOND_THOUGHTS = timedelta(minutes=2)
"""How long an abandon may still turn into a payment."""

_RESULTS: dict[str, tuple[Any, Any, Text]] = {
    "P": ("paid", "card", Text("Payé par carte bancaire", en="Paid by card")),
    "V": ("paid", "direct-debit", Text("Payé par prélèvement", en="Paid by direct debit")),
    "R": ("refused", "card", Text("Paiement par carte refusé", en="Card refused")),
    "Z": ("refused", "direct-debit", Text("Prélèvement refusé", en="Direct debit refused")),
    "A": ("abandoned", "", Text("Paiement abandonné", en="Abandoned")),
}
_PENDING = Text("Paiement en attente", en="Pending")


PayerID = Annotated[str, Field(description="Identifiant du redevable dans Publik", examples=["jeanne"])]
InvoiceReference = Annotated[str, Field(description="Référence de la facture", examples=["FACT2025000117"])]


def is_idop(name: str) -> bool:
    """Whether it is the name of a payment at PayFiP."""
    return re.fullmatch(IDOP, name) is not None


def _now() -> datetime:
    return datetime.now(UTC)


class PayFiP(Connector[Settings]):
    """Faire payer une dette en ligne à une régie, par carte ou prélèvement, et suivre le paiement.

    Le paiement créé donne l'adresse d'une page de la DGFiP, à ouvrir une seule fois et dans les 15 minutes. Son état
    se lit avec `payments/{idop}` ; la notification de PayFiP ne fait que hâter cette lecture.

    English:
    Have a debt paid online to a public cashier, by card or direct debit, and follow the payment. A payment gives the
    address of a page of the DGFiP, to be opened once and within 15 minutes. Its state is read with `payments/{idop}`;
    PayFiP's notification only hastens that reading.
    """

    name, title, category = "payfip", "PayFiP", "Paiement"
    confidence = Text(
        "Statut HTTP des erreurs et codes A1, D1, M*, N1, S1, T* : d'après des intégrateurs, non vérifiés.",
        en="HTTP status of faults and codes A1, D1, M*, N1, S1, T*: from integrators, not verified.",
    )

    def __init__(self, settings: Settings, http: Http, *, now: Callable[[], datetime] = _now) -> None:
        super().__init__(settings, http)
        self.now = now
        self._payfip = Soap(
            http,
            wsdl=self.file("payfip.wsdl"),
            address=settings.url,
            faults=refusal,
            repeatable=("recupererDetailPaiementSecurise", "recupererDetailClient"),
        )
        self._bills = Bills(settings.debts, http, self._today) if settings.debts is not None else None

    # --- payments -----------------------------------------------------------------------------------------------------

    @create(
        "payments",
        delivery="at-least-once",
        follow="payment",
        subject=("reference",),
        unique_forms=False,  # who abandoned must be able to pay: the subject, not the form, tells two payments apart
        errors=(Rejected, *CREATION_ERRORS),
    )
    async def create_payment(self, payment: PaymentRequest) -> Payment:
        """Créer un paiement et obtenir l'adresse de sa page.

        L'usager doit ouvrir la page dans les 15 minutes, une seule fois. Une dette n'a jamais deux paiements en cours :
        le même est rendu tant que sa page peut encore s'ouvrir, puis un second est refusé (`err_code: under-way`)
        jusqu'à ce que PayFiP dise ce que le premier est devenu ; une dette payée ne se paie plus (`already-paid`). La
        passerelle suit le paiement par elle-même et prévient l'appelant de chaque changement d'état.

        Un paiement dont personne ne reçoit l'adresse ne peut pas être payé et disparaît la nuit suivante : recommencer
        après une erreur est donc sans danger.

        English:
        Create a payment and get the address of its page. The payer must open it within 15 minutes, once. A debt never
        has two payments under way: the same one is given again while its page can still be opened, then a second one
        is refused until PayFiP tells what became of the first; a paid debt is not paid again. The gateway follows the
        payment and tells the caller of each change.
        """
        if (open_one := await self._still_open(payment)) is not None:
            return open_one
        created = self.now()
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
        if not is_idop(idop):
            raise _invalid("creerPaiementSecurise without a usable idOp")
        return self._payment(idop, created)

    @get("payments/{idop}", errors=(Rejected, *CLIENT_ERRORS))
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
            if error.code == NOT_KNOWN_YET:
                return PaymentProgress(id=idop, status="pending", text=_PENDING, final=False, test=test)
            if error.code == UNKNOWN:
                return PaymentProgress(id=idop, status="expired", text=EXPIRED, final=True, void=True, test=test)
            raise
        if _text(found, "idOp").lower() != idop.lower():
            raise _invalid("recupererDetailPaiementSecurise about another idOp")
        progress = self._progress(idop, found, test)
        ours = (_text(found, "numcli"), _text(found, "saisie")) == (self.settings.client_number, self.settings.mode)
        if not ours or amount not in (None, progress.amount) or reference not in ("", progress.reference):
            raise Rejected(MISMATCH, code="mismatch")
        return progress

    @get("client", cache=HOUR, errors=CLIENT_ERRORS)
    async def client(self) -> Client:
        """Lire les libellés de la régie chez la DGFiP.

        English:
        The régie's labels, as the DGFiP knows them.
        """
        found = await self._payfip.call("recupererDetailClient", arg0={"numCli": self.settings.client_number})
        labels = [label for name in ("libelleN1", "libelleN2", "libelleN3") if (label := _text(found, name))]
        return Client(number=_text(found, "numcli"), name=labels[0] if labels else "", labels=labels)

    @callback("notification", looks="create_payment")
    async def notification(self, notification: Notification) -> list[str]:
        """Recevoir de PayFiP l'annonce qu'un paiement est terminé.

        Elle n'est pas signée et ne prouve rien : l'état du paiement est relu chez PayFiP.

        English:
        PayFiP tells that a payment has ended. Unsigned, it proves nothing: the payment is looked up.
        """
        return list({notification.idop, notification.idop.lower()})

    # --- the billing view ---------------------------------------------------------------------------------------------

    @get
    async def invoices(self, NameID: PayerID) -> list[Invoice]:
        """Les factures à payer d'un redevable.

        Demande le réglage `debts` : la table des dettes de la régie, exportée par le logiciel de facturation.

        English:
        A payer's invoices to pay. Needs the setting `debts`: the table of the régie's debts.
        """
        return [one for one in await self._invoices(NameID) if not one.paid]

    @get("invoices/history")
    async def history(self, NameID: PayerID) -> list[Invoice]:
        """Les factures payées d'un redevable.

        English:
        A payer's paid invoices.
        """
        return [one for one in await self._invoices(NameID) if one.paid]

    @get("invoice/{reference}")
    async def invoice(self, reference: InvoiceReference, NameID: PayerID) -> Invoice:
        """Une facture de ce redevable.

        English:
        One invoice of this payer.
        """
        return await self._invoice(reference, NameID)

    @get("invoice/{reference}/pdf")
    async def invoice_pdf(self, reference: InvoiceReference, NameID: PayerID) -> File:
        """Une facture de ce redevable, en PDF.

        English:
        One invoice of this payer, as a PDF.
        """
        return await self._debts().pdf(await self._invoice(reference, NameID))

    @create(
        "invoice/{reference}/pay",
        delivery="idempotent",
        follow="settlement",
        subject=("reference",),
        key=("transaction_id",),
        errors=(Rejected, NotFound, *CLIENT_ERRORS),
    )
    async def pay_invoice(self, reference: InvoiceReference, notice: PaymentNotice) -> Receipt:
        """Apprendre de Publik qu'une facture a été payée.

        Un paiement fait chez PayFiP est relu : il doit être payé, de ce montant, pour cette facture. Un paiement fait
        ailleurs n'est cru qu'avec le réglage `debts.other_payments`.

        English:
        Publik tells that an invoice was paid. A payment made at PayFiP is looked up: it must be paid, of that amount,
        for that invoice. One made elsewhere is believed with the setting `debts.other_payments` only.
        """
        invoice = await self._debts().one(reference)
        idop = next((name for name in (notice.transaction_id, notice.bank_transaction_id) if is_idop(name)), None)
        if idop is None:
            if self.settings.debts is None or not self.settings.debts.other_payments:
                raise Rejected(NOT_PAID, code="not-paid")
            return Receipt(id=notice.transaction_id)
        found = await self.payment(idop, invoice.amount if notice.amount is None else notice.amount, reference)
        if found.status != "paid":
            raise Rejected(NOT_PAID, code="not-paid")
        return Receipt(id=idop)

    @get("settlements/{settlement}", errors=(Rejected, NotFound, *CLIENT_ERRORS))
    async def settlement(self, settlement: str, amount: Decimal | None = None, reference: str = "") -> PaymentProgress:
        """Lire l'état du paiement d'une facture : celui de PayFiP, ou ce que Publik en a dit.

        `reference` est nécessaire pour un paiement fait ailleurs que chez PayFiP.

        English:
        The state of an invoice's payment: PayFiP's, or what Publik said of it (then `reference` is needed).
        """
        if is_idop(settlement):
            return await self.payment(settlement, amount, reference)
        if settlement not in [made.id for made in await current_call().made({"reference": reference})]:
            raise NotFound(EXPIRED)
        test = self.settings.mode != "W"
        return PaymentProgress(id=settlement, status="paid", text=PAID_ELSEWHERE, final=True, test=test)

    @every(15 * MINUTE, at_start=True)
    async def refresh(self) -> None:
        if self._bills is not None:
            await self._bills.table.refresh()

    # --- the régie ----------------------------------------------------------------------------------------------------

    async def check(self) -> None:
        """The régie exists at the DGFiP, and the table of its debts can be read."""
        await self.client()
        if self._bills is not None:
            await self._bills.check()

    async def close(self) -> None:
        if self._bills is not None:
            await self._bills.table.close()

    async def _invoices(self, name_id: str) -> list[Invoice]:
        return [await self._up_to_date(one) for one in await self._debts().of(name_id)]

    async def _invoice(self, reference: str, name_id: str) -> Invoice:
        if not name_id:
            raise NotFound(UNKNOWN_INVOICE)
        return await self._up_to_date(await self._debts().one(reference, name_id))

    async def _up_to_date(self, invoice: Invoice) -> Invoice:
        """The invoice with what was paid since the table was exported."""
        if invoice.paid:
            return invoice
        for made in await current_call().made({"reference": invoice.id}):
            expected = made.expected.get("amount")
            amount = Decimal(expected) if expected else None
            if (made.final and made.void) or (amount is not None and amount < invoice.amount):
                continue  # nothing was paid, or a part only
            if made.final:
                return settled(invoice, datetime.fromtimestamp(made.updated, PARIS).date())
            found = await self.settlement(made.id, amount, invoice.id)
            if found.status == "paid":
                return settled(invoice, (found.updated or self.now()).astimezone(PARIS).date())
        return invoice

    def _debts(self) -> Bills:
        if self._bills is None:
            raise Misconfigured(
                Text(
                    "Le réglage « debts » manque : la table des dettes de la régie.",
                    en='The setting "debts" is missing: the table of the régie\'s debts.',
                )
            )
        return self._bills

    def _today(self) -> date:
        return self.now().astimezone(PARIS).date()

    def _payment(self, idop: str, created: datetime) -> Payment:
        return Payment(
            id=idop,
            url=f"{self.settings.page_url}?{urlencode({'idop': idop})}",
            open_before=(created.replace(microsecond=0) + OPENING_WINDOW).astimezone(PARIS),
        )

    async def _still_open(self, payment: PaymentRequest) -> Payment | None:
        """The payment under way for this debt, while its page can be opened. Raises `Rejected` where a second one could
        make the citizen pay twice; None when nothing stands in the way.
        """
        again = None
        for made in await current_call().made({"reference": payment.reference}):
            if made.final and made.void:
                continue
            earlier = await self.settlement(made.id, reference=payment.reference)
            if earlier.status == "paid":
                raise Rejected(ALREADY_PAID, code="already-paid")
            if earlier.final:
                continue
            created = datetime.fromtimestamp(made.created, UTC)
            age = self.now() - created
            if age < OPENING_WINDOW and Decimal(made.expected.get("amount", 0)) == payment.amount:
                again = self._payment(made.id, created)
            elif self.settings.second_attempt is None or age < timedelta(minutes=self.settings.second_attempt):
                raise Rejected(UNDER_WAY, code="under-way")
        return again

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
            void=status in ("refused", "abandoned"),
            updated=ended,
            result=result,
            means=means,
            amount=Decimal(cents).scaleb(-2),
            reference=_text(found, "refdet"),
            subject=_text(found, "objet"),
            authorisation=_text(found, "numauto"),
            test=test,
        )


def plain_text(text: str) -> str:
    """The text with what PayFiP takes in a subject: letters without accents, digits, single spaces, 100 at most."""
    text = text.replace("œ", "oe").replace("Œ", "OE").replace("æ", "ae").replace("Æ", "AE").replace("ß", "ss")
    letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^A-Za-z0-9]", " ", letters).split())[:100].rstrip()


def _text(record: Any, name: str) -> str:
    """A field of an answer: recorded answers have white space around values, and leave absent ones out."""
    return str((record or {}).get(name) or "").strip()


def _paris_time(day: str, time: str) -> datetime | None:
    try:
        return datetime.strptime(f"{day} {time}", "%d%m%Y %H%M").replace(tzinfo=PARIS)
    except ValueError:
        return None


def _invalid(detail: str) -> UpstreamInvalid:
    return UpstreamInvalid(
        Text("PayFiP a répondu hors de son contrat.", en="PayFiP answered outside its contract."), detail=detail
    )
