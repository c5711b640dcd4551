"""Rolling restarts, in a few seconds; the fifty are `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .rolling import Run


@pytest.mark.timeout(60)
async def test_a_gateway_replaced_under_load_fails_no_call(tmp_path: Path) -> None:
    found = await Run(tmp_path, restarts=2)()
    assert not found.wrong, found
    assert min(found.calls["kept"], found.calls["closed"]) > 20


@pytest.mark.timeout(60)
async def test_one_that_is_killed_fails_some(tmp_path: Path) -> None:
    """The same run without draining: the harness sees what it is there to see."""
    found = await Run(tmp_path, restarts=2, abrupt=True)()
    assert found.failed.total() > 0
