"""JSON over HTTP: what statuses and bodies mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sdk.call import new_call, serving
from sdk.errors import (
    InvalidInput,
    Misconfigured,
    NotFound,
    Rejected,
    RelaisError,
    UpstreamInvalid,
    UpstreamUnavailable,
    one_line,
)
from sdk.http import Http, Request, Response
from sdk.rest import Rest

from .wire_kit import Seen, answer, upstream, way

BASE = "https://data.example.org/api/"
JSON = {"Content-Type": "application/json; charset=utf-8"}
PROBLEM = {"Content-Type": "application/problem+json"}


class Publisher:
    """A `Send` that gives one answer and keeps what it was asked."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self.response


def rest(status: int = 200, body: Any = b"{}", headers: dict[str, str] | None = None, **options: Any) -> Rest:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Rest(Http(Publisher(Response(status, JSON if headers is None else headers, payload, BASE))), BASE, **options)


def asked(api: Rest) -> Request:
    publisher = api.http.send
    assert isinstance(publisher, Publisher)
    return publisher.requests[-1]


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", 3, 1.5, True, None, [], {}])
@pytest.mark.parametrize("status", [200, 201, 202, 206])
async def test_the_json_of_a_success_is_the_value(status: int, value: Any) -> None:
    assert await rest(status, value).get("x") == value


@pytest.mark.parametrize("verb", ["post", "put", "patch", "delete"])
async def test_every_verb_sends_its_body_and_reads_its_answer(verb: str) -> None:
    api = rest(body={"id": 7})
    assert await getattr(api, verb)("requests", json={"a": "é"}, params={"p": 1}) == {"id": 7}
    request = asked(api)
    assert (request.method, request.url) == (verb.upper(), BASE + "requests?p=1")
    assert request.body == '{"a":"é"}'.encode()
    assert request.repeatable is None
    assert request.headers["Accept"] == "application/json"


async def test_a_read_is_always_repeatable() -> None:
    api = rest()
    await api.get("x")
    assert asked(api).repeatable is True


@pytest.mark.parametrize("content_type", ["application/vnd.api+json", "text/plain", "", "application/octet-stream"])
async def test_json_under_a_loose_type_is_read(content_type: str) -> None:
    assert await rest(body=[1], headers={"Content-Type": content_type}).get() == [1]


@pytest.mark.parametrize("body", [b"", b"  \r\n"])
async def test_an_empty_answer_is_never_a_success_unless_it_is_allowed(body: bytes) -> None:
    for status in (200, 201, 202, 204, 205):
        with pytest.raises(UpstreamInvalid) as caught:
            await rest(status, body).post("x", json={})
        assert caught.value.processed is None
        assert await rest(status, body).post("x", json={}, empty=True) is None
    assert await rest(204, b"").delete("x") is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<!doctype html><title>canary</title>", "text/html"),
        (b"<html>canary", "text/html; charset=utf-8"),
        (b"{}", "text/html"),
        (b"<html>canary", "application/json"),
        (b"<a/>", "application/xml"),
        (b"a;b\n", "text/csv"),
        (b"canary", "text/plain"),
        (b'{"a": NaN}', "application/json"),
        (b"[" * 1000, "application/json"),
    ],
)
async def test_anything_but_json_is_an_invalid_answer(body: bytes, content_type: str) -> None:
    with pytest.raises(UpstreamInvalid) as caught:
        await rest(200, body, {"Content-Type": content_type}).get("x")
    assert "canary" not in caught.value.message + caught.value.detail
    assert "status 200" in caught.value.detail


# --- statuses ---------------------------------------------------------------------------------------------------------


