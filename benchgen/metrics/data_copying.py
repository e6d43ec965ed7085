"""Data copying: are generated images nearer to the training images than real ones are?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import FeatureSet, Score
from benchgen.metrics.pairs.distances import nearest
from benchgen.metrics.training import compared_rows, reference_rows, require_given

_ENOUGH = 20
_STARTS = 5
_ROUNDS = 100


class DataCopying:
    """``ct``: the three-sample test of Meehan et al. 2020 (arXiv:2004.05675), as a z score.

    The training images are cut into cells by k-means. In each, the Mann-Whitney statistic asks
    whether generated images are as far from the nearest training image of the cell as test images
    are. The mean of its z scores, weighted by the cells' shares w of test images, is divided by
    sqrt(Σw²), so that the value has a standard normal law where both have one distribution.
    Negative: nearer than real images are, as copies; positive: farther, as underfitting.

    Args:
        cells: Number of cells.
        seed: Seed of k-means.

    Raises:
        MetricError: If ``cells`` is less than 1.
    """

    def __init__(self, cells: int = 3, seed: int = 0) -> None:
        if cells < 1:
            raise MetricError(f"ct: cells is {cells}; use 1 or more")
        self._cells = cells
        self._seed = seed

    @property
    def parameters(self) -> Mapping[str, str | int | float | bool | None]:
        """Number of cells and seed; a single cell needs no seed."""
        return {"cells": self._cells, "seed": self._seed if self._cells > 1 else None}

    def prepare(self, train: FeatureSet | None, test: FeatureSet | None) -> Partition:
        """Cells of the training images ``[t, d]``, and where the test images ``[m, d]`` fall.

        Raises:
            MetricError: If a set is missing, their columns differ, a row is bad, or the training
                images are fewer different ones than ``cells``.
        """
        rows = reference_rows(train, "train", "ct")
        held_out = compared_rows(require_given(test, "test", "ct"), "test", rows, "ct")
        centres, labels = _k_means(rows, self._cells, self._seed)
        return Partition(rows, labels, centres, *_place(held_out, rows, labels, centres))

    def compute(self, prepared: Partition, fake: FeatureSet) -> Mapping[str, Score]:
        """Score one generator's feature rows ``[n, d]``; the key is ``ct``.

        The influences hold given the training images and their cells.

        Raises:
            MetricError: If ``fake`` has other columns, or a row is bad.
        """
        rows = compared_rows(fake, "fake", prepared.train, "ct")
        theirs, squared = _place(rows, prepared.train, prepared.labels, prepared.centres)
        cells = [
            _Cell.of(theirs == i, squared, prepared.test_labels == i, prepared.test_squared)
            for i in range(len(prepared.centres))
        ]
        used = [cell for cell in cells if cell.usable]
        details = {"cells_used": float(len(used)), "cells_left_out": float(len(cells) - len(used))}
        if not used:
            return {"ct": Score(None, details=details, reason=_nothing_usable(cells))}
        value, fakes, tests = _combine(used)
        limit = stats.norm.ppf(0.05 / len(used))
        details["copied_cells"] = float(sum(cell.z < limit for cell in used))
        details["published"] = _published(used)
        for i, cell in enumerate(cells):
            if cell.usable:
                details |= {f"cell_{i}_z": cell.z, f"cell_{i}_share": cell.test_share}
        return {"ct": Score(value, fakes, tests, details=details, notes=_notes(cells, used))}


@dataclass(frozen=True)
class Partition:
    """Training images ``[t, d]`` with their cells ``[t]``; the cells' centres ``[c, d]``; cells
    and squared distances of the test images, ``[m]``, on the CPU."""

    train: Tensor
    labels: Tensor
    centres: Tensor
    test_labels: Tensor
    test_squared: Tensor


@dataclass(frozen=True)
class _Cell:
    """One cell's Mann-Whitney statistic.

    Attributes:
        fakes: Whether a generated image is in the cell, bool ``[n]``.
        tests: Whether a test image is in the cell, bool ``[m]``.
        fake_places: Share of the cell's test images that are nearer to the training images than
            this generated image, ties counting half, ``[n in the cell]``.
        test_places: Share of the cell's generated images that are farther, ``[m in the cell]``.
        ties: What ties leave of the null variance, 0 to 1.
    """

    fakes: Tensor
    tests: Tensor
    fake_places: Tensor
    test_places: Tensor
    ties: float

    @classmethod
    def of(cls, fakes: Tensor, fake_squared: Tensor, tests: Tensor, test_squared: Tensor) -> _Cell:
        x, y = fake_squared[fakes], test_squared[tests]
        return cls(fakes, tests, _below(x, y), 1 - _below(y, x), _tie_factor(torch.cat([x, y])))

    @property
    def n(self) -> int:
        return len(self.fake_places)

    @property
    def m(self) -> int:
        return len(self.test_places)

    @property
    def large_enough(self) -> bool:
        return self.n > _ENOUGH and self.m > _ENOUGH

    @property
    def usable(self) -> bool:
        return self.large_enough and self.ties > 0

    @property
    def test_share(self) -> float:
        return self.m / len(self.tests)

    @property
    def farther(self) -> float:
        """Share of pairs in which the generated image is the farther one; ½ under the null."""
        return float(self.fake_places.mean())

    @property
    def spread(self) -> float:
        """Standard deviation of that share under the null."""
        return float(np.sqrt((self.n + self.m + 1) * self.ties / (12 * self.n * self.m)))

    @property
    def z(self) -> float:
        return (self.farther - 0.5) / self.spread


def _combine(cells: list[_Cell]) -> tuple[float, Tensor, Tensor]:
    """Σ w z / sqrt(Σ w²), and its influences ``[n]`` and ``[m]``.

    An image moves its cell's statistic by its place among the other side, and, since z grows with
    the number of images and w is a share of them, the value by being in that cell at all.
    """
    n, m = len(cells[0].fakes), len(cells[0].tests)
    norm = sum(cell.test_share**2 for cell in cells) ** 0.5
    value = sum(cell.test_share * cell.z for cell in cells) / norm
    fakes = torch.zeros(n, dtype=torch.float64)
    tests = torch.zeros(m, dtype=torch.float64)
    for cell in cells:
        share, total = cell.test_share, cell.n + cell.m + 1
        by_z = share / norm
        by_place = by_z / cell.spread
        fakes[cell.fakes] += by_place * (cell.fake_places - cell.farther) * n / cell.n
        tests[cell.tests] += by_place * (cell.test_places - cell.farther) / share
        by_fakes = by_z * cell.z * (cell.m + 1) / (2 * total)
        by_tests = by_z * cell.z * (cell.n + 1) / (2 * total)
        by_weight = share * (cell.z / norm - value * share / norm**2)
        fakes += by_fakes * (cell.fakes.double() * n / cell.n - 1)
        tests += (by_tests + by_weight) * (cell.tests.double() / share - 1)
    return value, fakes, tests


def _published(cells: list[_Cell]) -> float:
    """The weighted mean as the authors' code has it: continuity-corrected, blind to ties."""
    weighted = 0.0
    for cell in cells:
        pairs = cell.n * cell.m
        spread = np.sqrt(pairs * (cell.n + cell.m + 1) / 12)
        weighted += cell.test_share * (pairs * (cell.farther - 0.5) + 0.5) / spread
    return float(weighted / sum(cell.test_share for cell in cells))


