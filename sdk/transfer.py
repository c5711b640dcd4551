"""Dropping files on a publisher's SFTP server.

    self.inbox = SftpFolder(settings.sftp, http)
    sent = await self.inbox.send("depot-42.zip", chunks)

The server is known by its key, given in the settings: another key is refused, and no key is ever learnt by itself. A
file goes up under a hidden temporary name, its size is checked, and only then does it take its own name, replacing an
earlier file of that name: whoever watches the folder never sees half a file, and sending it again is harmless.

Until the renaming is asked for nothing was delivered, so every failure says `processed=False`; a renaming without an
answer is in doubt (`processed=None`, and the call's `effect_sent` is set). Times are seconds, sizes are bytes.

`SftpInbox` is the other side, in miniature, for simulators and tests.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
import secrets
import socket
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import structlog
from pydantic import Field

from .call import current_call
from .egress import Resolver, refused_address
from .errors import Misconfigured, RelaisError, Text, UpstreamInvalid, UpstreamUnavailable
from .http import Http
from .model import Model, Secret

__all__ = ["Sent", "SftpAccount", "SftpFolder", "SftpInbox"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$|^[0-9A-Fa-f:.]+$"
_MOST_ADDRESSES = 3
_WRITTEN_AT_ONCE = 1024 * 1024
_TIDYING = 2.0  # seconds given to the removal of a temporary file
_KEY = re.compile(r"(?:^|\s)((?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2})(?:\s|$)")

_log = structlog.get_logger("relais.transfer")


class SftpAccount(Model):
    """Un dossier d'un serveur SFTP."""

    host: str = Field(pattern=_HOST, description="Nom ou adresse du serveur", examples=["depot.cartads.example"])
    port: int = Field(default=22, ge=1, le=65535, description="Port")
    username: str = Field(min_length=1, description="Compte")
    password: Secret = Field(default=Secret(""), description="Mot de passe ; vide si une clé est donnée")
    private_key: Secret = Field(default=Secret(""), description="Clé privée, texte OpenSSH ou PEM")
    passphrase: Secret = Field(default=Secret(""), description="Mot de passe de la clé privée")
    host_key: str = Field(
        min_length=1,
        description="Clé du serveur, une par ligne, comme dans known_hosts (« ssh-ed25519 AAAA… »). Jamais apprise",
    )
    folder: str = Field(default="", description="Dossier où déposer ; celui de l'arrivée par défaut")
    connect_timeout: float = Field(default=5.0, gt=0, le=25, description="Attente la plus longue d'une connexion")
    timeout: float = Field(default=60.0, gt=0, le=600, description="Durée la plus longue d'un envoi")


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that took its place: its path on the server and its size."""

    path: str
    size: int


class SftpFolder:
    """A folder of one SFTP server. Each `send` connects, and disconnects.

    Raises `Misconfigured` when the account's keys cannot be read, or when it has neither password nor key.
    """

    def __init__(self, account: SftpAccount, http: Http) -> None:
        self._account = account
        self._http = http
        self._trusted = _host_keys(account.host_key)
        self._key = _private_key(account)

    async def send(self, name: str, content: bytes | AsyncIterable[bytes]) -> Sent:
        """Puts `content` in the folder under `name` (letters, digits, `.`, `_`, `-`).

        `Misconfigured`: address, host key, credentials, folder or its rights. `UpstreamUnavailable`: unreachable, cut,
        late or full. `UpstreamInvalid`: the server did not keep what was sent, or does not speak SFTP.
        """
        if not _NAME.fullmatch(name):
            raise ValueError("a file's name is letters, digits, dots, dashes and underscores")
        target = posixpath.join(self._account.folder, name)
        temporary = posixpath.join(self._account.folder, f".{name}.{secrets.token_hex(4)}.part")
        step = _Step()
        async with self._watched("send", step), self._session(step) as sftp:
            try:
                size = await _upload(sftp, temporary, content, step)
                await self._rename(sftp, temporary, target, step)
            except asyncssh.SFTPError as error:
                if not isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)):
                    await _tidy(sftp, temporary)
                raise
        return Sent(target, size)

    async def check(self) -> None:
        """The server is the known one, takes the account, and has the folder. Sends nothing."""
        step = _Step()
        async with self._watched("check", step), self._session(step) as sftp:
            if not await sftp.isdir(self._account.folder or "."):
                raise _folder("not a folder")

    async def _rename(self, sftp: asyncssh.SFTPClient, temporary: str, target: str, step: _Step) -> None:
        call = current_call()
        before = call.effect_sent
        if not call.repeatable:
            call.effect_sent = True
        step.renaming = True
        try:
            try:
                await sftp.posix_rename(temporary, target)
            except asyncssh.SFTPOpUnsupported:
                await _replace(sftp, temporary, target)
        except asyncssh.SFTPError as error:
            if not isinstance(error, (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)):
                step.renaming, call.effect_sent = False, before  # the server said no
            raise
        step.renaming = False

    @asynccontextmanager
    async def _session(self, step: _Step) -> AsyncIterator[asyncssh.SFTPClient]:
        account = self._account
        connected = await self._connected()
        step.host = f"{account.host}:{account.port}"
        try:
            connection = await asyncssh.connect(
                account.host,
                account.port,
                sock=connected,
                config=None,
                known_hosts=(self._trusted, [], []),
                username=account.username,
                password=account.password.reveal() or None,
                client_keys=[self._key] if self._key is not None else None,
                agent_path=None,
                gss_host=None,
                login_timeout=account.connect_timeout,
                keepalive_interval=10,
            )
        except BaseException:
            connected.close()
            raise
        try:
            async with connection.start_sftp_client() as sftp:
                yield sftp
            connection.close()
        except BaseException:
            connection.abort()
            raise

    async def _connected(self) -> socket.socket:
        """A connection to an address of the host that the gateway may reach, each judged before it is tried."""
        account, egress = self._account, self._http.egress
        if egress is None:
            raise refused_address("no way out")
        found = await Resolver().resolve(account.host, account.port)
        refusals = {str(each["host"]): egress.refusal(str(each["host"]), account.port) for each in found}
        allowed = [address for address, why in refusals.items() if why is None][:_MOST_ADDRESSES]
        if not allowed:
            raise refused_address(f"{account.host}:{account.port} is {next(iter(refusals.values()), 'unknown')}")
        failure: OSError | None = None
        for address in allowed:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            way = socket.socket(family, socket.SOCK_STREAM)
            way.setblocking(False)
            try:
                async with asyncio.timeout(account.connect_timeout / len(allowed)):
                    await asyncio.get_running_loop().sock_connect(way, (address, account.port))
                return way
            except (OSError, TimeoutError) as error:
                way.close()
                failure = error if isinstance(error, OSError) else OSError("timeout")
            except BaseException:
                way.close()
                raise
        assert failure is not None
        raise failure

    @asynccontextmanager
    async def _watched(self, operation: str, step: _Step) -> AsyncIterator[None]:
        """One line of log, and one of the six errors whatever happens."""
        started, outcome = time.monotonic(), "cancelled"
        try:
            allowed = min(self._account.timeout, current_call().remaining())
            async with asyncio.timeout(allowed):
                yield
            outcome = "answered"
        except RelaisError as error:
            outcome = type(error).__name__
            raise
        except (asyncssh.Error, OSError, TimeoutError) as error:
            failure = _meaning(error, step)
            outcome = type(failure).__name__
            raise failure from None
        finally:
            _log.debug(
                "upstream",
                instance=self._http.instance,
                host=step.host,
                method=f"SFTP {operation}",
                outcome=outcome,
                bytes=step.written,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
            )


@dataclass(slots=True)
class _Step:
    """How far a transfer has gone."""

    host: str = ""
    written: int = 0
    renaming: bool = False


async def _upload(sftp: asyncssh.SFTPClient, path: str, content: bytes | AsyncIterable[bytes], step: _Step) -> int:
    async with sftp.open(path, "xb") as file:
        async for chunk in _chunks(content):
            await file.write(chunk)
            step.written += len(chunk)
        with suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()
    kept = (await sftp.stat(path)).size
    if kept is not None and kept != step.written:
        await _tidy(sftp, path)
        raise UpstreamInvalid(
            Text(
                "Le serveur de dépôt n'a pas gardé tout le fichier.", en="The drop server did not keep the whole file."
            ),
            detail=f"{kept} bytes kept of {step.written}",
            processed=False,
        )
    return step.written


async def _chunks(content: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The content in pieces large enough for the library to write several blocks at once."""
    if isinstance(content, bytes):
        for start in range(0, len(content), _WRITTEN_AT_ONCE):
            yield content[start : start + _WRITTEN_AT_ONCE]
        return
    waiting = bytearray()
    async for each in content:
        waiting += each
        if len(waiting) >= _WRITTEN_AT_ONCE:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


