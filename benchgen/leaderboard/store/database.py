"""A board in SQLite or PostgreSQL: rows that hold the very bytes which a folder holds as files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import finalize

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    LargeBinary,
    and_,
    cast,
    create_engine,
    func,
    insert,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from benchgen.errors import StoreError, UsageError
from benchgen.leaderboard.store.schema import BOARD, ENTRIES, FILES, is_current, upgrade

_PATIENCE = 60
"""Seconds for which a process waits for others that write to the same SQLite file."""

_CONTENT = cast(FILES.c.content, LargeBinary)  # SQLite lets a row hold text there


class DatabaseStore:
    """As ``Store``. A transaction makes a revision whole; its primary key, the only one.

    Args:
        address: ``sqlite:///FILE`` or ``postgresql://…``.

    Raises:
        UsageError: It is no such address.
        ImportError: The driver of the database is not installed.
    """

    def __init__(self, address: str) -> None:
        url = _parsed(address)
        self.address = url.set(query={}).render_as_string(hide_password=True)
        self._file = None
        if url.drivername == "sqlite":
            # Autocommit is the driver's: `_writing` says where a transaction begins.
            options: dict[str, Any] = {
                "isolation_level": "AUTOCOMMIT",
                "connect_args": {"timeout": _PATIENCE},
            }
            self._file = Path(url.database or "")
        else:
            options = {"pool_pre_ping": True}
            url = url.set(drivername="postgresql+psycopg")
        self._engine = create_engine(url, **options)
        finalize(self, self._engine.dispose)

    def document(self) -> bytes | None:
        if self._file is not None and not self._file.is_file():
            return None
        with self._reading() as connection:
            current = is_current(connection, self.address)
        if current is None:
            return None
        if not current:
            with self._writing() as connection:
                upgrade(connection, self.address)
        with self._reading() as connection:
            return connection.scalar(select(BOARD.c.document))

    def is_empty(self) -> bool:
        return self.document() is None

    def begin(
        self, document: bytes, entries: Iterable[tuple[str, str, dict[str, bytes]]] = ()
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # SQLite tells of it
                self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._writing() as connection:
            upgrade(connection, self.address)
            if connection.scalar(select(BOARD.c.id)) is not None:
                raise UsageError(
                    f"the board in {self.address} is there already; add to it, or choose another "
                    "database"
                )
            connection.execute(insert(BOARD).values(id=1, document=document))
            for entry in entries:
                _insert(connection, *entry)

    def models(self) -> list[str]:
        with self._reading() as connection:
            return [*connection.scalars(select(ENTRIES.c.model).distinct())]

    def revisions(self, model: str) -> list[str]:
        query = select(ENTRIES.c.revision).where(ENTRIES.c.model == model)
        with self._reading() as connection:
            return [f"{revision:04d}" for revision in connection.scalars(query)]

    def sizes(self, model: str, revision: str) -> dict[str, int]:
        query = select(FILES.c.name, func.length(_CONTENT)).where(_of(model, revision))
        with self._reading() as connection:
            return {name: size for name, size in connection.execute(query)}

    def files(self, model: str, revision: str) -> dict[str, bytes]:
        query = select(FILES.c.name, _CONTENT).where(_of(model, revision)).order_by(FILES.c.name)
        with self._reading() as connection:
            return {name: content for name, content in connection.execute(query)}

    def directory(self, model: str, revision: str, sha256: str, files: dict[str, bytes]) -> Path:
        place = self._unpacked / sha256
        if place.is_dir():
            return place
        try:
            with tempfile.TemporaryDirectory(dir=self._unpacked) as made:
                for name, content in files.items():
                    path = Path(made) / "entry" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                (Path(made) / "entry").rename(place)
        except OSError as error:
            if not place.is_dir():  # by another thread
                raise StoreError(
                    f"cannot unpack models/{model}/{revision} of {self.address} into "
                    f"{self._unpacked}: {error.strerror}; make room there"
                ) from error
        return place

    def write(self, model: str, revision: str, files: dict[str, bytes]) -> bool:
        try:
            with self._writing() as connection:
                _insert(connection, model, revision, files)
        except IntegrityError:
            return False
        return True

    @cached_property
    def _unpacked(self) -> Path:
        """A private directory that goes with this object."""
        path = tempfile.mkdtemp(prefix="benchgen-board-")
        finalize(self, shutil.rmtree, path, ignore_errors=True)
        return Path(path)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._told(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction; in SQLite it waits for its turn at the start, not in its midst."""
        with self._told(), self._engine.begin() as connection:
            if self._file is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            raise StoreError(
                f"cannot use the board in {self.address}: {reason}. See that the database runs, "
                "that its address is right, and that you may read and write it"
            ) from error


def _parsed(address: str) -> URL:
    """The messages here leave the address out: it may hold a password."""
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise UsageError(
            "the database's address cannot be read; expected sqlite:///FILE or "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None
    if url.drivername == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise UsageError("a board needs a file to last: sqlite:///FILE")
    elif "@" in f"{url.host}{url.database}":
        raise UsageError(
            "the database's address has an @ too many; within a name or a password write it as %40"
        )
    return url


def _of(model: str, revision: str) -> ColumnElement[bool]:
    return and_(FILES.c.model == model, FILES.c.revision == int(revision))


def _insert(connection: Connection, model: str, revision: str, files: dict[str, bytes]) -> None:
    key = {"model": model, "revision": int(revision)}
    connection.execute(insert(ENTRIES).values(key))
    rows = [{**key, "name": name, "content": content} for name, content in files.items()]
    connection.execute(insert(FILES), rows)
