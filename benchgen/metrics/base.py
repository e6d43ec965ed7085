"""What every metric family reads and returns: feature sets in, scores out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError


@runtime_checkable
class FeatureSet(Protocol):
    """The rows of one source under one extractor; it may live on disk.

    ``n`` rows of ``d`` columns. ``blocks()`` yields them in index order as float tensors
    ``[b, d]`` and may be called any number of times.

    A set may also have an attribute ``strata``: int64 ``[n]``, classes whose shares were fixed
    when the sample was drawn (so many images of each). Such a sample varies less than one drawn
    freely, and corrections for small samples must know it.
    """

    @property
    def n(self) -> int: ...

    @property
    def d(self) -> int: ...

    def blocks(self) -> Iterator[Tensor]: ...


_BLOCK_ELEMENTS = 2**20


@dataclass(frozen=True)
class TensorFeatures:
    """A feature set held in memory: ``rows`` is a float tensor ``[n, d]``."""

    rows: Tensor
    strata: Tensor | None = None

    @property
    def n(self) -> int:
        return int(self.rows.shape[0])

    @property
    def d(self) -> int:
        return int(self.rows.shape[1])

    def blocks(self) -> Iterator[Tensor]:
        # Small enough that the allocator keeps the memory of what is computed from a block:
        # larger pieces go back to the system, which clears them each time.
        size = max(256, _BLOCK_ELEMENTS // max(1, self.d))
        for start in range(0, self.n, size):
            yield self.rows[start : start + size]


@dataclass(frozen=True)
class SquaredDistance:
    """How the variance of an estimated squared distance depends on the distance itself.

    Near equality the first-order variance vanishes with the distance, and is estimated smallest
    where the distance came out too small. So the interval holds every distance from which the
    value is not further than its error *there*: a test inverted, as Wilson's for a share.

    Attributes:
        null_variance: Variance where the two distributions are equal: that of the second order.
        growth: What a unit of distance adds to it.
        bias: What the value exceeds the distance by, in expectation.
        draws: float64 ``[3, DRAWS]``: the second order with the images' signs turned at random, by
            pairs of generated images, pairs across, and pairs of real images. Their mean squares
            add up to ``null_variance``. The signs belong to the images' indices, so that what two
            generators' second orders have in common can be told.
    """

    null_variance: float
    growth: float
    bias: float = 0.0
    draws: Tensor | None = None

    @classmethod
    def of(
        cls,
        first_order: float,
        null_variance: float,
        plugged_in: float,
        bias: float = 0.0,
        draws: Tensor | None = None,
    ) -> SquaredDistance:
        """From the variance of the influences, which grows with the plug-in (biased) distance."""
        growth = first_order / plugged_in if plugged_in > 0 else 0.0
        return cls(null_variance, growth, bias, draws)

    def scaled(self, factor: float) -> SquaredDistance:
        """The same for ``factor`` times the value."""
        draws = None if self.draws is None else self.draws * factor
        return SquaredDistance(
            self.null_variance * factor**2, self.growth * factor, self.bias * factor, draws
        )

    def variance_at(self, value: float) -> float:
        """Variance of the estimate, if ``value`` is what it expects."""
        return self.null_variance + self.growth * max(0.0, value - self.bias)

    def interval(self, value: float, quantile: float) -> tuple[float, float]:
        """All expectations θ with ``|value - θ| ≤ quantile · sqrt(variance_at(θ))``."""
        distance, reach = value - self.bias, quantile * self.null_variance**0.5
        middle = distance + quantile**2 * self.growth / 2
        inside = (middle - distance) ** 2 + reach**2 + quantile**2 * self.growth * distance
        half = max(0.0, inside) ** 0.5
        low = middle - half if distance > reach else distance - reach
        high = middle + half if distance > -reach else distance + reach
        return low + self.bias, high + self.bias


DRAWS = 200


def signs(n: int, side: Literal["fake", "real"]) -> Tensor:
    """Random signs, float64 ``[n, DRAWS]``: the same for the same image index, whatever n."""
    random = np.random.default_rng((2024, side == "real"))
    return torch.from_numpy(random.integers(0, 2, size=(n, DRAWS)) * 2.0 - 1.0)


@dataclass(frozen=True)
class Score:
    """A metric's value and how much each image moved it.

    Attributes:
        value: The score, or None where it is undefined (then ``reason`` says why).
        fake_influence: float64 ``[n]``, centred: the first-order influence of each generated
            image, so that ``var(fake_influence) / n`` is its share of the score's variance.
        real_influence: float64 ``[m]``, centred: the same for each reference image. None where
            the reference does not enter, or where its influence is unknown.
        extra_variance: Variance beyond the first order (the degenerate part of a U-statistic),
            in squared units of the value; added to that of the influences. Negative where the
            influences carry noise of their own that would otherwise be counted twice.
        details: Further numbers worth a reader's eye (a bias, an expected ceiling), by name.
        notes: Sentences that belong beside the value.
        reason: Why the value, or its uncertainty, is undefined.
        bounds: The least and greatest possible value where the score is a share of images;
            its interval then stays inside, and has a width even at a bound.
        law: How the variance depends on the value, where it is a squared distance; it takes the
            place of the influences' variance, which is used for clusters and differences alone.
        halvings: float64 ``[r]``: how far the value deviates in random halvings of both sets, where
            influences say too little of what two generators' errors have in common. Which images
            are in which half depends on their number and indices alone.
        unclustered: Why clusters of images have no standard error here; None where sums of
            influences within clusters serve.

    Raises:
        MetricError: If the value or a detail is NaN or infinite.
    """

    value: float | None
    fake_influence: Tensor | None = None
    real_influence: Tensor | None = None
    extra_variance: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reason: str | None = None
    bounds: tuple[float, float] | None = None
    law: SquaredDistance | None = None
    halvings: Tensor | None = None
    unclustered: str | None = None

    def __post_init__(self) -> None:
        numbers = {"value": self.value, "extra variance": self.extra_variance, **self.details}
        for name, number in numbers.items():
            if number is not None and not math.isfinite(number):
                raise MetricError(
                    f"the {name} came out as {number}: the features overflow float64; rescale them"
                )


class Family(Protocol):
    """Metrics that share their costly part. Constructed with the parameters of the metric."""

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """What decides the numbers, defaults and conventions resolved: part of the fingerprint.

        Two ways to ask for the same computation give equal parameters.
        """
        ...

    def prepare(self, *references: Any, **_: Any) -> Any:
        """Do once per reference what does not depend on the generator.

        Takes one feature set for each name in the spec's ``compares_with``, in that order: most
        metrics take ``real`` alone. None stands for an optional one that is not there.
        """
        ...

    def compute(self, prepared: Any, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator; the keys are metric ids."""
        ...


