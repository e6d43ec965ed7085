"""What can be done to one image, in growing strength: uint8 ``[B, 3, H, W]`` in and out."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchgen.images.noise import normal

REFERENCE_SIDE = 32
"""A blur is given in pixels of an image of this side, and grows with the image."""


def blur(images: Tensor, strength: float, keys: Sequence[int], seed: int) -> Tensor:
    """Gaussian blur whose standard deviation is ``strength`` 32nds of the shorter side."""
    from torchvision.transforms.functional import gaussian_blur

    side = min(images.shape[-2:])
    sigma = strength * side / REFERENCE_SIDE
    if sigma == 0 or side == 1:
        return images
    radius = min(max(1, round(4 * sigma)), side - 1)  # reflection reaches no farther
    blurred: Tensor = gaussian_blur(images, [2 * radius + 1] * 2, [sigma] * 2)
    return blurred


def noise(images: Tensor, strength: float, keys: Sequence[int], seed: int) -> Tensor:
    """Gaussian noise of ``strength`` grey levels, the same in all channels of a pixel.

    The noise of an image depends on (seed, key) alone; a greater strength scales it.
    """
    drawn = normal(seed, keys, (1, *images.shape[-2:]))
    return _rounded(images.float() + strength * drawn)


def jpeg(images: Tensor, strength: float, keys: Sequence[int], seed: int) -> Tensor:
    """Through JPEG at quality ``strength``, with chroma at half the resolution (4:2:0)."""
    return torch.stack([_through_jpeg(image, round(strength)) for image in images])


def colour_cast(images: Tensor, strength: float, keys: Sequence[int], seed: int) -> Tensor:
    """``strength`` grey levels more red, and as many less blue."""
    shift = torch.tensor([strength, 0.0, -strength]).reshape(1, 3, 1, 1)
    return _rounded(images.float() + shift)


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)


def _rounded(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
