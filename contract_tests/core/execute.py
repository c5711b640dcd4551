"""Running a plan: one case after the other, each outcome honest whatever happens."""

from __future__ import annotations

import base64
import random
import time
import traceback
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from contract_tests import caller
from contract_tests.text import Text
from contract_tests.wire import Exchange, Limits, Send

from .case import Case, Conversation
from .check import FEATURES, Failed, Omitted, Registry, Skipped
from .credentials import MASK, SECRET_HEADERS
from .endpoints import Choices, Endpoint
from .plan import Planned, plan, profiles_of, untested
from .requirement import Catalogue, catalogue
from .target import Target
from .verdict import Outcome, Status, Verdict, verdict

__all__ = ["Run", "execute"]

OK = Text("exigence tenue", "requirement met")


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: outcomes, verdicts, and every exchange."""

    target: Target
    catalogue: Catalogue
    id: str
    seed: int
    started: datetime
    ended: datetime
    duration: float
    allow_writes: bool
    rate: float
    command: str
    outcomes: tuple[Outcome, ...]
    verdicts: tuple[Verdict, ...]
    exchanges: tuple[Exchange, ...]
    secrets: frozenset[str]

    @property
    def conformant(self) -> bool:
        """Every profile is."""
        return bool(self.verdicts) and all(one.judgement == "conformant" for one in self.verdicts)

    def failing(self) -> frozenset[str]:
        """The requirements that do not hold, recommendations included."""
        wrong = [one for one in self.outcomes if one.status in ("fail", "warn")]
        return frozenset(requirement.id for one in wrong for requirement in one.requirements)


async def execute(
    target: Target,
    send: Send,
    registry: Registry,
    *,
    only: Iterable[str] = (),
    seed: int | None = None,
    allow_writes: bool = False,
    limits: Limits | None = None,
    rate: float = 0.0,
    command: str = "",
    clock: Callable[[], float] = time.monotonic,
    on_outcome: Callable[[Outcome, int, int], None] | None = None,
) -> Run:
    """Runs every case of the plan. `on_outcome` is told each outcome, how many are done, how many there are."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    conversation = Conversation(target, send, seed, allow_writes, limits or Limits(), clock)
    started, at = datetime.now(UTC), clock()
    target = await _completed(target, conversation, set(only))
    cases = plan(target, registry, only)
    outcomes: list[Outcome] = []
    for planned in cases:
        outcomes.append(await _outcome(planned, conversation))
        if on_outcome is not None:
            on_outcome(outcomes[-1], len(outcomes), len(cases))
    known = catalogue()
    profiles = [one for one in profiles_of(target) if not set(only) or one in set(only)]
    for requirement, profile in untested(known, profiles):
        assert requirement.reason is not None
        outcomes.append(Outcome(None, (requirement,), profile, "*", "omit", requirement.reason))
    today = started.date()
    outcomes = [_with_waiver(outcome, target, today) for outcome in outcomes]
    return Run(
        target,
        known,
        str(uuid.uuid4()),
        seed,
        started,
        datetime.now(UTC),
        clock() - at,
        allow_writes,
        rate,
        command,
        tuple(outcomes),
        tuple(verdict(known.profiles[one], outcomes, today) for one in profiles),
        tuple(conversation.exchanges),
        frozenset(conversation.secrets),
    )


async def _completed(target: Target, conversation: Conversation, only: set[str]) -> Target:
    """The target with the examples it did not give, where an answer gives one."""
    endpoints = []
    for endpoint in target.endpoints:
        found = None
        for call in endpoint.guesses() if not only or endpoint.profile in only else ():
            try:
                answer = await Case(None, endpoint, conversation).ask(call)
            except Skipped:
                break
            if (found := endpoint.knowing(answer.document)) is not None:
                break
        endpoints.append(found or endpoint)
    return replace(target, endpoints=tuple(endpoints))


async def _outcome(planned: Planned, conversation: Conversation) -> Outcome:
    check = planned.check
    case = Case(check, planned.endpoint, conversation)
    status: Status
    trace = ""
    answer = None
    if planned.lacking:
        names = [FEATURES[one] for one in planned.lacking]
        message = Text(
            "la cible ne déclare pas " + ", ".join(one.fr for one in names),
            "the target does not declare " + ", ".join(one.en for one in names),
        )
        return Outcome(check, check.requirements, planned.profile, case.place, "omit", message)
    if check.writes and not conversation.allow_writes:
        message = Text("écrit sur la cible : demande --allow-writes", "writes on the target: needs --allow-writes")
        return Outcome(check, check.requirements, planned.profile, case.place, "skip", message)
    try:
        await check.body(case, planned.endpoint)
        status, message = "pass", OK
    except Failed as ended:
        status, message, answer = ("fail" if check.level == "MUST" else "warn"), ended.message, ended.answer
    except Skipped as ended:
        status, message, answer = "skip", ended.message, ended.answer
    except Omitted as ended:
        status, message, answer = "omit", ended.message, ended.answer
    except Exception as bug:
        status, trace = "error", traceback.format_exc()
        said = f"{type(bug).__name__}: {bug}"
        message = Text(f"erreur de la suite, pas de la cible : {said}", f"the suite's own error, not yours: {said}")
    index = answer.index if answer else case.evidence[-1] if case.evidence else None
    exchange = conversation.exchanges[index] if index is not None else None
    if index is not None and index in case.evidence:  # the exchange that proves it is shown first
        case.evidence.remove(index)
        case.evidence.insert(0, index)
    return Outcome(
        check,
        check.requirements,
        planned.profile,
        case.place,
        status,
        message,
        tuple(case.evidence),
        tuple(_told(planned.endpoint, exchange)) if exchange is not None else (),
        _replay(exchange) if exchange is not None else "",
        trace=trace,
    )


def _told(endpoint: Endpoint, exchange: Exchange) -> list[caller.Row]:
    reader = caller.readers(endpoint.profile)
    if isinstance(endpoint, Choices):
        attributes = (endpoint.data_attribute, endpoint.id_attribute, endpoint.text_attribute)
        return caller.told(exchange, reader, attributes=attributes, parameter=endpoint.id)
    return caller.told(exchange, reader)


def _replay(exchange: Exchange) -> str:
    """A curl line without secrets: curl asks for the password of `-u`; a masked header is to be filled in."""
    request = exchange.request
    parts = ["curl -i"]
    if request.method != "GET":
        parts.append(f"-X {request.method}")
    for name, value in request.headers:
        if name.lower() == "authorization" and (user := _user(value)):
            parts.append("-u " + _quoted(user))
        elif name.lower() not in ("user-agent", "accept-encoding", "publik-caller-url"):
            parts.append("-H " + _quoted(f"{name}: {MASK if SECRET_HEADERS.fullmatch(name) else value}"))
    if request.body is not None:
        text = request.body.decode("utf-8", "replace")
        parts.append("--data-binary " + _quoted(text if len(text) <= 2000 else text[:2000] + "…"))
    return " ".join([*parts, _quoted(request.url)])


def _user(value: str) -> str:
    """The user of a Basic proof; empty for another one."""
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "basic":
        return ""
    return base64.b64decode(token).decode("utf-8", "replace").partition(":")[0]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _with_waiver(outcome: Outcome, target: Target, today: date) -> Outcome:
    ids = {requirement.id for requirement in outcome.requirements}
    found = [one for one in target.waivers if one.requirement in ids and one.case in ("", outcome.place)]
    if not found or outcome.status not in ("fail", "warn"):
        return outcome
    return replace(outcome, waiver=max(found, key=lambda one: one.until))
