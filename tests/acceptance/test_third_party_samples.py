"""Real generated folders: two people's models of MNIST, of which one is visibly better."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import MNIST

import benchgen
from benchgen.suite import Suite

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SAMPLES = SHARED / "third-party-samples-mnist.tar.xz"
DATA_SETS = SHARED / "torchvision-root.tar.xz"


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SAMPLES.is_file() and DATA_SETS.is_file()),
        reason=f"needs {SAMPLES.name} and {DATA_SETS.name} beside the project",
    ),
]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("third-party")
    for archive in (SAMPLES, DATA_SETS):
        with tarfile.open(archive, "r|xz") as file:
            file.extractall(folder, filter="data")
    return folder


def asked(unpacked: Path, **more: object) -> Suite:
    return Suite.model_validate(
        {
            "name": "third-party",
            "reference": {"source": "mnist", "params": {"root": str(unpacked), "split": "test"}},
            "generators": [
                {"source": str(unpacked / "ngau_gmgan")},
                {"source": str(unpacked / "merigot_gmgan")},
            ],
            "extractors": ["digits"],
            **more,
        }
    )


def test_the_better_model_comes_out_better_beyond_the_intervals(
    unpacked: Path, tmp_path: Path
) -> None:
    metrics = ["fid", "fid-corrected", "kid"]
    run = benchgen.run(asked(unpacked, metrics=metrics, n=5000), tmp_path / "run")
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


def test_both_fail_an_audit_and_real_images_do_not(unpacked: Path, tmp_path: Path) -> None:
    suite = asked(
        unpacked,
        n=2000,
        metrics=["coverage"],
        measures=["spectrum"],
        audit={
            "attributes": [{"name": "class@digits", "target": "reference", "distance": 0.05}],
            "metrics": {"coverage": {"at_least": "80% of equal"}},
            "spectrum": 0.5,
        },
    )
    np.save(tmp_path / "train.npy", MNIST(unpacked, train=True).data[:2000].numpy())
    generators = [*suite.model_dump()["generators"], str(tmp_path / "train.npy")]
    made = benchgen.run(suite.replace(generators=generators), tmp_path / "run")
    failed: dict[str, set[str]] = {name: set() for name in made}
    for check in benchgen.audit(made).checks:
        if check.verdict == "fail":
            failed[check.generator].add(check.check)
    assert failed["train"] == set()
    for name in ("ngau_gmgan", "merigot_gmgan"):
        assert failed[name] >= {"coverage", "power spectrum as real images"}
    assert "shares of class@digits on target" in failed["merigot_gmgan"]
