"""Likelihood of held-out images under a generator, in bits per dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, Score


class Likelihood:
    """``nll``: mean negative log-likelihood of held-out images, in bits per dimension.

    Lower is better. Comparable only over the same held-out images, at the same resolution.
    """

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """None: the bits decide the number."""
        return {}

    def prepare(self) -> None:
        """No reference enters: the bits are those of the held-out images already."""

    def compute(self, prepared: None, bits: FeatureSet) -> Mapping[str, Score]:
        """Average the bits per dimension ``[n, 1]`` of the n held-out images; the key is ``nll``.

        The influence is that of the held-out images, on which two generators can be paired.

        Raises:
            MetricError: If there is no row, more than one column, a NaN or an infinity.
        """
        if bits.n < 1 or bits.d != 1:
            raise MetricError(
                f"nll: bits has shape [{bits.n}, {bits.d}]; give one number of bits per dimension "
                "for each held-out image, [n, 1] with n ≥ 1"
            )
        values = torch.cat([block.detach().cpu().double() for block in bits.blocks()]).flatten()
        _require_finite(values)
        mean = values.mean()
        return {"nll": Score(float(mean), values - mean)}


def bits_per_dim(log_likelihood_nats: Tensor, dims: int) -> Tensor:
    """Bits per dimension, float64 ``[n]``: -log p / (dims · ln 2).

    Args:
        log_likelihood_nats: log p(image) in nats ``[n]``, of the uint8 image as a discrete
            probability mass, so that uniform noise has exactly 8 bits per dimension. A density of
            images scaled to [0, 1], dequantised by uniform noise of one level, bounds that mass
            after ``dims · ln 256`` is taken off its logarithm (Theis et al. 2016,
            arXiv:1511.01844).
        dims: Numbers in an image: channels × height × width.

    Raises:
        MetricError: If ``dims`` is less than 1.
    """
    if dims < 1:
        raise MetricError(f"nll: dims is {dims}; give channels × height × width of an image")
    return -log_likelihood_nats.double() / (dims * math.log(2))


def _require_finite(bits: Tensor) -> None:
    bad = (~torch.isfinite(bits)).nonzero().flatten()
    if len(bad) == 0:
        return
    first = int(bad[0])
    raise MetricError(
        f"nll: {len(bad)} of {len(bits)} held-out images have no finite number of bits (the first "
        f"is image {first}: {float(bits[first])}); infinity means that the generator holds the "
        "image impossible, NaN that its likelihood failed: repair the generator's likelihood"
    )
