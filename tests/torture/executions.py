"""What the publisher receives is what the gateway knows it sent: every verb, every fault, and nothing behind its back.

    python -m tests.torture.executions

The same cases with aiohttp alone stand beside: it sends again, unasked, what it takes for harmless.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import structlog

from sdk.call import new_call, serving
from sdk.errors import RelaisError
from sdk.http import Request
from tests.sdk.wire_kit import Upstream, answer, way

VERBS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
TIMEOUT = 0.05
SILENCE = b"..."
RESET = b"!"
FAULTS: dict[str, bytes] = {
    "none": answer(),
    "closes without an answer": b"",
    "resets": RESET,
    "never answers": SILENCE,
    "not HTTP": b"NOT HTTP AT ALL\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": answer(Content_Length="400"),
    "more than announced": answer(body=b"{}{}", Content_Length="2"),
    "a damaged gzip": answer(body=b"\x1f\x8b\x08broken", Content_Encoding="gzip"),
    "a broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "an empty success": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a page": answer(body=b"<html>", Content_Type="text/html"),
    "409": answer(409),
    "500": answer(500),
    "503, try again": answer(503, Retry_After="0"),
    **{f"{status} elsewhere": answer(status, Location="/again") for status in (301, 302, 303, 307, 308)},
    "401 with a challenge": answer(401, WWW_Authenticate='Basic realm="x"'),
    "closes a kept connection": answer(Connection="keep-alive"),
}


class Publisher(Upstream):
    """Receives whole requests, counts them, and answers each with the same fault."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n")[0].strip()
            await reader.readexactly(int(length or b"0"))
            self.connections += 1  # here: requests received
            said = self.answer(None)  # type: ignore[arg-type]
            if said == RESET:
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            elif said == SILENCE:
                await reader.read()
            elif isinstance(said, bytes):
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass(frozen=True)
class Case:
    """One verb met by one fault; `effect` when it may not be repeated. What was sent, known of, and sent by aiohttp."""

    verb: str
    fault: str
    effect: bool
    received: int
    known: int
    stock: int

    @property
    def wrong(self) -> bool:
        if self.effect:
            return not self.received == self.known == 1
        return not 1 <= self.received <= self.known  # what is written to a connection just closed is not received


async def every_case(verbs: Sequence[str] = VERBS) -> list[Case]:
    """The verbs, met by all faults, as an effect and as what may be repeated."""
    made = Publisher(lambda seen: b"")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    cases = []
    try:
        for fault, said in FAULTS.items():
            made.answer = lambda seen, said=said: said
            for verb in verbs:
                stock = await _stock(made, verb)
                for effect in (True, False):
                    cases.append(Case(verb, fault, effect, *await _relais(made, verb, effect), stock))
    finally:
        server.close()
        await server.wait_closed()
    return cases


async def _relais(publisher: Publisher, verb: str, effect: bool) -> tuple[int, int]:
    before = publisher.connections
    call = new_call(10.0, repeatable=not effect)
    async with way(publisher, timeout=TIMEOUT, breaker=False) as http:
        for _ in range(1 if effect else 2):  # the second one may meet a connection that was just closed
            with serving(call):
                try:
                    body = b"{}" if verb in ("POST", "PUT", "PATCH") else None
                    await http.send(Request(verb, f"{publisher.url}/x", {}, body, not effect))
                except RelaisError:
                    continue
    return publisher.connections - before, call.exchanges


async def _stock(publisher: Publisher, verb: str) -> int:
    """How often aiohttp alone sends one request."""
    before = publisher.connections
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=TIMEOUT)) as session:
        try:
            async with session.request(verb, f"{publisher.url}/x", allow_redirects=False) as found:
                await found.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
    return publisher.connections - before


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    cases = asyncio.run(every_case())
    print("| verb | cases | unknown to us | an effect not sent exactly once | by aiohttp alone, sent twice |")
    print("|---|---|---|---|---|")
    for verb in VERBS:
        of = [case for case in cases if case.verb == verb]
        hidden = sum(case.received > case.known for case in of)
        effects = sum(case.effect and case.received != 1 for case in of)
        stock = sum(case.effect and case.stock > 1 for case in of)
        print(f"| {verb} | {len(of)} | **{hidden}** | **{effects}** | {stock} |")
    wrong = [case for case in cases if case.wrong]
    for case in wrong:
        print(case, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
