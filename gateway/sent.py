"""What a caller sent to an endpoint, as it can be kept and read again; and the key that names the delivery."""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sdk.errors import InvalidInput, Text
from sdk.files import Decoded
from sdk.invoke import Arguments, bind, subject_values, with_body, without_body
from sdk.spec import Endpoint

from .bodies import cut_out, decode_body
from .errors import BadKey, KeyRequired

__all__ = ["Sent", "delivery_key", "subject_of"]

MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Sent:
    """Values of the path, business pairs of the query, and the body with its type.

    `cut`: the long contents of files, decoded, by the name that stands for each in `raw`.
    """

    values: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    content_type: str | None
    raw: bytes
    cut: Mapping[str, Decoded] = field(default_factory=dict)

    @classmethod
    def large(
        cls, values: Mapping[str, str], query: tuple[tuple[str, str], ...], content_type: str | None, raw: bytearray
    ) -> Sent:
        """One whose body is large: what it holds in base64 is decoded at once. For a thread."""
        document, cut = cut_out(raw)
        return cls(values, query, content_type, document, cut)

    def body(self, endpoint: Endpoint) -> Any:
        """The decoded body, where the endpoint reads one; `Decoded` in the place of what was cut out."""
        return decode_body(self.content_type, self.raw, self.cut) if self.raw and endpoint.body is not None else None

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
        try:
            found = with_body(endpoint, arguments, body)
            if all(one.taken for one in self.cut.values()):
                return found
        except InvalidInput:
            if not self.cut:
                raise
        return with_body(endpoint, arguments, _restored(body))  # a text that no file took is a text

    def fingerprint(self, endpoint: Endpoint, body: Any) -> str:
        """The same for two requests that ask for the same: declared values only, whatever the order of keys."""
        declared = None if endpoint.open_parameters else {parameter.name for parameter in endpoint.parameters}
        query = sorted(pair for pair in self.query if declared is None or pair[0] in declared)
        whole = [1, endpoint.method, endpoint.path, dict(self.values), query, body]
        names = {id(one): name for name, one in self.cut.items()}
        text = json.dumps(whole, sort_keys=True, default=lambda value: names.get(id(value)) or str(value))
        digest = hashlib.sha256()
        for piece in re.split(f"({'|'.join(self.cut)})", text) if self.cut else (text,):
            if piece in self.cut:
                _add_base64(digest, self.cut[piece].content)
            else:
                digest.update(piece.encode())
        return digest.hexdigest()

    def packed(self) -> bytes:
        """For the journal: a head, the body, then what was cut out of it."""
        head = {"v": 1, "values": dict(self.values), "query": self.query, "type": self.content_type}
        if self.cut:
            head["cut"] = {name: len(one.content) for name, one in self.cut.items()}
        contents = (one.content for one in self.cut.values())
        return b"".join([json.dumps(head).encode(), b"\n", self.raw, *contents])

    @classmethod
    def unpacked(cls, kept: bytes) -> Sent:
        head, _, raw = kept.partition(b"\n")
        said = json.loads(head)
        end = len(raw) - sum(said.get("cut", {}).values())
        cut, start = {}, end
        for name, size in said.get("cut", {}).items():
            cut[name] = Decoded(raw[start : start + size])
            start += size
        query = tuple((name, value) for name, value in said["query"])
        return cls(said["values"], query, said["type"], raw[:end] if cut else raw, cut)

    def shown(self) -> str:
        """The body for an operator: of a long content, only its size."""
        text = self.raw.decode("utf-8", "replace")
        for name, one in self.cut.items():
            text = text.replace(name, f"({len(one.content)} bytes)")
        return text


def _restored(body: Any) -> Any:
    """The body with the texts that were cut out of it."""
    if isinstance(body, Decoded):
        return body.text()
    if isinstance(body, dict):
        return {key: _restored(value) for key, value in body.items()}
    return [_restored(value) for value in body] if isinstance(body, list) else body


def _add_base64(digest: Any, content: bytes) -> None:
    """What hashing the text would do, without the text."""
    step = 3 * 128 * 1024
    for at in range(0, len(content), step):
        digest.update(binascii.b2a_base64(content[at : at + step], newline=False))


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
    if declaration.needs_key:
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
