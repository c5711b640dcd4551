from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.errors import Internal, Unauthenticated
from gateway.nonces import KEPT, Nonces
from gateway.signature import Signed, is_signed, sign, verify
from gateway.store import Store, nonces
from sdk.model import Secret

ROOT = Path(__file__).resolve().parents[2]
MOMENT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = MOMENT.timestamp()
NONCE = "0123456789abcdef0123456789abcdef"
KEYS = {"demarches.example.org": Secret("s3cr3t"), "autre": Secret("clé")}
QUERY = "q=caf%C3%A9&orig=demarches.example.org"
FIRST = "SK9pHpYqYNvA20uMOJflKd%2BCV3DAjAkGpBaqmuPEHUY%3D"
SECOND = "dUYayEezBM4jc/OzCh5GONlXMaQVDovX4rts7TZ7UPI%3D"


def signed(query: str = QUERY, key: str = "s3cr3t", algo: str = "sha256", nonce: str = NONCE) -> str:
    return sign(query, key, algo=algo, timestamp=MOMENT, nonce=nonce)


def refusal(query: str, now: float = NOW) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verify(query, KEYS, now)
    assert caught.value.message == Unauthenticated().message
    assert caught.value.headers["WWW-Authenticate"].startswith('Basic realm="Relais"')
    return caught.value.detail


def test_both_vectors_are_signed_as_publik_signs_them() -> None:
    assert signed() == (f"{QUERY}&algo=sha256&timestamp=2024-01-02T03%3A04%3A05Z&nonce={NONCE}&signature={FIRST}")
    assert signed("") == f"algo=sha256&timestamp=2024-01-02T03%3A04%3A05Z&nonce={NONCE}&signature={SECOND}"


def test_the_first_vector_is_recognised() -> None:
    assert verify(signed(), KEYS, NOW) == Signed("demarches.example.org", NONCE)


def test_the_second_vector_has_no_orig_and_is_refused() -> None:
    assert "orig missing" in refusal(signed(""))


def test_sha512_and_a_key_with_accents_are_recognised() -> None:
    assert verify(signed("orig=autre", "clé", "sha512"), KEYS, NOW).orig == "autre"


def test_raw_utf_8_in_the_query_is_signed_as_its_bytes() -> None:
    received = signed("q=é&orig=autre", "clé").encode().decode("ascii", "surrogateescape")
    assert verify(received, KEYS, NOW).orig == "autre"


@pytest.mark.parametrize("skew", [-30, -29, 0, 29, 30])
def test_a_clock_within_thirty_seconds_is_accepted(skew: float) -> None:
    assert verify(signed(), KEYS, NOW + skew)


def test_a_clock_beyond_thirty_seconds_is_refused_past_and_future_told_apart() -> None:
    assert "31 s in the past" in refusal(signed(), NOW + 31)
    assert "31 s in the future" in refusal(signed(), NOW - 31)


def signed_by_hand(query: str) -> str:
    """Any query, with a true signature at its end."""
    import base64
    import hashlib
    import hmac
    from urllib.parse import quote

    digest = hmac.new(b"s3cr3t", query.encode(), hashlib.sha256).digest()
    return f"{query}&signature={quote(base64.b64encode(digest))}"


