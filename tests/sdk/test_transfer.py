"""Dropping files by SFTP, on a real server of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from sdk import Http, Misconfigured, RelaisError, Request, Response, UpstreamInvalid, UpstreamUnavailable
from sdk.call import Call, new_call, serving
from sdk.egress import Egress
from sdk.transfer import SftpAccount, SftpFolder, SftpInbox

LOOPBACK = Egress(hosts=frozenset(), private=("127.0.0.0/8",))
LARGE = bytes(range(256)) * 12_000  # 3 MB


async def no_http(request: Request) -> Response:
    raise AssertionError("no HTTP here")


def folder(account: dict[str, Any], egress: Egress | None = LOOPBACK) -> SftpFolder:
    return SftpFolder(SftpAccount.model_validate(account), Http(no_http, instance="test/test", egress=egress))


@asynccontextmanager
async def listening(root: Path, **options: Any) -> AsyncIterator[SftpInbox]:
    inbox = SftpInbox(root, **{"password": "the-password", **options})
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.stop()


@pytest.fixture
async def inbox(tmp_path: Path) -> AsyncIterator[SftpInbox]:
    async with listening(tmp_path) as inbox:
        yield inbox


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


async def failing(sending: SftpFolder, call: Call | None = None) -> RelaisError:
    with serving(call or new_call(repeatable=False)), pytest.raises(RelaisError) as caught:
        await sending.send("a.zip", LARGE)
    return caught.value


# --- what arrives -----------------------------------------------------------------------------------------------------


async def test_a_file_arrives_whole_under_its_name(inbox: SftpInbox) -> None:
    sent = await folder(inbox.account()).send("a.zip", LARGE)
    assert (sent.path, sent.size) == ("a.zip", len(LARGE))
    assert (inbox.folder / "a.zip").read_bytes() == LARGE
    assert names(inbox.folder) == ["a.zip"]


async def test_a_file_is_streamed_piece_by_piece(inbox: SftpInbox) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(LARGE), 1000):
            yield LARGE[start : start + 1000]

    await folder(inbox.account()).send("a.zip", pieces())
    assert (inbox.folder / "a.zip").read_bytes() == LARGE


async def test_an_empty_file_is_a_file(inbox: SftpInbox) -> None:
    assert (await folder(inbox.account()).send("a.zip", b"")).size == 0
    assert names(inbox.folder) == ["a.zip"]


async def test_the_final_name_appears_only_at_the_end(inbox: SftpInbox) -> None:
    seen: list[list[str]] = []

    async def pieces() -> AsyncIterator[bytes]:
        yield LARGE
        seen.append(names(inbox.folder))
        yield b"end"

    await folder(inbox.account()).send("a.zip", pieces())
    assert len(seen[0]) == 1
    assert seen[0][0].startswith(".a.zip.")


@pytest.mark.parametrize("posix_rename", [True, False])
async def test_sending_again_replaces_the_earlier_file(inbox: SftpInbox, posix_rename: bool) -> None:
    inbox.posix_rename = posix_rename
    sending = folder(inbox.account())
    await sending.send("a.zip", b"first")
    await sending.send("a.zip", b"second")
    assert names(inbox.folder) == ["a.zip"]
    assert (inbox.folder / "a.zip").read_bytes() == b"second"


async def test_files_go_into_the_folder_of_the_settings(inbox: SftpInbox) -> None:
    (inbox.folder / "depots").mkdir()
    sent = await folder(inbox.account(folder="depots")).send("a.zip", b"x")
    assert sent.path == "depots/a.zip"
    assert names(inbox.folder / "depots") == ["a.zip"]


async def test_a_private_key_opens_the_account(tmp_path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    public, private = key.export_public_key().decode(), key.export_private_key("pkcs8-pem", "phrase").decode()
    async with listening(tmp_path, password="", client_key=public) as inbox:
        await folder(inbox.account(private_key=private, passphrase="phrase")).send("a.zip", b"x")
    assert names(tmp_path) == ["a.zip"]


async def test_the_host_key_may_be_a_line_of_known_hosts_among_others(inbox: SftpInbox) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    lines = f"# depot\nold.example {other}\n[127.0.0.1]:{inbox.port} {inbox.host_key} comment\n"
    await folder(inbox.account(host_key=lines)).send("a.zip", b"x")
    assert names(inbox.folder) == ["a.zip"]


@pytest.mark.parametrize("name", ["", "../a.zip", "a/b.zip", ".a.zip", "a\n.zip", "é.zip"])
async def test_a_name_that_leaves_the_folder_is_the_authors_fault(inbox: SftpInbox, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await folder(inbox.account()).send(name, b"x")
    assert inbox.connections == 0


# --- who it talks to --------------------------------------------------------------------------------------------------


async def test_a_server_with_another_key_is_refused_before_any_password(inbox: SftpInbox) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    error = await failing(folder(inbox.account(host_key=other)))
    assert isinstance(error, Misconfigured)
    assert (error.code, error.processed) == ("host-key", False)
    assert names(inbox.folder) == []


@pytest.mark.parametrize("host_key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "the key of the server", "# none"])
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


async def test_wrong_credentials_are_the_operators_and_not_shown(inbox: SftpInbox) -> None:
    error = await failing(folder(inbox.account(password="a-wrong-password")))
    assert isinstance(error, Misconfigured)
    assert (error.code, error.processed) == ("credentials", False)
    assert "a-wrong-password" not in f"{error.message} {error.detail} {error.__cause__} {error.__context__}"


async def test_a_key_the_server_does_not_know_is_refused(inbox: SftpInbox) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    error = await failing(folder(inbox.account(private_key=private, password="")))
    assert error.code == "credentials"


@pytest.mark.parametrize("egress", [None, Egress(hosts=frozenset())], ids=["no way out", "private not opened"])
async def test_an_address_out_of_bounds_is_never_connected_to(inbox: SftpInbox, egress: Egress | None) -> None:
    error = await failing(folder(inbox.account(), egress))
    assert isinstance(error, Misconfigured)
    assert error.detail.startswith("egress")
    assert inbox.connections == 0


async def test_the_gateways_own_port_is_never_connected_to(inbox: SftpInbox) -> None:
    own = Egress(hosts=frozenset(), private=("127.0.0.0/8",), denied_ports=frozenset({inbox.port}))
    assert isinstance(await failing(folder(inbox.account(), own)), Misconfigured)
    assert inbox.connections == 0


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_nobody_listening_was_surely_not_sent(inbox: SftpInbox) -> None:
    account = inbox.account()
    await inbox.stop()
    call = new_call(repeatable=False)
    error = await failing(folder(account), call)
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
    inbox: SftpInbox, refusal: asyncssh.SFTPError, kind: type[RelaisError], code: str | None
) -> None:
    inbox.refusal = refusal
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert isinstance(error, kind)
    assert (error.code, error.processed, call.effect_sent) == (code, False, False)
    assert names(inbox.folder) == []


async def test_a_folder_that_does_not_exist_is_the_operators(inbox: SftpInbox) -> None:
    sending = folder(inbox.account(folder="nowhere"))
    error = await failing(sending)
    assert (type(error), error.code, error.processed) == (Misconfigured, "folder", False)
    with pytest.raises(Misconfigured):
        await sending.check()


async def test_a_connection_cut_in_the_middle_was_not_delivered(inbox: SftpInbox) -> None:
    inbox.cut_after = 100_000
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert isinstance(error, UpstreamUnavailable)
    assert (error.processed, call.effect_sent) == (False, False)
    assert not (inbox.folder / "a.zip").exists()


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_connection_cut_at_the_renaming_is_in_doubt(inbox: SftpInbox, moment: str) -> None:
    inbox.cut_at_rename = moment
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert isinstance(error, UpstreamUnavailable)
    assert (error.processed, call.effect_sent) == (None, True)
    assert (inbox.folder / "a.zip").exists() is (moment == "after")


async def test_a_renaming_refused_was_not_delivered(inbox: SftpInbox) -> None:
    (inbox.folder / "a.zip").mkdir()
    call = new_call(repeatable=False)
    error = await failing(folder(inbox.account()), call)
    assert (error.processed, call.effect_sent) == (False, False)
    assert names(inbox.folder) == ["a.zip"]


async def test_a_delivered_file_is_an_effect(inbox: SftpInbox) -> None:
    call = new_call(repeatable=False)
    with serving(call):
        await folder(inbox.account()).send("a.zip", b"x")
    assert call.effect_sent


async def test_a_server_that_says_nothing_is_left_at_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
        port = silent.getsockname()[1]
        account = {"host": "127.0.0.1", "port": port, "username": "u", "password": "p", "host_key": key}
        error = await failing(folder(account), new_call(0.2, repeatable=False))
    assert isinstance(error, UpstreamUnavailable)
    assert (error.timeout, error.processed) == (True, False)


async def test_a_source_that_never_ends_is_left_at_the_deadline(inbox: SftpInbox) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    with serving(new_call(0.3, repeatable=False)), pytest.raises(UpstreamUnavailable) as caught:
        await folder(inbox.account()).send("a.zip", stuck())
    assert (caught.value.timeout, caught.value.processed) == (True, False)
    assert not (inbox.folder / "a.zip").exists()


async def test_a_server_that_does_not_speak_ssh_broke_its_protocol() -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 2000)
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    account = {"host": "127.0.0.1", "port": port, "username": "u", "password": "p", "host_key": key}
    error = await failing(folder(account))
    server.close()
    assert isinstance(error, (UpstreamInvalid, UpstreamUnavailable))
    assert error.processed is False


async def test_check_opens_the_folder_and_sends_nothing(inbox: SftpInbox) -> None:
    await folder(inbox.account()).check()
    assert names(inbox.folder) == []


async def test_a_name_nobody_knows_was_surely_not_sent(inbox: SftpInbox) -> None:
    error = await failing(folder(inbox.account(host="nowhere.invalid")))
    assert isinstance(error, UpstreamUnavailable)
    assert error.processed is False
