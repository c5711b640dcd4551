"""The judge judged: the reference passes everything, every mutant fails for its reason and only that reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract_tests import certify, coverage
from contract_tests.__main__ import app
from contract_tests.checks import registry
from contract_tests.core.check import Misdeclared, Registry
from contract_tests.core.requirement import Requirement, catalogue
from contract_tests.mutants import Mutant, all_mutants, run_mutant
from contract_tests.reference import Reference
from contract_tests.text import Text

BOTH = Text("une phrase", "a sentence")


@pytest.mark.parametrize("mutant", all_mutants(), ids=lambda mutant: mutant.name)
async def test_a_mutant_fails_for_its_reason_and_only_for_it(mutant: Mutant) -> None:
    run = await run_mutant(mutant)
    found = {one.id: one.message.en for one in run.outcomes if one.status in ("fail", "warn", "error")}
    assert run.failing() == mutant.fails, found
    assert not any(one.status == "error" for one in run.outcomes), found


ON_A_SOCKET = ("html-in-200", "latin-1", "byte-order-mark", "redirect-on-post", "connection-cut", "eleven-megabytes")
ON_A_SOCKET += ("200-for-bad-credentials", "nonce-replayed", "parameters-after-the-signature", "accept-required")


@pytest.mark.parametrize("mutant", [one for one in all_mutants() if one.name in ON_A_SOCKET], ids=lambda one: one.name)
async def test_a_mutant_on_a_real_socket_fails_alike(mutant: Mutant) -> None:
    async with (service := mutant.build()).served() as url:
        run = await certify(mutant.declare(service.target(url)), rate=0, seed=1, allow_writes=True)
    assert run.failing() == mutant.fails


async def test_the_reference_is_conformant_in_every_profile_on_a_real_socket() -> None:
    async with (service := Reference()).served() as url:
        run = await certify(service.target(url), rate=0, seed=1, allow_writes=True)
    assert {one.profile.id for one in run.verdicts} == set(catalogue().profiles)
    assert run.conformant, [(one.id, one.status, one.message.en) for one in run.outcomes if one.status != "pass"]
    assert not run.failing()


async def test_the_whole_search_profile_takes_less_than_ten_seconds() -> None:
    async with (service := Reference()).served() as url:
        run = await certify(service.target(url), profiles=["search"], rate=0)
    assert [one.judgement for one in run.verdicts] == ["conformant"]
    assert run.duration < 10


async def test_without_writes_what_writes_is_skipped_and_the_profile_is_partial() -> None:
    async with (service := Reference()).served() as url:
        run = await certify(service.target(url), profiles=["request", "sms", "choices"], rate=0)
    verdicts = {one.profile.id: one.judgement for one in run.verdicts}
    assert verdicts == {"choices": "conformant", "request": "partial", "sms": "partial"}
    methods = {exchange.request.method for exchange in run.exchanges}
    assert methods <= {"GET", "PROPFIND"}
    assert set(service.requests) == {"D-1", "D-2"}


def test_every_testable_requirement_has_a_check_and_a_mutant() -> None:
    assert coverage.problems() == []
    lines = coverage.coverage()
    musts = [line for line in lines if line.requirement.level == "MUST" and line.requirement.reason is None]
    assert len(musts) > 100
    assert all(line.mutants for line in musts)


def test_the_coverage_check_refuses_what_is_incomplete() -> None:
    mutants = [(one.name, one.fails) for one in all_mutants()]
    assert coverage.problems(mutants=[*mutants, ("ghost", frozenset({"PUB-NOWHERE-1"}))]) == [
        "mutant ghost: unknown requirement PUB-NOWHERE-1"
    ]
    fewer = [(name, fails) for name, fails in mutants if "PUB-HTTP-7" not in fails]
    assert any(line.startswith("PUB-HTTP-7: no mutant") for line in coverage.problems(mutants=fewer))
    without = [one for one in registry.all() if one.requirements[0].id != "PUB-ENV-1"]
    assert "PUB-ENV-1 (MUST): neither a check nor a reason" in coverage.problems(checks=without)
    idle = [*mutants, ("idle", frozenset[str]())]
    assert coverage.problems(mutants=idle) == ["mutant idle: fails nothing"]
    known = catalogue()
    excused = replace(known["PUB-ENV-1"], reason=BOTH)
    both = replace(known, requirements={**known.requirements, "PUB-ENV-1": excused})
    assert coverage.problems(known=both) == ["PUB-ENV-1: both a check and a reason for not being testable"]


def test_the_command_fails_when_the_coverage_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "problems", lambda: ["PUB-ENV-1: no mutant proves x"])
    assert CliRunner().invoke(app, ["coverage"]).exit_code == 0
    refused = CliRunner().invoke(app, ["coverage", "--check"])
    assert refused.exit_code == 1
    assert "no mutant proves" in refused.output


def test_the_figures_of_the_document_are_those_of_today() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "certification.md").read_text("utf-8")
    told = {name: int(count) for name, count in re.findall(r"^\| ([a-zA-Z ]+) \| (\d+) \|$", text, re.M)}
    assert told == coverage.figures()
    assert f"requirement set {catalogue().version}." in text


def test_every_requirement_names_its_source_and_is_said_in_both_languages() -> None:
    def complete(one: Requirement) -> bool:
        return bool(one.source.strip() and one.sentence.fr.endswith(".") and one.sentence.en.endswith("."))

    assert [one.id for one in catalogue().requirements.values() if not complete(one)] == []


@pytest.mark.parametrize(
    ("identifiers", "options", "said"),
    [
        ((), {}, "name the requirements"),
        (("PUB-ENV-999",), {}, "unknown requirements"),
        (("PUB-SIGN-12",), {}, "not being testable"),
        (("PUB-ENV-1",), {"feature": "telepathy"}, "unknown features"),
        (("PUB-ENV-1", "PUB-ENV-7"), {}, "one level"),
        (("PUB-ENV-1", "PUB-LIST-1"), {}, "one profile"),
        (("PUB-ENV-1",), {"title": "text"}, "both languages"),
        (("PUB-ENV-1",), {"remedy": Text("à faire", "")}, "both languages"),
    ],
)
def test_a_wrong_check_is_refused_when_it_is_registered(
    identifiers: tuple[str, ...], options: dict[str, object], said: str
) -> None:
    async def body(case: object, endpoint: object) -> None: ...

    given: dict[str, object] = {"title": BOTH, "consequence": BOTH, "remedy": BOTH, **options}
    with pytest.raises(Misdeclared, match=said):
        Registry(catalogue()).check(*identifiers, **given)(body)  # type: ignore[arg-type]


def test_a_check_that_is_not_a_coroutine_or_has_a_taken_name_is_refused() -> None:
    def body(case: object, endpoint: object) -> None: ...

    register = Registry(catalogue()).check("PUB-ENV-1", title=BOTH, consequence=BOTH, remedy=BOTH)
    with pytest.raises(Misdeclared, match="async def"):
        register(body)  # type: ignore[type-var]

    async def good(case: object, endpoint: object) -> None: ...

    register(good)
    with pytest.raises(Misdeclared, match="already registered"):
        register(good)
