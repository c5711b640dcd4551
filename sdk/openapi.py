"""OpenAPI 3.1 of a connector instance, read from its declarations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue

from .errors import (
    InvalidInput,
    Misconfigured,
    NotFound,
    RelaisError,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    english,
)
from .spec import Connector, Endpoint, ErrorCode

_TEMPLATE = "#/components/schemas/{model}"
_BINARY = {"schema": {"type": "string", "format": "binary"}}


_Key = tuple[str, str, str]


def _schemas(connector: type[Connector[Any]]) -> tuple[dict[_Key, JsonSchemaValue], dict[str, Any]]:
    """The schema of each endpoint's arguments, body and result, and the models they refer to.

    What comes in is named by alias, what goes out by field name: that is how the gateway reads and writes. A model that
    differs both ways is published twice.
    """
    incoming: list[tuple[Any, JsonSchemaMode, Any]] = []
    outgoing: list[tuple[Any, JsonSchemaMode, Any]] = []
    for endpoint in connector.endpoints:
        place = (endpoint.path, endpoint.method)
        incoming.append(((*place, "arguments"), "validation", _core(endpoint.arguments)))
        outgoing.append(((*place, "result"), "serialization", endpoint.result.adapter.core_schema))
        if endpoint.body is not None:
            incoming.append(((*place, "body"), "validation", endpoint.body.core_schema))
    came, known = _Schemas(by_alias=True, ref_template=_TEMPLATE).generate_definitions(incoming)
    left, shown = _Schemas(by_alias=False, ref_template=_TEMPLATE).generate_definitions(outgoing)
    definitions: dict[str, Any] = {str(name): schema for name, schema in known.items()}
    results = {str(name): schema for name, schema in shown.items()}
    renamed = {name: f"{name}-Output" for name, schema in results.items() if definitions.get(name, schema) != schema}
    definitions |= {renamed.get(name, name): _pointing(schema, renamed) for name, schema in results.items()}
    found = {key: schema for (key, _), schema in came.items()}
    found |= {key: _pointing(schema, renamed) for (key, _), schema in left.items()}
    return found, definitions


def _pointing(schema: Any, renamed: Mapping[str, str]) -> Any:
    """The schema with its references to renamed models followed."""
    if isinstance(schema, dict):
        target = schema.get("$ref")
        name = target.rpartition("/")[2] if isinstance(target, str) else ""
        moved = {"$ref": _TEMPLATE.format(model=renamed[name])} if name in renamed else {}
        return {key: _pointing(value, renamed) for key, value in schema.items()} | moved
    if isinstance(schema, list):
        return [_pointing(item, renamed) for item in schema]
    return schema


class _Schemas(GenerateJsonSchema):
    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        if self.mode == "serialization":
            return {"type": "string", "format": "decimal"}
        return super().decimal_schema(schema)


def document(connector: type[Connector[Any]], instance: str, *, title: str = "", server: str = "/") -> dict[str, Any]:
    """The OpenAPI document of `connector/instance`, as plain JSON data."""
    found, definitions = _schemas(connector)
    schemas: dict[str, Any] = {"Failure": _FAILURE}
    schemas |= {name: schema for name, schema in definitions.items() if not name.startswith(f"{connector.__name__}_")}
    paths: dict[str, Any] = {}
    for endpoint in connector.endpoints:
        key = (endpoint.path, endpoint.method)
        arguments = _resolved(found[(*key, "arguments")], definitions)
        operation = _operation(
            connector,
            endpoint,
            arguments,
            found[(*key, "result")],
            found.get((*key, "body")),
            definitions,
        )
        url = f"/{connector.name}/{instance}/{endpoint.path}"
        paths.setdefault(url, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title or connector.title,
            "version": "1",
            "summary": connector.summary,
            **({"description": f"**Non vérifié / assumed:** {connector.confidence}"} if connector.confidence else {}),
        },
        "servers": [{"url": server}],
        "security": [{"basic": []}, {"key": []}, {"signature": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _SECURITY},
    }


def example(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 0) -> Any:
    """A value of this schema: its own example or default first, else the plainest one that fits."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example(definitions.get(name, {}), definitions, depth + 1) if depth < 6 else {}
    if schema.get("examples"):
        return schema["examples"][0]
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if options := [option for option in schema.get(key, ()) if option.get("type") != "null"]:
            return example(options[0], definitions, depth + 1)
    match schema.get("type"):
        case "object":
            required = schema.get("required", ())
            return {
                name: example(field, definitions, depth + 1)
                for name, field in schema.get("properties", {}).items()
                if name in required or field.get("examples")
            }
        case "array":
            if prefix := schema.get("prefixItems"):
                return [example(item, definitions, depth + 1) for item in prefix]
            return [example(schema.get("items", {}), definitions, depth + 1)]
        case "integer":
            return max(1, int(schema.get("minimum", 1)))
        case "number":
            return max(1.0, float(schema.get("minimum", 1.0)))
        case "boolean":
            return True
        case "string":
            return _text_example(schema)
    return "…"


