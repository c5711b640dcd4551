"""The delivery journal's rows: every step is one compare-and-set on state and attempt, run through `Store.run`.

    RECEIVED → SENDING → DONE | REFUSED | NOT_SENT | UNKNOWN
    NOT_SENT → SENDING                   again, with a back-off
    UNKNOWN  → DONE                      found at the publisher
             → DUPLICATED                found twice: an operator looks
             → SENDING                   surely not executed, or harmless twice
             → PARKED                    nothing can tell: an operator decides
    PARKED   → DONE | REFUSED | SENDING  by an operator, audited

A process owns what it is sending as long as it is seen alive (`nodes`); an owner that was thought dead can no longer
write, since the attempt is no longer `SENDING`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .tables import audit, deliveries, nodes, schedules

__all__ = ["ENDED", "Begun", "New", "State", "beat", "begin", "claim", "finish", "insert", "leave", "new_id", "turn"]

State = Literal["RECEIVED", "SENDING", "DONE", "REFUSED", "NOT_SENT", "UNKNOWN", "PARKED", "DUPLICATED"]
ENDED: tuple[State, ...] = ("DONE", "REFUSED", "NOT_SENT", "PARKED", "DUPLICATED")
AGAIN_AT_ONCE = ("idempotent", "at-least-once")
"""The classes whose unknown outcome may be driven again without waiting."""

table = deliveries.c

# What every call runs is built once: SQLAlchemy takes longer to build a statement than SQLite to carry it out.
# Parameters named as columns are written, those named `of_…` choose the row.
_MADE = {
    "sqlite": sqlite_insert(deliveries).on_conflict_do_nothing(),
    "postgresql": postgresql_insert(deliveries).on_conflict_do_nothing(),
}
_OF_ID = select(deliveries).where(table.id == bindparam("of_id"))
_OF_SCOPE = select(deliveries).where(table.scope == bindparam("of_scope")).with_for_update()
_ALIVE = select(nodes.c.id).where(nodes.c.id == bindparam("of_node"), nodes.c.seen >= bindparam("since"))
_STEP = update(deliveries).where(
    table.id == bindparam("of_id"), table.state == bindparam("of_state"), table.attempt == bindparam("of_attempt")
)
_END = _STEP.where(table.owner == bindparam("of_owner"))


def new_id() -> str:
    """A short name for a delivery: 16 lower-case letters and digits, fit for any publisher's comment field."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def insert(connection: Connection, into: Any) -> Any:
    """INSERT with `on_conflict_do_nothing`, in the database's dialect."""
    return (sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert)(into)


# --- processes --------------------------------------------------------------------------------------------------------


def beat(connection: Connection, node: str, now: float) -> None:
    """This process is alive."""
    row = insert(connection, nodes).values(id=node, seen=now)
    connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"seen": now}))


def leave(connection: Connection, node: str) -> None:
    """This process stops: what it still was sending is taken over at once."""
    connection.execute(delete(nodes).where(nodes.c.id == node))


def take_over(connection: Connection, now: float, lease: float, node: str = "", under_way: Collection[str] = ()) -> int:
    """What dead processes were sending has an unknown outcome. How many.

    So has what this very `node` holds without being at it (`under_way`): its commit succeeded and looked failed.
    """
    alive = select(nodes.c.id).where(nodes.c.seen >= now - lease)
    mine = and_(table.owner == node, table.updated < now - lease)
    forgotten = and_(mine, table.id.not_in(list(under_way))) if node else false()
    lost = (
        update(deliveries)
        .where(table.state == "SENDING", or_(table.owner.is_(None), table.owner.not_in(alive), forgotten))
        .values(**_unknown(now, table.patience))
    )
    taken = connection.execute(lost).rowcount
    connection.execute(delete(nodes).where(nodes.c.seen < now - 10 * lease))
    return taken


def _unknown(now: float, patience: Any) -> dict[str, Any]:
    return {
        "state": "UNKNOWN",
        "quarantine": patience + now,
        "next_at": now,
        "unresolved": True,
        "owed": True,
        "tries": 0,
        "updated": now,
    }


