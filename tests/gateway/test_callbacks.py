"""Deferred requests, and what callers are told later; on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gateway.callbacks import target, whom
from gateway.settings import CallbackSettings, ClientSettings
from gateway.store.tables import callbacks, deliveries, followed
from sdk import InvalidInput
from tests.wcs import Form, Forms, WorkflowEngine

from .conftest import KEY, Gateway, running, upstream
from .till import Publisher, Till

DEBT = {"reference": "2026-7", "year": 2026}
SECRET = "the-secret-of-callbacks"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The gateway's options for each database."""
    return {} if request.param == "sqlite" else {"store": request.getfixturevalue("postgres")}


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
async def forms() -> AsyncIterator[Forms]:
    async with Forms(keys={"relais.example.org": SECRET}, passwords={"relais": "a-password"}) as site:
        yield site
        assert site.faults == []


@pytest.fixture
def form(forms: Forms) -> Form:
    return forms.add("demande", "12", triggers={"suivi"}, hooks={"relais"})


SIGNED = {"signature": {"orig": "relais.example.org", "key": SECRET}}


@asynccontextmanager
async def serving(
    folder: Path, publisher: Publisher, url: str, store: dict[str, Any], **callback: Any
) -> AsyncIterator[Gateway]:
    told = {"url": url, "trigger": "suivi", "http": {"allow_http": True, "breaker": False}, **SIGNED, **callback}
    if told["trigger"] is None:
        del told["trigger"]
    client = {
        "api_key": KEY["X-API-Key"],
        "signature": {"orig": "demarches.example.org", "key": "a shared key"},
        "rights": ["*/*/*"],
        "callback": told,
    }
    async with (
        upstream(publisher) as at,
        running(
            folder,
            Till,
            settings={"url": at},
            http={"breaker": False},
            clients={"wcs": client},
            deliveries={"margin": 0.0, "backoff": 0.01, "tries": 4},
            **store,
        ) as one,
    ):
        yield one
        publisher.slow.set()


@pytest.fixture
async def gateway(
    tmp_path: Path, publisher: Publisher, forms: Forms, form: Form, store: dict[str, Any]
) -> AsyncIterator[Gateway]:
    async with serving(tmp_path / "data", publisher, forms.url, store) as one:
        yield one


@pytest.fixture
async def embedded(tmp_path: Path, publisher: Publisher, forms: Forms, form: Form) -> AsyncIterator[Gateway]:
    """For what does not depend on the database."""
    async with serving(tmp_path / "data", publisher, forms.url, {}) as one:
        yield one


async def send(gateway: Gateway, forms: Forms, endpoint: str = "orders", key: str = "k1", **more: Any) -> Any:
    caller = {"Publik-Caller-URL": f"{forms.url}/backoffice/management/demande/12/", "Idempotency-Key": key}
    headers = {**caller, **more.pop("headers", {})}
    query = more.pop("query", "")
    return await gateway.call("POST", f"/till/test/{endpoint}{query}", json={**DEBT, **more}, headers=headers)


async def rows(gateway: Gateway, table: Any = callbacks) -> list[Any]:
    query = select(table).order_by(table.c.created, table.c.number if table is callbacks else table.c.created)
    found = await gateway.server.deliveries.store.run(lambda connection: connection.execute(query).mappings().all())
    return list(found)


async def change(gateway: Gateway, table: Any = callbacks, **values: Any) -> None:
    await gateway.server.deliveries.store.run(lambda connection: connection.execute(update(table).values(**values)))


async def until(gateway: Gateway, met: Callable[[], Any]) -> Any:
    """What `met` gives once it gives something, the gateway working meanwhile."""
    server = gateway.server
    async with asyncio.timeout(15):
        while True:
            if found := met():
                return found
            for kind in (server.follow, server.following, server.callbacks):
                await kind.look()
                await kind.settled()


async def at_once(gateway: Gateway, table: Any = callbacks) -> None:
    """What waits for its turn is due now."""
    due = update(table).where(table.c.next_at.is_not(None)).values(next_at=0.0)
    await gateway.server.deliveries.store.run(lambda connection: connection.execute(due))


# --- deferred ---------------------------------------------------------------------------------------------------------


