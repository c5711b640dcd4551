"""The kit for simulators: a publisher's software in miniature, as a real local server.

A simulator is stateful, honest about what is known and what is assumed, keeps a ledger of what it executed, and can be
told to misbehave. A connector's simulator lives in `<connector package>/simulator.py`, under the name `SIMULATOR`:

    class Library(Simulator):
        name, title = "library", "Library"
        known = (Text("Les chemins et les champs.", en="Paths and fields."),)

        @on("GET", "/books/{number}")
        async def book(self, request: SimRequest) -> SimResponse:
            self.record("book", number=request.params["number"])
            return SimResponse.json({"number": request.params["number"]})

    SIMULATOR = Library

    async with Library() as simulator:      # or: await simulator.start(port=8100) … await simulator.stop()
        simulator.faults.next("timeout")
        simulator.clock.advance(minutes=20)

The same switches are reachable by HTTP under `/_simulator/`. It listens on the loopback only, and knows no
authentication of its own: never expose one.
"""

from __future__ import annotations

import asyncio
import html
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from . import xml
from .errors import Text, UpstreamInvalid, english
from .simulator_faults import EXECUTED, EXECUTING, Faults, break_off

__all__ = ["Clock", "Entry", "Faults", "SimRequest", "SimResponse", "Simulator", "SoapCall", "escape", "on"]

MAX_BODY = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


def escape(value: object) -> str:
    """A value as it may stand in an XML or HTML template, between tags or between quotes."""
    return html.escape(str(value), quote=True)


# --- what comes in, what goes out -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SoapCall:
    """The content of a SOAP envelope: `operation` is the local name of the body's first element."""

    operation: str
    namespace: str
    element: Any

    def text(self, path: str, namespace: str | None = None) -> str | None:
        """The stripped text at `path` (`"arg0/mel"`); None when an element of it is absent.

        `namespace` is the one every step must have: None takes any, `""` only unqualified elements.
        """
        node = self.element
        for step in path.split("/"):
            node = next(
                (
                    child
                    for child in node
                    if _local_name(child) == step and (namespace is None or _namespace(child) == namespace)
                ),
                None,
            )
            if node is None:
                return None
        return (node.text or "").strip()


