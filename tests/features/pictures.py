"""Images for tests of extractors, and how far two results are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def photos(n: int, height: int, width: int) -> Tensor:
    """Smooth noise, neither flat nor white: uint8 ``[n, 3, height, width]``."""
    generator = torch.Generator().manual_seed(n)
    small = torch.rand(n, 3, 5, 5, generator=generator) * 255
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return large.clamp(0, 255).round().to(torch.uint8)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def saved(state: Mapping[str, Tensor], path: Path) -> tuple[Path, str]:
    """A state in a file, and the file's sha256."""
    torch.save(dict(state), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()
