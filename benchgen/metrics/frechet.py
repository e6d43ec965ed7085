"""Fréchet distance between two clouds of features, plain and corrected for small samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    Strata,
    all_rows,
    checked_blocks,
    require_convention,
    require_real,
    require_same_width,
)

NULL_EIGENVALUE = 1e-12
"""Eigenvalues below this share of the largest count as zero."""

CONSERVATIVE_RATIO = 10
"""Below this many images per feature dimension the standard error is noticeably too large."""


class Frechet:
    """``fid`` and ``fid-corrected`` (Heusel et al. 2017, arXiv:1706.08500).

    The value is ``|mu1 - mu2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½`` with unbiased
    covariances, by symmetric eigenvalues in float64. ``fid`` estimates its own expectation at this
    number of images, which exceeds the population's distance; ``fid-corrected`` subtracts the
    second-order bias of both samples and estimates the population's. To first order the two have
    the same influence: that of the optimal-transport map between the two Gaussians.

    Args:
        convention: ``"torch-fidelity"`` differs only where a covariance is singular: that tool
            sums the roots of the eigenvalues of ``S1 S2``, to which rounding adds a little for
            every null direction.

    Raises:
        MetricError: If the convention is unknown.
    """

    def __init__(self, convention: str | None = None) -> None:
        require_convention(convention, ("torch-fidelity",), "fid")
        self._convention = convention

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The convention, though it matters for singular covariances alone."""
        return {} if self._convention is None else {"convention": self._convention}

    def prepare(self, real: FeatureSet | None) -> _Reference:
        """Moments and matrix square roots of the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it has fewer than two rows, or a bad row.
        """
        features = require_real(real, "fid")
        reference = moments(features, "real")
        root, inverse_root = _roots(reference.covariance)
        return _Reference(features, reference, root, inverse_root)

    def compute(self, prepared: _Reference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; keys ``fid`` and ``fid-corrected``.

        Raises:
            MetricError: If ``fake`` has other columns, fewer than two rows, or a bad row.
        """
        require_same_width(fake, prepared.features)
        ours, theirs = moments(fake, "fake"), prepared.moments
        if min(ours.n, theirs.n) <= fake.d:
            return self._singular(prepared, fake, ours)

        singular, vectors = _transport_eigen(prepared.root, ours.covariance)
        value = _distance(ours, theirs, singular)
        details = {"null_directions": float(fake.d - len(singular))}
        into = prepared.root @ vectors
        out_of = prepared.inverse_root @ vectors * singular
        a, fake_bias = _influence(fake, "fake", ours, theirs.mean, into, singular)
        b, real_bias = _influence(prepared.features, "real", theirs, ours.mean, out_of, singular)
        corrected = value - fake_bias - real_bias
        details |= {"fake_bias": fake_bias, "real_bias": real_bias}
        notes = _notes(corrected, a, b, fake.d)
        return {
            "fid": Score(value, a, b, details=details, notes=notes),
            "fid-corrected": Score(corrected, a, b, details=details, notes=notes),
        }

    def _singular(
        self, prepared: _Reference, fake: FeatureSet, ours: Moments
    ) -> Mapping[str, Score]:
        """The value alone, where a side has no more images than features.

        ``tr (R S R)^½`` is the sum of the singular values of the smaller side's centred rows
        times the other side's root: no eigenvalue is squared and none need be called zero.
        """
        theirs = prepared.moments
        if self._convention == "torch-fidelity":
            roots = _roots_of_product(ours.covariance, theirs.covariance)
        else:
            few, root = (fake, ours), prepared.root
            if theirs.n < ours.n:
                few, root = (prepared.features, theirs), _roots(ours.covariance)[0]
            rows = all_rows(few[0], "features").double() - few[1].mean
            roots = torch.linalg.svdvals(rows @ root) / (few[1].n - 1) ** 0.5
        null = fake.d - int((roots > NULL_EIGENVALUE**0.5 * roots[0]).sum())
        value = _distance(ours, theirs, roots)
        return _rank_deficient(value, ours, theirs, fake.d, {"null_directions": float(null)})


@dataclass(frozen=True)
class Moments:
    """Count, mean ``[d]`` and sum of centred outer products ``M2`` ``[d, d]``, in float64."""

    n: int
    mean: Tensor
    M2: Tensor

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance ``[d, d]`` (divided by n - 1)."""
        return self.M2 / (self.n - 1)

    def merge(self, other: Moments) -> Moments:
        """Moments of both samples together, without loss (Chan, Golub & LeVeque 1979)."""
        n = self.n + other.n
        step = other.mean - self.mean
        mean = self.mean + step * (other.n / n)
        spread = torch.outer(step, step) * (self.n * other.n / n)
        return Moments(n, mean, self.M2 + other.M2 + spread)


def moments(features: FeatureSet, name: str = "features") -> Moments:
    """Stream over the blocks of a feature set ``[n, d]`` and merge their float64 moments.

    Raises:
        MetricError: If there are fewer than two rows, or a row holds a NaN or an infinity.
    """
    if features.n < 2:
        raise MetricError(f"{name} holds {features.n} row(s); a covariance needs at least 2 images")
    total: Moments | None = None
    for block in checked_blocks(features, name):
        rows = block.double()
        mean = rows.mean(dim=0)
        centred = rows - mean
        part = Moments(len(rows), mean, centred.T @ centred)
        total = part if total is None else total.merge(part)
    if total is None:
        raise MetricError(f"{name} yields no blocks though it declares {features.n} rows")
    return total


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
    singular, _ = _transport_eigen(_roots(cov1)[0], cov2)
    value = shift @ shift + cov1.trace() + cov2.trace() - 2 * singular.sum()
    return max(0.0, float(value))


@dataclass(frozen=True)
class _Reference:
    features: FeatureSet
    moments: Moments
    root: Tensor
    inverse_root: Tensor


def _distance(ours: Moments, theirs: Moments, singular: Tensor) -> float:
    shift = ours.mean - theirs.mean
    traces = ours.covariance.trace() + theirs.covariance.trace()
    # Rounding alone can take identical sets a hair below zero.
    return max(0.0, float(shift @ shift + traces - 2 * singular.sum()))


def _roots(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a covariance and its pseudo-inverse, both ``[d, d]``."""
    values, vectors = _positive_eigen(covariance)
    root = values.sqrt()
    return vectors * root @ vectors.T, vectors / root @ vectors.T


def _transport_eigen(root: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Square roots ``[r]`` of the non-null eigenvalues of ``R S R``, and their vectors."""
    product = root @ covariance @ root
    values, vectors = _positive_eigen((product + product.T) / 2)
    return values.sqrt(), vectors


def _positive_eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    if not torch.isfinite(matrix).all():
        raise MetricError("the covariance of the features overflows float64; rescale them")
    values, vectors = torch.linalg.eigh(matrix)
    keep = values > NULL_EIGENVALUE * values[-1].clamp_min(0)
    return values[keep], vectors[:, keep]


def _roots_of_product(ours: Tensor, theirs: Tensor) -> Tensor:
    """Real parts of the roots of the eigenvalues of ``S1 S2``, largest first."""
    # numpy as that tool uses it: rounding differs between libraries, and here it shows.
    eigenvalues = np.linalg.eigvals(ours.cpu().numpy() @ theirs.cpu().numpy())
    roots = np.sqrt(eigenvalues.astype(np.complex128)).real
    return torch.from_numpy(np.sort(roots)[::-1].copy()).to(ours.device)


def _influence(
    features: FeatureSet,
    name: str,
    own: Moments,
    other_mean: Tensor,
    map_: Tensor,
    singular: Tensor,
) -> tuple[Tensor, float]:
    """Influence ``[n]`` of one side's images on the distance, and that side's bias.

    ``map_`` takes a centred row to coordinates y in which the covariance is diag(singular²); the
    transport map's quadratic form is then Σ y_i²/s_i. The bias is the second-order term
    ``(tr S + ½ Σ_ij Var(y_i y_j) / (s_i s_j (s_i + s_j))) / n``: the divided differences of the
    square root, against the sampling covariance of the matrix entries. Where the shares of
    strata were fixed, only what varies within a stratum counts, and the unbiased covariance
    exceeds the population's by the covariance of the stratum means over n - 1.
    """
    shift = own.mean - other_mean
    strata = Strata.of(features)
    parts: list[Tensor] = []
    fourth = torch.zeros(len(singular), len(singular), dtype=torch.float64, device=map_.device)
    sums = torch.zeros(len(strata.shares), len(shift), dtype=torch.float64, device=map_.device)
    start = 0
    for block in checked_blocks(features, name):
        centred = block.double() - own.mean
        squares = (centred @ map_).square()
        parts.append(2 * centred @ shift + centred.square().sum(dim=1) - squares @ (1 / singular))
        fourth += squares.T @ squares
        sums.index_add_(0, strata.labels[start : start + len(block)].to(sums.device), centred)
        start += len(block)
    shares = strata.shares.to(sums.device)
    means = sums / (shares * own.n)[:, None]
    spread = means.square().sum(dim=1)
    excess = fourth / own.n - _squared_products(features, name, own, map_, singular, strata)
    curvature = torch.outer(singular, singular) * (singular[:, None] + singular)
    bias = (own.covariance.trace() - shares @ spread + (excess / curvature).sum() / 2) / own.n
    bias += shares @ (spread - (means @ map_).square() @ (1 / singular)) / (own.n - 1)
    return strata.centred(torch.cat(parts).cpu()), float(bias)


def _squared_products(
    features: FeatureSet, name: str, own: Moments, map_: Tensor, singular: Tensor, strata: Strata
) -> Tensor:
    """``(E y_i y_j)²`` ``[r, r]``, the expectation within each stratum, averaged by share."""
    if len(strata.shares) == 1:
        return torch.diag(singular**4)
    total = torch.zeros(len(singular), len(singular), dtype=torch.float64, device=map_.device)
    for stratum, share in enumerate(strata.shares.tolist()):
        products = torch.zeros_like(total)
        start = 0
        for block in checked_blocks(features, name):
            chosen = strata.labels[start : start + len(block)] == stratum
            start += len(block)
            coordinates = (block[chosen].double() - own.mean) @ map_
            products += coordinates.T @ coordinates
        total += share * (products / (share * own.n)).square()
    return total


def _rank_deficient(
    value: float, ours: Moments, theirs: Moments, d: int, details: dict[str, float]
) -> dict[str, Score]:
    side, n = ("fake", ours.n) if ours.n <= theirs.n else ("real", theirs.n)
    reason = (
        f"{side} has {n} images for {d} feature dimensions: its covariance is singular, so neither "
        f"bias nor interval can be computed; use more than {d} images (better, {10 * d})"
    )
    note = "biased upwards by an unknown amount: no more images than feature dimensions"
    return {
        "fid": Score(value, details=details, notes=(note,), reason=reason),
        "fid-corrected": Score(None, details=details, reason=reason),
    }


def _notes(corrected: float, a: Tensor, b: Tensor, d: int) -> tuple[str, ...]:
    notes = []
    ratio = min(len(a), len(b)) / d
    if ratio < CONSERVATIVE_RATIO:
        notes.append(
            f"{ratio:.3g} images per feature dimension: the standard error is conservative "
            f"below {CONSERVATIVE_RATIO}"
        )
    error = float((a.var() / len(a) + b.var() / len(b)).sqrt())
    if corrected < 2 * error:
        notes.append(
            "within two standard errors of equality with the reference, where the first-order "
            "standard error is up to 50 % too large"
        )
    return tuple(notes)
