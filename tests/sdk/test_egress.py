"""Where an instance may go, and what the wire says of what happened there."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import socket
import ssl
import time
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sdk.call import new_call, serving
from sdk.egress import Egress, hosts_of, public_tls
from sdk.errors import InvalidInput, Misconfigured, RelaisError, UpstreamInvalid, UpstreamUnavailable
from sdk.http import HttpOptions, open_http
from sdk.model import HttpUrl, Model

from .wire_kit import (
    HANG_UP,
    SILENCE,
    Authority,
    Names,
    Seen,
    answer,
    server_tls,
    upstream,
    way,
)

VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


# --- addresses --------------------------------------------------------------------------------------------------------

# fmt: off
REFUSED_ADDRESSES = [
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.9.9",
    "192.168.1.1", "100.64.0.1", "100.127.255.254", "169.254.169.254", "169.254.0.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "::1",
    "::", "fe80::1", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1", "2001:db8::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:7f00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b::c0a8:101", "64:ff9b:1::7f00:1", "64:ff9b:1:7f00:0:100::", "2002:7f00:1::", "2002:a9fe:a9fe::",
    "2002:c0a8:101::", "2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "::127.0.0.1", "::a9fe:a9fe",
    "100::1", "4000::1", "fe80::1%eth0", "nonsense", "1.2.3",
]
# fmt: on


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_a_private_or_special_address_is_refused_in_every_spelling(address: str) -> None:
    assert Egress(frozenset()).refusal(address, 443)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2a00:1450:4007::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_a_public_address_is_allowed(address: str) -> None:
    assert Egress(frozenset()).refusal(address, 443) is None


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "127.0.0.1", "fd00::7"])
def test_the_operator_opens_private_networks_one_by_one(address: str) -> None:
    egress = Egress(frozenset(), private=("10.1.0.0/16", "127.0.0.0/8", "fd00::/8"))
    assert egress.refusal(address, 443) is None
    assert egress.refusal("10.2.0.1", 443)
    assert egress.refusal("192.168.0.1", 443)


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "fe80::1"])
def test_link_local_unspecified_and_multicast_addresses_cannot_be_opened(address: str) -> None:
    assert Egress(frozenset(), private=("0.0.0.0/0", "::/0")).refusal(address, 443)


def test_the_gateway_never_calls_a_port_it_listens_on_itself() -> None:
    egress = Egress(frozenset(), private=("127.0.0.0/8",), denied_ports=frozenset({8000}))
    assert egress.refusal("127.0.0.1", 8000)
    assert egress.refusal("127.0.0.1", 8001) is None
    assert egress.refusal("93.184.216.34", 8000) is None  # another machine may well use the same port


def test_a_wrong_network_is_refused_when_written() -> None:
    with pytest.raises(ValueError):
        Egress(frozenset(), private=("10.0.0.0/99",))


# --- URLs -------------------------------------------------------------------------------------------------------------

HOSTS = frozenset({("data.example.org", 443), ("data.example.org", 8443), ("93.184.216.34", 443), ("srv01", 443)})

REFUSED_URLS = [
    "https://other.example.org/",
    "https://data.example.org:444/",
    "https://data.example.org.evil.example/",
    "https://data.example.org@evil.example/",
    "https://evil.example@data.example.org/",
    "https://user:secret@data.example.org/",
    "https://:@data.example.org/",
    "https://@data.example.org/",
    "https://evil.example#@data.example.org/",
    "https://evil.example?@data.example.org/",
    "https://evil.example\\@data.example.org/",
    "https://data.example.org\\.evil.example/",
    "https:\\\\data.example.org/",
    "https:/data.example.org/",
    "https:data.example.org/",
    "//data.example.org/",
    "/path",
    "",
    "data.example.org",
    "ftp://data.example.org/",
    "file:///etc/passwd",
    "gopher://data.example.org/",
    "unix://data.example.org/",
    "ws://data.example.org/",
    "jar:https://data.example.org/",
    "http://data.example.org/",
    "HTTP://data.example.org:443/",
    "https://data.example.org:0/",
    "https://data.example.org:99999/",
    "https://data.example.org:/",
    "https://data.example.org:443:80/",
    "https://data.example.org:+443/",
    "https://data.example.org: 443/",
    "https://data.example.org /",
    " https://data.example.org/",
    "https://data.example.org/\r\nHost: evil",
    "https://data.example.org/\x00",
    "https://data.example.org/a b",
    "https://data.example.org/a\tb",
    "https://data\x7f.example.org/",
    "https://dàta.example.org/",
    "https://data。example。org/",
    "https://ⓓⓐⓣⓐ.example.org/",
    "https://data.example.org./",
    "https://.data.example.org/",
    "https://data..example.org/",
    "https://%64ata.example.org/",
    "https://data%2eexample.org/",
    "https://data.example.org%00.evil.example/",
    "https://[data.example.org]/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://00000127.0.0.1/",
    "https://127.0.0.1./",
    "https://①②⑦.⓪.⓪.①/",
    "https://127。0。0。1/",
    "https://1２7.0.0.1/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:ffff:7f00:1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[::1]:443@data.example.org/",
    "https://169.254.169.254/latest/meta-data/",
    "https://[fd00:ec2::254]/",
    "https://0/",
    "https://0.0.0.0/",
    "https://localhost/",
    "https://localhost.localdomain/",
    "https://metadata.google.internal/",
    "https://127.0.0.1.nip.io/",
    "https://1.1.1.1%2F@data.example.org/",
]


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_an_address_that_settings_do_not_name_is_refused_in_every_spelling(url: str) -> None:
    with pytest.raises((Misconfigured, InvalidInput)) as caught:
        Egress(HOSTS, private=("0.0.0.0/0", "::/0")).check(url)
    assert caught.value.processed is False


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://data.example.org/a?b=c#d", "data.example.org", 443),
        ("https://data.example.org:443/", "data.example.org", 443),
        ("https://DATA.Example.ORG:8443", "data.example.org", 8443),
        ("HTTPS://data.example.org/é?q=%C3%A9", "data.example.org", 443),
        ("https://93.184.216.34/", "93.184.216.34", 443),
        ("https://srv01/", "srv01", 443),
    ],
)
def test_an_address_that_settings_name_is_accepted(url: str, host: str, port: int) -> None:
    parsed = Egress(HOSTS).check(url)
    assert (parsed.host, parsed.port) == (host, port)


def test_plain_http_needs_the_operators_word() -> None:
    egress = Egress(frozenset({("data.example.org", 80)}))
    with pytest.raises(Misconfigured, match="pas autorisée"):
        egress.check("http://data.example.org/")
    assert egress.check("http://data.example.org/", allow_http=True).scheme == "http"


def test_the_text_of_a_refusal_never_repeats_the_address() -> None:
    with pytest.raises(Misconfigured) as caught:
        Egress(HOSTS).check("https://user:hunter2@data.example.org/?token=abc")
    assert "hunter2" not in str(caught.value) + caught.value.detail
    assert "abc" not in str(caught.value) + caught.value.detail


def test_hosts_are_found_everywhere_in_the_settings() -> None:
    class Inner(Model):
        wsdl: HttpUrl

    class Settings(Model):
        url: HttpUrl
        others: list[Inner] = []
        names: dict[str, str] = {}
        label: str = ""
        maximum: int = 3

    settings = Settings(
        url="https://Data.example.org/api",
        others=[Inner(wsdl="http://soap.example.org:8080/?wsdl")],
        names={"x": "https://[2a00::1]/", "y": "http://user@evil.example/", "z": "ftp://evil.example/"},
        label="voir https://evil.example/",
    )
    assert hosts_of(settings) == {("data.example.org", 443), ("soap.example.org", 8080), ("2a00::1", 443)}


# --- connections ------------------------------------------------------------------------------------------------------


async def test_a_name_that_leads_to_a_private_address_is_refused_before_connecting() -> None:
    async with upstream(answer()) as canary:
        names = Names(data=[["127.0.0.1"]])
        async with way(hosts=[("data.example.org", canary.port)], private=(), given={"resolver": names}) as http:
            with pytest.raises(Misconfigured) as caught:
                await http.get(f"http://data.example.org:{canary.port}/")
            assert caught.value.processed is False
        assert canary.connections == 0


async def test_a_name_whose_address_changes_after_the_first_answer_is_judged_again() -> None:
    async with upstream(answer(Connection="close")) as good:
        names = Names(data=[["127.0.0.1"], ["169.254.169.254"]])
        async with way(hosts=[("data.example.org", good.port)], given={"resolver": names}) as http:
            assert (await http.get(f"http://data.example.org:{good.port}/")).status == 200
            wire_cache_ttl_passed(http)
            with pytest.raises(Misconfigured):
                await http.get(f"http://data.example.org:{good.port}/")


def wire_cache_ttl_passed(http: object) -> None:
    """The names are looked up again for a request that opens a new connection once the cached answer is too old."""
    wire = http.close.__self__  # type: ignore[attr-defined]
    wire._kept.clear_dns_cache()


async def test_of_several_addresses_only_the_allowed_ones_are_tried() -> None:
    async with upstream(answer()) as good:
        names = Names(data=[["10.9.9.9", "127.0.0.1"]])
        async with way(hosts=[("data.example.org", good.port)], given={"resolver": names}) as http:
            assert (await http.get(f"http://data.example.org:{good.port}/")).status == 200


async def test_a_literal_address_is_judged_even_though_no_name_is_looked_up() -> None:
    async with upstream(answer()) as canary:
        for private in ((), ("10.0.0.0/8",)):
            async with way(canary, private=private) as http:
                with pytest.raises(Misconfigured):
                    await http.get(canary.url)
        assert canary.connections == 0


async def test_an_unknown_name_means_not_sent() -> None:
    class Unknown(Names):
        async def resolve(self, host: str, port: int = 0, family: object = 0) -> list[object]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with way(hosts=[("data.example.org", 80)], given={"resolver": Unknown()}) as http:
        with pytest.raises(UpstreamUnavailable) as caught:
            await http.get("http://data.example.org/")
    assert caught.value.processed is False
    assert caught.value.http_status == 503


async def test_names_are_resolved_for_real() -> None:
    async with (
        upstream(answer(body=b"[1]")) as good,
        way(hosts=[("localhost", good.port)]) as http,
    ):
        assert (await http.get(f"http://localhost:{good.port}/")).json() == [1]


async def test_a_refused_connection_means_not_sent() -> None:
    async with upstream(answer()) as gone:
        pass
    call = new_call(repeatable=False)
    async with way(gone) as http:
        with serving(call), pytest.raises(UpstreamUnavailable) as caught:
            await http.post(gone.url, json={})
    assert caught.value.processed is False
    assert call.effect_sent is False


# --- one request, one execution ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
async def test_a_request_cut_off_after_it_left_is_executed_once_and_its_outcome_is_unknown(verb: str) -> None:
    call = new_call(repeatable=False)
    async with upstream(HANG_UP) as broken, way(broken) as http:
        with serving(call), pytest.raises(UpstreamUnavailable) as caught:
            await http.request(verb, broken.url + "/x")
        assert [seen.method for seen in broken.requests] == [verb]
    assert caught.value.processed is None
    assert call.effect_sent is True


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE", "POST"])
async def test_a_kept_connection_that_dies_is_not_silently_replayed_for_an_effect(verb: str) -> None:
    turns = iter([answer(), HANG_UP, HANG_UP])
    async with upstream(lambda seen: next(turns), keep=True) as stale, way(stale, retries=0) as http:
        assert (await http.get(stale.url)).status == 200
        stale.keep = False
        with serving(new_call(repeatable=False)), pytest.raises(UpstreamUnavailable):
            await http.request(verb, stale.url)
        assert len(stale.requests) == 2


async def test_an_effect_never_uses_a_connection_kept_from_before() -> None:
    async with upstream(answer(), keep=True) as good, way(good) as http:
        await http.get(good.url)
        await http.get(good.url)
        assert good.connections == 1
        await http.post(good.url, json={}, repeatable=False)
        await http.post(good.url, json={}, repeatable=False)
        assert good.connections == 3
        assert good.requests[-1].headers["connection"] == "close"


async def test_a_repeatable_request_cut_off_is_sent_again() -> None:
    turns = iter([HANG_UP, answer(body=b'"ok"')])
    async with upstream(lambda seen: next(turns)) as shaky, way(shaky) as http:
        assert (await http.get(shaky.url)).json() == "ok"
        assert len(shaky.requests) == 2


async def test_a_silent_publisher_is_a_timeout_of_unknown_outcome() -> None:
    async with upstream(SILENCE) as silent, way(silent) as http:
        with serving(new_call(repeatable=False)) as call, pytest.raises(UpstreamUnavailable) as caught:
            await http.post(silent.url, json={}, timeout=0.05)
    assert (caught.value.processed, caught.value.timeout, caught.value.http_status) == (None, True, 504)
    assert call.effect_sent is True


async def test_no_request_outlives_the_callers_deadline() -> None:
    async with upstream(SILENCE) as silent, way(silent) as http:
        with serving(new_call(0.05)), pytest.raises(UpstreamUnavailable) as caught:
            await http.get(silent.url, timeout=20)
        assert caught.value.timeout


async def test_nothing_is_sent_once_the_deadline_has_passed() -> None:
    async with upstream(answer()) as good, way(good) as http:
        with serving(new_call(-1)), pytest.raises(UpstreamUnavailable) as caught:
            await http.get(good.url)
        assert caught.value.processed is False
        assert good.connections == 0


async def test_a_body_that_stalls_is_a_timeout() -> None:
    def stalling(seen: Seen) -> list[bytes]:
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"]

    async with upstream(stalling, keep=True) as slow, way(slow) as http:
        with pytest.raises(UpstreamUnavailable) as caught:
            await http.post(slow.url, json={}, timeout=0.05, repeatable=False)
        assert caught.value.timeout


@pytest.mark.parametrize(
    "garbage",
    [
        b"SMTP ready\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header : x\r\n\r\n",
        b"<html>login</html>\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_an_invalid_answer_of_unknown_outcome(garbage: bytes) -> None:
    async with upstream(garbage) as odd, way(odd) as http:
        with serving(new_call(repeatable=False)), pytest.raises(UpstreamInvalid) as caught:
            await http.post(odd.url, json={})
        assert caught.value.processed is None
        assert len(odd.requests) == 1


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b"x" * 90)[:20],
    ],
)
async def test_a_truncated_answer_is_never_taken_for_an_answer(cut: bytes) -> None:
    async with upstream(cut) as odd, way(odd) as http:
        with serving(new_call(repeatable=False)), pytest.raises(UpstreamInvalid) as caught:
            await http.post(odd.url, json={})
        assert caught.value.processed is None


async def test_half_a_head_is_not_an_answer() -> None:
    async with upstream(b"HTTP/1.1 200 OK\r\nContent-") as odd, way(odd) as http:
        with serving(new_call(repeatable=False)), pytest.raises((UpstreamInvalid, UpstreamUnavailable)) as caught:
            await http.post(odd.url, json={})
        assert caught.value.processed is None


FAULTS: list[tuple[bytes | None, type[RelaisError]]] = [
    (HANG_UP, UpstreamUnavailable),
    (SILENCE, UpstreamUnavailable),
    (b"SMTP ready\r\n\r\n", UpstreamInvalid),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", UpstreamInvalid),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
@pytest.mark.parametrize("verb", ["GET", "POST", "DELETE"])
def test_the_loop_of_production_reports_the_same_faults(
    fault: bytes | None, kind: type[RelaisError], verb: str
) -> None:
    async def fail() -> tuple[RelaisError, int]:
        async with upstream(fault) as odd, way(odd) as http:
            with serving(new_call(repeatable=False)), pytest.raises(kind) as caught:
                await http.request(verb, odd.url, timeout=0.05)
            return caught.value, len(odd.requests)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        error, executed = runner.run(fail())
    assert (error.processed, executed) == (None, 1)


def test_the_loop_of_production_knows_when_nothing_was_sent() -> None:
    async def fail() -> list[RelaisError]:
        found: list[RelaisError] = []
        async with upstream(answer()) as gone:
            pass
        for private in (("127.0.0.0/8",), ()):
            async with way(gone, private=private) as http:
                with pytest.raises(RelaisError) as caught:
                    await http.post(gone.url, json={}, repeatable=False)
                found.append(caught.value)
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        refused, denied = runner.run(fail())
    assert (type(refused), refused.processed) == (UpstreamUnavailable, False)
    assert (type(denied), denied.processed) == (Misconfigured, False)


# --- sizes ------------------------------------------------------------------------------------------------------------


def bomb(decoded: int, wbits: int = 31) -> bytes:
    """Zeros, compressed 1,000 times, made without ever holding them."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    zeros = bytes(1 << 20)
    pieces = [squeezer.compress(zeros) for _ in range(decoded >> 20)]
    return b"".join([*pieces, squeezer.flush()])


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_bomb_costs_little_and_is_refused(coding: str) -> None:
    body = bomb(256 << 20, 31 if coding == "gzip" else 15)
    async with upstream(answer(200, body, Content_Encoding=coding)) as hostile, way(hostile) as http:
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamInvalid) as caught:
                await http.get(hostile.url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 16 << 20
        assert len(hostile.requests) == 1, "a bomb is not asked for twice"
    assert "body" in caught.value.detail


async def test_a_body_that_grows_more_than_a_hundred_times_is_refused_before_the_cap() -> None:
    body = bomb(64 << 20)
    async with upstream(answer(200, body, Content_Encoding="gzip")) as hostile, way(hostile) as http:
        with pytest.raises(UpstreamInvalid) as caught:
            await http.get(hostile.url, max_bytes=100 << 20)
    assert "100 times" in caught.value.detail


async def test_an_endless_chunked_body_is_cut_at_the_cap() -> None:
    def endless(seen: Seen) -> object:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"8000\r\n" + bytes(0x8000) + b"\r\n"

    async with upstream(endless) as hostile, way(hostile) as http:
        with pytest.raises(UpstreamInvalid):
            await http.get(hostile.url, max_bytes=1 << 20)


async def test_an_announced_size_over_the_cap_is_refused_without_reading() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"
    async with upstream(lambda seen: [head], keep=True) as hostile, way(hostile, max_bytes=1024) as http:
        with pytest.raises(UpstreamInvalid, match="illisible"):
            await http.get(hostile.url)


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "bogus"])
async def test_an_encoding_that_was_not_asked_for_is_refused(coding: str) -> None:
    async with upstream(answer(200, b"abc", Content_Encoding=coding)) as odd, way(odd) as http:
        with pytest.raises(UpstreamInvalid):
            await http.get(odd.url)


