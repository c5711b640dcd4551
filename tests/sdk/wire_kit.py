"""Real loopback publishers for the tests of the outgoing layer: scripted bytes, and a small certificate authority."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sdk.egress import Egress
from sdk.http import Http, HttpOptions, open_http

LOOPBACK = ("127.0.0.0/8", "::1/128")
SILENCE = None  # the publisher reads the request and never answers
HANG_UP = b""  # the publisher reads the request and closes


@dataclass
class Seen:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """A publisher made of bytes. `answer(request)` gives what to write; the connection closes unless `keep`."""

    answer: Callable[[Seen], bytes | Iterable[bytes] | None]
    keep: bool = False
    port: int = 0
    scheme: str = "http"
    connections: int = 0
    requests: list[Seen] = field(default_factory=list)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def host(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while True:
                request = await _read_request(reader)
                self.requests.append(request)
                answer = self.answer(request)
                if answer is None:
                    await reader.read()  # until the client gives up
                    return
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                if not self.keep:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return
        finally:
            writer.close()

    def stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body)


@asynccontextmanager
async def upstream(
    answer: Callable[[Seen], Any] | bytes | None, *, keep: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Upstream]:
    made = Upstream(answer if callable(answer) else lambda seen: answer, keep, scheme="https" if tls else "http")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.stop()
        server.close()
        await server.wait_closed()


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    """A complete HTTP answer; `Content_Type="text/html"` becomes a header."""
    names = {"Content_Type": "application/json", "Content_Length": str(len(body))} | headers
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in names.items())
    return f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode("latin-1") + body


class Pauses:
    """Waits that do not wait."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


class Names(AbstractResolver):
    """A resolver that answers in turn each list of addresses it was given for a name, the last one for ever."""

    def __init__(self, **turns: list[list[str]]) -> None:
        self.turns = turns

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        turns = self.turns[host.split(".")[0]]
        found = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            ResolveResult(hostname=host, host=a, port=port, family=10 if ":" in a else 2, proto=6, flags=0)
            for a in found
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def way(
    *targets: Upstream,
    hosts: Iterable[tuple[str, int]] = (),
    private: tuple[str, ...] = LOOPBACK,
    denied_ports: frozenset[int] = frozenset(),
    folder: Path = Path(),
    given: dict[str, Any] | None = None,
    instance: str = "demo/one",
    **options: Any,
) -> AsyncIterator[Http]:
    """An instance allowed to reach `targets`, waits made instantaneous, no randomness."""
    egress = Egress(
        hosts=frozenset([t.host for t in targets]) | frozenset(hosts), private=private, denied_ports=denied_ports
    )
    http = open_http(
        instance,
        HttpOptions(**{"allow_http": True, **options}),
        egress=egress,
        folder=folder,
        **{"sleep": Pauses(), "random": lambda: 0.5, **(given or {})},
    )
    try:
        yield http
    finally:
        await http.close()


class Authority:
    """A local certificate authority writing PEM files under `folder`."""

    def __init__(self, folder: Path, name: str = "Town CA") -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self._name, self._key.public_key(), -1, 30)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.own = folder / "own.pem"  # the authority's own certificate and key, as a self-signed server would show
        self.own.write_bytes(
            self.file.read_bytes()
            + self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    def _builder(self, subject: x509.Name, key: Any, first_day: int, last_day: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=first_day))
            .not_valid_after(now + datetime.timedelta(days=last_day))
        )

    def issue(self, name: str, *, first_day: int = -1, last_day: int = 30, password: str = "") -> Path:
        """A certificate and its key in one file, for a host name, an address, or a person."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(subject, key.public_key(), first_day, last_day)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        file = self.folder / f"{name}{first_day}{last_day}{'-locked' if password else ''}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
        )
        return file


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def server_tls(identity: Path, *, clients: Path | None = None) -> ssl.SSLContext:
    """A publisher's TLS; with `clients`, only those whose certificate that authority signed may enter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context
