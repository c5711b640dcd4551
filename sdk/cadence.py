"""When something that was created is looked at again: often at first, then ever more rarely. Durations are seconds."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["DAY", "FOLLOW_AT", "HOUR", "MINUTE", "Cadence", "ascending", "next_look"]

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR

Cadence = Sequence[float | tuple[float, float]]
"""Ages at which to look, in seconds since it was made, or `(every, until)`, in ascending order."""

FOLLOW_AT: Cadence = (2 * MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, (HOUR, 7 * DAY), (DAY, 365 * DAY))
"""The cadence of payments, for whatever declares no other."""


def next_look(cadence: Cadence, age: float) -> float | None:
    """The age of the first look after `age`; None when there is none any more."""
    before = 0.0
    for step in cadence:
        every, until = step if isinstance(step, tuple) else (step - before, step)
        following = before + every * (max(0.0, age - before) // every + 1)
        if following <= until:
            return following
        before = until
    return None


def ascending(cadence: Cadence) -> bool:
    """Whether it can be kept: no age twice, and room for at least one look in each step."""
    before = 0.0
    for step in cadence:
        every, until = step if isinstance(step, tuple) else (step - before, step)
        if not 0 < every <= until - before:
            return False
        before = until
    return True
