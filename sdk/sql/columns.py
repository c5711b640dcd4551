"""A table as the database's own catalogue tells it, and values made to fit its columns before anything is written."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from sdk.errors import Misconfigured, Text

TOWN_TIME = ZoneInfo("Europe/Paris")
"""The zone of a column that tells none."""

_CODECS = {"LATIN1": "iso8859-1", "LATIN9": "iso8859-15", "WIN1252": "cp1252"}
_TYPED = str.maketrans(
    {"‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "′": "'", "″": '"'}
    | {"–": "-", "—": "-", "‑": "-", "•": "-", "…": "...", "\u202f": " ", "\u00a0": " ", "\u2009": " "}
    | {"\u200b": "", "\u200d": "", "\ufeff": "", "œ": "oe", "Œ": "OE", "€": "EUR", "™": "(TM)"}
)
"""What keyboards and word processors put in place of plain signs, for a character set that lacks them."""
_INTEGERS = {sa.SmallInteger: 2**15, sa.BigInteger: 2**63, sa.Integer: 2**31}
_TRUE, _FALSE = frozenset({"true", "1", "oui", "yes", "o", "t"}), frozenset({"false", "0", "non", "no", "n", "f"})


class Unfit(ValueError):
    """A value that its column cannot take; the text says what is wrong, without the value."""

    def __init__(self, french: str, *, en: str) -> None:
        super().__init__(french)
        self.sentence = Text(french, en=en)


@dataclass(frozen=True)
class Shape:
    """A table as found in the catalogue: what may be named in a statement, and nothing else."""

    table: sa.Table
    codec: str
    """Python's name of the character set its text is kept in; "" when any character fits."""

    def column(self, name: str) -> sa.Column[Any]:
        """The column of exactly this name, or `Misconfigured` telling those there are."""
        self.require([name])
        return self.table.columns[name]

    def require(self, names: Iterable[str], setting: str = "") -> None:
        """Raises `Misconfigured` when one of the names is not a column."""
        unknown = sorted({name for name in names if name not in self.table.columns})
        if unknown:
            there = ", ".join(column.name for column in self.table.columns)
            place, place_en = (f"Réglage « {setting} » : ", f'Setting "{setting}": ') if setting else ("", "")
            raise Misconfigured(
                Text(
                    f"{place}la table « {self.table.name} » n'a pas de colonne {', '.join(unknown)} ; "
                    f"ses colonnes : {there}.",
                    en=f'{place_en}table "{self.table.name}" has no column {", ".join(unknown)}; it has: {there}.',
                ),
                processed=False,
            )

    def holds(self, value: Any) -> bool:
        """Whether a text can exist in this database at all."""
        return not isinstance(value, str) or ("\0" not in value and _encodable(value, self.codec))


def read_shape(connection: sa.Connection, name: str, charset: str, setting: str) -> Shape:
    """The table or view called `name` (`schema.name`), as the catalogue tells it, or `Misconfigured`."""
    inspector = sa.inspect(connection)
    schema, _, bare = name.rpartition(".")
    schemas = inspector.get_schema_names()
    known: list[str] = []
    if not schema or schema in schemas:
        known = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
    if bare not in known:
        near = [each for each in known if each.lower() == bare.lower()]
        hint = Text(f" (« {near[0]} » existe)", en=f' ("{near[0]}" exists)') if near else Text("", en="")
        raise Misconfigured(
            Text(
                f"Réglage « {setting} » : notre compte ne voit pas la table « {name} »{hint}.",
                en=f'Setting "{setting}": our account sees no table "{name}"{hint.en}.',
            ),
            processed=False,
        )
    metadata = sa.MetaData()
    if connection.dialect.name == "sqlite":
        sa.event.listen(metadata, "column_reflect", _plain_numbers)
    table = sa.Table(bare, metadata, schema=schema or None, autoload_with=connection, resolve_fks=False)
    return Shape(table, codec_of(charset) if charset else _codec_of_server(connection))


def _plain_numbers(inspector: Any, table: Any, column: dict[str, Any]) -> None:
    """SQLite keeps decimals as floating point whatever is declared."""
    if isinstance(column["type"], sa.Numeric):
        column["type"] = sa.Numeric(column["type"].precision, column["type"].scale, asdecimal=False)


def codec_of(charset: str) -> str:
    """Python's name of a character set, or `Misconfigured`."""
    try:
        codec = "".encode(charset) or charset
    except LookupError:
        raise Misconfigured(
            Text(f"Jeu de caractères inconnu : {charset}.", en=f"Unknown character set: {charset}."), processed=False
        ) from None
    return "" if str(codec).lower().replace("_", "-") in ("utf-8", "utf8") else charset


def _codec_of_server(connection: sa.Connection) -> str:
    if connection.dialect.name != "postgresql":
        return ""
    return _CODECS.get(str(connection.scalar(sa.text("show server_encoding"))), "")


