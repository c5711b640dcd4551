"""A caller as plain as a socket: nothing is sent twice, nothing is hidden."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from .processes import KEY


class Line:
    """A caller's connection to the gateway, kept from call to call, or opened anew for each."""

    def __init__(self, port: int, *, kept: bool) -> None:
        self._port = port
        self._kept = kept
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: Mapping[str, Any], key: str, *, budget: float = 28.0) -> tuple[int, Any]:
        """Status and decoded body. Raises `OSError` or `EOFError` when the connection ends without the answer."""
        async with asyncio.timeout(budget):
            reader, writer = await self._open()
            writer.write(request("POST", path, body, key, kept=self._kept))
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("content-length:")[2].split("\r\n")[0])
            found = json.loads(await reader.readexactly(length))
        if not self._kept or "connection: close" in head:
            self.close()
        return int(head.split()[1]), found

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self._reader, self._writer

    def close(self) -> None:
        """Hangs up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def request(method: str, path: str, body: Mapping[str, Any] | None, key: str, *, kept: bool) -> bytes:
    """The bytes of one call."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: relais",
        f"X-API-Key: {KEY}",
        f"Idempotency-Key: {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        f"Connection: {'keep-alive' if kept else 'close'}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
