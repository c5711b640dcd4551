"""What an author declares of an effect that goes on after its answer, and the sentence that answers each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from sdk import HOUR, MINUTE, Connector, DeclarationError, Model, Progress, Receipt, Row, callback, create, get
from sdk.cadence import DAY, FOLLOW_AT, next_look


class Settings(Model):
    pass


class Debt(Model):
    reference: str
    year: int


async def pay(self: Any, debt: Debt) -> Receipt:
    """Pay."""
    raise NotImplementedError


async def payment(self: Any, number: str) -> Progress:
    """A payment."""
    raise NotImplementedError


async def notify(self: Any, told: Debt) -> str | None:
    """A notification."""
    raise NotImplementedError


def declared(**body: Any) -> type[Connector[Settings]]:
    namespace = {"__doc__": "Till.", "__module__": __name__, "name": "till", "title": "Caisse"}
    return type("Till", (Connector,), {"settings_model": Settings, **namespace, **body})


def fresh(function: Any, **annotations: Any) -> Any:
    """The same method again, to be declared otherwise."""
    copy = type(function)(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__doc__, copy.__annotations__ = function.__doc__, {**function.__annotations__, **annotations}
    return copy


def with_follow(look: Any = None, ring: Any = None, **options: Any) -> type[Connector[Settings]]:
    made = create("payments", **{"delivery": "idempotent", **options})(fresh(pay))
    members = {"pay": made, "payment": look or get("payments/{number}")(fresh(payment))}
    return declared(**members, **({"ring": ring} if ring else {}))


def test_a_create_says_how_it_goes_on() -> None:
    ring = callback("notification", looks="pay")(fresh(notify))
    kind = with_follow(ring=ring, follow="payment", subject=("reference", "year"), deferred=True, absent="void")
    made = next(e for e in kind.endpoints if e.attribute == "pay").declaration
    assert (made.follow, made.subject, made.deferred, made.absent) == ("payment", ("reference", "year"), True, "void")
    rung = next(e for e in kind.endpoints if e.attribute == "ring")
    assert rung.declaration.looks == "pay"
    assert rung.result.annotation is type(None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"follow": "nowhere"}, "must name a @get method of the class that answers a Progress"),
        ({"follow": "pay"}, "must name a @get method of the class that answers a Progress"),
        ({"follow_at": (MINUTE,)}, 'follow_at= and absent= go with follow="…"'),
        ({"absent": "void"}, 'follow_at= and absent= go with follow="…"'),
        ({"follow": "payment", "absent": "gone"}, "absent='gone' is not one of later, void"),
        ({"follow": "payment", "follow_at": (HOUR, MINUTE)}, "follow_at= lists ages in seconds, ascending"),
        ({"follow": "payment", "follow_at": (HOUR, (HOUR, HOUR))}, "follow_at= lists ages in seconds, ascending"),
        ({"follow": "payment", "follow_at": (0.0,)}, "follow_at= lists ages in seconds, ascending"),
        ({"subject": ("reference", "town")}, "subject='town' names no field of the body and no parameter"),
    ],
)
def test_a_wrong_follow_up_is_refused_by_a_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said.replace("(", r"\(")):
        with_follow(**options)


def test_what_is_followed_needs_only_the_created_id() -> None:
    async def by_year(self: Any, number: str, year: int) -> Progress:
        """A payment."""
        raise NotImplementedError

    with pytest.raises(DeclarationError, match="nothing else that is required"):
        with_follow(look=get("payments/{number}")(by_year), follow="payment")


def test_what_has_a_subject_gives_back_an_id() -> None:
    made = create("payments", delivery="idempotent", subject=("year",))(fresh(pay, **{"return": "Row"}))
    with pytest.raises(DeclarationError, match="return a Receipt"):
        declared(pay=made)
    assert Row  # named by the annotation


@pytest.mark.parametrize("looks", ["nowhere", "payment", "pay"])
def test_a_callback_looks_at_what_is_followed(looks: str) -> None:
    with pytest.raises(DeclarationError, match="must name a @create method of the class that has follow="):
        with_follow(ring=callback("notification", looks=looks)(fresh(notify)))


def test_a_callback_that_looks_gives_ids() -> None:
    with pytest.raises(DeclarationError, match="the ids to look at now"):
        with_follow(follow="payment", ring=callback("bell", looks="pay")(fresh(notify, **{"return": "Row"})))


def test_payments_are_looked_at_for_a_year() -> None:
    ages, age = [], 0.0
    while (following := next_look(FOLLOW_AT, age)) is not None:
        ages.append(following)
        age = following
    assert [age / MINUTE for age in ages[:7]] == [2, 5, 15, 30, 60, 120, 180]
    assert ages[4 + 167] == 7 * DAY
    assert ages[4 + 168 :: 357] == [8 * DAY, 365 * DAY]
    assert next_look(FOLLOW_AT, 3 * DAY + 1) == 3 * DAY + HOUR
