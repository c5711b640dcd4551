"""What goes on after the answer, tested by an integrator without a gateway."""

from __future__ import annotations

from sdk.testing import Instance, Request, Response, answer, instance
from tests.gateway.till import Till

DEBT = {"reference": "2026-7", "year": 2026}


class Upstream:
    """Makes payments; the tests set their status."""

    def __init__(self) -> None:
        self.status: dict[str, str] = {}

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":
            return answer(json={"status": self.status.get(request.url.rpartition("=")[2], "unknown")})
        number = f"P{len(self.status) + 1}"
        self.status[number] = "started"
        return answer(json={"id": number})


def till() -> tuple[Instance[Till], Upstream]:
    upstream = Upstream()
    return instance(Till, {"url": "https://till.example.org"}, upstream), upstream


async def test_a_deferred_request_answers_a_ticket_and_is_then_carried_out() -> None:
    played, _ = till()
    ticket = await played.post("orders", DEBT)
    assert (ticket.data["state"], played.exchanges) == ("RECEIVED", [])
    assert (await played.carry_out(ticket)).data == {"id": "P1"}
    assert len(played.exchanges) == 1


async def test_a_wrong_field_is_refused_before_the_ticket() -> None:
    played, _ = till()
    assert (await played.post("orders", {"reference": "x"})).err_class == "InvalidInput"


async def test_what_was_created_is_looked_at() -> None:
    played, upstream = till()
    receipt = await played.post("payments", DEBT)
    assert (await played.look(receipt)).data["status"] == "started"
    upstream.status["P1"] = "paid"
    assert (await played.look(receipt)).data["final"] is True
    del upstream.status["P1"]
    assert (await played.look(receipt)).data == {
        "id": "P1",
        "status": "NotFound",
        "text": "",
        "final": True,
        "void": True,
    }


async def test_a_deferred_request_is_followed_once_carried_out() -> None:
    played, _ = till()
    receipt = await played.carry_out(await played.post("plans", DEBT))
    assert (await played.look(receipt)).data["status"] == "started"


async def test_the_next_request_of_a_subject_finds_what_was_made() -> None:
    played, upstream = till()
    first = await played.post("payments", DEBT)
    assert (await played.post("payments", DEBT)).data == first.data
    assert (await played.post("payments", {**DEBT, "year": 2027})).data == {"id": "P2"}
    upstream.status["P1"] = "paid"
    assert (await played.post("payments", DEBT)).err_class == "Rejected"
    assert [row["text"] for row in (await played.get("debts/2026-7", year=2026)).data] == [" open"]
    await played.look(first)
    assert [row["text"] for row in (await played.get("debts/2026-7", year=2026)).data] == ["paid final"]


async def test_what_ended_without_effect_does_not_count() -> None:
    played, upstream = till()
    first = await played.post("payments", DEBT)
    upstream.status["P1"] = "refused"
    await played.look(first)
    assert (await played.post("payments", DEBT)).data == {"id": "P2"}


async def test_a_callback_tells_what_to_look_at() -> None:
    played, _ = till()
    assert (await played.post("notification", {"number": "P1"})).data is None
    assert (await played.post("notification", {"number": ""})).data is None
    assert played.triggered == ["P1"]
