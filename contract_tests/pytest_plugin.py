"""The suite inside pytest, in one line:

    from contract_tests.pytest_plugin import suite

    test_contract = suite("target.toml")                          # a service that runs: one pytest item per case
    test_contract = suite({"search": serving})                    # services started for the test: one item each

A running target is called once, politely, by the first item; each item then tells its own outcome: a failed MUST fails,
what could not be verified is skipped with its reason, a recommendation warns. `serving` is a function that gives an
asynchronous context manager; what it enters is the target. Its item passes when every profile is conformant.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest

import contract_tests
from contract_tests.core.execute import Run
from contract_tests.core.plan import plan, profiles_of, untested
from contract_tests.core.requirement import catalogue
from contract_tests.core.target import Target, load
from contract_tests.core.verdict import Outcome

__all__ = ["Recommendation", "Serving", "explained", "suite"]

T = TypeVar("T")
Serving = Callable[[], AbstractAsyncContextManager[Target]]
"""Starts a service, gives its target, and stops it."""


class Recommendation(UserWarning):
    """A SHOULD that does not hold."""


def suite(
    target: Target | Path | str | Mapping[str, Serving],
    *,
    profiles: Iterable[str] = (),
    allow_writes: bool = False,
    rate: float = 1.0,
    seed: int = 0,
) -> Callable[..., None]:
    """The test function of a running target (a value, or the path of a `target.toml`), or of services to start."""
    options: dict[str, Any] = {"profiles": tuple(profiles), "allow_writes": allow_writes, "rate": rate, "seed": seed}
    if isinstance(target, Mapping):
        return _of_services(target, options)
    return _of_running(target if isinstance(target, Target) else load(Path(target)), options)


def _of_running(target: Target, options: Mapping[str, Any]) -> Callable[..., None]:
    from contract_tests.checks import registry

    wanted = options["profiles"]
    names = [_name(one.check.id, one.profile, one.endpoint.place) for one in plan(target, registry, wanted)]
    names += [f"untested.{one.id}@{profile}" for one, profile in untested(catalogue(), wanted or profiles_of(target))]
    done: list[Run] = []

    @pytest.mark.parametrize("position", range(len(names)), ids=names)
    def test_contract(position: int) -> None:
        if not done:
            done.append(_apart(contract_tests.certify(target, **options)))
        _tell(done[0], done[0].outcomes[position])

    return test_contract


def _of_services(services: Mapping[str, Serving], options: Mapping[str, Any]) -> Callable[..., None]:
    @pytest.mark.parametrize("name", services)
    def test_contract(name: str) -> None:
        async def judged() -> Run:
            async with services[name]() as target:
                return await contract_tests.certify(target, **options)

        run = _apart(judged())
        if not run.conformant:
            pytest.fail(_why(run), pytrace=False)
        if advice := [explained(one) for one in run.outcomes if one.status == "warn"]:
            warnings.warn(Recommendation("\n".join(advice)), stacklevel=2)

    return test_contract


def _why(run: Run) -> str:
    """The profiles that are not conformant, and each obligation that does not hold or was not verified."""
    lines = [f"{one.profile.title.fr} : {one.judgement}. {one.why.fr}" for one in run.verdicts]
    for outcome in run.outcomes:
        if outcome.status in ("fail", "error") or (outcome.status == "skip" and outcome.must):
            lines += ["", f"{outcome.status} {outcome.id}", explained(outcome), outcome.replay, outcome.trace]
    return "\n".join(lines)


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
