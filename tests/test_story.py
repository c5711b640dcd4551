"""A town's whole story: forms sign their calls, pay on PayFiP, and complete addresses from a big file."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from connectors.payfip import PayFiP
from connectors.payfip.simulator import PAGE, PayFiPSimulator
from connectors.tabular import Tabular
from tests.gateway.conftest import running
from tests.wcs import WorkflowEngine

LA_POSTE = (
    Path(__file__).resolve().parents[1].parent / "shared/interfaces/csv/laposte_hexasmal_2020_coordonnees_gps.csv"
)
FORMS = {"forms": {"signature": {"orig": "demarches.example.org", "key": "a shared key"}, "rights": ["*/*/*"]}}


async def test_a_form_creates_a_payment_and_follows_it_to_paid(tmp_path: Path) -> None:
    async with (
        PayFiPSimulator() as simulator,
        running(tmp_path, PayFiP, settings=simulator.demo_settings(), clients=FORMS) as gateway,
        WorkflowEngine(key="a shared key") as engine,
        aiohttp.ClientSession() as citizen,
    ):
        base = f"{gateway.url}/payfip/test"
        debt = {"amount": "42.50", "email": "jeanne@example.org", "reference": "FACT2025000117"}
        created = await engine.call(f"{base}/payments", {**debt, "notification_url": f"{base}/notification"})
        payment = created.data["data"]
        pending = await engine.call(f"{base}/payments/{payment['id']}")
        await citizen.get(payment["url"])
        await citizen.post(simulator.url + PAGE, data={"idop": payment["id"], "action": "payer"}, allow_redirects=False)
        paid = await engine.call(f"{base}/payments/{payment['id']}")
    assert (created.ok, pending.data["data"]["status"]) == (True, "pending")
    assert (paid.data["data"]["status"], paid.data["data"]["final"]) == ("paid", True)
    assert [entry.operation for entry in simulator.ledger].count("creerPaiementSecurise") == 1


@pytest.mark.skipif(not LA_POSTE.exists(), reason="needs the 39,192-row file of ../shared")
async def test_a_form_completes_a_commune_among_39_192_rows(tmp_path: Path) -> None:
    settings = {
        "file": str(LA_POSTE),
        "id": "{Code_commune_INSEE}-{Code_postal}-{Ligne_5}",
        "text": "{Code_postal} {Nom_commune} {Ligne_5}",
    }
    async with (
        running(tmp_path, Tabular, settings=settings, clients=FORMS) as gateway,
        WorkflowEngine(key="a shared key") as engine,
    ):
        source = f"{gateway.url}/tabular/test/data"
        everything = await engine.list(source)
        typed = await engine.complete(source, "haye pesnel")
        chosen = await engine.lookup(source, typed.items[0]["id"])
        corsica = await engine.complete(source, "2a004")
    assert len(everything.items) > 36_000
    assert [item["text"].strip() for item in typed.items] == ["50320 LA HAYE PESNEL"]
    assert chosen is not None
    assert chosen["Code_postal"] == "50320"
    assert corsica.items == []
