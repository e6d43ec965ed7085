"""Where a board is kept: a folder or a database, chosen by its address."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from benchgen.errors import UsageError
from benchgen.leaderboard.store.folder import FolderStore

Kept = tuple[str, str, dict[str, bytes]]
"""A model, the name of one of its revisions ("0001"), and the files of that, by path within it."""


class Store(Protocol):
    """Keeps a board's document and the files of each revision of each model, byte for byte.

    It knows no rules of a board, and hands out whatever it finds: the reader checks. Every method
    raises StoreError if the place cannot be read or written.

    Attributes:
        address: For messages; it has no password, and may not lead back to the store.
    """

    address: str

    def document(self) -> bytes | None:
        """The board's document; none: there is no board."""

    def is_empty(self) -> bool:
        """Whether a board can be copied to here."""

    def begin(self, document: bytes, entries: Iterable[Kept] = ()) -> None:
        """Make a board that has these entries; until all of them are there, it is none.

        Raises:
            UsageError: There is a board already.
        """

    def models(self) -> list[str]:
        """Names of models, in any order; some may have no revision."""

    def revisions(self, model: str) -> list[str]:
        """Names of a model's revisions, in any order."""

    def sizes(self, model: str, revision: str) -> dict[str, int]:
        """Bytes of each file of a revision."""

    def files(self, model: str, revision: str) -> dict[str, bytes]:
        """All files of a revision; ask for their sizes first."""

    def directory(self, model: str, revision: str, sha256: str, files: dict[str, bytes]) -> Path:
        """Where these files, found whole, can be read: they are put there if they are not yet."""

    def write(self, model: str, revision: str, files: dict[str, bytes]) -> bool:
        """Put a revision there, whole or not at all.

        Returns:
            Whether it was written: not, if another process was first.
        """


def open_store(address: str | os.PathLike[str]) -> Store:
    """The store at an address; whether there is a board shows when it is read.

    Raises:
        UsageError: No board can be kept at such an address, or the extra `database` is missing.
    """
    scheme, mark, _ = str(address).partition("://")
    if not mark or isinstance(address, os.PathLike):
        return FolderStore(address)
    if scheme not in ("sqlite", "postgresql"):
        raise UsageError(
            f"no board can be kept at {scheme}://; give a folder, sqlite:///FILE or "
            "postgresql://USER@HOST/DATABASE"
        )
    try:
        from benchgen.leaderboard.store.database import DatabaseStore

        return DatabaseStore(str(address))
    except ImportError as error:
        raise UsageError(
            f"a board at {scheme}:// needs SQLAlchemy, Alembic and psycopg, and there is "
            f"{error}: pip install 'benchgen[database]'"
        ) from error
