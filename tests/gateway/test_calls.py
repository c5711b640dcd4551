"""One call through the gateway, seen from the caller."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from sdk import (
    HOUR,
    Choice,
    Connector,
    Feature,
    FeatureCollection,
    Field,
    File,
    Geocoded,
    Hit,
    HttpUrl,
    InvalidInput,
    Misconfigured,
    Model,
    NotFound,
    Point,
    Receipt,
    Received,
    Rejected,
    RelaisError,
    Rest,
    Row,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    callback,
    create,
    get,
)

from .conftest import KEY, Gateway, Start, upstream


class Settings(Model):
    url: HttpUrl


class Planting(Model):
    species: str = Field(max_length=20)
    height: float | None = None
    photo: File | None = None


class Tree(Model):
    text: str


class Notice(Model):
    tree: str


ERRORS: dict[str, RelaisError] = {
    "InvalidInput": InvalidInput("wrong", fields={"species": ["is wrong"]}),
    "NotFound": NotFound("absent"),
    "Rejected": Rejected("closed", code="R7"),
    "Misconfigured": Misconfigured("settings"),
    "UpstreamInvalid": UpstreamInvalid("broken"),
    "UpstreamUnavailable": UpstreamUnavailable("down", retry_after=12),
}


class Trees(Connector[Settings]):
    """Trees of a town."""

    name, title, category = "trees", "Arbres", "Tests"

    def __init__(self, settings: Settings, http: Any) -> None:
        super().__init__(settings, http)
        self.rest = Rest(http, settings.url)

    async def check(self) -> None:
        await self.rest.get("/check")

    @get
    async def species(self) -> list[Choice]:
        """Species."""
        return [Choice(id="1", text="Chêne"), Choice(id="2", text="Érable"), Choice(id="2", text="Again")]

    @get(cache=HOUR, stale=HOUR)
    async def slow_species(self) -> list[Choice]:
        """Species, from the publisher."""
        return [Choice(**item) for item in await self.rest.get("/species")]

    @get("search")
    async def search(self, q: str) -> list[Hit]:
        """Search."""
        return [Hit(url="https://example.org/1", text=q, description="<b>x</b><script>alert(1)</script>")]

    @get("trees/{number}")
    async def tree(self, number: int, limit: int = 10, tag: list[str] = []) -> Row:  # noqa: B006
        """A tree."""
        return Row(number=number, limit=limit, tag=tag)

    @get("trees/{number}/photo")
    async def photo(self, number: int) -> File:
        """Its photo."""
        if number == 0:
            raise NotFound("no photo")
        return File(filename='été"\r\n.pdf', content=b"%PDF-1.7 x")

    @get
    async def everywhere(self, **others: str) -> Row:
        """Whatever else was asked."""
        return Row(**others)

    @get("map")
    async def map(self) -> FeatureCollection[Tree]:
        """Map."""
        place = Point(coordinates=(2.3, 48.8))
        return FeatureCollection[Tree](features=[Feature[Tree](id="7", geometry=place, properties=Tree(text="Chêne"))])

    @get
    async def places(self) -> list[Geocoded]:
        """Places."""
        return [Geocoded(lat="48.8", lon="2.3", display_name="Paris")]

    @get("errors/{kind}")
    async def errors(self, kind: str) -> Row:
        """Raises."""
        raise ERRORS[kind]

    @get
    async def broken_promise(self) -> list[Hit]:
        """Answers what it must not."""
        return [{"text": "no url"}]  # type: ignore[list-item]

    @get
    async def bug(self) -> Row:
        """A fault of ours."""
        secret = "s3cr3t-value"
        raise ZeroDivisionError(secret)

    @get
    async def endless(self) -> Row:
        """Asks a publisher that never answers."""
        await self.rest.get("/never")
        raise AssertionError

    @create("trees", delivery="at-most-once", max_body=2000)
    async def plant(self, planting: Planting) -> Receipt:
        """Plant."""
        answer = await self.rest.post("/trees", json={"species": planting.species})
        return Receipt(id=answer["id"])

    @callback("planted")
    async def planted(self, notice: Notice) -> None:
        """The publisher says a tree was planted."""

    @callback("rung")
    async def rung(self, came: Received) -> Row:
        """The publisher rings, with a signature."""
        return Row(signature=came.headers["X-Signature"], size=len(came.body))


class Publisher:
    """The upstream of these tests; `mode` says how it answers."""

    def __init__(self) -> None:
        self.mode = ""
        self.calls: list[str] = []
        self.release = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/check":
            self.calls.append(f"{request.method} {request.path}")
        if self.mode == "wait" or request.path == "/never":
            await self.release.wait()
        if self.mode == "down":
            return web.Response(status=503)
        if self.mode == "html":
            return web.Response(text="<html>login</html>", content_type="text/html")
        if self.mode == "refused":
            return web.Response(status=401)
        if request.path == "/species":
            return web.json_response([{"id": "1", "text": "Chêne"}])
        return web.json_response({"id": "T-1"})


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
async def gateway(start: Start, publisher: Publisher) -> AsyncIterator[Gateway]:
    async with upstream(publisher) as url, start(Trees, settings={"url": url}) as running:
        yield running
        publisher.release.set()


async def test_a_success_is_in_the_envelope(gateway: Gateway) -> None:
    status, headers, body = await gateway.call("GET", "/trees/test/trees/12")
    assert (status, body) == (200, {"err": 0, "data": {"number": 12, "limit": 10, "tag": []}})
    assert "X-Error-Code" not in headers
    assert headers["X-Request-Id"]


async def test_a_trailing_slash_changes_nothing_and_never_redirects(gateway: Gateway) -> None:
    assert (await gateway.call("GET", "/trees/test/trees/12/"))[0] == 200
    assert (await gateway.call("POST", "/trees/test/trees/", json={"species": "x"}))[2]["err"] == 0


async def test_repeated_query_values_make_a_list(gateway: Gateway) -> None:
    assert (await gateway.get("/trees/test/trees/1?tag=a&tag=b"))["data"]["tag"] == ["a", "b"]


async def test_a_wrong_query_value_is_refused_by_its_name(gateway: Gateway) -> None:
    status, headers, body = await gateway.call("GET", "/trees/test/trees/1?limit=many")
    assert (status, body["err"], body["err_class"], headers["X-Error-Code"]) == (400, 1, "InvalidInput", "1")
    assert list(body["errors"]) == ["limit"]
    assert "many" not in json.dumps(body)


async def test_a_value_given_twice_where_one_is_expected_is_refused(gateway: Gateway) -> None:
    assert list((await gateway.get("/trees/test/trees/1?limit=1&limit=2"))["errors"]) == ["limit"]


async def test_unknown_query_values_are_ignored(gateway: Gateway) -> None:
    assert (await gateway.get("/trees/test/trees/1?NameID=x&email=y"))["err"] == 0


async def test_signature_values_are_not_business_values(gateway: Gateway) -> None:
    found = await gateway.get("/trees/test/everywhere?colour=red&orig=x&algo=y&nonce=z&timestamp=t")
    assert found["data"] == {"colour": "red"}


@pytest.mark.parametrize(
    ("q", "ids"), [("chene", ["1"]), ("CHÊNE", ["1"]), ("", ["1", "2"]), ("rab", ["2"]), ("z", [])]
)
async def test_a_choice_list_is_searched_without_accents_or_case(gateway: Gateway, q: str, ids: list[str]) -> None:
    found = await gateway.get("/trees/test/species", params={"q": q})
    assert [item["id"] for item in found["data"]] == ids


@pytest.mark.parametrize(("wanted", "texts"), [("2", ["Érable"]), ("02", []), ("9", [])])
async def test_a_choice_is_found_by_its_id_as_text(gateway: Gateway, wanted: str, texts: list[str]) -> None:
    found = await gateway.get("/trees/test/species", params={"id": wanted})
    assert [item["text"] for item in found["data"]] == texts


async def test_a_repeated_id_is_left_out_and_told_in_the_log(gateway: Gateway, lines: Callable[[], Any]) -> None:
    assert len((await gateway.get("/trees/test/species"))["data"]) == 2
    assert [line["duplicate_ids"] for line in lines() if line["event"] == "call"] == [1]


async def test_html_of_a_hit_is_made_safe(gateway: Gateway) -> None:
    hit = (await gateway.get("/trees/test/search?q=x"))["data"][0]
    assert hit["description"] == "<b>x</b>"


async def test_a_map_is_geojson_with_ids_at_both_levels(gateway: Gateway) -> None:
    body = await gateway.get("/trees/test/map")
    assert (body["err"], body["type"]) == (0, "FeatureCollection")
    assert body["features"][0]["id"] == body["features"][0]["properties"]["id"] == "7"


async def test_places_are_a_bare_array(gateway: Gateway) -> None:
    assert (await gateway.get("/trees/test/places"))[0]["lat"] == "48.8"


async def test_a_file_has_its_type_and_one_plain_filename(gateway: Gateway) -> None:
    status, headers, body = await gateway.call("GET", "/trees/test/trees/1/photo")
    assert (status, headers["Content-Type"], body) == (200, "application/pdf", b"%PDF-1.7 x")
    assert headers["Content-Disposition"].count("filename") == 1
    assert headers["Content-Disposition"].isascii()


async def test_a_failing_file_endpoint_has_a_failing_status(gateway: Gateway) -> None:
    status, headers, body = await gateway.call("GET", "/trees/test/trees/0/photo")
    assert (status, headers["X-Error-Code"], body["err_class"]) == (404, "1", "NotFound")


@pytest.mark.parametrize(
    ("kind", "status", "origin"),
    [
        ("InvalidInput", 400, "caller"),
        ("NotFound", 200, "upstream"),
        ("Rejected", 200, "upstream"),
        ("Misconfigured", 500, "gateway"),
        ("UpstreamInvalid", 502, "upstream"),
        ("UpstreamUnavailable", 503, "network"),
    ],
)
async def test_the_six_errors_say_who_must_act(gateway: Gateway, kind: str, status: int, origin: str) -> None:
    found, headers, body = await gateway.call("GET", f"/trees/test/errors/{kind}")
    assert (found, body["err"], body["err_class"], body["err_origin"]) == (status, 1, kind, origin)
    assert body["data"] is None
    assert headers["X-Error-Code"] == "1"
    assert body["err_desc"]
    assert body["request_id"] == headers["X-Request-Id"]


async def test_the_publishers_code_and_the_wait_are_told(gateway: Gateway) -> None:
    assert (await gateway.get("/trees/test/errors/Rejected"))["err_code"] == "R7"
    headers = (await gateway.call("GET", "/trees/test/errors/UpstreamUnavailable"))[1]
    assert headers["Retry-After"] == "12"


async def test_a_broken_promise_is_the_publishers_error(gateway: Gateway) -> None:
    status, _, body = await gateway.call("GET", "/trees/test/broken-promise")
    assert (status, body["err_class"]) == (502, "UpstreamInvalid")


async def test_a_bug_shows_nothing_but_a_request_id(gateway: Gateway, lines: Callable[[], Any]) -> None:
    status, _, body = await gateway.call("GET", "/trees/test/bug")
    assert (status, body["err_class"]) == (500, "Internal")
    assert "s3cr3t" not in json.dumps(body)
    assert "ZeroDivision" not in json.dumps(body)
    logged = [line for line in lines() if line["event"] == "internal"]
    assert logged[0]["request_id"] == body["request_id"]
    assert "Traceback" not in json.dumps(body)


@pytest.mark.parametrize(
    ("method", "path", "status", "err_class"),
    [
        ("GET", "/trees/test/nothing", 404, "UnknownEndpoint"),
        ("GET", "/trees/other/species", 404, "UnknownEndpoint"),
        ("GET", "/plants/test/species", 404, "UnknownEndpoint"),
        ("POST", "/trees/test/species", 405, "MethodNotAllowed"),
        ("TRACE", "/trees/test/species", 405, "MethodNotAllowed"),
        ("GET", "/trees/test/trees//photo", 404, "UnknownEndpoint"),
        ("GET", "/trees/test/trees/%ff", 400, "InvalidInput"),
    ],
)
async def test_every_refusal_is_in_the_envelope(
    gateway: Gateway, method: str, path: str, status: int, err_class: str
) -> None:
    found, headers, body = await gateway.call(method, path)
    assert (found, body["err_class"], headers["X-Error-Code"]) == (status, err_class, "1")


async def test_a_405_names_the_methods(gateway: Gateway) -> None:
    assert (await gateway.call("DELETE", "/trees/test/trees"))[1]["Allow"] == "POST"


async def test_a_malformed_http_request_is_answered_in_the_envelope(gateway: Gateway) -> None:
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/9.9\r\nHost: x\r\nbroken header\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 400 " in head.splitlines()[0]
    assert json.loads(body)["err"] == 1


async def test_an_accent_that_is_not_encoded_in_the_address_is_told(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write("GET /trees/test/trees?q=chêne HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b" 400 " in head.splitlines()[0]
    assert "%C3%A9" in json.loads(body)["err_desc"]


async def test_an_unknown_field_is_refused_by_its_name(gateway: Gateway) -> None:
    status, _, body = await gateway.call("POST", "/trees/test/trees", json={"species": "x", "colour": "red"})
    assert (status, list(body["errors"])) == (400, ["colour"])


async def test_empty_values_of_a_form_stand_for_absent_ones(gateway: Gateway) -> None:
    body = await gateway.post("/trees/test/trees", {"species": "x", "height": "", "photo": None})
    assert body["data"] == {"id": "T-1"}


async def test_a_body_can_be_a_form(gateway: Gateway) -> None:
    assert (await gateway.call("POST", "/trees/test/trees", data={"species": "x", "height": "1.5"}))[2]["err"] == 0


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(gateway: Gateway) -> None:
    status, _, body = await gateway.call("POST", "/trees/test/trees", json={"species": "x" * 3000})
    assert (status, body["err_class"]) == (413, "TooLarge")


@pytest.mark.parametrize("sent", [{"Content-Type": "application/xml"}, {"Content-Encoding": "gzip"}])
async def test_another_type_of_body_is_refused(gateway: Gateway, sent: dict[str, str]) -> None:
    status, _, body = await gateway.call("POST", "/trees/test/trees", data=b"{}", headers=sent, compress=False)
    assert (status, body["err_class"]) == (415, "UnsupportedType")


async def test_an_empty_body_is_refused(gateway: Gateway) -> None:
    assert (await gateway.call("POST", "/trees/test/trees"))[0] == 400


async def test_a_creation_answers_its_receipt(gateway: Gateway, publisher: Publisher) -> None:
    assert (await gateway.post("/trees/test/trees", {"species": "x"}))["data"] == {"id": "T-1"}
    assert publisher.calls == ["POST /trees"]


async def test_a_creation_answered_by_garbage_has_an_unknown_outcome(gateway: Gateway, publisher: Publisher) -> None:
    publisher.mode = "html"
    status, headers, body = await gateway.call("POST", "/trees/test/trees", json={"species": "x"})
    assert (status, body["err_class"], headers["X-Error-Code"]) == (200, "OutcomeUnknown", "1")
    assert publisher.calls == ["POST /trees"]


async def test_a_creation_that_was_not_sent_is_a_plain_failure(start: Start) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with start(Trees, settings={"url": url}) as gateway:
            status, _, body = await gateway.call("POST", "/trees/test/trees", json={"species": "x"})
    assert (status, body["err_class"]) == (503, "UpstreamUnavailable")


async def test_a_read_past_its_deadline_is_a_timeout(start: Start, publisher: Publisher) -> None:
    async with upstream(publisher) as url, start(Trees, settings={"url": url}, deadline=0.2) as gateway:
        status, _, body = await gateway.call("GET", "/trees/test/endless")
        publisher.release.set()
    assert (status, body["err_class"]) == (504, "UpstreamUnavailable")


async def test_a_creation_past_its_deadline_goes_on_and_is_unknown(
    start: Start, publisher: Publisher, lines: Callable[[], Any]
) -> None:
    publisher.mode = "wait"
    async with upstream(publisher) as url, start(Trees, settings={"url": url}, deadline=0.2) as gateway:
        body = await gateway.post("/trees/test/trees", {"species": "x"})
        publisher.release.set()
        await gateway.server.dispatch.settled()
    assert body["err_class"] == "OutcomeUnknown"
    assert [line["outcome"] for line in lines() if line["event"] == "late_outcome"] == ["ok"]


async def test_callers_at_the_same_time_share_one_fetch(gateway: Gateway, publisher: Publisher) -> None:
    found = await asyncio.gather(*(gateway.get("/trees/test/slow-species") for _ in range(10)))
    assert {body["data"][0]["text"] for body in found} == {"Chêne"}
    assert publisher.calls == ["GET /species"]


async def test_the_last_good_list_answers_while_the_publisher_is_down(start: Start, publisher: Publisher) -> None:
    class Impatient(Trees):
        """Trees kept for no time at all."""

        name = "impatient"

        @get(cache=1e-9, stale=HOUR)
        async def slow_species(self) -> list[Choice]:
            """Species."""
            return [Choice(**item) for item in await self.rest.get("/species")]

    async with upstream(publisher) as url, start(Impatient, settings={"url": url}) as gateway:
        before = await gateway.get("/impatient/test/slow-species")
        publisher.mode = "down"
        assert await gateway.get("/impatient/test/slow-species") == before


async def test_a_callback_needs_no_account(gateway: Gateway) -> None:
    async with gateway.session.post(f"{gateway.url}/trees/test/planted", data={"tree": "7"}) as answer:
        assert await answer.json() == {"err": 0, "data": None}


async def test_a_callback_may_take_the_call_as_it_came(gateway: Gateway) -> None:
    sent = {"X-Signature": "s", "Content-Type": "application/octet-stream"}
    async with gateway.session.post(f"{gateway.url}/trees/test/rung", data=b"\x00raw", headers=sent) as answer:
        assert (await answer.json())["data"] == {"signature": "s", "size": 4}


async def test_an_unknown_endpoint_is_answered_by_the_known_ones(gateway: Gateway) -> None:
    assert "trees/{number}" in (await gateway.get("/trees/test/nothing"))["err_desc"]
    assert "trees/other" in (await gateway.get("/trees/other/species"))["err_desc"]


async def test_without_credentials_nothing_else_answers(gateway: Gateway) -> None:
    async with gateway.session.get(f"{gateway.url}/trees/test/species") as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert (await answer.json())["err"] == 1


async def test_an_unknown_and_a_forbidden_endpoint_look_the_same(start: Start, publisher: Publisher) -> None:
    clients = {"narrow": {"api_key": "the-key-of-the-tests", "rights": ["trees/test/species"]}}
    async with upstream(publisher) as url, start(Trees, settings={"url": url}, clients=clients) as gateway:
        assert (await gateway.get("/trees/test/species"))["err"] == 0
        answers = [await gateway.call("GET", path) for path in ("/trees/test/search?q=x", "/trees/zzz/x", "/a/b/c")]
    assert {status for status, _, _ in answers} == {403}
    assert len({body["err_desc"] for _, _, body in answers}) == 1


async def test_an_english_caller_is_answered_in_english(gateway: Gateway) -> None:
    french = await gateway.get("/trees/test/trees/1?limit=x")
    english = await gateway.get("/trees/test/trees/1?limit=x", headers={"Accept-Language": "en"})
    assert "doit être un nombre entier" in french["err_desc"]
    assert "must be a whole number" in english["err_desc"]


async def test_the_log_line_names_the_form_and_no_value(gateway: Gateway, lines: Callable[[], Any]) -> None:
    form = "https://demarches.example.org/backoffice/management/arbres/12/?token=abc"
    await gateway.post("/trees/test/trees", {"species": "Sequoia-zzz"}, headers={"Publik-Caller-URL": form})
    line = next(line for line in lines() if line["event"] == "call")
    assert line["caller_url"] == "https://demarches.example.org/backoffice/management/arbres/12/"
    assert (line["client"], line["instance"], line["endpoint"], line["status"]) == ("tests", "trees/test", "trees", 200)
    assert "Sequoia" not in json.dumps(lines())


async def test_a_header_that_is_no_text_does_not_fail_the_call(gateway: Gateway, lines: Callable[[], Any]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    writer.write(
        b"GET /trees/test/species HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"X-API-Key: %s\r\nPublik-Caller-URL: https://forms.example.org/\xff\r\n\r\n" % KEY["X-API-Key"].encode()
    )
    answered = await reader.read()
    writer.close()
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert [line for line in lines() if line["event"] == "call"][-1]["caller_url"] == "https://forms.example.org/\udcff"


async def test_health_is_open_and_says_nothing_of_instances(gateway: Gateway) -> None:
    for path in ("/health/live", "/health/ready"):
        async with gateway.session.get(gateway.url + path) as answer:
            assert (answer.status, (await answer.json())["err"]) == (200, 0)


async def test_readiness_fails_while_draining(gateway: Gateway) -> None:
    gateway.server.dispatch.draining = True
    status, headers, _ = await gateway.call("GET", "/health/ready")
    assert (status, headers["Connection"]) == (503, "close")


@pytest.mark.parametrize(("mode", "state"), [("", "up"), ("down", "down"), ("refused", "refused"), ("html", "changed")])
async def test_availability_tells_who_must_act(gateway: Gateway, publisher: Publisher, mode: str, state: str) -> None:
    publisher.mode = mode
    await gateway.server.watch.check(gateway.server.registry.instances["trees/test"])
    body = await gateway.get("/trees/test/up")
    assert (body["data"]["state"], body["data"]["available"]) == (state, state == "up")


async def test_loss_and_return_are_logged_once_each(
    start: Start, publisher: Publisher, lines: Callable[[], Any]
) -> None:
    async with upstream(publisher) as url, start(Trees, settings={"url": url}, http={"breaker": False}) as gateway:
        instance = gateway.server.registry.instances["trees/test"]
        for mode in ("", "refused", "refused", "", ""):
            publisher.mode = mode
            await gateway.server.watch.check(instance)
    events = [line["event"] for line in lines() if line["event"].startswith("instance_")]
    assert events == ["instance_unavailable", "instance_available"]


async def test_a_text_may_have_two_languages() -> None:
    assert Text("bonjour", en="hello").en == "hello"
