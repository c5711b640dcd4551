"""Declarations: a typed, documented method is an endpoint, and everything else is read from it.

`Connector.__init_subclass__` reads the class body once, into `Endpoint` values; a wrong declaration is refused there,
by a sentence that says what to write. Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

import datetime as dt
import enum
import inspect
import re
import sys
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic import TypeAdapter

from .cadence import Cadence, ascending
from .errors import RelaisError
from .messages import Received
from .model import Choice, Choices, FeatureCollection, File, Geocoded, Hit, Invoice, Model, Progress

if TYPE_CHECKING:
    from .http import Http

MEGABYTE = 1024 * 1024

Delivery = Literal["idempotent", "reconcilable", "at-most-once", "at-least-once"]
Kind = Literal["read", "create", "update", "callback"]
CatchUp = Literal["once", "skip"]
"""What becomes of the turns that nobody could take: one run makes up for them all, or they are left out."""
Contract = Literal["choices", "hits", "map", "progress", "file", "invoice", "invoices", "places", "receipt", "data"]

Absent = Literal["later", "void"]
"""What `NotFound` of a followed object means: nothing yet, or that it ended without any effect."""

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
S = TypeVar("S", bound=Model)

_MARK = "__relais_declaration__"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_RESERVED_ENDPOINTS = {"up", "openapi.json"}
_RESERVED_CONNECTORS = {"health", "metrics", "deliveries", "static"}
_METHODS: dict[Kind, tuple[str, ...]] = {
    "read": ("GET",),
    "create": ("POST", "PUT"),
    "update": ("PUT", "POST", "PATCH", "DELETE"),
    "callback": ("POST", "GET"),
}


class DeclarationError(TypeError):
    """A connector is declared wrongly; the message says what to write instead. Raised when the class is defined."""


@dataclass(frozen=True)
class ErrorCode:
    """A documented error of the publisher: its code (`err_code` in answers), the error it becomes, its meaning."""

    code: str
    error: type[RelaisError]
    meaning: str


@dataclass(frozen=True)
class Declaration:
    """What a decorator was given, before the method is read."""

    kind: Kind | Literal["every"]
    path: str | None = None
    method: str | None = None
    cache: float = 0.0
    stale: float = 0.0
    delivery: str | None = None
    find: str | None = None
    longest: float | None = None
    reference: str | None = None
    key: tuple[str, ...] = ()
    unique_forms: bool = True
    errors: Sequence[type[RelaisError] | ErrorCode] = ()
    max_body: int = MEGABYTE
    deferred: bool = False
    follow: str | None = None
    follow_at: Cadence = ()
    absent: Absent = "later"
    subject: tuple[str, ...] = ()
    forget: bool = False
    looks: str | None = None
    interval: float = 0.0
    at_start: bool = False
    catch_up: CatchUp = "once"

    @property
    def needs_key(self) -> bool:
        """A second sending could create a second time: refused unless something tells the request apart."""
        return self.delivery in ("reconcilable", "at-most-once")

    @property
    def told_apart_by(self) -> tuple[str, ...]:
        """The body fields that two different requests never share: of their natural key and of their subject the first,
        which is enough, and their external reference.
        """
        return tuple(dict.fromkeys((*self.key[:1], *((self.reference,) if self.reference else ()), *self.subject[:1])))


@dataclass(frozen=True)
class Parameter:
    """A value of the path or of the query. `name` is the wire name, `argument` the method's."""

    name: str
    argument: str
    place: Literal["path", "query"]
    many: bool
    required: bool


@dataclass(frozen=True)
class Result:
    """What an endpoint answers: the contract it honours, and the type its values are held to."""

    contract: Contract
    annotation: Any
    adapter: TypeAdapter[Any]


