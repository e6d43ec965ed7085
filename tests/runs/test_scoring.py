"""`benchgen.score` on plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import benchgen
from benchgen.errors import MetricError, UnknownIdError
from tests.conftest import InstallPlugin


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
    with pytest.raises(MetricError, match=r"fid reads features \[n, d\]; give fake="):
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


def test_groups_compare_with_their_own_reference(
    features: tuple[np.ndarray, np.ndarray],
) -> None:
    fake, real = features
    ours, theirs = ["a"] * 200 + ["b"] * 200, ["a"] * 100 + ["b"] * 300 + ["c"] * 100
    moved_fake, moved_real = fake.copy(), real.copy()
    moved_fake[200:] += 50
    moved_real[100:400] += 50
    estimate = benchgen.score(
        "kid", fake=moved_fake, real=moved_real, groups=ours, real_groups=theirs
    )
    assert {name: (e.n, e.m) for name, e in estimate.groups.items()} == {
        "a": (200, 100),
        "b": (200, 100),
    }
    own = benchgen.score("kid", fake=fake[:200], real=real[:100])
    assert estimate.groups["a"].value == pytest.approx(own.value)
    with pytest.raises(MetricError, match=r"group 'b' has no reference image \(.*'a', 'c'\)"):
        benchgen.score("kid", fake=fake, real=real, groups=ours, real_groups=["a", "c"] * 250)
    with pytest.raises(MetricError, match="single reference"):
        benchgen.score("vendi", fake=fake, groups=ours, real_groups=theirs)


def test_references_are_asked_for_by_name(features: tuple[np.ndarray, np.ndarray]) -> None:
    fake, real = features
    with pytest.raises(MetricError, match=r"ct compares with test images; give test="):
        benchgen.score("ct", fake=fake, train=real)
    with pytest.raises(MetricError, match=r"fid takes real; leave out train="):
        benchgen.score("fid", fake=fake, real=real, train=real)
    by_role = benchgen.score("authpct", fake=fake, train=real)
    assert benchgen.score("authpct", fake=fake, real=real).value == by_role.value


def test_bits_may_come_as_a_plain_list() -> None:
    estimate = benchgen.score("nll", fake=[7.0, 8.0, 9.0])
    assert estimate.value == 8.0
    assert estimate.stderr == pytest.approx(3**-0.5)


RATIO = """
    from benchgen import MetricSpec, hookimpl
    from benchgen.metrics.base import Score, all_rows

    class Ratio:
        parameters = {}

        def prepare(self, real):
            return float(all_rows(real, "real").mean())

        def compute(self, prepared, fake):
            return {"ratio": Score(float(all_rows(fake, "fake").mean()) / prepared)}

    @hookimpl
    def benchgen_metrics():
        return [MetricSpec(
            name="ratio", factory=__name__ + ":Ratio", title="Ratio", direction="higher"
        )]
"""


def test_a_metric_without_influence_has_its_error_from_a_jackknife(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("acme", RATIO)
    random = np.random.RandomState(1)
    fake, real = random.rand(400, 1) + 1, random.rand(600, 1) + 2
    estimate = benchgen.score("ratio", fake=fake, real=real)
    assert estimate.method == "jackknife"
    x, y = fake.mean(), real.mean()
    expected = np.hypot(fake.std() / 20 / y, x * real.std() / 600**0.5 / y**2)
    assert estimate.value == pytest.approx(x / y)
    assert estimate.stderr == pytest.approx(expected, rel=0.35)
    again = benchgen.score("ratio", fake=fake, real=real)
    assert again.stderr == estimate.stderr
