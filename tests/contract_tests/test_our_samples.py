"""Every recorded answer of every shipped connector honours the envelope, and the shape of the list it is."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

import contract_tests
from contract_tests.checks import registry
from contract_tests.core.execute import execute
from contract_tests.openapi import profile_of
from contract_tests.wire import Exchange, Request, Response
from sdk.samples import samples

SHAPE = re.compile(r"PUB-(ENV-(?!8$|16$)\d+|SEARCH-[1-6]|LIST-([1-5]|16))$")
"""What one answer is enough to decide."""
DECIDED = [one for one in registry.all() if SHAPE.match(one.requirements[0].id)]
CASES = {
    f"{point.name}/{sample.name}": sample.expected
    for point in entry_points(group="relais.connectors")
    for sample in samples(point.load())
}


@pytest.mark.parametrize("name", CASES)
async def test_a_recorded_answer_honours_the_contract(name: str) -> None:
    expected = CASES[name]
    if not isinstance(expected, dict) or "err" not in expected:
        pytest.skip("outside the envelope: a file, or places")

    async def recorded(request: Request) -> Exchange:
        failing = "failing" in request.url
        value = expected if failing == bool(expected["err"]) else {"err": int(failing), "data": None}
        headers = (("Content-Type", "application/json"),)
        response = Response(400 if failing else 200, "", headers, json.dumps(value).encode())
        return Exchange(request, response, datetime.now(UTC), 0.0)

    profile = "envelope" if (shape := profile_of(expected)) == "status" else shape
    failing = {"failure": {"failing": "1"}} if expected["err"] else {}
    endpoint = {"profile": profile, "path": "/", **failing}
    target = contract_tests.read({"name": name, "base_url": "http://127.0.0.1", "endpoints": [endpoint]})
    run = await execute(target, recorded, SimpleNamespace(all=lambda: DECIDED))  # type: ignore[arg-type]
    wrong = [f"{one.id}: {one.message.en}" for one in run.outcomes if one.status in ("fail", "warn", "error")]
    assert wrong == []
    assert any(one.status == "pass" for one in run.outcomes)
