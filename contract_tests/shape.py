"""The report's data: schema version 1 of the JSON master, its one byte form, and the words for its verdicts.

    suite, requirements, target, run      what was run, against which requirement set, on what, when
    profiles   [{id, title, verdict, why, counts}]              one verdict each
    outcomes   [{id, check, case, profile, requirements, status, message, remedy, evidence: [0, 1], waiver, …}]
    evidence   [{request, response, error, started, elapsed_ms, digest, previous}]      a chain: see certificate.py
    waivers, head, signature

Texts for people are `{"fr", "en"}`. Dates are UTC, ISO 8601 with a final Z; durations are seconds unless the name ends
in `_ms`. Nothing is converted: a number in a string, or an unknown member, is refused.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contract_tests.text import Language, Text

Status = Literal["pass", "omit", "skip", "warn", "fail", "error"]
Verdict = Literal["conformant", "partial", "not-conformant", "not-tested"]
Level = Literal["MUST", "SHOULD", "MAY"]

STATUSES: tuple[Status, ...] = ("pass", "omit", "skip", "warn", "fail", "error")  # from best to worst
# An unsigned report is the publisher's own word: it ages faster than a certificate.
UNSIGNED_DAYS = 90

# Headers whose value is a credential: a report in which one is readable is refused, never written.
SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "apikey", "x-auth-token")
)
_MASKED = re.compile(
    r"(?:[\w-]+ +)?(?:\*+|\[[^\]]*\]|<[^>]*>|…+|\W*|redacted|masqué|masked)|basic|bearer|digest", re.IGNORECASE
)


def moment(text: str) -> datetime:
    """The instant a report's date names; ValueError unless it is UTC, ISO 8601, with a final Z."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text):
        raise ValueError("a date is written 2026-03-14T09:26:53Z (UTC)")
    return datetime.fromisoformat(text)


def stamp(instant: datetime) -> str:
    """The reverse of `moment`, to the second."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> str:
    moment(text)
    return text


def _day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError("a day is written 2026-03-14")
    date.fromisoformat(text)
    return text


Moment = Annotated[str, AfterValidator(_moment)]
Day = Annotated[str, AfterValidator(_day)]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Header = Annotated[list[str], Field(min_length=2, max_length=2)]


class Shape(BaseModel):
    """Part of the document: no unknown member, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Bilingual(Shape):
    """A text for people, in both languages."""

    fr: str
    en: str

    def to(self, language: Language) -> str:
        return self.en if language == "en" else self.fr


class Suite(Shape):
    name: str
    version: str


class Requirements(Shape):
    version: str
    digest: Digest


class Target(Shape):
    name: str
    base_url: str
    contact: str = ""
    software: str = ""
    version: str = ""
    environment: Literal["test", "production"]


class Run(Shape):
    id: str
    seed: int
    started: Moment
    ended: Moment
    duration_s: float
    allow_writes: bool
    rate_per_s: float
    command: str


class Counts(Shape):
    passed: int = Field(alias="pass", ge=0)
    omit: int = Field(ge=0)
    skip: int = Field(ge=0)
    warn: int = Field(ge=0)
    fail: int = Field(ge=0)
    error: int = Field(ge=0)

    def of(self, status: Status) -> int:
        return int(getattr(self, "passed" if status == "pass" else status))


class Profile(Shape):
    """`counts` are those of the outcomes whose `profile` is this one's id."""

    id: str
    title: Bilingual
    verdict: Verdict
    why: Bilingual
    counts: Counts


class Requirement(Shape):
    id: str
    level: Level
    sentence: Bilingual
    source: str


class CallerRow(Shape):
    """What w.c.s. will do with the answer, and where that is known from."""

    row: str
    effect: Bilingual
    source: str


class Waiver(Shape):
    """An accepted exception, valid until the end of the day `until` (UTC)."""

    reason: str = Field(min_length=1)
    author: str = Field(min_length=1)
    until: Day

    def ended(self, at: datetime) -> bool:
        return at >= datetime.combine(date.fromisoformat(self.until) + timedelta(days=1), time(), UTC)


class DeclaredWaiver(Waiver):
    """A waiver as the target declares it: for one requirement, everywhere or in one case."""

    requirement: str
    case: str = ""


class Outcome(Shape):
    """`id` is unique; `check` is empty when no check decides the requirement; `evidence`: positions in the report's."""

    id: str
    check: str
    case: str
    profile: str
    title: Bilingual
    requirements: list[Requirement]
    status: Status
    message: Bilingual
    consequence: Bilingual
    remedy: Bilingual
    caller: list[CallerRow] = []
    replay: str = ""
    evidence: list[int] = []
    waiver: Waiver | None = None

    @property
    def must(self) -> bool:
        return any(requirement.level == "MUST" for requirement in self.requirements)


class Request(Shape):
    method: str
    url: str
    headers: list[Header]
    body: str | None
    body_base64: str | None = None


class Response(Shape):
    status: int
    reason: str
    headers: list[Header]
    body: str | None
    body_base64: str | None = None
    truncated: bool


