"""The policies around the wire, and the bodies a connector sends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from structlog.testing import capture_logs

from sdk.call import current_call, new_call, serving
from sdk.errors import (
    InvalidInput,
    Misconfigured,
    Overloaded,
    RelaisError,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from sdk.files import File
from sdk.http import Http, HttpOptions, Request, Response, Send
from sdk.messages import retry_after
from sdk.model import Model, Secret
from sdk.policies import Breaker, Limit, Log, Retry

from .wire_kit import HANG_UP, SILENCE, Pauses, Upstream, answer, upstream, way

READ = Request("GET", "https://data.example.org/x", repeatable=True)
EFFECT = Request("POST", "https://data.example.org/x", repeatable=False)
FINE = Response(200, {}, b"")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A `Send` that plays given outcomes in turn, the last one for ever."""

    def __init__(self, *outcomes: Response | Exception) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def not_reached() -> UpstreamUnavailable:
    return UpstreamUnavailable("down", processed=False)


def timed_out() -> UpstreamUnavailable:
    return UpstreamUnavailable("slow", processed=None, timeout=True)


async def outcome(send: Send, request: Request = READ) -> Response | RelaisError:
    try:
        return await send(request)
    except RelaisError as error:
        return error


# --- retry ------------------------------------------------------------------------------------------------------------


def retrying(inner: Send, *, pauses: Pauses | None = None, clock: Callable[[], float] | None = None) -> Send:
    return Retry(clock=clock or Clock(), sleep=pauses or Pauses(), random=lambda: 0.5)(inner)


async def test_what_went_well_is_sent_once_and_waits_for_nothing() -> None:
    script, pauses = Script(FINE), Pauses()
    assert await retrying(script, pauses=pauses)(READ) is FINE
    assert (len(script.requests), pauses.asked) == (1, [])


@pytest.mark.parametrize("request_", [READ, EFFECT])
async def test_what_was_surely_not_sent_is_tried_twice_more(request_: Request) -> None:
    script, pauses = Script(not_reached()), Pauses()
    assert isinstance(await outcome(retrying(script, pauses=pauses), request_), UpstreamUnavailable)
    assert len(script.requests) == 3
    assert pauses.asked == [0.05, 0.1], "full jitter under 0.1 s then 0.2 s"


async def test_the_second_attempt_may_succeed() -> None:
    script = Script(not_reached(), FINE)
    assert await retrying(script)(EFFECT) is FINE


@pytest.mark.parametrize("error", [timed_out(), UpstreamUnavailable("cut", processed=None)])
async def test_an_effect_of_unknown_outcome_is_never_sent_again(error: UpstreamUnavailable) -> None:
    script = Script(error)
    assert await outcome(retrying(script), EFFECT) is error
    assert len(script.requests) == 1
    assert isinstance(await outcome(retrying(script), READ), UpstreamUnavailable)
    assert len(script.requests) == 4


@pytest.mark.parametrize(
    "error", [UpstreamInvalid("odd"), Misconfigured("wrong"), InvalidInput("bad"), Overloaded("x")]
)
async def test_errors_that_asking_again_cannot_mend_are_not_repeated(error: RelaisError) -> None:
    script = Script(error)
    assert await outcome(retrying(script)) is error
    assert len(script.requests) == 1


async def test_the_call_says_whether_a_request_may_be_repeated() -> None:
    silent = Request("POST", "https://data.example.org/x")
    for repeatable, sent in ((False, 1), (True, 3)):
        script = Script(timed_out())
        with serving(new_call(repeatable=repeatable)):
            await outcome(retrying(script), silent)
        assert len(script.requests) == sent


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_publisher_is_asked_again_for_a_read_only(status: int) -> None:
    busy = Response(status, {}, b"")
    script = Script(busy)
    assert await outcome(retrying(script), READ) is busy
    assert len(script.requests) == 3
    assert await outcome(retrying(script), EFFECT) is busy
    assert len(script.requests) == 4


@pytest.mark.parametrize("status", [400, 404, 409, 500, 501])
async def test_other_statuses_are_answers(status: int) -> None:
    script = Script(Response(status, {}, b""))
    await retrying(script)(READ)
    assert len(script.requests) == 1


async def test_retry_after_is_respected() -> None:
    script, pauses = Script(Response(503, {"retry-after": "2"}, b""), FINE), Pauses()
    assert await retrying(script, pauses=pauses)(READ) is FINE
    assert pauses.asked == [2.0]


async def test_a_wait_longer_than_the_deadline_is_not_begun() -> None:
    busy = Response(503, {"Retry-After": "60"}, b"")
    script, pauses = Script(busy), Pauses()
    assert await retrying(script, pauses=pauses)(READ) is busy
    assert (len(script.requests), pauses.asked) == (1, [])


