"""The resize rules of the published protocols, to a square of floats.

The rules differ by whole FID points on large images, so the rule is part of every fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from benchgen.arithmetic import exact_float32
from benchgen.errors import UsageError
from benchgen.images.resize_weights import Band, bands, neighbours

Rule = Literal["tf1", "pytorch-fid", "clean", "torchvision-antialias", "pillow-bicubic"]

# Numbers held at once beside the result: few enough for a processor's cache, and as many as keep
# a graphics card busy.
_CELLS_CPU, _CELLS_ELSEWHERE = 2**20, 2**26


def resize(images: Tensor, size: int, rule: Rule) -> Tensor:
    """Resize to ``size`` x ``size``, as the tool does that made the rule known.

    - ``tf1``: bilinear as TensorFlow 1 does it (no half-pixel offset, no antialiasing), the
      protocol of the original FID and of torch-fidelity; equal to the last bit.
    - ``pytorch-fid``: torch's bilinear with half-pixel centres, no antialiasing, as torch computes
      it on one thread (on several its own result moves by up to 1.4e-5 of the range).
    - ``clean``: Pillow's antialiased bicubic on each channel in floats, clipped to [0, 255] and
      not quantised again (clean-fid; Parmar et al. 2022, arXiv:2104.11222).
    - ``torchvision-antialias``: torch's antialiased bilinear on floats: torchvision's ``resize``
      of float tensors, torchmetrics' ``antialias=True``.
    - ``pillow-bicubic``: Pillow's bicubic on 8-bit images, rounded to 8 bits after each axis, as
      dgm-eval feeds DINOv2 by default; equal to the last bit. Across comes before down, as in every
      Pillow before 13, which turns the order round for some images that are taller than wide.

    Where no bits are promised, a value differs from the tool's by less than 1e-5 of the range.
    Memory beside the result is bounded, whatever the number of images. Results of less than 32 MB
    (30 images at 299 pixels) take less time an image: larger ones get fresh pages from the system.

    Args:
        images: uint8 ``[B, 3, H, W]``, on any device.
        size: The side of the result, in pixels.
        rule: One of the above.

    Returns:
        float32 ``[B, 3, size, size]`` in [0, 255], on the device of the input.

    Raises:
        UsageError: no such rule.
    """
    if rule not in _RULES:
        raise UsageError(f"no resize rule is called {rule!r}; known: {', '.join(get_args(Rule))}")
    if images.shape[2:] == (size, size):
        # Every rule leaves a length alone that is right already.
        return images.float()
    resized = images.new_empty((*images.shape[:2], size, size), dtype=torch.float32)
    with exact_float32():
        for part, target in _parts(images, resized):
            _RULES[rule](part.contiguous(), target, rule)
    return resized


def _interpolate(images: Tensor, target: Tensor, rule: str) -> None:
    """Between two neighbours along each axis, gathered: cheaper than products at all sizes."""
    down = neighbours(images.shape[2], target.shape[2], rule, images.device)
    across = neighbours(images.shape[3], target.shape[3], rule, images.device)

    # Columns before rows, and in these very terms: so ``tf1`` is TensorFlow's to the last bit.
    # Only the rows that count are touched.
    used = images.index_select(2, down.used)
    start = _columns(used, across.low).float()
    narrow = _columns(used, across.high).float().sub_(start).mul_(across.share).add_(start)
    upper = narrow.index_select(2, down.low_of_used)
    torch.index_select(narrow, 2, down.high_of_used, out=target)
    target.sub_(upper).mul_(down.share[:, None]).add_(upper)


def _columns(images: Tensor, chosen: Tensor) -> Tensor:
    if images.device.type != "cpu":
        return images.index_select(3, chosen)
    # For single bytes, numpy takes a third of the time of torch.
    return torch.from_numpy(images.numpy().take(chosen.numpy(), axis=3))


def _clean(images: Tensor, target: Tensor, rule: str) -> None:
    _weigh(images, target, rule, torch.float32)
    target.clamp_(0, 255)


def _antialias(images: Tensor, target: Tensor, rule: str) -> None:
    height, width = images.shape[2:]
    size = target.shape[2]
    if max(height, width) > size and height * width <= _cells(images):
        # Few weights in wide bands: torch's own is faster than products here, and slower elsewhere.
        side = (size, size)
        target.copy_(F.interpolate(images.float(), side, mode="bilinear", antialias=True))
    else:
        _weigh(images, target, rule, torch.float32)


def _pillow(images: Tensor, target: Tensor, rule: str) -> None:
    # Pillow computes with integers of 30 bits, which float64 holds exactly.
    whole = torch.empty_like(target, dtype=torch.float64)
    _weigh(images, whole, rule, torch.float64, after=_to_8_bits)
    target.copy_(whole)


def _to_8_bits(values: Tensor) -> None:
    values.add_(0.5).floor_().clamp_(0, 255)


def _nothing(values: Tensor) -> None:
    del values


def _weigh(
    images: Tensor,
    target: Tensor,
    rule: str,
    dtype: torch.dtype,
    after: Callable[[Tensor], None] = _nothing,
) -> None:
    """Weighted sums along each axis, as products with the bands that the weights lie in.

    Args:
        images: uint8 ``[b, 3, H, W]``.
        target: Of this dtype, ``[b, 3, size, size]``; written to.
        rule: Decides the weights.
        dtype: To compute in.
        after: What is done, in place, with the values after each axis.
    """
    height, width = images.shape[2:]
    size = target.shape[2]
    down = bands(height, size, rule, dtype, images.device)
    across = bands(width, size, rule, dtype, images.device)

    lines = images.view(-1, width)
    narrow = torch.empty(len(lines), size, dtype=dtype, device=images.device)
    # A few lines at a time are made floats, so that they are multiplied while in the cache.
    step = max(1, _cells(images) // (8 * width))
    for few, result in zip(torch.split(lines, step), torch.split(narrow, step), strict=True):
        _multiply_lines(few.to(dtype), across, result)
    after(narrow)

    planes = narrow.view(-1, height, size)
    result = target.view(-1, size, size)
    for band in down:
        weights = band.weights.expand(len(planes), -1, -1)
        torch.bmm(weights, planes[:, band.read], out=result[:, band.write])
    after(result)


def _multiply_lines(lines: Tensor, across: tuple[Band, ...], result: Tensor) -> None:
    for band in across:
        torch.mm(lines[:, band.read], band.weights.T, out=result[:, band.write])


def _parts(images: Tensor, resized: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """A few images at a time, with where they go."""
    size = resized.shape[2]
    step = max(1, _cells(images) // (3 * size * max(size, images.shape[2])))
    yield from zip(torch.split(images, step), torch.split(resized, step), strict=True)


def _cells(images: Tensor) -> int:
    return _CELLS_CPU if images.device.type == "cpu" else _CELLS_ELSEWHERE


_RULES: Mapping[str, Callable[[Tensor, Tensor, str], None]] = {
    "tf1": _interpolate,
    "pytorch-fid": _interpolate,
    "clean": _clean,
    "torchvision-antialias": _antialias,
    "pillow-bicubic": _pillow,
}
