from __future__ import annotations

import asyncio
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from connectors.tabular import Tabular
from connectors.tabular.simulator import FILE, TabularSimulator
from sdk import Misconfigured
from sdk.samples import Sample, samples
from sdk.testing import Instance, instance, simulated

LA_POSTE = (
    Path(__file__).resolve().parents[2].parent
    / "shared"
    / "interfaces"
    / "csv"
    / "laposte_hexasmal_2020_coordonnees_gps.csv"
)
HAS_LA_POSTE = LA_POSTE.exists()
STREETS = "id;text;ville;habitants\n1;Rue de l'Île;Brest;12\n2;Place Saint-Yves;Rennes;\n3;Rue Œuvre;Brest;9\n"


def of(tmp_path: Path, content: str = STREETS, **settings: Any) -> Instance[Tabular]:
    path = tmp_path / "rues.csv"
    path.write_text(content, encoding="utf-8")
    return instance(Tabular, {"file": str(path), **settings}, folder=tmp_path / "scratch")


def ids(found: Any) -> list[str]:
    return [row["id"] for row in found.data]


# --- data: the contract of a form's list ------------------------------------------------------------------------------


async def test_a_file_with_id_and_text_needs_no_other_setting(tmp_path: Path) -> None:
    found = await of(tmp_path).get("data")
    assert found.data[0] == {"id": "1", "text": "Rue de l'Île", "ville": "Brest", "habitants": "12"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"q": "ILE"}, ["1"]),
        ({"q": "oeuvre rue"}, ["3"]),
        ({"q": ""}, ["1", "2", "3"]),
        ({"q": "brest"}, []),
        ({"id": "2"}, ["2"]),
        ({"id": "9"}, []),
        ({"ville": "Brest"}, ["1", "3"]),
        ({"ville": "Brest", "q": "ile"}, ["1"]),
        ({"limit": "1"}, ["1"]),
        ({"q": "rue", "NameID": "abc", "email": "x@example.org"}, ["1", "3"]),
    ],
)
async def test_data_is_searched_looked_up_and_filtered(
    tmp_path: Path, asked: dict[str, str], expected: list[str]
) -> None:
    assert ids(await of(tmp_path).get("data", **asked)) == expected


async def test_data_is_sorted_when_the_settings_say_so(tmp_path: Path) -> None:
    assert ids(await of(tmp_path, order=["text"]).get("data")) == ["2", "1", "3"]


async def test_suggestions_are_limited_but_the_whole_list_is_not(tmp_path: Path) -> None:
    table = of(tmp_path, suggestions=1)
    assert ids(await table.get("data", q="rue")) == ["1"]
    assert len((await table.get("data")).data) == 3


async def test_a_label_typed_in_full_is_found_among_many(tmp_path: Path) -> None:
    table = of(tmp_path, "id;text\n" + "".join(f"{n};Rue {n}\n" for n in range(30)) + "x;Rue\n", suggestions=5)
    assert ids(await table.get("data", q="Rue"))[0] == "x"


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["1", "2", "3"]),
        ({"habitants__gte": "10"}, ["1"]),
        ({"habitants__empty": "true"}, ["2"]),
        ({"ville__in": "Rennes,Vannes"}, ["2"]),
        ({"sort": "-ville,-id"}, ["2", "3", "1"]),
        ({"distinct": "ville"}, ["1", "2"]),
        ({"limit": "1", "offset": "1"}, ["2"]),
        ({"q": "saint yves"}, ["2"]),
        ({"id": "3"}, ["3"]),
    ],
)
async def test_rows_are_chosen_by_the_query_string(tmp_path: Path, asked: dict[str, str], expected: list[str]) -> None:
    assert ids(await of(tmp_path, types={"habitants": "integer"}).get("rows", **asked)) == expected


async def test_rows_show_the_columns_asked_for(tmp_path: Path) -> None:
    assert (await of(tmp_path).get("rows", columns="VILLE, id", limit=1)).data == [{"ville": "Brest", "id": "1"}]


@pytest.mark.parametrize(
    "asked",
    [{"quartier": "Nord"}, {"columns": "quartier"}, {"sort": "quartier"}, {"limit": "100000"}, {"ville__like": "x"}],
)
async def test_what_cannot_be_asked_is_refused_with_400(tmp_path: Path, asked: dict[str, str]) -> None:
    found = await of(tmp_path).get("rows", **asked)
    assert (found.status, found.err_class) == (400, "InvalidInput")


async def test_an_unknown_column_is_named_with_the_known_ones(tmp_path: Path) -> None:
    found = await of(tmp_path).get("rows", quartier="Nord")
    assert "« quartier » ; colonnes : id, text, ville, habitants" in found.body["err_desc"]


