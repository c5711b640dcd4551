"""What a failure says of an effect: anything that is not certain is unknown."""

from __future__ import annotations

import pytest

from gateway.deliveries import classified
from sdk.call import new_call
from sdk.errors import InvalidInput, Misconfigured, NotFound, Rejected, UpstreamInvalid, UpstreamUnavailable


@pytest.mark.parametrize("error", [Rejected("no"), NotFound("none"), InvalidInput("wrong")])
@pytest.mark.parametrize("sent", [True, False])
def test_a_refusal_is_one_whether_anything_left_or_not(error: Exception, sent: bool) -> None:
    call = new_call()
    call.effect_sent, call.effects = sent, int(sent)
    assert classified(error, call) == "REFUSED"


ANY = [
    UpstreamUnavailable("down"),
    UpstreamUnavailable("down", processed=False),
    UpstreamInvalid("?"),
    Misconfigured("address"),
    ZeroDivisionError(),
    TimeoutError(),
]


@pytest.mark.parametrize("error", ANY)
def test_what_never_left_was_not_sent_whatever_failed(error: Exception) -> None:
    assert classified(error, new_call()) == "NOT_SENT"


@pytest.mark.parametrize(
    ("error", "effects", "state"),
    [
        (UpstreamUnavailable("down"), 1, "UNKNOWN"),
        (UpstreamUnavailable("slow", timeout=True), 1, "UNKNOWN"),
        (UpstreamUnavailable("busy", processed=False), 1, "NOT_SENT"),
        (UpstreamUnavailable("busy", processed=False), 2, "UNKNOWN"),  # the other one may have been executed
        (UpstreamInvalid("?"), 1, "UNKNOWN"),
        (UpstreamInvalid("?", processed=False), 1, "NOT_SENT"),
        (UpstreamInvalid("?", processed=True), 1, "REFUSED"),
        (Misconfigured("password", processed=False), 1, "NOT_SENT"),
        (ZeroDivisionError(), 1, "UNKNOWN"),
        (TimeoutError(), 1, "UNKNOWN"),
    ],
)
def test_once_something_left_only_a_clear_word_makes_it_certain(error: Exception, effects: int, state: str) -> None:
    call = new_call()
    call.effect_sent, call.effects = True, effects
    assert classified(error, call) == state
