"""What a caller sent to an endpoint, as it can be kept and read again; and the key that names the delivery."""

from __future__ import annotations

import binascii
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sdk.errors import InvalidInput, Text
from sdk.files import Decoded
from sdk.invoke import Arguments, bind, subject_values, with_body, without_body
from sdk.spec import Endpoint

from .bodies import decode_body
from .errors import BadKey, KeyRequired

__all__ = ["Sent", "delivery_key", "shown", "subject_of"]

MAX_KEY = 255
PIECE = 1024 * 1024
"""Bytes of a long content that are sealed and kept as one."""
APART = b"2"
"""Before the head of a request whose long contents are kept apart: no JSON to a version that does not know of them,
which therefore leaves the delivery to a person instead of sending what is left of it.
"""


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
        for piece in self._whole(text.encode()):
            digest.update(piece)
        return digest.hexdigest()

    def size(self) -> int:
        """Bytes, about, of what is kept of it."""
        return len(self.raw) + sum(len(one.content) for one in self.cut.values())

    def packed(self) -> bytes:
        """For the journal, in one: a head, and the body as it came."""
        return b"".join([self._head(), *self._whole(self.raw)])

    def in_pieces(self) -> Iterator[bytes]:
        """For the journal, when it has long contents: head and body without them, then each, piece by piece."""
        yield APART + self._head(cut={name: len(one.content) for name, one in self.cut.items()}) + self.raw
        for one in self.cut.values():
            for at in range(0, len(one.content), PIECE):
                yield one.content[at : at + PIECE]

    @classmethod
    def unpacked(cls, kept: bytes, pieces: Iterable[bytes] = ()) -> Sent:
        """As it was, from what `packed` or `in_pieces` gave. Raises `ValueError` when a piece is missing."""
        said, raw = _parted(kept)
        rest = iter(pieces)
        cut = {name: Decoded(_joined(rest, size)) for name, size in said.get("cut", {}).items()}
        query = tuple((name, value) for name, value in said["query"])
        return cls(said["values"], query, said["type"], raw, cut)

    def _head(self, **more: Any) -> bytes:
        said = {"v": 1, "values": dict(self.values), "query": self.query, "type": self.content_type, **more}
        return json.dumps(said).encode() + b"\n"

    def _whole(self, document: bytes) -> Iterator[bytes]:
        """`document`, piece by piece, with the base64 in the place of each name that stands for it."""
        if not self.cut:
            yield document
            return
        named = {name.encode(): one for name, one in self.cut.items()}
        for part in re.split(b"(" + b"|".join(named) + b")", document):
            if part in named:
                yield from _base64(named[part].content)
            else:
                yield part


def shown(kept: bytes) -> dict[str, Any]:
    """A request for an operator, from what is in its row: of a long content that is kept apart, only its size."""
    said, raw = _parted(kept)
    text = raw.decode("utf-8", "replace")
    for name, size in said.get("cut", {}).items():
        text = text.replace(name, f"({size} bytes)")
    return {"query": said["query"], "body": text}


def _parted(kept: bytes) -> tuple[dict[str, Any], bytes]:
    """The head, and the body or what is left of it."""
    head, _, raw = kept.removeprefix(APART).partition(b"\n")
    return json.loads(head), raw


def _joined(pieces: Iterator[bytes], size: int) -> bytes:
    out = io.BytesIO()  # what it holds is given without a copy
    while out.tell() < size:
        piece = next(pieces, b"")
        if not piece:
            raise ValueError("a piece is missing")
        out.write(piece)
    return out.getvalue()


def _restored(body: Any) -> Any:
    """The body with the texts that were cut out of it."""
    if isinstance(body, Decoded):
        return body.text()
    if isinstance(body, dict):
        return {key: _restored(value) for key, value in body.items()}
    return [_restored(value) for value in body] if isinstance(body, list) else body


def _base64(content: bytes) -> Iterator[bytes]:
    """Its text, piece by piece."""
    step = 3 * 128 * 1024
    for at in range(0, len(content), step):
        yield binascii.b2a_base64(content[at : at + step], newline=False)


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