def _text_example(schema: Mapping[str, Any]) -> str:
    known = {
        "decimal": "12.50",
        "date": "2026-03-14",
        "date-time": "2026-03-14T09:31:00Z",
        "time": "09:31:00",
        "uri": "https://example.org/",
        "email": "jeanne.martin@example.org",
    }
    text = known.get(schema.get("format", ""), "texte")
    least = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", 10_000))
    if (pattern := schema.get("pattern")) and not re.search(pattern, text):
        text = "12.50" if re.search(pattern, "12.50") else "1" * max(1, least)
    return text.ljust(least, "e")[:most]


def _core(model: Any) -> Any:
    return model.__pydantic_core_schema__


def _resolved(schema: JsonSchemaValue, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _operation(
    connector: type[Connector[Any]],
    endpoint: Endpoint,
    arguments: Mapping[str, Any],
    result: JsonSchemaValue,
    body: JsonSchemaValue | None,
    definitions: Mapping[str, Any],
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}_{re.sub('[^A-Za-z0-9]+', '_', endpoint.path).strip('_')}",
        "summary": endpoint.summary,
        "tags": [connector.title],
        "parameters": list(_parameters(endpoint, arguments)),
        "responses": _responses(endpoint, result, definitions),
    }
    parts = (endpoint.description, str(lasting(endpoint)), _errors_text(endpoint), endpoint.english)
    if text := "\n\n".join(part for part in parts if part):
        operation["description"] = text
    if body is not None:
        media = {"schema": body, "example": example(body, definitions)}
        operation["requestBody"] = {
            "required": endpoint.body_required,
            "content": {"application/json": media, "application/x-www-form-urlencoded": {"schema": body}},
        }
    if endpoint.kind in ("create", "update"):
        operation["parameters"].append(_KEY)
        if told := endpoint.declaration.told_apart_by:
            operation["x-publik-unique"] = list(told)
    if endpoint.declaration.deferred or endpoint.declaration.follow:
        operation["parameters"].append(_CALLBACK_URL)
        operation["callbacks"] = {"suite": {"{$request.query.callback-url}": {"post": _told(endpoint, result)}}}
    if endpoint.kind == "callback":
        operation["security"] = []
    return operation


def _told(endpoint: Endpoint, result: JsonSchemaValue) -> dict[str, Any]:
    """What the caller is told later: the end of a deferred request, each change of what is followed."""
    data = [result] if endpoint.declaration.deferred else []
    data += [{"type": "object", "description": "L'avancement"}] if endpoint.declaration.follow else []
    schema = {**_MESSAGE, "properties": {**_MESSAGE["properties"], "data": {"anyOf": [*data, {"type": "null"}]}}}
    return {
        "summary": "Ce que l'appelant apprend ensuite",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"200": {"description": "Reçu, avec `err` à 0 ; sinon le message est renvoyé plus tard"}},
    }


