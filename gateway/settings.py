"""`relais.toml`: what an operator writes, read at start into frozen values.

    [gateway]                          where to listen, limits, data folder
    [deliveries]                       quarantine, retention of the journal
    [egress]                           private networks the instances may reach
    [clients.NAME]                     who may call, with which credential, which endpoints
    [clients.NAME.callback]            how its workflow engine is told what comes later
    [instances.CONNECTOR.INSTANCE]     one town's connector: settings, http

A value may be a reference to a secret: `{ env = "NAME" }` or `{ file = "secrets/name" }`. Paths are relative to
relais.toml, also those of the instances' settings where the model says `Path`.
Every fault is told at once, with file, line and field, and never with the value. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, BeforeValidator, Field, InstanceOf, field_validator, model_validator

from sdk.errors import Text
from sdk.http import HttpOptions
from sdk.model import HttpUrl, Model, Secret

from .errors import BadSettings
from .toml_lines import lines_of
from .toml_reading import NOWHERE, Raw, Reading, Source

__all__ = [
    "CallbackSettings",
    "ClientSettings",
    "DeliveryOptions",
    "GatewaySettings",
    "InstanceSettings",
    "Raw",
    "Right",
    "load",
    "personal_days",
    "validate_settings",
]

M = TypeVar("M", bound=BaseModel)


# --- values -----------------------------------------------------------------------------------------------------------


def _network(value: Any) -> Any:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        return ipaddress.ip_network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(
            Text(
                'n\'est pas une adresse ou un réseau : écrivez par exemple "10.0.0.0/8" ou "192.0.2.7"',
                en='is not an address or a network: write for instance "10.0.0.0/8" or "192.0.2.7"',
            )
        ) from None


Cidr = Annotated[InstanceOf[ipaddress.IPv4Network] | InstanceOf[ipaddress.IPv6Network], BeforeValidator(_network)]

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_SIZE = re.compile(r"([0-9]{1,12})\s*([kmg]i?)?[bo]?", re.IGNORECASE)


def _size(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    written = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if written is None:
        raise ValueError(Text('n\'est pas une taille : écrivez par exemple "20MB"', en='is not a size: write "20MB"'))
    return int(written[1]) * _UNITS[(written[2] or "").lower()]


Size = Annotated[int, BeforeValidator(_size)]


def host_port(value: str) -> str:
    """An address to listen on, `host:port`. Raises `ValueError`."""
    host, _, port = value.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 <= int(port[:6]) <= 65535:
        raise ValueError(
            Text(
                'n\'est pas « hôte:port » : écrivez par exemple "127.0.0.1:8080"',
                en='is not "host:port": write for instance "127.0.0.1:8080"',
            )
        )
    return value


HostPort = Annotated[str, pydantic.AfterValidator(host_port)]


def _filled(least: int) -> pydantic.AfterValidator:
    def check(value: Secret) -> Secret:
        if len(value.reveal()) < least:
            raise ValueError(
                Text("est vide", en="is empty")
                if least == 1
                else Text(
                    f"est trop courte : il faut au moins {least} caractères, au hasard",
                    en=f"is too short: at least {least} random characters are needed",
                )
            )
        return value

    return pydantic.AfterValidator(check)


class Right(str):
    """`connector/instance/endpoint`, where `*` and `?` stand for any characters of their segment."""

    __slots__ = ()

    def covers(self, connector: str, instance: str, endpoint: str) -> bool:
        """Whether this right opens that endpoint: its path below the instance, or the first segment of it."""
        return _covers(self, connector, instance, endpoint)

    def touches(self, connector: str, instance: str) -> bool:
        """Whether this right opens something of that instance."""
        return all(map(_fits, self.split("/", 2)[:2], (connector, instance)))


@lru_cache(maxsize=4096)
def _covers(right: str, connector: str, instance: str, endpoint: str) -> bool:
    *place, wanted = right.split("/", 2)
    return all(map(_fits, place, (connector, instance))) and (
        _fits(wanted, endpoint.partition("/")[0]) or _fits(wanted, endpoint)
    )


def _fits(pattern: str, name: str) -> bool:
    return pattern in ("*", name) or fnmatchcase(name, pattern)


_RIGHT = re.compile(r"[a-z0-9_*?-]+/[a-z0-9_*?-]+/[A-Za-z0-9_.*?/{}-]+")


def _right(value: Any) -> Any:
    if not isinstance(value, str) or not _RIGHT.fullmatch(value):
        raise ValueError(
            Text(
                'n\'est pas « connecteur/instance/point » : écrivez par exemple "payfip/*/*"',
                en='is not "connector/instance/endpoint": write for instance "payfip/*/*"',
            )
        )
    return Right(value)


def _raw(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(Text("doit être une table", en="must be a table"))
    return value if isinstance(value, Raw) else Raw(value, NOWHERE, ())


RawTable = Annotated[InstanceOf[Raw], BeforeValidator(_raw)]


# --- sections ---------------------------------------------------------------------------------------------------------


class GatewayOptions(Model):
    """`[gateway]`."""

    listen: HostPort = "127.0.0.1:8080"
    admin_listen: HostPort | None = Field(default=None, description="Metrics, apart from the callers")
    data: Path = Field(
        default=Path("relais-data"), description="Folder of what the gateway writes, relative to relais.toml"
    )
    store: Secret | None = Field(
        default=None, description='"postgresql://…" shared by several nodes; a SQLite file of `data` when absent'
    )
    keys: Path | None = Field(default=None, description="File of the encryption keys; `keys` in `data` when absent")
    deadline: float = Field(default=25.0, gt=0, lt=28, description="Seconds a call may take; w.c.s. gives up after 28")
    workers: int = Field(default=0, ge=0, le=256, description="Processes; 0 is one per core")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    trusted_proxies: tuple[Cidr, ...] = Field(default=(), description="Whose X-Forwarded-For is believed")
    max_in_flight: int = Field(default=2000, ge=1)
    max_body: Size = Field(default=20_000_000, ge=1, description='"20MB"')


class DeliveryOptions(Model):
    """`[deliveries]`: how effects are journaled and followed up. Times are seconds unless the name says days."""

    quarantine: float = Field(
        default=900.0, ge=0, description="After an unknown outcome, nothing is sent again before; unless declared"
    )
    margin: float = Field(default=30.0, ge=0, description="Added to the longest processing time that is declared")
    lease: float = Field(default=10.0, ge=1, description="A process not seen for so long is dead")
    backoff: float = Field(default=5.0, gt=0, description="First pause before a follow-up is tried again, doubled")
    tries: int = Field(default=20, ge=1, description="Follow-ups before a person is asked")
    personal_days: float = Field(default=7.0, ge=0, description="Requests and answers are erased so long after the end")
    kept_days: float = Field(default=30.0, ge=1, description="Keys and references are forgotten so long after the end")
    subject_days: float = Field(
        default=400.0, ge=1, description="What was made for a subject (a debt) counts for the next request so long"
    )


class EgressOptions(Model):
    """`[egress]`: nothing private is reachable unless listed."""

    private: tuple[Cidr, ...] = Field(default=(), description="Private networks of the publishers' software")


class BasicCredentials(Model):
    """HTTP Basic."""

    username: str = Field(min_length=1)
    password: Annotated[Secret, _filled(1)]

    @field_validator("username")
    @classmethod
    def _no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError(Text("ne peut pas contenir « : »", en='cannot hold ":"'))
        return value


class SignatureKey(Model):
    """Publik's URL signature: the caller's `orig`, and the key shared with it."""

    orig: str = Field(min_length=1)
    key: Annotated[Secret, _filled(1)]


_SLUG = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class CallbackSettings(Model):
    """`[clients.NAME.callback]`: where and how the caller's workflow engine (w.c.s.) is told what comes later."""

    url: HttpUrl = Field(description="Its site; nothing else is ever told anything", examples=["https://demarches.…"])
    trigger: str = Field(default="", pattern=_SLUG, description="Identifier of the status trigger to pull")
    hook: str = Field(default="", pattern=_SLUG, description="Identifier of the global action's hook, instead")
    signature: SignatureKey | None = None
    basic: BasicCredentials | None = None
    hours: float = Field(default=72.0, gt=0, description="Told again and again so long; a third where it answers 404")
    http: HttpOptions = Field(default_factory=lambda: HttpOptions.model_validate({}))

    @model_validator(mode="after")
    def _one_of_each(self) -> CallbackSettings:
        for one, other, names in (
            (self.trigger, self.hook, ("trigger", "hook")),
            (self.signature, self.basic, ("signature", "basic")),
        ):
            if bool(one) == bool(other):
                raise ValueError(
                    Text(f"il faut {names[0]} ou {names[1]}, l'un des deux", en=f"needs one of {' and '.join(names)}")
                )
        if self.url.startswith("http:") and not self.http.allow_http:
            raise ValueError(
                Text(
                    "« url » est en http, sans chiffrement : écrivez https, ou http = { allow_http = true }",
                    en="url is plain http: write an https address, or http = { allow_http = true }",
                )
            )
        return self


