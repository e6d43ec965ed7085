"""Planted copies are found, counted, and shown in pairs; where there are none, none is claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchgen import audit
from benchgen.audits.documents import AuditDocument
from benchgen.evaluation import run
from benchgen.suite import Suite
from reference_models.shapes import draw, render

_N = 200


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """An audit of images of which so many are copies of training images."""
    monkeypatch.chdir(tmp_path)
    images = render(draw(0, range(600 + 300 + _N))).permute(0, 2, 3, 1).numpy()
    train, reference, own = np.split(images, [600, 900])

    def made(count: int) -> AuditDocument:
        copied = own.copy()
        copied[:count] = train[100 : 100 + count]
        for name, content in (("train", train), ("real", reference), ("made", copied)):
            np.save(tmp_path / f"{name}.npy", content)
        suite = Suite.model_validate(
            {
                "reference": {"source": str(tmp_path / "real.npy"), "real": "none"},
                "training": str(tmp_path / "train.npy"),
                "generators": [{"source": str(tmp_path / "made.npy"), "name": "made"}],
                "noise": False,
                "extractors": ["random-conv"],
                "metrics": [{"id": "copy-rate", "params": {"quantile": 0.1}}],
                "audit": {"metrics": {"copy-rate": {"at_most": 0.1}}},
            }
        )
        return audit(run(suite, tmp_path / f"run{count}"))

    return made


@pytest.mark.parametrize(("count", "verdict"), [(0, "pass"), (2, None), (10, None), (40, "fail")])
def test_copies(audited: object, count: int, verdict: str | None) -> None:
    found: AuditDocument = audited(count)  # type: ignore[operator]
    [check] = found.checks
    assert check.interval is not None
    low, high = check.interval
    assert low is not None
    assert high is not None
    assert low <= count / _N <= high
    if verdict is not None:
        assert check.verdict == verdict
    if low > 0:
        shown = [(pair.index, pair.training_index) for pair in found.copies]
        assert shown == [(i, 100 + i) for i in range(8)]
        assert all(pair.distance == pytest.approx(0, abs=1e-3) for pair in found.copies)
        page = Path(f"run{count}/audit/index.html").read_text()
        assert "what looks copied" in page
        assert page.count("data:image/png;base64,") == 16
    else:
        assert found.copies == []
    assert (low > 0) == (count >= 10)