# --- a caller's request -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class New:
    """A delivery that may be new. `seal` seals the request for the row of that id."""

    id: str
    key: str
    client: str
    instance: str
    endpoint: str
    delivery: str
    reference: str
    fingerprint: str
    patience: float
    request_id: str
    seal: Callable[[str], bytes]

    @property
    def scope(self) -> str:
        parts = "\0".join((self.client, self.instance, self.endpoint, self.key))
        return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()


Verdict = Literal["go", "replay", "mismatch", "in-progress", "unknown", "pending", "parked"]


@dataclass(frozen=True, slots=True)
class Begun:
    """What to do with the request: only `go` sends. The rest is the row as it now stands."""

    verdict: Verdict
    id: str
    attempt: int
    reference: str
    unresolved: bool
    answer: bytes | None = None
    upstream_id: str = ""


def begin(connection: Connection, new: New, node: str, now: float, lease: float, *, defer: bool = False) -> Begun:
    """The row of this key, made or found; in state `SENDING` and owned by `node` when the verdict is `go`."""
    row = {
        "id": new.id,
        "scope": new.scope,
        "key": new.key,
        "client": new.client,
        "instance": new.instance,
        "endpoint": new.endpoint,
        "delivery": new.delivery,
        "reference": new.reference,
        "fingerprint": new.fingerprint,
        "state": "RECEIVED" if defer else "SENDING",
        "attempt": 0 if defer else 1,
        "owner": node,
        "unresolved": False,
        "owed": defer,
        "tries": 0,
        "patience": new.patience,
        "next_at": now if defer else None,
        "created": now,
        "updated": now,
        "request": new.seal(new.id),
        "request_id": new.request_id,
    }
    if connection.execute(_MADE[connection.dialect.name], row).rowcount == 1:
        return Begun("pending" if defer else "go", new.id, 0 if defer else 1, new.reference, False)
    found = connection.execute(_OF_SCOPE, {"of_scope": row["scope"]}).mappings().one()
    state = found["state"]
    if found["fingerprint"] != new.fingerprint:
        return _begun("mismatch", found)
    if state == "SENDING":
        if found["id"] == new.id:
            return _begun("go", found)  # this very transaction was already committed
        if connection.execute(_ALIVE, {"of_node": found["owner"], "since": now - lease}).first():
            return _begun("in-progress", found)
        _step(connection, found, _unknown(now, found["patience"]))
        state = "UNKNOWN"
    if state == "DONE":
        return _begun("replay", found)
    if state in ("PARKED", "DUPLICATED"):
        return _begun("parked", found)
    if state == "RECEIVED":
        return _begun("pending", found)
    if state == "UNKNOWN" and found["delivery"] not in AGAIN_AT_ONCE:
        _step(connection, found, {"next_at": now})
        return _begun("unknown", found)
    again = resend(now, node, found["attempt"], unresolved=found["unresolved"] or state == "UNKNOWN")
    if found["request"] is None:
        again["request"] = new.seal(found["id"])
    _step(connection, {**found, "state": state}, again)
    return _begun("go", {**found, **again})


def resend(now: float, node: str, attempt: int, *, unresolved: bool) -> dict[str, Any]:
    """The values of a next attempt."""
    return {
        "state": "SENDING",
        "attempt": attempt + 1,
        "owner": node,
        "unresolved": unresolved,
        "next_at": None,
        "quarantine": None,
        "updated": now,
        "err_class": "",
    }


def _begun(verdict: Verdict, row: Any) -> Begun:
    return Begun(
        verdict,
        row["id"],
        row["attempt"],
        row["reference"],
        row["unresolved"],
        row["answer"],
        row["upstream_id"],
    )


def _step(connection: Connection, row: Any, values: dict[str, Any]) -> bool:
    of = {"of_id": row["id"], "of_state": row["state"], "of_attempt": row["attempt"]}
    return connection.execute(_STEP, {**values, **of}).rowcount == 1


def step(connection: Connection, delivery: str, state: str, attempt: int, values: dict[str, Any]) -> bool:
    """One compare-and-set; False when somebody else was first."""
    return _step(connection, {"id": delivery, "state": state, "attempt": attempt}, values)


def find(connection: Connection, delivery: str) -> RowMapping | None:
    """The row of a delivery."""
    return connection.execute(_OF_ID, {"of_id": delivery}).mappings().first()


