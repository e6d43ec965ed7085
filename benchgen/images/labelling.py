"""What a source of files knows of its images besides pixels: classes, labels and text columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Columns = Mapping[str, tuple[str | None, ...]]


@dataclass(frozen=True)
class Labelling:
    """Labels and columns of all images of a source.

    Attributes:
        classes: Names that labels point into; empty if there are no labels.
        labels: int64 ``[size]``, or None.
        columns: Text by name (``prompt``, ``group`` and others), ``size`` values each.
    """

    classes: tuple[str, ...] = ()
    labels: Tensor | None = None
    columns: Columns = field(default_factory=dict)

    def described(self, index: int) -> list[str | None]:
        """The class and the columns of one image, in an order that the whole shares."""
        label = None if self.labels is None else self.classes[int(self.labels[index])]
        return [label, *(self.columns[name][index] for name in sorted(self.columns))]


def class_tree(names: Sequence[str]) -> Labelling:
    """Classes from folders: where every name lies in a folder, and there are at least two.

    The folders are the first parts of the names, written with ``/``, sorted as UTF-8 bytes.
    """
    tops = [name.partition("/")[0] if "/" in name else None for name in names]
    if None in tops or len(set(tops)) < 2:
        return Labelling()
    folders = [top for top in tops if top is not None]
    classes, labels = numbered(folders, sorted(set(folders), key=as_bytes))
    return Labelling(tuple(printable(name) for name in classes), labels)


def numbered(
    values: Sequence[str], classes: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Tensor]:
    """Class names and labels of named classes; in the order of numbers where all are numbers."""
    if classes is None:
        classes = sorted(set(values), key=as_bytes)
        if all(name.isascii() and name.isdigit() for name in classes):
            classes.sort(key=int)
    number = {name: label for label, name in enumerate(classes)}
    labels = torch.tensor([number[value] for value in values], dtype=torch.int64)
    return tuple(classes), labels


def printable(name: str) -> str:
    """A name that can be written as UTF-8: bytes that are not become replacement characters."""
    return as_bytes(name).decode("utf-8", "replace")


def as_bytes(name: str) -> bytes:
    """A name as UTF-8, with the bytes that were none when it was read."""
    return name.encode("utf-8", "surrogateescape")