class Evidence(Shape):
    """One exchange, redacted. `digest` covers every other member, `previous` included: see certificate.py."""

    request: Request
    response: Response | None
    error: str | None
    started: Moment
    elapsed_ms: float
    digest: Digest
    previous: Digest

    @model_validator(mode="after")
    def _no_readable_credential(self) -> Self:
        headers = [*self.request.headers, *(self.response.headers if self.response else ())]
        for name, value in headers:
            if name.lower() in SECRET_HEADERS and not _MASKED.fullmatch(value.strip()):
                raise ValueError(f"the value of header {name} must be masked before it is reported")
        found = re.match(r"[\w+.-]+://([^/?#]*)@", self.request.url)
        if found and not _MASKED.fullmatch(found[1].rpartition(":")[2]):
            raise ValueError("the address of an exchange must not carry readable credentials")
        return self


class Signature(Shape):
    algorithm: Literal["ed25519"]
    key_id: str
    public_key: str
    value: str
    signed_at: Moment
    expires: Moment


class Report(Shape):
    """The whole document, schema version 1."""

    schema_version: Literal[1] = Field(alias="schema")
    suite: Suite
    requirements: Requirements
    target: Target
    run: Run
    profiles: list[Profile]
    outcomes: list[Outcome]
    evidence: list[Evidence]
    waivers: list[DeclaredWaiver]
    head: Digest
    signature: Signature | None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        known = {profile.id for profile in self.profiles}
        if len(known) != len(self.profiles):
            raise ValueError("two profiles have the same id")
        counted: dict[str, Counter[Status]] = {profile: Counter() for profile in known}
        seen: set[str] = set()
        for outcome in self.outcomes:
            if outcome.profile not in known:
                raise ValueError(f"outcome {outcome.id}: unknown profile {outcome.profile}")
            if outcome.id in seen:
                raise ValueError(f"outcome {outcome.id} appears twice")
            if any(not 0 <= index < len(self.evidence) for index in outcome.evidence):
                raise ValueError(f"outcome {outcome.id} leans on an exchange that is not in the report")
            seen.add(outcome.id)
            counted[outcome.profile][outcome.status] += 1
        for profile in self.profiles:
            for status in STATUSES:
                if profile.counts.of(status) != counted[profile.id][status]:
                    raise ValueError(f"profile {profile.id}: its count of {status} is not that of its outcomes")
        return self

    @property
    def ended(self) -> datetime:
        return moment(self.run.ended)

    @property
    def expires(self) -> datetime:
        """When the report stops being worth something: signature or age, and never later than a waiver it leans on."""
        limit = moment(self.signature.expires) if self.signature else self.ended + timedelta(days=UNSIGNED_DAYS)
        return min(limit, self.waivers_end or limit)

    @property
    def waivers_end(self) -> datetime | None:
        """When the first waiver that this report leans on ends; None when it leans on none."""
        ends = [
            datetime.combine(date.fromisoformat(outcome.waiver.until), time(23, 59, 59), UTC)
            for outcome in self.outcomes
            if outcome.waiver is not None and self.waived(outcome)
        ]
        return min(ends, default=None)

    def waived(self, outcome: Outcome) -> bool:
        """Whether a waiver held when the run ended; one that had ended is shown and ignored."""
        return outcome.waiver is not None and not outcome.waiver.ended(self.ended)


def canonical(value: object) -> bytes:
    """The one byte form that digests and signatures cover: sorted keys, no space, UTF-8.

    ValueError for what JSON cannot say (NaN, lone surrogates).
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def document(data: Mapping[str, Any]) -> bytes:
    """The bytes of report.json: the same content always gives the same file, one space of indentation per level."""
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def read(data: Mapping[str, Any]) -> Report:
    """The data as a `Report`; pydantic's ValidationError names each member that is wrong."""
    return Report.model_validate(data)


_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """What the target sent, with what would not show (or would act on a terminal) made readable: ⟨U+FEFF⟩."""
    return _INVISIBLE.sub(lambda found: "" if found[0] == "\r" else f"⟨U+{ord(found[0]):04X}⟩", text)


def first_steps(report: Report) -> list[list[Outcome]]:
    """What to do first: outcomes of one check grouped, obligations before advice, then the widest harm first.

    Waived failures and the suite's own errors are not the publisher's to do.
    """
    groups: dict[tuple[str, Status], list[Outcome]] = {}
    for outcome in report.outcomes:
        if outcome.status in ("fail", "warn") and not report.waived(outcome):
            groups.setdefault((outcome.check or outcome.id, outcome.status), []).append(outcome)

    def urgency(group: list[Outcome]) -> tuple[bool, bool, int, str]:
        return group[0].status != "fail", not any(outcome.must for outcome in group), -len(group), group[0].check

    return sorted(groups.values(), key=urgency)


VERDICT_WORDS: dict[Verdict, Text] = {
    "conformant": Text("Conforme", "Conformant"),
    "partial": Text("Partiel", "Partial"),
    "not-conformant": Text("Non conforme", "Not conformant"),
    "not-tested": Text("Non testé", "Not tested"),
}
STATUS_WORDS: dict[Status, Text] = {
    "pass": Text("réussi", "pass"),
    "omit": Text("sans objet", "omit"),
    "skip": Text("non vérifié", "skip"),
    "warn": Text("à améliorer", "warn"),
    "fail": Text("échec", "fail"),
    "error": Text("erreur de la suite", "suite error"),
}
