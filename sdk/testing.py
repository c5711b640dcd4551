"""Testing a connector without a gateway: its endpoints called as Publik would, its upstream played by a function.

    async def upstream(request: Request) -> Response:
        return answer(json={"results": []})

    async def test_no_tree_is_an_empty_list():
        trees = instance(Trees, {"url": "https://trees.example.org"}, upstream)
        assert (await trees.get("species", q="chêne")).data == []

What goes on after the answer is played too, step by step:

    ticket = await till.post("orders", {…})           # @create(deferred=True): nothing was sent yet
    receipt = await till.carry_out(ticket)            # what the gateway does next
    progress = await till.look(receipt)               # @create(follow=…): one look at what was created

With a simulator, a real local server plays the publisher: `async with simulated(Trees, TreesSimulator()) as trees: …`.
"""

from __future__ import annotations

import json as jsonlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

import pydantic
from multidict import CIMultiDict

from . import envelope
from .call import Made, new_call, serving
from .egress import Egress, hosts_of
from .errors import RelaisError
from .files import File
from .http import Http, HttpOptions, open_http
from .invoke import (
    Arguments,
    absent,
    bind,
    expected_of,
    look_arguments,
    look_of,
    narrowed,
    run,
    subject_values,
    to_json,
    with_body,
    with_received,
    without_body,
)
from .messages import Policy, Received, Request, Response, Send
from .simulator import Simulator
from .spec import Connector, Endpoint

__all__ = ["Answer", "Instance", "Request", "Response", "answer", "connected", "instance", "simulated"]

C = TypeVar("C", bound=Connector[Any])


