"""Images to PNG: for files, and as small pictures for reports."""

from __future__ import annotations

import io

from PIL import Image
from torch import Tensor


def png(image: Tensor, side: int | None = None) -> bytes:
    """Encode an image, uint8 ``[3, H, W]``; reduced to at most ``side`` pixels wide and high."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    if side is not None:
        picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
