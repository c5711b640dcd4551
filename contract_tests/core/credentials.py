"""How a call proves who calls: HTTP Basic, a header, or Publik's URL signature; and the wrong proofs checks try."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

__all__ = ["MASK", "SECRET_HEADERS", "Basic", "Credentials", "Header", "Signature", "sign"]

MASK = "[masqué]"
SECRET_HEADERS = re.compile(
    r"authorization|proxy-authorization|cookie|set-cookie|(x-)?api-?key|x-auth-token|x-gravitee-api-key", re.IGNORECASE
)
"""Headers whose value no artefact shows, whoever sent it."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic (RFC 7617), in UTF-8."""

    user: str
    password: str = field(repr=False)

    def apply(self, url: str, headers: Headers) -> tuple[str, Headers]:
        """The same call with its proof."""
        return url, (*headers, ("Authorization", f"Basic {self._token}"))

    def secrets(self) -> tuple[str, ...]:
        """What no artefact may hold."""
        return self.password, self._token

    def wrong(self, nonsense: str) -> Basic:
        """The right user with a wrong password."""
        return replace(self, password=f"wrong-{nonsense}")

    @property
    def _token(self) -> str:
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Header:
    """A secret in a header (`X-API-Key`)."""

    name: str
    value: str = field(repr=False)

    def apply(self, url: str, headers: Headers) -> tuple[str, Headers]:
        """The same call with its proof."""
        return url, (*headers, (self.name, self.value))

    def secrets(self) -> tuple[str, ...]:
        """What no artefact may hold."""
        return (self.value,)

    def wrong(self, nonsense: str) -> Header:
        """A key nobody has."""
        return replace(self, value=f"wrong-{nonsense}")


@dataclass(frozen=True, slots=True)
class Signature:
    """Publik's URL signature (publik-contracts §5.1): the query string, completed and signed."""

    orig: str
    key: str = field(repr=False)
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), compare=False, repr=False)

    def apply(self, url: str, headers: Headers) -> tuple[str, Headers]:
        """The same call, signed now with a new nonce."""
        return self.signed(url), headers

    def secrets(self) -> tuple[str, ...]:
        """What no artefact may hold."""
        return (self.key,)

    def wrong(self, nonsense: str) -> Signature:
        """The right caller with a wrong key."""
        return replace(self, key=f"wrong-{nonsense}")

    def signed(self, url: str, *, late: float = 0.0, algo: str = "sha256", nonce: str | None = None) -> str:
        """The URL signed `late` seconds ago (negative: in the future)."""
        parts = urlsplit(url)
        query = "&".join(part for part in (parts.query, urlencode({"orig": self.orig})) if part)
        signed = sign(query, self.key, at=self.now() - timedelta(seconds=late), algo=algo, nonce=nonce)
        return urlunsplit(parts._replace(query=signed))


Credentials = Basic | Header | Signature


def sign(query: str, key: str, *, at: datetime, algo: str = "sha256", nonce: str | None = None) -> str:
    """`query`, already encoded, completed with `algo`, `timestamp`, `nonce`, then `signature`.

    The digest is SHA-256 whatever `algo` says: an unknown name is what a check sends on purpose.
    """
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    added = urlencode([("algo", algo), ("timestamp", stamp), ("nonce", nonce or secrets.token_hex(16))])
    signed = f"{query}&{added}" if query else added
    digest = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}&signature={quote(base64.b64encode(digest).decode())}"
