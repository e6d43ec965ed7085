"""An extractor that sees every image through the same JPEG compression."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor

from benchgen.features.extractor import Extracted, Extractor


class Recoded:
    """Brings images to one codec before an extractor sees them.

    Real images are often JPEG and generated ones are not; whatever tells codecs apart then tells
    the two sides apart. Compressing all of them alike, and more than any source has, takes that
    away (Parmar et al. 2022, arXiv:2104.11222, on what JPEG does to FID).

    Args:
        extractor: What sees the images then.
        quality: Of the JPEG compression, 1 to 95; chroma at half the resolution.
    """

    def __init__(self, extractor: Extractor, quality: int) -> None:
        self._extractor, self._quality = extractor, quality

    @property
    def d(self) -> int:
        return self._extractor.d

    @property
    def classes(self) -> tuple[str, ...]:
        return self._extractor.classes

    @property
    def drift(self) -> float | None:
        return getattr(self._extractor, "drift", None)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {**self._extractor.fingerprint, "jpeg": f"quality {self._quality}, 4:2:0"}

    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to the extractor's rows."""
        if len(images):
            images = torch.stack([self._recoded(image) for image in images])
        return self._extractor(images)

    def _recoded(self, image: Tensor) -> Tensor:
        buffer = io.BytesIO()
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(pixels).save(buffer, "jpeg", quality=self._quality, subsampling="4:2:0")
        with Image.open(buffer, formats=["JPEG"]) as decoded:
            recoded: Tensor = pil_to_tensor(decoded.convert("RGB"))
        return recoded
