"""Large answers, read without holding the loop.

By steps on the loop where compiled readers can follow a tree that is still growing; in one process apart where zeep is
needed or nothing repeats. What comes back from that process comes in slices, for the same reason.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import pickle
import signal
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk import xml
from sdk.errors import UpstreamInvalid
from sdk.pace import Pace

from . import wsdl
from .decoder import Answer
from .envelopes import by_steps, only_envelope, read
from .mime import media_type
from .values import invalid
from .wsdl import Operation

__all__ = ["Job", "Source", "apart", "read_by_steps", "read_large"]

_SLICE = 200  # items


@dataclass(frozen=True, slots=True)
class Source:
    """What another process needs to read the same contract."""

    wsdl: Path
    locations: tuple[tuple[str, Path], ...]
    strict: bool
    service: str | None
    port: str | None


@dataclass(frozen=True, slots=True)
class Job:
    """One answer to read."""

    source: Source
    operation: str
    body: bytes
    content_type: str
    max_bytes: int
    huge: bool


async def read_large(operation: Operation, job: Job) -> tuple[Answer, str]:
    """The answer, and the way it was read: "stepped" or "apart". Raises `UpstreamInvalid`."""
    answer = await read_by_steps(operation, job)
    return (answer, "stepped") if answer is not None else (await apart.read(job), "apart")


# --- by steps ---------------------------------------------------------------------------------------------------------


async def read_by_steps(operation: Operation, job: Job) -> Answer | None:
    """None where this is not the way (`by_steps`)."""
    kind, parameters = media_type(job.content_type)
    if kind.startswith("multipart/"):
        return None
    pace = Pace()
    await operation.prepare(arriving=True)
    try:
        content = xml.in_utf8(only_envelope(job.body), charset=parameters.get("charset"), max_bytes=job.max_bytes)
    except xml.XmlRefused as refused:
        raise invalid(f"{kind or 'no type'}: {refused}") from None
    await pace.breathe()
    steps = by_steps(operation, content, huge=job.huge)
    try:
        while True:
            next(steps)
            await pace.breathe()
    except StopIteration as finished:
        answer: Answer | None = finished.value
        return answer


# --- in a process apart -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pieces:
    """An answer cut so that no piece is long to read: pickled without its longest list, and the slices of that list."""

    answer: bytes
    path: tuple[Any, ...]
    slices: tuple[bytes, ...]

    async def together(self) -> Answer:
        pace = Pace()
        answer: Answer = pickle.loads(self.answer)  # noqa: S301 (our own process wrote it)
        place = answer.value
        for step in self.path:
            place = place[step]
        for each in self.slices:
            place += pickle.loads(each)  # noqa: S301
            await pace.breathe()
        return answer


def _cut(answer: Answer) -> _Pieces:
    path, longest = _longest(answer.value)
    slices = []
    if longest is not None:
        slices = [pickle.dumps(longest[at : at + _SLICE]) for at in range(0, len(longest), _SLICE)]
        longest.clear()
    return _Pieces(pickle.dumps(answer), path, tuple(slices))


def _longest(value: Any) -> tuple[tuple[Any, ...], list[Any] | None]:
    path: tuple[Any, ...] = ()
    longest: list[Any] | None = None
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), value)]
    while waiting:
        at, one = waiting.pop()
        if isinstance(one, list) and len(one) > max(_SLICE, len(longest or ())):
            path, longest = at, one
        pairs = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        waiting += [((*at, name), each) for name, each in pairs if isinstance(each, dict | list)]
    return path, longest


def _read_job(job: Job) -> Answer | str:
    """The answer, or the reason it is invalid (errors do not cross processes well)."""
    source = job.source
    contract = wsdl.load(source.wsdl, dict(source.locations), strict=source.strict)
    operation = contract.operations(source.service, source.port)[job.operation]
    try:
        return read(operation, job.body, job.content_type, max_bytes=job.max_bytes, huge=job.huge)
    except UpstreamInvalid as error:
        return error.detail


def _read_and_cut(job: Job) -> _Pieces | str:
    found = _read_job(job)
    return found if isinstance(found, str) else _cut(found)


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _nothing() -> None:
    return None


class _Apart:
    """One process beside this one, started by the first answer that needs it: reading holds the interpreter's lock, so
    a thread would slow every other call. Until it is ready, and when it cannot be had, a thread does."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self.ready: Future[None] | None = None

    async def read(self, job: Job) -> Answer:
        """The answer. Raises `UpstreamInvalid`."""
        for _ in range(2):
            try:
                pool = self.start()
                if self.ready is None or not self.ready.done():
                    break
                pieces = await asyncio.get_running_loop().run_in_executor(pool, _read_and_cut, job)
                return await pieces.together() if isinstance(pieces, _Pieces) else _refused(pieces)
            except (BrokenExecutor, RuntimeError, OSError):
                self.stop()
        found = await asyncio.to_thread(_read_job, job)
        return found if isinstance(found, Answer) else _refused(found)

    def start(self) -> ProcessPoolExecutor:
        """The pool, started if it was not."""
        if self._pool is None:
            # Not a fork: the child must not hold this process's sockets, nor its threads' locks.
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_leave_signals_to_the_parent,
            )
            self.ready = self._pool.submit(_nothing)
        return self._pool

    def stop(self) -> None:
        """Ends the process; the next answer that needs one starts another."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(OSError, RuntimeError):
                pool.shutdown(wait=False)


def _refused(reason: str) -> Answer:
    raise invalid(reason)


apart = _Apart()
atexit.register(apart.stop)