async def test_an_attempt_that_has_no_chance_to_end_in_time_is_not_begun() -> None:
    clock = Clock()

    async def slow(request: Request) -> Response:
        clock.now += 4
        return FINE

    script = Script(not_reached())
    turns = iter([slow, script, script])
    send = retrying(lambda request: next(turns)(request), clock=clock)
    await send(READ)
    with serving(new_call(5, clock=clock)):
        await outcome(send)
    assert len(script.requests) == 1, "answers take 4 s: 5 s are too few for another attempt"


async def test_at_most_three_requests_repeat_at_once_when_few_are_active() -> None:
    gate = asyncio.Event()

    async def wait(seconds: float) -> None:
        await gate.wait()

    script = Script(not_reached())
    send = Retry(clock=Clock(), sleep=wait, random=lambda: 0.5)(script)
    tasks = [asyncio.create_task(outcome(send)) for _ in range(10)]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 7:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=1)
    assert len(script.requests) == 10
    gate.set()
    await asyncio.gather(*tasks)
    assert len(script.requests) == 10 + 3 * 2


async def test_a_fifth_of_many_active_requests_may_repeat() -> None:
    arrived, fall, recover = asyncio.Event(), asyncio.Event(), asyncio.Event()
    attempts: list[Request] = []

    async def inner(request: Request) -> Response:
        attempts.append(request)
        if len(attempts) == 60:
            arrived.set()
        if request is EFFECT:
            await recover.wait()
            return FINE
        await fall.wait()
        raise not_reached()

    async def wait(seconds: float) -> None:
        await recover.wait()

    send = Retry(clock=Clock(), sleep=wait, random=lambda: 0.5)(inner)
    calm = [asyncio.create_task(send(EFFECT)) for _ in range(40)]
    troubled = [asyncio.create_task(outcome(send)) for _ in range(20)]
    await arrived.wait()
    fall.set()
    refused = asyncio.Semaphore(0)
    for task in troubled:
        task.add_done_callback(lambda task: refused.release())
    for _ in range(8):  # the 12 others of 60 wait for another attempt
        await refused.acquire()
    recover.set()
    await asyncio.gather(*calm, *troubled)
    assert len(attempts) == 60 + 12 * 2


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    def given(value: str) -> float | None:
        return retry_after(Response(503, {"Retry-After": value}, b""), now=lambda: 1445412480.0)

    assert given("120") == 120
    assert given("Wed, 21 Oct 2015 07:28:30 GMT") == 30
    assert given("Wed, 21 Oct 2015 07:00:00 GMT") == 0
    assert given("999999999") == 86400
    for odd in ("", "-1", "soon", "1.5", "²", "Wed, 99 Oct 2015"):
        assert given(odd) is None


# --- breaker ----------------------------------------------------------------------------------------------------------


class Circuit:
    """A breaker over a script, with its clock."""

    def __init__(self, *outcomes: Response | Exception, reach: Callable[[str], Awaitable[None]] | None = None) -> None:
        self.clock = Clock()
        self.script = Script(*outcomes)
        self.breaker = Breaker("demo/one", clock=self.clock, random=lambda: 0.5, reach=reach)
        self.send = self.breaker(self.script)

    def will(self, *outcomes: Response | Exception) -> None:
        self.script.outcomes = list(outcomes)

    async def ask(self, times: int = 1, request: Request = READ) -> Response | RelaisError:
        result: Response | RelaisError = FINE
        for _ in range(times):
            result = await outcome(self.send, request)
        return result

    @property
    def sent(self) -> int:
        return len(self.script.requests)


@pytest.mark.parametrize("error", [not_reached(), timed_out()])
async def test_five_failures_in_a_row_cut_the_circuit(error: UpstreamUnavailable) -> None:
    circuit = Circuit(error)
    await circuit.ask(4)
    assert circuit.breaker.phases()["read"] == "closed"
    await circuit.ask()
    assert circuit.breaker.phases() == {"read": "open", "effect": "closed"}
    refused = await circuit.ask()
    assert isinstance(refused, UpstreamUnavailable)
    assert (refused.processed, refused.retry_after, refused.timeout) == (False, 5.0, False)
    assert circuit.sent == 5


async def test_an_answer_in_between_starts_the_count_again() -> None:
    circuit = Circuit(*[not_reached()] * 4, FINE, *[not_reached()] * 4, FINE)
    await circuit.ask(10)
    assert circuit.breaker.phases()["read"] == "closed"


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 409, 422, 429, 500])
async def test_business_answers_never_cut(status: int) -> None:
    circuit = Circuit(Response(status, {}, b""))
    await circuit.ask(50)
    assert circuit.sent == 50


