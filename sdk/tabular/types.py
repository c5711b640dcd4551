"""The vocabulary of tables: what an operator may declare, what was found in a file and why, how cells become values.

Cells are text from end to end: a declared number or date is rewritten in one form (`1234.50`, `2024-02-01`), an
identifier keeps its leading zeros. Lines are counted from 1, as in an editor.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, get_args

from pydantic import RootModel, field_validator

from sdk.errors import NotFound, Text
from sdk.model import Field, Model

ColumnType = Literal["text", "integer", "decimal", "date"]
Record = tuple[int, list[str]]
"""The number of its first line, its cells."""
SAMPLE_RECORDS = 500


class TableOptions(Model):
    """What the operator knows better than the detection. Everything left out is detected and explained."""

    encoding: str = Field(default="", description="Encodage du texte : utf-8, cp1252, utf-16…")
    delimiter: str = Field(default="", description="Séparateur : un caractère, ou `tab`")
    header: int | None = Field(
        default=None, ge=0, description="Ligne de l'en-tête, comptée à partir de 1 ; 0 sans en-tête"
    )
    sheet: str = Field(default="", description="Nom de la feuille, en XLSX et ODS")
    columns: tuple[str, ...] = Field(
        default=(), description="Noms donnés aux colonnes, dans l'ordre, à la place de ceux de l'en-tête"
    )
    plain_names: bool = Field(default=False, description="Nommer `code_postal` la colonne « Code postal »")
    types: dict[str, ColumnType] = Field(
        default={}, description="Colonnes de nombres ou de dates ; les autres sont du texte"
    )
    skip_bad_lines: bool = Field(
        default=False, description="Laisser de côté les lignes fautives au lieu de refuser le fichier"
    )
    max_bytes: int = Field(default=128 * 1024 * 1024, ge=1, description="Taille maximale, en octets")
    max_rows: int = Field(default=2_000_000, ge=1, description="Nombre maximal de lignes")
    max_columns: int = Field(default=1_000, ge=1, le=1_000, description="Nombre maximal de colonnes")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if value:
            try:
                "a".encode(value)
            except LookupError:
                raise ValueError(Text("n'est pas un encodage connu", en="is not a known encoding")) from None
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        value = "\t" if value in ("tab", "\\t") else value
        if len(value) > 1 or value in ('"', "\r", "\n"):
            raise ValueError(Text("doit être un seul caractère, ou « tab »", en='must be one character, or "tab"'))
        return value


@dataclass(frozen=True, slots=True)
class Column:
    """A column: the name rows use, the header as written, its type, and why it was renamed (empty if it was not)."""

    name: str
    header: str
    type: ColumnType = "text"
    note: str = ""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line and its fault. Line 0 is the file as a whole."""

    line: int
    fault: Text

    def __str__(self) -> str:
        return f"ligne {self.line} : {self.fault}" if self.line else str(self.fault)

    @property
    def text(self) -> Text:
        """The same as `str()`, in both languages."""
        return Text(str(self), en=f"line {self.line}: {self.fault.en}" if self.line else self.fault.en)


@dataclass(slots=True)
class Reading:
    """What was found in a table, and why. `fault` set: the file was refused; `first_bad`: a line to look at.

    `rows` counts data rows kept; `short`, `skipped` count rows completed with empty cells, and rows left out.
    """

    kind: Literal["csv", "xlsx", "ods", ""] = ""
    encoding: str = ""
    encoding_why: str = ""
    delimiter: str = ""
    delimiter_why: str = ""
    sheet: str = ""
    sheet_why: str = ""
    header: int = 0
    header_why: str = ""
    columns: tuple[Column, ...] = ()
    rows: int = 0
    short: int = 0
    skipped: int = 0
    first_bad: BadLine | None = None
    fault: BadLine | None = None
    warnings: list[str] = field(default_factory=list)

    def explain(self) -> list[str]:
        """Everything that was found, one bilingual sentence each, in the order a reader looks for it."""
        reasons = [self.encoding_why, self.delimiter_why, self.sheet_why, self.header_why]
        notes = [column.note for column in self.columns if column.note]
        columns, rows = len(self.columns), self.rows
        count = Text(f"Colonnes : {columns} ; lignes : {rows}.", en=f"Columns: {columns}; rows: {rows}.")
        worst = [bad.text for bad in (self.fault, self.first_bad) if bad]
        return [sentence for sentence in [*reasons, count, *notes, *self.warnings, *worst[:1]] if sentence]

    def pack(self) -> dict[str, Any]:
        """As JSON values; `Reading.unpack` gives it back."""
        packed: dict[str, Any] = _pack(
            {name: getattr(self, name) for name in (item.name for item in dataclasses.fields(self))}
        )
        return packed

    @classmethod
    def unpack(cls, packed: Mapping[str, Any]) -> Reading:
        """The reading that `pack` wrote."""
        values: dict[str, Any] = {name: _unpack(value) for name, value in packed.items()}
        values["columns"] = tuple(Column(**column) for column in values["columns"])
        for name in ("first_bad", "fault"):
            values[name] = BadLine(**values[name]) if values[name] else None
        return cls(**values)


