"""The door: aiohttp's side towards callers, with two things of our own.

What it refuses by itself is answered in the envelope. And while the process serves as many calls as it may, a plain
read is sent back before anything is made of it: to parse, recognise and log a call only to refuse it takes a third of
what serving it would, and twice as many calls as can be served would leave nothing for those that are.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sdk import envelope
from sdk.errors import InvalidInput, Overloaded, RelaisError, Text

from .errors import Internal
from .journal import log

__all__ = ["Door", "overloaded"]

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_END = b"\r\n\r\n"
_PLAIN = re.compile(rb"GET /(?!health/)[!-~]* HTTP/1\.([01])\r\n(?:[!-9;-~]+:[^\r\n\0]*\r\n)*\r\n")
"""A whole read, without anything that two programs could understand in two ways. Whoever watches (`/health/`) is
answered however many call."""
_HEADERS = re.compile(
    rb"\r\n(content-length|transfer-encoding|upgrade|expect|connection|accept-language):[ \t]*([^\r]*)", re.IGNORECASE
)
"""Headers that say that it is more than a read, whether the connection stays, and in which language to answer."""
_MORE = re.compile(rb"\r\n(?:content-length|transfer-encoding|upgrade|expect)[ \t]*:", re.IGNORECASE)
_CLOSE = "Connection: close\r\n"
TOLD_EVERY = 1.0
"""Seconds between two lines that tell how many were sent back."""


def overloaded() -> Overloaded:
    """The process serves as many calls as it may."""
    return Overloaded(
        Text("La passerelle est saturée ; rien n'a été transmis.", en="Overloaded; nothing was sent."), retry_after=2.0
    )


class Door(web.Server):
    """Gives each caller's connection its protocol, and each request to `answer`.

    `room()` is how many more calls may be served now, `sent_back(calls)` is told from time to time how many were not.
    """

    def __init__(self, answer: Answer, *, room: Callable[[], int], sent_back: Callable[[int], None], **options: Any):
        super().__init__(self._begin, **options)
        self._answer = answer
        self._room = room
        self._sent_back = sent_back
        self._untold = 0
        self.coming = 0
        """Connections with a plain read that was let in and has not begun."""

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    @property
    def full(self) -> bool:
        """Whether all that may be served is, or comes."""
        return self.coming >= self._room()

    def refusal(self, read: bytes) -> bytes:
        """The answer to a plain read for which there is no room; empty when it is not so plain."""
        plain = _PLAIN.fullmatch(read)
        if plain is None:
            return b""
        closes, in_english = plain[1] == b"0", False
        for name, value in _HEADERS.findall(read):
            match name.lower():
                case b"connection":
                    closes = closes or b"close" in value.lower()
                case b"accept-language":
                    in_english = value[:2].lower() == b"en"
                case _:
                    return b""
        if not self._untold:
            self._loop.call_later(TOLD_EVERY, self._tell)
        self._untold += 1
        return _REFUSALS[in_english, closes]

    def _begin(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.begun()
        return self._answer(request)

    def _tell(self) -> None:
        calls, self._untold = self._untold, 0
        self._sent_back(calls)
        log.warning("overloaded", sent_back=calls)


class _Connection(RequestHandler):
    """`_coming`: its plain read is counted in `Door.coming`. `_read`: what came last, where it surely was a whole read;
    `_at_start`: whether it ended with a whole head. `_answered`: how many of its requests were.
    """

    _manager: Door
    _coming = False
    _read = b""
    _at_start = True
    _answered = 0

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /") and data.find(_END) == len(data) - len(_END):
            door = self._manager
            at_rest = self._at_rest()
            if at_rest:
                if door.full and not self._paused and (refusal := door.refusal(data)):
                    self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                    assert self.transport is not None
                    self.transport.write(refusal)
                    if refusal in _LAST:
                        self.transport.close()
                    return
                if not self._coming:
                    self._coming = True
                    door.coming += 1
            # What did not come at rest may be a piece of a body: it proves nothing of what comes behind it.
            self._read, self._at_start = data if at_rest else b"", True
        else:
            self._read, self._at_start = b"", data.endswith(_END)
        super().data_received(data)

    def _at_rest(self) -> bool:
        """Whether everything that came was answered, and nothing of it waits for its rest."""
        waiter = self._waiter
        if waiter is not None:
            return not waiter.done() and self._at_start
        # An answer has just left, and aiohttp does not wait for the next request yet. Of what came before, only a read
        # is sure to have had no body.
        return 0 < self._answered == self._request_count and _MORE.search(self._read or b"\r\nExpect:") is None

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        ended = await super().finish_response(request, resp, start_time)
        self._answered += 1
        return ended

    def begun(self) -> None:
        """Its read is served, or never will be."""
        if self._coming:
            self._coming = False
            self._manager.coming -= 1

    def connection_lost(self, exc: BaseException | None) -> None:
        self.begun()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        self.begun()
        error: RelaisError = Internal()
        if status < 500:
            error = InvalidInput(
                Text(
                    "Requête HTTP mal formée. Dans l'adresse, accents et espaces s'écrivent encodés : %C3%A9, %20.",
                    en="Malformed HTTP request. In the address, accents and spaces are encoded: %C3%A9, %20.",
                )
            )
        else:
            log.error("connection_failed", exc_info=exc)
        response = web.Response(
            status=status,
            body=envelope.failure(error, request_id=""),
            content_type=envelope.CONTENT_TYPE,
            headers={envelope.ERROR_HEADER: "1"},
        )
        response.force_close()
        return response


def _written(in_english: bool, closes: bool) -> bytes:
    error = overloaded()
    body = envelope.failure(error, request_id="", in_english=in_english)
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: {envelope.CONTENT_TYPE}\r\n{envelope.ERROR_HEADER}: 1\r\n"
        f"Retry-After: {error.retry_after:.0f}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"{_CLOSE if closes else ''}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_REFUSALS = {(english, closes): _written(english, closes) for english in (False, True) for closes in (False, True)}
_LAST = {answer for (_, closes), answer in _REFUSALS.items() if closes}
