"""A published mean and covariance as the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import benchgen
from benchgen.errors import MetricError, SuiteError
from benchgen.features.digits import DigitsExtractor
from benchgen.images.embedded import load_digits
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.frechet import Frechet, KnownMoments
from benchgen.stats.estimates import estimate
from benchgen.suite import Suite


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Moments of 1,500 digits under the extractor ``digits``; 400 others as ``mine.npy``."""
    images = next(load_digits("reference").read(range(1900), 1900)).images
    np.save(tmp_path / "mine.npy", images[1500:, 0].numpy())
    np.save(tmp_path / "real.npy", images[:1500, 0].numpy())
    rows = DigitsExtractor("cpu")(images[:1500]).features.double().numpy()
    np.savez(tmp_path / "stats.npz", mu=rows.mean(0), sigma=np.cov(rows, rowvar=False))
    return tmp_path / "stats.npz"


def suite(published: Path, **fields: object) -> Suite:
    return Suite.model_validate(
        {
            "reference": f"moments:{published}",
            "generators": [str(published.parent / "mine.npy")],
            "extractors": ["digits"],
            "metrics": ["fid"],
            **fields,
        }
    )


def test_fid_is_that_of_the_images_behind_the_moments(published: Path, tmp_path: Path) -> None:
    run = benchgen.run(suite(published), tmp_path / "run")
    assert list(run) == ["mine", "noise"]
    record = run["mine"].record("fid")
    assert (record.n, record.m) == (400, None)
    assert any("the reference's own error is unknown" in note for note in record.notes)
    reference = {"source": str(published.parent / "real.npy"), "real": "none"}
    whole = benchgen.run(suite(published).replace(reference=reference), tmp_path / "whole")
    same = whole["mine"].record("fid")
    assert record.value == pytest.approx(same.value, rel=1e-5)
    assert record.stderr == pytest.approx(same.stderr, rel=0.3)
    ours, theirs = (r["mine"].columns["influence.fid@digits"] for r in (run, whole))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999
    assert run["noise"].record("fid").value is not None
    assert run.report.is_file()
    again = benchgen.run(suite(published), tmp_path / "run")
    assert again.document.status == "complete"


def test_the_row_real_comes_from_where_the_suite_says(published: Path, tmp_path: Path) -> None:
    real = str(published.parent / "real.npy")
    reference = {"source": f"moments:{published}", "real": real}
    run = benchgen.run(suite(published, reference=reference, n=300), tmp_path / "run")
    assert list(run) == ["mine", "real", "noise"]


def test_what_moments_cannot_serve_is_refused_by_name(published: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(SuiteError, match=r"metrics: kid cannot .*Fréchet.*--metric fid"):
        benchgen.run(suite(published, metrics=["fid", "kid"]), out)
    with pytest.raises(SuiteError, match=r"fid-corrected cannot .*number of reference images"):
        benchgen.run(suite(published, metrics=["fid-corrected"]), out)
    with pytest.raises(SuiteError, match=r"moments of 64 features, .*pixels gives 192"):
        benchgen.run(suite(published, extractors=["pixels"]), out)
    with pytest.raises(SuiteError, match=r"there is nothing at .*none\.npz"):
        benchgen.run(suite(published, reference="moments:none.npz"), out)
    with pytest.raises(SuiteError, match="nothing to compare with moments"):
        benchgen.run(suite(published, generators=[]), out)
    assert not out.exists()


def known(rows: torch.Tensor) -> KnownMoments:
    return KnownMoments(rows.mean(0), torch.cov(rows.T))


def test_the_interval_covers_what_it_claims() -> None:
    """Over repeated samples, near equality and far from it, for these very moments."""
    random = torch.Generator().manual_seed(3)
    reference = known(torch.randn(4000, 6, generator=random, dtype=torch.float64))
    family = Frechet()
    for shift in (0.0, 0.3):
        found = []
        for _ in range(150):
            rows = shift + torch.randn(300, 6, generator=random, dtype=torch.float64)
            score = family.compute(family.prepare(reference), TensorFeatures(rows))["fid"]
            found.append(estimate(score, n=300, m=None))
        values = np.array([one.value for one in found])
        errors = np.array([one.stderr for one in found])
        intervals = np.array([one.interval for one in found])
        assert values.std() == pytest.approx(errors.mean(), rel=0.25)
        covered = (intervals[:, 0] <= values.mean()) & (values.mean() <= intervals[:, 1])
        assert covered.mean() >= 0.9  # of 0.95, at 150 samples


def test_few_images_give_a_value_alone() -> None:
    rows = torch.randn(5, 8, dtype=torch.float64)
    score = Frechet().compute(known(torch.randn(50, 8).double()), TensorFeatures(rows))["fid"]
    assert score.value is not None
    assert score.fake_influence is None
    assert score.reason is not None
    assert "5 images for 8 feature dimensions" in score.reason


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(MetricError, match="7 feature columns, and the moments are of 8"):
        Frechet().compute(known(torch.randn(50, 8).double()), TensorFeatures(torch.randn(20, 7)))
