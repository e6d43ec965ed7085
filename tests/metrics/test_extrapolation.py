from __future__ import annotations

import numpy as np
import pytest
import torch

from benchgen.errors import MetricError
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.extrapolation import ExtrapolatedFrechet
from benchgen.metrics.frechet import Frechet, frechet_distance
from benchgen.stats.estimates import estimate


def repeat(draw, repetitions: int, points: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, standard errors and plain distances."""
    rows = []
    for seed in range(repetitions):
        real, fake = (TensorFeatures(x) for x in draw(np.random.default_rng(seed)))
        family = ExtrapolatedFrechet(points=points)
        prepared = family.prepare(real)
        score = family.compute(prepared, fake)["fid-inf"]
        found = estimate(score, n=fake.n, m=real.n)
        rows.append((found.value, found.stderr, score.details["largest_subset_value"]))
    values, errors, plain = np.array(rows).T
    return values, errors, plain


def test_the_line_passes_through_subsets_scored_one_by_one(relu_laplace):
    """Nested subsets of 10, 55 and 100 images, and numpy's own regression."""
    real, fake = relu_laplace(4, 100, 120, 1.3, 0.3)(np.random.default_rng(0))
    family = ExtrapolatedFrechet(points=3, seed=5)
    value = family.compute(family.prepare(TensorFeatures(real)), TensorFeatures(fake))["fid-inf"]
    order = torch.randperm(100, generator=torch.Generator().manual_seed(5))
    sizes = [10, 55, 100]
    scores = []
    for size in sizes:
        part = fake[order[:size]]
        scores.append(
            frechet_distance(part.mean(0), torch.cov(part.T), real.mean(0), torch.cov(real.T))
        )
    intercept = np.polyfit(1 / np.array(sizes), scores, 1)[1]
    assert value.value == pytest.approx(intercept, rel=1e-8)
    assert value.details["smallest_subset"] == 10


def test_it_takes_off_the_bias_of_the_generated_side(relu_laplace, score):
    many, _ = relu_laplace(8, 160, 20_000, 1.3, 0.3)(np.random.default_rng(999))
    _, fakes = relu_laplace(8, 20_000, 160, 1.3, 0.3)(np.random.default_rng(998))
    truth = score(Frechet(), fakes, many)["fid-corrected"].value
    values, _, plain = repeat(relu_laplace(8, 160, 20_000, 1.3, 0.3), 20, points=6)
    assert abs(values.mean() - truth) < 0.5 * (plain.mean() - truth)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.4, 0.3)])
def test_standard_error_matches_the_spread(relu_laplace, scale, shift):
    values, errors, _ = repeat(relu_laplace(16, 320, 320, scale, shift), 80, points=6)
    assert 0.8 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.25


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.4, 0.3)])
def test_coverage(relu_laplace, scale, shift):
    values, errors, _ = repeat(relu_laplace(32, 640, 640, scale, shift), 1000)
    covered = np.mean(abs(values - values.mean()) <= 1.96 * errors)
    assert 0.92 < covered < 0.985


def test_subsets_keep_the_shares_of_strata():
    rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double()
    labels = torch.arange(200) % 2
    rows = rows + 50.0 * labels[:, None]
    spread = []
    for features in (TensorFeatures(rows, labels), TensorFeatures(rows)):
        families = [ExtrapolatedFrechet(points=5, seed=seed) for seed in range(6)]
        prepared = families[0].prepare(TensorFeatures(rows + 1))
        values = [family.compute(prepared, features)["fid-inf"].value for family in families]
        spread.append(np.std(values))
    assert spread[0] < 0.2 * spread[1]


def test_seed_and_points_decide_the_number(relu_laplace, score):
    real, fake = relu_laplace(4, 100, 120, 1.3, 0.3)(np.random.default_rng(0))
    values = [
        score(ExtrapolatedFrechet(**parameters), fake, real)["fid-inf"].value
        for parameters in ({}, {}, {"seed": 1}, {"points": 5})
    ]
    assert values[0] == values[1]
    assert len(set(values)) == 3
    assert ExtrapolatedFrechet().parameters == {"points": 15, "seed": 0}


@pytest.mark.parametrize(
    ("n", "m", "side"), [(11, 40, "fake has 11 images"), (40, 4, "real has 4 images")]
)
def test_too_few_images_are_named(score, n, m, side):
    fake, real = torch.randn(n, 4).double(), torch.randn(m, 4).double()
    found = score(ExtrapolatedFrechet(), fake, real)["fid-inf"]
    assert found.value is None
    assert side in found.reason


def test_scale(relu_laplace, score):
    real, fake = relu_laplace(4, 100, 120, 1.3, 0.3)(np.random.default_rng(0))
    one = score(ExtrapolatedFrechet(), fake, real)["fid-inf"].value
    other = score(ExtrapolatedFrechet(), fake * 1e8, real * 1e8)["fid-inf"].value
    assert other == pytest.approx(one * 1e16, rel=1e-9)


def test_bad_parameters_are_named():
    with pytest.raises(MetricError, match="points is 2; use 3 or more"):
        ExtrapolatedFrechet(points=2)
    with pytest.raises(MetricError, match="fid-inf compares with real images"):
        ExtrapolatedFrechet().prepare(None)
