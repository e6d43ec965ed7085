"""Copying of training images: authenticity, and the rate of copies with the pairs themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, Score, require_convention
from benchgen.metrics.pairs.distances import nearest
from benchgen.metrics.training import compared_rows, reference_rows, require_given

_FEWEST_BELOW = 10
"""Test images at or below the threshold from which on the excess has an honest interval."""


class Authenticity:
    """``authpct`` (Alaa et al. 2022, arXiv:2102.08921), in percent.

    Share of generated images whose nearest training image is strictly farther from them than from
    its own nearest training neighbour. A perfect generator does not score 100: see
    ``expected_if_equal`` in the details.

    Args:
        convention: ``"dgm-eval"`` has the same definition, ties included.

    Raises:
        MetricError: If the convention is unknown.
    """

    def __init__(self, convention: str | None = None) -> None:
        require_convention(convention, ("dgm-eval",), "authpct")

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """None: the convention changes nothing."""
        return {}

    def prepare(self, train: FeatureSet | None) -> Training:
        """Find the nearest neighbour of each training image (feature rows ``[m, d]``, m ≥ 3).

        Raises:
            MetricError: If there are no training images, too few, or a row is bad.
        """
        rows = reference_rows(train, "train", "authpct")
        if len(rows) < 3:
            raise MetricError(
                f"authpct: train holds {len(rows)} image(s); give at least 3, since it asks for "
                "the neighbours of neighbours with one image left out"
            )
        squared, index = nearest(rows, rows, 1, exclude_self=True)
        return Training(rows, squared[:, 0], index[:, 0])

    def compute(self, prepared: Training, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``authpct``.

        The training set is what it is: only the generated images have an influence.

        Raises:
            MetricError: If ``fake`` has other columns, or a row is bad.
        """
        rows = compared_rows(fake, "fake", prepared.rows, "authpct")
        squared, index = nearest(rows, prepared.rows, 1)
        authentic = 100 * (squared[:, 0] > prepared.squared[index[:, 0]]).double().cpu()
        # Each training image in turn as if generated, against the others. Leaving it out changes
        # its neighbour's own distance only where the two are each other's nearest, and then it is
        # not authentic either way.
        null = prepared.squared > prepared.squared[prepared.index]
        expected = float(null.double().mean())
        details = {
            "expected_if_equal": 100 * expected,
            # Images that are each other's nearest come in pairs, hence twice the binomial variance.
            "expected_stderr": 100 * math.sqrt(2 * expected * (1 - expected) / len(null)),
        }
        twins = int((prepared.squared == 0).sum())
        notes: tuple[str, ...] = ()
        if twins:
            notes = (
                f"{twins} of {len(prepared.rows)} training images have an exact duplicate among "
                "them; what is near these, but no exact copy, counts as authentic",
            )
        mean = authentic.mean()
        score = Score(
            float(mean), authentic - mean, details=details, notes=notes, bounds=(0.0, 100.0)
        )
        return {"authpct": score}


