"""The order of the disk and the network, on a few creates; the thousand are `make torture`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .sync_order import judged, trace


@pytest.mark.timeout(90)
async def test_the_journal_is_on_disk_before_the_publishers_first_byte(tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    sent, early = judged(await trace(tmp_path, 40))
    assert (sent, early) == (40, 0)
