"""One of two nodes killed for good, in a few seconds; the long run is `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .nodes import Run


@pytest.mark.timeout(150)
async def test_what_a_node_that_dies_for_good_was_at_is_ended_by_the_other(tmp_path: Path, postgres: str) -> None:
    found = await Run(tmp_path, postgres, keys=150, workers=1, lease=2.0, callers=20)()
    assert not found.wrong, found
    assert found.held > 0, found
    assert found.for_later >= 40, found
