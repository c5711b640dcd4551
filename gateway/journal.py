"""What the gateway writes of its life: one JSON line per call, and one per change of state. Never a received value.

Only names, sizes, durations and codes are written; a `Secret` or bytes that slip in are masked by their type.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from pydantic import SecretBytes, SecretStr
from pydantic_core import to_json

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _masked(value: Any) -> Any:
    match value:
        case SecretStr() | SecretBytes():
            return "***"
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case dict():
            return {key: _masked(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(item) for item in value]
        case _:
            return value


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog step: hides by type, whatever the key."""
    for key, value in event.items():
        if not isinstance(value, (str, int, float, bool, type(None))):
            event[key] = _masked(value)
    return event


def _render(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    return to_json(event, fallback=lambda value: f"<{type(value).__name__}>", inf_nan_mode="null").decode()


def configure(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Sets the process's one logger up; lines go to `stream` (standard output) as JSON."""
    # zeep writes whole envelopes, passwords included, at DEBUG: the libraries only speak from WARNING up.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name in ("zeep", "aiohttp", "asyncio", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            mask,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stdout),
        cache_logger_on_first_use=False,
    )


log = structlog.get_logger()
