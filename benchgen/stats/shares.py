"""How often images have an attribute: as a labeler reads it, and corrected for its errors.

All three kinds of shares know the influence of every image, and of every image that calibrates
the labeler, so that clusters, ratios and differences between them follow from those.
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
_LEAST_SHARPNESS = 3.0
"""Standard errors by which a labeler must tell its classes apart."""


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
    read = _one_hot(labels, names)
    names = tuple(names)
    if read[:, -1].any():
        names = (*names, "unknown")
    else:
        read = read[:, :-1]
    values = read.mean(axis=0)
    return Shares(names, values, torch.from_numpy(read - values), clusters=clusters)


@dataclass(frozen=True)
class Confusion:
    """What a labeler reads in images whose kind is known.

    Attributes:
        names: The K kinds.
        counts: int64 ``[K, K + 1]``: a row for each true kind, a column for each that was read;
            the last column is "unknown".

    Raises:
        MetricError: If a kind has no image: its errors cannot be known.
    """

    names: tuple[str, ...]
    counts: np.ndarray

    def __post_init__(self) -> None:
        wanted = (len(self.names), len(self.names) + 1)
        if self.counts.shape != wanted or (self.counts < 0).any():
            raise MetricError(
                f"the confusion counts have shape {self.counts.shape}; expected {wanted}: a row "
                "for each true kind, a column for each that is read and one for unknown, none "
                "below 0"
            )
        empty = [name for name, row in zip(self.names, self.counts, strict=True) if not row.sum()]
        if empty:
            raise MetricError(
                f"the calibration has no image that truly is {', '.join(empty)}; label some, or "
                "leave that kind out of the audit"
            )

    @classmethod
    def of(
        cls,
        truth: Sequence[int] | np.ndarray,
        read: Sequence[int] | np.ndarray,
        names: Sequence[str],
    ) -> Confusion:
        """Counts of pairs: positions in ``names``; what was read may be ``UNKNOWN``.

        Raises:
            MetricError: As above, or if a truth is unknown.
        """
        true, seen = _one_hot(truth, names), _one_hot(read, names)
        if len(true) != len(seen):
            raise MetricError(f"{len(true)} truths for {len(seen)} readings; give one for each")
        if true[:, -1].any():
            raise MetricError("a calibrating image has no true kind; leave it out")
        return cls(tuple(names), (true[:, :-1].T @ seen).astype(np.int64))

    @property
    def rates(self) -> np.ndarray:
        """P(read | true), float64 ``[K, K + 1]``."""
        found: np.ndarray = self.counts / self.counts.sum(axis=1, keepdims=True)
        return found


def corrected_shares(
    labels: Sequence[int] | np.ndarray,
    confusion: Confusion,
    *,
    clusters: Sequence[Any] | None = None,
) -> Shares:
    """Shares of the true kinds, from what a labeler with known errors reads.

    The readings' shares are those of the truth mixed by the rates of the labeler's errors, which
    is solved (Rogan & Gladen 1978; Buonaccorsi 2010, chapter 2). The error has both sources: that
    the images are a sample, and that the rates were counted on few. Where rates have a column of
    unknown, the kinds may be unread unequally often; else unread images are taken to be like the
    others.

    Args:
        labels: As for ``read_shares``.
        confusion: The labeler's errors.
        clusters: As for ``read_shares``.

    Raises:
        MetricError: If the labeler hardly tells the kinds apart, or reads no image.
    """
    read = _one_hot(labels, confusion.names)[:, :-1]
    if not read.any():
        raise MetricError("the labeler reads no image at all, so there is nothing to correct")
    _require_sharp(confusion)
    found = _Correction.of(read, confusion)
    truths, readings = (
        np.repeat(places.ravel(), confusion.counts.ravel())
        for places in np.indices(confusion.counts.shape)
    )
    missed = np.eye(read.shape[1] + 1)[readings][:, :-1] - found.rates[truths]
    worth = len(truths) / confusion.counts.sum(axis=1)
    per_image = found.raw[truths] * worth[truths]
    return Shares(
        confusion.names,
        found.values,
        torch.from_numpy((read - read.mean(axis=0)) @ found.effect.T),
        torch.from_numpy(-(missed * per_image[:, None]) @ found.effect.T),
        variance=found.variance,
        clusters=clusters,
    )


@dataclass(frozen=True)
class _Correction:
    """The solution, and how it moves.

    Attributes:
        rates: P(read | true), ``[K, K]``, without what was unread.
        raw: The solved shares ``[K]`` before they are made to sum to 1.
        effect: What a change of the readings' shares does to the solved ones, ``[K, K]``.
        errors: Variance ``[K, K]`` of the k-th share by the t-th row of rates, where all images
            truly are t.
        n: Images.
    """

    rates: np.ndarray
    raw: np.ndarray
    effect: np.ndarray
    errors: np.ndarray
    n: int

    @classmethod
    def of(cls, read: np.ndarray, confusion: Confusion) -> _Correction:
        kinds = len(confusion.names)
        rates = confusion.rates[:, :kinds]
        solved = np.linalg.inv(rates.T)
        raw = solved @ read.mean(axis=0)
        total = raw.sum()
        effect = (np.eye(kinds) - np.outer(raw / total, np.ones(kinds))) @ solved / total
        errors = np.stack([_variances(effect, _rates_spread(row)) for row in confusion.counts])
        return cls(rates, raw, effect, errors, len(read))

    @property
    def values(self) -> np.ndarray:
        found: np.ndarray = self.raw / self.raw.sum()
        return found

    def variance(self, k: int, share: float) -> float:
        """Of the k-th share if it were this and the others kept their proportions."""
        others = np.maximum(self.values, 0.0)
        others[k] = 0.0
        if not others.any():
            others = 1.0 - np.eye(len(others))[k]
        shares = (1 - share) * others / others.sum()
        shares[k] = share
        raw = self.raw.sum() * shares
        sampled = _variances(self.effect, _multinomial(self.rates.T @ raw) / self.n)
        return float(sampled[k] + raw**2 @ self.errors[:, k])


def _variances(effect: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.einsum("ki,ij,kj->k", effect, covariance, effect)
    return found


def _rates_spread(row: np.ndarray) -> np.ndarray:
    """Covariance ``[K, K]`` of the rates that were counted in a row.

    They are drawn towards equality by two images' worth, as one share's would be by Agresti and
    Coull (1998): an error that happens not to occur among few is not impossible.
    """
    n = row.sum()
    found: np.ndarray = _multinomial((row + 2 / len(row)) / (n + 2))[:-1, :-1] / n
    return found


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
    read, true = _one_hot(labels, names), _one_hot(truth, names)
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


def _one_hot(labels: Sequence[int] | np.ndarray, names: Sequence[str]) -> np.ndarray:
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
    one_hot: np.ndarray = np.eye(kinds + 1)[found]  # -1 is the last column
    return one_hot


def _require_sharp(confusion: Confusion) -> None:
    """Refuse a labeler whose rates are singular, or might be for all that few images tell."""
    rates = confusion.rates[:, :-1]
    left, singular, right = np.linalg.svd(rates)
    least = singular[-1]
    # How the least singular value moves with the rates of each kind.
    variance = sum(
        float(left[t, -1] ** 2 * right[-1] @ _rates_spread(row) @ right[-1])
        for t, row in enumerate(confusion.counts)
    )
    if least < _LEAST_SHARPNESS * variance**0.5 or least < 1e-6:
        alike = [confusion.names[t] for t in np.argsort(-np.abs(left[:, -1]))[:2]]
        raise MetricError(
            f"the labeler hardly tells {alike[0]} from {alike[1]} (least singular value of its "
            f"rates {least:.2g}, give or take {variance**0.5:.2g}): its errors cannot be taken "
            "off; use a better labeler, more calibrating images, or merge these kinds"
        )


def _multinomial(shares: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.diag(shares) - np.outer(shares, shares)
    return found
