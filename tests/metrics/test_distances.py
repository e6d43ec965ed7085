from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.pairs import distances
from benchgen.metrics.pairs.distances import Distances, nearest, shortlists


def brute_force(x: Tensor, y: Tensor, exclude_self: bool) -> Tensor:
    """Squared distances ``[n, m]`` by subtraction in float64."""
    squared = torch.stack([(row.double() - y.double()).square().sum(dim=1) for row in x])
    return squared.fill_diagonal_(torch.inf) if exclude_self else squared


def rows_of(kind: str, rng: np.random.Generator, n: int, d: int) -> Tensor:
    if kind == "lattice":
        return torch.from_numpy(rng.integers(0, 3, (n, d)) * 1.0)
    scale, offset = {"huge": (1e8, 0), "tiny": (1e-8, 0), "far": (1, 1e5), "plain": (1, 0)}[kind]
    return torch.from_numpy(rng.normal(size=(n, d)) * scale + offset)


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 40), m=st.integers(2, 40), d=st.sampled_from([1, 2, 9, 20]),
    kind=st.sampled_from(["lattice", "huge", "tiny", "far", "plain"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    side=st.sampled_from([7, 16, 1024]), exclude_self=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_nearest_is_what_subtraction_says(n, m, d, kind, dtype, side, exclude_self, seed):
    rng = np.random.default_rng(seed)
    x, y = (rows_of(kind, rng, rows, d).to(dtype) for rows in (n, m))
    x = y if exclude_self else x
    k = int(rng.integers(1, m - exclude_self + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "_TILE_SIDE", side)
        squared, indices = nearest(x, y, k, exclude_self=exclude_self)
    expected = brute_force(x, y, exclude_self)
    assert torch.equal(squared, expected.sort(dim=1).values[:, :k])
    assert torch.equal(expected.gather(1, indices), squared)
    assert all(len(set(row)) == k for row in indices.tolist())


def test_equal_distances_come_in_the_order_of_the_rows():
    _, indices = nearest(torch.zeros(1, 9), torch.ones(5, 9), 5)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]


def test_an_outlier_does_not_blur_the_others():
    """It moves the centre so far that float32 products tell nothing of the other rows."""
    rows = torch.randn(300, 64, generator=torch.Generator().manual_seed(0))
    rows[0] = 1e7
    squared, _ = nearest(rows, rows, 3, exclude_self=True)
    assert torch.equal(squared, brute_force(rows, rows, True).sort(dim=1).values[:, :3])


@pytest.mark.parametrize("d", [9, 2048])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_bound_the_distances(d, dtype):
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(60, d, generator=generator) + 3 for _ in "xy")
    both = Distances(x, y, dtype)
    (_, _, tile), = both.tiles()  # fmt: skip
    row, column = (one.flatten() for one in torch.meshgrid(*[torch.arange(60)] * 2, indexing="ij"))
    exact = both.exact(row, column)
    lower = both.in_feature_units(tile.flatten())
    assert (lower <= exact).all()
    assert (lower + both.in_feature_units(both.slack(row, column)) >= exact).all()


def test_shortlists_settle_the_asked_ranks_only_but_those_exactly():
    rows = torch.randn(200, 128, generator=torch.Generator().manual_seed(2))
    squared, _ = shortlists(rows, rows, 18, exact=range(2, 3), exclude_self=True)
    expected = brute_force(rows, rows, True).sort(dim=1).values[:, :18]
    assert torch.equal(squared[:, 2], expected[:, 2])
    torch.testing.assert_close(squared, expected, rtol=1e-4, atol=0)


def test_the_features_are_not_written_into():
    rows = torch.randn(50, 16)
    before = rows.clone()
    nearest(rows, rows, 3, exclude_self=True)
    assert torch.equal(rows, before)


@pytest.mark.parametrize(
    ("x", "y", "k", "exclude_self", "message"),
    [
        (torch.ones(3, 2), torch.ones(3, 2), 4, False, "ask for"),
        (torch.ones(3, 2), torch.ones(3, 2), 3, True, "of 2 rows"),
        (torch.ones(3, 2), torch.ones(3, 2), 0, False, "ask for"),
        (torch.ones(3, 2), torch.ones(3, 3), 1, False, "columns"),
        (torch.eye(3, dtype=torch.float64) * 1e200, torch.ones(3, 3), 1, False, "overflow"),
        (torch.eye(3, dtype=torch.float64) * 1e-200, torch.zeros(3, 3), 1, False, "vanish"),
    ],
)
def test_bad_input_is_named(x, y, k, exclude_self, message):
    with pytest.raises(MetricError, match=message):
        nearest(x, y, k, exclude_self=exclude_self)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-170, 1e30])
def test_constant_features_are_at_no_distance(value):
    rows = torch.full((40, 9), value, dtype=torch.float64)
    squared, _ = nearest(rows, rows, 3, exclude_self=True)
    assert (squared == 0).all()
