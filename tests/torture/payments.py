"""Simulated payments: citizens of every kind, notifications that get lost, come twice, too early or too late, a gateway
killed with -9 again and again, over days of a clock that all share; then PayFiP's books against what the forms know.

    python -m tests.torture.payments [--debts 10000] [--kills 60] [--seed 1] [--careless]

Of every debt: never paid twice. Of every payment: reported when it was made, and only then.
`--careless` plays a gateway that lets a second payment of a debt begin while the first has no result.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import mmap
import random
import socket
import sqlite3
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from connectors.payfip import PayFiP
from connectors.payfip.simulator import PAGE, SERVICE, PayFiPSimulator
from sdk.simulator import Clock

from .processes import KEY, killed, said, spawn

TICK, LATER = 900.0, 3600.0
"""Seconds of the shared clock between two things a citizen does: as long as citizens come, and afterwards."""
COMING, ENDING = 96, 84
"""Ticks in which citizens come, one day; and ticks in which everything ends, three and a half."""
DUE_CALLBACKS = """
SELECT count(*) FROM callbacks AS one WHERE next_at <= :now AND NOT EXISTS (
  SELECT 1 FROM callbacks AS other
  WHERE other.delivery = one.delivery AND other.state = 'PENDING' AND other.number < one.number
)
"""
"""Messages wait for those before them."""
LEASE = 1.0
SLACK = 60.0
"""Real seconds in which a tick's work must be done."""
CONFIG = """
[gateway]
data = "data"
log_level = "error"

[egress]
private = ["127.0.0.0/8"]

[deliveries]
lease = {lease}
margin = 1

[clients.forms]
api_key = "{key}"
rights = ["payfip/*/*"]
callback = {{ url = "{forms}", hook = "paiement", basic = {{ username = "relais", password = "secret" }}, {http} }}

[instances.payfip.town]
http = {{ allow_http = true, timeout = 5, limit = 50, breaker = false }}

[instances.payfip.town.settings]
url = "{payfip}{service}"
page_url = "{payfip}{page}"
client_number = "012345"
mode = "T"
notification_url = "https://relais.example.net/payfip/town/notification"
return_url = "https://demarches.example.net/"
{second_attempt}
"""


# --- the clock that all share -----------------------------------------------------------------------------------------


@contextmanager
def shared_clock(path: Path) -> Iterator[mmap.mmap]:
    """Eight bytes that several processes read: seconds since 1970."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 8) as memory:
        yield memory


def read_clock(memory: mmap.mmap) -> float:
    """What the clock says."""
    return float(struct.unpack("d", memory[:8])[0])


class ReadClock(Clock):
    """The simulator's clock, read where the gateway reads its own."""

    def __init__(self, memory: mmap.mmap) -> None:
        super().__init__()
        self._memory = memory

    def now(self) -> datetime:
        return datetime.fromtimestamp(read_clock(self._memory), UTC)


async def gateway(config: str, clock: str, descriptor: int) -> None:
    """`relais serve`, one process, on an inherited socket and on the shared clock; runs until it is killed."""
    from gateway import app, journal
    from gateway.settings import load

    with shared_clock(Path(clock)) as memory:

        class OnTheClock(PayFiP):
            """Le connecteur PayFiP, sur l'horloge commune."""

            def __init__(self, settings: Any, http: Any) -> None:
                super().__init__(settings, http, now=ReadClock(memory).now)

        journal.configure("error", stream=sys.stderr)
        server = app.Server(load(config), {"payfip": OnTheClock}, clock=lambda: read_clock(memory))
        listening = socket.socket(fileno=descriptor)
        listening.setblocking(False)
        await server.start(listening)
        print(json.dumps({"event": "serving"}), flush=True)
        await asyncio.Event().wait()


# --- the forms, which are told ----------------------------------------------------------------------------------------


