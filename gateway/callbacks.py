"""What a caller is told later: that a delivery ended, that what it created has another status.

The message is a row of the outbox, written with the change it tells of; `Callbacks` posts it to the workflow engine of
the caller's account until it is accepted, or given up for an operator to look. At least once: the receiver knows a
repetition by its `id`. Only the origin that the account declares is ever spoken to.
"""

from __future__ import annotations

import json
import random as randomlib
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit, urlunsplit

from sdk.auth import basic
from sdk.call import new_call, serving
from sdk.errors import RelaisError, Text
from sdk.http import Egress, Http, Response, hosts_of, open_http
from sdk.model import invalid_input

from .bodies import CALLBACK_PARAMETER, SIGNATURE_PARAMETERS
from .journal import log
from .looking import EACH, Look
from .sealing import Seal, Unsealable
from .settings import CallbackSettings, ClientSettings
from .signature import sign
from .store import Store, outbox, records
from .store.outbox import Told

__all__ = ["Callbacks", "callback_url", "message", "open_ways", "told", "whom"]

ASKED = CALLBACK_PARAMETER
"""The query parameter, or header, by which a caller names the address to be told at."""
BUDGET = 28.0
"""Seconds one sending may take: what w.c.s. itself waits."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0


# --- the message ------------------------------------------------------------------------------------------------------


def message(
    row: Mapping[str, Any],
    at: str,
    *,
    state: str,
    final: bool,
    status: str | None = None,
    data: Any = None,
    error: RelaisError | None = None,
) -> dict[str, Any]:
    """The body of a callback. `final` says that nothing more will be told of this delivery; `status` is the publisher's
    word, where what was created is followed; `err_class` and `err_desc` are those the caller would have been answered.
    """
    return {
        "delivery": row["id"],
        "endpoint": f"{row['instance']}/{row['endpoint'].partition(' ')[2]}",
        "at": at,
        "state": state,
        "status": status,
        "final": final,
        "data": data,
        "err_class": type(error).__name__ if error is not None else None,
        "err_desc": str(error.message) if error is not None else None,
    }


def told(seal: Seal, instance: str, content: Mapping[str, Any]) -> Told:
    """The message with its id, sealed for its row."""
    name = records.new_id()
    return Told(name, seal.seal(json.dumps({"id": name, **content}).encode(), instance, "callback", name))


# --- whom to tell -----------------------------------------------------------------------------------------------------


def callback_url(raw_query: str, headers: Mapping[str, str]) -> str | None:
    """The address the caller itself names, in the query or in a header."""
    if ASKED in raw_query:
        given = [value for name, value in parse_qsl(raw_query) if name == ASKED]
        if given:
            return given[-1]
    return headers.get(ASKED) or None


def whom(
    clients: Mapping[str, ClientSettings], client: str, headers: Mapping[str, str], address: str | None
) -> bytes | None:
    """What is kept to tell the caller later, None where it is not told anything. Raises `InvalidInput` for an `address`
    that is not on the site of the `client`'s account.
    """
    callback = clients[client].callback if client in clients else None
    if address is not None:
        if callback is None or not _within(callback.url, address):
            raise invalid_input({ASKED: [_ELSEWHERE if callback is not None else _NO_CALLBACKS]})
        if _says_who(address):
            raise invalid_input({ASKED: [_OURS]})
        return json.dumps({"url": address}).encode()
    form = _form_of(callback.url, headers.get("Publik-Caller-URL", "")) if callback is not None else None
    return None if form is None else json.dumps({"form": form}).encode()


def target(callback: CallbackSettings, kept: bytes) -> str | None:
    """The address to post to, None where the account no longer allows it."""
    said = json.loads(kept)
    if "url" in said:
        return said["url"] if _within(callback.url, said["url"]) and not _says_who(said["url"]) else None
    slug, number = said["form"]
    place = f"jump/trigger/{callback.trigger}" if callback.trigger else f"hooks/{callback.hook}"
    return f"{callback.url.rstrip('/')}/api/forms/{slug}/{number}/{place}/"


_FORM = re.compile(r"/backoffice/management/([a-z0-9][a-z0-9_-]*)/([0-9][0-9A-Za-z_-]*)/?")


def _form_of(base: str, caller_url: str) -> tuple[str, str] | None:
    """Slug and number of the form whose back-office address this is, on the site `base`; a card has none."""
    if not _within(base, caller_url):
        return None
    found = _FORM.fullmatch(urlsplit(caller_url).path.removeprefix(urlsplit(base).path.rstrip("/")))
    return None if found is None else (found[1], found[2])


def _within(base: str, address: str) -> bool:
    """Whether a plain address is on the site `base`: same scheme, host and port, below its path."""
    try:
        there, here = urlsplit(address), urlsplit(base)
        same = (there.scheme, there.hostname, there.port) == (here.scheme, here.hostname, here.port)
    except ValueError:
        return False
    plain = address.isascii() and address.isprintable() and not set(address) & set(" \\#")
    path = there.path.startswith(f"{here.path.rstrip('/')}/") and not re.search(r"/\.\.?(/|$)", there.path)
    return same and plain and path and there.username is None and "%" not in there.path


_WHO = SIGNATURE_PARAMETERS | {"email", "NameID"}


def _says_who(address: str) -> bool:
    """Whether its query names what w.c.s. reads in a signed call: who calls, and for which user. Only we say that."""
    return any(unquote_plus(part.partition("=")[0]) in _WHO for part in re.split("[&;]", urlsplit(address).query))


_OURS = Text(
    "nomme dans sa question un appelant ou un usager (orig, signature, NameID, email…) : retirez-le",
    en="names a caller or a user in its query (orig, signature, NameID, email…): remove it",
)
_ELSEWHERE = Text(
    "n'est pas une adresse du site déclaré pour ce compte ([clients.….callback] url)",
    en="is not an address of the site declared for this account ([clients.….callback] url)",
)
_NO_CALLBACKS = Text(
    "ne peut rien recevoir : ce compte ne déclare pas de rappels ([clients.….callback])",
    en="cannot be told anything: this account declares no callbacks ([clients.….callback])",
)


def open_ways(
    clients: Iterable[ClientSettings], egress: Callable[[frozenset[tuple[str, int]]], Egress], folder: Path
) -> dict[str, Http]:
    """Client → the way to its workflow engine; `egress` gives the policy that allows those hosts."""
    return {
        client.name: open_http(
            f"callbacks/{client.name}", client.callback.http, egress=egress(hosts_of(client.callback)), folder=folder
        )
        for client in clients
        if client.callback is not None
    }


# --- telling ----------------------------------------------------------------------------------------------------------


class Callbacks(Look):
    """The messages of this process. `ways` is client → the way to its workflow engine; `clock` gives seconds since
    1970, `count(client, outcome)` counts what became of a sending.
    """

    def __init__(
        self,
        store: Store,
        seal: Seal,
        clients: Mapping[str, ClientSettings],
        ways: Mapping[str, Http],
        *,
        clock: Callable[[], float],
        random: Callable[[], float] = randomlib.random,
        count: Callable[[str, str], None] = lambda client, outcome: None,
    ) -> None:
        super().__init__("callbacks", store, self._due, self._tell, outbox.first_due, whose="client")
        self._seal = seal
        self._clients = clients
        self._ways = ways
        self._clock = clock
        self._random = random
        self._count = count

    def _due(self, connection: Any, most: int, busy: Collection[str]) -> Any:
        return outbox.claim(connection, self._clock(), 2 * BUDGET, most, EACH, busy)

    async def _tell(self, row: dict[str, Any]) -> None:
        state, next_at, reason = await self._tried(row)
        written = partial(outbox.sent, row=row, now=self._clock(), state=state, next_at=next_at, reason=reason)
        if not await self._store.run(written):
            return
        outcome = {"ACCEPTED": "accepted", "PENDING": "retried", "DEAD": "given_up"}[state]
        self._count(row["client"], outcome)
        tell = log.error if state == "DEAD" else log.info
        tell(f"callback_{outcome}", callback=row["id"], delivery=row["delivery"], client=row["client"], reason=reason)

    async def _tried(self, row: dict[str, Any]) -> tuple[outbox.State, float | None, str]:
        """What became of one sending, when to send again, and why it was not accepted."""
        client = self._clients.get(row["client"])
        callback = client.callback if client is not None else None
        delivery = await self._store.run(partial(records.find, delivery=row["delivery"]))
        if callback is None or delivery is None or delivery["caller"] is None:
            return "DEAD", None, "the account declares no callbacks"
        try:
            kept = self._seal.open(delivery["caller"], row["instance"], "caller", row["delivery"])
            body = self._seal.open(row["body"], row["instance"], "callback", row["id"])
        except Unsealable as error:
            return "DEAD", None, f"cannot be read: {error}"
        address = target(callback, kept)
        if address is None:
            return "DEAD", None, "the address is not on the account's site"
        wait = 0.0
        try:
            reason = refusal(await self._post(self._ways[row["client"]], callback, address, body))
        except RelaisError as error:
            reason, wait = f"{type(error).__name__} {error.detail}".strip()[:200], error.retry_after or 0.0
        if not reason:
            return "ACCEPTED", None, ""
        now = self._clock()
        patience = 3600.0 * callback.hours / (3 if reason in (UNKNOWN_TRIGGER, BAD_MESSAGE) else 1)
        if now - row["created"] >= patience:
            return "DEAD", None, reason
        pause = min(FIRST_PAUSE * 2.0 ** min(row["tries"], 20), LONGEST_PAUSE) * (0.5 + self._random() / 2)
        return "PENDING", now + max(pause, wait), reason

    async def _post(self, way: Http, callback: CallbackSettings, address: str, body: bytes) -> Response:
        parts = urlsplit(address)
        if callback.signature is not None:
            own = urlencode({"orig": callback.signature.orig})
            query = sign(
                f"{parts.query}&{own}" if parts.query else own,
                callback.signature.key.reveal(),
                timestamp=datetime.fromtimestamp(self._clock(), UTC),
                nonce=secrets.token_hex(16),
            )
            address = urlunsplit(parts._replace(query=query))
        if callback.basic is not None:
            way = way.using(basic(callback.basic.username, callback.basic.password))
        # Both must be exactly this: with any parameter w.c.s. answers HTML, and a success is a redirect.
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        with serving(new_call(BUDGET, repeatable=False)):
            return await way.request("POST", address, headers=headers, body=body)


UNKNOWN_TRIGGER = "HTTP 404: no such form, trigger or hook, or not in the form's present status"
BAD_MESSAGE = "HTTP 400: the workflow engine refuses the message"


def refusal(answer: Response) -> str:
    """Why the workflow engine did not accept the message; empty when it did."""
    if answer.status == 404:
        return UNKNOWN_TRIGGER
    if answer.status == 400:
        return BAD_MESSAGE
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    slug = said.get("err_code") if isinstance(said, dict) else None
    code = f", {slug}" if isinstance(slug, str) and re.fullmatch(r"[a-z0-9-]{1,60}", slug) else ""
    if not 200 <= answer.status < 300:
        return f"HTTP {answer.status}{code}"
    if not isinstance(said, dict) or "err" not in said:
        return f"HTTP {answer.status} without the envelope: not a workflow engine's answer"
    return "" if said["err"] == 0 else f"HTTP {answer.status}, an error{code}"
