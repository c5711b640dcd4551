"""The workflow engine of the tests judges answers as the public facts about w.c.s. say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from .wcs import Forms, Policies, WorkflowEngine, sign

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
NONCE = "0123456789abcdef0123456789abcdef"


@dataclass
class Service:
    """A webservice that answers what it is told to, and remembers what it received."""

    url: str = ""
    body: bytes = b"{}"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    received: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)

    def answers(self, body: Any, status: int = 200, **headers: str) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    here = Service()

    async def answer(request: web.Request) -> web.Response:
        here.received.append((request.method, request.raw_path, request.headers, await request.read()))
        return web.Response(body=here.body, status=here.status, headers=here.headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}/service"
    yield here
    await runner.cleanup()


@pytest.fixture
async def engine() -> AsyncIterator[WorkflowEngine]:
    async with WorkflowEngine() as running:
        yield running


def test_both_known_signatures_are_found() -> None:
    before = "https://relais.example.org/a?q=caf%C3%A9"
    assert sign(before, "s3cr3t", orig="demarches.example.org", time=NOW, nonce=NONCE) == (
        f"{before}&orig=demarches.example.org&algo=sha256&timestamp=2024-01-02T03%3A04%3A05Z&nonce={NONCE}"
        "&signature=SK9pHpYqYNvA20uMOJflKd%2BCV3DAjAkGpBaqmuPEHUY%3D"
    )
    assert sign("https://relais.example.org/a", "s3cr3t", time=NOW, nonce=NONCE) == (
        f"https://relais.example.org/a?algo=sha256&timestamp=2024-01-02T03%3A04%3A05Z&nonce={NONCE}"
        "&signature=dUYayEezBM4jc/OzCh5GONlXMaQVDovX4rts7TZ7UPI%3D"
    )


async def test_a_call_carries_the_headers_of_a_workflow(service: Service, engine: WorkflowEngine) -> None:
    await engine.call(service.url, {"amount": "42.50"})
    await engine.call(service.url)
    (method, _, with_body, body), (second, _, without, nothing) = service.received
    assert (method, json.loads(body)) == ("POST", {"amount": "42.50"})
    assert (second, nothing) == ("GET", b"")
    assert with_body["Content-Type"] == "application/json"
    assert "Content-Type" not in without
    assert without["Accept"] == "application/json"
    assert without["User-Agent"].startswith("w.c.s./0 (")
    assert without["Publik-Caller-URL"].startswith("https://")


async def test_an_empty_payload_has_no_type(service: Service, engine: WorkflowEngine) -> None:
    await engine.call(service.url, {})
    method, _, headers, body = service.received[0]
    assert (method, body) == ("POST", b"")
    assert "Content-Type" not in headers


async def test_a_signed_call_ends_with_its_signature_and_credentials_replace_it(service: Service) -> None:
    async with WorkflowEngine(key="s3cr3t") as engine:
        await engine.call(f"{service.url}?q=caf%C3%A9")
        await engine.call(service.url.replace("http://", "http://user:p%40ss@").replace("%40", "x"))
        await engine.call(service.url, key="another")
    signed, basic, explicit = service.received
    assert signed[1].startswith("/service?q=caf%C3%A9&orig=demarches.example.org&algo=sha256&timestamp=")
    assert "&signature=" in signed[1]
    assert basic[1] == "/service"
    assert basic[2]["Authorization"].startswith("Basic ")
    assert "orig=" not in explicit[1]


@pytest.mark.parametrize("err", [0, "0", None, False, 0.0, "", [], {}, 0.5])
async def test_a_falsy_err_is_a_success(service: Service, engine: WorkflowEngine, err: Any) -> None:
    service.answers({"err": err, "data": 1})
    outcome = await engine.call(service.url)
    assert (outcome.ok, outcome.app_error_code, outcome.data["data"]) == (True, 0, 1)


@pytest.mark.parametrize(
    ("err", "code"), [(1, 1), ("1", 1), (True, 1), (-1, -1), ("slug", "slug"), ("0.5", "0.5"), (404, 404)]
)
async def test_a_truthy_err_is_an_error_that_stops_nothing_by_default(
    service: Service, engine: WorkflowEngine, err: Any, code: int | str
) -> None:
    service.answers({"err": err, "err_desc": "non"})
    outcome = await engine.call(service.url)
    assert (outcome.ok, outcome.app_error_code, outcome.data) == (False, code, None)
    assert (outcome.stopped_by, outcome.desc) == (None, "non")
    strict = await engine.call(service.url, policies=Policies(app_error="stop"))
    assert strict.stopped_by == "app-error"


async def test_a_missing_err_is_a_success(service: Service, engine: WorkflowEngine) -> None:
    service.answers({"data": 1})
    assert (await engine.call(service.url)).ok


async def test_the_header_wins_over_the_body_both_ways(service: Service, engine: WorkflowEngine) -> None:
    service.answers({"err": 1}, x_error_code="0")
    assert (await engine.call(service.url)).ok
    service.answers({"err": 0}, X_Error_Code="refused")
    assert (await engine.call(service.url)).app_error_code == "refused"


async def test_an_attachment_is_judged_by_header_and_status_only(service: Service, engine: WorkflowEngine) -> None:
    service.answers({"err": 1})
    outcome = await engine.call(service.url, response_type="attachment")
    assert (outcome.ok, outcome.data) == (True, b'{"err": 1}')
    service.answers(b"%PDF", x_error_code="1")
    assert not (await engine.call(service.url, response_type="attachment")).ok


@pytest.mark.parametrize(("status", "stopped"), [(400, "4xx"), (404, "4xx"), (500, "5xx"), (503, "5xx")])
async def test_a_status_of_failure_stops_even_with_a_good_body(
    service: Service, engine: WorkflowEngine, status: int, stopped: str
) -> None:
    service.answers({"err": 0}, status)
    outcome = await engine.call(service.url)
    assert (outcome.ok, outcome.stopped_by) == (False, stopped)
    assert (await engine.call(service.url, policies=Policies(http_4xx="pass", http_5xx="pass"))).stopped_by is None


async def test_an_answer_without_content_stores_nothing(service: Service, engine: WorkflowEngine) -> None:
    service.answers(b"", 204)
    outcome = await engine.call(service.url, policies=Policies(bad_data="stop"))
    assert (outcome.ok, outcome.data, outcome.stopped_by) == (True, None, None)


@pytest.mark.parametrize("body", [b"<html>", b"\xef\xbb\xbf{}", '{"a": "é"}'.encode("latin-1"), b""])
async def test_bad_data_passes_by_default_and_only_counts_with_a_name(
    service: Service, engine: WorkflowEngine, body: bytes
) -> None:
    service.answers(body)
    assert (await engine.call(service.url)).stopped_by is None
    stop = Policies(bad_data="stop")
    assert (await engine.call(service.url, policies=stop)).stopped_by == "bad-data"
    assert (await engine.call(service.url, policies=stop, has_varname=False)).stopped_by is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "ftp://relais.example.org/", "relais"])
async def test_nobody_there_is_a_network_error(engine: WorkflowEngine, url: str) -> None:
    outcome = await engine.call(url)
    assert (outcome.ok, outcome.status, outcome.stopped_by) == (False, None, "network")
    assert outcome.connection_error


async def test_a_list_leaves_out_what_a_form_would(service: Service, engine: WorkflowEngine) -> None:
    service.answers(
        {
            "data": [
                {"id": "12", "text": "École Pasteur", "quartier": "Nord"},
                {"id": 0, "text": ""},
                {"id": 7},
                {"id": "", "text": "sans identifiant"},
                {"id": None, "text": "nul"},
                {"text": "sans identifiant"},
                {"id": "8", "text": 8},
                "pas un objet",
            ],
            "meta": {"page": 1},
        }
    )
    source = await engine.list(service.url)
    assert [(item["id"], item["text"]) for item in source.items] == [("12", "École Pasteur"), ("0", ""), ("7", "7")]
    assert source.items[0]["quartier"] == "Nord"
    assert (source.skipped, source.error, source.meta) == (5, "", {"page": 1})
    assert "Accept" not in service.received[0][2] or service.received[0][2]["Accept"] == "*/*"


@pytest.mark.parametrize("err", [0, "0", None, False, 0.0])
async def test_a_list_accepts_these_values_of_err(service: Service, engine: WorkflowEngine, err: Any) -> None:
    service.answers({"err": err, "data": []})
    assert (await engine.list(service.url)).error == ""


@pytest.mark.parametrize("answer", [{"err": ""}, {"err": []}, {"err": 0.5}, {"err": 1}, [], {"data": {}}, {}])
async def test_a_list_in_error_is_empty(service: Service, engine: WorkflowEngine, answer: Any) -> None:
    service.answers({"data": [{"id": 1}]} | answer if isinstance(answer, dict) and "err" in answer else answer)
    source = await engine.list(service.url)
    assert source.items == []
    assert source.error


async def test_a_list_with_a_status_of_failure_or_nobody_there_is_empty(
    service: Service, engine: WorkflowEngine
) -> None:
    service.answers({"data": [{"id": 1}]}, 404)
    assert (await engine.list(service.url)).error == "HTTP 404"
    assert (await engine.list("http://127.0.0.1:1/")).error.startswith("network")


async def test_a_list_tolerates_a_byte_order_mark(service: Service, engine: WorkflowEngine) -> None:
    service.answers(b'\xef\xbb\xbf{"data": [{"id": 1}]}')
    assert len((await engine.list(service.url)).items) == 1


async def test_a_list_may_live_elsewhere_in_the_answer(service: Service, engine: WorkflowEngine) -> None:
    service.answers({"payload": {"results": [{"code": 5, "labels": {"fr": "Cinq"}}]}})
    source = await engine.list(
        service.url, data_attribute="payload.results", id_attribute="code", text_attribute="labels.fr"
    )
    assert [(item["id"], item["text"]) for item in source.items] == [("5", "Cinq")]


async def test_typing_and_choosing_ask_with_q_then_id(service: Service, engine: WorkflowEngine) -> None:
    service.answers({"data": [{"id": 12, "text": "Rue de l'Été"}, {"id": 13, "text": "Rue"}]})
    assert len((await engine.complete(f"{service.url}?ville=metz", "été & co")).items) == 2
    chosen = await engine.lookup(service.url, "13")
    assert chosen is not None
    assert chosen["text"] == "Rue"
    assert await engine.lookup(service.url, "14") is None
    exact = await engine.find_text(service.url, "Rue")
    assert exact is not None
    assert exact["id"] == "13"
    paths = [path for _, path, _, _ in service.received]
    assert paths[:2] == ["/service?ville=metz&q=%C3%A9t%C3%A9%20%26%20co", "/service?id=13"]


async def test_an_item_found_by_another_parameter_must_repeat_it(service: Service, engine: WorkflowEngine) -> None:
    service.answers({"data": [{"id": 1, "text": "a"}]})
    assert await engine.lookup(service.url, "1", parameter="code") is None


# --- what w.c.s. is told ----------------------------------------------------------------------------------------------

TRIGGER = "/api/forms/demande/12/jump/trigger/suivi/"
EXACT = {"Accept": "application/json", "Content-Type": "application/json"}
KEYS = {"relais.example.org": "s3cr3t"}


async def told(forms: Forms, path: str = TRIGGER, *, body: bytes = b'{"id": "m1"}', **options: Any) -> tuple[int, Any]:
    """Status and answer of a message, signed unless told otherwise."""
    url = sign(forms.url + path, options.pop("key", "s3cr3t"), orig="relais.example.org")
    options = {"headers": EXACT, "data": body, "allow_redirects": False, **options}
    async with aiohttp.ClientSession() as session:
        target = URL(options.pop("url", url), encoded=True)
        async with session.request(options.pop("method", "POST"), target, **options) as answer:
            return answer.status, await answer.json()


async def test_a_trigger_is_merged_into_the_forms_data_and_a_hook_stands_under_its_name() -> None:
    async with Forms(keys=KEYS) as forms:
        form = forms.add("demande", "12", triggers={"suivi"}, hooks={"retour"})
        assert await told(forms) == (200, {"err": 0, "url": None})
        assert await told(forms, "/api/forms/demande/12/hooks/retour/") == (200, {"err": 0})
    assert form.data == {"id": "m1", "retour": {"id": "m1"}}
    assert forms.faults == []


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"path": "/api/forms/demande/12/jump/trigger/autre/"}, 404),
        ({"path": "/api/forms/demande/13/jump/trigger/suivi/"}, 404),
        ({"path": "/demande/12/"}, 404),
        ({"method": "PUT"}, 403),
        ({"key": "another"}, 403),
        ({"url": ""}, 403),
        ({"body": b"{"}, 400),
    ],
)
async def test_what_w_c_s_would_refuse_is_refused(options: dict[str, Any], status: int) -> None:
    async with Forms(keys=KEYS) as forms:
        form = forms.add("demande", "12", triggers={"suivi"})
        if "url" in options:
            options = {"url": forms.url + TRIGGER}  # without a signature
        found, answer = await told(forms, **options)
    assert (found, answer["err"]) == (status, 1)
    assert form.received == []


async def test_a_busy_form_refuses_and_a_signature_is_good_once() -> None:
    async with Forms(keys=KEYS) as forms:
        form = forms.add("demande", "12", triggers={"suivi"})
        form.busy = True
        assert (await told(forms))[0] == 403
        form.busy = False
        url = sign(forms.url + TRIGGER, "s3cr3t", orig="relais.example.org")
        assert [(await told(forms, url=url))[0] for _ in range(2)] == [200, 403]
    assert forms.faults == ["a nonce used twice"]


async def test_headers_that_are_not_exactly_those_are_noted() -> None:
    async with Forms(keys=KEYS) as forms:
        forms.add("demande", "12", triggers={"suivi"})
        loose = {"Accept": "*/*", "Content-Type": "application/json; charset=utf-8"}
        await told(forms, headers=loose, body=b"[]")
    assert len(forms.faults) == 3
