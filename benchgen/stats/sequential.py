"""Looking several times without fooling oneself: group-sequential tests by spending alpha.

Of a total error alpha, the first look may spend a part, the next ones more, the last one the rest
(Lan & DeMets 1983). How large a statistic must be at each look follows from how looks hang
together: with more of the same images it is a Brownian motion seen at a few times (Armitage,
McPherson & Rowe 1969; Jennison & Turnbull 2000, chapter 19).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from scipy import interpolate, optimize, stats

from benchgen.errors import MetricError

_POINTS = 160
_REACH = 9.0
_ALPHAS = np.geomspace(1e-10, 0.5, 64)


@dataclass(frozen=True)
class Looks:
    """The numbers of images at which a test looks; the last one is its budget.

    Up to the share t of the budget, ``alpha * t ** power`` is spent (Kim & DeMets 1987).

    Raises:
        MetricError: If the sizes are not increasing and positive, or ``power`` is not.
    """

    sizes: tuple[int, ...]
    power: float = 1.5

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        if not self.sizes or self.sizes[0] < 1 or not ascending or self.power <= 0:
            raise MetricError(
                f"looks are {self.sizes} with power {self.power}; give increasing numbers of "
                "images, and a power above 0"
            )

    @classmethod
    def halving(cls, budget: int, count: int, least: int) -> Looks:
        """The budget, half of it, a quarter ..., at most ``count`` looks, none below ``least``."""
        sizes = [budget]
        while len(sizes) < count and sizes[0] >= 2 * least:
            sizes.insert(0, sizes[0] // 2)
        return cls(tuple(sizes))

    @property
    def fractions(self) -> tuple[float, ...]:
        """The share of the budget at each look."""
        return tuple(size / self.sizes[-1] for size in self.sizes)

    def boundaries(self, alpha: float) -> tuple[float, ...]:
        """What a standard normal statistic must reach at each look, for a one-sided error alpha.

        Raises:
            MetricError: If ``alpha`` is not between 0 and 1.
        """
        if not 0 < alpha < 1:
            raise MetricError(f"alpha is {alpha}; use a number between 0 and 1, such as 0.05")
        return _boundaries(self.fractions, self.power, alpha)

    def p_value(self, nominal: Sequence[float]) -> float:
        """The smallest alpha at which a look so far would have rejected.

        It is a valid p-value whenever one stops, and never rises from look to look; so Holm's
        adjustment of several is valid too (repeated p-values, Jennison & Turnbull 2000).

        Args:
            nominal: One-sided p-values of the looks so far, each as if it were the only one.

        Raises:
            MetricError: If there are more than looks, or they are no p-values.
        """
        if len(nominal) > len(self.sizes) or not all(0 <= p <= 1 for p in nominal):
            raise MetricError(f"{list(nominal)} are no p-values of {len(self.sizes)} looks")
        if len(self.sizes) == 1:
            return min([1.0, *nominal])
        spent = [
            _spent(z, curve)
            for z, curve in zip(stats.norm.isf(list(nominal)), self._curves, strict=False)
        ]
        return min([1.0, *spent])

    @cached_property
    def _curves(self) -> list[tuple[float, float, interpolate.PchipInterpolator]]:
        return _curves(self.fractions, self.power)

    def crossing(self, alpha: float, drift: float) -> tuple[float, ...]:
        """Probability of rejecting first at each look, if the statistic expects ``drift`` at last.

        Args:
            alpha: One-sided error of the test.
            drift: Expectation of the standard normal statistic at the budget: the distance from
                the margin in standard errors there.
        """
        return _crossing(self.fractions, self.boundaries(alpha), drift)

    def drift(self, alpha: float, power: float) -> float:
        """The drift at which the test rejects with probability ``power``.

        Raises:
            MetricError: If ``power`` is not above alpha and below 1.
        """
        if not alpha < power < 1:
            raise MetricError(f"power is {power}; use a number above alpha ({alpha}) and below 1")
        most = self.boundaries(alpha)[-1] + _REACH
        solve = optimize.brentq
        return float(solve(lambda d: sum(self.crossing(alpha, d)) - power, 0.0, most, xtol=1e-6))


@cache
def _boundaries(fractions: tuple[float, ...], power: float, alpha: float) -> tuple[float, ...]:
    spent = [alpha * t**power for t in fractions]
    found: list[float] = []
    path = _Path(fractions, 0.0)
    for place, (total, before) in enumerate(zip(spent, [0.0, *spent], strict=False)):
        share = total - before

        def excess(z: float, place: int = place, share: float = share) -> float:
            return path.beyond(place, z) - share

        found.append(float(optimize.brentq(excess, -_REACH, _REACH, xtol=1e-10)))
        path.stop(place, found[-1])
    return tuple(found)


def _crossing(
    fractions: tuple[float, ...], boundaries: tuple[float, ...], drift: float
) -> tuple[float, ...]:
    path = _Path(fractions, drift)
    found = []
    for place, z in enumerate(boundaries):
        found.append(path.beyond(place, z))
        path.stop(place, z)
    return tuple(found)


class _Path:
    """Brownian motion with a drift, of which those paths are left that have not crossed."""

    def __init__(self, fractions: Sequence[float], drift: float) -> None:
        self.fractions, self.drift = fractions, drift
        self.time = 0.0
        self.nodes, self.mass = np.zeros(1), np.ones(1)

    def beyond(self, place: int, z: float) -> float:
        """Probability of not having crossed before this look, and being beyond ``z`` there."""
        time = self.fractions[place]
        step = time - self.time
        reached = (z * time**0.5 - self.nodes - self.drift * step) / step**0.5
        return float((self.mass * stats.norm.sf(reached)).sum())

    def stop(self, place: int, z: float) -> None:
        """Take out the paths that are beyond ``z`` at this look."""
        time = self.fractions[place]
        step, top = time - self.time, z * time**0.5
        low = min(self.drift * time, top) - _REACH * time**0.5
        points, weights = _legendre()
        nodes = low + (top - low) * (points + 1) / 2
        reached = (nodes[:, None] - self.nodes - self.drift * step) / step**0.5
        density = (stats.norm.pdf(reached) / step**0.5) @ self.mass
        self.time, self.nodes = time, nodes
        self.mass = density * weights * (top - low) / 2


@cache
def _legendre() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_POINTS)


@cache
def _curves(
    fractions: tuple[float, ...], power: float
) -> list[tuple[float, float, interpolate.PchipInterpolator]]:
    """At each look, log alpha as a function of the boundary that it sets."""
    table = np.array([_boundaries(fractions, power, float(alpha)) for alpha in _ALPHAS])
    logs = np.log(_ALPHAS)
    return [
        (column[-1], column[0], interpolate.PchipInterpolator(column[::-1], logs[::-1]))
        for column in table.T
    ]


def _spent(z: float, curve: tuple[float, float, interpolate.PchipInterpolator]) -> float:
    """The alpha that sets its boundary at ``z``; 1 beyond the least boundary that is tabled."""
    least, most, log_alpha = curve
    if z < least:
        return 1.0
    return float(np.exp(log_alpha(min(z, most))))
