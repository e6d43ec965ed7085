"""Exponential sums for 1/x: they take double sums over directions apart into single ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ReciprocalSum:
    """``1 / (x_i + x_j) ≈ Σ_q weights_q decay_iq decay_jq``.

    ``decay`` is float64 ``[r, Q]``, ``weights`` ``[Q]``.
    """

    decay: Tensor
    weights: Tensor


def reciprocal_sum(x: Tensor, tolerance: float) -> ReciprocalSum:
    """The sum for positive ``x`` ``[r]``, with a relative error below ``tolerance`` for each pair.

    The trapezoidal rule for ``1/x = ∫ exp(u - x exp(u)) du``. By Poisson's formula its error is
    ``2 |Γ(1 + 2πi/h)|`` for steps h. The nodes below the first that matters are merged into one
    that has their total weight and their mean.
    """
    scale = float(x.max())
    relative = x / scale
    frequency = 4.0
    while _gamma_modulus(frequency) > tolerance / 4:
        frequency += 0.25
    step = 2 * math.pi / frequency
    first = math.floor(math.log(tolerance ** (1 / 3) / 2) / step)
    last = math.ceil(math.log(math.log(2 / tolerance) / float(2 * relative.min())) / step)
    u = torch.arange(first, last + 1, dtype=torch.float64, device=x.device) * step
    below = math.exp(step * (first - 1))
    merged = step * below / (1 - math.exp(-step))
    square = step * below**2 / (1 - math.exp(-2 * step))
    nodes = torch.cat([u.new_tensor([square / merged]), u.exp()])
    weights = torch.cat([u.new_tensor([merged]), step * u.exp()])
    return ReciprocalSum(torch.exp(-relative[:, None] * nodes), weights / scale)


def _gamma_modulus(frequency: float) -> float:
    """``2 |Γ(1 + iω)|`` for a frequency ω above 1."""
    return 2 * math.sqrt(2 * math.pi * frequency) * math.exp(-math.pi * frequency / 2)
