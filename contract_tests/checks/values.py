"""What values look like: questions several families ask."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "RESERVED",
    "absolute",
    "active_html",
    "amount",
    "filled",
    "has_markup",
    "identifier",
    "iso_date",
    "shown",
    "whole_number",
    "without_accents",
]

RESERVED = "été & = + % / ' \" < œ"
"""A term as people type them, with every character that must be encoded."""


def filled(value: Any) -> bool:
    """A text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def whole_number(value: Any) -> bool:
    """An integer, which a boolean is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def identifier(value: Any) -> bool:
    """What w.c.s. may keep as an id: a non-empty text or an integer."""
    return filled(value) or whole_number(value)


def absolute(value: Any) -> bool:
    """A whole http(s) address."""
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def iso_date(value: Any) -> bool:
    """`2025-04-30`, or a date and time in ISO 8601."""
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value):
        return False
    try:
        date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def amount(value: Any) -> bool:
    """A number, or a text a decimal parser takes: `31.50`."""
    if isinstance(value, (int, float)):
        return not isinstance(value, bool)
    if not isinstance(value, str) or not re.fullmatch(r"-?\d+(\.\d+)?", value):
        return False
    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def without_accents(text: str) -> str:
    """The same text without its accents."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags = 0
        self.active = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags += 1
        if tag in ("script", "iframe", "object", "embed", "form", "base", "meta", "link", "style", "svg", "math"):
            self.active = self.active or f"<{tag}>"
        for name, value in attrs:
            reached = re.sub(r"[\x00-\x20]+", "", value or "").lower()
            if name.startswith("on"):
                self.active = self.active or f"{tag} {name}"
            elif name in ("href", "src", "action", "formaction") and reached.startswith(("javascript:", "data:text")):
                self.active = self.active or f"{tag} {name}={reached[:11]}"


def active_html(text: str) -> str:
    """What would act in a page (script, event attribute, frame, javascript: address); empty when nothing does."""
    finder = _Finder()
    finder.feed(text)
    finder.close()
    return finder.active


def has_markup(text: str) -> bool:
    """Whether the text holds HTML tags or named entities."""
    finder = _Finder()
    finder.feed(text)
    finder.close()
    return finder.tags > 0 or bool(re.search(r"&(?:[a-z]+|#\d+);", text))


def shown(value: Any) -> str:
    """A value as a message may show it, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= 80 else text[:77] + "…"
