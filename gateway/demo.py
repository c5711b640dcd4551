"""`relais demo`: the gateway in front of every installed connector's simulator, in one process, for this machine."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from pydantic_core import to_json

from sdk.errors import RelaisError, Text

from . import app, journal
from .registry import AnyConnector, simulator_of
from .settings import GatewaySettings

INSTANCE = "demo"


def demo(connectors: Mapping[str, type[AnyConnector]], *, port: int, in_english: bool) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="relais-demo-") as folder:
        uvloop.run(_demo(connectors, Path(folder), port, in_english))
    return 0


def run_simulator(connector: type[AnyConnector], *, port: int) -> None:
    """One simulator by itself, until Ctrl-C or SIGTERM; says where it is and what it accepts."""
    kind = simulator_of(connector)
    if kind is None:
        raise RelaisError(
            Text(f"Le connecteur {connector.name} n'a pas de simulateur.", en=f"{connector.name} has no simulator.")
        )
    uvloop.run(_simulate(kind(), port))


async def _simulate(simulator: Any, port: int) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await simulator.start(port=port)
    try:
        settings = to_json(simulator.demo_settings(), indent=2).decode()
        print(f"{simulator.url}/\n{simulator.url}/_simulator/faults\n{settings}", flush=True)
        await stopping.wait()
    finally:
        await simulator.stop()


async def _demo(connectors: Mapping[str, type[AnyConnector]], folder: Path, port: int, in_english: bool) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    listening = _listening(port)
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    journal.configure("warning", stream=sys.stderr)
    simulators: dict[str, Any] = {}
    try:
        for name, connector in connectors.items():
            if (kind := simulator_of(connector)) is not None:
                simulators[name] = kind()
                await simulators[name].start()
        bare = [name for name, kind in connectors.items() if name not in simulators and not needs_settings(kind)]
        settings = demo_settings(folder, listening.getsockname()[1], simulators, bare)
        server = app.Server(settings, connectors)
        await server.start(listening)
        print(_welcome(base, simulators, bare, in_english), flush=True)
        await stopping.wait()
        print("…" if not sys.stdout.isatty() else "\n" + ("Stopping." if in_english else "Arrêt."), flush=True)
        await server.drain(grace=3.0)
    finally:
        for simulator in simulators.values():
            await simulator.stop()


def needs_settings(kind: type[AnyConnector]) -> bool:
    """Whether an instance cannot be made without being told something."""
    return any(field.is_required() for field in kind.settings_model.model_fields.values())


def demo_settings(folder: Path, port: int, simulators: Mapping[str, Any], bare: Sequence[str] = ()) -> GatewaySettings:
    """One instance `demo` per simulator, and per connector that needs none; this machine may call everything."""
    return GatewaySettings.model_validate(
        {
            "gateway": {"listen": f"127.0.0.1:{port}", "data": str(folder)},
            "egress": {"private": ["127.0.0.0/8"]},
            "clients": {"demo": {"name": "demo", "ip": ["127.0.0.0/8"], "trusted_ip": True, "rights": ["*/*/*"]}},
            "instances": {
                name: {INSTANCE: {"settings": simulator.demo_settings(), "http": {"allow_http": True}}}
                for name, simulator in simulators.items()
            }
            | {name: {INSTANCE: {}} for name in bare},
        }
    )


def _listening(port: int) -> socket.socket:
    """The asked port or, when it is taken, any free one."""
    try:
        return app.bind(f"127.0.0.1:{port}")
    except OSError:
        return app.bind("127.0.0.1:0")


def _welcome(base: str, simulators: Mapping[str, Any], bare: Sequence[str], in_english: bool) -> str:
    lines = [
        "",
        f"Relais: {base}/" if in_english else f"Relais : {base}/",
        "",
        "Paste any of these lines in another terminal:" if in_english else "Lignes à coller dans un autre terminal :",
    ]
    for name, simulator in simulators.items():
        page = f"{base}/{name}/{INSTANCE}"
        lines += ["", f"── {name} ── {page} ── {'simulator' if in_english else 'simulateur'} {simulator.url}"]
        for title, line in simulator.demo_lines(page):
            lines += [f"# {title}", line]
    lines += [line for name in bare for line in ("", f"── {name} ── {base}/{name}/{INSTANCE}")]
    lines += ["", "Ctrl-C stops everything." if in_english else "Ctrl-C arrête tout."]
    return "\n".join(lines)