@dataclass(frozen=True)
class Endpoint:
    """One endpoint, as declared. `segments` are the path after the instance: text, or a `Parameter` name in braces."""

    name: str
    segments: tuple[str, ...]
    method: str
    kind: Kind
    function: Callable[..., Awaitable[Any]]
    attribute: str
    summary: str
    description: str
    english: str
    parameters: tuple[Parameter, ...]
    arguments: type[Model]
    open_parameters: str | None
    received: str | None
    body: Any
    body_argument: str | None
    body_required: bool
    result: Result
    declaration: Declaration

    @cached_property
    def path(self) -> str:
        """The path below the instance, as documented: `requests/{number}/pdf`."""
        return "/".join(self.segments)

    def match(self, given: Sequence[str]) -> dict[str, str] | None:
        """The values of the placeholders when `given` segments are this path, else None."""
        if len(given) != len(self.segments):
            return None
        values: dict[str, str] = {}
        for declared, segment in zip(self.segments, given, strict=True):
            if declared.startswith("{"):
                if not segment:
                    return None
                values[declared[1:-1]] = segment
            elif declared != segment:
                return None
        return values

    @property
    def searchable(self) -> bool:
        """A list of choices: `q` and `id` are supplied by the gateway where the author did not take them."""
        return self.result.contract == "choices"

    def takes(self, name: str) -> bool:
        """Whether the method itself takes this query parameter."""
        return any(parameter.name == name for parameter in self.parameters)


@dataclass(frozen=True)
class Schedule:
    """A method run every `interval` seconds, once over all processes and nodes."""

    attribute: str
    interval: float
    at_start: bool
    catch_up: CatchUp
    function: Callable[..., Awaitable[None]]


class EndpointValue:
    """An endpoint written as a value (`rest_get(…)`, `csv_choices(…)`): it gives the method it stands for."""

    def method(self, attribute: str) -> Callable[..., Awaitable[Any]]:
        """The declared method; `attribute` is the name the value was given in the class body."""
        raise NotImplementedError

    def verify(self, connector: type[Connector[Any]]) -> None:
        """Refuses, when the class is defined, what the value cannot work with. Raises `DeclarationError`."""


# --- decorators -------------------------------------------------------------------------------------------------------


def _mark(declaration: Declaration) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        setattr(function, _MARK, declaration)
        return function

    return decorate


@typing.overload
def get(path: F, /) -> F: ...
@typing.overload
def get(
    path: str | None = None,
    /,
    *,
    cache: float = 0.0,
    stale: float = 0.0,
    errors: Sequence[type[RelaisError] | ErrorCode] = (),
) -> Callable[[F], F]: ...
def get(
    path: Any = None,
    /,
    *,
    cache: float = 0.0,
    stale: float = 0.0,
    errors: Sequence[type[RelaisError] | ErrorCode] = (),
) -> Any:
    """An endpoint without effect upstream: may be repeated, and cached for `cache` seconds.

    `stale`: seconds during which an expired result still answers when the publisher is unavailable.
    `path` defaults to the method's name with dashes; its placeholders are parameters: `"requests/{number}"`.
    """
    if callable(path):
        return _mark(Declaration("read"))(path)
    return _mark(Declaration("read", path, "GET", cache=cache, stale=stale, errors=errors))


