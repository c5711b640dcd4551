"""Fixtures that several packages of tests ask for."""

from __future__ import annotations

from .postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]
