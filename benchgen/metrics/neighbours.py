"""Precision, recall, density and coverage: four readings of the same nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    all_rows,
    require_convention,
    require_real,
    require_same_width,
)
from benchgen.metrics.pairs.balls import Balls, Boundary, balls
from benchgen.metrics.pairs.halving import Halvings, deviations, halves
from benchgen.metrics.pairs.visits import Visits, mutual_visits, net_losses

_CONVENTIONS: dict[str | None, tuple[int, Boundary]] = {
    None: (3, "<="),
    "torch-fidelity": (3, "<="),
    "prdc": (5, "<"),
    "dgm-eval": (5, "<"),
}


class Neighbours:
    """``precision`` and ``recall`` (Kynkäänniemi et al. 2019, arXiv:1904.06991), ``density`` and
    ``coverage`` (Naeem et al. 2020, arXiv:2002.09797).

    Each image of a set carries a ball that reaches to its k-th nearest neighbour in that set.
    Precision: share of generated images in some real ball. Recall: share of real images in some
    generated ball. Density: mean number of real balls around a generated image, over k. Coverage:
    share of real balls that hold a generated image.

    Distances are float64; those within rounding of a radius are taken again by subtraction, so
    that duplicates and ties fall on the right side of the boundary.

    Args:
        k: Which neighbour sets the radius; None means 3, or 5 under ``convention="prdc"``.
        boundary: Whether a distance equal to the radius counts (``"<="``) or not (``"<"``); None
            means ``"<="``, or ``"<"`` under ``convention="prdc"``.
        convention: ``"torch-fidelity"`` (k=3, ``<=``), ``"prdc"`` or ``"dgm-eval"`` (k=5, ``<``).

    Raises:
        MetricError: If ``k``, ``boundary`` or ``convention`` is not one of these.
    """

    def __init__(
        self,
        k: int | None = None,
        boundary: Boundary | None = None,
        convention: str | None = None,
    ) -> None:
        known = tuple(name for name in _CONVENTIONS if name is not None)
        require_convention(convention, known, "precision, recall, density and coverage")
        default_k, default_boundary = _CONVENTIONS[convention]
        self._k = default_k if k is None else k
        self._boundary = default_boundary if boundary is None else boundary
        if self._k < 1:
            raise MetricError(f"k is {self._k}; use 1 or more")
        if self._boundary not in ("<=", "<"):
            raise MetricError(f"boundary is {self._boundary!r}; use '<=' or '<'")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Which neighbour sets the radius, and whether the boundary counts."""
        return {"k": self._k, "boundary": self._boundary}

    def prepare(self, real: FeatureSet | None) -> _Reference:
        """Neighbour lists of the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it has k rows or fewer, or a row is bad.
        """
        features = require_real(real, "precision, recall, density and coverage")
        self._require_enough(features.n, "real")
        return _Reference(features, balls(all_rows(features, "real"), self._k))

    def compute(self, prepared: _Reference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; keys are the four ids.

        Raises:
            MetricError: If ``fake`` has other columns, k rows or fewer, or a bad row.
        """
        require_same_width(fake, prepared.features)
        self._require_enough(fake.n, "fake")
        real, k = prepared.balls, self._k
        made = balls(all_rows(fake, "fake"), k)
        of_fakes, of_reals = mutual_visits(made, real, self._boundary)
        real_halves, fake_halves = (
            halves(len(side.points), seed).to(side.points.device)
            for seed, side in enumerate((real, made))
        )
        fake_spread = _spread(of_fakes, real, fake_halves, real_halves)
        real_spread = _spread(of_reals, made, real_halves, fake_halves)
        precision = _share(of_fakes, real, fake_spread)
        recall = _share(of_reals, made, real_spread)
        density = _density(of_fakes, real, fake_spread)
        coverage = _coverage(of_fakes, fake_spread)
        expected = expected_coverage(prepared.features.n, fake.n, k)
        return {
            "precision": precision.score(counted="fake", bounds=(0.0, 1.0)),
            "recall": recall.score(counted="real", bounds=(0.0, 1.0)),
            "density": density.score(counted="fake", expected_if_equal=1.0),
            "coverage": coverage.score(
                counted="real", bounds=(0.0, 1.0), expected_if_equal=expected
            ),
        }

    def _require_enough(self, n: int, name: str) -> None:
        if n <= self._k:
            smaller_k = f", or take a k of at most {n - 1}" if n > 1 else ""
            raise MetricError(
                f"k={self._k} needs at least {self._k + 1} images on each side, and {name} holds "
                f"{n}; give more images{smaller_k}"
            )


def expected_coverage(m: int, n: int, k: int) -> float:
    """Coverage expected when m real and n generated images share one continuous distribution.

    It is 1 - prod_{j=1..k} (m - j) / (n + m - j) (Naeem et al. 2020, equation 9).
    """
    missed = 1.0
    for j in range(1, k + 1):
        missed *= (m - j) / (n + m - j)
    return 1.0 - missed


@dataclass(frozen=True)
class _Reference:
    features: FeatureSet
    balls: Balls


@dataclass(frozen=True)
class _Parts:
    """What a score is made of: a number per counted image, and the other side's effects.

    ``counted`` is exact given the other side. ``others`` is what leaving out each image of the
    other side changes, times their number less one: right in proportion, but together too large;
    ``halvings`` are deviations of the value, which set their scale.
    """

    counted: Tensor
    others: Tensor
    halvings: Tensor | None

    def score(
        self,
        counted: str,
        bounds: tuple[float, float] | None = None,
        expected_if_equal: float | None = None,
    ) -> Score:
        own = (self.counted - self.counted.mean()).cpu()
        other = (self.others - self.others.mean()).cpu()
        extra = 0.0
        notes: tuple[str, ...] = ()
        if self.halvings is None:
            notes = (_UNSCALED,)
        else:
            variance = float(self.halvings.square().mean())
            known = float(own.var() / len(own))
            unscaled = float(other.var() / len(other))
            # The measured variance is itself noisy, and may fall short of the part that is known.
            missing = max(variance - known, min(_LEAST_SHARE * known, unscaled))
            if unscaled > 0:
                other = other * (missing / unscaled) ** 0.5
            else:
                extra = missing
        fake, real = (own, other) if counted == "fake" else (other, own)
        details = {} if expected_if_equal is None else {"expected_if_equal": expected_if_equal}
        value = float(self.counted.mean())
        # What is counted on the fakes themselves sums within clusters; what neighbours of a
        # cluster make good when one image is left out does not.
        unclustered = _UNCLUSTERED if counted == "real" else None
        return Score(
            value,
            fake,
            real,
            extra,
            details,
            notes,
            bounds=bounds,
            halvings=self.halvings,
            unclustered=unclustered,
        )


_UNSCALED = (
    "the standard error is conservative (up to 2.5 times): there are too few images, the balls "
    "overlap too far, or too many images are duplicates, to measure it by halving"
)

_UNCLUSTERED = (
    "no standard error for clustered images: leaving one image of a cluster out changes little, "
    "which hides what the cluster does; compute it on one image of each cluster"
)

_LEAST_SHARE = 0.1
"""The other side's variance is taken to be at least this share of the counted side's."""

_SATURATED_DENSITY = 10
"""Above it a generated image is inside most balls, and density no longer keeps its value when
both sets are halved; leaving images out then serves well by itself."""

_DUPLICATES = 0.05
"""Where more than this share of density is that of balls without extent (duplicates, which fall
together with generated images), density grows with the number of images, as above."""


def _spread(
    found: Visits, home: Balls, visitor_halves: Tensor, ball_halves: Tensor
) -> Halvings | None:
    smallest_half = min(len(visitor_halves), len(ball_halves)) // 2
    if found.near is None or smallest_half <= home.k:
        return None
    return deviations(found.near, home, visitor_halves, ball_halves)


def _share(found: Visits, home: Balls, spread: Halvings | None) -> _Parts:
    """Share of visitors inside some ball: precision, or recall with the sides exchanged."""
    n, m = len(found.counts), len(found.inside)
    others = net_losses(found, home) * ((m - 1) / n)
    halvings = None if spread is None else spread.visitors_inside
    return _Parts((found.counts > 0).double(), others, halvings)


def _density(found: Visits, home: Balls, spread: Halvings | None) -> _Parts:
    n, m = len(found.counts), len(found.inside)
    widened = torch.zeros(m, dtype=torch.float64, device=found.shell.device)
    for neighbour in home.neighbours[:, : home.k].T:
        widened.index_add_(0, neighbour, found.shell.double())
    others = (found.inside - widened) * ((m - 1) / (home.k * n))
    counted = found.counts.double() / home.k
    value = float(counted.mean())
    at_duplicates = float(found.inside[home.radii == 0].sum())
    grows = value > _SATURATED_DENSITY or at_duplicates > _DUPLICATES * float(found.inside.sum())
    halvings = None if spread is None or grows else spread.balls_around * value
    return _Parts(counted, others, halvings)


def _coverage(found: Visits, spread: Halvings | None) -> _Parts:
    n, m = len(found.counts), len(found.inside)
    sole = torch.bincount(found.sole_visitor[found.inside == 1], minlength=n)
    others = sole.double() * ((n - 1) / m)
    halvings = None if spread is None else spread.balls_visited
    return _Parts((found.inside > 0).double(), others, halvings)
