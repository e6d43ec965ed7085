"""Scores beyond the plain ones: likelihoods, classes, training images, spatial features."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import benchgen
from benchgen.errors import SuiteError
from benchgen.images.embedded import load_digits
from benchgen.runs.comparison import compare
from benchgen.suite import Suite
from tests.conftest import InstallPlugin

GAUSSIAN = """
    import math

    import torch
    from benchgen import GeneratorSpec, hookimpl

    class Levels:
        '''Grey levels from a fixed distribution that favours black; it can be asked for it.'''

        def __init__(self, black):
            self.black = black

        def sample(self, batch):
            u = batch.uniform(1, 28, 28)
            rest = ((u - self.black) / (1 - self.black) * 255).floor() + 1
            return torch.where(u < self.black, 0, rest.clamp(1, 255)).to(torch.uint8)

        def log_likelihood(self, images, batch):
            assert images.shape[1:] == (1, 28, 28) and images.dtype == torch.uint8
            assert len(batch.indices) == len(images)
            black = (images == 0).flatten(1).sum(1).double()
            other = images[0].numel() - black
            return black * math.log(self.black) + other * math.log((1 - self.black) / 255)

    @hookimpl
    def benchgen_generators():
        black = {{"type": "number", "default": 0.8}}
        return [GeneratorSpec(
            name="levels", factory=__name__ + ":Levels", resolution={size}, channels=1,
            parameters={{"black": black}}, likelihood=True,
        )]
"""


@pytest.fixture
def reals(tmp_path: Path) -> Path:
    images = next(load_digits("reference").read(range(300), 300)).images
    np.save(tmp_path / "reals.npy", images[:, 0].numpy())
    return tmp_path / "reals.npy"


def suite(reference: Path | str, **fields: object) -> Suite:
    return Suite.model_validate(
        {"reference": str(reference), "extractors": ["digits"], "n": 120, **fields}
    )


def test_likelihood_is_exact_and_paired_over_the_held_out_images(
    install_plugin: InstallPlugin, reals: Path, tmp_path: Path
) -> None:
    install_plugin("acme", GAUSSIAN.format(size=(28, 28)))
    generators = [
        {"source": "levels", "params": {"black": share}, "name": name}
        for name, share in (("right", 0.8), ("wrong", 0.5))
    ]
    asked = suite(reals, generators=generators, metrics=["nll", "kid"])
    asked = asked.replace(reference={"source": str(reals), "real": "none"})
    run = benchgen.run(asked, tmp_path / "run")
    assert run.document.status == "complete"
    images = np.load(reals).reshape(300, -1)
    black = (images == 0).mean(axis=1)

    def bits(share: float) -> np.ndarray:
        return -(black * math.log2(share) + (1 - black) * math.log2((1 - share) / 255))

    right = run["right"].estimate("nll", None)
    assert right.value == pytest.approx(bits(0.8).mean(), rel=1e-12)
    assert right.stderr == pytest.approx(bits(0.8).std(ddof=1) / 300**0.5, rel=1e-9)
    assert (right.n, right.m) == (300, 300)
    noise = run["noise"].estimate("nll", None)
    ends = ((images == 0) | (images == 255)).mean()
    assert noise.value == pytest.approx(math.log2(255) + ends, rel=1e-12)
    [found] = [d for d in compare(run["wrong"], run["right"]) if d.metric == "nll"]
    spread = (bits(0.5) - bits(0.8)).std(ddof=1) / 300**0.5
    assert found.difference.stderr == pytest.approx(spread, rel=1e-9)
    assert found.better == "b"


def test_what_has_no_likelihood_says_so(reals: Path, tmp_path: Path) -> None:
    run = benchgen.run(suite(reals, metrics=["nll"]), tmp_path / "run")
    reasons = {name: run[name].document.estimates[0].reason for name in run}
    assert "real offers no likelihood" in str(reasons["real"])
    assert reasons["noise"] is None


def test_another_size_has_no_likelihood(
    install_plugin: InstallPlugin, reals: Path, tmp_path: Path
) -> None:
    code = GAUSSIAN.replace("1, 28, 28)", "1, 32, 32)").format(size=(32, 32))
    install_plugin("acme", code)
    run = benchgen.run(suite(reals, generators=["levels"], metrics=["nll"]), tmp_path / "run")
    [record] = run["levels"].document.estimates
    assert record.value is None
    assert "makes images of (32, 32); the real ones are (28, 28)" in str(record.reason)


def test_classes_are_scored_against_their_own_reference(tmp_path: Path) -> None:
    asked = suite("digits", generators=["mnist-gan"], metrics=["kid", "fid", "is"], per_class=True)
    run = benchgen.run(asked, tmp_path / "run")
    groups = run["mnist-gan"].document.groups
    assert sorted(groups) == [str(digit) for digit in range(10)]
    for records in groups.values():
        assert {(r.metric, r.n) for r in records} == {("kid", 12), ("fid", 12), ("is", 12)}
        assert {r.m for r in records} == {250, None}
    # An image of another class than its reference is far from it.
    whole = run["mnist-gan"].document.estimates[0].value
    assert whole is not None
    assert all(r.value is not None and r.value < 0.1 for rs in groups.values() for r in rs[:1])
    assert run["noise"].document.groups == {}
    assert any("no values per class" in text for text in run["noise"].document.warnings)
    assert "Within classes" in run.report.read_text()
    again = benchgen.run(asked, tmp_path / "run")
    assert again["mnist-gan"].document.groups == groups


def test_copies_of_training_images_are_found(tmp_path: Path) -> None:
    images = torch.cat([b.images for b in load_digits("held-out").read(range(2500), 500)])[:, 0]
    fresh, train = images[:400], images[400:]
    made = fresh.clone()
    made[:200] = train[:200]
    for name, part in (("train", train), ("made", made), ("fresh", fresh)):
        np.save(tmp_path / f"{name}.npy", part.numpy())
    asked = Suite.model_validate(
        {
            "reference": {"source": "digits", "real": str(tmp_path / "fresh.npy")},
            "training": str(tmp_path / "train.npy"),
            "generators": [str(tmp_path / "made.npy")],
            "extractors": ["digits"],
            "metrics": ["copy-rate", "ct", "authpct", "fid"],
        }
    )
    run = benchgen.run(asked, tmp_path / "run")
    assert run.document.training is not None
    copied, clean = (run[name].estimate("copy-rate", "digits") for name in ("made", "real"))
    assert copied.value == pytest.approx(0.5, abs=0.05)
    assert clean.value == pytest.approx(0.0, abs=0.05)
    stated = run["made"].document.fingerprints
    training = {name for p in stated.values() for name in p if name == "training"}
    assert training == {"training"}
    with pytest.raises(SuiteError, match=r"copy-rate, ct, authpct compares? with .*training"):
        benchgen.run(asked.replace(training=None), tmp_path / "other")


def test_spatial_metrics_want_spatial_features(reals: Path, tmp_path: Path) -> None:
    run = benchgen.run(suite(reals, metrics=["sfid"]), tmp_path / "run")
    [record] = run["real"].document.estimates
    assert record.value is None
    assert "inception-spatial" in str(record.reason)
