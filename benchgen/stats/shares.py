"""How often images have an attribute: as a labeler reads it, or as people see a few of them.

All shares, those of ``calibrated`` too, know the influence of every image, and of every image
that calibrates the labeler, so that clusters, ratios and differences follow from those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import Score
from benchgen.stats.estimates import (
    Estimate,
    cluster_indices,
    estimate,
    quantile_of,
    variance_of_mean,
)

UNKNOWN = -1
"""The label of an image that its labeler could not read."""


@dataclass(frozen=True)
class Shares:
    """Shares of K kinds of images, with what each image contributed.

    Attributes:
        names: The kinds. "unknown" is one of its own where a labeler left images unread.
        values: float64 ``[K]``; they sum to 1. Corrected ones may lie outside [0, 1].
        influence: Of each image, float64 ``[n, K]``, centred.
        calibration: Of each image that calibrates the labeler, float64 ``[m, K]``; None without.
        variance: Of the k-th share if it were another, ``(k, share) -> variance``, of independent
            images; None where that is a proportion's.
        clusters: Which images are not independent, one label each, or None.
        labelled: Of ``influence``, the images with a truth; None where none has one.
    """

    names: tuple[str, ...]
    values: np.ndarray
    influence: Tensor
    calibration: Tensor | None = None
    variance: Callable[[int, float], float] | None = None
    clusters: Sequence[Any] | None = None
    labelled: Tensor | None = None

    @property
    def n(self) -> int:
        """Images."""
        return len(self.influence)

    @property
    def exact(self) -> bool:
        """Whether these are plain counts of independent images."""
        return self.clusters is None and self.calibration is None and self.labelled is None

    @cached_property
    def covariance(self) -> tuple[np.ndarray, float | None]:
        """Covariance ``[K, K]`` of the shares, and its degrees of freedom (None: many).

        A kind that is never seen has no influence; its variance is that of a share of one in two
        more images than there are.
        """
        labels = None
        if self.clusters is not None:
            labels = cluster_indices(self.clusters, self.n, "clusters")
        sides = [(self.influence, labels)]
        if self.calibration is not None:
            sides.append((self.calibration, None))
        kinds = len(self.names)
        found = np.zeros((kinds, kinds))
        for i, j in combinations_with_replacement(range(kinds), 2):
            for side, by in sides:
                sums, differences = side[:, i] + side[:, j], side[:, i] - side[:, j]
                more = variance_of_mean(sums, by).variance
                less = variance_of_mean(differences, by).variance
                found[i, j] += (more - less) / 4
            found[j, i] = found[i, j]
        units = self.n if labels is None else int(labels.max()) + 1
        least = (units + 1) / (units + 2) ** 2 / units
        np.fill_diagonal(found, np.maximum(found.diagonal(), least))
        degrees = None if labels is None else variance_of_mean(self.influence[:, 0], labels).degrees
        return found, degrees

    def estimates(self, level: float = 0.95) -> dict[str, Estimate]:
        """The share of each kind.

        The interval holds what a test would not reject, with the variance that each share would
        have: Wilson's for as many trials as the error is worth, or by ``variance``.
        """
        found = {}
        for k, name in enumerate(self.names):
            value = float(self.values[k])
            inside = min(1.0, max(0.0, value))
            told = self.estimate(inside, self.influence[:, k], self._calibrating(k), level)
            if self.variance is not None and told.interval is not None:
                told = self._by_variance(k, told)
            found[name] = replace(told, value=value)
        return found

    def estimate(
        self, value: float, influence: Tensor, calibration: Tensor | None, level: float
    ) -> Estimate:
        """A share made of these, with its influences ``[n]`` and ``[m]``, as an estimate."""
        m = None if calibration is None else len(calibration)
        score = Score(value, influence, calibration, bounds=(0.0, 1.0))
        return estimate(score, n=self.n, m=m, level=level, clusters=self.clusters)

    def _calibrating(self, k: int) -> Tensor | None:
        return None if self.calibration is None else self.calibration[:, k]

    def _by_variance(self, k: int, told: Estimate) -> Estimate:
        assert self.variance is not None
        assert told.value is not None
        share, variance = told.value, self.variance
        clustered = variance_of_mean(told.influence.fake, told.clusters)
        alone = variance_of_mean(told.influence.fake).variance
        inflation = clustered.variance / alone if alone > 0 else 1.0
        degrees = None if told.clusters is None else clustered.degrees
        quantile = quantile_of(told.level, degrees)

        def beyond(other: float) -> float:
            return (share - other) ** 2 - quantile**2 * inflation * variance(k, other)

        def end(bound: float) -> float:
            if share == bound or beyond(bound) <= 0:
                return bound
            return float(optimize.brentq(beyond, share, bound))

        stderr = (inflation * variance(k, share)) ** 0.5
        return replace(told, stderr=stderr, interval=(end(0.0), end(1.0)), degrees=degrees)


def read_shares(
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    *,
    clusters: Sequence[Any] | None = None,
) -> Shares:
    """Shares as a labeler reads them; images that it could not read are a kind of their own.

    Args:
        labels: Of each image the position of its kind in ``names``, or ``UNKNOWN``; int ``[n]``.
        names: The kinds.
        clusters: One label an image (its prompt, say): equal ones are not independent.

    Raises:
        MetricError: If there is no image, or a label is no position in ``names``.
    """
    read = one_hot(labels, names)
    names = tuple(names)
    if read[:, -1].any():
        names = (*names, "unknown")
    else:
        read = read[:, :-1]
    values = read.mean(axis=0)
    return Shares(names, values, torch.from_numpy(read - values), clusters=clusters)


def powered_shares(
    labels: Sequence[int] | np.ndarray,
    truth: Sequence[int] | np.ndarray,
    names: Sequence[str],
    *,
    clusters: Sequence[Any] | None = None,
) -> Shares:
    """Shares of the true kinds, from many readings and the truth of a random few of the images.

    The share that is read in all images, plus what the readings miss on average in those whose
    truth is known (prediction-powered inference, Angelopoulos et al. 2023). It needs no model of
    the labeler's errors, only that the few were drawn at random.

    Args:
        labels: As for ``read_shares``.
        truth: Of each image the position of its true kind, or ``UNKNOWN`` where no person has
            looked; int ``[n]``.
        names: The kinds.
        clusters: As for ``read_shares``.

    Raises:
        MetricError: If lengths differ, or fewer than two images have a truth.
    """
    read, true = one_hot(labels, names), one_hot(truth, names)
    if len(read) != len(true):
        raise MetricError(f"{len(true)} truths for {len(read)} images; give UNKNOWN where none is")
    known = true[:, -1] == 0
    few, n, kinds = int(known.sum()), len(read), len(names)
    if few < 2:
        raise MetricError(f"{few} image(s) have a true kind; label at least 2, better 200")
    # An image that was not read counts as a bit of every kind: any guess is right on average.
    guess = read[:, :kinds] + read[:, kinds:] / kinds
    missed = np.where(known[:, None], true[:, :kinds] - guess, 0.0)
    average = missed.sum(axis=0) / few
    centred = np.where(known[:, None], missed - average, 0.0) * (n / few) * (few / (few - 1)) ** 0.5
    influence = torch.from_numpy(guess - guess.mean(axis=0) + centred)
    values = guess.mean(axis=0) + average
    return Shares(
        tuple(names), values, influence, clusters=clusters, labelled=torch.from_numpy(known)
    )


def one_hot(labels: Sequence[int] | np.ndarray, names: Sequence[str]) -> np.ndarray:
    """float64 ``[n, K + 1]``; the last column is unknown."""
    found = np.asarray(labels)
    kinds = len(names)
    if kinds < 2 or len(set(names)) < kinds:
        raise MetricError(f"the kinds are {list(names)}; expected two or more different names")
    if found.ndim != 1 or not len(found) or not np.issubdtype(found.dtype, np.integer):
        raise MetricError(
            f"labels have shape {found.shape} and type {found.dtype}; give one whole number an "
            "image, of at least one image"
        )
    if found.min() < UNKNOWN or found.max() >= kinds:
        raise MetricError(
            f"labels run from {found.min()} to {found.max()}; expected {UNKNOWN} (unknown) to "
            f"{kinds - 1}"
        )
    rows: np.ndarray = np.eye(kinds + 1)[found]  # -1 is the last column
    return rows