@dataclass
class Told:
    """What the forms were told: message id → message, each kept once; some calls are refused, or answered and lost."""

    chance: random.Random
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: int = 0

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.calls += 1
        luck = self.chance.random()
        if luck < 0.05:
            return web.json_response({"err": 1, "err_class": "access denied"}, status=403)
        self.messages[body["id"]] = body
        if luck < 0.1 and request.transport is not None:
            request.transport.abort()
        return web.json_response({"err": 0})


@asynccontextmanager
async def forms(told: Told) -> AsyncIterator[str]:
    """The address of a workflow engine that is told."""
    served = web.Application()
    served.router.add_post("/api/forms/facture/{number}/hooks/paiement/", told.take)
    runner = web.AppRunner(served, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# --- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Figures:
    """What one run showed."""

    debts: int = 0
    kills: int = 0
    operations: int = 0
    payments: int = 0
    notifications: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    paid_twice: int = 0
    paid_unreported: int = 0
    unpaid_reported: int = 0
    told_twice: int = 0
    """Changes that became two messages."""
    open_at_the_end: int = 0
    """Debts whose citizen wanted to pay and could not."""
    seconds: float = 0.0
    answers: dict[str, int] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        return bool(
            self.paid_twice or self.paid_unreported or self.unpaid_reported or self.told_twice or self.open_at_the_end
        )


KINDS = ("card", "debit", "refused", "abandons", "slow", "never-opens", "two-clicks", "comes-back")


@dataclass
class Citizen:
    """Who owes one debt. `kind` says what is done with a payment page; `pages` are those received."""

    number: int
    kind: str
    comes: int
    chance: random.Random
    tries: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)
    paid: bool = False
    waits: int = 0

    @property
    def reference(self) -> str:
        return f"FACT{self.number:08d}"


