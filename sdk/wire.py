"""The wire: the innermost `Send`, over aiohttp's connections, requests and answers.

Not over its session, which may send again behind our back, keeps cookies and reads the environment. Bodies are read
with a bound, encoded and decoded. Every failure is classified by what the publisher may have seen of the request:
surely nothing (`processed=False`), or unknown (`None`).
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp import ClientTimeout, hdrs
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict
from yarl import URL

from .call import current_call
from .egress import CONTROL, Egress, connector, reach, refused_address, tls_context
from .errors import InvalidInput, Misconfigured, RelaisError, Text, UpstreamInvalid, UpstreamUnavailable
from .messages import MIB, Exchange, Request, Response, exchange, is_repeatable

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_METHOD = re.compile(r"[A-Z]{1,20}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"accept-encoding", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 3
_STEP = 64 * 1024
_MAX_MEMBERS = 100  # gzip streams glued together; real answers have one


_ALWAYS = CIMultiDict({hdrs.ACCEPT_ENCODING: "gzip, deflate", hdrs.USER_AGENT: "Relais"})
_LONGEST_FIELD = 16 * 1024
_BEFORE = (
    0.02  # seconds before the deadline: silence is noticed here, and told to the policies, before the call is ended
)


class Wire:
    """The innermost `Send` of one instance: its connections and TLS identity, no cookies, nothing from the environment.

    A request that is not repeatable always gets a new connection: on one kept open, "closed" would be ambiguous.
    """

    def __init__(
        self,
        egress: Egress,
        *,
        allow_http: bool = False,
        connect_timeout: float = 3.0,
        timeout: float = 10.0,
        proxy: str | None = None,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._egress = egress
        self._allow_http = allow_http
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._proxy = URL(proxy) if proxy else None
        self._make_tls = tls
        self._tls: asyncio.Future[ssl.SSLContext] | None = None
        self._resolver = resolver
        self._patience = ClientTimeout(connect=connect_timeout)
        self._origins: dict[tuple[str, str | None, int | None], aiohttp.ClientRequest] = {}
        self._kept: aiohttp.TCPConnector | None = None
        self._fresh: aiohttp.TCPConnector | None = None

    async def __call__(self, request: Request) -> Response:
        url = self._egress.check(request.url, allow_http=self._allow_http)
        _check_head(request)
        current = exchange.get()
        if current is None:
            call = current_call()
            current = Exchange(call, is_repeatable(request, call))
        token = exchange.set(current)
        try:
            response = await self._attempt(request, url, current)
            for _ in range(_MAX_REDIRECTS):
                target = _same_origin_target(request, url, response) if request.follow else None
                if target is None:
                    break
                url = self._egress.check(target, allow_http=self._allow_http)
                response = await self._attempt(request, url, current)
            return response
        finally:
            exchange.reset(token)

    async def close(self) -> None:
        """Closes every connection. The wire may not be used after."""
        for connections in (self._kept, self._fresh):
            if connections is not None:
                await connections.close()

    async def reach(self, address: str) -> float | None:
        """Connects where a request to `address` would, and says nothing: raises what such a request would.

        Gives the end of the publisher's certificate, seconds since 1970; None in plain http or behind a proxy.
        """
        url = self._egress.check(address, allow_http=self._allow_http)
        target = self._proxy or url
        attempt = Exchange(current_call(), True)
        token = exchange.set(attempt)
        try:
            async with asyncio.timeout(self._connect_timeout):
                tls = await self._tls_context() if url.scheme == "https" and not self._proxy else None
                return await reach(
                    self._egress, target.raw_host or "", target.port or 0, tls=tls, resolver=self._resolver
                )
        except ssl.SSLError as error:
            raise _tls_refused(error, f"{url.raw_host}:{url.port}") from error
        except (OSError, TimeoutError) as error:
            raise _explain(error, attempt, url, answered=False) from error
        finally:
            exchange.reset(token)

    async def _attempt(self, request: Request, url: URL, attempt: Exchange) -> Response:
        attempt.sent = False
        attempt.reached = attempt.received = 0
        attempt.denied.clear()
        remaining = attempt.call.remaining()
        if remaining <= 0:
            raise _out_of_time(False)
        if not attempt.repeatable:
            if attempt.call.guard is not None:
                attempt.call.guard()
            attempt.call.effects += 1
        attempt.attempts += 1
        if attempt.call.held_by is not None and attempt.call.held_by is asyncio.current_task():
            return await self._exchange(request, url, attempt, remaining)
        try:
            async with asyncio.timeout(remaining):
                return await self._exchange(request, url, attempt, remaining)
        except TimeoutError as error:
            raise _explain(error, attempt, url, answered=False) from error

    async def _exchange(self, request: Request, url: URL, attempt: Exchange, remaining: float) -> Response:
        """One request and its answer. Silence is bounded here; the whole of it by whoever holds the deadline."""
        connection: aiohttp.connector.Connection | None = None
        uploading: asyncio.Task[None] | None = None
        answered = False
        try:
            towards = await self._towards(url)
            patience = self._patience if remaining >= self._connect_timeout else ClientTimeout(connect=remaining)
            connections = self._connections(attempt.repeatable)
            connection = await connections.connect(towards, [], patience)
            if connection.protocol is not None and connection.protocol.should_close:
                # Something came on it after the answer before: it would be taken for the answer to this request.
                connection.close()
                connections = self._connections(False)
                connection = await connections.connect(towards, [], patience)
            protocol = connection.protocol
            assert protocol is not None
            protocol.set_response_params(
                skip_payload=request.method == "HEAD",
                read_until_eof=True,
                auto_decompress=False,
                read_timeout=min(request.timeout or self._timeout, remaining - min(_BEFORE, remaining / 2)),
                max_field_size=_LONGEST_FIELD,
            )
            attempt.sent = True
            if not attempt.repeatable:
                attempt.call.effect_sent = True
            head = _head(request, towards, last=connections.force_close)
            uploading = await _written(request, url, towards, head, protocol)
            answer, content = await protocol.read()
            while answer.code < 200 and answer.code != 101:  # only announces the answer
                answer, content = await protocol.read()
            answered = True
            body = await _read(answer.headers, content, request.max_bytes, attempt)
            if uploading is None or uploading.done():
                connection.release()
            return Response(answer.code, answer.headers, body, str(url))
        except (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError) as error:
            raise _explain(error, attempt, url, answered=answered) from error
        finally:
            if connection is not None:
                if uploading is not None and uploading.cancel() and connection.protocol is not None:
                    connection.protocol.abort()  # a mere close would wait until the publisher takes what is left
                connection.close()  # no effect on one that was given back

    async def _towards(self, url: URL) -> aiohttp.ClientRequest:
        """Where a connection must lead, as aiohttp wants it said, with the headers every request there bears."""
        origin = (url.scheme, url.raw_host, url.port)
        found = self._origins.get(origin)
        if found is None:
            found = self._origins[origin] = aiohttp.ClientRequest(
                "GET",
                url.origin(),
                headers=_ALWAYS,
                loop=asyncio.get_running_loop(),
                ssl=await self._tls_context() if url.scheme == "https" else True,
                proxy=self._proxy,
                proxy_headers={hdrs.HOST: url.host_port_subcomponent or "", **_ALWAYS} if self._proxy else None,
            )
        return found

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:  # reading the roots takes tens of milliseconds: once, and not on the loop
            self._tls = asyncio.ensure_future(asyncio.to_thread(self._make_tls))
        return self._tls.result() if self._tls.done() else await asyncio.shield(self._tls)

    def _connections(self, repeatable: bool) -> aiohttp.TCPConnector:
        if repeatable:
            if self._kept is None:
                self._kept = connector(self._egress, force_close=False, resolver=self._resolver)
            return self._kept
        if self._fresh is None:
            self._fresh = connector(self._egress, force_close=True, resolver=self._resolver)
        return self._fresh


def _same_origin_target(request: Request, url: URL, response: Response) -> str | None:
    if response.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
        return None
    location = response.headers.get("Location", "")
    if not location or CONTROL.search(location):
        return None
    try:
        target = url.join(URL(location))
    except ValueError:
        return None
    return str(target.with_fragment(None)) if target.absolute and target.origin() == url.origin() else None


def _check_head(request: Request) -> None:
    if not _METHOD.fullmatch(request.method):
        raise ValueError("an HTTP method is upper case letters")
    for name, value in request.headers.items():
        if not _may_be_set(name):
            raise Misconfigured(
                Text("Un en-tête HTTP a un nom interdit.", en="An HTTP header has a forbidden name."),
                detail=f"header {name[:60]!r}",
                processed=False,
            )
        if not _HEADER_VALUE.fullmatch(value):
            raise InvalidInput(
                Text(
                    f"L'en-tête HTTP « {name} » recevrait un caractère interdit.",
                    en=f'The HTTP header "{name}" would receive a forbidden character.',
                )
            )


@lru_cache(maxsize=1024)
def _may_be_set(name: str) -> bool:
    return _HEADER_NAME.fullmatch(name) is not None and name.lower() not in _FRAMING


# --- writing a request ------------------------------------------------------------------------------------------------


def _head(request: Request, towards: aiohttp.ClientRequest, *, last: bool) -> CIMultiDict[str]:
    """The headers as they leave; `last` where nothing will follow on the connection."""
    head = towards.headers.copy()
    head.update(request.headers)
    if request.body is not None:
        head.setdefault(hdrs.CONTENT_TYPE, "application/octet-stream")
        head[hdrs.CONTENT_LENGTH] = str(len(request.body))
    elif request.method in _WITH_BODY:
        head[hdrs.CONTENT_LENGTH] = "0"
    if last:
        head[hdrs.CONNECTION] = "close"
    return head


async def _written(
    request: Request, url: URL, towards: aiohttp.ClientRequest, head: CIMultiDict[str], protocol: ResponseHandler
) -> asyncio.Task[None] | None:
    """Sends the request, in one piece; a large body in a task, since the publisher may answer before its end."""
    target = str(url) if towards.proxy is not None and url.scheme == "http" else url.raw_path_qs
    writer = StreamWriter(protocol, towards.loop)
    await writer.write_headers(f"{request.method} {target} HTTP/1.1", head)
    if request.body is not None and len(request.body) > _STEP:
        return asyncio.create_task(_uploaded(writer, request.body, protocol))
    await writer.write_eof(request.body or b"")
    protocol.start_timeout()
    return None


async def _uploaded(writer: StreamWriter, body: bytes, protocol: ResponseHandler) -> None:
    """Writes as fast as it is read; silence counts from its end."""
    try:
        for at in range(0, len(body), _STEP):
            await writer.write(memoryview(body)[at : at + _STEP])
        await writer.write_eof()
        protocol.start_timeout()
    except OSError as error:
        protocol.set_exception(error)


# --- reading an answer ------------------------------------------------------------------------------------------------


async def _read(headers: Mapping[str, str], content: aiohttp.StreamReader, max_bytes: int, attempt: Exchange) -> bytes:
    """The whole body, decoded, never holding more than `max_bytes` of it."""
    said = headers.get(hdrs.CONTENT_ENCODING, "")
    codings = [c for c in (c.strip().lower() for c in said.split(",")) if c not in ("", "identity")] if said else []
    if len(codings) > 1 or (codings and codings[0] not in ("gzip", "x-gzip", "deflate")):
        raise _bad_body("an encoding that was not asked for")
    if not codings and int(headers.get(hdrs.CONTENT_LENGTH, 0)) > max_bytes:
        raise _bad_body(f"more than {max_bytes} bytes")
    inflate = _Inflate(codings[0], max_bytes) if codings else None
    pieces: list[bytes] = []
    size = raw = 0
    while not content.at_eof():
        piece = await content.readany()
        raw += len(piece)
        attempt.received = raw
        if raw > max(2 * max_bytes, _STEP):
            raise _bad_body(f"more than {2 * max_bytes} encoded bytes")
        for part in (piece,) if inflate is None else inflate.feed(piece, raw):
            size += len(part)
            if size > max_bytes:
                raise _bad_body(f"more than {max_bytes} bytes")
            pieces.append(part)
    if inflate is not None and raw and not inflate.complete:
        raise _bad_body("a truncated compressed body")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Inflate:
    """gzip or deflate, by steps, so that a small answer cannot become a huge one."""

    def __init__(self, coding: str, max_bytes: int) -> None:
        self._gzip = coding != "deflate"
        self._inflater: Any = None
        self._members = 0
        self._size = 0
        self.complete = False

    def feed(self, data: bytes, raw: int) -> Iterator[bytes]:
        """The decoded pieces of `data`; `raw` is the number of encoded bytes received so far."""
        full = False  # the last step was full: more may come out without any more input
        while data or full:
            if self._inflater is None:
                self._start(data)
            try:
                piece = self._inflater.decompress(data, _STEP)
            except zlib.error:
                raise _bad_body("a damaged compressed body") from None
            full = len(piece) == _STEP
            if piece:
                self._size += len(piece)
                if self._size > MIB and self._size > 100 * raw:
                    raise _bad_body("a compressed body that grows more than 100 times")
                yield piece
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                data = self._inflater.unused_data.lstrip(b"\0")
                self._inflater, self.complete, full = None, True, False
                if data and not self._gzip:
                    raise _bad_body("bytes after a compressed body")

    def _start(self, data: bytes) -> None:
        self._members += 1
        self.complete = False
        if self._members > _MAX_MEMBERS:
            raise _bad_body("a compressed body in too many parts")
        if self._gzip:
            self._inflater = zlib.decompressobj(31)
        else:  # some servers send deflate without its zlib wrapping
            self._inflater = zlib.decompressobj(15 if data[0] & 0x0F == 8 else -15)


def _bad_body(why: str) -> UpstreamInvalid:
    return UpstreamInvalid(
        Text("Le logiciel a donné une réponse illisible.", en="The software gave an unreadable answer."),
        detail=f"body: {why}",
        processed=None,
    )


# --- what a failure means ---------------------------------------------------------------------------------------------


def _out_of_time(processed: bool | None) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        Text("Le logiciel n'a pas répondu à temps.", en="The software did not answer in time."),
        detail="no answer in time" if processed is None else "no time left to ask",
        processed=processed,
        timeout=True,
    )


def _explain(error: Exception, attempt: Exchange, url: URL, *, answered: bool) -> RelaisError:
    """The error for what the wire saw: surely not sent (`processed=False`), or unknown (`None`)."""
    where = f"{url.raw_host}:{url.port}"
    kind = type(error).__name__
    if isinstance(error, (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError)):
        return _tls_refused(error, where)
    if isinstance(error, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return refused_address("not a plain http(s) address")
    if not attempt.sent:
        if attempt.denied and not attempt.reached:
            return refused_address(f"{where} is {attempt.denied[0]}")
        detail = f"{where} not reached ({kind})"
        if isinstance(error, aiohttp.ClientHttpProxyError):
            detail = f"{where} refused by the proxy (status {error.status})"
        return UpstreamUnavailable(
            Text("Le logiciel est injoignable.", en="The software cannot be reached."), detail=detail, processed=False
        )
    if isinstance(error, TimeoutError):
        return _out_of_time(None)
    if answered or isinstance(error, (aiohttp.ClientPayloadError, HttpProcessingError)):
        why = "a truncated answer" if answered else "not an HTTP answer"
        return UpstreamInvalid(
            Text("Le logiciel a donné une réponse illisible.", en="The software gave an unreadable answer."),
            detail=f"{where}: {why} ({kind})",
            processed=None,
        )
    if _alert(error):
        return _tls_refused(error, where)
    return UpstreamUnavailable(
        Text("Le logiciel a coupé la connexion sans répondre.", en="The software closed the connection unanswered."),
        detail=f"{where} closed without an answer ({kind})",
        processed=None,
    )


def _alert(error: BaseException | None) -> str:
    """The TLS alert about our certificate behind a failure, if any. With TLS 1.3 it arrives after the request left, yet
    the server read nothing of it: its handshake never ended."""
    while error is not None:
        text = " ".join(str(part) for part in error.args)
        found = re.search(r"(CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE|ALERT_UNKNOWN_CA|ALERT_CERTIFICATE_\w+)", text)
        if found:
            return found[1]
        error = error.__cause__
    return ""


def _tls_refused(error: BaseException, where: str) -> Misconfigured:
    cause = error
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorSSLError):
        cause = error.os_error
    why = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or _alert(error) or "TLS failure"
    return Misconfigured(
        Text(
            "La connexion sécurisée au logiciel est impossible : certificat ou autorité à corriger.",
            en="No secure connection to the software: a certificate or an authority must be corrected.",
        ),
        detail=f"{where}: {why}",
        processed=False,
    )
