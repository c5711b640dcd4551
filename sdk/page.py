"""The documentation pages, written from the declarations alone. No script, no outside file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import jinja2
from pydantic_core import to_json

from .openapi import document
from .spec import Connector, Endpoint, ErrorCode

_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("sdk", "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)

_CONTRACTS = {
    "choices": ("liste de choix", "choice list"),
    "hits": ("recherche du portail", "portal search"),
    "map": ("carte (GeoJSON)", "map (GeoJSON)"),
    "progress": ("suivi de demande", "request status"),
    "file": ("fichier", "file"),
    "invoice": ("facture", "invoice"),
    "invoices": ("factures", "invoices"),
    "places": ("géocodage", "geocoding"),
    "receipt": ("demande créée", "request created"),
    "data": ("données", "data"),
}


def index(rows: Sequence[Mapping[str, Any]], *, language: str = "fr") -> str:
    """The list of instances; each row has where, title, connector, summary, state, text, reason."""
    return _environment.get_template("index.html").render(rows=rows, fr=language == "fr")


def instance(
    connector: type[Connector[Any]],
    where: str,
    *,
    title: str = "",
    origin: str = "",
    state: Mapping[str, str] | None = None,
    language: str = "fr",
) -> str:
    """The page of `connector/instance`; `origin` starts the lines to paste, `state` has state, text, reason."""
    fr = language == "fr"
    described = document(connector, where.partition("/")[2])
    endpoints = [_endpoint(e, described["paths"][f"/{where}/{e.path}"], where, origin, fr) for e in connector.endpoints]
    return _environment.get_template("instance.html").render(
        connector=connector,
        where=where,
        title=title or connector.title,
        state=state or {"state": "unchecked", "text": "", "reason": ""},
        endpoints=endpoints,
        fr=fr,
    )


def _endpoint(endpoint: Endpoint, path: Mapping[str, Any], where: str, origin: str, fr: bool) -> dict[str, Any]:
    operation = path[endpoint.method.lower()]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    answer = operation["responses"]["200"]["content"].get("application/json", {})
    return {
        "method": endpoint.method,
        "path": f"/{where}/{endpoint.path}",
        "anchor": operation["operationId"],
        "summary": endpoint.summary if fr or not endpoint.english else endpoint.english.partition("\n")[0],
        "description": endpoint.description if fr or not endpoint.english else endpoint.english.partition("\n")[2],
        "contract": _CONTRACTS[endpoint.result.contract][0 if fr else 1],
        "parameters": operation["parameters"],
        "delivery": endpoint.declaration.delivery or "",
        "errors": [
            {"code": e.code, "name": e.error.__name__, "meaning": e.meaning}
            for e in endpoint.declaration.errors
            if isinstance(e, ErrorCode)
        ],
        "line": paste(endpoint, operation, f"{origin}/{where}"),
        "body": _pretty(body["example"]) if body else "",
        "answer": _pretty(answer["example"]) if answer else "",
    }


def paste(endpoint: Endpoint, operation: Mapping[str, Any], base: str) -> str:
    """A curl line that calls the endpoint with its example values."""
    url = f"{base}/{endpoint.path}"
    query = []
    for parameter in operation["parameters"]:
        value = _value(parameter["schema"])
        if parameter["in"] == "path":
            url = url.replace("{" + parameter["name"] + "}", value)
        elif parameter["required"]:
            query.append((parameter["name"], value))
    if query:
        url += "?" + urlencode(query)
    words = ["curl"] + (["-X", endpoint.method] if endpoint.method not in ("GET", "POST") else [])
    words.append(shlex.quote(url))
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        words += ["--json", shlex.quote(to_json(body["example"]).decode())]
    elif endpoint.method == "POST":
        words += ["-X", "POST"]
    return " ".join(words)


def _value(schema: Mapping[str, Any]) -> str:
    for key in ("examples", "enum"):
        if schema.get(key):
            return str(schema[key][0])
    return {"integer": "1", "number": "1.5", "boolean": "true"}.get(str(schema.get("type")), "texte")


def _pretty(value: Any) -> str:
    return to_json(value, indent=2).decode()
