"""The measure ``artifacts``: traces that generators, upsampling and compression leave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchgen.features.luma import WEIGHTS, luma
from benchgen.features.power_spectrum import LEAST_SIDE, hann_power
from benchgen.images.source import ImageBatch

# How far a spectral peak reaches under a Hann window, and how far what counts as around it: bins.
_PEAK, _AROUND = 1, 4
# Length of the moving average with which ``blur`` blurs once more, in pixels.
_AVERAGED = 9
_BLOCK = 8


def load() -> Artifacts:
    """The ``artifacts`` measure."""
    return Artifacts()


class Artifacts:
    """Noise, blur, clipping, colour cast, checkerboard and JPEG blocks; white is 1.

    - ``noise``: standard deviation of the noise in luma, from the mean size of a second difference
      that flat and sloped areas do not have (Immerkær 1996, "Fast noise variance estimation").
      Fine texture counts as noise. None for an image less than 3 pixels wide or high.
    - ``blur``: share of luma's steps between neighbours that blurring once more leaves, in [0, 1],
      the larger of both directions (Crete et al. 2007, "The blur effect: perception and estimation
      with a new no-reference perceptual blur metric"), over the pixels whose average of 9 lies
      within the image: 1/9 for a sharp edge, 1 for a slope. None for a flat image, or one less
      than 10 pixels wide or high.
    - ``clipped``: share of the values of all channels that are 0 or 255.
    - ``cast``: distance of the mean chroma from gray, √(Cb² + Cr²) of BT.601: 0 for gray, 0.53
      for red all over. A colourful subject counts as a cast.
    - ``checkerboard``: what upsampling by 2 through zero insertion, such as a transposed
      convolution, leaves of the image's mean at half a cycle per pixel (Odena et al. 2016,
      "Deconvolution and checkerboard artifacts"; Zhang et al. 2019, arXiv:1907.06515): natural
      logarithm of the power of that peak over the power around it, under a Hann window, averaged
      over the horizontal, vertical and diagonal frequency. Near -0.2 in noise, where nothing
      stands out; less where interpolation has smoothed the image. JPEG's blocks leave some too.
      None for an image less than 16 pixels wide or high.
    - ``blocking``: mean step of luma across the boundaries of 8x8 blocks, B, against that within
      blocks, A, as (B - A)/(B + A): 0 without blocks, 1 where blocks are flat. The two means are
      those of Wang, Sheikh and Bovik 2002, "No-reference perceptual quality assessment of JPEG
      compressed images", each averaged over both directions. It sees JPEG in pixels that were
      neither cropped nor resized since. None for a flat image, or one less than 24 pixels wide or
      high.
    """

    columns = ("noise", "blur", "clipped", "cast", "checkerboard", "blocking")

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"measure": "artifacts", "version": "1", "luma": "bt601", "arithmetic": "float64"}

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float | int | str | None]]:
        """One number a column and image; takes the uint8 images of the batch."""
        # One by one: how a batch is summed may depend on its size.
        lumas = luma(batch.images)
        return {
            "noise": [_noise(one) for one in lumas],
            "blur": [_blur(one) for one in lumas],
            "clipped": [_clipped(image) for image in batch.images],
            "cast": [_cast(image) for image in batch.images],
            "checkerboard": [_checkerboard(one) for one in lumas],
            "blocking": [_blocking(one) for one in lumas],
        }


def _noise(values: Tensor) -> float | None:
    if min(values.shape) < 3:
        return None
    second = values.diff(n=2, dim=0).diff(n=2, dim=1)
    # The squared weights sum to 36, and |x| of a normal x has mean √(2/π) σ.
    return float(second.abs().mean()) * math.sqrt(math.pi / 2) / 6


def _blur(values: Tensor) -> float | None:
    if min(values.shape) <= _AVERAGED:
        return None
    found = [left for left in (_steps_left(values), _steps_left(values.T)) if left is not None]
    return max(found, default=None)


def _steps_left(values: Tensor) -> float | None:
    """Share of the steps along rows that is left after a moving average; None without steps."""
    margin = _AVERAGED // 2
    steps = values[:, margin:-margin].diff().abs()
    # Two neighbouring averages share all pixels but the first and the last.
    averaged = (values[:, _AVERAGED:] - values[:, :-_AVERAGED]).abs() / _AVERAGED
    total = float(steps.sum())
    return 1 - float((steps - averaged).clamp(min=0).sum()) / total if total else None


def _clipped(image: Tensor) -> float:
    return float(((image == 0) | (image == 255)).double().mean())


def _cast(image: Tensor) -> float:
    red, green, blue = (image.double().mean(dim=(1, 2)) / 255).tolist()
    mean_luma = WEIGHTS[0] * red + WEIGHTS[1] * green + WEIGHTS[2] * blue
    return math.hypot((blue - mean_luma) / 1.772, (red - mean_luma) / 1.402)


def _checkerboard(values: Tensor) -> float | None:
    if min(values.shape) < LEAST_SIDE:
        return None
    # Only an even number of pixels has half a cycle per pixel among its frequencies.
    height, width = (side - side % 2 for side in values.shape)
    power = hann_power(values[:height, :width])
    peaks = ((0, width // 2), (height // 2, 0), (height // 2, width // 2))
    return sum(_standing_out(power, *peak) for peak in peaks) / len(peaks)


def _standing_out(power: Tensor, down: int, across: int) -> float:
    """Log ratio of the mean power of the peak at one frequency to that around it."""
    side = 2 * _AROUND + 1
    near = power.roll((_AROUND - down, _AROUND - across), (0, 1))[:side, :side]
    peak = torch.zeros(side, side, dtype=torch.bool)
    peak[_AROUND - _PEAK : _AROUND + _PEAK + 1, _AROUND - _PEAK : _AROUND + _PEAK + 1] = True
    return math.log(float(near[peak].mean() / near[~peak].mean()))


def _blocking(values: Tensor) -> float | None:
    if min(values.shape) < 3 * _BLOCK:
        return None
    across, down = _mean_steps(values), _mean_steps(values.T)
    boundary, inside = across[0] + down[0], across[1] + down[1]
    return (boundary - inside) / (boundary + inside) if boundary + inside else None


def _mean_steps(values: Tensor) -> tuple[float, float]:
    """Mean step along rows across block boundaries, and within blocks."""
    steps = values.diff().abs()
    at_boundary = torch.arange(1, values.shape[1]) % _BLOCK == 0
    return float(steps[:, at_boundary].mean()), float(steps[:, ~at_boundary].mean())