def create(
    path: str | None = None,
    /,
    *,
    delivery: Delivery | None = None,
    find: str | None = None,
    longest: float | None = None,
    reference: str | None = None,
    key: Sequence[str] = (),
    unique_forms: bool = True,
    method: str = "POST",
    errors: Sequence[type[RelaisError] | ErrorCode] = (),
    max_body: int = MEGABYTE,
    deferred: bool = False,
    follow: str | None = None,
    follow_at: Cadence = (),
    absent: Absent = "later",
    subject: Sequence[str] = (),
    forget: bool = False,
) -> Callable[[F], F]:
    """An endpoint that creates something upstream. `delivery` is mandatory:

    `"idempotent"` the publisher itself drops a second equal request; `"reconcilable"` it can be searched by our
    reference (`find` names the method that does); `"at-most-once"` neither: never sent again without a human;
    `"at-least-once"` duplicates are harmless. `longest` is the publisher's longest processing time; `reference` names
    the body field that carries the external reference; `max_body` caps the request's size.

    `key` names the body fields that together tell two requests apart (tracking number, workflow step): the delivery's
    key when the caller sends no `Idempotency-Key`. Failing that, an equal body from the same form of a workflow engine
    (`Publik-Caller-URL`) is the same request, unless `unique_forms=False`.

    `deferred`: the caller gets a ticket at once, and the gateway carries the request out by itself; the final answer is
    read at `/deliveries/{id}` and told to the caller. `follow` names the `@get` method (one placeholder, the created
    id; it answers a `Progress`) by which the gateway follows what was created until `final`, at the ages `follow_at`
    (payments' by default: 2, 5, 15, 30, 60 minutes, hourly to 7 days, daily to 1 year); each change of status is told
    to the caller. A ticket may be asked there too, at once. `absent` says what its `NotFound` means: `"later"` nothing
    yet, `"void"` it ended without effect.

    `subject` names the body fields (or parameters) that say what the effect is about, a debt for instance: one
    delivery of a subject is under way at a time, and the method finds in `current_call().earlier` the ids made before,
    oldest first: it looks them up, then refuses, gives one of them again, or goes on.

    `forget`: the journal erases the request once it is done or refused, instead of after the days of the settings:
    for files that nobody may keep longer than their sending.
    """
    if callable(path):  # written without parentheses: refused with the class, since `delivery` is missing
        return _mark(Declaration("create", None, method))(path)
    return _mark(
        Declaration(
            "create",
            path,
            method,
            delivery=delivery,
            find=find,
            longest=longest,
            reference=reference,
            key=tuple(key),
            unique_forms=unique_forms,
            errors=errors,
            max_body=max_body,
            deferred=deferred,
            follow=follow,
            follow_at=tuple(follow_at),
            absent=absent,
            subject=tuple(subject),
            forget=forget,
        )
    )


def update(
    path: str | None = None,
    /,
    *,
    delivery: Delivery | None = None,
    find: str | None = None,
    longest: float | None = None,
    reference: str | None = None,
    key: Sequence[str] = (),
    unique_forms: bool = True,
    method: str = "PUT",
    errors: Sequence[type[RelaisError] | ErrorCode] = (),
    max_body: int = MEGABYTE,
) -> Callable[[F], F]:
    """An endpoint that changes something upstream; as `create`, with `method` PUT, POST, PATCH or DELETE."""
    return _mark(
        Declaration(
            "update",
            path,
            method,
            delivery=delivery,
            find=find,
            longest=longest,
            reference=reference,
            key=tuple(key),
            unique_forms=unique_forms,
            errors=errors,
            max_body=max_body,
        )
    )


@typing.overload
def callback(path: F, /) -> F: ...
@typing.overload
def callback(
    path: str | None = None, /, *, method: str = "POST", max_body: int = ..., looks: str | None = None
) -> Callable[[F], F]: ...
def callback(path: Any = None, /, *, method: str = "POST", max_body: int = MEGABYTE, looks: str | None = None) -> Any:
    """An endpoint the publisher calls, without a caller's account: the method must itself verify what it is told.

    It takes a model (form or JSON), or a parameter of type `Received`: headers and raw body, to check a signature.

    `looks` names the `@create` method whose followed objects it tells about: the method then returns the publisher's
    id to look at now (or several, or None), and the gateway looks by itself. A trigger only: nothing that was told is
    believed, an unknown id changes nothing, and the publisher is answered at once.
    """
    if callable(path):
        return _mark(Declaration("callback", None, method))(path)
    return _mark(Declaration("callback", path, method, max_body=max_body, looks=looks))


def every(interval: float, /, *, at_start: bool = False, catch_up: CatchUp = "once") -> Callable[[F], F]:
    """Runs the method every `interval` seconds, in one process of all nodes; `at_start` also when a node starts.

    Turns missed while the gateway was down are made up for by one run (`catch_up="once"`), or left out (`"skip"`).
    """
    return _mark(Declaration("every", interval=interval, at_start=at_start, catch_up=catch_up))


# --- the connector ----------------------------------------------------------------------------------------------------


