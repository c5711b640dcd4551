"""The connectors that are installed, and the instances that are configured.

Connectors are found by entry point (group `relais.connectors`), so that a package of anybody's brings its own; an
instance is a connector bound to one town's settings and to its own way out (`http`).
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sdk.egress import Egress, hosts_of
from sdk.errors import RelaisError, Text
from sdk.http import Http, HttpOptions, open_http
from sdk.spec import Connector, DeclarationError, Endpoint

from .errors import BadSettings
from .settings import GatewaySettings, InstanceSettings, validate_settings

GROUP = "relais.connectors"
AnyConnector = Connector[Any]


@dataclass(frozen=True)
class Installed:
    """Connector name → class, and one sentence for each installed connector that cannot be used."""

    connectors: Mapping[str, type[AnyConnector]]
    problems: tuple[str, ...] = ()


def installed(extra: Iterable[str] = (), wanted: Container[str] | None = None) -> Installed:
    """What entry points name, and `module:Class` strings besides. A broken package harms only its own connector.

    `wanted`: names of the connectors needed, when not all of them are: the others are not even imported.
    """
    found: dict[str, type[AnyConnector]] = {}
    problems: list[str] = []
    extra = tuple(extra)
    if extra and os.getcwd() not in sys.path:
        # A connector under construction stands in the current folder, which an installed command does not look into.
        sys.path.insert(0, os.getcwd())
    points = [point for point in entry_points(group=GROUP) if wanted is None or point.name in wanted]
    sources = [(point.value, point.dist.name if point.dist else "?") for point in points]
    for target, origin in [*sources, *((value, "--connector") for value in extra)]:
        try:
            loaded = _load(target)
        except Exception as error:
            reason = str(error) if isinstance(error, DeclarationError) else f"{type(error).__name__}: {error}"
            problems.append(f"{target} ({origin}): {reason}")
            continue
        if (other := found.get(loaded.name)) is not None and other is not loaded:
            named = f"{other.__module__}:{other.__qualname__}"
            problems.append(f"{target} ({origin}): {named} is also named {loaded.name!r}: uninstall one of them")
        else:
            found[loaded.name] = loaded
    return Installed(dict(sorted(found.items())), tuple(problems))


def _load(target: str) -> type[AnyConnector]:
    module, _, attribute = target.partition(":")
    loaded = getattr(importlib.import_module(module), attribute)
    if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
        raise DeclarationError("not a Connector: name the class, as module:Class")
    return loaded


@dataclass(frozen=True)
class Match:
    """An endpoint and the values found in the path; or, without endpoint, the methods the path does answer."""

    endpoint: Endpoint | None
    values: Mapping[str, str]
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Instance:
    """A connector bound to settings. `where` is `connector/instance`."""

    where: str
    title: str
    connector: AnyConnector
    http: Http
    hosts: frozenset[tuple[str, int]]
    availability_every: float
    routes: Mapping[str, Sequence[Endpoint]] = field(repr=False)

    async def close(self) -> None:
        """Closes what the connector opened, then its way out."""
        try:
            await self.connector.close()
        finally:
            await self.http.close()

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return self.connector.endpoints

    def match(self, method: str, segments: Sequence[str]) -> Match | None:
        """What answers this path below the instance; None when nothing does, whatever the method."""
        allowed: list[str] = []
        for endpoint in self.routes.get(segments[0], ()):
            values = endpoint.match(segments)
            if values is None:
                continue
            if endpoint.method == method:
                return Match(endpoint, values)
            allowed.append(endpoint.method)
        return Match(None, {}, tuple(allowed)) if allowed else None


def _routes(endpoints: Iterable[Endpoint]) -> dict[str, list[Endpoint]]:
    """By first segment; literal segments before placeholders, so that `requests/new` wins over `requests/{id}`."""
    routes: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        routes.setdefault(endpoint.name, []).append(endpoint)
    for group in routes.values():
        group.sort(key=lambda endpoint: [segment.startswith("{") for segment in endpoint.segments])
    return routes


class Registry:
    """Every instance the gateway serves, by connector then instance name."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        self.instances: Mapping[str, Instance] = {instance.where: instance for instance in instances}

    def find(self, connector: str, instance: str) -> Instance | None:
        return self.instances.get(f"{connector}/{instance}")

    async def close(self) -> None:
        """Closes every instance."""
        await asyncio.gather(*(instance.close() for instance in self.instances.values()))

    @classmethod
    def open(
        cls,
        settings: GatewaySettings,
        connectors: Mapping[str, type[AnyConnector]],
        *,
        denied_ports: frozenset[int] = frozenset(),
    ) -> Registry:
        """Builds the instances of `relais.toml`; nothing is connected yet, and no event loop is needed. Raises
        `BadSettings`."""
        return cls(
            open_instance(name, settings, chosen, connectors, denied_ports=denied_ports)
            for name, chosen in settings.every_instance()
        )


def open_instance(
    name: str,
    gateway: GatewaySettings,
    chosen: InstanceSettings,
    connectors: Mapping[str, type[AnyConnector]],
    *,
    denied_ports: frozenset[int] = frozenset(),
) -> Instance:
    """One instance, `name` being `connector/instance`."""
    kind = connectors.get(name.partition("/")[0])
    if kind is None:
        known = ", ".join(connectors) or "none"
        raise BadSettings(
            chosen.told(
                Text(
                    f"aucun connecteur de ce nom n'est installé (installés : {known})",
                    en=f"no connector of this name is installed (installed: {known})",
                )
            )
        )
    where = f"instances.{name.replace('/', '.')}"
    settings = validate_settings(kind.settings_model, chosen.settings, f"{where}.settings")
    options = validate_settings(HttpOptions, chosen.http, f"{where}.http")
    egress = Egress(hosts=hosts_of(settings), private=gateway.egress.private, denied_ports=denied_ports)
    folder = Path(gateway.gateway.data) / "instances" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        http = open_http(name, options, egress=egress, folder=folder)
        connector = kind(settings, http)
    except RelaisError as error:
        raise BadSettings(chosen.told(error.message)) from error
    except RuntimeError as error:
        if str(error) != "no running event loop":
            raise
        french = f"le connecteur {kind.name} commence un travail dans son constructeur : il doit attendre un appel"
        english = f"the connector {kind.name} begins work in its constructor: it must wait for a call"
        raise BadSettings(chosen.told(Text(french, en=english))) from error
    return Instance(
        where=name,
        title=chosen.title or kind.title,
        connector=connector,
        http=http,
        hosts=egress.hosts,
        availability_every=chosen.availability_every,
        routes=_routes(kind.endpoints),
    )


def simulator_of(kind: type[AnyConnector]) -> type[Any] | None:
    """The connector's simulator: `SIMULATOR` of the module `simulator` in its package; None when it ships none."""
    package, _, _ = kind.__module__.rpartition(".")
    for name in (f"{kind.__module__}.simulator", f"{package}.simulator" if package else "simulator"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the simulator itself lacks something
            continue
        simulator: type[Any] | None = getattr(module, "SIMULATOR", None)
        return simulator
    return None
