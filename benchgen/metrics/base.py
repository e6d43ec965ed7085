"""What every metric family reads and returns: feature sets in, scores out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

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

    def blocks(self, size: int = 4096) -> Iterator[Tensor]:
        for start in range(0, self.n, size):
            yield self.rows[start : start + size]


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

    def prepare(self, real: FeatureSet | None) -> Any:
        """Do once per reference what does not depend on the generator."""
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
    """Every row ``[n, d]`` of a feature set, as stored; raises as ``checked_blocks`` does."""
    return torch.cat(list(checked_blocks(features, name)))


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
