"""The journal's promises held against any order of events: callers, deaths, searches, late executions, operators."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from gateway.store import deliveries, operator, records, sqlite_engine
from gateway.store.records import Begun, New
from gateway.store.tables import metadata

SEQUENCES = int(os.environ.get("RELAIS_MODEL_SEQUENCES", "60"))
LEASE, PATIENCE = 10.0, 20.0
LONGEST = 15.0
"""Seconds the played publisher may take: below the quarantine, as declared."""


ENGINE = sqlite_engine("sqlite://")  # in memory, one for all sequences: each begins with empty tables
metadata.create_all(ENGINE)


class Attempt:
    """A request on its way: `executes_at` is when the publisher executes it, None when it never does."""

    def __init__(self, begun: Begun, node: str, executes_at: float | None) -> None:
        self.begun = begun
        self.node = node
        self.executes_at = executes_at


class Journal(RuleBasedStateMachine):
    """One delivery, two processes that die, and a publisher that executes when it likes within LONGEST."""

    delivery = "reconcilable"

    @initialize()
    def start(self) -> None:
        self.engine = ENGINE
        for table in reversed(metadata.sorted_tables):
            self.run(lambda c, table=table: c.execute(table.delete()))
        self.now = 1000.0
        self.nodes = {"a": "a1", "b": "b1"}
        self.attempts: list[Attempt] = []
        self.executed = 0
        self.told_done = self.told_refused = False
        for node in self.nodes.values():
            self.run(lambda c, node=node: records.beat(c, node, self.now))

    def run(self, work: Any) -> Any:
        with self.engine.begin() as connection:
            return work(connection)

    def row(self) -> Any:
        return self.run(lambda c: c.execute(select(deliveries)).mappings().first())

    def send(self, begun: Begun, node: str, outcome: str, delay: float) -> None:
        """The request leaves; `outcome` is what becomes of it and what is seen of it."""
        attempt = Attempt(begun, node, self.now + delay if "executed" in outcome else None)
        if outcome in ("executed and told", "refused", "not sent"):
            attempt.executes_at = None
            self.executed += outcome == "executed and told"
        if outcome == "not sent":
            self.finish(attempt, {"state": "NOT_SENT", "next_at": None})
        elif outcome == "refused":
            state = "PARKED" if begun.unresolved else "REFUSED"
            if self.finish(attempt, {"state": state, "next_at": None}) and state == "REFUSED":
                self.told_refused = True
        elif outcome == "executed and told":
            if self.finish(attempt, {"state": "DONE", "next_at": None, "upstream_id": "S"}):
                self.told_done = True
        elif outcome.endswith("unclear"):
            self.attempts.append(attempt)
            self.finish(attempt, {"state": "UNKNOWN"})
        else:  # nobody will write how it ended: its process dies
            self.attempts.append(attempt)
            name = next(name for name, known in self.nodes.items() if known == node)
            self.nodes[name] = f"{name}{int(self.now * 10)}x"
            self.run(lambda c: records.beat(c, self.nodes[name], self.now))

    def finish(self, attempt: Attempt, values: dict[str, Any]) -> bool:
        return bool(
            self.run(
                lambda c: records.finish(c, attempt.begun.id, attempt.begun.attempt, attempt.node, self.now, values)
            )
        )

    outcomes = st.sampled_from(
        [f"{done}, {seen}" for done in ("executed", "lost") for seen in ("unclear", "died")]
        + ["executed and told", "refused", "not sent"]
    )
    delays = st.sampled_from([0.0, 2.0, 12.0, LONGEST])

    @rule(node=st.sampled_from("ab"), outcome=outcomes, delay=delays)
    def a_caller_calls(self, node: str, outcome: str, delay: float) -> None:
        new = New(
            records.new_id(), "k:1", "wcs", "i/x", "POST y", self.delivery, "ref", "f", PATIENCE, "r", lambda row: b"x"
        )
        owner = self.nodes[node]
        begun = self.run(lambda c: records.begin(c, new, owner, self.now, LEASE))
        if begun.verdict == "go":
            self.told_refused = False
            self.send(begun, owner, outcome, delay)

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for attempt in self.attempts:
            if attempt.executes_at is not None and attempt.executes_at <= self.now:
                attempt.executes_at = None
                self.executed += 1
        for node in self.nodes.values():
            self.run(lambda c, node=node: records.beat(c, node, self.now))

    @rule(node=st.sampled_from("ab"), outcome=outcomes, delay=delays)
    def somebody_looks(self, node: str, outcome: str, delay: float) -> None:
        owner = self.nodes[node]
        self.run(lambda c: records.take_over(c, self.now, LEASE))
        for row in self.run(lambda c: records.claim(c, self.now, 30.0, 4, owner)):
            self.look(dict(row), owner, outcome, delay)

    def look(self, row: dict[str, Any], owner: str, outcome: str, delay: float) -> None:
        def step(values: dict[str, Any]) -> bool:
            return bool(self.run(lambda c: records.step(c, row["id"], row["state"], row["attempt"], values)))

        if row["state"] == "UNKNOWN" and self.delivery == "at-most-once":
            step({"state": "PARKED", "next_at": None})
        elif row["state"] == "UNKNOWN" and self.executed:
            step({"state": "DUPLICATED" if self.executed > 1 else "DONE", "next_at": None})
        elif row["state"] == "UNKNOWN" and self.now < row["quarantine"]:
            step({"next_at": row["quarantine"]})
        elif row["state"] in ("UNKNOWN", "NOT_SENT"):
            if not step(records.resend(self.now, owner, row["attempt"], unresolved=False)):
                return
            begun = Begun("go", row["id"], row["attempt"] + 1, "ref", False)
            self.send(begun, owner, outcome, delay)

    @rule()
    def an_operator_sends_again_what_was_not_executed(self) -> None:
        row = self.row()
        pending = any(attempt.executes_at is not None for attempt in self.attempts)
        if row is not None and row["state"] == "PARKED" and not self.executed and not pending:
            assert self.run(lambda c: operator.resend(c, row["id"], self.now, "op", "looked"))

    @invariant()
    def never_twice(self) -> None:
        assert getattr(self, "executed", 0) <= 1

    @invariant()
    def told_done_is_executed(self) -> None:
        assert not getattr(self, "told_done", False) or self.executed == 1

    @invariant()
    def told_refused_is_not_executed(self) -> None:
        assert not getattr(self, "told_refused", False) or self.executed == 0

    @invariant()
    def what_has_no_end_is_due_or_owned(self) -> None:
        row = self.row() if hasattr(self, "engine") else None
        if row is not None:
            assert row["state"] in records.ENDED or row["next_at"] is not None or row["state"] == "SENDING"


class Parking(Journal):
    """The same where nothing can be searched."""

    delivery = "at-most-once"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("machine", [Journal, Parking])
def test_no_order_of_events_loses_or_doubles(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=SEQUENCES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


OUTCOMES = (
    *(f"{done}, {seen}" for done in ("executed", "lost") for seen in ("unclear", "died")),
    "refused",
    "not sent",
)


UNSEEN = tuple(f"{done}, {seen}" for done in ("executed", "lost") for seen in ("unclear", "died"))


def walk(machine: type[Journal], seed: int) -> None:
    """One seeded sequence of 25 events; its promises are held after each."""
    chance = random.Random(seed)
    journal = machine()
    journal.start()
    for _ in range(25):
        outcome = chance.choice((*UNSEEN, "refused", "not sent", "executed and told"))
        delay = chance.choice((0.0, 2.0, 12.0, LONGEST))
        match chance.randrange(7):
            case 0 | 1:
                journal.a_caller_calls(node=chance.choice("ab"), outcome=outcome, delay=delay)
            case 2 | 3 | 4:
                journal.somebody_looks(node=chance.choice("ab"), outcome=outcome, delay=delay)
            case 5:
                journal.time_passes(seconds=chance.choice((0.5, 3.0, 11.0, 25.0)))
            case 6:
                journal.an_operator_sends_again_what_was_not_executed()
        journal.never_twice()
        journal.told_done_is_executed()
        journal.told_refused_is_not_executed()
        journal.what_has_no_end_is_due_or_owned()


@pytest.mark.parametrize("machine", [Journal, Parking])
def test_many_seeded_orders_of_events_neither(machine: type[Journal]) -> None:
    for seed in range(2 * SEQUENCES):
        walk(machine, seed)


def test_the_walks_see_a_quarantine_that_is_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gateway.test_delivery_model.PATIENCE", LONGEST / 4)

    def until_seen() -> None:
        for seed in range(3000):
            walk(Journal, seed)

    with pytest.raises(AssertionError):
        until_seen()
