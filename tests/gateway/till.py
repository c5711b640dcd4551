"""A till whose payments take their time, and its publisher: for the tests of what goes on after the answer."""

from __future__ import annotations

import asyncio

from aiohttp import web

from sdk import (
    Choice,
    Connector,
    Http,
    HttpUrl,
    Model,
    NotFound,
    Progress,
    Receipt,
    Rejected,
    Rest,
    Text,
    callback,
    create,
    current_call,
    get,
)


class Settings(Model):
    url: HttpUrl


class Debt(Model):
    reference: str
    year: int
    note: str = ""


class Rung(Model):
    number: str


class Till(Connector[Settings]):
    """Une caisse, où l'on paie plus tard."""

    name, title, category = "till", "Caisse", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.rest = Rest(http, settings.url, refusals=(422,), unprocessed=(503,))
        self.notes: list[str] = []

    @create(
        "payments",
        delivery="at-most-once",
        follow="payment",
        subject=("reference", "year"),
        absent="void",
        errors=(Rejected,),
    )
    async def pay(self, debt: Debt) -> Receipt:
        """Payer une dette."""
        for number in current_call().earlier:
            found = await self.payment(number)
            if found.status == "paid":
                raise Rejected(Text("Cette dette est déjà payée.", en="This debt is paid."))
            if not found.final:
                return Receipt(id=number)
        return Receipt(id=str((await self.rest.post("payments", json={"of": debt.reference}))["id"]))

    @create("payments/{reference}/cancel", delivery="idempotent", subject=("reference", "year"))
    async def cancel(self, reference: str, year: int) -> Receipt:
        """Annuler une dette."""
        return Receipt(id=str(len(current_call().earlier)))

    @get("debts/{reference}")
    async def debt(self, reference: str, year: int) -> list[Choice]:
        """Les paiements d'une dette."""
        found = await current_call().made({"reference": reference, "year": year})
        return [Choice(id=one.id, text=f"{one.status} {'final' if one.final else 'open'}") for one in found]

    @create("orders", delivery="at-most-once", deferred=True, errors=(Rejected,))
    async def order(self, debt: Debt) -> Receipt:
        """Commander, plus tard."""
        return Receipt(id=str((await self.rest.post("orders", json={"of": debt.reference}))["id"]))

    @create("plans", delivery="reconcilable", find="find_plan", longest=0.0, deferred=True, follow="payment")
    async def plan(self, debt: Debt) -> Receipt:
        """Étaler une dette, plus tard, et suivre."""
        sent = {"of": current_call().reference}
        return Receipt(id=str((await self.rest.post("plans", json=sent))["id"]))

    async def find_plan(self, reference: str) -> Receipt | None:
        """The plan of this reference."""
        found = await self.rest.get("plans", params={"of": reference})
        return Receipt(id=found["id"]) if found["id"] else None

    @get("payments/{number}")
    async def payment(self, number: str, note: str = "") -> Progress:
        """Un paiement."""
        self.notes.append(note)
        status = (await self.rest.get("payments", params={"id": number}))["status"]
        if status == "unknown":
            raise NotFound(Text("Paiement inconnu.", en="Unknown payment."))
        return Progress(id=number, status=status, final=status in ("paid", "refused"), void=status == "refused")

    @callback("notification", looks="pay")
    async def notification(self, rung: Rung) -> str | None:
        """Le prestataire prévient."""
        return rung.number or None


class Publisher:
    """Makes payments whose status the tests change. `modes` say how the next ones are answered: refused, busy,
    executed (and answered 500), lost (and answered 500).
    """

    def __init__(self) -> None:
        self.made: dict[str, str] = {}
        self.of: dict[str, str] = {}
        self.looks = 0
        self.modes: list[str] = []
        self.prefix = ""
        self.slow = asyncio.Event()
        self.slow.set()
        self.reached = asyncio.Event()
        self.down = False

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and "of" in request.query:
            return web.json_response({"id": self.of.get(request.query["of"])})
        if request.method == "GET":
            self.looks += 1
            if self.down:
                return web.Response(status=503)
            return web.json_response({"status": self.made.get(request.query["id"], "unknown")})
        self.reached.set()
        await self.slow.wait()
        mode = self.modes.pop(0) if self.modes else ""
        if mode in ("refused", "busy", "lost"):
            return web.json_response({}, status={"refused": 422, "busy": 503, "lost": 500}[mode])
        number = f"{self.prefix}P{len(self.made) + 1}"
        self.made[number] = "started"
        self.of[(await request.json())["of"]] = number
        return web.json_response({"id": number}, status=500 if mode == "executed" else 200)
