"""Drop folders over FTPS (RFC 4217): ftplib, in threads of the folder's own.

Data connections carry on the TLS session of the control connection, as common servers demand. The certificate is
always verified; nothing ever goes in clear.
"""

from __future__ import annotations

import asyncio
import ftplib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sdk.egress import Denied, tls_context
from sdk.errors import Misconfigured, RelaisError, Text

from .accounts import FtpsAccount
from .failures import broken, full, late, no_folder, unavailable, wrong_credentials
from .session import Listed, Session, Step

T = TypeVar("T")

_THREADS = 4  # per folder: a server that hangs holds up its own instance only
_FAREWELL = 2.0  # seconds given to a connection to end well
_PORTS = {"explicit": 21, "implicit": 990}
_NO_TLS = {"431", "500", "502", "504", "521", "522", "533", "534", "536"}


class Ftps:
    """Raises `Misconfigured` when `ca_file` cannot be read. `refusal(address, port)` says why a data connection may
    not be opened, None when it may.
    """

    name = "FTPS"
    errors: tuple[type[Exception], ...] = (ftplib.Error, EOFError)

    def __init__(self, account: FtpsAccount, refusal: Callable[[str, int], str | None]) -> None:
        self._account = account
        self._refusal = refusal
        self.port = account.port or _PORTS[account.tls]
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="relais-ftps")
        # A wrong file is told at start; the public roots, slow to read, are read in a thread when first needed.
        self._context = _tls(account) if account.ca_file else None

    @asynccontextmanager
    async def session(self, way: socket.socket) -> AsyncIterator[Session]:
        session = _FtpsSession(self._threads, way)
        try:
            if self._context is None:
                self._context = await session.run(_tls, self._account)
            await session.run(session.open, self._account, self._context, self._refusal)
            yield session
            await session.run(session.leave)
        except BaseException:
            session.abort()
            raise
        finally:
            self._threads.submit(session.close)

    def refused(self, error: BaseException) -> bool:
        return isinstance(error, (ftplib.error_perm, ftplib.error_temp)) and _code(error) != "421"

    def meaning(self, error: BaseException, step: Step) -> RelaisError:
        code = _code(error)
        detail = f"ftps: {type(error).__name__}{f' {code}' if code else ''} after {step.written} bytes"
        if isinstance(error, ssl.SSLCertVerificationError):
            return Misconfigured(
                Text(
                    "Le certificat du serveur de dépôt n'est pas reconnu : vérifier « ca_file » et « host ».",
                    en='The drop server\'s certificate is not recognised: check "ca_file" and "host".',
                ),
                detail=f"{detail}: {error.verify_message}",
                code="certificate",
                processed=False,
            )
        if isinstance(error, ftplib.error_perm):
            if code in ("430", "530", "532"):
                return wrong_credentials(detail)
            if code in ("550", "553"):
                return no_folder(detail)
            if code == "552":
                return full(detail)
            if code in _NO_TLS:
                return _no_tls(detail)
        if isinstance(error, ftplib.error_temp):
            return full(detail) if code in ("451", "452") else unavailable(detail, step.processed)
        if isinstance(error, TimeoutError):
            return late(detail, step.processed)
        if isinstance(error, ssl.SSLError) and not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return broken(detail, None) if step.renaming else _no_tls(f"{detail}: {error.reason}")
        if isinstance(error, (OSError, EOFError)):
            return unavailable(detail, step.processed)
        return broken(detail, step.processed)