@pytest.mark.parametrize(
    ("coding", "encoded"),
    [
        ("gzip", gzip.compress(bytes(range(256)) * 3000)),
        ("x-gzip", gzip.compress(bytes(range(256)) * 3000)),
        ("GZIP", gzip.compress(bytes(range(256)) * 1500) + gzip.compress(bytes(range(256)) * 1500)),
        ("gzip", gzip.compress(bytes(range(256)) * 3000) + bytes(512)),
        ("deflate", zlib.compress(bytes(range(256)) * 3000)),
        ("deflate", zlib.compress(bytes(range(256)) * 3000)[2:-4]),
        ("identity", bytes(range(256)) * 3000),
    ],
)
async def test_compressed_answers_are_decoded_to_the_last_byte(coding: str, encoded: bytes) -> None:
    async with upstream(answer(200, encoded, Content_Encoding=coding)) as good, way(good) as http:
        assert (await http.get(good.url)).body == bytes(range(256)) * 3000


async def test_the_last_bytes_of_a_compressed_answer_are_not_lost_when_they_just_pass_a_step() -> None:
    decoded = bytes(64 * 1024 + 3)  # the decoder then holds three bytes and needs no more input to give them
    body = zlib.compress(decoded, 9)[2:-4]
    async with upstream(answer(200, body, Content_Encoding="deflate")) as good, way(good) as http:
        assert (await http.get(good.url)).body == decoded


