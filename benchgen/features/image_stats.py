"""The measure ``image-stats``: four plain properties of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchgen.features.luma import WEIGHTS
from benchgen.images.source import ImageBatch


def load() -> ImageStats:
    """The ``image-stats`` measure."""
    return ImageStats()


class ImageStats:
    """Brightness, contrast, saturation and sharpness, all on a scale where white is 1.

    - ``brightness``: mean luma (BT.601), in [0, 1].
    - ``contrast``: standard deviation of luma over pixels (ddof 0), in [0, 0.5].
    - ``saturation``: mean over pixels of the HSV saturation (max - min) / max, 0 for black; in
      [0, 1].
    - ``sharpness``: variance (ddof 0) over inner pixels of luma's Laplacian, four neighbours
      minus four times the pixel; in squared luma (multiply by 255² for the scale of 8-bit
      values). None for an image less than 3 pixels wide or high.
    """

    columns = ("brightness", "contrast", "saturation", "sharpness")

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"measure": "image-stats", "luma": "bt601", "arithmetic": "float32"}

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float | int | str | None]]:
        """One number a column and image; takes the uint8 images of the batch."""
        images = batch.images.float() / 255
        luma = torch.einsum("bchw,c->bhw", images, torch.tensor(WEIGHTS))
        brightness = luma.mean(dim=(1, 2))
        deviation = luma - brightness[:, None, None]
        high, low = images.amax(dim=1), images.amin(dim=1)
        # Where the brightest channel is 0, so is the difference.
        saturation = (high - low) / torch.where(high > 0, high, 1)
        return {
            "brightness": brightness.tolist(),
            "contrast": deviation.square().mean(dim=(1, 2)).sqrt().tolist(),
            "saturation": saturation.mean(dim=(1, 2)).tolist(),
            "sharpness": _sharpness(luma),
        }


def _sharpness(luma: Tensor) -> list[float | None]:
    if min(luma.shape[1:]) < 3:
        return [None] * len(luma)
    centre = luma[:, 1:-1, 1:-1]
    neighbours = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    laplacian = neighbours - 4 * centre
    return [float(value) for value in laplacian.var(dim=(1, 2), correction=0)]