def _parameters(endpoint: Endpoint, arguments: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    listed = []
    for parameter in endpoint.parameters:
        schema = dict(arguments.get("properties", {}).get(parameter.name, {}))
        described = {
            "name": parameter.name,
            "in": parameter.place,
            "required": parameter.place == "path" or parameter.required,
            "schema": {key: value for key, value in schema.items() if key not in ("description", "title")},
        }
        if text := schema.get("description"):
            described["description"] = text
        listed.append(described)
    if endpoint.searchable:
        for name, text in _SUPPLIED.items():
            if not endpoint.takes(name):
                listed.append({"name": name, "in": "query", "required": False, "schema": _TEXT, "description": text})
    return listed


def _content(endpoint: Endpoint, result: JsonSchemaValue, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """What a favourable answer holds."""
    if endpoint.declaration.deferred:
        result, contract = _TICKET, "data"
    elif endpoint.result.contract == "file":
        return {"application/octet-stream": _BINARY}
    else:
        contract = endpoint.result.contract
    shown = example(result, definitions) if result.get("type") != "null" else None
    match contract:
        case "places":
            schema, value = result, shown
        case "map":
            schema = {"allOf": [result, {"properties": {"err": {"const": 0}}, "required": ["err"]}]}
            value = {"err": 0, **(shown or {})}
        case _:
            data = {"type": "null"} if endpoint.result.annotation is None else result
            schema = {"type": "object", "properties": {"err": {"const": 0}, "data": data}, "required": ["err", "data"]}
            value = {"err": 0, "data": shown}
    return {"application/json": {"schema": schema, "example": value}}


def _responses(endpoint: Endpoint, result: JsonSchemaValue, definitions: Mapping[str, Any]) -> dict[str, Any]:
    content = _content(endpoint, result, definitions)
    as_file = endpoint.result.contract == "file" and not endpoint.declaration.deferred
    failure = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
    responses: dict[str, Any] = {
        "200": {"description": "Réponse ; `err` dit si elle est favorable", "content": content}
    }
    statuses: dict[int, list[str]] = {}
    declared: list[type[RelaisError]] = [
        e.error if isinstance(e, ErrorCode) else e for e in endpoint.declaration.errors
    ]
    always: list[type[RelaisError]] = [InvalidInput, Misconfigured, UpstreamInvalid, UpstreamUnavailable]
    for error in dict.fromkeys([*always, *declared]):
        status = error.file_status if as_file and error.file_status else error.status
        if status != 200:
            statuses.setdefault(status, []).append(error.__name__)
    if as_file:
        statuses.setdefault(NotFound.file_status or 404, []).append(NotFound.__name__)
    if endpoint.kind != "callback":
        statuses |= {401: ["Unauthenticated"], 403: ["Forbidden"]}
    if endpoint.kind in ("create", "update"):
        statuses |= {409: ["InProgress"], 422: [*statuses.get(422, ()), "KeyMismatch"]}
        statuses[400].append("KeyRequired")
    for status, names in sorted(statuses.items()):
        responses[str(status)] = {"description": ", ".join(dict.fromkeys(names)), "content": failure}
    return responses


def _errors_text(endpoint: Endpoint) -> str:
    codes = [e for e in endpoint.declaration.errors if isinstance(e, ErrorCode)]
    return "\n".join(f"- `{e.code}` ({e.error.__name__}) : {e.meaning}" for e in codes)


def lasting(endpoint: Endpoint) -> Text:
    """What goes on after the answer, in words; empty where nothing does."""
    declaration, said = endpoint.declaration, []
    if declaration.deferred:
        said.append(
            Text(
                "Différé : la réponse est un ticket, rendu aussitôt ; la passerelle transmet la demande d'elle-même. "
                "La réponse finale se lit à l'adresse `status_url`, et l'appelant en est prévenu si son compte le "
                "prévoit.",
                en="Deferred: the answer is a ticket, given at once; the gateway passes the request on by itself. The "
                "final answer is read at `status_url`, and the caller is told where its account provides for it.",
            )
        )
    if declaration.subject:
        names = ", ".join(f"`{name}`" for name in declaration.subject)
        said.append(
            Text(
                f"Une seule demande à la fois pour les mêmes {names}.",
                en=f"One request at a time for the same {names}.",
            )
        )
    if declaration.follow:
        said.append(
            Text(
                "Suivi : la passerelle constate chaque changement d'état, et en prévient l'appelant.",
                en="Followed: the gateway sees each change of status, and tells the caller.",
            )
        )
    return Text(" ".join(said), en=" ".join(english(one) for one in said))


_TEXT = {"type": "string"}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Clé de cette demande : la même clé rend la même réponse, sans rien créer deux fois",
}
_CALLBACK_URL = {
    "name": "callback-url",
    "in": "query",
    "required": False,
    "schema": {"type": "string", "format": "uri"},
    "description": "Où prévenir l'appelant, sur le site déclaré pour son compte ; son formulaire, à défaut",
}
_MESSAGE: dict[str, Any] = {
    "type": "object",
    "required": ["id", "delivery", "endpoint", "at", "state", "status", "final", "data", "err_class", "err_desc"],
    "properties": {
        "id": {"type": "string", "description": "Le même quand le message est répété"},
        "delivery": {"type": "string", "description": "Identifiant de la livraison"},
        "endpoint": {"type": "string"},
        "at": {"type": "string", "format": "date-time"},
        "state": {"enum": ["DONE", "REFUSED", "NOT_SENT", "PARKED", "DUPLICATED"]},
        "status": {"type": ["string", "null"], "description": "L'état chez l'éditeur, de ce qui est suivi"},
        "final": {"type": "boolean", "description": "Plus rien ne sera dit de cette livraison"},
        "err_class": {"type": ["string", "null"]},
        "err_desc": {"type": ["string", "null"]},
    },
}
_TICKET: dict[str, Any] = {
    "type": "object",
    "required": ["id", "status_url", "state"],
    "properties": {
        "id": {"type": "string", "description": "Identifiant de la livraison, chez la passerelle"},
        "status_url": {"type": "string", "description": "Où lire l'état et la réponse finale"},
        "state": {"const": "RECEIVED"},
    },
    "examples": [{"id": "k3v6q2m4x7t5p2aa", "status_url": "/deliveries/k3v6q2m4x7t5p2aa", "state": "RECEIVED"}],
}
_SUPPLIED = {
    "q": Text("Mots cherchés, sans accents ni casse", en="Words searched, accent- and case-blind"),
    "id": Text("Un seul élément, par identifiant", en="One item, by identifier"),
}
_FAILURE = {
    "type": "object",
    "required": ["err", "err_class", "err_desc", "data"],
    "properties": {
        "err": {"type": "integer", "minimum": 1},
        "err_class": {"type": "string", "description": "Qui doit agir"},
        "err_desc": {"type": "string"},
        "err_code": {"type": "string", "description": "Code de l'éditeur"},
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}},
        "err_origin": {"enum": ["caller", "gateway", "network", "upstream"]},
        "request_id": {"type": "string"},
        "data": {"type": "null"},
    },
    "examples": [
        {"err": 1, "err_class": "Rejected", "err_desc": "Dossier clos.", "data": None, "err_origin": "upstream"}
    ],
}
_SECURITY = {
    "basic": {"type": "http", "scheme": "basic"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "signature": {
        "type": "apiKey",
        "in": "query",
        "name": "signature",
        "description": "Signature d'URL Publik : orig, algo, timestamp, nonce, signature",
    },
}