class CopyRate:
    """``copy-rate``: share of generated images that are copies of training images.

    An image is flagged where it is at most as far from its nearest training image as the closest
    ``quantile`` of the real images that were not trained on. Those are flagged by construction at
    a rate q, and so is what a generator makes itself: where a share c is copied and the rest
    behaves like real images, the rate is c + (1 - c) q. The value solves this for c, so it is 0
    on average for a generator that copies nothing, and may fall below.

    Args:
        quantile: Share of the real images that are flagged by construction.

    Raises:
        MetricError: If ``quantile`` is not between 0 and 1.
    """

    def __init__(self, quantile: float = 0.01) -> None:
        self._quantile = _checked_quantile(quantile)

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """The quantile."""
        return {"quantile": self._quantile}

    def prepare(self, train: FeatureSet | None, test: FeatureSet | None) -> Threshold:
        """Distances of the test images ``[m, d]`` to the training images give the threshold.

        Raises:
            MetricError: If either set is missing, their columns differ, or a row is bad.
        """
        rows = reference_rows(train, "train", "copy-rate")
        held_out = compared_rows(
            require_given(test, "test", "copy-rate"), "test", rows, "copy-rate"
        )
        squared = nearest(held_out, rows, 1)[0][:, 0]
        return Threshold(rows, squared.cpu(), self._quantile)

    def compute(self, prepared: Threshold, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``copy-rate``.

        Raises:
            MetricError: If ``fake`` has other columns, or a row is bad.
        """
        rows = compared_rows(fake, "fake", prepared.train, "copy-rate")
        squared = nearest(rows, prepared.train, 1)[0][:, 0].cpu()
        flagged = (squared <= prepared.limit).double()
        below = (prepared.squared <= prepared.limit).double()
        rate, expected = float(flagged.mean()), prepared.expected
        details = {
            "threshold": math.sqrt(prepared.limit),
            "raw_rate": rate,
            "expected_rate": expected,
            "pairs": float(flagged.sum()),
            "test_copies": float(prepared.test_copies),
        }
        if prepared.below == len(below):
            return {"copy-rate": Score(None, details=details, reason=_saturated(prepared))}
        remaining = 1 - expected
        highest = _clopper_pearson_upper(int(flagged.sum()), len(flagged))
        details["upper_bound"] = (highest - expected) / remaining
        value = (rate - expected) / remaining
        notes = _notes(prepared, value)
        reason = _no_interval(prepared)
        if reason is not None:
            return {"copy-rate": Score(value, details=details, notes=notes, reason=reason)}
        ratio = _density_ratio(squared, prepared)
        score = Score(
            value,
            (flagged - flagged.mean()) / remaining,
            -ratio * (below - below.mean()) / remaining,
            details=details,
            notes=notes,
            bounds=(-expected / remaining, 1.0),
        )
        return {"copy-rate": score}


@dataclass(frozen=True)
class CopiedPairs:
    """Generated images and what they are suspected to copy, closest first.

    Attributes:
        fake: Index of the generated image, int64 ``[p]``.
        train: Index of its nearest training image, int64 ``[p]``.
        distance: Distance between the two in feature units, float64 ``[p]``.
        threshold: Distance up to which a pair is listed.
    """

    fake: Tensor
    train: Tensor
    distance: Tensor
    threshold: float


def copied_pairs(
    train: FeatureSet, test: FeatureSet, fake: FeatureSet, quantile: float = 0.01
) -> CopiedPairs:
    """The pairs that ``copy-rate`` counts, closest first; equally close ones by index.

    Args:
        train: The generator's training images, ``[t, d]``.
        test: Real images that it was not trained on, ``[m, d]``.
        fake: Generated images, ``[n, d]``.
        quantile: Share of the test images that are flagged by construction.

    Raises:
        MetricError: As ``CopyRate`` does.
    """
    prepared = CopyRate(quantile).prepare(train, test)
    rows = compared_rows(fake, "fake", prepared.train, "copy-rate")
    squared, index = (found[:, 0].cpu() for found in nearest(rows, prepared.train, 1))
    flagged = (squared <= prepared.limit).nonzero().flatten()
    ordered = flagged[squared[flagged].argsort(stable=True)]
    return CopiedPairs(ordered, index[ordered], squared[ordered].sqrt(), math.sqrt(prepared.limit))


@dataclass(frozen=True)
class Training:
    """Training images ``[m, d]``, and squared distance and index of their neighbours, ``[m]``."""

    rows: Tensor
    squared: Tensor
    index: Tensor


@dataclass(frozen=True)
class Threshold:
    """Training images ``[t, d]`` and the squared distances ``[m]`` of test images to them."""

    train: Tensor
    squared: Tensor
    quantile: float

    @property
    def wanted(self) -> int:
        """Test images to be flagged: the quantile of their number, rounded, and at least one."""
        return max(1, round(self.quantile * len(self.squared)))

    @property
    def limit(self) -> float:
        """Squared distance up to which an image is flagged."""
        return float(self.squared.kthvalue(self.wanted).values)

    @property
    def below(self) -> int:
        """Test images that are flagged: as many as wanted, and more where some tie."""
        return int((self.squared <= self.limit).sum())

    @property
    def expected(self) -> float:
        """Chance that a further real image is flagged: below / (m + 1), as ranks have it."""
        return self.below / (len(self.squared) + 1)

    @property
    def test_copies(self) -> int:
        """Test images that are exact copies of training images."""
        return int((self.squared == 0).sum())


def _checked_quantile(quantile: float) -> float:
    if not 0 < quantile < 1:
        raise MetricError(f"copy-rate: quantile is {quantile}; use a number between 0 and 1")
    return quantile


def _clopper_pearson_upper(count: int, n: int) -> float:
    """One-sided 95 % upper bound of a share (Clopper & Pearson 1934)."""
    return 1.0 if count == n else float(stats.beta.ppf(0.95, count + 1, n - count))


def _density_ratio(squared: Tensor, prepared: Threshold) -> float:
    """Density of the generated images' distances over that of the test images', at the threshold.

    Moving one test image past the threshold moves the threshold by one rank (Bahadur 1966), and
    past it go that many generated images for each. The ratio comes from the ranks around it, from
    half to twice as many.
    """
    ranked = prepared.squared.sort().values
    low, high = prepared.below // 2, min(2 * prepared.below, len(ranked))
    inner, outer = float(ranked[low - 1]), float(ranked[high - 1])
    tests = int(((ranked > inner) & (ranked <= outer)).sum())
    fakes = int(((squared > inner) & (squared <= outer)).sum())
    return (fakes / len(squared)) / (tests / len(ranked))


def _no_interval(prepared: Threshold) -> str | None:
    below, m = prepared.below, len(prepared.squared)
    if prepared.limit == 0:
        return (
            f"{prepared.test_copies} of {m} test images are exact copies of training images, so "
            "the threshold is 0 and its error unknown; remove them from the test images"
        )
    if prepared.wanted < _FEWEST_BELOW:
        enough = math.ceil(_FEWEST_BELOW / prepared.quantile)
        return (
            f"only {below} of {m} test images set the threshold, too few for an interval; give at "
            f"least {enough} test images, or a larger quantile"
        )
    if below > 1.25 * prepared.wanted:
        return (
            f"{below} test images are at or below the threshold where {prepared.wanted} would be "
            "without ties, so its error is unknown; remove duplicates from the test images"
        )
    return None


def _saturated(prepared: Threshold) -> str:
    m = len(prepared.squared)
    return (
        f"all {m} test images are at or below the threshold, so it tells no image from a copy; "
        "give more test images, that are no copies of training images"
    )


def _notes(prepared: Threshold, value: float) -> tuple[str, ...]:
    notes = []
    if prepared.test_copies:
        notes.append(
            f"{prepared.test_copies} test images are exact copies of training images; they lower "
            "the threshold and so hide copies: remove them from the test images"
        )
    if value < 0:
        notes.append("a negative value is correct: the excess over real images is not clipped")
    return tuple(notes)
