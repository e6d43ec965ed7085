"""Kernel distance: squared maximum mean discrepancy under a cubic kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, Score, require_convention, require_real
from benchgen.metrics.pairs.mmd import LARGEST, Reference, Sample, discrepancy, require_largest
from benchgen.metrics.pairs.subsets import CONVENTIONS, Subsets
from benchgen.metrics.pairs.sums import PairKernel, Points, between, within

_USUAL = 8


class Kernel:
    """``kid`` (Bińkowski et al. 2018, arXiv:1801.01401): unbiased MMD², k(x, y) = (x·y/d + 1)³.

    Tiles are float32, summed in float64, or float64 throughout where pairs are few; nothing
    n x n is held.

    Args:
        subsets: None for the exact estimate over all pairs; otherwise the mean over this many
            random subsets without replacement. A convention's default is 100.
        subset_size: Images in each subset.
        seed: Seed of the draws of subsets.
        largest: With more images than this on a side, both are split at random into blocks of
            at most so many, and pairs are taken within blocks.
        convention: Subsets as a tool draws them. ``"torch-fidelity"``; ``"clean-fid"``, whose
            subsets shrink with the sample, with ``np.random.seed(seed)``; ``"torchmetrics"``, with
            ``torch.manual_seed(seed)``.

    Raises:
        MetricError: If a parameter is out of range or the convention is unknown.
    """

    def __init__(
        self,
        subsets: int | None = None,
        subset_size: int = 1000,
        seed: int = 2020,
        largest: int = LARGEST,
        convention: str | None = None,
    ) -> None:
        require_convention(convention, CONVENTIONS, "kid")
        require_largest("kid", largest)
        count = 100 if subsets is None and convention is not None else subsets
        drawn = Subsets.following(convention, count or 2, subset_size, seed)
        self._subsets = None if count is None else drawn
        self._largest = largest

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """How many subsets, of which size and how drawn; or the largest number of images."""
        drawn = self._subsets
        if drawn is None:
            return {"subsets": None, "largest": self._largest}
        return {
            "subsets": drawn.count,
            "subset_size": drawn.size,
            "seed": drawn.seed,
            "draws": drawn.generator,
            "shrink": drawn.shrink,
        }

    def prepare(self, real: FeatureSet | None) -> Reference:
        """Kernel sums within the reference (feature rows ``[m, d]``).

        Raises:
            MetricError: If there is no reference, it is too small, or a row is bad.
        """
        features = require_real(real, "kid")
        if self._subsets is not None:
            self._subsets.require_enough(features.n, "real")
        return Reference.of(features, Cubic(), "kid", self._largest)

    def compute(self, prepared: Reference, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``kid``.

        Raises:
            MetricError: If ``fake`` has other columns, is too small, or a row is bad.
        """
        if self._subsets is not None:
            self._subsets.require_enough(fake.n, "fake")
        x = prepared.other_side(fake)
        found = discrepancy(prepared, x)
        value, extra = found.value, 0.0
        details, notes = found.details, found.notes
        if self._subsets is not None:
            draws = _subset_values(x, prepared.sample, self._subsets)
            value = float(draws.mean())
            extra = float(draws.var(ddof=1)) / self._subsets.count
            details, notes = {"subset_std": float(draws.std())}, ()
        if value < 0:
            notes += ("a negative value is correct: the estimate is unbiased, also around zero",)
        score = Score(
            value,
            found.fake_influence,
            found.real_influence,
            extra,
            details,
            notes,
            law=found.law,
        )
        return {"kid": score}


class Cubic:
    """k(x, y) = (x·y/d + 1)³, less one: 3t + 3t² + t³ with t = x·y/d."""

    single = True

    def scaled(self, rows: Tensor, name: str) -> tuple[Tensor, float]:
        """Divide rows far from the usual size by a power of two, which loses nothing.

        Raises:
            MetricError: If the kernel or its square would overflow or vanish in float64.
        """
        peak = float(rows.abs().max())
        if peak == 0:
            return rows, 1.0
        # Squares of float32 neither overflow nor vanish in between.
        unit = 1.0 if 1e-12 < peak < 1e12 else peak
        longest = float(torch.linalg.vector_norm(rows / unit if unit != 1 else rows, dim=1).max())
        exponent = math.ceil(math.log2(unit) + math.log2(longest / rows.shape[1] ** 0.5))
        if abs(exponent) <= _USUAL:
            return rows, 1.0
        if not -100 <= exponent <= 40:
            raise MetricError(
                f"kid: the largest |x|²/d of {name} is about 4^{exponent}, so that kernel values "
                f"{'overflow' if exponent > 0 else 'vanish'}; rescale the features (from 4^-100 to "
                "4^40 is possible, near 1 is usual)"
            )
        half = exponent // 2
        return rows * 2.0**-half * 2.0 ** (half - exponent), 2.0**exponent

    def apply(self, products: Tensor, factor: float, d: int) -> tuple[Tensor, float]:
        """In units of the largest possible term, so that float32 neither overflows nor vanishes."""
        unit = max(factor, factor**3)
        first, second, third = (
            c * (factor / d) ** power / unit for c, power in ((3, 1), (3, 2), (1, 3))
        )
        cubic = torch.add(products.new_tensor(second), products, alpha=third)
        return torch.addcmul(products.new_tensor(first), cubic, products).mul_(products), unit


def _subset_values(x: Sample, y: Sample, subsets: Subsets) -> np.ndarray:
    draws = subsets.draws(len(x), len(y))
    return np.array([_plain(x.subset(i), y.subset(j), x.kernel) for i, j in draws])


def _plain(x: Points, y: Points, kernel: PairKernel) -> float:
    means = within(x, kernel).mean + within(y, kernel).mean
    return means - 2 * float(between(x, y, kernel)[0].mean())
