"""Shares corrected for a labeler's errors, which images of known kind have told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchgen.errors import MetricError
from benchgen.stats.shares import Shares, one_hot

_LEAST_SHARPNESS = 3.0
"""Standard errors by which a labeler must tell its classes apart."""


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
        true, seen = one_hot(truth, names), one_hot(read, names)
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
    read = one_hot(labels, confusion.names)[:, :-1]
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
