from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from pydantic import TypeAdapter

from sdk.call import new_call, serving
from sdk.errors import InvalidInput, Misconfigured, UpstreamInvalid, UpstreamUnavailable
from sdk.model import Choice, Choices, Model
from sdk.spec import Connector, get
from sdk.tabular import Table, TableOptions, UrlSource
from sdk.testing import instance
from tests.sdk.table_kit import SHARED, sheet

LA_POSTE = SHARED / "laposte_hexasmal_2020_coordonnees_gps.csv"
TREES = "code;Nom commun;quartier;hauteur;planté le\n" + "\n".join(
    (
        "001;Chêne pédonculé;Nord;12,5;01/03/1998",
        "002;Érable sycomore;Sud;9;15/11/2004",
        "010;Hêtre;Nord;20;02/02/1950",
        "011;Cœur d'or;;;",
    )
)
TYPES = {"hauteur": "decimal", "planté le": "date"}


class Answer:
    def __init__(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, dict(headers or {})


class Site:
    """What a connector's `http` looks like to a table: gives the answers in turn, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Mapping[str, str]] = []

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None, **_: object) -> Answer:
        self.asked.append(dict(headers or {}))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    path = tmp_path / "arbres.csv"
    write(path, TREES)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def table_of(path: Path, **more: object) -> Table:
    defaults: dict[str, object] = {
        "folder": path.parent / "index",
        "options": TableOptions.model_validate({"types": TYPES}),
        "id": "code",
        "text": "{Nom commun} ({quartier})",
    }
    return Table(path, **{**defaults, **more})  # type: ignore[arg-type]


async def test_a_sheet_that_asks_for_more_memory_than_there_is_dies_alone(tmp_path: Path) -> None:
    path = tmp_path / "bombe.xlsx"
    path.write_bytes(
        sheet('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')
    )
    with pytest.raises(Misconfigured, match="trop de mémoire"):
        await table_of(path, options=None).refresh()


# --- asking a table ---------------------------------------------------------------------------------------------------


async def test_choices_have_id_text_and_every_column(trees: Path) -> None:
    [first, *_] = await table_of(trees).choices()
    assert first.model_dump() == {
        "id": "001",
        "text": "Chêne pédonculé (Nord)",
        "code": "001",
        "Nom commun": "Chêne pédonculé",
        "quartier": "Nord",
        "hauteur": "12.5",
        "planté le": "1998-03-01",
    }


@pytest.mark.parametrize(
    ("q", "ids"),
    [
        ("CHENE", ["001"]),
        ("erable sud", ["002"]),
        ("nord", ["001", "010"]),
        ("chene sud", []),
        ("coeur", ["011"]),
        ("cœur d'or", ["011"]),
        ("d", ["001", "002", "010", "011"]),
        ("é", ["001", "002", "010", "011"]),
        ("", ["001", "002", "010", "011"]),
        ("  ", ["001", "002", "010", "011"]),
        ("Chêne pédonculé (Nord)", ["001"]),
        ('"nord" OR quartier:*', []),
        ("NEAR(nord)", []),
        ("nord*", ["001", "010"]),
        ("-nord", ["001", "010"]),
        ("e\u0301rable", ["002"]),
        ("%", []),
        ("12.5", []),
    ],
)
async def test_every_typed_word_must_be_in_the_label(trees: Path, q: str, ids: list[str]) -> None:
    assert [choice.id for choice in await table_of(trees).choices(q=q)] == ids


async def test_words_of_the_template_itself_are_in_every_label(trees: Path) -> None:
    table = table_of(trees, text="Arbre {Nom commun} de la Ville")
    assert [choice.id for choice in await table.choices(q="Arbre Hêtre de la Ville")] == ["010"]


async def test_search_may_look_at_other_columns_than_the_label(trees: Path) -> None:
    table = table_of(trees, text="Nom commun", search=("Nom commun", "code"))
    assert [choice.text for choice in await table.choices(q="010")] == ["Hêtre"]


async def test_the_choice_whose_label_was_typed_in_full_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id;nom\n" + "".join(f"{n};Rue Pasteur {n}\n" for n in range(50)) + "x;Rue Pasteur\n")
    found = await table_of(path, text="nom", id="id", options=None).choices(q="Rue Pasteur", limit=5)
    assert [choice.id for choice in found] == ["x", "0", "1", "2", "3"]


async def test_one_choice_is_found_by_its_id_as_text(trees: Path) -> None:
    table = table_of(trees)
    assert [choice.text for choice in await table.choices(only="010")] == ["Hêtre (Nord)"]
    assert not await table.choices(only="10")


async def test_choices_are_written_as_the_models_they_are_read_as(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    odd = ['dit ""ici""', "barre \\ et / <b>", "\x01\x1f\x7f\t", "œuvre \N{SNOWMAN} \N{PARTY POPPER}", "l'été", ""]
    lines = [f'{n};"{text}";"{text}";oui' for n, text in enumerate(odd)]
    path.write_text("\n".join(["id;text;d'un « nom » \\;disabled", *lines, ""]), encoding="utf-8")
    found = await table_of(path, id="id", text="text", options=None).choices()
    assert found.json == TypeAdapter(list[Choice]).dump_json(list(found))
    assert [choice.text for choice in found] == [text.replace('""', '"') for text in odd]
    assert {choice.disabled for choice in found} == {False}  # a column cannot say what only the contract means


async def test_a_choice_of_a_wide_table_carries_every_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    names = ["id", "nom", *(f"c{n}" for n in range(998))]
    path.write_text(";".join(names) + "\n" + ";".join(f"v{n}" for n in range(1_000)) + "\n", encoding="utf-8")
    [choice] = await table_of(path, id="id", text="nom", options=None).choices()
    assert choice.model_dump() == {
        "id": "v0", "text": "v1", "nom": "v1", **{f"c{n}": f"v{n + 2}" for n in range(998)},
    }  # fmt: skip


async def test_an_endpoint_answers_written_choices_and_what_it_does_not_take_is_applied_to_them(trees: Path) -> None:
    class Trees(Connector[Model]):
        """Les arbres."""

        name, title = "trees", "Arbres"

        @get
        async def species(self) -> Choices:
            """Les essences."""
            return await table.choices(text="{nom_commun}", extra=False)

    table = table_of(trees)
    connector = instance(Trees, {})
    assert (await connector.get("species", id="010")).data == [{"id": "010", "text": "Hêtre"}]
    assert [choice["id"] for choice in (await connector.get("species", q="CŒUR or")).data] == ["011"]
    assert len((await connector.get("species")).data) == 4
    assert Trees.endpoints[0].result.annotation == list[Choice]  # what is published


async def test_an_id_may_be_composed_and_looked_up(trees: Path) -> None:
    table = table_of(trees, id="{quartier|upper|first:1}-{code|zeros:5}")
    assert [choice.id for choice in await table.choices(q="erable")] == ["S-00002"]
    assert [choice.text for choice in await table.choices(only="S-00002")] == ["Érable sycomore (Sud)"]


async def test_of_rows_with_the_same_id_the_first_is_the_choice_and_the_reading_says_so(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id;nom\n1;a\n1;b\n;c\n2;d\n")
    table = table_of(path, id="id", text="nom", options=None)
    assert [(choice.id, choice.text) for choice in await table.choices()] == [("1", "a"), ("2", "d")]
    assert table.reading is not None
    assert [warning.partition(" :")[0] for warning in table.reading.warnings] == [
        "Identifiant « id » répété",
        "Identifiant « id » vide",
    ]


@pytest.mark.parametrize(
    ("where", "codes"),
    [
        ({"quartier": "Nord"}, ["001", "010"]),
        ({"quartier": ""}, ["011"]),
        ({"quartier__ne": "Nord"}, ["002", "011"]),
        ({"quartier__in": "Sud, Est"}, ["002"]),
        ({"code": ["001", "011"]}, ["001", "011"]),
        ({"quartier__empty": "true"}, ["011"]),
        ({"quartier__empty": False}, ["001", "002", "010"]),
        ({"NOM_COMMUN__contains": "ERABLE"}, ["002"]),
        ({"nom commun__startswith": "coeur"}, ["011"]),
        ({"hauteur__gte": "12,5"}, ["001", "010"]),
        ({"hauteur__lt": 12.5}, ["002"]),
        ({"hauteur": "9,0"}, ["002"]),
        ({"hauteur__ne": 9}, ["001", "010", "011"]),
        ({"planté le__lte": "01/03/1998"}, ["001", "010"]),
        ({"plante_le__gt": "1998-03-01", "quartier": "Sud"}, ["002"]),
        ({"code": "1"}, []),
    ],
)
async def test_rows_are_filtered_by_column(trees: Path, where: dict[str, object], codes: list[str]) -> None:
    assert [row["code"] for row in await table_of(trees).rows(where=where)] == codes


@pytest.mark.parametrize(
    ("order", "codes"),
    [
        (["-hauteur"], ["010", "001", "002", "011"]),
        (["hauteur"], ["002", "001", "010", "011"]),
        (["Nom commun"], ["001", "011", "002", "010"]),
        (["quartier", "-code"], ["010", "001", "002", "011"]),
        (["planté le"], ["010", "001", "002", "011"]),
    ],
)
async def test_rows_are_sorted_with_empty_cells_last(trees: Path, order: list[str], codes: list[str]) -> None:
    assert [row["code"] for row in await table_of(trees).rows(order=order)] == codes


async def test_rows_are_made_distinct_projected_and_paged(trees: Path) -> None:
    table = table_of(trees)
    rows = await table.rows(
        where={"quartier__ne": ""}, distinct=["quartier"], columns={"q": "quartier", "n": "{code}!"}
    )
    assert rows == [{"q": "Nord", "n": "001!"}, {"q": "Sud", "n": "002!"}]
    assert await table.rows(columns=["CODE"], limit=1, offset=2) == [{"code": "010"}]


@pytest.mark.parametrize(
    "asked",
    [
        {"where": {"couleur": "vert"}},
        {"where": {"code__like": "0"}},
        {"where": {"hauteur": "haut"}},
        {"where": {"planté le__gt": "demain"}},
        {"columns": ["couleur"]},
        {"order": ["-couleur"]},
        {"distinct": ["couleur"]},
        {"columns": {"x": "{code"}},
        {"columns": {"x": "{code|reverse}"}},
        {"columns": {"x": "{code|first:x}"}},
        {"q": " ".join(f"mot{n}" for n in range(40))},
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(trees: Path, asked: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        await table_of(trees).rows(**asked)  # type: ignore[arg-type]
    assert caught.value.fields


async def test_an_unknown_column_is_refused_with_the_known_ones(trees: Path) -> None:
    with pytest.raises(InvalidInput, match="« couleur » ; colonnes : code, Nom commun, quartier"):
        await table_of(trees).rows(columns=["couleur"])


@pytest.mark.parametrize("made", [{"id": "numero"}, {"text": "{numero}"}, {"index": ("numero",)}, {"text": "{code"}])
async def test_a_wrong_column_in_the_settings_is_the_operators_to_mend(trees: Path, made: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=r"numero|mal formé"):
        await table_of(trees, **made).refresh()


async def test_a_quote_in_a_column_name_or_a_template_is_only_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id;a'b\"c\n1;x\n", encoding="utf-8")
    table = table_of(path, id="id", text="l'{a'b\"c}; --", options=None)
    assert [choice.text for choice in await table.choices(q="x")] == ["l'x; --"]


async def test_the_columns_of_declared_filters_are_indexed_and_an_unknown_one_is_passed_over(trees: Path) -> None:
    table = table_of(trees, filters=("quartier", "hauteur__gte", "couleur__in"))
    await table.refresh()
    [built] = (trees.parent / "index").glob("*.sqlite")
    with closing(sqlite3.connect(built)) as database:
        indexed = [sql.partition(" ON ")[2] for (sql,) in database.execute("SELECT sql FROM sqlite_master") if sql]
    assert {"r(c0)", "r(c2)", "r(n3)"} <= set(indexed)
    assert [row["code"] for row in await table.rows(where={"hauteur__gte": 12})] == ["001", "010"]
    await table.close()


# --- following the source ---------------------------------------------------------------------------------------------


async def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="« fichier » : fichier introuvable"):
        await table_of(tmp_path / "absent.csv", setting="fichier").rows()


async def test_a_changed_file_is_taken_up(trees: Path) -> None:
    table = table_of(trees)
    assert len(await table.rows()) == 4
    write(trees, TREES + "\n012;Tilleul;Sud;8;\n")
    assert (await table.refresh()).rows == 5
    assert len(await table.rows()) == 5


class Looks:
    """The pauses of a table that follows its file: each `look()` lets it look once more and do what it finds to do."""

    def __init__(self) -> None:
        self._turn = asyncio.Event()
        self._waiting = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self._waiting.set()
        await self._turn.wait()
        self._turn.clear()

    async def look(self) -> None:
        await self._waiting.wait()
        self._waiting.clear()
        self._turn.set()
        await self._waiting.wait()


async def test_a_replaced_file_is_followed_without_being_asked_for(trees: Path) -> None:
    looks = Looks()
    table = table_of(trees, sleep=looks.sleep)
    assert len(await table.rows()) == 4
    await looks.look()
    replacement = trees.with_name("nouveau.csv")
    write(replacement, TREES + "\n012;Tilleul;Sud;8;\n")
    os.replace(replacement, trees)
    await looks.look()
    assert len(await table.rows()) == 4  # it may still be changing: the old version answers
    await looks.look()
    assert table.reading is not None
    assert len(await table.rows()) == table.reading.rows == 5
    await table.close()


async def test_a_file_that_is_still_being_written_is_left_alone(trees: Path) -> None:
    looks = Looks()
    table = table_of(trees, sleep=looks.sleep)
    await table.rows()
    for count in range(3):
        with trees.open("a", encoding="utf-8") as file:
            file.write(f"\n02{count};Tilleul;Sud;8;")
        await looks.look()
        assert len(await table.rows()) == 4
    await looks.look()
    assert len(await table.rows()) == 7
    await table.close()


async def test_an_unreadable_replacement_keeps_the_old_version_and_is_said_once(trees: Path) -> None:
    looks = Looks()
    table = table_of(trees, sleep=looks.sleep)
    await table.rows()
    write(trees, TREES + '\n012;"Tilleul;Sud;8;\n')
    with structlog.testing.capture_logs() as said:
        for _ in range(4):
            await looks.look()
    assert [(line["log_level"], line["event"]) for line in said] == [("warning", "table_not_replaced")]
    assert "ligne 6" in said[0]["reason"]
    assert len(await table.rows()) == 4
    assert table.refused is not None
    await table.close()


async def test_a_refusal_is_known_to_the_other_processes(trees: Path) -> None:
    write(trees, TREES + '\n012;"Tilleul;Sud;8;\n')
    with pytest.raises(Misconfigured):
        await table_of(trees).refresh()
    other = table_of(trees)
    before = os.stat(trees)
    write(trees, "x" * before.st_size)  # bytes nobody may notice: same size, same inode, same instant
    os.utime(trees, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Misconfigured, match="ligne 6"):
        await other.refresh()
    assert other.refused is not None


async def test_a_file_changed_while_it_is_read_is_read_again(trees: Path) -> None:
    table = table_of(trees)
    build = table._versions._build

    async def build_slowly(*asked: object) -> object:
        reading = await build(*asked)  # type: ignore[arg-type]
        if reading.rows == 4:
            write(trees, TREES + "\n012;Tilleul;Sud;8;\n")
        return reading

    table._versions._build = build_slowly  # type: ignore[method-assign, assignment]
    assert (await table.refresh()).rows == 5
    assert len(await table.rows()) == 5
    await table.close()


async def test_a_broken_new_version_leaves_the_old_one_answering_and_is_named_by_its_line(trees: Path) -> None:
    table = table_of(trees)
    await table.refresh()
    write(trees, TREES + '\n012;"Tilleul;Sud;8;\n')
    with pytest.raises(Misconfigured, match="ligne 6 : un guillemet") as caught:
        await table.refresh()
    assert "line 6" in caught.value.message.en  # type: ignore[attr-defined]
    assert len(await table.rows()) == 4
    assert table.refused is not None
    write(trees, TREES)
    await table.refresh()
    assert table.refused is None


async def test_a_refused_version_is_named_again_without_being_read_again(trees: Path) -> None:
    write(trees, TREES + '\n012;"Tilleul;Sud;8;\n')
    table = table_of(trees)
    said = []
    for _ in range(2):
        with pytest.raises(Misconfigured) as caught:
            await table.refresh()
        said.append((caught.value.message, table.refused))
    assert said[0][0] == said[1][0]
    assert said[0][1] is said[1][1]


async def test_an_index_that_cannot_be_written_is_the_operators_to_mend(trees: Path) -> None:
    (trees.parent / "index").write_text("")
    with pytest.raises(Misconfigured, match="« folder »"):
        await table_of(trees).rows()


async def test_a_file_taken_away_leaves_the_old_version_answering(trees: Path) -> None:
    table = table_of(trees)
    await table.refresh()
    os.unlink(trees)
    assert len(await table.rows()) == 4
    with pytest.raises(Misconfigured, match="introuvable"):
        await table.refresh()


async def test_an_index_is_shared_and_another_process_sees_it_replaced(trees: Path) -> None:
    first, second = table_of(trees), table_of(trees)
    assert len(await first.rows()) == len(await second.rows()) == 4
    [index] = (trees.parent / "index").glob("*.sqlite")
    built = index.stat().st_ino
    write(trees, TREES + "\n012;Tilleul;Sud;8;\n")
    await first.refresh()
    assert index.stat().st_ino != built
    assert len(await second.rows()) == 5


async def test_two_processes_do_not_build_the_same_index_twice(trees: Path) -> None:
    first = table_of(trees)
    await first.refresh()
    [index] = (trees.parent / "index").glob("*.sqlite")
    [lock] = (trees.parent / "index").glob("*.lock")
    built = index.stat().st_ino
    write(trees, TREES + "\n012;Tilleul;Sud;8;\n")
    await first.refresh()
    renewed = index.stat().st_ino
    held = os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    waits = []

    async def wait(seconds: float) -> None:
        if seconds >= 1:
            await asyncio.Event().wait()  # following the file is not what is looked at here
        waits.append(seconds)
        os.close(held)  # the other process has finished

    second = table_of(trees, sleep=wait)
    assert (await second.refresh()).rows == 5
    assert len(waits) == 1
    assert built != renewed == index.stat().st_ino


async def test_former_settings_leave_no_index_behind(trees: Path) -> None:
    await table_of(trees).refresh()
    await table_of(trees, index=("quartier",)).refresh()
    assert len(list((trees.parent / "index").glob("*.sqlite"))) == 1


async def test_a_torn_index_is_built_again(trees: Path) -> None:
    await table_of(trees).refresh()
    [index] = (trees.parent / "index").glob("*.sqlite")
    index.write_bytes(index.read_bytes()[:5_000])
    assert len(await table_of(trees).rows()) == 4


async def test_a_call_does_not_wait_for_the_first_index_beyond_its_deadline(trees: Path) -> None:
    table = table_of(trees)
    with serving(new_call(0.0)), pytest.raises(UpstreamUnavailable, match="préparation") as caught:
        await table.rows()
    assert caught.value.retry_after == 5
    await table.close()


async def test_a_large_file_is_indexed_in_a_process_apart(tmp_path: Path) -> None:
    path = tmp_path / "grand.csv"
    path.write_text("id;nom\n" + "".join(f"{n:06};Rue numéro {n}\n" for n in range(20_000)), encoding="utf-8")
    assert path.stat().st_size > 256 * 1024
    table = table_of(path, id="id", text="nom", options=None)
    assert [choice.id for choice in await table.choices(q="numero 19999", limit=10)] == ["019999"]
    assert len(await table.rows(order=["-id"], limit=None)) == 20_000


# --- a table at an address --------------------------------------------------------------------------------------------


def address(tmp_path: Path, site: Site) -> Table:
    source = UrlSource(site, "https://data.example.org/t.csv")  # type: ignore[arg-type]
    return Table(source, folder=tmp_path / "index", id="code", text="Nom commun", setting="url")


async def test_an_address_is_asked_once_for_many_questions(tmp_path: Path) -> None:
    site = Site(Answer(200, TREES.encode()))
    table = address(tmp_path, site)
    answers = await asyncio.gather(*(table.choices(q="chene") for _ in range(10)))
    assert {choices[0].id for choices in answers} == {"001"}
    assert len(site.asked) == 1


async def test_an_address_is_asked_again_conditionally(tmp_path: Path) -> None:
    site = Site(
        Answer(200, TREES.encode(), {"ETag": '"v1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}), Answer(304)
    )
    table = address(tmp_path, site)
    await table.refresh()
    assert (await table.refresh()).rows == 4
    assert site.asked == [{}, {"If-None-Match": '"v1"', "If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}]


async def test_the_same_bytes_are_not_indexed_again(tmp_path: Path) -> None:
    table = address(tmp_path, Site(Answer(200, TREES.encode())))
    await table.refresh()
    [index] = (tmp_path / "index").glob("*.sqlite")
    built = index.stat().st_ino
    await table.refresh()
    assert index.stat().st_ino == built
    assert sorted(path.suffix for path in (tmp_path / "index").iterdir()) == [".lock", ".sqlite"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(404), Misconfigured),
        (Answer(302), Misconfigured),
        (Answer(503), UpstreamUnavailable),
        (Answer(204), UpstreamInvalid),
        (Answer(200, b"<html>Connexion</html>"), Misconfigured),
    ],
)
async def test_what_an_address_may_answer_instead(tmp_path: Path, answer: Answer, error: type[Exception]) -> None:
    with pytest.raises(error):
        await address(tmp_path, Site(answer)).rows()


async def test_an_address_that_fails_later_leaves_the_old_version_answering(tmp_path: Path) -> None:
    table = address(tmp_path, Site(Answer(200, TREES.encode()), Answer(503)))
    await table.refresh()
    with pytest.raises(UpstreamUnavailable):
        await table.refresh()
    assert len(await table.rows()) == 4


# --- real files -------------------------------------------------------------------------------------------------------


async def test_the_post_codes_of_france_are_searched_with_their_zeros_letters_and_repeats(tmp_path: Path) -> None:
    if not LA_POSTE.exists():
        pytest.skip("La Poste's file is not beside the checkout (../shared/interfaces/csv)")
    table = Table(
        LA_POSTE,
        folder=tmp_path,
        id="{Code_commune_INSEE}-{Code_postal}-{Ligne_5}",
        text="{Code_postal} {Nom_commune}",
        index=("Code_commune_INSEE", "Code_postal"),
    )
    assert [choice.id for choice in await table.choices(q="hauteville 50590", limit=10)] == ["50231-50590-"]
    assert len(await table.rows(where={"Code_postal__startswith": "0"})) == 3_432
    assert len(await table.rows(where={"code_commune_insee__startswith": "2A"})) > 100
    repeated = await table.rows(where={"Code_postal": "51300"})
    assert len(repeated) == 46
    assert not await table.choices(q="xqzw")
