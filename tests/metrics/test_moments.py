from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.covariances.moments import Moments, moments


class Blocks:
    """A feature set cut where a test wants it cut."""

    def __init__(self, rows: torch.Tensor, sizes: list[int]) -> None:
        self.parts = list(torch.split(rows, sizes))
        self.n, self.d = rows.shape

    def blocks(self):
        yield from self.parts


def test_merge_is_exact_far_from_the_origin():
    rows = torch.randn(5000, 6, dtype=torch.float64) + 1e4
    merged = moments(Blocks(rows, [1, 7, 992, 4000]))
    torch.testing.assert_close(merged.covariance, torch.cov(rows.T), rtol=1e-10, atol=1e-12)
    assert merged.n == 5000


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 40), d=st.integers(1, 5), cut=st.integers(1, 39))
def test_merging_is_the_whole(n, d, cut):
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(n)).double()
    cut = min(cut, n - 1)
    merged = Moments.of(rows[:cut]).merge(Moments.of(rows[cut:]))
    torch.testing.assert_close(merged.mean, rows.mean(dim=0))
    torch.testing.assert_close(merged.covariance, torch.cov(rows.T).reshape(d, d))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(1, 3), "at least 2 images"),
        (torch.full((4, 3), torch.inf), "NaN or an infinity in 4 of 4 rows"),
        (torch.tensor([[1e200], [-1e200]], dtype=torch.float64), "overflows float64; rescale"),
    ],
)
def test_bad_rows_are_named(rows, message):
    with pytest.raises(MetricError, match=message):
        moments(TensorFeatures(rows))


def test_a_set_without_blocks_is_named():
    empty = Blocks(torch.ones(3, 2), [3])
    empty.parts = []
    with pytest.raises(MetricError, match="yields no blocks though it declares 3 rows"):
        moments(empty)
