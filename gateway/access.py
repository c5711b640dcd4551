"""Who calls, and what it may call. Everything is refused unless `relais.toml` opens it.

A caller proves who it is by HTTP Basic, an API key (`X-API-Key`, or `Authorization: Bearer` or `Api-Key`), Publik's URL
signature, or, where its account says so, its address alone. The first one present decides.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Protocol

from sdk.model import Secret

from .errors import Forbidden, TooManyAttempts, Unauthenticated
from .settings import ClientSettings
from .signature import is_signed, verify

__all__ = ["Access", "SpentNonces"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SpentNonces(Protocol):
    """What `nonces.Nonces` offers."""

    async def spend(self, orig: str, nonce: str, now: float) -> bool: ...


class Access:
    """The callers' accounts. `clock` gives seconds since 1970."""

    def __init__(
        self,
        clients: Mapping[str, ClientSettings],
        nonces: SpentNonces,
        clock: Callable[[], float],
        trusted_proxies: Iterable[Network] = (),
    ) -> None:
        self._nonces = nonces
        self._clock = clock
        self._proxies = tuple(trusted_proxies)
        # Credentials are looked up by a keyed digest: what a lookup's duration may tell is about a value that nobody
        # outside can compute, and an unknown user costs what a known one does.
        self._salt = secrets.token_bytes(32)
        self._by_digest: dict[bytes, ClientSettings] = {}
        self._by_orig: dict[str, ClientSettings] = {}
        self._keys: dict[str, Secret] = {}
        self._by_address: list[ClientSettings] = []
        for client in clients.values():
            if client.basic:
                held = f"{client.basic.username}:{client.basic.password.reveal()}"
                self._by_digest[self._digest(b"basic", held.encode("utf-8"))] = client
            if client.api_key:
                self._by_digest[self._digest(b"key", client.api_key.reveal().encode("utf-8"))] = client
            if client.signature:
                self._by_orig[client.signature.orig] = client
                self._keys[client.signature.orig] = client.signature.key
            if client.trusted_ip:
                self._by_address.append(client)
        self._attempts = _Attempts(clock)

    async def authenticate(
        self, method: str, path: str, raw_query: str, headers: Mapping[str, str], peer: str
    ) -> ClientSettings:
        """The account that calls. `raw_query` is still encoded, as received; `peer` is the address of the connection.

        Raises `Unauthenticated`, `TooManyAttempts`, or `Internal` when a nonce cannot be recorded. `method` and `path`
        are not covered by Publik's signature.
        """
        given = _given(headers)
        caller = self._caller(peer, given)
        address, origin = _parsed(caller), _origin(caller, peer)
        try:
            client = await self._recognised(raw_query, given, address)
        except _NothingGiven:
            raise Unauthenticated(detail="no credential") from None
        except Unauthenticated as refusal:
            wait = self._attempts.failed(origin)
            if wait:
                raise TooManyAttempts(wait, detail=refusal.detail) from None
            raise
        wait = self._attempts.succeeded(origin, client.name)
        if wait:
            raise TooManyAttempts(wait, detail=f"{client.name}: right credential after too many wrong ones")
        return client

    def authorize(self, client: ClientSettings, connector: str, instance: str, endpoint: str) -> None:
        """Raises `Forbidden` unless a right of the client covers the endpoint, whether or not it exists."""
        for right in client.rights:
            if right.covers(connector, instance, endpoint):
                return
        raise Forbidden(detail=f"{client.name} has no right to it")

    def may_see(self, client: ClientSettings, connector: str, instance: str) -> bool:
        """Whether the client may call something of that instance."""
        return any(right.touches(connector, instance) for right in client.rights)

    # --- recognising --------------------------------------------------------------------------------------------------

    async def _recognised(
        self, raw_query: str, given: Mapping[str, list[str]], address: Address | None
    ) -> ClientSettings:
        if len(given.get("authorization", ())) > 1 or len(given.get("x-api-key", ())) > 1:
            raise Unauthenticated(detail="two credentials of the same kind")
        if "authorization" in given:
            client = self._by_authorization(given["authorization"][0])
        elif "x-api-key" in given:
            client = self._by_key(given["x-api-key"][0])
        elif is_signed(raw_query):
            now = self._clock()
            signed = verify(raw_query, self._keys, now)
            client = self._by_orig[signed.orig]
            self._check_address(client, address)  # before the nonce: a refused call spends nothing
            if not await self._nonces.spend(signed.orig, signed.nonce, now):
                raise Unauthenticated(detail=f"{client.name}: signature already used")
        else:
            for client in self._by_address:
                if _inside(address, client.ip):
                    return client
            raise _NothingGiven
        self._check_address(client, address)
        return client

    def _by_authorization(self, header: str) -> ClientSettings:
        scheme, _, value = header.strip().partition(" ")
        match scheme.lower():
            case "basic":
                try:
                    held = base64.b64decode(_bytes(value.strip()), validate=True)
                except (binascii.Error, ValueError):
                    raise Unauthenticated(detail="Basic: not base64") from None
                if b":" not in held:
                    raise Unauthenticated(detail="Basic: no colon")
                return self._held(b"basic", held, "Basic: unknown user or wrong password")
            case "bearer" | "api-key" | "apikey":
                return self._by_key(value)
        raise Unauthenticated(detail="Authorization of an unknown scheme")

    def _by_key(self, key: str) -> ClientSettings:
        return self._held(b"key", _bytes(key.strip()), "unknown API key")

    def _held(self, kind: bytes, held: bytes, otherwise: str) -> ClientSettings:
        client = self._by_digest.get(self._digest(kind, held))
        if client is None:
            raise Unauthenticated(detail=otherwise)
        return client

    def _digest(self, kind: bytes, held: bytes) -> bytes:
        return hashlib.blake2b(kind + b"\0" + held, key=self._salt, digest_size=32).digest()

    # --- addresses ----------------------------------------------------------------------------------------------------

    def _check_address(self, client: ClientSettings, address: Address | None) -> None:
        if client.ip and not _inside(address, client.ip):
            raise Unauthenticated(detail=f"{client.name}: calls from an address that is not its own")

    def _caller(self, peer: str, given: Mapping[str, list[str]]) -> str:
        """The caller's address, as written: the last one in X-Forwarded-For that our own proxies did not write."""
        if not self._proxies or not _inside(_parsed(peer), self._proxies):
            return peer
        hops = ",".join(given.get("x-forwarded-for", ())).split(",")
        caller = peer
        for hop in reversed([hop.strip() for hop in hops if hop.strip()]):
            caller = hop
            if not _inside(_parsed(hop), self._proxies):
                break
        return caller