class Run:
    """One run in `folder`: `coming` ticks in which citizens come, `ending` in which everything ends."""

    def __init__(
        self,
        folder: Path,
        *,
        debts: int,
        kills: int,
        seed: int = 1,
        careless: bool = False,
        kinds: Sequence[str] = KINDS,
        coming: int = COMING,
        ending: int = ENDING,
    ) -> None:
        self.folder, self.kills, self.careless, self.coming, self.ending = folder, kills, careless, coming, ending
        self.chance = random.Random(seed)
        self.told = Told(random.Random(seed + 1))
        self.figures = Figures(debts=debts)
        self._at_once = asyncio.Semaphore(20)
        self.answers: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()
        self.planned: dict[int, list[Callable[[], Awaitable[None]]]] = defaultdict(list)
        self.citizens = [
            Citizen(
                number, self.chance.choice(kinds), self.chance.randrange(coming), random.Random(seed * 7919 + number)
            )
            for number in range(debts)
        ]

    async def __call__(self) -> Figures:
        started = time.monotonic()
        clock = self.folder / "clock"
        clock.write_bytes(struct.pack("d", datetime(2026, 3, 2, 8, tzinfo=UTC).timestamp()))
        with shared_clock(clock) as memory, socket.create_server(("127.0.0.1", 0), backlog=512) as held:
            self.memory = memory
            simulator = PayFiPSimulator(clock=ReadClock(memory))
            simulator.notifications = "lost"  # they are sent below, as badly as it gets
            simulator.faults.rate(0.02, "reset", "execute-then-reset", "status-500", "html-200", path=SERVICE)
            self.url = f"http://127.0.0.1:{held.getsockname()[1]}/payfip/town"
            self.clock_path, self.held = clock, held
            async with (
                simulator,
                forms(self.told) as self.forms_url,
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as self.session,
            ):
                self.simulator = simulator
                self._configure()
                self.served = await self._serve()
                try:
                    await self._days()
                finally:
                    await killed(self.served)
            self._judge()
        self.figures.seconds = round(time.monotonic() - started, 1)
        return self.figures

    def _configure(self) -> None:
        (self.folder / "relais.toml").write_text(
            CONFIG.format(
                key=KEY,
                lease=LEASE,
                forms=self.forms_url,
                http="http = { allow_http = true, limit = 50, breaker = false }",
                payfip=self.simulator.url,
                service=SERVICE,
                page=PAGE,
                second_attempt="second_attempt = 20" if self.careless else "",
            )
        )

    async def _serve(self) -> asyncio.subprocess.Process:
        own = ("-m", "tests.torture.payments", "--serve", str(self.folder / "relais.toml"), str(self.clock_path))
        process = await spawn(*own, str(self.held.fileno()), held=self.held)
        await said(process)
        return process

    async def _days(self) -> None:
        waiting: list[Citizen] = []
        coming: dict[int, list[Citizen]] = defaultdict(list)
        for citizen in self.citizens:
            coming[citizen.comes].append(citizen)
        dying = set(self.chance.sample(range(self.coming), min(self.kills, self.coming)))
        for tick in range(self.coming + self.ending):
            waiting += coming[tick]
            busy = [citizen for citizen in waiting if citizen.waits <= tick]
            acts = [self._act(citizen, tick) for citizen in busy] + [act() for act in self.planned.pop(tick, [])]
            work = asyncio.gather(*map(self._few, acts))
            if tick in dying:
                await asyncio.wait({work}, timeout=self.chance.uniform(0.0, 0.1))
                await killed(self.served)
                self.figures.kills += 1
                self.served = await self._serve()
                self._advance(LEASE + 1)  # or the dead one would be thought alive
            await work
            waiting = [citizen for citizen in waiting if not citizen.paid]
            await self._calm()
            self._advance(TICK if tick < self.coming else LATER)
            await self._calm()
        self.figures.open_at_the_end = len(waiting)

    def _advance(self, seconds: float) -> None:
        self.memory[:8] = struct.pack("d", read_clock(self.memory) + seconds)

    async def _few(self, work: Awaitable[None]) -> None:
        async with self._at_once:
            await work

    async def _calm(self) -> None:
        """Waits until the gateway knows the hour and has done what was due."""
        limit = time.monotonic() + SLACK
        while left := await asyncio.to_thread(self._left):
            if time.monotonic() > limit:
                raise AssertionError(f"the gateway does not come to an end of its work: {left}")
            await asyncio.sleep(0.02)

    def _left(self) -> dict[str, int]:
        """What keeps the gateway from having done all that is due at this hour."""
        now = read_clock(self.memory)
        with contextlib.closing(sqlite3.connect(self.folder / "data" / "relais.db", timeout=5)) as store:
            counts = {
                "unseen": "SELECT count(*) = 0 FROM nodes WHERE seen >= :now",
                "sending": "SELECT count(*) FROM deliveries WHERE state = 'SENDING'",
                **{
                    table: f"SELECT count(*) FROM {table} WHERE next_at <= :now" for table in ("deliveries", "followed")
                },
                "callbacks": DUE_CALLBACKS,
            }
            found = {name: int(store.execute(query, {"now": now}).fetchone()[0]) for name, query in counts.items()}
        return {name: count for name, count in found.items() if count}

    # --- citizens -----------------------------------------------------------------------------------------------------

    async def _act(self, citizen: Citizen, tick: int) -> None:
        luck = citizen.chance
        if citizen.kind == "two-clicks":
            await asyncio.gather(self._create(citizen), self._create(citizen))
        else:
            await self._create(citizen)
        if not citizen.pages:
            citizen.waits = tick + 1 + min(citizen.tries, 4)
            return
        for idop in list(citizen.pages):
            if idop in citizen.visited:
                continue
            citizen.visited.add(idop)
            first = len(citizen.visited) == 1
            if first and citizen.kind == "never-opens":
                citizen.waits = tick + luck.randint(1, 40)
                return
            if first and citizen.kind == "slow":
                await self._open(citizen, idop)
                later = tick + luck.randint(1, 12)
                self.planned[later].append(partial(self._decide, citizen, idop, "payer", later))
                citizen.waits = tick + luck.randint(1, 8)
                continue
            action = "payer"
            if citizen.kind == "debit":
                action = "prelever"
            elif first and citizen.kind == "refused":
                action = luck.choice(("refuser", "refuser-prelevement"))
            elif first and citizen.kind == "abandons":
                action = "abandonner"
            if await self._open(citizen, idop):
                await self._decide(citizen, idop, action, tick)
            if citizen.kind == "comes-back" and citizen.paid:
                citizen.paid = False  # and yet tries once more
                citizen.kind = "card"
                citizen.waits = tick + luck.randint(0, 2)
                return
        citizen.waits = max(citizen.waits, tick + 1)

    async def _create(self, citizen: Citizen) -> None:
        citizen.tries += 1
        form = f"{self.forms_url}/backoffice/management/facture/{citizen.number}/"
        body = {"amount": "42.50", "email": "jeanne.martin@example.net", "reference": citizen.reference}
        try:
            async with self.session.post(
                f"{self.url}/payments", json=body, headers={"X-API-Key": KEY, "Publik-Caller-URL": form}
            ) as answer:
                found = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self.answers[type(error).__name__] += 1
            return
        if found["err"] == 0:
            self.answers["ok"] += 1
            citizen.pages[found["data"]["id"]] = found["data"]["url"]
            return
        code = found.get("err_code") or found["err_class"]
        self.answers[code] += 1
        if code == "already-paid":
            citizen.paid = True

    async def _open(self, citizen: Citizen, idop: str) -> bool:
        async with self.session.get(citizen.pages[idop]) as page:
            return "<form" in await page.text()

    async def _decide(self, citizen: Citizen, idop: str, action: str, tick: int) -> None:
        luck = citizen.chance
        early = luck.random() < 0.1
        if early:
            self.notices["early"] += 1
            await self._notify(idop)
        choice = {"idop": idop, "action": action}
        async with self.session.post(self.simulator.url + PAGE, data=choice, allow_redirects=False) as done:
            went = done.status == 303
        if went and action in ("payer", "prelever"):
            citizen.paid = True
        how = luck.choice(("sent", "lost", "twice", "late"))
        self.notices[how] += 1
        if how == "late":
            self.planned[tick + luck.randint(1, 50)].append(partial(self._notify, idop))
        for _ in range({"sent": 1, "twice": 2}.get(how, 0)):
            await self._notify(idop)

    async def _notify(self, idop: str) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self.session.post(f"{self.url}/notification", data={"idop": idop}) as answer:
                await answer.read()

    # --- the books ----------------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        figures, operations = self.figures, self.simulator.operations
        made = {idop for idop, one in operations.items() if one.result in ("P", "V")}
        per_debt = Counter(operations[idop].fields["refdet"] for idop in made)
        reported: Counter[tuple[str, str]] = Counter()
        for message in self.told.messages.values():
            if message["status"] == "paid":
                reported[message["delivery"], message["data"]["id"]] += 1
        told = {idop for _, idop in reported}
        figures.operations, figures.payments = len(operations), len(made)
        figures.messages, figures.notifications = len(self.told.messages), dict(self.notices)
        figures.answers = dict(self.answers.most_common())
        figures.paid_twice = sum(times > 1 for times in per_debt.values())
        figures.paid_unreported = len(made - told)
        figures.unpaid_reported = len(told - made)
        figures.told_twice = sum(times > 1 for times in reported.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("--serve", nargs=3, metavar=("CONFIG", "CLOCK", "SOCKET"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.serve:
        config, clock, descriptor = chosen.serve
        asyncio.run(gateway(config, clock, int(descriptor)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), debts=chosen.debts, kills=chosen.kills, seed=chosen.seed, careless=chosen.careless)
        figures = asyncio.run(run())
    print(json.dumps(asdict(figures), indent=1))
    sys.exit(figures.wrong)


if __name__ == "__main__":
    main()
