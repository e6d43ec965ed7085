"""A board as a folder: ``board.json``, and ``models/<name>/<revision>/`` with its files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchgen.errors import StoreError, UsageError
from benchgen.files import write_atomically

_DEEPEST = 8
"""Folders within each other in an entry: more than benchgen writes, fewer than recursion bears."""


class FolderStore:
    """As ``Store``. A revision is there once its folder has been renamed to its name."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._models = self._folder / "models"
        self.address = str(self._folder)

    def document(self) -> bytes | None:
        path = self._folder / "board.json"
        with _told("read", path):
            return path.read_bytes() if path.is_file() else None

    def is_empty(self) -> bool:
        with _told("read", self._folder):
            return not self._folder.exists() or not any(self._folder.iterdir())

    def begin(
        self, document: bytes, entries: Iterable[tuple[str, str, dict[str, bytes]]] = ()
    ) -> None:
        path = self._folder / "board.json"
        for there in (path, self._models):
            if there.exists():
                raise UsageError(f"{there} is there already; add to it, or choose another folder")
        try:
            for entry in entries:
                self.write(*entry)
        except BaseException:
            shutil.rmtree(self._models, ignore_errors=True)
            raise
        write_atomically(path, document)

    def models(self) -> list[str]:
        return self._folders(self._models)

    def revisions(self, model: str) -> list[str]:
        return self._folders(self._models / model)

    def sizes(self, model: str, revision: str) -> dict[str, int]:
        directory = self._models / model / revision
        with _told("read", directory):
            return dict(_sizes(directory, ""))

    def files(self, model: str, revision: str) -> dict[str, bytes]:
        directory = self._models / model / revision
        with _told("read", directory):
            return {name: (directory / name).read_bytes() for name, _ in _sizes(directory, "")}

    def directory(self, model: str, revision: str, sha256: str, files: dict[str, bytes]) -> Path:
        return self._models / model / revision

    def write(self, model: str, revision: str, files: dict[str, bytes]) -> bool:
        folder = self._models / model / revision
        with _told("write", folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".adding-") as made:
                inside = Path(made) / "entry"
                for name, content in files.items():
                    write_atomically(inside / name, content)
                try:
                    inside.rename(folder)
                except OSError:
                    if folder.exists():
                        return False
                    raise
        return True

    @staticmethod
    def _folders(folder: Path) -> list[str]:
        """Names of the folders in it, but those that are still being written."""
        with _told("read", folder):
            return [
                place.name
                for place in (folder.iterdir() if folder.is_dir() else ())
                if place.is_dir() and not place.name.startswith(".")
            ]


def _sizes(directory: Path | str, inside: str) -> Iterator[tuple[str, int]]:
    """Bytes of every file by its path within; many files, so that pathlib would be slow."""
    with os.scandir(directory) as found:
        for one in sorted(found, key=lambda one: one.name):
            if one.is_dir(follow_symlinks=False):
                if inside.count("/") >= _DEEPEST:
                    raise StoreError(f"{one.path} is deeper than any file of an entry; remove it")
                yield from _sizes(one.path, f"{inside}{one.name}/")
            elif one.is_file(follow_symlinks=False):
                yield f"{inside}{one.name}", one.stat(follow_symlinks=False).st_size
            else:
                kind = "a link" if one.is_symlink() else "a device"
                raise StoreError(f"{one.path} is {kind}; an entry consists of files")


@contextmanager
def _told(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot {doing} {path}: {error.strerror}; make room or give access to it"
        ) from error
