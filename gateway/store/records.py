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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, false, func, not_, or_, select, update

from . import contents, followed, statements
from .outbox import Told, tell
from .statements import insert, insert_of
from .tables import audit, deliveries, nodes
from .tables import callbacks as outbox
from .tables import followed as objects

__all__ = ["ENDED", "Begun", "New", "State", "beat", "begin", "claim", "finish", "insert", "leave", "new_id"]

State = Literal["RECEIVED", "SENDING", "DONE", "REFUSED", "NOT_SENT", "UNKNOWN", "PARKED", "DUPLICATED"]
ENDED: tuple[State, ...] = ("DONE", "REFUSED", "NOT_SENT", "PARKED", "DUPLICATED")
UNDER_WAY: tuple[State, ...] = ("RECEIVED", "SENDING", "UNKNOWN")
OPEN: tuple[State, ...] = ("RECEIVED", "UNKNOWN", "NOT_SENT")
"""The states in which a delivery may be due."""
PARKED: tuple[State, ...] = ("PARKED", "DUPLICATED")
"""The states that wait for a person."""
AGAIN_AT_ONCE = ("idempotent", "at-least-once")
"""The classes whose unknown outcome may be driven again without waiting."""
READS = 2
"""The forms in which this version reads a request: 1 whole in its row, 2 its long contents in rows of their own."""

table = deliveries.c

# What every call runs is built once: SQLAlchemy takes longer to build a statement than SQLite to carry it out.
# Parameters named as columns are written, those named `of_…` choose the row.
_made = cache(lambda dialect: insert_of(dialect)(deliveries).on_conflict_do_nothing())
_OF_ID = select(deliveries).where(table.id == bindparam("of_id"))
_OF_SCOPE = select(deliveries).where(table.scope == bindparam("of_scope")).with_for_update()
_ALIVE = select(nodes.c.id).where(nodes.c.id == bindparam("of_node"), nodes.c.seen >= bindparam("since"))
_BEHIND = select(nodes.c.id).where(nodes.c.reads < READS, nodes.c.seen >= bindparam("since")).limit(1)
_STEP = update(deliveries).where(
    table.id == bindparam("of_id"), table.state == bindparam("of_state"), table.attempt == bindparam("of_attempt")
)
_END = _STEP.where(table.owner == bindparam("of_owner"))


