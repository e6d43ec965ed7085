"""Fréchet distance between two clouds of features, plain and corrected for small samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from benchgen.errors import MetricError
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

    Against known moments instead of reference images there is no correction: of the reference's
    own error nothing is known.

    Args:
        convention: Whose arithmetic to follow where a covariance is singular; elsewhere the tools
            agree with each other and with the default. ``"torch-fidelity"``, ``"torchmetrics"``,
            ``"pytorch-fid"``, ``"clean-fid"`` or ``"dgm-eval"``.

    Raises:
        MetricError: If the convention is unknown.
    """

    from_moments = ("fid", "sfid")
    """What can be computed without the reference's images."""

    def __init__(self, convention: str | None = None) -> None:
        require_convention(convention, CONVENTIONS, "fid")
        self._convention = convention

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The convention, though it matters for singular covariances alone."""
        return {} if self._convention is None else {"convention": self._convention}

    def prepare(self, real: FeatureSet | KnownMoments | None) -> FrechetReference | KnownMoments:
        """Moments and factor of the reference (feature rows ``[m, d]``, or their moments).

        Raises:
            MetricError: If there is no reference, it has fewer than two rows, or a bad row.
        """
        if isinstance(real, KnownMoments):
            return real
        return FrechetReference.of(require_real(real, "fid"))

    def compute(
        self, prepared: FrechetReference | KnownMoments, fake: FeatureSet
    ) -> Mapping[str, Score]:
        """Score one generator's rows ``[n, d]``; keys ``fid``, ``fid-corrected`` and ``sfid``.

        Against known moments without ``fid-corrected``.

        Raises:
            MetricError: If ``fake`` has other columns, fewer than two rows, or a bad row.
        """
        if isinstance(prepared, KnownMoments):
            score = self._against(prepared, fake)
            return {"fid": score, "sfid": score}
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
        """The value alone, where a side has too few images for more."""
        theirs = prepared.moments
        if self._convention is None:
            few = fewest_images(fake.d)
            left = _centred(fake, ours) if ours.n < few else factor(ours.covariance).left
            right = _centred(prepared.features, theirs) if theirs.n < few else prepared.factor.left
            roots = _roots(left, right)
        else:
            roots = tool_root_sum(self._convention, ours.covariance, theirs.covariance)
        null = fake.d - int((roots > NULL_EIGENVALUE**0.5 * roots.max()).sum())
        value = distance(ours, theirs, float(roots.sum()))
        return _without_interval(value, ours, theirs, fake.d, {"null_directions": float(null)})

    def _against(self, known: KnownMoments, fake: FeatureSet) -> Score:
        """The distance to known moments: the generated images' side alone has an error."""
        if fake.d != known.d:
            raise MetricError(
                f"fake has {fake.d} feature columns, and the moments are of {known.d}; extract "
                "with the extractor and layer that the moments were made with"
            )
        ours = moments(fake, "fake")
        notes: tuple[str, ...] = (_UNKNOWN_REFERENCE,)
        if ours.n < fewest_images(fake.d):
            if self._convention is None:
                roots = _roots(_centred(fake, ours), known.factor.left)
            else:
                roots = tool_root_sum(self._convention, ours.covariance, known.covariance)
            value = distance(ours, known, float(roots.sum()))
            return Score(value, notes=notes, reason=too_few("fake", ours.n, fake.d))
        map_ = transport(known.factor, ours.covariance)
        side = expand(fake, "fake", ours, ours.mean - known.mean, map_.from_fake, map_.singular)
        null, trace = fake.d - len(map_.singular), map_.root_sum
        if null and self._convention is not None:
            trace = float(tool_root_sum(self._convention, ours.covariance, known.covariance).sum())
        value = distance(ours, known, trace)
        bias = side.bias + higher_order_bias(map_.singular, side.root_bias, 0.0)
        both = second_order(side, side, map_.singular)
        alone = SecondOrder(
            both.fake, 0.0, 0.0, both.draws * both.draws.new_tensor([[1], [0], [0]])
        )
        first_order = float(side.influence.var()) / side.n
        law = replace(alone.law(first_order, value, bias, side.n, 1), bias=bias)
        details = {"null_directions": float(null), "fake_bias": side.bias}
        notes += _notes(ours.n / fake.d)
        return Score(value, side.influence, None, 0.0, details, notes, law=law)


@dataclass(frozen=True)
class KnownMoments:
    """A reference of which only the mean ``[d]`` and covariance ``[d, d]`` are known, in float64.

    How many images they are of is not known.
    """

    mean: Tensor
    covariance: Tensor

    @property
    def d(self) -> int:
        return len(self.mean)

    @cached_property
    def factor(self) -> Factor:
        return factor(self.covariance)


_UNKNOWN_REFERENCE = (
    "against a published mean and covariance: the reference's own error is unknown, and the "
    "interval is for this very reference"
)


@dataclass(frozen=True)
class FrechetReference:
    """A reference set, its moments, and, once needed, a factor of its covariance."""

    features: FeatureSet
    moments: Moments

    @cached_property
    def factor(self) -> Factor:
        return factor(self.moments.covariance)

    @classmethod
    def of(cls, features: FeatureSet) -> FrechetReference:
        """Read a reference once; raises as ``moments`` does."""
        return cls(features, moments(features, "real"))


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


def distance(ours: Moments, theirs: Moments | KnownMoments, trace: float) -> float:
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


def _roots(left: Tensor, right: Tensor) -> Tensor:
    """Roots whose sum is ``tr (R^½ S R^½)^½``, from any factors of S and R.

    They are the singular values of one factor against the other, so no eigenvalue is squared.
    """
    roots: Tensor = torch.linalg.svdvals(left.T @ right)
    return roots


def _centred(features: FeatureSet, own: Moments) -> Tensor:
    """The rows themselves, centred: where they are few, the smallest factor of their covariance."""
    rows = all_rows(features, "features").double() - own.mean
    root: Tensor = rows.T / (own.n - 1) ** 0.5
    return root


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
