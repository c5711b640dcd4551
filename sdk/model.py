"""What crosses the outside: settings, request bodies, results. Field names are the wire names.

A `Model` refuses unknown fields, never repeats a received value in an error, and reads what w.c.s. really sends:
numbers for text (`35000`), text for numbers (`"12.50"`), `True`/`False` as text, `""` or null for a field left empty.
The result models below name the contract an endpoint honours; their shapes are those Publik reads.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, overload
from urllib.parse import urlsplit

import nh3
import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from .errors import InvalidInput, Text
from .files import File

__all__ = [
    "Choice",
    "Choices",
    "Feature",
    "FeatureCollection",
    "Field",
    "File",
    "Geocoded",
    "Hit",
    "HttpUrl",
    "Invoice",
    "Model",
    "Progress",
    "Receipt",
    "Row",
    "Secret",
    "read",
]

M = TypeVar("M", bound="Model")
P = TypeVar("P", bound="Model")


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(
            Text(
                "doit être une adresse http(s) complète, sans identifiants",
                en="must be a whole http(s) address, without credentials",
            )
        )
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url), Field(json_schema_extra={"format": "uri"})]
"""An absolute http(s) address, as text and unchanged; credentials inside it are refused."""


class Secret(SecretStr):
    """A value that no log, page, error or representation shows; `reveal()` gives it to the code that sends it."""

    def reveal(self) -> str:
        """The value itself: only for the bytes that go to the publisher."""
        return self.get_secret_value()


class Model(BaseModel):
    """Base of settings, bodies and results: immutable, no unknown field, no value in error texts."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        validate_default=False,
        populate_by_name=True,
        arbitrary_types_allowed=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_means_absent(cls, data: Any) -> Any:
        """`null`, and `""` where the field is not text, stand for a field left empty: its default applies."""
        if type(data) is dict:
            if None not in (values := data.values()) and "" not in values:
                return data  # as most are: nothing is empty
        elif not isinstance(data, Mapping):
            return data
        kept: dict[str, Any] = {}
        for name, value in data.items():
            if value is None or value == "":
                accepted = _accepted(cls, name)
                if accepted is not None and _absent_when_empty(accepted, value):
                    if not accepted.required:
                        continue
                    value = None if type(None) in accepted.types else value
            kept[name] = value
        return kept


@dataclass(frozen=True, slots=True)
class _Accepted:
    types: frozenset[Any]
    required: bool


@lru_cache(maxsize=4096)
def _accepted(cls: type[BaseModel], name: str) -> _Accepted | None:
    """What a field takes, by its name or its alias."""
    field = cls.model_fields.get(name) or next((f for f in cls.model_fields.values() if f.alias == name), None)
    return None if field is None else _Accepted(frozenset(_leaf_types(field.annotation)), field.is_required())


def _absent_when_empty(accepted: _Accepted, value: Any) -> bool:
    if value is None:
        return type(None) not in accepted.types
    return str not in accepted.types and Any not in accepted.types


def _leaf_types(annotation: Any) -> set[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        kind, *rules = get_args(annotation)
        # Text with a rule of its own (an address) cannot be empty: there, "" means absent.
        return {annotation} if any(isinstance(rule, AfterValidator) for rule in rules) else _leaf_types(kind)
    if origin in (Union, types.UnionType):
        return set().union(*(_leaf_types(arg) for arg in get_args(annotation)))
    if origin is Literal:
        return {type(arg) for arg in get_args(annotation) if arg == ""}
    return {origin or annotation}


def read(model: type[M], data: Any) -> M:
    """An upstream's object as a model, members the model does not name left out.

    Raises pydantic's ValidationError, which the gateway answers as `UpstreamInvalid` (field names only).
    """
    return model.__pydantic_validator__.validate_python(data, extra="ignore")  # type: ignore[no-any-return]


class Row(Model):
    """A line of a table: any columns, as they come."""

    model_config = ConfigDict(extra="allow")

    if TYPE_CHECKING:

        def __init__(self, **columns: Any) -> None: ...


class Choice(Model):
    """An item of a form's list. `id` is unique in the list; extra members become form variables.

    w.c.s. silently skips an item without `id` or whose `text` is not text, so neither can be left out here.
    """

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"id": "12", "text": "École Pasteur"}]})

    id: str = Field(min_length=1, description="Identifier, unique in the list")
    text: str = Field(description="Label shown in the form")
    disabled: bool = Field(default=False, description="Shown but not selectable", exclude_if=lambda value: not value)

    if TYPE_CHECKING:

        def __init__(self, *, id: str, text: str, **more: Any) -> None: ...


