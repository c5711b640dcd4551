"""The operator's commands, as typed, on a store that a gateway has written."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner, Result

from gateway.__main__ import commands
from gateway.operate import reseal_all
from gateway.sealing import Seal, Unsealable
from gateway.store import REVISION, Store, audit, deliveries, followed, records, revision, upgrade
from gateway.store.outbox import Told, tell
from gateway.store.records import New
from gateway.store.tables import callbacks
from gateway.store.tables import followed as objects
from tests.torture.processes import spawn

from .conftest import running
from .garden import Garden


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "relais.toml").write_text('[gateway]\ndata = "data"\n')
    return tmp_path / "relais.toml"


async def relais(config: Path, *arguments: str) -> Result:
    # In a thread: each command has a loop of its own.
    return await asyncio.to_thread(CliRunner().invoke, commands, [*arguments, "-c", str(config)])


def url(config: Path) -> str:
    return f"sqlite:///{config.parent / 'data' / 'relais.db'}"


async def parked(config: Path, *, count: int = 1, follow_after: float | None = None) -> list[str]:
    """Deliveries that wait for a person, of callers that want to be told."""
    assert (await relais(config, "db", "upgrade")).exit_code == 0
    seal = Seal(config.parent / "data" / "keys")
    store = Store.open(url(config))
    ids = []
    for number in range(count):
        new = New(
            id=records.new_id(),
            key=f"k:{number}",
            client="wcs",
            instance="seeds/town",
            endpoint="POST seeds",
            delivery="at-most-once",
            reference=f"REF-{number}",
            fingerprint="f",
            patience=1.0,
            request_id="r",
            seal=lambda row: seal.seal(b'{"v":1,"values":{},"query":[],"type":null}\n{"name":"rose"}', *place(row)),
            follow_after=follow_after,
            caller=lambda row: seal.seal(b'{"form":["rose",1]}', *place(row, "caller")),
        )
        await store.run(lambda connection, new=new: records.begin(connection, new, "node", 0.0, 10.0))  # type: ignore[misc]
        ids.append(new.id)
    await store.run(lambda connection: connection.execute(update(deliveries).values(state="PARKED")))
    await store.close()
    return ids


def place(row: str, field: str = "request") -> tuple[str, str, str]:
    return "seeds/town", field, row


async def rows(config: Path, table: Any = deliveries) -> list[Any]:
    store = Store.open(url(config))
    try:
        return list(await store.run(lambda connection: connection.execute(select(table)).mappings().all()))
    finally:
        await store.close()


async def test_the_database_is_made_and_brought_up_to_date(config: Path) -> None:
    assert (await relais(config, "db", "check")).exit_code == 1
    assert (await relais(config, "db", "upgrade")).output.strip().endswith(REVISION)
    assert (await relais(config, "db", "upgrade")).exit_code == 0
    assert revision(url(config)) == REVISION
    assert (await relais(config, "db", "check")).exit_code == 0


def test_an_empty_postgresql_is_made_the_same(postgres: str) -> None:
    assert revision(postgres) is None
    assert upgrade(postgres) == revision(postgres) == REVISION


async def test_a_parked_delivery_is_listed_shown_and_resolved(config: Path) -> None:
    (one,) = await parked(config)
    assert one in (await relais(config, "deliveries", "list", "--state", "parked")).output
    assert one in (await relais(config, "deliveries", "list", "--reference", "REF-0")).output
    assert "rose" not in (await relais(config, "deliveries", "show", one)).output
    shown = json.loads((await relais(config, "deliveries", "show", one, "--content")).output)
    assert shown["request"]["body"] == '{"name":"rose"}'
    assert (await relais(config, "deliveries", "resolve", one, "--done", "S-12", "--why", "seen")).exit_code == 0
    found = (await rows(config))[0]
    assert (found["state"], found["upstream_id"], found["next_at"]) == ("DONE", "S-12", None)
    assert [line["action"] for line in await rows(config, audit)] == ["show", "resolve DONE"]


async def test_a_parked_delivery_is_sent_again_on_a_persons_word(config: Path) -> None:
    (one,) = await parked(config)
    assert (await relais(config, "deliveries", "resend", one, "--why", "not there")).exit_code == 0
    found = (await rows(config))[0]
    assert (found["state"], found["owed"], found["unresolved"]) == ("NOT_SENT", True, False)
    assert found["next_at"] is not None


async def test_what_does_not_wait_for_a_person_is_left_alone(config: Path) -> None:
    (one,) = await parked(config)
    await relais(config, "deliveries", "resolve", one, "--refused", "--why", "seen")
    again = await relais(config, "deliveries", "resend", one, "--why", "x")
    assert again.exit_code == 1
    assert [line["action"] for line in await rows(config, audit)] == ["resolve REFUSED"]


async def test_the_content_of_a_reference_is_erased(config: Path) -> None:
    await parked(config, count=2)
    assert (await relais(config, "deliveries", "erase", "REF-1", "--why", "asked")).output.strip() == "1"
    assert sorted(found["request"] is None for found in await rows(config)) == [False, True]


async def test_keys_are_rotated_and_the_old_ones_forgotten(config: Path) -> None:
    ids = await parked(config, count=450)
    old = Seal(config.parent / "data" / "keys").newest
    assert (await relais(config, "keys", "rotate", "--forget")).output.strip() == "450"
    seal = Seal(config.parent / "data" / "keys")
    found = {one["id"]: one["request"] for one in await rows(config)}
    assert all(value.startswith(seal.newest) and not value.startswith(old) for value in found.values())
    assert all(b"rose" in seal.open(found[one], *place(one)) for one in ids)


async def test_a_running_process_seals_under_the_new_key_and_still_opens_the_old(tmp_path: Path) -> None:
    running, command = Seal(tmp_path / "keys"), Seal(tmp_path / "keys")
    before = running.seal(b"x", "a", "b", "c")
    command.rotate()
    after = running.seal(b"y", "a", "b", "c")
    assert before[:5] != after[:5] == command.newest
    assert (running.open(before, "a", "b", "c"), command.open(after, "a", "b", "c")) == (b"x", b"y")


@pytest.mark.parametrize("elsewhere", [("z", "b", "c"), ("a", "z", "c"), ("a", "b", "z"), ("a", "b")])
def test_a_sealed_value_opens_only_where_it_stands(tmp_path: Path, elsewhere: tuple[str, ...]) -> None:
    seal = Seal(tmp_path / "keys")
    sealed = seal.seal(b"x", "a", "b", "c")
    with pytest.raises(Unsealable):
        seal.open(sealed, *elsewhere)
    with pytest.raises(Unsealable):
        seal.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), "a", "b", "c")


def test_the_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    Seal(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


async def test_resealing_again_changes_nothing(config: Path) -> None:
    await parked(config, count=3)
    store, seal = Store.open(url(config)), Seal(config.parent / "data" / "keys")
    assert await reseal_all(store, seal) == 0
    await store.close()


@pytest.mark.parametrize("forgery", ["changed", "removed"])
async def test_a_changed_trail_is_seen(config: Path, forgery: str) -> None:
    for one in await parked(config, count=3):
        await relais(config, "deliveries", "resend", one, "--why", "x")
    assert (await relais(config, "audit", "verify")).exit_code == 0
    second = audit.c.number == 2
    statement = audit.delete().where(second) if forgery == "removed" else audit.update().where(second).values(actor="x")
    store = Store.open(url(config))
    await store.run(lambda connection: connection.execute(statement))
    await store.close()
    assert (await relais(config, "audit", "verify")).exit_code == 1


# --- what goes on after the answer ------------------------------------------------------------------------------------


async def on(config: Path, *works: Any) -> list[Any]:
    store = Store.open(url(config))
    try:
        return [await store.run(work) for work in works]
    finally:
        await store.close()


async def let_be_done(config: Path, *ids: str, created: float = 0.0, status: str = "", **end: bool) -> None:
    """Deliveries that ended, their object followed to a state, a message about it still to be accepted."""
    seal = Seal(config.parent / "data" / "keys")

    def work(connection: Any) -> None:
        for one in ids:
            mine = update(deliveries).where(deliveries.c.id == one)
            connection.execute(mine.values(state="DONE", upstream_id=f"P-{one}", follow_after=120.0, updated=created))
            followed.follow(connection, created, one)
            message = seal.seal(b'{"name":"tulip"}', "seeds/town", "callback", f"m-{one}")
            tell(connection, one, Told(f"m-{one}", message), created)
            progress = seal.seal(b'{"name":"iris"}', "seeds/town", "progress", one)
            held = update(objects).where(objects.c.delivery == one)
            ended = {"final": False, "void": False, **end}
            connection.execute(held.values(status=status, progress=progress, **ended))
            if ended["final"]:
                connection.execute(held.values(next_at=None))

    await on(config, work)


async def test_only_what_waits_for_a_decision_is_listed(config: Path) -> None:
    one, two = await parked(config, count=2)
    await relais(config, "deliveries", "resolve", one, "--refused", "--why", "seen")
    listed = (await relais(config, "deliveries", "list", "--waiting")).output
    assert two in listed
    assert one not in listed


async def test_a_persons_decision_is_told_and_followed(config: Path) -> None:
    one, two = await parked(config, count=2, follow_after=120.0)
    await relais(config, "deliveries", "resolve", one, "--done", "P-7", "--why", "seen")
    await relais(config, "deliveries", "resolve", two, "--refused", "--why", "seen")
    seal = Seal(config.parent / "data" / "keys")
    told = {
        row["delivery"]: json.loads(seal.open(row["body"], "seeds/town", "callback", row["id"]))
        for row in await rows(config, callbacks)
    }
    assert (told[one]["state"], told[one]["data"], told[one]["final"]) == ("DONE", {"id": "P-7"}, False)
    assert (told[two]["state"], told[two]["err_class"], told[two]["final"]) == ("REFUSED", "Rejected", True)
    assert [row["upstream_id"] for row in await rows(config, objects)] == ["P-7"]


async def test_a_callback_that_was_given_up_is_listed_and_sent_again_with_a_trace(config: Path) -> None:
    (one,) = await parked(config)
    await let_be_done(config, one)
    assert (await relais(config, "callbacks", "resend", f"m-{one}", "--why", "x")).exit_code == 1
    await on(config, lambda c: c.execute(update(callbacks).values(state="DEAD", next_at=None, reason="HTTP 404")))
    listed = (await relais(config, "callbacks", "list", "--state", "dead")).output
    assert f"m-{one}" in listed
    assert (await relais(config, "callbacks", "resend", f"m-{one}", "--why", "the trigger is there now")).exit_code == 0
    (row,) = await rows(config, callbacks)
    assert (row["state"], row["tries"]) == ("PENDING", 0)
    assert row["next_at"] is not None
    assert [line["action"] for line in await rows(config, audit)] == ["callback resend"]


async def test_a_delivery_is_shown_with_what_follows(config: Path) -> None:
    (one,) = await parked(config)
    await let_be_done(config, one, status="pending")
    shown = json.loads((await relais(config, "deliveries", "show", one)).output)
    assert (shown["followed"]["status"], shown["callbacks"]) == ("pending", {"PENDING": 1})
    assert "iris" not in json.dumps(shown)
    shown = json.loads((await relais(config, "deliveries", "show", one, "--content")).output)
    assert shown["followed"]["progress"] == {"name": "iris"}


async def test_the_report_tells_what_nothing_explains(config: Path) -> None:
    assert (await relais(config, "db", "upgrade")).exit_code == 0
    assert (await relais(config, "deliveries", "report")).exit_code == 0
    ids = await parked(config, count=5)
    waiting, open_, ended, twin, void = ids
    same = update(deliveries).where(deliveries.c.id.in_((ended, twin, void))).values(subject="a debt")
    await on(config, lambda c: c.execute(same))
    await let_be_done(config, open_, status="pending")
    await let_be_done(config, ended, twin, status="paid", final=True)
    await let_be_done(config, void, status="refused", final=True, void=True)
    await on(
        config,
        lambda c: c.execute(
            update(callbacks).where(callbacks.c.delivery != ended).values(state="ACCEPTED", next_at=None)
        ),
    )
    report = await relais(config, "deliveries", "report")
    assert report.exit_code == 1
    told = [line for line in report.output.splitlines() if "seeds/town" in line]
    kinds = {line.split("\t")[0]: line for line in told}
    assert sorted(kinds) == ["open", "several", "untold", "waiting"]
    assert len(told) == 4
    assert waiting in kinds["waiting"]
    assert open_ in kinds["open"]
    assert f"m-{ended}" in kinds["untold"]
    assert f"P-{ended}" in kinds["several"]
    assert f"P-{void}" not in kinds["several"]
    assert (await relais(config, "deliveries", "report", "--hours", "900000")).output.count("open\t") == 0


async def test_a_reference_is_exported_then_erased_with_all_that_followed(config: Path) -> None:
    one, other = await parked(config, count=2)
    await let_be_done(config, one, other)
    exported = json.loads((await relais(config, "deliveries", "export", "REF-0", "--why", "asked")).output)
    assert [(row["id"], row["request"]["body"]) for row in exported] == [(one, '{"name":"rose"}')]
    assert exported[0]["followed"]["progress"] == {"name": "iris"}
    assert [message["body"] for message in exported[0]["callbacks"]] == [{"name": "tulip"}]
    assert (await relais(config, "deliveries", "erase", "REF-0", "--why", "asked")).output.strip() == "1"
    kept = {row["delivery"]: row["progress"] is not None for row in await rows(config, objects)}
    assert kept == {one: False, other: True}
    said = {row["delivery"]: (row["state"], row["body"] is not None) for row in await rows(config, callbacks)}
    assert said == {one: ("DEAD", False), other: ("PENDING", True)}
    assert [line["action"] for line in await rows(config, audit)] == ["export", "erase"]


async def test_every_sealed_column_is_sealed_again(config: Path) -> None:
    ids = await parked(config, count=3)
    await let_be_done(config, *ids)
    assert (await relais(config, "keys", "rotate", "--forget")).output.strip() == "9"
    seal = Seal(config.parent / "data" / "keys")
    for row in await rows(config):
        assert seal.open(row["caller"], *place(row["id"], "caller")) == b'{"form":["rose",1]}'
    for row in await rows(config, objects):
        assert seal.open(row["progress"], *place(row["delivery"], "progress")) == b'{"name":"iris"}'
    for row in await rows(config, callbacks):
        assert seal.open(row["body"], *place(row["id"], "callback")) == b'{"name":"tulip"}'


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_every_value_is_sealed_again_while_calls_go_on(
    tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    """`relais keys rotate` beside a gateway that serves: no call fails, and nothing opens in another row.

    500 values here, 10,000 by `make torture`.
    """
    url = request.getfixturevalue("postgres") if database == "postgresql" else ""
    settings = f'store = "{url}"' if url else ""
    (tmp_path / "relais.toml").write_text(f'[gateway]\ndata = "data"\n{settings}\n')
    sealed = int(os.environ.get("RELAIS_TORTURE_SEALED", "500"))
    answered: list[int] = []
    async with running(tmp_path / "data", Garden, settings={"password": "p"}, **({"store": url} if url else {})) as one:
        journal = one.server.deliveries
        await journal.store.run(lambda connection: connection.execute(deliveries.insert(), many(journal.seal, sealed)))
        config = str(tmp_path / "relais.toml")
        command = await spawn("-m", "gateway", "keys", "rotate", "-c", config)
        rotating = asyncio.create_task(command.communicate())
        while not rotating.done():
            key = f"call-{len(answered)}"
            for _ in range(2):  # made, then given again from its sealed answer
                status, _, body = await one.call(
                    "POST", "/garden/test/seeds", json={"name": "rose"}, headers={"Idempotency-Key": key}
                )
                answered.append(status)
                assert (status, body["err"]) == (200, 0)
        output, _ = await rotating
        kept = await journal.store.run(lambda connection: connection.execute(select(deliveries)).mappings().all())
    assert (command.returncode, int(output)) >= (0, sealed)
    assert len(answered) >= 10
    seal = Seal(tmp_path / "data" / "keys")
    assert all(row["request"].startswith(seal.newest) for row in kept if row["request"] is not None)
    rows_of_town = [row for row in kept if row["instance"] == "seeds/town"]
    assert len(rows_of_town) == sealed
    assert b"rose" in seal.open(rows_of_town[0]["request"], *place(rows_of_town[0]["id"]))
    for row, other in itertools.pairwise(rows_of_town):
        with pytest.raises(Unsealable):
            seal.open(row["request"], *place(other["id"]))


def many(seal: Seal, count: int) -> list[dict[str, Any]]:
    """Rows of deliveries that have ended, each with a sealed request."""
    made = []
    for number in range(count):
        name = records.new_id()
        made.append(
            {
                "id": name,
                "scope": f"s{number}",
                "key": f"k:{number}",
                "client": "wcs",
                "instance": "seeds/town",
                "endpoint": "POST seeds",
                "delivery": "at-most-once",
                "reference": f"REF-{number}",
                "fingerprint": "f",
                "state": "DONE",
                "attempt": 1,
                "unresolved": False,
                "owed": False,
                "tries": 0,
                "patience": 1.0,
                "created": time.time(),
                "updated": time.time(),
                "request": seal.seal(b'{"v":1,"values":{},"query":[],"type":null}\n{"name":"rose"}', *place(name)),
            }
        )
    return made
