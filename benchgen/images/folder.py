"""A folder of image files as a source."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from benchgen.errors import ImageError
from benchgen.images.encoded import SUFFIXES, EncodedSource, FetchError, checked_size, is_image
from benchgen.images.hashes import Stamp, stamp_of
from benchgen.images.labelling import Labelling, as_bytes, class_tree


class FolderSource(EncodedSource):
    """The image files below a folder, at any depth.

    - Files with a suffix in ``SUFFIXES`` (in any case) count; others, and whatever has a name
      that starts with a dot, are left aside. An empty folder with such a suffix counts too, and is
      reported as unreadable.
    - Index order is that of the relative paths, written with ``/`` and compared as UTF-8 bytes.
    - Where every image lies in a first-level subfolder and there are at least two of these,
      they are the classes, sorted in the same way; otherwise there are no labels.
    - Linked folders are followed, each real folder once; a link to a folder that contains this
      one is not.

    ``table`` and ``background`` are those of ``EncodedSource``.

    Raises:
        ImageError: no such folder, not a folder, not readable, or without images; a table that
            does not fit.
        UsageError: no such background.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        table: str | Path | None = None,
        background: str | Sequence[int] = "white",
    ) -> None:
        files = _FolderFiles(Path(path))
        self.paths = files.names
        super().__init__(files, table=table, background=background)


def holds_images(folder: Path) -> bool:
    """Whether a file below a folder has the suffix of an image.

    Raises:
        ImageError: The folder cannot be listed.
    """
    try:
        files = _walk(folder)
        return any(is_image(path.relative_to(folder).as_posix()) for path in files)
    except OSError as error:
        raise _unlistable(folder, error) from error


class _FolderFiles:
    rising = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self.names = _find_images(root)

    @property
    def name(self) -> str:
        return self._root.name or str(self._root)

    @cached_property
    def place(self) -> str:
        return os.path.realpath(self._root)

    @cached_property
    def labelling(self) -> Labelling:
        return class_tree(self.names)

    def fetch(self, index: int) -> bytes:
        with open(self._root / self.names[index], "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FetchError("not a regular file")
            checked_size(status.st_size)
            return file.read()

    def stamp(self, index: int) -> Stamp | None:
        return stamp_of(os.path.join(self._root, self.names[index]))  # noqa: PTH118


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe, which would make a plain open wait for ever, opens at once."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _find_images(root: Path) -> tuple[str, ...]:
    """Relative POSIX paths of the images below a folder, in index order."""
    if not root.exists():
        raise ImageError(f"{root}: no such folder; expected a folder of images")
    if not root.is_dir():
        raise ImageError(f"{root} is a file; expected a folder of images")
    try:
        files = [path.relative_to(root).as_posix() for path in _walk(root)]
    except OSError as error:
        raise _unlistable(root, error) from error
    images = [path for path in files if is_image(path)]
    if not images:
        found = Counter(_suffix(path) or "no suffix" for path in files).most_common(5)
        listed = ", ".join(f"{suffix} ({count})" for suffix, count in found)
        raise ImageError(
            f"{root} holds no images: found {f'files with {listed}' if listed else 'no files'}; "
            f"expected files with {', '.join(SUFFIXES)}"
        )
    return tuple(sorted(images, key=as_bytes))


def _unlistable(root: Path, error: OSError) -> ImageError:
    return ImageError(f"{error.filename or root} cannot be listed: {error.strerror}")


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _walk(root: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, and empty folders that are named like one.

    Real folders come before linked ones, so that a folder reached both ways keeps its own name.
    """
    pending, links, seen = [root], list[Path](), set[str]()
    above = {str(parent) for parent in root.resolve().parents}
    while pending or links:
        folder = pending.pop() if pending else links.pop(0)
        real = os.path.realpath(folder)
        if real in seen or real in above:
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
        if not shown and folder != root and folder.suffix.lower() in SUFFIXES:
            yield folder  # reported later as no image
        for entry in sorted(shown, key=lambda entry: as_bytes(entry.name)):
            path = folder / entry.name
            if entry.is_dir():
                (links if entry.is_symlink() else pending).append(path)
            elif entry.is_file() or entry.is_symlink():  # a broken link is reported later
                yield path
