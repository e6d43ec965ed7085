from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.metrics.base import Score
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.jackknife import jackknife
from benchgen.stats.paired import difference


def kept(x: Tensor, indices: Tensor | None) -> Tensor:
    return x if indices is None else x[indices]


def log_variance(x: Tensor, **extra) -> Estimate:
    def value(fakes: Tensor | None, reals: Tensor | None) -> float:
        return float(kept(x, fakes).var().log())

    return jackknife(Score(value(None, None)), value, n=len(x), m=None, **extra)


def ratio_of_means(x: Tensor, y: Tensor) -> Estimate:
    def value(fakes: Tensor | None, reals: Tensor | None) -> float:
        return float(kept(x, fakes).mean() / kept(y, reals).mean())

    return jackknife(Score(value(None, None)), value, n=len(x), m=len(y))


def gamma(seed: int, n: int, shape: float = 4.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gamma(shape, size=n))


def covered(found: list[Estimate], truth: float) -> float:
    return float(np.mean([one.interval[0] <= truth <= one.interval[1] for one in found]))


def test_single_images_give_the_error_of_a_mean():
    x = gamma(0, 15)
    one = jackknife(
        Score(float(x.mean())), lambda fakes, _: float(kept(x, fakes).mean()), n=15, m=None
    )
    assert one.stderr == pytest.approx(float(x.std()) / 15**0.5)
    assert one.influence.fake == pytest.approx(x - x.mean())
    assert one.degrees == pytest.approx(14)
    assert one.method == "jackknife"


def test_groups_give_kotts_formula():
    x = gamma(1, 400)
    found = log_variance(x)
    groups = found.clusters
    assert torch.equal(torch.bincount(groups), torch.full((20,), 20))
    left = np.array([float(x[groups != g].var().log()) for g in range(20)])
    assert found.stderr**2 == pytest.approx(19 / 20 * ((left - left.mean()) ** 2).sum())
    assert found.degrees == pytest.approx(19)


@pytest.mark.parametrize("n", [200, 207])
def test_a_smooth_statistic_of_one_side_is_covered(n):
    found = [log_variance(gamma(seed, n)) for seed in range(400)]
    values = np.array([one.value for one in found])
    ratio = np.sqrt(np.mean([one.stderr**2 for one in found])) / values.std()
    assert ratio == pytest.approx(1.0, abs=0.12)
    assert 0.91 < covered(found, values.mean()) < 0.985


def test_a_smooth_statistic_of_both_sides_is_covered():
    found = [ratio_of_means(gamma(2 * s, 150), gamma(2 * s + 1, 90, 6.0)) for s in range(400)]
    assert 0.92 < covered(found, 4 / 6) < 0.985
    assert found[0].real_clusters is not None
    assert found[0].degrees > 19


def test_clusters_stay_whole_and_are_covered():
    sizes = np.arange(30) % 5 + 1
    labels = np.repeat(np.arange(30), sizes)

    def draw(seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        return torch.from_numpy(rng.normal(size=30)[labels] + rng.normal(size=len(labels)))

    def mean_of(x: Tensor) -> Estimate:
        return jackknife(
            Score(float(x.mean())),
            lambda fakes, _: float(kept(x, fakes).mean()),
            n=len(x), m=None, clusters=labels,
        )  # fmt: skip

    found = [mean_of(draw(seed)) for seed in range(300)]
    assert 0.91 < covered(found, 0.0) < 0.985
    for label in range(30):
        assert len(set(found[0].clusters[labels == label].tolist())) == 1


def test_the_difference_of_two_is_the_jackknife_of_the_difference():
    x, noise = gamma(3, 200), gamma(4, 200)
    a, b = log_variance(x), log_variance(x + 0.3 * noise)
    found = difference(a, b, paired=True, shared_reference=False)
    groups = a.clusters
    left = np.array(
        [
            float(x[groups != g].var().log() - (x + 0.3 * noise)[groups != g].var().log())
            for g in range(20)
        ]
    )
    assert found.stderr**2 == pytest.approx(19 / 20 * ((left - left.mean()) ** 2).sum())
    assert found.degrees == pytest.approx(19)
    assert found.stderr < a.stderr


def test_without_its_groups_a_jackknife_still_has_its_error():
    x, noise = gamma(5, 200), gamma(6, 200)
    a, b = log_variance(x), log_variance(x + 0.3 * noise)
    known = difference(a, b, paired=True, shared_reference=False)
    bare = [replace(one, clusters=None) for one in (a, b)]
    found = difference(*bare, paired=True, shared_reference=False)
    assert found.stderr == pytest.approx(known.stderr, rel=0.01)
    assert found.p == pytest.approx(known.p, rel=0.05)


def test_what_cannot_be_left_out_has_a_reason():
    def never(fakes: Tensor | None, reals: Tensor | None) -> float:
        raise AssertionError("nothing to compute")

    for found in (
        jackknife(Score(None, reason="undefined"), never, n=50, m=None),
        jackknife(Score(1.0), never, n=1, m=None),
        jackknife(Score(1.0), never, n=4, m=None, clusters=["a"] * 4),
    ):
        assert found.stderr is None
        assert found.reason
    with pytest.raises(MetricError, match="groups is 1"):
        jackknife(Score(1.0), never, n=50, m=None, groups=1)


@pytest.mark.parametrize("left", [None, float("nan")])
def test_a_score_undefined_on_fewer_images_keeps_its_value(left):
    found = jackknife(Score(1.0), lambda fakes, reals: left, n=40, m=None)
    assert (found.value, found.stderr, found.interval) == (1.0, None, None)
    assert "on 38 of 40 images" in found.reason


def test_a_score_that_fails_on_fewer_images_says_why():
    def value(fakes: Tensor | None, reals: Tensor | None) -> float:
        if reals is not None:
            raise MetricError("needs 50 reference images")
        return float(len(fakes))

    found = jackknife(Score(1.0), value, n=40, m=50)
    assert found.stderr is None
    assert "needs 50 reference images" in found.reason


def test_bounds_and_notes_are_kept():
    x = (gamma(7, 100) > 3).double()
    score = Score(float(x.mean()), notes=("as told",), details={"k": 3.0}, bounds=(0.0, 1.0))
    found = jackknife(score, lambda fakes, _: float(kept(x, fakes).mean()), n=100, m=None)
    plain = estimate(
        Score(float(x.mean()), x - x.mean(), bounds=(0.0, 1.0)), n=100, m=None
    )  # fmt: skip
    assert 0 < found.interval[0] < found.interval[1] < 1
    assert found.stderr == pytest.approx(plain.stderr, rel=0.4)
    assert (found.notes, dict(found.details)) == (("as told",), {"k": 3.0})
