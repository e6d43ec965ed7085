"""Images that a Python callable gives: arrays, Pillow images, data sets, or a source."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchgen.errors import BenchgenError, ImageError, UsageError
from benchgen.images.array import MOST_CLASSES, ArraySource
from benchgen.images.batches import Loaded, batched
from benchgen.images.decode import VERSION, Decoded, DecodeError, from_pillow, parse_background
from benchgen.images.labelling import Labelling
from benchgen.images.pixels import PixelError, to_uint8
from benchgen.images.source import Excluded, ImageBatch, Source, checked_indices

_EXPECTED = (
    "an array or tensor of images, a list of Pillow images, a data set with len() and [index], or "
    "a benchgen source"
)


def load_callable(
    text: str,
    parameters: Mapping[str, Any],
    *,
    background: str | Sequence[int] = "white",
) -> Source:
    """Import ``module:callable``, call it with these parameters, and wrap what it returns.

    This runs the module's code: call it only where the user has said that it is trusted. Modules
    in the working directory are found too, after the installed ones.

    Raises:
        UsageError: No such module or callable, or it returns something else.
        ImageError: It raises, or returns images that cannot be used.
    """
    module, _, path = text.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        target: Any = importlib.import_module(module)
        for part in path.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{text} cannot be found: {error}; expected module:callable") from error
    if not callable(target):
        raise UsageError(f"{text} is a {type(target).__name__}; expected a callable")
    try:
        made = target(**parameters)
    except BenchgenError:
        raise
    except Exception as error:
        raise ImageError(f"{text} raised {type(error).__name__}: {error}") from error
    return wrapped(made, text, background=background)


def wrapped(made: Any, name: str, *, background: str | Sequence[int] = "white") -> Source:
    """A source of what a person has in Python.

    - A source stays what it is.
    - A NumPy array or tensor becomes an ``ArraySource``.
    - Whatever has ``len()`` and ``[index]`` (a list, a data set of torchvision) becomes a
      ``DatasetSource``.

    Raises:
        UsageError: None of these.
    """
    if all(hasattr(made, part) for part in ("read", "fingerprint", "size", "classes")):
        source: Source = made
        return source
    if isinstance(made, Tensor | np.ndarray):
        return ArraySource(made, name=name)
    if hasattr(made, "__len__") and hasattr(made, "__getitem__") and not isinstance(made, Mapping):
        return DatasetSource(made, name, background=background)
    raise UsageError(f"{name} gave a {type(made).__name__}; expected {_EXPECTED}")


class DatasetSource:
    """Anything with ``len()`` and ``[index]`` as a source, such as a data set of torchvision.

    An item is an image, or a tuple that begins with one; an integer that comes second is its
    label. An image is a Pillow image, or an array or tensor ``[H, W]``, ``[C, H, W]`` or
    ``[H, W, C]`` with C 1 or 3, uint8 or float in [0, 1]. Classes are the attribute ``classes``
    of the data set where it has one. Items are taken one at a time, in one thread.

    Args:
        items: The data set.
        name: What messages and reports call it.
        background: What transparent images are composited on; see ``decode.parse_background``.

    Raises:
        UsageError: No such background, or no items.
        ImageError: While reading, a label below 0 or absurdly large.
    """

    def __init__(self, items: Any, name: str, *, background: str | Sequence[int] = "white") -> None:
        self.name = name
        self._items = items
        self._background = parse_background(background)
        if not len(items):
            raise UsageError(f"{name} holds no images; expected {_EXPECTED}")

    @property
    def size(self) -> int:
        return len(self._items)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The data set's own names, or ``"0"``, ``"1"``, ... up to the largest label."""
        labels = self._scanned[1]
        own = getattr(self._items, "classes", ())
        names = [str(one) for one in own] if isinstance(own, list | tuple) else []
        if labels is None or (names and int(labels.max()) < len(names)):
            return tuple(names) if labels is not None else ()
        return tuple(str(label) for label in range(int(labels.max()) + 1))

    @property
    def labels(self) -> Tensor | None:
        """int64 ``[size]`` where every item can be used and has a label, else None."""
        return self._scanned[1]

    @property
    def fingerprint(self) -> str:
        """sha256 over all pixels and labels. Takes every item once."""
        return self._scanned[0]

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Yield these images in batches of one size each; see ``Source.read``."""
        wanted = checked_indices(self, indices)
        return batched((self._load(index) for index in wanted), batch_size, Labelling())

    @cached_property
    def _scanned(self) -> tuple[str, Tensor | None]:
        digest = hashlib.sha256(f"data set\0{VERSION}\0{self._background}\0".encode())
        labels: list[int] = []
        for index in range(self.size):
            one = self._load(index)
            if isinstance(one, Excluded):
                digest.update(f"unusable: {one.reason}\n".encode())
                continue
            pixels = one.decoded.image
            digest.update(f"{list(pixels.shape)} {one.label}\n".encode())
            digest.update(pixels.numpy().tobytes())
            if one.label is not None:
                labels.append(self._checked(one))
        known = torch.tensor(labels, dtype=torch.int64) if len(labels) == self.size else None
        return digest.hexdigest(), known

    def _checked(self, one: Loaded) -> int:
        if one.label is None or not 0 <= one.label < MOST_CLASSES:
            raise ImageError(
                f"{self.name}: item {one.name} has the label {one.label}; expected 0 to "
                f"{MOST_CLASSES - 1}"
            )
        return one.label

    def _load(self, index: int) -> Loaded | Excluded:
        try:
            item = self._items[index]
            image, label = _parted(item)
            return Loaded(index, str(index), self._decoded(image), label=label)
        except (DecodeError, PixelError) as error:
            return Excluded(index, str(index), str(error))
        except Exception as error:  # a data set may raise anything, and so may Pillow
            return Excluded(index, str(index), f"{type(error).__name__}: {error}")

    def _decoded(self, image: Any) -> Decoded:
        if isinstance(image, Image.Image):
            return from_pillow(image, self._background)
        if not isinstance(image, Tensor | np.ndarray):
            raise DecodeError(f"found a {type(image).__name__}; expected an image")
        values = torch.as_tensor(np.asarray(image)) if isinstance(image, np.ndarray) else image
        if values.ndim == 2:
            values = values[None]
        elif values.ndim == 3 and values.shape[0] not in (1, 3):
            values = values.permute(2, 0, 1)
        return Decoded(to_uint8(values[None].cpu())[0])


def _parted(item: Any) -> tuple[Any, int | None]:
    """The image of an item, and its label where it has one."""
    if not isinstance(item, tuple | list):
        return item, None
    if not item:
        raise DecodeError("found an empty tuple; expected an image")
    second = item[1] if len(item) > 1 else None
    if isinstance(second, Tensor) and second.ndim == 0:
        second = second.item()
    is_label = isinstance(second, int | np.integer) and not isinstance(second, bool)
    return item[0], int(second) if is_label and second is not None else None
