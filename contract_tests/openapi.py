"""A target from an OpenAPI document: which endpoint honours which profile, by the shape of what it takes and answers.

Examples come from the document. One extension is read, on an operation that writes: `x-publik-unique`, the fields of
its body that no two requests may share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from contract_tests.text import Text

__all__ = ["UNIQUE", "Derived", "Found", "derived", "matching", "profile_of"]

Plain = Mapping[str, Any]
UNIQUE = "x-publik-unique"
WRITES = ("post", "put", "patch", "delete")
_PLACEHOLDER = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True)
class Derived:
    """An operation of the document and the table of a `target.toml` that declares it.

    `unfilled`: placeholders of the path for which the document gives no example.
    """

    method: str
    template: str
    table: dict[str, Any]
    unfilled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """`operations`: what the suite may judge; `left_out`: path and reason of the others."""

    operations: list[Derived]
    left_out: list[tuple[str, Text]]

    @property
    def endpoints(self) -> list[dict[str, Any]]:
        """The tables that are complete."""
        return [one.table for one in self.operations if not one.unfilled]


def derived(document: Plain) -> Found:
    """The endpoints of a document (OpenAPI 3), as far as it tells: what is written first, then what is read."""
    return _Reader(document).found()


def profile_of(value: Any) -> str:
    """The profile an answer (or an example of one) has the shape of; `envelope` when it is none in particular."""
    members = value if isinstance(value, dict) else {}
    data = members.get("data")
    row = data[0] if isinstance(data, list) and data and isinstance(data[0], dict) else {}
    return _shaped(frozenset(members), frozenset(row), frozenset(data if isinstance(data, dict) else ()))


def matching(template: str, path: str) -> dict[str, str] | None:
    """The values of the placeholders when a path is one of the template's, else None."""
    pattern = "([^/]+)".join(re.escape(part) for part in re.split(r"\{[^}]*\}", template.rstrip("/")))
    found = re.fullmatch(pattern, path.rstrip("/"))
    return None if found is None else dict(zip(_PLACEHOLDER.findall(template), found.groups(), strict=True))


Names = frozenset[str]


def _shaped(top: Names, row: Names, data: Names, asked: Names = frozenset()) -> str:
    """The profile of an answer with these members, at top level, in each row of `data`, or in `data` itself, to what
    takes the parameters `asked`.
    """
    if "features" in top:
        return "map"
    if {"name", "id", "url"} <= row and "text" not in row:
        return "statistics"
    if {"url", "text"} <= row and "id" not in asked and ("description" in row or "id" not in row):
        return "search"
    if {"id", "text"} <= row:
        return "choices"
    if {"status", "final"} <= data:
        return "status"
    return "envelope"


