"""How the command starts: instances made once, shared by the processes, and what is wrong told before serving."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connectors.payfip.simulator import PayFiPSimulator
from gateway.registry import installed
from sdk import Soap
from tests.gateway.test_serve import Served, relais
from tests.sdk.test_soap import WSDL as WSDLS

CONNECTORS = ("--connector", "tests.gateway.townhall:Townhall", "--connector", "tests.gateway.townhall:Hasty")
KEY = "a-key-for-the-tests-of-starting"


def configured(folder: Path, instances: Mapping[str, Mapping[str, Any]]) -> Path:
    lines = [
        '[gateway]\nlisten = "127.0.0.1:0"\ndata = "data"\n[egress]\nprivate = ["127.0.0.0/8"]',
        f'[clients.wcs]\napi_key = "{KEY}"\nrights = ["*/*/*"]',
    ]
    for name, settings in instances.items():
        # JSON's texts, numbers and lists are also TOML's.
        told = ", ".join(f"{key} = {_toml(value)}" for key, value in settings.items())
        lines.append(f"[instances.{name}]\nsettings = {{ {told} }}\nhttp = {{ allow_http = true }}")
    (folder / "relais.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder / "relais.toml"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(str(value) if isinstance(value, Path) else value)


async def test_every_process_serves_the_instances_made_before_it_was_forked(tmp_path: Path) -> None:
    table = tmp_path / "rues.csv"
    table.write_text("id;nom\n1;Rue Pasteur\n", encoding="utf-8")
    journal = tmp_path / "made"
    simulator = PayFiPSimulator()
    await simulator.start()
    config = configured(
        tmp_path,
        {
            "payfip.metz": simulator.demo_settings(),
            "payfip.nancy": simulator.demo_settings(),
            "tabular.streets": {"file": table, "text": "nom"},
            "townhall.metz": {"journal": journal},
        },
    )
    process = await relais("serve", "-c", str(config), "--workers", "3", *CONNECTORS)
    running = Served(process)
    try:
        address = (await running.event("serving"))["address"]
        pids = {event["pid"] for event in [running.events[-1], *[await running.event("serving") for _ in range(2)]]}
        url = f"http://{address[0]}:{address[1]}"
        served: set[int] = set()
        for _ in range(200):
            # One kept connection: the process that told its number also answers the rest.
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1), headers={"X-API-Key": KEY}
            ) as session:

                async def data(path: str) -> Any:
                    async with session.get(f"{url}/{path}") as answer:
                        told = await answer.json()
                        assert (answer.status, told["err"]) == (200, 0), told
                        return told["data"]

                told = await data("townhall/metz/process")
                if told["pid"] in served:
                    continue
                assert told["made_by"] == process.pid
                clients = [await data(f"payfip/{town}/client") for town in ("metz", "nancy")]
                assert clients[0] == clients[1] != {}
                assert [choice["id"] for choice in await data("tabular/streets/data?q=pasteur")] == ["1"]
                served.add(told["pid"])
            if served == pids:
                break
        assert served == pids
        assert journal.read_text().split() == [str(process.pid)]
    finally:
        process.terminate()
        async with asyncio.timeout(40):
            await process.communicate()
        await simulator.stop()
    assert process.returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_broken_wsdl_is_told_before_anything_is_served(tmp_path: Path, workers: str) -> None:
    broken = tmp_path / "permis.wsdl"
    broken.write_text("<definitions xmlns='http://schemas.xmlsoap.org/wsdl/'><types>", encoding="utf-8")
    config = configured(tmp_path, {"townhall.metz": {}, "townhall.nancy": {"wsdl": broken}})
    process = await relais("serve", "-c", str(config), "--workers", workers, *CONNECTORS)
    out, err = await process.communicate()
    assert process.returncode == 1
    assert b"permis.wsdl" in err
    assert b"instances.townhall.nancy" in err
    assert b"serving" not in out
    assert b"Traceback" not in out + err


async def test_a_connector_that_begins_work_when_it_is_made_is_refused_by_a_sentence(tmp_path: Path) -> None:
    process = await relais("serve", "-c", str(configured(tmp_path, {"hasty.metz": {}})), *CONNECTORS)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "le connecteur hasty commence un travail dans son constructeur" in err.decode()


def test_instances_of_one_wsdl_share_its_operations() -> None:
    first = Soap(None, wsdl=WSDLS / "library.wsdl", address="http://metz.example.org/")
    second = Soap(None, wsdl=WSDLS / "library.wsdl", address="http://nancy.example.org/")
    name = next(iter(first.operations()))
    assert first.operation(name) is second.operation(name)


def test_a_connector_nobody_wants_is_not_even_imported() -> None:
    assert list(installed(wanted={"tabular"}).connectors) == ["tabular"]
    assert list(installed(["tests.gateway.townhall:Townhall"], wanted=()).connectors) == ["townhall"]
    assert "tests.gateway.townhall" in sys.modules


AT_FIRST_USE = ("alembic", "asyncssh", "jinja2", "procrastinate", "psycopg", "python_calamine", "xmltodict")


async def test_a_start_imports_nothing_that_only_a_later_call_or_another_installation_uses(tmp_path: Path) -> None:
    table = tmp_path / "rues.csv"
    table.write_text("id;nom\n1;Rue Pasteur\n", encoding="utf-8")
    config = configured(
        tmp_path,
        {"tabular.streets": {"file": table, "text": "nom"}, "townhall.metz": {"wsdl": WSDLS / "library.wsdl"}},
    )
    process = await relais("serve", "-c", str(config), "--workers", "1", *CONNECTORS, PYTHONPROFILEIMPORTTIME="1")
    try:
        await Served(process).event("serving")
    finally:
        process.terminate()
        async with asyncio.timeout(40):
            _, told = await process.communicate()
    imported = {line.rpartition("|")[2].strip() for line in told.decode().splitlines()}
    assert {"gateway.app", "sqlalchemy", "zeep", "sdk.tabular"} <= imported
    assert not {*AT_FIRST_USE, "sqlalchemy.dialects.postgresql"} & imported
