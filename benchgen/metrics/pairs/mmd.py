"""Squared maximum mean discrepancy between two samples, unbiased, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    SquaredDistance,
    Strata,
    all_rows,
    require_same_width,
    signs,
)
from benchgen.metrics.pairs.sums import (
    PairKernel,
    Points,
    Within,
    between,
    interaction,
    sampled_pairs,
    shuffled_by_stratum,
    signed_sums,
    within,
)

LARGEST = 20_000
_SPLIT_SEED = 2020
_FEW = 512


@dataclass(frozen=True)
class Discrepancy:
    """An unbiased squared MMD (Gretton et al. 2012, JMLR 13) and how much each image moved it.

    Attributes:
        value: The estimate.
        excess: What the V-statistic, over all pairs and each image with itself, adds to it.
        fake_influence: float64 ``[n]``, centred within strata.
        real_influence: float64 ``[m]``, centred within strata.
        law: How its variance grows with the distance.
        details: ``blocks`` and ``pairs_share`` where not all pairs were taken.
        notes: The same in words.
    """

    value: float
    excess: float
    fake_influence: Tensor
    real_influence: Tensor
    law: SquaredDistance
    details: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """The rows ``[n, d]`` of one side, read once and scaled; ``factor`` is what that took out."""

    rows: Tensor
    factor: float
    strata: Strata
    kernel: PairKernel
    _within: dict[int, list[Within]] = field(default_factory=dict)

    @classmethod
    def of(cls, features: FeatureSet, name: str, kernel: PairKernel, metric: str) -> Sample:
        """Read a side.

        Raises:
            MetricError: If it has fewer than 2 rows, a row holds a NaN or an infinity, or the
                kernel cannot take the rows.
        """
        if features.n < 2:
            raise MetricError(
                f"{metric}: {name} holds {features.n} row(s); give at least 2 images on each side"
            )
        rows = all_rows(features, name)
        if rows.dtype != torch.float64:
            rows = rows.float()
        rows, factor = kernel.scaled(rows, name)
        return cls(rows, factor, Strata.of(features), kernel)

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, count: int) -> list[Tensor]:
        """The indices of each of ``count`` random blocks with like shares of the strata.

        Sorted by stratum; a stratum with too few images to have two in each block is an obstacle
        to that, and all count as one stratum then.
        """
        if count == 1 and len(self.strata.shares) == 1:
            return [torch.arange(len(self))]
        generator = torch.Generator().manual_seed(_SPLIT_SEED)
        order = shuffled_by_stratum(self._labels(count), generator)
        return [order[start::count] for start in range(count)]

    def points(self, indices: Tensor, count: int = 1) -> Points:
        """Some of the rows."""
        whole = len(indices) == len(self) and len(self.strata.shares) == 1
        rows = self.rows if whole else self.rows[indices.to(self.rows.device)]
        return Points(rows, self.factor, self._labels(count)[indices])

    def subset(self, indices: Tensor) -> Points:
        """Some of the rows, as if drawn freely."""
        strata = torch.zeros(len(indices), dtype=torch.int64)
        return Points(self.rows[indices.to(self.rows.device)], self.factor, strata)

    def within(self, count: int) -> list[Within]:
        """Means within each of ``count`` blocks; computed once."""
        if count not in self._within:
            self._within[count] = [
                within(self.points(indices, count), self.kernel) for indices in self.blocks(count)
            ]
        return self._within[count]

    def sampled(self) -> Points:
        """Rows enough to know the kernel's variance from."""
        return self.points(sampled_pairs(self.strata.labels))

    def few(self) -> tuple[Tensor, Points]:
        """Fewer rows, with their indices: enough to know how two kernels' parts correlate."""
        indices = sampled_pairs(self.strata.labels)[:_FEW]
        return indices, self.points(indices)

    def interaction(self) -> float | None:
        """The doubly centred kernel's variance within this side; None below 4 images."""
        return interaction(self.sampled(), None, self.kernel)

    def _labels(self, count: int) -> Tensor:
        fine = float(self.strata.counts.min()) >= 2 * count
        return self.strata.labels if fine else torch.zeros_like(self.strata.labels)


@dataclass(frozen=True)
class Reference:
    """A reference, with the sums that do not depend on the generator."""

    features: FeatureSet
    sample: Sample
    interaction: float | None
    largest: int
    metric: str

    @classmethod
    def of(cls, features: FeatureSet, kernel: PairKernel, metric: str, largest: int) -> Reference:
        """Read a reference and sum within it; raises as ``Sample.of`` does."""
        sample = Sample.of(features, "real", kernel, metric)
        sample.within(_block_count(len(sample), len(sample), largest))
        return cls(features, sample, sample.interaction(), largest, metric)

    def other_side(self, fake: FeatureSet) -> Sample:
        """Read a generator's rows ``[n, d]``.

        Raises:
            MetricError: If it has other columns than the reference; and as ``Sample.of`` does.
        """
        require_same_width(fake, self.features)
        return Sample.of(fake, "fake", self.sample.kernel, self.metric)


