"""Publik's URL signature: what a Publik component adds to the query string to prove who calls.

The query is completed with `algo`, `timestamp` and `nonce`, then with `signature`, the base64 of an HMAC of all that
precedes. Only the query is signed: not the method, the path, the host or the body.
Instants are seconds since 1970 (UTC).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from sdk.model import Secret

from .errors import Unauthenticated

__all__ = ["WINDOW", "Signed", "is_signed", "sign", "verify"]

WINDOW = 30.0
"""Seconds between the caller's clock and ours, either way."""

_ALGORITHMS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_NOBODY = b"no such caller"  # an unknown caller costs the same HMAC as a known one


class Signed(NamedTuple):
    """Who signed, and the nonce that must not be seen twice."""

    orig: str
    nonce: str


def sign(query: str, key: str, *, algo: str = "sha256", timestamp: datetime, nonce: str) -> str:
    """The encoded `query` completed and signed. `timestamp` is aware; `orig` is the caller's to put in the query."""
    stamp = timestamp.astimezone(UTC).strftime(_STAMP)
    added = urlencode([("algo", algo), ("timestamp", stamp), ("nonce", nonce)])
    signed = f"{query}&{added}" if query else added
    digest = hmac.new(key.encode("utf-8"), _bytes(signed), _ALGORITHMS[algo]).digest()
    return f"{signed}&signature={quote(base64.b64encode(digest).decode('ascii'))}"


def is_signed(raw_query: str) -> bool:
    """Whether the query claims a signature, valid or not."""
    return "signature" in raw_query and any(part.partition("=")[0] == "signature" for part in raw_query.split("&"))


def verify(raw_query: str, keys: Mapping[str, Secret], now: float) -> Signed:
    """Who signed `raw_query` (exactly as received, still encoded), by the keys known per `orig`.

    The caller must still spend the nonce. Raises `Unauthenticated`; the reason is in `detail`.
    """
    signed, given = _split(raw_query)
    parameters = _parameters(signed)
    orig = parameters["orig"]
    algorithm = _ALGORITHMS.get(parameters["algo"])
    if algorithm is None:
        raise Unauthenticated(detail="signature: algo is neither sha256 nor sha512")
    key = keys[orig].reveal().encode("utf-8") if orig in keys else _NOBODY
    matches = hmac.compare_digest(hmac.new(key, _bytes(signed), algorithm).digest(), given)
    if orig not in keys:
        raise Unauthenticated(detail="signature: unknown orig")
    if not matches:
        raise Unauthenticated(detail="signature: wrong signature")
    ahead = _instant(parameters["timestamp"]) - now
    if ahead > WINDOW:
        raise Unauthenticated(detail=f"signature: timestamp {ahead:.0f} s in the future, check the clocks")
    if ahead < -WINDOW:
        raise Unauthenticated(detail=f"signature: timestamp {-ahead:.0f} s in the past, check the clocks")
    nonce = parameters["nonce"]
    if not 1 <= len(nonce) <= 128:
        raise Unauthenticated(detail="signature: nonce empty or longer than 128 characters")
    return Signed(orig, nonce)


def _split(raw_query: str) -> tuple[str, bytes]:
    signed, separator, last = raw_query.rpartition("&signature=")
    if not separator or "&" in last:
        raise Unauthenticated(detail="signature: it must be the last parameter")
    try:
        given = base64.b64decode(unquote_to_bytes(last), validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated(detail="signature: not base64") from None
    return signed, given


def _parameters(signed: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(_bytes(signed).decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise Unauthenticated(detail="signature: the query is not UTF-8, or has more than 1000 parameters") from None
    if any(name == "signature" for name, _ in pairs):
        raise Unauthenticated(detail="signature: present twice")
    found: dict[str, str] = {}
    for name in ("orig", "algo", "timestamp", "nonce"):
        values = [value for key, value in pairs if key == name]
        if len(values) != 1:
            raise Unauthenticated(detail=f"signature: {name} {'missing' if not values else 'present twice'}")
        found[name] = values[0]
    return found


def _instant(stamp: str) -> float:
    try:
        parsed = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        if parsed.strftime(_STAMP) != stamp:  # strptime forgives missing zeros
            raise ValueError
        return parsed.timestamp()
    except (ValueError, OverflowError):
        raise Unauthenticated(detail="signature: timestamp not written YYYY-MM-DDTHH:MM:SSZ") from None


def _bytes(query: str) -> bytes:
    return query.encode("utf-8", "surrogateescape")  # as servers decode the bytes of a request line
