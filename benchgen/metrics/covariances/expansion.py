"""The Fréchet distance to second order in each image: influence, bias and degenerate variance.

With A and B the sampling errors of the two covariances and e, f those of the means, all in the
balanced coordinates of the transport map (where both covariances are ``diag(s)``), the distance is
beside its first order ``|e - f|² + ½ Σ_ij (A - B)_ij² / (s_i + s_j)``. So any two images meet in
one kernel, whichever their sides are; between the sides it has a minus:

    h(b, b') = 2 b·b' + Σ_ij (b_i b_j - s_i δ_ij)(b'_i b'_j - s_i δ_ij) / (s_i + s_j)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchgen.arithmetic import products
from benchgen.metrics.base import FeatureSet, SquaredDistance, Strata, checked_blocks, signs
from benchgen.metrics.covariances.moments import Moments
from benchgen.metrics.covariances.quadrature import ReciprocalSum, reciprocal_sum

_MEAN_TOLERANCE = 1e-9  # of the bias, a mean over all images
_PAIR_TOLERANCE = 1e-4  # of the kernel of two images, of which a variance is estimated
_SEED = 2019
_MOST_HIGHER_ORDERS = 1.5  # simulated at ten images per dimension, with heavy tails

_Side = Literal["fake", "real"]


@dataclass(frozen=True)
class Side:
    """What the images of one side do to the distance.

    Attributes:
        influence: float64 ``[n]``, centred (by stratum, where there are strata).
        mean_bias: Bias of the distance through this side's mean.
        root_bias: Bias through the root of its covariance, to second order.
        halves: A random sample of its images, in two halves.
    """

    influence: Tensor
    mean_bias: float
    root_bias: float
    halves: tuple[Half, Half]

    @property
    def n(self) -> int:
        return len(self.influence)

    @property
    def bias(self) -> float:
        """Bias of the distance through this side, to second order."""
        return self.mean_bias + self.root_bias


@dataclass(frozen=True)
class SecondOrder:
    """Mean squares of the kernel between two different images, centred by strata."""

    fake: float
    real: float
    between: float
    draws: Tensor
    """``[3, DRAWS]``: fake, between, real; with these mean squares, signs turned at random."""

    def variance(self, n: int, m: int) -> float:
        """Variance of the degenerate part of the distance of n and m images."""
        return self.fake / (2 * n**2) + self.real / (2 * m**2) + self.between / (n * m)

    def law(self, first_order: float, value: float, bias: float, n: int, m: int) -> SquaredDistance:
        """How the variance of the corrected distance of n and m images depends on the distance.

        The degenerate variance of the second order lacks higher ones, which count where images per
        dimension are few. The influences' own noise holds them all: at equality their variance is
        twice the degenerate one, and so is what it has grown to by the bias alone, ``growth · bias
        / 2``. That stands in, up to half as much again.
        """
        null = self.variance(n, m)
        growth = first_order / value if value > 0 else 0.0
        more = min(max(1.0, growth * bias / (2 * null)), _MOST_HIGHER_ORDERS) if null > 0 else 1.0
        parts = torch.tensor([n * 2**0.5, -((n * m) ** 0.5), m * 2**0.5], dtype=torch.float64)
        draws = self.draws / parts[:, None] * more**0.5
        return SquaredDistance(null * more, growth, 0.0, draws)


@dataclass(frozen=True)
class Half:
    """Balanced coordinates ``[B, r]`` of some images, a weight ``[B]`` and the index of each.

    The weights make the sum over images of squares, centred by stratum, an unbiased mean.
    """

    rows: Tensor
    labels: Tensor
    weights: Tensor
    images: Tensor

    def signed(self, name: _Side) -> Tensor:
        """Signs of its images, times the roots of their weights, ``[B, DRAWS]``."""
        drawn = signs(int(self.images.max()) + 1, name)[self.images].to(self.rows.device)
        return drawn * self.weights.sqrt()[:, None]

    def centred(self, values: Tensor) -> Tensor:
        """``values`` ``[B, ...]`` less the mean of their stratum."""
        groups = int(self.labels.max()) + 1
        sums = torch.zeros(groups, *values.shape[1:], dtype=values.dtype, device=values.device)
        counts = torch.bincount(self.labels, minlength=groups)
        sums.index_add_(0, self.labels, values)
        return values - (sums / counts[:, None])[self.labels]


def expand(
    features: FeatureSet, name: str, own: Moments, shift: Tensor, map_: Tensor, singular: Tensor
) -> Side:
    """One pass over the images of a side.

    The influence is that of leaving an image out: the first order at the sample's own moments,
    ``2 shift·p + |p|² - |b|²`` for the centred row p, less half the image's effect upon itself,
    ``h(b, b) / (2n)``. The biases are expectations of the second order. Where the shares of strata
    were fixed, only what varies within a stratum counts, and the unbiased covariance exceeds the
    population's by the covariance of the stratum means over n - 1.

    Args:
        features: Rows ``[n, d]``, with n > d.
        name: Of the side, for messages.
        own: Moments of the rows.
        shift: Mean of this side less that of the other, ``[d]``.
        map_: From centred rows to balanced coordinates, ``[d, r]``.
        singular: Their variances s, ``[r]``.
    """
    strata = Strata.of(features)
    project = _Projection(map_, own)
    apart = _reciprocal(singular, _MEAN_TOLERANCE)
    pairs, sample = _Pairs(strata, apart), _Sample(strata, singular)
    sums = torch.zeros(len(strata.shares), len(shift), dtype=torch.float64, device=shift.device)
    parts = []
    start = 0
    for block in checked_blocks(features, name):
        place = slice(start, start + len(block))
        centred = block.double() - own.mean
        balanced = project(centred, block.dtype)
        squares = balanced.square()
        size, curvature = squares.sum(dim=1), _over_pairs(squares, apart)
        effect = 2 * centred @ shift + centred.square().sum(dim=1) - size
        parts.append(torch.stack([effect, size, curvature]).cpu())
        sums.index_add_(0, strata.labels[place].to(sums.device), centred)
        pairs.add(balanced, strata.labels[place])
        sample.add(balanced, place)
        start += len(block)
    effect, size, curvature = torch.cat(parts, dim=1)
    mean_bias = _mean_bias(own, strata, sums, map_)
    root_bias = (float(curvature.mean()) - pairs.mean(float(singular.sum()) / 2)) / (2 * own.n)
    influence = strata.centred(effect - (size + curvature) / (2 * own.n))
    return Side(influence, mean_bias, root_bias, sample.halves())


def second_order(fake: Side, real: Side, singular: Tensor) -> SecondOrder:
    """How strongly two images interact, estimated from pairs of sampled images."""
    apart = _reciprocal(singular, _PAIR_TOLERANCE)
    (x, x_other), (y, y_other) = fake.halves, real.halves
    pairs = [
        _interaction(x, x_other, apart, "fake", "fake"),
        _interaction(x, y, apart, "fake", "real"),
        _interaction(x_other, y_other, apart, "fake", "real"),
        _interaction(y, y_other, apart, "real", "real"),
    ]
    squares, draws = zip(*pairs, strict=True)
    between = (draws[1] + draws[2]) / 2**0.5
    return SecondOrder(
        squares[0],
        squares[3],
        (squares[1] + squares[2]) / 2,
        torch.stack([draws[0], between, draws[3]]).cpu(),
    )


def _mean_bias(own: Moments, strata: Strata, sums: Tensor, map_: Tensor) -> float:
    shares = strata.shares.to(sums.device)
    means = sums / strata.counts.to(sums.device)[:, None]
    spread = means.square().sum(dim=1)
    moved = (means @ map_).square().sum(dim=1)
    within = (own.covariance.trace() - shares @ spread) / own.n
    return float(within + shares @ (spread - moved) / (own.n - 1))


class _Projection:
    """From centred rows, float64 ``[b, d]``, to balanced coordinates ``[b, r]`` in float64.

    Balanced coordinates lose nothing to cancellation, so that float32 is exact enough for
    features in float32, and twice as fast. Scales are taken out, so that nothing overflows.
    """

    def __init__(self, map_: Tensor, own: Moments) -> None:
        self._map = map_
        self._rows = max(float(own.covariance.diagonal().max()) ** 0.5, 1e-150)
        self._columns = float(map_.abs().max()) if map_.numel() else 1.0
        self._single = (map_ / self._columns).float().T.contiguous()

    def __call__(self, centred: Tensor, stored: torch.dtype) -> Tensor:
        if stored == torch.float64:
            exact: Tensor = centred @ self._map
            return exact
        balanced = products((centred / self._rows).float(), self._single)
        return balanced.double().mul_(self._rows * self._columns)


def _reciprocal(singular: Tensor, tolerance: float) -> ReciprocalSum:
    if len(singular):
        return reciprocal_sum(singular, tolerance)
    return ReciprocalSum(singular.new_zeros(0, 1), singular.new_zeros(1))


def _over_pairs(p: Tensor, apart: ReciprocalSum) -> Tensor:
    """``Σ_ij p_i p_j / (s_i + s_j)`` ``[n]`` for p ``[n, r]``."""
    return (p @ apart.decay).square() @ apart.weights


def _interaction(
    a: Half, b: Half, apart: ReciprocalSum, of_a: _Side, of_b: _Side
) -> tuple[float, Tensor]:
    """Mean square of the centred kernel between two halves, and draws ``[DRAWS]`` that have it."""
    # Terms of the kernel that depend on one image alone fall out in the centring.
    kernel = 2 * a.rows @ b.rows.T
    for decay, weight in zip(apart.decay.T, apart.weights, strict=True):
        kernel.addcmul_(*[(a.rows * decay) @ b.rows.T] * 2, value=float(weight))
    kernel = b.centred(a.centred(kernel).T)
    draws = (b.signed(of_b) * (kernel @ a.signed(of_a))).sum(dim=0)
    return float(b.weights @ kernel.square() @ a.weights), draws


class _Pairs:
    """Mean of ``Σ_ij (b_i b_j)(b'_i b'_j) / (s_i + s_j)`` over random pairs within strata.

    In expectation this is the sum over the squares of the strata's own second moments, without a
    matrix for each stratum. Each image is paired with the next of its stratum in a random order;
    one row of each stratum is carried from block to block.
    """

    def __init__(self, strata: Strata, apart: ReciprocalSum) -> None:
        self._shares, self._apart = strata.shares, apart
        self._sums, self._counts = torch.zeros(2, len(strata.shares), dtype=torch.float64)
        self._random = torch.Generator().manual_seed(_SEED)
        self._carried: tuple[Tensor, Tensor] | None = None

    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Pair up the next rows ``[b, r]`` of strata ``[b]``."""
        if len(self._shares) == 1:
            return
        shuffled = torch.randperm(len(rows), generator=self._random)
        rows, labels = rows[shuffled.to(rows.device)], labels[shuffled]
        if self._carried is not None:
            rows, labels = (
                torch.cat([self._carried[0], rows]),
                torch.cat([self._carried[1], labels]),
            )
        order = torch.argsort(labels, stable=True)
        rows, labels = rows[order.to(rows.device)], labels[order]
        same = labels[1:] == labels[:-1]
        values = _over_pairs(rows[1:] * rows[:-1], self._apart).cpu()
        self._sums.index_add_(0, labels[1:][same], values[same])
        self._counts += torch.bincount(labels[1:][same], minlength=len(self._shares))
        last = torch.cat([~same, torch.ones(1, dtype=torch.bool)])
        self._carried = rows[last.to(rows.device)], labels[last]

    def mean(self, one_stratum: float) -> float:
        """The mean by the strata's shares; ``one_stratum`` is its value if there is but one."""
        if len(self._shares) == 1:
            return one_stratum
        return float(self._shares @ (self._sums / self._counts))