async def _replace(sftp: asyncssh.SFTPClient, temporary: str, target: str) -> None:
    """The renaming of SFTP 3, which never replaces: an earlier file of that name goes first."""
    if await sftp.exists(target):
        await sftp.remove(target)
    await sftp.rename(temporary, target)


async def _tidy(sftp: asyncssh.SFTPClient, path: str) -> None:
    with suppress(asyncssh.Error, OSError, TimeoutError):
        async with asyncio.timeout(_TIDYING):
            await sftp.remove(path)


# --- what a failure means ---------------------------------------------------------------------------------------------


def _meaning(error: BaseException, step: _Step) -> RelaisError:
    """One of the six errors. What a server says may hold names: only its kind is kept."""
    processed = None if step.renaming else False
    detail = f"sftp: {type(error).__name__} after {step.written} bytes"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Misconfigured(
            Text(
                "Le serveur de dépôt n'a pas la clé attendue : vérifier « host_key » auprès de son exploitant.",
                en='The drop server does not have the expected key: check "host_key" with who runs it.',
            ),
            detail=detail,
            code="host-key",
            processed=False,
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return Misconfigured(
            Text("Le serveur de dépôt refuse nos identifiants.", en="The drop server refuses our credentials."),
            detail=detail,
            code="credentials",
            processed=False,
        )
    if isinstance(error, asyncssh.SFTPPermissionDenied):
        return _folder(detail, "permission")
    if isinstance(error, asyncssh.SFTPNoSuchFile):
        return _folder(detail)
    if isinstance(error, asyncssh.SFTPFailure):  # SFTP 3, the one in use, has no other word for a full disk
        return UpstreamUnavailable(
            Text(
                "Le serveur de dépôt n'a pas pu écrire : il est peut-être plein.",
                en="The drop server could not write: it may be full.",
            ),
            detail=detail,
            code="full",
            processed=False,
        )
    if isinstance(error, TimeoutError):
        return UpstreamUnavailable(
            Text("Le serveur de dépôt n'a pas répondu à temps.", en="The drop server did not answer in time."),
            detail=detail,
            processed=processed,
            timeout=True,
        )
    lost = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost)
    if isinstance(error, (OSError, *lost)) or (
        isinstance(error, asyncssh.DisconnectError) and not isinstance(error, _STRANGE)
    ):
        return UpstreamUnavailable(
            Text("Le serveur de dépôt est indisponible pour le moment.", en="The drop server is unavailable for now."),
            detail=detail,
            processed=processed,
        )
    return UpstreamInvalid(
        Text("Le serveur de dépôt a répondu hors de son protocole.", en="The drop server broke its protocol."),
        detail=detail,
        processed=processed,
    )