class ClientSettings(Model):
    """`[clients.NAME]`: a caller's account. Without a right it may call nothing."""

    name: str = Field(exclude=True)
    basic: BasicCredentials | None = None
    api_key: Annotated[Secret, _filled(16)] | None = None
    signature: SignatureKey | None = None
    ip: tuple[Cidr, ...] = Field(default=(), description="Where it calls from; restricts its other credentials")
    trusted_ip: bool = Field(default=False, description="`ip` is enough by itself")
    rights: tuple[Annotated[InstanceOf[Right], BeforeValidator(_right)], ...] = Field(examples=[["payfip/*/*"]])
    callback: CallbackSettings | None = Field(default=None, description="How its workflow engine is told what follows")

    @model_validator(mode="after")
    def _has_a_credential(self) -> ClientSettings:
        if self.trusted_ip and not self.ip:
            raise ValueError(
                Text(
                    '« trusted_ip » demande « ip » : écrivez ip = ["192.0.2.7"]',
                    en='needs ip: write ip = ["192.0.2.7"]',
                )
            )
        if not (self.basic or self.api_key or self.signature or self.trusted_ip):
            raise ValueError(
                Text(
                    "n'a pas de quoi s'identifier : écrivez basic, api_key ou signature, "
                    "ou trusted_ip = true avec ip si l'adresse suffit",
                    en="has no credential: write basic, api_key or signature, "
                    "or trusted_ip = true with ip if the address is enough",
                )
            )
        return self


