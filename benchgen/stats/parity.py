"""Whether kinds are equally frequent, and how far their shares are from those wanted.

Ratios and distances of shares are biased: of an exactly fair generator the least share over the
greatest falls below 0.8 in a quarter of all samples of 100 images, and any distance is above zero.
So a check fails only where a bound of the interval does, over all pairs at once, and a distance
stands beside what a generator without fault would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from scipy import stats

from benchgen.errors import MetricError
from benchgen.stats.estimates import quantile_of
from benchgen.stats.shares import Shares

Verdict = Literal["pass", "fail", "inconclusive"]
Distance = Literal["tv", "l2", "hellinger", "jsd", "wasserstein"]

_DRAWS = 4000
_MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Ratio:
    """The share of one kind over that of another.

    Attributes:
        kind, other: Their names.
        value: None where the other does not occur.
        lower, upper: Ends of the interval; ``upper`` is None where it has no end.
    """

    kind: str
    other: str
    value: float | None
    lower: float
    upper: float | None


@dataclass(frozen=True)
class Parity:
    """Whether no kind's share is below ``threshold`` times that of another.

    Attributes:
        verdict: "fail" where one surely is, over all pairs; "pass" where surely none is.
        worst: The pair with the least ratio, with the interval that decided over all pairs.
        p: Of no kind being below the threshold, adjusted for all pairs.
        p_broken: Of some kind being below it: small where surely none is.
        needed: Images at which the same shares would decide; None where no number would.
    """

    verdict: Verdict
    threshold: float
    worst: Ratio
    p: float
    p_broken: float
    needed: int | None


@dataclass(frozen=True)
class Distances:
    """How far shares are from a target.

    Attributes:
        values: By distance; those of the shares as they are.
        floors: By distance, what a generator that meets the target shows on average at this n.
        lower, upper: Ends of an interval of the total variation: as far to either side as found
            shares are from the true ones, which is more than enough (the triangle inequality).
        p: That the target is met, by the total variation.
    """

    values: dict[Distance, float]
    floors: dict[Distance, float]
    lower: float
    upper: float
    p: float


def ratio(shares: Shares, kind: int, other: int, level: float = 0.95) -> Ratio:
    """The share of one kind over that of another, with its interval.

    Where images are independent and read without correction, their two counts given the sum are
    binomial, and the interval is exact (Clopper & Pearson 1934): it covers at least ``level``.
    Else it is Fieller's (1954), from the covariance of the two shares.
    """
    names = shares.names[kind], shares.names[other]
    one, two = float(shares.values[kind]), float(shares.values[other])
    value = one / two if two > 0 else None
    if shares.exact:
        count, both = round(one * shares.n), round((one + two) * shares.n)
        tail = (1 - level) / 2
        low = stats.beta.ppf(tail, count, both - count + 1) if count else 0.0
        high = stats.beta.isf(tail, count + 1, both - count) if count < both else 1.0
        return Ratio(*names, value, _odds(float(low)) or 0.0, _odds(float(high)) if both else None)
    covariance, degrees = shares.covariance
    square = quantile_of(level, degrees) ** 2
    # The ratios r at which one - r two is within its error of zero.
    a = two**2 - square * covariance[other, other]
    b = one * two - square * covariance[kind, other]
    c = one**2 - square * covariance[kind, kind]
    inside = b * b - a * c
    if a <= 0 or inside < 0:  # the other share may be zero
        low = (b - inside**0.5) / a if a < 0 <= inside else 0.0
        return Ratio(*names, value, max(0.0, float(low)), None)
    low, high = ((b + sign * inside**0.5) / a for sign in (-1, 1))
    return Ratio(*names, value, max(0.0, float(low)), max(0.0, float(high)))


def parity(shares: Shares, threshold: float, alpha: float = 0.05) -> Parity:
    """Ask whether every kind is at least ``threshold`` times as frequent as every other.

    It fails where the ratio of some pair is below for sure, over all pairs (Bonferroni): an
    exactly fair generator fails in at most ``alpha`` of all samples. It passes where the ratio of
    every pair is above for sure, which needs no adjustment (Berger 1982).

    Raises:
        MetricError: If the threshold is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise MetricError(f"the parity threshold is {threshold}; give one above 0, at most 1")
    pairs = list(permutations(range(len(shares.names)), 2))
    below = [_p_at_least(shares, i, j, threshold) for i, j in pairs]
    above = [_p_at_most(shares, i, j, threshold) for i, j in pairs]
    p = min(1.0, len(pairs) * min(below))
    verdict: Verdict = "inconclusive"
    if p <= alpha:
        verdict = "fail"
    elif max(above) <= alpha:
        verdict = "pass"
    i, j = min(pairs, key=lambda pair: (below[pairs.index(pair)], shares.values[pair[0]]))
    worst = ratio(shares, i, j, 1 - 2 * alpha / len(pairs))
    level = alpha if worst.value is None or worst.value >= threshold else alpha / len(pairs)
    needed = None
    if verdict == "inconclusive":
        needed = _needed(shares, i, j, threshold, float(stats.norm.isf(level)))
    return Parity(verdict, threshold, worst, p, max(above), needed)


