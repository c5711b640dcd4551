"""What the journal stands on goes away, in a few seconds; the long runs are `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgres import NotInstalled

from .store_down import database_killed, disk_full


@pytest.mark.timeout(90)
def test_a_database_killed_under_load_loses_nothing_and_nothing_leaves_without_a_row(tmp_path: Path) -> None:
    try:
        found = database_killed(tmp_path, kills=1, keys=120)
    except NotInstalled as absent:
        pytest.skip(str(absent))
    assert not found.wrong, found
    assert found.answers["StoreUnavailable"] > 0


@pytest.mark.timeout(90)
def test_a_full_disk_loses_nothing_and_nothing_leaves_without_a_row(tmp_path: Path) -> None:
    found, how = disk_full(tmp_path, keys=150, size=1024 * 1024, lasting=0.5)
    assert not found.wrong, (how, found)
    assert found.answers["StoreUnavailable"] > 0, how
