"""Never lost, never twice, through the gateway's door; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sqlalchemy import select, update

from gateway.store import StoreUnavailable, deliveries, records
from sdk import (
    Connector,
    Http,
    HttpUrl,
    Model,
    Receipt,
    Rest,
    create,
    current_call,
)
from sdk import (
    Row as Open,
)
from sdk import (
    update as changes,
)

from .conftest import CLIENTS, Gateway, running, upstream

Row = Any


class Settings(Model):
    url: HttpUrl


class Seed(Model):
    name: str
    order: str = ""


class Grown(Open):
    id: str


class Seeds(Connector[Settings]):
    """Des graines, de chaque classe."""

    name, title, category = "seeds", "Graines", "Tests"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.rest = Rest(http, settings.url, refusals=(422,), unprocessed=(503,))

    async def _sow(self, seed: Seed) -> Receipt:
        sent = {"name": seed.name, "reference": current_call().reference}
        return Receipt(id=str((await self.rest.post("/seeds", json=sent))["id"]))

    @create("found", delivery="reconcilable", find="find_seed", longest=0.0)
    async def found(self, seed: Seed) -> Receipt:
        """Retrouvable."""
        return await self._sow(seed)

    @create("never-again", delivery="at-most-once", key=("order",))
    async def never_again(self, seed: Seed) -> Receipt:
        """Jamais deux fois."""
        return await self._sow(seed)

    @create("harmless", delivery="at-least-once")
    async def harmless(self, seed: Seed) -> Receipt:
        """Sans danger."""
        return await self._sow(seed)

    @create("pair", delivery="at-least-once")
    async def pair(self, seed: Seed) -> Receipt:
        """Deux fois."""
        await self._sow(seed)
        return await self._sow(seed)

    @changes("absolute", delivery="idempotent")
    async def absolute(self, seed: Seed) -> Receipt:
        """Un état absolu."""
        return await self._sow(seed)

    @create("half", delivery="at-most-once")
    async def half(self, seed: Seed) -> Grown:
        """Répond ce qui ne s'écrit pas."""
        return Grown(id=(await self._sow(seed)).id, note="\ud800")

    async def find_seed(self, reference: str) -> list[Receipt]:
        """Those of this reference."""
        return [Receipt(id=row["id"]) for row in await self.rest.get("/seeds", params={"reference": reference})]


class Publisher:
    """Executes what it is sent, and answers as `modes` say, in turn."""

    def __init__(self) -> None:
        self.modes: list[str] = []
        self.executed: list[str] = []
        self.searches = 0
        self.release = asyncio.Event()
        self.arrived = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            self.searches += 1
            wanted = request.query["reference"]
            return web.json_response([{"id": f"S{i}"} for i, name in enumerate(self.executed) if name == wanted])
        mode = self.modes.pop(0) if self.modes else ""
        reference = (await request.json())["reference"]
        self.arrived.set()
        if mode == "refuse":
            return web.json_response({}, status=422)
        if mode == "busy":
            return web.Response(status=503)
        if mode == "lost":
            return web.Response(status=500)
        self.executed.append(reference)
        if mode == "cut":
            assert request.transport is not None
            request.transport.abort()
        if mode == "wait":
            await self.release.wait()
        if mode == "executed":
            return web.Response(status=500)
        return web.json_response({"id": f"S{len(self.executed) - 1}"})


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The gateway's options for each database."""
    return {} if request.param == "sqlite" else {"store": request.getfixturevalue("postgres")}


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
async def gateway(tmp_path: Path, publisher: Publisher, store: dict[str, Any]) -> AsyncIterator[Gateway]:
    delivery = {"margin": 0.0, "backoff": 0.01}
    async with (
        upstream(publisher) as url,
        running(tmp_path / "data", Seeds, settings={"url": url}, deliveries=delivery, **store) as running_one,
    ):
        yield running_one
        publisher.release.set()


Send = Callable[..., Any]


