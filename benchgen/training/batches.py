"""The batches of every epoch: their order and augmentation follow from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchgen.training.images import TrainingImages
from benchgen.training.job import Batch, Data
from benchgen.training.request import Augmentation

_WORDS = 3
_SHIFT = 10
"""Images shift by up to one part in so many of their height and width."""


def epoch_batches(
    images: TrainingImages, seed: int, augmentations: Sequence[Augmentation] = ()
) -> Data:
    """The ``data`` of a training job.

    The order depends on (seed, epoch), and what is done to an image on (seed, epoch, its position
    in the epoch). A short last batch is dropped, unless it is the only one.
    """

    def batches(epoch: int, batch_size: int) -> Iterator[Batch]:
        order_seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(order_seed))
        size = min(batch_size, len(images))
        words = _words(seed, epoch, len(images)) if augmentations else None
        for start in range(0, len(images) - size + 1, size):
            rows = order[start : start + size]
            chosen = images.images[rows]
            if words is not None:
                chosen = augmented(chosen, words[start : start + size], augmentations)
            labels = None if images.labels is None else images.labels[rows]
            yield chosen.float() / 255, labels

    return batches


def augmented(images: Tensor, words: Tensor, augmentations: Sequence[Augmentation]) -> Tensor:
    """Images flipped from left to right, one in two, and shifted; what shifts in is reflected.

    Args:
        images: uint8 ``[B, C, H, W]``.
        words: int64 ``[B, 3]``, random and not negative.
        augmentations: Which of the two.

    Returns:
        uint8 ``[B, C, H, W]``.
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height).expand(len(images), -1)
    columns = torch.arange(width).expand(len(images), -1)
    if "shift" in augmentations:
        rows = _reflected(rows + _steps(words[:, 1], height), height)
        columns = _reflected(columns + _steps(words[:, 2], width), width)
    if "flip" in augmentations:
        flipped = (words[:, :1] % 2).bool()
        columns = torch.where(flipped, columns.flip(1), columns)
    own = torch.arange(len(images))[:, None, None]
    # Indices around a slice put their own axes first.
    return images[own, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _steps(words: Tensor, side: int) -> Tensor:
    """Whole pixels from -most to most, ``[B, 1]``, all alike often."""
    most = side // _SHIFT
    return (words % (2 * most + 1) - most)[:, None]


def _reflected(places: Tensor, side: int) -> Tensor:
    """Places beyond an edge, mirrored at it without repeating it."""
    inside = places.abs()
    return torch.where(inside < side, inside, 2 * (side - 1) - inside)


def _words(seed: int, epoch: int, count: int) -> Tensor:
    """Random numbers below 2**32 for each position, int64 ``[count, 3]``.

    From the generator's raw bits: these never change, while numpy's distributions may.
    """
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch, 1])).random_raw(count * _WORDS)
    return torch.from_numpy((bits >> np.uint64(32)).astype(np.int64).reshape(count, _WORDS))
