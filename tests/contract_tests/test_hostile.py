"""Targets that lie about who they are, or send without end: the judge trusts nobody and holds little."""

from __future__ import annotations

import asyncio
import ssl
import sys
import textwrap
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import contract_tests
from contract_tests.reference import Asked, Reference, Reply
from contract_tests.wire import Limits
from tests.contract_tests.test_judge import raw

HOST = "simula.example.org"
NOW = datetime.now(UTC)


# --- who is there -----------------------------------------------------------------------------------------------------


@dataclass
class Authority:
    """A certificate and its key; without `by`, it signs itself."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(
        cls, name: str, by: Authority | None = None, *, host: str = "", ends: datetime = NOW + timedelta(days=30)
    ) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = by or cls(None, key)  # type: ignore[arg-type]
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(by.certificate.subject if by else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - timedelta(days=60))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=not host, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        )
        if host:
            built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        else:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                False,
            )
            more = {"key_cert_sign": True, "crl_sign": True, "encipher_only": False, "decipher_only": False}
            built = built.add_extension(x509.KeyUsage(**usage, **more), critical=True)
        return cls(built.sign(issuer.key, hashes.SHA256()), key)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def serving(self, folder: Path) -> ssl.SSLContext:
        """A server's context with this certificate."""
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "server.pem").write_bytes(private + self.pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        return context


TOWN = Authority.make("Autorité de Simula")


class Listening(Reference):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Asked] = []

    def __call__(self, asked: Asked) -> Reply:
        self.calls.append(asked)
        return super().__call__(asked)


async def judged_over_tls(authority: Authority, folder: Path) -> tuple[contract_tests.Run, Listening]:
    """The search profile, asked by name over TLS, trusting the town's authority."""
    trusted = folder / "ca.pem"
    trusted.write_bytes(TOWN.pem())
    async with (service := Listening()).served(authority.serving(folder)) as url:
        named = url.replace("127.0.0.1", HOST)
        run = await contract_tests.certify(
            service.target(named), profiles=["search"], rate=0, resolve={HOST: "127.0.0.1"}, ca=trusted
        )
    return run, service


async def test_a_certificate_of_the_authority_given_is_accepted(tmp_path: Path) -> None:
    run, _ = await judged_over_tls(Authority.make("bon", TOWN, host=HOST), tmp_path)
    assert [one.judgement for one in run.verdicts] == ["conformant"], run.failing()
    assert any(one.status == "pass" and one.requirements[0].id == "PUB-HTTP-13" for one in run.outcomes)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Authority.make("seul", host=HOST), "self-signed"),
        (lambda: Authority.make("ailleurs", Authority.make("Une autre"), host=HOST), "unable to get local issuer"),
        (lambda: Authority.make("hier", TOWN, host=HOST, ends=NOW - timedelta(days=1)), "expired"),
        (lambda: Authority.make("autre", TOWN, host="autre.example.org"), "not valid for"),
    ],
    ids=["self-signed", "unknown-authority", "expired", "another-host"],
)
async def test_a_certificate_nobody_should_trust_is_a_failure_of_the_target_and_no_secret_is_sent(
    make: Callable[[], Authority], said: str, tmp_path: Path
) -> None:
    run, service = await judged_over_tls(make(), tmp_path)
    assert run.failing() == {"PUB-HTTP-13"}
    assert [one.judgement for one in run.verdicts] == ["not-conformant"]
    failed = next(one for one in run.outcomes if one.status == "fail")
    assert said in failed.message.en
    assert [row.row for row in failed.caller] == ["1 · réseau"]
    assert service.calls == []
    assert len(run.exchanges) <= Limits().give_up
    assert not any(one.status == "error" for one in run.outcomes)


async def test_a_port_that_does_not_speak_tls_is_told_as_such() -> None:
    async with (service := Listening()).served() as url:
        named = url.replace("http://127.0.0.1", f"https://{HOST}")
        run = await contract_tests.certify(
            service.target(named), profiles=["search"], rate=0, resolve={HOST: "127.0.0.1"}
        )
    assert run.failing() == {"PUB-HTTP-13"}
    assert service.calls == []


async def test_a_handshake_without_end_is_a_late_answer() -> None:
    async def silent(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async with raw(silent) as url:  # reads a TLS greeting, waits for the rest of what looks like a request
        target = contract_tests.read(
            {
                "name": "essai",
                "base_url": url.replace("http://127.0.0.1", f"https://{HOST}"),
                "endpoints": [{"profile": "search", "path": "/x", "example": "a"}],
            }
        )
        limits = Limits(patience=0.3)
        run = await contract_tests.certify(target, rate=0, limits=limits, resolve={HOST: "127.0.0.1"})
    assert "PUB-HTTP-4" in run.failing()
    assert len(run.exchanges) <= limits.give_up


# --- how much is held -------------------------------------------------------------------------------------------------

MIB = 1024 * 1024
BLOCK = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
"""A mebibyte of spaces in a kilobyte, flushed so that it may be repeated for ever."""
SPACES = BLOCK.compress(b" " * MIB) + BLOCK.flush(zlib.Z_FULL_FLUSH)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def plain(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" " * 65536)
        await writer.drain()


async def bomb(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"Content-Encoding: deflate\r\n\r\n")
    while True:
        writer.write(SPACES)
        await writer.drain()


async def headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: " + b"a" * 4096 + b"\r\n")
        await writer.drain()


async def one_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-A: ")
    while True:
        writer.write(b"a" * 65536)
        await writer.drain()


async def many_items(writer: asyncio.StreamWriter) -> None:
    """A list that takes thirty times more in memory than on the wire: a whole answer, looked at from all sides."""
    body = b'{"err": 0, "data": [' + b",".join([b"{}"] * 500_000) + b"]}"
    writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


@asynccontextmanager
async def sending(answer: Callable[[asyncio.StreamWriter], object]) -> AsyncIterator[str]:
    async def answers(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(writer)  # type: ignore[misc]

    async with raw(answers) as url:
        yield url


JUDGE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 * 1024**3, 3 * 1024**3))
sys.argv = ["contract-tests", "run", sys.argv[1], "--profile", "search", "--rate", "0", "--output", sys.argv[2]]
from contract_tests import caller, checks, openapi, page, report, certificate
from contract_tests.__main__ import main
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    main()
except SystemExit as end:
    code = end.code
print("code", code, "KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(
    ("answer", "code", "most"),
    [(plain, 1, 100), (bomb, 1, 100), (headers, 1, 100), (one_header, 1, 100), (many_items, None, 300)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_the_memory_of_the_judge_is_bounded_whatever_comes(
    answer: Callable[[asyncio.StreamWriter], object], code: int | None, most: int, tmp_path: Path
) -> None:
    """The whole command, in a process of its own: what it needs beyond its modules, in mebibytes."""
    async with sending(answer) as url:
        command = (sys.executable, "-c", textwrap.dedent(JUDGE), f"{url}/x?q=a", str(tmp_path / "report"))
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        said, wrong = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, wrong.decode()
    _, found, _, kibibytes = said.decode().splitlines()[-1].split()
    assert code is None or found == str(code), said.decode()
    assert int(kibibytes) < most * 1024
    assert (tmp_path / "report" / "report.html").stat().st_size < 2_000_000
