"""A town's webservices of every kind: each contract that a result type may name, also those no connector uses today.

It stands for the connector of tomorrow: it is served, declared and judged exactly as the shipped ones are.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from sdk import (
    Choice,
    Connector,
    Feature,
    FeatureCollection,
    Field,
    File,
    Geocoded,
    Hit,
    Http,
    InvalidInput,
    Invoice,
    Model,
    NotFound,
    Point,
    Progress,
    Receipt,
    create,
    fold,
    get,
    update,
)
from sdk.simulator import Simulator
from tests.contract_tests.shipped import kinds_of

PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"


class Settings(Model):
    """Nothing to set."""


class Asked(Model):
    name: str = Field(min_length=1, max_length=100, examples=["Élodie Dupont"])
    seats: int | None = Field(default=None, examples=[3])
    note: str | None = Field(default=None, max_length=1000, examples=["Près du banc"])
    plan: File | None = None


class Remark(Model):
    text: str = Field(min_length=1, max_length=1000, examples=["Il grandit"])


class Message(Model):
    sender: str = Field(alias="from", max_length=11, examples=["Mairie"])
    to: list[str] = Field(min_length=1, examples=[["+33600000000"]])
    message: str = Field(min_length=1, max_length=1000, examples=["Votre carte est prête"])
    counter: str | None = None


class Notice(Model):
    transaction_id: str = Field(examples=["T-1"])
    transaction_date: datetime | None = None
    order_id: str | None = None
    bank_transaction_id: str | None = None
    bank_transaction_date: datetime | None = None
    bank_data: dict[str, Any] | None = None
    amount: Decimal | None = None


class Bench(Model):
    text: str


Number = Annotated[str, Field(min_length=1, max_length=40, examples=["R-1"])]
Debtor = Annotated[str, Field(max_length=100, examples=["elodie"])]
InvoiceId = Annotated[str, Field(min_length=1, max_length=40, examples=["F-1"])]


def invoice(number: str, *, paid: bool) -> Invoice:
    return Invoice(
        id=number,
        display_id=number,
        label="Cantine",
        amount=Decimal("0.00") if paid else Decimal("31.50"),
        total_amount=Decimal("31.50"),
        created=date(2025, 4, 1),
        pay_limit_date="" if paid else date(2025, 4, 30),
        paid=paid,
        online_payment=not paid,
        has_pdf=True,
    )


class Town(Connector[Settings]):
    """Lists and requests."""

    name, title, category = "town", "Every list and request", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.made: dict[str, Asked] = {}

    @get
    async def places(self) -> list[Choice]:
        """A choice list."""
        return [Choice(id="1", text="Hôtel de ville"), Choice(id="2", text="Médiathèque")]

    @get
    async def search(self, q: Annotated[str, Field(examples=["dupont"])] = "") -> list[Hit]:
        """A search engine."""
        return [
            Hit(url="https://ville.example.org/1", text=name, description="<b>vue</b>")
            for name in ("Élodie Dupont", "Noé Martin")
            if q.strip() and all(word in fold(name) for word in fold(q).split())
        ]

    @create("requests", delivery="at-most-once")
    async def ask(self, asked: Asked) -> Receipt:
        """A request."""
        number = f"R-{len(self.made) + 1}"
        self.made[number] = asked
        return Receipt(id=number, display_id=number)

    @get("requests/{number}", errors=(NotFound,))
    async def asked(self, number: Number) -> Progress:
        """Where it stands."""
        if number not in self.made:
            raise NotFound("no such request")
        over = number in Behind.concluded
        return Progress(id=number, status="closed" if over else "open", final=over)

    @update("requests/{number}/remarks", method="PUT", delivery="idempotent", errors=(NotFound,))
    async def remark(self, number: Number, remark: Remark) -> None:
        """A remark on it."""
        if number not in self.made:
            raise NotFound("no such request")

    @get
    async def geocoding(self, q: str = "") -> list[Geocoded]:
        """Outside the envelope."""
        return [Geocoded(lat="47.21", lon="-1.55", display_name="Simula")] if q else []


class Services(Connector[Settings]):
    """A status alone, files, a map, SMS, a billing software."""

    name, title, category = "services", "Every service", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.bills = {"F-1": False, "F-2": True, "F-3": False}

    @get("permits/{permit}/progress", errors=(NotFound,))
    async def permit(
        self, permit: Annotated[str, Field(min_length=1, max_length=40, examples=["PC-2025-0001"])]
    ) -> Progress:
        """The status of what was not asked here."""
        if permit != "PC-2025-0001":
            raise NotFound("no such permit")
        return Progress(id=permit, status="delivered", final=True)

    @get("plans/{plan}", errors=(NotFound,))
    async def plan(self, plan: Annotated[str, Field(min_length=1, max_length=40, examples=["centre"])]) -> File:
        """A file."""
        if plan != "centre":
            raise NotFound("no such plan")
        return File(content=PDF, filename="plan.pdf")

    @get
    async def benches(self) -> FeatureCollection[Bench]:
        """A map layer."""
        bench = Feature(id="b-1", geometry=Point(coordinates=(-1.55, 47.21)), properties=Bench(text="Banc"))
        return FeatureCollection(features=[bench])

    @create("sms", delivery="at-least-once")
    async def sms(self, message: Message, nostop: str = "") -> None:
        """An SMS gateway."""

    def _owed(self, debtor: str, number: str) -> Invoice:
        if debtor != "elodie" or number not in self.bills:
            raise NotFound("no such invoice")
        return invoice(number, paid=self.bills[number])

    @get("regie/invoices")
    async def unpaid(self, NameID: Debtor = "") -> list[Invoice]:
        """The invoices to pay."""
        return [invoice(one, paid=paid) for one, paid in self.bills.items() if not paid and NameID == "elodie"]

    @get("regie/invoices/history")
    async def history(self, NameID: Debtor = "") -> list[Invoice]:
        """The others."""
        return [invoice(one, paid=paid) for one, paid in self.bills.items() if paid and NameID == "elodie"]

    @get("regie/invoice/{invoice}", errors=(NotFound,))
    async def bill(self, invoice: InvoiceId, NameID: Debtor = "") -> Invoice:
        """One of them."""
        return self._owed(NameID, invoice)

    @get("regie/invoice/{invoice}/pdf", errors=(NotFound,))
    async def bill_pdf(self, invoice: InvoiceId, NameID: Debtor = "") -> File:
        """Its document."""
        self._owed(NameID, invoice)
        return File(content=PDF, filename="facture.pdf")

    @create("regie/invoice/{invoice}/pay", delivery="idempotent", errors=(NotFound, InvalidInput))
    async def pay(self, invoice: InvoiceId, notice: Notice, NameID: Debtor = "") -> None:
        """The notice of its payment."""
        self._owed(NameID, invoice)
        self.bills[invoice] = True


class Behind(Simulator):
    """What stands behind: only what was ended."""

    name, title = "behind", "Behind them"
    concluded: ClassVar[set[str]] = set()

    def demo_settings(self) -> dict[str, Any]:
        return {}

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        Behind.concluded = set()
        await super().start(port, host)

    async def conclude(self, identifier: str) -> None:
        Behind.concluded.add(identifier)


EVERY = [kind for connector in (Town, Services) for kind in kinds_of(connector, Behind)]
