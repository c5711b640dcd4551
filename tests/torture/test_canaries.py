"""Secrets and personal data appear nowhere: `python -m tests.torture.canaries` shows the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from .canaries import CANARIES, MODES, run, sightings


@pytest.mark.timeout(120)
async def test_no_canary_is_seen_in_any_place_on_any_path(tmp_path: Path) -> None:
    found = await run(tmp_path)
    assert found.seen == []
    assert found.calls > 100
    assert sum(found.states.values()) >= len(MODES)
    for place in ("log", "answers", "metrics", "pages", "commands", "contract report", "data folder"):
        assert found.looked[place] > 1000, place


@pytest.mark.parametrize("word", CANARIES)
def test_a_canary_is_seen_in_any_dress(word: str) -> None:
    """What the scan is able to see."""
    import base64
    import json
    import urllib.parse

    value = CANARIES[word]
    around = f"user:{value}:end"
    for dressed in (
        around.encode(),
        json.dumps({"x": around}).encode(),
        urllib.parse.urlencode({"x": around}).encode(),
        around.encode("utf-16-le"),
        around.encode().hex().encode(),
        *(base64.b64encode(f"{'z' * shift}{around}".encode()) for shift in range(3)),
    ):
        assert sightings("here", dressed) == [f"{word} in here"]
    assert sightings("here", b"nothing of it") == []
