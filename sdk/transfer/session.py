"""What one protocol gives the drop folder: a session, and the meaning of its failures."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sdk.errors import RelaisError


@dataclass(slots=True)
class Step:
    """How far a transfer has gone: bytes written, whether the renaming was asked for and not answered."""

    host: str = ""
    written: int = 0
    renaming: bool = False

    @property
    def processed(self) -> bool | None:
        """What a failure now says of the publisher's side."""
        return None if self.renaming else False


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the folder; `modified` is seconds since 1970."""

    name: str
    modified: float


class Session(Protocol):
    """One connection, its account accepted."""

    async def write(self, path: str, chunks: AsyncIterator[bytes], step: Step) -> None:
        """Makes a new file of `chunks`, counting them in `step`."""

    async def size(self, path: str) -> int | None:
        """Its size; None where the server does not tell."""

    async def rename(self, path: str, target: str) -> None:
        """Gives `path` the name `target`, replacing a file of that name."""

    async def remove(self, path: str) -> None:
        """Removes a file."""

    async def is_folder(self, path: str) -> bool:
        """Whether the folder is there."""

    async def listed(self, folder: str) -> list[Listed]:
        """The files of a folder, hidden ones included; none where the server cannot tell their age."""


class DropProtocol(Protocol):
    """One way of talking to a drop server."""

    name: str
    port: int
    errors: tuple[type[Exception], ...]
    """What its sessions raise, besides OSError and TimeoutError."""

    def session(self, way: socket.socket) -> AbstractAsyncContextManager[Session]:
        """A session over a connected socket, which it closes."""

    def refused(self, error: BaseException) -> bool:
        """Whether the server said no and is still there."""

    def meaning(self, error: BaseException, step: Step) -> RelaisError:
        """One of the six errors."""
