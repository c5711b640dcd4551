"""The polite, bounded HTTP client of the suite: it survives whatever a target does, and reports exactly what came.

Nothing is followed, and nothing decoded beyond `Content-Encoding`. Nothing is retried, except as a polite answer to
429. Every exchange ends within `patience` seconds and `max_body` bytes. Times are seconds.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

__all__ = ["Exchange", "Limits", "Request", "Response", "Send", "Trouble", "Wire"]

Headers = tuple[tuple[str, str], ...]
Trouble = Literal["unreachable", "tls", "timeout", "broken"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: the URL is already encoded, headers are sent as they are and nothing is added but framing."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; `body` is decoded of its `Content-Encoding`, and cut when it was longer than allowed."""

    status: int
    reason: str
    headers: Headers
    body: bytes
    truncated: bool = False

    def header(self, name: str) -> str | None:
        """The first header of that name, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, or what went wrong instead. `elapsed` is until the last byte."""

    request: Request
    response: Response | None
    started: datetime
    elapsed: float
    trouble: Trouble | None = None
    error: str | None = None


Send = Callable[[Request], Awaitable[Exchange]]


@dataclass(frozen=True, slots=True)
class Limits:
    """`answer`: the contract's time (w.c.s. gives up then); `swift`: the recommended one; `patience`: when the suite
    gives up; `max_body`: bytes; `give_up`: answers in a row that never came before an endpoint is left alone;
    `budget`: the whole run; `held`: bytes of answers before the target is left alone. `long_text` and `large_file` are
    the sizes, in bytes, of what checks send.
    """

    answer: float = 28.0
    swift: float = 5.0
    patience: float = 30.0
    max_body: int = 10 * 1024 * 1024
    give_up: int = 3
    budget: float = 1800.0
    held: int = 200 * 1024 * 1024
    long_text: int = 1024 * 1024
    large_file: int = 5 * 1024 * 1024


class Wire:
    """`async with Wire(rate=1.0) as wire: exchange = await wire(request)`.

    `rate` is the number of requests begun per second, 0 for no limit. `resolve` maps host names to addresses, before
    DNS. `ca` is a PEM file of authorities trusted besides the system's. `clock` measures answers.
    """

    def __init__(
        self,
        *,
        rate: float = 1.0,
        limits: Limits | None = None,
        resolve: Mapping[str, str] | None = None,
        ca: Path | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pause = 1 / rate if rate > 0 else 0.0
        self._limits = limits or Limits()
        self._resolve = dict(resolve or {})
        self._trust = _trusting(ca)
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        # A new connection per request: an idle one that the server closed must not be counted against it.
        resolver = _Resolver(self._resolve) if self._resolve else None
        connector = aiohttp.TCPConnector(force_close=True, resolver=resolver, ssl=self._trust)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def __call__(self, request: Request) -> Exchange:
        """Sends, when politeness allows it; never raises for what the target does.

        A polite wire that is told 429 waits as long as asked, up to a minute, and tries once more.
        """
        exchange = await self._exchange(request)
        if self._pause and exchange.response is not None and exchange.response.status == 429:
            wait = (exchange.response.header("Retry-After") or "").strip()
            if wait.isascii() and wait.isdigit() and int(wait) <= 60:
                await self._sleep(float(wait))
                exchange = await self._exchange(request)
        return exchange

    async def _exchange(self, request: Request) -> Exchange:
        if self._pause:
            now = self._clock()
            if self._next > now:
                await self._sleep(self._next - now)
            self._next = max(now, self._next) + self._pause
        started, at = datetime.now(UTC), self._clock()
        response: Response | None = None
        trouble: Trouble | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(self._limits.patience):
                response = await self._receive(request)
        except (TimeoutError, aiohttp.ServerTimeoutError):
            trouble, error = "timeout", f"no complete answer within {self._limits.patience:g} s"
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, ssl.SSLError) as problem:
            trouble, error = "tls", _short(problem)
        except (aiohttp.ClientConnectorError, socket.gaierror) as problem:
            trouble, error = "unreachable", _short(problem)
        except (aiohttp.ClientError, OSError, ValueError, zlib.error) as problem:
            trouble, error = "broken", _short(problem)
        return Exchange(request, response, started, self._clock() - at, trouble, error)

    async def _receive(self, request: Request) -> Response:
        async with self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers=list(request.headers),
            data=None if request.body is None else io.BytesIO(request.body),
            allow_redirects=False,
        ) as answer:
            decode = _decoder(answer.headers.get("Content-Encoding", ""))
            kept = bytearray()
            truncated = False
            async for chunk in answer.content.iter_any():
                kept += decode(chunk, self._limits.max_body + 1 - len(kept))
                if len(kept) > self._limits.max_body:
                    truncated = True
                    del kept[65536:]
                    break
            headers = tuple((_text(name), _text(value)) for name, value in answer.raw_headers)
            if truncated:
                answer.close()
            return Response(answer.status, answer.reason or "", headers, bytes(kept), truncated)


def _trusting(ca: Path | None) -> ssl.SSLContext:
    """What is trusted: the system's authorities, and those of a file. Raises OSError when it holds none."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    return context


def _decoder(encoding: str) -> Callable[[bytes, int], bytes]:
    """Undoes gzip and deflate without ever producing more than asked; other encodings are left as they came."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return lambda chunk, room: chunk
    inflate: zlib._Decompress | None = None

    def decode(chunk: bytes, room: int) -> bytes:
        nonlocal inflate
        if inflate is None:
            raw = encoding.strip().lower() == "deflate" and (not chunk or chunk[0] & 0x0F != 8)
            inflate = zlib.decompressobj(-zlib.MAX_WBITS if raw else 32 + zlib.MAX_WBITS)
        return inflate.decompress(inflate.unconsumed_tail + chunk, max(1, room))

    return decode


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _short(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"[:300]


class _Resolver(AbstractResolver):
    """Names given on the command line first, then DNS."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self._dns = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if (address := self._known.get(host)) is None:
            return await self._dns.resolve(host, port, family)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None:
        await self._dns.close()


def encoded_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """A query string, every reserved character percent-encoded."""
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
