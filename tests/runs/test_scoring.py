"""`benchgen.score` on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import benchgen
from benchgen.errors import MetricError, UnknownIdError


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    return random.randn(400, 8) + 0.3, random.randn(500, 8)


@pytest.mark.parametrize(
    "metric", ["fid", "fid-corrected", "kid", "precision", "recall", "density", "coverage"]
)
def test_every_feature_metric(metric: str, features: tuple[np.ndarray, np.ndarray]) -> None:
    fake, real = features
    estimate = benchgen.score(metric, fake=fake, real=torch.from_numpy(real))
    assert estimate.value is not None
    assert estimate.stderr is not None
    assert estimate.interval is not None
    assert estimate.interval[0] <= estimate.value <= estimate.interval[1]
    assert (estimate.n, estimate.m) == (400, 500)
    assert estimate.influence.fake is not None
    assert estimate.influence.real is not None
    assert (len(estimate.influence.fake), len(estimate.influence.real)) == (400, 500)


def test_recomputable_fid() -> None:
    random = np.random.RandomState(2023)
    a, b = random.randn(1024, 64), random.randn(1024, 64)
    assert benchgen.score("fid", fake=a, real=b).value == pytest.approx(2.2164077, rel=1e-7)


def test_inception_score_reads_logits() -> None:
    logits = np.eye(5).repeat(20, axis=0) * 50
    estimate = benchgen.score("is", fake_logits=logits)
    assert estimate.value == pytest.approx(5.0)
    with pytest.raises(MetricError, match=r"is reads class logits; give fake_logits=\[n, K\]"):
        benchgen.score("is", fake=logits)


def test_clusters_widen_the_error_of_dependent_images(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    fake, real = features
    tripled = fake.repeat(3, axis=0)
    naive = benchgen.score("kid", fake=tripled, real=real)
    honest = benchgen.score("kid", fake=tripled, real=real, clusters=np.arange(400).repeat(3))
    assert naive.stderr is not None
    assert honest.stderr is not None
    assert honest.stderr > 1.2 * naive.stderr


def test_groups_are_scored_at_equal_n(features: tuple[np.ndarray, np.ndarray]) -> None:
    fake, real = features
    shifted = fake.copy()
    shifted[300:] += 2
    groups = ["a"] * 300 + ["b"] * 100
    estimate = benchgen.score("fid", fake=shifted, real=real, groups=groups)
    assert {name: e.n for name, e in estimate.groups.items()} == {"a": 100, "b": 100}
    a, b = estimate.groups["a"].value, estimate.groups["b"].value
    assert a is not None
    assert b is not None
    assert b > a + 10


def test_conventions_change_what_they_say(features: tuple[np.ndarray, np.ndarray]) -> None:
    fake, real = features
    mine = benchgen.score("precision", fake=fake, real=real, k=5, boundary="<")
    prdc = benchgen.score("precision", fake=fake, real=real, convention="prdc")
    assert mine.value == prdc.value
    with pytest.raises(MetricError, match=r"nobody.*torch-fidelity"):
        benchgen.score("precision", fake=fake, real=real, convention="nobody")


def test_what_is_wrong_is_named(features: tuple[np.ndarray, np.ndarray]) -> None:
    fake, real = features
    with pytest.raises(UnknownIdError, match="did you mean fid"):
        benchgen.score("fido", fake=fake, real=real)
    with pytest.raises(MetricError, match=r"fid compares with real images; give real="):
        benchgen.score("fid", fake=fake)
    with pytest.raises(MetricError, match=r"fid reads features; give fake="):
        benchgen.score("fid", real=real)
    with pytest.raises(MetricError, match=r"its parameters are: k, boundary"):
        benchgen.score("recall", fake=fake, real=real, neighbours=3)
    with pytest.raises(MetricError, match=r"fake has shape \(400,\)"):
        benchgen.score("fid", fake=fake[:, 0], real=real)
    bad = fake.copy()
    bad[17, 3] = np.nan
    with pytest.raises(MetricError, match=r"fake.*row 17"):
        benchgen.score("fid", fake=bad, real=real)
    with pytest.raises(MetricError, match="groups has 3 values for 400 rows"):
        benchgen.score("fid", fake=fake, real=real, groups=["a", "b", "c"])