async def test_half_of_twenty_calls_failing_within_thirty_seconds_cuts() -> None:
    for failure in (UpstreamInvalid("odd"), Response(503, {}, b"")):
        circuit = Circuit(*[FINE, failure] * 9, FINE, failure)
        await circuit.ask(19)
        assert circuit.breaker.phases()["read"] == "closed"
        await circuit.ask()
        assert circuit.breaker.phases()["read"] == "open"


async def test_failures_older_than_thirty_seconds_are_forgotten() -> None:
    circuit = Circuit(*[FINE, UpstreamInvalid("odd")] * 9, FINE, UpstreamInvalid("odd"))
    await circuit.ask(18)
    circuit.clock.now += 31
    await circuit.ask(2)
    assert circuit.breaker.phases()["read"] == "closed"


@pytest.mark.parametrize("error", [Misconfigured("tls"), InvalidInput("x"), Overloaded("x"), ValueError("bug")])
async def test_our_own_errors_never_cut(error: Exception) -> None:
    circuit = Circuit(error)
    for _ in range(30):
        with pytest.raises(type(error)):
            await circuit.send(READ)
    assert circuit.sent == 30


async def test_our_own_lack_of_time_never_cuts() -> None:
    circuit = Circuit(UpstreamUnavailable("late", processed=False, timeout=True))
    await circuit.ask(30)
    assert circuit.sent == 30


async def test_one_read_is_let_through_after_the_pause_and_its_success_closes() -> None:
    circuit = Circuit(not_reached())
    await circuit.ask(5)
    circuit.clock.now += 5.1
    assert circuit.breaker.phases()["read"] == "half-open"
    gate = asyncio.Event()

    async def held(request: Request) -> Response:
        await gate.wait()
        return FINE

    circuit.send = circuit.breaker(held)
    trial = asyncio.create_task(circuit.ask())
    await asyncio.sleep(0)
    other = await circuit.ask()
    assert isinstance(other, UpstreamUnavailable), "only one at a time"
    gate.set()
    assert await trial is FINE
    assert circuit.breaker.phases()["read"] == "closed"
    assert await circuit.ask() is FINE


async def test_a_failed_trial_doubles_the_pause_up_to_a_minute() -> None:
    circuit = Circuit(not_reached())
    await circuit.ask(5)
    for pause in (5, 10, 20, 40, 60, 60):
        circuit.clock.now += pause - 0.5
        assert circuit.breaker.phases()["read"] == "open"
        circuit.clock.now += 1
        assert circuit.breaker.phases()["read"] == "half-open"
        await circuit.ask()


async def test_a_trial_whose_caller_leaves_frees_its_place() -> None:
    circuit = Circuit(not_reached())
    await circuit.ask(5)
    circuit.clock.now += 6

    async def endless(request: Request) -> Response:
        await asyncio.Event().wait()
        return FINE

    trial = asyncio.create_task(circuit.breaker(endless)(READ))
    await asyncio.sleep(0)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    circuit.will(FINE)
    assert await circuit.ask() is FINE


async def test_a_late_answer_to_an_older_request_does_not_close() -> None:
    circuit = Circuit(not_reached())
    gate = asyncio.Event()

    async def held(request: Request) -> Response:
        await gate.wait()
        return FINE

    older = asyncio.create_task(circuit.breaker(held)(READ))
    await asyncio.sleep(0)
    await circuit.ask(5)
    gate.set()
    await older
    assert circuit.breaker.phases()["read"] == "open"


async def test_reads_and_effects_are_cut_apart() -> None:
    circuit = Circuit(timed_out())
    await circuit.ask(5, EFFECT)
    assert circuit.breaker.phases() == {"read": "closed", "effect": "open"}
    circuit.will(FINE)
    assert await circuit.ask() is FINE


async def test_an_effect_is_never_the_trial() -> None:
    circuit = Circuit(timed_out())
    await circuit.ask(5, EFFECT)
    circuit.clock.now += 100
    circuit.will(FINE)
    assert isinstance(await circuit.ask(1, EFFECT), UpstreamUnavailable)
    assert circuit.sent == 5
    await circuit.ask(1, READ)
    assert circuit.breaker.phases()["effect"] == "closed"
    assert await circuit.ask(1, EFFECT) is FINE


async def test_a_read_during_the_pause_does_not_close_the_effects_circuit() -> None:
    circuit = Circuit(timed_out())
    await circuit.ask(5, EFFECT)
    circuit.will(FINE)
    await circuit.ask(1, READ)
    assert circuit.breaker.phases()["effect"] == "open"


async def test_where_no_read_comes_a_bare_connection_is_the_trial_of_effects() -> None:
    reached: list[str] = []
    up = False

    async def reach(url: str) -> None:
        reached.append(url)
        if not up:
            raise not_reached()

    circuit = Circuit(not_reached(), reach=reach)
    await circuit.ask(5, EFFECT)
    circuit.clock.now += 5.1
    circuit.will(FINE)
    assert isinstance(await circuit.ask(1, EFFECT), UpstreamUnavailable)
    assert (circuit.sent, len(reached)) == (5, 1)
    assert circuit.breaker.phases()["effect"] == "open"
    up = True
    circuit.clock.now += 10.1
    assert await circuit.ask(1, EFFECT) is FINE
    assert circuit.breaker.phases()["effect"] == "closed"


