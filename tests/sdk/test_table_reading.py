from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.tabular.reading import plain_name, read_table
from sdk.tabular.types import Reading, TableOptions, to_date, to_decimal, to_integer
from tests.sdk.table_kit import SHARED, archive, document, reading_of, sheet, text_cell

# --- what is found in a file, and why ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encoding_delimiter_and_line_ends_are_found(tmp_path: Path, encoding: str, delimiter: str, end: str) -> None:
    lines = [
        ["code", "libellé"],
        ["01000", "Cœur d’été – 5 €"],
        ["2A004", 'dit "le Vieux"'],
        ["35000", "a;b,c|d\te\nf"],
    ]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(lines)
    reading, rows = reading_of(tmp_path, out.getvalue().encode(encoding))
    assert (reading.encoding, reading.delimiter, reading.header) == (encoding, delimiter, 1)
    assert rows == lines[1:]


def test_the_reading_says_why_in_both_languages(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "Libellé;Prix\nœuf;1,5\n".encode("cp1252"))
    assert "0xE9 (ligne 1)" in reading.encoding_why
    assert "œ" in reading.encoding_why
    assert "« , » en couperait 50% en 2" in reading.delimiter_why
    assert all(sentence.en != sentence for sentence in reading.explain())  # type: ignore[attr-defined]


def test_a_reading_is_stored_and_read_back_unchanged(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "a;a;\n1;2;3\n4\n")
    assert reading.short == 1
    assert Reading.unpack(reading.pack()) == reading


def test_western_text_is_never_called_iso_8859_1(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "nom;ville\nRené;Nîmes\n".encode("latin-1"))
    assert reading.encoding == "cp1252"
    assert rows == [["René", "Nîmes"]]


def test_a_damaged_byte_in_a_utf8_file_is_named_by_its_line_not_read_as_another_encoding(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, b"id;nom\n" + "1;é\n".encode() * 9 + b"2;\xe9\n")
    assert reading.fault is not None
    assert reading.fault.line == 11
    assert "0xE9" in reading.fault.fault


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"a;b\n1;\x81\n", 2, "Windows-1252"),
        (b"a;b\n1;\0\n", 2, "nul"),
        (b"", 0, "vide"),
        (b" \n\n", 0, "vide"),
        (b"<!DOCTYPE html><p>Connexion", 0, "HTML"),
        (b"%PDF-1.7", 0, "PDF"),
        (b"\x1f\x8b\x08\0", 0, "gzip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "mot de passe"),
        (b"PK\x03\x04rien", 0, "archive"),
    ],
)
def test_what_is_not_a_table_is_refused_with_a_reason(tmp_path: Path, content: bytes, line: int, said: str) -> None:
    reading, _ = reading_of(tmp_path, content)
    assert reading.fault is not None
    assert reading.fault.line == line
    assert said in reading.fault.fault


def test_lines_before_the_header_are_a_preamble(tmp_path: Path) -> None:
    reading, rows = reading_of(
        tmp_path, "Attention, provisoire, ne pas diffuser\n\nCode;Nom;Prix\n01;a;1,5\n02;b;2,5\n"
    )
    assert reading.header == 3
    assert "préambule de 2 ligne(s)" in reading.header_why
    assert rows == [["01", "a", "1,5"], ["02", "b", "2,5"]]


def test_a_file_without_header_gets_numbered_columns(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "01000;Bourg\n35000;Rennes\n2A004;Ajaccio\n")
    assert reading.header == 0
    assert [column.name for column in reading.columns] == ["column_1", "column_2"]
    assert len(rows) == 3


def test_years_in_a_header_are_still_a_header(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "Commune;2018;2019\nA;120;130\nB;140;150\n")
    assert [column.name for column in reading.columns] == ["Commune", "2018", "2019"]


def test_duplicate_and_empty_headers_are_named_and_explained(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "id;nom;;nom;\n1;a;b;c;\n2;d;e;f;\n")
    assert [column.name for column in reading.columns] == ["id", "nom", "column_3", "nom_2"]
    assert "« nom » est déjà pris" in reading.columns[3].note
    assert "sans en-tête" in reading.columns[2].note
    assert rows[0][:4] == ["1", "a", "b", "c"]


