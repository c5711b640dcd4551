"""Names of columns, and templates that compose them: `{Code_postal} {Nom_commune|title}`, as text and as SQL."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sdk.errors import Text
from sdk.matching import fold

from .types import Column

_LISTED = 40

_CHANGES: dict[str, Callable[[str, int], str]] = {
    "upper": lambda text, _: text.upper(),
    "lower": lambda text, _: text.lower(),
    "title": lambda text, _: text.title(),
    "trim": lambda text, _: " ".join(text.split()),
    "first": lambda text, count: text[:count],
    "last": lambda text, count: text[-count:] if count else "",
    "zeros": lambda text, count: text.zfill(count) if text else "",
}
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class UnknownColumn(Exception):
    """A `name` that is no column of the table, or a template that cannot be read; `message` says so, bilingual."""

    def __init__(self, name: str, message: Text) -> None:
        super().__init__(message)
        self.name = name
        self.message = message


class Columns:
    """The columns of a table, found by their exact name or, failing that, without regard to case and accents."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.all = tuple(columns)
        self._exact = {column.name: at for at, column in enumerate(columns)}
        loose: dict[str, list[int]] = {}
        for at, column in enumerate(columns):
            loose.setdefault(_loose(column.name), []).append(at)
        self._loose = {name: found[0] for name, found in loose.items() if len(found) == 1}

    def at(self, name: str) -> int:
        """The position of a column. Raises UnknownColumn, listing those that exist."""
        found = self._exact.get(name)
        if found is None:
            found = self._loose.get(_loose(name))
        if found is None:
            names = ", ".join(column.name for column in self.all[:_LISTED])
            french = f"colonne inconnue « {name} » ; colonnes : {names}"
            raise UnknownColumn(name, Text(french, en=f'unknown column "{name}"; columns: {names}'))
        return found

    @property
    def names(self) -> list[str]:
        """Their names, in the table's order."""
        return [column.name for column in self.all]

    def name(self, name: str) -> str:
        """The name as the table writes it. Raises UnknownColumn."""
        return self.all[self.at(name)].name

    def __contains__(self, name: str) -> bool:
        return name in self._exact or _loose(name) in self._loose

    def filtered(self, key: str) -> tuple[str, str]:
        """The column and the comparison of a filter: `code__gte` → `code`, `gte`; neither is verified."""
        if key in self or "__" not in key:
            return key, "eq"
        name, _, operator = key.rpartition("__")
        return name, operator

    def sql(self, expression: str) -> str:
        """A column name, or a template such as `{Code_postal} {Nom_commune|title}`, as an SQL expression of text."""
        if expression in self._exact or "{" not in expression:
            return f"c{self.at(expression)}"
        return " || ".join(self._part(part) for part in parts(expression)) or "''"

    def order(self, name: str) -> list[str]:
        """What rows are sorted by for a column or template (`-name`: descending): empty cells last, then its values."""
        descending, name = name.startswith("-"), name.removeprefix("-")
        sql = f"fold({self.sql(name)})"
        empty = f"{sql} = ''"
        if name in self:
            at = self.at(name)
            typed = self.all[at].type in ("integer", "decimal")
            sql, empty = (f"n{at}", f"n{at} IS NULL") if typed else (f"fold(c{at})", f"c{at} = ''")
        return [empty, f"{sql}{' DESC' if descending else ''}"]

    def _part(self, part: str | Place) -> str:
        if isinstance(part, str):
            return "'" + part.replace("'", "''") + "'"
        sql = f"c{self.at(part.column)}"
        for change, count in part.changes:
            sql = f"{change}_text({sql}, {count})"
        return sql


@dataclass(frozen=True, slots=True)
class Place:
    """A column in a template, and the changes its text goes through: `{code|zeros:5|first:2}`."""

    column: str
    changes: tuple[tuple[str, int], ...]


def parts(template: str) -> list[str | Place]:
    """The template's literal texts and places, in order; `{{` and `}}` are braces. Raises UnknownColumn."""
    found: list[str | Place] = []
    end = 0
    for match in _PLACE.finditer(template):
        literal, end = template[end : match.start()], match.end()
        if literal:
            found.append(literal)
        if match[0] in ("{{", "}}"):
            found.append(match[0][0])
        elif match[1]:
            name, *changes = match[1].split("|")
            found.append(Place(name.strip(), tuple(_change(change.strip(), template) for change in changes)))
        else:
            raise UnknownColumn(template, Text(f"modèle mal formé : {template}", en=f"malformed template: {template}"))
    if template[end:]:
        found.append(template[end:])
    return found


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with values in its places, changes applied. Raises UnknownColumn for a place without value."""
    filled = ""
    for part in parts(template):
        if isinstance(part, str):
            filled += part
            continue
        if part.column not in values:
            sentence = Text(f"« {part.column} » n'est pas donné", en=f'"{part.column}" is not given')
            raise UnknownColumn(part.column, sentence)
        text = values[part.column]
        for change, count in part.changes:
            text = _CHANGES[change](text, count)
        filled += text
    return filled


def _change(change: str, template: str) -> tuple[str, int]:
    name, _, count = change.partition(":")
    counted = name in ("first", "last", "zeros")
    if name not in _CHANGES or counted != bool(re.fullmatch(r"\d{1,2}", count)):
        known = "upper, lower, title, trim, first:N, last:N, zeros:N"
        raise UnknownColumn(
            template,
            Text(
                f"transformation inconnue « {change} » dans « {template} » ; possibles : {known}",
                en=f'unknown change "{change}" in "{template}"; known: {known}',
            ),
        )
    return name, int(count or 0)


def _loose(name: str) -> str:
    return re.sub(r"\W+", "_", fold(name)).strip("_")


def add_functions(database: sqlite3.Connection) -> None:
    """What the SQL of a template calls. It also stands in the indexes of our own files, which are therefore trusted."""
    database.execute("PRAGMA trusted_schema=ON")
    database.create_function("fold", 1, fold, deterministic=True)
    for name, change in _CHANGES.items():
        database.create_function(f"{name}_text", 2, change, deterministic=True)