async def test_a_deferred_request_is_answered_by_a_ticket_at_once(
    gateway: Gateway, publisher: Publisher, forms: Forms
) -> None:
    publisher.slow.clear()
    status, headers, body = await send(gateway, forms)
    assert (status, body["err"], body["data"]["state"]) == (200, 0, "RECEIVED")
    assert body["data"]["status_url"] == f"/deliveries/{body['data']['id']}"
    assert "Idempotency-Replayed" not in headers
    shown = (await gateway.get(body["data"]["status_url"]))["data"]
    assert (shown["id"], shown["final"], shown["data"]) == (body["data"]["id"], False, None)


async def test_the_same_key_gives_the_same_ticket_whatever_became_of_it(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    first = (await send(gateway, forms))[2]
    for _ in range(2):
        _, headers, body = await send(gateway, forms)
        assert (body, headers["Idempotency-Replayed"]) == (first, "true")
        await until(gateway, lambda: form.told)
    assert len(publisher.made) == 1


async def test_the_ticket_of_another_content_is_refused(embedded: Gateway, forms: Forms) -> None:
    await send(embedded, forms)
    assert (await send(embedded, forms, year=2027))[2]["err_class"] == "KeyMismatch"


async def test_a_ticket_is_followed_at_once_where_what_it_becomes_is_followed(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    publisher.slow.clear()
    ticket = (await send(gateway, forms, "plans", note="jeanne"))[2]["data"]["id"]
    early = (await gateway.get(f"/till/test/payments/{ticket}"))["data"]
    assert (early["id"], early["final"]) == (ticket, False)
    assert early["status"] in ("RECEIVED", "SENDING")
    publisher.slow.set()
    await until(gateway, lambda: form.told)
    publisher.made["P1"] = "paid"
    later = (await gateway.get(f"/till/test/payments/{ticket}"))["data"]
    assert (later["id"], later["status"], later["final"]) == (ticket, "paid", True)
    assert (await gateway.get(f"/till/test/payments/{ticket}?note=jeanne"))["data"] == later
    for unknown in ("nobodys", f"{ticket}?note=paul"):
        assert (await gateway.get(f"/till/test/payments/{unknown}"))["err_class"] == "NotFound"


async def test_a_wrong_field_is_told_at_once_and_nothing_is_kept(embedded: Gateway, forms: Forms) -> None:
    status, _, body = await send(embedded, forms, year="soon")
    assert (status, body["err_class"]) == (400, "InvalidInput")
    assert await rows(embedded, deliveries) == []


async def test_the_gateway_carries_it_out_by_itself_and_tells_the_form(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    ticket = (await send(gateway, forms))[2]["data"]
    async with asyncio.timeout(15):
        while not form.told:  # nobody looks here: the gateway's own work does
            await rows(gateway)
    (said,) = form.told
    assert said == {
        "id": said["id"],
        "delivery": ticket["id"],
        "endpoint": "till/test/orders",
        "at": said["at"],
        "state": "DONE",
        "status": None,
        "final": True,
        "data": {"id": "P1"},
        "err_class": None,
        "err_desc": None,
    }
    shown = (await gateway.get(ticket["status_url"]))["data"]
    assert (shown["state"], shown["final"], shown["data"]) == ("DONE", True, {"id": "P1"})


async def test_a_refusal_is_told_and_the_same_key_drives_it_again(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    publisher.modes = ["refused"]
    first = (await send(gateway, forms))[2]["data"]
    (said,) = await until(gateway, lambda: form.told)
    assert (said["state"], said["final"], said["data"], said["err_class"]) == ("REFUSED", True, None, "Rejected")
    assert said["err_desc"]
    _, headers, body = await send(gateway, forms)
    assert (body["data"], "Idempotency-Replayed" in headers) == (first, False)
    await until(gateway, lambda: len(form.told) == 2)
    assert form.told[1]["state"] == "DONE"


async def test_what_could_not_be_sent_is_sent_again_later(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    publisher.modes = ["busy", "busy"]
    await send(gateway, forms)
    await until(gateway, lambda: form.told)
    assert [said["state"] for said in form.told] == ["DONE"]
    assert len(publisher.made) == 1
    assert (await rows(gateway, deliveries))[0]["attempt"] == 3


async def test_after_too_many_tries_a_person_is_asked_and_the_caller_told(
    embedded: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    publisher.modes = ["busy"] * 9
    await send(embedded, forms)
    (said,) = await until(embedded, lambda: form.told)
    assert (said["state"], said["final"], said["err_class"]) == ("PARKED", False, "NeedsOperator")
    assert "n'a pas pu être transmise" in said["err_desc"]
    assert (await send(embedded, forms))[2]["err_class"] == "NeedsOperator"


@pytest.mark.parametrize("mode", ["executed", "lost"])
async def test_a_deferred_request_of_unknown_outcome_is_searched_then_followed(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form, mode: str
) -> None:
    publisher.modes = [mode]
    await send(gateway, forms, "plans")
    (said,) = await until(gateway, lambda: form.told)
    assert (said["state"], said["data"], said["final"]) == ("DONE", {"id": "P1"}, False)
    assert len(publisher.made) == 1
    publisher.made["P1"] = "paid"
    await at_once(gateway, followed)
    await until(gateway, lambda: len(form.told) == 2)
    assert (form.told[1]["status"], form.told[1]["final"]) == ("paid", True)


async def test_a_request_in_no_form_is_carried_out_and_nobody_is_told(
    embedded: Gateway, publisher: Publisher, forms: Forms
) -> None:
    ticket = (await send(embedded, forms, headers={"Publik-Caller-URL": ""}))[2]["data"]
    await until(embedded, lambda: publisher.made)
    async with asyncio.timeout(5):
        while (shown := (await embedded.get(ticket["status_url"]))["data"])["state"] != "DONE":
            continue
    assert shown["callbacks"] == {}
    assert await rows(embedded) == []


async def test_a_form_without_any_key_is_answered_then_told(embedded: Gateway, forms: Forms, form: Form) -> None:
    caller_url = f"{forms.url}/backoffice/management/demande/12/"
    async with WorkflowEngine(key="a shared key", caller_url=caller_url) as engine:
        first = await engine.call(f"{embedded.url}/till/test/orders", DEBT)
        again = await engine.call(f"{embedded.url}/till/test/orders", DEBT)  # an agent clicks twice
        assert (first.ok, again.ok) == (True, True)
        assert first.data == again.data
        await until(embedded, lambda: form.told)
        assert form.data["delivery"] == first.data["data"]["id"]
        assert (form.data["state"], form.data["data"]) == ("DONE", {"id": "P1"})


# --- each change, once, in order --------------------------------------------------------------------------------------


async def test_each_change_of_status_is_told_once_and_in_order(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    await send(gateway, forms, "payments")
    assert form.told == []
    for status in ("started", "started", "waiting", "paid"):
        publisher.made["P1"] = status
        await at_once(gateway, followed)
        looks = publisher.looks
        await until(gateway, lambda looks=looks: publisher.looks > looks)
    await until(gateway, lambda: len(form.told) == 3)
    assert [(said["status"], said["final"]) for said in form.told] == [
        ("started", False),
        ("waiting", False),
        ("paid", True),
    ]
    assert form.told[2]["data"] == {"id": "P1", "status": "paid", "text": "", "final": True}
    assert form.data["status"] == "paid"


async def test_a_later_message_waits_for_the_one_before(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    form.busy = True
    await send(gateway, forms, "plans")
    await until(gateway, lambda: len(forms.calls))
    publisher.made["P1"] = "paid"
    await at_once(gateway, followed)
    await until(gateway, lambda: publisher.looks)
    assert [row["number"] for row in await rows(gateway)] == [1, 2]
    tried = len(forms.calls)
    await gateway.server.callbacks.look()
    await gateway.server.callbacks.settled()
    assert len(forms.calls) == tried  # the first waits for its turn, the second for the first
    form.busy = False
    await at_once(gateway)
    await until(gateway, lambda: form.told)
    await until(gateway, lambda: len(form.told) == 2)
    assert [said["status"] for said in form.told] == [None, "paid"]


async def test_a_caller_that_was_told_the_outcome_is_unknown_is_told_the_end(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    publisher.modes = ["executed"]
    assert (await send(gateway, forms, "payments"))[2]["err_class"] == "OutcomeUnknown"
    (said,) = await until(gateway, lambda: form.told)
    assert (said["state"], said["final"], said["err_class"]) == ("PARKED", False, "NeedsOperator")


async def test_a_caller_that_was_answered_is_told_nothing_more(
    gateway: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    publisher.modes = ["refused"]
    assert (await send(gateway, forms, "payments"))[2]["err_class"] == "Rejected"
    assert (await send(gateway, forms, "payments"))[2]["err"] == 0
    assert await rows(gateway) == []


# --- how it is told ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [500, 503, "html", "redirect", "err", "cut", "executed", "busy", "unknown"])
async def test_a_message_is_sent_until_it_is_accepted(
    embedded: Gateway, publisher: Publisher, forms: Forms, form: Form, mode: Any
) -> None:
    if mode == "busy":
        form.busy = True
    elif mode == "unknown":
        form.triggers.clear()
    else:
        forms.modes = [mode]
    await send(embedded, forms)
    await until(embedded, lambda: forms.calls)
    (row,) = await rows(embedded)
    assert (row["state"], row["tries"]) == ("PENDING", 1)
    assert row["reason"]
    assert row["body"] is not None
    form.busy, form.triggers = False, {"suivi"}
    await at_once(embedded)
    await until(embedded, lambda: len(forms.calls) > 1)
    (row,) = await rows(embedded)
    assert (row["state"], row["body"], row["reason"]) == ("ACCEPTED", None, "")
    assert len(form.told) == 1
    assert set(forms.calls) == {"/api/forms/demande/12/jump/trigger/suivi/"}


@pytest.mark.parametrize(("known", "hours"), [(True, 72.0), (False, 24.0)])
async def test_what_is_not_accepted_in_time_is_given_up_and_shown(
    embedded: Gateway, publisher: Publisher, forms: Forms, form: Form, known: bool, hours: float
) -> None:
    form.busy = known
    form.triggers = {"suivi"} if known else set()
    ticket = (await send(embedded, forms))[2]["data"]
    await until(embedded, lambda: forms.calls)
    (row,) = await rows(embedded)
    for age, state in ((hours - 1, "PENDING"), (hours + 1, "DEAD")):
        await change(embedded, created=embedded.server.deliveries.clock() - age * 3600, next_at=0.0)
        calls = len(forms.calls)
        await until(embedded, lambda calls=calls: len(forms.calls) > calls)
        (row,) = await rows(embedded)
        assert row["state"] == state
    assert row["next_at"] is None
    assert (await embedded.get(ticket["status_url"]))["data"]["callbacks"] == {"dead": 1}


async def test_the_address_may_be_named_by_the_caller(
    embedded: Gateway, publisher: Publisher, forms: Forms, form: Form
) -> None:
    other = forms.add("autre", "7", hooks={"retour"})
    address = f"{forms.url}/api/forms/autre/7/hooks/retour/"
    await send(embedded, forms, query=f"?callback-url={address}")
    await until(embedded, lambda: other.told)
    await send(embedded, forms, key="k2", headers={"Callback-URL": address})
    await until(embedded, lambda: len(other.told) == 2)
    assert form.told == []
    assert other.data["retour"]["data"] == {"id": "P2"}


@pytest.mark.parametrize("address", ["https://elsewhere.example.org/api/", "not an address", "/api/forms/demande/12/"])
async def test_another_site_is_never_spoken_to(embedded: Gateway, forms: Forms, address: str) -> None:
    status, _, body = await send(embedded, forms, headers={"Callback-URL": address})
    assert (status, body["err_class"], list(body["errors"])) == (400, "InvalidInput", ["callback-url"])
    assert await rows(embedded, deliveries) == []


@pytest.mark.parametrize("query", ["orig=admin", "a=1&NameID=42", "b;email=x", "%6frig=admin", "signature"])
async def test_an_address_that_says_who_calls_is_refused(embedded: Gateway, forms: Forms, query: str) -> None:
    address = f"{forms.url}/api/forms/autre/7/hooks/retour/?{query}"
    status, _, body = await send(embedded, forms, headers={"Callback-URL": address})
    assert (status, body["err_class"], list(body["errors"])) == (400, "InvalidInput", ["callback-url"])
    assert await rows(embedded, deliveries) == []


async def test_a_hook_with_basic_credentials(tmp_path: Path, publisher: Publisher, forms: Forms, form: Form) -> None:
    credentials = {"signature": None, "basic": {"username": "relais", "password": "a-password"}}
    async with serving(
        tmp_path / "data", publisher, forms.url, {}, trigger=None, hook="relais", **credentials
    ) as gateway:
        await send(gateway, forms)
        await until(gateway, lambda: form.told)
        assert form.data["relais"]["state"] == "DONE"
        assert forms.calls == ["/api/forms/demande/12/hooks/relais/"]


async def test_what_is_told_is_not_in_clear_in_the_database(
    tmp_path: Path, publisher: Publisher, forms: Forms, form: Form
) -> None:
    form.busy = True
    canary = "jeanne.martin.2.81.03@example.org"
    async with serving(tmp_path / "data", publisher, forms.url, {}) as gateway:
        publisher.modes = []
        forms.add("canari-jeanne-martin", "99")
        headers = {"Publik-Caller-URL": f"{forms.url}/backoffice/management/canari-jeanne-martin/99/"}
        await send(gateway, forms, "payments", note=canary, headers=headers)
        await at_once(gateway, followed)
        await until(gateway, lambda: publisher.looks)
        assert len(await rows(gateway)) == 1
        written = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("relais.db*"))
    for word in (canary, "canari-jeanne-martin", SECRET, "a-password"):
        assert word.encode() not in written


# --- whom -------------------------------------------------------------------------------------------------------------

SITE = CallbackSettings.model_validate({"url": "https://demarches.example.org", "trigger": "suivi", **SIGNED})
CLIENT = {"wcs": ClientSettings(name="wcs", api_key="x" * 16, rights=("*/*/*",), callback=SITE)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("caller_url", "path"),
    [
        ("https://demarches.example.org/backoffice/management/demande/12/", "demande/12"),
        ("https://demarches.example.org/backoffice/management/demande-d-acte/12-3/", "demande-d-acte/12-3"),
        ("https://demarches.example.org/backoffice/management/demande/12", "demande/12"),
        ("https://demarches.example.org/backoffice/data/carte/12/", None),
        ("https://demarches.example.org/backoffice/forms/12/", None),
        ("https://demarches.example.org/backoffice/management/demande/12/edit", None),
        ("https://demarches.example.org/backoffice/management/../12/", None),
        ("https://elsewhere.example.org/backoffice/management/demande/12/", None),
        ("http://demarches.example.org/backoffice/management/demande/12/", None),
        ("https://demarches.example.org:8443/backoffice/management/demande/12/", None),
        ("https://demarches.example.org@elsewhere.example.org/backoffice/management/demande/12/", None),
        ("https://user:word@demarches.example.org/backoffice/management/demande/12/", None),
        ("", None),
        ("https://[", None),
    ],
)
def test_the_forms_address_is_derived_from_its_back_office_address(caller_url: str, path: str | None) -> None:
    kept = whom(CLIENT, "wcs", {"Publik-Caller-URL": caller_url}, None)
    found = target(SITE, kept) if kept else None
    expected = path and f"https://demarches.example.org/api/forms/{path}/jump/trigger/suivi/"
    assert found == expected


def test_a_site_below_a_path_keeps_its_path() -> None:
    site = SITE.model_copy(update={"url": "https://example.org/wcs/"})
    clients = {"wcs": CLIENT["wcs"].model_copy(update={"callback": site})}
    kept = whom(clients, "wcs", {"Publik-Caller-URL": "https://example.org/wcs/backoffice/management/a/1/"}, None)
    assert kept is not None
    assert target(site, kept) == "https://example.org/wcs/api/forms/a/1/jump/trigger/suivi/"
    with pytest.raises(InvalidInput):
        whom(clients, "wcs", {}, "https://example.org/other/api/")


def test_an_account_without_callbacks_cannot_ask_for_one() -> None:
    with pytest.raises(InvalidInput, match=r"rappels"):
        whom({}, "wcs", {}, "https://demarches.example.org/api/x/")
    assert (
        whom({}, "wcs", {"Publik-Caller-URL": "https://demarches.example.org/backoffice/management/a/1/"}, None) is None
    )


def test_an_address_that_the_account_no_longer_allows_is_not_used() -> None:
    kept = json.dumps({"url": "https://former.example.org/api/forms/a/1/hooks/x/"}).encode()
    assert target(SITE, kept) is None