def discrepancy(reference: Reference, x: Sample) -> Discrepancy:
    """The unbiased squared MMD between a generator's images and the reference.

    All pairs are taken up to ``largest`` images on a side. Above, both sides are split at random
    into as few blocks as keep below it, and pairs are taken within blocks: an incomplete
    U-statistic (Blom 1976), whose first order is that of the complete one.
    """
    y = reference.sample
    n, m = len(x), len(y)
    count = _block_count(n, m, reference.largest)
    value, excess, pairs = 0.0, 0.0, 0
    a = torch.zeros(n, dtype=torch.float64)
    b = torch.zeros(m, dtype=torch.float64)
    sides = zip(x.blocks(count), y.blocks(count), y.within(count), strict=True)
    for i, j, yy in sides:
        points = x.points(i, count)
        xx = within(points, x.kernel)
        rows, columns = between(points, y.points(j, count), x.kernel)
        value += (xx.mean + yy.mean - 2 * float(rows.mean())) / count
        excess += (xx.excess + yy.excess) / count
        # Blocks differ by an image in size; each weighs the same in the value.
        a[i] = 2 * (xx.row_means - rows) * (n / (count * len(i)))
        b[j] = 2 * (yy.row_means - columns) * (m / (count * len(j)))
        pairs += len(i) * len(j)
    a, b = x.strata.centred(a), y.strata.centred(b)
    first = _variance(a, x.strata) + _variance(b, y.strata)
    second, draws = _second_order(x, reference, count)
    return Discrepancy(
        value=value,
        excess=excess / count,
        fake_influence=a,
        real_influence=b,
        law=SquaredDistance.of(first, second, value + excess, draws=draws),
        details={"blocks": float(count), "pairs_share": pairs / (n * m)} if count > 1 else {},
        notes=_incomplete(count, reference.largest) if count > 1 else (),
    )


def require_largest(metric: str, largest: int) -> None:
    """Refuse blocks of fewer than 2 images.

    Raises:
        MetricError: Naming the smallest valid number.
    """
    if largest < 2:
        raise MetricError(f"{metric}: largest is {largest}; use 2 or more ({LARGEST} is usual)")


def _block_count(n: int, m: int, largest: int) -> int:
    """As few blocks as hold ``largest`` images each, and two images of each side at least."""
    return max(1, min(math.ceil(max(n, m) / largest), n // 2, m // 2))


def _second_order(x: Sample, reference: Reference, count: int) -> tuple[float, Tensor]:
    """Variance of the degenerate part: 2ζ_xx/(n(n-1)) + 2ζ_yy/(m(m-1)) + 4ζ_xy/(nm), in blocks.

    Also draws ``[3, DRAWS]`` of its parts (within x, between, within y) with these variances.
    """
    y = reference.sample
    n, m = len(x) / count, len(y) / count
    mixed = interaction(x.sampled(), y.sampled(), x.kernel) or 0.0
    # Near equality, where this matters, all three are alike.
    own, other = (mixed if z is None else z for z in (x.interaction(), reference.interaction))
    parts = torch.tensor(
        [2 * own / (n * (n - 1)), 4 * mixed / (n * m), 2 * other / (m * (m - 1))],
        dtype=torch.float64,
    )
    parts /= count
    (i, few_x), (j, few_y) = x.few(), y.few()
    by_x, by_y = signs(len(x), "fake")[i], signs(len(y), "real")[j]
    drawn = torch.stack(
        [
            signed_sums(few_x, None, x.kernel, by_x, by_x),
            -signed_sums(few_x, few_y, x.kernel, by_x, by_y),
            signed_sums(few_y, None, x.kernel, by_y, by_y),
        ]
    )
    return float(parts.sum()), drawn * parts.sqrt()[:, None]


def _variance(influence: Tensor, strata: Strata) -> float:
    """Variance of the mean of influences centred within strata, each image free within its own."""
    counts = strata.counts
    sums = torch.zeros_like(counts).index_add_(0, strata.labels, influence.square())
    return float((sums * counts / (counts - 1)).sum()) / len(influence) ** 2


def _incomplete(count: int, largest: int) -> tuple[str, ...]:
    return (
        f"more than {largest} images on a side: split at random into {count} blocks, and pairs "
        f"taken within blocks only; the error says what this adds (it matters near zero)",
    )
