"""Writing a `target.toml`: the standard library only reads TOML."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["dumps"]


def dumps(head: Mapping[str, Any], endpoints: Iterable[Mapping[str, Any]], comments: Iterable[str] = ()) -> str:
    """A target file: plain members, `[auth]`, then one `[[endpoints]]` each; `comments` end it."""
    lines = [f"{_key(name)} = {_value(value)}" for name, value in head.items() if not isinstance(value, Mapping)]
    for name, value in head.items():
        if isinstance(value, Mapping) and value:
            lines += ["", f"[{name}]", *(f"{_key(key)} = {_value(held)}" for key, held in value.items())]
    for endpoint in endpoints:
        lines += ["", "[[endpoints]]", *(f"{_key(key)} = {_value(held)}" for key, held in endpoint.items())]
    return "\n".join([*lines, *([""] if comments else []), *(f"# {comment}" for comment in comments), ""])


def _key(name: str) -> str:
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else _value(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return '""'
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            return "{ " + ", ".join(f"{_key(key)} = {_value(held)}" for key, held in value.items()) + " }"
        case _:
            return "[" + ", ".join(map(_value, value)) + "]"
