"""The calls that are known of a connector: those its samples record, and those its simulator's demonstration shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sdk import Connector
from sdk.samples import samples
from sdk.simulator import Simulator

__all__ = ["Shown", "demonstrated", "sampled"]

PAGE = "http://127.0.0.1:1/demo"


@dataclass(frozen=True)
class Shown:
    """One call: its path below the instance, decoded, its query, its body.

    `attribute`: the endpoint's method, when a sample names it; `refused`: that sample's answer is a failure.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Any = None
    attribute: str = ""
    refused: bool = False


def sampled(connector: type[Connector[Any]]) -> Iterator[Shown]:
    """The calls of the samples, in order."""
    for sample in samples(connector):
        call, expected = sample.call, sample.expected
        query = [
            (name, str(item))
            for name, value in (call.get("query") or {}).items()
            for item in (value if isinstance(value, list) else [value])
        ]
        refused = isinstance(expected, dict) and bool(expected.get("err"))
        yield Shown(call["method"], call["path"], tuple(query), call.get("body"), sample.endpoint, refused)


def demonstrated(simulator: Simulator) -> Iterator[Shown]:
    """The calls of the demonstration's lines; a path keeps the names of shell variables (`requests/$ID`)."""
    for _, line in simulator.demo_lines(PAGE):
        url = re.search(re.escape(PAGE) + r"/[^\s'\")|]*", line)
        if url is None or "curl " not in line:
            continue
        body = re.search(r"-d '(\{.*?\})'(?= |$)", line)
        parts = urlsplit(url[0])
        path = unquote(parts.path).removeprefix(urlsplit(PAGE).path + "/")
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        yield Shown("POST" if body else "GET", path, query, json.loads(body[1]) if body else None)
