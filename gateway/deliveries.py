"""Never lost, never twice: an effect is journaled before its first byte, and its outcome before its answer.

`Deliveries.submit` carries a caller's request out, or answers by what the journal knows of its key. What has an unknown
outcome, and what is accepted for later, is brought to its end by `Follow` (in `follow_up.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sdk.cadence import FOLLOW_AT, next_look
from sdk.call import Call, within
from sdk.errors import InvalidInput, NotFound, Rejected, RelaisError, Text, UpstreamUnavailable, english
from sdk.files import File
from sdk.invoke import Arguments, expected_of, look_of, run
from sdk.spec import Endpoint

from .callbacks import message, told
from .errors import InProgress, Internal, KeyMismatch, NeedsOperator, OutcomeUnknown, Pending
from .journal import log
from .registry import Instance
from .sealing import Seal
from .sent import Sent, delivery_key, subject_of
from .settings import DeliveryOptions
from .standing import Standing, instant, named
from .store import Store, StoreUnavailable, contents, followed, records
from .store.outbox import Told
from .store.records import Begun, New, Retention

__all__ = ["LONG_READ", "Answered", "Deliveries", "End", "storable", "timed_out"]

LONG_READ = 120.0
"""Seconds an attempt goes on after its caller was answered, so that its outcome becomes known."""
LONGEST_PAUSE = 3600.0
LONGEST_REQUEST = 100_000_000
"""Bytes a request that is read again may have."""
LONGEST_NUMBER = 500
"""Characters of a publisher's number that are kept."""
WRITING = (0.05, 2.0)
"""First and longest pause between two tries to write an outcome that is known."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The result of an effect: its JSON, or the file it is. `replayed` when it is that of an earlier call, `ticket`
    when it only says where the result will be.
    """

    json: bytes = b""
    file: File | None = None
    replayed: bool = False
    ticket: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended: its state, and the result or the error that tells it."""

    state: str
    answer: Answered | None = None
    error: RelaisError | None = None


@dataclass(slots=True)
class _Attempt:
    """`left`: its caller was answered without the outcome, or is gone, and is to be told; `owed`: it had none."""

    instance: Instance
    endpoint: Endpoint
    begun: Begun
    call: Call
    owed: bool
    left: bool = False
    running: asyncio.Task[Any] = field(init=False)
    ended: asyncio.Task[End] = field(init=False)


class Deliveries:
    """The journal of this process. `whom` gives what is kept of a client's request to tell its caller later; `clock`
    gives seconds since 1970, `monotonic` those of a clock never set back.
    """

    def __init__(
        self,
        store: Store,
        seal: Seal,
        options: DeliveryOptions,
        *,
        whom: Callable[[str, Mapping[str, str], str | None], bytes | None] = lambda client, headers, address: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.seal = seal
        self.options = options
        self.clock = clock
        self.standing = Standing(store, seal)
        self._whom = whom
        self.node = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._monotonic = monotonic
        self._sleep = sleep
        self._seen = float("-inf")
        self._attempts: set[asyncio.Task[Any]] = set()
        self.under_way: set[str] = set()
        """The deliveries this process is sending now."""
        self.wake: Callable[[str, float], None] = lambda kind, at: None
        """Told, once it is written, that work of a kind is due at an instant: a hint, which may get lost."""

    async def beat(self) -> None:
        """Tells the others that this process lives. Raises `StoreUnavailable`."""
        began = self._monotonic()
        await self.store.run(lambda connection: records.beat(connection, self.node, self.clock()))
        self._seen = began

    async def leave(self) -> None:
        """Tells the others that this process ends."""
        with suppress(StoreUnavailable):
            await self.store.run(lambda connection: records.leave(connection, self.node))

    async def purge(self, personal: Mapping[str, float]) -> None:
        """Erases what may be personal of what has ended, and forgets what is old; `personal` is instance → days."""
        options, now, day = self.options, self.clock(), 86_400.0
        keep = Retention(
            options.personal_days * day,
            options.kept_days * day,
            options.subject_days * day,
            {instance: days * day for instance, days in personal.items()},
        )

        def work(connection: Any) -> tuple[int, int]:
            followed.follow(connection, now)
            return records.purge(connection, now, keep)

        erased, forgotten = await self.store.run(work)
        if erased or forgotten:
            await self.store.wipe()
            log.info("purged", erased=erased, forgotten=forgotten)

    async def settled(self) -> None:
        """Waits for the attempts still under way (at shutdown)."""
        if self._attempts:
            await asyncio.wait(set(self._attempts))

    # --- a caller's request -------------------------------------------------------------------------------------------

    async def submit(
        self,
        instance: Instance,
        endpoint: Endpoint,
        sent: Sent,
        body: Any,
        arguments: Arguments,
        *,
        client: str,
        headers: Mapping[str, str],
        call: Call,
        callback_url: str | None = None,
    ) -> Answered:
        """Carries the request out once, whatever happens, or gives the answer of the first time. `callback_url` is
        where the caller wants to be told what comes later, when it says so itself.
        """
        defer = endpoint.declaration.deferred
        caller = self._whom(client, headers, callback_url)
        if sent.cut:
            fingerprint = await asyncio.to_thread(sent.fingerprint, endpoint, body)
        else:
            fingerprint = sent.fingerprint(endpoint, body)
        new = self._new(instance, endpoint, sent, body, fingerprint, arguments, client, headers, call, caller)
        self._must_be_seen()
        begun: Begun = await self.store.run(
            lambda connection: records.begin(connection, new, self.node, self.clock(), self.options.lease, defer=defer),
            sent.size(),
        )
        call.notes["delivery"] = begun.id
        if begun.verdict == "go":
            return await self._carried_out(instance, endpoint, arguments, begun, call)
        call.notes["verdict"] = begun.verdict
        if begun.verdict in ("accepted", "unknown"):
            self.wake("deliveries", self.clock())
        if begun.verdict == "accepted" or (defer and begun.verdict in ("replay", "pending", "unknown")):
            return Answered(ticket(begun.id), replayed=begun.verdict != "accepted", ticket=True)
        if begun.verdict == "replay":
            return self.replayed(instance.where, begun)
        raise _standing(begun)

    def _new(
        self,
        instance: Instance,
        endpoint: Endpoint,
        sent: Sent,
        body: Any,
        fingerprint: str,
        arguments: Arguments,
        client: str,
        headers: Mapping[str, str],
        call: Call,
        caller: bytes | None,
    ) -> New:
        declaration = endpoint.declaration
        key = delivery_key(headers, endpoint, body, fingerprint) or f"r:{secrets.token_hex(16)}"
        delivery = records.new_id()
        theirs = body.get(declaration.reference) if declaration.reference and isinstance(body, dict) else None
        follow_after, expected = None, []
        if declaration.follow is not None:
            follow_after = next_look(declaration.follow_at or FOLLOW_AT, 0.0)
            expected = expected_of(endpoint, look_of(endpoint, instance.endpoints), arguments)
        return New(
            id=delivery,
            key=key,
            client=client,
            instance=instance.where,
            endpoint=named(endpoint),
            delivery=declaration.delivery or "at-most-once",
            reference=str(theirs) if theirs not in (None, "") else delivery,
            fingerprint=fingerprint,
            patience=self._patience(instance, endpoint),
            request_id=call.request_id,
            seal=lambda row: self.seal.seal(sent.packed(), instance.where, "request", row),
            subject=subject_of(instance.where, endpoint, arguments),
            follow_after=follow_after,
            expected=(lambda row: self.seal.seal(json.dumps(expected).encode(), instance.where, "expected", row))
            if expected
            else None,
            caller=(lambda row: self.seal.seal(caller, instance.where, "caller", row)) if caller else None,
            pieces=partial(self._sealed, sent, instance.where) if sent.cut else None,
        )

    def _sealed(self, sent: Sent, where: str, row: str) -> Iterator[bytes]:
        """A request in pieces, each bound to the row it is for."""
        for number, piece in enumerate(sent.in_pieces()):
            place = ("content", contents.name(row, number - 1)) if number else ("request", row)
            yield self.seal.seal(piece, where, *place)

    async def request(self, row: dict[str, Any]) -> Sent:
        """What was sent, of a row that still has it. Raises `Unsealable`; `ValueError` when something is missing."""
        where, delivery, sealed = row["instance"], row["id"], row.pop("request")  # it may be long: nobody else keeps it

        def read(connection: Any) -> Sent:
            kept = contents.read(connection, delivery)
            pieces = (self.seal.open(piece, where, "content", place) for place, piece in kept)
            return Sent.unpacked(self.seal.open(sealed, where, "request", delivery), pieces)

        return await self.store.run(read, LONGEST_REQUEST)

    def _patience(self, instance: Instance, endpoint: Endpoint) -> float:
        longest = endpoint.declaration.longest
        if longest is None:
            return self.options.quarantine
        return longest + self.options.margin

    def _must_be_seen(self) -> None:
        """A process the others may think dead sends nothing."""
        if self._monotonic() - self._seen > 0.7 * self.options.lease:
            raise StoreUnavailable(detail="not seen alive")

    async def _carried_out(
        self, instance: Instance, endpoint: Endpoint, arguments: Arguments, begun: Begun, call: Call
    ) -> Answered:
        attempt = self.start(instance, endpoint, arguments, begun, call)
        try:
            await asyncio.wait({attempt.ended}, timeout=call.remaining())
            if not attempt.ended.done():
                if not attempt.call.effect_sent:
                    attempt.running.cancel()
                    await asyncio.wait({attempt.ended}, timeout=2.0)
                if not attempt.ended.done():
                    attempt.left = True
                    raise _unknown(begun, detail="deadline")
        except asyncio.CancelledError:
            attempt.left = True
            if not attempt.call.effect_sent:
                attempt.running.cancel()
            raise
        finally:
            call.exchanges, call.upstream_seconds = attempt.call.exchanges, attempt.call.upstream_seconds
        end = attempt.ended.result()
        if end.answer is not None:
            return end.answer
        assert end.error is not None
        raise end.error

    def told(
        self, row: Mapping[str, Any], state: str, *, data: Any = None, error: RelaisError | None = None
    ) -> Told | None:
        """The message for the caller of the delivery `row` that is now in `state`; None where it is not an end."""
        if state in ("RECEIVED", "SENDING", "UNKNOWN"):
            return None
        # A person still decides about what is parked, and what is followed goes on.
        final = state not in records.PARKED and not (state == "DONE" and row["follow_after"] is not None)
        at = instant(self.clock())
        return told(self.seal, row["instance"], message(row, at, state=state, final=final, data=data, error=error))

    # --- an attempt ---------------------------------------------------------------------------------------------------

    def start(
        self, instance: Instance, endpoint: Endpoint, arguments: Arguments, begun: Begun, call: Call, owed: bool = False
    ) -> _Attempt:
        """Runs the method of an attempt whose row is committed, in tasks of its own; `ended` writes the outcome."""
        own = replace(
            call,
            deadline=call.deadline + LONG_READ,
            reference=begun.reference,
            earlier=begun.earlier,
            made=partial(self.standing.made, instance.where),
            repeatable=False,
            guard=self._must_be_seen,
        )
        attempt = _Attempt(instance, endpoint, begun, own, owed)

        async def go_on() -> Any:
            async with within(own):
                return await run(instance.connector, endpoint, arguments.keywords)

        attempt.running = asyncio.create_task(go_on())
        attempt.ended = asyncio.create_task(self._ended(attempt))
        self._attempts.add(attempt.ended)
        attempt.ended.add_done_callback(self._attempts.discard)
        self.under_way.add(begun.id)
        attempt.ended.add_done_callback(lambda _: self.under_way.discard(begun.id))
        return attempt

    async def _ended(self, attempt: _Attempt) -> End:
        begun = attempt.begun
        await asyncio.wait({attempt.running})
        end, values = self._outcome(attempt)
        if end.state in ("DONE", "REFUSED"):
            values |= forgotten(attempt.endpoint)
        first, longest = WRITING
        write = partial(
            records.finish,
            delivery=begun.id,
            attempt=begun.attempt,
            node=self.node,
            values=values,
            told=partial(self._message, attempt, end, values),
            follow=attempt.endpoint.declaration.follow is not None,
        )
        while True:
            try:
                written = await self.store.run(partial(write, now=self.clock()))
                break
            except StoreUnavailable as error:
                # The outcome is known: it is kept until it can be written, else the row ends as unknown.
                log.error("outcome_not_written", delivery=begun.id, detail=error.detail)
                if self.store.closed:
                    return End("UNKNOWN", error=_unknown(begun, detail="closed"))
                await self._sleep(first)
                first = min(2 * first, longest)
        if not written:
            log.error("fenced", delivery=begun.id, attempt=begun.attempt, state=end.state)
            return End("UNKNOWN", error=_unknown(begun, detail="fenced"))
        if begun.tells:
            self.wake("callbacks", self.clock())
        if end.state == "UNKNOWN" or values.get("next_at") is not None:
            self.wake("deliveries", values.get("next_at") or self.clock())
        if attempt.left:
            outcome = "ok" if end.error is None else type(end.error).__name__
            log.warning("late_outcome", delivery=begun.id, instance=attempt.instance.where, outcome=outcome)
        return end

    def _message(self, attempt: _Attempt, end: End, values: Mapping[str, Any]) -> Told | None:
        """What a caller that did not wait for the end is told; asked in the transaction that writes the end."""
        begun = attempt.begun
        if not begun.tells or not (attempt.owed or attempt.left) or values.get("next_at") is not None:
            return None
        follow_after = 0.0 if attempt.endpoint.declaration.follow else None
        row = {
            "id": begun.id,
            "instance": attempt.instance.where,
            "endpoint": named(attempt.endpoint),
            "follow_after": follow_after,
        }
        data = json.loads(end.answer.json) if end.answer is not None and end.answer.json else None
        return self.told(row, end.state, data=data, error=end.error)

    def _outcome(self, attempt: _Attempt) -> tuple[End, dict[str, Any]]:
        """What the attempt showed, and what to write of it."""
        running, begun, call = attempt.running, attempt.begun, attempt.call
        where = attempt.instance.where
        place = (where, "answer", begun.id)
        if running.cancelled():
            error: BaseException | None = timed_out()
        else:
            error = running.exception()
        if error is None:
            try:
                kept, answer, upstream_id = kept_answer(attempt.endpoint, running.result())
                return End("DONE", answer), done(self.seal.seal(kept, *place), kept, upstream_id)
            except ValueError as unwritable:  # half a character, in a value that is held to no type
                error = unwritable
        if isinstance(error, TimeoutError):
            error = timed_out()
        state = classified(error, call)
        if not isinstance(error, RelaisError):
            log.error("internal", request_id=call.request_id, instance=where, exc_info=error)
        told = error if isinstance(error, RelaisError) else Internal()
        if state == "REFUSED" and begun.unresolved and attempt.endpoint.declaration.delivery != "at-least-once":
            # An earlier attempt may have been executed: this refusal proves nothing about it.
            state = "PARKED"
        values: dict[str, Any] = {"state": state, "err_class": type(told).__name__, "next_at": None}
        if state == "UNKNOWN":
            del values["next_at"]
            detail = f"{type(error).__name__} {getattr(error, 'detail', '')}".strip()
            unknown = _unknown(begun, detail=detail)
            unknown.message = explained(unknown.message, told)
            unknown.__cause__ = error
            return End(state, error=unknown), values
        if state == "PARKED":
            return End(state, error=_standing(replace(begun, verdict="parked"))), values
        if state == "NOT_SENT" and attempt.owed:
            values["next_at"] = self.clock() + self.pause(begun.tries - 1)
        if state == "REFUSED":
            said = {"err_desc": str(told.message), "en": english(told.message), "err_code": told.code}
            values["answer"] = self.seal.seal(json.dumps(said).encode(), *place)
        return End(state, error=told), values

    def pause(self, tries: int) -> float:
        """Seconds before what was tried `tries` times is tried again."""
        return min(self.options.backoff * 2.0 ** max(0, tries), LONGEST_PAUSE)

    def replayed(self, where: str, begun: Begun) -> Answered:
        """The answer the journal keeps; once erased, only the publisher's number is left of it."""
        if begun.answer is None:
            return Answered(json.dumps({"id": begun.upstream_id}).encode(), replayed=True)
        return replace(unpacked_answer(self.seal.read(begun.answer, where, "answer", begun.id)), replayed=True)


