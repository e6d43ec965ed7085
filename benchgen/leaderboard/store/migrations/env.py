"""What Alembic runs for every command: the migrations, on the connection that it was given."""

from __future__ import annotations

from alembic import context

from benchgen.leaderboard.store.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
context.run_migrations()