def as_feature_set(values: Any, name: str) -> FeatureSet:
    """Take an array, tensor or feature set ``[n, d]`` for a feature set.

    Raises:
        MetricError: If it is not two-dimensional, is empty, or holds a NaN or an infinity.
    """
    if isinstance(values, FeatureSet):
        return values
    rows = torch.as_tensor(values)
    if rows.ndim != 2 or 0 in rows.shape:
        raise MetricError(f"{name} has shape {tuple(rows.shape)}; expected [n, d] with n, d ≥ 1")
    if not rows.is_floating_point():
        rows = rows.double()
    _check_finite(rows, name, first=0)
    return TensorFeatures(rows)


def checked_blocks(features: FeatureSet, name: str) -> Iterator[Tensor]:
    """The blocks ``[b, d]`` of a feature set, as stored, each checked before it is handed on.

    Raises:
        MetricError: If the set is empty, or a row holds a NaN or an infinity.
    """
    if features.n < 1 or features.d < 1:
        raise MetricError(
            f"{name} holds {features.n} rows of {features.d} columns; give at least one of each"
        )
    first = 0
    for block in features.blocks():
        _check_finite(block, name, first)
        first += len(block)
        yield block


def all_rows(features: FeatureSet, name: str) -> Tensor:
    """Every row ``[n, d]`` of a feature set, as stored; raises as ``checked_blocks`` does.

    Rows that are in memory already are not copied: never write into them.
    """
    blocks = list(checked_blocks(features, name))
    return features.rows if isinstance(features, TensorFeatures) else torch.cat(blocks)


