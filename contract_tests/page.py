"""The HTML report: one file, no outside reference, both languages, for a director (top) and a developer (below).

Everything the target sent passes `visible` and is escaped; a content security policy allows the page's own script and
style by digest only, so that an escaping mistake still runs nothing. Bodies are cut so that the page stays under
`LIMIT`; the whole evidence is in report.json and evidence.har.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from contract_tests.shape import (
    STATUS_WORDS,
    STATUSES,
    VERDICT_WORDS,
    Bilingual,
    Evidence,
    Outcome,
    Profile,
    Report,
    Requirement,
    Status,
    first_steps,
    visible,
)
from contract_tests.text import Language, Text

LIMIT = 1_900_000
# Characters shown of each body, tried in turn until the page fits.
_CUTS = (4000, 1500, 500, 150, 0)
_FOLDER = Path(__file__).parent / "templates"
_MONTHS = {
    "fr": (
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ),
    "en": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ),
}


@dataclass
class Group:
    """The outcomes of one check in one profile: those that hold are one line each, the others are told in full."""

    anchor: str
    status: Status
    title: Bilingual
    requirements: list[Requirement]
    consequences: list[Bilingual] = field(default_factory=list)
    remedies: list[Bilingual] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    omitted: list[Outcome] = field(default_factory=list)
    quiet: list[Outcome] = field(default_factory=list)

    @property
    def outcomes(self) -> list[Outcome]:
        return [*(told.outcome for told in self.told), *self.omitted, *self.quiet]

    @property
    def size(self) -> int:
        return len(self.outcomes)


@dataclass
class Told:
    """An outcome told in full; `shown` are the exchanges printed under it, the other ones are links."""

    outcome: Outcome
    waived: bool
    shown: list[int]


def html(report: Report, *, now: datetime, language: Language = "fr") -> str:
    """The page; bodies are cut until it is under `LIMIT` bytes (or shows no body at all)."""
    page = ""
    for cut in _CUTS:
        page = _render(report, now, language, cut)
        if len(page.encode()) <= LIMIT:
            break
    return page


def _render(report: Report, now: datetime, language: Language, cut: int) -> str:
    told_in: set[int] = set()
    sections = [(profile, _groups(report, profile, told_in)) for profile in report.profiles]
    anchors = {outcome.id: group.anchor for _, groups in sections for group in groups for outcome in group.outcomes}
    tested = [profile for profile in report.profiles if profile.verdict != "not-tested"]
    conformant = [profile for profile in tested if profile.verdict == "conformant"]
    steps = first_steps(report)
    script, style = _asset("script.html", "script"), _asset("style.html", "style")
    template = _environment().get_template("report.html")
    return template.render(
        report=report,
        language=language,
        script=script,
        style=style,
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'",
        expired=now > report.expires,
        tested=tested,
        untested=[profile for profile in report.profiles if profile.verdict == "not-tested"],
        conformant=conformant,
        seal=_seal_of(tested),
        steps=steps,
        obligations=[group for group in steps if group[0].status == "fail" and any(outcome.must for outcome in group)],
        unknown=(unknown := [one for one in report.outcomes if one.status in ("skip", "error") and one.must]),
        reasons=_reasons(unknown),
        anchors=anchors,
        sections=sections,
        waived=[outcome for outcome in report.outcomes if outcome.waiver],
        leftover=[index for index in range(len(report.evidence)) if index not in told_in],
        catalogue=_catalogue(report.outcomes),
        totals={status: sum(profile.counts.of(status) for profile in report.profiles) for status in STATUSES},
        cut=cut,
        STATUSES=STATUSES,
        STATUS_WORDS=STATUS_WORDS,
        VERDICT_WORDS=VERDICT_WORDS,
    )


def _groups(report: Report, profile: Profile, told_in: set[int]) -> list[Group]:
    """Worst first; `told_in` gathers the exchanges already printed under an outcome, so that each is printed once."""
    groups: dict[str, Group] = {}
    for outcome in report.outcomes:
        if outcome.profile != profile.id:
            continue
        name = outcome.check or outcome.id
        group = groups.get(name)
        if group is None:
            anchor = re.sub(r"[^\w.-]", "-", f"{profile.id}.{name}")
            group = Group(anchor, outcome.status, outcome.title, list(outcome.requirements))
            groups[name] = group
        if outcome.status in ("pass", "omit"):
            (group.quiet if outcome.status == "pass" else group.omitted).append(outcome)
            continue
        for known, more in ((group.consequences, outcome.consequence), (group.remedies, outcome.remedy)):
            if (more.fr or more.en) and more not in known:
                known.append(more)
        shown = [index for index in outcome.evidence if index not in told_in]
        told_in.update(shown)
        group.told.append(Told(outcome, report.waived(outcome), shown))
    for group in groups.values():
        group.told.sort(key=lambda told: -STATUSES.index(told.outcome.status))
        # A check that does not apply everywhere still passed where it does.
        group.status = group.told[0].outcome.status if group.told else "pass" if group.quiet else "omit"

    def order(group: Group) -> tuple[int, list[int | str]]:
        # What calls for an action first, what does not apply last.
        rank = -1 if group.status == "omit" else STATUSES.index(group.status)
        return -rank, _natural(group.requirements[0].id if group.requirements else "")

    return sorted(groups.values(), key=order)


def _reasons(unknown: Iterable[Outcome]) -> list[tuple[Bilingual, int]]:
    """Why obligations could not be verified, the most frequent reason first: settle it, and they will be."""
    counted = Counter((outcome.message.fr, outcome.message.en) for outcome in unknown)
    return [(Bilingual(fr=fr, en=en), count) for (fr, en), count in counted.most_common(5)]


def _catalogue(outcomes: Iterable[Outcome]) -> list[tuple[Requirement, Status]]:
    worst: dict[str, tuple[Requirement, Status]] = {}
    for outcome in outcomes:
        for requirement in outcome.requirements:
            before = worst.get(requirement.id, (requirement, outcome.status))[1]
            worst[requirement.id] = (requirement, max(before, outcome.status, key=STATUSES.index))
    return sorted(worst.values(), key=lambda pair: _natural(pair[0].id))


def _natural(requirement_id: str) -> list[int | str]:
    """`PUB-ENV-10` sorts after `PUB-ENV-9`: text and numbers alternate, text first, so that like meets like."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", requirement_id)]


