"""Arrays in memory or in NumPy files as a source."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.images.hashes import HashMemory, stamp_of
from benchgen.images.labelling import Columns, Labelling
from benchgen.images.npz import Npz
from benchgen.images.pixels import QUANTISATION, PixelError, to_uint8
from benchgen.images.source import ImageBatch, checked_indices
from benchgen.images.table import read_table

Layout = Literal["NHW", "NCHW", "NHWC"]

MOST_CLASSES = 2**20
"""Labels beyond are no labels: each class up to the largest has a name in memory."""

_HASH_BLOCK = 1024


class ArraySource:
    """Images of one size in a NumPy array or a torch tensor.

    Args:
        values: ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with C 1 or 3; uint8, or float
            in [0, 1]. It is not copied, and converted batch by batch, so it may be mapped from
            disk; do not change it afterwards.
        labels: Integers ``[N]``, from 0, or None.
        name: What messages and reports call it.
        classes: Names that labels point into; ``"0"``, ``"1"``, ... unless given.
        columns: Text of each image by name (``prompt``, ``group`` and others), N values each.
        layout: Says which axis is which where the shape does not.

    Raises:
        ImageError: an ambiguous or wrong shape, dtype or labels; while reading, values outside
            [0, 1] or not finite.
    """

    stratified = False

    def __init__(
        self,
        values: Any,
        labels: Any = None,
        name: str = "array",
        *,
        classes: Sequence[str] = (),
        columns: Columns | None = None,
        layout: Layout | None = None,
    ) -> None:
        self.name = name
        self._values = _as_numpy(values)
        if self._values.dtype != np.uint8 and self._values.dtype.kind != "f":
            raise ImageError(
                f"{name}: found values of type {self._values.dtype}; "
                "expected uint8, or float in [0, 1]"
            )
        self._layout = _layout(name, self._values.shape, layout)
        if 0 in self._values.shape:
            raise ImageError(f"{name}: found shape {list(self._values.shape)}; it has no images")
        self.labels = None if labels is None else _checked_labels(name, labels, self.size, classes)
        self.classes = tuple(classes)
        if self.labels is not None and not classes:
            self.classes = tuple(str(label) for label in range(int(self.labels.max()) + 1))
        self.columns = dict(columns or {})
        for column, texts in self.columns.items():
            if len(texts) != self.size:
                raise ImageError(
                    f"{name}: column {column!r} holds {len(texts)} values for {self.size} images"
                )

    @property
    def size(self) -> int:
        return int(self._values.shape[0])

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the uint8 RGB pixels, the labels with their names, and the columns."""
        digest = hashlib.sha256(b"array\0")
        for start in range(0, self.size, _HASH_BLOCK):
            images = self._images(list(range(start, min(start + _HASH_BLOCK, self.size))))
            if start == 0:
                digest.update(str([self.size, *images.shape[1:]]).encode())
            digest.update(images.numpy().tobytes())
        digest.update(self._described())
        return digest.hexdigest()

    def _described(self) -> bytes:
        """Labels with their names, and columns, as they enter the fingerprint."""
        parts = b""
        if self.labels is not None:
            parts += "\0".join(("labels", *self.classes)).encode() + b"\0"
            parts += self.labels.numpy().astype("<i8").tobytes()
        if self.columns:
            parts += json.dumps(self.columns, sort_keys=True).encode()
        return parts

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Yield these images in batches; see ``Source.read``."""
        wanted = checked_indices(self, indices)
        for start in range(0, len(wanted), batch_size):
            rows = wanted[start : start + batch_size]
            yield ImageBatch(
                indices=torch.tensor(rows, dtype=torch.int64),
                images=self._images(rows),
                labels=None if self.labels is None else self.labels[rows],
                names=tuple(str(row) for row in rows),
                columns={
                    name: tuple(texts[row] for row in rows) for name, texts in self.columns.items()
                },
            )

    def _images(self, rows: list[int]) -> Tensor:
        block = np.ascontiguousarray(self._values[rows])
        # Tensors have no other byte order than the machine's.
        tensor = torch.from_numpy(block.astype(block.dtype.newbyteorder("="), copy=False))
        if self._layout == "NHW":
            tensor = tensor[:, None]
        elif self._layout == "NHWC":
            tensor = tensor.permute(0, 3, 1, 2)
        try:
            return to_uint8(tensor)
        except PixelError as error:
            where = "" if error.index is None else f"image {rows[error.index]}: "
            raise ImageError(f"{self.name}: {where}{error}") from error


def load_array(path: str | Path, *, table: str | Path | None = None) -> ArraySource:
    """Open a ``.npy`` or ``.npz`` file of images; pickled objects are refused.

    A ``.npy`` file is mapped, not read; so are the arrays of an ``.npz`` file that are stored as
    they are (``numpy.savez``, ADM's samples). Compressed ones are unpacked into memory. An
    ``.npz`` file holds one array, or names its images ``images`` or ``arr_0``, and may name labels
    ``labels`` or ``arr_1``.

    Args:
        path: The file.
        table: Labels, prompts, groups and further columns; its column ``file`` holds the number
            of each image, from 0. See ``benchgen.images.table``.

    Raises:
        ImageError: missing, damaged or pickled file, or none of these names in it; a table that
            does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"{path}: no such file; expected a .npy or .npz file of images")
    if path.suffix.lower() not in (".npy", ".npz"):
        raise ImageError(f"{path}: the suffix is {path.suffix!r}; expected .npy or .npz")
    try:
        images: np.ndarray
        labels: Any
        images, labels = _arrays(path)
        known = Labelling()
        if table is not None:
            names = [str(row) for row in range(len(images))]
            known = read_table(table).applied(names, known)
        if known.labels is not None:
            labels = known.labels
        return _ArrayFile(path, images, labels, known)
    except ImageError:
        raise
    except Exception as error:  # damaged files raise almost any type
        raise ImageError(
            f"{path} cannot be read: {error}; expected plain arrays, as numpy.save and "
            "numpy.savez write them (pickled objects are never loaded)"
        ) from error


