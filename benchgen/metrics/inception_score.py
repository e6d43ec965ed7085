"""Inception score: how sure a classifier is of each image, and how varied its answers are."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, Score, all_rows, require_convention

_BLOCK = 4096


class InceptionScore:
    """``is`` (Salimans et al. 2016, arXiv:1606.03498): exp(E KL(p(y|x) || p(y))), on logits.

    Args:
        splits: The score is the mean over this many contiguous parts; None means 1, or 10 under
            the convention. More splits lower the value, because each has fewer images.
        convention: ``"torch-fidelity"`` shuffles with ``RandomState(2020)`` first, and cuts at
            ``i * n // splits``.

    Raises:
        MetricError: If ``splits`` is below 1 or the convention is unknown.
    """

    def __init__(self, splits: int | None = None, convention: str | None = None) -> None:
        require_convention(convention, ("torch-fidelity",), "is")
        default = 10 if convention == "torch-fidelity" else 1
        self._splits = default if splits is None else splits
        self._shuffles = convention == "torch-fidelity"
        if self._splits < 1:
            raise MetricError(f"is: splits is {self._splits}; use 1 or more")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """How many splits, and whether of shuffled images; one split needs no shuffling."""
        return {"splits": self._splits, "shuffled": self._shuffles and self._splits > 1}

    def prepare(self, real: FeatureSet | None) -> None:
        """The reference does not enter."""

    def compute(self, prepared: None, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's logits ``[n, classes]``; the key is ``is``.

        The influence of image i is IS·(KL_i - mean KL): a change of the marginal p(y) moves the
        mean divergence by nothing to first order, because the marginal minimises it.

        Raises:
            MetricError: If there are fewer images than splits, or a row holds a NaN.
        """
        if fake.n < self._splits:
            raise MetricError(
                f"is: {fake.n} images cannot make {self._splits} splits; use at most {fake.n}"
            )
        logits = all_rows(fake, "fake_logits")
        n = len(logits)
        order = np.random.RandomState(2020).permutation(n) if self._shuffles else np.arange(n)
        cuts = [i * n // self._splits for i in range(self._splits + 1)]
        influence = torch.zeros(n, dtype=torch.float64)
        scores = []
        for start, stop in pairwise(cuts):
            rows = torch.from_numpy(order[start:stop])
            divergence = _divergences(logits[rows]).cpu()
            score = float(divergence.mean().exp())
            weight = n / (self._splits * len(rows))
            influence[rows] = weight * score * (divergence - divergence.mean())
            scores.append(score)
        details = {"split_std": float(np.std(scores))} if self._splits > 1 else {}
        return {"is": Score(float(np.mean(scores)), influence, details=details)}


def _divergences(logits: Tensor) -> Tensor:
    """KL(p(y|x_i) || p(y)) in nats, float64 ``[n]``, with p(y) the mean over these rows."""
    blocks = [logits[i : i + _BLOCK].double() for i in range(0, len(logits), _BLOCK)]
    sums = [block.softmax(dim=1).sum(dim=0) for block in blocks]
    marginal = torch.stack(sums).sum(dim=0) / len(logits)
    # A class to which no image gives any probability would put log 0 into a product with 0.
    log_marginal = marginal.clamp_min(torch.finfo(torch.float64).tiny).log()
    parts = []
    for block in blocks:
        logs = block.log_softmax(dim=1)
        parts.append((logs.exp() * (logs - log_marginal)).sum(dim=1))
    return torch.cat(parts)
