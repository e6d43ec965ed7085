from __future__ import annotations

import numpy as np
import pytest
import torch

from benchgen.errors import MetricError
from benchgen.metrics.base import (
    FeatureSet,
    Score,
    TensorFeatures,
    all_rows,
    as_feature_set,
    checked_blocks,
)


def test_arrays_become_feature_sets():
    features = as_feature_set(np.arange(6).reshape(3, 2), "fake")
    assert isinstance(features, FeatureSet)
    assert (features.n, features.d) == (3, 2)
    assert all_rows(features, "fake").dtype == torch.float64


def test_blocks_come_in_order_and_again():
    features = TensorFeatures(torch.arange(300 * 8192.0).reshape(300, 8192))
    for _ in range(2):
        blocks = list(features.blocks())
        assert len(blocks) == 2
        assert torch.equal(torch.cat(blocks), features.rows)


@pytest.mark.parametrize("values", [np.ones(3), np.ones((0, 3)), np.ones((2, 2, 2))])
def test_other_shapes_are_refused(values):
    with pytest.raises(MetricError, match=r"expected \[n, d\]"):
        as_feature_set(values, "fake")


def test_the_first_bad_row_is_named_across_blocks():
    rows = torch.zeros(5000, 1)
    rows[4500] = torch.nan
    with pytest.raises(MetricError, match="row 4500"):
        list(checked_blocks(TensorFeatures(rows), "real"))


def test_a_score_is_never_nan():
    with pytest.raises(MetricError, match="value came out as nan"):
        Score(float("nan"))
    with pytest.raises(MetricError, match="bias"):
        Score(1.0, details={"bias": float("inf")})
