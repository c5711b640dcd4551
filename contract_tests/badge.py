"""The badge: profiles, verdict, date, expiry and suite version as a small SVG that a publisher shows on its site.

Grey once expired *when it is drawn*: draw it again from the report (`contract-tests badge report.json`) on a schedule.
The full facts are in its `<title>`, which screen readers read and browsers show on hover.
"""

from __future__ import annotations

from datetime import datetime
from html import escape

from contract_tests.shape import VERDICT_WORDS, Report, Verdict, visible
from contract_tests.text import Language

# Dark enough for white text (contrast above 4.5:1 on each).
COLOURS: dict[Verdict, str] = {
    "conformant": "#1d6f42",
    "partial": "#8a5a00",
    "not-conformant": "#a3261d",
    "not-tested": "#5b6470",
}
EXPIRED = "#6b7280"
_HEIGHT, _LINE, _MARGIN = 20, 22, 8
# Width of Verdana at 11 px, by class of character: a badge cannot measure its text, and must not cut it.
_NARROW, _WIDE = set("iljtfrI.,:;'|!()[] -"), set("mwMWÉÈÀOQGCDHNUABV@%—…")


def width(text: str) -> int:
    """An upper estimate of the width in pixels of a text in Verdana 11."""
    return round(sum(4.6 if letter in _NARROW else 9.3 if letter in _WIDE else 7.2 for letter in text))


def svg(report: Report, *, now: datetime, language: Language = "fr") -> str:
    """The badge of a report: one line per tested profile, then dates, signature and version."""
    french = language == "fr"
    expired = now > report.expires
    tested = [profile for profile in report.profiles if profile.verdict != "not-tested"]
    rows = []
    for profile in tested:
        word = VERDICT_WORDS[profile.verdict].to(language).lower()
        rows.append((_short(profile.title.to(language)), word, EXPIRED if expired else COLOURS[profile.verdict]))
    if not rows:
        rows.append((_short(report.target.name), VERDICT_WORDS["not-tested"].to(language).lower(), EXPIRED))
    day, limit = _day(report.ended, language), _day(report.expires, language)
    dates = f"{day} → {limit}"
    if expired:
        dates = f"périmé depuis le {limit}" if french else f"expired since {limit}"
    if report.signature:
        origin = f"signé {report.signature.key_id[:9]}" if french else f"signed {report.signature.key_id[:9]}"
    else:
        origin = "auto-contrôle" if french else "self-check"
    test = (
        (" · environnement de test" if french else " · test environment") if report.target.environment == "test" else ""
    )
    suite = f"{_short(report.suite.name, 24)} {_short(report.suite.version, 16)}"
    foot = (f"{dates} · {origin}", f"{suite}{test}")

    left = max(width(title) for title, _, _ in rows) + 2 * _MARGIN + 14
    right = max(width(word) for _, word, _ in rows) + 2 * _MARGIN
    total = max(left + right, *(round(width(line) * 0.84) for line in foot))
    left = total - right
    height = _LINE * len(rows) + 26
    label = "; ".join(f"{title} : {word}" if french else f"{title}: {word}" for title, word, _ in rows)
    told = " — ".join(("Publik", visible(report.target.name), label, *foot))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{height}" viewBox="0 0 {total} {height}" '
        f'role="img" xml:lang="{language}" aria-labelledby="t">',
        f'<title id="t">{escape(told)}</title>',
        '<g font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">',
    ]
    for number, (title, word, colour) in enumerate(rows):
        top = number * _LINE
        dark = f"M3 {top}h{left - 3}v{_HEIGHT}h-{left - 3}a3 3 0 0 1-3-3v-{_HEIGHT - 6}a3 3 0 0 1 3-3z"
        light = f"M{left} {top}h{right - 3}a3 3 0 0 1 3 3v{_HEIGHT - 6}a3 3 0 0 1-3 3h-{right - 3}z"
        lines += [
            f'<path d="{dark}" fill="#243042"/>',
            f'<path d="{light}" fill="{colour}"/>',
            f'<path d="M7 {top + 5}h7v3h-4v4h4v3h-7z" fill="#8fb4ff"/>',
            f'<text x="{_MARGIN + 12}" y="{top + 14}" fill="#fff">{escape(title)}</text>',
            f'<text x="{left + right / 2:g}" y="{top + 14}" fill="#fff" text-anchor="middle">{escape(word)}</text>',
        ]
    for number, line in enumerate(foot):
        place = f'x="{total / 2:g}" y="{len(rows) * _LINE + 10 + 12 * number}" text-anchor="middle"'
        lines.append(f'<text {place} fill="#6b7280" font-size="9">{escape(line)}</text>')
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _short(text: str, most: int = 40) -> str:
    shown = visible(" ".join(text.split()))
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _day(instant: datetime, language: Language) -> str:
    return instant.strftime("%d/%m/%Y" if language == "fr" else "%Y-%m-%d")
