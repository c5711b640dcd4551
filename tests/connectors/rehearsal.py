"""What every endpoint of a connector can be asked of its simulator, found in its samples and its demonstration."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from sdk import Connector
from sdk.simulator import Simulator
from sdk.spec import Endpoint
from tests.gateway.conftest import Gateway
from tests.shown import demonstrated, sampled

COUNTED = 1000


@dataclass(frozen=True)
class Asked:
    """One call: its path below the instance, its query, its body."""

    endpoint: Endpoint
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    requests: int = 0
    """How many requests it makes upstream once everything that is kept (a token, a session) is known."""
    executed: frozenset[str] = frozenset()
    """The operations it executes when all goes well."""

    @property
    def name(self) -> str:
        return f"{self.endpoint.method} {self.endpoint.path}"

    @property
    def effect(self) -> bool:
        return self.endpoint.kind in ("create", "update")


@dataclass
class Heard:
    """An answer, and what the simulator executed meanwhile."""

    status: int
    headers: Mapping[str, str]
    body: Any
    executed: list[str]
    later: bool = False
    """Read at the ticket of a deferred request, once the gateway has tried it."""

    @property
    def err_class(self) -> str:
        """The error's class; "" for a success, a file included."""
        return str(self.body.get("err_class") or "") if isinstance(self.body, dict) and self.body.get("err") else ""


@dataclass
class Rehearsal:
    """Calls that work, and the operations that only effects execute."""

    calls: list[Asked] = field(default_factory=list)
    effects: set[str] = field(default_factory=set)


@dataclass
class Stage:
    """One running gateway before one running simulator; `made` keeps the ids that creations answered."""

    gateway: Gateway
    simulator: Simulator
    where: str
    made: dict[tuple[str, ...], str] = field(default_factory=dict)

    async def ask(self, asked: Asked) -> Heard:
        """Makes the call, the ids of what was created here in its path, and a body that no earlier call had."""
        before = len(self.simulator.ledger)
        segments = asked.path.split("/")
        for prefix, id in self.made.items():
            if tuple(segments[: len(prefix)]) == prefix and len(segments) > len(prefix):
                segments[len(prefix)] = id
        path = "/".join(quote(segment, safe="") for segment in segments)
        query = f"?{urlencode(asked.query)}" if asked.query else ""
        options = {"json": _unique(asked)} if asked.body is not None else {}
        status, headers, body = await self.gateway.call(
            asked.endpoint.method, f"/{self.where}/{path}{query}", **options
        )
        later = asked.endpoint.declaration.deferred and not body["err"]
        if later:
            body = await self._at_the_ticket(body["data"]["status_url"])
        return Heard(status, headers, body, [each.operation for each in self.simulator.ledger[before:]], later)

    async def _at_the_ticket(self, url: str) -> Any:
        """What a deferred request has become, as if it had been waited for."""
        async with asyncio.timeout(30):
            while (said := (await self.gateway.get(url))["data"])["state"] in ("RECEIVED", "SENDING"):
                await self.gateway.server.follow.look()
                await self.gateway.server.follow.settled()
        error = {"UNKNOWN": "OutcomeUnknown", "PARKED": "NeedsOperator"}.get(said["state"], said["err_class"])
        return {"err": int(bool(error)), "err_class": error, "data": said["data"]}

    async def checked(self) -> bool:
        """Whether the gateway has checked the instance."""
        return bool((await self.gateway.get(f"/{self.where}/up"))["data"]["state"] != "unchecked")

    async def create(self, asked: Asked) -> Heard:
        """As `ask`, and remembers the id of what was created."""
        heard = await self.ask(asked)
        data = heard.body.get("data") if isinstance(heard.body, dict) else None
        if asked.endpoint.result.contract == "receipt" and isinstance(data, dict) and not heard.err_class:
            self.made[tuple(asked.path.split("/"))] = str(data["id"])
        return heard


async def rehearse(stage: Stage, connector: type[Connector[Any]]) -> Rehearsal:
    """For each endpoint the first known call that succeeds, else the first that is answered at all."""
    found, reads = Rehearsal(), set[str]()
    shown = list(_shown(stage.simulator, connector))
    for endpoint in in_order(connector):
        known = [each for each in shown if each.endpoint is endpoint]
        assert known, f"{connector.name}: no sample and no line of the demonstration calls {endpoint.path}"
        answers: list[tuple[Asked, Heard]] = []
        for asked in known:
            heard = await stage.create(asked)
            answers.append((asked, heard))
            if not heard.err_class:
                break
        worked = [each for each in answers if not each[1].err_class]
        answered = [each for each in answers if each[1].err_class not in ("InvalidInput", "KeyRequired", "Internal")]
        assert answered, f"{connector.name}: every known call of {endpoint.path} is refused before anything is asked"
        asked, heard = (worked or answered)[0]
        stage.simulator.faults.next("reset", after=COUNTED)
        await stage.ask(asked)
        requests = COUNTED - int(stage.simulator.faults.state()["next"][0]["after"])
        stage.simulator.faults.clear()
        found.calls.append(replace(asked, requests=requests, executed=frozenset(heard.executed)))
        (found.effects if asked.effect else reads).update(heard.executed)
    found.effects -= reads
    return found


def in_order(connector: type[Connector[Any]]) -> list[Endpoint]:
    """Its endpoints but callbacks: what creates first, then what is about something that exists."""
    asked = [each for each in connector.endpoints if each.kind != "callback"]
    return sorted(asked, key=lambda each: (each.kind != "create", each.path.count("{")))


def _shown(simulator: Simulator, connector: type[Connector[Any]]) -> Iterator[Asked]:
    for one in (*sampled(connector), *demonstrated(simulator)):
        for endpoint in connector.endpoints:
            path = one.path.split("/")
            here = endpoint.method == one.method and endpoint.match(path) is not None
            if endpoint.attribute == one.attribute if one.attribute else here:
                yield Asked(endpoint, one.path, one.query, one.body)
                break


def _unique(asked: Asked) -> Any:
    """The body with a text of its own in each field that tells two requests apart."""
    declaration = asked.endpoint.declaration
    told = {declaration.reference, *declaration.key, *getattr(declaration, "subject", ())}
    if not isinstance(asked.body, dict):
        return asked.body
    return {
        name: uuid.uuid4().hex[:20] if name in told and isinstance(value, str) else value
        for name, value in asked.body.items()
    }
