"""The usual way: Django on gunicorn, requests (and zeep) towards the upstream, the same translation.

Kinder to Django than a real site: no middleware, no database, no template, one kept-alive session per thread. Over SOAP
the client is kept per thread, or built for each call (`ZEEP=fresh`) as services do that keep nothing.
`UPSTREAM=http://127.0.0.1:8001/record gunicorn --worker-class gthread benchmarks.django_peer:application`
"""

from __future__ import annotations

import json
import os
import threading
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import django  # type: ignore[import-untyped]
import requests
import zeep
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from zeep.helpers import serialize_object
from zeep.transports import Transport

UPSTREAM = os.environ["UPSTREAM"]
FRESH = os.environ.get("ZEEP") == "fresh"
WSDL = str(Path(__file__).with_name("records.wsdl"))

if not settings.configured:
    settings.configure(
        DEBUG=False,
        SECRET_KEY="a benchmark signs nothing",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        USE_I18N=False,
    )
    django.setup()

_thread = threading.local()


def plain(value: Any) -> Any:
    """What json does not know."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value).__name__)


ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain).encode


def session() -> requests.Session:
    """This thread's."""
    if not hasattr(_thread, "session"):
        _thread.session = requests.Session()
    kept: requests.Session = _thread.session
    return kept


def service() -> Any:
    """zeep's proxy of the upstream."""
    if FRESH or not hasattr(_thread, "service"):
        client = zeep.Client(WSDL, transport=Transport(session=session()))
        _thread.service = client.create_service("{urn:example:records}Records", UPSTREAM)
    return _thread.service


def enveloped(data: Any) -> HttpResponse:
    """The answer."""
    body = ENCODE({"err": 0, "data": data}).encode()
    # without a length gunicorn would answer in chunks
    return HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})


def record(request: WSGIRequest, connector: str, instance: str) -> HttpResponse:
    """The upstream's record."""
    answer = session().get(UPSTREAM, timeout=25)
    answer.raise_for_status()
    return enveloped(answer.json())


def search(request: WSGIRequest, connector: str, instance: str) -> HttpResponse:
    """The upstream's records, over SOAP."""
    most = int(request.GET.get("most", "1"))
    return enveloped(serialize_object(service().search(status="open", most=most), dict))


urlpatterns = [
    path("<slug:connector>/<slug:instance>/record", record),
    path("<slug:connector>/<slug:instance>/search", search),
]

application = WSGIHandler()