async def send(gateway: Gateway, endpoint: str = "found", key: str | None = "k1", **sent: Any) -> tuple[int, Any, Any]:
    headers = {**({"Idempotency-Key": key} if key else {}), **sent.pop("headers", {})}
    method = "PUT" if endpoint == "absolute" else "POST"
    body = sent or {"name": "rose"}
    async with gateway.session.request(
        method, f"{gateway.url}/seeds/test/{endpoint}", json=body, headers={**KEY, **headers}
    ) as answer:
        return answer.status, answer.headers, await answer.json()


KEY = {"X-API-Key": CLIENTS["tests"]["api_key"]}


async def row(gateway: Gateway) -> Row:
    return await gateway.server.deliveries.store.run(
        lambda connection: connection.execute(select(deliveries)).mappings().one()
    )


async def change(gateway: Gateway, **values: Any) -> None:
    await gateway.server.deliveries.store.run(
        lambda connection: connection.execute(update(deliveries).values(**values))
    )


async def followed(gateway: Gateway, state: str) -> Row:
    """The row once the follow-up has brought it to `state`."""
    async with asyncio.timeout(20):
        while (found := await row(gateway))["state"] != state:
            await gateway.server.follow.look()
            await gateway.server.follow.settled()
    return found


async def test_the_same_key_gives_the_first_answer_again(gateway: Gateway, publisher: Publisher) -> None:
    first, again = await send(gateway), await send(gateway)
    assert first[2] == again[2] == {"err": 0, "data": {"id": "S0"}}
    assert "Idempotency-Replayed" not in first[1]
    assert again[1]["Idempotency-Replayed"] == "true"
    assert len(publisher.executed) == 1


async def test_an_answer_that_cannot_be_written_is_an_unknown_outcome(gateway: Gateway) -> None:
    assert (await send(gateway, "half"))[2]["err_class"] == "OutcomeUnknown"
    assert (await row(gateway))["state"] in ("UNKNOWN", "PARKED")


async def test_two_keys_are_two_deliveries(gateway: Gateway, publisher: Publisher) -> None:
    await send(gateway, key="k1")
    await send(gateway, key="k2")
    assert len(publisher.executed) == 2


async def test_the_same_key_with_another_content_is_refused_and_nothing_is_sent(
    gateway: Gateway, publisher: Publisher
) -> None:
    await send(gateway)
    status, _, body = await send(gateway, name="tulip")
    assert (status, body["err_class"]) == (422, "KeyMismatch")
    assert len(publisher.executed) == 1


async def test_a_request_that_could_be_made_twice_needs_a_key(gateway: Gateway, publisher: Publisher) -> None:
    for endpoint in ("found", "never-again"):
        status, _, body = await send(gateway, endpoint, key=None)
        assert (status, body["err_class"]) == (400, "KeyRequired")
    assert publisher.executed == []


async def test_a_harmless_request_needs_no_key_and_is_journaled(gateway: Gateway) -> None:
    assert (await send(gateway, "harmless", key=None))[2]["err"] == 0
    assert (await row(gateway))["state"] == "DONE"


async def test_the_connectors_natural_key_stands_for_the_missing_one(gateway: Gateway, publisher: Publisher) -> None:
    for _ in range(2):
        assert (await send(gateway, "never-again", key=None, name="rose", order="2026-7"))[2]["data"] == {"id": "S0"}
    await send(gateway, "never-again", key=None, name="rose", order="2026-8")
    assert len(publisher.executed) == 2


async def test_a_workflow_engine_that_sends_no_key_is_known_by_its_form(gateway: Gateway, publisher: Publisher) -> None:
    form = {"Publik-Caller-URL": "https://forms.example.org/request/12/"}
    for _ in range(2):
        assert (await send(gateway, key=None, headers=form))[2]["data"] == {"id": "S0"}
    other = {"Publik-Caller-URL": "https://forms.example.org/request/13/"}
    await send(gateway, key=None, headers=other)
    assert len(publisher.executed) == 2


