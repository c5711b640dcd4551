"""The deadline of a call ends every wait for a publisher, in whatever task the wait is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sdk.call import current_call, new_call, serving, within
from sdk.errors import UpstreamUnavailable
from sdk.http import Http
from sdk.messages import Response

from .wire_kit import Upstream, answer, upstream, way

pytestmark = pytest.mark.timeout(20)


class Drip(asyncio.Protocol):
    """Never silent long enough to be given up, and never ends."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        self._again()

    def _again(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b".")
            asyncio.get_running_loop().call_later(0.01, self._again)


@pytest.fixture
async def dripping() -> AsyncIterator[Upstream]:
    server = await asyncio.get_running_loop().create_server(Drip, "127.0.0.1", 0)
    yield Upstream(lambda seen: None, port=server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


async def alone(http: Http, url: str) -> Response:
    with serving(new_call(0.2)):
        return await http.get(url)


async def as_the_gateway_does(http: Http, url: str) -> Response:
    async with within(new_call(0.2)):
        return await http.get(url)


async def beside_others(http: Http, url: str) -> Response:
    async with within(new_call(0.2)):
        return (await asyncio.gather(http.get(url), http.get(url)))[0]


async def in_a_task_that_outlives_its_call(http: Http, url: str) -> Response:
    async with within(new_call(0.2)):
        left = asyncio.create_task(http.get(url))
        await asyncio.sleep(0)
    return await left


@pytest.mark.parametrize("called", [alone, as_the_gateway_does, beside_others, in_a_task_that_outlives_its_call])
async def test_an_answer_that_never_ends_is_left_at_the_deadline(
    dripping: Upstream, called: Callable[[Http, str], Awaitable[Response]]
) -> None:
    async with way(dripping, timeout=10.0, retries=0) as http:
        with pytest.raises((TimeoutError, UpstreamUnavailable)):
            await called(http, dripping.url)
        await asyncio.sleep(0.02)  # of two, the other one is about to end too
        assert http.state().in_flight == 0


async def test_silence_until_the_deadline_is_told_to_the_policies_before_the_call_ends() -> None:
    async with upstream(None) as silent, way(silent, timeout=10.0, retries=0, breaker_failures=1) as http:
        async with within(new_call(0.3)):
            with pytest.raises(UpstreamUnavailable) as caught:
                await http.get(silent.url)
        assert (caught.value.timeout, caught.value.processed) == (True, None)
        assert http.state().breaker["read"] == "open"


async def test_a_block_within_a_call_has_that_call_and_ends_by_its_deadline() -> None:
    call = new_call(0.05)

    async def waits() -> None:
        async with within(call):
            assert current_call() is call
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await waits()
    assert current_call() is not call


async def test_a_call_that_ends_in_time_leaves_nothing_that_could_end_the_next() -> None:
    async with upstream(answer(), keep=True) as good, way(good) as http:
        async with within(new_call(0.2)):
            await http.get(good.url)
        async with within(new_call(5.0)):
            await asyncio.sleep(0.25)
            assert (await http.get(good.url)).ok
    assert good.connections == 1


async def test_what_cancels_a_block_is_not_its_deadline() -> None:
    began = asyncio.Event()

    async def waits() -> None:
        async with within(new_call(5.0)):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_whose_deadline_rang_may_be_followed_by_another() -> None:
    with pytest.raises(TimeoutError):
        async with within(new_call(0.01)):
            await asyncio.Event().wait()
    async with within(new_call(5.0)):
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
