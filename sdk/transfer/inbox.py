"""The other side of a drop folder, for simulators and tests: real SFTP and FTPS servers of the loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import posixpath
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncssh
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["FtpsInbox", "SftpInbox", "certify"]


class SftpInbox:
    """An SFTP server on the loopback, whose root is `folder`: one account, a key of its own at each start.

    `arrived(name)` is called when a file takes its final name. `refusal`: raised at every write (disk full, …);
    `cut_after`: bytes after which the connection is cut; `cut_at_rename`: cut when the renaming is asked for, before it
    ("before") or once it is done ("after").
    """

    def __init__(
        self,
        folder: Path,
        *,
        username: str = "relais",
        password: str = "",
        client_key: str = "",
        arrived: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.username = username
        self.password = password
        self.arrived = arrived
        self.refusal: asyncssh.SFTPError | None = None
        self.cut_after: int | None = None
        self.cut_at_rename = ""
        self.posix_rename = True
        self.connections = 0
        self._client_key = asyncssh.import_public_key(client_key) if client_key else None
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._server: Any = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.get_port())

    @property
    def host_key(self) -> str:
        """Its public key, as the setting takes it."""
        return self._key.export_public_key().decode().strip()

    def account(self, **changes: Any) -> dict[str, Any]:
        """The settings of `SftpAccount` that reach it."""
        mine = {"host": "127.0.0.1", "port": self.port, "username": self.username, "password": self.password}
        return {**mine, "host_key": self.host_key, **changes}

    async def start(self) -> None:
        """Listens on a free port of the loopback."""
        inbox = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                inbox.connections += 1

            def begin_auth(self, username: str) -> bool:
                return True

            def password_auth_supported(self) -> bool:
                return bool(inbox.password)

            def validate_password(self, username: str, password: str) -> bool:
                return (username, password) == (inbox.username, inbox.password)

            def public_key_auth_supported(self) -> bool:
                return inbox._client_key is not None

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                known = inbox._client_key
                return username == inbox.username and known is not None and key.public_data == known.public_data

        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Server,
            server_host_keys=[self._key],
            sftp_factory=lambda channel: _Drop(inbox, channel),
        )

    async def stop(self) -> None:
        """Stops listening and closes every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


class _Drop(asyncssh.SFTPServer):
    def __init__(self, inbox: SftpInbox, channel: Any) -> None:
        super().__init__(channel, chroot=str(inbox.folder).encode())
        self._inbox = inbox
        self._written = 0

    def write(self, file_obj: object, offset: int, data: bytes) -> Any:
        inbox = self._inbox
        if inbox.refusal is not None:
            raise inbox.refusal
        self._written += len(data)
        if inbox.cut_after is not None and self._written > inbox.cut_after:
            self._cut()
        return super().write(file_obj, offset, data)

    def rename(self, oldpath: bytes, newpath: bytes) -> Any:
        return self._renamed(super().rename, oldpath, newpath)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
        if not self._inbox.posix_rename:
            raise asyncssh.SFTPOpUnsupported("posix-rename")
        return self._renamed(super().posix_rename, oldpath, newpath)

    def _renamed(self, rename: Callable[[bytes, bytes], Any], oldpath: bytes, newpath: bytes) -> None:
        inbox = self._inbox
        if inbox.cut_at_rename == "before":
            self._cut()
        rename(oldpath, newpath)
        if inbox.arrived is not None:
            inbox.arrived(posixpath.basename(newpath.decode()))
        if inbox.cut_at_rename == "after":
            self._cut()

    def _cut(self) -> None:
        self.channel.get_connection().abort()
        raise asyncssh.SFTPConnectionLost("cut")


