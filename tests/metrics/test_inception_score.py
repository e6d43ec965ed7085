from __future__ import annotations

import numpy as np
import pytest
import torch

from benchgen.errors import MetricError
from benchgen.metrics.inception_score import InceptionScore


def logits(n: int, classes: int, sharpness: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    prior = np.random.default_rng(7).normal(size=classes)
    return torch.from_numpy(prior + sharpness * rng.normal(size=(n, classes)))


def test_sure_and_varied_answers_reach_the_number_of_classes(score):
    rows = torch.eye(10, dtype=torch.float64).repeat(20, 1) * 2000
    assert score(InceptionScore(), rows)["is"].value == pytest.approx(10.0, rel=1e-12)


def test_one_answer_for_every_image_scores_one(score):
    rows = torch.zeros(50, 10)
    rows[:, 3] = 5000.0
    found = score(InceptionScore(), rows)["is"]
    assert found.value == pytest.approx(1.0)
    assert found.fake_influence.abs().max() < 1e-12


@pytest.mark.parametrize("n", [100, 997])
def test_parity_with_torch_fidelity(score, n):
    oracle = pytest.importorskip("torch_fidelity.metric_isc")
    rows = logits(n, 30, 2.0)
    theirs = oracle.isc_features_to_metric(rows, splits=10, shuffle=True, rng_seed=2020)
    ours = score(InceptionScore(convention="torch-fidelity"), rows)["is"]
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=1e-6)
    assert ours.details["split_std"] == pytest.approx(theirs["inception_score_std"], rel=1e-6)


@pytest.mark.parametrize("splits", [1, 4])
def test_influence_is_the_effect_of_an_image(score, splits):
    rows = logits(1200, 8, 1.5)
    whole = score(InceptionScore(splits=splits), rows)["is"]
    for i in (3, 700):
        start = i // (1200 // splits) * (1200 // splits)
        part = rows[start : start + 1200 // splits]
        value = score(InceptionScore(), part)["is"].value
        without = score(InceptionScore(), part[torch.arange(len(part)) != i - start])["is"].value
        effect = (len(part) - 1) * (value - without)
        tolerance = 0.02 * float(whole.fake_influence.std())
        assert float(whole.fake_influence[i]) == pytest.approx(effect, rel=0.03, abs=tolerance)


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("splits", [1, 5])
def test_standard_error_matches_the_spread(stderr_over_spread, classes, splits):
    def draw(rng):
        prior = np.random.default_rng(7).normal(size=classes)
        return None, torch.from_numpy(prior + 2 * rng.normal(size=(600, classes)))

    ratio = stderr_over_spread(InceptionScore(splits=splits), draw)["is"]
    assert 0.8 < ratio < 1.2


def test_bad_input_is_named(score):
    with pytest.raises(MetricError, match="at most 5"):
        score(InceptionScore(splits=6), torch.ones(5, 3))
    with pytest.raises(MetricError, match="splits is 0"):
        InceptionScore(splits=0)
    with pytest.raises(MetricError, match="NaN"):
        score(InceptionScore(), torch.full((5, 3), torch.nan))
    with pytest.raises(MetricError, match="convention"):
        InceptionScore(convention="prdc")
