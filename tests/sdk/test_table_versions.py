"""Tables under several readers and processes, and searches held against the plain meaning of their words."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdk.matching import fold
from sdk.tabular import Table, index, ways
from sdk.tabular.index import words
from sdk.tabular.ways import Question

ROOT = Path(__file__).resolve().parents[2]


def streets(path: Path, count: int, name: str) -> Path:
    """A table of `count` rows that all hold `name`, put in place in one step."""
    written = path.with_suffix(".new")
    written.write_text("id;nom\n" + "".join(f"{n};{name} {n}\n" for n in range(count)), encoding="utf-8")
    os.replace(written, path)
    return path


def table_of(path: Path) -> Table:
    return Table(path, folder=path.parent / "index", id="id", text="nom")


async def test_readers_see_one_version_or_the_other_and_none_fails_while_it_is_replaced(tmp_path: Path) -> None:
    path = streets(tmp_path / "rues.csv", 3_000, "Rue")
    writer, reader = table_of(path), table_of(path)
    await writer.refresh()
    replaced = asyncio.Event()
    seen: set[tuple[int, str]] = set()

    async def read() -> None:
        while not replaced.is_set():
            # Unlimited: read in a thread, on a connection of its own, while the file is replaced.
            labels = [choice.text for choice in await reader.choices()]
            seen.add((len(labels), " ".join({label.split()[0] for label in labels})))

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for turn in range(4):
        streets(path, 2_000 + turn, f"Quai{turn}")
        await writer.refresh()
    replaced.set()
    await asyncio.gather(*readers)
    assert len(await reader.choices()) == 2_003
    assert seen <= {(3_000, "Rue"), *((2_000 + turn, f"Quai{turn}") for turn in range(4))}
    await asyncio.gather(writer.close(), reader.close())


async def test_a_reader_in_flight_finishes_on_the_version_it_began_with(tmp_path: Path) -> None:
    path = streets(tmp_path / "rues.csv", 2_000, "Rue")
    table = table_of(path)
    await table.refresh()
    held = await table._versions.current()
    with held.another() as twin:
        rows = iter(twin.select(["nom"], Question()))
        assert next(rows) == ("Rue 0",)
        streets(path, 2_000, "Quai")
        await table.refresh()
        assert (await table.rows(limit=1))[0]["nom"] == "Quai 0"
        assert {name.split()[0] for (name,) in rows} == {"Rue"}
    await table.close()


async def test_an_index_taken_away_answers_those_who_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(streets(tmp_path / "rues.csv", 2_000, "Rue"))
    await table.refresh()
    shutil.rmtree(tmp_path / "index")
    monkeypatch.setattr(ways, "_FEW", 0)
    monkeypatch.setattr(ways, "_BUDGET", 0.0)  # µs: in a thread
    assert len(await table.choices(q="rue")) == 2_000
    assert [choice.id for choice in await table.choices(q="rue 7", limit=2)] == ["7", "17"]
    await table.close()


async def test_several_processes_share_one_index_that_one_of_them_built(tmp_path: Path) -> None:
    path = streets(tmp_path / "rues.csv", 20_000, "Rue")
    assert path.stat().st_size > 256 * 1024  # large enough for a process apart
    program = """
import asyncio, json, sys
from pathlib import Path
from sdk.tabular import Table

async def main():
    table = Table(Path(sys.argv[1]), folder=Path(sys.argv[2]), id="id", text="nom")
    built = []
    build = table._versions._build
    async def counted(*asked):
        built.append(1)
        return await build(*asked)
    table._versions._build = counted
    sys.stdin.readline()
    found = await table.choices(q="rue 19999", limit=5)
    print(json.dumps([len(built), [choice.id for choice in found], (await table._versions.current()).inode]))
    await table.close()

