"""The policies between a connector and the wire, outermost first: log, breaker, limit, retry.

Each is a `Policy`; each costs a few microseconds when all goes well. One set per instance.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from tenacity import AsyncRetrying, RetryCallState

from .call import current_call
from .errors import Misconfigured, Overloaded, RelaisError, Text, UpstreamInvalid, UpstreamUnavailable
from .messages import Exchange, Request, Response, Send, exchange, is_repeatable, retry_after, shown_path

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]
Random = Callable[[], float]
Kind = Literal["read", "effect"]
Phase = Literal["closed", "open", "half-open"]

UNAVAILABLE = frozenset({502, 503, 504})  # 500 is how SOAP says no: an answer like another
BUSY = UNAVAILABLE | {429}

_log = structlog.get_logger("relais.http")


def _busy(response: Response) -> bool:
    return response.status in BUSY and not response.settled


# --- log --------------------------------------------------------------------------------------------------------------


class Log:
    """One event `upstream` per request: where, how long, how it ended. Never a header, a body, a query, nor a number
    that stands in the path.

    Debug when it went well, info otherwise. Also counts the exchanges of the current call.
    """

    def __init__(self, instance: str, clock: Clock = time.monotonic) -> None:
        self._instance = instance
        self._clock = clock

    @cached_property
    def _log(self) -> Any:
        return _log.bind(instance=self._instance)  # once: a logger that looks its settings up is not free

    def __call__(self, inner: Send) -> Send:
        async def send(request: Request) -> Response:
            call = current_call()
            current = Exchange(call, is_repeatable(request, call))
            token = exchange.set(current)
            started = self._clock()
            status, outcome, size = 0, "cancelled", 0
            try:
                response = await inner(request)
                status, outcome, size = response.status, "answered", len(response.body)
                return response
            except RelaisError as error:
                outcome = type(error).__name__
                raise
            except Exception:
                outcome = "bug"
                raise
            finally:
                exchange.reset(token)
                spent = self._clock() - started
                call.exchanges += current.attempts
                call.upstream_seconds += spent
                if outcome != "answered" or self._log.is_enabled_for(logging.DEBUG):
                    parts = urlsplit(request.url)
                    (self._log.debug if outcome == "answered" else self._log.info)(
                        "upstream",
                        method=request.method,
                        host=parts.hostname,
                        path=shown_path(parts.path),
                        status=status,
                        bytes=size or current.received,
                        duration_ms=round(spent * 1000, 1),
                        request_id=call.request_id,
                        attempt=current.attempts,
                        outcome=outcome,
                    )

        return send


# --- breaker ----------------------------------------------------------------------------------------------------------


class _Circuit:
    """What is known of one class of requests: recent results, and whether it is cut."""

    def __init__(self, instance: str, kind: Kind, after: int, pause: float, max_pause: float, random: Random) -> None:
        self._instance, self._kind = instance, kind
        self._after, self._pause, self._max_pause, self._random = after, pause, max_pause, random
        self._recent: deque[list[float]] = deque()  # [second, calls, failures], at most 30
        self._in_a_row = 0
        self._openings = 0
        self.until: float | None = None  # None: closed
        self.probing = False

    def phase(self, now: float) -> Phase:
        if self.until is None:
            return "closed"
        return "half-open" if now >= self.until else "open"

    def succeeded(self, now: float, *, trial: bool) -> None:
        if self.until is None:
            self._in_a_row = 0
            self._count(now, 0)
        elif trial:  # a late answer to an older request does not close
            self._close()

    def failed(self, now: float, *, unreachable: bool) -> None:
        if self.until is not None:
            if self.probing:
                self._open(now)
            return
        self._in_a_row = self._in_a_row + 1 if unreachable else 0
        self._count(now, 1)
        calls = sum(second[1] for second in self._recent)
        failures = sum(second[2] for second in self._recent)
        if self._in_a_row >= self._after or (calls >= 20 and failures * 2 >= calls):
            self._open(now)

    def _count(self, now: float, failure: int) -> None:
        second = float(int(now))
        if not self._recent or self._recent[-1][0] != second:
            while self._recent and self._recent[0][0] <= second - 30:
                self._recent.popleft()
            self._recent.append([second, 0, 0])
        self._recent[-1][1] += 1
        self._recent[-1][2] += failure

    def _open(self, now: float) -> None:
        first = self.until is None
        pause = min(self._pause * 2**self._openings, self._max_pause) * (0.8 + 0.4 * self._random())
        self._openings = min(self._openings + 1, 10)
        self.until = now + pause
        if first:
            _log.warning("breaker_opened", instance=self._instance, kind=self._kind, seconds=round(pause, 1))

    def _close(self) -> None:
        self.until, self.probing, self._openings, self._in_a_row = None, False, 0, 0
        self._recent.clear()
        _log.warning("breaker_closed", instance=self._instance, kind=self._kind)


class Breaker:
    """Stops asking a publisher that does not answer, one circuit for reads and one for effects.

    Cut after `after` unreachable or silent answers in a row, or when half of at least 20 calls in 30 s failed; for
    `pause` seconds, doubled each time up to `max_pause`, ±20 %. Then one read is let through, and its success closes.
    An effect never serves as the trial: a read that succeeds closes its circuit too; where none comes, `reach(url)`
    connects without sending anything, and the first failure after that cuts again. Answers, refusals included, are
    successes; 502, 503 and 504 are not.
    """

    def __init__(
        self,
        instance: str,
        *,
        after: int = 5,
        pause: float = 5.0,
        max_pause: float = 60.0,
        clock: Clock = time.monotonic,
        random: Random,
        reach: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self._clock = clock
        self._reach = reach
        self._read = _Circuit(instance, "read", after, pause, max_pause, random)
        self._effect = _Circuit(instance, "effect", after, pause, max_pause, random)

    def phases(self) -> dict[Kind, Phase]:
        """The state of each circuit."""
        now = self._clock()
        return {"read": self._read.phase(now), "effect": self._effect.phase(now)}

    def __call__(self, inner: Send) -> Send:
        async def send(request: Request) -> Response:
            repeatable = is_repeatable(request, current_call())
            circuit = self._read if repeatable else self._effect
            trial = False
            if circuit.until is not None:
                blocked = not repeatable and self._reach is None
                if blocked or circuit.probing or self._clock() < circuit.until:
                    raise self._cut(circuit)
                trial = circuit.probing = True
            try:
                if trial and not repeatable and self._reach is not None:
                    with suppress(Misconfigured):  # the request itself will say it
                        await self._reach(request.url)
                response = await inner(request)
            except UpstreamUnavailable as error:
                if not (error.timeout and error.processed is False):  # our own lack of time is no news of the publisher
                    circuit.failed(self._clock(), unreachable=True)
                raise
            except UpstreamInvalid:
                circuit.failed(self._clock(), unreachable=False)
                raise
            else:
                now = self._clock()
                if response.status in UNAVAILABLE and not response.settled:
                    circuit.failed(now, unreachable=False)
                else:
                    circuit.succeeded(now, trial=trial)
                    if repeatable and self._effect.phase(now) == "half-open" and not self._effect.probing:
                        self._effect.succeeded(now, trial=True)
                return response
            finally:
                if trial:
                    circuit.probing = False

        return send

    def _cut(self, circuit: _Circuit) -> UpstreamUnavailable:
        return UpstreamUnavailable(
            Text(
                "Le logiciel ne répondait plus : appel suspendu pour le laisser revenir.",
                en="The software had stopped answering: call withheld to let it recover.",
            ),
            detail="breaker open",
            retry_after=max(1.0, round((circuit.until or 0.0) - self._clock(), 1)),
            processed=False,
        )


# --- limit ------------------------------------------------------------------------------------------------------------


SHARE = 0.25
"""Of an instance's limit, what calls nobody waits for may use; one at least."""
PATIENCE = 25.0
"""Seconds such a call waits for its turn."""


