"""Group-sequential tests: published boundaries, the error that is kept, p-values that only fall."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchgen.errors import MetricError
from benchgen.stats.sequential import Looks


def walks(fractions: tuple[float, ...], drift: float, count: int = 400_000) -> np.ndarray:
    """Standard normal statistics at each look ``[count, looks]``."""
    random = np.random.default_rng(0)
    steps = np.diff([0.0, *fractions])
    moves = random.standard_normal((count, len(steps))) * steps**0.5 + drift * steps
    return moves.cumsum(axis=1) / np.sqrt(fractions)


def test_boundaries_are_the_published_ones() -> None:
    # Jennison & Turnbull 2000, power-family spending, one-sided 0.025, four equal looks.
    cubic = Looks((1, 2, 3, 4), power=3.0).boundaries(0.025)
    assert cubic == pytest.approx((3.36, 2.76, 2.36, 2.03), abs=0.005)
    assert Looks((500,)).boundaries(0.05) == pytest.approx((stats.norm.isf(0.05),))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_error_over_all_looks_is_alpha(alpha: float) -> None:
    looks = Looks((250, 500, 1000, 2000))
    crossed = walks(looks.fractions, 0.0) >= np.array(looks.boundaries(alpha))
    error = (alpha * (1 - alpha) / len(crossed)) ** 0.5
    assert crossed.any(axis=1).mean() == pytest.approx(alpha, abs=4 * error)
    spent = [alpha * t**looks.power for t in looks.fractions]
    assert np.maximum.accumulate(crossed, axis=1).mean(axis=0) == pytest.approx(
        spent, abs=4 * error
    )


def test_power_is_what_the_drift_promises() -> None:
    looks = Looks((250, 500, 1000, 2000))
    drift = looks.drift(0.05, 0.8)
    crossed = walks(looks.fractions, drift) >= np.array(looks.boundaries(0.05))
    assert crossed.any(axis=1).mean() == pytest.approx(0.8, abs=0.003)
    first = crossed.argmax(axis=1)[crossed.any(axis=1)]
    told = looks.crossing(0.05, drift)
    assert np.bincount(first, minlength=4) / len(crossed) == pytest.approx(told, abs=0.003)


def test_p_values_are_uniform_under_the_null_and_never_rise() -> None:
    looks = Looks((250, 500, 1000))
    nominal = stats.norm.sf(walks(looks.fractions, 0.0, 4_000))
    seen = np.array([[looks.p_value(row[:k]) for k in (1, 2, 3)] for row in nominal.tolist()])
    assert (np.diff(seen, axis=1) <= 0).all()
    for alpha in (0.01, 0.05, 0.2):
        error = (alpha * (1 - alpha) / len(seen)) ** 0.5
        assert (seen[:, -1] <= alpha).mean() == pytest.approx(alpha, abs=4 * error)


def test_a_boundary_of_alpha_has_the_p_value_alpha() -> None:
    looks = Looks((125, 250, 500, 1000))
    for alpha in (0.2, 0.05, 0.003, 1e-6):
        for place, z in enumerate(looks.boundaries(alpha)):
            nominal = [1.0] * place + [float(stats.norm.sf(z))]
            assert looks.p_value(nominal) == pytest.approx(alpha, rel=2e-3)


def test_ends() -> None:
    looks = Looks((100, 200))
    assert looks.p_value([1.0]) == 1.0
    assert looks.p_value([0.0]) < 1e-9
    assert looks.p_value([]) == 1.0
    assert Looks((100,)).p_value([0.03]) == 0.03


def test_halving_begins_where_enough_images_are() -> None:
    assert Looks.halving(2000, 4, 100).sizes == (250, 500, 1000, 2000)
    assert Looks.halving(500, 4, 100).sizes == (125, 250, 500)
    assert Looks.halving(150, 4, 100).sizes == (150,)
    assert Looks.halving(2001, 2, 100).sizes == (1000, 2001)


@pytest.mark.parametrize("sizes", [(), (0, 5), (5, 5), (9, 3)])
def test_looks_must_increase(sizes: tuple[int, ...]) -> None:
    with pytest.raises(MetricError, match="increasing"):
        Looks(sizes)


def test_bad_numbers_are_named() -> None:
    looks = Looks((100, 200))
    with pytest.raises(MetricError, match="alpha is 1"):
        looks.boundaries(1.0)
    with pytest.raises(MetricError, match="no p-values of 2 looks"):
        looks.p_value([0.1, 0.1, 0.1])
    with pytest.raises(MetricError, match="no p-values"):
        looks.p_value([1.5])
    with pytest.raises(MetricError, match=r"power is 0\.01"):
        looks.drift(0.05, 0.01)
