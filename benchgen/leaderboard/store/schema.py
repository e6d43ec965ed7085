"""The tables of a board in a database, and how those of an older benchgen become today's."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    text,
)

from benchgen.errors import StoreError

METADATA = MetaData()

BOARD = Table(
    "leaderboard",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("document", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="one_board"),
)
ENTRIES = Table(
    "leaderboard_entry",
    METADATA,
    Column("model", String, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
)
FILES = Table(
    "leaderboard_file",
    METADATA,
    Column("model", String, primary_key=True),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("name", String, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["model", "revision"], [ENTRIES.c.model, ENTRIES.c.revision], name="file_of_entry"
    ),
)

VERSION_TABLE = "leaderboard_schema"
"""Not Alembic's own name: another program may keep its tables in the same database."""

_LOCK = 0x62656E636867656E
"""PostgreSQL's advisory lock that two processes which upgrade at once contend for."""


def is_current(connection: Connection, address: str) -> bool | None:
    """Whether the tables are those of today; none: there are no tables.

    Raises:
        StoreError: They are of a newer benchgen.
    """
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    found = context.get_current_revision()
    if found is None:
        return None
    scripts = ScriptDirectory.from_config(_config(connection))
    known = [script.revision for script in scripts.walk_revisions()]
    if found not in known:
        raise StoreError(
            f"the board in {address} has the schema {found}; this benchgen knows those up to "
            f"{known[0]}. Upgrade benchgen"
        )
    return found == known[0]


def upgrade(connection: Connection, address: str) -> None:
    """Make the tables, or bring them up to date, within the connection's transaction.

    Raises:
        StoreError: They are of a newer benchgen.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not is_current(connection, address):
        command.upgrade(_config(connection), "head")


def _config(connection: Connection) -> Config:
    """What would stand in an alembic.ini; the migrations take the connection from it."""
    config = Config()
    scripts = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", scripts.replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