def new_id() -> str:
    """A short name for a delivery: 16 lower-case letters and digits, fit for any publisher's comment field."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


# --- processes --------------------------------------------------------------------------------------------------------


def beat(connection: Connection, node: str, now: float) -> None:
    """This process is alive."""
    row = insert(connection, nodes).values(id=node, seen=now, reads=READS)
    connection.execute(row.on_conflict_do_update(index_elements=["id"], set_={"seen": now}))


def leave(connection: Connection, node: str) -> None:
    """This process stops: what it still was sending is taken over at once."""
    connection.execute(delete(nodes).where(nodes.c.id == node))


def take_over(connection: Connection, now: float, lease: float, node: str = "", under_way: Collection[str] = ()) -> int:
    """What dead processes were sending has an unknown outcome, how many; what they held to look at is due now.

    So has what this very `node` holds without being at it (`under_way`): its commit succeeded and looked failed. Itself
    it knows to live, whatever a clock that was set forward makes of the hour it was last seen.
    """
    alive = select(nodes.c.id).where(or_(nodes.c.seen >= now - lease, nodes.c.id == node))
    mine = and_(table.owner == node, table.updated < now - lease)
    forgotten = and_(mine, table.id.not_in(list(under_way))) if node else false()
    lost = (
        update(deliveries)
        .where(table.state == "SENDING", or_(table.owner.is_(None), table.owner.not_in(alive), forgotten))
        .values(**_unknown(now, table.patience))
    )
    taken = connection.execute(lost).rowcount
    held = and_(table.next_at > now, table.owner.is_not(None), table.owner.not_in(alive), table.owner != node)
    connection.execute(update(deliveries).where(table.state.in_(OPEN), held).values(next_at=now))
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
    """A delivery that may be new. `seal` seals the request for the row of that id; `caller` seals whom to tell later.

    `pieces`, where the request has long contents, seals it for the rows of that id: what stands in the delivery's, then
    one piece after the other.
    `subject` is the digest of what the effect is about; what it creates is followed from `follow_after` seconds on,
    with the query that `expected` seals.
    """

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
    subject: str = ""
    follow_after: float | None = None
    expected: Callable[[str], bytes] | None = None
    caller: Callable[[str], bytes] | None = None
    pieces: Callable[[str], Iterator[bytes]] | None = None

    @property
    def scope(self) -> str:
        parts = "\0".join((self.client, self.instance, self.endpoint, self.key))
        return hashlib.sha256(parts.encode("utf-8", "surrogateescape")).hexdigest()


Verdict = Literal["go", "replay", "mismatch", "in-progress", "unknown", "pending", "accepted", "parked", "busy", "held"]
"""`busy` and `held`: another delivery of the same subject is under way, or waits for a person."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What to do with the request: only `go` sends, and `accepted` is a request newly kept for later. The rest is the
    row as it now stands; `id` is empty when it is not the caller's own delivery that stands in the way.

    `earlier` are the ids made before for the same subject; `tells` says whether the caller takes callbacks.
    """

    verdict: Verdict
    id: str
    attempt: int
    reference: str
    unresolved: bool
    answer: bytes | None = None
    upstream_id: str = ""
    earlier: tuple[str, ...] = ()
    tells: bool = False
    tries: int = 0


def begin(connection: Connection, new: New, node: str, now: float, lease: float, *, defer: bool = False) -> Begun:
    """The row of this key, made or found; in state `SENDING` and owned by `node` when the verdict is `go`."""
    held = _held(connection, new) if new.subject else None
    request, pieces = _sealed(connection, new, new.id, now - lease)
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
        "request": request,
        "request_id": new.request_id,
        "subject": new.subject,
        "follow_after": new.follow_after,
        "expected": new.expected and new.expected(new.id),
        "caller": new.caller and new.caller(new.id),
    }
    if held is None and connection.execute(_made(connection.dialect.name), row).rowcount == 1:
        contents.write(connection, new.id, new.instance, pieces)
        return _going(connection, row)
    row_found = connection.execute(_OF_SCOPE, {"of_scope": row["scope"]}).mappings().first()
    if row_found is None:
        assert held is not None
        return held
    found = dict(row_found)
    state = found["state"]
    if found["fingerprint"] != new.fingerprint:
        return _begun("mismatch", found)
    if state in ("SENDING", "RECEIVED") and found["id"] == new.id:
        return _going(connection, found)  # this very transaction was already committed
    if state == "SENDING" and not defer:
        if connection.execute(_ALIVE, {"of_node": found["owner"], "since": now - lease}).first():
            return _begun("in-progress", found)
        _step(connection, found, _unknown(now, found["patience"]))
        state = "UNKNOWN"
    if state == "DONE":
        return _begun("replay", found)
    if state in PARKED:
        return _begun("parked", found)
    if state == "RECEIVED" or (defer and is_under_way(found)):
        return _begun("pending", found)
    if state == "UNKNOWN" and found["delivery"] not in AGAIN_AT_ONCE:
        _step(connection, found, {"next_at": now})
        return _begun("unknown", found)
    if held is not None:
        return held
    if defer:
        again: dict[str, Any] = {"state": "RECEIVED", "owed": True, "next_at": now, "updated": now, "err_class": ""}
    else:
        again = resend(now, node, found["attempt"], unresolved=found["unresolved"] or state == "UNKNOWN")
        again["owed"] = False
    again["tries"] = 0
    again["caller"] = new.caller and new.caller(found["id"])
    if found["request"] is None:
        again["request"], pieces = _sealed(connection, new, found["id"], now - lease)
        contents.erase(connection, found["id"])
        contents.write(connection, found["id"], new.instance, pieces)
    _step(connection, {**found, "state": state}, again)
    return _going(connection, {**found, **again})


def _sealed(connection: Connection, new: New, delivery: str, since: float) -> tuple[bytes, Iterable[bytes]]:
    """What the row of a delivery holds of its request, and the pieces to write beside it; everything in the row while a
    process is alive that could not read them.
    """
    if new.pieces is None or connection.execute(_BEHIND, {"since": since}).first():
        return new.seal(delivery), ()
    pieces = new.pieces(delivery)
    return next(pieces), pieces


def is_under_way(row: Mapping[str, Any]) -> bool:
    """Whether the gateway itself still has to bring the delivery to its end."""
    return row["state"] in UNDER_WAY or (row["state"] == "NOT_SENT" and row["next_at"] is not None)


def _held(connection: Connection, new: New) -> Begun | None:
    """What stands in the way of another delivery of this subject; nothing new will until the transaction ends."""
    if connection.dialect.name != "sqlite":  # SQLite has one writer at a time
        connection.execute(select(func.pg_advisory_xact_lock(int(new.subject[:15], 16))))
    waits = or_(table.state.in_((*UNDER_WAY, *PARKED)), and_(table.state == "NOT_SENT", table.next_at.is_not(None)))
    other = select(deliveries).where(table.subject == new.subject, table.scope != new.scope, waits)
    found = connection.execute(other.order_by(table.created)).mappings().first()
    if found is None:
        return None
    held = _begun("held" if found["state"] in PARKED else "busy", dict(found))
    return held if found["client"] == new.client else replace(held, id="")


def earlier(connection: Connection, subject: str) -> tuple[str, ...]:
    """The publisher's ids made for a subject and not known to have ended without effect, oldest first."""
    if not subject:
        return ()
    void = and_(objects.c.final, objects.c.void)
    made = (
        select(table.upstream_id)
        .select_from(deliveries.outerjoin(objects, objects.c.delivery == table.id))
        .where(table.subject == subject, table.state == "DONE", table.upstream_id != "", ~func.coalesce(void, false()))
        .order_by(table.created, table.id)
    )
    return tuple(dict.fromkeys(connection.execute(made).scalars()))