async def test_the_first_failure_after_a_bare_connection_cuts_again() -> None:
    async def reach(url: str) -> None:
        return None

    circuit = Circuit(timed_out(), reach=reach)
    await circuit.ask(5, EFFECT)
    circuit.clock.now += 5.1
    await circuit.ask(1, EFFECT)
    assert circuit.sent == 6
    await circuit.ask(1, EFFECT)
    assert circuit.sent == 6
    circuit.clock.now += 9
    assert circuit.breaker.phases()["effect"] == "open"


async def test_a_cut_and_its_end_are_logged_once_each() -> None:
    circuit = Circuit(not_reached())
    with capture_logs() as logs:
        await circuit.ask(9)
        for _ in range(3):
            circuit.clock.now += 61
            await circuit.ask(2)
        circuit.clock.now += 61
        circuit.will(FINE)
        await circuit.ask(3)
    events = [(log["event"], log["instance"], log["kind"]) for log in logs]
    assert events == [("breaker_opened", "demo/one", "read"), ("breaker_closed", "demo/one", "read")]


async def test_the_real_wire_connects_without_sending_for_the_trial() -> None:
    clock = Clock()
    async with upstream(HANG_UP) as shaky, way(shaky, breaker_failures=1, given={"clock": clock}) as http:
        assert isinstance(await outcome(http.send, Request("POST", shaky.url, repeatable=False)), RelaisError)
        assert http.state().breaker["effect"] == "open"
        clock.now += 10
        connections = shaky.connections
        shaky.answer = lambda seen: answer()
        assert (await http.post(shaky.url, json={}, repeatable=False)).status == 200
        assert http.state().breaker["effect"] == "closed"
        assert shaky.connections == connections + 2
        assert len(shaky.requests) == 2


async def test_the_breaker_can_be_switched_off() -> None:
    async with upstream(HANG_UP) as dead, way(dead, breaker=False, breaker_failures=1, retries=0) as http:
        for _ in range(3):
            await outcome(http.send, Request("GET", dead.url))
        assert len(dead.requests) == 3


# --- limit ------------------------------------------------------------------------------------------------------------


class Busy:
    """A publisher that holds each request until it is let go; keeps the order of arrival."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self._gates: list[asyncio.Future[None]] = []

    async def __call__(self, request: Request) -> Response:
        self.arrived.append(request.url)
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        return FINE

    async def let_go(self, number: int = 1) -> None:
        for _ in range(number):
            self._gates.pop(0).set_result(None)
        for _ in range(5):
            await asyncio.sleep(0)


async def started(send: Send, *names: str) -> list[asyncio.Task[Response | RelaisError]]:
    tasks = [asyncio.create_task(outcome(send, Request("GET", name, repeatable=True))) for name in names]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_no_more_than_the_limit_at_once_and_the_others_wait_their_turn() -> None:
    busy, limit = Busy(), Limit(2, 4, 5.0)
    tasks = await started(limit(busy), "a", "b", "c", "d")
    assert busy.arrived == ["a", "b"]
    assert (limit.in_flight, limit.queued) == (2, 2)
    await busy.let_go(1)
    assert busy.arrived == ["a", "b", "c"]
    await busy.let_go(1)
    await busy.let_go(2)
    assert await asyncio.gather(*tasks) == [FINE] * 4
    assert (limit.in_flight, limit.queued) == (0, 0)


async def test_a_full_queue_answers_at_once_that_nothing_was_sent() -> None:
    busy, limit = Busy(), Limit(1, 1, 5.0)
    tasks = await started(limit(busy), "a", "b", "c")
    refused = await tasks[2]
    assert isinstance(refused, Overloaded)
    assert (refused.processed, refused.http_status, refused.retry_after) == (False, 503, 1.0)
    await busy.let_go()
    await busy.let_go()
    await asyncio.gather(*tasks)


async def test_a_turn_that_does_not_come_in_time_is_an_overload() -> None:
    busy, limit = Busy(), Limit(1, 5, 0.01)
    tasks = await started(limit(busy), "a", "b")
    assert isinstance(await tasks[1], Overloaded)
    assert limit.queued == 0
    await busy.let_go()
    await asyncio.gather(*tasks)


async def test_no_queue_means_refused_at_once() -> None:
    busy, limit = Busy(), Limit(1, 0, 1.0)
    tasks = await started(limit(busy), "a", "b")
    assert isinstance(await tasks[1], Overloaded)
    await busy.let_go()
    await asyncio.gather(*tasks)


async def test_under_overload_the_newest_goes_first() -> None:
    busy, limit = Busy(), Limit(1, 4, 5.0)
    tasks = await started(limit(busy), "a", "b", "c", "d", "e")
    for _ in range(5):
        await busy.let_go()
    assert busy.arrived == ["a", "e", "d", "b", "c"], "newest first until the queue is half empty, then in order"
    await asyncio.gather(*tasks)


async def test_a_caller_that_leaves_the_queue_gives_its_place_back() -> None:
    busy, limit = Busy(), Limit(1, 2, 5.0)
    tasks = await started(limit(busy), "a", "b", "c")
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    assert limit.queued == 1
    await busy.let_go()
    assert busy.arrived == ["a", "c"]
    await busy.let_go()
    await asyncio.gather(tasks[0], tasks[2])
    assert (limit.in_flight, limit.queued) == (0, 0)


async def test_a_caller_that_leaves_as_its_turn_comes_passes_it_on() -> None:
    busy, limit = Busy(), Limit(1, 10, 5.0)
    tasks = await started(limit(busy), "a", "b", "c")
    busy._gates.pop(0).set_result(None)
    await asyncio.sleep(0)  # "a" ends, the turn is given to "b", which has not run yet
    tasks[1].cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert "c" in busy.arrived
    while limit.in_flight:
        await busy.let_go()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (limit.in_flight, limit.queued) == (0, 0)


async def test_a_failing_request_frees_its_place() -> None:
    limit = Limit(1, 1, 5.0)
    send = limit(Script(ValueError("bug"), not_reached(), FINE))
    with pytest.raises(ValueError):
        await send(READ)
    await outcome(send)
    assert await send(READ) is FINE
    assert limit.in_flight == 0


async def unattended(send: Send, *names: str) -> list[asyncio.Task[Response | RelaisError]]:
    """The same, for work of the gateway's own."""
    with serving(new_call(60.0, unattended=True)):
        return await started(send, *names)


