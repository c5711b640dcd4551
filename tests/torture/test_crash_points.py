"""The gateway dies at each commit and each send, for each thing a publisher may do."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from gateway import journal

from . import lasting_points
from .crash_points import CASES, every_case


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    journal.configure("error", stream=io.StringIO())
    yield
    structlog.reset_defaults()


async def test_no_death_at_any_point_loses_or_doubles() -> None:
    """A third of the cases; `make torture` plays all of them."""
    assert CASES >= 120
    assert await every_case(("done", "refused", "reset, executed", "reset, lost"), ("reconcilable",)) == {}


async def test_no_death_at_any_point_loses_or_doubles_what_goes_on_after_the_answer() -> None:
    """A fifth of the cases; `make torture` plays all of them."""
    assert await lasting_points.every_case(("reset, executed", "done"), ("is busy once",)) == {}


async def test_the_crash_points_see_a_message_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.followed.tell", lambda *_: None)
    assert await lasting_points.every_case(("done",), ("accepts",), ()) != {}