async def test_compression_is_asked_for_and_only_what_we_decode() -> None:
    async with upstream(answer()) as good, way(good) as http:
        await http.get(good.url)
        assert good.requests[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize(
    "junk", [b"not gzip", gzip.compress(b"ok") + b"trailing", b"".join([gzip.compress(b"")] * 300)]
)
async def test_a_damaged_compressed_body_is_refused(junk: bytes) -> None:
    async with upstream(answer(200, junk, Content_Encoding="gzip")) as odd, way(odd) as http:
        with pytest.raises(UpstreamInvalid):
            await http.get(odd.url)


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("verb", ["GET", "POST", "PUT"])
async def test_a_redirect_is_an_answer_and_is_never_followed(status: int, verb: str) -> None:
    async with upstream(answer()) as target, upstream(answer(status, Location=target.url)) as source:
        async with way(source, target) as http:
            response = await http.request(verb, source.url, headers={"X-Api-Key": "k"})
        assert response.status == status
        assert target.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_read_that_opted_in_never_leaves_its_origin(status: int) -> None:
    async with upstream(answer()) as target, upstream(answer(status, Location=target.url)) as source:
        async with way(source, target) as http:
            assert (await http.get(source.url, follow=True)).status == status
        assert target.connections == 0


async def test_a_read_that_opted_in_follows_inside_its_origin_three_times() -> None:
    def step(seen: Seen) -> bytes:
        number = int(seen.target.strip("/") or 0)
        return answer(302, Location=f"/{number + 1}") if number < 3 else answer(body=b'"there"')

    async with upstream(step, keep=True) as good, way(good) as http:
        assert (await http.get(good.url + "/0", follow=True)).json() == "there"
        assert [seen.target for seen in good.requests] == ["/0", "/1", "/2", "/3"]


async def test_a_loop_of_redirects_ends() -> None:
    async with upstream(answer(302, Location="/"), keep=True) as loop, way(loop) as http:
        assert (await http.get(loop.url, follow=True)).status == 302
        assert len(loop.requests) == 4


@pytest.mark.parametrize("location", ["", "//evil.example/", "file:///etc/passwd", "http://[", "/a\\b"])
async def test_an_odd_redirect_is_left_alone(location: str) -> None:
    async with upstream(answer(302, Location=location)) as odd, way(odd) as http:
        assert (await http.get(odd.url, follow=True)).status == 302


# --- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\x00b", "a\x7fb", "é", "a\u2028b", "\x1b[31m"])
async def test_a_header_value_with_a_forbidden_character_is_refused_by_name(value: str) -> None:
    async with upstream(answer()) as good, way(good) as http:
        with pytest.raises(InvalidInput, match="X-Reference") as caught:
            await http.get(good.url, headers={"X-Reference": value})
        assert caught.value.http_status == 400
        assert good.connections == 0


@pytest.mark.parametrize("name", ["X Y", "X:Y", "X\r\nY", "", "é", "Host", "content-length", "Transfer-Encoding"])
async def test_a_header_name_that_would_change_the_message_is_refused(name: str) -> None:
    async with upstream(answer()) as good, way(good) as http:
        with pytest.raises(Misconfigured):
            await http.get(good.url, headers={name: "1"})
        assert good.connections == 0


# --- isolation --------------------------------------------------------------------------------------------------------


async def test_cookies_are_neither_kept_nor_shared_between_instances() -> None:
    named: dict[str, Any] = {"given": {"resolver": Names(shared=[["127.0.0.1"]])}}
    async with upstream(answer(Set_Cookie="session=tenant-one; Path=/"), keep=True) as shared:
        named["hosts"] = [("shared.example.org", shared.port)]
        async with way(instance="x/one", **named) as one, way(instance="x/two", **named) as two:
            for http in (one, one, two):
                await http.get(f"http://shared.example.org:{shared.port}/")
        assert all("cookie" not in seen.headers for seen in shared.requests)
        assert shared.connections == 2


async def test_the_environment_says_nothing_about_proxies_or_passwords(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with upstream(answer()) as proxy, upstream(answer()) as good:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        async with way(good) as http:
            await http.get(good.url)
        assert proxy.connections == 0
        assert "authorization" not in good.requests[0].headers


async def test_a_declared_proxy_is_used_and_is_judged_like_any_address() -> None:
    async with upstream(answer(body=b'"by proxy"')) as proxy:
        url = "http://data.example.org/x"
        async with way(hosts=[("data.example.org", 80)], proxy=proxy.url) as http:
            assert (await http.get(url)).json() == "by proxy"
            assert proxy.requests[0].target == url
        async with way(hosts=[("data.example.org", 80)], proxy=proxy.url, private=()) as http:
            with pytest.raises(Misconfigured):
                await http.get(url)


async def test_what_goes_through_a_proxy_leaves_no_trace_in_what_does_not() -> None:
    async with upstream(answer()) as proxy, upstream(answer()) as good:
        async with way(hosts=[("data.example.org", 80)], proxy=proxy.url) as http:
            await http.get("http://data.example.org/x")
        async with way(good) as http:
            await http.get(good.url)
        assert proxy.requests[0].headers["host"] == "data.example.org"
        assert good.requests[0].headers["host"] == good.url.removeprefix("http://").rstrip("/")


async def test_a_literal_private_address_is_refused_even_through_a_proxy() -> None:
    async with upstream(answer()) as proxy:
        async with way(hosts=[("10.0.0.1", 80)], proxy=proxy.url) as http:
            with pytest.raises(Misconfigured):
                await http.get("http://10.0.0.1/")
        assert proxy.connections == 0


async def test_a_proxy_that_refuses_the_tunnel_means_not_sent() -> None:
    async with upstream(answer(502)) as proxy:
        async with way(hosts=[("data.example.org", 443)], proxy=proxy.url, retries=0) as http:
            with serving(new_call(repeatable=False)) as call, pytest.raises(UpstreamUnavailable) as caught:
                await http.post("https://data.example.org/x", json={})
        assert caught.value.processed is False
        assert call.effect_sent is False


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "Other CA")


async def test_a_private_authority_is_trusted_when_declared(town: Authority) -> None:
    tls = server_tls(town.issue("127.0.0.1"))
    async with upstream(answer(body=b"[1]"), tls=tls) as good, way(good, ca_file=town.file, allow_http=False) as http:
        assert (await http.get(good.url)).json() == [1]
        assert (await http.post(good.url, json={}, repeatable=False)).json() == [1]


BAD_CERTIFICATES = [
    "unknown authority",
    "wrong authority",
    "public roots only",
    "self-signed",
    "wrong host",
    "wrong address",
    "expired",
    "not yet valid",
]


@pytest.mark.parametrize("case", BAD_CERTIFICATES)
async def test_a_wrong_certificate_is_refused_and_nothing_is_sent(
    case: str, town: Authority, stranger: Authority
) -> None:
    name = {"wrong host": "other.example.org", "wrong address": "127.0.0.2"}.get(case, "127.0.0.1")
    issuer = stranger if case in ("unknown authority", "self-signed") else town
    trusted = {"wrong authority": stranger.file, "public roots only": None}.get(case, town.file)
    days = {"expired": (-10, -1), "not yet valid": (1, 30)}.get(case, (-1, 30))
    identity = issuer.own if case == "self-signed" else issuer.issue(name, first_day=days[0], last_day=days[1])
    call = new_call(repeatable=False)
    async with upstream(answer(), tls=server_tls(identity)) as bad, way(bad, ca_file=trusted) as http:
        with serving(call), pytest.raises(Misconfigured) as caught:
            await http.post(bad.url, json={"secret": "canary"})
        assert bad.requests == []
    assert caught.value.processed is False
    assert call.effect_sent is False
    assert "certificat" in caught.value.message


async def test_the_end_of_the_publishers_certificate_is_known_without_sending(town: Authority) -> None:
    tls = server_tls(town.issue("127.0.0.1", last_day=3))
    async with upstream(answer(), tls=tls) as good, way(good, ca_file=town.file) as http:
        end = await http.using(lambda inner: inner).certificate_end(good.url)
        assert end is not None
        assert 2.9 < (end - time.time()) / 86400 <= 3
        assert good.requests == []
    async with upstream(answer()) as plain, way(plain) as http:
        assert await http.certificate_end(plain.url) is None
    with pytest.raises(Misconfigured):
        await http.certificate_end("https://evil.example/")


async def test_an_old_tls_version_is_refused(town: Authority) -> None:
    old = server_tls(town.issue("127.0.0.1"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with upstream(answer(), tls=old) as bad, way(bad, ca_file=town.file, retries=0) as http:
        with pytest.raises((Misconfigured, UpstreamUnavailable)) as caught:
            await http.get(bad.url)
        assert caught.value.processed is False
        assert bad.requests == []


async def test_plain_http_on_a_secure_port_is_told_to_the_operator(town: Authority) -> None:
    async def talk_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(400))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk_plainly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, way(hosts=[("127.0.0.1", port)], ca_file=town.file) as http:
        with pytest.raises(Misconfigured) as caught:
            await http.get(f"https://127.0.0.1:{port}")
    assert caught.value.processed is False


async def test_the_client_certificate_of_the_instance_is_presented(town: Authority) -> None:
    tls = server_tls(town.issue("127.0.0.1"), clients=town.file)
    async with upstream(answer(body=b'"known"'), tls=tls) as strict:
        async with way(strict, ca_file=town.file, client_certificate=town.issue("relais")) as http:
            assert (await http.get(strict.url)).json() == "known"
        locked = town.issue("relais", password="hunter2")
        async with way(strict, ca_file=town.file, client_certificate=locked, client_key_password="hunter2") as http:
            assert (await http.get(strict.url)).json() == "known"


@pytest.mark.parametrize("presented", [None, "stranger"])
async def test_a_refused_client_certificate_is_the_operators_to_mend_and_nothing_was_processed(
    presented: str | None, town: Authority, stranger: Authority
) -> None:
    certificate = stranger.issue("relais") if presented else None
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)
    port = listener.getsockname()[1]
    entering = asyncio.create_task(
        asyncio.to_thread(_turn_away, listener, server_tls(town.issue("127.0.0.1"), clients=town.file))
    )
    async with way(hosts=[("127.0.0.1", port)], ca_file=town.file, client_certificate=certificate) as http:
        with serving(new_call(repeatable=False)), pytest.raises(Misconfigured) as caught:
            await http.post(f"https://127.0.0.1:{port}", json={})
    assert await entering == b"", "the publisher read nothing of the request"
    assert caught.value.processed is False


def _turn_away(listener: socket.socket, tls: ssl.SSLContext) -> bytes:
    """A server that tells the client why it is not let in, as web servers do (asyncio's own only hangs up)."""
    with listener, listener.accept()[0] as plain, plain.dup() as kept:
        for end in (plain, kept):
            end.settimeout(5)
        try:
            with tls.wrap_socket(plain, server_side=True) as encrypted:
                return encrypted.recv(100)
        except ssl.SSLError:
            kept.shutdown(socket.SHUT_WR)
            while kept.recv(4096):  # closing on unread bytes would reset the connection and lose the alert
                pass
            return b""


async def test_a_connection_reset_during_the_mutual_handshake_stays_an_unknown_outcome(town: Authority) -> None:
    tls = server_tls(town.issue("127.0.0.1"), clients=town.file)
    async with upstream(answer(), tls=tls) as strict, way(strict, ca_file=town.file) as http:
        with serving(new_call(repeatable=False)), pytest.raises((Misconfigured, UpstreamUnavailable)):
            await http.post(strict.url, json={})
        assert strict.requests == []


@pytest.mark.parametrize("setting", ["ca_file", "client_certificate"])
def test_an_unreadable_certificate_file_is_told_at_start_by_its_setting(setting: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("not a certificate")
    for file in (tmp_path / "bad.pem", tmp_path / "absent.pem"):
        with pytest.raises(Misconfigured, match=setting):
            open_http("x/y", HttpOptions(**{setting: file}), egress=Egress(frozenset()), folder=tmp_path)


def test_instances_without_an_identity_of_their_own_share_one_however_many_ask_for_it_at_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(lambda _: public_tls(), range(8)))) == 1


def test_a_locked_key_without_its_password_never_asks_the_terminal(town: Authority, tmp_path: Path) -> None:
    locked = town.issue("locked", password="hunter2")
    with pytest.raises(Misconfigured, match="client_certificate"):
        open_http("x/y", HttpOptions(client_certificate=locked), egress=Egress(frozenset()), folder=tmp_path)


def test_every_address_of_the_loopback_networks_is_judged_the_same() -> None:
    egress = Egress(frozenset(), private=("127.0.0.1/32",))
    assert egress.refusal("127.0.0.1", 1) is None
    assert egress.refusal(str(ipaddress.ip_address("127.0.0.2")), 1)


@pytest.mark.parametrize("query", ["at=09%3A31%3A00Z&signature=a/b%2Bc%3D", "q=caf%C3%A9&empty=", "q=%20a+b"])
def test_a_query_that_is_encoded_already_is_sent_as_written(query: str) -> None:
    egress = Egress(hosts=frozenset({("api.example.org", 443)}))
    assert str(egress.check(f"https://api.example.org/a%20b?{query}")) == f"https://api.example.org/a%20b?{query}"
