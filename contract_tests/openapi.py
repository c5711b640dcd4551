"""A target from an OpenAPI document: which endpoint honours which profile, by the shape of what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from contract_tests.text import Text

__all__ = ["Found", "endpoints"]

Operation = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """`endpoints`: tables of a `target.toml`; `left_out`: path and reason of what a person must complete."""

    endpoints: list[dict[str, Any]]
    left_out: list[tuple[str, Text]]


def endpoints(document: Mapping[str, Any]) -> Found:
    """The endpoints of a document (OpenAPI 3), as far as it tells.

    Examples come from the document; path parameters without one leave the endpoint out.
    """
    found: list[dict[str, Any]] = []
    left_out: list[tuple[str, Text]] = []
    paths: Mapping[str, Any] = document.get("paths", {})
    followed: set[str] = set()
    for path, item in paths.items():
        create = item.get("post") or item.get("put")
        if not isinstance(create, Mapping):
            continue
        status = _status_of(path, paths, document)
        if create.get("security") == []:
            left_out.append((path, Text("appelé par l'éditeur, pas par Publik", "called by the publisher, not Publik")))
        elif status is None:
            left_out.append((path, Text("écriture sans suivi : aucun profil", "writing without status: no profile")))
        else:
            followed.add(status)
            found.append(_request(path, create, "POST" if "post" in item else "PUT", status, document))
    for path, item in paths.items():
        get = item.get("get")
        if not isinstance(get, Mapping) or path in followed:
            continue
        filled = _filled(path, get)
        if filled is None:
            left_out.append((path, Text("aucun exemple pour le chemin", "no example for the path")))
            continue
        found.append(_reading(filled, get, document))
    return Found(found, left_out)


def _request(path: str, create: Operation, method: str, status: str, document: Mapping[str, Any]) -> dict[str, Any]:
    media = _media(create.get("requestBody", {}))
    example = _example(media, document)
    body = example if isinstance(example, dict) else {}
    schema = _resolved(media.get("schema", {}), document)
    fields = _members(schema, document)
    followed = _data(document["paths"][status]["get"], document)
    statuses = _resolved(_members(followed, document).get("status", {}), document).get("enum", [])
    return {
        "profile": "request",
        "path": path,
        "method": method,
        "status": re.sub(r"\{[^}]*\}", "{id}", status),
        "body": body,
        "required": [name for name in schema.get("required", []) if name in body],
        "files": [name for name in body if _is_file(fields.get(name), document)],
        **({"statuses": [one for one in statuses if isinstance(one, str)]} if statuses else {}),
    }


def _is_file(schema: Any, document: Mapping[str, Any]) -> bool:
    members = _members(_resolved(schema, document), document)
    return {"filename", "content"} <= set(members)


def _data(operation: Operation, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of `data` in a reading's favourable answer."""
    media = operation.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {})
    return _resolved(_members(_resolved(media.get("schema", {}), document), document).get("data", {}), document)


def _reading(path: str, operation: Operation, document: Mapping[str, Any]) -> dict[str, Any]:
    parameters = list(_parameters(operation))
    params = {
        name: str(example)
        for name, required, example in parameters
        if required and example is not None and name not in ("q", "id")
    }
    names = {name for name, _, _ in parameters}
    table: dict[str, Any] = {"profile": "envelope", "path": path, **({"params": params} if params else {})}
    content = operation.get("responses", {}).get("200", {}).get("content", {})
    media = content.get("application/json")
    if media is None:
        return {**table, "profile": "file"} if content else table
    schema = _resolved(media.get("schema", {}), document)
    members = _members(schema, document)
    if "features" in members:
        return {**table, "profile": "map"}
    data = _resolved(members.get("data", {}), document)
    row = _members(_resolved(data.get("items", {}), document), document) if data.get("type") == "array" else {}
    if {"url", "text"} <= set(row) and names:
        return {**table, "profile": "search", "q": "q" if "q" in names else min(names)}
    if {"id", "text"} <= set(row):
        return {**table, "profile": "choices", **{name: name if name in names else "" for name in ("q", "id")}}
    return table


def _status_of(path: str, paths: Mapping[str, Any], document: Mapping[str, Any]) -> str | None:
    """The reading beside a creation that gives one request's status."""
    pattern = re.compile(re.escape(path.rstrip("/")) + r"/\{[^/}]*\}/?(?:status/?|etat/?)?")
    for other, item in paths.items():
        get = item.get("get")
        if not isinstance(get, Mapping) or not pattern.fullmatch(other):
            continue
        if "status" in _members(_data(get, document), document):
            return other
    return None


def _parameters(operation: Operation) -> Iterator[tuple[str, bool, Any]]:
    for one in operation.get("parameters", ()):
        if one.get("in") == "query":
            yield one["name"], bool(one.get("required")), _parameter_example(one)


def _filled(path: str, operation: Operation) -> str | None:
    """The path with its parameters' examples; None when one has none."""
    examples = {one["name"]: _parameter_example(one) for one in operation.get("parameters", ()) if one["in"] == "path"}
    if any(examples.get(name) is None for name in re.findall(r"\{([^}]*)\}", path)):
        return None
    return re.sub(r"\{([^}]*)\}", lambda found: quote(str(examples[found[1]]), safe=""), path)


def _parameter_example(parameter: Mapping[str, Any]) -> Any:
    schema = parameter.get("schema", {})
    for held in (parameter, schema):
        if "example" in held:
            return held["example"]
        if isinstance(held.get("examples"), list) and held["examples"]:
            return held["examples"][0]
    return schema.get("default")


def _media(body: Mapping[str, Any]) -> Mapping[str, Any]:
    held = body.get("content", {}).get("application/json", {})
    return held if isinstance(held, Mapping) else {}


def _example(media: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    if "example" in media:
        return media["example"]
    named = media.get("examples")
    if isinstance(named, Mapping) and named:
        return next(iter(named.values())).get("value")
    schema = _resolved(media.get("schema", {}), document)
    if "example" in schema:
        return schema["example"]
    if isinstance(schema.get("examples"), list) and schema["examples"]:
        return schema["examples"][0]
    members = _members(schema, document)
    given = {name: _resolved(held, document) for name, held in members.items()}
    return {
        name: held.get("example", held.get("default", (held.get("examples") or ["essai"])[0]))
        for name, held in given.items()
        if name in schema.get("required", ()) or "example" in held or held.get("examples")
    }


def _resolved(schema: Any, document: Mapping[str, Any]) -> Mapping[str, Any]:
    seen = 0
    while isinstance(schema, Mapping) and "$ref" in schema and seen < 20:
        held: Any = document
        for step in str(schema["$ref"]).lstrip("#/").split("/"):
            held = held.get(step, {}) if isinstance(held, Mapping) else {}
        schema, seen = held, seen + 1
    return schema if isinstance(schema, Mapping) else {}


def _members(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    members = dict(schema.get("properties", {}))
    if depth < 5:
        for part in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
            members |= _members(_resolved(part, document), document, depth + 1)
    return members
