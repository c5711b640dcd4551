"""Proving who we are to a publisher. Each function gives a `Policy`: `http.using(basic("relais", settings.password))`.

A secret that cannot travel in a header (line break, accent) is refused when the policy is made. Client certificates are
the instance's `client_certificate` and `client_key` (`[instances.X.Y.http]`); WS-Security belongs to `Soap`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote_plus

from .call import current_call
from .errors import Misconfigured, RelaisError, Text, UpstreamInvalid, UpstreamUnavailable
from .messages import Policy, Request, Response, Send, encode_form, is_repeatable, retry_after, with_params
from .model import Secret

__all__ = ["Token", "api_key", "basic", "bearer", "oauth2_client_credentials", "shared_token"]

_DEFAULT_LIFETIME = 300.0  # seconds, for a token that does not say how long it lives
_UNAVAILABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


def basic(user: str, password: Secret | str) -> Policy:
    """HTTP Basic. The name and the password travel as UTF-8; the name may not hold `:`."""
    if ":" in user:
        raise _unusable("user")
    return _with_header("Authorization", f"Basic {_base64(user, _reveal(password))}")


def bearer(token: Secret | str) -> Policy:
    """`Authorization: Bearer` with a token that never changes."""
    return _with_header("Authorization", f"Bearer {_plain(_reveal(token), 'token')}")


def api_key(value: Secret | str, header: str = "X-API-Key", *, parameter: str | None = None) -> Policy:
    """A fixed key, in a header, or in the query under `parameter` (then it is visible in the publisher's logs)."""
    key = _reveal(value)
    if parameter is None:
        return _with_header(header, _plain(key, "api_key"))

    def policy(inner: Send) -> Send:
        async def send(request: Request) -> Response:
            return await inner(replace(request, url=with_params(request.url, {parameter: key})))

        return send

    return policy


def oauth2_client_credentials(
    token_url: str,
    client_id: str,
    client_secret: Secret | str,
    *,
    scope: str | None = None,
    credentials: Literal["header", "body"] = "header",
    clock: Callable[[], float] = time.monotonic,
) -> Policy:
    """OAuth2, grant `client_credentials` (RFC 6749 §4.4).

    One token for the instance, fetched once however many calls wait for it, renewed before its end (60 s, or a tenth of
    its life), and once more when a repeatable request is answered 401. `credentials`: Basic header (the standard) or
    members of the form. A failure to get a token never leaves a doubt about the request itself: it was not sent.
    """
    secret = _reveal(client_secret)
    form = {"grant_type": "client_credentials"}
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    if scope:
        form["scope"] = scope
    if credentials == "body":
        form |= {"client_id": client_id, "client_secret": secret}
    else:
        headers["Authorization"] = f"Basic {_base64(quote_plus(client_id), quote_plus(secret))}"
    asking = Request("POST", token_url, headers, encode_form(form), repeatable=True, max_bytes=256 * 1024)

    async def fetch(inner: Send) -> Token:
        asked = clock()
        return _read_token(await inner(asking), asked)

    return shared_token(fetch, clock=clock)


def shared_token(fetch: Callable[[Send], Awaitable[Token]], *, clock: Callable[[], float] = time.monotonic) -> Policy:
    """A bearer token that `fetch` obtains: one at a time for all callers, again when it ends, once more after a 401.

    `fetch` is given the way beneath the policy; what it raises carries `processed=False`. `clock` gives seconds.
    """

    def policy(inner: Send) -> Send:
        tokens = _Tokens(lambda: fetch(inner), clock)

        async def send(request: Request) -> Response:
            token = await tokens.current()
            response = await inner(_bearing(request, token))
            if response.status != 401:
                return response
            tokens.forget(token)
            if not is_repeatable(request, current_call()):
                return response
            return await inner(_bearing(request, await tokens.current()))

        return send

    return policy


@dataclass(frozen=True)
class Token:
    """A bearer token; `until` is the instant of the policy's clock from which it is asked for again."""

    value: str
    until: float

    def __repr__(self) -> str:
        return "Token(…)"


class _Tokens:
    """The token of one instance: at most one request for it at a time."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float]) -> None:
        self._obtain = fetch
        self._clock = clock
        self._token: Token | None = None
        self._fetching: asyncio.Task[Token] | None = None

    async def current(self) -> Token:
        if self._token is not None and self._clock() < self._token.until:
            return self._token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        return await asyncio.shield(self._fetching)  # the caller that asked first may leave; the others still wait

    def forget(self, token: Token) -> None:
        """Drops `token`, unless a newer one has already replaced it."""
        if self._token is token:
            self._token = None

    def _fetched(self, task: asyncio.Task[Token]) -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    async def _fetch(self) -> Token:
        try:
            return await self._obtain()
        except RelaisError as error:
            error.processed = False  # the token, perhaps; the caller's request, surely not
            raise


def _read_token(response: Response, asked: float) -> Token:
    if response.status in _UNAVAILABLE:
        raise UpstreamUnavailable(
            Text("Le service d'authentification est indisponible.", en="The authentication service is unavailable."),
            detail=f"token: status {response.status}",
            retry_after=retry_after(response),
            processed=False,
        )
    if not response.ok:
        raise Misconfigured(
            Text("Le logiciel refuse nos identifiants (OAuth2).", en="The software refuses our credentials (OAuth2)."),
            detail=f"token: status {response.status}{_oauth_error(response)}",
            processed=False,
        )
    answer = response.json()
    value = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value or not _travels(value):
        raise UpstreamInvalid(
            Text(
                "Le service d'authentification n'a pas donné de jeton.", en="The authentication service gave no token."
            ),
            detail="token: no usable access_token",
            processed=False,
        )
    lifetime = _seconds(answer.get("expires_in"))
    return Token(value, asked + lifetime - min(60.0, lifetime / 10))


def _seconds(value: Any) -> float:
    try:
        return min(max(float(value), 0.0), 86400.0) if value is not None else _DEFAULT_LIFETIME
    except (TypeError, ValueError):
        return _DEFAULT_LIFETIME


_OAUTH_ERRORS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"}
    | {"invalid_scope", "access_denied"}
)


def _oauth_error(response: Response) -> str:
    """The standard error word (RFC 6749 §5.2), nothing else of the body."""
    try:
        answer = response.json()
    except UpstreamInvalid:
        return ""
    word = answer.get("error") if isinstance(answer, dict) else None
    return f", {word}" if word in _OAUTH_ERRORS else ""


def _bearing(request: Request, token: Token) -> Request:
    return replace(request, headers={**request.headers, "Authorization": f"Bearer {token.value}"})


def _with_header(name: str, value: str) -> Policy:
    def policy(inner: Send) -> Send:
        async def send(request: Request) -> Response:
            return await inner(replace(request, headers={**request.headers, name: value}))

        return send

    return policy


def _reveal(secret: Secret | str) -> str:
    return secret.reveal() if isinstance(secret, Secret) else secret


def _base64(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _travels(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _plain(value: str, setting: str) -> str:
    if not value or not _travels(value):
        raise _unusable(setting)
    return value


def _unusable(setting: str) -> Misconfigured:
    return Misconfigured(
        Text(
            f"L'identifiant ou le secret « {setting} » est vide ou contient un caractère interdit.",
            en=f'The identifier or secret "{setting}" is empty or holds a forbidden character.',
        ),
        detail=f"{setting} cannot be sent",
        processed=False,
    )
