"""Endpoints written as values, for what needs no code. When one outgrows its value, write a method of the same name.

    class Trees(Connector[Settings]):
        name, title = "trees", "Arbres"
        species = rest_get("/species", summary="Essences", result=list[Choice], fields={"id": "code"})
        streets = csv_choices("rues.csv", summary="Les rues", id="code", text="{type} {nom}")

The address of the publisher is the setting `url`; authentication is whatever the connector wrapped `self.http` with.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin
from urllib.parse import quote

from .errors import RelaisError, Text, UpstreamInvalid
from .model import Choices, Model, read
from .rest import Rest
from .spec import Connector, Delivery, EndpointValue, ErrorCode, create, get
from .tabular import Table, TableOptions

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class _Rest(EndpointValue):
    verb: str
    path: str
    summary: str
    result: Any
    query: Mapping[str, Any]
    at: str
    fields: Mapping[str, str]
    body: type[Model] | None
    mark: Callable[[Any], Any]
    own_path: str | None = None

    def method(self, attribute: str) -> Callable[..., Awaitable[Any]]:
        placeholders = _PLACEHOLDER.findall(self.path)

        async def call(connector: Connector[Any], **given: Any) -> Any:
            path = _PLACEHOLDER.sub(lambda found: quote(str(given[found[1]]), safe=""), self.path)
            params = {name: str(given[name]) for name in self.query if given.get(name) is not None}
            rest = Rest(connector.http, str(connector.settings.url))
            if self.body is None:
                answer = await rest.get(path, params=params)
            else:
                sent = given["body"].model_dump(mode="json", by_alias=True, exclude_none=True)
                answer = await rest.post(path, params=params, json=sent)
            return shaped(self.result, _at(answer, self.at), self.fields)

        types = dict.fromkeys(placeholders, str) | dict(self.query) | ({"body": self.body} if self.body else {})
        _present(call, attribute, self.summary, types, self.result)
        return self.mark(call)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Csv(EndpointValue):
    file: str
    summary: str
    id: str
    text: str
    options: TableOptions = field(default_factory=TableOptions)

    def verify(self, connector: type[Connector[Any]]) -> None:
        connector.file(self.file)

    def method(self, attribute: str) -> Callable[..., Awaitable[Any]]:
        async def call(connector: Connector[Any], q: str | None = None, id: str | None = None) -> Choices:
            tables: dict[str, Table] = connector.__dict__.setdefault("_tables", {})
            table = tables.get(attribute)
            if table is None:
                table = tables[attribute] = Table(
                    connector.file(self.file),
                    folder=connector.http.folder / attribute,
                    options=self.options,
                    id=self.id,
                    text=self.text,
                    setting=self.file,
                )
            return await table.choices(id=self.id, text=self.text, q=q, only=id)

        _present(call, attribute, self.summary, {"q": str | None, "id": str | None}, Choices)
        return get()(call)


def _present(call: Callable[..., Any], attribute: str, summary: str, types: Mapping[str, Any], result: Any) -> None:
    """Gives the function the face of a written method: name, docstring, typed signature."""
    call.__name__ = call.__qualname__ = attribute
    call.__doc__ = summary
    call.__annotations__ = {**types, "return": result}
    keyword = inspect.Parameter.KEYWORD_ONLY
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
        + [
            inspect.Parameter(name, keyword, default=None if type(None) in get_args(hint) else inspect.Parameter.empty)
            for name, hint in types.items()
        ]
    )


def rest_get(
    path: str,
    *,
    summary: str,
    result: Any,
    query: Mapping[str, Any] | None = None,
    at: str = "",
    fields: Mapping[str, str] | None = None,
    cache: float = 0.0,
    stale: float = 0.0,
    errors: Sequence[type[RelaisError] | ErrorCode] = (),
) -> Any:
    """A read of the publisher's REST service.

    `path` is below the setting `url`, its `{placeholders}` become path parameters; `query` maps parameter name to type
    (`str | None` for an optional one); `at` is the dotted place of the payload in the answer (`"results"`); `fields`
    maps a field of the result to a dotted member of the answer or to a template (`"{nom} ({code})"`).
    """
    own = "/".join(f"{{{name}}}" for name in _PLACEHOLDER.findall(path))

    def mark(call: Any) -> Any:
        name = call.__name__.replace("_", "-")
        return get(f"{name}/{own}" if own else name, cache=cache, stale=stale, errors=errors)(call)

    return _Rest("GET", path, summary, result, query or {}, at, fields or {}, None, mark)


def rest_post(
    path: str,
    *,
    summary: str,
    body: type[Model],
    result: Any,
    delivery: Delivery,
    query: Mapping[str, Any] | None = None,
    at: str = "",
    fields: Mapping[str, str] | None = None,
    errors: Sequence[type[RelaisError] | ErrorCode] = (),
) -> Any:
    """A creation through the publisher's REST service: `body` is sent as JSON, absent values left out."""
    own = "/".join(f"{{{name}}}" for name in _PLACEHOLDER.findall(path))

    def mark(call: Any) -> Any:
        name = call.__name__.replace("_", "-")
        return create(f"{name}/{own}" if own else name, delivery=delivery, errors=errors)(call)

    return _Rest("POST", path, summary, result, query or {}, at, fields or {}, body, mark)


def csv_choices(file: str, *, summary: str, id: str, text: str, options: TableOptions | None = None) -> Any:
    """A list of choices from a table that stands beside the connector; `id` and `text` are columns or templates."""
    return _Csv(file, summary, id, text, options or TableOptions())


def shaped(result: Any, data: Any, fields: Mapping[str, str]) -> Any:
    """An upstream's JSON as the declared result, members nobody declared left out."""
    if result is None:
        return None
    if get_origin(result) is list:
        item = get_args(result)[0]
        if not isinstance(data, list):
            raise UpstreamInvalid(_NOT_AGREED, detail=f"a list was expected, not {type(data).__name__}")
        return [_one(item, each, fields) for each in data]
    return _one(result, data, fields)


def _one(model: Any, data: Any, fields: Mapping[str, str]) -> Any:
    if not isinstance(data, dict):
        raise UpstreamInvalid(_NOT_AGREED, detail=f"an object was expected, not {type(data).__name__}")
    named = {name: data[name] for name in model.model_fields if name in data}
    for name, source in fields.items():
        try:
            named[name] = _member(data, source)
        except UpstreamInvalid:
            if name not in model.model_fields or model.model_fields[name].is_required():
                raise
    return read(model, named) if set(fields) <= set(model.model_fields) else model.model_validate(named)


def _member(data: Mapping[str, Any], source: str) -> Any:
    if "{" not in source:
        return _at(data, source)
    return _PLACEHOLDER.sub(lambda found: "" if (v := data.get(found[1])) is None else str(v), source)


def _at(data: Any, place: str) -> Any:
    for step in filter(None, place.split(".")):
        if isinstance(data, list) and step.isdigit() and int(step) < len(data):
            data = data[int(step)]
        elif isinstance(data, dict) and step in data:
            data = data[step]
        else:
            raise UpstreamInvalid(_NOT_AGREED, detail=f"nothing at {place}")
    return data


_NOT_AGREED = Text(
    "Le logiciel métier a répondu autre chose que ce qui est convenu.",
    en="The business software did not answer what was agreed.",
)
