"""The `relais` command: `serve`, `check`, `connectors`, `openapi`, `demo`.

Speaks French, or English where `RELAIS_LANG=en` or the locale says so; tables for a person, plain lines when piped.
An error is one sentence that says what to do, on standard error, with exit code 1 (2 for a wrong command line).
"""

# ruff: noqa: E402 - the collector rests while everything is imported

from __future__ import annotations

import gc

gc.disable()  # nothing of what is imported is garbage: looking for some takes a fifth of the time to start

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer
import uvloop
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from sdk import openapi as sdk_openapi
from sdk.errors import RelaisError, Text, english
from sdk.soap import Soap

from . import app, journal, operate, operate_callbacks, signature
from .demo import demo as run_demo
from .demo import run_simulator
from .health import WHO_ACTS, Availability, probe
from .registry import AnyConnector, Instance, Registry, installed
from .settings import GatewaySettings, host_port, load


def _chosen_language() -> str:
    chosen = os.environ.get("RELAIS_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "en" if chosen.lower().startswith("en") else "fr"


LANGUAGE = _chosen_language()


def say(french: str, en: str) -> str:
    """The sentence in the language of this terminal."""
    return en if LANGUAGE == "en" else french


commands = typer.Typer(
    name="relais",
    help=say(
        "Passerelle de connecteurs entre Publik et les logiciels métier.",
        "Connector gateway between Publik and business software.",
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None if not sys.stdout.isatty() else "rich",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"relais {metadata.version('relais')}")
        raise typer.Exit


@commands.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help=say("Dire la version.", "Tell the version.")),
    ] = False,
) -> None:
    """Options of the command itself."""


ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help=say("Fichier de configuration.", "Settings file."), show_default=True)
]
ConnectorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--connector",
        metavar="MODULE:CLASS",
        help=say("Connecteur de plus, hors paquet installé.", "One more connector, not installed as a package."),
    ),
]
DEFAULT_CONFIG = Path("relais.toml")


