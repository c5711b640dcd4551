"""The report of one run: its data shape, and everything written from it.

The JSON document is the master; HTML (page.py), badge (badge.py), JUnit, HAR and the terminal summary come from it and add
nothing. `write` takes the plain data the engine made, holds it to the shape below (`Report`), and writes each artefact
readable by its owner only. Dates are UTC, ISO 8601 with a final Z; durations are seconds unless the name ends in `_ms`.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Line

Language = Literal["fr", "en"]
Status = Literal["pass", "omit", "skip", "warn", "fail", "error"]
Verdict = Literal["conformant", "partial", "not-conformant", "not-tested"]
Level = Literal["MUST", "SHOULD", "MAY"]
Format = Literal["json", "html", "junit", "badge", "har"]

STATUSES: tuple[Status, ...] = ("pass", "omit", "skip", "warn", "fail", "error")  # from best to worst
FORMATS: dict[Format, str] = {
    "json": "report.json",
    "html": "report.html",
    "junit": "junit.xml",
    "badge": "badge.svg",
    "har": "evidence.har",
}
# An unsigned report is the publisher's own word: it ages faster than a certificate.
UNSIGNED_DAYS = 90

# Headers whose value is a credential: a report in which one is readable is refused, never written.
SECRET_HEADERS = frozenset(
    "authorization proxy-authorization cookie set-cookie x-api-key apikey api-key x-auth-token x-gravitee-api-key".split()
)
_MASKED = re.compile(r"(?:[\w-]+ +)?(?:\*+|\[[^\]]*\]|<[^>]*>|…+|\W*|(?:redacted|masqué|masked))", re.IGNORECASE)


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
    """`id` is `check@case` and unique; `evidence` are positions in the report's evidence."""

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
        if "@" in urlsplit(self.request.url).netloc.rpartition("@")[1]:
            raise ValueError("the address of an exchange must not carry credentials")
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


def write(
    data: Mapping[str, Any],
    folder: Path,
    formats: Iterable[Format] = tuple(FORMATS),
    *,
    language: Language = "fr",
    now: datetime | None = None,
) -> list[Path]:
    """Writes the artefacts (names in `FORMATS`) into `folder`, owner-readable only, and returns their paths.

    `data` must be sealed (`certificate.seal`). `now` decides whether the badge and the page show an expired report.
    """
    from contract_tests import badge, page  # both read the shapes of this module

    report, at = read(data), now or datetime.now(UTC)
    written = []
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in dict.fromkeys(formats):
        match name:
            case "json":
                content = document(data)
            case "html":
                content = page.html(report, now=at, language=language).encode()
            case "junit":
                content = junit(report, language)
            case "badge":
                content = badge.svg(report, now=at, language=language).encode()
            case "har":
                content = document(har(report))
        written.append(save(folder / FORMATS[name], content))
    return written


