"""Classifier two-sample test: can a classifier tell generated images from real ones?"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    all_rows,
    require_real,
    require_same_width,
)
from benchgen.metrics.pairs.distances import nearest

_CLASSIFIERS = ("logistic", "knn")
_FEWEST = 8
_MAX_ITERATIONS = 500
_UNCLUSTERED = (
    "no standard error for clustered images: images of one cluster fall into both halves, and the "
    "classifier knows them again; compute it on one image of each cluster"
)

_NO_INTERVAL = (
    "the spread of a knn classifier's accuracy is known at equality only (see p_value); "
    "use classifier='logistic' for an interval"
)


class TwoSample:
    """``c2st`` (Lopez-Paz & Oquab 2017, arXiv:1610.06545): held-out accuracy, ½ at equality.

    As many images of one side as of the other are cut in halves. A classifier learns on one half
    and is judged on the other, then they change places: every image is held out once. Identical
    rows, of one side or across the two, stay in one half, so that copies betray nothing. Columns
    are standardised by the half that is learnt on.

    Args:
        classifier: ``"logistic"``: logistic regression with a ridge penalty d·|w|²/2, under which
            scores have a prior variance of one. ``"knn"``: majority of the k nearest, k the odd
            number next to the root of the number of images learnt on; it has a p-value, but no
            interval.
        seed: Seed of the halves, and of the choice of images where one side has more.

    Raises:
        MetricError: If the classifier is unknown.
    """

    def __init__(self, classifier: str = "logistic", seed: int = 0) -> None:
        if classifier not in _CLASSIFIERS:
            known = ", ".join(map(repr, _CLASSIFIERS))
            raise MetricError(f"c2st knows no classifier {classifier!r}; use one of {known}")
        self._classifier = classifier
        self._seed = seed

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Classifier and seed."""
        return {"classifier": self._classifier, "seed": self._seed}

    def prepare(self, real: FeatureSet | None) -> FeatureSet:
        """The reference as it is: everything is learnt together with the generated images.

        Raises:
            MetricError: If there is no reference, or it is too small.
        """
        features = require_real(real, "c2st")
        _require_enough(features, "real")
        return features

    def compute(self, prepared: FeatureSet, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``c2st``.

        Raises:
            MetricError: If ``fake`` has other columns, is too small, or a row is bad; or if so
                many images are identical that a half would hold none of a side.
        """
        require_same_width(fake, prepared)
        _require_enough(fake, "fake")
        random = np.random.RandomState(self._seed)
        # Even, so that each half has as many of one side as of the other.
        count = min(fake.n, prepared.n) // 2 * 2
        chosen_fake, chosen_real = (_choose(side.n, count, random) for side in (fake, prepared))
        rows = torch.cat(
            [
                all_rows(fake, "fake")[chosen_fake].double(),
                all_rows(prepared, "real")[chosen_real].double(),
            ]
        )
        is_fake = torch.arange(2 * count) < count
        twins = _twins(rows)
        first = _halves(twins, is_fake, random)
        one, other = (self._learn(rows, is_fake, twins, learnt_on) for learnt_on in (first, ~first))
        held_out = torch.where(first, other.scores, one.scores)
        right = torch.where(is_fake, held_out > 0, held_out < 0).double()
        right[held_out == 0] = 0.5
        accuracy = float(right.mean())
        agreement = _agreement(one.scores, other.scores, is_fake)
        details = {
            "p_value": _p_value(accuracy, 2 * count, _coupling_at_equality(one, other)),
            "effect": 2 * accuracy - 1,
            "images_per_side": float(count),
            "agreement": agreement,
        }
        if self._classifier == "knn":
            return {"c2st": Score(accuracy, details=details, reason=_NO_INTERVAL)}
        score = Score(
            accuracy,
            _influence(right[:count], chosen_fake, fake.n),
            _influence(right[count:], chosen_real, prepared.n),
            _variance_of_learning(accuracy, _coupling(agreement), 2 * count),
            details,
            bounds=(0.0, 1.0),
            unclustered=_UNCLUSTERED,
        )
        return {"c2st": score}

    def _learn(self, rows: Tensor, is_fake: Tensor, twins: Tensor, learnt_on: Tensor) -> _Learnt:
        standard = _standardised(rows, learnt_on)
        if self._classifier == "knn":
            return _vote(standard, is_fake, twins, learnt_on)
        return _logistic(standard, is_fake, learnt_on)


@dataclass(frozen=True)
class _Learnt:
    """A classifier.

    Attributes:
        scores: How much rather generated than real each row is, positive for generated,
            float64 ``[N]``.
        asked: Pairs of a held-out row and one learnt on that has a vote in its score, int64
            ``[p, 2]``, identical rows as one; None where there is no voting.
    """

    scores: Tensor
    asked: Tensor | None = None


def _require_enough(features: FeatureSet, name: str) -> None:
    if features.n < _FEWEST:
        raise MetricError(
            f"c2st: {name} holds {features.n} image(s); give at least {_FEWEST} on each side, "
            "since half of them are learnt on"
        )


def _choose(n: int, count: int, random: np.random.RandomState) -> Tensor:
    """Indices of ``count`` of ``n`` images, in order."""
    if n == count:
        return torch.arange(n)
    return torch.from_numpy(np.sort(random.choice(n, count, replace=False)))


def _twins(rows: Tensor) -> Tensor:
    """A number for each row ``[N]``, from 0; rows of equal content have the same."""
    known: dict[bytes, int] = {}
    numbers = []
    for row in rows.cpu().numpy():
        # Adding zero makes the two zeros one.
        digest = hashlib.blake2b((row + 0.0).tobytes(), digest_size=16).digest()
        numbers.append(known.setdefault(digest, len(known)))
    return torch.tensor(numbers)


def _halves(twins: Tensor, is_fake: Tensor, random: np.random.RandomState) -> Tensor:
    """Which rows are in the first half, bool ``[N]``: as many of each side in each, as nearly as
    identical rows allow that stay together."""
    fakes = torch.bincount(twins, is_fake.double()).numpy()
    sizes = torch.bincount(twins).numpy()
    order = random.permutation(len(sizes))
    # Large groups first; the single rows at the end then even out what those left uneven.
    order = order[np.argsort(-sizes[order], kind="stable")]
    into_first = np.zeros(len(sizes), dtype=bool)
    lead = np.zeros(2)
    for group in order:
        counts = np.array([fakes[group], sizes[group] - fakes[group]])
        tilt = float(lead @ counts)
        into_first[group] = tilt < 0 or (tilt == 0 and bool(random.randint(2)))
        lead += counts if into_first[group] else -counts
    first = torch.from_numpy(into_first)[twins]
    for half in (first, ~first):
        held = int((half & is_fake).sum()), int((half & ~is_fake).sum())
        different = len(torch.unique(twins[half]))
        if min(*held, different) < 2:
            raise MetricError(
                f"c2st: identical rows stay together, and only {len(sizes)} of {len(twins)} rows "
                f"differ, so a half would hold {held[0]} generated and {held[1]} real images, "
                f"{different} of them different, where 2 are needed; remove duplicates, or check "
                "the features"
            )
    return first


def _standardised(rows: Tensor, learnt_on: Tensor) -> Tensor:
    """Columns less their mean over their standard deviation; constant columns become 0.

    Raises:
        MetricError: If that overflows.
    """
    known = rows[learnt_on.to(rows.device)]
    # Scaled first, so that squares neither overflow nor vanish.
    scale = known.abs().amax(dim=0)
    scale = torch.where(scale > 0, scale, 1.0)
    known = known / scale
    mean, spread = known.mean(dim=0), known.std(dim=0)
    varies = spread > 1e-12
    standard = torch.where(varies, (rows / scale - mean) / torch.where(varies, spread, 1.0), 0.0)
    if not bool(torch.isfinite(standard).all()):
        raise MetricError("c2st: the features overflow float64 once standardised; rescale them")
    return standard


def _logistic(rows: Tensor, is_fake: Tensor, learnt_on: Tensor) -> _Learnt:
    from sklearn.linear_model import LogisticRegression

    features, labels = rows.cpu().numpy(), is_fake.numpy()
    known = learnt_on.numpy()
    model = LogisticRegression(
        C=1 / features.shape[1], class_weight="balanced", max_iter=_MAX_ITERATIONS
    )
    model.fit(features[known], labels[known])
    return _Learnt(torch.from_numpy(model.decision_function(features)))


def _vote(rows: Tensor, is_fake: Tensor, twins: Tensor, learnt_on: Tensor) -> _Learnt:
    """Share of generated images among the k nearest different rows that were learnt on, itself
    excluded, less the share that they have of all; identical rows have one vote together."""
    sizes = torch.bincount(twins)
    shares = torch.bincount(twins, is_fake.double()) / sizes
    heads = torch.empty(len(sizes), dtype=torch.int64)
    heads[twins] = torch.arange(len(twins))
    different, known = rows[heads.to(rows.device)], learnt_on[heads]
    voters = known.nonzero().flatten()
    others = (~known).nonzero().flatten()
    k = 2 * (math.isqrt(len(voters)) // 2) + 1
    ballot = different[voters.to(rows.device)]
    _, own = nearest(ballot, ballot, k, exclude_self=True)
    _, found = nearest(different[others.to(rows.device)], ballot, k)
    own, found = voters[own.cpu()], voters[found.cpu()]
    scores = torch.empty(len(heads), dtype=torch.float64)
    scores[voters], scores[others] = shares[own].mean(dim=1), shares[found].mean(dim=1)
    asked = torch.stack([others.repeat_interleave(k), found.flatten()], dim=1)
    return _Learnt((scores - shares[voters].mean())[twins], asked)


def _agreement(one: Tensor, other: Tensor, is_fake: Tensor) -> float:
    """Correlation within the sides of the scores of two classifiers that share no image, ≥ 0."""
    a, b = one.clone(), other.clone()
    for side in (is_fake, ~is_fake):
        a[side] -= a[side].mean()
        b[side] -= b[side].mean()
    norm = float(a.norm() * b.norm())
    return max(0.0, min(1.0, float(a @ b) / norm)) if norm > 0 else 0.0


def _coupling(agreement: float) -> float:
    """How much a linear classifier's halves gain from each other, in units of φ(z)²/N.

    Image x' of one half turns the classifier that judges x of the other, and x the one that
    judges x'. Where scores have a variance of V from what was learnt on, and density f at 0, these
    covariances sum to f² V/N = φ(z)² (1 - ρ)/N, with z the normal quantile of the accuracy and ρ
    the agreement: 1 - ρ is V's share in the variance of the scores. While the classifier is still
    finding its direction, an image that lies far along it helps the other half's accuracy too,
    2ρ(1 - ρ), and the accuracy of what was learnt differs from sample to sample, ρ(1 - ρ)² (both
    for a discriminant between normal laws).
    """
    return (1 - agreement) * (1 + 3 * agreement - agreement**2)


def _coupling_at_equality(one: _Learnt, other: _Learnt) -> float:
    """The same where there is nothing to agree on; votes couple only rows that ask each other."""
    if one.asked is None or other.asked is None:
        return 1.0
    return _mutual_share(one.asked, other.asked)


def _mutual_share(one: Tensor, other: Tensor) -> float:
    """Share of the pairs ``[p, 2]`` in which each of the two rows is the other's neighbour."""
    rows = int(max(one.max(), other.max())) + 1
    forth, back = one[:, 0] * rows + one[:, 1], other[:, 1] * rows + other[:, 0]
    return float(torch.isin(forth, back).double().mean())


def _variance_of_learning(accuracy: float, coupling: float, images: int) -> float:
    """What the halves' learning from each other adds to the variance of the accuracy.

    At equality it is up to 0.64 of the binomial variance, whatever the number of folds.
    """
    at_boundary = float(stats.norm.pdf(stats.norm.ppf(max(accuracy, 1 - accuracy))))
    return at_boundary**2 * coupling / images


def _p_value(accuracy: float, images: int, coupling: float) -> float:
    """Chance of at least this accuracy at equality, by the normal law with the variance above."""
    spread = math.sqrt(0.25 / images + _variance_of_learning(0.5, coupling, images))
    return float(stats.norm.sf((accuracy - 0.5) / spread))


def _influence(right: Tensor, chosen: Tensor, n: int) -> Tensor:
    """Influence ``[n]`` of one side; images that were not chosen have none."""
    influence = torch.zeros(n, dtype=torch.float64)
    influence[chosen] = (right - right.mean()) / 2 * (n / len(right))
    return influence
