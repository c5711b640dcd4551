"""Simulated payments, in half a minute; the ten thousand are `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .payments import Run


@pytest.mark.timeout(180)
async def test_no_debt_is_paid_twice_and_every_payment_is_reported(tmp_path: Path) -> None:
    found = await Run(tmp_path, debts=40, kills=4, coming=16, ending=36)()
    assert not found.wrong, found
    assert found.payments == 40
    assert found.kills == 4


@pytest.mark.timeout(180)
async def test_a_gateway_that_lets_a_second_payment_begin_is_seen(tmp_path: Path) -> None:
    """The same run on a gateway told not to wait: the harness sees what it is there to see."""
    found = await Run(tmp_path, debts=10, kills=0, careless=True, kinds=("slow",), coming=16, ending=4)()
    assert found.paid_twice