def save(path: Path, content: bytes) -> Path:
    """Writes a file readable by its owner only, whole or not at all."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return path


_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]|[\ud800-\udfff]")


def visible(text: str) -> str:
    """What the target sent, with what would not show (or would act on a terminal) made readable: ⟨U+FEFF⟩."""
    return _INVISIBLE.sub(lambda found: "" if found[0] == "\r" else f"⟨U+{ord(found[0]):04X}⟩", text)


def junit(report: Report, language: Language = "fr") -> bytes:
    """JUnit XML, one suite per profile. *warn* passes, with its text as output; a waived failure is *skipped*, with its reason."""
    root = ElementTree.Element("testsuites", name=f"{report.suite.name} {report.suite.version}")
    for profile in report.profiles:
        cases = [outcome for outcome in report.outcomes if outcome.profile == profile.id]
        suite = ElementTree.SubElement(root, "testsuite", name=profile.id, timestamp=report.run.started.rstrip("Z"))
        totals = Counter[str](tests=len(cases))
        for outcome in cases:
            elapsed = sum(report.evidence[index].elapsed_ms for index in outcome.evidence) / 1000
            case = ElementTree.SubElement(
                suite, "testcase", classname=f"{profile.id}.{outcome.check}", name=visible(outcome.id), time=f"{elapsed:.3f}"
            )
            ids = " ".join(requirement.id for requirement in outcome.requirements)
            message = visible(outcome.message.to(language))
            tag = {"omit": "skipped", "skip": "skipped", "fail": "failure", "error": "error"}.get(outcome.status)
            if outcome.status == "fail" and outcome.waiver is not None and report.waived(outcome):
                tag = "skipped"
                message = f"{outcome.waiver.reason} ({outcome.waiver.author}, → {outcome.waiver.until}) — {message}"
            if tag:
                totals[tag] += 1
                verdict = ElementTree.SubElement(case, tag, message=visible(message))
                if tag != "skipped":
                    verdict.set("type", ids)
                    verdict.text = visible("\n".join(_lines(outcome, language)))
            elif outcome.status == "warn":
                ElementTree.SubElement(case, "system-out").text = visible("\n".join((f"WARN {ids}", *_lines(outcome, language))))
        for attribute, tag in (("tests", "tests"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(attribute, str(totals[tag]))
            root.set(attribute, str(int(root.get(attribute, "0")) + totals[tag]))
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _lines(outcome: Outcome, language: Language) -> list[str]:
    sentences = [f"{r.id} {r.level}: {r.sentence.to(language)} [{r.source}]" for r in outcome.requirements]
    texts = [outcome.message.to(language), outcome.consequence.to(language), *sentences, outcome.remedy.to(language)]
    return [line for line in (*texts, outcome.replay) if line]


def har(report: Report) -> dict[str, Any]:
    """The evidence as an HTTP Archive 1.2, to open in a browser's network panel; `_digest` ties an entry to the report."""
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": report.suite.name, "version": report.suite.version},
            "comment": f"run {report.run.id}, {report.head}",
            "entries": [_entry(evidence) for evidence in report.evidence],
        }
    }


def _entry(evidence: Evidence) -> dict[str, Any]:
    request, answer = evidence.request, evidence.response
    sent: dict[str, Any] = {
        "method": request.method,
        "url": request.url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(request.headers),
        "queryString": _pairs(parse_qsl(urlsplit(request.url).query, keep_blank_values=True)),
        "headersSize": -1,
        "bodySize": _size(request.body, request.body_base64),
    }
    if request.body is not None or request.body_base64 is not None:
        sent["postData"] = {"mimeType": _media_type(request.headers), "text": request.body or ""}
        if request.body_base64 is not None:
            sent["postData"] |= {"text": request.body_base64, "comment": "base64"}
    body = answer.body if answer else None
    binary = answer.body_base64 if answer else None
    headers = answer.headers if answer else []
    content: dict[str, Any] = {"size": max(_size(body, binary), 0), "mimeType": _media_type(headers), "text": body or ""}
    if binary is not None:
        content |= {"text": binary, "encoding": "base64"}
    if answer and answer.truncated:
        content["comment"] = "truncated"
    received = {
        "status": answer.status if answer else 0,
        "statusText": answer.reason if answer else "",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(headers),
        "content": content,
        "redirectURL": next((value for name, value in headers if name.lower() == "location"), ""),
        "headersSize": -1,
        "bodySize": _size(body, binary),
    }
    entry = {
        "startedDateTime": evidence.started,
        "time": evidence.elapsed_ms,
        "request": sent,
        "response": received,
        "cache": {},
        "timings": {"send": 0, "wait": evidence.elapsed_ms, "receive": 0},
        "_digest": evidence.digest,
    }
    return entry | ({"_error": evidence.error} if evidence.error else {})


