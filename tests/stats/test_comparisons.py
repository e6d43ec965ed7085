from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from benchgen.errors import MetricError
from benchgen.metrics.base import DRAWS, Score, SquaredDistance, signs
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.multiplicity import benjamini_hochberg, holm
from benchgen.stats.paired import difference
from benchgen.stats.ranking import rank


def of(values: torch.Tensor, real: torch.Tensor | None = None, **extra) -> Estimate:
    value = float(values.mean()) - (0.0 if real is None else float(real.mean()))
    other = None if real is None else real.mean() - real
    one = Score(value, values - values.mean(), other, **extra)
    return estimate(one, n=len(values), m=None if real is None else len(real))


def noise(seed: int, n: int = 200) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=n))


def test_paired_difference_is_the_paired_t_test():
    x, y = noise(0), noise(0) + 0.3 * noise(1) + 0.05
    found = difference(of(x), of(y), paired=True, shared_reference=False)
    expected = stats.ttest_rel(x, y)
    assert found.value / found.stderr == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(expected.confidence_interval(0.95))
    unpaired = difference(of(x), of(y), paired=False, shared_reference=False)
    assert unpaired.stderr > 3 * found.stderr


def test_no_difference_in_any_image_is_exactly_zero():
    x, y = of(noise(0), noise(9)), of(noise(0), noise(9))
    found = difference(x, y, paired=True, shared_reference=True)
    assert (found.value, found.stderr, found.p, found.interval) == (0.0, 0.0, 1.0, (0.0, 0.0))


def test_a_shared_reference_cancels():
    real = 10 * noise(5)
    x, y = of(noise(1), real), of(noise(2), real)
    shared = difference(x, y, paired=False, shared_reference=True)
    apart = difference(x, y, paired=False, shared_reference=False)
    expected = float((noise(1).var() + noise(2).var()) / 200) ** 0.5
    assert shared.stderr == pytest.approx(expected)
    assert apart.stderr > 5 * shared.stderr


def test_variance_beyond_the_influences_carries_over():
    plain = difference(of(noise(1)), of(noise(2)), paired=False, shared_reference=False)
    wider = [of(noise(seed), extra_variance=float(noise(seed).var()) / 200) for seed in (1, 2)]
    found = difference(*wider, paired=False, shared_reference=False)
    assert found.stderr == pytest.approx(plain.stderr * 2**0.5)


