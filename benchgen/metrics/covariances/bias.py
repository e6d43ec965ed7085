"""What sampling takes off the trace of the root of a product of covariances, beyond 2nd order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchgen.metrics.covariances.quadrature import reciprocal_sum

HIGHEST_RATIO = 0.9
"""Directions per effective image, above which the correction is held at its value there."""


def higher_order_bias(singular: Tensor, fake_bias: float, real_bias: float) -> float:
    """Bias of ``-2 tr (R^½ S R^½)^½`` from the third order on, in directions per image.

    Where directions and images are both many, the eigenvalues λ of the product of two sample
    covariances and those of the populations' (t) are tied by the equation of Marchenko & Pastur,
    once for each sample. With ``g(y) = mean λ/(λ + y²)`` and c, c' directions per image,

        mean √t = (2/π) ∫ g dx,   x(y) = y / √((1 - c g(y))(1 - c' g(y)))

    (Tiomoko & Couillet 2019, arXiv:1903.03447, treat the same estimate). To first order in c this
    is the second-order bias of normal features; so c is chosen such that it is the second-order
    bias that was measured, which holds the features' own fourth moments.

    Args:
        singular: Square roots of the λ, ``[r]``, positive.
        fake_bias, real_bias: Second-order bias through each side's covariance.

    Returns:
        What the whole bias exceeds ``fake_bias + real_bias`` by, in units of ``singular``.
    """
    if not len(singular):
        return 0.0
    apart = reciprocal_sum(singular, 1e-9)
    per_ratio = float((singular @ apart.decay).square() @ apart.weights) / (2 * len(singular))
    ratios = [min(max(0.0, bias / per_ratio), HIGHEST_RATIO) for bias in (fake_bias, real_bias)]
    scale = float(singular.max())
    relative = (singular / scale).square()
    # The integrand is analytic for |Im log y| < π/2, and small beyond these ends.
    step = 0.2
    low = math.log(float(relative.min())) / 2
    steps = torch.arange(low - 12, 12, step, dtype=torch.float64, device=singular.device)
    y = steps.exp()
    inside = relative / (relative + y.square()[:, None])
    g = inside.mean(dim=1)
    fall = 2 * (inside * (1 - inside)).mean(dim=1)
    stretch = ((1 - ratios[0] * g) * (1 - ratios[1] * g)).rsqrt() - 1
    missing = float((y * stretch * fall).sum()) * step * 2 / math.pi
    return 2 * len(singular) * scale * missing - per_ratio * sum(ratios)
