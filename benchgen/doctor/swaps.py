"""What can be done to a set of images by swapping some of them for others, in growing shares.

Each function takes the parts of a pool and a strength in percent, and returns positions int64
``[n]``: the base with some of them swapped. A greater strength swaps what a smaller one does,
and more. No image occurs twice unless that is the defect.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchgen.doctor.parts import Parts
from benchgen.errors import UsageError


class CannotPlantError(UsageError):
    """A defect cannot be planted in these images; the message says why."""


def duplicate(parts: Parts, percent: float) -> Tensor:
    """Swap a share for copies of other images of the base, each copied once.

    The copy is of the same class, so that the shares of classes stay as they are.
    """
    pairs = _by_class(parts, parts.base)[: parts.n // 2 * 2].reshape(-1, 2)
    count = _count(parts, percent)
    if count > len(pairs):
        raise CannotPlantError(f"{percent:g} % is more than half; no image is copied twice")
    chosen = pairs[_shuffled(len(pairs), parts.seed)[:count]]
    return _swapped(parts, chosen[:, 0], parts.base[chosen[:, 1]])


def copy_training(parts: Parts, percent: float) -> Tensor:
    """Swap a share for training images of the same classes, each used once."""
    ours, theirs = _by_class(parts, parts.base), _by_class(parts, parts.train)
    chosen = _shuffled(parts.n, parts.seed)[: _count(parts, percent)]
    return _swapped(parts, ours[chosen], parts.train[theirs[chosen]])


def drop_classes(parts: Parts, percent: float) -> Tensor:
    """Drop a share of the classes; images of the others, from the reserve, take their place."""
    labels = _labels(parts)
    gone = _class_order(parts)[: round(percent / 100 * parts.classes)]
    places = torch.isin(labels[parts.base], gone).nonzero()[:, 0]
    return _swapped(parts, places, _from_reserve(parts, len(places), without=gone))


def drop_strengths(parts: Parts) -> tuple[float, ...]:
    """The shares of classes that can be dropped: up to half, as many as there are classes for."""
    classes = max(parts.classes, 1)
    wanted = {max(1, round(share * classes)) for share in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)}
    return tuple(100 * count / classes for count in sorted(wanted) if 2 * count <= classes)


def favour_classes(parts: Parts, percent: float) -> Tensor:
    """Swap a share of images, of one half of the classes, for images of the other half."""
    labels = _labels(parts)
    losing = _class_order(parts)[: parts.classes // 2]
    places = torch.isin(labels[parts.base], losing).nonzero()[:, 0]
    count = _count(parts, percent)
    if count > len(places):
        raise CannotPlantError(
            f"{percent:g} % is more than the {len(places)} images of the classes that lose some"
        )
    # The base is in an order whose every run holds the classes in their shares.
    return _swapped(parts, places[:count], _from_reserve(parts, count, without=losing))


def _swapped(parts: Parts, places: Tensor, positions: Tensor) -> Tensor:
    found = parts.base.clone()
    found[places] = positions
    return found


def _from_reserve(parts: Parts, count: int, without: Tensor) -> Tensor:
    labels = _labels(parts)
    left = parts.reserve[~torch.isin(labels[parts.reserve], without)]
    if len(left) < count:
        raise CannotPlantError(
            f"it takes {count} further images of the classes that stay, and {len(left)} are left; "
            "say a smaller -n, or give more images"
        )
    return left[:count]


def _by_class(parts: Parts, positions: Tensor) -> Tensor:
    """Places ``[n]`` in order of class, the classes' own order unchanged."""
    if parts.labels is None:
        return torch.arange(len(positions))
    return torch.argsort(parts.labels[positions], stable=True)


def _labels(parts: Parts) -> Tensor:
    if parts.labels is None:
        raise CannotPlantError(
            "the images have no labels; give a folder with one subfolder a class, or an .npz "
            "file with labels"
        )
    if parts.classes < 2:
        raise CannotPlantError("there is one class only; give images of at least two")
    return parts.labels


def _class_order(parts: Parts) -> Tensor:
    return _shuffled(parts.classes, parts.seed)


def _count(parts: Parts, percent: float) -> int:
    count = round(percent / 100 * parts.n)
    if count == 0 < percent:
        raise CannotPlantError(f"{percent:g} % of {parts.n} images is less than one")
    return count


def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
