"""How an instance proves who it is."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from sdk.auth import api_key, basic, bearer, oauth2_client_credentials
from sdk.call import new_call, serving
from sdk.errors import Misconfigured, RelaisError, UpstreamInvalid, UpstreamUnavailable
from sdk.http import Http, Policy, Request, Response
from sdk.model import Secret

from .wire_kit import Seen, answer, upstream, way

TOKENS = "https://id.example.org/token"
API = "https://data.example.org/x"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Publisher:
    """A token service and an API behind one `Send`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[Request] = []
        self.served: list[str] = []
        self.valid: set[str] | None = None
        self.gate: asyncio.Event | None = None
        self.token: Callable[[int], Response | Exception] = lambda n: token(f"token{n}")

    async def __call__(self, request: Request) -> Response:
        if request.url == TOKENS:
            self.asked.append(request)
            number = len(self.asked)
            if self.gate is not None:
                await self.gate.wait()
            given = self.token(number)
            if isinstance(given, Exception):
                raise given
            return given
        bearer = request.headers["Authorization"]
        self.served.append(bearer)
        known = self.valid is None or bearer.removeprefix("Bearer ") in self.valid
        return Response(200 if known else 401, {}, b"")

    def http(self, **options: Any) -> Http:
        return Http(self).using(
            oauth2_client_credentials(TOKENS, "relais", Secret("hunter2"), clock=self.clock, **options)
        )


def token(value: str, **members: Any) -> Response:
    body = {"access_token": value, "token_type": "Bearer", "expires_in": 3600} | members
    return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


async def sent_with(policy: Policy) -> Seen:
    async with upstream(answer()) as good, way(good) as http:
        await http.using(policy).get(good.url + "/x?a=1", headers={"X-Own": "1"})
        return good.requests[0]


# --- fixed credentials ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["hunter2", Secret("hunter2")])
async def test_basic_sends_the_name_and_the_password(password: str | Secret) -> None:
    seen = await sent_with(basic("relais", password))
    assert seen.headers["authorization"] == "Basic " + base64.b64encode(b"relais:hunter2").decode()
    assert seen.headers["x-own"] == "1"


async def test_basic_carries_accents_as_utf8() -> None:
    seen = await sent_with(basic("mairie", "été:2026"))
    assert base64.b64decode(seen.headers["authorization"][6:]) == "mairie:été:2026".encode()


async def test_bearer_and_api_key_send_their_header() -> None:
    assert (await sent_with(bearer(Secret("abc")))).headers["authorization"] == "Bearer abc"
    assert (await sent_with(api_key("abc"))).headers["x-api-key"] == "abc"
    assert (await sent_with(api_key(Secret("abc"), header="apikey"))).headers["apikey"] == "abc"


async def test_an_api_key_may_travel_in_the_query() -> None:
    seen = await sent_with(api_key("a b&c", parameter="apikey"))
    assert seen.target == "/x?a=1&apikey=a+b%26c"


@pytest.mark.parametrize("wrong", ["", "a\nb", "abc\r\n", "é", "a\x00"])
def test_a_secret_that_cannot_travel_is_refused_when_the_policy_is_made(wrong: str) -> None:
    for make in (bearer, api_key):
        with pytest.raises(Misconfigured) as caught:
            make(Secret(wrong))
        assert wrong not in str(caught.value) + caught.value.detail or not wrong


def test_a_user_name_with_a_colon_is_refused() -> None:
    with pytest.raises(Misconfigured):
        basic("a:b", "c")


# --- oauth2 -----------------------------------------------------------------------------------------------------------


async def test_a_token_is_fetched_once_and_used_for_every_request() -> None:
    publisher = Publisher()
    http = publisher.http(scope="read write")
    for _ in range(3):
        await http.get(API)
    assert publisher.served == ["Bearer token1"] * 3
    (asked,) = publisher.asked
    assert (asked.method, asked.repeatable) == ("POST", True)
    assert asked.headers["Authorization"] == "Basic " + base64.b64encode(b"relais:hunter2").decode()
    assert parse_qs((asked.body or b"").decode()) == {"grant_type": ["client_credentials"], "scope": ["read write"]}


async def test_the_credentials_may_travel_in_the_form() -> None:
    publisher = Publisher()
    await publisher.http(credentials="body").get(API)
    (asked,) = publisher.asked
    assert "Authorization" not in asked.headers
    assert parse_qs((asked.body or b"").decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["relais"],
        "client_secret": ["hunter2"],
    }


