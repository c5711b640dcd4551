"""What the gateway writes of its life: one JSON line per call, and one per change of state. Never a received value.

Only names, sizes, durations and codes are written; a `Secret` or bytes that slip in are masked by their type. A process
that serves hands its lines to a thread (`Lines`): a disk that is slow, or a reader that stopped, never delays a call.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import threading
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from pydantic import SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_json

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


def _untold(exception: dict[str, Any]) -> dict[str, Any]:
    """An exception's class and where it was raised: its text may hold anything that was received."""
    told = {"exc_type": exception["exc_type"], "is_cause": exception["is_cause"], "frames": exception["frames"]}
    inner = [_untold(one) for group in exception["exceptions"] for one in group]
    return {**told, "exceptions": inner} if inner else told


def _stamped(_: Any, method: str, event: MutableMapping[str, Any]) -> tuple[tuple[Any], dict[str, Any]]:
    """The structlog step of a process that serves: what is of the moment. `_written` does the rest, in the thread."""
    event["level"] = method
    event["at"] = time.time()
    if "exc_info" in event:
        _with_exception(_, method, event)
        event["exception"] = [_untold(one) for one in event["exception"]]
    return (event,), {}


def _rendered(_: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """The structlog step of everybody else."""
    _stamped(_, method, event)
    return _written(event)


def _written(event: MutableMapping[str, Any]) -> str:
    """An event as a line: instant, masking by type whatever the key, JSON."""
    event["at"] = datetime.fromtimestamp(event["at"], UTC).isoformat().replace("+00:00", "Z")
    for key, value in event.items():
        if type(value) not in _PLAIN:
            event[key] = _masked(value)
    try:
        return to_json(event, fallback=_shown, inf_nan_mode="null").decode()
    except PydanticSerializationError:  # bytes that were no UTF-8, in a header or an address: a line never fails a call
        return json.dumps(event, default=_shown)


def _shown(value: Any) -> str:
    return f"<{type(value).__name__}>"


_PLAIN = frozenset({str, int, float, bool, type(None)})
_with_exception = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

# --- where lines go ---------------------------------------------------------------------------------------------------

PAUSE = 0.02
"""Seconds lines wait for others, to be written together."""
MOST = 20_000
"""Lines that may wait for a slow reader; what comes beyond is dropped, and counted in a line of its own."""
_AT_ONCE = 4096  # bytes: a pipe takes so much whole, or nothing, when several processes write into it


class Lines:
    """A logger whose lines are written, and made of what is told, by a thread: nobody waits for them, but `flush` at a
    process's end.

    A process that is killed loses the lines of its last hundredths of a second. Those a fork finds are its parent's.
    """

    def __init__(self, file: int, *, pause: float = PAUSE, most: int = MOST) -> None:
        self._file = file
        self._pause = pause
        self._most = most
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._some = threading.Event()
        self._none = threading.Event()
        self._none.set()
        self._waiting: list[MutableMapping[str, Any]] = []
        self._writing = 0  # of those taken from the waiting
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def msg(self, event: MutableMapping[str, Any]) -> None:
        """Takes what a line tells and returns at once."""
        with self._lock:
            if len(self._waiting) + self._writing >= self._most:
                self._dropped += 1
                return
            self._waiting.append(event)
            if len(self._waiting) > 1:
                return
            self._none.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="relais-log", daemon=True)
                self._thread.start()
        self._some.set()

    debug = info = warning = error = msg

    def flush(self, patience: float = 2.0) -> None:
        """Waits until everything is written, at most `patience` seconds."""
        self._none.wait(patience)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            time.sleep(self._pause)
            with self._lock:
                events, self._waiting = self._waiting, []
                self._writing = len(events)
                dropped, self._dropped = self._dropped, 0
            if dropped:
                events.append({"event": "lines_dropped", "lines": dropped, "level": "warning", "at": time.time()})
            self._put([self._line(event) for event in events])
            del events
            with self._lock:
                self._writing = 0
                if not self._waiting:
                    self._none.set()

    def _line(self, event: MutableMapping[str, Any]) -> bytes:
        try:
            return f"{_written(event)}\n".encode()
        except (
            Exception
        ):  # what cannot be written (it changes meanwhile, or holds itself) costs its line, not the next ones
            with self._lock:
                self._dropped += 1
            return b""

    def _put(self, lines: list[bytes]) -> None:
        """Whole lines together, as far as a pipe takes them in one piece."""
        piece = b""
        for line in [*lines, b""]:
            if piece and (not line or len(piece) + len(line) > _AT_ONCE):
                try:
                    self._write(piece)
                except OSError:  # the disk is full, or nobody reads any more: calls go on
                    with self._lock:
                        self._dropped += piece.count(b"\n")
                piece = b""
            piece += line

    def _write(self, piece: bytes) -> None:
        while piece:
            piece = piece[os.write(self._file, piece) :]


# --- setting up -------------------------------------------------------------------------------------------------------

_LIBRARIES = ("zeep", "aiohttp", "asyncio", "urllib3")
_lines: Lines | None = None


class _Library(logging.Handler):
    """What a library has to say, or asyncio of a task that failed, as a line: where in its code, never its text."""

    def emit(self, record: logging.LogRecord) -> None:
        said: dict[str, Any] = {"library": record.name, "where": f"{os.path.basename(record.pathname)}:{record.lineno}"}
        if record.exc_info:
            said["exc_info"] = record.exc_info
        (log.error if record.levelno >= logging.ERROR else log.warning)("library", **said)


def configure(level: str = "info", *, stream: TextIO | Lines | None = None) -> None:
    """Sets the process's one logger up. A text `stream` is written before whoever says a line goes on; without stream,
    `Lines` write to standard output."""
    global _lines
    # zeep writes whole envelopes, passwords included, at DEBUG: the libraries only speak from WARNING up.
    logging.basicConfig(level=logging.WARNING, handlers=[_Library()])
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
    stream = stream or Lines(sys.stdout.fileno())
    _lines = stream if isinstance(stream, Lines) else None
    structlog.configure(
        processors=[_stamped if isinstance(stream, Lines) else _rendered],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=(lambda *_: stream) if isinstance(stream, Lines) else structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def flush() -> None:
    """Waits for the lines still to be written: before a process ends."""
    if _lines is not None:
        _lines.flush()


atexit.register(flush)
log = structlog.get_logger()
