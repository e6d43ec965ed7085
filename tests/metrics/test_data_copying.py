from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics import data_copying
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.data_copying import DataCopying
from benchgen.stats.estimates import estimate


def ct(train: Tensor, test: Tensor, fake: Tensor, **arguments) -> Score:
    family = DataCopying(**arguments)
    prepared = family.prepare(TensorFeatures(train), TensorFeatures(test))
    return family.compute(prepared, TensorFeatures(fake))["ct"]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def nearest(rows: Tensor, train: Tensor) -> np.ndarray:
    return torch.cdist(rows, train).min(dim=1).values.numpy()


def three_clumps(seed: int, n: int, shares=(0.5, 0.3, 0.2)) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    clump = rng.choice(3, size=n, p=shares)
    centres = np.array([[0.0, 0, 0], [30, 0, 0], [0, 30, 0]])
    return torch.from_numpy(centres[clump] + rng.normal(size=(n, 3))), torch.from_numpy(clump)


def test_one_cell_is_the_mann_whitney_test():
    train, test, fake = normal(0, 80, 4), normal(1, 60, 4), 1.1 * normal(2, 90, 4)
    found = ct(train, test, fake, cells=1)
    theirs = stats.mannwhitneyu(
        nearest(fake, train), nearest(test, train), use_continuity=False, method="asymptotic"
    )
    assert 2 * stats.norm.sf(abs(found.value)) == pytest.approx(theirs.pvalue, rel=1e-9)
    assert found.value > 0
    spread = (60 * 90 * 151 / 12) ** 0.5
    published = (theirs.statistic - (60 * 90 / 2 - 0.5)) / spread
    assert found.details["published"] == pytest.approx(published, rel=1e-9)


def test_cells_are_weighted_by_their_share_of_test_images():
    (train, of_train), (test, of_test), (fake, of_fake) = (
        three_clumps(seed, n) for seed, n in ((0, 300), (1, 250), (2, 280))
    )
    found = ct(train, test, fake)
    published, scaled, shares = 0.0, 0.0, []
    for i in range(3):
        own = train[of_train == i]
        x, y = nearest(fake[of_fake == i], own), nearest(test[of_test == i], own)
        u, pairs = stats.mannwhitneyu(x, y).statistic, len(x) * len(y)
        spread = (pairs * (len(x) + len(y) + 1) / 12) ** 0.5
        share = len(y) / 250
        published += share * (u - pairs / 2 + 0.5) / spread
        scaled += share * (u - pairs / 2) / spread
        shares.append(share)
    assert found.details["published"] == pytest.approx(published, rel=1e-9)
    assert found.value == pytest.approx(scaled / np.linalg.norm(shares), rel=1e-9)
    assert sorted(found.details[f"cell_{i}_share"] for i in range(3)) == pytest.approx(
        sorted(shares)
    )


def test_ties_are_corrected():
    rng = np.random.default_rng(0)
    test, fake = (torch.from_numpy(rng.integers(1, 4, size=(k, 1)) * 1.0) for k in (40, 50))
    found = ct(torch.zeros(3, 1), test, fake, cells=1)
    theirs = stats.mannwhitneyu(
        fake[:, 0].numpy(), test[:, 0].numpy(), use_continuity=False, method="asymptotic"
    )
    assert 2 * stats.norm.sf(abs(found.value)) == pytest.approx(theirs.pvalue, rel=1e-9)


def test_planted_copies_are_strongly_negative():
    train, test, fake = normal(0, 300, 6), normal(1, 300, 6), normal(2, 300, 6)
    assert abs(ct(train, test, fake).value) < 3.5
    fake[:150] = train[:150] + 0.01
    found = ct(train, test, fake)
    assert found.value < -6
    assert found.details["copied_cells"] == 3
    assert ct(train, test, 3 * test).value > 6


def test_cells_that_hold_too_few_are_left_out_and_told():
    train, test = three_clumps(0, 300)[0], three_clumps(1, 250)[0]
    fake = three_clumps(2, 200, (0.6, 0.4, 0.0))[0]
    found = ct(train, test, fake)
    assert found.details["cells_used"] == 2
    assert found.details["cells_left_out"] == 1
    assert "1 of 3 cells are left out" in found.notes[0]
    nothing = ct(train, test[:10], fake)
    assert nothing.value is None
    assert "more than 20" in nothing.reason


