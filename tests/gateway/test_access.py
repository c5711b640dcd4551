from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.access import ALLOWED, REMEMBERED, Access
from gateway.errors import Forbidden, TooManyAttempts, Unauthenticated
from gateway.nonces import Nonces
from gateway.settings import ClientSettings
from gateway.signature import sign
from gateway.store import Store

PEER = "192.0.2.7"
MOMENT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = MOMENT.timestamp()

    def __call__(self) -> float:
        return self.now


class Memory:
    """Nonces for the tests that are not about them."""

    def __init__(self) -> None:
        self.spent: set[tuple[str, str]] = set()

    async def spend(self, orig: str, nonce: str, now: float) -> bool:
        fresh = (orig, nonce) not in self.spent
        self.spent.add((orig, nonce))
        return fresh


CLIENTS: dict[str, dict[str, Any]] = {
    "wcs": {"basic": {"username": "wcs", "password": "pâsse:mot"}, "rights": ["payfip/*/*", "tabular/rennes-*/data"]},
    "key": {"api_key": "clé-0123456789abcdef", "rights": ["*/*/*"]},
    "signer": {"signature": {"orig": "demarches.example.org", "key": "s3cr3t"}, "rights": []},
    "inside": {"ip": ["10.1.0.0/16", "2001:db8::/32"], "trusted_ip": True, "rights": []},
    "bound": {"basic": {"username": "bound", "password": "x"}, "ip": ["192.0.2.7"], "rights": []},
    "bound-signer": {"signature": {"orig": "bound", "key": "k"}, "ip": ["192.0.2.7"], "rights": []},
}


def account(name: str) -> ClientSettings:
    return ClientSettings.model_validate({"name": name, **CLIENTS[name]})


def make(*, nonces: Any = None, clock: Clock | None = None, proxies: tuple[str, ...] = ()) -> Access:
    clients = {name: account(name) for name in CLIENTS}
    return Access(clients, nonces or Memory(), clock or Clock(), tuple(ip_network(proxy) for proxy in proxies))


async def called(
    access: Access, headers: Mapping[str, str] | None = None, *, query: str = "", peer: str = PEER
) -> ClientSettings:
    return await access.authenticate("GET", "/payfip/demo/x", query, headers or {}, peer)


async def refusal(
    access: Access, headers: Mapping[str, str] | None = None, *, query: str = "", peer: str = PEER
) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await called(access, headers, query=query, peer=peer)
    assert caught.value.message == Unauthenticated().message
    assert caught.value.http_status == 401
    return caught.value.detail


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def signed(orig: str = "demarches.example.org", key: str = "s3cr3t", nonce: str = "n") -> str:
    return sign(f"orig={orig}", key, timestamp=MOMENT, nonce=nonce)


# --- who calls --------------------------------------------------------------------------------------------------------


async def test_basic_credentials_with_accents_and_a_colon_are_recognised() -> None:
    assert (await called(make(), basic("wcs", "pâsse:mot"))).name == "wcs"


@pytest.mark.parametrize("name", ["X-API-Key", "x-api-key"])
async def test_an_api_key_header_is_recognised(name: str) -> None:
    assert (await called(make(), {name: "clé-0123456789abcdef"})).name == "key"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Api-Key"])
async def test_an_api_key_in_authorization_is_recognised(scheme: str) -> None:
    assert (await called(make(), {"authorization": f"{scheme} clé-0123456789abcdef"})).name == "key"


async def test_a_signed_query_is_recognised() -> None:
    assert (await called(make(), query=signed())).name == "signer"


async def test_an_address_is_enough_only_for_the_account_that_says_so() -> None:
    assert (await called(make(), peer="10.1.2.3")).name == "inside"
    assert (await called(make(), peer="::ffff:10.1.2.3")).name == "inside"
    assert (await called(make(), peer="2001:db8::1%eth0")).name == "inside"
    assert await refusal(make(), peer="10.2.0.1") == "no credential"
    assert await refusal(make(), peer=PEER) == "no credential"


async def test_no_credential_at_all_is_refused_whatever_the_peer_looks_like() -> None:
    for peer in ("", "unix", "999.1.1.1", "10.1.2.3.4"):
        assert await refusal(make(), peer=peer) == "no credential"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (basic("wcs", "wrong"), "unknown user or wrong password"),
        (basic("nobody", "pâsse:mot"), "unknown user or wrong password"),
        (basic("", ""), "unknown user or wrong password"),
        (basic("key", "clé-0123456789abcdef"), "unknown user"),
        ({"Authorization": "Basic " + base64.b64encode("wcs:pâsse:mot".encode("latin-1")).decode()}, "unknown user"),
        ({"Authorization": "Basic " + base64.b64encode(b"wcs").decode()}, "no colon"),
        ({"Authorization": "Basic é"}, "not base64"),
        ({"Authorization": "Basic \udce9"}, "not base64"),
        ({"Authorization": "Basic"}, "no colon"),
        ({"Authorization": "Bearer \udce9"}, "unknown API key"),
        ({"Authorization": "Bearer \ud800"}, "not text"),
        ({"Authorization": "Bearer "}, "unknown API key"),
        ({"Authorization": "Digest x"}, "unknown scheme"),
        ({"Authorization": ""}, "unknown scheme"),
        ({"X-API-Key": "é"}, "unknown API key"),
        ({"X-API-Key": ""}, "unknown API key"),
        ({"X-API-Key": "wcs:pâsse:mot"}, "unknown API key"),
    ],
)
async def test_a_wrong_credential_is_refused_with_one_sentence(headers: dict[str, str], reason: str) -> None:
    assert reason in await refusal(make(), headers)


