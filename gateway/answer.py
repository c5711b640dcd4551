"""A whole answer, written at once: head and body are known, nothing is streamed, compressed or kept in a cookie."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

from sdk import envelope

_JSON: Mapping[str, str] = {hdrs.CONTENT_TYPE: envelope.CONTENT_TYPE}


class Answer(web.StreamResponse):
    """JSON unless `headers` say otherwise. What aiohttp's own response weighs before its head, ours never does."""

    def __init__(self, body: bytes, *, status: int = 200, headers: Mapping[str, str] = _JSON) -> None:
        super().__init__(status=status, headers=headers)
        self._whole = body
        self._kept: bool | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection serves another call after this one; None until it is prepared."""
        return self._kept

    def force_close(self) -> None:
        """Ends the connection with this answer."""
        self._kept = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Says the head, which leaves with the body."""
        if self._kept is None:
            self._kept = request.keep_alive
        self.headers[hdrs.CONTENT_LENGTH] = str(len(self._whole))
        self.headers[hdrs.DATE] = _date(int(time.time()))
        if self._kept != (request.version >= HttpVersion11):  # what the version does not say by itself
            self.headers[hdrs.CONNECTION] = "keep-alive" if self._kept else "close"
        if request.method == hdrs.METH_HEAD:
            self._whole = b""
        self._leaves_by = request.writer
        await self._leaves_by.write_headers(f"HTTP/1.1 {self.status} {self.reason}", self.headers)
        return self._leaves_by

    async def write_eof(self, data: bytes = b"") -> None:
        """Sends everything."""
        await self._leaves_by.write_eof(self._whole)


@lru_cache(maxsize=1)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)
