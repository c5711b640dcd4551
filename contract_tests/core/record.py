"""The run as plain data (schema version 1 of the report), every secret masked by value and by header name."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from contract_tests.wire import Exchange

from .case import VERSION
from .credentials import MASK, SECRET_HEADERS
from .execute import Run
from .verdict import Outcome

__all__ = ["masking", "record"]

MOST = 8_000
"""Characters of a body kept in the evidence: enough to see the fault, few enough for a report that opens."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")


def record(run: Run) -> dict[str, Any]:
    """The report's data, before it is sealed."""
    mask = masking(run.secrets)
    target = run.target
    return {
        "schema": 1,
        "suite": {"name": "contract-tests", "version": VERSION},
        "requirements": {"version": run.catalogue.version, "digest": run.catalogue.digest},
        "target": _deep(
            {
                "name": target.name,
                "base_url": target.base_url,
                "contact": target.contact,
                "software": target.software,
                "version": target.version,
                "environment": target.environment,
            },
            mask,
        ),
        "run": {
            "id": run.id,
            "seed": run.seed,
            "started": _stamp(run.started),
            "ended": _stamp(run.ended),
            "duration_s": round(run.duration, 3),
            "allow_writes": run.allow_writes,
            "rate_per_s": float(run.rate),
            "command": mask(run.command),
        },
        "profiles": [one.plain() for one in run.verdicts],
        "outcomes": [_outcome(one, mask) for one in run.outcomes],
        "evidence": [_deep(_exchange(one, mask), mask) for one in run.exchanges],
        "waivers": [
            {
                "requirement": one.requirement,
                "case": one.case,
                "reason": mask(one.reason),
                "author": mask(one.author),
                "until": one.until.isoformat(),
            }
            for one in target.waivers
        ],
        "signature": None,
    }


def masking(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that masks the secrets in a text, as they are, in JSON, in a URL and in base64."""
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) < 3:
            continue
        raw = secret.encode()
        forms |= {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}
        forms |= {json.dumps(secret, ensure_ascii=False)[1:-1], base64.b64encode(raw).decode(), raw.hex()}
    if not forms:
        return lambda text: _CREDENTIALS.sub(f"{MASK}@", text)
    pattern = re.compile("|".join(re.escape(one) for one in sorted(forms, key=len, reverse=True)))
    return lambda text: _CREDENTIALS.sub(f"{MASK}@", pattern.sub(MASK, text))


def _deep(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {name: _deep(one, mask) for name, one in value.items()}
    if isinstance(value, list):
        return [_deep(one, mask) for one in value]
    return value


def _outcome(outcome: Outcome, mask: Callable[[str], str]) -> dict[str, Any]:
    """What the suite itself says of a requirement is not masked: a mask in a known sentence would tell the secret."""
    check = outcome.check
    first = outcome.requirements[0]
    title = check.title if check else first.sentence
    waiver = outcome.waiver
    return {
        "id": mask(outcome.id),
        "check": check.id if check else "",
        "case": mask(outcome.place),
        "profile": outcome.profile,
        "title": title.plain(),
        "requirements": [
            {"id": one.id, "level": one.level, "sentence": one.sentence.plain(), "source": one.source}
            for one in outcome.requirements
        ],
        "status": outcome.status,
        "message": _deep(outcome.message.plain(), mask),
        "consequence": check.consequence.plain() if check else {"fr": "", "en": ""},
        "remedy": check.remedy.plain() if check else {"fr": "", "en": ""},
        "caller": _deep([row.plain() for row in outcome.caller], mask),
        "replay": mask(outcome.replay),
        "evidence": list(outcome.evidence),
        "waiver": None
        if waiver is None
        else {"reason": mask(waiver.reason), "author": mask(waiver.author), "until": waiver.until.isoformat()},
    }


def _exchange(exchange: Exchange, mask: Callable[[str], str]) -> dict[str, Any]:
    request, response = exchange.request, exchange.response
    return {
        "request": {
            "method": request.method,
            "url": request.url,
            "headers": _headers(request.headers),
            **_body(request.body, mask),
        },
        "response": None
        if response is None
        else {
            "status": response.status,
            "reason": response.reason,
            "headers": _headers(response.headers),
            **_body(response.body, mask),
            "truncated": response.truncated,
        },
        "error": None if exchange.trouble is None else f"{exchange.trouble}: {exchange.error}",
        "started": _stamp(exchange.started),
        "elapsed_ms": round(exchange.elapsed * 1000, 1),
    }


def _headers(headers: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [[name, _masked(value) if SECRET_HEADERS.fullmatch(name) else value] for name, value in headers]


def _masked(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    return f"{scheme} {MASK}" if rest and scheme.lower() in ("basic", "bearer", "digest") else MASK


def _body(body: bytes | None, mask: Callable[[str], str]) -> dict[str, Any]:
    """The body as text or, when it is not UTF-8, also as base64; masked before it is cut: no secret is halved."""
    if body is None:
        return {"body": None}
    try:
        text = mask(body.decode("utf-8"))
    except UnicodeDecodeError:
        legible = mask(body.decode("latin-1"))
        if "\0" in legible[:1000]:
            return {"body": None, "body_base64": base64.b64encode(legible.encode("latin-1", "replace")[:1500]).decode()}
        return {
            "body": _cut(legible),
            "body_base64": base64.b64encode(legible.encode("latin-1", "replace")[:MOST]).decode(),
        }
    return {"body": _cut(text)}


def _cut(text: str) -> str:
    return text if len(text) <= MOST else f"{text[:MOST]}… ({len(text)} caractères)"


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
