"""The gateway dies at each commit and each send, for each thing a publisher may do."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from gateway import journal

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
