"""What every webservice of a town stands on: a call and its reply, the envelope, and who may call.

`Service` answers in this process (`send`) or on a socket (`served`); `reference.py` gives it its endpoints.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlsplit

from aiohttp import web

from contract_tests.wire import Exchange, Limits, Response, Trouble
from contract_tests.wire import Request as Sent

__all__ = ["KEY", "ORIG", "PASSWORD", "USER", "Asked", "Kind", "Reply", "Service"]

ORIG, KEY = "demarches.simula.example.org", "la-cle-partagee-de-simula"
USER, PASSWORD = "publik", "le-mot-de-passe-de-simula"
Kind = Literal["success", "failure", "refusal", "file"]


@dataclass(frozen=True)
class Asked:
    """What the service received: `path` decoded, `query` as it came, header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def params(self) -> dict[str, str]:
        """The query's parameters; a repeated name keeps its last value."""
        return dict(parse_qsl(self.query, keep_blank_values=True, errors="replace"))


@dataclass
class Reply:
    """What it answers. `takes`: seconds pretended; `trouble`: what comes instead (on a socket, a cut)."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    kind: Kind = "success"
    takes: float = 0.0
    trouble: Trouble | None = None

    @property
    def json(self) -> Any:
        """The body read as JSON."""
        return json.loads(self.body)

    def with_json(self, value: Any) -> Reply:
        """The same reply with another document."""
        return replace(self, body=json.dumps(value, ensure_ascii=False).encode())


class Service:
    """A service without endpoints: subclasses give `route`. Its small methods are what mutants replace."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.now = now
        self.nonces: set[str] = set()

    # --- the ways in --------------------------------------------------------------------------------------------------

    async def send(self, request: Sent, limits: Limits = Limits()) -> Exchange:
        """Answers in this process, as a wire would."""
        parts = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers} | {"host": parts.netloc}
        reply = self(Asked(request.method, unquote(parts.path), parts.query, headers, request.body or b""))
        if reply.trouble:
            return Exchange(request, None, datetime.now(UTC), 0.0, reply.trouble, "simulated")
        cut = len(reply.body) > limits.max_body
        body = reply.body[:65536] if cut else reply.body
        response = Response(reply.status, "", tuple(reply.headers.items()), body, cut)
        return Exchange(request, response, datetime.now(UTC), reply.takes)

    @asynccontextmanager
    async def served(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """The service on a socket of this machine; gives its address."""

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            headers = {name.lower(): value for name, value in request.headers.items()}
            path, _, query = request.raw_path.partition("?")
            reply = self(Asked(request.method, unquote(path), query, headers, await request.read()))
            if reply.trouble and request.transport is not None:
                request.transport.abort()
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    # --- one call -----------------------------------------------------------------------------------------------------

    def __call__(self, asked: Asked) -> Reply:
        """The reply to a call."""
        reply = self.authenticate(asked) or self.route(asked)
        return self.finish(asked, reply)

    def finish(self, asked: Asked, reply: Reply) -> Reply:
        """The last word on a reply: what mutants spoil."""
        return reply

    def route(self, asked: Asked) -> Reply:
        """The reply of the endpoint that a known caller asked."""
        return self.refusal(404, "UnknownEndpoint", "Adresse inconnue.")

    def success(self, data: Any) -> Reply:
        """A favourable envelope."""
        return Reply(200, b"", {"Content-Type": "application/json"}).with_json({"err": 0, "data": data})

    def failure(self, status: int, kind: str, said: str) -> Reply:
        """An unfavourable envelope, from an endpoint."""
        reply = Reply(status, b"", {"Content-Type": "application/json"}, "failure")
        return reply.with_json({"err": 1, "err_class": kind, "err_desc": said, "data": None})

    def refusal(self, status: int, kind: str, said: str) -> Reply:
        """An unfavourable envelope, before any endpoint."""
        return replace(self.failure(status, kind, said), kind="refusal")

    # --- who calls ----------------------------------------------------------------------------------------------------

    def authenticate(self, asked: Asked) -> Reply | None:
        """None when the caller is known."""
        if (header := asked.headers.get("authorization")) is not None:
            user, password = self.basic(header)
            good = hmac.compare_digest(f"{user}:{password}".encode(), f"{USER}:{PASSWORD}".encode())
            return None if good else self.unknown(user, password)
        if "signature=" in asked.query:
            return self.signed(asked)
        return self.unknown("", "")

    def basic(self, header: str) -> tuple[str, str]:
        """User and password of an Authorization header; empty when it cannot be read."""
        try:
            held = base64.b64decode(header.partition(" ")[2], validate=True).decode()
        except (binascii.Error, ValueError):
            return "", ""
        user, _, password = held.partition(":")
        return user, password

    def unknown(self, user: str, password: str) -> Reply:
        """The refusal of a caller who did not prove who it is."""
        reply = self.refusal(401, "Unauthenticated", "Identifiants absents ou refusés.")
        reply.headers["WWW-Authenticate"] = 'Basic realm="Simula"'
        return reply

    def signed(self, asked: Asked) -> Reply | None:
        """None when the signature is good and new."""
        query, _, given = asked.query.rpartition("&signature=")
        params = dict(parse_qsl(query, keep_blank_values=True))
        good = (
            self.last(given)
            and self.caller(params)
            and self.algorithm(params)
            and self.matches(query, given)
            and self.timely(params)
            and self.new(params)
        )
        return None if good else self.refusal(403, "Forbidden", "Signature refusée.")

    def last(self, given: str) -> bool:
        """Nothing follows the signature."""
        return "&" not in given

    def caller(self, params: dict[str, str]) -> bool:
        """The caller has a key."""
        return params.get("orig") == ORIG

    def algorithm(self, params: dict[str, str]) -> bool:
        """The algorithm is one we compute."""
        return params.get("algo") == "sha256"

    def matches(self, query: str, given: str) -> bool:
        """The signature is that of all that precedes it."""
        expected = hmac.new(KEY.encode(), query.encode(), hashlib.sha256).digest()
        try:
            received = base64.b64decode(unquote_to_bytes(given.partition("&")[0]), validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(expected, received)

    def timely(self, params: dict[str, str]) -> bool:
        """The call was signed within 30 seconds, either way."""
        return abs(self.late(params)) <= 30

    def late(self, params: dict[str, str]) -> float:
        """Seconds since the call was signed."""
        try:
            stamp = datetime.strptime(params.get("timestamp", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            return float("inf")
        return (self.now() - stamp).total_seconds()

    def new(self, params: dict[str, str]) -> bool:
        """The nonce was never seen."""
        nonce = params.get("nonce", "")
        if not nonce or nonce in self.nonces:
            return False
        self.nonces.add(nonce)
        return True