def _rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a person; tab-separated lines when piped."""
    if sys.stdout.isatty():
        table = Table(*columns, title=title, title_justify="left", header_style="bold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
    else:
        for row in rows:
            print("\t".join(row))


def _usable(extra: Sequence[str] | None, settings: GatewaySettings | None = None) -> Mapping[str, type[AnyConnector]]:
    """The installed connectors; those that cannot be used are told on standard error. With `settings`, those that have
    an instance there: all of them when one is missing, since an entry point may have another name than its connector.
    """
    wanted = None if settings is None else {name.partition("/")[0] for name, _ in settings.every_instance()}
    found = installed(extra or (), wanted)
    if wanted is not None and not wanted <= found.connectors.keys():
        found = installed(extra or ())
    for problem in found.problems:
        print(
            say(f"relais : connecteur inutilisable : {problem}", f"relais: unusable connector: {problem}"),
            file=sys.stderr,
        )
    return found.connectors


def _chosen(name: str, extra: Sequence[str] | None) -> type[AnyConnector]:
    found = _usable(extra)
    if name not in found:
        known = ", ".join(found) or "—"
        raise RelaisError(
            Text(
                f"Aucun connecteur {name} : choisir parmi {known}, ou l'installer avec pip.",
                en=f"There is no connector {name}: choose among {known}, or install it with pip.",
            )
        )
    return found[name]


@commands.command(help=say("Servir les instances de la configuration.", "Serve the configured instances."))
def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help=say("Processus ; par défaut un par cœur.", "Processes; one per core by default.")),
    ] = None,
    connector: ConnectorOption = None,
    admin_listen: Annotated[
        str | None,
        typer.Option(
            parser=host_port,
            metavar="HOST:PORT",
            help=say(
                "Adresse des mesures, au lieu de celle du fichier.", "Address of the metrics, instead of the file's."
            ),
        ),
    ] = None,
) -> None:
    settings = load(config)
    if admin_listen is not None:
        gateway = settings.gateway.model_copy(update={"admin_listen": admin_listen})
        settings = settings.model_copy(update={"gateway": gateway})
    count = workers or settings.gateway.workers or os.cpu_count() or 1
    raise typer.Exit(app.serve(settings, _usable(connector, settings), workers=count))


@commands.command(
    help=say(
        "Vérifier la configuration, puis l'adresse et les identifiants de chaque instance.",
        "Check the settings, then the address and credentials of each instance.",
    )
)
def check(
    instance: Annotated[
        str | None, typer.Argument(metavar="CONNECTOR/INSTANCE", help=say("Une seule instance.", "One instance only."))
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    connector: ConnectorOption = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help=say("Sans appeler les logiciels métier.", "Without calling any publisher.")),
    ] = False,
) -> None:
    settings = load(config)
    connectors = _usable(connector)
    journal.configure("error", stream=sys.stderr)

    async def examine() -> list[tuple[Instance, Availability]]:
        registry = Registry.open(settings, connectors)
        try:
            chosen = [i for i in registry.instances.values() if instance in (None, i.where)]
            if offline:
                return [(i, Availability("unchecked")) for i in chosen]
            return list(zip(chosen, await asyncio.gather(*(probe(i) for i in chosen)), strict=True))
        finally:
            await registry.close()

    for client in settings.clients.values():
        for right in client.rights:
            if not any(right.touches(*name.split("/")) for name, _ in settings.every_instance()):
                print(
                    say(
                        f"relais : clients.{client.name} : le droit « {right} » n'ouvre aucune instance",
                        f'relais: clients.{client.name}: the right "{right}" opens no instance',
                    ),
                    file=sys.stderr,
                )
    found = uvloop.run(examine())
    if instance is not None and not found:
        raise RelaisError(
            Text(f"Aucune instance {instance} dans {config}.", en=f"There is no instance {instance} in {config}.")
        )
    _rows(
        say("Instances", "Instances"),
        ("instance", say("état", "state"), say("qui agit", "who acts"), say("raison", "reason")),
        [
            (
                one.where,
                state.state,
                say(WHO_ACTS[state.state], english(WHO_ACTS[state.state])),
                " — ".join(filter(None, (say(state.reason, state.reason_en), state.detail))),
            )
            for one, state in found
        ],
    )
    for one, _ in found:
        for contract, left in one.http.contracts.items():
            for name, reason in left().items():
                print(f"relais: {one.where}: {contract}: {_read_slowly(name, reason)}", file=sys.stderr)
    raise typer.Exit(1 if any(state.state not in ("up", "unchecked") for _, state in found) else 0)


@commands.command(help=say("Les connecteurs installés.", "The installed connectors."))
def connectors(connector: ConnectorOption = None) -> None:
    _rows(
        say("Connecteurs", "Connectors"),
        (
            say("nom", "name"),
            say("titre", "title"),
            say("points d'accès", "endpoints"),
            say("paquet", "module"),
            say("supposé, non vérifié", "assumed, not verified"),
        ),
        [
            (name, found.title, str(len(found.endpoints)), found.__module__, found.confidence)
            for name, found in _usable(connector).items()
        ],
    )
    raise typer.Exit(1 if installed(connector or ()).problems else 0)


@commands.command(help=say("Le document OpenAPI 3.1 d'un connecteur.", "A connector's OpenAPI 3.1 document."))
def openapi(
    name: Annotated[str, typer.Argument(metavar="CONNECTOR", help=say("Nom du connecteur.", "Name of the connector."))],
    instance: Annotated[
        str, typer.Option(help=say("Nom d'instance dans les adresses.", "Instance name in the paths."))
    ] = "demo",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=say("Fichier à écrire.", "File to write."))
    ] = None,
    connector: ConnectorOption = None,
) -> None:
    text = to_json(sdk_openapi.document(_chosen(name, connector), instance), indent=2).decode() + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")


@commands.command(
    help=say(
        "Démarrer la passerelle avec les simulateurs de tous les connecteurs ; Ctrl-C arrête tout.",
        "Start the gateway with every connector's simulator; Ctrl-C stops everything.",
    )
)
def demo(
    port: Annotated[
        int, typer.Option(help=say("Port de la passerelle ; 0 en choisit un.", "The gateway's port; 0 picks one."))
    ] = 8080,
    connector: ConnectorOption = None,
) -> None:
    raise typer.Exit(run_demo(_usable(connector), port=port, in_english=LANGUAGE == "en"))


@commands.command(
    help=say(
        "Démarrer seul le simulateur d'un connecteur ; Ctrl-C l'arrête.",
        "Start a connector's simulator by itself; Ctrl-C stops it.",
    )
)
def simulate(
    name: Annotated[str, typer.Argument(metavar="CONNECTOR", help=say("Nom du connecteur.", "Name of the connector."))],
    port: Annotated[int, typer.Option(help=say("Son port ; 0 en choisit un.", "Its port; 0 picks one."))] = 0,
    connector: ConnectorOption = None,
) -> None:
    run_simulator(_chosen(name, connector), port=port)


@commands.command(
    help=say(
        "Signer une adresse comme Publik le ferait, avec la clé d'un client de la configuration (valable 30 s).",
        "Sign an address as Publik would, with the key of a client of the settings (valid for 30 s).",
    )
)
def sign(
    url: Annotated[str, typer.Argument(help=say("Adresse à signer.", "Address to sign."))],
    client: Annotated[str, typer.Option(help=say("Nom du client.", "Name of the client."))],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    clients = load(config).clients
    known = clients.get(client)
    if known is None or known.signature is None:
        able = ", ".join(name for name, one in clients.items() if one.signature) or "—"
        raise RelaisError(
            Text(
                f"Aucun client « {client} » avec une clé de signature dans {config} (il y a : {able}).",
                en=f'No client "{client}" with a signature key in {config} (there are: {able}).',
            )
        )
    address, _, query = url.partition("?")
    origin = urlencode({"orig": known.signature.orig})
    signed = signature.sign(
        f"{query}&{origin}" if query else origin,
        known.signature.key.reveal(),
        timestamp=datetime.now(UTC),
        nonce=secrets.token_hex(16),
    )
    print(f"{address}?{signed}")


@commands.command(
    help=say(
        "Les opérations SOAP d'un WSDL, avec leurs arguments et leur réponse.",
        "The SOAP operations of a WSDL, with their arguments and answer.",
    )
)
def wsdl(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=say("Fichier WSDL.", "WSDL file."))],
    location: Annotated[
        list[str] | None,
        typer.Option(metavar="URL=FILE", help=say("Où est un document importé.", "Where an imported document is.")),
    ] = None,
) -> None:
    locations = {url: Path(path) for url, _, path in (each.rpartition("=") for each in location or ())}
    contract = Soap(None, wsdl=file, locations=locations)
    for operation in contract.operations().values():
        print(operation)
    for note in contract.notes:
        print(f"# {note}")
    for name, reason in contract.left().items():
        print(f"# {_read_slowly(name, reason)}")


def _read_slowly(name: str, reason: Text) -> str:
    return say(
        f"{name} est lu sans lecteur compilé, donc plus lentement : {reason}",
        f"{name} is read without a compiled reader, more slowly therefore: {english(reason)}",
    )


operate.register(commands, say, _rows)
operate_callbacks.register(commands, say, _rows)

gc.freeze()  # nor will what was imported ever be
gc.enable()


def main() -> None:
    """Entry point of the `relais` command."""
    try:
        commands()
    except RelaisError as error:
        message = english(error.message) if LANGUAGE == "en" else str(error.message)
        print(f"relais: {message}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"relais: {error.strerror or error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