def _notes(cells: list[_Cell], used: list[_Cell]) -> tuple[str, ...]:
    if len(cells) == len(used):
        return ()
    share = sum(cell.test_share for cell in used)
    return (
        f"{len(cells) - len(used)} of {len(cells)} cells are left out, for having no more than "
        f"{_ENOUGH} generated or test images, or only equal distances; the others hold "
        f"{share:.0%} of the test images",
    )


def _nothing_usable(cells: list[_Cell]) -> str:
    if any(cell.large_enough for cell in cells):
        return "all images of a cell are equally far from the training images: nothing to rank"
    found = ", ".join(f"{cell.n} and {cell.m}" for cell in cells)
    return (
        f"no cell holds more than {_ENOUGH} generated and {_ENOUGH} test images (found {found}); "
        "give more images, or fewer cells"
    )


def _below(x: Tensor, y: Tensor) -> Tensor:
    """Share of ``y`` below each of ``x``, ties counting half, float64 ``[len(x)]``."""
    ranked = y.sort().values
    below = torch.searchsorted(ranked, x, side="left")
    up_to = torch.searchsorted(ranked, x, side="right")
    return (below + up_to).double() / (2 * max(1, len(y)))


def _tie_factor(values: Tensor) -> float:
    """1 - Σ(t³ - t)/(N³ - N) over groups of t equal values among N (Lehmann 1975)."""
    n = len(values)
    if n < 2:
        return 0.0
    counts = torch.unique(values, return_counts=True)[1].double()
    return 1 - float((counts**3 - counts).sum()) / (float(n) ** 3 - n)