class InstanceSettings(Model):
    """`[instances.CONNECTOR.INSTANCE]`. `settings` and `http` are read by `validate_settings` against their models."""

    title: str = ""
    settings: RawTable = Field(default_factory=lambda: Raw({}, NOWHERE, ()))
    http: RawTable = Field(default_factory=lambda: Raw({}, NOWHERE, ()))
    availability_every: float = Field(default=300.0, ge=10, description="Seconds between two availability checks")
    personal_days: float | None = Field(default=None, ge=0, description="Instead of that of [deliveries], here")

    def told(self, fault: str) -> Text:
        """`relais.toml, line 14, instances.payfip.demo: …`, for a fault found later."""
        return self.settings.source.sentence(self.settings.path[:-1], fault)


class GatewaySettings(Model):
    """All of `relais.toml`. `instances` is connector → instance → settings."""

    gateway: GatewayOptions = GatewayOptions()
    deliveries: DeliveryOptions = DeliveryOptions()
    egress: EgressOptions = EgressOptions()
    clients: dict[str, ClientSettings] = Field(default_factory=dict)
    instances: dict[str, dict[str, InstanceSettings]] = Field(default_factory=dict)

    @property
    def store_url(self) -> str:
        """Where the store is, for `Store.open`."""
        if self.gateway.store is not None:
            return self.gateway.store.reveal()
        return f"sqlite:///{self.gateway.data.resolve() / 'relais.db'}"

    @property
    def keys_file(self) -> Path:
        """Where the encryption keys are."""
        return self.gateway.keys or self.gateway.data / "keys"

    def every_instance(self) -> Iterator[tuple[str, InstanceSettings]]:
        """`("connector/instance", settings)` of each, in the file's order."""
        for connector, instances in self.instances.items():
            for name, instance in instances.items():
                yield f"{connector}/{name}", instance


