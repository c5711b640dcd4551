"""From the bytes of a SOAP answer, or request, to what it says.

A short answer is parsed whole by lxml, whose parser costs nothing to start. A longer one whose shape is regular is read
while its tree grows (`xml.Growing`), at once or by steps. In whatever is not as its contract says, zeep has the last
word, over the tree of lxml.
"""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

from zeep.xsd.valueobjects import CompoundValue

from sdk import xml

from . import mime
from .compiled import UNSURE, Unsure
from .decoder import TAGS, XOP, Answer, attach, decode, headers, named, shown
from .instance import is_marked, is_nil, marks_of, settle
from .known_schemas import SOAP_ENCODING, SOAP_ENCODING_12
from .values import invalid, plain
from .wsdl import Operation

__all__ = ["LONG", "by_steps", "only_envelope", "read", "read_request"]

LONG = 8 * 1024  # bytes above which a tree that grows saves more than it costs to start
_STEP = 8 * 1024  # bytes: some 0.1 ms

_XOP_BYTES = XOP.encode()
_ENVELOPE_END = re.compile(rb"</(?:[A-Za-z_][\w.-]*:)?Envelope\s*>")
_ENVELOPE_START = re.compile(rb"<\?xml\b|<(?:[A-Za-z_][\w.-]*:)?Envelope\b")


def read(
    operation: Operation, body: bytes, content_type: str = "", *, max_bytes: int = xml.MAX_BYTES, huge: bool = False
) -> Answer:
    """The answer in a body, a fault included. Raises `UpstreamInvalid` when it is neither."""
    if not body or body.isspace():
        raise invalid("empty body")
    content, others = body, []
    kind, parameters = mime.media_type(content_type)
    if body[:1] != b"<" or kind.startswith("multipart/"):
        try:
            parts = mime.split(body, content_type)
        except mime.MultipartRefused as refused:
            raise invalid(str(refused)) from None
        if parts:
            content, others = parts[0].content, parts[1]
            kind, parameters = mime.media_type(parts[0].headers.get("content-type", ""))
    if operation.encoded:
        content = content.replace(SOAP_ENCODING_12.encode(), SOAP_ENCODING.encode())
    try:
        content = xml.in_utf8(only_envelope(content), charset=parameters.get("charset"), max_bytes=max_bytes)
        if len(content) > LONG and not others and (answer := _at_once(by_steps(operation, content, huge=huge))):
            return answer
        root = xml.parse_utf8(content, max_depth=xml.PARSER_DEPTH, huge=huge)
    except xml.XmlRefused as refused:
        raise invalid(f"{kind or 'no type'}: {refused}") from None
    attached = bool(others) or _XOP_BYTES in content
    if not (attached or is_marked(content)) and (answer := _regular(operation, root)):
        return answer
    return decode(operation, root, others, attached=attached, marks=marks_of(content))


def _regular(operation: Operation, envelope: Any) -> Answer | None:
    """The answer of an envelope that holds a body alone, of the shape its contract says: nearly all of them."""
    try:
        (body,) = envelope
        (element,) = body
        if element.tag == operation.answered and body.tag == TAGS[envelope.tag].body and not is_nil(element):
            return Answer(shown(operation, operation.whole(element, False)), compiled=True)
    except UNSURE:
        pass
    return None


def _at_once(steps: Generator[None, None, Answer | None]) -> Answer | None:
    try:
        while True:
            next(steps)
    except StopIteration as finished:
        answer: Answer | None = finished.value
        return answer


def only_envelope(content: bytes) -> bytes:
    """Without what some servers leave before the declaration or after the envelope."""
    if content.startswith(b"<") and content.endswith(b"Envelope>"):
        return content
    start = content.lstrip()[:4]
    if start[:1] != b"<" and b"\x00" not in start and not start.startswith(b"\xef\xbb\xbf"):
        found = _ENVELOPE_START.search(content)
        content = content[found.start() :] if found else content
    tail = content[-4096:]
    found = None
    for found in _ENVELOPE_END.finditer(tail):  # noqa: B007
        pass
    if found and tail[found.end() :].strip():
        return content[: len(content) - len(tail) + found.end()]
    return content


# --- an envelope that grows -------------------------------------------------------------------------------------------


def by_steps(
    operation: Operation, content: bytes, *, huge: bool = False, size: int = _STEP
) -> Generator[None, None, Answer | None]:
    """Reads the answer in what `xml.in_utf8` gave, a step after the other. Its result is None where this is not the
    way: the answer must be read again, whole. `size`: bytes of a step."""
    if operation.arriving is None or _XOP_BYTES in content:
        return None
    yield  # looking for something in several megabytes is a step too
    try:
        growing = xml.Growing(content, size, huge=huge)
        walk = _walk(operation, growing)
        while not is_marked(content, *growing.step()):
            next(walk)
            yield
    except StopIteration as finished:
        answer: Answer = finished.value
        return answer
    except UNSURE:
        pass
    return None


def _walk(operation: Operation, growing: xml.Growing) -> Generator[None, None, Answer]:
    """Follows the envelope while it grows, to its end. Raises what `UNSURE` lists."""
    while growing.root is None:
        yield
    envelope = growing.root
    tags = TAGS[envelope.tag]
    while not len(envelope) and not growing.ended:
        yield
    header, body = None, envelope[0]
    if body.tag == tags.header:
        while len(envelope) < 2 and not growing.ended:
            yield
        header, body = envelope
    while not len(body) and not growing.ended:
        yield
    element = body[0]
    if body.tag != tags.body or element.tag in (tags.fault, "Fault") or is_nil(element):
        raise Unsure
    if operation.grammar.style != "rpc" and element.tag != operation.answered:
        raise Unsure
    value = yield from operation.arriving(element, lambda: growing.ended, False)
    while not growing.ended:
        yield
    if len(body) > 1 or envelope[-1] is not body:
        raise Unsure
    if header is not None:
        header = xml.to_lxml(header)
        settle(header, operation.contract.document.types)
    return Answer(value=shown(operation, value), headers=headers(operation, header, ()), compiled=True)


# --- the publisher's side ---------------------------------------------------------------------------------------------


def read_request(
    operations: Mapping[str, Operation], body: bytes, content_type: str = ""
) -> tuple[str, dict[str, Any]]:
    """(operation, arguments) of a request, recognised by its body's first element. Raises `UpstreamInvalid`."""
    _, parameters = mime.media_type(content_type)
    envelope = xml.parse(only_envelope(body), charset=parameters.get("charset"), huge=True, max_bytes=len(body) + 1)
    content: Any = next((child for child in envelope if xml.local(child) == "Body"), [])
    element = next(iter(content), None)
    for name, operation in operations.items():
        expected = operation.grammar.input.body
        if (expected is None) == (element is None) and (element is None or named(element, expected.qname)):
            schema = operation.contract.document.types
            settle(envelope, schema)
            attach(envelope)
            value = expected.parse(element, schema) if expected is not None else None
            if isinstance(value, CompoundValue):
                return name, dict(plain(value))
            return name, {} if value is None else {expected.name: plain(value)}
    raise invalid("a request for no operation of this contract")
