"""Where each key of a TOML text is: `tomllib` reads values but forgets lines."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

__all__ = ["line_of", "lines_of"]

Path = tuple[str, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' r"|'''(?s:.)*?'{3,5}(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)


def lines_of(text: str) -> dict[Path, int]:
    """Path of each table header and key → its line, from 1. `text` must be valid TOML; items of an array of tables
    are numbered from 0; keys of inline tables are not listed (see `line_of`)."""
    lines: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    table: Path = ()
    at = 0
    line, counted = 1, 0
    while (at := _end(_BLANK, text, at)) < len(text):
        line += text.count("\n", counted, at)
        counted = at
        if text[at] == "[":
            double = text.startswith("[[", at)
            written, at = _dotted(text, at + 1 + double)
            table = _numbered(written, arrays)
            if double:
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, str(arrays[table]))
            for depth in range(1, len(table)):
                lines.setdefault(table[:depth], line)
            lines[table] = line
            at = text.index("]", at) + 1 + double
        else:
            written, at = _dotted(text, at)
            for depth in range(1, len(written) + 1):
                lines.setdefault((*table, *written[:depth]), line)
            at = _after_value(text, text.index("=", at) + 1)
    return lines


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """The line of `path`, or of the nearest key around it; None when nothing around it is in the file."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _dotted(text: str, at: int) -> tuple[Path, int]:
    keys: list[str] = []
    while True:
        at = _end(_SPACE, text, at)
        found = _KEY.match(text, at)
        if found is None:
            return tuple(keys), at
        written = found[0]
        keys.append(next(iter(tomllib.loads(f"{written} = 0"))))
        at = _end(_SPACE, text, found.end())
        if not text.startswith(".", at):
            return tuple(keys), at
        at += 1


def _numbered(written: Path, arrays: Mapping[Path, int]) -> Path:
    """`[a.b]` below `[[a]]` belongs to the last item of `a`."""
    path: Path = ()
    for position, key in enumerate(written):
        path = (*path, key)
        if path in arrays and position < len(written) - 1:
            path = (*path, str(arrays[path]))
    return path


def _after_value(text: str, at: int) -> int:
    depth = 0
    while at < len(text):
        char = text[at]
        if char in "\"'":
            at = _end(_STRING, text, at)
            continue
        if char == "#":
            found = text.find("\n", at)
            at = len(text) if found < 0 else found
            continue
        if char == "\n" and depth == 0:
            return at
        depth += (char in "[{") - (char in "]}")
        at += 1
    return at
