"""Dropping files by SFTP and by FTPS, on real servers of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from sdk import Http, Misconfigured, RelaisError, Request, Response, UpstreamInvalid, UpstreamUnavailable
from sdk.call import Call, new_call, serving
from sdk.egress import Egress
from sdk.transfer import DropFolder, FtpsAccount, SftpAccount
from sdk.transfer.ftps import Ftps
from sdk.transfer.inbox import FtpsInbox, SftpInbox
from tests.gateway.conftest import lines
from tests.sdk.ftp_server import independent

__all__ = ["lines"]

Inbox = SftpInbox | FtpsInbox
LOOPBACK = Egress(hosts=frozenset(), private=("127.0.0.0/8",))
LARGE = bytes(range(256)) * 12_000  # 3 MB


async def no_http(request: Request) -> Response:
    raise AssertionError("no HTTP here")


def folder(account: dict[str, Any], egress: Egress | None = LOOPBACK, **options: Any) -> DropFolder:
    kind = SftpAccount if "host_key" in account else FtpsAccount
    return DropFolder(kind.model_validate(account), Http(no_http, instance="test/test", egress=egress), **options)


@asynccontextmanager
async def listening(kind: str, root: Path, **options: Any) -> AsyncIterator[Any]:
    options = {"password": "the-password", **options}
    inbox = SftpInbox(root, **options) if kind == "sftp" else FtpsInbox(root, tls=kind, **options)
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


@pytest.fixture(params=["sftp", "explicit", "implicit"])
async def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Inbox]:
    async with listening(request.param, tmp_path) as inbox:
        yield inbox


@pytest.fixture
async def sftp(tmp_path: Path) -> AsyncIterator[SftpInbox]:
    async with listening("sftp", tmp_path) as inbox:
        yield inbox


@pytest.fixture
async def ftps(tmp_path: Path) -> AsyncIterator[FtpsInbox]:
    async with listening("explicit", tmp_path) as inbox:
        yield inbox


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


async def failing(sending: DropFolder, call: Call | None = None) -> RelaisError:
    with serving(call or new_call(repeatable=False)), pytest.raises(RelaisError) as caught:
        await sending.send("a.zip", LARGE)
    return caught.value


# --- what arrives -----------------------------------------------------------------------------------------------------


async def test_a_file_arrives_whole_under_its_name(inbox: Inbox) -> None:
    sent = await folder(inbox.account()).send("a.zip", LARGE)
    assert (sent.path, sent.size) == ("a.zip", len(LARGE))
    assert (inbox.folder / "a.zip").read_bytes() == LARGE
    assert names(inbox.folder) == ["a.zip"]


async def test_a_file_is_streamed_piece_by_piece(inbox: Inbox) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 1000):
            yield LARGE[start : start + 1000]

    await folder(inbox.account()).send("a.zip", pieces())
    assert (inbox.folder / "a.zip").read_bytes() == LARGE


async def test_an_empty_file_is_a_file(inbox: Inbox) -> None:
    assert (await folder(inbox.account()).send("a.zip", b"")).size == 0
    assert names(inbox.folder) == ["a.zip"]


async def test_the_final_name_appears_only_at_the_end(inbox: Inbox) -> None:
    seen: list[list[str]] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE
        seen.append(names(inbox.folder))
        yield b"end"

    await folder(inbox.account()).send("a.zip", pieces())
    assert len(seen[0]) == 1
    assert seen[0][0].startswith(".a.zip.")


@pytest.mark.parametrize("replaces", [True, False])
async def test_sending_again_replaces_the_earlier_file(inbox: Inbox, replaces: bool) -> None:
    if isinstance(inbox, SftpInbox):
        inbox.posix_rename = replaces
    else:
        inbox.replaces = replaces
    sending = folder(inbox.account())
    await sending.send("a.zip", b"first")
    await sending.send("a.zip", b"second")
    assert names(inbox.folder) == ["a.zip"]
    assert (inbox.folder / "a.zip").read_bytes() == b"second"


async def test_files_go_into_the_folder_of_the_settings(inbox: Inbox) -> None:
    (inbox.folder / "depots").mkdir()
    sent = await folder(inbox.account(folder="depots")).send("a.zip", b"x")
    assert sent.path == "depots/a.zip"
    assert names(inbox.folder / "depots") == ["a.zip"]


async def test_a_private_key_opens_the_account(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public, private = key.export_public_key().decode(), key.export_private_key("pkcs8-pem", "phrase").decode()
    async with listening("sftp", tmp_path, password="", client_key=public) as inbox:
        await folder(inbox.account(private_key=private, passphrase="phrase")).send("a.zip", b"x")
    assert names(tmp_path) == ["a.zip"]


async def test_the_host_key_may_be_a_line_of_known_hosts_among_others(sftp: SftpInbox) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    lines = f"# depot\nold.example {other}\n[127.0.0.1]:{sftp.port} {sftp.host_key} comment\n"
    await folder(sftp.account(host_key=lines)).send("a.zip", b"x")
    assert names(sftp.folder) == ["a.zip"]


@pytest.mark.parametrize("name", ["", "../a.zip", "a/b.zip", ".a.zip", "a\n.zip", "é.zip"])
async def test_a_name_that_leaves_the_folder_is_the_authors_fault(inbox: Inbox, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await folder(inbox.account()).send(name, b"x")
    assert inbox.connections == 0


# --- who it talks to --------------------------------------------------------------------------------------------------


async def test_a_server_with_another_key_is_refused_before_any_password(sftp: SftpInbox) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    error = await failing(folder(sftp.account(host_key=other)))
    assert isinstance(error, Misconfigured)
    assert (error.code, error.processed) == ("host-key", False)
    assert names(sftp.folder) == []


REVOKED = f"@revoked * {asyncssh.generate_private_key('ssh-ed25519').export_public_key().decode()}"


@pytest.mark.parametrize(
    "host_key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "the key of the server", "# none", REVOKED]
)
def test_an_account_without_a_readable_host_key_is_refused(host_key: str) -> None:
    with pytest.raises((Misconfigured, ValueError)):
        folder({"host": "127.0.0.1", "username": "relais", "password": "p", "host_key": host_key})


def test_an_account_needs_a_password_or_a_key() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    account = {"host": "127.0.0.1", "username": "relais", "host_key": key.export_public_key().decode()}
    for private in ("", "not a key", key.export_private_key("pkcs8-pem", "phrase").decode()):
        with pytest.raises(Misconfigured) as caught:
            folder(account | {"private_key": private, "passphrase": "wrong"})
        assert "phrase" not in caught.value.detail


async def test_wrong_credentials_are_the_operators_and_not_shown(inbox: Inbox) -> None:
    error = await failing(folder(inbox.account(password="a-wrong-password")))
    assert isinstance(error, Misconfigured)
    assert (error.code, error.processed) == ("credentials", False)
    assert "a-wrong-password" not in f"{error.message} {error.detail} {error.__cause__} {error.__context__}"


async def test_a_key_the_server_does_not_know_is_refused(sftp: SftpInbox) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    error = await failing(folder(sftp.account(private_key=private, password="")))
    assert error.code == "credentials"


@pytest.mark.parametrize("egress", [None, Egress(hosts=frozenset())], ids=["no way out", "private not opened"])
async def test_an_address_out_of_bounds_is_never_connected_to(inbox: Inbox, egress: Egress | None) -> None:
    error = await failing(folder(inbox.account(), egress))
    assert isinstance(error, Misconfigured)
    assert error.detail.startswith("egress")
    assert inbox.connections == 0


async def test_the_gateways_own_port_is_never_connected_to(inbox: Inbox) -> None:
    own = Egress(hosts=frozenset(), private=("127.0.0.0/8",), denied_ports=frozenset({inbox.port}))
    assert isinstance(await failing(folder(inbox.account(), own)), Misconfigured)
    assert inbox.connections == 0


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_nobody_listening_was_surely_not_sent(inbox: Inbox) -> None:
    sending = folder(inbox.account())
    await inbox.stop()
    call = new_call(repeatable=False)
    error = await failing(sending, call)
    assert isinstance(error, UpstreamUnavailable)
    assert error.processed is False
    assert not call.effect_sent


@pytest.mark.parametrize(
    ("refusal", "kind", "code"),
    [
        (asyncssh.SFTPNoSpaceOnFilesystem("full"), UpstreamUnavailable, "full"),
        (asyncssh.SFTPFailure("a disk is full"), UpstreamUnavailable, "full"),
        (asyncssh.SFTPPermissionDenied("no"), Misconfigured, "permission"),
    ],
    ids=["no space", "failure", "permission"],
)
async def test_a_write_refused_leaves_nothing_behind(
    sftp: SftpInbox, refusal: asyncssh.SFTPError, kind: type[RelaisError], code: str | None
) -> None:
    sftp.refusal = refusal
    call = new_call(repeatable=False)
    error = await failing(folder(sftp.account()), call)
    assert isinstance(error, kind)
    assert (error.code, error.processed, call.effect_sent) == (code, False, False)
    assert names(sftp.folder) == []


async def test_a_folder_that_does_not_exist_is_the_operators(inbox: Inbox) -> None:
    sending = folder(inbox.account(folder="nowhere"))
    error = await failing(sending)
    assert (type(error), error.code, error.processed) == (Misconfigured, "folder", False)
    with pytest.raises(Misconfigured):
        await sending.check()


async def test_a_connection_cut_in_the_middle_was_not_delivered(inbox: Inbox) -> None:
    inbox.cut_after = 100_000
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert isinstance(error, UpstreamUnavailable)
    assert (error.processed, call.effect_sent) == (False, False)
    assert not (inbox.folder / "a.zip").exists()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_connection_cut_at_the_renaming_is_in_doubt(inbox: Inbox, moment: str) -> None:
    inbox.cut_at_rename = moment
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert isinstance(error, UpstreamUnavailable)
    assert (error.processed, call.effect_sent) == (None, True)
    assert (inbox.folder / "a.zip").exists() is (moment == "after")


async def test_a_renaming_refused_was_not_delivered(inbox: Inbox) -> None:
    (inbox.folder / "a.zip").mkdir()
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert (error.processed, call.effect_sent) == (False, False)
    assert names(inbox.folder) == ["a.zip"]


async def test_a_delivered_file_is_an_effect(inbox: Inbox) -> None:
    call = new_call(repeatable=False)
    with serving(call):
        await folder(inbox.account()).send("a.zip", b"x")
    assert call.effect_sent


KEY = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
OTHERS = pytest.mark.parametrize(
    "other", [{"host_key": KEY}, {"tls": "explicit"}, {"tls": "implicit"}], ids=["sftp", "explicit", "implicit"]
)


@OTHERS
async def test_a_server_that_says_nothing_is_left_at_the_deadline(other: dict[str, str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        account = {"host": "127.0.0.1", "port": port, "username": "u", "password": "p", **other}
        error = await failing(folder(account), new_call(0.2, repeatable=False))
    assert isinstance(error, UpstreamUnavailable)
    assert (error.timeout, error.processed) == (True, False)


async def test_a_source_that_never_ends_is_left_at_the_deadline(inbox: Inbox) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    with serving(new_call(0.3, repeatable=False)), pytest.raises(UpstreamUnavailable) as caught:
        await folder(inbox.account()).send("a.zip", stuck())
    assert (caught.value.timeout, caught.value.processed) == (True, False)
    assert not (inbox.folder / "a.zip").exists()


@OTHERS
async def test_a_server_that_speaks_something_else_gets_nothing(other: dict[str, str]) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2000)
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await failing(folder({"host": "127.0.0.1", "port": port, "username": "u", "password": "p", **other}))
    server.close()
    assert isinstance(error, (UpstreamInvalid, UpstreamUnavailable, Misconfigured))
    assert error.processed is False


async def test_check_opens_the_folder_and_sends_nothing(inbox: Inbox) -> None:
    await folder(inbox.account()).check()
    assert names(inbox.folder) == []


async def test_a_name_nobody_knows_was_surely_not_sent(inbox: Inbox) -> None:
    error = await failing(folder(inbox.account(host="nowhere.invalid")))
    assert isinstance(error, UpstreamUnavailable)
    assert error.processed is False


# --- FTPS: the session, the certificate, the data connections ---------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_a_data_connection_carries_on_the_session_of_the_control_connection(
    ftps: FtpsInbox, version: ssl.TLSVersion
) -> None:
    ftps.context.minimum_version = ftps.context.maximum_version = version
    sending = folder(ftps.account())
    await sending.send("a.zip", LARGE)
    await sending.sweep("a")
    assert ftps.reused == [True, True]


async def test_a_certificate_nobody_vouches_for_is_refused_before_any_password(ftps: FtpsInbox) -> None:
    error = await failing(folder(ftps.account(ca_file=None)))
    assert (type(error), error.code, error.processed) == (Misconfigured, "certificate", False)
    assert names(ftps.folder) == []


async def test_a_certificate_of_another_host_is_refused(ftps: FtpsInbox) -> None:
    error = await failing(folder(ftps.account(host="localhost")))
    assert (type(error), error.code, error.processed) == (Misconfigured, "certificate", False)


def test_an_authority_that_cannot_be_read_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("not a certificate")
    account = {"host": "depot.example", "username": "relais", "password": "p", "ca_file": str(tmp_path / "no.pem")}
    with pytest.raises(Misconfigured, match="ca_file"):
        folder(account)


def test_the_port_follows_the_way_of_starting_tls() -> None:
    account = {"host": "depot.example", "username": "relais", "password": "p"}
    assert [Ftps(FtpsAccount.model_validate(account | {"tls": tls}), lambda *_: None).port for tls in TLS] == [21, 990]


TLS = ("explicit", "implicit")


async def test_a_server_without_tls_never_gets_the_account(ftps: FtpsInbox) -> None:
    ftps.unknown = {"AUTH"}
    error = await failing(folder(ftps.account()))
    assert (type(error), error.code, error.processed) == (Misconfigured, "tls", False)


async def test_the_wrong_way_of_starting_tls_is_the_operators(tmp_path: Path) -> None:
    async with listening("explicit", tmp_path) as inbox:
        error = await failing(folder(inbox.account(tls="implicit")))
    assert (type(error), error.code, error.processed) == (Misconfigured, "tls", False)


@pytest.mark.parametrize(
    ("refusal", "kind", "code"),
    [
        ("452 Disk full", UpstreamUnavailable, "full"),
        ("552 Quota", UpstreamUnavailable, "full"),
        ("450 Busy", UpstreamUnavailable, None),
        ("421 Leaving", UpstreamUnavailable, None),
        ("550 No", Misconfigured, "folder"),
        ("522 Protect it", Misconfigured, "tls"),
        ("999 What", UpstreamInvalid, None),
    ],
)
async def test_an_upload_refused_by_ftps_says_who_must_act(
    ftps: FtpsInbox, refusal: str, kind: type[RelaisError], code: str | None
) -> None:
    ftps.refusal = refusal
    call = new_call(repeatable=False)
    error = await failing(folder(ftps.account()), call)
    assert (type(error), error.code, error.processed, call.effect_sent) == (kind, code, False, False)
    assert refusal[4:] not in f"{error.message} {error.detail}"
    assert names(ftps.folder) == []


async def test_a_server_without_sizes_is_trusted_on_its_word(ftps: FtpsInbox) -> None:
    ftps.unknown = {"SIZE"}
    assert (await folder(ftps.account()).send("a.zip", LARGE)).size == len(LARGE)


async def test_a_data_connection_to_a_forbidden_port_is_never_opened(ftps: FtpsInbox) -> None:
    class OnlyControl(Egress):
        def refusal(self, address: str, port: int) -> str | None:
            return super().refusal(address, port) if port == ftps.port else "not opened"

    error = await failing(folder(ftps.account(), OnlyControl(hosts=frozenset(), private=("127.0.0.0/8",))))
    assert error.processed is False
    assert ftps.reused == []


async def test_the_loop_is_free_while_a_server_is_slow_to_take(ftps: FtpsInbox) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await folder(ftps.account()).send("a.zip", LARGE)
    turning.cancel()
    assert turns > 10


async def test_accents_of_a_folder_travel_as_utf_8(ftps: FtpsInbox) -> None:
    (ftps.folder / "dépôts").mkdir()
    await folder(ftps.account(folder="dépôts")).send("a.zip", b"x")
    assert names(ftps.folder / "dépôts") == ["a.zip"]


@pytest.mark.parametrize("tls", TLS)
async def test_an_independent_server_takes_the_file(tmp_path: Path, tls: str) -> None:
    with independent(tmp_path / "root", tmp_path, tls) as port:
        account = {
            "host": "127.0.0.1",
            "port": port,
            "username": "relais",
            "password": "the-password",
            "tls": tls,
            "ca_file": str(tmp_path / "server.pem"),
        }
        sending = folder(account)
        await sending.check()
        for content in (b"first", LARGE):
            assert (await sending.send("a.zip", content)).size == len(content)
        assert (tmp_path / "root" / "a.zip").read_bytes() == LARGE
        (leftover := tmp_path / "root" / ".a.zip.01234567.part").write_bytes(b"half")
        os.utime(leftover, (0, 0))
        assert await sending.sweep("a") == 1
        assert (await failing(folder(account | {"password": "wrong"}))).code == "credentials"
    assert names(tmp_path / "root") == ["a.zip"]


# --- what a crash leaves ----------------------------------------------------------------------------------------------


async def test_what_an_interrupted_sending_left_is_removed_once_it_is_old(inbox: Inbox) -> None:
    for name in (".relais-a.zip.01234567.part", ".other.zip.01234567.part", "relais-a.zip", ".relais-a.zip.part"):
        (inbox.folder / name).write_bytes(b"half")
    sending = folder(inbox.account(), clock=lambda: time.time() + 3500)
    assert await sending.sweep("relais-") == 0
    sending = folder(inbox.account(), clock=lambda: time.time() + 3700)
    assert await sending.sweep("relais-") == 1
    assert names(inbox.folder) == [".other.zip.01234567.part", ".relais-a.zip.part", "relais-a.zip"]


async def test_nothing_secret_is_logged(inbox: Inbox, lines: Callable[[], list[dict[str, Any]]]) -> None:
    await folder(inbox.account()).send("a.zip", b"x")
    await failing(folder(inbox.account(password="a-wrong-password")))
    written = json.dumps(lines())
    assert "FTP" in written
    assert "password" not in written
    assert inbox.username not in written.replace("relais.transfer", "")