_STRANGE = (asyncssh.ProtocolError, asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported)


def _folder(detail: str, code: str = "folder") -> Misconfigured:
    return Misconfigured(
        Text(
            "Le dossier de dépôt n'existe pas ou nous est fermé.",
            en="The drop folder does not exist or is closed to us.",
        ),
        detail=detail,
        code=code,
        processed=False,
    )


def _host_keys(text: str) -> list[asyncssh.SSHKey]:
    """The keys of known_hosts lines, whatever stands before and after them."""
    keys = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = None if line.startswith("#") else _KEY.search(line)
        if found is None:
            continue
        try:
            keys.append(asyncssh.import_public_key(found[1]))
        except asyncssh.KeyImportError:
            continue
    if not keys:
        raise _unreadable("host_key", "pas de clé lisible de la forme « ssh-ed25519 AAAA… »", "no readable key")
    return keys


def _private_key(account: SftpAccount) -> asyncssh.SSHKey | None:
    text = account.private_key.reveal()
    if not text:
        if not account.password.reveal():
            raise _unreadable("password", "un mot de passe ou une clé est nécessaire", "a password or a key is needed")
        return None
    try:
        return asyncssh.import_private_key(text, account.passphrase.reveal() or None)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        pass
    raise _unreadable(
        "private_key", "clé illisible, ou mot de passe de clé faux", "unreadable key, or wrong passphrase"
    )


def _unreadable(setting: str, french: str, english: str) -> Misconfigured:
    return Misconfigured(
        Text(f"Réglage « {setting} » : {french}.", en=f'Setting "{setting}": {english}.'), processed=False
    )


# --- the other side, for simulators and tests -------------------------------------------------------------------------


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
