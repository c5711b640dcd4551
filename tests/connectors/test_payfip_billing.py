"""PayFiP's billing view: the debts a town exports, as Publik's portal reads invoices."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.payfip import PayFiP
from sdk.testing import Answer, Instance, instance

DEBTS = """Référence;Usager;Objet;Dû;Émise;Limite;Payée;Blocage
FACT2025000002;jeanne;Cantine mars;31,50;01/04/2025;30/04/2025;;
FACT2025000001;jeanne;Cantine février;12.00;01/03/2025;;15/03/2025;
FACT2025000003;jeanne;Étude;0,40;02/04/2025;;;
FACT2025000004;jeanne;Emprunt;100000,01;03/04/2025;;;
FACT2025000005;jeanne;Crèche;212,40;04/04/2025;;;litigation
FACT2025000006;jeanne;Piscine;8;05/04/2025;10/04/2025;;
FACT-7;jeanne;Musée;8;06/04/2025;;;
FACT2025000008;karim;Conservatoire;95;01/04/2025;;;
"""
COLUMNS = {
    "reference": "reference",
    "name_id": "usager",
    "label": "objet",
    "amount": "du",
    "created": "emise",
    "pay_limit": "limite",
    "paid": "payee",
    "blocked": "blocage",
}
SETTINGS = {"client_number": "012345", "mode": "T"}
JEANNE = {"NameID": "jeanne"}


def billing(folder: Path, table: str = DEBTS, **more: Any) -> Instance[PayFiP]:
    """A régie with these debts, on 14 April 2025."""
    (folder / "dettes.csv").write_text(table, encoding="utf-8")
    debts = {"file": str(folder / "dettes.csv"), "pdf": str(folder), **COLUMNS, **more}
    ready = instance(PayFiP, {**SETTINGS, "debts": debts})
    ready.connector.now = lambda: datetime(2025, 4, 14, 9, 30, tzinfo=UTC)
    return ready


def ids(answer: Answer) -> list[str]:
    return [one["id"] for one in answer.data]


async def test_a_payer_sees_what_remains_to_pay_the_oldest_first(tmp_path: Path) -> None:
    answer = await billing(tmp_path).get("invoices", NameID="jeanne")
    assert ids(answer) == [
        "FACT2025000002",
        "FACT2025000003",
        "FACT2025000004",
        "FACT2025000005",
        "FACT2025000006",
        "FACT-7",
    ]
    assert answer.data[0] == {
        "id": "FACT2025000002",
        "display_id": "FACT2025000002",
        "label": "Cantine mars",
        "amount": "31.50",
        "total_amount": "31.50",
        "created": "2025-04-01",
        "pay_limit_date": "2025-04-30",
        "paid": False,
        "online_payment": True,
        "has_pdf": False,
    }


async def test_a_paid_invoice_is_history_and_owes_nothing(tmp_path: Path) -> None:
    answer = await billing(tmp_path).get("invoices/history", NameID="jeanne")
    assert ids(answer) == ["FACT2025000001"]
    one = answer.data[0]
    assert (one["amount"], one["total_amount"], one["payment_date"]) == ("0", "12.00", "2025-03-15")
    assert (one["paid"], one["online_payment"], one["pay_limit_date"]) == (True, False, "")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("FACT2025000003", "amount-to-low"),
        ("FACT2025000004", "amount-to-high"),
        ("FACT2025000005", "litigation"),
        ("FACT2025000006", "past-due-date"),
        ("FACT-7", "no-payment-system-configured"),
    ],
)
async def test_what_cannot_be_paid_online_says_why_in_the_portals_words(
    reference: str, reason: str, tmp_path: Path
) -> None:
    one = (await billing(tmp_path).get(f"invoice/{reference}", NameID="jeanne")).data
    assert (one["online_payment"], one["no_online_payment_reason"]) == (False, reason)


@pytest.mark.parametrize("name_id", ["", "nobody"])
async def test_a_stranger_has_no_invoice(name_id: str, tmp_path: Path) -> None:
    ready = billing(tmp_path)
    assert ids(await ready.get("invoices", NameID=name_id)) == []
    assert ids(await ready.get("invoices/history", NameID=name_id)) == []


@pytest.mark.parametrize("path", ["invoice/FACT2025000008", "invoice/FACT2025000008/pdf", "invoice/INCONNUE"])
async def test_somebody_elses_invoice_is_not_shown(path: str, tmp_path: Path) -> None:
    (tmp_path / "FACT2025000008.pdf").write_bytes(b"%PDF-1.4 karim")
    ready = billing(tmp_path)
    for name_id in ("jeanne", ""):
        assert (await ready.get(path, NameID=name_id)).err_class == "NotFound"


async def test_an_invoice_is_read_as_a_pdf_where_the_town_gives_it(tmp_path: Path) -> None:
    (tmp_path / "FACT2025000002.pdf").write_bytes(b"%PDF-1.4 jeanne")
    ready = billing(tmp_path)
    assert (await ready.get("invoice/FACT2025000002", NameID="jeanne")).data["has_pdf"] is True
    answer = await ready.get("invoice/FACT2025000002/pdf", NameID="jeanne")
    assert (answer.file.filename, answer.file.content) == ("facture-FACT2025000002.pdf", b"%PDF-1.4 jeanne")
    assert (await ready.get("invoice/FACT2025000003/pdf", NameID="jeanne")).err_class == "NotFound"


async def test_without_a_table_of_debts_the_operator_is_told() -> None:
    answer = await instance(PayFiP, SETTINGS).get("invoices", NameID="jeanne")
    assert answer.err_class == "Misconfigured"
    assert "debts" in answer.body["err_desc"]


@pytest.mark.parametrize(("column", "cells"), [("du", ";;01/04/2025"), ("emise", ";8;")])
async def test_an_invoice_without_amount_or_date_names_the_column(column: str, cells: str, tmp_path: Path) -> None:
    table = f"{DEBTS.splitlines()[0]}\nFACT2025000009;jeanne;Cantine{cells};;;\n"
    answer = await billing(tmp_path, table).get("invoices", NameID="jeanne")
    assert answer.err_class == "Misconfigured"
    assert column in answer.body["err_desc"]
    assert "FACT2025000009" in answer.body["err_desc"]


async def test_an_amount_that_is_no_number_is_told_with_its_line(tmp_path: Path) -> None:
    answer = await billing(tmp_path, DEBTS.replace("31,50", "trente")).get("invoices", NameID="jeanne")
    assert answer.err_class == "Misconfigured"
    assert "ligne 2" in answer.body["err_desc"]


async def test_a_column_that_the_table_lacks_is_told_by_check(tmp_path: Path) -> None:
    answer = await billing(tmp_path, paid="reglee").get("invoices", NameID="jeanne")
    assert answer.err_class in ("InvalidInput", "Misconfigured")
    assert "reglee" in answer.body["err_desc"]
