"""The pages a person opens: every instance, and one instance with its endpoints. French, or English with `?lang=en`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from sdk import openapi as sdk_openapi
from sdk import page

from .health import WHO_ACTS, Watch
from .registry import Instance

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def _language(request: web.BaseRequest) -> str:
    chosen = request.rel_url.query.get("lang", "")
    if chosen in ("fr", "en"):
        return chosen
    return "en" if request.headers.get("Accept-Language", "").lower().startswith("en") else "fr"


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", headers=_HEADERS)


def _state(watch: Watch, where: str, language: str) -> dict[str, str]:
    found = watch.of(where)
    words = WHO_ACTS[found.state]
    reason = found.reason_en if language == "en" else found.reason
    return {"state": found.state, "text": words.en if language == "en" else str(words), "reason": reason}


def index(request: web.BaseRequest, instances: Sequence[Instance], watch: Watch) -> web.Response:
    """The instances this caller may see, with their availability."""
    language = _language(request)
    rows: list[dict[str, Any]] = [
        {
            "where": instance.where,
            "title": instance.title,
            "connector": instance.connector.title,
            "summary": page.summary(type(instance.connector), language=language),
            **_state(watch, instance.where, language),
        }
        for instance in instances
    ]
    return _html(page.index(rows, language=language))


def instance(request: web.BaseRequest, chosen: Instance, watch: Watch) -> web.Response:
    """One instance: what it is, whether it is available, and each endpoint with an example to paste."""
    language = _language(request)
    # Behind a front server that ends TLS the scheme is what it says; only the caller's own page depends on it.
    scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
    origin = f"{scheme if scheme in ('http', 'https') else request.scheme}://{request.host}"
    return _html(
        page.instance(
            type(chosen.connector),
            chosen.where,
            title=chosen.title,
            origin=origin,
            state=_state(watch, chosen.where, language),
            language=language,
        )
    )


def openapi(request: web.BaseRequest, chosen: Instance) -> web.Response:
    """The instance's OpenAPI 3.1 document."""
    document = sdk_openapi.document(
        type(chosen.connector),
        chosen.where.partition("/")[2],
        title=chosen.title,
    )
    return web.Response(body=to_json(document), content_type="application/json")
