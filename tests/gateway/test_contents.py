"""Long contents of requests, kept in pieces beside their delivery; on both databases."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.follow_up import Follow
from gateway.operate import reseal_all
from gateway.sent import PIECE, Sent
from gateway.store import Store, operator, records
from gateway.store import contents as rows
from gateway.store.records import New, Retention
from gateway.store.tables import contents, deliveries, nodes
from sdk import MEGABYTE, Connector, File, Model, Receipt, create, current_call
from sdk.errors import UpstreamUnavailable
from sdk.files import Decoded

from .conftest import Gateway, running

KEEP = Retention(7.0, 30.0, 400.0)
LEASE = 10.0


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a PostgreSQL database, empty for SQLite."""
    return str(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""


@pytest.fixture
async def store(database: str, tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store.open(database or f"sqlite:///{tmp_path / 'relais.db'}")
    yield opened
    await opened.close()


def new(name: str, *, key: str = "k:1", made: list[str] | None = None) -> New:
    """A request whose content has three pieces; `made` learns how it was sealed."""
    seen = [] if made is None else made

    def whole(row: str) -> bytes:
        seen.append("whole")
        return b"whole"

    def pieces(row: str) -> Iterator[bytes]:
        seen.append("pieces")
        yield b"document"
        yield from (b"0", b"1", b"2")

    return New(name, key, "c", "i/x", "POST y", "idempotent", "r", "f", 1.0, "r", whole, pieces=pieces)


async def kept(store: Store, delivery: str) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """What stands in the row of a delivery, and its pieces."""

    def read(connection: Any) -> Any:
        request = connection.execute(select(deliveries.c.request).where(deliveries.c.id == delivery)).scalar()
        return request, list(rows.read(connection, delivery))

    found = await store.run(read)
    return (bytes(found[0]) if found[0] is not None else None), found[1]


async def begun(store: Store, one: New, now: float = 0.0) -> str:
    return str((await store.run(partial(records.begin, new=one, node="n", now=now, lease=LEASE))).verdict)


async def ended(store: Store, delivery: str, **values: Any) -> None:
    end = {"state": "DONE", "answer": b"a", "upstream_id": "R1", "next_at": None, **values}
    assert await store.run(lambda c: records.finish(c, delivery, 1, "n", 0.0, end))


PIECES = [("one/0", b"0"), ("one/1", b"1"), ("one/2", b"2")]


async def test_the_pieces_stand_beside_their_delivery_and_are_written_once(store: Store) -> None:
    made: list[str] = []
    assert await begun(store, new("one", made=made)) == "go"
    assert await kept(store, "one") == (b"document", PIECES)
    await ended(store, "one")
    assert await begun(store, new("three")) == "replay"
    assert await store.run(lambda c: list(c.execute(select(contents.c.delivery).distinct()).scalars())) == ["one"]
    assert made == ["pieces"]


async def test_while_a_process_lives_that_cannot_read_pieces_the_request_is_kept_whole(store: Store) -> None:
    made: list[str] = []
    await store.run(lambda c: c.execute(nodes.insert().values(id="older", seen=100.0, reads=1)))
    await store.run(partial(records.beat, node="n", now=100.0))
    await begun(store, new("one", made=made), now=109.0)
    assert (await kept(store, "one"), made) == ((b"whole", []), ["whole"])
    await begun(store, new("two", key="k:2", made=made), now=111.0)
    assert (await kept(store, "two"))[0] == b"document"


async def test_pieces_are_erased_with_their_request(store: Store) -> None:
    for name in ("forgotten", "purged", "left"):
        await begun(store, new(name, key=name))
    await ended(store, "forgotten", request=None)
    assert await kept(store, "forgotten") == (None, [])
    await ended(store, "purged")
    await store.run(partial(records.purge, now=5.0, keep=KEEP))
    assert len((await kept(store, "purged"))[1]) == 3
    await store.run(partial(records.purge, now=8.0, keep=KEEP))
    assert await kept(store, "purged") == (None, [])
    assert len((await kept(store, "left"))[1]) == 3  # its outcome is not known yet


async def test_what_the_version_before_erased_alone_is_swept_up(store: Store) -> None:
    await begun(store, new("one"))
    await store.run(lambda c: c.execute(update(deliveries).values(request=None)))
    await store.run(partial(records.purge, now=1.0, keep=KEEP))
    assert await kept(store, "one") == (None, [])


async def test_an_operator_erases_the_pieces_too(store: Store) -> None:
    await begun(store, new("one"))
    await ended(store, "one")
    assert await store.run(partial(operator.erase, reference="one", now=1.0, actor="a", why="w")) == 1
    assert await kept(store, "one") == (None, [])


async def test_an_erased_request_that_comes_again_is_kept_again(store: Store) -> None:
    await begun(store, new("one"))
    await ended(store, "one", state="REFUSED", answer=None)
    await store.run(lambda c: c.execute(update(deliveries).values(request=None)))
    assert await begun(store, new("two")) == "go"
    assert await kept(store, "one") == (b"document", PIECES)


# --- through the gateway ----------------------------------------------------------------------------------------------


class Settings(Model):
    pass


class Deposit(Model):
    file: File
    text: str = ""


class Depot(Connector[Settings]):
    """Reçoit des fichiers, et le dit."""

    name, title, category = "depot", "Dépôt", "Tests"
    received: list[tuple[bytes, str]] = []
    lost = 0
    """Attempts still to fail without a word."""

    async def _take(self, deposit: Deposit) -> Receipt:
        current_call().effect_sent = True
        if Depot.lost:
            Depot.lost -= 1
            raise UpstreamUnavailable("cut")
        Depot.received.append((deposit.file.content, deposit.text))
        return Receipt(id="R1")

    @create("now", delivery="at-least-once", max_body=10 * MEGABYTE)
    async def now(self, deposit: Deposit) -> Receipt:
        """Déposer."""
        return await self._take(deposit)

    @create("later", delivery="at-least-once", max_body=10 * MEGABYTE, deferred=True)
    async def later(self, deposit: Deposit) -> Receipt:
        """Déposer plus tard."""
        return await self._take(deposit)

    @create("forgotten", delivery="at-least-once", max_body=10 * MEGABYTE, deferred=True, forget=True)
    async def forgotten(self, deposit: Deposit) -> Receipt:
        """Déposer, et l'oublier."""
        return await self._take(deposit)


CONTENT = os.urandom(2 * PIECE + 7)
TEXT = base64.b64encode(os.urandom(100_000)).decode()
BODY = {"file": {"filename": "plan.bin", "content": base64.b64encode(CONTENT).decode()}, "text": TEXT}


@pytest.fixture
async def gateway(database: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    Depot.received, Depot.lost = [], 0
    chosen = {"store": database} if database else {}
    limits = {"backoff": 0.05, "quarantine": 0.0, "margin": 0.0}
    async with running(tmp_path / "data", Depot, deliveries=limits, max_body="10MB", **chosen) as one:
        yield one


async def deposit(gateway: Gateway, endpoint: str) -> None:
    """Sends the large file."""
    headers = {"Content-Type": "application/json"}
    answer = await gateway.call(
        "POST", f"/depot/test/{endpoint}", data=io.BytesIO(json.dumps(BODY).encode()), headers=headers
    )
    assert answer[0] == 200


async def state(gateway: Gateway, *wanted: str) -> str:
    """The state of the one delivery, once it is among these."""
    while True:
        found = await gateway.server.deliveries.store.run(lambda c: c.execute(select(deliveries.c.state)).scalar_one())
        if found in wanted:
            return str(found)
        await asyncio.sleep(0.01)


async def pieces(gateway: Gateway) -> int:
    return len(await gateway.server.deliveries.store.run(lambda c: c.execute(select(contents.c.id)).all()))


async def change(gateway: Gateway, statement: Any) -> None:
    await gateway.server.deliveries.store.run(lambda c: c.execute(statement))


@pytest.mark.parametrize(("endpoint", "left"), [("now", 3), ("later", 3), ("forgotten", 0)])
async def test_a_large_file_is_kept_in_pieces_and_sent_whole(gateway: Gateway, endpoint: str, left: int) -> None:
    await deposit(gateway, endpoint)
    assert await state(gateway, "DONE", "PARKED") == "DONE"
    assert Depot.received == [(CONTENT, TEXT)]
    assert await pieces(gateway) == left
    request = await gateway.server.deliveries.store.run(lambda c: c.execute(select(deliveries.c.request)).scalar_one())
    assert request is None if endpoint == "forgotten" else len(request) < 200_000


async def test_an_unknown_outcome_is_sent_again_from_the_pieces(gateway: Gateway) -> None:
    Depot.lost = 2
    await deposit(gateway, "now")
    assert await state(gateway, "DONE", "PARKED") == "DONE"
    assert Depot.received == [(CONTENT, TEXT)]


async def test_pieces_sealed_again_under_a_new_key_are_the_same(gateway: Gateway) -> None:
    journal = gateway.server.deliveries
    await deposit(gateway, "now")
    journal.seal.rotate()
    assert await reseal_all(journal.store, journal.seal) == 1 + 3
    sealed = await journal.store.run(lambda c: list(c.execute(select(contents.c.piece)).scalars()))
    assert all(bytes(one).startswith(journal.seal.newest) for one in sealed)
    row = await journal.store.run(lambda c: dict(c.execute(select(deliveries)).mappings().one()))
    assert (await journal.request(row)).body(Depot.endpoints[0])["file"]["content"].content == CONTENT


@pytest.mark.parametrize("harm", ["missing", "moved"])
async def test_a_request_with_a_missing_or_a_moved_piece_is_left_to_a_person(gateway: Gateway, harm: str) -> None:
    await gateway.server.jobs.stop()
    await deposit(gateway, "later")
    second = select(contents.c.id).order_by(contents.c.id).offset(1).limit(1).scalar_subquery()
    if harm == "missing":
        await change(gateway, contents.delete().where(contents.c.id == second))
    else:
        first = select(contents.c.piece).order_by(contents.c.id).limit(1).scalar_subquery()
        await change(gateway, contents.update().where(contents.c.id == second).values(piece=first))
    find = gateway.server.registry.find
    follow = Follow(gateway.server.deliveries, lambda where: find(*where.split("/")))
    await follow.look()
    await follow.settled()
    assert (await state(gateway, "DONE", "PARKED"), Depot.received) == ("PARKED", [])


async def test_nothing_of_a_file_stands_readable_in_the_store(gateway: Gateway, tmp_path: Path) -> None:
    await deposit(gateway, "now")
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").rglob("*") if file.is_file())
    marks = (CONTENT[:32], CONTENT[PIECE : PIECE + 32], CONTENT[-32:], BODY["file"]["content"][:40].encode())  # type: ignore[index]
    assert not [mark for mark in marks if mark in stored]


def test_a_version_that_does_not_know_of_pieces_cannot_read_what_is_left_of_a_request() -> None:
    """It leaves the delivery to a person, instead of sending a name in the place of a file."""
    sent = Sent({}, (), "application/json", b'{"file": {"content": "apart"}}', {"apart": Decoded(b"x")})
    head, _, _ = next(sent.in_pieces()).partition(b"\n")
    with pytest.raises(ValueError, match="Extra data"):
        json.loads(head)