def distances(
    shares: Shares,
    target: Sequence[float] | np.ndarray,
    *,
    ordinal: bool = False,
    alpha: float = 0.05,
    seed: int = 0,
) -> Distances:
    """How far the shares are from a target, what chance alone would make of it, and a test.

    Total variation, Euclidean (L2), Hellinger, and the root of the Jensen-Shannon divergence in
    bits; for kinds in an order also Wasserstein's, in steps of that order. Chance: shares drawn
    with the target's expectation and these shares' errors.

    Args:
        shares: Found.
        target: Wanted; float ``[K]``, not negative, of sum 1.
        ordinal: Whether the kinds are in order.
        alpha: 1 less the level of the interval.
        seed: Of the draws.

    Raises:
        MetricError: If the target is no distribution over the kinds.
    """
    wanted = _checked_target(shares, target)
    names: list[Distance] = ["tv", "l2", "hellinger", "jsd"]
    if ordinal:
        names.append("wasserstein")
    drawn = _drawn(shares, wanted, seed)
    found = {name: float(_distance(name, shares.values[None], wanted)[0]) for name in names}
    chance = {name: _distance(name, drawn, wanted) for name in names}
    astray = float(np.quantile(_astray(shares, seed), 1 - alpha))
    # As great as seen, up to rounding: counts make ties.
    reached = int((chance["tv"] >= found["tv"] - 1e-12).sum())
    return Distances(
        found,
        {name: float(one.mean()) for name, one in chance.items()},
        max(0.0, found["tv"] - astray),
        min(1.0, found["tv"] + astray),
        (reached + 1) / (_DRAWS + 1),
    )


def p_distance(
    shares: Shares, target: Sequence[float] | np.ndarray, limit: float, *, seed: int = 0
) -> tuple[float, float]:
    """p-values of a total variation of at most ``limit``, and of at least.

    Each is the chance that found shares are as far from the true ones as the total variation is
    beyond the limit.

    Raises:
        MetricError: As ``distances``.
    """
    value = float(_distance("tv", shares.values[None], _checked_target(shares, target))[0])
    astray = _astray(shares, seed)
    over, under = ((astray >= apart - 1e-12).sum() for apart in (value - limit, limit - value))
    return (int(over) + 1) / (_DRAWS + 1), (int(under) + 1) / (_DRAWS + 1)


def _astray(shares: Shares, seed: int) -> np.ndarray:
    """Total variation ``[draws]`` between found shares and the true ones, by chance."""
    inside = shares.values.clip(0) / shares.values.clip(0).sum()
    found: np.ndarray = _distance("tv", _drawn(shares, inside, seed), inside)
    return found


def _checked_target(shares: Shares, target: Sequence[float] | np.ndarray) -> np.ndarray:
    wanted = np.asarray(target, dtype=np.float64)
    fits = wanted.shape == shares.values.shape
    if not fits or (wanted < 0).any() or abs(wanted.sum() - 1) > 1e-6:
        raise MetricError(
            f"the target is {wanted.tolist()}; expected {len(shares.names)} shares, none below 0, "
            f"that sum to 1, for: {', '.join(shares.names)}"
        )
    return wanted


