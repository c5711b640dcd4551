"""What a caller sent to an endpoint, as it can be kept and read again; and the key that names the delivery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdk.errors import Text
from sdk.invoke import Arguments, bind, subject_values, with_body, without_body
from sdk.spec import Endpoint

from .bodies import decode_body
from .errors import BadKey, KeyRequired

__all__ = ["Sent", "delivery_key", "subject_of"]

MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Sent:
    """Values of the path, business pairs of the query, and the body with its type."""

    values: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    content_type: str | None
    raw: bytes

    def body(self, endpoint: Endpoint) -> Any:
        """The decoded body, where the endpoint reads one."""
        return decode_body(self.content_type, self.raw) if self.raw and endpoint.body is not None else None

    def arguments(self, endpoint: Endpoint, body: Any) -> Arguments:
        """What the method receives; `body` is `self.body(endpoint)`. Raises `InvalidInput`."""
        arguments = bind(endpoint, self.values, self.query)
        if endpoint.method == "GET":
            return arguments
        if endpoint.body is None:
            return arguments
        if not self.raw:
            without_body(endpoint)
            return arguments
        return with_body(endpoint, arguments, body)

    def fingerprint(self, endpoint: Endpoint, body: Any) -> str:
        """The same for two requests that ask for the same: declared values only, whatever the order of keys."""
        declared = None if endpoint.open_parameters else {parameter.name for parameter in endpoint.parameters}
        query = sorted(pair for pair in self.query if declared is None or pair[0] in declared)
        whole = [1, endpoint.method, endpoint.path, dict(self.values), query, body]
        return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()

    def packed(self) -> bytes:
        """For the journal."""
        head = json.dumps({"v": 1, "values": dict(self.values), "query": self.query, "type": self.content_type})
        return head.encode() + b"\n" + self.raw

    @classmethod
    def unpacked(cls, kept: bytes) -> Sent:
        head, _, raw = kept.partition(b"\n")
        said = json.loads(head)
        return cls(said["values"], tuple((name, value) for name, value in said["query"]), said["type"], raw)


def delivery_key(headers: Mapping[str, str], endpoint: Endpoint, body: Any, fingerprint: str) -> str | None:
    """What tells this request apart from others of the same caller, by the first that there is: `Idempotency-Key`, the
    endpoint's natural key, the workflow engine's form with the request's content. None where each request is a delivery
    of its own. Raises `BadKey`, and `KeyRequired` where a second sending could create a second time.
    """
    declaration = endpoint.declaration
    given = headers.get("Idempotency-Key")
    if given is not None:
        given = given.strip()
        if not 1 <= len(given) <= MAX_KEY or not given.isprintable():
            raise BadKey()
        return f"k:{given}"
    if declaration.key and isinstance(body, dict) and all(body.get(name) not in (None, "") for name in declaration.key):
        return f"n:{json.dumps([body[name] for name in declaration.key], default=str)}"[:MAX_KEY]
    form = headers.get("Publik-Caller-URL")
    if form and declaration.unique_forms:
        return "u:" + hashlib.sha256(f"{form}\n{fingerprint}".encode("utf-8", "surrogateescape")).hexdigest()
    if declaration.delivery in ("reconcilable", "at-most-once"):
        named = " + ".join(declaration.key)
        raise KeyRequired(
            None
            if not named
            else Text(
                f"Il manque de quoi reconnaître cette demande : l'en-tête Idempotency-Key, ou {named} dans le corps.",
                en=f"Nothing tells this request apart: send the header Idempotency-Key, or {named} in the body.",
            )
        )
    return None


def subject_of(where: str, endpoint: Endpoint, arguments: Arguments) -> str:
    """The digest of what the effect is about, by the endpoint's `subject`; empty where nothing says it."""
    values = subject_values(endpoint, arguments)
    return subject_digest(where, values) if values else ""


def subject_digest(where: str, values: Mapping[str, Any]) -> str:
    """The same for the endpoints of an instance that name their subject by the same words."""
    return hashlib.sha256(json.dumps([where, dict(values)], sort_keys=True, default=str).encode()).hexdigest()
