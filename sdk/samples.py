"""Recorded cases: `samples/<endpoint>/<case>/` beside a connector, replayed for ever without the publisher.

    call.json       {"method", "path", "query"?, "body"?, "settings", "now"?}: what Publik asks, on which settings
    upstream.http   what went out and came back: a request, a line `###`, its answer, `###`, the next request …
    expected.json   the whole answer: {"err": 0, "data": …}

Replaying checks what is sent as well as what is answered. XML and JSON are compared as data.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape  # writes, reads nothing

from . import xml
from .messages import Request, Response
from .model import Secret
from .spec import Connector
from .testing import Instance, instance

_SECURITY = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd}Security"
_SEPARATOR = "\n###\n"
_KEPT_HEADERS = {"content-type", "soapaction", "accept"}
"""Of a request's headers, those worth keeping: the others carry credentials or change at each call."""


@dataclass(frozen=True)
class Sample:
    """One case; `name` is `endpoint/case`."""

    folder: Path

    @property
    def name(self) -> str:
        return "/".join(self.folder.parts[-2:])

    @property
    def endpoint(self) -> str:
        """The attribute of the endpoint it shows."""
        return self.folder.parent.name

    @property
    def call(self) -> Mapping[str, Any]:
        read: Mapping[str, Any] = jsonlib.loads((self.folder / "call.json").read_text("utf-8"))
        return read

    @property
    def expected(self) -> Any:
        return jsonlib.loads((self.folder / "expected.json").read_text("utf-8"))

    async def replay(self, connector: type[Connector[Any]]) -> None:
        """Raises AssertionError when the connector asks or answers anything else than what was recorded."""
        exchanges = list(_read(self.folder / "upstream.http"))

        async def upstream(request: Request) -> Response:
            assert exchanges, f"{self.name}: one request too many: {request.method} {request.url}"
            asked, answered = exchanges.pop(0)
            assert (request.method, request.url) == (asked.method, asked.url), f"{self.name}: another request was sent"
            assert _comparable(request.body) == _comparable(asked.body), f"{self.name}: another body was sent"
            return answered

        call = self.call
        moment: dict[str, Any] = {"now": lambda: datetime.fromisoformat(call["now"])} if "now" in call else {}
        played = instance(connector, call["settings"], upstream, **moment)
        asked = await played.call(call["method"], call["path"], query=call.get("query"), body=call.get("body"))
        found = await played.carry_out(asked)
        body = {name: value for name, value in found.body.items() if name != "request_id"}
        assert body == self.expected, f"{self.name}: another answer: {body}"
        assert not exchanges, f"{self.name}: {len(exchanges)} request(s) not sent"


def samples(connector: type[Connector[Any]]) -> list[Sample]:
    """Every case recorded beside the connector's module, in order."""
    folder = connector.folder() / "samples"
    return [Sample(path.parent) for path in sorted(folder.glob("*/*/call.json"))]


async def record(
    played: Instance[Any],
    folder: Path,
    method: str,
    path: str,
    *,
    settings: Mapping[str, Any],
    query: Mapping[str, Any] | None = None,
    body: Any = None,
) -> None:
    """Calls an endpoint against the real publisher (or its simulator) and writes the case.

    Credentials in HTTP headers and WS-Security headers are left out; the rest of the bodies is written as it is: use
    invented people. `settings` are those to replay with: its addresses and its invented secrets take the place of those
    in use, so that a recording holds neither a port nor a secret. To open
    an instance on the real publisher: `async with sdk.testing.connected(Connector, settings) as played`.
    """
    before = len(played.exchanges)
    found = await played.carry_out(await played.call(method, path, query=query, body=body))
    changes = list(_changes(played.connector.settings, settings))
    exchanges = [_moved(each, changes) for each in played.exchanges[before:]]
    call = {"method": method, "path": path, "settings": dict(settings)}
    call |= {name: value for name, value in (("query", query), ("body", body)) if value is not None}
    answer = {name: value for name, value in found.body.items() if name != "request_id"}
    _write(
        folder, call, jsonlib.loads(_replaced(jsonlib.dumps(answer), [c for c in changes if c.everywhere])), exchanges
    )


