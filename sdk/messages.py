"""What crosses the outgoing wire: `Request`, `Response`, and the shapes everything is made of: `Send`, `Policy`."""

from __future__ import annotations

import marshal
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import SecretStr
from pydantic_core import from_json

from .call import Call
from .errors import InvalidInput, Text, UpstreamInvalid

Params = Mapping[str, Any] | Sequence[tuple[str, Any]]

MIB = 1024 * 1024
DEFAULT_MAX_BYTES = 10 * MIB


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the publisher. `url` is absolute and complete (query included).

    `repeatable`: True where sending it twice changes nothing upstream, None = as the current call says. `timeout`:
    seconds of silence accepted, before the answer and within it (None = the instance's). `max_bytes`:
    largest decoded body accepted. `follow`: a repeatable GET may follow up to 3 redirects inside the same origin.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool | None = None
    timeout: float | None = None
    max_bytes: int = DEFAULT_MAX_BYTES
    follow: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer: the body is read and decoded (gzip, deflate). Any status, 3xx included, is an answer.

    `settled`: set by a policy beneath (`Http.beneath`) where 429, 502, 503 or 504 tells of something behind the
    software, not of the software: such an answer is neither repeated nor counted against it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str = field(default="", repr=False)
    settled: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.headers, (CIMultiDict, CIMultiDictProxy)):
            object.__setattr__(self, "headers", CIMultiDict(self.headers))

    @property
    def ok(self) -> bool:
        """A status from 200 to 299."""
        return 200 <= self.status < 300

    @property
    def size(self) -> int:
        """Bytes of body, decoded."""
        return len(self.body)

    @property
    def content_type(self) -> str:
        """The announced media type, lower case, without parameters; `""` when there is none."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The announced character set, lower case, or None."""
        announced = self.headers.get("Content-Type", "")
        if "charset" not in announced.lower():
            return None
        message = Message()
        message["Content-Type"] = announced
        return message.get_content_charset()

    def text(self) -> str:
        """The body as text: byte order mark, else the announced character set, else UTF-8. Raises `UpstreamInvalid`."""
        if self.body.startswith(b"\xef\xbb\xbf"):
            encoding = "utf-8-sig"
        elif self.body.startswith((b"\xff\xfe", b"\xfe\xff")):
            encoding = "utf-16"
        else:
            encoding = self.charset or "utf-8"
        try:
            return self.body.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            raise invalid_answer(self, f"not {encoding[:40]} text") from None

    def json(self) -> Any:
        """The body as JSON: objects, lists, text, numbers, booleans, None.

        Refused with `UpstreamInvalid`: anything else, NaN and infinities, more than 200 levels.
        """
        source: str | bytes = self.body
        if self.charset not in (None, "utf-8", "us-ascii") or self.body.startswith((b"\xff\xfe", b"\xfe\xff")):
            source = self.text()
        elif self.body.startswith(b"\xef\xbb\xbf"):
            source = self.body[3:]
        try:
            value = from_json(source, allow_inf_nan=False)
        except ValueError as error:
            raise invalid_answer(self, f"not JSON, {_place(str(error))}") from None
        if _may_hold_infinity(value) and not _finite(value):
            raise invalid_answer(self, "a number is not finite")
        return value


@dataclass(frozen=True, slots=True)
class Received:
    """A publisher's call as it came, for a `@callback` that must verify it: a parameter of this type receives it.

    `headers` are case-insensitive; `query` is still encoded; `body` is raw.
    """

    method: str
    headers: Mapping[str, str] = field(repr=False)
    query: str = field(repr=False)
    body: bytes = field(repr=False)


Send = Callable[[Request], Awaitable[Response]]
Policy = Callable[[Send], Send]


@dataclass(slots=True)
class Exchange:
    """What one `send` has been through so far; the policies and the wire write it, the log line reads it."""

    call: Call
    repeatable: bool
    attempts: int = 0
    sent: bool = False  # the head of the current attempt was handed to the network
    received: int = 0  # bytes of body as they came, still encoded
    reached: int = 0  # addresses the current attempt was allowed to try
    denied: list[str] = field(default_factory=list)  # reasons for the addresses it was not allowed to try


exchange: ContextVar[Exchange | None] = ContextVar("relais_exchange", default=None)


def is_repeatable(request: Request, call: Call) -> bool:
    """Whether sending `request` twice is harmless: its own word, else the call's."""
    return call.repeatable if request.repeatable is None else request.repeatable


def invalid_answer(response: Response, why: str, *, processed: bool | None = None) -> UpstreamInvalid:
    """The error for an answer that breaks its contract: `why`, status, type and size, never a byte of its body."""
    kind = response.content_type[:80].encode("ascii", "replace").decode("ascii") or "no type"
    return UpstreamInvalid(
        Text("Le logiciel a donné une réponse inattendue.", en="The software gave an unexpected answer."),
        detail=f"{why} (status {response.status}, {kind}, {response.size} bytes)",
        processed=processed,
    )


def _place(message: str) -> str:
    found = re.search(r"at line (\d+) column (\d+)$", message)
    return f"line {found[1]} column {found[2]}" if found else "unreadable"


def _may_hold_infinity(value: Any) -> bool:
    """Whether a number that overflowed (1e400) may be inside: a look at packed floats, quicker than a walk."""
    packed = marshal.dumps(value)
    return b"\0\0\0\0\0\0\xf0\x7f" in packed or b"\0\0\0\0\0\0\xf0\xff" in packed


def _finite(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, float) and not math.isfinite(item):
            return False
    return True


# --- addresses and forms ----------------------------------------------------------------------------------------------


def with_params(url: str, params: Params | None) -> str:
    """`url` with `params` added to its query, UTF-8, percent-encoded."""
    pairs = pairs_of(params) if params else ()
    if not pairs:
        return url
    address, hash_, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{urlencode(pairs)}{hash_}{fragment}"


def pairs_of(params: Params) -> list[tuple[str, str]]:
    """Names and texts in order: None left out, a list repeated."""
    found: list[tuple[str, str]] = []
    for name, value in params.items() if isinstance(params, Mapping) else params:
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if item is not None:
                found.append((name, word(item)))
    return found


def word(value: Any) -> str:
    """A value as the text of a query, a form or a path. Raises `InvalidInput` for text that no encoding can carry."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        raise TypeError("reveal() the secret where it is sent")
    text = value.isoformat() if isinstance(value, date) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise broken_text() from None
    return text


_PLAIN = re.compile(r"[A-Za-z_.~-]{1,60}\d{0,4}|v\d+(\.\d+)*|")


def shown_path(path: str) -> str:
    """A path as a log may hold it: what is not a plain word in it may be somebody's number, and is hidden."""
    return "/".join(part if _PLAIN.fullmatch(part) else "…" for part in path.split("/"))


def broken_text() -> InvalidInput:
    """The error for half a character (a lone surrogate)."""
    return InvalidInput(
        Text("Un texte contient un caractère invalide.", en="A text holds an invalid character."),
        detail="lone surrogate",
    )


def encode_form(form: Params) -> bytes:
    """`application/x-www-form-urlencoded`, UTF-8."""
    return urlencode(pairs_of(form)).encode("ascii")


# --- Retry-After ------------------------------------------------------------------------------------------------------


def retry_after(response: Response, *, now: Callable[[], float] = time.time) -> float | None:
    """Seconds asked for by `Retry-After` (a number, or a date), at most a day; None when absent or unreadable."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), 86400.0)
    with suppress(ValueError, TypeError, OverflowError):
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now()), 86400.0)
    return None
