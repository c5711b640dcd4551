"""What the gateway writes of its calls: the documented members, once, whole lines, and nobody waits for the disk."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway import journal
from gateway.journal import Lines

from .conftest import Start
from .garden import Garden

ALWAYS = {"event", "level", "at", "request_id", "client", "method", "instance", "endpoint", "status", "ms"} | {
    "upstream_ms",
    "exchanges",
    "received",
}
SOMETIMES = {"err_class", "detail", "cache", "caller_url", "duplicate_ids"}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def read(file: int, patience: float = 5.0) -> str:
    """What is in the pipe, once something is."""
    found = b""
    while select.select([file], [], [], 0.0 if found else patience)[0]:
        found += os.read(file, 1 << 20)
    return found.decode()


def told(event: str) -> dict[str, Any]:
    return {"event": event, "level": "info", "at": 0.0}


def events(written: str) -> list[str]:
    return [json.loads(line)["event"] for line in written.splitlines()]


# --- one line per call ------------------------------------------------------------------------------------------------


async def test_a_call_is_told_once_with_exactly_the_documented_members(
    lines: Callable[[], list[dict[str, Any]]], start: Start
) -> None:
    documented = set(re.findall(r"`(\w+)`", _table("docs/operator.md"))) | {"event"}
    assert documented >= ALWAYS | SOMETIMES
    async with start(Garden, settings={"password": "x"}) as gateway:
        await gateway.get(
            "/garden/test/flowers", headers={"Publik-Caller-URL": "https://forms.example.org/demande/7/?q=1"}
        )
        await gateway.get("/garden/test/nowhere")
    answered, refused = [line for line in lines() if line["event"] == "call"]
    assert set(answered) == ALWAYS | {"caller_url"}
    assert answered["caller_url"] == "https://forms.example.org/demande/7/"
    assert set(refused) - {"detail"} == ALWAYS | {"err_class"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", line["at"]) for line in (answered, refused))


def _table(path: str) -> str:
    text = (Path(__file__).parents[2] / path).read_text()
    start = text.index('`"event": "call"`')
    return text[start : text.index("Other events:", start)]


# --- lines and their thread -------------------------------------------------------------------------------------------


def test_lines_come_whole_and_in_order(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1], pause=0.0)
    said = [f"{number} {'x' * (number % 700)}" for number in range(100)]
    for event in said:
        lines.msg(told(event))
    lines.flush()
    assert events(read(pipe[0])) == said


def test_what_is_written_together_is_what_a_pipe_takes_in_one_piece() -> None:
    pieces: list[bytes] = []

    class Seen(Lines):
        def _write(self, piece: bytes) -> None:
            pieces.append(piece)

    lines = Seen(-1, pause=0.0)
    lines._put([b"a" * 2000 + b"\n", b"b" * 2000 + b"\n", b"c" * 2000 + b"\n", b"d" * 9000 + b"\n"])
    assert [len(piece) for piece in pieces] == [4002, 2001, 9001]


async def test_a_reader_that_stopped_does_not_hold_a_call_back(
    pipe: tuple[int, int], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_lines", None)  # put back as it was
    os.set_blocking(pipe[1], False)
    while True:
        try:
            os.write(pipe[1], b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(pipe[1], True)  # full: the next write would wait for a reader for ever
    journal.configure("info", stream=Lines(pipe[1], pause=0.0))
    try:
        async with start(Garden, settings={"password": "x"}) as gateway:
            for _ in range(20):
                assert (await gateway.get("/garden/test/flowers"))["err"] == 0
        seen = read(pipe[0])
        journal.flush()
        seen += read(pipe[0])
    finally:
        structlog.reset_defaults()
    assert sum(json.loads(line)["event"] == "call" for line in seen.replace("x" * 4096, "").splitlines()) == 20


def test_what_waits_is_bounded_and_what_is_dropped_is_counted(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1], pause=0.05, most=2)
    for number in range(5):
        lines.msg(told(f"{number}"))
    lines.flush()
    kept = read(pipe[0]).splitlines()
    assert events("\n".join(kept)) == ["0", "1", "lines_dropped"]
    assert {name: json.loads(kept[2])[name] for name in ("level", "lines")} == {"level": "warning", "lines": 3}
    lines.msg(told("again"))
    lines.flush()
    assert events(read(pipe[0])) == ["again"]


def test_what_cannot_be_written_costs_its_own_line_and_is_counted(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1], pause=0.0)
    endless: dict[str, object] = {}
    endless["itself"] = endless
    lines.msg({**told("before"), "value": endless})
    lines.flush()
    lines.msg(told("after"))
    lines.flush()
    assert sorted(events(read(pipe[0]))) == ["after", "lines_dropped"]


def test_a_line_tells_the_instant_it_was_said_not_the_one_it_was_written(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1], pause=0.0)
    lines.msg(told("then"))
    lines.flush()
    assert json.loads(read(pipe[0]))["at"] == "1970-01-01T00:00:00Z"


def test_a_disk_that_refuses_stops_nobody(tmp_path: Path) -> None:
    read_only = os.open(tmp_path / "log", os.O_CREAT | os.O_RDONLY)
    lines = Lines(read_only, pause=0.0)
    lines.msg(told("lost"))
    lines.flush()
    os.close(read_only)


def test_a_forked_process_leaves_its_parent_s_lines_to_it(pipe: tuple[int, int]) -> None:
    lines = Lines(pipe[1], pause=0.05)
    lines.msg(told("parent"))
    child = os.fork()
    if child == 0:
        lines.msg(told("child"))
        lines.flush()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    lines.flush()
    assert sorted(events(read(pipe[0]))) == ["child", "parent"]


def test_what_a_library_says_is_a_line_that_tells_where_and_never_what() -> None:
    stream = io.StringIO()
    journal.configure("info", stream=stream)
    try:
        raise ValueError("185127512345612")
    except ValueError:
        record = logging.getLogger("a.library").makeRecord(
            "a.library", logging.ERROR, "/lib/reader.py", 12, "got %s", ("185127512345612",), sys.exc_info()
        )
    journal._Library().emit(record)
    structlog.reset_defaults()
    line = json.loads(stream.getvalue())
    assert (line["event"], line["library"], line["where"]) == ("library", "a.library", "reader.py:12")
    assert line["exception"][0]["exc_type"] == "ValueError"
    assert line["exception"][0]["frames"][0]["lineno"]
    assert "185127512345612" not in stream.getvalue()
