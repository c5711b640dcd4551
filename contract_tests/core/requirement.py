"""The requirements: `requirements.toml` read into values. Their ids are stable and never reused."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from contract_tests.text import Text

__all__ = ["FILE", "Catalogue", "Level", "Profile", "Requirement", "catalogue"]

FILE = Path(__file__).parent.parent / "requirements.toml"

Level = Literal["MUST", "SHOULD", "MAY"]
_ID = re.compile(r"PUB-[A-Z]+-[1-9][0-9]*")
_MEMBERS = {"level", "profile", "fr", "en", "source", "why_fr", "why_en"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One sentence of the contract. `reason` says why no check can decide it; None for a testable one.

    `profile` is the profile it belongs to, or `every` for what all profiles rest on (envelope, HTTP…).
    """

    id: str
    level: Level
    profile: str
    sentence: Text
    source: str
    reason: Text | None = None

    @property
    def family(self) -> str:
        """`ENV` of `PUB-ENV-1`."""
        return self.id.split("-")[1]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a target may be certified for; it is also judged by the requirements of the profiles it includes."""

    id: str
    title: Text
    includes: tuple[str, ...] = ()

    def judged_by(self, profile: str) -> bool:
        """Whether the requirements of a profile (or of `every`) concern this one."""
        return profile in ("every", self.id, *self.includes)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All requirements. `digest` is that of the file, so that a report names exactly the set it judged by."""

    version: str
    digest: str
    profiles: Mapping[str, Profile]
    requirements: Mapping[str, Requirement]

    def __getitem__(self, identifier: str) -> Requirement:
        return self.requirements[identifier]


class BadCatalogue(ValueError):
    """`requirements.toml` is wrong; the sentence says where."""


@cache
def catalogue(file: Path = FILE) -> Catalogue:
    """The requirements of a file, the suite's own by default. Raises `BadCatalogue`."""
    raw = file.read_bytes()
    data = tomllib.loads(raw.decode("utf-8"))
    profiles = {
        name: Profile(name, Text(one["fr"], one["en"]), tuple(one.get("includes", ())))
        for name, one in data["profiles"].items()
    }
    found = {
        identifier: _requirement(identifier, one, frozenset(profiles))
        for identifier, one in data["requirements"].items()
    }
    return Catalogue(
        data["version"],
        "sha256:" + hashlib.sha256(raw).hexdigest(),
        MappingProxyType(profiles),
        MappingProxyType(found),
    )


def _requirement(identifier: str, one: Mapping[str, Any], profiles: frozenset[str]) -> Requirement:
    if not _ID.fullmatch(identifier):
        raise BadCatalogue(f"{identifier}: an id is written PUB-FAMILY-number")
    if unknown := set(one) - _MEMBERS:
        raise BadCatalogue(f"{identifier}: unknown members {sorted(unknown)}")
    if missing := {"level", "profile", "fr", "en", "source"} - {name for name, value in one.items() if value}:
        raise BadCatalogue(f"{identifier}: missing {sorted(missing)}")
    if one["level"] not in get_args(Level):
        raise BadCatalogue(f"{identifier}: level is MUST, SHOULD or MAY")
    if one["profile"] != "every" and one["profile"] not in profiles:
        raise BadCatalogue(f"{identifier}: unknown profile {one['profile']}")
    if bool(one.get("why_fr")) != bool(one.get("why_en")):
        raise BadCatalogue(f"{identifier}: a reason for not testing is given in both languages")
    reason = Text(one["why_fr"], one["why_en"]) if one.get("why_fr") else None
    sentence = Text(one["fr"], one["en"])
    return Requirement(identifier, one["level"], one["profile"], sentence, one["source"], reason)
