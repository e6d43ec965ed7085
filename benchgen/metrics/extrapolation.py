"""Fréchet distance extrapolated to infinitely many generated images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    SquaredDistance,
    Strata,
    all_rows,
    require_real,
    require_same_width,
)
from benchgen.metrics.covariances.expansion import SecondOrder
from benchgen.metrics.covariances.moments import Moments, moments
from benchgen.metrics.covariances.transport import root_sum
from benchgen.metrics.frechet import (
    FrechetReference,
    distance,
    expand_both,
    fewest_images,
    too_few,
)

SMALLEST_SHARE = 0.1
"""The smallest subset is this share of the images, as 5,000 of 50,000 in the paper ..."""

SMALLEST_PER_DIMENSION = 2
"""... but has at least this many images per feature dimension."""

FEW_PER_DIMENSION = 20
"""Below this many images per feature dimension there is no interval."""


class ExtrapolatedFrechet:
    """``fid-inf`` (Chong & Forsyth 2020, arXiv:1911.07023).

    The Fréchet distance of subsets of the generated images, regressed on one over their number:
    the intercept. Sizes run evenly from ``max(n / 10, 2 d)`` to n. The subsets are nested, drawn
    at random and, where the shares of strata were fixed, with these shares. Only the generated
    images' bias is extrapolated: that of the reference remains.

    Args:
        points: Subsets, 3 or more.
        seed: Seed of their draw.

    Raises:
        MetricError: If there are fewer than 3 points.
    """

    def __init__(self, points: int = 15, seed: int = 0) -> None:
        if points < 3:
            raise MetricError(f"fid-inf: points is {points}; use 3 or more")
        self._points = points
        self._seed = seed

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """How many subsets, drawn by which seed."""
        return {"points": self._points, "seed": self._seed}

    def prepare(self, real: FeatureSet | None) -> FrechetReference:
        """Moments and factor of the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it has fewer than two rows, or a bad row.
        """
        return FrechetReference.of(require_real(real, "fid-inf"))

    def compute(self, prepared: FrechetReference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``fid-inf``.

        Raises:
            MetricError: If ``fake`` has other columns, fewer than two rows, or a bad row.
        """
        require_same_width(fake, prepared.features)
        missing = _too_few(fake.n, prepared.moments.n, fake.d)
        if missing is not None:
            moments(fake, "fake")
            return {"fid-inf": Score(None, reason=missing)}
        sizes = _sizes(fake.n, fake.d, self._points)
        order = _order(Strata.of(fake), self._seed)
        values, whole = _distances(prepared, fake, order, sizes)
        weights = _intercept_weights(sizes)
        value = float(weights @ values)

        expansion = expand_both(prepared, fake, whole)
        # How much more than in the whole set an image weighs, by the subset it first enters.
        entered = torch.empty(fake.n, dtype=torch.int64)
        entered[order] = torch.bucketize(torch.arange(fake.n), sizes, right=True)
        emphasis = _from_end(weights / sizes)[entered] * fake.n
        a = Strata.of(fake).centred(expansion.fake.influence * emphasis)
        b = expansion.real.influence
        first = float(a.var() / len(a) + b.var() / len(b))
        degenerate = _degenerate_variance(expansion.terms, sizes, weights, emphasis, len(b))
        plain, remaining = float(values[-1]), expansion.real.bias
        if (second := expansion.terms.variance(len(a), len(b))) > 0:
            degenerate *= expansion.law(plain).null_variance / second  # orders beyond the second
        details = {
            "smallest_subset": float(sizes[0]),
            "largest_subset_value": plain,
            "remaining_reference_bias": remaining,
        }
        notes = ("the bias of the reference's own sample remains (remaining_reference_bias)",)
        ratio = min(len(a), len(b)) / fake.d
        if ratio < FEW_PER_DIMENSION:
            reason = (
                f"{ratio:.3g} images per feature dimension: the smallest subsets are too small for "
                f"a straight line, and below {FEW_PER_DIMENSION} no interval is honest; use more "
                "images, or fid-corrected"
            )
            return {"fid-inf": Score(value, details=details, notes=notes, reason=reason)}
        law = SquaredDistance.of(first, degenerate, plain, remaining)
        return {"fid-inf": Score(value, a, b, 0.0, details, notes, law=law)}


def _too_few(n: int, m: int, d: int) -> str | None:
    if n < max(3 * d, 4):
        return (
            f"fake has {n} images for {d} feature dimensions: subsets of {2 * d} and more leave "
            f"too little to extrapolate from; use at least {max(3 * d, 4)} (better, {20 * d})"
        )
    return too_few("real", m, d) if m < fewest_images(d) else None


def _sizes(n: int, d: int, points: int) -> Tensor:
    """Sizes of the subsets, int64 and increasing, the last one n."""
    smallest = max(n * SMALLEST_SHARE, SMALLEST_PER_DIMENSION * d, 2)
    even = torch.linspace(smallest, n, points, dtype=torch.float64)
    distinct: Tensor = torch.unique(even.round().long())  # type: ignore[no-untyped-call]
    return distinct


def _order(strata: Strata, seed: int) -> Tensor:
    """Images ``[n]`` in a random order, of which any beginning has about the strata's shares."""
    random = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(strata.labels), generator=random)
    if len(strata.shares) == 1:
        return shuffled
    labels = strata.labels[shuffled]
    by_stratum = torch.argsort(labels, stable=True)
    counts = strata.counts.round().long()
    starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
    within = (torch.arange(len(labels)) - starts).double()
    offset = torch.rand(len(counts), generator=random, dtype=torch.float64)
    place = (within + offset[labels[by_stratum]]) / counts[labels[by_stratum]]
    return shuffled[by_stratum[torch.argsort(place)]]


def _distances(
    reference: FrechetReference, fake: FeatureSet, order: Tensor, sizes: Tensor
) -> tuple[Tensor, Moments]:
    """The distance of each subset, and the moments of the largest: all images."""
    rows = all_rows(fake, "fake")
    values = []
    total: Moments | None = None
    start = 0
    for size in sizes.tolist():
        part = Moments.of(rows[order[start:size].to(rows.device)])
        total = part if total is None else total.merge(part)
        trace = root_sum(reference.factor, total.covariance)
        values.append(distance(total, reference.moments, trace))
        start = size
    assert total is not None
    return torch.tensor(values, dtype=torch.float64), total


def _intercept_weights(sizes: Tensor) -> Tensor:
    """What each value weighs in the intercept of a least-squares line over one over its size."""
    x = 1 / sizes.double()
    centred = x - x.mean()
    return 1 / len(x) - x.mean() * centred / centred.square().sum()


def _from_end(values: Tensor) -> Tensor:
    """Sum of each entry and those after it."""
    return values.flip(0).cumsum(0).flip(0)


def _degenerate_variance(
    terms: SecondOrder, sizes: Tensor, weights: Tensor, emphasis: Tensor, m: int
) -> float:
    """As for one distance, with what each pair of images weighs in the intercept.

    Two generated images meet in every subset from the later one's on, with the weight of that
    subset over the square of its size; generated and real images weigh as their influence does.
    """
    n = len(emphasis)
    together = _from_end(weights / sizes.double().square())
    pairs = torch.diff(sizes.double().square(), prepend=sizes.new_zeros(1).double())
    own = float(together.square() @ pairs)
    cross = float(emphasis.square().mean())
    return terms.fake * own / 2 + terms.real / (2 * m**2) + terms.between * cross / (n * m)
