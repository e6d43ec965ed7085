"""Inception score: how sure a classifier is of each image, and how varied its answers are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    beyond_first_order,
    checked_blocks,
    require_convention,
)

_BLOCK = 4096
_TORCHMETRICS_SEED = 0
_HELD = 2**25
# Below this share of the first order, the second cannot move the standard error by one percent.
_NEGLIGIBLE = 0.02


class InceptionScore:
    """``is`` (Salimans et al. 2016, arXiv:1606.03498): exp(E KL(p(y|x) || p(y))), on logits.

    Args:
        splits: The score is the mean over this many parts; None means 1, or 10 under a
            convention. More splits lower the value, because each has fewer images.
        convention: Without one, parts are contiguous, cut at ``i * n // splits``.
            ``"torch-fidelity"`` shuffles with ``RandomState(2020)`` first. ``"dgm-eval"`` does
            too, and then drops the last ``n % splits`` images. ``"torchmetrics"`` shuffles with
            ``torch.randperm``, here as after ``torch.manual_seed(0)``, and cuts as
            ``torch.chunk`` does: ``ceil(n / splits)`` images each, the last part fewer.

    Raises:
        MetricError: If ``splits`` is below 1 or the convention is unknown.
    """

    def __init__(self, splits: int | None = None, convention: str | None = None) -> None:
        require_convention(convention, ("torch-fidelity", "torchmetrics", "dgm-eval"), "is")
        self._splits = (1 if convention is None else 10) if splits is None else splits
        self._convention = convention
        if self._splits < 1:
            raise MetricError(f"is: splits is {self._splits}; use 1 or more")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """How many splits, and whose way of making them; one split is the same in every way."""
        ways = None if self._splits == 1 else self._convention or "in order"
        return {"splits": self._splits, "splitting": ways}

    def prepare(self) -> None:
        """No reference enters."""

    def compute(self, prepared: None, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's logits ``[n, classes]``; the key is ``is``.

        The influence of an image is what leaving it out changes, exactly: (s - 1) times, in a part
        of s images. To first order this is IS·(KL_i - mean KL), because the marginal p(y)
        minimises the mean divergence; that falls short where classes have few images each.

        Raises:
            MetricError: If there are fewer images than splits, there is one class only, or a row
                holds a NaN.
        """
        if fake.d < 2:
            raise MetricError("is: fake_logits has 1 column; give logits of at least 2 classes")
        if fake.n < self._splits:
            raise MetricError(
                f"is: {fake.n} images cannot make {self._splits} splits; use at most {fake.n}"
            )
        split = self._split(fake.n)
        answers = _answers(fake, split)
        scores = split.means(answers.divergence).exp()
        weights = fake.n / (split.sizes * len(scores))
        effects = (split.means(answers.without)[split.part] - answers.without) * (
            (split.sizes - 1) * weights
        )[split.part]
        influence = torch.where(split.used, effects, 0.0)
        centred = answers.divergence - split.means(answers.divergence)[split.part]
        curvature = split.means(centred.square()) - split.means(answers.spread)
        details = {"bias": float((scores * curvature / (2 * split.sizes)).mean())}
        if len(scores) > 1:
            ddof = 1 if self._convention == "torchmetrics" else 0
            details["split_std"] = float(scores.numpy().std(ddof=ddof))
        extra = _extra_variance(fake, split, answers, centred, scores, influence)
        return {"is": Score(float(scores.mean()), influence, None, extra, details)}

    def _split(self, n: int) -> _Split:
        if self._convention is None:
            order = torch.arange(n)
        elif self._convention == "torchmetrics":
            order = torch.randperm(n, generator=torch.Generator().manual_seed(_TORCHMETRICS_SEED))
        else:
            order = torch.from_numpy(np.random.RandomState(2020).permutation(n))
        if self._convention == "torchmetrics":
            cuts = [*range(0, n, -(-n // self._splits)), n]
        elif self._convention == "dgm-eval":
            cuts = [i * (n // self._splits) for i in range(self._splits + 1)]
        else:
            cuts = [i * n // self._splits for i in range(self._splits + 1)]
        sizes = torch.tensor(cuts).diff()
        part, used = torch.zeros(n, dtype=torch.int64), torch.zeros(n, dtype=torch.bool)
        part[order[: cuts[-1]]] = torch.arange(len(sizes)).repeat_interleave(sizes)
        used[order[: cuts[-1]]] = True
        return _Split(part, used, sizes.double())


@dataclass(frozen=True)
class _Split:
    """Which part an image is in, int64 ``[n]``, whether it is in any, and the parts' sizes."""

    part: Tensor
    used: Tensor
    sizes: Tensor

    def means(self, values: Tensor) -> Tensor:
        """Mean of each part, ``[parts, ...]``, of values ``[n, ...]``."""
        return self.sums(values, slice(None)) / self.sizes.reshape(-1, *[1] * (values.ndim - 1))

    def sums(self, values: Tensor, rows: slice) -> Tensor:
        """Sums over those of the images ``rows`` that are in a part, ``[parts, ...]``."""
        used = self.used[rows].to(values.device)
        totals = values.new_zeros(len(self.sizes), *values.shape[1:])
        return totals.index_add_(0, self.part[rows].to(values.device)[used], values[used])


@dataclass(frozen=True)
class _Answers:
    """What the classifier says.

    Attributes:
        marginal: Mean probabilities of each part, float64 ``[parts, classes]``, positive.
        divergence: KL(p(y|x_i) || p(y)) within the image's part, nats, float64 ``[n]`` (CPU).
        without: Score of the part without this image, float64 ``[n]`` (CPU).
        spread: Chi-square divergence of the same two, float64 ``[n]`` (CPU).
    """

    marginal: Tensor
    divergence: Tensor
    without: Tensor
    spread: Tensor


def _answers(logits: FeatureSet, split: _Split) -> _Answers:
    totals, certainties = torch.zeros(()), []
    for rows, shares in _probabilities(logits):
        totals = totals.to(shares) + split.sums(shares, rows)
        certainties.append(-torch.special.entr(shares).sum(dim=1).cpu())
    certainty = torch.cat(certainties)
    # A class to which no image gives any probability would put log 0 into a product with 0.
    tiny = torch.finfo(torch.float64).tiny
    sizes = split.sizes.to(totals.device)
    marginal = (totals / sizes[:, None]).clamp_min(tiny)
    logs, cross, spread, variety = marginal.log(), [], [], []
    for rows, shares in _probabilities(logits):
        part = split.part[rows].to(shares.device)
        cross.append((shares * logs[part]).sum(dim=1).cpu())
        spread.append((shares.square() / marginal[part]).sum(dim=1).cpu() - 1)
        others = (sizes[part] - 1).clamp_min(1)[:, None]
        # Rounding must not make a share negative.
        left = ((totals[part] - shares) / others).clamp_min_(0)
        variety.append(torch.special.entr(left).sum(dim=1).cpu())
    # Nor may it make a divergence negative.
    divergence = (certainty - torch.cat(cross)).clamp_min(0)
    others = (split.sizes - 1).clamp_min(1)[split.part]
    sums = (split.means(certainty) * split.sizes)[split.part]
    without = (torch.cat(variety) + (sums - certainty) / others).exp()
    return _Answers(marginal, divergence, without, torch.cat(spread).clamp_min(0))


def _probabilities(logits: FeatureSet) -> Iterator[tuple[slice, Tensor]]:
    start = 0
    for stored in checked_blocks(logits, "fake_logits"):
        for block in torch.split(stored, _BLOCK):
            yield slice(start, start + len(block)), block.double().softmax(dim=1)
            start += len(block)


def _extra_variance(
    logits: FeatureSet,
    split: _Split,
    answers: _Answers,
    centred: Tensor,
    scores: Tensor,
    influence: Tensor,
) -> float:
    """Second order: of the entropy of the marginal, and of the exponential.

    A part of s images adds E(h + cc')²/(2s²) to the relative variance of its score, with
    h(i, j) = -Σ_k (p_ik - p_k)(p_jk - p_k)/p_k over independent images and c the centred
    divergences. It matters where divergences hardly vary (sure answers, evenly spread), and for
    few images of many classes; the matrix it needs is made only then.
    """
    first_order = float(influence.var()) / logits.n if logits.n > 1 else 0.0
    weights = (scores / (len(scores) * split.sizes)).square() / 2
    most = 2 * (split.means(answers.spread) + split.means(centred.square()).square())
    if float(weights @ most) < _NEGLIGIBLE * first_order:
        return 0.0
    squares = torch.zeros(len(scores), dtype=torch.float64)
    height = max(1, _HELD // answers.marginal.shape[1] ** 2)
    for first in range(0, len(scores), height):
        some = range(first, min(first + height, len(scores)))
        squares[list(some)] = _mean_squares(logits, split, answers, centred, some)
    return beyond_first_order(first_order, float(weights @ squares))


def _mean_squares(
    logits: FeatureSet, split: _Split, answers: _Answers, centred: Tensor, parts: range
) -> Tensor:
    """E(h + cc')² of some parts."""
    parts_, classes = len(parts), answers.marginal.shape[1]
    spread = answers.marginal.new_zeros(parts_, classes, classes)
    covariance = answers.marginal.new_zeros(parts_, classes)
    for rows, shares in _probabilities(logits):
        for place, part in enumerate(parts):
            keep = (split.used[rows] & (split.part[rows] == part)).to(shares.device)
            marginal = answers.marginal[part]
            scaled = (shares[keep] - marginal) / marginal.sqrt()
            spread[place].addmm_(scaled.T, scaled)
            covariance[place] += centred[rows].to(shares.device)[keep] @ scaled
    sizes = split.sizes[parts.start : parts.stop]
    variance = split.means(centred.square())[parts.start : parts.stop]
    squares = spread.square().sum(dim=(1, 2)).cpu() - 2 * covariance.square().sum(dim=1).cpu()
    return squares / sizes.square() + variance.square()
