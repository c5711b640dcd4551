"""What has no end yet is counted without reading what has one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for name, table, condition in (
        ("deliveries_open", "deliveries", "state IN ('RECEIVED', 'SENDING', 'UNKNOWN', 'PARKED', 'DUPLICATED')"),
        ("callbacks_dead", "callbacks", "state = 'DEAD'"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, ["state"], sqlite_where=where, postgresql_where=where)
