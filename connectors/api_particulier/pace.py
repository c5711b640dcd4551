"""How fast API Particulier may be called, by all processes of this machine together.

20 calls a second per token, 1000 a minute per address; whoever does not heed a 429 is banned for 12 hours, its whole
address with it. What was sent is therefore kept in files: one per instance (the token), one for all instances (the
address). Times are seconds since 1970, so that a ban outlives a restart.
"""

from __future__ import annotations

import asyncio
import fcntl
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from sdk import Http, Overloaded, Request, Response, Send, Text
from sdk.http import retry_after

PATIENCE = 3.0
"""Seconds a call may wait for its turn; beyond, the caller is told when to come back."""
UNTOLD = 60.0
"""Seconds of silence after a 429 that does not say how long."""
_MARGIN = 1.03
"""Windows are kept a little longer than the publisher's: the network delays some calls and not others."""


class Window:
    """At most `calls` in any `seconds`, shared through the file at `path`."""

    def __init__(self, path: Path, calls: int, seconds: float, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._calls = calls
        self._seconds = seconds * _MARGIN
        self._now = now

    def take(self, patience: float) -> float:
        """Takes the next place and gives the seconds to wait for it. Raises `Overloaded` when it is too far away."""
        now = self._now()

        def taken(until: float, starts: list[float]) -> tuple[float, list[float]]:
            # A clock set back leaves places in a far future: they mean nothing any more.
            starts = [start for start in starts if start < now + 10 * self._seconds]
            free = starts[-self._calls] + self._seconds if len(starts) >= self._calls else now
            start = max(now, until, free)
            if start - now > patience:
                raise _come_back(start - now)
            return until, [*starts, start]

        return self._changed(taken)[-1] - now

    def close(self, seconds: float) -> None:
        """Nothing more for `seconds`."""
        until = self._now() + seconds
        self._changed(lambda known, starts: (max(known, until), starts))

    def _changed(self, change: Callable[[float, list[float]], tuple[float, list[float]]]) -> list[float]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            raw = file.read()
            known = struct.unpack(f"<{len(raw) // 8}d", raw[: len(raw) // 8 * 8]) or (0.0,)
            until, starts = change(known[0], list(known[1:]))
            kept = starts[-self._calls :]
            file.seek(0)
            file.truncate()
            file.write(struct.pack(f"<{len(kept) + 1}d", until, *kept))
        return kept


class Pace:
    """A policy for every attempt: waits for its turn, and heeds what the publisher says of its limits. The states of
    services (`…/ping`) need no token and only count for the address."""

    def __init__(
        self,
        http: Http,
        *,
        per_second: int,
        per_minute: int,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        # The folder of a served instance is …/<connector>/<instance>: its parent belongs to all of them.
        common = http.folder.parent if http.folder.parts[-2:] == tuple(http.instance.split("/")) else http.folder
        self._token = Window(http.folder / "pace-token", per_second, 1.0, now=now)
        self._address = Window(common / "pace-address", per_minute, 60.0, now=now)
        self._now = now
        self._sleep = sleep

    def __call__(self, inner: Send) -> Send:
        async def send(request: Request) -> Response:
            stateless = urlsplit(request.url).path.endswith(("/ping", "/pings"))
            for window in (self._address,) if stateless else (self._token, self._address):
                if wait := window.take(PATIENCE):
                    await self._sleep(wait)
            response = await inner(request)
            if pause := self._asked(response):
                self._token.close(pause)
            return response

        return send

    def _asked(self, response: Response) -> float:
        """Seconds of silence this answer asks for."""
        if response.status == 429:
            asked = retry_after(response)
            return UNTOLD if asked is None else max(asked, 1.0)
        left, reset = (response.headers.get(f"RateLimit-{name}", "").strip() for name in ("Remaining", "Reset"))
        if left == "0" and reset.isascii() and reset.isdigit():
            return min(max(float(reset) - self._now(), 0.0), UNTOLD)
        return 0.0


def _come_back(seconds: float) -> Overloaded:
    return Overloaded(
        Text(
            "API Particulier limite nos appels : réessayez un peu plus tard.",
            en="API Particulier limits our calls: try again a little later.",
        ),
        detail="rate limit, nothing was sent",
        retry_after=seconds,
    )