class Choices(Sequence[Choice]):
    """A list of choices that is written already: an endpoint answers it as it is. Read, it is a sequence of `Choice`.

    `written` are JSON objects, each id once; whoever makes them keeps the promise of a `Choice` for each.
    """

    __slots__ = ("_count", "_read", "json")

    def __init__(self, written: Collection[bytes]) -> None:
        self.json = b"[" + b",".join(written) + b"]"
        self._count = len(written)
        self._read: list[Choice] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Choice: ...
    @overload
    def __getitem__(self, at: slice) -> list[Choice]: ...
    def __getitem__(self, at: int | slice) -> Choice | list[Choice]:
        if self._read is None:
            self._read = _CHOICES.validate_json(self.json)
        return self._read[at]


_CHOICES = pydantic.TypeAdapter(list[Choice])


class Hit(Model):
    """A result of a portal search. `url` is absolute; HTML in `description` is made safe (scripts removed)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://ged.example.org/d/88", "text": "Dossier 88", "description": "Ouvert"}]
        }
    )

    url: HttpUrl
    text: str
    description: str = ""

    @field_validator("description")
    @classmethod
    def _safe_html(cls, value: str) -> str:
        return nh3.clean(value) if "<" in value or "&" in value else value


class Receipt(Model):
    """A request created upstream. `display_id` replaces the form's public number in w.c.s. when set."""

    id: str = Field(min_length=1, description="The publisher's identifier, for follow-up")
    display_id: str | None = Field(
        default=None, description="Number shown to the citizen", exclude_if=lambda v: v is None
    )


class Progress(Model):
    """Where a request stands. `status` is the publisher's own word, untouched; polling may stop once `final`.

    `void` tells that it ended without any effect (a payment that was abandoned): another may be made for the same
    subject.
    """

    id: str = Field(min_length=1)
    status: str = Field(description="The publisher's status, untouched")
    text: str = Field(default="", description="The status in words, for the citizen")
    final: bool = Field(description="Nothing more will happen")
    void: bool = Field(default=False, description="It ended without any effect", exclude_if=lambda v: not v)
    updated: datetime | None = Field(default=None, exclude_if=lambda v: v is None)


class Invoice(Model):
    """An invoice as Publik's portal reads it. Amounts are euros, exact decimals; `amount` is what is still due."""

    id: str = Field(min_length=1)
    display_id: str
    label: str
    amount: Decimal
    total_amount: Decimal
    created: date
    pay_limit_date: date | Literal[""] = ""
    paid: bool
    payment_date: date | None = Field(default=None, exclude_if=lambda v: v is None)
    online_payment: bool
    no_online_payment_reason: str | None = Field(default=None, exclude_if=lambda v: v is None)
    has_pdf: bool = False


class Geocoded(Model):
    """A place, for Publik's geocoding (a bare array outside the envelope). Degrees, WGS 84, as text."""

    model_config = ConfigDict(extra="allow")

    lat: str
    lon: str
    display_name: str


