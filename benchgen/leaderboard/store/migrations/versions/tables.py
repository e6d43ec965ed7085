"""The first tables: the board, its entries, and their files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "leaderboard",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("document", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="one_board"),
    )
    op.create_table(
        "leaderboard_entry",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "leaderboard_file",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["model", "revision"],
            ["leaderboard_entry.model", "leaderboard_entry.revision"],
            name="file_of_entry",
        ),
    )
