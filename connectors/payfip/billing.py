"""The billing view: the debts of a régie, as Publik's portal reads invoices.

PayFiP keeps no list of debts: they come from the town's billing software, as a table. A debt is paid when the table
says so, or when a payment of this instance is. Amounts are exact decimals in euros.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

from sdk import Field, File, Http, HttpUrl, Invoice, Misconfigured, Model, NotFound, Text
from sdk.tabular import Table, TableOptions, UrlSource

REFERENCE = r"^[A-Za-z0-9]{6,30}$"
LEAST, MOST = Decimal(1), Decimal(100_000)
"""What PayFiP takes, in euros."""
_COLUMNS = ("reference", "label", "amount", "total_amount", "created", "pay_limit", "paid", "blocked")
"""The settings that name what is read of a row."""
UNKNOWN_INVOICE = Text("Facture inconnue.", en="Unknown invoice.")


class Debts(Model):
    """Les dettes de la régie, exportées par le logiciel de facturation. Chaque nom est celui d'une colonne."""

    file: Path | None = Field(default=None, description="Chemin de la table (CSV, XLSX, ODS), relatif à relais.toml")
    url: HttpUrl | None = Field(default=None, description="Adresse de la table, relue tous les quarts d'heure")
    reference: str = Field(default="reference", description="Référence de la dette, celle que reçoit PayFiP")
    name_id: str = Field(default="name_id", description="Identifiant du redevable dans Publik (NameID)")
    label: str = Field(default="label", description="Libellé montré à l'usager")
    amount: str = Field(default="amount", description="Ce qui reste dû, en euros : `31,50` ou `31.50`")
    total_amount: str = Field(default="", description="Montant de la facture ; celui qui reste dû sans cette colonne")
    created: str = Field(default="created", description="Date de la facture : jj/mm/aaaa ou aaaa-mm-jj")
    pay_limit: str = Field(default="", description="Date après laquelle elle ne se paie plus en ligne")
    paid: str = Field(default="", description="Date de son paiement ; vide tant qu'elle n'est pas payée")
    blocked: str = Field(
        default="", description="Pourquoi elle ne se paie pas en ligne : `autobilling`, `litigation` ; vide sinon"
    )
    pdf: Path | None = Field(default=None, description="Dossier des factures, une par fichier `<référence>.pdf`")
    other_payments: bool = Field(
        default=False,
        description="Croire Publik quand il annonce un paiement fait ailleurs que chez PayFiP (sans idOp)",
    )


class Bills:
    """The debts of one instance. `today` is the day in Paris."""

    def __init__(self, debts: Debts, http: Http, today: Callable[[], date]) -> None:
        if (debts.file is None) == (debts.url is None):
            raise Misconfigured(
                Text("debts : donner « file » ou « url », un seul.", en='debts: give "file" or "url", one of them.')
            )
        self._debts, self._today = debts, today
        self._columns = {name: column for name in _COLUMNS if (column := getattr(debts, name))}
        dates = [name for name in (debts.created, debts.pay_limit, debts.paid) if name]
        amounts = [name for name in (debts.amount, debts.total_amount) if name]
        self.table = Table(
            debts.file if debts.file is not None else UrlSource(http, str(debts.url)),
            folder=http.folder / "debts",
            options=TableOptions(types={**dict.fromkeys(dates, "date"), **dict.fromkeys(amounts, "decimal")}),
            id=debts.reference,
            index=(debts.reference, debts.name_id),
            setting="debts.file" if debts.file is not None else "debts.url",
        )

    async def check(self) -> None:
        """The table can be read and has the columns of the settings. Raises `Misconfigured`."""
        await self.table.refresh()
        await self.table.verify([*self._columns.values(), self._debts.name_id], setting="debts")

    async def of(self, name_id: str) -> list[Invoice]:
        """The payer's invoices as the table tells them, the oldest first; none for nobody."""
        if not name_id:
            return []
        return await self._found({self._debts.name_id: name_id})

    async def one(self, reference: str, name_id: str = "") -> Invoice:
        """The invoice of that reference; of that payer only, where one is given. Raises `NotFound`."""
        of_payer = {self._debts.name_id: name_id} if name_id else {}
        found = await self._found({self._debts.reference: reference, **of_payer})
        if not found:
            raise NotFound(UNKNOWN_INVOICE)
        return found[0]

    async def pdf(self, invoice: Invoice) -> File:
        """The invoice itself. Raises `NotFound`."""
        path = self._pdf(invoice.id)
        if path is None:
            raise NotFound(Text("Cette facture n'a pas de PDF.", en="This invoice has no PDF."))
        return File(filename=f"facture-{invoice.id}.pdf", content=await asyncio.to_thread(path.read_bytes))

    async def _found(self, where: Mapping[str, str]) -> list[Invoice]:
        rows = await self.table.rows(where=where, columns=self._columns, order=(self._debts.created,))
        return [self._invoice(row) for row in rows]

    def _pdf(self, reference: str) -> Path | None:
        if self._debts.pdf is None or not re.fullmatch(REFERENCE, reference):
            return None  # letters and digits name no other folder
        path = self._debts.pdf / f"{reference}.pdf"
        return path if path.is_file() else None

    def _invoice(self, row: Mapping[str, str]) -> Invoice:
        for name in ("amount", "created"):
            if not row[name]:
                column = self._columns[name]
                raise Misconfigured(
                    Text(
                        f"debts : la facture {row['reference']} n'a rien dans la colonne « {column} ».",
                        en=f'debts: invoice {row["reference"]} has nothing in the column "{column}".',
                    )
                )
        reference, amount = row["reference"], Decimal(row["amount"])
        paid, limit = row.get("paid", ""), row.get("pay_limit", "")
        reason = None
        if not paid:
            reason = row.get("blocked") or self._obstacle(reference, amount, limit)
        return Invoice(
            id=reference,
            display_id=reference,
            label=row["label"],
            amount=Decimal(0) if paid else amount,
            total_amount=Decimal(row.get("total_amount") or amount),
            created=date.fromisoformat(row["created"]),
            pay_limit_date=date.fromisoformat(limit) if limit and not paid else "",
            paid=bool(paid),
            payment_date=date.fromisoformat(paid) if paid else None,
            online_payment=not paid and reason is None,
            no_online_payment_reason=reason,
            has_pdf=self._pdf(reference) is not None,
        )

    def _obstacle(self, reference: str, amount: Decimal, limit: str) -> str | None:
        """Why PayFiP would not take it, in the words Publik's portal knows."""
        if limit and date.fromisoformat(limit) < self._today():
            return "past-due-date"
        if not LEAST <= amount <= MOST:
            return "amount-to-low" if amount < LEAST else "amount-to-high"
        return None if re.fullmatch(REFERENCE, reference) else "no-payment-system-configured"


def settled(invoice: Invoice, on: date) -> Invoice:
    """The invoice once paid."""
    return invoice.model_copy(
        update={
            "amount": Decimal(0),
            "pay_limit_date": "",
            "paid": True,
            "payment_date": on,
            "online_payment": False,
            "no_online_payment_reason": None,
        }
    )
