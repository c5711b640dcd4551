"""An answer of the target, read leniently: a fault is judged by the check whose business it is, and by no other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from contract_tests.wire import Exchange

__all__ = ["UNREADABLE", "Answer", "json_of"]

UNREADABLE: Final = object()
"""What `document` is when the body is not JSON."""


SMALL = 256 * 1024
"""Bytes up to which an answer's value is kept; in memory it may be thirty times its text."""


@dataclass(frozen=True)
class Answer:
    """An exchange and its place in the evidence."""

    exchange: Exchange
    index: int

    @property
    def status(self) -> int:
        """The HTTP status; 0 when nothing came."""
        return self.exchange.response.status if self.exchange.response else 0

    @property
    def body(self) -> bytes:
        """The decoded body; empty when nothing came."""
        return self.exchange.response.body if self.exchange.response else b""

    @property
    def elapsed(self) -> float:
        """Seconds until the last byte."""
        return self.exchange.elapsed

    def header(self, name: str) -> str | None:
        """The first header of that name."""
        return self.exchange.response.header(name) if self.exchange.response else None

    @property
    def content_type(self) -> str:
        """The media type, lower case, without parameters."""
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def complete(self) -> bool:
        """Whether a whole answer came."""
        return self.exchange.response is not None and not self.exchange.response.truncated

    @property
    def document(self) -> Any:
        """The JSON value, whatever the encoding and the byte-order mark; `UNREADABLE` when it is not JSON."""
        if not self.complete:
            return UNREADABLE
        return self._small if len(self.body) <= SMALL else _large(self.body)

    @cached_property
    def _small(self) -> Any:
        return json_of(self.body)

    @property
    def envelope(self) -> dict[str, Any] | None:
        """The JSON object at top level, if it is one."""
        return self.document if isinstance(self.document, dict) else None

    @property
    def success(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return 200 <= self.status < 300

    @property
    def code(self) -> int | str:
        """The application error code by w.c.s.'s order: `X-Error-Code` first, then `err`; 0 is a success."""
        if header := self.header("X-Error-Code"):
            return _whole(header)
        found = self.envelope
        err = found.get("err") if found is not None else None
        return _whole(err) if err else 0

    @property
    def favourable(self) -> bool:
        """2xx, a whole answer, and no error code."""
        return self.complete and self.success and self.code == 0

    @property
    def failure(self) -> bool:
        """The answer says that the call failed, in any of the ways w.c.s. understands."""
        return self.complete and (self.status >= 400 or self.code != 0)


@lru_cache(maxsize=1)
def _large(body: bytes) -> Any:
    """The value of the one large body looked at last."""
    return json_of(body)


def json_of(body: bytes) -> Any:
    """The JSON value of a body, or `UNREADABLE`. Lone surrogates become U+FFFD: no text of ours could hold them."""
    try:
        value = _loaded(body)
    except (ValueError, RecursionError):
        return UNREADABLE
    return _paired(value) if b"\\u" in body else value


def _loaded(body: bytes) -> Any:
    try:
        return json.loads(body.removeprefix(b"\xef\xbb\xbf").decode("utf-8"))
    except UnicodeDecodeError:
        return json.loads(body.decode("latin-1"))


def _paired(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode("utf-8").replace("?", "\ufffd") if _lone(value) else value
        case list():
            return [_paired(one) for one in value]
        case dict():
            return {_paired(name): _paired(one) for name, one in value.items()}
    return value


def _lone(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _whole(value: Any) -> int | str:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return str(value)
