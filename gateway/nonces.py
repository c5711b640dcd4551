"""Which signatures were already used: in the store, so that every process and node of a gateway knows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete
from sqlalchemy.exc import StatementError

from .errors import Internal
from .signature import WINDOW
from .store import Store, StoreUnavailable, nonces
from .store.statements import insert

__all__ = ["Nonces"]

KEPT = 4 * WINDOW  # seconds; a signature may be presented for 2 windows, the rest is for clocks that are set back
_PURGE_EVERY = 500


class Nonces:
    """Nonces already spent, in `store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._spent = 0

    async def spend(self, orig: str, nonce: str, now: float) -> bool:
        """True once per `(orig, nonce)`, over all processes. `now`: seconds since 1970.

        Raises `Internal` when the store cannot be written: a signature that cannot be remembered is not accepted.
        """
        purging = self._spent % _PURGE_EVERY == 0
        self._spent += 1

        def once(connection: Any) -> bool:
            if purging:
                connection.execute(delete(nonces).where(nonces.c.spent < now - KEPT))
            row = insert(connection, nonces).values(orig=orig, nonce=nonce, spent=now)
            return bool(connection.execute(row.on_conflict_do_nothing()).rowcount == 1)

        try:
            return await self._store.run(once)
        except (StoreUnavailable, StatementError, UnicodeError) as error:
            raise Internal(detail=f"nonces cannot be written: {type(error).__name__}") from error
