"""PUB-BILL: a billing software (régie), as the portal reads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Billing
from contract_tests.text import Text

from .values import amount, identifier, iso_date, shown

_MEMBERS = (
    "id",
    "display_id",
    "label",
    "amount",
    "total_amount",
    "created",
    "pay_limit_date",
    "paid",
    "online_payment",
)
_LISTS = ("invoices/", "invoices/history/")


async def _invoices(case: Case, endpoint: Billing) -> list[tuple[Answer, dict[str, Any]]]:
    """Every listed invoice. Raises `Skipped` when there is none."""
    found = []
    for rest in _LISTS:
        answer = await case.ask(endpoint.operation(rest))
        found += [(answer, one) for one in case.rows(answer) if isinstance(one, dict)]
    if not found:
        raise Skipped(
            Text("ce débiteur n'a aucune facture : en choisir un autre (name_id)", "no invoice: choose another name_id")
        )
    return found


async def _payable(case: Case, endpoint: Billing) -> dict[str, Any]:
    answer = await case.ask(endpoint.operation("invoices/"))
    usable = [one for one in case.rows(answer) if isinstance(one, dict) and identifier(one.get("id"))]
    if not usable:
        raise Skipped(Text("aucune facture à payer", "no invoice to pay"), answer)
    return dict(usable[0])


def _detail(invoice: dict[str, Any], rest: str = "") -> str:
    return f"invoice/{quote(str(invoice['id']), safe='')}/{rest}"


@check(
    "PUB-BILL-1",
    title=Text("Les factures sont des listes", "Invoices are lists"),
    consequence=Text("L'usager ne voit aucune facture.", "The user sees no invoice."),
    remedy=Text("Répondre une liste aux deux opérations.", "Answer a list to both operations."),
)
async def invoices_are_lists(case: Case, endpoint: Billing) -> None:
    for rest in _LISTS:
        answer = await case.ask(endpoint.operation(rest))
        data = case.data(answer)
        good = isinstance(data, list) and all(isinstance(one, dict) for one in data)
        expect(good, f"{rest} : « data » vaut {shown(data)}", f"{rest}: “data” is {shown(data)}", answer)


@check(
    "PUB-BILL-2",
    title=Text("Une facture a tous ses membres", "An invoice has all its members"),
    consequence=Text(
        "La facture s'affiche incomplète, ou pas du tout.", "The invoice shows incomplete, or not at all."
    ),
    remedy=Text("Ajouter les membres absents.", "Add the missing members."),
)
async def invoices_are_whole(case: Case, endpoint: Billing) -> None:
    for answer, invoice in await _invoices(case, endpoint):
        absent = [name for name in _MEMBERS if name not in invoice]
        absent += ["id"] if "id" in invoice and not identifier(invoice["id"]) else []
        expect(not absent, f"absents : {', '.join(absent)}", f"missing: {', '.join(absent)}", answer)


@check(
    "PUB-BILL-3",
    title=Text("Les montants sont lisibles", "Amounts can be read"),
    consequence=Text("Le paiement est impossible, ou porte sur un faux montant.", "Payment is impossible, or wrong."),
    remedy=Text("Écrire 31.50, sans espace, virgule ni symbole.", "Write 31.50, no space, comma or symbol."),
)
async def amounts_can_be_read(case: Case, endpoint: Billing) -> None:
    for answer, invoice in await _invoices(case, endpoint):
        for name in ("amount", "total_amount"):
            value = invoice.get(name, 0)
            expect(amount(value), f"« {name} » vaut {shown(value)}", f"“{name}” is {shown(value)}", answer)


@check(
    "PUB-BILL-4",
    title=Text("Les dates sont ISO", "Dates are ISO"),
    consequence=Text("La date limite est fausse ou absente.", "The limit date is wrong or absent."),
    remedy=Text("Écrire 2025-04-30.", "Write 2025-04-30."),
)
async def dates_are_iso(case: Case, endpoint: Billing) -> None:
    for answer, invoice in await _invoices(case, endpoint):
        for name in ("created", "pay_limit_date"):
            value = invoice.get(name, "")
            good = iso_date(value) or (value == "" and (name == "pay_limit_date" or name not in invoice))
            expect(good, f"« {name} » vaut {shown(value)}", f"“{name}” is {shown(value)}", answer)


@check(
    "PUB-BILL-5",
    title=Text("Les oui et non sont des booléens", "Yes and no are booleans"),
    consequence=Text(
        'Le texte "false" est tenu pour vrai : un bouton de paiement s\'affiche à tort.',
        'The text "false" counts as true: a pay button shows wrongly.',
    ),
    remedy=Text("Écrire true ou false, sans guillemets.", "Write true or false, without quotes."),
)
async def flags_are_booleans(case: Case, endpoint: Billing) -> None:
    for answer, invoice in await _invoices(case, endpoint):
        for name in ("paid", "online_payment", "has_pdf"):
            value = invoice.get(name, False)
            good = isinstance(value, bool)
            expect(good, f"« {name} » vaut {shown(value)}", f"“{name}” is {shown(value)}", answer)


@check(
    "PUB-BILL-6",
    title=Text("Le détail est celui de la facture", "The detail is that of the invoice"),
    consequence=Text(
        "L'usager ouvre une facture et en voit une autre.", "The user opens one invoice and sees another."
    ),
    remedy=Text("Rendre la facture de cet identifiant.", "Give the invoice of that identifier."),
)
async def detail_is_that_of_the_invoice(case: Case, endpoint: Billing) -> None:
    invoice = await _payable(case, endpoint)
    answer = await case.ask(endpoint.operation(_detail(invoice)))
    found = (answer.envelope or {}).get("data")
    value = found.get("id") if isinstance(found, dict) else None
    expect(
        answer.favourable and str(value) == str(invoice["id"]),
        f"HTTP {answer.status}, id {shown(value)} au lieu de {shown(invoice['id'])}",
        f"HTTP {answer.status}, id {shown(value)} instead of {shown(invoice['id'])}",
        answer,
    )


@check(
    "PUB-BILL-7",
    title=Text("Le PDF est un PDF", "The PDF is a PDF"),
    consequence=Text("L'usager ne peut pas lire sa facture.", "The user cannot read the invoice."),
    remedy=Text("Répondre le fichier avec Content-Type: application/pdf.", "Answer it as application/pdf."),
)
async def pdf_is_a_pdf(case: Case, endpoint: Billing) -> None:
    listed = [one for _, one in await _invoices(case, endpoint) if one.get("has_pdf") is True and one.get("id")]
    if not listed:
        raise Omitted(Text("aucune facture n'annonce de PDF", "no invoice announces a PDF"))
    answer = await case.ask(endpoint.operation(_detail(listed[0], "pdf/")))
    expect(
        answer.success and answer.content_type == "application/pdf" and answer.body.startswith(b"%PDF"),
        f"HTTP {answer.status}, {answer.content_type or 'sans type'}",
        f"HTTP {answer.status}, {answer.content_type or 'no type'}",
        answer,
    )


@check(
    "PUB-BILL-8",
    feature="other",
    title=Text("La facture d'un autre n'est pas montrée", "Someone else's invoice is not shown"),
    consequence=Text(
        "En changeant un numéro, un usager lit la facture de son voisin.",
        "By changing a number, a user reads a neighbour's invoice.",
    ),
    remedy=Text(
        "Vérifier que la facture est celle de NameID, sinon 404.", "Verify that the invoice is NameID's, else 404."
    ),
)
async def others_see_nothing(case: Case, endpoint: Billing) -> None:
    invoice = await _payable(case, endpoint)
    for rest in ("", "pdf/"):
        answer = await case.ask(endpoint.operation(_detail(invoice, rest), endpoint.other_name_id))
        data = (answer.envelope or {}).get("data")
        expect(
            answer.failure or (answer.favourable and answer.envelope is not None and not data),
            f"HTTP {answer.status} : la facture {shown(invoice['id'])} est montrée à un autre",
            f"HTTP {answer.status}: invoice {shown(invoice['id'])} is shown to someone else",
            answer,
        )


@check(
    "PUB-BILL-9",
    title=Text("Un inconnu n'a pas de facture", "A stranger has no invoice"),
    consequence=Text("Un visiteur voit les factures de tous.", "A visitor sees everybody's invoices."),
    remedy=Text("Répondre une liste vide ou un échec.", "Answer an empty list or a failure."),
)
async def strangers_have_no_invoice(case: Case, endpoint: Billing) -> None:
    await _invoices(case, endpoint)
    for name in (case.nonsense("name"), ""):
        answer = await case.ask(endpoint.operation("invoices/", name))
        data = (answer.envelope or {}).get("data")
        expect(
            answer.failure or data in ([], None),
            f"NameID={name or '(vide)'} : {shown(data)}",
            f"NameID={name or '(empty)'}: {shown(data)}",
            answer,
        )


@check(
    "PUB-BILL-10",
    writes=True,
    feature="notice",
    title=Text("L'avis de paiement peut être répété", "The payment notice may be repeated"),
    consequence=Text(
        "Un paiement est compté deux fois, ou l'avis échoue sans fin.",
        "A payment counts twice, or the notice fails forever.",
    ),
    remedy=Text(
        "Reconnaître transaction_id, et répondre comme la première fois.", "Recognise transaction_id, answer the same."
    ),
)
async def payment_notice_may_be_repeated(case: Case, endpoint: Billing) -> None:
    paid = await _pay(case, endpoint)
    for answer in paid:
        said = shown((answer.envelope or {}).get("err"))
        expect(answer.favourable, f"HTTP {answer.status}, err {said}", f"HTTP {answer.status}, err {said}", answer)


async def _pay(case: Case, endpoint: Billing) -> list[Answer]:
    invoice = await _payable(case, endpoint)
    notice = {
        "transaction_id": case.nonsense("transaction"),
        "transaction_date": "2025-04-02T10:00:00",
        "order_id": case.nonsense("order"),
        "bank_transaction_id": case.nonsense("bank"),
        "bank_transaction_date": "2025-04-02T10:00:00",
        "bank_data": {},
        "amount": str(invoice.get("amount", "")),
    }
    call = endpoint.pay(str(invoice["id"]), notice)
    first = await case.ask(call)
    second = await case.ask(call, headers=(("X-Repetition", "1"),))  # asked once per run, like the first
    return [first, second]


@check(
    "PUB-BILL-11",
    writes=True,
    feature="notice",
    title=Text("Une facture payée n'est plus à payer", "A paid invoice is no longer to pay"),
    consequence=Text("L'usager paie deux fois.", "The user pays twice."),
    remedy=Text("Passer la facture dans l'historique.", "Move the invoice to the history."),
)
async def paid_invoices_leave_the_list(case: Case, endpoint: Billing) -> None:
    invoice = await _payable(case, endpoint)
    paid = await _pay(case, endpoint)
    case.document(paid[0])
    answer = await case.ask(endpoint.operation("invoices/"), fresh=True)
    left = [one.get("id") for one in case.rows(answer) if isinstance(one, dict) and one.get("paid") is not True]
    expect(
        invoice["id"] not in left,
        f"la facture {shown(invoice['id'])} est encore à payer",
        f"invoice {shown(invoice['id'])} is still to pay",
        answer,
    )


@check(
    "PUB-BILL-12",
    title=Text("Une facture inconnue est un échec clair", "An unknown invoice is a clear failure"),
    consequence=Text("L'usager voit une page d'erreur.", "The user sees an error page."),
    remedy=Text("Répondre 404, ou err 1.", "Answer 404, or err 1."),
)
async def unknown_invoice_is_a_failure(case: Case, endpoint: Billing) -> None:
    for call in endpoint.wrongs(writes=False):
        answer = await case.ask(call)
        if not answer.complete:
            raise Skipped(Text("aucune réponse entière", "no whole answer"), answer)
        expect(answer.failure and answer.status < 500, f"HTTP {answer.status}", f"HTTP {answer.status}", answer)
