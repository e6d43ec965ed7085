"""Real generated folders: two people's models of MNIST, of which one is visibly better."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

import benchgen
from benchgen.suite import Suite

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SAMPLES = SHARED / "third-party-samples-mnist.tar.xz"
DATA_SETS = SHARED / "torchvision-root.tar.xz"


@pytest.mark.slow
@pytest.mark.skipif(
    not (SAMPLES.is_file() and DATA_SETS.is_file()),
    reason=f"needs {SAMPLES.name} and {DATA_SETS.name} beside the project",
)
def test_the_better_model_comes_out_better_beyond_the_intervals(tmp_path: Path) -> None:
    for archive in (SAMPLES, DATA_SETS):
        with tarfile.open(archive, "r|xz") as file:
            file.extractall(tmp_path, filter="data")
    suite = Suite.model_validate(
        {
            "name": "third-party",
            "reference": {"source": "mnist", "params": {"root": str(tmp_path), "split": "test"}},
            "generators": [
                {"source": str(tmp_path / "ngau_gmgan")},
                {"source": str(tmp_path / "merigot_gmgan")},
            ],
            "extractors": ["digits"],
            "metrics": ["fid", "fid-corrected", "kid"],
            "n": 5000,
        }
    )
    run = benchgen.run(suite, tmp_path / "run")
    for metric in ("fid", "fid-corrected", "kid"):
        ngau = run["ngau_gmgan"].record(metric).interval
        merigot = run["merigot_gmgan"].record(metric).interval
        real = run["real"].record(metric).interval
        assert ngau is not None
        assert merigot is not None
        assert real is not None
        assert real[1] < ngau[0]
        assert ngau[1] < merigot[0]
    differences = {d.metric: d for d in benchgen.compare(run["ngau_gmgan"], run["merigot_gmgan"])}
    assert all(d.better == "a" for d in differences.values())
    assert not any(d.difference.paired for d in differences.values())
