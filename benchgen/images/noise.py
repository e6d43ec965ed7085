"""Noise addressed by index: image i draws from (seed, i, stream, kind) alone.

The bits come from the counter-based generator Philox4x64-10 (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"), keyed by (seed, stream and kind) with the image's index in the
counter. So no image's noise depends on batch size, order, process or device. Normals are the
inverse normal distribution function of 53-bit uniforms, one element at a time, so that their
bits do not depend on where in an array an element stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Kind(IntEnum):
    """What the bits become; each kind has streams of its own."""

    NORMAL = 0
    UNIFORM = 1
    LABEL = 2
    GENERATOR = 3


# Raised whenever the same seed and index give other noise or labels; part of what identifies the
# images of a generator.
VERSION = "1"

_KINDS = 8
_MASK = (1 << 64) - 1


def bits(seed: int, index: int, stream: int, kind: Kind, count: int) -> np.ndarray:
    """The first ``count`` uint64 words of one image's stream, shape ``[count]``."""
    key = np.array([seed & _MASK, (stream * _KINDS + kind) & _MASK], dtype=np.uint64)
    counter = np.array([0, index, 0, 0], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def normal(seed: int, indices: Sequence[int], shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Standard normal noise, float32 ``[B, *shape]`` on the CPU."""
    from scipy.special import ndtri

    words = _words(seed, indices, shape, stream, Kind.NORMAL)
    uniforms = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return torch.from_numpy(ndtri(uniforms).astype(np.float32))


def uniform(seed: int, indices: Sequence[int], shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """Uniform noise in [0, 1), float32 ``[B, *shape]`` on the CPU, in steps of 2**-24."""
    words = _words(seed, indices, shape, stream, Kind.UNIFORM)
    return torch.from_numpy((words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24))


def labels(seed: int, indices: Sequence[int], classes: int) -> Tensor:
    """Class labels, int64 ``[B]``: each run of ``classes`` indices holds every class once.

    The order within a run is drawn from (seed, run). So classes are balanced by design at any
    number of images, and a label depends on (seed, index) alone.
    """
    orders = {
        run: np.argsort(bits(seed, run, 0, Kind.LABEL, classes), kind="stable")
        for run in {int(index) // classes for index in indices}
    }
    drawn = [int(orders[int(i) // classes][int(i) % classes]) for i in indices]
    return torch.tensor(drawn, dtype=torch.int64)


def torch_generator(seed: int, index: int) -> torch.Generator:
    """A CPU generator seeded for one image, for samplers that insist on torch's own noise."""
    word = int(bits(seed, index, 0, Kind.GENERATOR, 1)[0])
    return torch.Generator().manual_seed(word >> 1)


def _words(
    seed: int, indices: Sequence[int], shape: tuple[int, ...], stream: int, kind: Kind
) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    words = np.empty((len(indices), count), dtype=np.uint64)
    for row, index in enumerate(indices):
        words[row] = bits(seed, int(index), stream, kind, count)
    return words.reshape(len(indices), *shape)