class Limit:
    """At most `most` requests at once; `queue` more wait at most `wait` seconds; the others get `Overloaded`.

    Under overload the newest waiter goes first: the oldest one's caller is the likeliest to have left. The limit falls
    when the publisher times out or says it is busy, down to 2, and climbs back slowly. Calls nobody waits for
    (`Call.unattended`) take at most a quarter of it, and only while no caller waits; they are patient.
    """

    def __init__(self, most: int, queue: int, wait: float, *, clock: Clock = time.monotonic) -> None:
        self._most = most
        self._queue = queue
        self._wait = wait
        self._clock = clock
        self._floor = min(2, most)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._patient: deque[asyncio.Future[None]] = deque()
        self._lowered = -1.0
        self.current = float(most)
        self.in_flight = 0
        self.unattended = 0
        """Of the requests in flight, those nobody waits for."""

    @property
    def queued(self) -> int:
        """Requests of callers waiting for their turn."""
        return len(self._waiting)

    def __call__(self, inner: Send) -> Send:
        async def send(request: Request) -> Response:
            unattended = current_call().unattended
            if unattended:
                await self._patient_turn()
            elif self.in_flight < int(self.current) and not self._waiting:
                self.in_flight += 1
            else:
                await self._callers_turn()
            try:
                response = await inner(request)
            except UpstreamUnavailable as error:
                if error.timeout and error.processed is None:
                    self._lower()
                raise
            else:
                if _busy(response):
                    self._lower()
                elif self.current < self._most:
                    self.current = min(float(self._most), self.current + 1 / self.current)
                return response
            finally:
                self._release(unattended)

        return send

    async def _callers_turn(self) -> None:
        if len(self._waiting) >= self._queue:
            raise _overloaded("queue full")
        await self._turn(self._waiting, min(self._wait, current_call().remaining()), unattended=False)

    async def _patient_turn(self) -> None:
        if self._has_room():
            self.in_flight += 1
            self.unattended += 1
        else:
            await self._turn(self._patient, min(PATIENCE, current_call().remaining() / 2), unattended=True)

    def _has_room(self) -> bool:
        """Whether a request nobody waits for may go."""
        share = max(1, int(self.current * SHARE))
        return not self._waiting and self.in_flight < int(self.current) and self.unattended < share

    async def _turn(self, line: deque[asyncio.Future[None]], longest: float, *, unattended: bool) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        line.append(turn)
        patience = loop.call_later(longest, self._give_up, line, turn)
        try:
            await turn
        except TimeoutError:
            raise _overloaded("waited too long in the queue") from None
        except BaseException:
            if turn.cancelled() or not turn.done():
                with suppress(ValueError):
                    line.remove(turn)
            elif turn.exception() is None:
                self._release(unattended)  # the turn had just been given
            raise
        finally:
            patience.cancel()

    def _give_up(self, line: deque[asyncio.Future[None]], turn: asyncio.Future[None]) -> None:
        if not turn.done():
            line.remove(turn)
            turn.set_exception(TimeoutError())

    def _release(self, unattended: bool) -> None:
        self.in_flight -= 1
        self.unattended -= unattended
        while self._waiting and self.in_flight < int(self.current):
            newest_first = len(self._waiting) * 2 > self._queue
            turn = self._waiting.pop() if newest_first else self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
        while self._patient and self._has_room():
            turn = self._patient.popleft()
            if not turn.done():
                self.in_flight += 1
                self.unattended += 1
                turn.set_result(None)

    def _lower(self) -> None:
        now = self._clock()
        if now - self._lowered >= 1.0:  # a burst of failures is one piece of news
            self._lowered = now
            self.current = max(float(self._floor), self.current * 0.7)