def _odds(share: float) -> float | None:
    return share / (1 - share) if share < 1 else None


def _p_at_least(shares: Shares, kind: int, other: int, ratio: float) -> float:
    """p-value of the ratio being at least this: small where it is below."""
    if shares.exact:
        count, both = _counts(shares, kind, other)
        return float(stats.binom.cdf(count, both, ratio / (1 + ratio)))
    return _tail(shares, kind, other, ratio)


def _p_at_most(shares: Shares, kind: int, other: int, ratio: float) -> float:
    """p-value of the ratio being at most this: small where it is above."""
    if shares.exact:
        count, both = _counts(shares, kind, other)
        return float(stats.binom.sf(count - 1, both, ratio / (1 + ratio)))
    return 1 - _tail(shares, kind, other, ratio)


def _counts(shares: Shares, kind: int, other: int) -> tuple[int, int]:
    one, two = shares.values[kind], shares.values[other]
    return round(one * shares.n), round((one + two) * shares.n)


def _tail(shares: Shares, kind: int, other: int, ratio: float) -> float:
    """Chance of a contrast as small as kind - ratio · other, were it zero."""
    contrast = float(shares.values[kind] - ratio * shares.values[other])
    error = _contrast_error(shares, kind, other, ratio)
    if error == 0:
        return float(contrast >= 0)
    z, degrees = contrast / error, shares.covariance[1]
    chance = stats.norm.cdf(z) if degrees is None else stats.t.cdf(z, degrees)
    return float(chance)


def _contrast_error(shares: Shares, kind: int, other: int, ratio: float) -> float:
    weights = np.zeros(len(shares.names))
    weights[kind], weights[other] = 1.0, -ratio
    return float(np.sqrt(max(0.0, weights @ shares.covariance[0] @ weights)))


def _needed(shares: Shares, kind: int, other: int, threshold: float, quantile: float) -> int | None:
    """Images at which the same shares decide half of the time; errors fall with the root of n."""
    away = abs(float(shares.values[kind] - threshold * shares.values[other]))
    error = _contrast_error(shares, kind, other, threshold)
    if away == 0 or error == 0:
        return None
    wanted = shares.n * (quantile * error / away) ** 2
    return None if wanted > _MOST_IMAGES else max(shares.n + 1, int(np.ceil(wanted)))


def _drawn(shares: Shares, target: np.ndarray, seed: int) -> np.ndarray:
    """Shares ``[draws, K]`` as they would be found if these were the true ones."""
    random = np.random.default_rng(seed)
    if shares.exact:
        return random.multinomial(shares.n, target / target.sum(), size=_DRAWS) / shares.n
    covariance = shares.covariance[0]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(values.clip(0))
    drawn: np.ndarray = target + random.standard_normal((_DRAWS, len(target))) @ root.T
    return drawn


def _distance(name: Distance, shares: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Of each row ``[r, K]`` from the target."""
    found: np.ndarray
    apart = shares - target
    if name == "tv":
        found = np.abs(apart).sum(axis=1) / 2
    elif name == "l2":
        found = np.sqrt(np.square(apart).sum(axis=1))
    elif name == "wasserstein":
        found = np.abs(apart.cumsum(axis=1)[:, :-1]).sum(axis=1)
    else:
        inside = shares.clip(0)
        inside = inside / inside.sum(axis=1, keepdims=True)
        if name == "hellinger":
            squares = np.square(np.sqrt(inside) - np.sqrt(target)).sum(axis=1)
            found = np.sqrt(squares / 2)
        else:
            middle = (inside + target) / 2
            bits = stats.entropy(inside, middle, base=2, axis=1) / 2
            bits = bits + stats.entropy(np.broadcast_to(target, inside.shape), middle, 2, 1) / 2
            found = np.sqrt(np.maximum(bits, 0))
    return found
