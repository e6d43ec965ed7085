"""The benchmark of the metrics at a tiny size: every contestant runs, and they agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks_loading import BENCHMARKS, contestants, is_installed, load

claims, metrics = load("claims"), load("metrics")
CONTESTANTS = contestants(metrics.BENCHMARK)
N, D = 240, 12


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("inputs")
    metrics.write_inputs(folder, N, D)
    return metrics.Inputs(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("claim", "one"), CONTESTANTS, ids=[f"{claim.key}: {one.name}" for claim, one in CONTESTANTS]
)
def test_contestant_runs_and_agrees(claim: Any, one: Any, inputs: Any) -> None:
    if not is_installed(one.name):
        pytest.skip(f"{one.name.split(',')[0]} is not installed")
    values = one.load(inputs)()
    one.load(metrics.Inputs(inputs.folder, small=True))()
    same_as = one.same_as or claim.contestants[0].name
    other = next(each for each in claim.contestants if each.name == same_as)
    if one.relative is not None and is_installed(same_as):
        difference, allowed = claims.apart(one, [values], other.load(inputs)(), N)
        assert difference <= allowed


def test_published_algorithm_where_scipy_lacks_what_a_tool_calls(
    inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SQRTM_HAS_DISP", False)
    found = metrics._fid_by_sqrtm("no.such.module", "none")(inputs)()
    assert found["fid"] == pytest.approx(metrics._our_fid(inputs)()["fid"], rel=1e-6)


def test_whole_script(tmp_path: Path) -> None:
    out = tmp_path / "there" / "metrics.json"
    command = [sys.executable, str(BENCHMARKS / "metrics.py"), "--only", "is", "--n", "200"]
    done = subprocess.run(
        [*command, "--d", "8", "--repeats", "1", "--threads", "1", "--out", str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("round 1") == 2
    document = json.loads(out.read_text())
    assert (document["n"], document["d"], document["threads"]) == (200, 8, 1)
    ours = document["claims"]["is"]["contestants"]["benchgen"]
    (run,) = ours["rounds"]
    assert run["seconds"] > 0
    assert run["peak"] >= run["before"] > 0
    assert 1 < run["values"]["is"] < metrics.CLASSES
    table = out.with_suffix(".md").read_text()
    assert "## Inception score" in table
    assert "| benchgen | " in table
