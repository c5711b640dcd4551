"""Drop folders over SFTP (asyncssh). The server is known by its key; no key is ever learnt by itself."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncssh

from sdk.errors import Misconfigured, RelaisError, Text

from .accounts import SftpAccount
from .failures import broken, full, late, no_folder, unavailable, wrong_credentials, wrong_setting
from .session import Listed, Session, Step

_KEY = re.compile(r"(?:^|\s)((?:ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2})(?:\s|$)")
_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost)
_STRANGE = (asyncssh.ProtocolError, asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported)


class Sftp:
    """Raises `Misconfigured` when the account's keys cannot be read, or when it has neither password nor key."""

    name = "SFTP"
    errors: tuple[type[Exception], ...] = (asyncssh.Error,)

    def __init__(self, account: SftpAccount) -> None:
        self._account = account
        self._trusted = _host_keys(account.host_key)
        self._key = _private_key(account)
        self.port = account.port

    @asynccontextmanager
    async def session(self, way: socket.socket) -> AsyncIterator[Session]:
        account = self._account
        try:
            connection = await asyncssh.connect(
                account.host,
                account.port,
                sock=way,
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
            way.close()
            raise
        try:
            async with connection.start_sftp_client() as client:
                yield _SftpSession(client)
            connection.close()
        except BaseException:
            connection.abort()
            raise

    def refused(self, error: BaseException) -> bool:
        return isinstance(error, asyncssh.SFTPError) and not isinstance(error, _LOST)

    def meaning(self, error: BaseException, step: Step) -> RelaisError:
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
            return wrong_credentials(detail)
        if isinstance(error, asyncssh.SFTPPermissionDenied):
            return no_folder(detail, "permission")
        if isinstance(error, asyncssh.SFTPNoSuchFile):
            return no_folder(detail)
        if isinstance(error, asyncssh.SFTPFailure):  # SFTP 3, the one in use, has no other word for a full disk
            return full(detail)
        if isinstance(error, TimeoutError):
            return late(detail, step.processed)
        if isinstance(error, (OSError, *_LOST)) or (
            isinstance(error, asyncssh.DisconnectError) and not isinstance(error, _STRANGE)
        ):
            return unavailable(detail, step.processed)
        return broken(detail, step.processed)


class _SftpSession:
    def __init__(self, client: asyncssh.SFTPClient) -> None:
        self._client = client

    async def write(self, path: str, chunks: AsyncIterator[bytes], step: Step) -> None:
        async with self._client.open(path, "xb") as file:
            async for chunk in chunks:
                await file.write(chunk)
                step.written += len(chunk)
            with suppress(asyncssh.SFTPOpUnsupported):
                await file.fsync()

    async def size(self, path: str) -> int | None:
        return (await self._client.stat(path)).size

    async def rename(self, path: str, target: str) -> None:
        try:
            await self._client.posix_rename(path, target)
        except asyncssh.SFTPOpUnsupported:  # the renaming of SFTP 3 never replaces: an earlier file goes first
            if await self._client.exists(target):
                await self._client.remove(target)
            await self._client.rename(path, target)

    async def remove(self, path: str) -> None:
        await self._client.remove(path)

    async def is_folder(self, path: str) -> bool:
        return await self._client.isdir(path)

    async def listed(self, folder: str) -> list[Listed]:
        found = await self._client.readdir(folder)
        return [Listed(_text(each.filename), float(each.attrs.mtime)) for each in found if each.attrs.mtime is not None]


def _text(name: str | bytes) -> str:
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def _host_keys(text: str) -> list[asyncssh.SSHKey]:
    """The keys of known_hosts lines, whatever stands before and after them."""
    keys = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = None if line[0] in "#@" else _KEY.search(line)  # after @: revoked, or an authority
        if found is None:
            continue
        try:
            keys.append(asyncssh.import_public_key(found[1]))
        except asyncssh.KeyImportError:
            continue
    if not keys:
        raise wrong_setting("host_key", "pas de clé lisible de la forme « ssh-ed25519 AAAA… »", "no readable key")
    return keys


def _private_key(account: SftpAccount) -> asyncssh.SSHKey | None:
    text = account.private_key.reveal()
    if not text:
        if not account.password.reveal():
            raise wrong_setting(
                "password", "un mot de passe ou une clé est nécessaire", "a password or a key is needed"
            )
        return None
    try:
        return asyncssh.import_private_key(text, account.passphrase.reveal() or None)
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
        pass
    raise wrong_setting(
        "private_key", "clé illisible, ou mot de passe de clé faux", "unreadable key, or wrong passphrase"
    )
