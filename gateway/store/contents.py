"""The rows of long contents: what a request holds of files, in pieces, beside the row of its delivery.

Written and erased in the transactions that write and erase the request. A piece is small, so that neither database nor
process ever holds a second copy of a large file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, bindparam, delete, select

from .tables import contents, deliveries

__all__ = ["erase", "name", "read", "sweep", "write"]

table = contents.c
_PIECE = select(table.piece).where(table.id == bindparam("of_id"))


def name(delivery: str, number: int) -> str:
    """The row of a piece, counted from 0: what it is sealed for."""
    return f"{delivery}/{number}"


def write(connection: Connection, delivery: str, instance: str, pieces: Iterable[bytes]) -> None:
    """Adds the sealed pieces, one statement each: no more than one is held."""
    for number, piece in enumerate(pieces):
        row = {"id": name(delivery, number), "delivery": delivery, "instance": instance, "piece": piece}
        connection.execute(contents.insert(), row)


def read(connection: Connection, delivery: str) -> Iterator[tuple[str, bytes]]:
    """The name and the sealed bytes of each piece, in order, one at a time."""
    number = 0
    while (piece := connection.execute(_PIECE, {"of_id": name(delivery, number)}).scalar()) is not None:
        yield name(delivery, number), piece
        number += 1


def erase(connection: Connection, delivery: str) -> None:
    """Removes the pieces of a delivery."""
    connection.execute(delete(contents).where(table.delivery == delivery))


def sweep(connection: Connection) -> None:
    """Removes the pieces of requests that are no longer there: the version before erases a request alone."""
    kept = select(deliveries.c.id).where(deliveries.c.request.is_not(None))
    connection.execute(delete(contents).where(table.delivery.not_in(kept)))
