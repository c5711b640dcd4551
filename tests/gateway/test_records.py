"""The steps of the journal's rows, one by one: who may write what, and when. The model plays them in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from gateway.store import deliveries, records, sqlite_engine
from gateway.store.records import Begun, New
from gateway.store.tables import metadata

LEASE, PATIENCE = 10.0, 20.0


@pytest.fixture
def journal() -> Iterator[Connection]:
    """An open transaction on empty tables; the node `a` is alive at 100."""
    engine = sqlite_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        records.beat(connection, "a", 100.0)
        yield connection
    engine.dispose()


def new(
    number: int = 1,
    *,
    key: str = "k:1",
    client: str = "wcs",
    endpoint: str = "POST y",
    delivery: str = "reconcilable",
    fingerprint: str = "f",
) -> New:
    return New(
        f"id{number}", key, client, "i/x", endpoint, delivery, "ref", fingerprint, PATIENCE, "r", lambda row: b"x"
    )


def begin(journal: Connection, one: New, node: str = "a", now: float = 100.0) -> Begun:
    return records.begin(journal, one, node, now, LEASE)


def finish(journal: Connection, state: str, *, attempt: int = 1, node: str = "a", now: float = 101.0) -> bool:
    values: dict[str, Any] = {"state": state} if state == "UNKNOWN" else {"state": state, "next_at": None}
    return records.finish(journal, "id1", attempt, node, now, values)


def row(journal: Connection) -> Any:
    return journal.execute(select(deliveries).where(deliveries.c.id == "id1")).mappings().one()


def test_another_client_or_endpoint_with_the_same_key_is_another_delivery(journal: Connection) -> None:
    begun = [begin(journal, one) for one in (new(1), new(2, client="other"), new(3, endpoint="POST z"))]
    assert [(one.verdict, one.id) for one in begun] == [("go", "id1"), ("go", "id2"), ("go", "id3")]


def test_the_same_beginning_twice_goes_on_once(journal: Connection) -> None:
    """Its commit looked failed, and it is run again."""
    assert begin(journal, new()).verdict == "go"
    assert begin(journal, new()).verdict == "go"
    assert row(journal)["attempt"] == 1


def test_another_request_with_a_key_under_way_waits_while_its_owner_lives(journal: Connection) -> None:
    begin(journal, new())
    assert begin(journal, new(2), "b", 109.9).verdict == "in-progress"
    assert row(journal)["owner"] == "a"


def test_once_its_owner_is_dead_the_outcome_is_unknown(journal: Connection) -> None:
    begin(journal, new())
    assert begin(journal, new(2), "b", 110.1).verdict == "unknown"
    found = row(journal)
    assert (found["state"], found["unresolved"], found["quarantine"], found["next_at"]) == (
        "UNKNOWN",
        True,
        130.1,
        110.1,
    )


@pytest.mark.parametrize(("delivery", "verdict"), [("idempotent", "go"), ("at-least-once", "go")])
def test_what_is_harmless_twice_is_driven_again_at_once(journal: Connection, delivery: str, verdict: str) -> None:
    begin(journal, new(delivery=delivery))
    assert finish(journal, "UNKNOWN")
    again = begin(journal, new(2, delivery=delivery))
    assert (again.verdict, again.id, again.attempt) == (verdict, "id1", 2)


@pytest.mark.parametrize("delivery", ["reconcilable", "at-most-once"])
def test_what_may_harm_twice_is_not(journal: Connection, delivery: str) -> None:
    begin(journal, new(delivery=delivery))
    assert finish(journal, "UNKNOWN")
    assert begin(journal, new(2, delivery=delivery)).verdict == "unknown"
    assert row(journal)["attempt"] == 1


def test_an_attempt_after_an_unclear_one_knows_it(journal: Connection) -> None:
    begin(journal, new(delivery="idempotent"))
    finish(journal, "UNKNOWN")
    assert begin(journal, new(2, delivery="idempotent")).unresolved
    finish(journal, "NOT_SENT", attempt=2)
    assert begin(journal, new(3, delivery="idempotent")).unresolved  # the second one resolves nothing of the first


def test_an_attempt_after_a_clear_one_knows_it_too(journal: Connection) -> None:
    begin(journal, new())
    finish(journal, "REFUSED")
    assert not begin(journal, new(2)).unresolved


def test_a_success_is_given_again_and_what_waits_for_a_person_stays(journal: Connection) -> None:
    begin(journal, new())
    finish(journal, "DONE")
    assert begin(journal, new(2)).verdict == "replay"
    for state in ("PARKED", "DUPLICATED"):
        journal.execute(deliveries.update().values(state=state))
        assert begin(journal, new(2)).verdict == "parked"
    assert row(journal)["attempt"] == 1


def test_another_content_is_refused_whatever_the_state(journal: Connection) -> None:
    begin(journal, new())
    for state in records.State.__args__:  # type: ignore[attr-defined]
        journal.execute(deliveries.update().values(state=state))
        assert begin(journal, new(2, fingerprint="other")).verdict == "mismatch", state


@pytest.mark.parametrize(
    ("attempt", "node", "state"), [(2, "a", "SENDING"), (1, "b", "SENDING"), (1, "a", "UNKNOWN"), (1, "a", "DONE")]
)
def test_only_the_owner_of_the_attempt_under_way_writes_how_it_ended(
    journal: Connection, attempt: int, node: str, state: str
) -> None:
    begin(journal, new())
    journal.execute(deliveries.update().values(state=state))
    assert not finish(journal, "REFUSED", attempt=attempt, node=node)
    assert row(journal)["state"] == state


def test_an_end_whose_commit_looked_failed_was_written(journal: Connection) -> None:
    begin(journal, new())
    assert finish(journal, "DONE")
    assert finish(journal, "DONE")
    assert not finish(journal, "DONE", node="b")


def test_a_step_compares_state_and_attempt(journal: Connection) -> None:
    begin(journal, new())
    finish(journal, "UNKNOWN")
    for state, attempt in (("SENDING", 1), ("NOT_SENT", 1), ("UNKNOWN", 2), ("UNKNOWN", 0)):
        assert not records.step(journal, "id1", state, attempt, {"state": "PARKED"})
    assert row(journal)["state"] == "UNKNOWN"
    assert records.step(journal, "id1", "UNKNOWN", 1, {"state": "PARKED"})


def test_an_unknown_outcome_is_due_at_once_and_its_quarantine_begins(journal: Connection) -> None:
    begin(journal, new())
    finish(journal, "UNKNOWN", now=105.0)
    found = row(journal)
    assert (found["next_at"], found["quarantine"], found["unresolved"], found["owed"]) == (105.0, 125.0, True, True)
    assert [one["id"] for one in records.claim(journal, 105.0, 60.0, 4, "a")] == ["id1"]
    assert records.claim(journal, 106.0, 60.0, 4, "a") == []
    assert [one["id"] for one in records.claim(journal, 165.1, 60.0, 4, "a")] == ["id1"]


@pytest.mark.parametrize(
    ("node", "under_way", "now", "taken"),
    [
        ("b", (), 110.0, 0),  # its owner lives
        ("b", (), 110.1, 1),  # its owner is dead
        ("a", ("id1",), 109.0, 0),  # its owner is at it
        ("a", (), 109.0, 0),  # it may only just have begun
        ("a", ("id1",), 115.0, 0),
        ("a", (), 115.0, 1),  # its owner lives, and knows nothing of it
    ],
)
def test_what_nobody_is_at_any_more_is_taken_over(
    journal: Connection, node: str, under_way: tuple[str, ...], now: float, taken: int
) -> None:
    begin(journal, new())
    if node == "a":
        records.beat(journal, "a", now)
    assert records.take_over(journal, now, LEASE, node, under_way) == taken
    assert row(journal)["state"] == ("UNKNOWN" if taken else "SENDING")


def test_a_process_that_leaves_is_dead_at_once(journal: Connection) -> None:
    begin(journal, new())
    records.leave(journal, "a")
    assert records.take_over(journal, 100.0, LEASE, "b") == 1


def test_the_statements_of_a_call_are_few() -> None:
    """One to begin, one to end: what costs most of a durable create is the statements that carry it."""
    engine = sqlite_engine("sqlite://")
    metadata.create_all(engine)
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda c, cursor, statement, *_: said.append(statement.split()[0]))
    with engine.begin() as connection:
        records.begin(connection, new(), "a", 100.0, LEASE)
    with engine.begin() as connection:
        records.finish(connection, "id1", 1, "a", 101.0, {"state": "DONE", "next_at": None}, follow=False)
    engine.dispose()
    assert said == ["BEGIN", "INSERT", "BEGIN", "UPDATE"]
