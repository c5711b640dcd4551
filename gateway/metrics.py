"""Figures for Prometheus. Labels are few on purpose: connector, endpoint and class of answer, never a caller's data.

With several processes the library sums them through files in `PROMETHEUS_MULTIPROC_DIR`, which it reads when first
imported: hence the import inside `Metrics`, which each process makes after `serve` has set the variable.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sdk.http import HttpState

from .store.operator import Figures

_BUCKETS = (0.005, 0.02, 0.1, 0.3, 1.0, 3.0, 10.0, 25.0)
TOGETHER = 0.05
"""Seconds after which calls that were answered are counted, all at once: with several processes each figure is a write
into a mapped file."""


class Metrics:
    """One process's figures."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._prometheus = prometheus
        self._registry = registry = prometheus.CollectorRegistry()
        self._calls = prometheus.Counter(
            "relais_calls", "Calls answered", ["connector", "endpoint", "outcome"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "relais_call_seconds", "Time to answer", ["connector"], buckets=_BUCKETS, registry=registry
        )
        self._upstream = prometheus.Histogram(
            "relais_upstream_seconds", "Time spent at the publisher", ["connector"], buckets=_BUCKETS, registry=registry
        )
        self.in_flight = 0
        """Calls being served now."""
        self._in_flight = prometheus.Gauge(
            "relais_calls_in_flight", "Calls being served", multiprocess_mode="livesum", registry=registry
        )
        self._available = prometheus.Gauge(
            "relais_instance_available",
            "1 when the last availability check succeeded",
            ["instance"],
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._cache = prometheus.Counter(
            "relais_cache", "Answers of cached endpoints", ["connector", "freshness"], registry=registry
        )
        self._soap = prometheus.Counter(
            "relais_soap_answers",
            "SOAP answers by how they were read: compiled, stepped (large), apart (in another process), zeep",
            ["connector", "way"],
            registry=registry,
        )
        self._upstream_calls = prometheus.Gauge(
            "relais_upstream_requests",
            "Requests to the publisher: under way, waiting, and the most at once",
            ["instance", "state"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self._breaker = prometheus.Gauge(
            "relais_upstream_breaker_open",
            "1 while a publisher is left alone, per class of request",
            ["instance", "kind"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self._certificate = prometheus.Gauge(
            "relais_upstream_certificate_days",
            "Days before the publisher's certificate ends",
            ["instance", "host"],
            multiprocess_mode="mostrecent",
            registry=registry,
        )
        self._callbacks = prometheus.Counter(
            "relais_callbacks",
            "Callbacks to callers: accepted, retried, given up",
            ["client", "outcome"],
            registry=registry,
        )
        self._work = prometheus.Counter(
            "relais_work", "Rows of the store looked at without a caller", ["work", "outcome"], registry=registry
        )
        self._deliveries = self._stored("relais_deliveries", "Deliveries without an end", ["state"])
        self._untold = self._stored("relais_callbacks_waiting", "Callbacks not accepted yet, and given up", ["state"])
        self._oldest = self._stored("relais_work_oldest_due_seconds", "How long the first due row has waited", ["work"])
        self._processes = self._stored("relais_processes", "Processes seen alive, of all nodes", [])
        self._store = self._stored("relais_store_available", "1 when the store could be read the last time", [])
        self._answered: deque[tuple[str, str, str, float, float, Mapping[str, int]]] = deque()

    def observe(
        self,
        connector: str,
        endpoint: str,
        outcome: str,
        seconds: float,
        upstream_seconds: float,
        read_so: Mapping[str, int],
    ) -> None:
        """One call answered; `outcome` is `ok` or the error's class, `read_so` its SOAP answers by how they were read.

        Counted a moment later, with others.
        """
        if not self._answered:
            asyncio.get_running_loop().call_later(TOGETHER, self.count)
        self._answered.append((connector, endpoint, outcome, seconds, upstream_seconds, read_so))

    def sent_back(self, calls: int) -> None:
        """Calls refused at the door, of which nothing was read."""
        self._calls.labels("?", "?", "Overloaded").inc(calls)

    def count(self) -> None:
        """Adds the calls answered since the last time to the figures."""
        calls: Counter[tuple[str, str, str]] = Counter()
        read_so: Counter[tuple[str, str]] = Counter()
        spent: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        with suppress(IndexError):  # an exposition counts too, in a thread: each call goes to one of them
            while True:
                connector, endpoint, outcome, seconds, upstream_seconds, ways = self._answered.popleft()
                calls[connector, endpoint, outcome] += 1
                spent[connector].append((seconds, upstream_seconds))
                for way, answers in ways.items():
                    read_so[connector, way] += answers
        for call, times in calls.items():
            self._calls.labels(*call).inc(times)
        for (connector, way), times in read_so.items():
            self._soap.labels(connector, way).inc(times)
        for connector, durations in spent.items():
            whole, upstream = self._seconds.labels(connector), self._upstream.labels(connector)
            for seconds, upstream_seconds in durations:
                whole.observe(seconds)
                if upstream_seconds:
                    upstream.observe(upstream_seconds)

    def serving(self) -> None:
        """Shows how many calls are being served: now and then, since a call is too short to tell each time."""
        self._in_flight.set(self.in_flight)

    def available(self, instance: str, is_available: bool) -> None:
        """What the last check of `connector/instance` found."""
        self._available.labels(instance).set(is_available)

    def upstream(self, instance: str, state: HttpState) -> None:
        """The limiter and the breaker of one instance in this process."""
        for name, value in (("in_flight", state.in_flight), ("queued", state.queued), ("limit", state.limit)):
            self._upstream_calls.labels(instance, name).set(value)
        for kind, phase in state.breaker.items():
            self._breaker.labels(instance, kind).set(phase != "closed")

    def certificate(self, instance: str, host: str, days: float) -> None:
        """When a publisher's certificate ends."""
        self._certificate.labels(instance, host).set(round(days, 1))

    def cached(self, connector: str, freshness: str) -> None:
        """A cached endpoint answered; `freshness` is fetched, cached or stale."""
        self._cache.labels(connector, freshness).inc()

    def called_back(self, client: str, outcome: str) -> None:
        """A caller was told something later; `outcome` is accepted, retried or given_up."""
        self._callbacks.labels(client, outcome).inc()

    def _stored(self, name: str, said: str, labels: list[str]) -> Any:
        """A figure of the store, the same in all nodes: one process of each reads it."""
        return self._prometheus.Gauge(name, said, labels, multiprocess_mode="mostrecent", registry=self._registry)

    def stored(self, figures: Figures | None, waited: Mapping[str, float]) -> None:
        """What stands in the store, None when it could not be read; `waited` is kind of work → seconds."""
        self._store.set(figures is not None)
        if figures is None:
            return
        for state, count in figures.deliveries.items():
            self._deliveries.labels(state).set(count)
        for state, count in figures.callbacks.items():
            self._untold.labels(state).set(count)
        for work, seconds in waited.items():
            self._oldest.labels(work).set(round(seconds, 1))
        self._processes.set(figures.processes)

    def worked(self, work: str, outcome: str) -> None:
        """A row of a kind of work was looked at; `outcome` is `ok`, `failed` or `store`."""
        self._work.labels(work, outcome).inc()

    def exposition(self) -> bytes:
        """The text Prometheus reads, all processes together."""
        self.count()
        registry = self._registry
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            from prometheus_client.multiprocess import MultiProcessCollector

            registry = self._prometheus.CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        text: bytes = self._prometheus.generate_latest(registry)
        return text