def personal_days(settings: GatewaySettings) -> dict[str, float]:
    """The instances whose requests and answers are kept for a time of their own, in days."""
    return {
        name: instance.personal_days
        for name, instance in settings.every_instance()
        if instance.personal_days is not None
    }


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: Path | str, environ: Mapping[str, str] = os.environ) -> GatewaySettings:
    """Reads and checks the file. Raises `BadSettings` with every fault found."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise BadSettings(Text(f"{path.name} : n'est pas en UTF-8", en=f"{path.name}: is not UTF-8")) from None
    except FileNotFoundError:
        raise BadSettings(
            Text(
                f"{path} : introuvable ; indiquez le chemin du fichier de configuration (-c)",
                en=f"{path}: not found; give the path of the configuration file (-c)",
            )
        ) from None
    except OSError as error:
        raise BadSettings(
            Text(
                f"{path} : illisible ({error.strerror}) ; indiquez le chemin du fichier de configuration",
                en=f"{path}: cannot be read ({error.strerror}); give the path of the configuration file",
            )
        ) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad_toml(path.name, str(error)) from None
    source = Source(path.name, path.resolve().parent, lines_of(text), environ)
    reading = Reading(source)
    _place(document, source, reading)
    settings = reading.validate(GatewaySettings, document, ())
    if settings is not None:
        _same_credentials(settings.clients, reading)
    if settings is None or reading.faults:
        raise reading.bad_settings()
    data = source.folder / settings.gateway.data
    keys = settings.gateway.keys and source.folder / settings.gateway.keys
    return settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"data": data, "keys": keys})})


def validate_settings(model: type[M], raw: Mapping[str, Any], where: str) -> M:
    """A raw table of an instance against its model, its references to secrets resolved.

    `where` names the table in messages when `raw` does not know its place. Raises `BadSettings` with every fault.
    """
    source, path = (raw.source, raw.path) if isinstance(raw, Raw) else (NOWHERE, ())
    reading = Reading(source)
    settings = reading.validate(model, dict(raw), path or tuple(where.split(".")))
    if settings is None:
        raise reading.bad_settings()
    return settings


def _bad_toml(name: str, said: str) -> BadSettings:
    place = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", said)
    reason = said.partition(" (at ")[0]
    line = f", ligne {place[1]}, colonne {place[2]}" if place and place[1] else ", à la fin"
    line_en = f", line {place[1]}, column {place[2]}" if place and place[1] else ", at the end"
    return BadSettings(Text(f"{name}{line} : TOML mal écrit ({reason})", en=f"{name}{line_en}: bad TOML ({reason})"))


_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def _place(document: dict[str, Any], source: Source, reading: Reading) -> None:
    """Names clients and instances, and marks the tables read later with their place."""
    clients = document.get("clients")
    for name, client in list(clients.items()) if isinstance(clients, dict) else ():
        if isinstance(client, dict):
            if "name" in client:
                reading.unknown(("clients", name, "name"), "name", ())
            client["name"] = name
        _check_name(("clients", name), reading)
    instances = document.get("instances")
    for connector, named in instances.items() if isinstance(instances, dict) else ():
        _check_name(("instances", connector), reading)
        for name, instance in named.items() if isinstance(named, dict) else ():
            path = ("instances", connector, name)
            _check_name(path, reading)
            for part in ("settings", "http"):
                if isinstance(instance, dict) and isinstance(instance.get(part, {}), dict):
                    instance[part] = Raw(instance.get(part, {}), source, (*path, part))


def _check_name(path: tuple[str, ...], reading: Reading) -> None:
    if not _NAME.fullmatch(path[-1]):
        reading.add(
            path,
            Text(
                "nom non admis : lettres minuscules et chiffres, puis aussi « - » et « _ »",
                en='name not allowed: lower-case letters and digits, then also "-" and "_"',
            ),
        )


def _same_credentials(clients: Mapping[str, ClientSettings], reading: Reading) -> None:
    """Two accounts one credential could stand for are an ambiguity about rights."""
    seen: dict[tuple[str, str], str] = {}
    for name, client in clients.items():
        held = [
            ("basic.username", client.basic.username if client.basic else None),
            ("api_key", client.api_key.reveal() if client.api_key else None),
            ("signature.orig", client.signature.orig if client.signature else None),
        ]
        for kind, value in held:
            if value is None:
                continue
            other = seen.setdefault((kind, value), name)
            if other != name:
                reading.add(
                    ("clients", name, *kind.split(".")),
                    Text(f"est déjà celui de clients.{other}", en=f"is already that of clients.{other}"),
                )