def test_a_header_on_two_lines_is_one_name(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, 'id;"nom\nlong"\n1;x\n2;y\n')
    assert [column.name for column in reading.columns] == ["id", "nom long"]
    assert rows == [["1", "x"], ["2", "y"]]


def test_excels_sep_line_is_obeyed_and_left_out(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "sep=,\nid,nom\n1,a;b;c\n")
    assert (reading.delimiter, reading.header, rows) == (",", 2, [["1", "a;b;c"]])


def test_an_unclosed_quote_is_an_error_on_its_line_and_swallows_nothing(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, 'id;nom\n1;"a\nb"\n2;c\n3;"ouvert\n4;d\n5;e\n')
    assert reading.fault is not None
    assert reading.fault.line == 5
    assert "guillemet" in reading.fault.fault
    assert rows == [["1", "a\nb"], ["2", "c"]]


def test_a_quote_closed_a_page_later_is_suspected(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, 'id;nom\n1;"' + "x\n" * 300 + '"\n2;c\n')
    assert reading.fault is not None
    assert reading.fault.line == 2


def test_a_row_too_long_refuses_the_file_with_its_line(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "id;nom\n1;a\n2;b;c\n3;d\n")
    assert reading.fault is not None
    assert reading.fault.text.en.startswith("line 3: 3 cells for 2 columns")


def test_faulty_rows_may_be_left_out_and_are_counted(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "id;nom\n1;a\n2;b;c\n3;d\n", skip_bad_lines=True)
    assert rows == [["1", "a"], ["3", "d"]]
    assert (reading.skipped, reading.fault) == (1, None)
    assert reading.first_bad is not None
    assert reading.first_bad.line == 3


def test_a_short_row_is_completed_and_reported(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "id;nom;ville\n1;a;b\n2;c\n3;d;e\n")
    assert rows[1] == ["2", "c", ""]
    assert reading.first_bad is not None
    assert reading.first_bad.line == 3
    assert "2 cellules pour 3 colonnes" in reading.first_bad.fault


def test_empty_lines_count_for_line_numbers_but_not_as_rows(tmp_path: Path) -> None:
    reading, rows = reading_of(tmp_path, "id;nom\n\n1;a\n;\n\n2;b;c\n")
    assert rows == [["1", "a"]]
    assert reading.fault is not None
    assert reading.fault.line == 6


def test_identifiers_stay_text_unless_a_type_is_declared(tmp_path: Path) -> None:
    _, rows = reading_of(tmp_path, "insee;cp;siret;qte\n01001;01400;21310117300010;8724.0\n")
    assert rows == [["01001", "01400", "21310117300010", "8724.0"]]


def test_declared_types_are_rewritten_in_one_form_and_empty_stays_empty(tmp_path: Path) -> None:
    content = "id;jour;prix;nombre\n1;1/2/2024;1 234,50;8724.0\n2;;;\n"
    _, rows = reading_of(tmp_path, content, types={"jour": "date", "prix": "decimal", "nombre": "integer"})
    assert rows == [["1", "2024-02-01", "1234.50", "8724"], ["2", "", "", ""]]


def test_a_cell_that_does_not_fit_its_declared_type_is_a_bad_line(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "id;jour\n1;31/02/2024\n", types={"jour": "date"})
    assert reading.fault is not None
    assert (reading.fault.line, "« jour »" in reading.fault.fault) == (2, True)


def test_a_type_for_an_unknown_column_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "id;jour\n1;x\n", types={"date": "date"})
    assert reading.fault is not None
    assert "colonnes du fichier : id, jour" in reading.fault.fault