asyncio.run(main())
"""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            str(path),
            str(tmp_path / "index"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        for _ in range(3)
    ]
    told = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    answers = [json.loads(out) for out, _ in told]
    assert sorted(built for built, _, _ in answers) == [0, 0, 1]
    assert {tuple(found) for _, found, _ in answers} == {("19999",)}
    assert len({tuple(inode) for _, _, inode in answers}) == 1


async def test_what_is_typed_finds_the_last_letters_of_a_text_and_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id;nom;lieu\n1;abc;xy\n2;zy;abz\n3;q;\n", encoding="utf-8")
    table = Table(path, folder=tmp_path / "index", id="id", search=("nom", "lieu"))
    for q, ids in (
        ("c", "1"),
        ("y", "12"),
        ("xy", "1"),
        ("bz", "2"),
        ("q", "3"),
        ("zz", ""),
        ("w", ""),
        ("ab y", "12"),
    ):
        assert "".join(choice.id for choice in await table.choices(q=q)) == ids, q
    await table.close()


TEXTS = st.text(alphabet="abcéÉœß'’- 1\N{GREEK SMALL LETTER ALPHA}\N{SNOWMAN}", max_size=9)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(TEXTS, st.sampled_from(["nord", "sud", "est"])), min_size=1, max_size=150),
    asked=st.lists(TEXTS, min_size=1, max_size=8),
    place=st.sampled_from(["", "nord", "sud"]),
)
async def test_every_search_finds_the_rows_that_hold_its_words_in_their_order(
    tmp_path: Path, rows: list[tuple[str, str]], asked: list[str], place: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id;nom;lieu\n" + "".join(f"{n};{nom};{lieu}\n" for n, (nom, lieu) in enumerate(rows)), "utf-8")
    table = Table(path, folder=tmp_path / "index", id="id", search=("nom",), index=("lieu",))
    await table.refresh()
    for q in asked:
        expected = [
            str(n)
            for n, (nom, lieu) in enumerate(rows)
            if all(word in fold(nom) for word in words(q)) and place in ("", lieu)
        ]
        where = {"lieu": place} if place else None
        assert [row["id"] for row in await table.rows(q, where)] == expected
        contains = [str(n) for n, (nom, _) in enumerate(rows) if fold(q.strip()) in fold(nom)]
        assert [row["id"] for row in await table.rows(where={"nom__contains": q.strip()})] == contains
    await table.close()


KINDS = ("rue", "avenue", "chemin", "quai")
LABELS = [  # each kind after the other: the first rows hold nothing of what is common further on
    f"{n} {KINDS[n // 750]} {('de la', 'des', 'de l’')[n % 3]} {('lac', 'étang', 'Étang noir')[n % 5 % 3]}"
    for n in range(3_000)
]
TYPED = (
    *("avenue", "rue", "u", "ru", "qu", "e", "zq", "de", "chemin avenue", "rue de la", "quai des 29", "lac rue", "12"),
    *("999", "aven nue", "impasse", "75 rue de l’ lac", "la rue rue", "’", "tang étang", "noir quai"),
)
NARROWED: dict[str, tuple[dict[str, object], Callable[[int], bool]]] = {
    "by nothing": ({}, lambda n: True),
    "by an indexed column": ({"lieu": "3"}, lambda n: n % 7 == 3),
    "by a text within": ({"nom__contains": "ÉTANG n"}, lambda n: "Étang n" in LABELS[n]),
    "by a beginning": ({"nom__startswith": "1"}, lambda n: str(n)[0] == "1"),
    "by several": (
        {"nom__contains": "ac", "lieu__in": "1,3,5,6"},
        lambda n: "ac" in LABELS[n] and n % 7 in (1, 3, 5, 6),
    ),
}


@pytest.mark.parametrize("narrowed", NARROWED)
@pytest.mark.parametrize("budget", [20, 100, 500])  # µs: what the loop gives a question
async def test_what_would_hold_the_loop_is_found_the_same_in_a_thread(
    budget: int, narrowed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rues.csv"
    path.write_text("id;nom;lieu\n" + "".join(f"{n};{nom};{n % 7}\n" for n, nom in enumerate(LABELS)), "utf-8")
    orders = (["-id"], ["lieu", "-nom"])
    table = Table(path, folder=tmp_path / "index", id="id", text="nom", index=("lieu",), orders=orders)
    plain = Table(path, folder=tmp_path / "plain", id="id", text="nom")
    await table.refresh()
    await plain.refresh()
    to_thread, apart = asyncio.to_thread, 0

    async def counted(*asked: Any) -> object:
        nonlocal apart
        apart += 1
        return await to_thread(*asked)

    monkeypatch.setattr(asyncio, "to_thread", counted)
    monkeypatch.setattr(ways, "_FEW", 0)  # as if the table were large
    monkeypatch.setattr(ways, "_BUDGET", float(budget))
    monkeypatch.setattr(index, "STEPS", budget)
    where, holds = NARROWED[narrowed]
    for q in TYPED:
        found = [n for n in range(3_000) if holds(n) and all(word in fold(LABELS[n]) for word in words(q))]
        exact = [n for n in found if LABELS[n] == q]
        suggested = [*exact, *(n for n in found if n not in exact)][:10]
        assert [int(choice.id) for choice in await table.choices(q=q, where=where, limit=10)] == suggested, q
        assert [int(choice.id) for choice in await table.choices(q=q, where=where)] == found, q
        assert [int(row["id"]) for row in await table.rows(q, where, limit=5, offset=3)] == found[3:8], q
        descending = sorted(found, key=str, reverse=True)
        assert [int(choice.id) for choice in await table.choices(q=q, where=where, order=["-id"])] == descending, q
        sorted_rows = await plain.rows(q, where, order=orders[1])
        assert await table.rows(q, where, order=orders[1], limit=4, offset=1) == sorted_rows[1:5], q
    assert apart > 0
    await asyncio.gather(table.close(), plain.close())


async def test_the_first_rows_of_a_declared_order_are_read_without_sorting_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rues.csv"
    path.write_text("id;nom\n" + "".join(f"{n};{nom}\n" for n, nom in enumerate(LABELS)), "utf-8")
    orders = [("-nom",), ("nulle part",)]  # a column that is not there is passed over
    table = Table(path, folder=tmp_path / "index", id="id", text="nom", orders=orders)
    plain = Table(path, folder=tmp_path / "plain", id="id", text="nom")
    await asyncio.gather(table.refresh(), plain.refresh())
    monkeypatch.setattr(ways, "_FEW", 0)
    monkeypatch.setattr(asyncio, "to_thread", None)  # on the loop, or not at all
    expected = [
        n for n in sorted(range(3_000), key=lambda n: (fold(LABELS[n]), -n), reverse=True) if "rue" in LABELS[n]
    ]
    found = await table.choices(q="rue", order=["-nom"], limit=10)
    assert [int(choice.id) for choice in found] == expected[:10]
    with pytest.raises(TypeError):
        await plain.choices(q="rue", order=["-nom"], limit=10)
    await asyncio.gather(table.close(), plain.close())


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
async def test_a_file_larger_than_the_pieces_it_is_read_in_is_read_the_same(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    lines = ["id;nom", *(f"{n};{'é' * (n % 7)}àœ{n}" for n in range(90_000))]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    assert path.stat().st_size > 1024 * 1024
    table = table_of(path)
    assert (await table.refresh()).rows == 90_000
    assert [choice.id for choice in await table.choices(q="aoe89999", limit=2)] == ["89999"]
    await table.close()


async def test_a_wrong_byte_far_into_a_file_is_told_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [b"id;nom", *(f"{n};été {n}".encode() for n in range(200_000))]
    lines[150_000] = b"x;\xe9t\xe9"
    path.write_bytes(b"\r\n".join(lines))
    with pytest.raises(Exception, match="ligne 150001 : octet 0xE9"):
        await table_of(path).refresh()
