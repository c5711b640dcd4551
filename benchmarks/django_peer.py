"""The usual way: Django on gunicorn, requests towards the upstream, the same translation.

Kinder to Django than a real site: no middleware, no database, no template, one kept-alive session per thread.
`UPSTREAM=http://127.0.0.1:8001/record gunicorn --worker-class gthread benchmarks.django_peer:application`
"""

from __future__ import annotations

import json
import os
import threading

import django  # type: ignore[import-untyped]
import requests
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
UPSTREAM = os.environ["UPSTREAM"]

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


def record(request: WSGIRequest, connector: str, instance: str, endpoint: str) -> HttpResponse:
    """The upstream's record in the envelope."""
    if not hasattr(_thread, "session"):
        _thread.session = requests.Session()
    answer = _thread.session.get(UPSTREAM, timeout=25)
    answer.raise_for_status()
    body = ENCODE({"err": 0, "data": answer.json()}).encode()
    # without a length gunicorn would answer in chunks
    return HttpResponse(body, content_type="application/json", headers={"Content-Length": str(len(body))})


urlpatterns = [path("<slug:connector>/<slug:instance>/<slug:endpoint>", record)]

application = WSGIHandler()