def _pack(value: Any) -> Any:
    if isinstance(value, Text):
        return {"fr": str(value), "en": value.en}
    if isinstance(value, (Column, BadLine)):
        return {name: _pack(getattr(value, name)) for name in (item.name for item in dataclasses.fields(value))}
    if isinstance(value, dict):
        return {key: _pack(item) for key, item in value.items()}
    return [_pack(item) for item in value] if isinstance(value, (list, tuple)) else value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        return (
            Text(value["fr"], en=value["en"])
            if value.keys() == {"fr", "en"}
            else {k: _unpack(v) for k, v in value.items()}
        )
    return [_unpack(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Opened:
    """A table opened: its first records that hold something, and all its records from a given line on."""

    sample: list[Record]
    records: Callable[[int], Iterator[Record]]


class Refused(Exception):
    """The table cannot be read any further; carries the line and the reason."""

    def __init__(self, line: int, french: str, english: str) -> None:
        super().__init__(french)
        self.bad = BadLine(line, Text(french, en=english))


# --- the structures of a query ---

Structure = Literal["array", "dict", "tuples", "row", "value", "keyed-distinct"]


class Structured(
    RootModel[
        str
        | dict[str, str]
        | dict[str, dict[str, str]]
        | list[dict[str, str]]
        | list[list[str]]
        | list[list[tuple[str, str]]]
    ]
):
    """Rows in the structure a named query asks for; the first column is the key of `keyed-distinct`.

    `array` [[value]], `dict` [{name: value}], `tuples` [[[name, value]]], `row` the first {name: value}, `value` its
    first value, `keyed-distinct` {key: {name: value}}, the first row of each key.
    """

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, str]], structure: Structure) -> Structured:
        """Raises `NotFound` when there is no row for `row` or `value`."""
        if structure in ("row", "value") and not rows:
            raise NotFound(Text("Aucune ligne ne correspond.", en="No row matches."))
        shaped: Any
        if structure == "array":
            shaped = [list(row.values()) for row in rows]
        elif structure == "tuples":
            shaped = [list(row.items()) for row in rows]
        elif structure == "keyed-distinct":
            shaped = {}
            for row in rows:
                shaped.setdefault(next(iter(row.values())), dict(row))
        elif structure == "dict":
            shaped = [dict(row) for row in rows]
        else:
            shaped = dict(rows[0]) if structure == "row" else next(iter(rows[0].values()))
        return cls.model_construct(shaped)


# --- declared types ---------------------------------------------------------------------------------------------------

_SPACES = re.compile(r"[\s\u00a0\u202f']")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DAY_FIRST = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})(?:[ T].*)?", re.ASCII)
_YEAR_FIRST = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[ T].*)?", re.ASCII)


def to_decimal(cell: str) -> str | None:
    """`1 234,50` → `1234.50`; with both signs, the last one is the decimal one. None when it is not a number."""
    text = _SPACES.sub("", cell)
    if "," in text and "." in text:
        thousands = "." if text.rindex(",") > text.rindex(".") else ","
        text = text.replace(thousands, "")
    text = text.replace(",", ".").removeprefix("+")
    return text if len(text) <= 40 and _NUMBER.fullmatch(text) else None


def to_integer(cell: str) -> str | None:
    """`8 724` and `8724,0` → `8724`; None when it is not a whole number of at most 18 digits."""
    text = to_decimal(cell)
    if text is None:
        return None
    whole, _, rest = text.partition(".")
    return str(int(whole)) if not rest.strip("0") and len(whole.lstrip("-0")) <= 18 else None


def to_date(cell: str) -> str | None:
    """`1/2/2024` (day first) or `2024-02-01`, a time after it left out → `2024-02-01`; None otherwise."""
    text = cell.strip()
    if match := _DAY_FIRST.fullmatch(text):
        day, month, year = match.groups()
    elif match := _YEAR_FIRST.fullmatch(text):
        year, month, day = match.groups()
    else:
        return None
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None


CONVERT: dict[str, Callable[[str], str | None]] = {"integer": to_integer, "decimal": to_decimal, "date": to_date}
TYPE_NAMES: dict[str, tuple[str, str]] = {
    "integer": ("un nombre entier", "a whole number"),
    "decimal": ("un nombre décimal", "a decimal number"),
    "date": ("une date jj/mm/aaaa ou aaaa-mm-jj", "a date dd/mm/yyyy or yyyy-mm-dd"),
}
assert CONVERT.keys() | {"text"} == set(get_args(ColumnType))