class Connector(Generic[S]):
    """Base of every connector: `class Atal(Connector[Settings])`, with `name`, `title` and endpoints.

    The gateway gives an instance its settings and its `http`, and closes what it gave; what a connector opens besides
    (a database) it closes in `close`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    category: ClassVar[str] = ""
    confidence: ClassVar[str] = ""
    """What is only assumed of the publisher's interface, shown where users see the connector; empty when proved."""

    settings_model: ClassVar[type[Model]]
    endpoints: ClassVar[tuple[Endpoint, ...]]
    schedules: ClassVar[tuple[Schedule, ...]]
    summary: ClassVar[str]
    about: ClassVar[str]
    english: ClassVar[str]

    settings: S
    http: Http

    def __init__(self, settings: S, http: Http) -> None:
        self.settings = settings
        self.http = http

    @classmethod
    def folder(cls) -> Path:
        """Where the connector's module stands, with its WSDL, tables and samples."""
        return Path(inspect.getfile(cls)).parent

    @classmethod
    def file(cls, name: str) -> Path:
        """A file that stands beside the connector's module (a WSDL, a table), or beside that of one it extends."""
        for kind in cls.__mro__[: cls.__mro__.index(Connector)]:
            path = Path(inspect.getfile(kind)).parent / name
            if path.is_file():
                return path
        raise DeclarationError(f"{cls.__name__} has no file {name!r} beside its module: put it there.")

    async def check(self) -> None:
        """One cheap read that proves address and credentials; raises one of the six errors. Override it."""
        raise NotImplementedError

    async def close(self) -> None:
        """The instance stops: closes what it opened besides `http`. Called once, after its last call."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        frame = sys._getframe(1)
        _read_class(cls, frame.f_locals)


def _read_class(cls: type[Connector[Any]], names: Mapping[str, Any]) -> None:
    where = cls.__name__
    for attribute, value in list(vars(cls).items()):
        if isinstance(value, EndpointValue):
            value.verify(cls)
            setattr(cls, attribute, value.method(attribute))
    settings = next(
        (
            args[0]
            for base in getattr(cls, "__orig_bases__", ())
            if (args := get_args(base)) and isinstance(args[0], type) and issubclass(args[0], Model)
        ),
        getattr(cls, "settings_model", None),
    )
    if settings is None:
        raise DeclarationError(f"Write class {where}(Connector[Settings]): the settings model is read from there.")
    try:
        settings.model_rebuild()
    except pydantic.errors.PydanticUndefinedAnnotation as error:
        raise DeclarationError(
            f"{settings.__name__}: the type {error.name!r} is unknown in its module: import or define it."
        ) from None
    for attribute in ("name", "title"):
        if not isinstance(getattr(cls, attribute, None), str):
            raise DeclarationError(f'{where} needs a {attribute}: write {attribute} = "…" in the class body.')
    if not _NAME.fullmatch(cls.name) or cls.name in _RESERVED_CONNECTORS:
        raise DeclarationError(
            f"{where}.name is {cls.name!r}: use lower-case letters, digits, - and _ only, "
            f"and none of {', '.join(sorted(_RESERVED_CONNECTORS))}."
        )
    if not (vars(cls).get("__doc__") or "").strip():
        raise DeclarationError(f"{where} needs a docstring: its first line introduces the connector.")
    if not inspect.iscoroutinefunction(cls.check):
        raise DeclarationError(f"Write async def check(self) -> None in {where}.")
    cls.settings_model = settings
    cls.summary, described, cls.english = _public_text(where, cls)
    cls.about = f"{cls.summary}\n\n{described}".strip()
    endpoints: list[Endpoint] = []
    schedules: list[Schedule] = []
    members = {
        attribute: value
        for base in reversed(cls.__mro__)
        for attribute, value in vars(base).items()
        if hasattr(value, _MARK) or attribute in vars(cls)
    }
    for attribute, function in members.items():
        declaration = getattr(function, _MARK, None)
        if declaration is None:
            continue
        if not inspect.iscoroutinefunction(function):
            raise DeclarationError(f"Write async def {attribute}(…) in {where}: endpoints never block.")
        if attribute in ("check", "close"):
            raise DeclarationError(f"{where}.{attribute} is called by the gateway: give the endpoint another name.")
        if declaration.kind == "every":
            if declaration.interval <= 0 or len(inspect.signature(function).parameters) != 1:
                raise DeclarationError(f"Write @every(seconds) on async def {attribute}(self) -> None in {where}.")
            if declaration.catch_up not in typing.get_args(CatchUp):
                raise DeclarationError(f'{where}.{attribute}: write catch_up="once" or "skip".')
            schedules.append(
                Schedule(attribute, declaration.interval, declaration.at_start, declaration.catch_up, function)
            )
        else:
            endpoints.append(_read_endpoint(cls, attribute, function, declaration, names))
    _refuse_twins(where, endpoints)
    for endpoint in endpoints:
        _check_follow(where, endpoint, endpoints)
    cls.endpoints = tuple(endpoints)
    cls.schedules = tuple(schedules)


def _refuse_twins(where: str, endpoints: Sequence[Endpoint]) -> None:
    seen: dict[tuple[str, ...], Endpoint] = {}
    for endpoint in endpoints:
        shape = (endpoint.method, *("{}" if s.startswith("{") else s for s in endpoint.segments))
        if twin := seen.get(shape):
            raise DeclarationError(
                f"{where}.{endpoint.attribute} and {where}.{twin.attribute} both answer "
                f"{endpoint.method} {endpoint.path}: give one of them another path."
            )
        seen[shape] = endpoint


def _check_follow(where: str, endpoint: Endpoint, endpoints: Sequence[Endpoint]) -> None:
    """What one endpoint says of another must be there and fit."""
    declaration, where = endpoint.declaration, f"{where}.{endpoint.attribute}"
    named = {other.attribute: other for other in endpoints}
    if (declaration.follow or declaration.subject) and endpoint.result.contract != "receipt":
        raise DeclarationError(f"{where} is followed or has a subject: return a Receipt, or a model with an id.")
    if declaration.follow is not None:
        look = named.get(declaration.follow)
        if look is None or look.kind != "read" or look.result.contract != "progress" or not _by_id(look):
            raise DeclarationError(
                f"{where}: follow={declaration.follow!r} must name a @get method of the class that answers a Progress, "
                "with one placeholder in its path for the created id and nothing else that is required: "
                '@get("payments/{id}").'
            )
    elif declaration.follow_at or declaration.absent != "later":
        raise DeclarationError(f'{where}: follow_at= and absent= go with follow="…": name the method that looks.')
    if not ascending(declaration.follow_at):
        raise DeclarationError(
            f"{where}: follow_at= lists ages in seconds, ascending, or (every, until): (2 * MINUTE, (HOUR, 7 * DAY))."
        )
    if declaration.absent not in get_args(Absent):
        raise DeclarationError(f"{where}: absent={declaration.absent!r} is not one of {', '.join(get_args(Absent))}.")
    if declaration.looks is not None:
        made = named.get(declaration.looks)
        if made is None or made.declaration.follow is None:
            raise DeclarationError(
                f"{where}: looks={declaration.looks!r} must name a @create method of the class that has follow=…."
            )


def _by_id(look: Endpoint) -> bool:
    """Whether the created id is all that the endpoint needs."""
    needed = [parameter for parameter in look.parameters if parameter.required or parameter.place == "path"]
    return len(needed) == 1 and needed[0].place == "path"


def _read_endpoint(
    cls: type[Connector[Any]],
    attribute: str,
    function: Callable[..., Awaitable[Any]],
    declaration: Declaration,
    names: Mapping[str, Any],
) -> Endpoint:
    where = f"{cls.__name__}.{attribute}"
    kind: Kind = declaration.kind  # type: ignore[assignment]
    summary, description, english = _public_text(where, function)
    segments = _segments(where, declaration.path if declaration.path is not None else attribute.replace("_", "-"))
    method = declaration.method or "GET"
    if method not in _METHODS[kind]:
        raise DeclarationError(f"{where}: method={method!r} is not one of {', '.join(_METHODS[kind])} here.")
    _check_delivery(cls, where, kind, declaration)
    hints = _hints(where, function, names)
    returned = hints.get("return", inspect.Parameter.empty)
    if declaration.looks is not None:
        if returned not in _IDS:
            raise DeclarationError(f"{where} has looks=…: write -> str | None or -> list[str], the ids to look at now.")
        returned = type(None)
    result = _result(where, kind, returned)
    placeholders = {s[1:-1] for s in segments if s.startswith("{")}
    fields: dict[str, Any] = {}
    parameters: list[Parameter] = []
    subjects: set[str] = set()
    open_parameters = body = body_argument = received = None
    body_required = False
    for argument in list(inspect.signature(function).parameters.values())[1:]:
        hint = hints.get(argument.name)
        if argument.kind is argument.VAR_KEYWORD:
            if hint is not str:
                raise DeclarationError(f"{where}: write **{argument.name}: str; it receives all other query values.")
            open_parameters = argument.name
            continue
        if argument.kind is argument.VAR_POSITIONAL or hint is None:
            raise DeclarationError(f"{where}: give {argument.name} a type: it says how the value is read and refused.")
        if hint is Received:
            if kind != "callback":
                raise DeclarationError(f"{where}: only a @callback takes the call as received; remove {argument.name}.")
            received = argument.name
            continue
        required = argument.default is argument.empty
        wire = argument.name.rstrip("_")
        if _is_body(hint):
            if kind == "read":
                raise DeclarationError(
                    f"{where}: a @get takes simple parameters; {argument.name} is a model. "
                    "List its fields as parameters, or use @create or @update."
                )
            if body_argument is not None:
                raise DeclarationError(f"{where}: one body per endpoint; {body_argument} and {argument.name} are two.")
            body, body_argument, body_required = TypeAdapter(hint), argument.name, required
            subjects |= _body_fields(hint)
            continue
        many = _simple(where, argument.name, hint)
        place: Literal["path", "query"] = "path" if wire in placeholders else "query"
        placeholders.discard(wire)
        default = ... if required else argument.default
        # An alias, since a parameter may bear the name of one of pydantic's own attributes (`json`, `copy`).
        fields[f"p_{wire}"] = (hint, pydantic.Field(default, alias=wire))
        parameters.append(Parameter(wire, argument.name, place, many, required))
    if unknown := set(declaration.subject) - subjects - {parameter.name for parameter in parameters}:
        raise DeclarationError(f"{where}: subject={min(unknown)!r} names no field of the body and no parameter.")
    if placeholders:
        raise DeclarationError(f"{where}: the path names {{{min(placeholders)}}} but the method has no such parameter.")
    arguments = pydantic.create_model(
        f"{cls.__name__}_{attribute}", __base__=Model, __module__=cls.__module__, **fields
    )
    return Endpoint(
        name=segments[0],
        segments=segments,
        method=method,
        kind=kind,
        function=function,
        attribute=attribute,
        summary=summary,
        description=description,
        english=english,
        parameters=tuple(parameters),
        arguments=arguments,
        open_parameters=open_parameters,
        received=received,
        body=body,
        body_argument=body_argument,
        body_required=body_required,
        result=result,
        declaration=declaration,
    )


def _public_text(where: str, documented: Any) -> tuple[str, str, str]:
    """Summary, description, and what follows a line `English:`, from the docstring."""
    text = inspect.cleandoc(documented.__doc__ or "")
    if not text:
        raise DeclarationError(f"{where} needs a docstring: its first line is the endpoint's public summary.")
    french, _, english = text.partition("\nEnglish:")
    summary, _, description = french.strip().partition("\n")
    return summary.strip(), description.strip(), inspect.cleandoc(english.strip())


def _segments(where: str, path: str) -> tuple[str, ...]:
    segments = tuple(path.strip("/").split("/"))
    if not _NAME.fullmatch(segments[0]) or segments[0] in _RESERVED_ENDPOINTS:
        raise DeclarationError(
            f"{where}: the path {path!r} must start with a name of lower-case letters, digits, - or _, "
            f"other than {' and '.join(sorted(_RESERVED_ENDPOINTS))}."
        )
    for segment in segments[1:]:
        if not re.fullmatch(r"\{[a-z_][a-z0-9_]*\}|[A-Za-z0-9._-]+", segment):
            raise DeclarationError(f"{where}: write {segment!r} of the path as plain text or as {{parameter}}.")
    return segments


def _check_delivery(cls: type[Connector[Any]], where: str, kind: Kind, declaration: Declaration) -> None:
    if kind not in ("create", "update"):
        return
    accepted = get_args(Delivery)
    if declaration.delivery not in accepted:
        raise DeclarationError(
            f'{where} has an effect upstream: write delivery="…" with one of {", ".join(accepted)} '
            "(what happens if it is sent twice)."
        )
    if declaration.delivery == "reconcilable" and not inspect.iscoroutinefunction(
        getattr(cls, declaration.find or "", None)
    ):
        raise DeclarationError(
            f'{where} is reconcilable: write find="…", the name of the async method that searches by our reference.'
        )


def _hints(where: str, function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, localns=dict(names), include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{where}: the type {error.name!r} is unknown in its module: import or define it."
        ) from None


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_body(hint: Any) -> bool:
    hint = _bare(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(_is_body(arg) for arg in get_args(hint))
    if get_origin(hint) is list:
        return _is_body(get_args(hint)[0])
    return isinstance(hint, type) and issubclass(hint, pydantic.BaseModel)


_IDS: tuple[Any, ...] = (str, str | None, list[str], list[str] | None, str | list[str], str | list[str] | None)


def _body_fields(hint: Any) -> set[str]:
    """The names of a body's fields, where it is one model."""
    hint = _bare(hint)
    return set(hint.model_fields) if isinstance(hint, type) and issubclass(hint, pydantic.BaseModel) else set()


