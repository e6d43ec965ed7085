"""The short form of the coverage study: intervals hold what they claim."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scipy import stats

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
REPETITIONS = 160


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_intervals_cover_what_they_claim(tmp_path):
    out = tmp_path / "coverage.json"
    command = [sys.executable, SCRIPT, "--short", "--repetitions", str(REPETITIONS), "--out", out]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.is_file(), told.stderr
    document = json.loads(out.read_text())
    low, high = document["claimed"]
    # A coverage at the edge of what is claimed comes out beyond these in 1 of 1,000 studies.
    least = stats.binom.ppf(0.001, REPETITIONS, low) / REPETITIONS
    most = stats.binom.ppf(0.999, REPETITIONS, high) / REPETITIONS
    outside = [
        row
        for row in document["rows"]
        if row["error"] or not (row["coverage"] is None or least <= row["coverage"] <= most)
    ]
    assert not outside, told.stdout
    assert sum(row["coverage"] is not None for row in document["rows"]) > 20
    assert out.with_suffix(".md").read_text().strip() == told.stdout.strip()
