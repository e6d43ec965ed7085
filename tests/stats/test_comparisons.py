from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from benchgen.errors import MetricError
from benchgen.metrics.base import Score
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


def test_paired_difference_is_the_paired_t_test_with_a_normal_quantile():
    x, y = noise(0), noise(0) + 0.3 * noise(1) + 0.05
    found = difference(of(x), of(y), paired=True, shared_reference=False)
    expected = stats.ttest_rel(x, y)
    assert found.value / found.stderr == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue, abs=2e-3)
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
    upwards = rank(models, direction="higher", shared_reference=False, paired=lambda a, b: False)
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
