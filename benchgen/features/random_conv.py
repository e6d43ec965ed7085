"""Convolutional features that need no weights: fixed random kernels in four bands of detail.

They know nothing of objects, but blur, noise, colour and texture move them, each in its own way.
Random networks are known to give usable distances (Naeem et al. 2020, arXiv:2002.09797, R64).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchgen.errors import UsageError
from benchgen.features.network import Input, NetworkExtractor, features_only

_SCALES = 4
_FIRST = 24
_SECOND = 40
# A quarter of the first kernels may answer to flat colour; the others see differences alone.
_FLAT = 6
# Of deviations in photographs; a tenth of it is about what one grey level makes.
_TYPICAL = 0.1
D = _SCALES * 2 * (_FIRST + _SECOND)


def load(device: str | torch.device, seed: int = 0) -> NetworkExtractor:
    """The ``random-conv`` extractor: 512 features of images of any size, as they are.

    Args:
        device: Where to compute.
        seed: Of the kernels; one seed gives the same kernels on every machine.

    Raises:
        UsageError: seed is no integer from 0 up.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"random-conv: seed is {seed!r}; expected an integer from 0 up")
    first, second = (kernels.to(device) for kernels in _kernels(seed))
    prepare = Input.of(None, "tf1", low=-1, high=1)
    return NetworkExtractor(
        features_only(lambda images: _features(images, first, second)),
        prepare,
        device,
        D,
        {
            "network": "random-conv",
            "weights": f"seed {seed}",
            "layer": f"means and log deviations in {_SCALES} bands",
            **prepare.fingerprint,
        },
    )


def _features(images: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """What two layers answer to each scale of detail, and to what is left: ``[B, D]``."""
    parts = []
    for band in _bands(images):
        answers = F.relu(_convolved(band, first))
        parts += _moments(answers) + _moments(F.relu(_convolved(answers, second)))
    return torch.cat(parts, dim=1)


def _bands(images: Tensor) -> Iterator[Tensor]:
    """What averaging by two takes away, scale by scale; last, what is left."""
    for _ in range(_SCALES - 1):
        coarse = F.avg_pool2d(images, 2, ceil_mode=True, count_include_pad=False)
        spread = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        yield images - spread[:, :, : images.shape[2], : images.shape[3]]
        images = coarse
    yield images


def _convolved(maps: Tensor, kernels: Tensor) -> Tensor:
    """Same-size convolution; the border repeats, so an image of one pixel is as good as any."""
    reach = kernels.shape[-1] // 2
    return F.conv2d(F.pad(maps, (reach,) * 4, mode="replicate"), kernels)


def _moments(maps: Tensor) -> list[Tensor]:
    """Mean over space, and logarithm of the deviation: noise and blur multiply it."""
    mean = maps.mean((2, 3))
    deviation = (maps - mean[:, :, None, None]).square().mean((2, 3)).sqrt()
    return [mean, (deviation / _TYPICAL + 0.1).log()]


def _kernels(seed: int) -> tuple[Tensor, Tensor]:
    """He-normal kernels ``[24, 3, 5, 5]`` and ``[40, 24, 3, 3]``."""
    bits = np.random.PCG64(seed)
    first = _normals(bits, (_FIRST, 3, 5, 5))
    first[_FLAT:] -= first[_FLAT:].mean(axis=(1, 2, 3), keepdims=True)
    second = _normals(bits, (_SECOND, _FIRST, 3, 3))
    return tuple(  # type: ignore[return-value]
        torch.from_numpy((k * math.sqrt(2 / k[0].size)).astype(np.float32)) for k in (first, second)
    )


def _normals(bits: np.random.PCG64, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals by Box and Muller, float64.

    From the generator's raw bits: these never change, while numpy's distributions may.
    """
    count = math.prod(shape)
    raw = bits.random_raw(2 * count).reshape(2, count)
    radius, angle = ((raw >> np.uint64(11)) + 0.5) * 2.0**-53
    normals = np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
    return np.asarray(normals.reshape(shape))
