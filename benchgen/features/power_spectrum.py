"""The measure ``spectrum``: how much detail an image has at each scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchgen.features.luma import luma
from benchgen.images.source import ImageBatch

BANDS = 8
"""Between zero and the Nyquist frequency, half a cycle per pixel; all of one width."""

LEAST_SIDE = 2 * BANDS
"""Below this width or height no frequency is as low as the first band."""

# The variance that rounding to 8 bits adds. Against it, what a flat image lacks is finite.
_ROUNDING = 1 / (12 * 255**2)


def load() -> PowerSpectrum:
    """The ``spectrum`` measure."""
    return PowerSpectrum()


class PowerSpectrum:
    """Azimuthal mean of the log power of luma, in eight bands from low to high frequency.

    ``band k`` holds the frequencies above (k - 1)/16 and up to k/16 cycles per pixel, in every
    direction. Its value is the mean of the natural logarithm of their power, see ``hann_power``.
    White noise of variance v has log v - 0.577 in every band (the constant is Euler's: the power
    of noise is exponentially distributed); nothing has less than log(1 / (12 · 255²)) = -13.6,
    the power of rounding. None for an image less than 16 pixels wide or high. Generators that
    upsample miss the spectrum of real images in its high bands: Durall et al. 2020
    (arXiv:2003.01826). The image is taken at its own size: resizing would decide the result.
    """

    columns = tuple(f"band {k}" for k in range(1, BANDS + 1))

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {"measure": "spectrum", "version": "1", "window": "hann", "luma": "bt601"}

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float | int | str | None]]:
        """One number a band and image; takes the uint8 images of the batch."""
        height, width = batch.images.shape[2:]
        if min(height, width) < LEAST_SIDE:
            return {column: [None] * len(batch.images) for column in self.columns}
        band = _band_of_each_frequency(height, width)
        # One by one: how a batch is summed may depend on its size.
        logs = [hann_power(one).log() for one in luma(batch.images)]
        return {
            column: [float(log[band == k].mean()) for log in logs]
            for k, column in enumerate(self.columns, start=1)
        }


def hann_power(values: Tensor) -> Tensor:
    """Power at each frequency of ``[H, W]``, in the order of ``torch.fft.fft2``.

    The mean (under the window) is taken off, then a Hann window put on, so that the edges of the
    image, which do not meet, leave no cross in the spectrum. The scale is that at which white
    noise of variance v has mean v; the power of rounding to 8 bits (white = 1) is added.
    """
    height, width = values.shape
    across = torch.hann_window(width, dtype=values.dtype)
    down = torch.hann_window(height, dtype=values.dtype)
    window = torch.outer(down, across)
    centred = values - (window * values).sum() / window.sum()
    power: Tensor = torch.fft.fft2(window * centred).abs().square() / window.square().sum()
    return power + _ROUNDING


def _band_of_each_frequency(height: int, width: int) -> Tensor:
    """1 for the lowest band and so on, int64 ``[H, W]``; 0 for frequency zero."""
    down = torch.fft.fftfreq(height, dtype=torch.float64)
    across = torch.fft.fftfreq(width, dtype=torch.float64)
    cycles = torch.hypot(down[:, None], across[None, :])
    return torch.ceil(cycles * 2 * BANDS).long()
