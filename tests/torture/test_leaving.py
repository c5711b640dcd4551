"""Callers that leave, in a few seconds; the five hundred are `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .leaving import POINTS, WAYS, run


@pytest.mark.timeout(60)
async def test_what_a_caller_that_left_asked_for_is_done_once_and_given_to_it_when_it_comes_back(
    tmp_path: Path,
) -> None:
    found = await run(tmp_path, 60)
    assert not found.wrong, found
    assert len(found.left) > len(POINTS), WAYS
    assert found.executed_before_return > 20
