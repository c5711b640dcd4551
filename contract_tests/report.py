"""Everything written from a run's report: the JSON master, and what comes from it.

HTML (page.py), badge (badge.py), JUnit and HAR (exports.py) and the terminal summary add nothing to the master. `write`
takes the plain data the engine made, holds it to its shape (shape.py) and writes each artefact for its owner only.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Line

from contract_tests import badge, exports, page
from contract_tests.shape import STATUS_WORDS, STATUSES, VERDICT_WORDS, Report, document, first_steps, read, visible
from contract_tests.text import Language

Format = Literal["json", "html", "junit", "badge", "har"]
FORMATS: dict[Format, str] = {
    "json": "report.json",
    "html": "report.html",
    "junit": "junit.xml",
    "badge": "badge.svg",
    "har": "evidence.har",
}


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
                content = exports.junit(report, language)
            case "badge":
                content = badge.svg(report, now=at, language=language).encode()
            case "har":
                content = document(exports.har(report))
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


_COLOURS = {"conformant": "bold green", "partial": "bold yellow", "not-conformant": "bold red", "not-tested": "dim"}
_MARKS = {"conformant": "✔", "partial": "◐", "not-conformant": "✘", "not-tested": "–"}


def summary(data: Mapping[str, Any] | Report, language: Language = "fr", *, steps: int = 5) -> RenderableType:
    """The end of a run on a terminal: verdict per profile, then what to do first.

    Nothing the target sent can act on the terminal.
    """
    report = data if isinstance(data, Report) else read(data)
    table = Table(box=None, pad_edge=False, show_header=True, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("")
    french = language == "fr"
    for heading in ("Profil" if french else "Profile", "Verdict", "Résultats" if french else "Outcomes"):
        table.add_column(heading)
    for profile in report.profiles:
        colour = _COLOURS[profile.verdict]
        counts = [(profile.counts.of(status), STATUS_WORDS[status].to(language)) for status in STATUSES]
        table.add_row(
            Line(_MARKS[profile.verdict], style=colour),
            Line(visible(profile.title.to(language))),
            Line(VERDICT_WORDS[profile.verdict].to(language), style=colour),
            Line(" · ".join(f"{count} {word}" for count, word in counts if count)),
        )
    heading = f"{visible(report.target.name)} — {visible(report.target.base_url)}"
    parts: list[RenderableType] = [Line(heading, style="bold"), table]
    todo = first_steps(report)
    if todo:
        parts.append(Line("\n" + ("À faire d'abord" if french else "What to do first"), style="bold"))
    for number, group in enumerate(todo[:steps], 1):
        outcome = group[0]
        colour = "red" if outcome.status == "fail" else "yellow"
        title = Line(f"{number}. ", style="bold")
        title.append(visible(outcome.title.to(language)), style=colour).append(f"  ({len(group)}×)", style="dim")
        texts = [visible(text.to(language)) for text in (outcome.message, outcome.consequence, outcome.remedy)]
        detail = [Line(text) for text in texts if text]
        replay = [Line(visible(outcome.replay), style="dim", no_wrap=False)] if outcome.replay else []
        parts += [title, Padding(Group(*detail, *replay), (0, 0, 0, 3))]
    if len(todo) > steps:
        more = len(todo) - steps
        told = f"   … et {more} autres dans le rapport" if french else f"   … and {more} more in the report"
        parts.append(Line(told, style="dim"))
    unknown = [one for one in report.outcomes if one.status in ("skip", "error") and one.must]
    if unknown:
        missing = "\nCe qui manque pour juger le reste" if french else "\nWhat is missing to judge the rest"
        parts.append(Line(missing, style="bold"))
    for said, count in Counter(one.message.to(language) for one in unknown).most_common(3):
        parts.append(Padding(Line(f"{visible(said)} ({count}×)"), (0, 0, 0, 3)))
    return Group(*parts)