@pytest.mark.parametrize(
    ("cell", "decimal", "integer"),
    [
        ("54,3", "54.3", None),
        ("8724.0", "8724.0", "8724"),
        ("1 234 567", "1234567", "1234567"),
        ("1.234,56", "1234.56", None),
        ("1,234.56", "1234.56", None),
        ("-0012", "-0012", "-12"),
        ("+5", "5", "5"),
        ("2.135E+13", None, None),
        ("12 %", None, None),
        ("", None, None),
        ("nan", None, None),
        ("9" * 30, "9" * 30, None),
        ("٣", None, None),
    ],
)
def test_numbers_as_france_writes_them(cell: str, decimal: str | None, integer: str | None) -> None:
    assert (to_decimal(cell), to_integer(cell)) == (decimal, integer)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1/2/2024", "2024-02-01"),
        ("01-02-2024", "2024-02-01"),
        ("01.02.2024", "2024-02-01"),
        ("2024-02-01T10:00:00", "2024-02-01"),
        ("01/02/2024 10:00", "2024-02-01"),
        ("29/02/2023", None),
        ("01/02/24", None),
        ("12/31/2024", None),
    ],
)
def test_dates_are_day_first_or_iso(cell: str, expected: str | None) -> None:
    assert to_date(cell) == expected


def test_the_operator_may_overrule_every_detection(tmp_path: Path) -> None:
    content = "Export du jour\nid,nom\n1,caf\xe9;th\xe9\n".encode("mac-roman")
    reading, rows = reading_of(
        tmp_path, content, encoding="mac-roman", delimiter=",", header=2, columns=["code", "libelle"]
    )
    assert [column.name for column in reading.columns] == ["code", "libelle"]
    assert rows == [["1", "café;thé"]]
    assert "réglages" in reading.encoding_why
    assert "réglages" in reading.header_why


def test_names_can_be_made_plain_for_form_variables(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "Code postal;Libellé d'acheminement;2018\n1;x;y\n", plain_names=True, header=1)
    assert [column.name for column in reading.columns] == ["code_postal", "libelle_d_acheminement", "_2018"]
    assert plain_name("  ") == ""


@pytest.mark.parametrize(
    "options", [{"encoding": "klingon"}, {"encoding": "rot13"}, {"delimiter": ";;"}, {"delimiter": '"'}]
)
def test_impossible_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"encodage|caractère"):
        TableOptions.model_validate(options)


@pytest.mark.parametrize(
    ("options", "said"), [({"max_bytes": 10}, "octets"), ({"max_rows": 2}, "lignes"), ({"max_columns": 1}, "colonnes")]
)
def test_sizes_are_capped(tmp_path: Path, options: dict[str, int], said: str) -> None:
    reading, _ = reading_of(tmp_path, "id;nom\n1;a\n2;b\n3;c\n", **options)
    assert reading.fault is not None
    assert said in reading.fault.fault


def test_a_huge_cell_is_refused_with_its_line(tmp_path: Path) -> None:
    reading, _ = reading_of(tmp_path, "id;nom\n1;a\n2;" + "x" * 200_000 + "\n")
    assert reading.fault is not None
    assert reading.fault.line == 3


@pytest.mark.parametrize("cell", ["=1+1", "+33612345678", "-2", "@SUM(A1)", "=HYPERLINK(...)"])
def test_formulas_are_kept_as_the_text_they_are(tmp_path: Path, cell: str) -> None:
    _, rows = reading_of(tmp_path, f"id;nom\na;{cell}\n", header=1)
    assert rows == [["a", cell]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), min_size=3, max_size=3),
        min_size=1,
        max_size=8,
    )
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows([["a", "b", "c"], *rows])
    reading, found = reading_of(tmp_path_factory.mktemp("t"), out.getvalue(), delimiter=";", header=1)
    assert reading.fault is None
    assert found == [[unicodedata.normalize("NFC", cell) for cell in row] for row in rows if any(row)]


# --- XLSX and ODS -----------------------------------------------------------------------------------------------------


