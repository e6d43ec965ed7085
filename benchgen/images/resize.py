"""The resize rules of the published protocols, to a square of floats.

The rules differ by whole FID points on large images, so the rule is part of every fingerprint.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchgen.errors import UsageError

Rule = Literal["tf1", "pytorch-fid", "clean"]


def resize(images: Tensor, size: int, rule: Rule) -> Tensor:
    """Resize to ``size`` x ``size`` by one of three rules.

    - ``tf1``: bilinear as TensorFlow 1 does it (no half-pixel offset, no antialiasing), the
      protocol of the original FID and of torch-fidelity.
    - ``pytorch-fid``: torch's bilinear with half-pixel centres, no antialiasing.
    - ``clean``: Pillow's antialiased bicubic on each channel in float32, clipped to [0, 255] and
      not quantised again (Parmar et al. 2022). Always computed on the CPU.

    Args:
        images: uint8 ``[B, 3, H, W]``.
        size: The side of the result.
        rule: One of the above.

    Returns:
        float32 ``[B, 3, size, size]`` in [0, 255], on the device of the input.

    Raises:
        UsageError: no such rule.
    """
    if rule == "tf1":
        return _resize_tf1(images, size)
    if rule == "pytorch-fid":
        unit = images.float() / 255
        return 255 * F.interpolate(unit, (size, size), mode="bilinear", align_corners=False)
    if rule == "clean":
        return _resize_clean(images, size)
    raise UsageError(f"no resize rule is called {rule!r}; known: {', '.join(get_args(Rule))}")


def _resize_tf1(images: Tensor, size: int) -> Tensor:
    top, bottom, down = _tf1_neighbours(images.shape[2], size, images.device)
    left, right, across = _tf1_neighbours(images.shape[3], size, images.device)

    # Columns before rows, and in these very terms: so the result is TensorFlow's to the last bit.
    # Only the rows that count are touched, each once.
    rows, where = torch.unique(torch.cat([top, bottom]), return_inverse=True)
    used = images.index_select(2, rows).float()
    start = used.index_select(3, left)
    narrow = start + (used.index_select(3, right) - start) * across
    upper, lower = (narrow.index_select(2, half) for half in where.chunk(2))
    return upper + (lower - upper) * down[:, None]


def _tf1_neighbours(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each new position the two old ones beside i * old / new, and the share of the second."""
    # float32 throughout: TensorFlow's own rounding decides which positions these are.
    at = torch.arange(new, dtype=torch.float32) * torch.tensor(old / new, dtype=torch.float32)
    low = at.long()
    high = (low + 1).clamp_max(old - 1)
    return low.to(device), high.to(device), (at - low).to(device)


def _resize_clean(images: Tensor, size: int) -> Tensor:
    planes = images.flatten(0, 1).cpu().numpy().astype(np.float32)
    resized = np.empty((len(planes), size, size), dtype=np.float32)
    for at, plane in enumerate(planes):
        small = Image.fromarray(plane).resize((size, size), Image.Resampling.BICUBIC)
        resized[at] = np.asarray(small)
    result = torch.from_numpy(resized).clamp_(0, 255)
    return result.view(len(images), 3, size, size).to(images.device)
