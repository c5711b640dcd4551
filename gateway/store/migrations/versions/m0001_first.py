"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("nodes", sa.Column("id", sa.Text, primary_key=True), sa.Column("seen", sa.Double, nullable=False))
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False, unique=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("delivery", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("unresolved", sa.Boolean, nullable=False),
        sa.Column("owed", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("patience", sa.Double, nullable=False),
        sa.Column("quarantine", sa.Double),
        sa.Column("next_at", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("request", sa.LargeBinary),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("err_class", sa.Text, nullable=False, server_default=""),
        sa.Column("upstream_id", sa.Text, nullable=False, server_default=""),
        sa.Column("digest", sa.Text, nullable=False, server_default=""),
        sa.Column("request_id", sa.Text, nullable=False, server_default=""),
        sa.Column("format", sa.Integer, nullable=False, server_default="1"),
    )
    for name, column, condition in (
        ("deliveries_due", "next_at", "next_at IS NOT NULL"),
        ("deliveries_sending", "owner", "state = 'SENDING'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "deliveries", [column], sqlite_where=where, postgresql_where=where)
    op.create_index("deliveries_reference", "deliveries", ["reference"])
    op.create_index("deliveries_updated", "deliveries", ["updated"])
    op.create_table(
        "nonces",
        sa.Column("orig", sa.Text, primary_key=True),
        sa.Column("nonce", sa.Text, primary_key=True),
        sa.Column("spent", sa.Double, nullable=False),
    )
    op.create_index("ix_nonces_spent", "nonces", ["spent"])
    op.create_table(
        "schedules", sa.Column("name", sa.Text, primary_key=True), sa.Column("due", sa.Double, nullable=False)
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
