"""Payments through the gateway, on both databases: never two at a time for a debt, followed to their end, told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import select, update

from connectors.payfip import PayFiP
from connectors.payfip.simulator import PAGE, PayFiPSimulator
from gateway.store.tables import followed
from tests.gateway.conftest import Gateway, running

DEBT = {"amount": "42.50", "email": "jeanne.martin@example.net", "reference": "FACT2025000117"}
JEANNE = "NameID=jeanne"


@dataclass
class Town:
    """The gateway in front of PayFiP's simulator, and a citizen's browser."""

    gateway: Gateway
    simulator: PayFiPSimulator

    async def create(self, **changed: Any) -> Any:
        body = {**DEBT, "notification_url": f"{self.gateway.url}/payfip/test/notification", **changed}
        return await self.gateway.post("/payfip/test/payments", body)

    async def paying(self, payment: dict[str, Any], action: str = "payer") -> None:
        """The citizen opens the page and decides."""
        async with aiohttp.ClientSession() as browser:
            async with browser.get(payment["url"]) as page:
                assert page.status == 200
            choice = {"idop": payment["id"], "action": action}
            async with browser.post(self.simulator.url + PAGE, data=choice, allow_redirects=False) as done:
                assert done.status == 303

    async def rows(self) -> list[Any]:
        query = select(followed).order_by(followed.c.created)
        store = self.gateway.server.deliveries.store
        return list(await store.run(lambda connection: connection.execute(query).mappings().all()))

    async def looked(self, *, now: bool = True) -> list[Any]:
        """The followed payments, after a look at those that are due; `now`: at all those that are open."""
        if now:
            await self.change(next_at=0.0, looked=0.0)
        await self.gateway.server.following.look()
        await self.gateway.server.following.settled()
        return await self.rows()

    async def change(self, **values: Any) -> None:
        store = self.gateway.server.deliveries.store
        await store.run(
            lambda connection: connection.execute(update(followed).where(~followed.c.final).values(**values))
        )

    async def get(self, path: str) -> Any:
        return await self.gateway.get(f"/payfip/test/{path}")


@pytest.fixture(params=["sqlite", "postgresql"])
async def town(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Town]:
    store = {} if request.param == "sqlite" else {"store": request.getfixturevalue("postgres")}
    async with (
        PayFiPSimulator() as simulator,
        running(tmp_path, PayFiP, settings=simulator.demo_settings(), **store) as gateway,
    ):
        yield Town(gateway, simulator)
        await simulator.stop()  # its connections first: a gateway that drains waits for its callers


async def test_a_notification_brings_the_look_forward(town: Town) -> None:
    payment = (await town.create())["data"]
    await town.change(looked=0.0)
    await town.paying(payment)
    (row,) = await town.looked(now=False)
    assert (row["upstream_id"], row["status"], row["final"], row["void"]) == (payment["id"], "paid", True, False)


async def test_a_lost_notification_changes_nothing_but_the_hour(town: Town) -> None:
    town.simulator.notifications = "lost"
    await town.paying((await town.create())["data"])
    (row,) = await town.looked()
    assert (row["status"], row["final"]) == ("paid", True)


async def test_a_second_request_gets_the_page_that_can_still_be_opened(town: Town) -> None:
    first = (await town.create())["data"]
    assert (await town.create())["data"] == first
    assert len(town.simulator.executed("creerPaiementSecurise")) == 1


async def test_another_amount_does_not_get_the_page_of_the_first(town: Town) -> None:
    await town.create()
    refused = await town.create(amount="12.00")
    assert (refused["err_class"], refused["err_code"]) == ("Rejected", "under-way")


async def test_while_a_payment_has_no_result_the_debt_has_no_second_one(town: Town) -> None:
    await town.create()
    await town.change(created=followed.c.created - 3600.0)
    refused = await town.create()
    assert (refused["err_class"], refused["err_code"]) == ("Rejected", "under-way")


async def test_a_paid_debt_is_not_paid_again_even_before_any_look(town: Town) -> None:
    town.simulator.notifications = "lost"
    await town.paying((await town.create())["data"])
    refused = await town.create()
    assert (refused["err_class"], refused["err_code"]) == ("Rejected", "already-paid")
    await town.looked()
    assert (await town.create())["err_code"] == "already-paid"


@pytest.mark.parametrize("action", ["refuser", "refuser-prelevement"])
async def test_a_refused_payment_leaves_room_for_another(town: Town, action: str) -> None:
    first = (await town.create())["data"]
    await town.paying(first, action)
    (row,) = await town.looked()
    assert (row["status"], row["final"], row["void"]) == ("refused", True, True)
    second = (await town.create())["data"]
    assert second["id"] != first["id"]


async def test_the_night_closes_a_payment_nobody_made(town: Town) -> None:
    first = (await town.create())["data"]
    town.simulator.clock.advance(hours=26)
    (row,) = await town.looked()
    assert (row["status"], row["final"], row["void"]) == ("expired", True, True)
    assert (await town.create())["data"]["id"] != first["id"]


async def test_a_payment_of_another_amount_is_never_taken_for_the_expected_one(town: Town) -> None:
    payment = (await town.create())["data"]
    town.simulator.operations[payment["id"]].fields = {
        **town.simulator.operations[payment["id"]].fields,
        "montant": "100",
    }
    await town.paying(payment)
    (row,) = await town.looked()
    assert (row["status"], row["final"]) == ("", False)
    assert (await town.get(f"invoice/FACT2025000117?{JEANNE}"))["err_class"] == "Rejected"


async def test_another_form_of_the_same_citizen_can_pay_what_was_abandoned(town: Town) -> None:
    form = {"Publik-Caller-URL": "https://demarches.example.org/backoffice/management/cantine/12/"}
    body = {**DEBT, "notification_url": f"{town.gateway.url}/payfip/test/notification"}

    async def from_form() -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{town.gateway.url}/payfip/test/payments",
                json=body,
                headers={"X-API-Key": "the-key-of-the-tests", **form},
            ) as answer,
        ):
            return (await answer.json())["data"]

    first = await from_form()
    await town.paying(first, "refuser")
    assert (await from_form())["id"] != first["id"]


# --- the billing view -------------------------------------------------------------------------------------------------


def ids(answer: Any) -> list[str]:
    return [one["id"] for one in answer["data"]]


async def test_an_invoice_leaves_the_list_the_moment_it_is_paid(town: Town) -> None:
    town.simulator.notifications = "lost"
    assert "FACT2025000117" in ids(await town.get(f"invoices?{JEANNE}"))
    await town.paying((await town.create())["data"])
    assert "FACT2025000117" not in ids(await town.get(f"invoices?{JEANNE}"))
    (paid,) = [one for one in (await town.get(f"invoices/history?{JEANNE}"))["data"] if one["id"] == "FACT2025000117"]
    assert (paid["paid"], paid["amount"], paid["online_payment"]) == (True, "0", False)
    await town.looked()
    assert "FACT2025000117" in ids(await town.get(f"invoices/history?{JEANNE}"))


async def test_a_part_of_an_invoice_does_not_settle_it(town: Town) -> None:
    await town.paying((await town.create(amount="1.00"))["data"])
    assert "FACT2025000117" in ids(await town.get(f"invoices?{JEANNE}"))
    await town.looked()
    assert "FACT2025000117" in ids(await town.get(f"invoices?{JEANNE}"))


async def notice(town: Town, reference: str = "FACT2025000117", **fields: Any) -> Any:
    return await town.gateway.post(f"/payfip/test/invoice/{reference}/pay/", {"order_id": "12", **fields})


async def test_publiks_word_of_a_payment_at_payfip_is_looked_up(town: Town) -> None:
    payment = (await town.create())["data"]
    too_early = await notice(town, transaction_id=payment["id"])
    assert (too_early["err_class"], too_early["err_code"]) == ("Rejected", "not-paid")
    await town.paying(payment)
    for _ in range(2):
        assert (await notice(town, transaction_id=payment["id"]))["data"] == {"id": payment["id"]}
    for wrong in ({"amount": "1.00"}, {"reference": "FACT2025000131"}):
        refused = await notice(town, transaction_id=payment["id"], **wrong)
        assert (refused["err_class"], refused["err_code"]) == ("Rejected", "mismatch")


async def test_publiks_word_of_another_payment_is_believed_where_the_town_says_so(town: Town) -> None:
    assert (await notice(town, transaction_id="lingo-42"))["data"] == {"id": "lingo-42"}
    assert "FACT2025000117" not in ids(await town.get(f"invoices?{JEANNE}"))
    assert (await town.create())["err_code"] == "already-paid"
    (row,) = await town.looked()
    assert (row["status"], row["final"]) == ("paid", True)


async def test_a_payment_nobody_told_of_is_not_known_as_paid(town: Town) -> None:
    assert (await town.get("settlements/lingo-42?reference=FACT2025000117"))["err_class"] == "NotFound"
    await notice(town, transaction_id="lingo-42")
    assert (await town.get("settlements/lingo-42?reference=FACT2025000117"))["data"]["status"] == "paid"
    assert (await town.get("settlements/lingo-42"))["err_class"] == "NotFound"


async def test_publiks_word_is_not_believed_without_that_setting(tmp_path: Path) -> None:
    async with PayFiPSimulator() as simulator:
        settings = simulator.demo_settings()
        settings["debts"]["other_payments"] = False
        async with running(tmp_path, PayFiP, settings=settings) as gateway:
            town = Town(gateway, simulator)
            refused = await notice(town, transaction_id="lingo-42")
            assert (refused["err_class"], refused["err_code"]) == ("Rejected", "not-paid")
            assert (await notice(town, "INCONNUE", transaction_id="lingo-42"))["err_class"] == "NotFound"
            assert "FACT2025000117" in ids(await town.get(f"invoices?{JEANNE}"))