def finish(connection: Connection, delivery: str, attempt: int, node: str, now: float, values: dict[str, Any]) -> bool:
    """Writes how an attempt ended; False when this process was thought dead and may no longer write."""
    end, of = _END, {"of_id": delivery, "of_state": "SENDING", "of_attempt": attempt, "of_owner": node}
    if values["state"] == "UNKNOWN":
        unknown = _unknown(now, table.patience)
        end = end.values(quarantine=unknown.pop("quarantine"))
        values = {**unknown, **values}
    if connection.execute(end, {"updated": now, **values, **of}).rowcount == 1:
        return True
    mine = (table.id == delivery, table.attempt == attempt, table.owner == node)
    found = connection.execute(select(table.state).where(*mine)).scalar()
    return bool(found == values["state"] and found != "UNKNOWN")  # committed although its answer was lost


# --- follow-up --------------------------------------------------------------------------------------------------------


def claim(connection: Connection, now: float, hold: float, most: int) -> Sequence[RowMapping]:
    """Deliveries to look at now; nobody else is given them for `hold` seconds."""
    due = select(deliveries).where(table.next_at <= now, table.state.in_(("RECEIVED", "UNKNOWN", "NOT_SENT")))
    rows = connection.execute(due.order_by(table.next_at).limit(most).with_for_update(skip_locked=True)).mappings()
    found = rows.all()
    if found:
        held = update(deliveries).where(table.id.in_([row["id"] for row in found]))
        connection.execute(held.values(next_at=now + hold))
    return found


def turn(connection: Connection, name: str, now: float, interval: float, *, at_start: bool) -> float:
    """0 when it is this process's turn to run the schedule `name`, now; else the seconds until the next one."""
    first = now if at_start else now + interval
    connection.execute(insert(connection, schedules).values(name=name, due=first).on_conflict_do_nothing())
    mine = update(schedules).where(schedules.c.name == name, schedules.c.due <= now).values(due=now + interval)
    if connection.execute(mine).rowcount == 1:
        return 0.0
    due = connection.execute(select(schedules.c.due).where(schedules.c.name == name)).scalar_one()
    return max(0.05, min(float(due) - now, interval))


def purge(connection: Connection, now: float, erased_after: float, forgotten_after: float) -> tuple[int, int]:
    """Erases what may be personal of ended deliveries, then forgets them. How many of each."""
    ended = table.state.in_(("DONE", "REFUSED", "NOT_SENT"))
    old = select(table.id).where(ended, table.updated < now - erased_after)
    erased = connection.execute(
        update(deliveries)
        .where(table.id.in_(old), or_(table.request.is_not(None), table.answer.is_not(None)))
        .values(request=None, answer=None)
    ).rowcount
    gone = connection.execute(delete(deliveries).where(ended, table.updated < now - forgotten_after)).rowcount
    return erased, gone


# --- the operator's trail ---------------------------------------------------------------------------------------------

GENESIS = "0" * 64


def write_audit(connection: Connection, now: float, actor: str, action: str, target: str, detail: str) -> None:
    """Adds a row that holds the digest of the one before: none can be changed or removed unseen."""
    if connection.dialect.name != "sqlite":
        connection.execute(select(func.pg_advisory_xact_lock(7236452)))
    last = connection.execute(select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)).first()
    number, before = (last[0] + 1, last[1]) if last else (1, GENESIS)
    values: dict[str, Any] = {
        "number": number,
        "at": round(now, 3),
        "actor": actor,
        "action": action,
        "target": target,
        "detail": detail,
    }
    connection.execute(audit.insert().values(**values, hash=_digest(before, values)))


def verify_audit(connection: Connection) -> tuple[int, int | None]:
    """How many rows, and the number of the first that does not hold, if any."""
    before, expected, count = GENESIS, 1, 0
    for row in connection.execute(select(audit).order_by(audit.c.number)).mappings():
        values = {name: row[name] for name in ("number", "at", "actor", "action", "target", "detail")}
        if row["number"] != expected or row["hash"] != _digest(before, values):
            return count, expected
        before, expected, count = row["hash"], expected + 1, count + 1
    return count, None


def _digest(before: str, values: dict[str, Any]) -> str:
    return hashlib.sha256(f"{before}\n{json.dumps(values, sort_keys=True)}".encode()).hexdigest()