class Point(Model):
    """A GeoJSON point: `coordinates` is [longitude, latitude], degrees WGS 84."""

    type: Literal["Point"] = "Point"
    coordinates: tuple[float, float]

    @field_validator("coordinates")
    @classmethod
    def _on_earth(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not (-180 <= value[0] <= 180 and -90 <= value[1] <= 90):
            raise ValueError("expected [longitude, latitude] in degrees")
        return value


class Feature(Model, Generic[P]):
    """One object of a map. Its `id` is repeated in `properties`, where maps look for it."""

    type: Literal["Feature"] = "Feature"
    id: str = Field(min_length=1)
    geometry: Point
    properties: P

    @pydantic.model_serializer(mode="wrap")
    def _id_at_both_levels(self, serialize: pydantic.SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]
        # Without a return type pydantic keeps publishing the fields' own schema.
        data: dict[str, Any] = serialize(self)
        data["properties"] = {"id": self.id, **data["properties"]}
        return data


class FeatureCollection(Model, Generic[P]):
    """Objects of a map; `properties` needs at least `text`, the label of each object."""

    type: Literal["FeatureCollection"] = "FeatureCollection"
    features: list[Feature[P]]


# --- what a validation error says -------------------------------------------------------------------------------------

_SENTENCES: dict[str, tuple[str, str]] = {
    "missing": ("est obligatoire", "is required"),
    "extra_forbidden": ("n'est pas attendu ici", "is not expected here"),
    "string_type": ("doit être un texte", "must be text"),
    "string_too_short": ("doit compter au moins {min_length} caractère(s)", "needs at least {min_length} character(s)"),
    "string_too_long": ("compte au plus {max_length} caractères", "takes at most {max_length} characters"),
    "string_pattern_mismatch": ("n'a pas la forme attendue : {pattern}", "does not have the form {pattern}"),
    "int_type": ("doit être un nombre entier", "must be a whole number"),
    "int_parsing": ("doit être un nombre entier", "must be a whole number"),
    "int_from_float": ("doit être un nombre entier", "must be a whole number"),
    "float_type": ("doit être un nombre", "must be a number"),
    "float_parsing": ("doit être un nombre", "must be a number"),
    "finite_number": ("doit être un nombre fini", "must be a finite number"),
    "decimal_type": ("doit être un nombre décimal", "must be a decimal number"),
    "decimal_parsing": ("doit être un nombre décimal", "must be a decimal number"),
    "decimal_max_places": ("compte au plus {decimal_places} décimales", "takes at most {decimal_places} decimals"),
    "bool_type": ("doit être vrai ou faux", "must be true or false"),
    "bool_parsing": ("doit être vrai ou faux", "must be true or false"),
    "date_type": ("doit être une date AAAA-MM-JJ", "must be a date YYYY-MM-DD"),
    "date_parsing": ("doit être une date AAAA-MM-JJ", "must be a date YYYY-MM-DD"),
    "date_from_datetime_parsing": ("doit être une date AAAA-MM-JJ", "must be a date YYYY-MM-DD"),
    "datetime_type": ("doit être une date et une heure ISO 8601", "must be an ISO 8601 date and time"),
    "datetime_parsing": ("doit être une date et une heure ISO 8601", "must be an ISO 8601 date and time"),
    "datetime_from_date_parsing": ("doit être une date et une heure ISO 8601", "must be an ISO 8601 date and time"),
    "time_parsing": ("doit être une heure HH:MM", "must be a time HH:MM"),
    "enum": ("doit valoir {expected}", "must be {expected}"),
    "literal_error": ("doit valoir {expected}", "must be {expected}"),
    "list_type": ("doit être une liste", "must be a list"),
    "dict_type": ("doit être un objet", "must be an object"),
    "model_type": ("doit être un objet", "must be an object"),
    "model_attributes_type": ("doit être un objet", "must be an object"),
    "greater_than": ("doit être supérieur à {gt}", "must be greater than {gt}"),
    "greater_than_equal": ("doit être au moins {ge}", "must be at least {ge}"),
    "less_than": ("doit être inférieur à {lt}", "must be less than {lt}"),
    "less_than_equal": ("doit être au plus {le}", "must be at most {le}"),
    "too_short": ("doit compter au moins {min_length} élément(s)", "needs at least {min_length} item(s)"),
    "too_long": ("compte au plus {max_length} élément(s)", "takes at most {max_length} item(s)"),
}


def faults(error: pydantic.ValidationError, *, skip: int = 0) -> dict[str, list[str]]:
    """Field path → what is wrong with it, each a `Text`; never a received value.

    Paths are those a form author writes: `contact/email`, `lines/0/amount`. `skip` leading steps are left out.
    """
    found: dict[str, list[str]] = {}
    for item in error.errors(include_input=False, include_url=False):
        path = "/".join(str(step) for step in item["loc"][skip:] if not _is_union_tag(step)) or "body"
        context = {key: str(value) for key, value in item.get("ctx", {}).items() if key != "error"}
        if item["type"] in _SENTENCES:
            french, english = _SENTENCES[item["type"]]
            in_french = {key: value.replace("' or '", "' ou '") for key, value in context.items()}
            sentence = Text(french.format(**in_french), en=english.format(**context))
        elif item["type"] == "value_error":
            cause = item["ctx"]["error"]
            said = cause.args[0] if cause.args else ""
            sentence = said if isinstance(said, Text) else Text(str(said), en=str(said))
        else:
            sentence = Text("n'est pas valable", en="is not valid")
        found.setdefault(path, []).append(sentence)
    return found


def _is_union_tag(step: int | str) -> bool:
    """Pydantic names the member of a union it tried, which means nothing to a caller: `function-after[…]`, `str`."""
    return isinstance(step, str) and ("[" in step or step in ("str", "int", "float", "bool", "decimal", "none"))


def invalid_input(fields: Mapping[str, list[str]]) -> InvalidInput:
    """The one way to refuse a caller's fields: a sentence that names them all, and `fields` for the details."""
    french = " ; ".join(f"« {name} » {sentences[0]}" for name, sentences in fields.items())
    english = "; ".join(f'"{name}" {getattr(sentences[0], "en", sentences[0])}' for name, sentences in fields.items())
    return InvalidInput(Text(f"{french}.", en=f"{english}."), fields=fields)
