"""Crash points: the gateway dies exactly before and after each commit and each send, for each thing the publisher may
do with the request; then a new one brings the delivery to its end, and the ledger is read.

    python -m tests.torture.crash_points

Played in this process: the death of a gateway is a `Server` whose tasks are dropped at the point, without a farewell.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gateway.deliveries import Deliveries
from gateway.follow_up import Follow
from gateway.registry import Instance
from gateway.sealing import Seal
from gateway.sent import Sent
from gateway.settings import DeliveryOptions
from gateway.store import Store, records, upgrade
from sdk.call import current_call, new_call
from sdk.errors import Rejected, RelaisError, UpstreamInvalid, UpstreamUnavailable
from sdk.files import Decoded
from sdk.http import Http

from .records import Records

POINTS = (
    "never",
    "before the first commit",
    "after the first commit",
    "before the send",
    "after the send",
    "before the last commit",
    "after the last commit",
)
OUTCOMES: dict[str, tuple[bool, Callable[[], Exception | None]]] = {
    # what is executed, and what is seen
    "done": (True, lambda: None),
    "refused": (False, lambda: Rejected("no")),
    "not sent": (False, lambda: UpstreamUnavailable("down", processed=False)),
    "unprocessed": (False, lambda: UpstreamUnavailable("busy", processed=False)),
    "reset, executed": (True, lambda: UpstreamUnavailable("cut")),
    "reset, lost": (False, lambda: UpstreamUnavailable("cut")),
    "garbage, executed": (True, lambda: UpstreamInvalid("?")),
    "garbage, lost": (False, lambda: UpstreamInvalid("?")),
    "late, executed": (True, lambda: UpstreamUnavailable("slow", timeout=True)),
    "bug, executed": (True, lambda: ZeroDivisionError()),
}
CLASSES = ("reconcilable", "at-most-once")
CONTENT = b"what is kept apart"
"""The request has a long content, in a row of its own."""
MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Died(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass
class World:
    """A publisher, a clock, and where the next gateway dies."""

    point: str
    outcome: str
    now: float = 1000.0
    executed: list[str] = field(default_factory=list)
    sends: int = 0
    spoilt: int = 0
    dead: bool = False
    died_at: list[str] = field(default_factory=list)

    def here(self, point: str) -> None:
        if self.dead:
            raise Died
        if point == self.point and not self.died_at:
            self.died_at.append(point)
            self.dead = True
            raise Died

    async def create(self, connector: Records, record: Any) -> dict[str, str]:
        """The endpoint's method: the publisher's part of it."""
        call = current_call()
        self.here("before the send")
        if call.guard:
            call.guard()
        self.sends += 1
        self.spoilt += base64.b64decode(record.text) != CONTENT
        executed, seen = OUTCOMES[self.outcome] if self.sends == 1 else OUTCOMES["done"]
        error = seen()
        if self.outcome != "not sent" or self.sends > 1:
            call.effect_sent, call.effects = True, call.effects + 1
        if executed:
            self.executed.append(call.reference)
        self.here("after the send")
        if error is not None:
            raise error
        return {"id": f"R{len(self.executed)}"}

    async def find(self, connector: Records, reference: str) -> list[dict[str, str]]:
        return [{"id": f"R{n}"} for n, known in enumerate(self.executed) if known == reference]


class Doomed(Store):
    """A store whose process dies around its commits."""

    world: World

    async def run(self, work: Any, size: int = 0) -> Any:
        name = getattr(getattr(work, "func", work), "__name__", "")
        which = {"begin": "first", "<lambda>": "first", "finish": "last"}.get(name, "")
        if which:
            self.world.here(f"before the {which} commit")
        elif self.world.dead:
            raise Died
        found = await super().run(work, size)
        if which:
            self.world.here(f"after the {which} commit")
        return found


async def case(folder: Path, point: str, outcome: str, delivery: str) -> str:
    """What is wrong with this case, or nothing."""
    world = World(point, outcome)
    kind = type(
        "Played",
        (Records,),
        {"__doc__": "Joué.", "__module__": __name__},
    )
    endpoint = next(e for e in kind.endpoints)
    object.__setattr__(endpoint, "function", world.create)
    object.__setattr__(endpoint.declaration, "delivery", delivery)
    kind.find_record = lambda self, reference: world.find(self, reference)  # type: ignore[attr-defined]
    connector = object.__new__(kind)
    instance = Instance("records/town", "", connector, Http(None), frozenset(), 300.0, {})  # type: ignore[arg-type]
    url = f"sqlite:///{folder / 'relais.db'}"
    seal = Seal(folder / "keys")
    options = DeliveryOptions(lease=1, margin=0, backoff=0.001)
    told = ""
    for life in range(6):
        store = Doomed.open(url)
        assert isinstance(store, Doomed)
        store.world, world.dead = world, False
        journal = Deliveries(store, seal, options, clock=lambda: world.now, monotonic=lambda: 0.0)
        await Store.run(store, partial(records.beat, node=journal.node, now=world.now))
        journal._seen = 0.0
        sent = Sent({}, (), "application/json", b'{"text":"apart"}', {"apart": Decoded(CONTENT)})
        body = sent.body(endpoint)
        call = new_call(5.0, repeatable=False)
        try:
            answered = await journal.submit(
                instance,
                endpoint,
                sent,
                body,
                sent.arguments(endpoint, body),
                client="c",
                headers={"Idempotency-Key": "k"},
                call=call,
            )
            told = f"done {json.loads(answered.json)['id']}"
        except Rejected:
            told = "refused"
        except RelaisError as error:
            told = type(error).__name__
        except Died:
            told = ""
        world.now += 30.0
        if not world.dead:
            await Store.run(store, partial(records.beat, node=journal.node, now=world.now))
            follow = Follow(journal, {"records/town": instance}.get)
            await follow.look()
            await follow.settled()
        await store.close()
        if told.startswith("done") or (told == "refused" and life):
            break
    if world.spoilt:
        return "sent other than it came"
    if len(world.executed) > 1:
        return f"executed {len(world.executed)} times"
    if told.startswith("done") and not world.executed:
        return "told done, not executed"
    if told == "refused" and world.executed:
        return "told refused, executed"
    if delivery == "reconcilable" and outcome != "refused" and not told.startswith("done"):
        return f"never ended: {told}"
    return ""


async def every_case(outcomes: Iterable[str] = OUTCOMES, classes: Iterable[str] = CLASSES) -> dict[str, str]:
    """The violations, by case."""
    wrong: dict[str, str] = {}
    # In memory where that is possible: these deaths are of a process, not of a disk.
    with tempfile.TemporaryDirectory(dir=MEMORY) as made:
        folder = Path(made)
        upgrade(f"sqlite:///{folder / 'empty.db'}")
        for delivery in classes:
            for point in POINTS:
                for outcome in outcomes:
                    for ending in ("-wal", "-shm"):
                        (folder / f"relais.db{ending}").unlink(missing_ok=True)
                    shutil.copy(folder / "empty.db", folder / "relais.db")
                    said = await case(folder, point, outcome, delivery)
                    if said:
                        wrong[f"{delivery}, {point}, {outcome}"] = said
    return wrong


CASES = len(CLASSES) * len(POINTS) * len(OUTCOMES)


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wrong = asyncio.run(every_case())
    print(json.dumps({"cases": CASES, "violations": wrong}, indent=1))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