STAMP = "timestamp=2024-01-02T03%3A04%3A05Z"
ORIG = "orig=demarches.example.org"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "last parameter"),
        ("signature=x", "last parameter"),
        (signed() + "&q=2", "last parameter"),
        (signed() + "&", "last parameter"),
        (signed() + "&signature=" + FIRST, "present twice"),
        (signed().replace("caf", "bar"), "wrong signature"),
        (signed()[:-3] + "%3D%3D", "not base64"),
        (signed().partition("&signature=")[0] + "&signature=", "wrong signature"),
        (signed().partition("&signature=")[0] + "&signature=%C3%A9", "not base64"),
        (signed().partition("&signature=")[0] + "&signature=\ud800", "not base64"),
        (signed(key="other"), "wrong signature"),
        (signed("orig=nobody"), "unknown orig"),
        (signed("orig="), "unknown orig"),
        (signed(f"{ORIG}&{ORIG}"), "orig present twice"),
        (signed(f"{QUERY}&or%69g=autre"), "orig present twice"),
        (signed_by_hand(f"{ORIG}&{STAMP}&nonce=n"), "algo missing"),
        (signed_by_hand(f"{ORIG}&algo=sha1&{STAMP}&nonce=n"), "algo is neither"),
        (signed_by_hand(f"{ORIG}&algo=md5&{STAMP}&nonce=n"), "algo is neither"),
        (signed_by_hand(f"{ORIG}&algo=SHA256&{STAMP}&nonce=n"), "algo is neither"),
        (signed_by_hand(f"{ORIG}&algo=sha256&nonce=n"), "timestamp missing"),
        (signed_by_hand(f"{ORIG}&algo=sha256&timestamp=1704164645&nonce=n"), "timestamp not written"),
        (signed_by_hand(f"{ORIG}&algo=sha256&timestamp=2024-1-2T03:04:05Z&nonce=n"), "timestamp not written"),
        (signed_by_hand(f"{ORIG}&algo=sha256&{STAMP}"), "nonce missing"),
        (signed_by_hand(f"{ORIG}&algo=sha256&{STAMP}&nonce="), "nonce empty"),
        (signed_by_hand(f"{ORIG}&algo=sha256&{STAMP}&nonce={'n' * 129}"), "nonce empty or longer"),
        (signed_by_hand(f"{ORIG}&algo=sha256&{STAMP}&nonce=n&x=%E9"), "not UTF-8"),
        (signed_by_hand(f"{ORIG}&sign%61ture=x&algo=sha256&{STAMP}&nonce=n"), "present twice"),
    ],
)
def test_a_faulty_signature_is_refused_with_one_public_sentence_and_its_own_reason_in_the_log(
    query: str, reason: str
) -> None:
    assert reason in refusal(query)


def test_a_query_claims_a_signature_or_not() -> None:
    assert is_signed(signed())
    assert is_signed("signature=")
    assert not is_signed("q=signature")
    assert not is_signed("")


# --- nonces -----------------------------------------------------------------------------------------------------------


def opened(folder: Path) -> Store:
    return Store.open(f"sqlite:///{folder / 'relais.db'}")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_nonce_is_spent_once_over_two_processes(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres") if database == "postgresql" else f"sqlite:///{tmp_path / 'relais.db'}"
    stores = [Store.open(url), Store.open(url)]
    one, two = map(Nonces, stores)
    assert await one.spend("wcs", "n", NOW)
    assert not await one.spend("wcs", "n", NOW)
    assert not await two.spend("wcs", "n", NOW)
    assert await two.spend("other", "n", NOW)
    assert not await one.spend("other", "n", NOW)
    await asyncio.gather(*(store.close() for store in stores))


async def test_a_spent_nonce_is_remembered_after_a_restart(tmp_path: Path) -> None:
    before = opened(tmp_path)
    assert await Nonces(before).spend("wcs", "n", NOW)
    await before.close()
    after = opened(tmp_path)
    assert not await Nonces(after).spend("wcs", "n", NOW + 60)
    await after.close()


async def test_a_nonce_spent_by_another_process_is_refused(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from gateway.nonces import Nonces\n"
        "from gateway.store import Store\n"
        "async def main():\n"
        "    store = Store.open(sys.argv[1])\n"
        f"    print(await Nonces(store).spend('wcs', 'n', {NOW}))\n"
        "    await store.close()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        f"sqlite:///{tmp_path / 'relais.db'}",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert out.strip() == b"True"
    here = opened(tmp_path)
    assert not await Nonces(here).spend("wcs", "n", NOW)
    await here.close()


async def test_of_many_simultaneous_uses_one_wins(tmp_path: Path) -> None:
    stores = [opened(tmp_path) for _ in range(4)]
    won = await asyncio.gather(*(Nonces(store).spend("wcs", "n", NOW) for store in stores for _ in range(10)))
    assert sum(won) == 1
    await asyncio.gather(*(store.close() for store in stores))


async def test_old_nonces_are_forgotten_and_recent_ones_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    before = Nonces(store)
    await before.spend("wcs", "old", NOW)
    await before.spend("wcs", "recent", NOW + 60)
    await Nonces(store).spend("wcs", "new", NOW + KEPT + 1)
    left = await store.run(lambda connection: set(connection.execute(select(nonces.c.nonce)).scalars()))
    await store.close()
    assert left == {"recent", "new"}


async def test_a_closed_store_accepts_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    spent = Nonces(store)
    await spent.spend("wcs", "n", NOW)
    await store.close()
    with pytest.raises(Internal):
        await spent.spend("wcs", "m", NOW)
