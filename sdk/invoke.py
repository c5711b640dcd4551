"""From a request's values to a connector's method, and from what it returns to the endpoint's promise.

The gateway's dispatch and the test kit both call an endpoint through here, so that a test sees what Publik will see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_origin

import pydantic

from . import matching
from .errors import InvalidInput, Text, UpstreamInvalid, english
from .messages import Received
from .model import Choices, Progress, faults, invalid_input
from .pace import Pace
from .spec import Connector, Endpoint, Result

_IDS = pydantic.TypeAdapter(list[str])


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the method receives, and the `q` and `id` the gateway applies itself to a list of choices."""

    keywords: dict[str, Any]
    q: str | None = None
    only: str | None = None


def bind(endpoint: Endpoint, path: Mapping[str, str], query: Iterable[tuple[str, str]]) -> Arguments:
    """Path and query values → typed arguments. Raises `InvalidInput` naming each faulty one; unknown ones are ignored,
    since Publik adds its own (`NameID`, `email`, signature) to any address.
    """
    if not (endpoint.parameters or endpoint.searchable or endpoint.open_parameters):
        return Arguments({})
    given: dict[str, list[str]] = {}
    for name, value in query:
        given.setdefault(name, []).append(value)
    values: dict[str, Any] = dict(path)
    for parameter in endpoint.parameters:
        if parameter.place == "query" and parameter.name in given:
            values[parameter.name] = given[parameter.name] if parameter.many else _single(given, parameter.name)
    try:
        read = endpoint.arguments.model_validate(values)
    except pydantic.ValidationError as error:
        raise invalid_input(faults(error)) from None
    keywords = {parameter.argument: getattr(read, f"p_{parameter.name}") for parameter in endpoint.parameters}
    supplied = [n for n in ("q", "id") if endpoint.searchable and not endpoint.takes(n)]
    if endpoint.open_parameters is not None:
        known = {parameter.name for parameter in endpoint.parameters} | set(supplied)
        keywords |= {name: ",".join(said) for name, said in given.items() if name not in known}
    return Arguments(
        keywords,
        q=_single(given, "q") if "q" in supplied else None,
        only=_single(given, "id") if "id" in supplied else None,
    )


def with_body(endpoint: Endpoint, arguments: Arguments, body: Any) -> Arguments:
    """Adds the decoded body, held to its model. Raises `InvalidInput` naming each faulty field."""
    if endpoint.body is None or endpoint.body_argument is None:
        return arguments
    try:
        value = endpoint.body.validate_python(body)
    except pydantic.ValidationError as error:
        raise invalid_input(faults(error)) from None
    return Arguments(arguments.keywords | {endpoint.body_argument: value}, arguments.q, arguments.only)


def without_body(endpoint: Endpoint) -> None:
    """Refuses an empty body where the endpoint needs one."""
    if endpoint.body is not None and endpoint.body_required:
        raise InvalidInput(Text("Le corps de la requête est vide.", en="The request body is empty."))


def with_received(endpoint: Endpoint, arguments: Arguments, received: Received) -> Arguments:
    """Adds the call as it came, where the endpoint asks for it."""
    if endpoint.received is None:
        return arguments
    return Arguments(arguments.keywords | {endpoint.received: received}, arguments.q, arguments.only)


def subject_values(endpoint: Endpoint, arguments: Arguments) -> dict[str, Any]:
    """What the effect is about, by the endpoint's `subject`; empty where nothing says it."""
    values = _named(endpoint, endpoint.declaration.subject, arguments)
    return values if any(value not in (None, "") for value in values.values()) else {}


def expected_of(endpoint: Endpoint, look: Endpoint, arguments: Arguments) -> list[tuple[str, str]]:
    """The query of the looks at what is created: parameters of `look` that bear the name of a value of the request."""
    names = [parameter.name for parameter in look.parameters if parameter.place == "query"]
    values = _named(endpoint, names, arguments)
    return [(name, str(value)) for name, value in values.items() if value not in (None, "")]


def _named(endpoint: Endpoint, names: Iterable[str], arguments: Arguments) -> dict[str, Any]:
    """Parameters, else fields of the body, by name; None for those there are not."""
    given = {parameter.name: arguments.keywords.get(parameter.argument) for parameter in endpoint.parameters}
    body = arguments.keywords.get(endpoint.body_argument or "")
    return {name: given[name] if name in given else getattr(body, name, None) for name in names}


