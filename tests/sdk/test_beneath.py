"""Policies that see every attempt, and answers that a policy settles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdk.http import Http
from sdk.messages import Policy, Request, Response, Send
from sdk.policies import Breaker, Retry


def noting(word: str, said: list[str]) -> Policy:
    def policy(inner: Send) -> Send:
        async def send(request: Request) -> Response:
            said.append(word)
            return await inner(request)

        return send

    return policy


async def _at_once(seconds: float) -> None:
    return None


async def test_a_policy_beneath_stands_under_those_already_around() -> None:
    said: list[str] = []

    async def wire(request: Request) -> Response:
        said.append("wire")
        return Response(200, {}, b"")

    around = Http(wire).using(noting("outer", said), noting("inner", said))
    await (
        around.beneath(noting("first", said), noting("second", said)).using(noting("last", said)).get("https://a.test")
    )
    assert said == ["last", "outer", "inner", "first", "second", "wire"]


async def test_a_policy_beneath_sees_repetitions() -> None:
    said: list[str] = []
    answers = [Response(503, {}, b""), Response(200, {}, b"")]

    async def wire(request: Request) -> Response:
        return answers.pop(0)

    http = Http(wire).using(Retry(sleep=_at_once, random=lambda: 0.0)).beneath(noting("attempt", said))
    assert (await http.get("https://a.test")).status == 200
    assert said == ["attempt", "attempt"]


@pytest.mark.parametrize(("settled", "attempts"), [(True, 1), (False, 3)])
async def test_a_settled_answer_is_neither_repeated_nor_counted_as_a_failure(settled: bool, attempts: int) -> None:
    asked: list[Request] = []

    async def wire(request: Request) -> Response:
        asked.append(request)
        return Response(503, {}, b"")

    def settling(inner: Send) -> Send:
        async def send(request: Request) -> Response:
            return replace(await inner(request), settled=settled)

        return send

    breaker = Breaker("a/b", random=lambda: 0.5)
    http = Http(wire).using(breaker, Retry(sleep=_at_once, random=lambda: 0.0)).beneath(settling)
    assert (await http.get("https://a.test")).status == 503
    assert len(asked) == attempts
    for _ in range(19):
        await http.get("https://a.test")
    assert breaker.phases()["read"] == ("closed" if settled else "open")