async def test_what_nobody_waits_for_takes_a_quarter_of_the_limit_at_most() -> None:
    busy, limit = Busy(), Limit(8, 8, 5.0)
    send = limit(busy)
    jobs = await unattended(send, "job 1", "job 2", "job 3")
    calls = await started(send, "a", "b")
    assert busy.arrived == ["job 1", "job 2", "a", "b"]
    await busy.let_go(1)
    assert busy.arrived[4:] == ["job 3"]
    await busy.let_go(4)
    assert await asyncio.gather(*jobs, *calls) == [FINE] * 5
    assert (limit.in_flight, limit.unattended) == (0, 0)


async def test_callers_come_before_what_nobody_waits_for() -> None:
    busy, limit = Busy(), Limit(1, 8, 5.0)
    send = limit(busy)
    first = await started(send, "a")
    jobs = await unattended(send, "job")
    second = await started(send, "b")
    await busy.let_go(1)
    assert busy.arrived == ["a", "b"]
    await busy.let_go(1)
    assert busy.arrived == ["a", "b", "job"]
    await busy.let_go(1)
    assert await asyncio.gather(*first, *jobs, *second) == [FINE] * 3


async def test_what_nobody_waits_for_is_told_overloaded_only_after_long(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, limit = Busy(), Limit(1, 8, 0.0)
    monkeypatch.setattr("sdk.policies.PATIENCE", 0.01)
    calls = await started(limit(busy), "a")
    jobs = await unattended(limit(busy), "job")
    (refused,) = await asyncio.gather(*jobs)
    assert isinstance(refused, Overloaded)
    assert refused.processed is False
    jobs = await unattended(limit(busy), "cancelled")
    jobs[0].cancel()
    await busy.let_go(1)
    assert await asyncio.gather(*calls) == [FINE]
    assert (limit.in_flight, limit.unattended) == (0, 0)


async def test_the_limit_falls_when_the_publisher_struggles_and_climbs_back() -> None:
    clock = Clock()
    limit = Limit(8, 8, 1.0, clock=clock)
    script = Script(timed_out())
    send = limit(script)
    for _ in range(10):
        clock.now += 2
        await outcome(send)
    assert int(limit.current) == 2, "never under two"
    script.outcomes = [FINE]
    for _ in range(60):
        await send(READ)
    assert int(limit.current) == 8


async def test_a_burst_of_failures_lowers_the_limit_once() -> None:
    limit = Limit(10, 8, 1.0, clock=Clock())
    send = limit(Script(Response(503, {}, b"")))
    for _ in range(10):
        await send(READ)
    assert int(limit.current) == 7


# --- log --------------------------------------------------------------------------------------------------------------


async def test_one_event_tells_where_how_long_and_how_it_ended_and_no_more() -> None:
    clock = Clock()

    async def slow(request: Request) -> Response:
        clock.now += 0.25
        return Response(201, {"Set-Cookie": "canary"}, b"canary!")

    secret = Request(
        "POST", "https://data.example.org/a/b?token=canary#canary", {"Authorization": "canary"}, b"canary", True
    )
    with capture_logs() as logs, serving(new_call()) as call:
        await Log("demo/one", clock)(slow)(secret)
    (event,) = logs
    assert event == {
        "event": "upstream",
        "log_level": "debug",
        "instance": "demo/one",
        "method": "POST",
        "host": "data.example.org",
        "path": "/a/b",
        "status": 201,
        "bytes": 7,
        "duration_ms": 250.0,
        "request_id": call.request_id,
        "attempt": 0,
        "outcome": "answered",
    }
    assert call.upstream_seconds == 0.25


async def test_a_failure_is_logged_by_its_class() -> None:
    with capture_logs() as logs:
        await outcome(Log("demo/one")(Script(timed_out())))
        with pytest.raises(ValueError):
            await Log("demo/one")(Script(ValueError("canary")))(READ)
    assert [(log["outcome"], log["log_level"]) for log in logs] == [("UpstreamUnavailable", "info"), ("bug", "info")]
    assert "canary" not in str(logs)


async def test_attempts_are_counted_in_the_log_and_in_the_call() -> None:
    turns = iter([HANG_UP, HANG_UP, answer()])
    async with upstream(lambda seen: next(turns)) as shaky, way(shaky) as http:
        with capture_logs() as logs, serving(new_call()) as call:
            await http.get(shaky.url)
        assert [log["attempt"] for log in logs if log["event"] == "upstream"] == [3]
        assert call.exchanges == 3
        assert call.upstream_seconds > 0


# --- the whole chain --------------------------------------------------------------------------------------------------


async def test_the_state_tells_what_is_under_way() -> None:
    async with upstream(SILENCE) as silent, way(silent, limit=1, queue=1, timeout=0.2, retries=0) as http:
        assert http.state().limit == 1
        tasks = [asyncio.create_task(outcome(http.send, Request("GET", silent.url))) for _ in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
        assert (http.state().in_flight, http.state().queued) == (1, 1)
        assert http.state().breaker == {"read": "closed", "effect": "closed"}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (http.state().in_flight, http.state().queued) == (0, 0)


async def test_a_cancelled_effect_stays_marked_as_sent() -> None:
    arrived = asyncio.Event()
    async with upstream(lambda seen: arrived.set()) as silent, way(silent) as http:
        call = new_call(repeatable=False)
        with serving(call):
            task = asyncio.create_task(http.post(silent.url, json={}))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.effect_sent is True


async def test_policies_given_to_using_run_outermost_first() -> None:
    order: list[str] = []

    def named(name: str) -> Callable[[Send], Send]:
        def policy(inner: Send) -> Send:
            async def send(request: Request) -> Response:
                order.append(name)
                return await inner(request)

            return send

        return policy

    http = Http(Script(FINE), instance="x/y", folder=Path("folder"), max_bytes=77)
    wrapped = http.using(named("outer"), named("inner"))
    await wrapped.get("https://data.example.org")
    assert order == ["outer", "inner"]
    assert (wrapped.instance, wrapped.folder, wrapped.max_bytes) == ("x/y", Path("folder"), 77)
    assert http.send is not wrapped.send


async def test_a_read_is_repeatable_whatever_the_call_and_other_verbs_as_the_call_says() -> None:
    script = Script(FINE)
    http = Http(script)
    await http.get("https://e.org")
    for verb in (http.post, http.put, http.patch, http.delete):
        await verb("https://e.org")
    await http.post("https://e.org", repeatable=True)
    assert [r.repeatable for r in script.requests] == [True, None, None, None, None, True]
    assert [r.method for r in script.requests] == ["GET", "POST", "PUT", "PATCH", "DELETE", "POST"]


async def test_a_large_body_is_sent_whole() -> None:
    body = bytes(range(256)) * 12000
    async with upstream(answer()) as good, way(good) as http:
        await http.post(good.url, body=body, headers={"Content-Type": "application/octet-stream"}, repeatable=False)
        assert good.requests[0].body == body


async def test_a_large_body_is_sent_whole_again_after_a_cut() -> None:
    body = bytes(range(256)) * 1200
    turns = iter([HANG_UP, answer()])
    async with upstream(lambda seen: next(turns)) as shaky, way(shaky) as http:
        await http.post(shaky.url, body=body, repeatable=True)
        assert [seen.body for seen in shaky.requests] == [body, body]


async def test_a_publisher_may_refuse_a_large_body_before_its_end() -> None:
    told = asyncio.Event()
    taken: asyncio.Queue[int] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, b'"too large"'))
        await told.wait()  # nothing more of the body is taken before its sender has its answer
        size = 0
        with suppress(ConnectionError):
            while piece := await reader.read(65_536):
                size += len(piece)
        writer.transport.abort()
        taken.put_nowait(size)

    small = Upstream(lambda seen: b"")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    small.port = server.sockets[0].getsockname()[1]
    async with server, way(small) as http:
        refused = await http.post(small.url, body=bytes(20_000_000), repeatable=True)
        told.set()
        assert (refused.status, refused.body) == (413, b'"too large"')
        assert await taken.get() < 20_000_000


