"""Which check runs where: known before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .check import Check, Registry
from .endpoints import Endpoint
from .requirement import Catalogue, Requirement, catalogue
from .target import Target

__all__ = ["Planned", "plan", "profiles_of", "untested"]


@dataclass(frozen=True)
class Planned:
    """A check to run at an endpoint, for a profile. `lacking` are the features the target does not have."""

    check: Check
    endpoint: Endpoint
    profile: str
    lacking: tuple[str, ...]


def profiles_of(target: Target) -> list[str]:
    """The profiles a target claims, in the order of its endpoints."""
    found = list(dict.fromkeys(endpoint.profile for endpoint in target.endpoints))
    return [*found, *(["signed"] if target.signature and _signable(target) else [])]


def plan(target: Target, registry: Registry, only: Iterable[str] = ()) -> list[Planned]:
    """All cases, in order: endpoint by endpoint, the checks of every profile first. `only` keeps some profiles."""
    wanted = set(only) or set(profiles_of(target))
    known = catalogue().profiles
    done_once: set[tuple[str, str]] = set()
    cases = []
    for endpoint in target.endpoints:
        for check in registry.all():
            if endpoint.profile not in wanted or not known[endpoint.profile].judged_by(check.profile):
                continue
            if not _applies(check, endpoint, target):
                continue
            planned = _planned(check, endpoint, endpoint.profile, target)
            if check.once or "upstream" in planned.lacking:  # what cannot be done is said once
                if (check.id, endpoint.profile) in done_once:
                    continue
                done_once.add((check.id, endpoint.profile))
            cases.append(planned)
    if "signed" in wanted and target.signature is not None and (signable := _signable(target)) is not None:
        cases += [_planned(check, signable, "signed", target) for check in registry.all() if check.profile == "signed"]
    return cases


def untested(known: Catalogue, profiles: Iterable[str]) -> list[tuple[Requirement, str]]:
    """The requirements that no check can decide, with the profile whose report says why."""
    wanted = list(profiles)
    found = []
    for requirement in known.requirements.values():
        if requirement.reason is not None:
            shown = [p for p in wanted if known.profiles[p].judged_by(requirement.profile)]
            found += [(requirement, profile) for profile in shown]
    return found


def _applies(check: Check, endpoint: Endpoint, target: Target) -> bool:
    """Whether the check means something there, whatever the target declares."""
    if endpoint.form not in check.forms:
        return False
    if check.writes and check.profile == "every" and endpoint.takes() is None:
        return False
    return not ("no-credentials" in check.features and target.credentials is not None)


def _planned(check: Check, endpoint: Endpoint, profile: str, target: Target) -> Planned:
    offered = endpoint.features() | target.features()
    return Planned(check, endpoint, profile, tuple(one for one in check.features if one not in offered))


def _signable(target: Target) -> Endpoint | None:
    """The first endpoint that is read: what signed calls are tried on."""
    return next((one for one in target.endpoints if one.reads() is not None), None)
