"""The Cart@ds simulator, seen from outside."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlencode

import aiohttp
import pytest

from connectors.cartads.simulator import AUTH, BOARD, PORTAL_SERVICE, SIG, CartadsSimulator
from connectors.cartads.simulator_data import ACCOUNT
from sdk.simulator import Clock

NOON = datetime(2025, 3, 15, 12, 0, tzinfo=UTC)
LOGIN = {**ACCOUNT, "password": hashlib.sha256(ACCOUNT["password"].encode()).hexdigest()}


@pytest.fixture
async def simulator() -> AsyncIterator[CartadsSimulator]:
    async with CartadsSimulator(clock=Clock(NOON)) as simulator:
        yield simulator


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


async def logged_in(simulator: CartadsSimulator, browser: aiohttp.ClientSession) -> dict[str, str]:
    async with browser.post(simulator.url + AUTH, json=LOGIN) as answer:
        return {"Authorization": f"Bearer {(await answer.json())['Token']}"}


@pytest.mark.parametrize("wrong", [{"password": ACCOUNT["password"]}, {"login": "x"}, {"clientId": "x"}])
async def test_a_wrong_login_has_no_token(
    simulator: CartadsSimulator, browser: aiohttp.ClientSession, wrong: dict[str, str]
) -> None:
    async with browser.post(simulator.url + AUTH, json=LOGIN | wrong) as answer:
        assert answer.status == 401


async def test_a_token_ends_after_an_hour(simulator: CartadsSimulator, browser: aiohttp.ClientSession) -> None:
    headers = await logged_in(simulator, browser)
    async with browser.get(f"{simulator.url}{SIG}/Dossiers", headers=headers) as answer:
        assert (answer.status, len(await answer.json())) == (200, 3)
    simulator.clock.advance(hours=1)
    async with browser.get(f"{simulator.url}{SIG}/Dossiers", headers=headers) as answer:
        assert answer.status == 401


async def test_unset_members_are_left_out(simulator: CartadsSimulator, browser: aiohttp.ClientSession) -> None:
    headers = await logged_in(simulator, browser)
    asked = {"nomDossier": "CU 076 057 25 L0020"}
    async with browser.get(f"{simulator.url}{SIG}/Dossier", params=asked, headers=headers) as answer:
        found = await answer.json()
    assert "DecisionSignataire" not in found
    assert None not in found.values()


async def test_a_file_moves_when_told_to(simulator: CartadsSimulator, browser: aiohttp.ClientSession) -> None:
    form = {"number": "PC 076 540 25 00042", "Stade": "Complet"}
    async with browser.post(f"{simulator.url}/_simulator/stage", data=form) as answer:
        found = await answer.json()
    assert (found["Stade"], found["DateModificationDossier"]) == ("Complet", "2025-03-15T13:00:00")


async def board(
    simulator: CartadsSimulator, browser: aiohttp.ClientSession, columns: int = 9, cookie: bool = True
) -> str:
    async with browser.get(f"{simulator.url}{BOARD}/Login/AffichageReglementaire") as answer:
        page = await answer.text()
        name, morsel = next(iter(answer.cookies.items()))
    form = {
        "NCommune": "76540",
        "TypeInformation": "1",
        "__RequestVerificationToken": page.partition('type="hidden" value="')[2].partition('"')[0],
        "length": "10",
        **{f"columns[{column}][data]": str(column) for column in range(columns)},
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if cookie:
        headers["Cookie"] = f"{name}={morsel.value}"
    async with browser.post(
        f"{simulator.url}{BOARD}/Login/GetRapportDossier", data=urlencode(form), headers=headers
    ) as answer:
        return await answer.text()


async def test_the_board_wants_its_cookie_and_its_nine_columns(
    simulator: CartadsSimulator, browser: aiohttp.ClientSession
) -> None:
    assert '"recordsTotal": 2' in await board(simulator, browser)
    assert '"recordsTotal": 0' in await board(simulator, browser, columns=8)
    assert "Erreur" in await board(simulator, browser, cookie=False)


async def test_the_portal_refuses_what_it_cannot_read(
    simulator: CartadsSimulator, browser: aiohttp.ClientSession
) -> None:
    async with browser.post(simulator.url + PORTAL_SERVICE, data=b"<html/>") as answer:
        assert (answer.status, "Fault" in await answer.text()) == (500, True)
    envelope = simulator.portal.soap.build("GetCommunes", jeton="not-a-token")
    async with browser.post(simulator.url + PORTAL_SERVICE, data=envelope) as answer:
        assert (answer.status, "Jeton invalide" in await answer.text()) == (500, True)


async def test_it_says_what_is_known_and_what_is_assumed(
    simulator: CartadsSimulator, browser: aiohttp.ClientSession
) -> None:
    async with browser.get(simulator.url) as answer:
        page = await answer.text()
    assert "Le portail entier" in page.partition("Supposé")[2]


async def test_the_lines_of_the_demo_go_through_every_door(simulator: CartadsSimulator) -> None:
    lines = [line for _, line in simulator.demo_lines("http://127.0.0.1:8000/cartads/demo")]
    for path in ("/applications/", "/search?", "/board/communes", "/deposits/$ID", "/files/48213/deposits"):
        assert any(path in line for line in lines), path