class _NothingGiven(Exception):
    pass


_READ = frozenset({"authorization", "x-api-key", "x-forwarded-for"})


def _given(headers: Mapping[str, str]) -> dict[str, list[str]]:
    """The headers that tell who calls, each with all its values."""
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        name = name.lower()
        if name in _READ:
            found.setdefault(name, []).append(value)
    return found


def _bytes(value: str) -> bytes:
    """A header's value as it was on the wire."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise Unauthenticated(detail="credential that is not text") from None


@lru_cache(maxsize=4096)
def _parsed(written: str) -> Address | None:
    """An address, possibly with a port, brackets or a zone; the IPv4 one inside an IPv6 one."""
    host = written
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _inside(address: Address | None, networks: Iterable[Network]) -> bool:
    if address is not None:
        for network in networks:
            if address in network:
                return True
    return False


@lru_cache(maxsize=4096)
def _origin(caller: str, peer: str) -> str:
    """Whom wrong credentials are counted against; an IPv6 customer holds a whole /64."""
    address = _parsed(caller)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or peer)


# --- too many wrong credentials ---------------------------------------------------------------------------------------

ALLOWED = 20  # wrong credentials from one origin, then as many per minute
REMEMBERED = 10_000  # origins, and (origin, client) pairs


class _Attempts:
    """A bucket of wrong attempts per origin.

    An account that has already proved itself from an origin keeps working there: one form with a wrong password must
    not cut a whole town's portal off. All others wait, even with the right credential, so that guessing stays slow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # origin → attempts left, at
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def failed(self, origin: str) -> float:
        """Counts a refusal; the seconds to wait when there were too many, else 0."""
        left = self._left(origin)
        self._buckets[origin] = (max(0.0, left - 1), self._clock())
        self._buckets.move_to_end(origin)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return _wait(left)

    def succeeded(self, origin: str, client: str) -> float:
        """The seconds to wait in spite of a right credential, 0 as a rule."""
        pair = (origin, client)
        if pair not in self._known:
            wait = _wait(self._left(origin))
            if wait:
                return wait
            self._known[pair] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        self._known.move_to_end(pair)
        return 0.0

    def _left(self, origin: str) -> float:
        left, at = self._buckets.get(origin, (float(ALLOWED), 0.0))
        return min(float(ALLOWED), left + max(0.0, self._clock() - at) * ALLOWED / 60)


def _wait(left: float) -> float:
    return 0.0 if left >= 1 else (1 - left) * 60 / ALLOWED