class _Reader:
    """The document, read once."""

    def __init__(self, document: Plain) -> None:
        self._document = document
        self._paths: Plain = document.get("paths", {})

    def found(self) -> Found:
        operations: list[Derived] = []
        left_out: list[tuple[str, Text]] = []
        billing = self._billing()
        followed: set[str] = set()
        for method, path, operation in self._operations(*WRITES):
            if operation.get("security") == []:
                said = Text("appelé par l'éditeur, pas par Publik", "called by the publisher, not by Publik")
                left_out.append((path, said))
            elif path in billing:
                continue
            else:
                status = self._status_of(path) if method in ("post", "put") else None
                followed |= {status} if status else set()
                operations.append(self._written(method, path, operation, status))
        for _, path, operation in self._operations("get"):
            if path in billing:
                if billing[path] is not None:
                    operations.append(Derived("GET", path, billing[path] or {}))
            elif path in followed:
                continue
            elif self._bare(operation):
                said = Text("une liste nue, hors de l'enveloppe : aucun profil", "a bare list, outside the envelope")
                left_out.append((path, said))
            else:
                operations.append(self._read(path, operation))
        for one in operations:
            if one.unfilled:
                left_out.append((one.template, Text("aucun exemple pour le chemin", "no example for the path")))
        return Found(operations, left_out)

    def _operations(self, *methods: str) -> Iterator[tuple[str, str, Plain]]:
        for path, item in self._paths.items():
            for method in methods:
                if isinstance(operation := item.get(method), Mapping):
                    yield method, path, operation

    # --- what is written ----------------------------------------------------------------------------------------------

    def _written(self, method: str, path: str, operation: Plain, status: str | None) -> Derived:
        media = _media(operation.get("requestBody", {}))
        schema = self._resolved(media.get("schema", {}))
        fields = self._members(schema)
        example = self._example(media)
        body = example if isinstance(example, dict) else {}
        filled, unfilled = self._filled(path, operation)
        if {"from", "to", "message"} <= set(fields):
            to = body.get("to")
            return Derived("POST", path, {"profile": "sms", "path": filled, "to": to if isinstance(to, list) else []})
        table: dict[str, Any] = {
            "profile": "request" if status else "envelope",
            "path": filled,
            "method": method.upper(),
            "body": body,
            "required": [name for name in schema.get("required", []) if name in body],
            "files": [name for name in body if self._is_file(fields.get(name))],
        }
        if unique := [name for name in operation.get(UNIQUE, ()) if name in body]:
            table["unique"] = unique
        if status:
            table |= {"status": _followed(status, path), **self._statuses(self._paths[status]["get"])}
        return Derived(method.upper(), path, table, unfilled)

    def _status_of(self, path: str) -> str | None:
        """The reading that gives the status of what is created at `path`, the nearest when there are several."""
        parts = path.strip("/").split("/")
        ranked = []
        for _, other, operation in self._operations("get"):
            steps = other.strip("/").split("/")
            if steps[-1] in ("status", "etat"):
                steps.pop()
            if _PLACEHOLDER.fullmatch(steps[-1]) and "status" in self._members(self._data(operation)):
                ranked.append((_nearness(steps[:-1], parts), other))
        rank, found = max(ranked, default=(0, ""))
        return found if rank else None

    def _statuses(self, operation: Plain) -> dict[str, Any]:
        known = self._resolved(self._members(self._data(operation)).get("status", {})).get("enum", [])
        named = [one for one in known if isinstance(one, str)]
        return {"statuses": named} if named else {}

    def _is_file(self, schema: Any) -> bool:
        return {"filename", "content"} <= set(self._members(self._resolved(schema)))

    # --- what is read -------------------------------------------------------------------------------------------------

    def _read(self, path: str, operation: Plain) -> Derived:
        parameters = list(self._parameters(operation))
        names = {name for name, *_ in parameters}
        params = {name: example for name, required, example, _ in parameters if required and example is not None}
        filled, unfilled = self._filled(path, operation)
        table: dict[str, Any] = {"profile": self._profile(operation, names), "path": filled}
        match table["profile"]:
            case "status" if _PLACEHOLDER.search(path):
                *_, last = _PLACEHOLDER.finditer(path)
                kept = {name: value for name, value in self._examples(operation).items() if name != last[1]}
                before = _PLACEHOLDER.sub(lambda one: kept.get(one[1], one[0]), path[: last.start()])
                table["path"] = f"{before}{{id}}{path[last.end() :]}"
                table["example_id"] = str(self._examples(operation).get(last[1], ""))
                table |= self._statuses(operation)
                unfilled = tuple(one for one in _PLACEHOLDER.findall(table["path"]) if one != "id") or (
                    () if table["example_id"] else (last[1],)
                )
            case "status":
                table["profile"] = "envelope"
            case "search":
                q = "q" if "q" in names else min(names, default="q")
                table["q"] = q
                params.pop(q, None)
                if example := next((example for name, _, example, _ in parameters if name == q), None):
                    table["example"] = example
            case "choices":
                table |= {name: name if name in names else "" for name in ("q", "id")}
                params = {name: value for name, value in params.items() if name not in ("q", "id")}
        if params:
            table["params"] = params
        if table["profile"] not in ("status", "file") and (failure := _failure(parameters, params)):
            table["failure"] = failure
        return Derived("GET", path, table, unfilled)

    def _profile(self, operation: Plain, asked: set[str]) -> str:
        content = _answer(operation)
        if "application/json" not in content:
            return "file" if content else "envelope"
        members = self._members(self._schema(operation))
        data = self._resolved(members.get("data", {}))
        row = self._members(self._resolved(data.get("items", {}))) if data.get("type") == "array" else {}
        return _shaped(frozenset(members), frozenset(row), frozenset(self._members(data)), frozenset(asked))

    def _bare(self, operation: Plain) -> bool:
        return self._schema(operation).get("type") == "array"

    def _billing(self) -> dict[str, dict[str, Any] | None]:
        """The paths of each billing software, the first with the table that declares it all."""
        found: dict[str, dict[str, Any] | None] = {}
        for path in self._paths:
            root = path.rstrip("/").removesuffix("/invoices")
            if root == path.rstrip("/") or not any(self._below(root, one, "invoice/{}") for one in self._paths):
                continue
            parameters = {name: example for name, _, example, _ in self._parameters(self._paths[path].get("get", {}))}
            table: dict[str, Any] = {
                "profile": "billing",
                "path": root or "/",
                "name_id": parameters.get("NameID") or "",
            }
            if not any(self._below(root, one, "invoice/{}/pay") for one in self._paths):
                table["notice"] = False
            for one in self._paths:
                if any(self._below(root, one, rest) for rest in _OPERATIONS):
                    found[one] = table if one == path else None
        return found

    @staticmethod
    def _below(root: str, path: str, rest: str) -> bool:
        return _PLACEHOLDER.sub("{}", path.rstrip("/")) == f"{_PLACEHOLDER.sub('{}', root)}/{rest}"

    # --- schemas and examples -----------------------------------------------------------------------------------------

    def _schema(self, operation: Plain) -> Plain:
        return self._resolved(_answer(operation).get("application/json", {}).get("schema", {}))

    def _data(self, operation: Plain) -> Plain:
        """The schema of `data` in a reading's favourable answer."""
        return self._resolved(self._members(self._schema(operation)).get("data", {}))

    def _parameters(self, operation: Plain) -> Iterator[tuple[str, bool, str | None, str]]:
        """(name, required, example, type) of each parameter of the query."""
        for one in map(self._resolved, operation.get("parameters", ())):
            if one.get("in") == "query":
                schema = self._resolved(one.get("schema", {}))
                example = self._parameter_example(one)
                yield one["name"], bool(one.get("required")), _written_out(example), str(schema.get("type", ""))

    def _examples(self, operation: Plain) -> dict[str, str]:
        found = {}
        for one in map(self._resolved, operation.get("parameters", ())):
            if one.get("in") == "path" and (example := _written_out(self._parameter_example(one))) is not None:
                found[one["name"]] = example
        return found

    def _filled(self, path: str, operation: Plain) -> tuple[str, tuple[str, ...]]:
        """The path with its placeholders' examples, and those that have none."""
        examples = self._examples(operation)
        unfilled = tuple(name for name in _PLACEHOLDER.findall(path) if name not in examples)
        return _PLACEHOLDER.sub(
            lambda one: quote(examples[one[1]], safe="") if one[1] in examples else one[0], path
        ), unfilled

    def _parameter_example(self, parameter: Plain) -> Any:
        schema = self._resolved(parameter.get("schema", {}))
        for held in (parameter, schema):
            if "example" in held:
                return held["example"]
            if isinstance(held.get("examples"), list) and held["examples"]:
                return held["examples"][0]
            if isinstance(held.get("examples"), Mapping) and held["examples"]:
                return next(iter(held["examples"].values())).get("value")
        return schema.get("default", next(iter(schema.get("enum", ())), None))

    def _example(self, media: Plain) -> Any:
        if "example" in media:
            return media["example"]
        named = media.get("examples")
        if isinstance(named, Mapping) and named:
            return next(iter(named.values())).get("value")
        schema = self._resolved(media.get("schema", {}))
        if "example" in schema:
            return schema["example"]
        if isinstance(schema.get("examples"), list) and schema["examples"]:
            return schema["examples"][0]
        given = {name: self._resolved(held) for name, held in self._members(schema).items()}
        return {
            name: held.get("example", held.get("default", (held.get("examples") or ["essai"])[0]))
            for name, held in given.items()
            if name in schema.get("required", ()) or "example" in held or held.get("examples")
        }

    def _resolved(self, schema: Any) -> Plain:
        seen = 0
        while isinstance(schema, Mapping) and "$ref" in schema and seen < 20:
            held: Any = self._document
            for step in str(schema["$ref"]).lstrip("#/").split("/"):
                held = held.get(step, {}) if isinstance(held, Mapping) else {}
            schema, seen = held, seen + 1
        return schema if isinstance(schema, Mapping) else {}

    def _members(self, schema: Plain, depth: int = 0) -> dict[str, Any]:
        members = dict(schema.get("properties", {}))
        if depth < 5:
            for part in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
                members |= self._members(self._resolved(part), depth + 1)
        return members


