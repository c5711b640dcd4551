"""The delivery core with one line changed for the worse, again and again: the fast tests must see each change.

    python -m tests.torture.mutants [--only WORD] [--from NUMBER]

Each mutant is applied to a copy of the project, where the tests of the journal run until the first failure. One that
they all pass is a promise that nothing holds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("gateway", "sdk", "connectors", "contract_tests", "tests", "benchmarks", "docs", "pyproject.toml")
AFTERWARDS = (
    "tests/gateway/test_claims.py",
    "tests/gateway/test_retention.py",
    "tests/gateway/test_following.py",
    "tests/gateway/test_callbacks.py",
    "tests/gateway/test_lasting_model.py",
)
"""For what goes on after the answer."""
RECORDS, DELIVERIES = "gateway/store/records.py", "gateway/deliveries.py"
FOLLOW, STORE = "gateway/follow_up.py", "gateway/store/__init__.py"
CONTENTS, SENT = "gateway/store/contents.py", "gateway/sent.py"
STANDING, CALLBACKS = "gateway/standing.py", "gateway/callbacks.py"
FOLLOWED, OUTBOX = "gateway/store/followed.py", "gateway/store/outbox.py"
THROUGH_THE_DOOR = ("tests/gateway/test_deliveries.py", "tests/torture/test_crash_points.py")
TESTS = {
    RECORDS: (
        "tests/gateway/test_records.py",
        "tests/gateway/test_contents.py",
        "tests/gateway/test_delivery_model.py",
        *THROUGH_THE_DOOR,
    ),
    DELIVERIES: ("tests/gateway/test_outcomes.py", *THROUGH_THE_DOOR, "tests/gateway/test_drain.py"),
    FOLLOW: THROUGH_THE_DOOR,
    STANDING: ("tests/gateway/test_deliveries.py",),
    STORE: ("tests/gateway/test_store.py", "tests/torture/test_sync_order.py"),
    CONTENTS: ("tests/gateway/test_contents.py",),
    SENT: ("tests/gateway/test_uploads.py", "tests/gateway/test_contents.py"),
}
"""The tests that look at each file, the nearest first."""


@dataclass(frozen=True)
class Mutant:
    """In `file`, the first `old` becomes `new`; `what` is then wrong, and one of `tests` must see it."""

    what: str
    file: str
    old: str
    new: str

    @property
    def tests(self) -> tuple[str, ...]:
        return AFTERWARDS if self.what.startswith("lasting: ") else TESTS[self.file]


MUTANTS = (
    Mutant(
        "another content is accepted under the same key",
        RECORDS,
        'if found["fingerprint"] != new.fingerprint:',
        "if False:",
    ),
    Mutant(
        "a living owner is taken for dead by its key's next caller",
        RECORDS,
        'nodes.c.seen >= bindparam("since"))',
        'nodes.c.seen < bindparam("since"))',
    ),
    Mutant(
        "a dead owner keeps its key for ever",
        RECORDS,
        '_ALIVE = select(nodes.c.id).where(nodes.c.id == bindparam("of_node"), nodes.c.seen >= bindparam("since"))',
        '_ALIVE = select(nodes.c.id).where(nodes.c.id != "", bindparam("of_node") != "", bindparam("since") > 0)',
    ),
    Mutant("a success is driven again", RECORDS, 'if state == "DONE":', "if False:"),
    Mutant("what waits for a person is sent again", RECORDS, "if state in PARKED:", "if False:"),
    Mutant(
        "an unknown outcome is sent again at once",
        RECORDS,
        'if state == "UNKNOWN" and found["delivery"] not in AGAIN_AT_ONCE:',
        "if False:",
    ),
    Mutant(
        "an unknown outcome that is harmless twice is not sent again",
        RECORDS,
        'if state == "UNKNOWN" and found["delivery"] not in AGAIN_AT_ONCE:',
        'if state == "UNKNOWN":',
    ),
    Mutant(
        "an attempt forgets that an earlier one may have been executed",
        RECORDS,
        'unresolved=found["unresolved"] or state == "UNKNOWN"',
        "unresolved=False",
    ),
    Mutant("a next attempt has the number of the last", RECORDS, '"attempt": attempt + 1,', '"attempt": attempt,'),
    Mutant(
        "a next attempt has no owner",
        RECORDS,
        '"owner": node,\n        "unresolved": unresolved',
        '"owner": None,\n        "unresolved": unresolved',
    ),
    Mutant(
        "a step does not compare the state",
        RECORDS,
        'table.id == bindparam("of_id"), table.state == bindparam("of_state"), table.attempt',
        'table.id == bindparam("of_id"), bindparam("of_state") != "", table.attempt',
    ),
    Mutant(
        "a step does not compare the attempt",
        RECORDS,
        'table.attempt == bindparam("of_attempt")\n',
        'bindparam("of_attempt") >= 0\n',
    ),
    Mutant(
        "an end does not compare the owner",
        RECORDS,
        '_END = _STEP.where(table.owner == bindparam("of_owner"))',
        '_END = _STEP.where(bindparam("of_owner") != "")',
    ),
    Mutant(
        "who lost its lease is told that it wrote",
        RECORDS,
        'return bool(found == values["state"] and found != "UNKNOWN")',
        "return True",
    ),
    Mutant(
        "an end whose commit looked failed is taken for lost",
        RECORDS,
        'return bool(found == values["state"] and found != "UNKNOWN")',
        "return False",
    ),
    Mutant(
        "a beginning whose commit looked failed answers that it is under way",
        RECORDS,
        'if state in ("SENDING", "RECEIVED") and found["id"] == new.id:',
        "if False:",
    ),
    Mutant(
        "contents: none is kept",
        RECORDS,
        "        contents.write(connection, new.id, new.instance, pieces)\n        return _going",
        "        return _going",
    ),
    Mutant(
        "contents: kept apart where a living process cannot read them",
        RECORDS,
        'if new.pieces is None or connection.execute(_BEHIND, {"since": since}).first():',
        "if new.pieces is None:",
    ),
    Mutant(
        "contents: a dead process of the version before keeps them whole for ever",
        RECORDS,
        'nodes.c.reads < READS, nodes.c.seen >= bindparam("since"))',
        'nodes.c.reads < READS, nodes.c.seen + bindparam("since") > 0)',
    ),
    Mutant(
        "contents: left when their request is erased at its end",
        RECORDS,
        'if "request" in values and values["request"] is None:',
        "if False:",
    ),
    Mutant("contents: left by the purge", RECORDS, "    contents.sweep(connection)\n", ""),
    Mutant(
        "contents: those of requests that are there are swept up",
        CONTENTS,
        "table.delivery.not_in(kept)",
        "table.delivery.in_(kept)",
    ),
    Mutant(
        "contents: the last piece is not read", CONTENTS, "        number += 1", "        number += 1 + (number > 0)"
    ),
    Mutant("contents: a missing piece is not missed", SENT, 'raise ValueError("a piece is missing")', "break"),
    Mutant("no quarantine", RECORDS, '"quarantine": patience + now,', '"quarantine": now,'),
    Mutant(
        "an unknown outcome counts as resolved",
        RECORDS,
        '"unresolved": True,\n        "owed": True',
        '"unresolved": False,\n        "owed": True',
    ),
    Mutant(
        "an unknown outcome is never looked at",
        RECORDS,
        '"next_at": now,\n        "unresolved": True',
        '"next_at": None,\n        "unresolved": True',
    ),
    Mutant(
        "nobody is ever dead",
        RECORDS,
        "alive = select(nodes.c.id).where(or_(nodes.c.seen >= now - lease, nodes.c.id == node))",
        "alive = select(nodes.c.id)",
    ),
    Mutant(
        "everybody is dead",
        RECORDS,
        "alive = select(nodes.c.id).where(or_(nodes.c.seen >= now - lease, nodes.c.id == node))",
        "alive = select(nodes.c.id).where(nodes.c.seen >= now + lease)",
    ),
    Mutant(
        "what a process forgot stays under way",
        RECORDS,
        "forgotten = and_(mine, table.id.not_in(list(under_way))) if node else false()",
        "forgotten = false()",
    ),
    Mutant(
        "what a process is at counts as forgotten",
        RECORDS,
        "forgotten = and_(mine, table.id.not_in(list(under_way))) if node else false()",
        "forgotten = mine if node else false()",
    ),
    Mutant(
        "a process that leaves stays known",
        RECORDS,
        "connection.execute(delete(nodes).where(nodes.c.id == node))",
        'connection.execute(delete(nodes).where(nodes.c.id == ""))',
    ),
    Mutant(
        "unknown outcomes are not claimed",
        RECORDS,
        'OPEN: tuple[State, ...] = ("RECEIVED", "UNKNOWN", "NOT_SENT")',
        'OPEN: tuple[State, ...] = ("RECEIVED", "NOT_SENT")',
    ),
    Mutant(
        "two clients share a key",
        RECORDS,
        'parts = "\\0".join((self.client, self.instance, self.endpoint, self.key))',
        'parts = "\\0".join((self.instance, self.endpoint, self.key))',
    ),
    Mutant(
        "two endpoints share a key",
        RECORDS,
        'parts = "\\0".join((self.client, self.instance, self.endpoint, self.key))',
        'parts = "\\0".join((self.client, self.instance, self.key))',
    ),
    Mutant(
        "a business refusal is an unknown outcome",
        DELIVERIES,
        '    if isinstance(error, (InvalidInput, NotFound, Rejected)):\n        return "REFUSED"',
        '    if isinstance(error, (InvalidInput, NotFound, Rejected)):\n        return "UNKNOWN"',
    ),
    Mutant(
        "an unclear failure counts as not sent",
        DELIVERIES,
        "if not call.effect_sent or (processed is False and call.effects == 1):",
        "if not processed:",
    ),
    Mutant(
        "one failure of several effects counts as not sent",
        DELIVERIES,
        "processed is False and call.effects == 1",
        "processed is False",
    ),
    Mutant(
        "what never left is an unknown outcome", DELIVERIES, "if not call.effect_sent or (processed", "if (processed"
    ),
    Mutant(
        "an unclear failure counts as refused",
        DELIVERIES,
        'return "REFUSED" if processed else "UNKNOWN"',
        'return "REFUSED"',
    ),
    Mutant(
        "a refusal after an unclear attempt is final",
        DELIVERIES,
        'if state == "REFUSED" and begun.unresolved and',
        "if False and",
    ),
    Mutant(
        "a process that may be thought dead sends",
        DELIVERIES,
        "if self._monotonic() - self._seen > 0.7 * self.options.lease:",
        "if False:",
    ),
    Mutant(
        "an attempt may be repeated by the wire",
        DELIVERIES,
        "            repeatable=False,\n            guard",
        "            repeatable=True,\n            guard",
    ),
    Mutant("nothing is asked before each effect", DELIVERIES, "guard=self._must_be_seen,", "guard=None,"),
    Mutant(
        "who was fenced answers what it saw",
        DELIVERIES,
        '        if not written:\n            log.error("fenced"',
        '        if False:\n            log.error("fenced"',
    ),
    Mutant(
        "a caller that leaves cuts what was sent",
        DELIVERIES,
        "            attempt.left = True\n"
        "            if not attempt.call.effect_sent:\n"
        "                attempt.running.cancel()\n"
        "            raise",
        "            attempt.left = True\n            attempt.running.cancel()\n            raise",
    ),
    Mutant(
        "the deadline cuts what was sent",
        DELIVERIES,
        "                if not attempt.call.effect_sent:\n"
        "                    attempt.running.cancel()\n"
        "                    await asyncio.wait({attempt.ended}, timeout=2.0)",
        "                attempt.running.cancel()\n                await asyncio.wait({attempt.ended}, timeout=2.0)",
    ),
    Mutant(
        "an attempt ends with its caller's deadline",
        DELIVERIES,
        "deadline=call.deadline + LONG_READ,",
        "deadline=call.deadline,",
    ),
    Mutant(
        "the declared processing time is not waited for",
        DELIVERIES,
        "return longest + self.options.margin",
        "return 0.0",
    ),
    Mutant(
        "the margin of the clocks is left out", DELIVERIES, "return longest + self.options.margin", "return longest"
    ),
    Mutant(
        "a replay does not say so",
        DELIVERIES,
        'return replace(unpacked_answer(self.seal.read(begun.answer, where, "answer", begun.id)), replayed=True)',
        'return unpacked_answer(self.seal.read(begun.answer, where, "answer", begun.id))',
    ),
    Mutant(
        "an outcome that could not be written is dropped",
        DELIVERIES,
        "await self._sleep(first)\n                first = min(2 * first, longest)",
        "return end",
    ),
    Mutant(
        "a delivery is shown to any client", STANDING, 'if row is None or row["client"] != client:', "if row is None:"
    ),
    Mutant(
        "what is absent is sent again without waiting",
        FOLLOW,
        'elif began < (row["quarantine"] or 0.0):',
        "elif False:",
    ),
    Mutant("found twice counts as found", FOLLOW, "if len(matches) > 1:", "if len(matches) > 9:"),
    Mutant(
        "a search that fails counts as absent",
        FOLLOW,
        '            await self._later(row, f"search: {type(error).__name__}")\n            return',
        "            found = []",
    ),
    Mutant(
        "what cannot be searched is sent again",
        FOLLOW,
        '            await self._park(row, "unknown outcome")',
        "            await self._send(row, instance, endpoint, unresolved=True)",
    ),
    Mutant(
        "what is tried too often is tried for ever", FOLLOW, 'if row["tries"] >= journal.options.tries:', "if False:"
    ),
    Mutant(
        "a work that fails takes the others with it",
        STORE,
        "                done = [self._alone(work) for work, _ in group]",
        "                done = [_Failed(StoreUnavailable()) for work, _ in group]",
    ),
    Mutant(
        "the disk is not synced",
        STORE,
        '"synchronous = FULL"',
        '"synchronous = OFF"',
    ),
    Mutant(
        "lasting: two requests of a subject at once",
        RECORDS,
        "held = _held(connection, new) if new.subject else None",
        "held = None",
    ),
    Mutant(
        "lasting: what ended without effect counts as made",
        RECORDS,
        "void = and_(objects.c.final, objects.c.void)",
        "void = false()",
    ),
    Mutant(
        "lasting: what is created is not followed",
        RECORDS,
        'if follow and values.get("state") == "DONE":',
        "if False:",
    ),
    Mutant(
        "lasting: a late look writes over the one before",
        FOLLOWED,
        'table.changes == row["changes"]',
        "table.changes >= 0",
    ),
    Mutant(
        "lasting: what is closed is opened again by a notification",
        FOLLOWED,
        "CLOSED = and_(table.final, not_(table.void))",
        "CLOSED = and_(table.final, table.delivery == table.status)",
    ),
    Mutant(
        "lasting: a trigger during a look is forgotten",
        FOLLOWED,
        'case((table.turn == row["turn"], next_at), else_=table.next_at)',
        "next_at",
    ),
    Mutant("lasting: a change is not told", FOLLOWED, "    if told is not None:", "    if told is None:"),
    Mutant("lasting: messages overtake one another", OUTBOX, "_before.number < table.number", "_before.number < 0"),
    Mutant(
        "lasting: an accepted message is kept",
        OUTBOX,
        '        values["body"] = None',
        "        pass",
    ),
    Mutant("lasting: a page counts as accepted", CALLBACKS, 'or "err" not in said:', "and False:"),
    Mutant("lasting: another site may be told", CALLBACKS, "    return same and plain", "    return plain"),
    Mutant("lasting: a message is repeated for ever", CALLBACKS, 'if now - row["created"] >= patience:', "if False:"),
    Mutant(
        "lasting: what is followed is forgotten with its key",
        RECORDS,
        "past = and_(ended, table.updated < now - keep.kept, table.id.not_in(open_), table.id.not_in(untold))",
        "past = and_(ended, table.updated < now - keep.kept)",
    ),
)


def seen(mutant: Mutant) -> str:
    """The test that sees the mutant, `` when none does, or why it could not be tried."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder / name)
        file = folder / mutant.file
        text = file.read_text()
        if mutant.old not in text:
            return "the line is not there any more: write the mutant again"
        file.write_text(text.replace(mutant.old, mutant.new, 1))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
        run = subprocess.run(
            [*command, "-rfE", *mutant.tests],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if run.returncode == 0:
            return ""
        told = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return told[0].split(" - ")[0].rpartition("/")[2] if told else f"pytest ended with {run.returncode}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose sentence holds this word")
    parser.add_argument("--from", dest="first", type=int, default=1, help="begin with this one")
    chosen = parser.parse_args()
    began = time.monotonic()
    survivors = 0
    tried = [mutant for mutant in MUTANTS[chosen.first - 1 :] if chosen.only in mutant.what]
    for mutant in tried:
        by = seen(mutant)
        survivors += not by or "not there" in by
        print(f"{'seen ' if by else 'LIVES'} | {mutant.what} | {by}", flush=True)
    print(f"{len(tried)} mutants, {survivors} not seen, {time.monotonic() - began:.0f} s")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