# --- named queries ----------------------------------------------------------------------------------------------------

SHOWN = {"columns": {"cle": "ville", "libelle": "{text|upper} ({ville|first:3})"}, "filters": {"ville": "Brest"}}


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        ("array", [["Brest", "RUE DE L'ÎLE (Bre)"], ["Brest", "RUE ŒUVRE (Bre)"]]),
        ("dict", [{"cle": "Brest", "libelle": "RUE DE L'ÎLE (Bre)"}, {"cle": "Brest", "libelle": "RUE ŒUVRE (Bre)"}]),
        (
            "tuples",
            [
                [["cle", "Brest"], ["libelle", "RUE DE L'ÎLE (Bre)"]],
                [["cle", "Brest"], ["libelle", "RUE ŒUVRE (Bre)"]],
            ],
        ),
        ("row", {"cle": "Brest", "libelle": "RUE DE L'ÎLE (Bre)"}),
        ("value", "Brest"),
        ("keyed-distinct", {"Brest": {"cle": "Brest", "libelle": "RUE DE L'ÎLE (Bre)"}}),
    ],
)
async def test_a_named_query_answers_in_its_structure(tmp_path: Path, structure: str, expected: object) -> None:
    table = of(tmp_path, queries={"brest": {**SHOWN, "structure": structure}})
    assert (await table.get("query/brest")).data == expected


@pytest.mark.parametrize("structure", ["row", "value"])
async def test_no_row_for_a_single_result_is_not_found(tmp_path: Path, structure: str) -> None:
    table = of(tmp_path, queries={"x": {"filters": {"ville": "Lyon"}, "structure": structure}})
    assert (await table.get("query/x")).err_class == "NotFound"


async def test_an_unknown_query_is_not_found_and_the_known_ones_are_named(tmp_path: Path) -> None:
    found = await of(tmp_path, queries={"brest": SHOWN}).get("query/lyon")
    assert (found.err_class, "brest" in found.body["err_desc"]) == ("NotFound", True)


PARAMETERS = {
    "filters": {"ville": "{ville|title}", "habitants__gte": "{au_moins}"},
    "defaults": {"au_moins": "0"},
    "optional": ["ville"],
}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"ville": "BREST"}, ["1", "3"]),
        ({"ville": "brest", "au_moins": "10"}, ["1"]),
        ({"ville": "brest", "au_moins": ""}, ["1", "3"]),
        ({}, ["1", "3"]),
        ({"ville": "", "id": "3"}, ["3"]),
        ({"q": "ile"}, ["1"]),
        ({"limit": "1"}, ["1"]),
    ],
)
async def test_filters_of_a_query_take_the_callers_parameters(
    tmp_path: Path, asked: dict[str, str], expected: list[str]
) -> None:
    table = of(tmp_path, types={"habitants": "integer"}, queries={"x": PARAMETERS})
    assert ids(await table.get("query/x", **asked)) == expected


async def test_a_missing_parameter_is_refused_by_name(tmp_path: Path) -> None:
    table = of(tmp_path, queries={"x": {"filters": {"ville": "{ville}"}}})
    found = await table.get("query/x")
    assert (found.err_class, "« ville »" in found.body["err_desc"]) == ("InvalidInput", True)


async def test_a_query_can_be_a_forms_list(tmp_path: Path) -> None:
    table = of(
        tmp_path, queries={"villes": {"columns": {"id": "ville", "text": "Ville : {ville}"}, "distinct": ["ville"]}}
    )
    assert (await table.get("query/villes", id="Rennes")).data == [{"id": "Rennes", "text": "Ville : Rennes"}]
    assert ids(await table.get("query/villes", q="Ville : Brest")) == ["Brest"]


@pytest.mark.parametrize(
    "query",
    [
        {"columns": {"x": "quartier"}},
        {"columns": {"x": "{text|reverse}"}},
        {"distinct": ["quartier"]},
        {"order": ["-quartier"]},
        {"filters": {"quartier": "Nord"}},
        {"filters": {"ville__like": "B"}},
    ],
)
async def test_a_wrong_query_is_the_operators_to_mend_and_check_names_it(tmp_path: Path, query: dict[str, Any]) -> None:
    table = of(tmp_path, queries={"q1": query})
    assert (await table.get("query/q1")).err_class == "Misconfigured"
    with pytest.raises(Misconfigured, match=r"queries\.q1"):
        await table.connector.check()
    assert len((await table.get("data")).data) == 3