class _FtpsSession:
    """One control connection. What blocks runs in a thread; `abort` frees a thread that waits."""

    def __init__(self, threads: ThreadPoolExecutor, way: socket.socket) -> None:
        self._threads = threads
        self._way = way
        self._client: _Client | None = None
        self._data: socket.socket | None = None

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *given))
        except asyncio.CancelledError:
            self.abort()
            raise

    # In a thread.

    def open(self, account: FtpsAccount, context: ssl.SSLContext, refusal: Callable[[str, int], str | None]) -> None:
        self._way.settimeout(account.connect_timeout)
        client = self._client = _Client(context, refusal)
        client.attach(self._way, account.host, implicit=account.tls == "implicit")
        client.login(_wire(account.username), _wire(account.password.reveal()))
        client.prot_p()
        client.voidcmd("TYPE I")
        client.timeout = account.timeout
        client.connection.settimeout(account.timeout)

    def leave(self) -> None:
        self._of.connection.settimeout(_FAREWELL)
        with suppress(ftplib.Error, OSError, EOFError):
            self._of.quit()

    def close(self) -> None:
        for each in (self._data, self._client, self._way):
            if each is not None:
                with suppress(OSError):
                    each.close()

    def _stored(self, path: str) -> None:
        self._data = self._of.transfercmd(f"STOR {path}")

    def _ended(self) -> None:
        """Our TLS goodbye, theirs where they say one, and the server's word. A connection closed on bytes unread (the
        tickets of TLS 1.3) would be reset, and with it what was sent."""
        data = self._data
        assert data is not None
        data.settimeout(_FAREWELL)
        with suppress(OSError, ValueError):
            data.unwrap()  # type: ignore[attr-defined]
        with suppress(OSError):
            socket.socket.shutdown(data, socket.SHUT_WR)
            while socket.socket.recv(data, 4096):
                pass
        data.close()
        self._data = None
        self._of.voidresp()

    def _replaced(self, path: str, target: str) -> None:
        try:
            self._of.rename(path, target)
        except ftplib.error_perm as error:  # a server that never replaces: an earlier file goes first
            if _code(error) not in ("550", "553"):
                raise
            try:
                self._of.delete(target)
            except ftplib.error_perm:
                raise error from None
            self._of.rename(path, target)

    # On the loop.

    @property
    def _of(self) -> _Client:
        assert self._client is not None
        return self._client

    def abort(self) -> None:
        """Ends both connections at once: whoever waits on them in a thread fails."""
        control = self._client.sock if self._client is not None else None
        for each in (self._data, control, self._way):
            if each is not None:
                with suppress(OSError):
                    socket.socket.shutdown(each, socket.SHUT_RDWR)

    async def write(self, path: str, chunks: AsyncIterator[bytes], step: Step) -> None:
        await self.run(self._stored, _wire(path))
        async for chunk in chunks:
            assert self._data is not None
            await self.run(self._data.sendall, chunk)
            step.written += len(chunk)
        await self.run(self._ended)

    async def size(self, path: str) -> int | None:
        try:
            return await self.run(self._of.size, _wire(path))
        except ftplib.error_perm as error:
            if _code(error) in ("500", "502", "504"):
                return None
            raise

    async def rename(self, path: str, target: str) -> None:
        await self.run(self._replaced, _wire(path), _wire(target))

    async def remove(self, path: str) -> None:
        await self.run(self._of.delete, _wire(path))

    async def is_folder(self, path: str) -> bool:
        try:
            await self.run(self._of.cwd, _wire(path))
        except ftplib.error_perm:
            return False
        return True

    async def listed(self, folder: str) -> list[Listed]:
        try:
            rows = await self.run(lambda: list(self._of.mlsd(_wire(folder) if folder != "." else "")))
        except ftplib.error_perm as error:
            if _code(error) in ("500", "502", "504"):
                return []
            raise
        return [
            Listed(name, moment)
            for name, facts in rows
            if facts.get("type") == "file" and (moment := _moment(facts.get("modify", ""))) is not None
        ]


class _Client(ftplib.FTP_TLS):
    """ftplib over a connection that was judged and opened by us.

    Its texts are UTF-8 read as Latin-1, so that nothing a server says is undecodable.
    """

    def __init__(self, context: ssl.SSLContext, refusal: Callable[[str, int], str | None]) -> None:
        super().__init__(context=context, encoding="latin-1")
        self._refusal = refusal

    @property
    def connection(self) -> socket.socket:
        assert self.sock is not None
        return self.sock

    def attach(self, way: socket.socket, host: str, *, implicit: bool) -> None:
        self.host = host
        self.af = way.family
        self.timeout = way.gettimeout()
        self.sock = self.context.wrap_socket(way, server_hostname=host) if implicit else way
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()

    def makepasv(self) -> tuple[str, int]:
        host, port = super().makepasv()
        why = self._refusal(host, port)
        if why is not None:
            raise Denied(why)
        return host, port

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        way, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 (TLS comes next)
        session = getattr(self.sock, "session", None)
        try:
            return self.context.wrap_socket(way, server_hostname=self.host, session=session), size
        except BaseException:
            way.close()
            raise


def _tls(account: FtpsAccount) -> ssl.SSLContext:
    # Nothing said of the protocol: careful servers refuse a connection that claims to be HTTP, others know no name.
    return tls_context(str(account.ca_file) if account.ca_file else None, alpn=())


def _no_tls(detail: str) -> Misconfigured:
    return Misconfigured(
        Text(
            "Pas de connexion sécurisée au serveur de dépôt : vérifier « tls » (explicit ou implicit) et « port ».",
            en='No secure connection to the drop server: check "tls" (explicit or implicit) and "port".',
        ),
        detail=detail,
        code="tls",
        processed=False,
    )


def _code(error: BaseException) -> str:
    """The three digits of a server's answer, never its words."""
    said = str(error)[:3] if isinstance(error, ftplib.Error) else ""
    return said if said.isascii() and said.isdigit() else ""


def _wire(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def _moment(modified: str) -> float | None:
    try:
        return datetime.strptime(modified[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