def _pairs(pairs: Iterable[Iterable[str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _media_type(headers: list[list[str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def _size(body: str | None, binary: str | None) -> int:
    if binary is not None:
        return len(binary.rstrip("=")) * 3 // 4
    return -1 if body is None else len(body.encode(errors="replace"))


VERDICT_WORDS: dict[Verdict, Bilingual] = {
    "conformant": Bilingual(fr="Conforme", en="Conformant"),
    "partial": Bilingual(fr="Partiel", en="Partial"),
    "not-conformant": Bilingual(fr="Non conforme", en="Not conformant"),
    "not-tested": Bilingual(fr="Non testé", en="Not tested"),
}
STATUS_WORDS: dict[Status, Bilingual] = {
    "pass": Bilingual(fr="réussi", en="pass"),
    "omit": Bilingual(fr="sans objet", en="omit"),
    "skip": Bilingual(fr="non vérifié", en="skip"),
    "warn": Bilingual(fr="à améliorer", en="warn"),
    "fail": Bilingual(fr="échec", en="fail"),
    "error": Bilingual(fr="erreur de la suite", en="suite error"),
}
_COLOURS = {"conformant": "bold green", "partial": "bold yellow", "not-conformant": "bold red", "not-tested": "dim"}
_MARKS = {"conformant": "✔", "partial": "◐", "not-conformant": "✘", "not-tested": "–"}


def first_steps(report: Report) -> list[list[Outcome]]:
    """What to do first: outcomes of one check grouped, obligations before advice, then the widest harm first.

    Waived failures and the suite's own errors are not the publisher's to do.
    """
    groups: dict[tuple[str, Status], list[Outcome]] = {}
    for outcome in report.outcomes:
        if outcome.status in ("fail", "warn") and not report.waived(outcome):
            groups.setdefault((outcome.check, outcome.status), []).append(outcome)
    return sorted(
        groups.values(), key=lambda group: (group[0].status != "fail", not any(o.must for o in group), -len(group), group[0].check)
    )


def summary(data: Mapping[str, Any] | Report, language: Language = "fr", *, steps: int = 5) -> RenderableType:
    """The end of a run on a terminal: verdict per profile, then what to do first. Nothing the target sent can act on the terminal."""
    report = data if isinstance(data, Report) else read(data)
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("Profil", "Verdict") if language == "fr" else ("Profile", "Verdict"):
        table.add_column(heading, overflow="fold")
    for status in STATUSES:
        table.add_column(STATUS_WORDS[status].to(language), justify="right")
    for profile in report.profiles:
        numbers = [Line(str(profile.counts.of(status)), style="" if profile.counts.of(status) else "dim") for status in STATUSES]
        colour = _COLOURS[profile.verdict]
        mark, word = Line(_MARKS[profile.verdict], style=colour), Line(VERDICT_WORDS[profile.verdict].to(language), style=colour)
        table.add_row(mark, Line(visible(profile.title.to(language))), word, *numbers)
    parts: list[RenderableType] = [Line(f"{visible(report.target.name)} — {visible(report.target.base_url)}", style="bold"), table]
    todo = first_steps(report)
    if todo:
        parts.append(Line("\n" + ("À faire d'abord" if language == "fr" else "What to do first"), style="bold"))
    for number, group in enumerate(todo[:steps], 1):
        outcome = group[0]
        colour = "red" if outcome.status == "fail" else "yellow"
        title = Line.assemble((f"{number}. ", "bold"), (visible(outcome.title.to(language)), colour), (f"  ({len(group)}×)", "dim"))
        told = [visible(text.to(language)) for text in (outcome.message, outcome.consequence, outcome.remedy)]
        detail = [Line(text) for text in told if text]
        replay = [Line(visible(outcome.replay), style="dim", no_wrap=False)] if outcome.replay else []
        parts += [title, Padding(Group(*detail, *replay), (0, 0, 0, 3))]
    if len(todo) > steps:
        more = len(todo) - steps
        parts.append(Line(f"   … et {more} autres dans le rapport" if language == "fr" else f"   … and {more} more in the report", style="dim"))
    return Group(*parts)