async def test_what_only_announces_an_answer_is_not_the_answer() -> None:
    announced = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with upstream(announced + answer(201, b'"made"'), keep=True) as good, way(good) as http:
        for _ in range(2):
            made = await http.post(good.url, body=b"x", repeatable=True)
            assert (made.status, made.body) == (201, b'"made"')
        assert good.connections == 1


async def test_what_comes_after_an_answer_is_not_the_answer_to_the_next_request() -> None:
    late, sent = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer(200, b'"asked"'))
            if not sent.is_set():
                await late.wait()
                writer.write(answer(200, b'"somebody else\'s"'))
                await writer.drain()
                sent.set()

    good = Upstream(lambda seen: b"")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    good.port = server.sockets[0].getsockname()[1]
    async with way(good) as http:
        assert (await http.get(good.url)).body == b'"asked"'
        late.set()
        await sent.wait()
        for _ in range(20):  # the loop reads what came on the idle connection
            await asyncio.sleep(0)
        assert (await http.get(good.url)).body == b'"asked"'
    server.close()


async def test_a_closed_way_leaves_no_connection(recwarn: pytest.WarningsRecorder) -> None:
    async with upstream(answer(), keep=True) as good:
        async with way(good) as http:
            await http.get(good.url)
            await http.post(good.url, json={}, repeatable=False)
        await http.close()  # a second time, as a gateway that stops in a hurry may do
    assert not recwarn.list