def answer(
    status: int = 200,
    *,
    json: Any = ...,
    text: str = "",
    body: bytes = b"",
    content_type: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """What a played upstream answers: JSON, text (XML, HTML) or bytes."""
    if json is not ...:
        body, kind = jsonlib.dumps(json).encode(), "application/json"
    elif text:
        body, kind = text.encode(), "text/xml; charset=utf-8" if text.lstrip().startswith("<") else "text/plain"
    else:
        kind = "application/octet-stream"
    return Response(status, {"Content-Type": content_type or kind, **(headers or {})}, body)


@dataclass(frozen=True)
class Answer:
    """What the caller would receive. `body` is the whole envelope, `file` replaces it for a file endpoint."""

    status: int
    body: Any
    file: File | None = None

    @property
    def data(self) -> Any:
        """`data` of a success, or the whole answer where Publik wants it so (a map, places).

        Fails with the error's class and text otherwise.
        """
        if isinstance(self.body, dict) and self.body.get("err"):
            raise AssertionError(f"{self.body['err_class']}: {self.body['err_desc']}")
        return self.body["data"] if isinstance(self.body, dict) and "data" in self.body else self.body

    @property
    def err_class(self) -> str:
        """The error's class, or "" for a success."""
        return str(self.body.get("err_class", "")) if isinstance(self.body, dict) else ""


class Instance(Generic[C]):
    """A connector bound to settings, called by path as in a form: `await trees.get("species", q="chêne")`.

    `exchanges` grows with what goes to the publisher and comes back, beneath every policy the connector adds;
    `triggered` with the ids that callbacks ask to look at.
    """

    def __init__(self, connector: C, exchanges: list[tuple[Request, Response]] | None = None) -> None:
        self.connector = connector
        self.exchanges = [] if exchanges is None else exchanges
        self.triggered: list[str] = []
        self._deferred: dict[str, tuple[Endpoint, Arguments]] = {}
        self._made: dict[str, _Followed] = {}

    async def get(self, path: str, /, **query: Any) -> Answer:
        """A read; query values are given as keywords (`id="12"`), a list for a repeated one."""
        return await self.call("GET", path, query=query)

    async def post(self, path: str, /, body: Any = None, **query: Any) -> Answer:
        """A creation or a callback, `body` being plain JSON data."""
        return await self.call("POST", path, query=query, body=body)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Any declared method. Deadlines, access and cache are the gateway's and are not played here.

        `body` is plain JSON data, or bytes for a callback that takes the call as `Received`, with its `headers`.
        """
        endpoint, values = self._find(method, path)
        pairs = [
            (name, str(item))
            for name, value in (query or {}).items()
            for item in (value if isinstance(value, list | tuple) else [value])
        ]
        request_id = new_call().request_id
        try:
            arguments = self._arguments(endpoint, values, pairs, None if isinstance(body, bytes) else body)
        except RelaisError as error:
            return _refused(endpoint, error, request_id)
        raw = body if isinstance(body, bytes) else b"" if body is None else jsonlib.dumps(body).encode()
        came = Received(method, CIMultiDict(headers or {}), urlencode(pairs), raw)
        arguments = with_received(endpoint, arguments, came)
        if endpoint.declaration.deferred:
            self._deferred[request_id] = (endpoint, arguments)
            ticket = {"id": request_id, "status_url": f"/deliveries/{request_id}", "state": "RECEIVED"}
            return Answer(200, {"err": 0, "data": ticket})
        return await self._answer(endpoint, arguments)

    async def carry_out(self, answer: Answer) -> Answer:
        """The final answer: that of a deferred request, carried out now as the gateway does; any other is final."""
        data = answer.body.get("data") if isinstance(answer.body, dict) else None
        deferred = self._deferred.get(data["id"]) if isinstance(data, dict) and "status_url" in data else None
        return answer if deferred is None else await self._answer(*deferred)

    async def look(self, receipt: Answer) -> Answer:
        """One look at what the answered request created, as its `follow` declares: the `Progress`, or the error for
        which the gateway would look again later.
        """
        number = receipt.data["id"]
        made = self._made[number]
        look = look_of(made.endpoint, self.connector.endpoints)
        answer = await self._answer(look, look_arguments(look, number, made.expected))
        if answer.err_class == "NotFound" and (progress := absent(made.endpoint, number)) is not None:
            answer = Answer(200, {"err": 0, "data": progress.model_dump(mode="json")})
        if not answer.err_class:
            made.progress = answer.data
        return answer

    async def _answer(self, endpoint: Endpoint, arguments: Arguments) -> Answer:
        subject = subject_values(endpoint, arguments)
        call = new_call(repeatable=endpoint.kind == "read")
        if subject:
            call.earlier = tuple(number for number, made in self._made.items() if made.counts_for(subject))
        call.made = self._made_for
        with serving(call):
            try:
                value = await run(self.connector, endpoint, arguments.keywords)
            except RelaisError as error:
                return _refused(endpoint, error, call.request_id)
        if endpoint.declaration.looks is not None:
            self.triggered += value
            return Answer(200, {"err": 0, "data": None})
        number = getattr(value, "id", None)
        if endpoint.kind == "create" and number is not None and (subject or endpoint.declaration.follow):
            follow = endpoint.declaration.follow is not None
            expected = expected_of(endpoint, look_of(endpoint, self.connector.endpoints), arguments) if follow else []
            self._made[str(number)] = _Followed(endpoint, subject, expected, time.time())
        value, _ = narrowed(endpoint, value, arguments)
        if isinstance(value, File):
            return Answer(200, None, value)
        text = envelope.success(await to_json(endpoint.result, value), endpoint.result.contract)
        return Answer(200, jsonlib.loads(text))

    async def _made_for(self, subject: Mapping[str, object]) -> tuple[Made, ...]:
        return tuple(made.shown(number) for number, made in self._made.items() if made.subject == dict(subject))

    def _arguments(
        self, endpoint: Endpoint, values: Mapping[str, str], query: list[tuple[str, str]], body: Any
    ) -> Arguments:
        arguments = bind(endpoint, values, query)
        if body is None:
            without_body(endpoint)
            return arguments
        return with_body(endpoint, arguments, body)

    def _find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]]:
        given = path.strip("/").split("/")
        for endpoint in self.connector.endpoints:
            values = endpoint.match(given)
            if values is not None and endpoint.method == method:
                return endpoint, values
        listed = ", ".join(f"{e.method} {e.path}" for e in self.connector.endpoints)
        raise AssertionError(f"no endpoint {method} {path}; there are: {listed}")


def _refused(endpoint: Endpoint, error: RelaisError, request_id: str) -> Answer:
    is_file = endpoint.result.contract == "file" and error.file_status is not None
    status = error.file_status if is_file and error.file_status else error.http_status
    return Answer(status, jsonlib.loads(envelope.failure(error, request_id=request_id)))


@dataclass
class _Followed:
    """What a request created, as the gateway would remember it."""

    endpoint: Endpoint
    subject: Mapping[str, Any]
    expected: Sequence[tuple[str, str]]
    created: float
    progress: Mapping[str, Any] = field(default_factory=dict)

    def counts_for(self, subject: Mapping[str, Any]) -> bool:
        """Whether a new request of this subject is told of it."""
        void = bool(self.progress.get("final") and self.progress.get("void"))
        return self.subject == subject and not void

    def shown(self, number: str) -> Made:
        """For `current_call().made`."""
        said = self.progress
        final, void = bool(said.get("final")), bool(said.get("void"))
        status = str(said.get("status", ""))
        return Made(number, status, final, void, self.created, self.created, dict(self.expected))


def instance(
    connector: type[C],
    settings: Mapping[str, Any],
    upstream: Callable[[Request], Awaitable[Response]] | None = None,
    *,
    folder: Path | None = None,
    **given: Any,
) -> Instance[C]:
    """A connector whose every request goes to `upstream`; without one, any request fails the test.

    `given` goes to the connector's constructor: a clock, for one that takes `now=`.
    """

    async def unexpected(request: Request) -> Response:
        raise AssertionError(f"unexpected request: {request.method} {request.url}")

    send: Send = upstream or unexpected
    place = folder or Path(tempfile.mkdtemp(prefix="relais-test-"))
    exchanges: list[tuple[Request, Response]] = []
    http = Http(_listening(exchanges)(send), instance=f"{connector.name}/test", folder=place)
    return Instance(connector(_settings(connector, settings), http, **given), exchanges)


def _listening(exchanges: list[tuple[Request, Response]]) -> Policy:
    def policy(inner: Send) -> Send:
        async def send(request: Request) -> Response:
            response = await inner(request)
            exchanges.append((request, response))
            return response

        return send

    return policy


@asynccontextmanager
async def simulated(
    connector: type[C], simulator: Simulator, settings: Mapping[str, Any] | None = None, **http: Any
) -> AsyncIterator[Instance[C]]:
    """A connector in front of its simulator, over real connections; `settings` override the simulator's sample ones."""
    async with (
        simulator,
        connected(
            connector,
            {**simulator.demo_settings(), **(settings or {})},
            private=("127.0.0.0/8",),
            **{"allow_http": True, **http},
        ) as played,
    ):
        yield played


@asynccontextmanager
async def connected(
    connector: type[C], settings: Mapping[str, Any], *, private: Sequence[str] = (), **http: Any
) -> AsyncIterator[Instance[C]]:
    """A connector on the publisher its settings name, over real connections: for recording samples, by hand.

    `private` opens networks (CIDR) as `[egress] private` does; `http` is the instance's `http` table.
    """
    with tempfile.TemporaryDirectory(prefix="relais-test-") as folder:
        chosen = _settings(connector, settings)
        way = open_http(
            f"{connector.name}/test",
            HttpOptions.model_validate(http),
            egress=Egress(hosts=hosts_of(chosen), private=tuple(private)),
            folder=Path(folder),
        )
        try:
            exchanges: list[tuple[Request, Response]] = []
            played = connector(chosen, way.using(_listening(exchanges)))
            try:
                yield Instance(played, exchanges)
            finally:
                await played.close()
        finally:
            await way.close()


def _settings(connector: type[Connector[Any]], given: Mapping[str, Any]) -> Any:
    try:
        return connector.settings_model.model_validate(given)
    except pydantic.ValidationError as error:
        raise AssertionError(f"settings of {connector.name}: {error}") from None