class FtpsInbox:
    """An FTPS server on the loopback, whose root is `folder`: one account, a certificate of its own at each start.

    It demands what strict servers demand: TLS before the account, protected data connections, and on each of these the
    TLS session of the control connection (`demands_session`). `arrived(name)` is called when a file takes its final
    name. `refusal`: the answer to every upload (`"452 full"`); `cut_after`: bytes after which the connection is cut;
    `cut_at_rename`: cut when the renaming is asked for, before it ("before") or once it is done ("after");
    `replaces=False`: a renaming never replaces a file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        username: str = "relais",
        password: str = "",
        tls: str = "explicit",
        arrived: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = folder
        self.username = username
        self.password = password
        self.tls = tls
        self.arrived = arrived
        self.refusal = ""
        self.cut_after: int | None = None
        self.cut_at_rename = ""
        self.replaces = True
        self.demands_session = True
        self.unknown: set[str] = set()
        """Commands it says it does not know."""
        self.connections = 0
        self.reused: list[bool] = []
        """For each data connection, whether it carried on a TLS session."""
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def account(self, **changes: Any) -> dict[str, Any]:
        """The settings of `FtpsAccount` that reach it."""
        assert self._place is not None
        mine = {"host": "127.0.0.1", "port": self.port, "username": self.username, "password": self.password}
        return {**mine, "tls": self.tls, "ca_file": str(Path(self._place.name) / "server.pem"), **changes}

    async def start(self) -> None:
        """Listens on a free port of the loopback."""
        self._place = tempfile.TemporaryDirectory(prefix="relais-ftps-")
        pem = Path(self._place.name) / "server.pem"
        key = pem.with_suffix(".key")
        certify(pem, key)
        self.context.load_cert_chain(pem, key)
        tls = self.context if self.tls == "implicit" else None
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)

    async def stop(self) -> None:
        """Stops listening and closes every connection."""
        if self._server is not None:
            self._server.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            self._server = None
        if self._place is not None:
            self._place.cleanup()
            self._place = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self.connections += 1
        try:
            await _FtpsControl(self, reader, writer).serve()
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            writer.transport.abort()


class _FtpsControl:
    """One control connection, command by command."""

    def __init__(self, inbox: FtpsInbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._inbox = inbox
        self._reader = reader
        self._writer = writer
        self._name = ""
        self._known = self._protected = False
        self._renamed = ""
        self._where = "/"
        self._passive: asyncio.Server | None = None
        self._data: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None

    async def serve(self) -> None:
        await self._say("220 Relais: a simulator")
        try:
            while line := await self._reader.readline():
                command, _, given = line.decode("utf-8", "replace").strip().partition(" ")
                command = command.upper()
                answer: Callable[[str], Awaitable[str]] | None = getattr(self, f"_{command.lower()}", None)
                if command == "QUIT":
                    await self._say("221 Bye")
                    return
                if command in self._inbox.unknown or answer is None or not command.isalpha():
                    await self._say("502 Not known here")
                elif not self._tls and command not in ("AUTH", "FEAT"):
                    await self._say("530 TLS first")
                elif not self._known and command not in ("AUTH", "USER", "PASS", "FEAT", "PBSZ", "PROT"):
                    await self._say("530 Log in first")
                else:
                    if said := await answer(given):
                        await self._say(said)
        finally:
            if self._passive is not None:
                self._passive.close()

    @property
    def _tls(self) -> bool:
        return self._writer.get_extra_info("ssl_object") is not None

    async def _say(self, line: str) -> None:
        self._writer.write(f"{line}\r\n".encode())
        await self._writer.drain()

    def _path(self, given: str) -> Path:
        inside = posixpath.normpath(posixpath.join(self._where, given)).lstrip("/")
        return self._inbox.folder / inside

    async def _auth(self, given: str) -> str:
        if given.upper() != "TLS" or self._tls:
            return "504 Not that way"
        await self._say("234 Go on")
        await self._writer.start_tls(self._inbox.context)
        return ""

    async def _feat(self, given: str) -> str:
        return "211-Features\r\n AUTH TLS\r\n MLST modify*;size*;type*;\r\n211 End"

    async def _pbsz(self, given: str) -> str:
        return "200 PBSZ=0"

    async def _prot(self, given: str) -> str:
        self._protected = given.upper() == "P"
        return "200 Protected" if self._protected else "534 Protected only"

    async def _user(self, given: str) -> str:
        self._name = given
        return "331 Password"

    async def _pass(self, given: str) -> str:
        self._known = (self._name, given) == (self._inbox.username, self._inbox.password)
        return "230 Welcome" if self._known else "530 Wrong account"

    async def _type(self, given: str) -> str:
        return "200 Binary"

    async def _cwd(self, given: str) -> str:
        if not self._path(given).is_dir():
            return "550 No such folder"
        self._where = posixpath.normpath(posixpath.join(self._where, given))
        return "250 There"

    async def _pasv(self, given: str) -> str:
        if not self._protected:
            return "522 PROT P first"
        if self._passive is not None:
            self._passive.close()
        self._data = asyncio.get_running_loop().create_future()
        arriving = self._data

        async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if not arriving.done():
                arriving.set_result((reader, writer))

        self._passive = await asyncio.start_server(came, "127.0.0.1", 0, ssl=self._inbox.context)
        port = self._passive.sockets[0].getsockname()[1]
        return f"227 Entering passive mode (127,0,0,1,{port >> 8},{port & 255})"

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The data connection, or None when it does not carry on the control connection's session."""
        assert self._data is not None
        assert self._passive is not None
        reader, writer = await asyncio.wait_for(self._data, 10)
        self._passive.close()
        reused = bool(writer.get_extra_info("ssl_object").session_reused)
        self._inbox.reused.append(reused)
        if self._inbox.demands_session and not reused:
            writer.transport.abort()
            return None
        return reader, writer

    async def _stor(self, given: str) -> str:
        inbox, path = self._inbox, self._path(given)
        if inbox.refusal:
            return inbox.refusal
        if self._data is None:
            return "425 No data connection"
        if not path.parent.is_dir():
            return "550 No such folder"
        await self._say("150 Ready")
        opened = await self._opened()
        if opened is None:
            return "522 The TLS session must be reused"
        reader, writer = opened
        written = 0
        with path.open("wb") as file:
            while piece := await reader.read(256 * 1024):
                written += len(piece)
                if inbox.cut_after is not None and written > inbox.cut_after:
                    writer.transport.abort()
                    raise ConnectionResetError
                file.write(piece)
        writer.close()
        with suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
        return "226 Kept"

    async def _mlsd(self, given: str) -> str:
        if self._data is None or not self._path(given).is_dir():
            return "550 No such folder"
        await self._say("150 Here")
        opened = await self._opened()
        if opened is None:
            return "522 The TLS session must be reused"
        for each in self._path(given).iterdir():
            about = each.stat()
            modified = dt.datetime.fromtimestamp(about.st_mtime, dt.UTC).strftime("%Y%m%d%H%M%S")
            kind = "dir" if each.is_dir() else "file"
            opened[1].write(f"type={kind};size={about.st_size};modify={modified}; {each.name}\r\n".encode())
        opened[1].close()
        with suppress(OSError, ssl.SSLError):
            await opened[1].wait_closed()
        return "226 All"

    async def _size(self, given: str) -> str:
        path = self._path(given)
        return f"213 {path.stat().st_size}" if path.is_file() else "550 No such file"

    async def _dele(self, given: str) -> str:
        if not self._path(given).is_file():
            return "550 No such file"
        self._path(given).unlink()
        return "250 Gone"

    async def _rnfr(self, given: str) -> str:
        self._renamed = given
        return "350 To what" if self._path(given).is_file() else "550 No such file"

    async def _rnto(self, given: str) -> str:
        inbox, target = self._inbox, self._path(given)
        if target.is_dir() or (target.exists() and not inbox.replaces):
            return "553 A file has that name"
        if inbox.cut_at_rename == "before":
            raise ConnectionResetError
        self._path(self._renamed).replace(target)
        if inbox.arrived is not None:
            inbox.arrived(target.name)
        if inbox.cut_at_rename == "after":
            raise ConnectionResetError
        return "250 Renamed"


def certify(certificate: Path, key: Path) -> None:
    """A certificate for the loopback, signed by itself."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
