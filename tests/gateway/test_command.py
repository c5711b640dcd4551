"""The `relais` command: what it prints, and how it refuses."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from gateway.signature import verify
from sdk import Secret

from .test_serve import KEY, configured, relais

GARDEN = ("--connector", "tests.gateway.garden:Garden")


async def said(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = await relais(*arguments, **environment)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("command", ["serve", "check", "openapi", "connectors", "demo"])
async def test_help_names_every_command(command: str) -> None:
    code, out, _ = await said("--help")
    assert code == 0
    assert command in out


async def test_help_speaks_french_then_english() -> None:
    assert "Passerelle de connecteurs" in (await said("--help"))[1]
    assert "Connector gateway" in (await said("--help", RELAIS_LANG="en"))[1]


async def test_connectors_are_plain_lines_when_piped() -> None:
    code, out, _ = await said("connectors", *GARDEN)
    names = [line.split("\t")[0] for line in out.splitlines()]
    assert code == 0
    assert {"garden", "payfip", "tabular"} <= set(names)


async def test_openapi_prints_the_document(tmp_path: Path) -> None:
    code, out, _ = await said("openapi", "garden", "--instance", "town", *GARDEN)
    assert code == 0
    assert "/garden/town/flowers" in json.loads(out)["paths"]


async def test_an_unknown_connector_is_one_sentence_that_names_the_others() -> None:
    code, _, err = await said("openapi", "gardens", *GARDEN)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "garden" in err


async def test_check_tells_the_state_of_each_instance(tmp_path: Path) -> None:
    code, out, _ = await said("check", "-c", str(configured(tmp_path)), *GARDEN)
    assert (code, out.splitlines()[0].split("\t")[:2]) == (0, ["garden/town", "up"])


async def test_check_fails_when_an_instance_does(tmp_path: Path) -> None:
    config = configured(tmp_path, more=", broken = true")
    code, out, _ = await said("check", "-c", str(config), *GARDEN)
    assert code == 1
    assert out.splitlines()[0].split("\t")[1] == "down"
    assert "le jardin est fermé" in out


async def test_check_offline_calls_nobody(tmp_path: Path) -> None:
    config = configured(tmp_path, more=", broken = true")
    code, out, _ = await said("check", "-c", str(config), "--offline", *GARDEN)
    assert (code, out.split("\t")[1]) == (0, "unchecked")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serve", "-c", "absent.toml"), "absent.toml"),
        (("connectors", "--connector", "nowhere:Nothing"), "nowhere:Nothing"),
        (("connectors", "--connector", "json:loads"), "json:loads"),
    ],
)
async def test_a_mistake_is_one_line_without_a_trace(arguments: tuple[str, ...], named: str) -> None:
    code, _, err = await said(*arguments)
    assert code == 1
    assert named in err
    assert "Traceback" not in err


async def test_a_missing_secret_is_named_without_its_value(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "key").unlink()
    code, _, err = await said("check", "-c", str(config), *GARDEN)
    assert code == 1
    assert "signature" in err
    assert "key" in err


async def test_a_wsdl_is_shown_by_its_operations() -> None:
    code, out, _ = await said("wsdl", "connectors/payfip/payfip.wsdl")
    assert code == 0
    assert "recupererDetailClient(arg0?: {numCli?: string})" in out


async def test_an_address_is_signed_as_publik_would(tmp_path: Path) -> None:
    config = configured(tmp_path)
    code, out, _ = await said(
        "sign", "http://127.0.0.1/garden/town/flowers?q=rose", "--client", "wcs", "-c", str(config)
    )
    assert code == 0
    address, _, query = out.strip().partition("?")
    assert address == "http://127.0.0.1/garden/town/flowers"
    assert query.startswith("q=rose&orig=demarches.example.org&algo=sha256&timestamp=")
    assert verify(query, {"demarches.example.org": Secret(KEY)}, time.time()).orig == "demarches.example.org"


async def test_a_client_without_key_cannot_sign(tmp_path: Path) -> None:
    code, _, err = await said("sign", "http://x/", "--client", "nobody", "-c", str(configured(tmp_path)))
    assert (code, "nobody" in err) == (1, True)


async def test_check_says_which_right_opens_nothing(tmp_path: Path) -> None:
    config = configured(tmp_path)
    config.write_text(config.read_text().replace('rights = ["garden/*/*"]', 'rights = ["garden/*/*", "gardne/*/*"]'))
    code, _, err = await said("check", "-c", str(config), "--offline", *GARDEN)
    assert code == 0
    assert "gardne/*/*" in err


async def test_a_simulator_runs_by_itself_until_it_is_stopped() -> None:
    process = await relais("simulate", "payfip")
    assert process.stdout
    async with asyncio.timeout(20):
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession() as session, session.get(f"{url}_simulator/ledger") as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
