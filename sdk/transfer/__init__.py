"""Dropping files on a publisher's server, over SFTP or FTPS: the account's type says which.

    self.inbox = DropFolder(settings.sftp or settings.ftps, http)
    sent = await self.inbox.send("depot-42.zip", chunks)

The server is known by its key (SFTP) or its certificate (FTPS). A file goes up under a hidden temporary name, its size
is checked, and only then does it take its own name, replacing an earlier file of that name: whoever watches the folder
never sees half a file, and sending it again is harmless.

Until the renaming is asked for nothing was delivered, so every failure says `processed=False`; a renaming without an
answer is in doubt (`processed=None`, and the call's `effect_sent` is set). Times are seconds, sizes are bytes.

`sdk.transfer.inbox` has the other side, in miniature, for simulators and tests.
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

import structlog

from sdk.call import current_call
from sdk.egress import Resolver, refused_address
from sdk.errors import RelaisError, Text, UpstreamInvalid
from sdk.http import Http

from .accounts import FtpsAccount, SftpAccount
from .failures import no_folder
from .ftps import Ftps
from .session import DropProtocol, Session, Step
from .sftp import Sftp

__all__ = ["DropFolder", "FtpsAccount", "Sent", "SftpAccount"]

LEFT_BEHIND = 3600.0
"""Seconds after which a temporary file is no longer being written: a sending lasts ten minutes at most."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_TEMPORARY = re.compile(rf"\.({_NAME.pattern})\.[0-9a-f]{{8}}\.part")
_MOST_ADDRESSES = 3
_WRITTEN_AT_ONCE = 1024 * 1024
_TIDYING = 2.0  # seconds given to the removal of a temporary file

_log = structlog.get_logger("relais.transfer")


@dataclass(frozen=True, slots=True)
class Sent:
    """A file that took its place: its path on the server and its size."""

    path: str
    size: int