def _place(rows: Tensor, train: Tensor, labels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Cell of each row, and the squared distance to its nearest training image there, ``[n]``."""
    _, cells = _closest(rows, centres)
    squared = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
    for cell in range(len(centres)):
        here = cells == cell
        if bool(here.any()):
            squared[here] = nearest(rows[here], train[labels == cell], 1)[0][:, 0]
    return cells.cpu(), squared.cpu()


def _k_means(rows: Tensor, cells: int, seed: int) -> tuple[Tensor, Tensor]:
    """Centres ``[c, d]`` and labels ``[t]`` by Lloyd's algorithm, the best of several starts.

    Every cell holds an image, and every image is nearest to the centre of its own cell.
    """
    random = np.random.RandomState(seed)
    starts = [_lloyd(rows, _spread_out(rows, cells, random)) for _ in range(_STARTS)]
    _, centres, labels = min(starts, key=lambda start: start[0])
    present, labels = torch.unique(labels, return_inverse=True)
    return centres[present], labels


def _spread_out(rows: Tensor, cells: int, random: np.random.RandomState) -> Tensor:
    """First centres, each drawn by its squared distance to those before (Arthur & Vassilvitskii
    2007)."""
    chosen = [int(random.randint(len(rows)))]
    for _ in range(1, cells):
        squared = nearest(rows, rows[chosen], 1)[0][:, 0].cpu()
        cumulative = squared.cumsum(dim=0)
        if float(cumulative[-1]) == 0:
            raise MetricError(
                f"ct: cells is {cells} but train holds {len(chosen)} different image(s) only; "
                "use fewer cells, or more training images"
            )
        drawn = torch.searchsorted(
            cumulative, float(cumulative[-1]) * random.random_sample(), right=True
        )
        chosen.append(min(int(drawn), int(squared.nonzero()[-1])))
    return rows[chosen].double()


def _lloyd(rows: Tensor, centres: Tensor) -> tuple[float, Tensor, Tensor]:
    """Sum of squared distances, centres and labels, from where nothing changes any more."""
    squared, labels = _closest(rows, centres)
    for _ in range(_ROUNDS):
        counts = torch.bincount(labels, minlength=len(centres)).double()
        sums = torch.zeros_like(centres).index_add_(0, labels, rows.double())
        # A centre that lost all its images stays where it is.
        means = sums / counts.clamp_min(1)[:, None]
        centres = torch.where(counts[:, None] > 0, means, centres)
        before = labels
        squared, labels = _closest(rows, centres)
        if torch.equal(before, labels):
            break
    return float(squared.sum()), centres, labels


def _closest(rows: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    squared, index = nearest(rows, centres, 1)
    return squared[:, 0], index[:, 0]