# --- what an outcome is -----------------------------------------------------------------------------------------------


def classified(error: BaseException, call: Call) -> str:
    """The state a failure leaves the delivery in; anything that is not certain is `UNKNOWN`."""
    if isinstance(error, (InvalidInput, NotFound, Rejected)):
        return "REFUSED"
    processed = error.processed if isinstance(error, RelaisError) else None
    if not call.effect_sent or (processed is False and call.effects == 1):
        return "NOT_SENT"  # with several effects, the one that failed may not be the one that was executed
    return "REFUSED" if processed else "UNKNOWN"


def done(sealed: bytes, kept: bytes, upstream_id: str) -> dict[str, Any]:
    """What is written of a success."""
    return {
        "state": "DONE",
        "answer": sealed,
        "upstream_id": upstream_id,
        "digest": hashlib.sha256(kept).hexdigest(),
        "err_class": "",
        "next_at": None,
        "quarantine": None,
        "unresolved": False,
    }


def forgotten(endpoint: Endpoint) -> dict[str, Any]:
    """What is erased at once of a delivery that has ended, where its endpoint says so."""
    return {"request": None} if endpoint.declaration.forget else {}


def kept_answer(endpoint: Endpoint, value: Any) -> tuple[bytes, Answered, str]:
    """A result as it is kept, as it is answered, and the publisher's number in it."""
    if isinstance(value, File):
        head = json.dumps({"filename": value.filename, "type": value.content_type}).encode()
        return b"F" + head + b"\n" + value.content, Answered(file=value), ""
    body = endpoint.result.adapter.dump_json(value)
    return b"J" + body, Answered(body), storable(str(getattr(value, "id", "") or ""), LONGEST_NUMBER)


