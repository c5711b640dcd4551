"""A table of a TOML file against a model: references to secrets resolved, every fault told with its line.

A reference is `{ env = "NAME" }` or `{ file = "secrets/name" }` (relative to the file), wherever the model expects
something else than a table. No message ever holds a value.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel

from sdk.errors import Text
from sdk.model import Secret, faults

from .errors import BadSettings
from .toml_lines import line_of

__all__ = ["NOWHERE", "Raw", "Reading", "Source"]

M = TypeVar("M", bound=BaseModel)


class Source:
    """The file: its name as shown, its folder, where its keys are, and the environment of the references."""

    def __init__(
        self, name: str, folder: Path, lines: Mapping[tuple[str, ...], int], environ: Mapping[str, str]
    ) -> None:
        self.name = name
        self.folder = folder
        self.lines = lines
        self.environ = environ

    def sentence(self, path: tuple[str, ...], fault: str) -> Text:
        """`relais.toml, line 14, clients.wcs.rights: …`"""
        line = line_of(self.lines, path)
        shown = ".".join(path)
        french, english = fault, getattr(fault, "en", fault)
        if not self.name:
            return Text(f"{shown} : {french}", en=f"{shown}: {english}")
        start = f"{self.name}, ligne {line}" if line else self.name
        start_en = f"{self.name}, line {line}" if line else self.name
        return Text(
            f"{start}, {shown} : {french}" if shown else f"{start} : {french}",
            en=f"{start_en}, {shown}: {english}" if shown else f"{start_en}: {english}",
        )


NOWHERE = Source("", Path(), {}, {})


class Raw(dict[str, Any]):
    """A table as written, read later by `validate_settings`; it remembers its place in the file. Never shown."""

    __slots__ = ("path", "source")

    def __init__(self, values: Mapping[str, Any], source: Source, path: tuple[str, ...]) -> None:
        super().__init__(values)
        self.source = source
        self.path = path

    def __repr__(self) -> str:
        return f"Raw({', '.join(self)})"


class Reading:
    """One reading of a table: resolves references, refuses unknown keys, and gathers every fault with its place."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.faults: list[tuple[tuple[str, ...], Text]] = []

    def add(self, path: tuple[str, ...], fault: str) -> None:
        if all(known != path for known, _ in self.faults):
            self.faults.append((path, self._source.sentence(path, fault)))

    def unknown(self, path: tuple[str, ...], key: str, expected: Iterable[str]) -> None:
        names = sorted(expected)
        close = difflib.get_close_matches(key, names, n=1)
        if close:
            said = Text(
                f"clé inconnue, vouliez-vous écrire « {close[0]} » ?", en=f'unknown key, did you mean "{close[0]}"?'
            )
        elif names:
            said = Text(
                f"clé inconnue ; sont attendues : {', '.join(names)}", en=f"unknown key; expected: {', '.join(names)}"
            )
        else:
            said = Text("clé inconnue : retirez-la", en="unknown key: remove it")
        self.add(path, said)

    def bad_settings(self) -> BadSettings:
        lines = self._source.lines
        ordered = sorted(self.faults, key=lambda fault: line_of(lines, fault[0]) or 0)
        return BadSettings(*(sentence for _, sentence in ordered))

    def validate(self, model: type[M], values: Mapping[str, Any], path: tuple[str, ...]) -> M | None:
        """The model, or None with the reasons in `faults`."""
        before = len(self.faults)
        prepared = self._model(model, values, path)
        try:
            settings = model.model_validate(prepared)
        except pydantic.ValidationError as error:
            for name, sentences in faults(error).items():
                steps = () if name == "body" else tuple(name.split("/"))
                place = (*path, *steps)
                if not any(known[: len(place)] == place for known, _ in self.faults):
                    self.add(place, sentences[0])
            return None
        return settings if len(self.faults) == before or path == () else None

    def _model(self, model: type[BaseModel], values: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        by_name = {name: field.alias or name for name, field in model.model_fields.items()}
        shown = [key for key in fields if not fields[key].exclude]
        prepared: dict[str, Any] = {}
        for key, value in values.items():
            known = key if key in fields else by_name.get(key)
            if known is not None:
                prepared[key] = self._value(fields[known].annotation, value, (*path, key))
            elif model.model_config.get("extra") == "allow":
                prepared[key] = self._value(Any, value, (*path, key))
            else:
                self.unknown((*path, key), key, shown)
        for key, field in fields.items():
            if field.is_required() and not {key, *(n for n, alias in by_name.items() if alias == key)} & set(values):
                example = _example(field.annotation, field.examples)
                self.add(
                    (*path, key),
                    Text(f"est obligatoire : écrivez {key} = {example}", en=f"is required: write {key} = {example}"),
                )
        return prepared

    def _value(self, annotation: Any, value: Any, path: tuple[str, ...]) -> Any:
        """`value` with its references resolved and its paths made relative to the file.

        A table is a reference only where a table is not expected.
        """
        tables = list(_tables(annotation))
        if isinstance(value, Raw) or (isinstance(value, dict) and not tables and annotation is Any):
            return value if isinstance(value, Raw) else self._untyped(value, path)
        if isinstance(value, str) and Path in _branches(annotation):
            return self._source.folder / value
        if isinstance(value, dict):
            for expected in tables:
                if isinstance(expected, type) and issubclass(expected, BaseModel):
                    return self._model(expected, value, path)
                inner = (*get_args(expected), Any, Any)[1]
                return {key: self._value(inner, item, (*path, key)) for key, item in value.items()}
            return self._reference(value, path)
        if isinstance(value, list):
            inner = next(_items(annotation), Any)
            return [self._value(inner, item, (*path, str(index))) for index, item in enumerate(value)]
        return value

    def _untyped(self, value: dict[str, Any], path: tuple[str, ...]) -> Any:
        return self._reference(value, path) if _is_reference(value) else value

    def _reference(self, value: dict[str, Any], path: tuple[str, ...]) -> Any:
        if not _is_reference(value):
            return value  # the model says what it expected instead
        (kind, name), *_ = value.items()
        if kind == "env":
            found = self._source.environ.get(name)
            if found is None:
                self.add(
                    path,
                    Text(
                        f"la variable d'environnement {name} n'est pas définie",
                        en=f"the environment variable {name} is not set",
                    ),
                )
            return "" if found is None else found
        file = self._source.folder / name
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "UTF-8"
            self.add(
                path,
                Text(
                    f"le fichier {name} ne peut pas être lu ({reason})", en=f"the file {name} cannot be read ({reason})"
                ),
            )
            return ""


def _is_reference(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in ("env", "file") and isinstance(next(iter(value.values())), str)


def _branches(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _tables(annotation: Any) -> Iterator[Any]:
    """The branches of an annotation that are written as a TOML table."""
    for branch in _branches(annotation):
        origin = get_origin(branch) or branch
        if isinstance(origin, type) and issubclass(origin, BaseModel | Mapping):
            yield branch


def _items(annotation: Any) -> Iterator[Any]:
    """What the items of a TOML array are expected to be."""
    for branch in _branches(annotation):
        origin = get_origin(branch)
        if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset) and get_args(branch):
            yield get_args(branch)[0]


def _example(annotation: Any, examples: Sequence[Any] | None) -> str:
    """What to write for a missing value."""
    if examples:
        return _toml(examples[0])
    branch = next(_branches(annotation), Any)
    origin = get_origin(branch) or branch
    if origin is Secret:
        return '{ env = "…" }'
    if isinstance(origin, type):
        if issubclass(origin, BaseModel | Mapping):
            return "{ … }"
        if issubclass(origin, list | tuple | set | frozenset):
            return "[…]"
        if issubclass(origin, bool):
            return "true"
        if issubclass(origin, int | float):
            return "…"
    return '"…"'


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