async def test_callers_that_come_together_share_one_fetch() -> None:
    publisher = Publisher()
    publisher.gate = asyncio.Event()
    http = publisher.http()
    tasks = [asyncio.create_task(http.get(API)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    publisher.gate.set()
    await asyncio.gather(*tasks)
    assert len(publisher.asked) == 1
    assert publisher.served == ["Bearer token1"] * 20


async def test_the_first_caller_may_leave_without_harming_the_others() -> None:
    publisher = Publisher()
    publisher.gate = asyncio.Event()
    http = publisher.http()
    first, second = (asyncio.create_task(http.get(API)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    publisher.gate.set()
    assert (await second).status == 200
    assert len(publisher.asked) == 1


async def test_a_fetch_whose_callers_all_left_fails_in_silence(recwarn: pytest.WarningsRecorder) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    publisher = Publisher()
    publisher.gate = asyncio.Event()
    publisher.token = lambda n: UpstreamUnavailable("down", processed=False)
    task = asyncio.create_task(publisher.http().get(API))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    publisher.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert complaints == []


@pytest.mark.parametrize(("lifetime", "renewed"), [(3600, 3540), (100, 90), ("100", 90), (None, 270)])
async def test_a_token_is_renewed_before_its_end(lifetime: Any, renewed: float) -> None:
    publisher = Publisher()
    publisher.token = lambda n: token(f"token{n}", expires_in=lifetime)
    http = publisher.http()
    await http.get(API)
    publisher.clock.now = renewed - 1
    await http.get(API)
    assert len(publisher.asked) == 1
    publisher.clock.now = renewed
    await http.get(API)
    assert publisher.served[-1] == "Bearer token2"


async def test_a_revoked_token_is_replaced_once_for_a_read() -> None:
    publisher = Publisher()
    publisher.valid = {"token2"}
    http = publisher.http()
    assert (await http.get(API)).status == 200
    assert publisher.served == ["Bearer token1", "Bearer token2"]
    publisher.valid = set()
    assert (await http.get(API)).status == 401
    assert len(publisher.asked) == 3, "one forced renewal, not a loop"


async def test_an_effect_answered_401_is_not_sent_again_but_the_next_has_a_new_token() -> None:
    publisher = Publisher()
    publisher.valid = {"token2"}
    http = publisher.http()
    with serving(new_call(repeatable=False)):
        assert (await http.post(API, json={})).status == 401
        assert publisher.served == ["Bearer token1"]
        assert (await http.post(API, json={})).status == 200


async def test_many_requests_refused_together_renew_the_token_once() -> None:
    publisher = Publisher()
    http = publisher.http()
    await http.get(API)
    publisher.valid = {"token2"}
    answers = await asyncio.gather(*(http.get(API) for _ in range(10)))
    assert {a.status for a in answers} == {200}
    assert len(publisher.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_refused_credentials_are_the_operators_to_mend(status: int) -> None:
    publisher = Publisher()
    body = b'{"error": "invalid_client", "error_description": "canary"}'
    publisher.token = lambda n: Response(status, {"Content-Type": "application/json"}, body)
    with pytest.raises(Misconfigured) as caught:
        await publisher.http().get(API)
    assert caught.value.processed is False
    assert caught.value.detail == f"token: status {status}, invalid_client"
    assert publisher.served == []


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (Response(503, {"Retry-After": "7"}, b""), UpstreamUnavailable),
        (Response(500, {}, b""), UpstreamUnavailable),
        (UpstreamUnavailable("slow", processed=None, timeout=True), UpstreamUnavailable),
        (UpstreamInvalid("garbage", processed=None), UpstreamInvalid),
        (Response(200, {}, b"<html>canary</html>"), UpstreamInvalid),
        (Response(200, {}, b'{"token": "canary"}'), UpstreamInvalid),
        (Response(200, {}, b'{"access_token": ""}'), UpstreamInvalid),
        (Response(200, {}, b'{"access_token": "a\\r\\nb"}'), UpstreamInvalid),
        (Response(200, {}, b'{"access_token": 12}'), UpstreamInvalid),
        (Response(200, {}, b"[]"), UpstreamInvalid),
        (Response(302, {"Location": "/login"}, b""), Misconfigured),
    ],
)
async def test_without_a_token_the_request_was_surely_not_sent(
    given: Response | Exception, kind: type[RelaisError]
) -> None:
    publisher = Publisher()
    publisher.token = lambda n: given
    with serving(new_call(repeatable=False)) as call, pytest.raises(kind) as caught:
        await publisher.http().post(API, json={})
    assert caught.value.processed is False
    assert call.effect_sent is False
    assert publisher.served == []
    assert "canary" not in caught.value.message + caught.value.detail


async def test_a_failed_fetch_is_tried_again_by_the_next_call() -> None:
    publisher = Publisher()
    publisher.token = lambda n: UpstreamUnavailable("down", processed=False) if n == 1 else token("second")
    http = publisher.http()
    with pytest.raises(UpstreamUnavailable):
        await http.get(API)
    assert (await http.get(API)).status == 200
    assert publisher.served == ["Bearer second"]


async def test_two_instances_never_share_a_token() -> None:
    publisher = Publisher()
    await publisher.http().get(API)
    await publisher.http().get(API)
    assert publisher.served == ["Bearer token1", "Bearer token2"]


async def test_over_the_real_wire_an_effect_is_not_marked_by_the_fetch_of_its_token() -> None:
    def serve(seen: Seen) -> bytes:
        return answer(503) if seen.target == "/token" else answer()

    async with upstream(serve) as busy, way(busy, retries=0) as http:
        signed = http.using(oauth2_client_credentials(busy.url + "/token", "relais", "s"))
        with serving(new_call(repeatable=False)) as call, pytest.raises(UpstreamUnavailable):
            await signed.post(busy.url + "/x", json={})
    assert call.effect_sent is False
    assert [seen.target for seen in busy.requests] == ["/token"]