def test_p_values_are_uniform_without_a_difference():
    p = [
        difference(of(noise(2 * i, 80)), of(noise(2 * i + 1, 80)), paired=False,
                   shared_reference=False).p
        for i in range(300)
    ]  # fmt: skip
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_unpaired_groups_of_unequal_size_are_welchs_test():
    x, y = noise(1, 30), 2 * noise(2, 12)
    found = difference(of(x), of(y), paired=False, shared_reference=False)
    expected = stats.ttest_ind(x, y, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.degrees == pytest.approx(expected.df)


def clustered(values: torch.Tensor, labels: np.ndarray, **extra) -> Estimate:
    one = Score(float(values.mean()), values - values.mean(), **extra)
    return estimate(one, n=len(values), m=None, clusters=labels)


def test_clusters_are_summed_in_differences_too():
    labels = np.repeat(np.arange(25), 4)
    shared, held = 0.0, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        prompts, own = rng.normal(size=25)[labels], rng.normal(size=25)[labels]
        x = torch.from_numpy(prompts + rng.normal(size=100))
        y = torch.from_numpy(prompts + 0.7 * own + rng.normal(size=100))
        a, b = clustered(x, labels), clustered(y, labels)
        found = difference(a, b, paired=True, shared_reference=False)
        held += found.interval[0] < 0 < found.interval[1]
        assert found.degrees == pytest.approx(24)
        assert (found.p < 0.05) == (not found.interval[0] <= 0 <= found.interval[1])
        shared += found.stderr / difference(a, b, paired=False, shared_reference=False).stderr
    assert 0.92 <= held / 300 <= 0.98
    assert shared / 300 < 0.9
    with pytest.raises(MetricError, match="clustered alike"):
        difference(a, clustered(y, labels[::-1] // 2), paired=True, shared_reference=False)


def quadratic(means: torch.Tensor, rows: torch.Tensor) -> Estimate:
    """Of |E x - c|², without bias: a U-statistic that degenerates where E x is c."""
    n = len(rows)
    centred = rows - means
    total = centred.sum(dim=0)
    value = float((total @ total - centred.square().sum()) / (n * (n - 1)))
    influence = 2 * (centred @ total - centred.square().sum(dim=1)) / (n - 1)
    influence = influence - influence.mean()
    covariance = torch.cov(rows.T)
    second = 2 * float(covariance.square().sum()) / (n * (n - 1))
    own = rows - rows.mean(dim=0)
    turned = (signs(n, "fake").T @ own).square().sum(dim=1) - own.square().sum()
    draws = torch.stack([turned / (n * (n - 1)), *torch.zeros(2, DRAWS).double()])
    plain = value + float(covariance.trace()) / n
    law = SquaredDistance.of(float(influence.var()) / n, second, plain, draws=draws)
    return estimate(Score(value, influence, law=law), n=n, m=None)


SITUATIONS = {
    "both at equality": (0.0, 0.0, 0.5),
    "one at equality, one near": (0.0, 1.0, 1.0),
    "one at equality, one away": (0.0, 6.0, 0.5),
    "on two sides": (-1.0, 1.0, 1.0),
    "both away, alike": (6.0, 6.0, 0.9),
    "both away, independent": (6.0, 6.0, 0.0),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_paired_differences_are_covered_near_equality_and_away(situation):
    first, second, kept = SITUATIONS[situation]
    n, d, held = 150, 12, 0
    step = torch.ones(d, dtype=torch.float64) / n**0.5 / d**0.5 * 2
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, fresh = (torch.from_numpy(rng.laplace(size=(n, d))) for _ in range(2))
        y = torch.where(torch.from_numpy(rng.random((n, d)) < kept), x, fresh)
        a = quadratic(torch.zeros(d).double(), x + first * step)
        b = quadratic(torch.zeros(d).double(), y + second * step)
        truth = float(step @ step) * (first**2 - second**2)
        found = difference(a, b, paired=True, shared_reference=False)
        held += found.interval[0] <= truth <= found.interval[1]
    assert 0.92 <= held / 300 <= 0.995


def halved(values: torch.Tensor, seed: int) -> Estimate:
    """A mean whose influences are overstated threefold, and its error measured by halving."""
    random = np.random.default_rng(seed)
    first = torch.from_numpy(
        random.permuted(np.arange(len(values)) % 2 * np.ones((100, 1)), axis=1)
    )
    deviations = (first @ values - (1 - first) @ values) / len(values)
    noisy = values - values.mean() + 3 * noise(seed + 1000, len(values))
    one = Score(float(values.mean()), noisy - noisy.mean(), halvings=deviations)
    return estimate(one, n=len(values), m=None)


def test_where_errors_are_halved_so_is_what_two_share():
    x, y = noise(0), noise(0) + 0.3 * noise(1)
    a, b = halved(x, 1), halved(y, 1)
    found = difference(a, b, paired=True, shared_reference=False)
    own = np.hypot(a.stderr, b.stderr)
    apart = float((a.halvings.square() + b.halvings.square()).mean())
    expected = (float((a.halvings - b.halvings).square().mean()) / apart) ** 0.5
    assert found.stderr / own == pytest.approx(expected)
    assert expected == pytest.approx(float((x - y).var() / (x.var() + y.var())) ** 0.5, rel=0.15)
    unrelated = difference(a, b, paired=False, shared_reference=False)
    assert unrelated.stderr == pytest.approx(own)


def test_halving_says_nothing_of_clusters():
    x, labels = noise(0), np.arange(200) // 4
    one = Score(float(x.mean()), x - x.mean(), halvings=noise(1, 100))
    assert estimate(one, n=200, m=None, clusters=labels).halvings is None


def test_unknown_sides_give_no_p_value():
    unknown = estimate(Score(1.0, reason="too few"), n=5, m=None)
    undefined = estimate(Score(None, reason="undefined"), n=5, m=None)
    found = difference(of(noise(1)), unknown, paired=False, shared_reference=False)
    assert found.value is not None
    assert found.p is None
    assert difference(undefined, unknown, paired=False, shared_reference=False).value is None


def test_paired_sides_must_be_equally_long():
    with pytest.raises(MetricError, match="200 and 100"):
        difference(of(noise(1)), of(noise(2, 100)), paired=True, shared_reference=False)
    with pytest.raises(MetricError, match="level"):
        difference(of(noise(1)), of(noise(2)), paired=True, shared_reference=False, level=2)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_benjamini_hochberg_by_hand():
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []


def test_adjustments_are_those_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(40) ** 3
    p[3] = p[7]
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    assert benjamini_hochberg(p) == pytest.approx(multitest.multipletests(p, method="fdr_bh")[1])


@pytest.mark.parametrize("p", [[1.5], [-0.1], [float("nan")]])
def test_p_values_are_checked(p):
    with pytest.raises(MetricError):
        holm(p)


def test_ranks_show_what_the_data_leave_open():
    models = {
        "far": of(noise(1) + 9),
        "good": of(noise(2)),
        "failed": estimate(Score(None, reason="undefined"), n=200, m=None),
        "twin": of(noise(3) + 0.05),
    }
    ranked = rank(models, direction="lower", shared_reference=False, paired=False)
    assert [one.name for one in ranked[2:]] == ["far", "failed"]
    for one in ranked[:2]:
        assert (one.lowest, one.highest, one.tied_with_best) == (1, 2, True)
    assert (ranked[2].rank, ranked[2].lowest, ranked[2].highest) == (3, 3, 3)
    assert not ranked[2].tied_with_best
    assert (ranked[3].rank, ranked[3].lowest, ranked[3].tied_with_best) == (None, None, False)
    upwards = rank(
        models, direction="higher", shared_reference=False, paired={name: None for name in models}
    )
    assert upwards[0].name == "far"
    assert upwards[0].highest == 1


def test_equal_values_share_a_rank_and_unknown_errors_separate_nothing():
    models = {name: estimate(Score(v), n=5, m=None) for name, v in (("a", 1), ("b", 1), ("c", 5))}
    ranked = rank(models, direction="lower", shared_reference=True, paired=True)
    assert [one.rank for one in ranked] == [1, 1, 3]
    assert all((one.lowest, one.highest) == (1, 3) for one in ranked)


def test_ranking_arguments_are_checked():
    with pytest.raises(MetricError, match="direction"):
        rank({}, direction="up", shared_reference=True, paired=True)
    with pytest.raises(MetricError, match="alpha"):
        rank({}, direction="lower", shared_reference=True, paired=True, alpha=5)
    assert rank({}, direction="lower", shared_reference=True, paired=True) == []


def test_a_metric_without_direction_ranks_nothing():
    models = {"b": of(noise(1) + 1), "a": of(noise(2))}
    ranked = rank(models, direction="none", shared_reference=False, paired=False)
    assert [one.name for one in ranked] == ["b", "a"]
    assert all((one.rank, one.lowest, one.highest) == (None, None, None) for one in ranked)
    assert not any(one.tied_with_best for one in ranked)


def test_false_orderings_are_rare_and_rank_intervals_hold_the_truth():
    # Three exact ties, one a little worse, one far worse; seeds and reference are shared.
    truth = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.25, "e": 2.0}
    best = {name: 1 + sum(other < mine for other in truth.values()) for name, mine in truth.items()}
    worst = {name: sum(other <= mine for other in truth.values()) for name, mine in truth.items()}
    wrong = 0
    for seed in range(250):
        rng = np.random.default_rng(seed)
        common, real = rng.normal(size=80), torch.from_numpy(rng.normal(size=80))
        models = {
            name: of(torch.from_numpy(common + 0.8 * rng.normal(size=80) + mean), real)
            for name, mean in truth.items()
        }
        ranked = rank(models, direction="lower", shared_reference=True, paired=True)
        # Every order of the ties must be open, and the true order of the others.
        wrong += any(one.lowest > best[one.name] or one.highest < worst[one.name] for one in ranked)
    assert wrong / 250 <= 0.08
    assert wrong > 0
