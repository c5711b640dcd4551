"""Encryption at rest: AES-256-GCM-SIV, bound to the place where the value stands, under a key that can be changed.

The keys are lines `id:base64` of one file, the newest first; all nodes of a gateway need the same file. A value moved
to another row, field or instance does not open. Losing the file is losing what is sealed.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from sdk.errors import Text

from .errors import BadSettings, Internal

__all__ = ["Seal", "Unsealable"]

_VERSION = b"\x01"
_ID = 4  # bytes
_NONCE = 12


class Unsealable(Exception):
    """The value was changed, moved, or sealed under a key that is no longer in the file."""


class Seal:
    """The keys in the file at `path`, made at the first use where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[bytes, AESGCMSIV] = {}
        self._newest = b""
        self._read_at = (0, 0)
        if not path.exists():
            with suppress(FileExistsError):  # another process has just made it
                self._write([_new_line()], new=True)
        self._read()

    @property
    def newest(self) -> bytes:
        """What a value sealed under the newest key starts with."""
        self._refresh()
        return _VERSION + self._newest

    def seal(self, value: bytes, *place: str) -> bytes:
        """`value` encrypted; `place` says where it will stand: instance, field, row."""
        self._refresh()
        nonce = secrets.token_bytes(_NONCE)
        return _VERSION + self._newest + nonce + self._keys[self._newest].encrypt(nonce, value, _bound(place))

    def open(self, sealed: bytes, *place: str) -> bytes:
        """The value that was sealed for this place. Raises `Unsealable`."""
        head, nonce = sealed[1 : 1 + _ID], sealed[1 + _ID : 1 + _ID + _NONCE]
        if head not in self._keys:
            self._refresh()
        key = self._keys.get(head)
        if sealed[:1] != _VERSION or key is None:
            raise Unsealable("sealed under an unknown key")
        try:
            return key.decrypt(nonce, sealed[1 + _ID + _NONCE :], _bound(place))
        except (InvalidTag, ValueError):
            raise Unsealable("changed or moved") from None

    def read(self, sealed: bytes, *place: str) -> bytes:
        """As `open`, for the journal. Raises `Internal`: nobody outside can do anything about it."""
        try:
            return self.open(sealed, *place)
        except Unsealable as error:
            raise Internal(detail=f"{'/'.join(place)}: {error}") from error

    def rotate(self) -> None:
        """Adds a new key, used from now on by every process; the old ones still open what they sealed."""
        self._write([_new_line(), *self._lines()])
        self._read()

    def forget(self) -> None:
        """Removes all keys but the newest: nothing may be sealed under them any more."""
        self._write(self._lines()[:1])
        self._read()

    def _refresh(self) -> None:
        found = os.stat(self._path)
        if (found.st_mtime_ns, found.st_ino) != self._read_at:
            self._read()

    def _lines(self) -> list[str]:
        return [line.strip() for line in self._path.read_text("ascii").splitlines() if line.strip()]

    def _read(self) -> None:
        try:
            found = os.stat(self._path)
            keys: dict[bytes, AESGCMSIV] = {}
            for line in self._lines():
                name, _, key = line.partition(":")
                keys[bytes.fromhex(name)] = AESGCMSIV(base64.b64decode(key, validate=True))
            self._newest = next(iter(keys))
        except (OSError, ValueError, binascii.Error, StopIteration):
            raise BadSettings(
                Text(
                    f"{self._path.name} : clés de chiffrement illisibles ; remettez le fichier sauvegardé",
                    en=f"{self._path.name}: encryption keys cannot be read; put the saved file back",
                )
            ) from None
        self._keys = keys
        self._read_at = (found.st_mtime_ns, found.st_ino)

    def _write(self, lines: list[str], *, new: bool = False) -> None:
        scratch = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            try:
                os.link(scratch, self._path)  # refused where there is one: two first starts must not make two keys
            finally:
                os.unlink(scratch)
        else:
            os.replace(scratch, self._path)


def _new_line() -> str:
    return f"{secrets.token_hex(_ID)}:{base64.b64encode(AESGCMSIV.generate_key(256)).decode()}"


def _bound(place: tuple[str, ...]) -> bytes:
    return "\0".join(place).encode("utf-8")