def test_influence_is_the_effect_of_an_image():
    (train, _), (test, _), (fake, _) = (
        three_clumps(seed, n) for seed, n in ((0, 300), (1, 250), (2, 280))
    )
    fake[:60] = train[:60] + 0.05
    whole = ct(train, test, fake)
    n, m = len(fake), len(test)
    for size, influence, without in (
        (n, whole.fake_influence, lambda keep: ct(train, test, fake[keep])),
        (m, whole.real_influence, lambda keep: ct(train, test[keep], fake)),
    ):
        assert float(influence.sum()) == pytest.approx(0, abs=1e-8)
        found, effects = [], []
        for i in range(0, size, 40):
            keep = torch.arange(size) != i
            found.append(float(influence[i]))
            # The value also grows with the number of images, by half of it for each share.
            effects.append(size * (whole.value - without(keep).value))
        difference = np.array(effects) - np.array(found)
        assert difference.std() < 0.03 * float(influence.std())


@pytest.mark.parametrize(("copied", "scale"), [(0.0, 1.0), (0.3, 1.0), (0.0, 1.2)])
def test_intervals_cover_the_expectation(copied, scale):
    train = normal(10**6, 150, 4)
    seen, repetitions = [], 300
    family = DataCopying()
    cells = family.prepare(TensorFeatures(train), TensorFeatures(train))
    for seed in range(repetitions):
        rng = np.random.default_rng(seed)
        test, fake = (torch.from_numpy(rng.normal(size=(150, 4))) for _ in range(2))
        fake *= scale
        chosen = torch.from_numpy(rng.random(150) < copied)
        fake[chosen] = train[torch.from_numpy(rng.integers(0, 150, int(chosen.sum())))]
        labels, squared = data_copying._place(test, train, cells.labels, cells.centres)
        prepared = replace(cells, test_labels=labels, test_squared=squared)
        score = family.compute(prepared, TensorFeatures(fake))["ct"]
        seen.append(estimate(score, n=150, m=150))
    values = np.array([one.value for one in seen])
    covered = np.mean(
        [low <= values.mean() <= high for low, high in (one.interval for one in seen)]
    )
    assert 0.92 <= covered <= 0.98
    if copied == 0 and scale == 1:
        assert values.mean() == pytest.approx(0, abs=4 / repetitions**0.5)
        assert values.std() == pytest.approx(1, abs=4 * (0.5 / repetitions) ** 0.5)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 4),
    st.integers(1, 5), st.booleans(),
)  # fmt: skip
def test_any_shape_gives_a_number_or_says_why(t, m, n, d, cells, coarse):
    rng = np.random.default_rng(t * 3600 + m * 60 + n)
    train, test, fake = (
        torch.from_numpy(
            rng.integers(0, 3, size=(k, d)) * 1.0 if coarse else rng.normal(size=(k, d))
        )
        for k in (t, m, n)
    )
    try:
        found = ct(train, test, fake, cells=cells)
    except MetricError:
        assert len(torch.unique(train, dim=0)) < cells
        return
    if found.value is None:
        assert found.reason
        return
    assert found.fake_influence.shape == (n,)
    assert found.real_influence.shape == (m,)
    assert float(found.fake_influence.sum()) == pytest.approx(0, abs=1e-7)
    assert float(found.real_influence.sum()) == pytest.approx(0, abs=1e-7)
    assert torch.isfinite(found.fake_influence).all()


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_scale_does_not_matter(scale):
    train, test, fake = normal(0, 100, 3), normal(1, 100, 3), normal(2, 100, 3)
    expected = ct(train, test, fake).value
    assert ct(train * scale, test * scale, fake * scale).value == pytest.approx(expected, rel=1e-9)


def test_equal_distances_have_no_order():
    found = ct(torch.ones(30, 2), torch.ones(30, 2), torch.ones(30, 2), cells=1)
    assert found.value is None
    assert "equally far" in found.reason


def test_one_cell_does_not_depend_on_the_seed():
    assert DataCopying(1, seed=1).parameters == DataCopying(1, seed=2).parameters
    assert DataCopying(3, seed=1).parameters != DataCopying(3, seed=2).parameters


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DataCopying(0), "cells is 0"),
        (lambda: DataCopying().prepare(None, TensorFeatures(torch.ones(5, 2))), r"train=\.\.\."),
        (lambda: DataCopying().prepare(TensorFeatures(torch.ones(5, 2)), None), r"test=\.\.\."),
        (lambda: ct(torch.ones(5, 2), torch.ones(5, 2), torch.ones(5, 2)), "1 different image"),
        (lambda: ct(normal(0, 5, 2), torch.ones(5, 3), torch.ones(5, 2)), "test has 3"),
        (lambda: ct(normal(0, 5, 2), torch.ones(5, 2), torch.ones(5, 4)), "fake has 4"),
        (lambda: ct(normal(0, 5, 2), torch.full((5, 2), torch.inf), torch.ones(5, 2)), "test hold"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(MetricError, match=message):
        call()