async def test_a_wrong_credential_is_refused_even_from_a_trusted_address() -> None:
    await refusal(make(), basic("wcs", "wrong"), peer="10.1.2.3")


async def test_a_wrong_header_is_not_saved_by_a_right_signature() -> None:
    await refusal(make(), basic("wcs", "wrong"), query=signed())


async def test_two_credentials_of_the_same_kind_are_refused() -> None:
    header = basic("wcs", "pâsse:mot")["Authorization"]
    headers = CIMultiDict([("Authorization", header), ("authorization", header)])
    assert "two credentials" in await refusal(make(), headers)


async def test_no_refusal_repeats_a_credential() -> None:
    detail = await refusal(make(), basic("dupont", "hunter2"))
    assert "dupont" not in detail
    assert "hunter2" not in detail


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
async def test_any_credential_is_recognised_or_refused(authorization: str, query: str, peer: str) -> None:
    access = make()
    for headers in ({"Authorization": authorization}, {"Authorization": f"Basic {authorization}"}, {}):
        with pytest.raises(Unauthenticated):
            await called(access, headers, query=f"{query}&signature=x", peer=peer)


# --- signatures -------------------------------------------------------------------------------------------------------


async def test_a_signed_query_is_accepted_once_over_two_gateways_on_the_same_file(tmp_path: Path) -> None:
    stores = [Store.open(f"sqlite:///{tmp_path / 'relais.db'}") for _ in range(2)]
    one, two = (make(nonces=Nonces(store)) for store in stores)
    assert (await called(one, query=signed())).name == "signer"
    assert "already used" in await refusal(one, query=signed())
    assert "already used" in await refusal(two, query=signed())
    for store in stores:
        await store.close()


async def test_a_signed_query_expires() -> None:
    clock = Clock()
    access = make(clock=clock)
    clock.now += 31
    assert "in the past" in await refusal(access, query=signed())


async def test_a_call_refused_for_its_address_spends_no_nonce() -> None:
    access = make()
    query = signed("bound", "k")
    assert "not its own" in await refusal(access, query=query, peer="198.51.100.1")
    assert (await called(access, query=query)).name == "bound-signer"


# --- addresses --------------------------------------------------------------------------------------------------------


async def test_an_address_restricts_the_other_credentials() -> None:
    assert (await called(make(), basic("bound", "x"))).name == "bound"
    assert "not its own" in await refusal(make(), basic("bound", "x"), peer="192.0.2.8")
    assert "not its own" in await refusal(make(), basic("bound", "x"), peer="")


async def test_forwarded_addresses_are_ignored_from_anybody_but_our_proxies() -> None:
    forged = {"X-Forwarded-For": "10.1.2.3"}
    await refusal(make(), forged)
    await refusal(make(proxies=("198.51.100.0/24",)), forged)


@pytest.mark.parametrize(
    "hops",
    [
        "10.1.2.3",
        "10.1.2.3:4711",
        "8.8.8.8, 10.1.2.3",
        "10.1.2.3, 192.0.2.9",
        "[2001:db8::1]:80, 192.0.2.9",
        "::ffff:10.1.2.3",
    ],
)
async def test_the_last_address_our_proxies_did_not_write_is_the_callers(hops: str) -> None:
    access = make(proxies=("192.0.2.0/24",))
    assert (await called(access, {"X-Forwarded-For": hops})).name == "inside"


@pytest.mark.parametrize("hops", ["10.1.2.3, 8.8.8.8", "10.1.2.3, nonsense", "10.1.2.3, nonsense, 192.0.2.9", "", ","])
async def test_what_a_caller_adds_before_our_proxies_is_not_believed(hops: str) -> None:
    await refusal(make(proxies=("192.0.2.0/24",)), {"X-Forwarded-For": hops})


