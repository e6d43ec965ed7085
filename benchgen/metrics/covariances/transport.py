"""Factors of covariances, and the optimal-transport map between two Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchgen.errors import MetricError

NULL_EIGENVALUE = 1e-12
"""Eigenvalues below this share of the largest count as zero."""

ROUNDING = 1e-15
"""Eigenvalues below this share of the largest are rounding, and add nothing to a value."""

WORST_CONDITION = 1e10
"""A Cholesky factor is used up to this condition of the covariance."""

_ITERATIONS = 8


class Factor:
    """``left`` ``[d, d]`` with ``left @ left.T`` equal to a covariance.

    Lower triangular, or the symmetric root. ``inverse`` is its inverse, or pseudo-inverse where
    the covariance is singular; that of a triangle is computed when first asked for.
    """

    def __init__(self, left: Tensor, inverse: Tensor | None = None) -> None:
        self.left = left
        if inverse is not None:
            self.inverse = inverse

    @cached_property
    def inverse(self) -> Tensor:
        eye = torch.eye(len(self.left), dtype=self.left.dtype, device=self.left.device)
        inverse: Tensor = torch.linalg.solve_triangular(self.left, eye, upper=False)
        return inverse


@dataclass(frozen=True)
class Transport:
    """The map between the generated and the reference Gaussian, in coordinates of its own.

    The eigenvalues of ``S R`` are ``singular²``, largest last, null directions left out (r stay).
    ``from_fake`` and ``from_real`` ``[d, r]`` take centred rows to balanced coordinates: there
    both sides have covariance ``diag(singular)``, and an image and its image under the map have
    the same coordinates. ``root_sum`` is ``tr (R^½ S R^½)^½``.
    """

    singular: Tensor
    from_fake: Tensor
    from_real: Tensor
    root_sum: float


def factor(covariance: Tensor) -> Factor:
    """Cholesky factor where well conditioned, symmetric root where (nearly) singular."""
    left, failed = torch.linalg.cholesky_ex(covariance)
    if not int(failed) and _condition(covariance, left) < WORST_CONDITION:
        return Factor(left)
    values, vectors = _eigen(covariance)
    keep = values > NULL_EIGENVALUE * values[-1].clamp_min(0)
    root, vectors = values[keep].sqrt(), vectors[:, keep]
    return Factor(vectors * root @ vectors.T, vectors / root @ vectors.T)


def _condition(covariance: Tensor, left: Tensor) -> float:
    """Trace over the smallest eigenvalue, the latter by inverse iteration on the factor."""
    vector = torch.linspace(1, 2, len(left), dtype=left.dtype, device=left.device)[:, None]
    inverse_of_smallest = 0.0
    for _ in range(_ITERATIONS):
        vector = vector / vector.norm()
        half = torch.linalg.solve_triangular(left, vector, upper=False)
        vector = torch.linalg.solve_triangular(left.T, half, upper=True)
        inverse_of_smallest = float(vector.norm())
    return float(covariance.trace()) * inverse_of_smallest


def transport(reference: Factor, covariance: Tensor) -> Transport:
    """The map from a Gaussian of this covariance ``S`` to the one of the factor (``R``)."""
    values, vectors = _eigen(_product(reference, covariance))
    largest = values[-1].clamp_min(0)
    root_sum = values[values > ROUNDING * largest].sqrt().sum()
    keep = values > NULL_EIGENVALUE * largest
    singular, vectors = values[keep].sqrt(), vectors[:, keep]
    balance = singular.sqrt()
    return Transport(
        singular,
        reference.left @ vectors / balance,
        reference.inverse.T @ vectors * balance,
        float(root_sum),
    )


def root_sum(reference: Factor, covariance: Tensor) -> float:
    """``tr (R^½ S R^½)^½`` alone, without the map."""
    values = torch.linalg.eigvalsh(_finite(_product(reference, covariance)))
    return float(values[values > ROUNDING * values[-1].clamp_min(0)].sqrt().sum())


def _product(reference: Factor, covariance: Tensor) -> Tensor:
    """``left.T @ covariance @ left``, symmetric but for rounding; only one triangle is read."""
    return reference.left.T @ covariance @ reference.left


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(_finite(matrix))
    return values, vectors


def _finite(matrix: Tensor) -> Tensor:
    if not torch.isfinite(matrix.sum()):
        raise MetricError(
            "the product of the features' covariances overflows float64; rescale the features"
        )
    return matrix