def storable(text: str, most: int) -> str:
    """What a publisher says, as a column takes it: PostgreSQL holds no NUL, and indexes no endless text."""
    return text.replace("\0", "\ufffd")[:most]


def unpacked_answer(kept: bytes) -> Answered:
    if kept[:1] == b"J":
        return Answered(kept[1:])
    head, _, content = kept[1:].partition(b"\n")
    said = json.loads(head)
    return Answered(file=File(filename=said["filename"], content_type=said["type"], content=content))


def timed_out() -> UpstreamUnavailable:
    """No answer in time, and no effect under way."""
    return UpstreamUnavailable(
        Text("Le logiciel métier n'a pas répondu à temps.", en="The business software did not answer in time."),
        timeout=True,
        retry_after=30.0,
    )


def ticket(delivery: str) -> bytes:
    """What a deferred endpoint answers, the first time and whenever it is called again with the same key."""
    return json.dumps({"id": delivery, "status_url": f"/deliveries/{delivery}", "state": "RECEIVED"}).encode()


def _operation(begun: Begun) -> dict[str, object] | None:
    if not begun.id:
        return None  # somebody else's
    return {"operation": begun.id, "status_url": f"/deliveries/{begun.id}"}


def _unknown(begun: Begun, *, detail: str = "") -> OutcomeUnknown:
    error = OutcomeUnknown(detail=detail)
    error.data = _operation(begun)
    return error