_OPERATIONS = ("invoices", "invoices/history", "invoice/{}", "invoice/{}/pdf", "invoice/{}/pay")


def _nearness(collection: list[str], creation: list[str]) -> int:
    """How near a collection is to the path of a creation: the same, or of the same name above; 0 when it is neither."""
    if len(collection) == len(creation):
        equal = [one == two for one, two in zip(collection, creation, strict=True)]
        free = all(same or _PLACEHOLDER.fullmatch(one) for same, one in zip(equal, collection, strict=True))
        return 1000 + sum(equal) if free else 0
    above = len(collection) < len(creation) and collection[-1:] == creation[-1:]
    return len(collection) if above and collection[:-1] == creation[: len(collection) - 1] else 0


def _followed(status: str, path: str) -> str:
    """The path of a status with `{id}` for what is created, and the steps of the creation for other placeholders."""
    steps, parts = status.split("/"), path.split("/")
    places = [place for place, step in enumerate(steps) if _PLACEHOLDER.fullmatch(step)]
    for place in places[:-1]:
        steps[place] = parts[place] if place < len(parts) else steps[place]
    steps[places[-1]] = "{id}"
    return "/".join(steps)


def _failure(parameters: list[tuple[str, bool, str | None, str]], params: Mapping[str, str]) -> dict[str, str]:
    """Parameters that a service true to its document must refuse: a required one empty, or a word for a number."""
    if required := [name for name, needed, _, _ in parameters if needed and name in params]:
        return {required[0]: ""}
    numbers = [name for name, _, _, kind in parameters if kind in ("integer", "number")]
    return {numbers[0]: "beaucoup"} if numbers else {}


def _answer(operation: Plain) -> Plain:
    responses = operation.get("responses", {})
    found: Any = next((responses[one] for one in ("200", "201", "2XX", "default") if one in responses), {})
    content = found.get("content", {}) if isinstance(found, Mapping) else {}
    return content if isinstance(content, Mapping) else {}


def _media(body: Plain) -> Plain:
    held = body.get("content", {}).get("application/json", {})
    return held if isinstance(held, Mapping) else {}


def _written_out(value: Any) -> str | None:
    """An example as a query or a path carries it."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case list():
            return _written_out(value[0]) if value else None
    return str(value)
