"""The six errors a connector may raise, named after who must act, and nothing else.

    RelaisError
    ├── InvalidInput          the caller sent something wrong                        400
    ├── NotFound              nobody: a normal answer                                200 (404 for files)
    ├── Rejected              the citizen or the agent: the publisher said no        200 (422 for files)
    ├── Misconfigured         the operator: address, credentials, settings           500
    ├── UpstreamInvalid       the publisher: its answer breaks its own contract      502
    └── UpstreamUnavailable   nobody: wait (`retry_after`)                           503, 504 after a timeout

Each carries two texts: `message`, safe to show (`err_desc`), and `detail`, for the log only. Neither may hold a secret
or a citizen's data. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class Text(str):
    """A sentence in French that also knows its English: `Text("Délai dépassé.", en="Timed out.")`."""

    en: str

    def __new__(cls, french: str, *, en: str) -> Text:
        self = super().__new__(cls, french)
        self.en = en
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, str]]:
        return (str(self),), {"en": self.en}  # so that a copied schema keeps its English


def english(text: str) -> str:
    """The English of a `Text`; a plain string is the same in both languages."""
    return text.en if isinstance(text, Text) else text


def one_line(said: object, most: int = 500) -> str:
    """A publisher's words as one line that may be shown: no control characters, no runs of spaces, `most` letters at
    most; "" for nothing, a list or an object."""
    text = "" if said is None or isinstance(said, (list, tuple, Mapping)) else str(said)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:most]


class RelaisError(Exception):
    """What every answer with `err` other than 0 is made of. Raise one of the six below, not this.

    `code` becomes `err_code`: the publisher's own code, or a stable slug a workflow may test.
    `processed` is what is known of the publisher's side: False = surely not executed, True = executed or refused for
    certain, None = unknown. Only the sending layer and a connector's declared refusals may set it.
    """

    status: ClassVar[int] = 500
    file_status: ClassVar[int | None] = None
    origin: ClassVar[str] = "gateway"
    data: Mapping[str, object] | None = None  # what the answer's `data` tells of a failure, as a rule nothing

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        code: str | None = None,
        retry_after: float | None = None,
        processed: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.code = code
        self.retry_after = retry_after
        self.processed = processed
        self.headers: Mapping[str, str] = headers or {}

    @property
    def http_status(self) -> int:
        """The status of this very error (an instance may differ from its class: a timeout is 504)."""
        return self.status


class InvalidInput(RelaisError):
    """The caller must correct its request. `fields` names each faulty field, with one sentence per fault."""

    status = 400
    origin = "caller"

    def __init__(
        self,
        message: str,
        *,
        fields: Mapping[str, Sequence[str]] | None = None,
        detail: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message, detail=detail, code=code, processed=False)
        self.fields: Mapping[str, Sequence[str]] = fields or {}


class NotFound(RelaisError):
    """What was asked for does not exist upstream: a normal answer, nobody must act."""

    status = 200
    file_status = 404
    origin = "upstream"

    def __init__(self, message: str, *, detail: str = "", code: str | None = None) -> None:
        super().__init__(message, detail=detail, code=code, processed=True)


class Rejected(RelaisError):
    """The publisher's software refused, for a reason a citizen or an agent can act upon."""

    status = 200
    file_status = 422
    origin = "upstream"

    def __init__(self, message: str, *, detail: str = "", code: str | None = None) -> None:
        super().__init__(message, detail=detail, code=code, processed=True)


class Misconfigured(RelaisError):
    """The operator must act: wrong address, refused credentials, missing setting."""

    status = 500
    origin = "gateway"


class UpstreamInvalid(RelaisError):
    """The publisher must act: its software answered something its contract does not allow."""

    status = 502
    origin = "upstream"


class UpstreamUnavailable(RelaisError):
    """Nobody must act: wait `retry_after` seconds. `timeout=True` when the publisher was reached but did not answer."""

    status = 503
    origin = "network"

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        code: str | None = None,
        retry_after: float | None = None,
        processed: bool | None = None,
        timeout: bool = False,
    ) -> None:
        super().__init__(message, detail=detail, code=code, retry_after=retry_after, processed=processed)
        self.timeout = timeout

    @property
    def http_status(self) -> int:
        return 504 if self.timeout else self.status


class Overloaded(RelaisError):
    """Nobody must act: too many calls at once, nothing was sent; come back after `retry_after` seconds."""

    status = 503
    origin = "gateway"

    def __init__(
        self, message: str, *, detail: str = "", code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, detail=detail, code=code, retry_after=retry_after, processed=False)
