"""Long work in steps."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pydantic
import pytest
from pydantic import TypeAdapter

from sdk.invoke import LONG, held, to_json
from sdk.model import Model
from sdk.pace import Collector, Pace
from sdk.spec import Result


async def test_the_loop_turns_once_the_budget_is_spent_and_not_before() -> None:
    now, pauses = 0.0, []

    async def pause(seconds: float) -> None:
        pauses.append(now)

    clock: Callable[[], float] = lambda: now  # noqa: E731
    pace = Pace(0.5, clock=clock, pause=pause)
    for now in (0.1, 0.4, 0.5, 0.6, 0.9, 1.1):  # noqa: B007
        await pace.breathe()
    assert pauses == [0.5, 0.5, 1.1, 1.1]


class Clock:
    """A loop whose timers go off when told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        self.timers.append((self.now + seconds, call, arguments))

    def wait(self, until: float) -> None:
        while self.timers and self.timers[0][0] <= until:
            self.now, call, arguments = self.timers.pop(0)
            call(*arguments)
        self.now = until


def test_the_collector_waits_until_large_work_is_over() -> None:
    loop, collector = Clock(), Collector(after=0.5, most=30.0)
    try:
        collector.hold(loop)
        assert not gc.isenabled()
        loop.wait(0.4)
        collector.hold(loop)
        loop.wait(0.6)
        assert not gc.isenabled()
        loop.wait(0.9)
        assert gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_does_not_wait_for_ever() -> None:
    loop, collector = Clock(), Collector(after=0.5, most=30.0)
    try:
        for tenth in range(1, 299):
            collector.hold(loop)
            loop.wait(tenth / 10)
            assert not gc.isenabled()
        collector.hold(loop)
        loop.wait(30.0)
        assert gc.isenabled()
    finally:
        gc.enable()


class Row(Model):
    code: int
    label: str = "x"


def result(annotation: object) -> Result:
    return Result("data", annotation, TypeAdapter(annotation))


async def test_a_long_list_is_held_to_its_type_and_written_in_slices_as_at_once() -> None:
    rows = [{"code": str(number)} for number in range(3 * LONG + 7)]
    listed = result(list[Row])
    found = await held(listed, rows)
    assert found == listed.adapter.validate_python(rows)
    assert await to_json(listed, found) == listed.adapter.dump_json(found)


async def test_an_item_of_a_long_list_that_breaks_the_promise_is_named_by_its_place() -> None:
    rows = [{"code": number} for number in range(2 * LONG)]
    rows[LONG + 3] = {"label": 1}
    with pytest.raises(pydantic.ValidationError) as refusal:
        await held(result(list[Row]), rows)
    assert refusal.value.errors()[0]["loc"] == (LONG + 3, "code")


async def test_what_is_no_long_list_is_taken_at_once() -> None:
    for annotation, value in ((Row, {"code": 1}), (list[Row], [{"code": 1}]), (dict[str, int], {"a": 1}), (None, None)):
        kind = result(annotation)
        assert await to_json(kind, await held(kind, value)) == kind.adapter.dump_json(
            kind.adapter.validate_python(value)
        )
