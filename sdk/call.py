"""The call being served: the only ambient value of the house (one `ContextVar`, set by the gateway's dispatch).

Instants are seconds of a monotonic clock; the deadline is absolute, so that every wait (queue, connection, answer)
uses what is left of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import getrandbits  # a request id names a call and guards nothing; each process seeds its own
from types import TracebackType
from typing import Any

DEFAULT_BUDGET = 25.0  # seconds: below the 28 s after which w.c.s. gives up by itself


@dataclass(frozen=True, slots=True)
class Made:
    """Something made before for a subject: the publisher's id, and its state by the last look that saw a change.

    Instants are seconds since 1970 (UTC). `status` is empty as long as no look saw one. `expected` is the query of its
    looks: what the request said of it, by the names of the looks' parameters, as text.
    """

    id: str
    status: str
    final: bool
    void: bool
    created: float
    updated: float
    expected: Mapping[str, str] = field(default_factory=dict)


async def _nothing_made(subject: Mapping[str, object]) -> tuple[Made, ...]:
    return ()


@dataclass(slots=True)
class Call:
    """One call through the gateway, or one piece of scheduled work.

    `repeatable` is True where running it twice changes nothing upstream (every `@get`); the sending layer repeats
    nothing else. `effect_sent` becomes True once a request with an effect may have reached the publisher without a
    clear answer since: from then on a failure is an unknown outcome, not a failure. `reference` is our short name for
    what an effect creates: written into a field the publisher can be searched by, it is what `find` gets back. `guard`
    is asked before each effect and raises when it may not leave any more; `effects` counts those it let go. `earlier`
    are the publisher's ids made before for the same subject (`@create(subject=…)`) and not known to have ended without
    effect, oldest first. `made({"reference": "F1"})` tells what this instance made for a subject and follows, oldest
    first; nothing outside the gateway. `unattended` is True where nobody waits for the answer: callers go first.
    """

    request_id: str
    deadline: float
    repeatable: bool = True
    clock: Callable[[], float] = time.monotonic
    effect_sent: bool = False
    reference: str = ""
    effects: int = 0
    earlier: tuple[str, ...] = ()
    made: Callable[[Mapping[str, object]], Awaitable[tuple[Made, ...]]] = _nothing_made
    guard: Callable[[], None] | None = None
    unattended: bool = False
    exchanges: int = 0
    upstream_seconds: float = 0.0
    notes: dict[str, object] = field(default_factory=dict)
    held_by: asyncio.Task[Any] | None = None
    read_so: dict[str, int] = field(default_factory=dict)
    """SOAP answers by the way they were read: compiled, stepped, apart, zeep."""

    def remaining(self) -> float:
        """Seconds left before the caller must have its answer (never negative)."""
        return max(0.0, self.deadline - self.clock())


_current: ContextVar[Call] = ContextVar("relais_call")


def new_call(
    budget: float = DEFAULT_BUDGET,
    *,
    repeatable: bool = True,
    unattended: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Call:
    """A call that starts now and must be answered within `budget` seconds."""
    return Call(
        request_id=f"{getrandbits(128):032x}",
        deadline=clock() + budget,
        repeatable=repeatable,
        unattended=unattended,
        clock=clock,
    )


def current_call() -> Call:
    """The call being served; outside the gateway (a script, a test) a fresh one with the default budget."""
    try:
        return _current.get()
    except LookupError:
        return new_call()


@contextmanager
def serving(call: Call) -> Iterator[Call]:
    """Makes `call` the current one for the block."""
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


class within:
    """`async with within(call)`: `call` is the current one for the block, which its deadline ends with TimeoutError.

    What runs in the same task needs no other timer for the whole of its work: `call.held_by` tells which task that is.
    It ends as `asyncio.timeout` does, whose own object and steps every call would pay.
    """

    __slots__ = ("_call", "_cancelling", "_late", "_task", "_timer", "_token")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._late = False

    async def __aenter__(self) -> Call:
        call = self._call
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = call.held_by = task
        self._cancelling = task.cancelling()
        self._timer = loop.call_later(call.remaining(), self._end)
        self._token = _current.set(call)
        return call

    def _end(self) -> None:
        self._late = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.held_by = None
        _current.reset(self._token)
        self._timer.cancel()
        if self._late and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
