"""What is certified: `target.toml` read into values, with the credentials its publisher gave."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from contract_tests.text import Text

from .credentials import Basic, Credentials, Header, Signature
from .endpoints import AnyEndpoint, Declared, Endpoint

__all__ = ["BadTarget", "Target", "Upstream", "Waiver", "load", "read"]

Upstream = Callable[[str], AbstractAsyncContextManager[None]]
"""Makes the software behind the target `down`, `hang` or answer `garbage` while entered; our own tests give one."""


class BadTarget(ValueError):
    """`target.toml` is wrong; `message` says where, in both languages."""

    def __init__(self, message: Text) -> None:
        super().__init__(message.en)
        self.message = message


class _Secret(Declared):
    """A value given as such, by an environment variable or by a file."""

    value: str = ""
    env: str = ""
    file: str = ""

    def reveal(self, folder: Path) -> str:
        if self.env:
            if self.env not in os.environ:
                raise BadTarget(
                    Text(f"la variable {self.env} n'est pas définie", f"the variable {self.env} is not defined")
                )
            return os.environ[self.env]
        if self.file:
            try:
                return (folder / self.file).read_text("utf-8").strip()
            except OSError:
                raise BadTarget(
                    Text(f"le fichier {self.file} est illisible", f"the file {self.file} cannot be read")
                ) from None
        return self.value


class _SignatureTable(Declared):
    orig: str
    key: str | _Secret


class _Auth(Declared):
    user: str = ""
    password: str | _Secret = ""
    header: str = ""
    value: str | _Secret = ""
    signature: _SignatureTable | None = None


class Waiver(Declared):
    """An accepted departure: shown in the report, and the profile stays partial."""

    requirement: str
    case: str = ""
    reason: str = Field(min_length=1)
    author: str = Field(min_length=1)
    until: date


class _File(Declared):
    name: str
    base_url: str
    contact: str = ""
    software: str = ""
    version: str = ""
    environment: Literal["test", "production"] = "production"
    description: str = ""
    auth: _Auth = _Auth()
    endpoints: list[AnyEndpoint] = Field(min_length=1)
    waivers: list[Waiver] = []


@dataclass(frozen=True, slots=True)
class Target:
    """A service, its endpoints, and the credentials its publisher gave the suite.

    `credentials` go with every call; `signature` is what the profile *signed calls* is judged with. `description` is
    the address of an OpenAPI document.
    """

    name: str
    base_url: str
    endpoints: tuple[Endpoint, ...]
    contact: str = ""
    software: str = ""
    version: str = ""
    environment: Literal["test", "production"] = "production"
    description: str = ""
    credentials: Credentials | None = None
    signature: Signature | None = None
    waivers: tuple[Waiver, ...] = ()
    upstream: Upstream | None = None

    def url(self, path: str) -> str:
        """The absolute address of a path."""
        if path.startswith(("http://", "https://")):
            return path
        return f"{self.base_url.rstrip('/')}/{path.lstrip('/')}" if path else self.base_url

    def secrets(self) -> tuple[str, ...]:
        """What no artefact may hold."""
        held = [one.secrets() for one in (self.credentials, self.signature) if one is not None]
        return tuple(secret for secrets in held for secret in secrets if secret)

    def features(self) -> frozenset[str]:
        """What the target offers, whatever the endpoint."""
        found = {"credentials" if self.credentials else "no-credentials"}
        if isinstance(self.credentials, Basic):
            found.add("basic")
        if self.description:
            found.add("description")
        if self.upstream is not None:
            found.add("upstream")
        return frozenset(found)


def load(file: Path) -> Target:
    """The target of a `target.toml`. Raises `BadTarget`."""
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise BadTarget(Text(f"{file} n'existe pas", f"{file} does not exist")) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadTarget(Text(f"{file} : TOML mal formé ({error})", f"{file}: malformed TOML ({error})")) from None
    return read(data, file.parent)


def read(data: Mapping[str, Any], folder: Path = Path()) -> Target:
    """The target of a `target.toml` already parsed; files it names are relative to `folder`. Raises `BadTarget`."""
    try:
        held = _File.model_validate(data)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise BadTarget(Text(f"cible mal décrite : {said}", f"wrong target: {said}")) from None
    parts = urlsplit(held.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise BadTarget(
            Text(
                "base_url est une adresse http(s) complète, sans identifiants (ils vont dans [auth])",
                "base_url is a whole http(s) address, without credentials (they go in [auth])",
            )
        )
    places = [(one.profile, one.place) for one in held.endpoints]
    if twice := sorted({place for profile, place in places if places.count((profile, place)) > 1}):
        raise BadTarget(
            Text(f"endpoint déclaré deux fois, donner un name : {twice[0]}", f"declared twice, give a name: {twice[0]}")
        )
    signature = None
    if held.auth.signature is not None:
        signature = Signature(held.auth.signature.orig, _reveal(held.auth.signature.key, folder))
    credentials: Credentials | None = signature
    if held.auth.user:
        credentials = Basic(held.auth.user, _reveal(held.auth.password, folder))
    elif held.auth.header:
        credentials = Header(held.auth.header, _reveal(held.auth.value, folder))
    return Target(
        held.name,
        held.base_url,
        tuple(held.endpoints),
        held.contact,
        held.software,
        held.version,
        held.environment,
        held.description,
        credentials,
        signature,
        tuple(held.waivers),
    )


def _reveal(value: str | _Secret, folder: Path) -> str:
    return value if isinstance(value, str) else value.reveal(folder)
