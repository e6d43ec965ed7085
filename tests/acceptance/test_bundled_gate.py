"""The project's own gate: the bundled models against the baselines in ``reports/``."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchgen
from benchgen.gate import words

BASELINES = Path(__file__).parents[2] / "reports" / "baselines"


@pytest.mark.parametrize("suite", [path.name for path in sorted(BASELINES.iterdir())])
def test_bundled_models_are_what_was_accepted(suite: str, tmp_path: Path) -> None:
    outcome = benchgen.run_gate(suite, folder=BASELINES, out=tmp_path)
    assert outcome.exit_code == 0, words.headline(outcome)
    assert set(outcome.made) == {path.stem for path in (BASELINES / suite).glob("*.json")}
    assert all(check.paired for check in outcome.checks)