def beyond_first_order(first_order: float, second_order: float) -> float:
    """What to add to the variance of the influences to get that of a smooth statistic.

    Influences that are estimated from the same images carry noise of their own: it enters their
    variance with twice the statistic's second-order variance. So that is subtracted once, and the
    total is never less than the second-order variance, which alone remains where the first order
    vanishes (at equality of the two distributions).

    Args:
        first_order: ``var(a)/n + var(b)/m`` of the estimated influences.
        second_order: Variance of the statistic's second-order (degenerate) part.
    """
    return max(-second_order, second_order - first_order)


@dataclass(frozen=True)
class Strata:
    """How a sample was drawn: ``labels`` int64 ``[n]`` from 0, and ``shares`` float64 ``[K]``.

    A sample that was drawn freely is one stratum.
    """

    labels: Tensor
    shares: Tensor

    @classmethod
    def of(cls, features: FeatureSet) -> Strata:
        """The strata of a feature set; one, where it has none or one holds a single image."""
        given = getattr(features, "strata", None)
        if given is not None:
            _, labels, counts = torch.unique(given, return_inverse=True, return_counts=True)
            if int(counts.min()) > 1:
                return cls(labels, counts.double() / features.n)
        return cls(torch.zeros(features.n, dtype=torch.int64), torch.ones(1, dtype=torch.float64))

    @property
    def counts(self) -> Tensor:
        """Images of each stratum, float64 ``[K]``."""
        return self.shares * len(self.labels)

    @property
    def members(self) -> Tensor:
        """Which image is of which stratum, float64 ``[n, K]`` of zeros and ones."""
        return torch.nn.functional.one_hot(self.labels, len(self.shares)).double()

    def means(self, values: Tensor) -> Tensor:
        """Mean of each stratum, ``[K, ...]``, of float64 values ``[n, ...]``."""
        sums = torch.zeros(len(self.shares), *values.shape[1:], dtype=torch.float64)
        sums.index_add_(0, self.labels, values)
        return sums / self.counts.reshape(-1, *[1] * (values.ndim - 1))

    def centred(self, values: Tensor) -> Tensor:
        """Float64 values ``[n]`` less the mean of their stratum: what varies between samples."""
        return values - self.means(values)[self.labels]


def require_real(real: FeatureSet | None, metric: str) -> FeatureSet:
    """The reference of a metric that cannot do without one.

    Raises:
        MetricError: If there is none.
    """
    if real is None:
        raise MetricError(f"{metric} compares with real images; give a reference (real=...)")
    return real


def require_same_width(fake: FeatureSet, real: FeatureSet) -> None:
    """Refuse two feature sets that cannot have come from one extractor.

    Raises:
        MetricError: If their numbers of columns differ.
    """
    if fake.d != real.d:
        raise MetricError(
            f"fake has {fake.d} feature columns and real has {real.d}; "
            "extract both with the same extractor and layer"
        )


def require_convention(convention: str | None, known: tuple[str, ...], metric: str) -> None:
    """Refuse a convention that the metric does not know.

    Raises:
        MetricError: Naming the conventions that it does know.
    """
    if convention is not None and convention not in known:
        raise MetricError(
            f"{metric} knows no convention {convention!r}; "
            f"use one of {', '.join(map(repr, known))}, or None"
        )


def _check_finite(rows: Tensor, name: str, first: int) -> None:
    bad = (~torch.isfinite(rows)).any(dim=1).nonzero()
    if len(bad):
        raise MetricError(
            f"{name} holds a NaN or an infinity in {len(bad)} of {len(rows)} rows "
            f"(the first is row {first + int(bad[0])}); remove or repair these rows"
        )
