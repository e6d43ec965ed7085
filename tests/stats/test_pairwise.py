"""All pairs at once say what one pair at a time says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchgen.errors import MetricError
from benchgen.metrics.base import DRAWS, Score, SquaredDistance
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.multiplicity import holm
from benchgen.stats.paired import difference
from benchgen.stats.pairwise import differences
from benchgen.stats.ranking import rank

N, M = 120, 90


def normal(seed: int, n: int = N) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=n))


def made(kind: str, seed: int) -> Estimate:
    """An estimate of a kind whose error is computed in its own way."""
    n = 80 if kind == "fewer" else N
    fake, real = normal(seed, n) + 0.5 * normal(0, n), normal(seed + 100, M) + normal(1, M)
    more: dict[str, Any] = {}
    clusters = None
    value = 2.0 + 0.1 * seed
    if kind == "law":
        draws = 0.02 * normal(seed + 300, 3 * DRAWS).reshape(3, DRAWS)
        more["law"] = SquaredDistance(null_variance=0.001, growth=0.02, draws=draws)
    if kind == "halved":
        more["halvings"] = normal(seed + 200, 32)
    if kind == "share":
        value, more["bounds"] = 0.3 + 0.01 * seed, (0.0, 1.0)
    if kind == "clustered":
        clusters = np.arange(N) % 30
    if kind == "unknown":
        return estimate(Score(value), n=N, m=M)
    if kind == "undefined":
        return estimate(Score(None, reason="too few"), n=N, m=M)
    if kind == "no reference":
        return estimate(Score(value, fake - fake.mean(), **more), n=n, m=None)
    score = Score(value, fake - fake.mean(), real - real.mean(), **more)
    return estimate(score, n=n, m=M, clusters=clusters)


MIXED = ("plain", "law", "halved", "share", "clustered", "unknown", "undefined", "no reference")


@pytest.mark.parametrize("shared_reference", [True, False])
@pytest.mark.parametrize(
    "kinds",
    [(kind,) * 4 for kind in MIXED] + [MIXED, ("plain", "law", "law", "halved", "halved", "plain")],
)
def test_matrices_hold_what_pairs_say(kinds: tuple[str, ...], shared_reference: bool) -> None:
    models = [made(kind, seed) for seed, kind in enumerate(kinds)]
    models.append(models[0])  # a twin: no difference in any image
    k = len(models)
    paired = np.array([[(i + j) % 3 > 0 or k - 1 in (i, j) for j in range(k)] for i in range(k)])
    found = differences(models, paired=paired, shared_reference=shared_reference)
    for i in range(k):
        for j in range(k):
            if i == j:
                continue
            one = difference(
                models[i],
                models[j],
                paired=bool(paired[i, j]),
                shared_reference=shared_reference,
            )
            for told, expected in (
                (found.value, one.value),
                (found.stderr, one.stderr),
                (found.p, one.p),
            ):
                wanted = np.nan if expected is None else expected
                assert told[i, j] == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True)


def test_numbers_of_images_may_differ_where_none_are_paired() -> None:
    models = [made("plain", 1), made("fewer", 2), made("plain", 3)]
    found = differences(models, paired=False, shared_reference=True)
    one = difference(models[0], models[1], paired=False, shared_reference=True)
    assert found.p[0, 1] == pytest.approx(one.p)
    with pytest.raises(MetricError, match="paired images must be equally many"):
        differences(models, paired=True, shared_reference=True)


def test_p_values_are_adjusted_over_the_pairs_that_have_one() -> None:
    models = [made("plain", 1), made("unknown", 2), made("plain", 30), made("plain", 2)]
    found = differences(models, paired=True, shared_reference=True)
    pairs = [(0, 2), (0, 3), (2, 3)]
    adjusted = found.adjusted()
    expected = holm([found.p[pair] for pair in pairs])
    assert [adjusted[pair] for pair in pairs] == pytest.approx(expected)
    assert (adjusted == adjusted.T).all()
    assert (adjusted[1] == 1).all()
    assert (np.diag(adjusted) == 1).all()


def test_nothing_to_compare() -> None:
    assert differences([], paired=True, shared_reference=True).p.shape == (0, 0)
    assert np.isnan(differences([made("plain", 1)], paired=True, shared_reference=True).p).all()


def test_intervals_of_two_hundred_ranks_hold_the_truth_and_copies_are_tied() -> None:
    """Known order in steps, with known ties within each step; seeds and reference are shared."""
    truth = np.repeat(np.arange(40) * 0.05, 5)
    lowest = np.array([1 + (truth < own).sum() for own in truth])
    highest = np.array([(truth <= own).sum() for own in truth])
    inside = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        common, real = random.normal(size=400), torch.from_numpy(random.normal(size=400))
        models = {}
        for place, mean in enumerate(truth):
            rows = torch.from_numpy(common + random.normal(size=400)) + mean
            value = float(rows.mean() - real.mean())
            score = Score(value, rows - rows.mean(), real.mean() - real)
            models[f"m{place:03d}"] = estimate(score, n=400, m=400)
        models["copy"] = models["m100"]
        ranked = {
            one.name: one
            for one in rank(models, direction="lower", shared_reference=True, paired=True)
        }
        for place in range(len(truth)):
            found = ranked[f"m{place:03d}"]
            assert found.lowest is not None
            assert found.highest is not None
            # The copy stands beside the hundredth: it may push ranks by one.
            inside.append(found.lowest <= highest[place] + 1 and found.highest >= lowest[place])
        one, other = ranked["m100"], ranked["copy"]
        assert (one.rank, one.lowest, one.highest) == (other.rank, other.lowest, other.highest)
    assert np.mean(inside) >= 0.93