def _going(connection: Connection, row: Mapping[str, Any]) -> Begun:
    if row["state"] == "RECEIVED":
        return _begun("accepted", row)
    return replace(_begun("go", row), earlier=earlier(connection, row["subject"]))


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


def _begun(verdict: Verdict, row: Mapping[str, Any]) -> Begun:
    return Begun(
        verdict,
        row["id"],
        row["attempt"],
        row["reference"],
        row["unresolved"],
        row.get("answer"),
        row.get("upstream_id", ""),
        tells=row["caller"] is not None,
        tries=row["tries"],
    )


def _step(connection: Connection, row: Any, values: dict[str, Any]) -> bool:
    of = {"of_id": row["id"], "of_state": row["state"], "of_attempt": row["attempt"]}
    return connection.execute(_STEP, {**values, **of}).rowcount == 1


def step(
    connection: Connection, delivery: str, state: str, attempt: int, values: dict[str, Any], told: Told | None = None
) -> bool:
    """One compare-and-set, with what follows from it; False when somebody else was first."""
    if not _step(connection, {"id": delivery, "state": state, "attempt": attempt}, values):
        return False
    follows(connection, delivery, values, told, values.get("updated", 0.0))
    return True


def follows(
    connection: Connection,
    delivery: str,
    values: Mapping[str, Any],
    told: Told | None,
    now: float,
    follow: bool = True,
) -> None:
    """What belongs to the same transaction as an end: what was created is followed, its caller is told, nothing is left
    of a request that is erased.
    """
    if "request" in values and values["request"] is None:
        contents.erase(connection, delivery)
    if follow and values.get("state") == "DONE":
        followed.follow(connection, now, delivery)
    if told is not None:
        tell(connection, delivery, told, now)


def find(connection: Connection, delivery: str) -> RowMapping | None:
    """The row of a delivery."""
    return connection.execute(_OF_ID, {"of_id": delivery}).mappings().first()