# --- settings and diagnosis -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"file": "a.csv", "url": "https://data.example.org/a.csv"}])
def test_exactly_one_source_is_given(settings: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="un seul"):
        instance(Tabular, settings)


def test_a_malformed_label_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured, match="mal formé"):
        instance(Tabular, {"file": "a.csv", "text": "{nom"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"id": "code"}, "« id » : colonne inconnue « code »"),
        ({"text": "{nom}"}, "« text » : colonne inconnue « nom »"),
        ({"order": ["-nom"]}, "« order » : colonne inconnue « nom »"),
        ({"index": ["nom"]}, "« index » : colonne inconnue « nom »"),
        ({"types": {"nom": "date"}}, "colonnes inconnues : nom"),
    ],
)
async def test_check_names_the_setting_whose_column_is_missing(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(Misconfigured, match=said):
        await of(tmp_path, **settings).connector.check()


async def test_the_diagnosis_says_what_was_found_and_why(tmp_path: Path) -> None:
    found = (await of(tmp_path).get("diagnosis")).data
    assert (found["usable"], found["encoding"], found["delimiter"], found["header"], found["rows"]) == (
        True,
        "utf-8",
        ";",
        1,
        3,
    )
    assert found["columns"][2] == {"name": "ville", "header": "ville", "type": "text"}
    assert found["explanation"][1].startswith("Séparateur « ; »")
    assert found["explanation_en"][1].startswith('Delimiter ";"')


async def test_the_diagnosis_of_a_broken_file_names_the_line_while_the_old_version_answers(tmp_path: Path) -> None:
    table = of(tmp_path)
    await table.get("data")
    of(tmp_path, STREETS + "4;Rue;du;Port;x\n")
    found = (await table.get("diagnosis")).data
    assert (found["usable"], found["first_bad_line"]["line"]) == (False, 5)
    assert len((await table.get("data")).data) == 3


async def test_a_missing_file_is_the_operators_to_mend(tmp_path: Path) -> None:
    table = instance(Tabular, {"file": str(tmp_path / "absent.csv")}, folder=tmp_path)
    found = await table.get("data")
    assert (found.err_class, "« file » : fichier introuvable" in found.body["err_desc"]) == ("Misconfigured", True)


# --- in front of the simulator ----------------------------------------------------------------------------------------


async def test_every_line_of_the_demonstration_finds_something() -> None:
    simulator = TabularSimulator()
    async with simulated(Tabular, simulator) as table:
        for _, line in simulator.demo_lines("base:"):
            address = urlsplit(shlex.split(line)[-1])
            found = await table.get(address.path, **dict(parse_qsl(address.query)))
            assert found.data, line


async def test_the_sample_file_is_understood_as_it_is() -> None:
    async with simulated(Tabular, TabularSimulator()) as table:
        found = (await table.get("diagnosis")).data
        assert (found["encoding"], found["delimiter"], found["header"], found["rows"]) == ("cp1252", ";", 2, 204)
        assert found["first_bad_line"] is None
        row = (await table.get("rows", code="SAL051")).data[0]
        assert row["Identifiant"] == "0051"
        assert "\n" in row["Remarque"]
        assert row["Ouvert le"] == "1949-12-21"
        assert row["Tarif journée"] == "40.00"


async def test_rooms_are_listed_by_the_sample_query() -> None:
    async with simulated(Tabular, TabularSimulator()) as table:
        found = (await table.get("query/salles", places="400")).data
        assert [row["text"] for row in found] == sorted(
            (row["text"] for row in found), key=lambda text: -int(text.split(", ")[-1].split()[0])
        )
        assert found
        one = (await table.get("query/salles", places="0", quartier="Bellevue")).data
        assert {row["quartier"] for row in one} == {"Bellevue"}
        assert (await table.get("query/fiche", code="sal051")).data["Nom"] == "Salle des Fêtes"
        assert len((await table.get("query/quartiers")).data) == 8


async def test_an_unchanged_file_is_not_downloaded_twice() -> None:
    simulator = TabularSimulator()
    async with simulated(Tabular, simulator) as table:
        await asyncio.gather(*(table.get("data", q="rue") for _ in range(5)))
        await table.connector.refresh()
        assert [entry.operation for entry in simulator.ledger] == ["downloaded", "unchanged"]


async def test_a_replaced_file_is_taken_up_at_the_next_refresh() -> None:
    simulator = TabularSimulator()
    async with simulated(Tabular, simulator) as table:
        await table.get("data")
        simulator.content = FILE.read_bytes().replace("Salle des Fêtes".encode("cp1252"), b"Salle Neuve")
        await table.connector.refresh()
        assert [row["text"] for row in (await table.get("data", q="salle neuve")).data] == [
            "Salle municipale Salle Neuve (Le Port)"
        ]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("html-200", "page HTML"), ("unclosed-quote", "ligne 209"), ("empty-200", "vide"), ("status-404", "404")],
)
async def test_a_spoilt_publication_leaves_the_old_version_answering(fault: str, said: str) -> None:
    simulator = TabularSimulator()
    async with simulated(Tabular, simulator) as table:
        await table.connector.check()
        simulator.content = FILE.read_bytes() + b"\r\n"
        simulator.faults.next(fault)
        with pytest.raises(Misconfigured, match=said):
            await table.connector.check()
        assert len((await table.get("data")).data) == 204


