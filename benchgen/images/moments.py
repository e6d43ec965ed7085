"""Mean and covariance of features, as other tools publish them instead of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchgen.download import file_digest
from benchgen.errors import ImageError
from benchgen.images.npz import Npz

# The files hold what was computed in float32, more or less.
_SYMMETRY = 1e-5
_DEFINITENESS = 1e-4


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second moments of features.

    Attributes:
        mean: float64 ``[d]``.
        covariance: float64 ``[d, d]``, symmetric.
        sha256: Of the file they come from, in hex.
    """

    mean: Tensor
    covariance: Tensor
    sha256: str


def load_moments(path: str | Path) -> Moments:
    """Read the moments that pytorch-fid and ADM publish: ``mu`` ``[d]`` and ``sigma`` ``[d, d]``.

    Other arrays in the file are left alone; pickled objects are refused.

    Raises:
        ImageError: No such file, another format, arrays that are missing or of other shapes,
            values that are not finite, or a matrix that is no covariance: not symmetric, or with
            an eigenvalue clearly below 0.
    """
    path = Path(path).expanduser()
    try:
        archive = Npz(path)
        lacking = [name for name in ("mu", "sigma") if name not in archive.names]
        if lacking:
            raise ImageError(
                f"{path} lacks {' and '.join(lacking)}; it holds {', '.join(archive.names)}; "
                "expected mu and sigma, as pytorch-fid and ADM write them"
            )
        mean, covariance = archive.array("mu"), archive.array("sigma")
        digest = file_digest(path, "sha256")
    except ImageError:
        raise
    except Exception as error:  # damaged files raise almost any type
        raise ImageError(
            f"{path} cannot be read: {error}; expected an .npz file with mu and sigma (pickled "
            "objects are never loaded)"
        ) from error
    return Moments(*_checked(path, mean, covariance), digest)


def _checked(path: Path, mean: np.ndarray, covariance: np.ndarray) -> tuple[Tensor, Tensor]:
    if mean.ndim != 1 or not mean.size or covariance.shape != 2 * mean.shape:
        raise ImageError(
            f"{path}: found mu {list(mean.shape)} and sigma {list(covariance.shape)}; expected "
            "[d] and [d, d]"
        )
    if mean.dtype.kind != "f" or covariance.dtype.kind != "f":
        raise ImageError(
            f"{path}: found mu of type {mean.dtype} and sigma of type {covariance.dtype}; "
            "expected floats"
        )
    mu = torch.from_numpy(np.array(mean, dtype=np.float64))
    sigma = torch.from_numpy(np.array(covariance, dtype=np.float64))
    if not (mu.isfinite().all() and sigma.isfinite().all()):
        raise ImageError(f"{path}: found NaN or infinity in mu or sigma; expected numbers")
    largest = float(sigma.abs().max())
    skew = float((sigma - sigma.T).abs().max())
    if skew > _SYMMETRY * largest:
        raise ImageError(
            f"{path}: sigma is not symmetric (it differs from its transpose by {skew:g}); expected "
            "a covariance matrix"
        )
    sigma = (sigma + sigma.T) / 2
    spectrum = torch.linalg.eigvalsh(sigma)
    lowest, highest = float(spectrum[0]), float(spectrum[-1])
    if lowest < -_DEFINITENESS * highest or highest < 0:
        raise ImageError(
            f"{path}: sigma has eigenvalues from {lowest:g} to {highest:g}; those of a covariance "
            "matrix are not negative"
        )
    return mu, sigma
