"""What is read of an HTTP request before anything is known of it: path, language, body within its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from aiohttp import hdrs, web

from sdk.errors import InvalidInput, Overloaded, Text

from .errors import TooLarge, TooSlow, UnknownEndpoint, UnsupportedType

LARGE = 256 * 1024
"""Bytes of body above which its files are decoded as it arrives, and it is counted."""
PATIENCE = 5.0
"""Seconds a body may take to begin with, to which its received size adds at 50 KB a second."""


def split_path(path: str) -> list[str]:
    """Decoded segments, a trailing slash ignored. Raises `InvalidInput` on what is not a plain origin-form path."""
    if not path.startswith("/"):
        raise _malformed()
    segments = path[1:].removesuffix("/").split("/") if path != "/" else []
    if "%" in path or not path.isascii():
        try:
            segments = [unquote_to_bytes(segment).decode("utf-8") for segment in segments]
        except UnicodeDecodeError:
            raise _malformed() from None
    for segment in segments:
        if segment in ("", ".", "..") or "\x00" in segment:
            raise UnknownEndpoint()
    return segments


def _malformed() -> InvalidInput:
    return InvalidInput(Text("Adresse mal formée.", en="Malformed address."))


class Held:
    """The bytes of large bodies that this process holds at once: at most `most`, whoever sends them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Raises `Overloaded` where there is no room for them; small ones are not counted."""
        counted = size if size > LARGE else 0
        if counted and self._held and self._held + counted > self._most:
            raise Overloaded(
                Text("Trop de fichiers arrivent en même temps.", en="Too many files arrive at once."),
                detail="bodies",
                retry_after=5.0,
            )
        self._held += counted
        try:
            yield
        finally:
            self._held -= counted


def announced(request: web.BaseRequest, cap: int) -> int:
    """The size of the body: as its header says it, or the most it may be."""
    if request.content_length is not None:
        return request.content_length
    return cap if request.body_exists else 0


class Body(Protocol):
    """What takes a body as it arrives."""

    def extend(self, data: bytes, /) -> None: ...


async def read_body(request: web.BaseRequest, cap: int, into: Body) -> int:
    """The whole body, at most `cap` bytes, in at most 5 s plus a second per 50 KB received; its size."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise UnsupportedType(detail="Content-Encoding")
    if (request.content_length or 0) > cap:
        raise TooLarge(cap)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    size = 0
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(PATIENCE) as limit:
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size > cap:
                    raise TooLarge(cap)
                into.extend(chunk)
                limit.reschedule(started + PATIENCE + size / 50_000)
    except TimeoutError:
        raise TooSlow() from None
    except (ConnectionError, web.RequestPayloadError) as error:
        raise InvalidInput(Text("Le corps n'est pas arrivé en entier.", en="The body did not arrive whole.")) from error
    return size


def prefers_english(request: web.BaseRequest) -> bool:
    """French unless the caller asks for English."""
    return request.headers.get(hdrs.ACCEPT_LANGUAGE, "").lower().startswith("en")


def safe_url(url: str) -> str:
    """An address for the log: without query, fragment or credentials, and bounded."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:300]
    except ValueError:
        return "?"
