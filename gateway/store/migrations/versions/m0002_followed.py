"""Deferred and followed deliveries, and what callers are told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("subject", sa.Text, nullable=False, server_default=""))
    op.add_column("deliveries", sa.Column("follow_after", sa.Double))
    op.add_column("deliveries", sa.Column("caller", sa.LargeBinary))
    op.add_column("deliveries", sa.Column("expected", sa.LargeBinary))
    op.create_table(
        "followed",
        sa.Column("delivery", sa.Text, primary_key=True),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("upstream_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("void", sa.Boolean, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("looked", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("expected", sa.LargeBinary),
        sa.Column("progress", sa.LargeBinary),
    )
    op.create_table(
        "callbacks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("delivery", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Double),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("body", sa.LargeBinary),
    )
    for name, table, column, condition in (
        ("deliveries_subject", "deliveries", "subject", "subject <> ''"),
        ("followed_subject", "followed", "subject", "subject <> ''"),
        ("followed_due", "followed", "next_at", "next_at IS NOT NULL"),
        ("callbacks_due", "callbacks", "next_at", "next_at IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, [column], sqlite_where=where, postgresql_where=where)
    op.create_index("followed_upstream", "followed", ["instance", "upstream_id"])
    op.create_index("callbacks_delivery", "callbacks", ["delivery"])
