"""A folder of image files as a source."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.images.decode import VERSION, Decoded, DecodeError, decode
from benchgen.images.source import Excluded, ImageBatch, checked_indices

SUFFIXES = (
    ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip

_THREADS = min(8, os.cpu_count() or 1)
# How many batches' worth of images wait for others of their size before a short batch is cut.
_LOOK_AHEAD = 4


class FolderSource:
    """The image files below a folder, at any depth.

    - Files with a suffix in ``SUFFIXES`` (in any case) count; others, and whatever has a name
      that starts with a dot, are left aside.
    - Index order is that of the relative paths, written with ``/`` and compared as UTF-8 bytes.
    - Where every image lies in a first-level subfolder and there are at least two of these,
      they are the classes, sorted in the same way; otherwise there are no labels.
    - Linked folders are followed, each real folder once; a link to a folder that contains this
      one is not.

    Raises:
        ImageError: no such folder, not a folder, not readable, or without images.
    """

    def __init__(self, path: str | Path) -> None:
        self.root = Path(path)
        self.paths = _find_images(self.root)
        self.classes, self.labels = _classes_and_labels(self.paths)

    @property
    def name(self) -> str:
        return self.root.name or str(self.root)

    @property
    def size(self) -> int:
        return len(self.paths)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over each relative path with its content's sha256, in order.

        The version of the decoding rules goes in too; labels follow from the paths. Reads
        every file, once.
        """
        digest = hashlib.sha256(f"folder\0decode {VERSION}\0".encode())
        with ThreadPoolExecutor(_THREADS) as pool:
            contents = pool.map(self._content_hash, self.paths)
            for path, content in zip(self.paths, contents, strict=True):
                digest.update(_as_bytes(path) + b"\0" + content)
        return digest.hexdigest()

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Yield these images in batches of one size each; see ``Source.read``."""
        waiting: list[_Loaded] = []
        excluded: list[Excluded] = []
        for loaded in self._load_in_order(checked_indices(self, indices), 2 * batch_size):
            if isinstance(loaded, Excluded):
                excluded.append(loaded)
                continue
            waiting.append(loaded)
            alike = [one for one in waiting if one.shape == loaded.shape]
            if len(alike) < batch_size and len(waiting) >= _LOOK_AHEAD * batch_size:
                alike = [one for one in waiting if one.shape == waiting[0].shape]
            elif len(alike) < batch_size:
                continue
            waiting = [one for one in waiting if one.shape != alike[0].shape]
            yield self._batch(alike, excluded)
            excluded = []
        while waiting:
            alike = [one for one in waiting if one.shape == waiting[0].shape]
            waiting = [one for one in waiting if one.shape != alike[0].shape]
            yield self._batch(alike, excluded)
            excluded = []
        if excluded:
            yield self._batch([], excluded)

    def _load_in_order(self, indices: list[int], ahead: int) -> Iterator[_Loaded | Excluded]:
        """Load in threads, at most ``ahead`` images before the one that is asked for."""
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="benchgen-decode")
        pending: deque[Future[_Loaded | Excluded]] = deque()
        try:
            for index in indices:
                pending.append(pool.submit(self._load, index))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _load(self, index: int) -> _Loaded | Excluded:
        path = self.paths[index]
        try:
            encoded = (self.root / path).read_bytes()
            return _Loaded(index, encoded, decode(encoded))
        except DecodeError as error:
            return Excluded(index, printable(path), str(error))
        except OSError as error:
            return Excluded(index, printable(path), f"cannot be read: {error.strerror or error}")

    def _batch(self, loaded: list[_Loaded], excluded: list[Excluded]) -> ImageBatch:
        indices = torch.tensor([one.index for one in loaded], dtype=torch.int64)
        images = [one.decoded.image for one in loaded]
        return ImageBatch(
            indices=indices,
            images=torch.stack(images) if images else torch.empty(0, 3, 1, 1, dtype=torch.uint8),
            labels=None if self.labels is None else self.labels[indices],
            names=tuple(printable(self.paths[one.index]) for one in loaded),
            encoded=tuple(one.encoded for one in loaded),
            flags=tuple(one.decoded.flags for one in loaded),
            excluded=tuple(excluded),
        )

    def _content_hash(self, path: str) -> bytes:
        try:
            with (self.root / path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError:
            return b"unreadable"


@dataclass(frozen=True)
class _Loaded:
    index: int
    encoded: bytes
    decoded: Decoded

    @property
    def shape(self) -> torch.Size:
        return self.decoded.image.shape


def printable(path: str) -> str:
    """A path that can be written as UTF-8: bytes that are not become replacement characters."""
    return _as_bytes(path).decode("utf-8", "replace")


def _as_bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _find_images(root: Path) -> tuple[str, ...]:
    """Relative POSIX paths of the images below a folder, in index order."""
    if not root.exists():
        raise ImageError(f"{root}: no such folder; expected a folder of images")
    if not root.is_dir():
        raise ImageError(f"{root} is a file; expected a folder of images")
    try:
        files = [path.relative_to(root).as_posix() for path in _walk(root)]
    except OSError as error:
        raise ImageError(f"{error.filename or root} cannot be listed: {error.strerror}") from error
    images = [path for path in files if _suffix(path) in SUFFIXES]
    if not images:
        found = Counter(_suffix(path) or "no suffix" for path in files).most_common(5)
        listed = ", ".join(f"{suffix} ({count})" for suffix, count in found)
        raise ImageError(
            f"{root} holds no images: found {f'files with {listed}' if listed else 'no files'}; "
            f"expected files with {', '.join(SUFFIXES)}"
        )
    return tuple(sorted(images, key=_as_bytes))


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _walk(root: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden.

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
            for entry in sorted(entries, key=lambda entry: _as_bytes(entry.name)):
                path = folder / entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else pending).append(path)
                elif entry.is_file() or entry.is_symlink():  # a broken link is reported later
                    yield path


def _classes_and_labels(paths: Sequence[str]) -> tuple[tuple[str, ...], Tensor | None]:
    tops = [path.partition("/")[0] if "/" in path else None for path in paths]
    folders = list(dict.fromkeys(top for top in tops if top is not None))
    if None in tops or len(folders) < 2:
        return (), None
    folders.sort(key=_as_bytes)
    number = {folder: label for label, folder in enumerate(folders)}
    labels = torch.tensor([number[top] for top in tops if top is not None], dtype=torch.int64)
    return tuple(printable(folder) for folder in folders), labels