@dataclass(frozen=True, slots=True)
class SimRequest:
    """What a simulator received. `params` are the placeholders of the route; `query` keeps the last of repeated names,
    `pairs` has them all, in order."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """The body read as UTF-8."""
        return self.body.decode("utf-8")

    def form(self) -> dict[str, str]:
        """An `application/x-www-form-urlencoded` body, blank values kept."""
        return dict(parse_qsl(self.text(), keep_blank_values=True))

    def json(self) -> Any:
        """The body read as JSON; ValueError when it is not."""
        return json.loads(self.body)

    def soap(self) -> SoapCall:
        """The call inside a SOAP 1.1 or 1.2 envelope; ValueError when the body is not one."""
        try:
            envelope = xml.parse(self.body)
        except UpstreamInvalid as error:
            raise ValueError("the body is not XML") from error
        if _local_name(envelope) == "Envelope":
            body = next((child for child in envelope if _local_name(child) == "Body"), None)
            content = next((child for child in body if _local_name(child)), None) if body is not None else None
            if content is not None:
                return SoapCall(_local_name(content), _namespace(content), content)
        raise ValueError("the body is not a SOAP envelope with a content")


def _local_name(node: Any) -> str:
    return node.tag.rpartition("}")[2] if isinstance(node.tag, str) else ""


def _namespace(node: Any) -> str:
    return str(node.tag)[1:].partition("}")[0] if str(node.tag).startswith("{") else ""


@dataclass(frozen=True, slots=True)
class SimResponse:
    """What a simulator answers; text is sent as UTF-8."""

    body: bytes | str = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any, status: int = 200) -> SimResponse:
        """A JSON answer."""
        return cls(json.dumps(value, ensure_ascii=False), status, "application/json")

    @classmethod
    def html(cls, page: str, status: int = 200) -> SimResponse:
        """An HTML page."""
        return cls(page, status, "text/html; charset=utf-8")

    @classmethod
    def soap(cls, content: str, status: int = 200) -> SimResponse:
        """A SOAP 1.1 envelope around `content`, XML already escaped (prefix `S` is bound to the envelope)."""
        envelope = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/">'
            f"<S:Body>{content}</S:Body></S:Envelope>"
        )
        return cls(envelope, status, "text/xml; charset=utf-8")

    @classmethod
    def redirect(cls, location: str, status: int = 303) -> SimResponse:
        """Sends the browser elsewhere."""
        return cls(b"", status, headers={"Location": location})


Answer = Callable[[Any, SimRequest], Awaitable[SimResponse]]
A = TypeVar("A", bound=Answer)


def on(method: str, path: str) -> Callable[[A], A]:
    """Routes a method of a `Simulator`: `@on("GET", "/books/{number}")`; it may be given several times."""

    def mark(answer: A) -> A:
        routes = (*getattr(answer, "simulator_routes", ()), (method.upper(), path))
        answer.simulator_routes = routes  # type: ignore[attr-defined]
        return answer

    return mark


# --- time and ledger --------------------------------------------------------------------------------------------------


class Clock:
    """The simulator's time: the real one until moved, or a fixed one for tests (`Clock(datetime(…, tzinfo=UTC))`)."""

    def __init__(self, fixed: datetime | None = None) -> None:
        if fixed is not None and fixed.tzinfo is None:
            raise ValueError("a fixed time needs a time zone, for example datetime(2025, 3, 14, tzinfo=UTC)")
        self._fixed = fixed
        self._moved = timedelta()

    def now(self) -> datetime:
        """The time, in UTC."""
        return (self._fixed or datetime.now(UTC)).astimezone(UTC) + self._moved

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Moves the time forward."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if step < timedelta():
            raise ValueError("a simulator's time only moves forward")
        self._moved += step


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger: an operation that was really executed, with its key fields (no personal data)."""

    time: datetime
    operation: str
    fields: Mapping[str, Any]


# --- the server -------------------------------------------------------------------------------------------------------


class Simulator:
    """A publisher's software in miniature. Subclass it, route methods with `@on`, and be honest in
    `known` and `assumed`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    known: ClassVar[tuple[str, ...]] = ()
    """What is taken from the publisher's contract or from real exchanges."""
    assumed: ClassVar[tuple[str, ...]] = ()
    """What was deduced, or invented to have something to show."""

    own_faults: ClassVar[tuple[str, ...]] = ()
    """Kinds of faults this simulator adds; `spoil` answers for them."""

    slowness: float = 5.0
    """Seconds the fault `slow` takes."""

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {}}
    """The ways this software is installed, by name: what the constructor is given for each. Tests judge them all."""

    def __init__(
        self, *, clock: Clock | None = None, wait: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self.clock = clock or Clock()
        self.faults = Faults(self.own_faults)
        self.ledger: list[Entry] = []
        self._wait = wait
        self._url = ""
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._stopping = asyncio.Event()

    # What `relais demo` asks for.

    def demo_settings(self) -> dict[str, Any]:
        """Settings of a sample instance that talks to this running simulator."""
        return {"url": self.url}

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """(title, line to paste) pairs; `base_url` is the sample instance, as `http://127.0.0.1:8000/payfip/demo`."""
        return []

    async def conclude(self, identifier: str) -> None:
        """Brings what was created under this identifier to its end, as a citizen or the publisher's staff would.

        By default nothing; whoever follows then sees its last status.
        """

    # Life.

    @property
    def url(self) -> str:
        """Address of the running simulator, without a trailing slash."""
        if not self._url:
            raise RuntimeError("the simulator is not started")
        return self._url

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Listens; port 0 takes a free one."""
        self._stopping = asyncio.Event()
        application = web.Application(client_max_size=MAX_BODY)
        for method, path, answer in self._routes():
            application.router.add_route(method, path, self._served(answer))
        application.router.add_route("*", "/{path:.*}", self._served(_unknown_path))
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self._url = f"http://{host}:{bound}"

    async def stop(self) -> None:
        """Stops listening; held connections are closed."""
        self._stopping.set()
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # What a subclass uses.

    def record(self, operation: str, **fields: Any) -> None:
        """Writes into the ledger that an operation was executed. Key fields only, no personal data."""
        self.ledger.append(Entry(self.clock.now(), operation, fields))

    def executed(self, operation: str) -> list[Entry]:
        """The ledger's lines for one operation."""
        return [entry for entry in self.ledger if entry.operation == operation]

    async def post_form(self, url: str, form: Mapping[str, str]) -> int | None:
        """Calls somebody outside (a notification): the status, or None when nobody answered within 10 s."""
        if self._session is None:
            limit = aiohttp.ClientTimeout(total=10)
            self._session = aiohttp.ClientSession(timeout=limit, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.post(url, data=dict(form), allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None

    def refusal(self, request: SimRequest) -> SimResponse | None:
        """How this software says no to such a request, by its contract; None where it never does: served as usual."""
        return None

    def spoil(self, fault: str, request: SimRequest) -> SimResponse:
        """The answer for one of `own_faults`."""
        raise NotImplementedError

    # Inside.

    def _routes(self) -> list[tuple[str, str, Answer]]:
        found: dict[str, Answer] = {}
        for kind in reversed(type(self).__mro__):
            for name, member in vars(kind).items():
                if hasattr(member, "simulator_routes"):
                    found[name] = member
        declared = [
            (method, path, answer)
            for answer in found.values()
            for method, path in answer.simulator_routes  # type: ignore[attr-defined]
        ]
        # The kit's own routes come last, so that a simulator may answer "/" itself.
        return sorted(declared, key=lambda route: route[2].__module__ == __name__)

    def _served(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            received = SimRequest(
                request.method,
                request.path,
                dict(request.query),
                request.headers,
                await request.read(),
                dict(request.match_info),
                tuple(request.query.items()),
            )
            fault = None if request.path.startswith("/_simulator") else self.faults.draw(request.path)
            if fault is None:
                return self._written(await self._answered(answer, received))
            bare = fault.removeprefix(EXECUTED)
            if bare == "refusal" and (refused := self.refusal(received)) is not None:
                return self._written(refused)
            executes = bare != fault or bare in (*EXECUTING, "refusal")
            result = await self._answered(answer, received) if executes else SimResponse()
            return await self._spoilt(bare, request, received, result)

        return serve

    async def _answered(self, answer: Answer, request: SimRequest) -> SimResponse:
        try:
            return await answer(self, request)
        except Exception:
            _log.exception("the simulator %s failed on %s %s", self.name, request.method, request.path)
            return SimResponse("The simulator itself failed; its log says why.", 500)

    def _written(self, response: SimResponse) -> web.Response:
        body = response.body.encode() if isinstance(response.body, str) else response.body
        headers = {
            "Content-Type": response.content_type,
            "X-Simulator": f"{self.name}; a simulator, see /_simulator/",
            **response.headers,
        }
        return web.Response(body=body, status=response.status, headers=headers)

    async def _spoilt(
        self, fault: str, request: web.Request, received: SimRequest, result: SimResponse
    ) -> web.StreamResponse:
        if fault in self.own_faults:
            return self._written(self.spoil(fault, received))
        if fault in ("slow", "refusal", "wrong-type"):
            if fault == "slow":
                await self._wait(self.slowness)
            return self._written(replace(result, content_type="text/html") if fault == "wrong-type" else result)
        if fault == "html-200":
            return self._written(SimResponse.html("<!DOCTYPE html><html><body><h1>Maintenance</h1></body></html>"))
        if fault == "empty-200":
            return self._written(SimResponse())
        if fault == "redirect":
            return self._written(SimResponse.redirect("http://elsewhere.invalid/", 302))
        if fault.startswith("status-"):
            status = int(fault.removeprefix("status-"))
            return self._written(SimResponse(f"Simulated status {status}", status))
        body = result.body.encode() if isinstance(result.body, str) else result.body
        head = f"HTTP/1.1 {result.status} OK\r\nContent-Type: {result.content_type}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        if request.transport is not None:
            await break_off(fault, request.transport, head.encode("latin-1") + body, self._stopping)
        # The connection is gone: this only ends the server's side of the exchange.
        ended = web.Response(status=500)
        ended.force_close()
        return ended

    @on("GET", "/")
    @on("GET", "/_simulator")
    @on("GET", "/_simulator/")
    async def _about(self, request: SimRequest) -> SimResponse:
        def item(line: str) -> str:
            second = f'<br><small lang="en">{escape(english(line))}</small>' if isinstance(line, Text) else ""
            return f"<li>{escape(line)}{second}</li>"

        known, assumed = ("".join(item(line) for line in lines) for lines in (self.known, self.assumed))
        return SimResponse.html(
            f'<!DOCTYPE html><html lang="fr"><meta charset="utf-8"><title>{escape(self.title)} (simulateur)</title>'
            f"<body><h1>{escape(self.title)} : simulateur</h1>"
            "<p>Ce n'est pas le logiciel de l'éditeur, et rien ici n'a d'effet réel."
            '<br><small lang="en">This is not the publisher\'s software; nothing here has a real effect.</small></p>'
            f"<h2>Connu</h2><ul>{known}</ul><h2>Supposé</h2><ul>{assumed}</ul>"
            "<h2>Commandes</h2><pre>"
            f"curl {self.url}/_simulator/ledger\n"
            f"curl -d fault=timeout -d times=1 {self.url}/_simulator/faults\n"
            f"curl -d share=0.1 -d fault=status-503 {self.url}/_simulator/faults\n"
            f"curl -X DELETE {self.url}/_simulator/faults\n"
            f"curl -d minutes=20 {self.url}/_simulator/clock</pre></body></html>"
        )

    @on("GET", "/_simulator/ledger")
    async def _show_ledger(self, request: SimRequest) -> SimResponse:
        lines = [{**asdict(entry), "time": entry.time.isoformat()} for entry in self.ledger]
        return SimResponse(json.dumps(lines, ensure_ascii=False, default=str), 200, "application/json")

    @on("GET", "/_simulator/faults")
    async def _show_faults(self, request: SimRequest) -> SimResponse:
        return SimResponse.json(self.faults.state())

    @on("DELETE", "/_simulator/faults")
    async def _clear_faults(self, request: SimRequest) -> SimResponse:
        self.faults.clear()
        return SimResponse.json(self.faults.state())

    @on("POST", "/_simulator/faults")
    async def _plan_faults(self, request: SimRequest) -> SimResponse:
        try:
            form = request.form()
            kinds = form["fault"].split(",")
            path = form.get("path", "/")
            if "share" in form:
                self.faults.rate(float(form["share"]), *kinds, seed=int(form.get("seed", "0")), path=path)
            else:
                times, after = int(form.get("times", "1")), int(form.get("after", "0"))
                self.faults.next(kinds[0], *kinds[1:], times=times, path=path, after=after)
        except (KeyError, ValueError) as error:
            return SimResponse(f"Send fault=…, and times=… or share=…: {error}\n", 400)
        return SimResponse.json(self.faults.state())

    @on("GET", "/_simulator/clock")
    async def _show_clock(self, request: SimRequest) -> SimResponse:
        return SimResponse.json({"now": self.clock.now().isoformat()})

    @on("POST", "/_simulator/clock")
    async def _move_clock(self, request: SimRequest) -> SimResponse:
        try:
            self.clock.advance(**{name: float(value) for name, value in request.form().items()})
        except (TypeError, ValueError, OverflowError):
            return SimResponse("Send days=…, hours=…, minutes=… or seconds=…, forward only.\n", 400)
        return await self._show_clock(request)


async def _unknown_path(simulator: Simulator, request: SimRequest) -> SimResponse:
    return SimResponse(f"The simulator {simulator.name} has nothing at {request.method} {request.path}\n", 404)
