"""CMMD: maximum mean discrepancy of normalised features under a Gaussian kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, Score, require_real
from benchgen.metrics.pairs.mmd import LARGEST, Reference, discrepancy, require_largest
from benchgen.metrics.pairs.sums import few_pairs

_UNIT = 1000.0


class Cmmd:
    """``cmmd`` (Jayasumana et al. 2024, arXiv:2401.09603): 1000 MMD², k = exp(-|x-y|²/(2 sigma²)).

    Rows are divided by their lengths first. The V-statistic: each image is also paired with
    itself, so that the value is never negative, and depends on the numbers of images.

    Args:
        sigma: Width of the kernel; distances are between 0 and 2.
        largest: With more images than this on a side, both are split at random into blocks of
            at most so many, and pairs are taken within blocks.
        convention: None; the published code is the definition.

    Raises:
        MetricError: If a parameter is out of range or a convention is given.
    """

    def __init__(
        self, sigma: float = 10.0, largest: int = LARGEST, convention: str | None = None
    ) -> None:
        if convention is not None:
            raise MetricError(
                f"cmmd knows no convention {convention!r}; the published code is the definition, "
                "so use None"
            )
        if not 1e-6 <= sigma <= 1e6:
            raise MetricError(f"cmmd: sigma is {sigma}; use a number from 1e-6 to 1e6, such as 10")
        require_largest("cmmd", largest)
        self._sigma = float(sigma)
        self._largest = largest

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The kernel's width, and the largest number of images of which all pairs are taken."""
        return {"sigma": self._sigma, "largest": self._largest}

    def prepare(self, real: FeatureSet | None) -> Reference:
        """Kernel sums within the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it is too small, or a row is bad.
        """
        features = require_real(real, "cmmd")
        return Reference.of(features, Gaussian(self._sigma), "cmmd", self._largest)

    def compute(self, prepared: Reference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``cmmd``.

        Raises:
            MetricError: If ``fake`` has other columns, is too small, or a row is bad.
        """
        found = discrepancy(prepared, prepared.other_side(fake))
        score = Score(
            value=_UNIT * (found.value + found.excess),
            fake_influence=_UNIT * found.fake_influence,
            real_influence=_UNIT * found.real_influence,
            details={"bias": _UNIT * found.excess, **found.details},
            notes=found.notes,
            law=replace(found.law, bias=found.excess).scaled(_UNIT),
        )
        return {"cmmd": score}


class Gaussian:
    """exp(-|x - y|²/(2 sigma²)) of rows of length 1, less one."""

    def __init__(self, sigma: float) -> None:
        self._per_variance = 1 / sigma**2
        self.single = sigma >= 1

    def scaled(self, rows: Tensor, name: str) -> tuple[Tensor, float]:
        """Divide each row by its length.

        Raises:
            MetricError: If a row is zero.
        """
        peaks = rows.abs().amax(dim=1, keepdim=True).double()
        zero = (peaks == 0).nonzero()
        if len(zero):
            raise MetricError(
                f"cmmd: {len(zero)} of {len(rows)} rows of {name} are zero (the first is row "
                f"{int(zero[0, 0])}), and have no direction; cmmd compares directions, so leave "
                "these images out or use another extractor"
            )
        exact = few_pairs(len(rows), *rows.shape) or not self.single
        units = torch.empty_like(rows, dtype=torch.float64 if exact else torch.float32)
        for start in range(0, len(rows), 4096):
            block = rows[start : start + 4096].double() / peaks[start : start + 4096]
            lengths = torch.linalg.vector_norm(block, dim=1, keepdim=True)
            units[start : start + 4096] = block / lengths
        return units, 1.0

    def apply(self, products: Tensor, factor: float, d: int) -> tuple[Tensor, float]:
        """By exp(z) - 1 = 2t/(1 - t), t = tanh(z/2), z = (x·y - 1)/sigma²: nothing cancels."""
        half = products.sub_(1).mul_(self._per_variance / 2).tanh_()
        return half.div_(1 - half), 2.0
