"""The way out: the only code of the house that opens sockets towards publishers.

An instance may talk to the hosts its settings name and to nothing else. The address actually connected to is judged
again, whatever the name resolved to.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import BaseModel
from yarl import URL

from .errors import InvalidInput, Misconfigured, Text
from .messages import exchange

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_NEVER_V4 = tuple(ipaddress.IPv4Network(n) for n in ("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"))
_PROTOCOLS_V4 = ipaddress.IPv4Network("192.0.0.0/24")
_NEVER_V6 = tuple(ipaddress.IPv6Network(n) for n in ("::/128", "fe80::/10", "fec0::/10", "ff00::/8"))

_AUTHORITY = re.compile(r"(https?)://([^/?#]*)", re.IGNORECASE)
_HOST_PORT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?)(?::[0-9]{1,5})?")
_ENCODED = re.compile(r"(?:[A-Za-z0-9._~!$'()*+,;=:@/?&-]|%[0-9A-Fa-f]{2})*")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
CONTROL = re.compile(r"[\x00-\x20\x7f\\]")
_resolving = ThreadPoolExecutor(max_workers=8, thread_name_prefix="relais-dns")  # apart from the loop's own pool


# --- where an instance may go -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Egress:
    """Where one instance may go.

    `hosts`: the (host, port) pairs its settings name. `private`: networks (CIDR) that the operator opens for all
    instances: without them no private nor loopback address is reached. `denied_ports`: ports this gateway itself
    listens on: never reached on this machine.
    """

    hosts: frozenset[tuple[str, int]]
    private: tuple[str | Network, ...] = ()
    denied_ports: frozenset[int] = frozenset()
    _literals: dict[tuple[str, int], str | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        networks = tuple(ipaddress.ip_network(n, strict=False) if isinstance(n, str) else n for n in self.private)
        object.__setattr__(self, "private", networks)

    def refusal(self, address: str, port: int) -> str | None:
        """Why this address may not be connected to, or None when it may."""
        try:
            judged = _embedded(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return "not an address"
        for ip in judged:
            if any(ip in network for network in (_NEVER_V4 if ip.version == 4 else _NEVER_V6)):
                return "an address that is never allowed"
            opened = any(ip in network for network in self.private if not isinstance(network, str))
            if not opened and not _public(ip):
                return "a private address that the operator has not opened"
        if port in self.denied_ports and _is_this_machine(judged[0]):
            return "the gateway itself"
        return None

    def check(self, url: str, *, allow_http: bool = False) -> URL:
        """`url` as the wire will use it, or `Misconfigured` (host, port, scheme) or `InvalidInput` (a character)."""
        if CONTROL.search(url):
            raise InvalidInput(
                Text(
                    "L'adresse demandée contient un caractère interdit.",
                    en="The requested address holds a forbidden character.",
                ),
                detail="control character, space or backslash in a URL",
            )
        parsed = _parse(url)
        if parsed is None:
            raise refused_address("not a plain http(s) address")
        if parsed.scheme != "https" and not allow_http:
            raise refused_address("plain http is not allowed for this instance (allow_http)")
        host, port = parsed.raw_host or "", parsed.port or 0
        if (host, port) not in self.hosts:
            raise refused_address(f"{host}:{port} is not named in the settings")
        if _literal(host):
            if (host, port) not in self._literals:
                self._literals[host, port] = self.refusal(host, port)
            why = self._literals[host, port]
            if why:
                raise refused_address(f"{host}:{port} is {why}")
        return parsed


def hosts_of(settings: BaseModel) -> frozenset[tuple[str, int]]:
    """The (host, port) of every http(s) address found in the settings, nested models, lists and mappings included."""
    return frozenset(_hosts(settings))


def _hosts(value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, str):
        parsed = _parse(value.strip())
        if parsed is not None:
            yield parsed.raw_host or "", parsed.port or 0
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _hosts(getattr(value, name))
        for extra in (value.model_extra or {}).values():
            yield from _hosts(extra)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _hosts(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _hosts(item)


@lru_cache(maxsize=256)
def _parse(url: str) -> URL | None:
    """The address, or None unless it is http(s) with a plain ASCII host: no userinfo, no spelling that two parsers
    would read differently."""
    start = _AUTHORITY.match(url)
    if start is None or CONTROL.search(start[2]) or not _HOST_PORT.fullmatch(start[2]):
        return None
    try:
        parsed = URL(url)
        host, port = parsed.raw_host, parsed.port
    except ValueError:
        return None
    if not host or not port or parsed.user is not None:
        return None
    if _literal(host) and ":" not in host and not _canonical_v4(host):
        return None
    query = url.partition("#")[0].partition("?")[2]
    if "%" in query and parsed.raw_query_string != query and _ENCODED.fullmatch(query):
        # Sent as written: what is signed in an address is signed in one spelling.
        parsed = URL(f"{parsed.with_query(None).with_fragment(None)}?{query}", encoded=True)
    return parsed


@lru_cache(maxsize=256)
def _literal(host: str) -> bool:
    return ":" in host or _NUMERIC_LABEL.fullmatch(host.rstrip(".").rpartition(".")[2]) is not None


@lru_cache(maxsize=256)
def _canonical_v4(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def _embedded(ip: Address) -> list[Address]:
    """The addresses a connection to `ip` may really reach: those packed inside an IPv6 transition address."""
    if ip.version == 4:
        return [ip]
    assert isinstance(ip, ipaddress.IPv6Address)
    if ip.ipv4_mapped is not None:
        return [ip.ipv4_mapped]
    if ip.sixtofour is not None:
        return [ip.sixtofour]
    if ip.teredo is not None:
        return list(ip.teredo)
    low = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip in _NAT64[0]:
        return [low]
    if ip in _NAT64[1]:  # the prefix length is the network's choice: judge each place where it may put the address
        bits = int(ip)
        middle = (bits >> 64 & 0xFFFF) << 16 | (bits >> 40 & 0xFFFF)
        return [ipaddress.IPv4Address(middle), low] if middle else [low]
    if ip in _COMPATIBLE and int(ip) > 1:
        return [low]
    return [ip]


def _public(ip: Address) -> bool:
    if ip.version == 6 and ip not in _PUBLIC_V6:
        return False
    if ip in _PROTOCOLS_V4:  # older Pythons call some of it global
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _is_this_machine(ip: Address) -> bool:
    if ip.is_loopback:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # connecting a datagram socket sends nothing
        try:
            probe.connect((str(ip), 9))
            return bool(probe.getsockname()[0] == str(ip))
        except OSError:
            return False


def refused_address(why: str) -> Misconfigured:
    """The error for an address out of bounds; `why` is for the log."""
    return Misconfigured(
        Text(
            "Cette adresse n'est pas autorisée pour cette instance.",
            en="This address is not allowed for this instance.",
        ),
        detail=f"egress: {why}",
        processed=False,
    )


# --- sockets ----------------------------------------------------------------------------------------------------------


class Denied(OSError):
    """Raised while connecting: the address is refused, nothing was sent."""


def connector(egress: Egress, *, force_close: bool, resolver: AbstractResolver | None = None) -> aiohttp.TCPConnector:
    """The source of every connection of an instance. `force_close`: each one serves a single request."""
    return aiohttp.TCPConnector(
        socket_factory=lambda info: _socket(egress, info),
        resolver=resolver or Resolver(),
        ttl_dns_cache=30,
        limit=0,  # the limit policy is the limit
        force_close=force_close,
    )


async def reach(
    egress: Egress, host: str, port: int, *, tls: ssl.SSLContext | None, resolver: AbstractResolver | None = None
) -> float | None:
    """Connects (TLS included where `tls` is given) and closes without a word. Raises OSError when it cannot.

    Gives the end of the server's certificate (seconds since 1970), None without TLS.
    """
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(errno.EHOSTUNREACH, "no address")
    for found in await (resolver or Resolver()).resolve(host, port):
        try:
            opened = _socket(egress, (found["family"], socket.SOCK_STREAM, 0, "", (found["host"], port)))
        except OSError as error:
            failure = error
            continue
        try:
            opened.setblocking(False)
            await loop.sock_connect(opened, (found["host"], port))
            transport, _ = await loop.create_connection(
                asyncio.Protocol, sock=opened, ssl=tls, server_hostname=host if tls else None
            )
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
        else:
            shown = transport.get_extra_info("peercert") or {}
            transport.abort()
            return ssl.cert_time_to_seconds(shown["notAfter"]) if "notAfter" in shown else None
    raise failure


def _socket(egress: Egress, info: tuple[Any, ...]) -> socket.socket:
    family, kind, proto, _, address = info
    attempt = exchange.get()
    why = egress.refusal(str(address[0]), int(address[1]))
    if why is not None:
        if attempt is not None:
            attempt.denied.append(why)
        raise Denied(errno.EACCES, why)
    if attempt is not None:
        attempt.reached += 1
    return socket.socket(family, kind, proto)


class Resolver(AbstractResolver):
    """Names to addresses in threads of their own, so that other blocking work never delays a connection."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            _resolving,
            lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG),
        )
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Nothing to release: the threads are shared."""


# --- identity ---------------------------------------------------------------------------------------------------------


def tls_context(
    ca_file: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
    password: str = "",
    *,
    alpn: Sequence[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """One instance's TLS identity. `ca_file` replaces the public roots; `alpn` is what we say we speak. Raises
    `Misconfigured` naming the file.

    There is no way to skip verification.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise _unreadable("ca_file", ca_file) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if certificate:
        try:
            context.load_cert_chain(certificate, key, password=lambda: password)  # a callable: never ask a terminal
        except (OSError, ssl.SSLError):
            raise _unreadable("client_certificate", certificate) from None
    return context


_shared: list[ssl.SSLContext] = []
_one_at_a_time = threading.Lock()


def public_tls() -> ssl.SSLContext:
    """The TLS identity of the instances that have none of their own, the same for all of a process: reading the public
    roots takes 20 ms, and holding them 0.8 MB."""
    with _one_at_a_time:
        if not _shared:
            _shared.append(tls_context())
        return _shared[0]


def _unreadable(setting: str, path: str | None) -> Misconfigured:
    return Misconfigured(
        Text(
            f"Le fichier du réglage « {setting} » est illisible ou n'est pas au format PEM.",
            en=f'The file of setting "{setting}" cannot be read or is not PEM.',
        ),
        detail=f"{setting}: {path}",
        processed=False,
    )
