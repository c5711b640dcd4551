"""What leaves for a publisher, in a few seconds; the long runs are `make torture`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gateway import journal

from .executions import FAULTS, every_case
from .stale import relais


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    journal.configure("error")
    yield
    structlog.reset_defaults()


async def test_nothing_is_sent_that_the_gateway_does_not_know_of_and_no_effect_twice() -> None:
    cases = await every_case(("GET", "POST", "PUT"))
    assert len(cases) == 2 * 3 * len(FAULTS)
    assert [case for case in cases if case.wrong] == []
    assert any(case.stock > 1 for case in cases), "aiohttp alone no longer sends twice: this test proves nothing"


@pytest.mark.timeout(60)
async def test_creates_around_the_publishers_keep_alive_limit_all_have_a_clear_outcome(tmp_path: Path) -> None:
    found = await relais(tmp_path, 300)
    assert not found.wrong, found