def _seal_of(tested: list[Profile]) -> str:
    verdicts = {profile.verdict for profile in tested}
    if not verdicts:
        return "not-tested"
    return next(verdict for verdict in ("not-conformant", "partial", "conformant") if verdict in verdicts)


# --- the template's words


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "text": _text,
        "pair": _pair,
        "ids": _ids,
        "day": _day,
        "clock": _clock,
        "cut": _cut,
        "weblink": _weblink,
    }
    environment.globals |= {"u": _both, "SCALLOPS": _scallops(), "request": _request, "answer": _answer}
    return environment


def _text(value: object) -> Markup:
    """For text nodes only: quotes are kept, a body full of `&#34;` would double the page; attributes use autoescape."""
    shown = visible(str(value))
    return Markup(shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))  # noqa: S704


def _both(fr: str, en: str) -> Markup:
    if fr == en:
        return _text(fr)
    return Markup("<span lang=fr>{}</span><span lang=en>{}</span>").format(_text(fr), _text(en))


def _pair(value: Bilingual | Text) -> Markup:
    return _both(_cut(value.fr, 2000), _cut(value.en, 2000))


def _ids(value: Bilingual) -> Markup:
    """A pair in which no requirement's id is broken at the end of a line."""
    return Markup(re.sub(r"PUB-[A-Z]+-[0-9]+", r"<span class=id>\g<0></span>", str(_pair(value))))  # noqa: S704


def _day(instant: datetime) -> Markup:
    texts = [f"{instant.day} {_MONTHS[language][instant.month - 1]} {instant.year}" for language in ("fr", "en")]
    return _both(*texts)


def _clock(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} […{len(text) - most} +]"


def _weblink(address: str) -> str:
    """The address if a browser may follow it, else nothing: a target's address is not trusted to be a web address."""
    return address if re.match(r"https?://[^\s\"'<>]+\Z", address) else ""


def _request(evidence: Evidence, cut: int) -> Markup:
    request = evidence.request
    lines = [f"{request.method} {_cut(request.url, 2000)}", *_headers(request.headers)]
    return _text("\n".join([*lines, *_body(request.body, request.body_base64, cut)]))


def _answer(evidence: Evidence, cut: int) -> Markup:
    response = evidence.response
    lines = [f"⚠ {_cut(evidence.error, 600)}"] if evidence.error else []
    if response is not None:
        lines += [f"{response.status} {_cut(response.reason, 200)}", *_headers(response.headers)]
        lines += _body(response.body, response.body_base64, cut)
        lines += ["[…]"] if response.truncated else []
    return _text("\n".join(lines))


def _headers(headers: list[list[str]]) -> list[str]:
    return [f"{_cut(name, 80)}: {_cut(value, 300)}" for name, value in headers[:40]]


def _body(body: str | None, binary: str | None, cut: int) -> list[str]:
    if binary is not None:
        return ["", f"[base64] {_cut(binary, min(cut, 400))}"]
    return ["", _cut(body, cut)] if body else []


# --- what the page is made of


def _asset(name: str, tag: str) -> str:
    content = (_FOLDER / name).read_text(encoding="utf-8")
    return content.removeprefix(f"<{tag}>").rstrip().removesuffix(f"</{tag}>")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _scallops(count: int = 36, radius: float = 92, depth: float = 5) -> str:
    """The edge of the seal, as the points of an SVG polygon around 0,0."""
    points = []
    for step in range(count * 6):
        angle = 2 * math.pi * step / (count * 6)
        reach = radius + depth * math.cos(count * angle)
        points.append(f"{reach * math.cos(angle):.1f},{reach * math.sin(angle):.1f}")
    return " ".join(points)
