"""Crash points of what goes on after the answer: a deferred request is accepted, carried out, followed to its end, its
caller told; the gateway dies at each commit and each exchange of it, the first time or the second.

    python -m tests.torture.lasting_points

The ledgers are those of both sides: what the publisher executed, what the workflow engine received.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select

from gateway.callbacks import Callbacks, whom
from gateway.deliveries import Deliveries
from gateway.follow_up import Follow
from gateway.following import Following
from gateway.registry import Instance
from gateway.sealing import Seal
from gateway.sent import Sent
from gateway.settings import CallbackSettings, ClientSettings, DeliveryOptions
from gateway.store import Store, records, upgrade
from gateway.store.tables import callbacks, deliveries, followed
from sdk import Connector, HttpUrl, Model, Progress, Receipt, create, get
from sdk.call import current_call, new_call
from sdk.files import Decoded
from sdk.http import Http, Request, Response

from .crash_points import CONTENT, MEMORY, OUTCOMES, Died

COMMITS = {
    "Deliveries.submit.<locals>.<lambda>": "ticket",
    "Look.look.<locals>.<lambda>": "claim",
    "Follow._send.<locals>.go": "start",
    "finish": "end",  # with the row of what was created, and the message
    "looked": "change",  # with the message
    "sent": "acknowledgement",
}
EXCHANGES = ("send", "look", "callback")
POINTS = tuple(f"{when} the {what}" for what in (*COMMITS.values(), *EXCHANGES) for when in ("before", "after"))
TIMES = (1, 2)
PUBLISHER = ("done", "refused", "not sent", "reset, executed", "reset, lost")
RECEIVER = ("accepts", "is busy once")
CASES = (1 + len(POINTS) * len(TIMES)) * len(PUBLISHER) * len(RECEIVER)


class Settings(Model):
    url: HttpUrl = "https://publisher.example.org"


class Thing(Model):
    text: str


@dataclass
class World:
    """A publisher, a workflow engine, a clock, and where the next gateway dies: at the `time`-th passage of `point`."""

    point: str
    time: int
    outcome: str
    receiver: str
    now: float = 1000.0
    executed: list[str] = field(default_factory=list)
    sends: int = 0
    spoilt: int = 0
    looks: int = 0
    received: list[dict[str, Any]] = field(default_factory=list)
    called: int = 0
    passed: int = 0
    dead: bool = False

    def here(self, point: str) -> None:
        if self.dead:
            raise Died
        if point == self.point:
            self.passed += 1
            if self.passed == self.time:
                self.dead = True
                raise Died

    async def make(self, text: str) -> Receipt:
        call = current_call()
        self.here("before the send")
        self.spoilt += base64.b64decode(text) != CONTENT
        if call.guard:
            call.guard()
        self.sends += 1
        executed, seen = OUTCOMES[self.outcome if self.sends == 1 else "done"]
        if self.outcome != "not sent" or self.sends > 1:
            call.effect_sent, call.effects = True, call.effects + 1
        if executed:
            self.executed.append(call.reference)
        self.here("after the send")
        if (error := seen()) is not None:
            raise error
        return Receipt(id=f"R{len(self.executed)}")

    async def progress(self, number: str) -> Progress:
        self.here("before the look")
        self.looks += 1
        status = "started" if self.looks < 3 else "paid"
        self.here("after the look")
        return Progress(id=number, status=status, final=status == "paid")

    async def receive(self, request: Request) -> Response:
        self.here("before the callback")
        self.called += 1
        if self.receiver == "is busy once" and self.called == 1:
            return Response(403, {}, b'{"err": 1, "err_code": "access-denied"}')
        self.received.append(json.loads(request.body or b""))
        self.here("after the callback")
        return Response(200, {}, b'{"err": 0, "url": null}')


class Lasting(Connector[Settings]):
    """Ce qui dure."""

    name, title, category = "lasting", "Ce qui dure", "Tests"
    world: World

    @create(
        "things",
        delivery="reconcilable",
        find="find_thing",
        longest=0.0,
        deferred=True,
        follow="thing",
        follow_at=(1.0, (1.0, 1e6)),
        subject=("text",),
    )
    async def make(self, thing: Thing) -> Receipt:
        """Faire."""
        return await self.world.make(thing.text)

    async def find_thing(self, reference: str) -> list[Receipt]:
        """Those of this reference."""
        return [Receipt(id=f"R{n}") for n, known in enumerate(self.world.executed, 1) if known == reference]

    @get("things/{number}")
    async def thing(self, number: str) -> Progress:
        """Où en est-on."""
        return await self.world.progress(number)


class Doomed(Store):
    """A store whose process dies around its commits."""

    world: World

    async def run(self, work: Any, size: int = 0) -> Any:
        which = COMMITS.get(getattr(work, "func", work).__qualname__, "")
        self.world.here(f"before the {which}")
        found = await super().run(work, size)
        self.world.here(f"after the {which}")
        return found


CALLER = {"Idempotency-Key": "k", "Publik-Caller-URL": "https://forms.example.org/backoffice/management/demand/12/"}
CALLBACK = CallbackSettings.model_validate(
    {
        "url": "https://forms.example.org",
        "trigger": "follow",
        "signature": {"orig": "relais.example.org", "key": "s3cr3t"},
    }
)
CLIENTS = {"c": ClientSettings(name="c", api_key="0123456789abcdef", rights=(), callback=CALLBACK)}  # type: ignore[arg-type]


class Life:
    """One process, until it dies or has nothing left to do."""

    def __init__(self, folder: Path, world: World) -> None:
        self.world = world
        self.store = Doomed.open(f"sqlite:///{folder / 'relais.db'}")
        assert isinstance(self.store, Doomed)
        self.store.world, world.dead = world, False
        seal, clock = Seal(folder / "keys"), lambda: world.now
        connector = object.__new__(Lasting)
        connector.world = world
        self.instance = Instance("lasting/town", "", connector, Http(None), frozenset(), 300.0, {})  # type: ignore[arg-type]
        options = DeliveryOptions(lease=1, margin=0, backoff=0.001)
        self.journal = Deliveries(
            self.store, seal, options, whom=partial(whom, CLIENTS), clock=clock, monotonic=lambda: 0.0
        )
        self.journal._seen = 0.0
        find = {"lasting/town": self.instance}.get
        ways = {"c": Http(world.receive)}
        telling = Callbacks(self.store, seal, CLIENTS, ways, clock=clock, random=lambda: 0.5)
        self.kinds = (Follow(self.journal, find), Following(self.journal, find), telling)

    async def call(self) -> str:
        """The caller's request, with its one key; the id of the ticket."""
        endpoint = self.instance.endpoints[0]
        sent = Sent({}, (), "application/json", b'{"text":"apart"}', {"apart": Decoded(CONTENT)})
        body = sent.body(endpoint)
        arguments = sent.arguments(endpoint, body)
        call = new_call(5.0, repeatable=False)
        answered = await self.journal.submit(
            self.instance, endpoint, sent, body, arguments, client="c", headers=CALLER, call=call
        )
        return str(json.loads(answered.json)["id"])

    async def work(self) -> None:
        """Some rounds of everything that is due; time passes. Ends early when the process is dead."""
        for _ in range(8):
            await Store.run(self.store, partial(records.beat, node=self.journal.node, now=self.world.now))
            for kind in self.kinds:
                if not self.world.dead:
                    await kind.look()
                await kind.settled()
            if self.world.dead:
                return
            self.world.now += 200.0

    async def left(self) -> tuple[Any, Any, list[Any]]:
        """The rows: delivery, what it created, messages."""

        def read(connection: Any) -> Any:
            found = [connection.execute(select(table)).mappings().all() for table in (deliveries, followed, callbacks)]
            return found[0][0], (found[1] or [None])[0], found[2]

        return await Store.run(self.store, read)  # type: ignore[no-any-return]


