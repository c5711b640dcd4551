"""What can go wrong with a simulator: the kinds of faults, what is planned, and how a connection is spoilt."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

__all__ = ["EXECUTED", "EXECUTING", "Faults", "break_off"]

LONGEST_HOLD = 120.0
"""Seconds a connection is held open by the fault `timeout`."""

KINDS = (
    "timeout",  # never answers
    "slow",  # executes, and answers after `Simulator.slowness` seconds
    "reset",  # the connection is reset (RST) without an answer
    "close",  # the connection is closed without an answer
    "truncated",  # executes, announces the whole answer, sends half of it and closes
    "wrong-type",  # executes, and announces the right answer as a page of HTML
    "bad-status-line",  # bytes that are not HTTP
    "html-200",  # an HTML page with status 200
    "empty-200",  # nothing, with status 200
    "redirect",  # 302 to another host
    "refusal",  # the software's own way of saying no (`Simulator.refusal`)
)
_STATUS = re.compile(r"status-[3-5]\d\d")
EXECUTED = "execute-then-"
EXECUTING = ("slow", "truncated", "wrong-type")
"""Kinds that spoil a real answer, so that the operation is executed."""


@dataclass(slots=True)
class _Planned:
    kind: str
    path: str
    after: int = 0


class Faults:
    """What will go wrong. Kinds: `timeout`, `slow`, `reset`, `close`, `truncated`, `wrong-type`, `bad-status-line`,
    `html-200`, `empty-200`, `redirect`, `refusal`, `status-NNN`; with `execute-then-` in front, the operation is
    executed first and only the answer is spoilt. Without it nothing is executed, except by `slow`, `truncated` and
    `wrong-type`, which spoil a real answer.

    `path` limits a fault to the requests whose path starts with it; what is under `/_simulator` meets none.
    `own` are kinds a simulator adds (`Simulator.own_faults`).
    """

    def __init__(self, own: tuple[str, ...] = ()) -> None:
        self._own = own
        self._next: deque[_Planned] = deque()
        self._rate: tuple[float, tuple[str, ...], str] | None = None
        self._random = random.Random(0)  # noqa: S311

    def next(self, kind: str, *more: str, times: int = 1, path: str = "/", after: int = 0) -> None:
        """The next requests meet these faults, in order, the whole `times` times; `after` of them pass first."""
        kinds = tuple(self._checked(each) for each in (kind, *more))
        planned = [_Planned(each, path) for each in kinds * times]
        planned[0].after = after
        self._next.extend(planned)

    @property
    def waiting(self) -> int:
        """How many planned faults nobody has met yet."""
        return len(self._next)

    def rate(self, share: float, *kinds: str, seed: int = 0, path: str = "/") -> None:
        """A share of all requests (0 to 1) meets one of `kinds`, drawn with a seeded generator."""
        if not 0 <= share <= 1:
            raise ValueError("share goes from 0 to 1")
        self._random = random.Random(seed)  # noqa: S311
        self._rate = (share, tuple(self._checked(kind) for kind in kinds or ("status-500",)), path)

    def clear(self) -> None:
        """Everything works again."""
        self._next.clear()
        self._rate = None

    def draw(self, path: str) -> str | None:
        """The fault this request meets, if any; used up."""
        for position, planned in enumerate(self._next):
            if path.startswith(planned.path):
                if planned.after:
                    planned.after -= 1
                    return None
                del self._next[position]
                return planned.kind
        if self._rate is not None and path.startswith(self._rate[2]) and self._random.random() < self._rate[0]:
            return self._random.choice(self._rate[1])
        return None

    def state(self) -> dict[str, Any]:
        """What is planned, for people."""
        rate = self._rate
        kinds = (*KINDS, "status-NNN", *self._own)
        return {
            "next": [{"fault": each.kind, "path": each.path, "after": each.after} for each in self._next],
            "rate": {"share": rate[0], "faults": list(rate[1]), "path": rate[2]} if rate else None,
            "kinds": [*kinds, *(f"{EXECUTED}{kind}" for kind in kinds)],
        }

    def _checked(self, kind: str) -> str:
        bare = kind.removeprefix(EXECUTED)
        if bare not in (*KINDS, *self._own) and not _STATUS.fullmatch(bare):
            known = ", ".join((*KINDS, "status-NNN", *self._own))
            raise ValueError(f"unknown fault {kind!r}: choose among {known}, or put {EXECUTED} in front of one")
        return kind


async def break_off(fault: str, transport: asyncio.Transport, whole: bytes, stopping: asyncio.Event) -> None:
    """Ends a connection the wrong way. `whole` is the answer as it would be on the wire (`truncated` sends half of it);
    `stopping` ends the silence of `timeout`.
    """
    if fault == "reset":
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        return
    if fault == "timeout":
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), LONGEST_HOLD)
    elif fault == "bad-status-line":
        transport.write(b"NOT HTTP AT ALL\r\n\r\n")
    elif fault == "truncated":
        head, separator, body = whole.partition(b"\r\n\r\n")
        transport.write(head + separator + body[: len(body) // 2])
    transport.close()
