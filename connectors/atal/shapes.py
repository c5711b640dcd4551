"""Members of an answer by a path, arguments by a template: what lets settings say how one town's ATAL names things."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sdk import Choice, Text, UpstreamInvalid

from .settings import ListSource

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def member(data: Any, places: str) -> Any:
    """The value at the first of `Item.Label|Code` that has one; names whatever their case, None when none has."""
    for place in places.split("|"):
        found = data
        for step in place.strip().split("."):
            found = _named(found, step)
        if found is not None and found not in ("", [], {}):
            return found
    return None


def _named(data: Any, name: str) -> Any:
    if not isinstance(data, Mapping):
        return None
    if name in data:
        return data[name]
    return next((value for key, value in data.items() if str(key).lower() == name.lower()), None)


def text_of(data: Any, places: str) -> str:
    """`member` as one line of text; "" for nothing, a structure or a list."""
    found = member(data, places)
    if isinstance(found, bool):
        return "true" if found else "false"
    return " ".join(str(found).split()) if isinstance(found, (str, int, float)) else ""


def placeholders(template: str) -> set[str]:
    """The names between braces in a template."""
    return set(_PLACEHOLDER.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with each `{name}` replaced; a name without value gives nothing."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], ""), template)


def choices(rows: Iterable[Any], source: ListSource, *, parent: str = "") -> list[Choice]:
    """Rows of ATAL as choices, in ATAL's order; `parent` keeps the children of one. A plain value is its own label."""
    found: list[Choice] = []
    for row in rows:
        if not isinstance(row, Mapping):
            row = {source.id.split("|")[0]: row}
        if any(text_of(row, place).lower() != wanted.lower() for place, wanted in source.only.items()):
            continue
        if source.hidden and text_of(row, source.hidden) == "true":
            continue
        id = text_of(row, source.id)
        if not id:
            raise invalid(f"a row of a list without {source.id}")
        above = text_of(row, source.parent) if source.parent else ""
        if parent and above != parent:
            continue
        extra = {"parent": above} if source.parent else {}
        found.append(Choice(id=id, text=text_of(row, source.text) or id, **extra))
    return found


def invalid(detail: str) -> UpstreamInvalid:
    """An answer without what was agreed; `detail` names members and operations, never values."""
    return UpstreamInvalid(
        Text("ATAL a répondu autre chose que ce qui est convenu.", en="ATAL did not answer what was agreed."),
        detail=detail,
    )