async def test_the_default_client_is_quiet_when_logs_are_filtered() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        assert (await Log("demo/one")(Script(FINE))(READ)) is FINE
    finally:
        structlog.reset_defaults()


# --- bodies and parameters --------------------------------------------------------------------------------------------


async def sent(**options: Any) -> Request:
    script = Script(FINE)
    await Http(script).post(options.pop("url", "https://data.example.org/x"), **options)
    return script.requests[0]


@pytest.mark.parametrize(
    ("url", "params", "expected"),
    [
        ("https://e.org/x", {"q": "é &=+"}, "https://e.org/x?q=%C3%A9+%26%3D%2B"),
        ("https://e.org/x?a=1", {"b": 2}, "https://e.org/x?a=1&b=2"),
        ("https://e.org/x#f", {"b": [1, None, 3]}, "https://e.org/x?b=1&b=3#f"),
        ("https://e.org/x", {"a": None}, "https://e.org/x"),
        ("https://e.org/x", {"a": True, "d": date(2026, 1, 2)}, "https://e.org/x?a=true&d=2026-01-02"),
        ("https://e.org/x", [("a", "1"), ("a", "2")], "https://e.org/x?a=1&a=2"),
    ],
)
async def test_parameters_are_encoded_and_added(url: str, params: Any, expected: str) -> None:
    assert (await sent(url=url, params=params)).url == expected


async def test_parameters_reach_the_publisher_as_they_were_given() -> None:
    values = {"q": "é &=+%/?#\u2028 ü", "empty": "", "plus": "a+b"}
    async with upstream(answer()) as good, way(good) as http:
        await http.get(good.url + "/x", params=values)
        query = parse_qs(urlsplit(good.requests[0].target).query, keep_blank_values=True)
    assert query == {name: [value] for name, value in values.items()}


async def test_json_is_exact() -> None:
    class Inner(Model):
        amount: Decimal
        when: date

    body = {"a": Inner(amount=Decimal("12.50"), when=date(2026, 1, 2)), "n": Decimal("3"), "t": "é", "l": [1, None]}
    request = await sent(json=body)
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body or b"") == {
        "a": {"amount": 12.5, "when": "2026-01-02"},
        "n": 3,
        "t": "é",
        "l": [1, None],
    }


async def test_json_none_is_a_body() -> None:
    assert (await sent(json=None)).body == b"null"