def explained(message: str, cause: RelaisError) -> Text:
    """The sentence with what was met: where an address or a credential is wrong, it tells who must act."""
    return Text(
        f"{message} Ce qui s'est passé : {cause.message}",
        en=f"{english(message)} What happened: {english(cause.message)}",
    )


def _standing(begun: Begun) -> RelaisError:
    """The answer of a key whose delivery has no result to give."""
    match begun.verdict:
        case "mismatch":
            return KeyMismatch()
        case "in-progress":
            error: RelaisError = InProgress(retry_after=2.0)
        case "busy":
            error = InProgress(_BUSY, retry_after=10.0)
        case "pending":
            error = Pending()
        case "parked":
            error = NeedsOperator()
        case "held":
            error = NeedsOperator(_HELD)
        case _:
            return _unknown(begun, detail="same key")
    error.data = _operation(begun)
    return error


_BUSY = Text(
    "Une autre demande est en cours pour le même objet : attendez qu'elle soit terminée.",
    en="Another request is being processed for the same subject: wait until it has ended.",
)
_HELD = Text(
    "Une autre demande, pour le même objet, attend une vérification de l'exploitant de la passerelle ; "
    "rien n'a été transmis.",
    en="Another request for the same subject waits for the gateway's operator to check; nothing was sent.",
)
