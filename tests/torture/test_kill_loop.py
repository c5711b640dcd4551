"""Never lost, never twice, in a few seconds; the long run is `make torture`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .kill_loop import Run

KILLS = int(os.environ.get("RELAIS_TORTURE_KILLS", "5"))
KEYS = int(os.environ.get("RELAIS_TORTURE_KEYS", "120"))


@pytest.mark.timeout(90 + 4 * KILLS)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_gateway_killed_again_and_again_loses_nothing_and_creates_nothing_twice(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    store = request.getfixturevalue("postgres") if database == "postgresql" else ""
    found = await Run(tmp_path, kills=KILLS, keys=KEYS, store=store, callers=max(20, KEYS // 25))()
    print(found)
    assert not found.wrong, found
    assert found.kills >= 3
    assert found.faults >= 10


@pytest.mark.timeout(90)
async def test_trying_again_blindly_creates_twice(tmp_path: Path) -> None:
    """The same run on a naive retry wrapper: what the journal is for."""
    found = await Run(tmp_path, kills=3, keys=150, naive=True)()
    assert found.duplicates > 0, found
