"""The documentation pages, written from the declarations alone. No script, no outside file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape
from pydantic_core import to_json

from .errors import english
from .openapi import document, lasting
from .spec import Connector, Endpoint, ErrorCode

if TYPE_CHECKING:
    import jinja2

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
    return _template("index.html").render(rows=rows, fr=language == "fr")


def summary(connector: type[Connector[Any]], *, language: str = "fr") -> str:
    """What introduces the connector, in one sentence; in French where the author wrote no English."""
    return connector.summary if language == "fr" or not connector.english else _first_sentence(connector.english)[0]


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
    endpoints = [_endpoint(e, described, where, origin, fr) for e in connector.endpoints]
    return _template("instance.html").render(
        connector=connector,
        about=connector.about if fr or not connector.english else connector.english,
        assumed=connector.confidence if fr else english(connector.confidence),
        where=where,
        title=title or connector.title,
        state=state or {"state": "unchecked", "text": "", "reason": ""},
        endpoints=endpoints,
        fr=fr,
    )


def _endpoint(endpoint: Endpoint, described: Mapping[str, Any], where: str, origin: str, fr: bool) -> dict[str, Any]:
    path = described["paths"][f"/{where}/{endpoint.path}"]
    operation = path[endpoint.method.lower()]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    answer = operation["responses"]["200"]["content"].get("application/json", {})
    summary, description = endpoint.summary, endpoint.description
    if not fr and endpoint.english:
        summary, description = _first_sentence(endpoint.english)
    after = lasting(endpoint)
    description = "\n\n".join(part for part in (description, str(after) if fr else english(after)) if part)
    return {
        "method": endpoint.method,
        "path": f"/{where}/{endpoint.path}",
        "anchor": operation["operationId"],
        "summary": summary,
        "description": description,
        "contract": _CONTRACTS[endpoint.result.contract][0 if fr else 1],
        "parameters": [_parameter(parameter, fr) for parameter in operation["parameters"]],
        "delivery": endpoint.declaration.delivery or "",
        "errors": [
            {"code": e.code, "name": e.error.__name__, "meaning": e.meaning}
            for e in endpoint.declaration.errors
            if isinstance(e, ErrorCode)
        ],
        "line": paste(endpoint, operation, f"{origin}/{where}"),
        "body": _pretty(body["example"]) if body else "",
        "fields": _fields(body["schema"], described["components"]["schemas"], fr) if body else [],
        "answer": _pretty(answer["example"]) if answer else "",
    }


def _flowing(text: str) -> str:
    """Paragraphs and lists without the line breaks of the source."""
    return re.sub(r"(?<!\n)\n(?!\n|- )", " ", text)


def _first_sentence(text: str) -> tuple[str, str]:
    first, _, rest = re.sub(r"(?<=[.!?])\s+", "\0", _flowing(text), count=1).partition("\0")
    return first, rest


def _parameter(parameter: Mapping[str, Any], fr: bool) -> dict[str, Any]:
    text = parameter.get("description", "")
    return {
        "name": parameter["name"],
        "required": parameter["required"],
        "type": _type(parameter["schema"]),
        "description": text if fr else english(text),
    }


def _fields(
    schema: Mapping[str, Any], known: Mapping[str, Any], fr: bool, prefix: str = "", depth: int = 0
) -> list[dict[str, Any]]:
    """Every field of a body, those of its objects by path: `contact/email`, `lines/0/amount`."""
    schema = _settled(schema, known)
    if schema.get("type") == "array":
        return _fields(schema["items"], known, fr, f"{prefix}0/", depth + 1) if depth < 5 else []
    listed = []
    for name, field in schema.get("properties", {}).items():
        inner = _settled(field, known)
        below = _fields(inner, known, fr, f"{prefix}{name}/", depth + 1) if depth < 5 else []
        text = field.get("description", inner.get("description", ""))
        listed.append(
            {
                "name": prefix + name,
                "required": name in schema.get("required", ()),
                "type": _type(inner),
                "description": text if fr else english(text),
            }
        )
        listed += below if inner.get("title") != "File" else []
    return listed


def _settled(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema behind a reference, or behind the one member of a union that is not null."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        schema = options[0]
    return known.get(schema["$ref"].rpartition("/")[2], {}) if "$ref" in schema else schema


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    found = [schema, *schema.get("anyOf", ())]
    kinds = [option.get("format") or option["type"] for option in found if option.get("type", "null") != "null"]
    return " | ".join(dict.fromkeys(kinds))


def _with_code(text: str) -> Markup:
    """Escaped, then what stands between backquotes shown as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(_flowing(text)))))  # noqa: S704 escaped just before


def paste(endpoint: Endpoint, operation: Mapping[str, Any], base: str) -> str:
    """A curl line that calls the endpoint with its example values."""
    url = f"{base}/{endpoint.path}"
    query = []
    for parameter in operation["parameters"]:
        value = _value(parameter["schema"])
        if parameter["in"] == "path":
            url = url.replace("{" + parameter["name"] + "}", quote(value, safe=""))
        elif parameter["required"] and parameter["in"] == "query":
            query += [(parameter["name"], item) for item in _values(parameter["schema"])]
    if query:
        url += "?" + urlencode(query)
    words = ["curl"] + (["-X", endpoint.method] if endpoint.method not in ("GET", "POST") else [])
    words.append(shlex.quote(url))
    if endpoint.declaration.needs_key and not endpoint.declaration.key:
        words += ["-H", '"Idempotency-Key: $RANDOM$RANDOM"']
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        words += ["-H", "'Content-Type: application/json'", "-d", shlex.quote(to_json(body["example"]).decode())]
    elif endpoint.method == "POST":
        words += ["-X", "POST"]
    return " ".join(words)


def _values(schema: Mapping[str, Any]) -> list[str]:
    """The example of a parameter: several values where it may be repeated."""
    shown = (schema.get("examples") or [None])[0]
    if schema.get("type") == "array":
        return [str(item) for item in shown] if isinstance(shown, list) else [str(shown or "texte")]
    return [_value(schema)]


def _value(schema: Mapping[str, Any]) -> str:
    for key in ("examples", "enum"):
        if schema.get(key):
            return str(schema[key][0])
    return {"integer": "1", "number": "1.5", "boolean": "true"}.get(str(schema.get("type")), "texte")


def _pretty(value: Any) -> str:
    return to_json(value, indent=2).decode()


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # when the first page is asked for: no start waits for it

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("sdk", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters["code"] = _with_code
    return found