async def refused(api: Rest, verb: str = "get") -> RelaisError:
    with serving(new_call(repeatable=verb == "get")), pytest.raises(RelaisError) as caught:
        await getattr(api, verb)("x")
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, Misconfigured),
        (301, Misconfigured),
        (302, Misconfigured),
        (303, Misconfigured),
        (304, Misconfigured),
        (307, Misconfigured),
        (308, Misconfigured),
        (400, UpstreamInvalid),
        (401, Misconfigured),
        (402, UpstreamInvalid),
        (403, Misconfigured),
        (405, UpstreamInvalid),
        (408, UpstreamUnavailable),
        (409, UpstreamInvalid),
        (410, UpstreamInvalid),
        (413, UpstreamInvalid),
        (415, UpstreamInvalid),
        (422, UpstreamInvalid),
        (425, UpstreamUnavailable),
        (429, UpstreamUnavailable),
        (500, UpstreamInvalid),
        (501, UpstreamInvalid),
        (502, UpstreamUnavailable),
        (503, UpstreamUnavailable),
        (504, UpstreamUnavailable),
        (599, UpstreamInvalid),
        (101, UpstreamInvalid),
    ],
)
@pytest.mark.parametrize("verb", ["get", "post"])
async def test_a_status_says_who_must_act_and_leaves_the_outcome_unknown(
    status: int, kind: type[RelaisError], verb: str
) -> None:
    error = await refused(rest(status, {"detail": "canary", "message": "canary"}), verb)
    assert type(error) is kind
    assert error.processed is None
    assert f"status {status}" in error.detail
    assert "canary" not in error.message + error.detail


async def test_404_is_a_normal_answer_for_a_read_only() -> None:
    assert type(await refused(rest(404))) is NotFound
    assert type(await refused(rest(404), "post")) is UpstreamInvalid


async def test_statuses_documented_as_not_executed_say_so() -> None:
    for status in (401, 403, 413, 429, 503, 302):
        error = await refused(rest(status, unprocessed=(status,)), "post")
        assert error.processed is False, status


@pytest.mark.parametrize(("value", "seconds"), [("30", 30.0), ("", None), ("later", None)])
async def test_retry_after_reaches_the_caller(value: str, seconds: float | None) -> None:
    error = await refused(rest(503, headers={"Retry-After": value}))
    assert error.retry_after == seconds


async def test_a_gateway_timeout_is_a_timeout() -> None:
    assert (await refused(rest(504))).http_status == 504
    assert (await refused(rest(503))).http_status == 503


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_a_declared_refusal_carries_the_publishers_sentence_and_code() -> None:
    body = {"type": "about:blank", "title": "Conflit", "detail": "Créneau déjà pris.", "code": "SLOT-1"}
    error = await refused(rest(409, body, PROBLEM, refusals=(409,)), "post")
    assert type(error) is Rejected
    assert (error.message, error.code, error.processed) == ("Créneau déjà pris.", "SLOT-1", True)


async def test_the_title_serves_when_there_is_no_detail() -> None:
    assert (await refused(rest(422, {"title": "Refusé"}, PROBLEM, refusals=(422,)))).message == "Refusé"


async def test_the_connector_may_read_the_sentence_itself() -> None:
    def message(response: Response) -> str | None:
        return str(response.json()["erreurs"][0])

    error = await refused(rest(400, {"erreurs": ["Date passée"], "code": 12}, refusals=(400,), message=message))
    assert (error.message, error.code) == ("Date passée", "12")


@pytest.mark.parametrize("body", [b"", b"<html>canary", b"[]", b'"canary"', b'{"detail": 3, "code": [1]}', b"\xff"])
async def test_a_refusal_without_a_sentence_has_a_plain_one(body: bytes) -> None:
    error = await refused(rest(409, body, refusals=(409,)))
    assert error.message == "Le logiciel a refusé la demande."
    assert error.code is None


async def test_a_sentence_is_one_short_line() -> None:
    error = await refused(rest(409, {"detail": "a\r\n\x00b " + "x" * 2000}, refusals=(409,)))
    assert error.message.startswith("a b x")
    assert len(error.message) == 500


async def test_a_404_may_be_declared_a_refusal() -> None:
    assert type(await refused(rest(404, refusals=(404,)))) is Rejected


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("", {}, "https://data.example.org/api"),
        ("x", {}, "https://data.example.org/api/x"),
        ("/x", {}, "https://data.example.org/api/x"),
        ("?a=1", {}, "https://data.example.org/api?a=1"),
        ("x/", {}, "https://data.example.org/api/x/"),
        ("c/{id}/r", {"id": "a/b?c#d é"}, "https://data.example.org/api/c/a%2Fb%3Fc%23d%20%C3%A9/r"),
        ("c/{id}", {"id": 35000}, "https://data.example.org/api/c/35000"),
        ("c/{id}", {"id": "v1..2"}, "https://data.example.org/api/c/v1..2"),
        ("https://data.example.org/api/x?page=2", {}, "https://data.example.org/api/x?page=2"),
    ],
)
async def test_a_path_is_joined_and_its_values_are_encoded(path: str, values: dict[str, Any], expected: str) -> None:
    api = rest()
    await api.get(path, values=values)
    assert asked(api).url == expected


