"""XLSX and ODS: the archive is weighed before it is trusted, then one sheet is read as text."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import python_calamine

from sdk.errors import Text

from .types import SAMPLE_RECORDS, Opened, Reading, Record, Refused, TableOptions

_MAX_UNPACKED = 1024 * 1024 * 1024
_MAX_RATIO = 200
_MAX_MEMBERS = 2_000


def open_sheet(path: Path, options: TableOptions, reading: Reading) -> Opened:
    """The sheet chosen, written with the reason into `reading`; then its rows as text.

    Call it in a process of its own: a hostile sheet makes the decoder ask for more memory than there is, and abort.
    """
    data = path.read_bytes()
    reading.kind = _weigh(data)
    try:
        workbook = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheet = _choose_sheet(workbook, options, reading)
    except python_calamine.CalamineError as error:
        raise Refused(
            0, f"classeur illisible ({type(error).__name__})", f"unreadable workbook ({type(error).__name__})"
        ) from None
    if sheet.total_height > options.max_rows + SAMPLE_RECORDS:
        raise Refused(0, f"plus de {options.max_rows} lignes", f"more than {options.max_rows} rows")

    def records(start: int) -> Iterator[Record]:
        for number, cells in enumerate(sheet.iter_rows(), start=1):
            if number >= start:
                yield number, [_cell_text(cell) for cell in cells]

    filled = ((number, cells) for number, cells in records(1) if any(cells))
    return Opened(list(islice(filled, SAMPLE_RECORDS)), records)


def _weigh(data: bytes) -> Literal["xlsx", "ods"]:
    """Says what the archive is, after unpacking it to nowhere: sizes are counted, never believed."""
    bomb = ("archive anormale : elle se déplie démesurément", "abnormal archive: it unpacks out of all proportion")
    kind: Literal["xlsx", "ods"] | None = None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS or sum(member.compress_size for member in members) > len(data):
                raise Refused(0, *bomb)
            limit = min(_MAX_UNPACKED, max(len(data) * _MAX_RATIO, 1024 * 1024))
            total = 0
            for member in members:
                if member.flag_bits & 1:
                    raise Refused(0, "classeur protégé par mot de passe", "password-protected workbook")
                with archive.open(member) as stream:
                    while chunk := stream.read(256 * 1024):
                        total += len(chunk)
                        if total > limit:
                            raise Refused(0, *bomb)
                        if member.filename == "mimetype" and b"opendocument.spreadsheet" in chunk:
                            kind = "ods"
                if member.filename == "xl/workbook.xml":
                    kind = "xlsx"
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise Refused(
            0, f"archive abîmée ({type(error).__name__})", f"damaged archive ({type(error).__name__})"
        ) from None
    if kind is None:
        raise Refused(0, "archive ZIP, mais ni XLSX ni ODS", "ZIP archive, but neither XLSX nor ODS")
    return kind


def _choose_sheet(workbook: Any, options: TableOptions, reading: Reading) -> Any:
    names: list[str] = workbook.sheet_names
    listed = ", ".join(names[:20])
    if options.sheet:
        if options.sheet not in names:
            raise Refused(
                0, f"pas de feuille « {options.sheet} » parmi : {listed}", f'no sheet "{options.sheet}" among: {listed}'
            )
        reading.sheet = options.sheet
        reading.sheet_why = Text(
            f"Feuille « {options.sheet} » : déclarée dans les réglages.",
            en=f'Sheet "{options.sheet}": declared in the settings.',
        )
        return workbook.get_sheet_by_name(options.sheet)
    visible = [
        meta.name for meta in workbook.sheets_metadata if meta.visible == python_calamine.SheetVisibleEnum.Visible
    ]
    for name in visible or names:
        sheet = workbook.get_sheet_by_name(name)
        if sheet.total_height:
            reading.sheet = name
            reading.sheet_why = Text(
                f"Feuille « {name} » : la première visible et non vide, parmi : {listed}.",
                en=f'Sheet "{name}": the first visible one that is not empty, among: {listed}.',
            )
            return sheet
    raise Refused(0, "toutes les feuilles sont vides", "every sheet is empty")


def _cell_text(cell: Any) -> str:
    """A sheet's cell as text: 35000.0 is `35000`, dates and times are ISO."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else format(Decimal(repr(cell)), "f")
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, timedelta):
        minutes, seconds = divmod(round(cell.total_seconds()), 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"
    return cell.isoformat() if isinstance(cell, (date, datetime, time)) else str(cell)
