"""What a caller is told later: that a delivery ended, that what it created has another status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sdk.errors import RelaisError

from .sealing import Seal
from .store import records
from .store.outbox import Told

__all__ = ["message", "told"]


def message(
    row: Mapping[str, Any],
    at: str,
    *,
    state: str,
    final: bool,
    status: str | None = None,
    data: Any = None,
    error: RelaisError | None = None,
) -> dict[str, Any]:
    """The body of a callback. `final` says that nothing more will be told of this delivery; `status` is the publisher's
    word, where what was created is followed; `err_class` and `err_desc` are those the caller would have been answered.
    """
    return {
        "delivery": row["id"],
        "endpoint": f"{row['instance']}/{row['endpoint'].partition(' ')[2]}",
        "at": at,
        "state": state,
        "status": status,
        "final": final,
        "data": data,
        "err_class": type(error).__name__ if error is not None else None,
        "err_desc": str(error.message) if error is not None else None,
    }


def told(seal: Seal, instance: str, content: Mapping[str, Any]) -> Told:
    """The message with its id, sealed for its row."""
    name = records.new_id()
    return Told(name, seal.seal(json.dumps({"id": name, **content}).encode(), instance, "callback", name))
