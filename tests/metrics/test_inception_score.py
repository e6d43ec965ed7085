from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from benchgen.errors import MetricError
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.metrics.inception_score import InceptionScore
from benchgen.stats.estimates import estimate


def scored(rows: torch.Tensor, **parameters) -> Score:
    family = InceptionScore(**parameters)
    return family.compute(family.prepare(), TensorFeatures(rows))["is"]


def logits(n: int, classes: int, sharpness: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    prior = np.random.default_rng(7).normal(size=classes)
    return torch.from_numpy(prior + sharpness * rng.normal(size=(n, classes)))


def sure(n: int, classes: int, seed: int) -> torch.Tensor:
    """Answers that are all but certain, of unequally frequent classes."""
    rng = np.random.default_rng(seed)
    shares = softmax(np.random.default_rng(7).normal(size=classes))
    rows = rng.normal(size=(n, classes))
    rows[np.arange(n), rng.choice(classes, size=n, p=shares)] += 8
    return torch.from_numpy(rows)


def unsure(n: int, classes: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(0.05 * np.random.default_rng(seed).laplace(size=(n, classes)))


def test_sure_and_varied_answers_reach_the_number_of_classes():
    rows = torch.eye(10, dtype=torch.float64).repeat(20, 1) * 2000
    assert scored(rows).value == pytest.approx(10.0, rel=1e-12)


def test_one_answer_for_every_image_scores_one():
    rows = torch.zeros(50, 10)
    rows[:, 3] = 5000.0
    found = scored(rows)
    assert found.value == pytest.approx(1.0)
    assert found.fake_influence.abs().max() < 1e-12


@pytest.mark.parametrize("n", [100, 997])
def test_parity_with_torch_fidelity(n):
    oracle = pytest.importorskip("torch_fidelity.metric_isc")
    rows = logits(n, 30, 2.0)
    theirs = oracle.isc_features_to_metric(rows, splits=10, shuffle=True, rng_seed=2020)
    ours = scored(rows, convention="torch-fidelity")
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours.details["split_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-6)


@pytest.mark.parametrize("n", [100, 12, 997])
def test_parity_with_torchmetrics(n):
    oracle = pytest.importorskip("torchmetrics.image.inception").InceptionScore
    rows = logits(n, 30, 2.0)
    tool = oracle(feature=torch.nn.Identity(), splits=10)
    tool.update(rows)
    torch.manual_seed(0)
    mean, std = tool.compute()
    ours = scored(rows, convention="torchmetrics")
    assert ours.value == pytest.approx(float(mean), rel=1e-6)
    assert ours.details["split_std"] == pytest.approx(float(std), rel=1e-6)


@pytest.mark.parametrize("n", [100, 997])
def test_convention_of_dgm_eval_drops_the_remainder(n):
    rows = logits(n, 30, 2.0)
    shares = softmax(rows.numpy(), axis=1)[np.random.RandomState(2020).permutation(n)]
    parts = [shares[i * (n // 10) : (i + 1) * (n // 10)] for i in range(10)]
    each = [np.exp(np.mean([entropy(row, part.mean(axis=0)) for row in part])) for part in parts]
    ours = scored(rows, convention="dgm-eval")
    assert ours.value == pytest.approx(np.mean(each), rel=1e-9)
    assert ours.details["split_std"] == pytest.approx(np.std(each), rel=1e-6)
    assert int((ours.fake_influence == 0).sum()) == n % 10


def test_leaving_an_image_out_is_exact():
    rows = logits(200, 8, 1.5)
    whole = scored(rows)
    without = [scored(rows[torch.arange(200) != i]).value for i in (3, 150)]
    difference = float(whole.fake_influence[3] - whole.fake_influence[150])
    assert difference == pytest.approx(199 * (without[1] - without[0]), rel=1e-8)


def test_influence_counts_an_image_in_its_own_part():
    rows = logits(400, 8, 1.5)
    parts = [scored(part).fake_influence for part in rows.split(100)]
    whole = scored(rows, splits=4)
    torch.testing.assert_close(whole.fake_influence, torch.cat(parts))


@pytest.mark.parametrize("convention", ["torch-fidelity", "torchmetrics"])
def test_blocks_and_dtype_do_not_matter(convention):
    class Blocks(TensorFeatures):
        def blocks(self):
            yield from self.rows.split(7)

    rows = logits(300, 20, 2.0).float()
    family = InceptionScore(convention=convention)
    found = family.compute(None, Blocks(rows))["is"]
    expected = scored(rows.double(), convention=convention)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.extra_variance == pytest.approx(expected.extra_variance, rel=1e-9)
    torch.testing.assert_close(found.fake_influence, expected.fake_influence)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [lambda n, k, s: logits(n, k, 2.0, s), sure, unsure])
@pytest.mark.parametrize(
    ("classes", "n", "splits"), [(10, 400, 1), (10, 1000, 5), (100, 400, 1), (100, 1000, 5)]
)
def test_intervals_cover_their_expectation(draw, classes, n, splits):
    seen = [
        estimate(scored(draw(n, classes, seed), splits=splits), n=n, m=None) for seed in range(150)
    ]
    target = np.mean([one.value for one in seen])
    covered = np.mean([one.interval[0] <= target <= one.interval[1] for one in seen])
    assert 0.9 <= covered <= 0.99


def test_standard_error_matches_the_spread():
    """Few sure images of each class: the first order alone would fall short by a fifth."""
    seen = [estimate(scored(sure(200, 50, seed)), n=200, m=None) for seed in range(100)]
    spread = np.std([one.value for one in seen], ddof=1)
    assert 0.85 < np.sqrt(np.mean([one.stderr**2 for one in seen])) / spread < 1.2


def test_bias_is_what_more_images_would_add():
    small = [scored(sure(300, 20, seed)) for seed in range(80)]
    large = np.mean([scored(sure(5_000, 20, 1000 + seed)).value for seed in range(8)])
    measured = np.mean([one.value for one in small]) - large
    assert np.mean([one.details["bias"] for one in small]) == pytest.approx(measured, rel=0.35)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from([0.0, 1e-8, 1.0, 1e8, 1e300]),
    st.booleans(),
    st.sampled_from([None, "torch-fidelity", "torchmetrics", "dgm-eval"]),
)
def test_a_number_between_one_and_the_classes_or_an_error(
    n, classes, splits, scale, same, convention
):
    rows = torch.randn(n, classes, generator=torch.Generator().manual_seed(n)).double() * scale
    if same:
        rows[:] = rows[0].clone()
    try:
        found = scored(rows, splits=splits, convention=convention)
    except MetricError:
        assert classes < 2 or n < splits
        return
    assert 1 - 1e-9 <= found.value <= classes + 1e-9
    assert torch.isfinite(found.fake_influence).all()


def test_one_split_is_one_computation():
    assert (
        InceptionScore().parameters
        == InceptionScore(splits=1, convention="dgm-eval").parameters
        == InceptionScore(splits=1, convention="torch-fidelity").parameters
    )
    assert InceptionScore(convention="torchmetrics").parameters["splits"] == 10


def test_bad_input_is_named():
    with pytest.raises(MetricError, match="at most 5"):
        scored(torch.ones(5, 3), splits=6)
    with pytest.raises(MetricError, match="splits is 0"):
        InceptionScore(splits=0)
    with pytest.raises(MetricError, match="NaN"):
        scored(torch.full((5, 3), torch.nan))
    with pytest.raises(MetricError, match="2 classes"):
        scored(torch.ones(5, 1))
    with pytest.raises(MetricError, match="convention"):
        InceptionScore(convention="prdc")
