"""The tables of the store. Instants are seconds since 1970 (UTC); what may hold personal data is sealed bytes.

A change of these tables is a new file in `migrations/versions`, written so that the version before still runs on the
changed tables (expand first, contract one version later).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    event,
    text,
)

__all__ = [
    "DEAD",
    "OPEN",
    "audit",
    "callbacks",
    "contents",
    "deliveries",
    "followed",
    "metadata",
    "nodes",
    "nonces",
    "schedules",
]

OPEN = text("state IN ('RECEIVED', 'SENDING', 'UNKNOWN', 'PARKED', 'DUPLICATED')")
"""Deliveries without an end, as the index that counts them is declared."""
DEAD = text("state = 'DEAD'")
"""Callbacks given up, likewise."""

metadata = MetaData()


def _partial(name: str, column: str, where: TextClause) -> Index:
    """An index of the rows that meet a condition."""
    return Index(name, column, info={"where": where})


@event.listens_for(metadata, "before_create")
def _say_conditions(_: MetaData, connection: Connection, **__: Any) -> None:
    """To the database at hand alone: SQLAlchemy loads each dialect an index names, and a start waits for it."""
    for index in (index for table in metadata.sorted_tables for index in table.indexes if "where" in index.info):
        index.dialect_kwargs[f"{connection.dialect.name}_where"] = index.info["where"]


nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen", Double, nullable=False),
    Column("reads", Integer, nullable=False, server_default="1"),  # the forms of a request, see `records.READS`
)
"""One row per living process: one not seen for a lease is dead, and what it was sending has an unknown outcome."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False, unique=True),  # digest of client, instance, endpoint, key
    Column("key", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("instance", Text, nullable=False),  # connector/instance
    Column("endpoint", Text, nullable=False),  # METHOD path
    Column("delivery", Text, nullable=False),  # its class
    Column("reference", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("owner", Text),
    Column("unresolved", Boolean, nullable=False),  # an attempt before this one may have been executed
    Column("owed", Boolean, nullable=False),  # nobody waits any more: the gateway itself brings it to its end
    Column("tries", Integer, nullable=False),  # follow-ups since the last attempt
    Column("patience", Double, nullable=False),  # seconds of quarantine
    Column("quarantine", Double),  # not sent again before
    Column("next_at", Double),  # to be looked at by whoever is free
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("request", LargeBinary),  # sealed
    Column("answer", LargeBinary),  # sealed
    Column("err_class", Text, nullable=False, server_default=""),
    Column("upstream_id", Text, nullable=False, server_default=""),
    Column("digest", Text, nullable=False, server_default=""),  # of the answer
    Column("request_id", Text, nullable=False, server_default=""),
    Column("format", Integer, nullable=False, server_default="1"),
    Column("subject", Text, nullable=False, server_default=""),  # digest of what the effect is about
    Column("follow_after", Double),  # what is created is followed, from so many seconds after
    Column("expected", LargeBinary),  # sealed: what the looks at it compare with
    Column("caller", LargeBinary),  # sealed: whom to tell, none where its client takes no callbacks
    _partial("deliveries_due", "next_at", text("next_at IS NOT NULL")),
    _partial("deliveries_sending", "owner", text("state = 'SENDING'")),
    _partial("deliveries_open", "state", OPEN),
    Index("deliveries_reference", "reference"),
    Index("deliveries_updated", "updated"),
    _partial("deliveries_subject", "subject", text("subject <> ''")),
)

contents = Table(
    "contents",
    metadata,
    Column("id", Text, primary_key=True),  # delivery/number
    Column("delivery", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("piece", LargeBinary, nullable=False),  # sealed
    Index("contents_delivery", "delivery"),
)
"""The long contents of requests, in pieces; they live as long as `deliveries.request`."""

followed = Table(
    "followed",
    metadata,
    Column("delivery", Text, primary_key=True),
    Column("instance", Text, nullable=False),
    Column("endpoint", Text, nullable=False),  # that created it
    Column("subject", Text, nullable=False),
    Column("upstream_id", Text, nullable=False),
    Column("status", Text, nullable=False),  # the publisher's word, as last told
    Column("final", Boolean, nullable=False),
    Column("void", Boolean, nullable=False),
    Column("changes", Integer, nullable=False),  # of status; each was told once
    Column("looks", Integer, nullable=False),
    Column("turn", Integer, nullable=False),  # of whoever may say when the next look is
    Column("next_at", Double),
    Column("looked", Double),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("expected", LargeBinary),  # sealed: the query of each look
    Column("progress", LargeBinary),  # sealed
    _partial("followed_due", "next_at", text("next_at IS NOT NULL")),
    Index("followed_upstream", "instance", "upstream_id"),
    _partial("followed_subject", "subject", text("subject <> ''")),
)
"""What was created and is followed to its end; made in the very transaction that writes its delivery `DONE`."""

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("delivery", Text, nullable=False),
    Column("number", Integer, nullable=False),  # their order, within the delivery
    Column("client", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("state", Text, nullable=False),  # PENDING, ACCEPTED, DEAD
    Column("tries", Integer, nullable=False),
    Column("next_at", Double),
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),  # why it was not accepted the last time
    Column("body", LargeBinary),  # sealed
    _partial("callbacks_due", "next_at", text("next_at IS NOT NULL")),
    _partial("callbacks_dead", "state", DEAD),
    Index("callbacks_delivery", "delivery"),
)
"""What callers are still to be told, one row per change, in the transaction of that change."""

nonces = Table(
    "nonces",
    metadata,
    Column("orig", Text, primary_key=True),
    Column("nonce", Text, primary_key=True),
    Column("spent", Double, nullable=False, index=True),
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("due", Double, nullable=False),
)
"""The next turn of what runs once over all processes; whoever moves `due` on has the turn."""

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", Text, nullable=False),  # of this row and of the hash before it
)