SHORT = 8
"""A shorter secret is only looked for in what is sent: elsewhere it may be an ordinary word."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A text of the settings in use, what takes its place, and whether answers may hold it too."""

    source: str
    target: str
    everywhere: bool = True

    def spellings(self) -> Iterator[tuple[str, str]]:
        """As it is, and as XML, JSON and addresses write it."""
        ways: tuple[Callable[[str], str], ...] = (
            str,
            lambda text: escape(text),
            lambda text: escape(text, {'"': "&quot;", "'": "&apos;"}),
            lambda text: jsonlib.dumps(text)[1:-1],
            lambda text: jsonlib.dumps(text, ensure_ascii=False)[1:-1],
            lambda text: quote(text, safe=""),
            quote_plus,
        )
        yield from dict.fromkeys((way(self.source), way(self.target)) for way in ways)


def _changes(here: Any, there: Any) -> Iterator[_Change]:
    """The addresses and secrets of the settings recorded with, and what stands for each in those to replay with."""
    if isinstance(there, Mapping):
        for name, target in there.items():
            yield from _changes(here.get(name) if isinstance(here, Mapping) else getattr(here, name, None), target)
    elif isinstance(there, list | tuple) and isinstance(here, list | tuple):
        for source, target in zip(here, there, strict=False):
            yield from _changes(source, target)
    elif isinstance(here, Secret) and isinstance(there, str) and here.reveal():
        yield _Change(here.reveal(), there, everywhere=len(here.reveal()) >= SHORT)
    elif isinstance(here, str) and isinstance(there, str) and here.startswith("http"):
        yield _Change(here, there)


def _moved(exchange: tuple[Request, Response], changes: Sequence[_Change]) -> tuple[Request, Response]:
    """The exchange as it would be on the other settings: no simulator's port and no secret stays in a recording."""
    request, response = exchange
    sent = None if request.body is None else _in_bytes(request.body, changes)
    came = _in_bytes(response.body, [change for change in changes if change.everywhere])
    return replace(request, url=_replaced(request.url, changes), body=sent), replace(response, body=came)


def _replaced(text: str, changes: Sequence[_Change]) -> str:
    for change in changes:
        for source, target in change.spellings():
            text = text.replace(source, target)
    return text


def _in_bytes(body: bytes, changes: Sequence[_Change]) -> bytes:
    return _replaced(body.decode("utf-8", "surrogateescape"), changes).encode("utf-8", "surrogateescape")


def _write(folder: Path, call: Any, answer: Any, exchanges: list[tuple[Request, Response]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("call.json", call), ("expected.json", answer)):
        (folder / name).write_text(jsonlib.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")
    if exchanges:
        text = _SEPARATOR.join(_written(*exchange) for exchange in exchanges) + "\n"
        (folder / "upstream.http").write_text(text, "utf-8")


def _read(path: Path) -> Iterator[tuple[Request, Response]]:
    if not path.exists():
        return
    messages = path.read_text("utf-8").split(_SEPARATOR)
    for asked, answered in zip(messages[::2], messages[1::2], strict=True):
        (method, url), headers, body = _parsed(asked)
        _, status, *_ = (answered.strip("\n").splitlines()[0] + " ").split(" ")
        _, came, content = _parsed(answered)
        yield Request(method, url, headers, body or None), Response(int(status), came, content)


def _parsed(message: str) -> tuple[list[str], dict[str, str], bytes]:
    head, _, body = message.strip("\n").partition("\n\n")
    first, *lines = head.splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return first.split(" ")[:2], headers, body.encode()


def _without_security(body: bytes) -> str:
    """A body as text; of a SOAP envelope, without its credentials."""
    if not body.lstrip().startswith(b"<") or b"Security" not in body:
        return body.decode()
    tree = xml.parse(body)
    for node in [node for node in tree.iter() if node.tag == _SECURITY]:
        node.getparent().remove(node)
    return xml.serialize(tree).decode()


def _written(request: Request, response: Response) -> str:
    sent = "\n".join(f"{name}: {value}" for name, value in request.headers.items() if name.lower() in _KEPT_HEADERS)
    kind = response.headers.get("Content-Type", "application/octet-stream")
    asked = f"{request.method} {request.url}\n{sent}\n\n{_without_security(request.body or b'')}"
    return f"{asked}{_SEPARATOR}HTTP/1.1 {response.status}\nContent-Type: {kind}\n\n{response.text()}"


def _comparable(body: bytes | None) -> Any:
    text = (body or b"").strip()
    if text.startswith(b"<"):
        return _shape(xml.parse(text))
    if text.startswith((b"{", b"[")):
        return jsonlib.loads(text)
    return text


def _shape(node: Any) -> Any:
    """An element whatever its prefixes and its layout."""
    children = [_shape(child) for child in node if isinstance(child.tag, str) and child.tag != _SECURITY]
    return node.tag, sorted(node.attrib.items()), (node.text or "").strip(), children