def test_a_workbook_is_read_from_its_first_sheet_that_holds_something(tmp_path: Path) -> None:
    rows = (
        f'<row r="2">{text_cell("B2", "Liste")}</row>'
        f'<row r="4">{text_cell("B4", "code")}{text_cell("C4", "nom")}'
        f"{text_cell('D4', 'jour')}{text_cell('E4', 'prix')}</row>"
        f'<row r="5"><c r="B5"><v>35000</v></c>{text_cell("C5", "Rennes")}'
        '<c r="D5" s="1"><v>45000</v></c><c r="E5"><v>54.3</v></c></row>'
        f'<row r="6">{text_cell("B6", "01000")}{text_cell("C6", "Bourg")}</row>'
    )
    reading, found = reading_of(tmp_path, sheet(rows, name="Données", before=" "))
    assert reading.fault is None
    assert (reading.kind, reading.sheet, reading.header) == ("xlsx", "Données", 4)
    assert found == [["35000", "Rennes", "2023-03-15", "54.3"], ["01000", "Bourg", "", ""]]
    assert "première visible et non vide" in reading.sheet_why


def test_a_sheet_is_chosen_by_name_or_refused_with_the_names(tmp_path: Path) -> None:
    rows = f'<row r="1">{text_cell("A1", "id")}</row><row r="2">{text_cell("A2", "x")}</row>'
    other = f'<row r="1">{text_cell("A1", "autre")}</row><row r="2">{text_cell("A2", "y")}</row>'
    content = sheet(rows, name="Deux", before=other)
    assert reading_of(tmp_path, content, sheet="Deux")[1] == [["x"]]
    assert reading_of(tmp_path, content)[1] == [["y"]]
    refused, _ = reading_of(tmp_path, content, sheet="Trois")
    assert refused.fault is not None
    assert "Vide, Deux" in refused.fault.fault


def test_an_opendocument_sheet_is_read(tmp_path: Path) -> None:
    def row(*cells: str) -> str:
        return "<table:table-row>" + "".join(cells) + "</table:table-row>"

    def text(value: str) -> str:
        return f'<table:table-cell office:value-type="string"><text:p>{value}</text:p></table:table-cell>'

    number = '<table:table-cell office:value-type="float" office:value="12"><text:p>12</text:p></table:table-cell>'
    day = '<table:table-cell office:value-type="date" office:date-value="2024-02-01"/>'
    content = document(row(text("code"), text("nom"), text("jour")) + row(number, text("École"), day))
    reading, found = reading_of(tmp_path, content)
    assert reading.fault is None
    assert (reading.kind, reading.sheet) == ("ods", "Lieux")
    assert found == [["12", "École", "2024-02-01"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive({"mimetype": b"x", "a": b"y"}), "ni XLSX ni ODS"),
        (archive({"xl/workbook.xml": b"0" * 60_000_000}), "démesurément"),
        (archive({f"f{n}": b"" for n in range(3_000)}), "démesurément"),
        (archive({"xl/workbook.xml": b"<nothing/>"}), "illisible"),
        (sheet("")[:-200], "abîmée"),
    ],
)
def test_a_hostile_or_damaged_archive_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    reading, _ = reading_of(tmp_path, content)
    assert reading.fault is not None
    assert said in reading.fault.fault


def test_an_archive_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    content = bytearray(archive({"xl/workbook.xml": b"0" * 50_000}))
    true, false = (50_000).to_bytes(4, "little"), (50).to_bytes(4, "little")
    assert true in content
    reading, _ = reading_of(tmp_path, bytes(content.replace(true, false)))
    assert reading.fault is not None
    assert "abîmée" in reading.fault.fault


# --- real files ---


@pytest.mark.parametrize(
    ("name", "delimiter", "columns", "rows"),
    [
        ("laposte_hexasmal_2020_coordonnees_gps.csv", ";", 6, 39_192),
        ("education_annuaire_35.csv", ";", 69, 996),
        ("scdl_subventions_castelmaurou.csv", ",", 14, 95),
    ],
)
def test_open_data_files_are_understood_without_help(
    tmp_path: Path, name: str, delimiter: str, columns: int, rows: int
) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the checkout (../shared/interfaces/csv)")
    reading = read_table(path, TableOptions.model_validate({}), lambda columns, rows: [None for _ in rows])
    assert reading.fault is None
    assert (reading.delimiter, len(reading.columns), reading.rows) == (delimiter, columns, rows)