_SIMPLE = (str, int, float, bool, Decimal, dt.date, dt.datetime, dt.time)


def _simple(where: str, name: str, hint: Any) -> bool:
    """Whether the parameter may come several times; refuses a type a query cannot carry."""
    hint = _bare(hint)
    origin = get_origin(hint)
    if origin is list:
        _simple(where, name, get_args(hint)[0])
        return True
    if origin in (Union, types.UnionType):
        return any(_simple(where, name, arg) for arg in get_args(hint) if arg is not type(None))
    if origin is Literal or (isinstance(hint, type) and issubclass(hint, (*_SIMPLE, enum.Enum))):
        return False
    raise DeclarationError(
        f"{where}: {name} has a type a query cannot carry; use str, int, float, bool, Decimal, date, datetime, time, "
        "an enumeration, a Literal, or a list of one of them."
    )


def _result(where: str, kind: Kind, hint: Any) -> Result:
    if hint is inspect.Parameter.empty:
        raise DeclarationError(f"{where} needs a return type: it names the contract the endpoint honours.")
    bare = _bare(hint)
    if bare is Choices:
        hint = bare = list[Choice]
    item = get_args(bare)[0] if get_origin(bare) is list else bare
    listed = get_origin(bare) is list
    contract: Contract
    if bare is None or bare is type(None):
        contract = "data"
    elif not (isinstance(item, type) and issubclass(item, pydantic.BaseModel)) and item is not File:
        raise DeclarationError(
            f"{where} answers {hint!r}: answer a Model, a list of one, a File or None, so that its shape is published."
        )
    elif issubclass(item, File):
        if listed:
            raise DeclarationError(f"{where}: one File per answer.")
        contract = "file"
    elif issubclass(item, Choice) and listed:
        contract = "choices"
    elif issubclass(item, Hit) and listed:
        contract = "hits"
    elif issubclass(item, FeatureCollection) and not listed:
        contract = "map"
    elif issubclass(item, Progress) and not listed:
        contract = "progress"
    elif issubclass(item, Invoice):
        contract = "invoices" if listed else "invoice"
    elif issubclass(item, Geocoded) and listed:
        contract = "places"
    elif kind in ("create", "update") and "id" in item.model_fields and not listed:
        contract = "receipt"
    else:
        contract = "data"
    return Result(contract, hint, TypeAdapter(hint))
