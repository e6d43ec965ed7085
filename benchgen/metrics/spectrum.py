"""Rényi diversity of the eigenvalues of a density operator, and how images move it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchgen.arithmetic import products
from benchgen.errors import MetricError

_NULL = 1e-12
# Near q = 2 both forms of the entropy are accurate; below, q may be near 1, above, sums underflow.
_LARGE_ORDER = 2.0
_PAIRS = 2048


def renyi_diversity(eigenvalues: Tensor, q: float) -> float:
    """Exponential of the Rényi entropy of order ``q`` of eigenvalues that sum to one.

    (Σ λ^q)^(1/(1-q)); exp(-Σ λ log λ) at q = 1; 1/max λ at q = inf. Pasarkar & Dieng 2023
    (arXiv:2310.12952). Zeros count as nothing.
    """
    positive = eigenvalues[eigenvalues > 0].double()
    top = float(positive.max())
    if math.isinf(q):
        return 1 / top
    if q < _LARGE_ORDER:
        mean = float((positive * _power(positive.log(), q - 1)).sum())
        return math.exp(-mean if q == 1 else -math.log1p((q - 1) * mean) / (q - 1))
    rest = float((q * (positive / top).log()).exp().sum())
    return math.exp(-(q * math.log(top) + math.log(rest)) / (q - 1))


def leading_gap(spectrum: Spectrum, coordinates: Tensor) -> tuple[float, float]:
    """First eigenvalue less the second, and its standard error, from coordinates ``[n, 2]``."""
    gap = float(spectrum.eigenvalues[0] - spectrum.eigenvalues[1])
    moved = coordinates[:, 0].square() - coordinates[:, 1].square()
    return gap, float(moved.std()) / len(coordinates) ** 0.5


@dataclass(frozen=True)
class Spectrum:
    """Diversity of a density operator: the mean of φφᵀ over images of unit norm.

    Images enter through their coordinates in its eigenvectors, whose squares sum to one; in
    float32 these are exact enough for influences.

    Attributes:
        eigenvalues: Descending, float64 ``[r]``; those below 1e-12 of the first are left out.
        q: Order, positive or infinite.
    """

    eigenvalues: Tensor
    q: float

    @property
    def value(self) -> float:
        return renyi_diversity(self.eigenvalues, self.q)

    def influence(self, coordinates: Tensor) -> Tensor:
        """First order: how far each image moves the value, ``[b]``, from coordinates ``[b, r]``.

        Weighting an image more moves λ_k by (φ·v_k)² - λ_k. The part of the slopes that is the
        same for all k is left out: squared coordinates and eigenvalues have equal sums.
        """
        moved: Tensor = coordinates.square() @ self._slopes.to(coordinates.dtype)
        return moved.double() - self.eigenvalues @ self._slopes

    def second_order(self, first: Tensor, second: Tensor) -> Tensor:
        """The second derivative h of the value, ``[b]``, between pairs of images.

        Half the mean of h over all pairs i and j is what the value differs from its linearisation.
        So a sample of n images is biased by E h(i, i)/(2n), its second-order variance is
        E h(i, j)²/(2n²), and leaving image i out changes the value as if its influence were less
        by h(i, i)/(2n).

        Args:
            first: Coordinates ``[b, r]`` of one image of each pair.
            second: Of the other; the same for h(i, i).
        """
        diagonal = self._curvature.diagonal() * self.eigenvalues
        both = first * second
        bent = products(both, self._curvature_as(first.dtype))
        spectral = (bent * both).sum(dim=1).double()
        squares = (first.square() + second.square()) @ diagonal.to(first.dtype)
        centring = squares.double() - diagonal @ self.eigenvalues
        bend = (2.0 if math.isinf(self.q) else self.q) / self.value
        return spectral - centring + bend * self.influence(first) * self.influence(second)

    def _curvature_as(self, dtype: torch.dtype) -> Tensor:
        return self._curvature if dtype == torch.float64 else self._single_curvature

    @cached_property
    def _single_curvature(self) -> Tensor:
        return self._curvature.float()

    @cached_property
    def _slopes(self) -> Tensor:
        top = self.eigenvalues[0]
        if math.isinf(self.q):
            slopes = torch.zeros_like(self.eigenvalues)
            slopes[0] = -(self.value**2)
            return slopes
        return self._scale * _power((self.eigenvalues / top).log(), self.q - 1)

    @cached_property
    def _curvature(self) -> Tensor:
        """Divided differences of the slopes, ``[r, r]``: the derivative of a spectral function."""
        values, count = self.eigenvalues, len(self.eigenvalues)
        if math.isinf(self.q):
            curvature = values.new_zeros(count, count)
            curvature[0, 1:] = curvature[1:, 0] = -(self.value**2) / (values[0] - values[1:])
            return curvature
        relative = values / values[0]
        # Relative to the larger of the two, so that no power of their ratio overflows.
        larger = torch.maximum(relative[:, None], relative)
        share = torch.minimum(relative[:, None], relative) / larger
        ratio = _power(share.log(), self.q - 1) / (share - 1)
        ratio = torch.where(1 - share < 1e-10, 1.0, ratio)
        return self._scale / values[0] * ratio * larger ** (self.q - 2)

    @cached_property
    def _scale(self) -> float:
        top = self.eigenvalues[0]
        total = (self.q * (self.eigenvalues / top).log()).exp().sum() * top
        return float(-self.value * self.q / total)


def spectrum_of(operator: Tensor, q: float) -> tuple[Spectrum, Tensor]:
    """Spectrum and eigenvectors ``[s, r]`` of a symmetric, positive ``operator`` ``[s, s]``."""
    eigenvalues, vectors = torch.linalg.eigh(operator)
    eigenvalues, vectors = eigenvalues.flip(0), vectors.flip(1)
    kept = eigenvalues > _NULL * eigenvalues[0]
    return Spectrum(eigenvalues[kept], q), vectors[:, kept]


def random_pairs(n: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Some of n images, ascending, and pairs of different ones among them: the same for one n."""
    generator = torch.Generator().manual_seed(n)
    drawn = torch.randperm(n, generator=generator)[: 2 * _PAIRS]
    count = len(drawn)
    if count == 2 * _PAIRS:
        first = torch.arange(_PAIRS)
        second = first + _PAIRS
    else:
        first = torch.arange(_PAIRS) % count
        step = torch.randint(1, max(2, count), (_PAIRS,), generator=generator)
        second = (first + step) % count
    some, order_ = drawn.sort()
    place = order_.argsort()
    return some, (place[first], place[second])


def order(q: float | str) -> float:
    """The order as a number.

    Raises:
        MetricError: If it is not a positive number or ``"inf"``.
    """
    try:
        number = float(q)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0:
        raise MetricError(f'vendi: q is {q!r}; use a positive number, or "inf"')
    return number


def _power(logarithm: Tensor, exponent: float) -> Tensor:
    """(x^p - 1)/p from log x: log x itself where p is 0."""
    return logarithm if exponent == 0 else (exponent * logarithm).expm1() / exponent
