"""Diversity of a set by itself: Vendi scores and the Rényi kernel entropy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    all_rows,
    beyond_first_order,
    checked_blocks,
    require_convention,
    require_same_width,
)
from benchgen.metrics.pairs.gaussian import (
    SquaredKernel,
    gaussian_matrix,
    half_median_distance,
    squared_gaussian,
)
from benchgen.metrics.spectrum import (
    Spectrum,
    leading_gap,
    order,
    random_pairs,
    renyi_diversity,
    spectrum_of,
)

# Eigenvalues of a kernel matrix of this size take seconds and 32 MiB; both grow too fast beyond.
GAUSSIAN_LIMIT = 2048
_REFERENCE_ROWS = 10_000
# Closer than this many standard errors, the first two eigenvalues may have changed places.
_CLEAR_GAP = 6.0


class Vendi:
    """``vendi`` (Friedman & Dieng 2023, arXiv:2210.02410): the effective number of images.

    Exponential of the Rényi entropy of order q (Pasarkar & Dieng 2023, arXiv:2310.12952) of the
    eigenvalues of K/n, K the kernel matrix of the generated images.

    Args:
        q: Order: a positive number, or ``"inf"``. Small orders count rare kinds of images in
            full; large ones only the dominant kind.
        kernel: ``"cosine"`` (dot products of rows of unit length; eigenvalues are those of a d x d
            matrix) or ``"gaussian"`` (exp(-|x - y|²/(2 sigma²))).
        sigma: Bandwidth of the Gaussian kernel, in units of the features.
        convention: ``"dgm-eval"``: order 1 and the cosine kernel, the defaults.

    Raises:
        MetricError: If a parameter is out of range or missing, or contradicts the convention.
    """

    def __init__(
        self,
        q: float | str = 1.0,
        kernel: Literal["cosine", "gaussian"] = "cosine",
        sigma: float | None = None,
        convention: str | None = None,
    ) -> None:
        require_convention(convention, ("dgm-eval",), "vendi")
        self._q = order(q)
        self._kernel = kernel
        self._sigma = sigma
        if kernel not in ("cosine", "gaussian"):
            raise MetricError(f"vendi: kernel is {kernel!r}; use 'cosine' or 'gaussian'")
        if convention is not None and (self._q != 1 or kernel != "cosine"):
            raise MetricError(f"vendi: {convention} uses q=1 and the cosine kernel; leave both out")
        if kernel == "cosine" and sigma is not None:
            raise MetricError("vendi: the cosine kernel has no sigma; leave it out")
        if kernel == "gaussian":
            if sigma is None:
                raise MetricError(
                    "vendi: the Gaussian kernel needs sigma, its bandwidth in units of the features"
                )
            _require_bandwidth(sigma, "vendi")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Order, kernel and bandwidth."""
        return {
            "q": "inf" if math.isinf(self._q) else self._q,
            "kernel": self._kernel,
            "sigma": None if self._sigma is None else float(self._sigma),
        }

    def prepare(self) -> None:
        """No reference enters."""

    def compute(self, prepared: None, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``vendi``.

        Raises:
            MetricError: If a row is bad, or is zero and has no direction; if a Gaussian kernel of
                other order than 2 has more images than fit.
        """
        if self._sigma is None:
            found = _by_dual(fake, self._q) if fake.n >= fake.d else _by_gram(fake, self._q)
            return {"vendi": _spectral_score(*found, fake.n)}
        if self._q != 2 and fake.n > GAUSSIAN_LIMIT:
            raise MetricError(
                f"vendi: fake holds {fake.n} images; with the Gaussian kernel, order q={self._q:g} "
                f"needs the eigenvalues of a matrix of that size and takes at most "
                f"{GAUSSIAN_LIMIT} images. Use kernel='cosine', q=2, or fewer images"
            )
        rows = all_rows(fake, "fake")
        if self._q == 2:
            return {"vendi": _inverse_mean(squared_gaussian(rows, self._sigma))}
        found = _of_matrix(gaussian_matrix(rows, self._sigma), self._q)
        return {"vendi": _spectral_score(*found, fake.n)}


def vendi_of_kernel(kernel: Tensor, q: float | str = 1.0) -> float:
    """Vendi score of a given kernel matrix ``[n, n]``: symmetric, positive, ones on the diagonal.

    Raises:
        MetricError: If it is not such a matrix, or ``q`` is not a positive number or ``"inf"``.
    """
    power = order(q)
    matrix = torch.as_tensor(kernel).double()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise MetricError(f"vendi: the kernel has shape {tuple(matrix.shape)}; expected [n, n]")
    if not torch.isfinite(matrix).all():
        raise MetricError("vendi: the kernel holds a NaN or an infinity; remove these images")
    if float((matrix.diagonal() - 1).abs().max()) > 1e-6:
        raise MetricError(
            "vendi: the kernel must have ones on its diagonal; "
            "divide K_ij by the root of K_ii K_jj first"
        )
    if float((matrix - matrix.T).abs().max()) > 1e-6:
        raise MetricError("vendi: the kernel is not symmetric")
    eigenvalues = torch.linalg.eigvalsh(matrix / len(matrix))
    if float(eigenvalues[0]) < -1e-6:
        raise MetricError(
            f"vendi: the kernel has the negative eigenvalue {float(eigenvalues[0]):.3g} (of K/n); "
            "use a positive semidefinite kernel"
        )
    return renyi_diversity(eigenvalues, power)


class Rke:
    """``rke`` (Jalali, Li & Farnia 2023): 1 / mean over all i, j of k(x_i, x_j)².

    The Rényi kernel entropy of order 2, as a number of modes: the Vendi score of order 2 with
    the kernel exp(-|x - y|²/(2 sigma²)).

    Args:
        sigma: Bandwidth in units of the features; None takes half the median distance between
            real images (of at most 2,000, always the same ones).

    Raises:
        MetricError: If ``sigma`` is not a positive number.
    """

    def __init__(self, sigma: float | None = None) -> None:
        if sigma is not None:
            _require_bandwidth(sigma, "rke")
        self._sigma = sigma

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The bandwidth; None where it is the reference's."""
        return {"sigma": None if self._sigma is None else float(self._sigma)}

    def prepare(self, real: FeatureSet | None = None) -> _Bandwidth:
        """The bandwidth, and the diversity of the reference (rows ``[m, d]``) where there is one.

        Raises:
            MetricError: If there is neither ``sigma`` nor a reference, the reference's median
                distance is 0, or a row is bad.
        """
        if real is None:
            if self._sigma is None:
                raise MetricError("rke: give sigma, or a reference (real=...) to take it from")
            return _Bandwidth(self._sigma, None, None)
        rows = all_rows(real, "real")
        sigma = half_median_distance(rows) if self._sigma is None else self._sigma
        some = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        chosen = rows[some[:_REFERENCE_ROWS].to(rows.device)]
        return _Bandwidth(sigma, real, squared_gaussian(chosen, sigma).pairs)

    def compute(self, prepared: _Bandwidth, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``rke``.

        Raises:
            MetricError: If ``fake`` has other columns than the reference, or a row is bad.
        """
        if prepared.real is not None:
            require_same_width(fake, prepared.real)
        details = {"sigma": prepared.sigma}
        if prepared.overlap is not None:
            # Of as many real images as there are generated ones: the diagonal weighs 1/n.
            details["of_reference"] = 1 / (1 / fake.n + (1 - 1 / fake.n) * prepared.overlap)
        kernel = squared_gaussian(all_rows(fake, "fake"), prepared.sigma)
        return {"rke": _inverse_mean(kernel, details)}


@dataclass(frozen=True)
class _Bandwidth:
    """``overlap`` is the mean of k² over pairs of different real images."""

    sigma: float
    real: FeatureSet | None
    overlap: float | None


def _require_bandwidth(sigma: float, metric: str) -> None:
    if not (sigma > 0 and math.isfinite(sigma)):
        raise MetricError(f"{metric}: sigma is {sigma}; use a positive number")


def _inverse_mean(kernel: SquaredKernel, details: Mapping[str, float] | None = None) -> Score:
    """One over the mean squared kernel, by the delta method on a V-statistic."""
    n, value = len(kernel.row_means), 1 / kernel.mean
    influence = -2 * value**2 * (kernel.row_means - kernel.mean)
    first_order = float(influence.var()) / n if n > 1 else 0.0
    second_order = 2 * value**4 * kernel.interaction / (n * max(1, n - 1))
    notes = (
        (
            f"images hardly overlap under this bandwidth: {value:.4g} is near its limit, the "
            f"number of images ({n}); use a larger sigma or more images",
        )
        if value > n / 2 and n > 1
        else ()
    )
    extra = beyond_first_order(first_order, second_order)
    return Score(value, influence, None, extra, details or {}, notes)


def _by_dual(fake: FeatureSet, q: float) -> tuple[Spectrum, Iterator[Tensor]]:
    """Through the d x d mean of φφᵀ, whose eigenvalues are those of K/n and zeros."""
    operator = torch.zeros(0)
    for directions in _directions(fake):
        if not len(operator):
            operator = directions.new_zeros(fake.d, fake.d)
        operator.addmm_(directions.T, directions)
    spectrum, vectors = spectrum_of(operator.div_(fake.n), q)
    # Coordinates of rows in float32 are that exact; the eigenvalues above need more.
    stored = next(iter(fake.blocks())).dtype
    exact = torch.promote_types(stored, torch.float32)
    vectors = vectors.to(exact)
    return spectrum, (d.to(exact) @ vectors for d in _directions(fake))


def _by_gram(fake: FeatureSet, q: float) -> tuple[Spectrum, Iterator[Tensor]]:
    directions = torch.cat(list(_directions(fake)))
    return _of_matrix(directions @ directions.T, q)


def _of_matrix(kernel: Tensor, q: float) -> tuple[Spectrum, Iterator[Tensor]]:
    spectrum, vectors = spectrum_of(kernel / len(kernel), q)
    return spectrum, iter([vectors * (len(kernel) * spectrum.eigenvalues).sqrt()])


def _directions(fake: FeatureSet) -> Iterator[Tensor]:
    """Rows divided by their length, float64, block by block."""
    first = 0
    for block in checked_blocks(fake, "fake"):
        rows = block.double()
        largest = rows.abs().amax(dim=1, keepdim=True)
        zeros = (largest[:, 0] == 0).nonzero()
        if len(zeros):
            raise MetricError(
                f"vendi: {len(zeros)} rows of fake are all zeros and have no direction (the first "
                f"is row {first + int(zeros[0])}); remove them, or use kernel='gaussian'"
            )
        # Squares of very large or small features would overflow or vanish.
        scaled = rows / largest
        yield scaled / scaled.norm(dim=1, keepdim=True)
        first += len(block)


def _spectral_score(spectrum: Spectrum, blocks: Iterator[Tensor], n: int) -> Score:
    """Value and influences, from every image's coordinates in the eigenvectors, in order."""
    some, (left, right) = random_pairs(n)
    influences, own, leading, sampled = [], [], [], []
    start = 0
    for block in blocks:
        influences.append(spectrum.influence(block))
        own.append(spectrum.second_order(block, block))
        leading.append(block[:, :2])
        inside = some[(some >= start) & (some < start + len(block))] - start
        sampled.append(block[inside.to(block.device)])
        start += len(block)
    details = {"rank": float(len(spectrum.eigenvalues))}
    if math.isinf(spectrum.q) and n > 1 and len(spectrum.eigenvalues) > 1:
        gap, error = leading_gap(spectrum, torch.cat(leading))
        if gap < _CLEAR_GAP * error:
            reason = (
                f"the first two eigenvalues are {gap:.2g} apart, with a standard error of "
                f"{error:.2g}: which one is first may change from sample to sample; use a finite q"
            )
            return Score(spectrum.value, details=details, reason=reason)
    if spectrum.q != 2 and n > 1 and len(spectrum.eigenvalues) == n:
        reason = (
            f"the {n} images span {n} dimensions, so one more may add another: the influences of "
            "these say too little about the spread; use more images than features, or q=2"
        )
        return Score(spectrum.value, details=details, reason=reason)
    curvature = torch.cat(own)
    details["bias"] = float(curvature.mean()) / (2 * n)
    influence = torch.cat(influences) - (curvature - curvature.mean()) / (2 * n)
    chosen = torch.cat(sampled)
    square = float(spectrum.second_order(chosen[left], chosen[right]).square().mean())
    first_order = float(influence.var()) / n if n > 1 else 0.0
    # The noise of the influences is in their variance with twice the second order. Taking it off
    # at once leaves too little where the first order is weak, so the two are joined smoothly.
    second_order = square / (2 * n**2)
    extra = math.hypot(second_order, first_order - second_order) - first_order
    return Score(spectrum.value, influence.cpu(), None, extra, details)
