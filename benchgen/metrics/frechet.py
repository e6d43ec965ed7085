"""Fréchet distance between two clouds of features, plain and corrected for small samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchgen.metrics.base import (
    FeatureSet,
    Score,
    SquaredDistance,
    all_rows,
    require_convention,
    require_real,
    require_same_width,
)
from benchgen.metrics.covariances.bias import higher_order_bias
from benchgen.metrics.covariances.conventions import CONVENTIONS, tool_root_sum
from benchgen.metrics.covariances.expansion import (
    SecondOrder,
    Side,
    expand,
    second_order,
)
from benchgen.metrics.covariances.moments import Moments, moments
from benchgen.metrics.covariances.transport import (
    NULL_EIGENVALUE,
    Factor,
    factor,
    root_sum,
    transport,
)

FEW_PER_DIMENSION = 10
"""Below this many images per feature dimension the standard error is no longer checked."""


class Frechet:
    """``fid``, ``fid-corrected`` and ``sfid`` (Heusel et al. 2017, arXiv:1706.08500).

    The value is ``|mu1 - mu2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½`` with unbiased
    covariances, by symmetric eigenvalues in float64. ``fid`` estimates its own expectation at this
    number of images, which exceeds the population's distance; ``fid-corrected`` subtracts the
    bias of both samples and estimates the population's. The two share their influence, that of
    leaving an image out. ``sfid`` is ``fid``, read from spatial features.

    Args:
        convention: Whose arithmetic to follow where a covariance is singular; elsewhere the tools
            agree with each other and with the default. ``"torch-fidelity"``, ``"torchmetrics"``,
            ``"pytorch-fid"``, ``"clean-fid"`` or ``"dgm-eval"``.

    Raises:
        MetricError: If the convention is unknown.
    """

    def __init__(self, convention: str | None = None) -> None:
        require_convention(convention, CONVENTIONS, "fid")
        self._convention = convention

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The convention, though it matters for singular covariances alone."""
        return {} if self._convention is None else {"convention": self._convention}

    def prepare(self, real: FeatureSet | None) -> FrechetReference:
        """Moments and factor of the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it has fewer than two rows, or a bad row.
        """
        return FrechetReference.of(require_real(real, "fid"))

    def compute(self, prepared: FrechetReference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's rows ``[n, d]``; keys ``fid``, ``fid-corrected`` and ``sfid``.

        Raises:
            MetricError: If ``fake`` has other columns, fewer than two rows, or a bad row.
        """
        require_same_width(fake, prepared.features)
        ours = moments(fake, "fake")
        if _same(ours, prepared.moments):
            plain, corrected = _identical()
        elif min(ours.n, prepared.moments.n) < fewest_images(fake.d):
            plain, corrected = self._few(prepared, fake, ours)
        else:
            plain, corrected = self._regular(prepared, fake, ours)
        return {"fid": plain, "fid-corrected": corrected, "sfid": plain}

    def _regular(
        self, prepared: FrechetReference, fake: FeatureSet, ours: Moments
    ) -> tuple[Score, Score]:
        expansion = expand_both(prepared, fake, ours)
        null = fake.d - len(expansion.singular)
        trace = expansion.root_sum
        if null and self._convention is not None:
            theirs = prepared.moments.covariance
            trace = float(tool_root_sum(self._convention, ours.covariance, theirs).sum())
        value = distance(ours, prepared.moments, trace)
        details = {
            "null_directions": float(null),
            "fake_bias": expansion.fake.bias,
            "real_bias": expansion.real.bias,
            "higher_order_bias": expansion.beyond,
        }
        notes = _notes(min(ours.n, prepared.moments.n) / fake.d)
        law = expansion.law(value)

        def scored(number: float, bias: float) -> Score:
            a, b = expansion.fake.influence, expansion.real.influence
            return Score(number, a, b, 0.0, details, notes, law=replace(law, bias=bias))

        return scored(value, expansion.bias), scored(value - expansion.bias, 0.0)

    def _few(
        self, prepared: FrechetReference, fake: FeatureSet, ours: Moments
    ) -> tuple[Score, Score]:
        """The value alone, where a side has too few images for more.

        ``tr (R^½ S R^½)^½`` is the sum of the singular values of a factor of S against one of R;
        of the smaller side its centred rows are one. No eigenvalue is squared by this.
        """
        theirs = prepared.moments
        if self._convention is None:
            few, left = (fake, ours), prepared.factor.left
            if theirs.n < ours.n:
                few, left = (prepared.features, theirs), factor(ours.covariance).left
            rows = all_rows(few[0], "features").double() - few[1].mean
            roots = torch.linalg.svdvals(rows @ left) / (few[1].n - 1) ** 0.5
        else:
            roots = tool_root_sum(self._convention, ours.covariance, theirs.covariance)
        null = fake.d - int((roots > NULL_EIGENVALUE**0.5 * roots.max()).sum())
        value = distance(ours, theirs, float(roots.sum()))
        return _without_interval(value, ours, theirs, fake.d, {"null_directions": float(null)})


@dataclass(frozen=True)
class FrechetReference:
    """A reference set, its moments, and a factor of its covariance."""

    features: FeatureSet
    moments: Moments
    factor: Factor

    @classmethod
    def of(cls, features: FeatureSet) -> FrechetReference:
        """Read a reference once; raises as ``moments`` does."""
        found = moments(features, "real")
        return cls(features, found, factor(found.covariance))


@dataclass(frozen=True)
class Expansion:
    """Both sides of a distance to second order."""

    fake: Side
    real: Side
    terms: SecondOrder
    singular: Tensor
    root_sum: float
    beyond: float

    @property
    def bias(self) -> float:
        """What sampling of both sides adds to the distance."""
        return self.fake.bias + self.real.bias + self.beyond

    @property
    def first_order(self) -> float:
        """Variance of the influences of both sides."""
        sides = (self.fake, self.real)
        return sum(float(side.influence.var()) / side.n for side in sides)

    def law(self, value: float) -> SquaredDistance:
        """How the variance of the corrected distance depends on it, ``value`` being the plain."""
        n, m = self.fake.n, self.real.n
        return self.terms.law(self.first_order, value, self.bias, n, m)


def expand_both(reference: FrechetReference, fake: FeatureSet, ours: Moments) -> Expansion:
    """Influence, bias and interaction of the images of both sides, which have n, m > d."""
    map_ = transport(reference.factor, ours.covariance)
    shift = ours.mean - reference.moments.mean
    s = map_.singular
    a = expand(fake, "fake", ours, shift, map_.from_fake, s)
    b = expand(reference.features, "real", reference.moments, -shift, map_.from_real, s)
    beyond = higher_order_bias(s, a.root_bias, b.root_bias)
    return Expansion(a, b, second_order(a, b, s), s, map_.root_sum, beyond)


def distance(ours: Moments, theirs: Moments, trace: float) -> float:
    """The distance from moments and the trace of the root of their covariances' product."""
    shift = ours.mean - theirs.mean
    traces = ours.covariance.trace() + theirs.covariance.trace()
    # Rounding alone can take equal moments a hair below zero.
    return max(0.0, float(shift @ shift + traces) - 2 * trace)


def frechet_distance(mu1: Tensor, cov1: Tensor, mu2: Tensor, cov2: Tensor) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982).

    Args:
        mu1, mu2: Means ``[d]``.
        cov1, cov2: Covariances ``[d, d]``, symmetric and positive semi-definite.

    Returns:
        The distance in squared feature units, never below zero.
    """
    mu1, cov1, mu2, cov2 = (torch.as_tensor(x).double() for x in (mu1, cov1, mu2, cov2))
    shift = mu1 - mu2
    if torch.equal(cov1, cov2):
        return float(shift @ shift)
    trace = root_sum(factor(cov1), cov2)
    return max(0.0, float(shift @ shift + cov1.trace() + cov2.trace()) - 2 * trace)


def _same(ours: Moments, theirs: Moments) -> bool:
    """Whether the moments are those of the same images, maybe in another order."""
    if ours.n != theirs.n:
        return False
    size = theirs.mean.square().max() + theirs.covariance.diagonal().max()
    shift = (ours.mean - theirs.mean).square().max()
    change = (ours.covariance - theirs.covariance).abs().max()
    return bool(shift <= 1e-24 * size and change <= 1e-12 * size)


def _identical() -> tuple[Score, Score]:
    reason = (
        "fake and real have the same mean and covariance: they are the same images, not two "
        "samples, so there is neither bias nor an interval; compare different images"
    )
    return Score(0.0, reason=reason), Score(0.0, reason=reason)


def fewest_images(d: int) -> int:
    """Images that each side needs for more than a plain value: a full rank, and two pairs."""
    return max(d + 1, 4)


def too_few(side: str, n: int, d: int) -> str:
    """Why a side with fewer than ``fewest_images`` has no interval."""
    singular = "its covariance is singular, so " if n <= d else ""
    return (
        f"{side} has {n} images for {d} feature dimensions: {singular}neither bias nor interval "
        f"can be computed; use at least {fewest_images(d)} images (better, {max(20, 10 * d)})"
    )


def _without_interval(
    value: float, ours: Moments, theirs: Moments, d: int, details: dict[str, float]
) -> tuple[Score, Score]:
    side, n = ("fake", ours.n) if ours.n <= theirs.n else ("real", theirs.n)
    reason = too_few(side, n, d)
    note = "biased upwards by an unknown amount: too few images for the number of dimensions"
    plain = Score(value, details=details, notes=(note,), reason=reason)
    return plain, Score(None, details=details, reason=reason)


def _notes(ratio: float) -> tuple[str, ...]:
    if ratio >= FEW_PER_DIMENSION:
        return ()
    return (
        f"{ratio:.3g} images per feature dimension: the standard error is approximate "
        f"below {FEW_PER_DIMENSION}",
    )