async def case(folder: Path, world: World) -> str:
    """What is wrong with this case, or nothing."""
    ticket, alone = "", False
    for _ in range(3):
        life = Life(folder, world)
        try:
            if not ticket:
                ticket = await life.call()
            alone = True
            await life.work()
        except Died:
            pass
        if not world.dead and alone:
            break
        world.now += 200.0
        await life.store.close()
    else:
        return "the process always died"
    delivery, thing, messages = await life.left()
    await life.store.close()
    told = list({message["id"]: (message["state"], message["status"]) for message in world.received}.values())
    if world.spoilt:
        return "sent other than it came"
    if len(world.executed) > 1:
        return f"executed {len(world.executed)} times"
    if delivery["id"] != ticket:
        return "another delivery than the ticket's"
    if [message["state"] for message in messages] != ["ACCEPTED"] * len(messages):
        return f"messages left: {[message['state'] for message in messages]}"
    if delivery["state"] == "REFUSED" and not world.executed:
        return "" if told == [("REFUSED", None)] and thing is None else f"refused, told {told}"
    if delivery["state"] != "DONE" or not world.executed:
        return f"{delivery['state']}, executed {len(world.executed)}"
    if thing is None or (thing["status"], thing["final"], thing["changes"]) != ("paid", True, 2):
        return f"not followed to its end: {thing}"
    expected = [("DONE", None), ("DONE", "started"), ("DONE", "paid")]
    return "" if told == expected else f"told {told}"


async def every_case(
    publisher: Iterable[str] = PUBLISHER, receiver: Iterable[str] = RECEIVER, times: Iterable[int] = TIMES
) -> dict[str, str]:
    """The violations, by case."""
    wrong: dict[str, str] = {}
    places = [("nowhere", 1), *((point, time) for point in POINTS for time in times)]
    with tempfile.TemporaryDirectory(dir=MEMORY) as made:
        folder = Path(made)
        upgrade(f"sqlite:///{folder / 'empty.db'}")
        for outcome in publisher:
            for manner in receiver:
                for point, time in places:
                    for ending in ("-wal", "-shm"):
                        (folder / f"relais.db{ending}").unlink(missing_ok=True)
                    shutil.copy(folder / "empty.db", folder / "relais.db")
                    said = await case(folder, World(point, time, outcome, manner))
                    if said:
                        wrong[f"{point} ({time}), publisher: {outcome}, receiver {manner}"] = said
    return wrong


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # deaths are exceptions that nobody retrieves
    wrong = asyncio.run(every_case())
    print(json.dumps({"cases": CASES, "violations": wrong}, indent=1))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
