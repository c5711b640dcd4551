"""From the bytes of a table to its rows, with the reasons: what was found, why, and the first line that is wrong.

CSV text in UTF-8, UTF-16 or Windows-1252, XLSX and ODS sheets. Every cell is text; a column becomes numbers or dates
only where its type is declared. Nothing is guessed from the file's name. Lines are counted from 1, as in an editor.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sdk.errors import Text
from sdk.matching import fold

from .text import open_text, pieces
from .types import CONVERT, TYPE_NAMES, BadLine, Column, Opened, Reading, Record, Refused, TableOptions

Store = Callable[[Sequence[Column], Iterator[list[str]]], Any]

_PREAMBLE_RECORDS = 30


def read_table(path: Path, options: TableOptions, store: Store) -> Reading:
    """Reads the file once: `store(columns, rows)` receives the columns, then every row as converted text.

    Never raises for what the file holds: `reading.fault` says why it was refused, and `store`'s work is then void.
    Run it in a process of its own for sheets: a hostile one makes the decoder ask for more memory than there is.
    """
    reading = Reading()
    try:
        size = path.stat().st_size
        if size > options.max_bytes:
            raise Refused(
                0, f"le fichier dépasse {options.max_bytes} octets", f"the file exceeds {options.max_bytes} bytes"
            )
        _check_nature(path)
        opened = (_open_sheet if is_sheet(path) else open_text)(path, options, reading)
        start, width, least = _find_header(opened.sample, options, reading)
        records = opened.records(start)
        if reading.header:
            next(records)
        body = _Body(reading, options, width, least)
        store(reading.columns, body.rows(records))
        body.close()
    except Refused as refused:
        reading.fault = refused.bad
    return reading


def _open_sheet(path: Path, options: TableOptions, reading: Reading) -> Opened:
    from .sheets import open_sheet  # where a sheet is really read: no process that serves carries its decoder

    return open_sheet(path, options, reading)


def is_sheet(path: Path) -> bool:
    """Whether it is an XLSX or ODS workbook, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_nature(path: Path) -> None:
    """Refuses, by its first bytes, what is not a table but is often served or saved instead of one."""
    start = next(pieces(path), b"")[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not any(map(bytes.strip, pieces(path))):
        raise Refused(0, "le fichier est vide", "the file is empty")
    for magic, french, english in (
        (b"<!doctype html", "c'est une page HTML, pas un tableau", "this is an HTML page, not a table"),
        (b"<html", "c'est une page HTML, pas un tableau", "this is an HTML page, not a table"),
        (b"<?xml", "c'est un document XML, pas un tableau", "this is an XML document, not a table"),
        (b"%pdf", "c'est un PDF, pas un tableau", "this is a PDF, not a table"),
        (b"\x1f\x8b", "le fichier est compressé (gzip)", "the file is compressed (gzip)"),
        (
            b"\xd0\xcf\x11\xe0",
            "classeur XLS ancien ou protégé par mot de passe : l'enregistrer en XLSX ou ODS, sans mot de passe",
            "old XLS or password-protected workbook: save it as XLSX or ODS, without a password",
        ),
    ):
        if start.startswith(magic):
            raise Refused(0, french, english)


# --- header and columns -----------------------------------------------------------------------------------------------


def _find_header(sample: list[Record], options: TableOptions, reading: Reading) -> tuple[int, int, int]:
    """Sets header and columns. Gives the line to read from, the cells of a row, and how many of them are named."""
    if not sample:
        raise Refused(0, "aucune ligne", "no line")
    if reading.kind != "csv":
        sample = [(line, _strip_right(cells)) for line, cells in sample]
    usual = _usual_width(cells for _, cells in sample)
    position = _first_full(sample, usual, strict=reading.kind == "csv")
    header: list[str] = []
    if options.header is None:
        header = _detect_header(sample, position, reading)
        start = sample[position][0]
    elif options.header:
        start = reading.header = options.header
        header = next((cells for line, cells in sample if line == start), [])
        if not header:
            raise Refused(start, "l'en-tête déclaré à cette ligne est vide", "the header declared there is empty")
        reading.header_why = Text(
            f"En-tête ligne {start} : déclaré dans les réglages.",
            en=f"Header on line {start}: declared in the settings.",
        )
    else:
        start = sample[position][0]
        reading.header_why = Text(
            "Pas d'en-tête : déclaré dans les réglages.", en="No header: declared in the settings."
        )
    below = [cells for line, cells in sample if line >= start + bool(header)]
    width = len(header)
    if reading.kind != "csv":
        width = max([width, *map(len, below)])
    elif not header or 2 * sum(len(cells) > width for cells in below) > len(below):
        width = max(width, _usual_width(below))
    if width > options.max_columns:
        raise Refused(start, f"plus de {options.max_columns} colonnes", f"more than {options.max_columns} columns")
    if len(options.columns) > width:
        raise Refused(
            start,
            f"{len(options.columns)} noms de colonnes dans les réglages pour {width} colonnes",
            f"{len(options.columns)} column names in the settings for {width} columns",
        )
    reading.columns = _name_columns(header + [""] * (width - len(header)), options)
    return start, width, max(len(_strip_right(header)) or width, len(options.columns))


def _usual_width(rows: Iterable[list[str]]) -> int:
    widths = Counter(len(cells) for cells in rows)
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _first_full(sample: list[Record], usual: int, *, strict: bool) -> int:
    """The first record that is as full as those that follow: what is before it is a preamble."""
    filled = max(2, usual // 2) if usual > 1 else 1
    for at, (_, cells) in enumerate(sample[:_PREAMBLE_RECORDS]):
        if sum(map(bool, cells)) >= filled and (not strict or len(cells) <= usual + 1):
            return at
    return 0


def _detect_header(sample: list[Record], position: int, reading: Reading) -> list[str]:
    """The cells of the header, or none: it is a header unless it looks like the data under it."""
    line, top = sample[position]
    below = [cells for _, cells in sample[position + 1 :][:100]]
    for_header = against = 0
    for column, name in enumerate(top):
        values = [cells[column] for cells in below if column < len(cells) and cells[column]]
        if not name or not values:
            continue
        share = sum(map(_is_value, values)) / len(values)
        if _is_value(name):
            year_over_figures = _is_year(name) and not all(map(_is_year, values))
            against += share >= 0.8 and not year_over_figures
        else:
            for_header += share >= 0.8
            against += 2 * (name in values)
    skipped = (
        Text(
            f" ; avant elle, un préambule de {line - 1} ligne(s)",
            en=f"; before it, a preamble of {line - 1} line(s)",
        )
        if position
        else Text("", en="")
    )
    if against > for_header:
        reading.header_why = Text(
            f"Pas d'en-tête : la ligne {line} ressemble déjà à des données{skipped}.",
            en=f"No header: line {line} already looks like data{skipped.en}.",
        )
        return []
    reading.header = line
    reading.header_why = Text(
        f"En-tête ligne {line} : premières cellules remplies, sans l'allure des données qui suivent{skipped}.",
        en=f"Header on line {line}: the first filled cells, unlike the data that follow{skipped.en}.",
    )
    return top


_VALUE = re.compile(r"[+-]?[\d\s.,:/%€\u00a0\u202f-]*\d[\d\s.,:/%€\u00a0\u202fTZ-]*|\d[\dA-B]\d{3}")


def _is_value(cell: str) -> bool:
    """Whether a cell looks like a figure, a date, a code: what a header rarely is."""
    return len(cell) <= 40 and bool(_VALUE.fullmatch(cell.strip()))


def _is_year(cell: str) -> bool:
    return bool(re.fullmatch(r"(19|20)\d\d", cell.strip()))


def plain_name(header: str) -> str:
    """`Code postal` → `code_postal`: a name that form variables and addresses can carry."""
    name = re.sub(r"\W+", "_", fold(header), flags=re.ASCII).strip("_")
    return f"_{name}" if name[:1].isdigit() else name


def _name_columns(header: list[str], options: TableOptions) -> tuple[Column, ...]:
    columns: list[Column] = []
    taken: set[str] = set()
    given = {position: name for position, name in enumerate(options.columns) if name}
    reserved = set(given.values())
    types = {plain_name(name): kind for name, kind in options.types.items()}
    for position, raw in enumerate(header):
        shown = unicodedata.normalize("NFC", " ".join(raw.split()))
        wanted = given.get(position) or (plain_name(shown) if options.plain_names else shown)
        name, note = wanted, ""
        if not wanted:
            name = f"column_{position + 1}"
            note = Text(
                f"Colonne {position + 1} : sans en-tête, nommée « {name} ».",
                en=f'Column {position + 1}: no header, named "{name}".',
            )
        if name in taken or (position not in given and name in reserved):
            count = 2
            while f"{name}_{count}" in taken | reserved:
                count += 1
            name = f"{name}_{count}"
            note = Text(
                f"Colonne {position + 1} : « {wanted} » est déjà pris, nommée « {name} ».",
                en=f'Column {position + 1}: "{wanted}" is taken, named "{name}".',
            )
        taken.add(name)
        kind = options.types.get(name) or types.get(plain_name(name), "text")
        columns.append(Column(name, shown, kind, note))
    plain = {plain_name(name) for name in taken}
    unknown = [name for name in options.types if plain_name(name) not in plain]
    if unknown:
        wrong, known = ", ".join(unknown), ", ".join(column.name for column in columns[:40])
        raise Refused(
            0,
            f"types déclarés pour des colonnes inconnues : {wrong} ; colonnes du fichier : {known}",
            f"types declared for unknown columns: {wrong}; columns of the file: {known}",
        )
    return tuple(columns)


# --- rows -------------------------------------------------------------------------------------------------------------


class _Body:
    """Brings every record to the same width and converts declared columns, keeping count of what it met."""

    def __init__(self, reading: Reading, options: TableOptions, width: int, least: int) -> None:
        self.reading, self.options, self.width, self.least = reading, options, width, least
        self.typed = [
            (at, column, CONVERT[column.type]) for at, column in enumerate(reading.columns) if column.type != "text"
        ]
        self.spare = set(range(least, width))  # unnamed trailing columns in which nothing was met yet

    def rows(self, records: Iterator[Record]) -> Iterator[list[str]]:
        reading, width, least = self.reading, self.width, self.least
        for line, cells in records:
            count = len(cells)
            if count != width:
                if count > width and any(cells[width:]):
                    self._bad(
                        line,
                        f"{count} cellules pour {width} colonnes (séparateur dans une cellule sans guillemets ?)",
                        f"{count} cells for {width} columns (delimiter inside a cell without quotes?)",
                    )
                    continue
                cells = cells[:width] + [""] * (width - count)
            if not any(cells):
                continue
            if count < least and reading.kind == "csv":
                self._short(line, count)
            text = "".join(cells)
            if not text.isascii() and not unicodedata.is_normalized("NFC", text):
                cells = [unicodedata.normalize("NFC", cell) for cell in cells]
            if self.typed and not self._convert(line, cells):
                continue
            if self.spare:
                self.spare -= {at for at in self.spare if cells[at]}
            reading.rows += 1
            if reading.rows > self.options.max_rows:
                raise Refused(
                    line, f"plus de {self.options.max_rows} lignes", f"more than {self.options.max_rows} rows"
                )
            yield cells

    def _short(self, line: int, count: int) -> None:
        self.reading.short += 1
        if self.reading.first_bad is None:
            self.reading.first_bad = BadLine(
                line,
                Text(
                    f"{count} cellules pour {self.least} colonnes, complétée par des vides",
                    en=f"{count} cells for {self.least} columns, completed with empty ones",
                ),
            )

    def _bad(self, line: int, french: str, english: str) -> None:
        if not self.options.skip_bad_lines:
            raise Refused(line, french, english)
        self.reading.skipped += 1
        if self.reading.skipped == 1:
            self.reading.first_bad = BadLine(line, Text(french, en=english))

    def _convert(self, line: int, cells: list[str]) -> bool:
        for at, column, convert in self.typed:
            if cells[at]:
                value = convert(cells[at])
                if value is None:
                    french, english = TYPE_NAMES[column.type]
                    self._bad(
                        line,
                        f"colonne « {column.name} » : ce n'est pas {french}",
                        f'column "{column.name}": this is not {english}',
                    )
                    return False
                cells[at] = value
        return True

    def close(self) -> None:
        """Writes into the reading what only the last row tells."""
        reading = self.reading
        keep = self.width
        while keep - 1 in self.spare:
            keep -= 1
        reading.columns = reading.columns[:keep]
        if reading.short:
            reading.warnings.append(
                Text(
                    f"Lignes plus courtes que l'en-tête, complétées par des vides : {reading.short}.",
                    en=f"Rows shorter than the header, completed with empty cells: {reading.short}.",
                )
            )
        if reading.skipped:
            reading.warnings.append(
                Text(
                    f"Lignes fautives laissées de côté : {reading.skipped}.",
                    en=f"Faulty rows left out: {reading.skipped}.",
                )
            )
        if not reading.rows:
            reading.warnings.append(Text("Aucune ligne de données.", en="No data row."))


def _strip_right(cells: list[str]) -> list[str]:
    end = len(cells)
    while end and not cells[end - 1].strip():
        end -= 1
    return cells[:end]
