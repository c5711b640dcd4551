"""Recording a case once, replaying it for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from sdk import Connector, HttpUrl, InvalidInput, Model, Rest, Row, Secret, get
from sdk.samples import Sample, record
from sdk.testing import connected
from tests.sdk import wire_kit


class Settings(Model):
    url: HttpUrl
    token: Secret


class Trees(Connector[Settings]):
    """Trees."""

    name, title = "trees", "Arbres"

    def __init__(self, settings: Settings, http: Any) -> None:
        super().__init__(settings, http)
        self.rest = Rest(http, settings.url)

    @get("trees/{number}")
    async def tree(self, number: str) -> Row:
        """A tree."""
        return Row(
            **await self.rest.get(
                "/trees/{number}", values={"number": number}, params={"k": self.settings.token.reveal()}
            )
        )

    @get
    async def nothing(self) -> Row:
        """Asks nobody."""
        raise InvalidInput("nothing")


REPLAYED = {"url": "https://trees.example.org", "token": "invented"}


async def recorded(
    folder: Path, path: str, answer: bytes = b'{"species": "oak"}', secret: str = "the-real-secret"
) -> Sample:
    async with wire_kit.upstream(wire_kit.answer(200, answer)) as publisher:
        settings = {"url": publisher.url, "token": secret}
        async with connected(Trees, settings, private=["127.0.0.0/8"], allow_http=True) as played:
            await record(played, folder / "tree" / "oak", "GET", path, settings=REPLAYED)
    return Sample(folder / "tree" / "oak")


async def test_a_recording_is_replayed_without_the_publisher(tmp_path: Path) -> None:
    sample = await recorded(tmp_path, "trees/7")
    assert sample.expected == {"err": 0, "data": {"species": "oak"}}
    await sample.replay(Trees)


async def test_a_recording_holds_neither_the_secret_nor_the_port(tmp_path: Path) -> None:
    sample = await recorded(tmp_path, "trees/7", b'{"echo": "the-real-secret"}')
    text = "".join(path.read_text() for path in sample.folder.iterdir())
    assert "the-real-secret" not in text
    assert "127.0.0.1" not in text
    assert "https://trees.example.org/trees/7?k=invented" in text


@pytest.mark.parametrize("secret", ['p&"é<x-long', "pässwörd-1", "with space/and+plus"])
async def test_a_secret_is_found_as_xml_json_and_addresses_write_it(tmp_path: Path, secret: str) -> None:
    echo = json.dumps({"json": secret, "xml": escape(secret), "url": quote(secret, safe="")}).encode()
    sample = await recorded(tmp_path, "trees/7", echo, secret=secret)
    text = "".join(path.read_text() for path in sample.folder.iterdir())
    for written in (secret, escape(secret), json.dumps(secret)[1:-1], quote(secret, safe="")):
        assert written not in text
    await sample.replay(Trees)


async def test_a_short_secret_leaves_the_answers_words_alone(tmp_path: Path) -> None:
    sample = await recorded(tmp_path, "trees/7", b'{"synopsis": "une ville"}', secret="ville")
    assert sample.expected["data"]["synopsis"] == "une ville"


async def test_a_recording_without_exchange_is_replayed_too(tmp_path: Path) -> None:
    sample = await recorded(tmp_path, "nothing")
    assert sample.expected["err_class"] == "InvalidInput"
    await sample.replay(Trees)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("upstream.http", "/trees/7?", "/trees/8?", "another request"),
        ("upstream.http", '"oak"', '"elm"', "another answer"),
        ("expected.json", "oak", "elm", "another answer"),
    ],
)
async def test_a_replay_fails_when_what_is_sent_or_answered_changes(
    tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    sample = await recorded(tmp_path, "trees/7")
    path = sample.folder / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(AssertionError, match=said):
        await sample.replay(Trees)


async def test_a_request_that_is_not_sent_any_more_fails_the_replay(tmp_path: Path) -> None:
    sample = await recorded(tmp_path, "trees/7")
    call = json.loads((sample.folder / "call.json").read_text())
    (sample.folder / "call.json").write_text(json.dumps({**call, "path": "nothing"}))
    with pytest.raises(AssertionError):
        await sample.replay(Trees)