def _overloaded(why: str) -> Overloaded:
    return Overloaded(
        Text(
            "Trop d'appels à la fois vers ce logiciel : réessayez dans un instant.",
            en="Too many calls at once to this software: try again in a moment.",
        ),
        detail=why,
        retry_after=1.0,
    )


# --- retry ------------------------------------------------------------------------------------------------------------


class _Failed(Exception):
    """A busy answer, dressed as an exception for the retrying loop."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class Retry:
    """Sends again what was surely not sent, or may be repeated: at most 2 more times, within the call's deadline.

    Waits are random up to an exponential bound (0.1 s, 0.2 s …), never shorter than `Retry-After`. At most 20 % of the
    active requests may be repeating (3 at least): a publisher in trouble is not asked three times as much.
    """

    def __init__(
        self,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Random,
        extra: int = 2,
        first: float = 0.1,
        longest: float = 2.0,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._extra = extra
        self._first = first
        self._longest = longest
        self._active = 0
        self._repeating = 0
        self._durations: deque[float] = deque(maxlen=50)

    def __call__(self, inner: Send) -> Send:
        async def send(request: Request) -> Response:
            self._active += 1
            started = self._clock()
            try:
                failure: RelaisError | _Failed
                try:
                    response = await inner(request)
                    self._durations.append(self._clock() - started)
                    if not _busy(response) or not is_repeatable(request, current_call()):
                        return response
                    failure = _Failed(response)
                except UpstreamUnavailable as error:
                    if not self._may_repeat(request, error):
                        raise
                    failure = error
                return await self._again(inner, request, failure)
            finally:
                self._active -= 1

        return send

    def _may_repeat(self, request: Request, error: BaseException | None) -> bool:
        if isinstance(error, _Failed):
            return True
        if isinstance(error, UpstreamUnavailable) and error.processed is False:
            return not error.timeout
        return isinstance(error, UpstreamUnavailable) and is_repeatable(request, current_call())

    async def _again(self, inner: Send, request: Request, failure: RelaisError | _Failed) -> Response:
        if self._repeating >= max(3.0, 0.2 * self._active):
            if isinstance(failure, _Failed):
                return failure.response
            raise failure
        pending: RelaisError | _Failed | None = failure

        async def attempt() -> Response:
            nonlocal pending
            if pending is not None:  # the attempt already made counts as the first one
                first, pending = pending, None
                raise first
            response = await inner(request)
            if _busy(response) and is_repeatable(request, current_call()):
                raise _Failed(response)
            return response

        def again(state: RetryCallState) -> bool:
            return state.outcome is not None and self._may_repeat(request, state.outcome.exception())

        def stop(state: RetryCallState) -> bool:
            left = current_call().remaining() - state.upcoming_sleep
            return state.attempt_number > self._extra or left <= 0 or left < 1.5 * usual

        usual = sorted(self._durations)[len(self._durations) * 95 // 100] if self._durations else 0.0
        self._repeating += 1
        try:
            retrying = AsyncRetrying(sleep=self._sleep, stop=stop, wait=self._pause, retry=again, reraise=True)
            result: Response = await retrying(attempt)
            return result
        except _Failed as failed:
            return failed.response
        finally:
            self._repeating -= 1

    def _pause(self, state: RetryCallState) -> float:
        bound = min(self._longest, self._first * 2 ** (state.attempt_number - 1))
        pause: float = bound * self._random()
        error: Any = state.outcome.exception() if state.outcome is not None else None
        asked = retry_after(error.response) if isinstance(error, _Failed) else getattr(error, "retry_after", None)
        return max(pause, float(asked or 0.0))
