"""Fixtures that several packages of tests ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdk.pace import collector

from .postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]


@pytest.fixture(autouse=True)
def collects_as_usual() -> Iterator[None]:
    """The collector waits for no timer of a loop that has ended."""
    yield
    collector.let_go()
