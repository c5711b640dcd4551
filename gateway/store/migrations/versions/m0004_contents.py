"""Long contents in rows of their own, once every living process can read them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "contents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("delivery", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("piece", sa.LargeBinary, nullable=False),
    )
    op.create_index("contents_delivery", "contents", ["delivery"])
    op.add_column("nodes", sa.Column("reads", sa.Integer, nullable=False, server_default="1"))
