"""Which requirement is decided by which check, and proved by which mutant; what is wrong with that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contract_tests.core.check import Check
from contract_tests.core.requirement import Catalogue, Requirement, catalogue

__all__ = ["Line", "coverage", "figures", "problems"]


@dataclass(frozen=True)
class Line:
    """A requirement, the checks that decide it, the names of the mutants that must fail it."""

    requirement: Requirement
    checks: tuple[str, ...]
    mutants: tuple[str, ...]


def coverage(
    known: Catalogue | None = None,
    checks: Iterable[Check] | None = None,
    mutants: Iterable[tuple[str, frozenset[str]]] | None = None,
) -> list[Line]:
    """A line per requirement, in the order of `requirements.toml`; the suite's own by default."""
    known, checks, mutants = _own(known, checks, mutants)
    decided: dict[str, list[str]] = {}
    for one in checks:
        for requirement in one.requirements:
            decided.setdefault(requirement.id, []).append(one.id)
    proved: dict[str, list[str]] = {}
    for name, fails in mutants:
        for identifier in fails:
            proved.setdefault(identifier, []).append(name)
    return [
        Line(one, tuple(decided.get(one.id, ())), tuple(proved.get(one.id, ()))) for one in known.requirements.values()
    ]


def problems(
    known: Catalogue | None = None,
    checks: Iterable[Check] | None = None,
    mutants: Iterable[tuple[str, frozenset[str]]] | None = None,
) -> list[str]:
    """What must be repaired before the suite may judge anybody; empty when it may."""
    known, checks, mutants = _own(known, list(checks) if checks is not None else None, mutants)
    mutants = list(mutants)
    found = [
        f"mutant {name}: unknown requirement {identifier}"
        for name, fails in mutants
        for identifier in sorted(fails - set(known.requirements))
    ]
    found += [f"mutant {name}: fails nothing" for name, fails in mutants if not fails]
    for line in coverage(known, checks, mutants):
        one = line.requirement
        if one.reason is not None and line.checks:
            found.append(f"{one.id}: both a check and a reason for not being testable")
        if one.reason is None and not line.checks:
            found.append(f"{one.id} ({one.level}): neither a check nor a reason")
        if line.checks and not line.mutants:
            found.append(f"{one.id}: no mutant proves {', '.join(line.checks)}")
    return found


def figures() -> dict[str, int]:
    """How many requirements, by level and by state, checks and mutants."""
    lines = coverage()
    by_level = {level: sum(line.requirement.level == level for line in lines) for level in ("MUST", "SHOULD", "MAY")}
    _, checks, mutants = _own(None, None, None)
    must = [line for line in lines if line.requirement.level == "MUST" and line.requirement.reason is None]
    return {
        "requirements": len(lines),
        **by_level,
        "untestable": sum(line.requirement.reason is not None for line in lines),
        "checks": len(list(checks)),
        "mutants": len(list(mutants)),
        "testable MUST": len(must),
        "testable MUST with a mutant": sum(bool(line.mutants) for line in must),
    }


def _own(
    known: Catalogue | None,
    checks: Iterable[Check] | None,
    mutants: Iterable[tuple[str, frozenset[str]]] | None,
) -> tuple[Catalogue, Iterable[Check], Iterable[tuple[str, frozenset[str]]]]:
    if checks is None:
        from contract_tests.checks import registry

        checks = registry.all()
    if mutants is None:
        from contract_tests.mutants import all_mutants

        mutants = [(one.name, one.fails) for one in all_mutants()]
    return known or catalogue(), checks, mutants
