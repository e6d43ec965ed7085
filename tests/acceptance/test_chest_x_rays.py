"""An audit of medical images by class: unequal shares fail, and a class of few is insufficient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import benchgen
from benchgen.audits.documents import AuditDocument
from benchgen.suite import Suite

X_RAYS = Path(__file__).parents[2].parent / "shared" / "data" / "pneumoniamnist.npz"
NORMAL, PNEUMONIA = "0", "1"


@pytest.fixture
def audited(tmp_path: Path) -> object:
    """An audit of so many real X-rays of each class, against others."""
    content = np.load(X_RAYS)

    def made(normal: int, pneumonia: int) -> AuditDocument:
        labels = content["train_labels"].ravel()
        rows = np.concatenate(
            [np.flatnonzero(labels == kind)[:n] for kind, n in enumerate((normal, pneumonia))]
        )
        for name, images, classes in (
            ("real", content["test_images"], content["test_labels"].ravel()),
            ("samples", content["train_images"][rows], labels[rows]),
        ):
            np.savez(tmp_path / f"{name}.npz", images, labels=classes)
        suite = Suite.model_validate(
            {
                "reference": {"source": str(tmp_path / "real.npz"), "real": "none"},
                "generators": [str(tmp_path / "samples.npz")],
                "noise": False,
                "n": normal + pneumonia,
                "extractors": ["random-conv"],
                "metrics": ["kid"],
                "measures": ["image-stats"],
                "audit": {
                    "attributes": [
                        {"name": "label", "target": "uniform", "distance": 0.1, "parity": 0.5}
                    ]
                },
            }
        )
        return benchgen.audit(benchgen.run(suite, tmp_path / f"run{pneumonia}"))

    return made


@pytest.mark.skipif(not X_RAYS.is_file(), reason=f"needs {X_RAYS.name} beside the project")
@pytest.mark.parametrize(
    ("normal", "pneumonia", "verdicts"),
    [
        (200, 200, {"pass"}),
        (300, 60, {"fail"}),
        (15, 8, {"insufficient"}),
    ],
)
def test_x_rays_by_class(audited: object, normal: int, pneumonia: int, verdicts: set[str]) -> None:
    found: AuditDocument = audited(normal, pneumonia)  # type: ignore[operator]
    assert {check.verdict for check in found.checks} == verdicts
    [record] = found.attributes
    counts = {share.kind: share.count for share in record.shares}
    assert counts == {NORMAL: normal, PNEUMONIA: pneumonia}