class _Sample:
    """Collects the rows of a random sample while the blocks pass, as many of each stratum."""

    def __init__(self, strata: Strata, singular: Tensor) -> None:
        size = min(512, max(128, 2**15 // max(1, len(singular))))
        drawn, shares = strata.labels, strata.shares
        if int(strata.counts.max().round()) < 4:
            # No stratum has two pairs to compare; without strata the variance is rather too large.
            drawn, shares = torch.zeros_like(drawn), torch.ones(1, dtype=torch.float64)
        random = torch.Generator().manual_seed(_SEED)
        chosen = (torch.bincount(drawn) >= 4).nonzero().flatten()
        chosen = chosen[torch.randperm(len(chosen), generator=random)][: max(1, size // 8)]
        picks: list[list[Tensor]] = [[], []]
        for stratum in chosen:
            members = (drawn == stratum).nonzero().flatten()
            members = members[torch.randperm(len(members), generator=random)]
            each = min(size // len(chosen), len(members) // 2)
            picks[0].append(members[:each])
            picks[1].append(members[each : 2 * each])
        shares = shares[chosen] / shares[chosen].sum()
        self._images = [torch.cat(half) for half in picks]
        sizes = torch.tensor([len(half) for half in picks[0]])
        self._labels = torch.repeat_interleave(torch.arange(len(chosen)), sizes)
        self._weights = (shares / (sizes - 1))[self._labels]
        slots = torch.full((len(strata.labels),), -1)
        slots[torch.cat(self._images)] = torch.arange(2 * len(self._labels))
        self._slots = slots
        self._rows = torch.zeros(
            2 * len(self._labels), len(singular), dtype=torch.float64, device=singular.device
        )

    def add(self, rows: Tensor, place: slice) -> None:
        """Keep those of the rows ``[b, r]`` at this place that were drawn."""
        slots = self._slots[place]
        drawn = slots >= 0
        self._rows[slots[drawn].to(rows.device)] = rows[drawn.to(rows.device)]

    def halves(self) -> tuple[Half, Half]:
        device = self._rows.device
        labels, weights = self._labels.to(device), self._weights.to(device)
        one, other = (
            Half(rows, labels, weights, images)
            for rows, images in zip(self._rows.chunk(2), self._images, strict=True)
        )
        return one, other
