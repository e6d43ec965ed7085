"""Which old pixels a new one is made of along one axis, and with what weights, rule by rule.

Positions are rounded as each tool rounds them, in float32 or float64: a slip there moves a value by
more than all later arithmetic does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# New positions that share one product. More would multiply with more zeros, fewer would be more
# products; measured from 32 to 1024 pixels (benchmarks/resize.py).
_BAND = 32
# Weights are kept for as many lengths, so that a folder of mixed sizes does not fill the memory.
_KEPT = 64
# Pillow's fixed point for images of 8 bits.
_PILLOW_ONE = 2**22


@dataclass(frozen=True)
class Neighbours:
    """The two old positions on either side of each new one.

    Attributes:
        low, high: int64 ``[new]``, each in ``[0, old)``.
        share: How much of ``high`` is taken, float32 ``[new]`` in [0, 1]; the rest is ``low``.
        used: The old positions that occur at all, int64, ascending.
        low_of_used, high_of_used: ``low`` and ``high`` as places within ``used``.
    """

    low: Tensor
    high: Tensor
    share: Tensor
    used: Tensor
    low_of_used: Tensor
    high_of_used: Tensor


@dataclass(frozen=True)
class Band:
    """Some consecutive new positions, and the stretch of old ones that they are made of.

    ``weights`` is ``[write, read]``: new from old.
    """

    write: slice
    read: slice
    weights: Tensor


@lru_cache(_KEPT)
def neighbours(old: int, new: int, rule: str, device: torch.device) -> Neighbours:
    """For the rules without antialiasing, ``tf1`` and ``pytorch-fid``.

    Args:
        old: The length that there is, in pixels.
        new: The length that is wanted.
        rule: Which of the two.
        device: Where the tensors are to be.
    """
    scale = np.float32(old) / np.float32(new)
    at = np.arange(new, dtype=np.float32)
    if rule == "tf1":
        at = at * scale
    else:
        # Rounded once, as by processors that multiply and subtract in one step.
        exact = (at + np.float32(0.5)).astype(np.float64) * scale - 0.5
        at = np.maximum(exact, 0).astype(np.float32)
    low = np.minimum(at.astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    share = np.clip(at - low.astype(np.float32), 0, 1)
    used, where = np.unique(np.concatenate([low, high]), return_inverse=True)
    fields = (low, high, share, used, where[:new], where[new:])
    return Neighbours(*(torch.from_numpy(field).to(device) for field in fields))


@lru_cache(_KEPT)
def bands(
    old: int, new: int, rule: str, dtype: torch.dtype, device: torch.device
) -> tuple[Band, ...]:
    """For the rules that weigh a whole stretch: ``clean`` and the other antialiased ones.

    Args:
        old, new, rule, device: As for ``neighbours``.
        dtype: Of the weights.
    """
    first, weights = _weights(old, new, rule)
    found = []
    for start in range(0, new, _BAND):
        stop = min(start + _BAND, new)
        lowest = int(first[start])
        columns = (first[start:stop] - lowest)[:, None] + np.arange(weights.shape[1])
        # A weight beyond the last old position is zero: it may fall on the edge, and adds nothing.
        columns = np.minimum(columns, old - 1 - lowest)
        band = np.zeros((stop - start, int(columns.max()) + 1))
        np.add.at(band, (np.arange(stop - start)[:, None], columns), weights[start:stop])
        read = slice(lowest, lowest + band.shape[1])
        made = torch.from_numpy(band).to(device=device, dtype=dtype)
        found.append(Band(slice(start, stop), read, made))
    return tuple(found)


def _weights(old: int, new: int, rule: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The first old position of each new one, ``[new]``, and the weights from there on."""
    if rule == "torchvision-antialias":
        return _filtered(old, new, _triangle, 1, np.float32)
    first, weights = _filtered(old, new, _cubic, 2, np.float64)
    if rule == "pillow-bicubic":
        # Half away from zero, as C rounds what it cuts off after adding a half.
        steps = np.trunc(weights * _PILLOW_ONE + np.copysign(0.5, weights))
        weights = steps / _PILLOW_ONE
    return first, weights


def _filtered(
    old: int,
    new: int,
    kernel: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    radius: int,
    dtype: type[np.floating],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A kernel, widened where the image shrinks, at every new position; sums are 1."""
    half = dtype(0.5)
    scale = dtype(old) / dtype(new)
    wide = max(scale, dtype(1))
    support = dtype(radius) * wide
    centre = (np.arange(new).astype(dtype) + half) * scale
    first = np.maximum((centre - support + half).astype(np.int64), 0)
    beyond = np.minimum((centre + support + half).astype(np.int64), old)
    at = first[:, None] + np.arange(int((beyond - first).max()))
    weights = kernel(np.abs((at.astype(dtype) - centre[:, None] + half) / wide))
    weights[at >= beyond[:, None]] = 0
    total = weights.sum(axis=1, keepdims=True)
    return first, (weights / total).astype(np.float64)


def _triangle(x: NDArray[np.floating]) -> NDArray[np.floating]:
    height: NDArray[np.floating] = np.maximum(1 - x, 0)
    return height


def _cubic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """Keys' cubic convolution with a = -0.5 (Keys 1981), as Pillow has it."""
    inner = (1.5 * x - 2.5) * x * x + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, inner, np.where(x < 2, outer, 0))