def look_of(endpoint: Endpoint, endpoints: Iterable[Endpoint]) -> Endpoint:
    """The endpoint by which what `endpoint` creates is followed."""
    return next(other for other in endpoints if other.attribute == endpoint.declaration.follow)


def look_arguments(look: Endpoint, number: str, expected: Iterable[tuple[str, str]]) -> Arguments:
    """What a look at the publisher's `number` asks."""
    placeholder = next(parameter for parameter in look.parameters if parameter.place == "path")
    return bind(look, {placeholder.name: number}, expected)


def absent(endpoint: Endpoint, number: str) -> Progress | None:
    """What it means that the publisher does not know what `endpoint` created: None when nothing yet."""
    if endpoint.declaration.absent == "void":
        return Progress(id=number, status="NotFound", final=True, void=True)
    return None


async def run(connector: Connector[Any], endpoint: Endpoint, keywords: Mapping[str, Any]) -> Any:
    """Calls the method and holds its result to the declared type; a broken promise is `UpstreamInvalid`.

    A callback that `looks` gives the list of the publisher's ids to look at.
    """
    try:
        value = await endpoint.function(connector, **keywords)
        if endpoint.declaration.looks is not None:
            return _IDS.validate_python([value] if isinstance(value, str) else value or [])
        pending = held(endpoint.result, value)
        del value  # it may be large, and is let go as it is held
        return await pending
    except pydantic.ValidationError as error:
        names = "; ".join(f"{name} {english(sentences[0])}" for name, sentences in faults(error).items())
        raise UpstreamInvalid(
            Text(
                "Le logiciel métier a répondu autre chose que ce qui est convenu.",
                en="The business software did not answer what was agreed.",
            ),
            detail=f"{endpoint.attribute}: {names}"[:500],
        ) from None


LONG = 200  # items above which a list is taken in slices, so that no step holds the loop
SLICE = 10  # a rich model takes a twentieth of a millisecond


async def held(result: Result, value: Any) -> Any:
    """The value held to its declared type. Raises `pydantic.ValidationError`."""
    if isinstance(value, Choices) and result.contract == "choices":
        return value
    if not _is_long(result, value):
        return result.adapter.validator.validate_python(value)
    items = list(value)  # ours: emptied as it is read, since freeing a long list at once is a long step too
    del value
    pace = Pace()
    found: list[Any] = []
    for at in range(0, len(items), SLICE):
        some = items[at : at + SLICE]
        try:
            found += result.adapter.validate_python(some)
        except pydantic.ValidationError:
            return result.adapter.validate_python(found + items[at:])  # names the item by its place in the whole
        items[at : at + len(some)] = [None] * len(some)
        await pace.breathe()
    return found


async def to_json(result: Result, value: Any) -> bytes:
    """A held value as JSON."""
    if isinstance(value, Choices):
        return value.json
    if not _is_long(result, value):
        return result.adapter.serializer.to_json(value)
    items = list(value)
    del value
    pace = Pace()
    parts: list[bytes] = []
    for at in range(0, len(items), SLICE):
        some = items[at : at + SLICE]
        parts.append(result.adapter.dump_json(some)[1:-1])
        items[at : at + len(some)] = [None] * len(some)
        await pace.breathe()
    parts[0] = b"[" + parts[0]
    parts[-1] += b"]"
    written = b",".join(parts)  # one copy: of several megabytes, each one counts
    await pace.breathe()
    return written


def _is_long(result: Result, value: Any) -> bool:
    return type(value) is list and len(value) > LONG and get_origin(result.annotation) is list


def narrowed(endpoint: Endpoint, value: Any, arguments: Arguments) -> tuple[Any, int]:
    """A list of choices with `q` and `id` applied, each id once; and how many repeated ids were left out."""
    if not endpoint.searchable or (isinstance(value, Choices) and arguments.q is None and arguments.only is None):
        return value, 0
    return matching.unique(matching.narrow(value, q=arguments.q, only=arguments.only))


def _single(given: Mapping[str, list[str]], name: str) -> str | None:
    values = given.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise invalid_input({name: [Text("est donné plusieurs fois", en="is given several times")]})
    return values[0]
