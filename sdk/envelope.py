"""The envelope Publik reads: the only place that knows its keys.

    success   {"err": 0, "data": …}
    failure   {"err": 1, "err_class": …, "err_desc": …, "data": null, "err_code"?, "errors"?, …}

`err` is always present and always an integer: w.c.s. takes a missing one for a success. A map is the GeoJSON object
itself with `err` beside it, and places are a bare array, since that is what Publik expects of these two.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from .errors import InvalidInput, RelaisError, english
from .spec import Contract

CONTENT_TYPE = "application/json"
ERROR_HEADER = "X-Error-Code"
"""w.c.s. reads it before the body, and it is the only sign of failure where a file was expected."""


def success(data: bytes, contract: Contract = "data") -> bytes:
    """The answer of an endpoint, from its result already in JSON."""
    if contract == "places":
        return data
    if contract == "map":
        return b'{"err":0,' + data[1:] + b"\n"
    return b"".join((b'{"err":0,"data":', data, b"}\n"))


def failure(error: RelaisError, *, request_id: str, in_english: bool = False) -> bytes:
    """The answer that tells what went wrong, without anything of `detail`."""
    say = english if in_english else str
    body: dict[str, Any] = {
        "err": 1,
        "err_class": type(error).__name__,
        "err_desc": say(error.message),
        "data": error.data,
        "err_origin": error.origin,
        "request_id": request_id,
    }
    if error.code is not None:
        body["err_code"] = error.code
    if isinstance(error, InvalidInput) and error.fields:
        body["errors"] = {name: [say(sentence) for sentence in said] for name, said in error.fields.items()}
    return to_json(body) + b"\n"


def to_data(value: Any) -> bytes:
    """Plain Python as JSON: what the gateway itself answers (health, availability)."""
    return to_json(value)
