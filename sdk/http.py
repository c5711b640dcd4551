"""Talking to the publisher: `Http`, what a connector is given, and `open_http`, which makes it.

    log → breaker → limit → retry → wire

Everything is one function, `Send = Request → Response`; a `Policy` wraps it. An HTTP status is an answer, not an error:
`Rest` and `Soap` say what it means. Errors raised here: `InvalidInput` (a value that cannot go into a header or an
address), `Misconfigured` (address not allowed, TLS), `UpstreamUnavailable`, `UpstreamInvalid`, `Overloaded`.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import random as randomlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver
from pydantic import Field

from .egress import Egress, hosts_of, public_tls, tls_context
from .errors import Text
from .files import File
from .messages import (
    DEFAULT_MAX_BYTES,
    Params,
    Policy,
    Request,
    Response,
    Send,
    broken_text,
    encode_form,
    pairs_of,
    retry_after,
    with_params,
    word,
)
from .model import HttpUrl, Model, Secret
from .policies import Breaker, Kind, Limit, Log, Phase, Retry
from .wire import Wire

__all__ = [
    "Egress",
    "Http",
    "HttpOptions",
    "HttpState",
    "Policy",
    "Request",
    "Response",
    "Send",
    "hosts_of",
    "open_http",
    "retry_after",
]


class HttpOptions(Model):
    """The table `[instances.X.Y.http]` of relais.toml. Times are seconds, sizes are bytes, files are PEM."""

    allow_http: bool = Field(False, description="Accept plain http addresses (no encryption)")
    limit: int = Field(8, ge=1, le=1000, description="Most requests at once")
    queue: int | None = Field(None, ge=0, description="Most requests waiting their turn; twice `limit` when absent")
    queue_wait: float = Field(1.0, gt=0, le=25, description="Longest wait for a turn")
    connect_timeout: float = Field(3.0, gt=0, le=25, description="Longest wait for a connection, name and TLS included")
    timeout: float = Field(10.0, gt=0, le=120, description="Longest silence accepted from the publisher")
    max_bytes: int = Field(DEFAULT_MAX_BYTES, ge=1024, description="Largest decoded answer")
    ca_file: Path | None = Field(None, description="Authorities trusted instead of the public ones")
    client_certificate: Path | None = Field(None, description="Certificate presented to the publisher")
    client_key: Path | None = Field(None, description="Its private key, when it is another file")
    client_key_password: Secret = Field(Secret(""), description="Password of the private key")
    proxy: HttpUrl | None = Field(None, description="HTTP proxy on the way out")
    breaker: bool = Field(True, description="Stop asking a publisher that no longer answers")
    breaker_failures: int = Field(5, ge=1, description="Failures in a row before it is left alone")
    breaker_pause: float = Field(5.0, gt=0, description="First pause, doubled each time")
    breaker_max_pause: float = Field(60.0, gt=0, description="Longest pause")
    retries: int = Field(2, ge=0, le=2, description="Most repetitions of a request that may be repeated")


@dataclass(frozen=True, slots=True)
class HttpState:
    """For the metrics: requests under way, waiting, the limit in force, each circuit of the breaker."""

    in_flight: int
    queued: int
    limit: int
    breaker: Mapping[Kind, Phase]


def _no_state() -> HttpState:
    return HttpState(0, 0, 0, {"read": "closed", "effect": "closed"})


async def _nothing() -> None:
    return None


async def _no_certificate(url: str) -> float | None:
    return None


class Http:
    """The way to one publisher. `instance` is "payfip/demo"; `folder` is a private place whose content can be rebuilt.

    `certificate_end(url)` connects without sending and gives when the publisher's certificate ends (seconds since 1970,
    None without TLS). `egress` says which addresses may be reached, for what does not speak HTTP (a database); None
    where nothing may. Tests and replays build one over any `Send`: `Http(send)`.
    """

    def __init__(
        self,
        send: Send,
        *,
        instance: str = "",
        folder: Path = Path(),
        max_bytes: int = DEFAULT_MAX_BYTES,
        state: Callable[[], HttpState] = _no_state,
        close: Callable[[], Awaitable[None]] = _nothing,
        certificate_end: Callable[[str], Awaitable[float | None]] = _no_certificate,
        egress: Egress | None = None,
    ) -> None:
        self.send = send
        self.instance = instance
        self.folder = folder
        self.max_bytes = max_bytes
        self.state = state
        self.close = close
        self.certificate_end = certificate_end
        self.egress = egress
        self.contracts: dict[str, Callable[[], Mapping[str, Text]]] = {}
        """Of each contract spoken through it, what of the answers is read slowly, and why: for `relais check`."""
        self._bare = send
        self._around: tuple[Policy, ...] = ()

    def using(self, *policies: Policy) -> Http:
        """The same way with policies around it, the first one outermost: `http.using(basic("relais", password))`."""
        return self._made(_wrapped(self.send, policies), self._bare, (*policies, *self._around))

    def beneath(self, *policies: Policy) -> Http:
        """The same way with policies that see every attempt, repetitions included: what counts or paces what is sent.

        Call it before `using`: a policy that keeps something (a token) would be made again.
        """
        bare = _wrapped(self._bare, policies)
        return self._made(_wrapped(bare, self._around), bare, self._around)

    def _made(self, send: Send, bare: Send, around: tuple[Policy, ...]) -> Http:
        made = Http(
            send,
            instance=self.instance,
            folder=self.folder,
            max_bytes=self.max_bytes,
            state=self.state,
            close=self.close,
            certificate_end=self.certificate_end,
            egress=self.egress,
        )
        made._bare, made._around, made.contracts = bare, around, self.contracts
        return made

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = ...,
        form: Params | None = None,
        files: Mapping[str, File] | None = None,
        body: bytes | None = None,
        repeatable: bool | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
        follow: bool = False,
    ) -> Response:
        """Sends one request. `params` are added to the URL (None left out, lists repeated). At most one body: `json`,
        `form` (urlencoded, or multipart when there are `files`), or `body` with its own `Content-Type` in `headers`.
        """
        kind = None
        if json is not ...:
            body, kind = encode_json(json), "application/json"
        elif files is not None:
            body, kind = _multipart(pairs_of(form or ()), files)
        elif form is not None:
            body, kind = encode_form(form), "application/x-www-form-urlencoded"
        sent = dict(headers or {})
        if kind is not None and not any(name.lower() == "content-type" for name in sent):
            sent["Content-Type"] = kind
        return await self.send(
            Request(
                method.upper(),
                with_params(url, params),
                sent,
                body,
                repeatable,
                timeout,
                self.max_bytes if max_bytes is None else max_bytes,
                follow,
            )
        )

    async def get(
        self,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_bytes: int | None = None,
        follow: bool = False,
    ) -> Response:
        """A read: always repeatable. `follow=True` accepts up to 3 redirects inside the same origin."""
        return await self.request(
            "GET",
            url,
            params=params,
            headers=headers,
            repeatable=True,
            timeout=timeout,
            max_bytes=max_bytes,
            follow=follow,
        )

    async def post(self, url: str, **options: Any) -> Response:
        """POST; same options as `request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Response:
        """PUT; same options as `request`. Repeatable only if it says so, or the call does."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> Response:
        """PATCH; same options as `request`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> Response:
        """DELETE; same options as `request`. Repeatable only if it says so, or the call does."""
        return await self.request("DELETE", url, **options)


def _wrapped(send: Send, policies: Sequence[Policy]) -> Send:
    for policy in reversed(policies):
        send = policy(send)
    return send


def open_http(
    instance: str,
    options: HttpOptions,
    *,
    egress: Egress,
    folder: Path,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = randomlib.random,
    resolver: AbstractResolver | None = None,
) -> Http:
    """The way out of one instance; `await http.close()` when it stops. Nothing is connected before the first request.

    Raises `Misconfigured` when a certificate file cannot be read.
    """
    identity = None
    if options.ca_file or options.client_certificate:
        identity = tls_context(  # now: a wrong file is told at start
            _text(options.ca_file),
            _text(options.client_certificate),
            _text(options.client_key),
            options.client_key_password.reveal(),
        )
    wire = Wire(
        egress,
        allow_http=options.allow_http,
        connect_timeout=options.connect_timeout,
        timeout=options.timeout,
        proxy=options.proxy,
        tls=public_tls if identity is None else lambda: identity,
        resolver=resolver,
    )
    queue = 2 * options.limit if options.queue is None else options.queue
    limit = Limit(options.limit, queue, options.queue_wait, clock=clock)
    breaker = Breaker(
        instance,
        after=options.breaker_failures,
        pause=options.breaker_pause,
        max_pause=options.breaker_max_pause,
        clock=clock,
        random=random,
        reach=wire.reach,
    )
    retry = Retry(clock=clock, sleep=sleep, random=random, extra=options.retries)
    policies: list[Policy] = [Log(instance, clock), breaker, limit, retry]
    if not options.breaker:
        policies.remove(breaker)

    def state() -> HttpState:
        return HttpState(limit.in_flight, limit.queued, int(limit.current), breaker.phases())

    plain = Http(
        wire,
        instance=instance,
        folder=folder,
        max_bytes=options.max_bytes,
        state=state,
        close=wire.close,
        certificate_end=wire.reach,
        egress=egress,
    )
    return plain.using(*policies)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


# --- bodies -----------------------------------------------------------------------------------------------------------


def encode_json(value: Any) -> bytes:
    """`value` as JSON, UTF-8: plain values, models, dates (ISO 8601), exact decimals (numbers)."""
    try:
        return jsonlib.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode(
            "utf-8"
        )
    except UnicodeEncodeError:
        raise broken_text() from None


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return {name: getattr(value, name) for name in type(value).model_fields} | dict(value.model_extra or {})
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if isinstance(value, Decimal):
        number = float(value)
        if Decimal(repr(number)) == value:
            return int(value) if value == value.to_integral_value() and abs(value) < 2**53 else number
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(f"a {type(value).__name__} has no exact JSON form: convert it first")


def _multipart(fields: Sequence[tuple[str, str]], files: Mapping[str, File]) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts: list[bytes] = []
    for name, value in fields:
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'.encode())
        parts.append(value.encode("utf-8"))
        parts.append(b"\r\n")
    for name, file in files.items():
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"; '
            f'filename="{_quoted(file.filename)}"\r\nContent-Type: {_media_type(file.content_type)}\r\n\r\n'.encode()
        )
        parts.append(file.content)
        parts.append(b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def _quoted(name: str) -> str:
    return word(name).replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _media_type(value: str) -> str:
    return value if value.isascii() and value.isprintable() and "/" in value else "application/octet-stream"
