"""The life of a call, in order: caller, endpoint, arguments, connector, result, envelope, one log line.

Errors climb untouched to `Dispatch.__call__`, the only place that turns them into answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from aiohttp import hdrs, web

from sdk import envelope
from sdk.call import Call, new_call, within
from sdk.errors import NotFound, Overloaded, RelaisError, Text
from sdk.files import File, disposition
from sdk.invoke import Arguments, narrowed, run, to_json, with_received
from sdk.messages import Received, shown_path
from sdk.spec import Endpoint

from . import pages
from .access import Access
from .answer import Answer
from .bodies import Incoming, business_query, is_json
from .cache import Cache, cache_key
from .callbacks import callback_url
from .deliveries import Deliveries, timed_out
from .door import overloaded
from .errors import Forbidden, Internal, MethodNotAllowed, UnknownEndpoint
from .following import Following
from .health import Watch
from .inbound import LARGE, Held, announced, prefers_english, read_body, safe_url, split_path
from .journal import log
from .metrics import Metrics
from .registry import Instance, Match, Registry
from .sent import Sent

HELD = 4
"""Bodies of the largest size that a process holds at once; smaller ones as many as that makes."""
REPLAYED = "Idempotency-Replayed"
"""Set when the answer is that of an earlier call with the same key."""


@dataclass(slots=True)
class _Trace:
    """What the log line of one call tells."""

    started: float
    connector: str = ""
    instance: str = ""
    endpoint: str = ""
    client: str = ""
    known: bool = False
    err_class: str = ""
    detail: str = ""
    received: int = 0
    freshness: str = ""
    notes: dict[str, object] = field(default_factory=dict)


class Dispatch:
    """The one function the server calls: `await dispatch(request)` always answers, always in the envelope."""

    def __init__(
        self,
        registry: Registry,
        access: Access,
        watch: Watch,
        metrics: Metrics,
        deliveries: Deliveries,
        following: Following,
        *,
        deadline: float = 25.0,
        max_in_flight: int = 2000,
        max_body: int = 20 * 1024 * 1024,
    ) -> None:
        self._registry = registry
        self._access = access
        self._watch = watch
        self._metrics = metrics
        self._deliveries = deliveries
        self._following = following
        self._cache = Cache()
        self._deadline = deadline
        self._max_in_flight = max_in_flight
        self._max_body = max_body
        self._bodies = Held(HELD * max_body)
        self._rung = Held(max_body)  # of callbacks: whoever calls without an account leaves callers their room
        self.draining = False

    def room(self) -> int:
        """How many more calls may be served now; while draining all are let in: their answers close connections."""
        return self._max_in_flight - (0 if self.draining else self._metrics.in_flight)

    def sent_back(self, calls: int) -> None:
        """Counts calls for which there was no room at the door."""
        self._metrics.sent_back(calls)

    # --- steps 1 to 3: the request, and the last resort ---------------------------------------------------------------

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        call = new_call(self._deadline)
        trace = _Trace(call.clock())
        self._metrics.in_flight += 1
        try:
            response = await self._answer(request, call, trace)
        except RelaisError as error:
            response = self._refuse(request, error, call, trace)
        except Exception as error:
            log.error("internal", request_id=call.request_id, instance=trace.instance, exc_info=error)
            response = self._refuse(request, Internal(), call, trace)
        finally:
            self._metrics.in_flight -= 1
        response.headers["X-Request-Id"] = call.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        if self.draining:
            response.force_close()
        self._write_line(request, response, call, trace)
        return response

    async def _answer(self, request: web.BaseRequest, call: Call, trace: _Trace) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        segments = split_path(path)
        if segments and segments[0] == "health":
            return self._health(segments)
        match = instance = None
        if len(segments) >= 3:
            instance = self._registry.find(segments[0], segments[1])
            match = instance.match(request.method, segments[2:]) if instance else None
        if match is None or match.endpoint is None or match.endpoint.kind != "callback":
            client = await self._access.authenticate(request.method, path, query, request.headers, _peer(request))
            trace.client = client.name
            if segments[:1] == ["deliveries"] and len(segments) == 2:
                return _plain(await self._deliveries.standing.state(segments[1], client.name))
            if len(segments) < 3 or segments[2] == "openapi.json":
                return self._page(request, client, segments, query)
            trace.connector, trace.instance, trace.endpoint = segments[0], "/".join(segments[:2]), segments[2]
            self._access.authorize(client, segments[0], segments[1], "/".join(segments[2:]))
        if instance is None:
            raise unknown_instance(segments)
        trace.connector, trace.instance, trace.endpoint = segments[0], instance.where, segments[2]
        if segments[2:] == ["up"] and request.method == "GET":
            return self._up(request, instance)
        if match is None:
            raise unknown_endpoint(instance)
        if match.endpoint is None:
            raise MethodNotAllowed(headers={hdrs.ALLOW: ", ".join(sorted(set(match.allowed)))})
        trace.endpoint, trace.known = match.endpoint.path, True
        call.repeatable = match.endpoint.kind == "read"
        call.made = partial(self._deliveries.standing.made, instance.where)
        if self._metrics.in_flight > self._max_in_flight:
            raise overloaded()
        if match.endpoint.method == "GET":
            return await self._carried_out(request, instance, match, match.endpoint, query, call, trace)
        bodies = self._rung if match.endpoint.kind == "callback" else self._bodies
        with bodies.holding(announced(request, self._cap(match.endpoint))):
            return await self._carried_out(request, instance, match, match.endpoint, query, call, trace)

    async def _carried_out(
        self,
        request: web.BaseRequest,
        instance: Instance,
        match: Match,
        endpoint: Endpoint,
        query: str,
        call: Call,
        trace: _Trace,
    ) -> web.StreamResponse:
        sent = await self._sent(request, match, endpoint, query, trace)
        body = sent.body(endpoint)
        arguments = sent.arguments(endpoint, body)
        if endpoint.kind in ("create", "update"):
            answered = await self._deliveries.submit(
                instance,
                endpoint,
                sent,
                body,
                arguments,
                client=trace.client,
                headers=request.headers,
                call=call,
                callback_url=callback_url(query, request.headers),
            )
            if answered.ticket:
                response = _plain(answered.json)
            else:
                response = self._answered(endpoint, answered.json if answered.file is None else answered.file)
            if answered.replayed:
                response.headers[REPLAYED] = "true"
            return response
        if endpoint.received is not None:
            arguments = with_received(endpoint, arguments, Received(request.method, request.headers, query, sent.raw))
        return await self._serve(instance, endpoint, arguments, call, trace)

    # --- step 4: arguments --------------------------------------------------------------------------------------------

    async def _sent(
        self, request: web.BaseRequest, match: Match, endpoint: Endpoint, query: str, trace: _Trace
    ) -> Sent:
        pairs = tuple(business_query(query))
        content_type = request.headers.get(hdrs.CONTENT_TYPE)
        if endpoint.method == "GET":
            return Sent(match.values, pairs, content_type, b"")
        cap = self._cap(endpoint)
        holds_files = endpoint.body is not None and endpoint.received is None and is_json(content_type)
        if holds_files and announced(request, cap) > LARGE:
            incoming = Incoming()
            trace.received = await read_body(request, cap, incoming)
            return Sent(match.values, pairs, content_type, *incoming.ended())
        raw = bytearray()
        trace.received = await read_body(request, cap, raw)
        return Sent(match.values, pairs, content_type, bytes(raw))

    def _cap(self, endpoint: Endpoint) -> int:
        return min(endpoint.declaration.max_body, self._max_body)

    # --- steps 5 to 10: the endpoint ----------------------------------------------------------------------------------

    async def _serve(
        self,
        instance: Instance,
        endpoint: Endpoint,
        arguments: Arguments,
        call: Call,
        trace: _Trace,
    ) -> web.StreamResponse:
        try:
            if endpoint.declaration.cache:
                key = cache_key(instance.where, endpoint.path, arguments.keywords)

                async def fetch() -> Any:
                    # Several callers may wait for this one fetch: it has its own time, not the first caller's.
                    own = new_call(self._deadline)
                    try:
                        async with within(own):
                            return await run(instance.connector, endpoint, arguments.keywords)
                    finally:
                        call.exchanges, call.upstream_seconds = own.exchanges, own.upstream_seconds
                        call.read_so = own.read_so

                async with asyncio.timeout(call.remaining()):
                    value, trace.freshness = await self._cache.fetch(
                        key, fetch, ttl=endpoint.declaration.cache, stale=endpoint.declaration.stale
                    )
                self._metrics.cached(instance.connector.name, trace.freshness)
            else:
                async with within(call):
                    value = await run(instance.connector, endpoint, arguments.keywords)
        except TimeoutError:
            raise timed_out() from None
        except RelaisError as error:
            value = await self._by_ticket(instance, endpoint, arguments, call) if isinstance(error, NotFound) else None
            if value is None:
                if endpoint.result.contract == "file" and error.file_status is not None:
                    raise _AsFile(error) from error
                raise
        if endpoint.declaration.looks is not None:
            trace.notes["triggered"] = await self._following.trigger(instance, endpoint, value)
            value = None
        value, left_out = narrowed(endpoint, value, arguments)
        if left_out:
            trace.notes["duplicate_ids"] = left_out
        if isinstance(value, File):
            return self._answered(endpoint, value)
        pending = to_json(endpoint.result, value)
        del value  # it may be large, and is let go as it is written
        return self._answered(endpoint, await pending)

    async def _by_ticket(self, instance: Instance, endpoint: Endpoint, arguments: Arguments, call: Call) -> Any:
        """What the publisher does not know may be the ticket of a deferred request."""
        try:
            async with within(call):
                return await self._deliveries.standing.followed_by_ticket(instance, endpoint, arguments)
        except TimeoutError:
            raise timed_out() from None

    def _answered(self, endpoint: Endpoint, value: File | bytes) -> Answer:
        if isinstance(value, File):
            return _file(value)
        return Answer(envelope.success(value, endpoint.result.contract))

    async def settled(self) -> None:
        """Waits for the attempts still under way (at shutdown)."""
        await self._deliveries.settled()
        self._metrics.count()

    # --- step 11 and the gateway's own answers ------------------------------------------------------------------------

    def _refuse(self, request: web.BaseRequest, error: RelaisError, call: Call, trace: _Trace) -> Answer:
        status = error.http_status
        if isinstance(error, _AsFile):
            error = error.cause
            status = error.file_status or error.http_status
        trace.err_class, trace.detail = type(error).__name__, error.detail
        response = Answer(
            envelope.failure(error, request_id=call.request_id, in_english=prefers_english(request)),
            status=status,
            headers={hdrs.CONTENT_TYPE: envelope.CONTENT_TYPE, envelope.ERROR_HEADER: "1", **error.headers},
        )
        if error.retry_after is not None:
            response.headers[hdrs.RETRY_AFTER] = str(max(1, round(error.retry_after)))
        return response

    def _health(self, segments: Sequence[str]) -> Answer:
        if segments == ["health", "live"]:
            return _plain({"live": True})
        if segments == ["health", "ready"]:
            if self.draining:
                raise Overloaded(Text("La passerelle s'arrête.", en="Shutting down."), retry_after=5.0)
            return _plain({"ready": True})
        raise UnknownEndpoint()

    def _up(self, request: web.BaseRequest, instance: Instance) -> Answer:
        found = self._watch.of(instance.where)
        in_english = prefers_english(request)
        return _plain(
            {
                "state": found.state,
                "available": found.state in ("up", "unchecked"),
                "since": found.since,
                "checked": found.at,
                "reason": found.reason_en if in_english else found.reason,
            }
        )

    def _page(self, request: web.BaseRequest, client: Any, segments: Sequence[str], query: str) -> web.Response:
        visible = [i for i in self._registry.instances.values() if self._access.may_see(client, *i.where.split("/"))]
        if not segments:
            return pages.index(request, visible, self._watch)
        instance = next((i for i in visible if i.where == "/".join(segments[:2])), None)
        if instance is None or len(segments) == 1:
            raise Forbidden() if not visible else UnknownEndpoint()
        if len(segments) == 3:
            return pages.openapi(request, instance)
        return pages.instance(request, instance, self._watch)

    @cached_property
    def _log(self) -> Any:
        return log.bind()  # once: a logger that looks its settings up costs as much as the line

    def _write_line(self, request: web.BaseRequest, response: web.StreamResponse, call: Call, trace: _Trace) -> None:
        seconds = call.clock() - trace.started
        if trace.connector and trace.instance:
            # Only declared names become labels: a caller must not be able to make the figures grow.
            self._metrics.observe(
                trace.connector if trace.known else "?",
                trace.endpoint if trace.known else "?",
                trace.err_class or "ok",
                seconds,
                call.upstream_seconds,
                call.read_so,
            )
        line: dict[str, Any] = {
            "request_id": call.request_id,
            "client": trace.client,
            "method": request.method,
            "instance": trace.instance if trace.known else shown_path(trace.instance),
            "endpoint": trace.endpoint if trace.known else shown_path(trace.endpoint),
            "status": response.status,
            "ms": _milliseconds(seconds),
            "upstream_ms": _milliseconds(call.upstream_seconds),
            "exchanges": call.exchanges,
            "received": trace.received,
        }
        if trace.err_class:
            line["err_class"] = trace.err_class
        if trace.detail:
            line["detail"] = trace.detail
        if trace.freshness:
            line["cache"] = trace.freshness
        if caller_url := request.headers.get("Publik-Caller-URL"):
            line["caller_url"] = safe_url(caller_url)
        for notes in (trace.notes, call.notes):
            if notes:
                line.update((name, value) for name, value in notes.items() if value)
        self._log.info("call", **line)


class _AsFile(RelaisError):
    """An error of a file endpoint: its status must be a failure, or w.c.s. would store the envelope as the file."""

    def __init__(self, cause: RelaisError) -> None:
        super().__init__(cause.message)
        self.cause = cause


def _file(value: File) -> Answer:
    return Answer(
        value.content,
        headers={
            hdrs.CONTENT_TYPE: value.content_type,
            hdrs.CONTENT_DISPOSITION: disposition(value.filename, value.content_type),
            "Content-Security-Policy": "sandbox",
        },
    )


def _plain(data: Mapping[str, Any] | bytes) -> Answer:
    said = data if isinstance(data, bytes) else envelope.to_data(data)
    return Answer(envelope.success(said))


def _milliseconds(seconds: float) -> float:
    return int(seconds * 10_000 + 0.5) / 10  # as round(…, 1), which takes five times as long


def _peer(request: web.BaseRequest) -> str:
    return request.remote or ""


def unknown_instance(segments: Sequence[str]) -> UnknownEndpoint:
    """Told only to a caller that has the right to such an address."""
    where = shown_path("/".join(segments[:2]))
    return UnknownEndpoint(
        Text(f"Il n'y a pas d'instance « {where} » ici.", en=f'There is no instance "{where}" here.')
    )


def unknown_endpoint(instance: Instance) -> UnknownEndpoint:
    """Told only to a caller that has the right to such an address."""
    known = ", ".join(sorted({endpoint.path for endpoint in instance.endpoints}))
    return UnknownEndpoint(
        Text(
            f"« {instance.where} » n'a pas ce point d'accès ; il a : {known}.",
            en=f'"{instance.where}" has no such endpoint; it has: {known}.',
        )
    )