@pytest.mark.parametrize("value", ["..", ".", "%2e%2e"])
async def test_a_value_never_climbs_the_path(value: str) -> None:
    api = rest()
    if value.startswith("%"):
        await api.get("c/{id}/r", values={"id": value})
        assert asked(api).url.endswith("/c/%252e%252e/r")
    else:
        with pytest.raises(InvalidInput):
            await api.get("c/{id}/r", values={"id": value})


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a/..", "a/%2E%2e/x", "./x"])
async def test_a_path_with_dots_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        await rest().get(path)


@pytest.mark.parametrize(
    "link", ["https://evil.example/api/x", "http://data.example.org/api/x", "https://data.example.org:444/"]
)
async def test_a_link_to_another_origin_is_not_followed(link: str) -> None:
    api = rest()
    with pytest.raises(UpstreamInvalid):
        await api.get(link)
    with pytest.raises(IndexError):
        asked(api)


async def test_headers_of_the_service_go_with_every_request() -> None:
    api = rest(headers={**JSON})
    api = Rest(api.http, BASE, headers={"X-Version": "2", "Accept": "application/vnd.x+json"})
    await api.get("x", headers={"X-Own": "1"})
    assert dict(asked(api).headers) == {"X-Version": "2", "Accept": "application/vnd.x+json", "X-Own": "1"}


# --- files ------------------------------------------------------------------------------------------------------------

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="avis.pdf"', "avis.pdf"),
        ("attachment; filename*=UTF-8''%C3%A9t%C3%A9.pdf", "été.pdf"),
        ("attachment", "88.pdf"),
        ("", "88.pdf"),
    ],
)
async def test_a_file_is_named_by_the_publisher_or_by_its_address(disposition: str, name: str) -> None:
    head = {"Content-Type": "application/pdf"} | ({"Content-Disposition": disposition} if disposition else {})
    api = Rest(Http(Publisher(Response(200, head, PDF, BASE + "docs/88.pdf?token=x"))), BASE)
    file = await api.get_file("docs/88.pdf")
    assert (file.filename, file.content_type, file.content) == (name, "application/pdf", PDF)
    assert asked(api).headers["Accept"] == "*/*"


async def test_a_page_or_nothing_instead_of_a_file_is_an_invalid_answer() -> None:
    for body, kind in ((b"<!doctype html><p>login", "text/html"), (b"<html><p>login", "application/pdf"), (b"", "x/y")):
        with pytest.raises(UpstreamInvalid):
            await rest(200, body, {"Content-Type": kind}).get_file("doc")
    assert (await rest(200, b"<!doctype html><p>", {"Content-Type": "text/html"}).get_file("doc", html=True)).content


async def test_a_missing_file_is_not_found() -> None:
    with pytest.raises(NotFound) as caught:
        await rest(404).get_file("doc")
    assert caught.value.file_status == 404


# --- the real wire ----------------------------------------------------------------------------------------------------


async def test_over_the_real_wire() -> None:
    def echo(seen: Seen) -> bytes:
        return answer(body=json.dumps(seen.target).encode())

    async with upstream(echo) as good, way(good) as http:
        api = Rest(http, good.url + "/api/")
        found = await api.get("c/{id}", values={"id": "é/1"}, params={"q": "a b"})
    assert found == "/api/c/%C3%A9%2F1?q=a+b"


async def test_an_answered_error_leaves_the_effect_marked_as_sent() -> None:
    async with upstream(answer(500)) as odd, way(odd) as http:
        with serving(new_call(repeatable=False)) as call, pytest.raises(UpstreamInvalid):
            await Rest(http, odd.url).post("x", json={})
        assert call.effect_sent is True


def test_a_publishers_words_become_one_line_that_may_be_shown() -> None:
    assert one_line("  Refusé :\r\n\tle\x00 dossier\u2028est clos  ") == "Refusé : le dossier est clos"
    assert (one_line("abcdef", 3), one_line(12), one_line(None), one_line(["a"]), one_line({"a": 1})) == (
        "abc",
        "12",
        "",
        "",
        "",
    )