class _ArrayFile(ArraySource):
    """An array from a file, whose fingerprint is remembered until the file changes."""

    def __init__(self, path: Path, images: np.ndarray, labels: Any, known: Labelling) -> None:
        super().__init__(images, labels, path.name, classes=known.classes, columns=known.columns)
        self._path = path

    @cached_property
    def fingerprint(self) -> str:
        described = hashlib.sha256(self._described()).hexdigest()
        memory = HashMemory(f"{os.path.realpath(self._path)}\n{QUANTISATION}\n{described}")
        stamp = stamp_of(self._path)
        found = memory.recall(self._path.name, stamp)
        if found is None:
            found = super().fingerprint
            if stamp == stamp_of(self._path):
                memory.remember(self._path.name, stamp, found)
        memory.save()
        return found


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Images, and labels where there are any."""
    if path.suffix.lower() == ".npy":
        return np.load(path, mmap_mode="r", allow_pickle=False), None
    archive = Npz(path)
    images, labels = _names_in_archive(path, archive.names)
    return archive.array(images), archive.array(labels) if labels else None


def _as_numpy(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
    return np.asarray(values)


def _layout(name: str, shape: tuple[int, ...], given: Layout | None) -> Layout:
    accepted = "expected [N, H, W], [N, H, W, C] or [N, C, H, W] with C 1 or 3"
    if given is not None:
        if len(given) != len(shape) or ("C" in given and shape[given.index("C")] not in (1, 3)):
            raise ImageError(f"{name}: shape {list(shape)} is not {given}; {accepted}")
        return given
    if len(shape) == 3 and shape[2] not in (1, 3):
        return "NHW"
    if len(shape) == 4 and (shape[1] in (1, 3)) != (shape[3] in (1, 3)):
        return "NCHW" if shape[1] in (1, 3) else "NHWC"
    either = len(shape) in (3, 4) and (shape[1] in (1, 3) or shape[-1] in (1, 3))
    if either:
        raise ImageError(
            f"{name}: shape {list(shape)} can be read in two ways; {accepted}; "
            "say which by layout='NHW', 'NHWC' or 'NCHW'"
        )
    raise ImageError(f"{name}: found shape {list(shape)}; {accepted}")


def _checked_labels(name: str, labels: Any, n: int, classes: Sequence[str]) -> Tensor:
    found = _as_numpy(labels)
    if found.shape != (n,) or found.dtype.kind not in "iu":
        raise ImageError(
            f"{name}: found labels of shape {list(found.shape)} and type {found.dtype}; "
            f"expected {n} integers"
        )
    low, high = int(found.min()), int(found.max())
    upper = (len(classes) or MOST_CLASSES) - 1
    if low < 0 or high > upper:
        raise ImageError(f"{name}: found labels from {low} to {high}; expected 0 to {upper}")
    return torch.from_numpy(found.astype(np.int64))


def _names_in_archive(path: Path, names: list[str]) -> tuple[str, str | None]:
    images: list[str] = [name for name in ("images", "arr_0") if name in names]
    if not images and len(names) == 1:
        images = names
    if not images:
        raise ImageError(
            f"{path} holds the arrays {', '.join(names) or '(none)'}; expected one array, or "
            "images (or arr_0) and, if there are labels, labels (or arr_1)"
        )
    labels: list[str] = [
        name for name in ("labels", "arr_1") if name in names and name != images[0]
    ]
    return images[0], labels[0] if labels else None
