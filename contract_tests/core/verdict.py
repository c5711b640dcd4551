"""Outcomes and verdicts: the worst outcome of a profile's obligations decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from contract_tests.caller import Row
from contract_tests.text import Text

from .check import Check
from .requirement import Profile, Requirement
from .target import Waiver

__all__ = ["STATUSES", "Outcome", "Status", "Verdict", "verdict"]

Status = Literal["pass", "omit", "skip", "warn", "fail", "error"]
STATUSES: tuple[Status, ...] = ("pass", "omit", "skip", "warn", "fail", "error")
Judgement = Literal["conformant", "partial", "not-conformant", "not-tested"]


@dataclass(frozen=True)
class Outcome:
    """What a case gave. `check` is None for a requirement that cannot be tested."""

    check: Check | None
    requirements: tuple[Requirement, ...]
    profile: str
    place: str
    status: Status
    message: Text
    evidence: tuple[int, ...] = ()
    caller: tuple[Row, ...] = ()
    replay: str = ""
    waiver: Waiver | None = None
    trace: str = field(default="", repr=False)

    @property
    def id(self) -> str:
        """`<check>@<place>`, unique in a run."""
        name = self.check.id if self.check else f"untested.{self.requirements[0].id}"
        return f"{name}@{self.profile}{'' if self.place == '*' else ':' + self.place}"

    @property
    def must(self) -> bool:
        """Whether an obligation is at stake."""
        return any(one.level == "MUST" for one in self.requirements)

    def waived(self, today: date) -> bool:
        """Whether a waiver still holds."""
        return self.waiver is not None and self.waiver.until >= today


@dataclass(frozen=True)
class Verdict:
    """The judgement on a profile, and why."""

    profile: Profile
    judgement: Judgement
    why: Text
    counts: dict[Status, int]

    def plain(self) -> dict[str, Any]:
        """As the report writes it."""
        return {
            "id": self.profile.id,
            "title": self.profile.title.plain(),
            "verdict": self.judgement,
            "why": self.why.plain(),
            "counts": dict(self.counts),
        }


def verdict(profile: Profile, outcomes: Iterable[Outcome], today: date) -> Verdict:
    """The judgement on a profile.

    A failed MUST: not conformant. A skipped MUST, a waived failure or an error of the suite: partial. Nothing decided:
    not tested.
    """
    own = [one for one in outcomes if one.profile == profile.id]
    counted = Counter(one.status for one in own)
    counts: dict[Status, int] = {status: counted[status] for status in STATUSES}
    failed = [one for one in own if one.status == "fail" and not one.waived(today)]
    waived = [one for one in own if one.status == "fail" and one.waived(today)]
    unknown = [one for one in own if one.status == "skip" and one.must]
    errors = [one for one in own if one.status == "error"]
    proved = [one for one in own if one.status == "pass" and one.must]
    judgement: Judgement
    if failed:
        names = _names(failed)
        judgement = "not-conformant"
        why = Text(f"Exigences non tenues : {names}.", f"Requirements not met: {names}.")
    elif not proved:
        judgement, why = "not-tested", Text("Aucune obligation n'a été vérifiée.", "No obligation was verified.")
    elif unknown or waived or errors:
        judgement = "partial"
        parts = [
            (unknown, "Obligations non vérifiées", "Obligations not verified"),
            (waived, "Sous dérogation", "Under a waiver"),
            (errors, "Erreurs de la suite", "Errors of the suite"),
        ]
        told = [(_names(some), fr, en) for some, fr, en in parts if some]
        why = Text(
            " ; ".join(f"{fr} : {names}" for names, fr, _ in told) + ".",
            "; ".join(f"{en}: {names}" for names, _, en in told) + ".",
        )
    else:
        judgement = "conformant"
        advice = counts["warn"]
        why = Text(
            "Toutes les obligations sont tenues" + (f", {advice} recommandations restent à suivre." if advice else "."),
            "Every obligation is met" + (f", {advice} recommendations remain." if advice else "."),
        )
    return Verdict(profile, judgement, why, counts)


def _names(outcomes: Sequence[Outcome]) -> str:
    names = sorted({requirement.id for outcome in outcomes for requirement in outcome.requirements})
    return ", ".join(names[:8]) + (f" (+{len(names) - 8})" if len(names) > 8 else "")