@pytest.mark.parametrize("sample", samples(Tabular), ids=lambda sample: sample.name)
async def test_samples_are_replayed(sample: Sample) -> None:
    await sample.replay(Tabular)


# --- the real file ----------------------------------------------------------------------------------------------------


async def test_the_post_codes_of_france_fill_a_form(tmp_path: Path) -> None:
    if not HAS_LA_POSTE:
        pytest.skip("La Poste's file is not beside the checkout (../shared/interfaces/csv)")
    settings = {
        "file": str(LA_POSTE),
        "id": "{Code_commune_INSEE}-{Code_postal}-{Ligne_5}",
        "text": "{Code_postal} {Nom_commune}",
        "index": ["Code_postal", "Code_commune_INSEE"],
        "queries": {
            "communes": {
                "filters": {"Code_postal": "{cp}"},
                "distinct": ["Code_commune_INSEE"],
                "columns": {"id": "Code_commune_INSEE", "text": "{Nom_commune|title}"},
                "order": ["Nom_commune"],
            }
        },
    }
    table = instance(Tabular, settings, folder=tmp_path)
    await table.connector.check()
    [found] = (await table.get("data", q="hauteville 50590")).data
    assert found["text"] == "50590 HAUTEVILLE SUR MER"
    assert (await table.get("data", id=found["id"])).data == [found]
    assert {row["Code_postal"][:2] for row in (await table.get("data", q="bourg 01")).data} >= {"01"}
    assert len((await table.get("rows", Code_postal="51300")).data) == 46
    assert (await table.get("rows", Code_commune_INSEE="2A004")).data[0]["Nom_commune"] == "AJACCIO"
    communes = (await table.get("query/communes", cp="51300")).data
    assert len({row["id"] for row in communes}) == len(communes) > 20
    assert len((await table.get("data", q="sai")).data) == 100


# --- the map ----------------------------------------------------------------------------------------------------------

PLACES = (
    "id;text;ville;lat;lon\n1;Mairie;Brest;48,3904;-4,4861\n2;Port;Brest;;\n3;Gare;Rennes;48.1035;-1.6722\n"
    "4;Perdu;Brest;quelque part;-4\n5;Ailleurs;Brest;95;-4\n"
)


def on_a_map(tmp_path: Path) -> Instance[Tabular]:
    return of(tmp_path, PLACES, latitude="lat", longitude="lon")


async def test_rows_with_a_position_are_a_map_layer(tmp_path: Path) -> None:
    found = (await on_a_map(tmp_path).get("map")).body
    assert found["type"] == "FeatureCollection"
    assert found["features"][0] == {
        "type": "Feature",
        "id": "1",
        "geometry": {"type": "Point", "coordinates": [-4.4861, 48.3904]},
        "properties": {"id": "1", "text": "Mairie", "ville": "Brest", "lat": "48,3904", "lon": "-4,4861"},
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ["1", "3"]),
        ({"ville": "Brest"}, ["1"]),
        ({"q": "GARE"}, ["3"]),
        ({"id": "3"}, ["3"]),
        ({"limit": "1"}, ["1"]),
    ],
)
async def test_a_map_is_narrowed_as_rows_are(asked: dict[str, str], expected: list[str], tmp_path: Path) -> None:
    found = (await on_a_map(tmp_path).get("map", **asked)).body
    assert [feature["id"] for feature in found["features"]] == expected


async def test_without_its_columns_a_map_tells_the_operator(tmp_path: Path) -> None:
    found = await of(tmp_path, PLACES, latitude="lat").get("map")
    assert found.err_class == "Misconfigured"
    assert "longitude" in found.body["err_desc"]


async def test_a_column_of_the_map_that_is_not_there_is_told_by_the_check(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="latitud"):
        await of(tmp_path, PLACES, latitude="latitud", longitude="lon").connector.check()
