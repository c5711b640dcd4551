"""The suite inside pytest, in one line:

    from contract_tests.pytest_plugin import suite

    test_contract = suite("target.toml")                          # one pytest item per case

The target is called once, politely, by the first item; each item then tells its own outcome: a failed MUST fails, what
could not be verified is skipped with its reason, a recommendation warns.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest

import contract_tests
from contract_tests.core.execute import Run
from contract_tests.core.plan import plan, profiles_of, untested
from contract_tests.core.requirement import catalogue
from contract_tests.core.target import Target, load
from contract_tests.core.verdict import Outcome

__all__ = ["Recommendation", "explained", "suite"]

T = TypeVar("T")


class Recommendation(UserWarning):
    """A SHOULD that does not hold."""


def suite(
    target: Target | Path | str,
    *,
    profiles: Iterable[str] = (),
    allow_writes: bool = False,
    rate: float = 1.0,
    seed: int = 0,
) -> Callable[..., None]:
    """A test function with one item per case of the target; `target` is a value or the path of a `target.toml`."""
    from contract_tests.checks import registry

    held = target if isinstance(target, Target) else load(Path(target))
    wanted = tuple(profiles)
    names = [_name(one.check.id, one.profile, one.endpoint.place) for one in plan(held, registry, wanted)]
    names += [f"untested.{one.id}@{profile}" for one, profile in untested(catalogue(), wanted or profiles_of(held))]
    done: list[Run] = []

    @pytest.mark.parametrize("position", range(len(names)), ids=names)
    def test_contract(position: int) -> None:
        if not done:
            call = contract_tests.certify(held, profiles=wanted, allow_writes=allow_writes, rate=rate, seed=seed)
            done.append(_apart(call))
        _tell(done[0], done[0].outcomes[position])

    return test_contract


def _name(check: str, profile: str, place: str) -> str:
    return f"{check}@{profile}:{place}"


def _apart(call: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in a thread of its own: the test may already be inside an event loop."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(asyncio.run(call))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="contract-tests")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _tell(run: Run, outcome: Outcome) -> None:
    today = run.started.date()
    match outcome.status:
        case "fail" if not outcome.waived(today):
            pytest.fail(explained(outcome), pytrace=False)
        case "error":
            pytest.fail(f"{outcome.message.en}\n{outcome.trace}", pytrace=False)
        case "fail" | "skip" | "omit":
            pytest.skip(explained(outcome))
        case "warn":
            warnings.warn(Recommendation(explained(outcome)), stacklevel=2)


def explained(outcome: Outcome) -> str:
    """An outcome in a few lines: the requirement, what was found, what the form's user will see, what to change."""
    ids = ", ".join(f"{one.id} ({one.level})" for one in outcome.requirements)
    lines = [f"{ids} : {outcome.requirements[0].sentence.fr}", f"→ {outcome.message.fr}"]
    if outcome.check is not None and outcome.status in ("fail", "warn"):
        lines += [outcome.check.consequence.fr, outcome.check.remedy.fr]
    return "\n".join(lines)