def _encodable(text: str, codec: str) -> bool:
    try:
        text.encode(codec or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


# --- values -----------------------------------------------------------------------------------------------------------


def fit(values: Mapping[str, Any], shape: Shape, *, whole: bool) -> tuple[dict[str, Any], dict[str, Text]]:
    """The values as their columns take them, and what is wrong with the others, by column.

    `whole`: the values are a new row, so a column that is neither given nor filled by the database is missing.
    """
    fitted: dict[str, Any] = {}
    faults: dict[str, Text] = {}
    shape.require(values)
    for column in shape.table.columns:
        if column.name in values:
            try:
                fitted[column.name] = _fitted(values[column.name], column, shape.codec)
            except Unfit as error:
                faults[column.name] = error.sentence
        elif whole and not _may_be_left_out(column):
            faults[column.name] = Text("est exigé par le logiciel", en="is required by the software")
    return fitted, faults


def _may_be_left_out(column: sa.Column[Any]) -> bool:
    filled = column.server_default is not None or column.identity is not None or column.computed is not None
    # The key of a SQLite table, and any column a trigger fills, cannot be told from one nobody fills: let it be tried.
    return bool(column.nullable) or filled or column.primary_key


def _fitted(value: Any, column: sa.Column[Any], codec: str) -> Any:
    kind = getattr(column.type, "data_type", column.type)  # a domain of PostgreSQL stands for another type
    if value is None or (value == "" and not isinstance(kind, sa.String)):
        if not column.nullable and not column.primary_key and column.server_default is None:
            raise Unfit("est exigé par le logiciel", en="is required by the software")
        return None
    if isinstance(kind, sa.Enum):
        if str(value) not in kind.enums:
            raise Unfit(f"doit valoir {', '.join(kind.enums)}", en=f"must be {', '.join(kind.enums)}")
        return str(value)
    if isinstance(kind, sa.String):
        return _text(value, kind.length, codec)
    if isinstance(kind, sa.Boolean):
        return _truth(value)
    if isinstance(kind, sa.Integer):
        most = next(bound for family, bound in _INTEGERS.items() if isinstance(kind, family))
        return _whole(value, most)
    if isinstance(kind, sa.Numeric):  # floating point included
        return _decimal(value, kind)
    if isinstance(kind, sa.DateTime):
        return _instant(value, kind)
    if isinstance(kind, sa.Date):
        return _day(value)
    if isinstance(kind, sa.Uuid) or type(kind).__name__ in ("NullType", "UUID"):
        return value
    raise Misconfigured(
        Text(
            f"La colonne « {column.name} » est d'un type qui n'est pas pris en charge.",
            en=f'Column "{column.name}" has a type that is not supported.',
        ),
        detail=type(kind).__name__,
        processed=False,
    )


def _text(value: Any, length: int | None, codec: str) -> str:
    if isinstance(value, bool):
        value = "true" if value else "false"
    text = unicodedata.normalize("NFC", value.isoformat() if isinstance(value, dt.date) else str(value))
    if not _encodable(text, codec):
        text = "".join(c if _encodable(c, codec) else c.translate(_TYPED) for c in text)
    lost = sorted({c for c in text if c == "\0" or not _encodable(c, codec)})
    if lost:
        codes = ", ".join(f"U+{ord(c):04X}" for c in lost[:5])
        raise Unfit(
            f"contient des caractères que le logiciel ne sait pas écrire ({codes})",
            en=f"holds characters that the software cannot write ({codes})",
        )
    if length is not None and len(text) > length:
        raise Unfit(f"compte au plus {length} caractères", en=f"takes at most {length} characters")
    return text


def _truth(value: Any) -> bool:
    said = str(value).strip().lower()
    if said in _TRUE | _FALSE:
        return said in _TRUE
    raise Unfit("doit être vrai ou faux", en="must be true or false")


def _whole(value: Any, most: int) -> int:
    try:
        number = int(str(value).strip())
    except ValueError:
        raise Unfit("doit être un nombre entier", en="must be a whole number") from None
    if not -most <= number < most:
        raise Unfit("est un nombre trop grand pour le logiciel", en="is too large a number for the software")
    return number


def _decimal(value: Any, kind: sa.Numeric[Any]) -> Decimal | float:
    try:
        number = Decimal(str(value).strip().replace(",", "."))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise Unfit("doit être un nombre", en="must be a number")
    if isinstance(kind, sa.Float):
        return float(number)
    if kind.scale is not None and number != round(number, kind.scale):
        raise Unfit(f"compte au plus {kind.scale} décimales", en=f"takes at most {kind.scale} decimals")
    if kind.precision is not None and abs(number) >= Decimal(10) ** (kind.precision - (kind.scale or 0)):
        raise Unfit("est un nombre trop grand pour le logiciel", en="is too large a number for the software")
    return number if kind.asdecimal else float(number)


def _day(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        return (value.astimezone(TOWN_TIME) if value.tzinfo else value).date()
    if isinstance(value, dt.date):
        return value
    try:
        return dt.date.fromisoformat(str(value).strip())
    except ValueError:
        raise Unfit("doit être une date AAAA-MM-JJ", en="must be a date YYYY-MM-DD") from None


def _instant(value: Any, kind: sa.DateTime) -> dt.datetime:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if not isinstance(value, dt.datetime):
        try:
            value = dt.datetime.fromisoformat(str(value).strip())
        except ValueError:
            raise Unfit("doit être une date et une heure ISO 8601", en="must be an ISO 8601 date and time") from None
    moment: dt.datetime = value
    if kind.timezone:
        return moment if moment.tzinfo else moment.replace(tzinfo=TOWN_TIME)
    return moment.astimezone(TOWN_TIME).replace(tzinfo=None) if moment.tzinfo else moment
