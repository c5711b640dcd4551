"""What a saturated gateway answers: at once, in the envelope, with the time to come back."""

from __future__ import annotations

import asyncio

from sdk import Connector, Model, Row, get
from tests.gateway.conftest import Start


class Settings(Model):
    pass


class Counter(Connector[Settings]):
    """Un guichet où l'on attend son tour."""

    name, title, category = "counter", "Guichet", "Tests"
    entered = asyncio.Event()
    served = asyncio.Event()

    @get
    async def wait(self) -> Row:
        """Attendre."""
        self.entered.set()
        await self.served.wait()
        return Row(served=True)


async def test_calls_beyond_what_a_process_serves_at_once_are_sent_back(start: Start) -> None:
    Counter.entered, Counter.served = asyncio.Event(), asyncio.Event()
    async with start(Counter, max_in_flight=1) as gateway:
        first = asyncio.create_task(gateway.get("/counter/test/wait"))
        await Counter.entered.wait()
        status, headers, answer = await gateway.call("GET", "/counter/test/wait")
        assert (status, answer["err"], answer["err_class"]) == (503, 1, "Overloaded")
        assert int(headers["Retry-After"]) >= 1
        assert (await gateway.call("GET", "/health/live"))[0] == 200
        Counter.served.set()
        assert (await first)["data"] == {"served": True}
        assert (await gateway.get("/counter/test/wait"))["err"] == 0