@pytest.mark.parametrize("key", ["", " ", "x" * 256])
async def test_a_key_that_cannot_be_used_is_refused(gateway: Gateway, key: str) -> None:
    status, _, body = await send(gateway, key=None, headers={"Idempotency-Key": key})
    assert (status, body["err_class"]) == (400, "BadKey")


async def test_a_refusal_is_driven_again_with_the_same_key(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["refuse"]
    assert (await send(gateway))[2]["err_class"] == "Rejected"
    assert (await row(gateway))["state"] == "REFUSED"
    assert (await send(gateway))[2]["err"] == 0
    assert len(publisher.executed) == 1


async def test_what_was_surely_not_sent_is_sent_by_the_same_key(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["busy"]
    assert (await send(gateway))[2]["err_class"] == "UpstreamUnavailable"
    assert (await row(gateway))["state"] == "NOT_SENT"
    assert (await send(gateway))[2]["err"] == 0


async def test_the_same_key_under_way_is_told_so(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["wait"]
    first = asyncio.create_task(send(gateway))
    await publisher.arrived.wait()
    status, headers, body = await send(gateway)
    assert (status, body["err_class"], headers["Retry-After"]) == (409, "InProgress", "2")
    publisher.release.set()
    assert (await first)[2]["err"] == 0


async def test_an_unknown_outcome_is_not_worded_as_a_failure_and_can_be_followed(
    gateway: Gateway, publisher: Publisher
) -> None:
    publisher.modes = ["executed"]
    status, _, body = await send(gateway)
    assert (status, body["err_class"]) == (200, "OutcomeUnknown")
    await followed(gateway, "DONE")
    found = await gateway.get(body["data"]["status_url"])
    assert (found["data"]["state"], found["data"]["final"], found["data"]["data"]) == ("DONE", True, {"id": "S0"})
    assert (await send(gateway))[2]["data"] == {"id": "S0"}
    assert len(publisher.executed) == 1


async def test_what_the_publisher_does_not_have_is_sent_again_only_after_the_quarantine(
    gateway: Gateway, publisher: Publisher
) -> None:
    await gateway.server.jobs.stop()
    publisher.modes = ["lost"]
    await send(gateway)
    await change(gateway, quarantine=9e9, next_at=0.0)
    await gateway.server.follow.look()
    await gateway.server.follow.settled()
    assert ((await row(gateway))["state"], publisher.executed) == ("UNKNOWN", [])
    assert publisher.searches >= 1
    await change(gateway, quarantine=0.0, next_at=0.0)
    assert (await followed(gateway, "DONE"))["attempt"] == 2
    assert len(publisher.executed) == 1


async def test_what_is_sent_again_is_not_repeated_by_the_sending_layer(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["lost", "cut"]
    await send(gateway)
    await change(gateway, quarantine=0.0, next_at=0.0)
    assert (await followed(gateway, "DONE"))["attempt"] == 2
    assert len(publisher.executed) == 1


async def test_found_twice_is_left_to_an_operator(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["executed"]
    await send(gateway)
    publisher.executed *= 2
    await change(gateway, state="UNKNOWN", next_at=0.0)
    await followed(gateway, "DUPLICATED")
    assert (await send(gateway))[2]["err_class"] == "NeedsOperator"


@pytest.mark.parametrize("found", [ZeroDivisionError(), [{"id": None}]])
async def test_a_search_with_a_bug_learns_nothing_and_a_person_decides_in_the_end(
    gateway: Gateway, publisher: Publisher, found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find(self: Any, reference: str) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(Seeds, "find_seed", find)
    publisher.modes = ["executed"]
    await send(gateway)
    await change(gateway, tries=gateway.server.deliveries.options.tries - 1, next_at=0.0)  # the last try
    assert (await followed(gateway, "PARKED"))["attempt"] == 1
    assert len(publisher.executed) == 1


async def test_what_was_tried_too_often_waits_for_a_person(gateway: Gateway, publisher: Publisher) -> None:
    await send(gateway, "harmless")
    tries = gateway.server.deliveries.options.tries
    await change(gateway, state="NOT_SENT", owed=True, tries=tries, next_at=0.0)
    assert (await followed(gateway, "PARKED"))["attempt"] == 1
    assert len(publisher.executed) == 1


async def test_an_unknown_outcome_that_nothing_can_tell_is_parked_and_never_sent_again(
    gateway: Gateway, publisher: Publisher
) -> None:
    publisher.modes = ["executed"]
    assert (await send(gateway, "never-again"))[2]["err_class"] == "OutcomeUnknown"
    await followed(gateway, "PARKED")
    assert (await send(gateway, "never-again"))[2]["err_class"] == "NeedsOperator"
    assert len(publisher.executed) == 1


@pytest.mark.parametrize("endpoint", ["harmless", "absolute"])
async def test_what_is_harmless_twice_is_driven_again(gateway: Gateway, publisher: Publisher, endpoint: str) -> None:
    publisher.modes = ["lost"]
    await send(gateway, endpoint)
    await followed(gateway, "DONE")
    assert len(publisher.executed) == 1


async def test_a_refusal_after_an_unresolved_attempt_proves_nothing(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["executed", "refuse"]
    await send(gateway, "absolute")
    await followed(gateway, "PARKED")
    assert (await send(gateway, "absolute"))[2]["err_class"] == "NeedsOperator"


async def test_what_a_dead_process_was_sending_is_taken_over(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["executed"]
    await send(gateway)
    await change(gateway, state="SENDING", owner="dead:1:x", next_at=None)
    await followed(gateway, "DONE")
    assert len(publisher.executed) == 1


async def test_what_this_process_holds_without_being_at_it_is_followed_up(
    gateway: Gateway, publisher: Publisher
) -> None:
    """Its commit succeeded, and looked failed: nobody would ever end it."""
    await send(gateway)
    await change(gateway, state="SENDING", updated=0.0)
    await followed(gateway, "DONE")
    assert len(publisher.executed) == 1


async def test_what_this_process_is_at_is_left_alone(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["wait"]
    first = asyncio.create_task(send(gateway))
    await publisher.arrived.wait()
    await change(gateway, updated=0.0)
    await gateway.server.follow.look()
    assert (await row(gateway))["state"] == "SENDING"
    publisher.release.set()
    assert (await first)[2]["err"] == 0


async def test_a_process_thought_dead_writes_no_result(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["wait"]
    first = asyncio.create_task(send(gateway))
    await publisher.arrived.wait()
    await change(gateway, owner="other:1:x", attempt=2)
    publisher.release.set()
    assert (await first)[2]["err_class"] == "OutcomeUnknown"
    assert (await row(gateway))["state"] == "SENDING"


async def test_a_process_that_may_be_thought_dead_sends_nothing(gateway: Gateway, publisher: Publisher) -> None:
    hours = count(1_000_000)
    gateway.server.deliveries._monotonic = lambda: 3600.0 * next(hours)  # it was always last seen an hour ago
    status, _, body = await send(gateway)
    assert (status, body["err_class"]) == (503, "StoreUnavailable")
    assert publisher.executed == []


async def test_a_process_thought_dead_in_the_middle_of_an_attempt_sends_nothing_more(
    gateway: Gateway, publisher: Publisher
) -> None:
    publisher.modes = ["wait"]
    first = asyncio.create_task(send(gateway, "pair"))
    await publisher.arrived.wait()
    hours = count(1_000_000)
    gateway.server.deliveries._monotonic = lambda: 3600.0 * next(hours)
    publisher.release.set()
    _, _, body = await first
    assert body["err"] == 1
    assert len(publisher.executed) == 1


async def test_a_call_that_is_cut_does_not_cut_what_was_sent(gateway: Gateway, publisher: Publisher) -> None:
    publisher.modes = ["wait"]
    call = asyncio.create_task(send(gateway, "never-again"))
    await publisher.arrived.wait()
    serving: Any = gateway.server._runners[0].server
    [connection] = serving.connections
    connection._task_handler.cancel()
    with pytest.raises(aiohttp.ClientError):
        await call
    publisher.release.set()
    assert (await followed(gateway, "DONE"))["upstream_id"] == "S0"


async def test_an_answer_that_comes_after_the_deadline_is_still_read(gateway: Gateway, publisher: Publisher) -> None:
    gateway.server.dispatch._deadline = 0.5
    publisher.modes = ["wait"]
    _, _, body = await send(gateway, "never-again")
    assert body["err_class"] == "OutcomeUnknown"
    publisher.release.set()
    assert (await followed(gateway, "DONE"))["upstream_id"] == "S0"


@pytest.mark.parametrize(("endpoint", "patience"), [("found", 7.0), ("never-again", 60.0)])
async def test_the_quarantine_is_the_declared_processing_time_and_the_margin_or_the_operators(
    tmp_path: Path, publisher: Publisher, endpoint: str, patience: float
) -> None:
    chosen = {"margin": 7.0, "quarantine": 60.0}
    async with (
        upstream(publisher) as url,
        running(tmp_path / "data", Seeds, settings={"url": url}, deliveries=chosen) as gateway,
    ):
        await send(gateway, endpoint)
        assert (await row(gateway))["patience"] == patience


async def test_another_caller_does_not_see_a_delivery(gateway: Gateway) -> None:
    await send(gateway)
    await change(gateway, client="somebody")
    found = await row(gateway)
    assert (await gateway.call("GET", f"/deliveries/{found['id']}"))[0] == 404


async def test_nothing_personal_stands_readable_in_the_store(gateway: Gateway, tmp_path: Path) -> None:
    await send(gateway, name="canary-7301")
    found = await row(gateway)
    assert b"canary-7301" not in found["request"]
    assert b'"S0"' not in found["answer"]
    for file in (tmp_path / "data").rglob("*"):
        assert not file.is_file() or b"canary-7301" not in file.read_bytes()


async def test_a_sealed_answer_moved_to_another_row_is_refused(gateway: Gateway) -> None:
    await send(gateway)
    await change(gateway, id="x" * 16)
    assert (await send(gateway))[2]["err_class"] == "Internal"


async def test_once_erased_the_publishers_number_is_left(gateway: Gateway) -> None:
    await send(gateway)
    await change(gateway, answer=None, request=None)
    assert (await send(gateway))[2]["data"] == {"id": "S0"}


async def limited(gateway: Gateway, pages: str) -> None:
    """The database file may not grow beyond `pages`: a full disk."""

    def limit(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await gateway.server.deliveries.store.run(limit)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_on_a_full_disk_nothing_is_sent_and_service_comes_back(gateway: Gateway, publisher: Publisher) -> None:
    await limited(gateway, "1")
    status, _, body = await send(gateway, name="x" * 200_000)
    assert (status, body["err_class"], publisher.executed) == (503, "StoreUnavailable", [])
    assert (await gateway.call("GET", "/seeds/test/up"))[0] == 200
    await limited(gateway, "1000000")
    assert (await send(gateway, name="x" * 200_000))[2]["err"] == 0


async def test_an_outcome_is_kept_until_it_can_be_written(
    gateway: Gateway, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = gateway.server.deliveries
    real, refused = journal.store.run, []

    async def failing(work: Any, size: int = 0) -> Any:
        if getattr(work, "func", None) is records.finish and len(refused) < 2:
            refused.append(work)
            raise StoreUnavailable(detail="full")
        return await real(work, size)

    monkeypatch.setattr(journal.store, "run", failing)
    assert (await send(gateway))[2] == {"err": 0, "data": {"id": "S0"}}
    assert (len(refused), (await row(gateway))["state"]) == (2, "DONE")


async def test_without_a_store_nothing_is_sent_and_reads_go_on(gateway: Gateway, publisher: Publisher) -> None:
    await gateway.server.jobs.stop()
    await gateway.server.deliveries.store.close()
    status, _, body = await send(gateway)
    assert (status, body["err_class"]) == (503, "StoreUnavailable")
    assert publisher.executed == []
    assert (await gateway.call("GET", "/seeds/test/up"))[0] == 200