async def test_several_forwarded_headers_are_one_list() -> None:
    headers = CIMultiDict([("X-Forwarded-For", "10.1.2.3"), ("X-Forwarded-For", "8.8.8.8")])
    await refusal(make(proxies=("192.0.2.0/24",)), headers)


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "open_"),
    [
        ("wcs", ("payfip", "demo", "create"), True),
        ("wcs", ("payfip", "unknown", "unknown"), True),
        ("wcs", ("tabular", "rennes-1", "data"), True),
        ("wcs", ("tabular", "rennes", "data"), False),
        ("wcs", ("tabular", "rennes-1", "query"), False),
        ("wcs", ("tabular", "rennes-1", "data2"), False),
        ("wcs", ("payfip2", "demo", "create"), False),
        ("wcs", ("Payfip", "demo", "create"), False),
        ("wcs", ("unknown", "unknown", "unknown"), False),
        ("key", ("unknown", "unknown", "unknown"), True),
        ("signer", ("payfip", "demo", "create"), False),
    ],
)
def test_a_right_covers_its_pattern_and_nothing_else(name: str, asked: tuple[str, str, str], open_: bool) -> None:
    access = make()
    if open_:
        access.authorize(account(name), *asked)
    else:
        with pytest.raises(Forbidden):
            access.authorize(account(name), *asked)
    assert access.may_see(account(name), *asked[:2]) or not open_


def test_unknown_and_forbidden_get_the_same_answer() -> None:
    access = make()
    answers = set()
    for asked in (("atal", "metz", "create"), ("nothing", "like", "this")):
        with pytest.raises(Forbidden) as caught:
            access.authorize(account("wcs"), *asked)
        answers.add((caught.value.message, caught.value.http_status, caught.value.detail))
    assert len(answers) == 1


def test_an_instance_is_seen_when_one_of_its_endpoints_is_open() -> None:
    access = make()
    assert access.may_see(account("wcs"), "tabular", "rennes-1")
    assert not access.may_see(account("wcs"), "tabular", "metz")
    assert not access.may_see(account("signer"), "payfip", "demo")


# --- too many attempts ------------------------------------------------------------------------------------------------


async def exhausted(access: Access, peer: str = PEER) -> None:
    for _ in range(ALLOWED):
        await refusal(access, basic("nobody", "x"), peer=peer)


async def throttled(access: Access, headers: Mapping[str, str], peer: str = PEER) -> TooManyAttempts:
    with pytest.raises(TooManyAttempts) as caught:
        await called(access, headers, peer=peer)
    return caught.value


async def test_after_twenty_refusals_an_address_must_wait() -> None:
    access = make()
    await exhausted(access)
    error = await throttled(access, basic("nobody", "x"))
    assert error.http_status == 429
    assert error.headers["Retry-After"] == "3"
    assert "3 s" in error.message


async def test_guessing_right_while_one_must_wait_is_not_told() -> None:
    access = make()
    await exhausted(access)
    await throttled(access, basic("wcs", "pâsse:mot"))


async def test_another_address_does_not_wait() -> None:
    access = make()
    await exhausted(access)
    assert (await called(access, basic("wcs", "pâsse:mot"), peer="192.0.2.8")).name == "wcs"


async def test_an_ipv6_customer_is_one_address() -> None:
    access = make()
    await exhausted(access, "2001:db9::1")
    await throttled(access, basic("nobody", "x"), "2001:db9::ffff")


async def test_an_account_already_proved_from_there_keeps_working() -> None:
    access = make()
    await called(access, basic("wcs", "pâsse:mot"))
    await exhausted(access)
    assert (await called(access, basic("wcs", "pâsse:mot"))).name == "wcs"
    await throttled(access, {"X-API-Key": "clé-0123456789abcdef"})


async def test_waiting_as_told_is_enough() -> None:
    clock = Clock()
    access = make(clock=clock)
    await exhausted(access)
    wait = (await throttled(access, basic("wcs", "pâsse:mot"))).retry_after
    assert wait is not None
    clock.now += wait
    assert (await called(access, basic("wcs", "pâsse:mot"))).name == "wcs"


async def test_twenty_refusals_a_minute_never_wait() -> None:
    clock = Clock()
    access = make(clock=clock)
    for _ in range(3 * ALLOWED):
        await refusal(access, basic("nobody", "x"))
        clock.now += 3


async def test_a_clock_set_back_does_not_lengthen_the_wait() -> None:
    clock = Clock()
    access = make(clock=clock)
    await exhausted(access)
    clock.now -= 7200
    assert (await throttled(access, basic("nobody", "x"))).retry_after == 3.0


async def test_a_call_without_credential_is_not_a_guess() -> None:
    access = make()
    for _ in range(2 * ALLOWED):
        assert await refusal(access) == "no credential"


async def test_what_is_remembered_of_refusals_is_bounded() -> None:
    access = make()
    for number in range(REMEMBERED + 50):
        access._attempts.failed(str(number))
        access._attempts.succeeded(str(number), "wcs")
    assert len(access._attempts._buckets) == REMEMBERED
    assert len(access._attempts._known) == REMEMBERED


async def test_of_a_thousand_guesses_all_but_twenty_are_turned_away() -> None:
    access = make()
    refused = 0
    for number in range(1000):
        try:
            await called(access, basic("wcs", str(number)))
        except TooManyAttempts:
            refused += 1
        except Unauthenticated:
            pass
    assert refused == 1000 - ALLOWED