@pytest.mark.parametrize("value", [Secret("hunter2"), Decimal("0.12345678901234567890123"), object(), b"x"])
async def test_what_has_no_exact_json_form_is_refused_rather_than_altered(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        await sent(json={"x": value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_json_that_is_not_json_is_never_sent(value: float) -> None:
    with pytest.raises(ValueError):
        await sent(json={"x": value})


async def test_a_broken_character_is_the_callers_to_correct() -> None:
    with pytest.raises(InvalidInput):
        await sent(json={"x": "\ud800"})
    with pytest.raises(InvalidInput):
        await sent(form={"x": "\ud800"})
    with pytest.raises(InvalidInput):
        await sent(params={"x": "\ud800"})
    with pytest.raises(InvalidInput):
        await sent(files={"x": File(filename="\ud800.txt", content=b"x")})


async def test_a_form_is_urlencoded() -> None:
    request = await sent(form={"a": "é b", "c": [1, 2]})
    assert request.body == b"a=%C3%A9+b&c=1&c=2"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


async def test_files_travel_as_multipart_with_names_that_cannot_escape() -> None:
    hostile = File(filename='a"b\r\nX-Evil: 1.pdf', content_type="application/pdf", content=b"%PDF-1.4\r\n--x\r\n")
    request = await sent(files={"piece": hostile}, form={"ref": "é"})
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    ref, piece = message_from_bytes(head + (request.body or b"")).get_payload()
    assert ref.get_payload(decode=True) == "é".encode()
    assert piece.get_payload(decode=True) == b"%PDF-1.4\r\n--x\r\n"
    assert b"\r\nX-Evil" not in (request.body or b"")
    assert piece.get_content_type() == "application/pdf"


async def test_the_given_content_type_wins() -> None:
    request = await sent(json={}, headers={"content-type": "application/vnd.api+json"})
    assert request.headers == {"content-type": "application/vnd.api+json"}


# --- answers ----------------------------------------------------------------------------------------------------------


def test_headers_are_read_whatever_their_case() -> None:
    response = Response(200, {"content-TYPE": 'Text/HTML; Charset="ISO-8859-1"'}, "é".encode("latin-1"))
    assert response.headers["Content-Type"].startswith("Text")
    assert (response.content_type, response.charset, response.text()) == ("text/html", "iso-8859-1", "é")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_understood(encoding: str) -> None:
    response = Response(200, {"Content-Type": "application/json"}, '{"é": 1}'.encode(encoding))
    assert response.json() == {"é": 1}
    assert response.text() == '{"é": 1}'


@pytest.mark.parametrize("body", [b"\xff", b"caf\xe9"])
def test_text_that_cannot_be_read_is_an_invalid_answer(body: bytes) -> None:
    with pytest.raises(UpstreamInvalid):
        Response(200, {}, body).text()
    with pytest.raises(UpstreamInvalid):
        Response(200, {"Content-Type": "text/plain; charset=klingon"}, body).text()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html>",
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e400]",
        b"[-1e400]",
        b"[" + b"9" * 400 + b".5]",
        b"[" + b"9" * 5000 + b"]",
        b"[1],",
        b"[1] [2]",
        b"\xff\xfe",
        b'"\xe9"',
        b'"\\ud800"',
        b"[" * 100_000,
        b"[" * 300 + b"]" * 300,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b'"canary',
    ],
)
def test_what_is_not_json_is_an_invalid_answer_that_shows_nothing_of_it(body: bytes) -> None:
    with pytest.raises(UpstreamInvalid) as caught:
        Response(200, {"Content-Type": "application/json"}, body).json()
    assert "canary" not in caught.value.detail + caught.value.message
    assert str(len(body)) in caught.value.detail


@pytest.mark.parametrize("text", ["1e400", "Infinity", "inf", "1e3000"])
def test_texts_that_look_like_infinity_are_texts(text: str) -> None:
    assert Response(200, {}, json.dumps([text, 1e10]).encode()).json() == [text, 1e10]


def test_an_answer_never_shows_its_body() -> None:
    assert "canary" not in repr(Response(200, {}, b"canary"))


# --- options ----------------------------------------------------------------------------------------------------------


def test_the_options_have_safe_defaults() -> None:
    options = HttpOptions()
    assert (options.allow_http, options.limit, options.connect_timeout, options.timeout) == (False, 8, 3.0, 10.0)
    assert options.max_bytes == 10 * 1024 * 1024


@pytest.mark.parametrize(
    "wrong",
    [{"limit": 0}, {"timeout": 0}, {"verify": False}, {"proxy": "socks5://x"}, {"proxy": "http://u:p@proxy"}],
)
def test_a_wrong_option_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        HttpOptions(**wrong)


async def test_the_size_limit_of_the_instance_applies_unless_the_request_has_its_own() -> None:
    async with upstream(answer(body=b"x" * 5000)) as big, way(big, max_bytes=2000) as http:
        assert isinstance(await outcome(http.get, big.url), UpstreamInvalid)  # type: ignore[arg-type]
        assert len((await http.get(big.url, max_bytes=5000)).body) == 5000


def test_the_current_call_outside_the_gateway_has_the_default_budget() -> None:
    assert current_call().remaining() > 20
