"""The suite inside a publisher's own pytest: one line, one item per case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract_tests import toml
from contract_tests.checks import registry
from contract_tests.reference import PASSWORD, USER
from tests.contract_tests.test_command import Fragile, _served

pytest_plugins = ["pytester"]
assert registry.all()  # imported here: pytester forgets what its runs import, and a check is registered once


@pytest.fixture
def fragile() -> Iterator[str]:
    yield from _served(Fragile())


def test_one_line_in_a_publisher_s_tests_gives_an_item_per_case(pytester: pytest.Pytester, fragile: str) -> None:
    target = toml.dumps(
        {"name": "Simula", "base_url": fragile, "contact": "a", "auth": {"user": USER, "password": PASSWORD}},
        [{"profile": "search", "path": "/search", "example": "dupont"}],
    )
    (Path(pytester.path) / "target.toml").write_text(target, "utf-8")
    pytester.makepyfile(
        "from contract_tests.pytest_plugin import suite\ntest_contract = suite('target.toml', rate=0)\n"
    )
    result = pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:aiohttp", "-rw", "-W", "default"
    )
    counts = result.parseoutcomes()
    assert counts["failed"] == 2  # relative addresses, and the password repeated
    assert counts["passed"] > 30
    assert counts["skipped"] >= 5
    assert counts["warnings"] >= 1
    result.stdout.fnmatch_lines(["*PUB-SEARCH-3 (MUST)*", "*L'agent clique*"])


SERVING = """
from contextlib import asynccontextmanager
from contract_tests.pytest_plugin import suite
from contract_tests.reference import Reference
from tests.contract_tests.test_command import Fragile

def serving(service):
    @asynccontextmanager
    async def opened():
        async with service().served() as url:
            yield service().target(url)
    return opened

test_contract = suite({"good": serving(Reference), "fragile": serving(Fragile)}, profiles=["search"], rate=0)
"""


def test_a_service_started_for_the_test_is_one_item_that_tells_all_it_lacks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SERVING)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:aiohttp")
    counts = result.parseoutcomes()
    assert (counts["passed"], counts["failed"]) == (1, 1)
    result.stdout.fnmatch_lines(["*Moteur de recherche : not-conformant*", "*PUB-SEARCH-3 (MUST)*", "curl -i*"])
    assert PASSWORD not in result.stdout.str()