class DropFolder:
    """A folder of one drop server. Each `send` connects, and disconnects. `clock` gives seconds since 1970.

    Raises `Misconfigured` when the account's keys or certificates cannot be read.
    """

    def __init__(
        self, account: SftpAccount | FtpsAccount, http: Http, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._account = account
        self._http = http
        self._clock = clock
        self._protocol: DropProtocol = (
            Sftp(account) if isinstance(account, SftpAccount) else Ftps(account, self._refusal)
        )
        self._errors: tuple[type[Exception], ...] = (*self._protocol.errors, OSError, TimeoutError)
        self._told: tuple[type[Exception], ...] = (*self._protocol.errors, RelaisError)

    async def send(self, name: str, content: bytes | AsyncIterable[bytes]) -> Sent:
        """Puts `content` in the folder under `name` (letters, digits, `.`, `_`, `-`).

        `Misconfigured`: address, key or certificate, credentials, folder or its rights. `UpstreamUnavailable`:
        unreachable, cut, late or full. `UpstreamInvalid`: the server did not keep what was sent, or broke its protocol.
        """
        if not _NAME.fullmatch(name):
            raise ValueError("a file's name is letters, digits, dots, dashes and underscores")
        target = posixpath.join(self._account.folder, name)
        temporary = posixpath.join(self._account.folder, f".{name}.{secrets.token_hex(4)}.part")
        step = Step()
        async with self._watched("send", step), self._session(step) as session:
            try:
                await session.write(temporary, _chunks(content), step)
                await _verify(session, temporary, step)
                await self._rename(session, temporary, target, step)
            except self._told as error:
                if isinstance(error, RelaisError) or self._protocol.refused(error):
                    await self._remove(session, temporary)
                raise
        return Sent(target, step.written)

    async def remove(self, name: str) -> None:
        """Takes back a file that nobody was told of; one that is not there any more is `Misconfigured` (`folder`)."""
        if not _NAME.fullmatch(name):
            raise ValueError("a file's name is letters, digits, dots, dashes and underscores")
        step = Step()
        async with self._watched("remove", step), self._session(step) as session:
            await session.remove(posixpath.join(self._account.folder, name))

    async def check(self) -> None:
        """The server is the known one, takes the account, and has the folder. Sends nothing."""
        step = Step()
        async with self._watched("check", step), self._session(step) as session:
            if not await session.is_folder(self._account.folder or "."):
                raise no_folder("not a folder")

    async def sweep(self, prefix: str) -> int:
        """Removes the temporary files, of names that start with `prefix`, that an interrupted sending left more than an
        hour ago. How many there were."""
        step, found = Step(), 0
        async with self._watched("sweep", step), self._session(step) as session:
            for each in await session.listed(self._account.folder or "."):
                theirs = _TEMPORARY.fullmatch(each.name)
                if theirs and theirs[1].startswith(prefix) and each.modified < self._clock() - LEFT_BEHIND:
                    await session.remove(posixpath.join(self._account.folder, each.name))
                    found += 1
        if found:
            _log.warning("leftovers_removed", instance=self._http.instance, host=step.host, files=found)
        return found

    async def _rename(self, session: Session, temporary: str, target: str, step: Step) -> None:
        call = current_call()
        before = call.effect_sent
        if not call.repeatable:
            call.effect_sent = True
        step.renaming = True
        try:
            await session.rename(temporary, target)
        except self._protocol.errors as error:
            if self._protocol.refused(error):
                step.renaming, call.effect_sent = False, before  # the server said no
            raise
        step.renaming = False

    async def _remove(self, session: Session, path: str) -> None:
        with suppress(*self._errors):
            async with asyncio.timeout(_TIDYING):
                await session.remove(path)

    @asynccontextmanager
    async def _session(self, step: Step) -> AsyncIterator[Session]:
        way = await self._connected()
        step.host = f"{self._account.host}:{self._protocol.port}"
        async with self._protocol.session(way) as session:
            yield session

    def _refusal(self, address: str, port: int) -> str | None:
        egress = self._http.egress
        return "no way out" if egress is None else egress.refusal(address, port)

    async def _connected(self) -> socket.socket:
        """A connection to an address of the host that the gateway may reach, each judged before it is tried."""
        account, port = self._account, self._protocol.port
        if self._http.egress is None:
            raise refused_address("no way out")
        found = await Resolver().resolve(account.host, port)
        refusals = {str(each["host"]): self._refusal(str(each["host"]), port) for each in found}
        allowed = [address for address, why in refusals.items() if why is None][:_MOST_ADDRESSES]
        if not allowed:
            raise refused_address(f"{account.host}:{port} is {next(iter(refusals.values()), 'unknown')}")
        failure: OSError | None = None
        for address in allowed:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            way = socket.socket(family, socket.SOCK_STREAM)
            way.setblocking(False)
            try:
                async with asyncio.timeout(account.connect_timeout / len(allowed)):
                    await asyncio.get_running_loop().sock_connect(way, (address, port))
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
    async def _watched(self, operation: str, step: Step) -> AsyncIterator[None]:
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
        except self._errors as error:
            failure = self._protocol.meaning(error, step)
            outcome = type(failure).__name__
            raise failure from None
        finally:
            _log.debug(
                "upstream",
                instance=self._http.instance,
                host=step.host,
                method=f"{self._protocol.name} {operation}",
                outcome=outcome,
                bytes=step.written,
                duration_ms=round((time.monotonic() - started) * 1000, 1),
            )


async def _verify(session: Session, path: str, step: Step) -> None:
    kept = await session.size(path)
    if kept is not None and kept != step.written:
        raise UpstreamInvalid(
            Text(
                "Le serveur de dépôt n'a pas gardé tout le fichier.", en="The drop server did not keep the whole file."
            ),
            detail=f"{kept} bytes kept of {step.written}",
            processed=False,
        )


async def _chunks(content: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The content in pieces large enough to be written several blocks at once."""
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
