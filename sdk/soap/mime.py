"""Multipart answers (XOP, SOAP with attachments): one envelope and the files that travel beside it."""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from functools import lru_cache
from urllib.parse import unquote

from sdk.files import File

__all__ = ["Part", "attachment", "media_type", "split"]

MAX_PARTS = 1_000
_MAX_HEAD = 16 * 1024
_BOUNDARY_LINE = re.compile(rb"\s*--([^\s-][^\r\n]{0,199}?)[ \t]*\r?\n(?=[A-Za-z-]+:)")


class MultipartRefused(ValueError):
    """A multipart body that cannot be read; the message names the reason, without content."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: header names in lower case, content decoded from its transfer encoding."""

    headers: Mapping[str, str]
    content: bytes

    @property
    def content_id(self) -> str:
        return self.headers.get("content-id", "").strip().removeprefix("<").removesuffix(">")

    @property
    def content_type(self) -> str:
        return media_type(self.headers.get("content-type", ""))[0]

    def file(self) -> File:
        """The part as a file; its name is the one it gives itself, else nothing."""
        _, parameters = media_type(self.headers.get("content-type", ""))
        _, disposition = media_type(self.headers.get("content-disposition", ""))
        name = disposition.get("filename") or parameters.get("name") or ""
        return File(filename=name, content_type=self.content_type, content=self.content)


def media_type(header: str) -> tuple[str, Mapping[str, str]]:
    """(`type/subtype` in lower case, parameters) of a header such as Content-Type."""
    return _media_type(header[:1_000])


@lru_cache(maxsize=256)  # a publisher sends the same few, and the library that reads them is slow
def _media_type(header: str) -> tuple[str, Mapping[str, str]]:
    message = Message()
    message["content-type"] = re.sub(r"[\r\n]+", " ", header)
    found = message.get_params(failobj=[], unquote=True)
    parameters = {str(name).lower(): collapse_rfc2231_value(value) for name, value in found[1:]} if found else {}
    return (found[0][0].strip().lower() if found else ""), parameters


def split(body: bytes, content_type: str) -> tuple[Part, list[Part]] | None:
    """(the envelope, the other parts); None when the body is not multipart.

    A multipart body that its header does not announce is recognised by its first line. Raises `MultipartRefused`.
    """
    kind, parameters = media_type(content_type)
    if kind.startswith("multipart/"):
        boundary = parameters.get("boundary", "").encode("latin-1", "replace")
        if not boundary:
            raise MultipartRefused("multipart without a boundary")
    else:
        found = _BOUNDARY_LINE.match(body)
        if not found:
            return None
        boundary = found[1]
    parts = [_part(each) for each in _pieces(body, boundary)]
    if not parts:
        raise MultipartRefused("multipart without a part")
    start = parameters.get("start", "").strip().removeprefix("<").removesuffix(">")
    root = next((part for part in parts if start and part.content_id == start), parts[0])
    return root, [part for part in parts if part is not root]


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the lines of the boundary."""
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    pieces: list[bytes] = []
    start = None
    for found in line.finditer(body):
        if start is not None:
            pieces.append(body[start : found.start()])
        if found[1]:
            return pieces
        start = found.end()
        if len(pieces) >= MAX_PARTS:
            raise MultipartRefused(f"more than {MAX_PARTS} parts")
    raise MultipartRefused("multipart whose boundary is absent" if start is None else "multipart without an end")


def _part(piece: bytes) -> Part:
    if piece.startswith((b"\r\n", b"\n")):
        return Part({}, piece.removeprefix(b"\r").removeprefix(b"\n"))
    blank = re.search(rb"\r?\n\r?\n", piece[:_MAX_HEAD])
    head, content = (piece[: blank.start()], piece[blank.end() :]) if blank else (piece[:_MAX_HEAD], b"")
    headers: dict[str, str] = {}
    for line in re.sub(r"\r?\n[ \t]+", " ", head.decode("latin-1")).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Part(headers, _decoded(content, headers.get("content-transfer-encoding", "").lower()))


def _decoded(content: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        try:
            return base64.b64decode(content)
        except binascii.Error:
            raise MultipartRefused("a part that is not base64") from None
    return quopri.decodestring(content) if encoding == "quoted-printable" else content


def attachment(parts: Sequence[Part], reference: str) -> Part | None:
    """The part a `cid:` reference names."""
    wanted = reference.removeprefix("cid:")
    names = {wanted, unquote(wanted)}
    return next((part for part in parts if part.content_id in names), None)