def finish(
    connection: Connection,
    delivery: str,
    attempt: int,
    node: str,
    now: float,
    values: dict[str, Any],
    told: Callable[[], Told | None] = lambda: None,
    follow: bool = True,
) -> bool:
    """Writes how an attempt ended, with the message for its caller where `told` gives one; False when this process was
    thought dead and may no longer write. `follow` may be False where what is created is not followed, to spare a step.
    """
    end, of = _END, {"of_id": delivery, "of_state": "SENDING", "of_attempt": attempt, "of_owner": node}
    if values["state"] == "UNKNOWN":
        unknown = _unknown(now, table.patience)
        end = end.values(quarantine=unknown.pop("quarantine"))
        values = {**unknown, **values}
    if connection.execute(end, {"updated": now, **values, **of}).rowcount == 1:
        follows(connection, delivery, values, told(), now, follow)
        return True
    mine = (table.id == delivery, table.attempt == attempt, table.owner == node)
    found = connection.execute(select(table.state).where(*mine)).scalar()
    return bool(found == values["state"] and found != "UNKNOWN")  # committed although its answer was lost


# --- follow-up --------------------------------------------------------------------------------------------------------


def claim(
    connection: Connection, now: float, hold: float, most: int, node: str, each: int = 1_000, busy: Collection[str] = ()
) -> Sequence[dict[str, Any]]:
    """Deliveries to look at now, as `statements.claim`; this `node` holds them, for as long as it lives."""
    due = table.state.in_(OPEN)
    return statements.claim(connection, deliveries, now, hold, most, due, each=each, busy=busy, owner=node)


def first_due(connection: Connection) -> float | None:
    """When the first delivery is to be looked at."""
    return statements.first_due(connection, deliveries, table.state.in_(OPEN))


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds: how long what may be personal is kept after the end (by instance where it differs), how long keys and
    references are, and how long what was made for a subject is remembered.
    """

    personal: float
    kept: float
    subjects: float
    by_instance: Mapping[str, float] = field(default_factory=dict)


def purge(connection: Connection, now: float, keep: Retention) -> tuple[int, int]:
    """Erases what may be personal of what has ended, then forgets it. How many deliveries of each.

    What is still followed or still to be told is kept, and what was made for a subject as long as it counts.
    """
    erased = 0
    ended = and_(table.state.in_(("DONE", "REFUSED", "NOT_SENT")), table.next_at.is_(None))
    open_ = select(objects.c.delivery).where(objects.c.next_at.is_not(None))
    untold = select(outbox.c.delivery).where(outbox.c.state == "PENDING")
    others = [*keep.by_instance]
    for instance, after in [("", keep.personal), *keep.by_instance.items()]:

        def old(columns: Any, where: str = instance, before: float = now - after) -> Any:
            here = columns.instance == where if where else columns.instance.not_in(others)
            return and_(here, columns.updated < before)

        content = or_(table.request.is_not(None), table.answer.is_not(None))
        erased += connection.execute(
            update(deliveries).where(ended, old(table), content).values(request=None, answer=None, expected=None)
        ).rowcount
        told = (table.caller.is_not(None), table.id.not_in(open_), table.id.not_in(untold))
        connection.execute(update(deliveries).where(ended, old(table), *told).values(caller=None))
        shown = (or_(objects.c.progress.is_not(None), objects.c.expected.is_not(None)), objects.c.next_at.is_(None))
        connection.execute(update(objects).where(old(objects.c), *shown).values(progress=None, expected=None))
        dead = (outbox.c.state == "DEAD", outbox.c.body.is_not(None))
        connection.execute(update(outbox).where(old(outbox.c), *dead).values(body=None))
    counts = and_(table.subject != "", table.state == "DONE", table.updated >= now - keep.subjects)
    void = select(objects.c.delivery).where(objects.c.final, objects.c.void)
    past = and_(ended, table.updated < now - keep.kept, table.id.not_in(open_), table.id.not_in(untold))
    gone = connection.execute(delete(deliveries).where(past, or_(not_(counts), table.id.in_(void)))).rowcount
    contents.sweep(connection)
    known = select(table.id)
    connection.execute(delete(objects).where(objects.c.delivery.not_in(known)))
    told_long_ago = and_(outbox.c.state != "PENDING", outbox.c.updated < now - keep.kept)
    connection.execute(delete(outbox).where(or_(told_long_ago, outbox.c.delivery.not_in(known))))
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
