"""The benchmark of the metrics at a tiny size: every contestant runs, and they agree."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "metrics.py"
N, D = 240, 12


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_metrics", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


metrics = _load()
CONTESTANTS = [(claim, one) for claim in metrics.CLAIMS for one in claim.contestants]


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
    package = one.name.split(",")[0]
    if importlib.util.find_spec(_module(package)) is None:
        pytest.skip(f"{package} is not installed")
    values = one.load(inputs)()
    one.load(metrics.Inputs(inputs.folder, small=True))()
    same_as = one.same_as or claim.contestants[0].name
    other = next(each for each in claim.contestants if each.name == same_as)
    if one.relative is not None and importlib.util.find_spec(_module(same_as.split(",")[0])):
        difference, allowed = metrics.apart(one, [values], other.load(inputs)(), N)
        assert difference <= allowed


@pytest.mark.parametrize("mode", ["value", "rewritten"])
def test_disagreement_is_found(mode: str) -> None:
    one = metrics.Contestant("peer", lambda _: dict, relative=1e-6)
    found = {"benchgen": _results(1.0), "peer": _results(9.0)}
    value = 2.0 + (1e-5 if mode == "value" else 1e-7)
    found["peer"].apart = metrics.apart(one, [{"fid": value}], {"fid": 2.0}, N)
    claim = metrics.Claim("key", "title", [metrics.Contestant("benchgen", lambda _: dict), one])
    assert [verdict.holds for verdict in metrics._verdicts(claim, found)] == (
        [False] if mode == "value" else []
    )


def test_sampling_errors_and_images_widen_what_is_allowed() -> None:
    one = metrics.Contestant("peer", lambda _: dict, relative=1e-6, images=2)
    rounds = [{"kid": 0.011, "sampling_error": 0.001}, {"kid": 0.01}]
    difference, allowed = metrics.apart(one, rounds, {"kid": 0.01}, 1000)
    assert difference == pytest.approx(0.1)
    assert allowed == pytest.approx(1e-6 + (0.002 + 0.005) / 0.01)


@pytest.mark.parametrize(
    ("ours", "peer", "holds", "told"),
    [
        (1.0, 8.5, True, "claim: at least 8x peer: 8.5x (8.5-8.5): holds"),
        (1.0, 7.5, False, "claim: at least 8x peer: 7.5x (7.5-7.5): does NOT hold"),
        (1.0, None, None, "claim: at least 8x peer: not tested (gone)"),
        (None, 8.5, False, "claim: at least 8x peer: does NOT hold (gone)"),
    ],
)
def test_verdict(ours: float | None, peer: float | None, holds: bool | None, told: str) -> None:
    found = {"benchgen": _results(ours), "peer": _results(peer)}
    verdict = metrics._verdict(metrics.Bound("ratio", 8, "peer"), found["benchgen"], found)
    assert (verdict.holds, verdict.text) == (holds, told)


@pytest.mark.parametrize(("kind", "holds"), [("seconds", True), ("above", False), ("total", False)])
def test_bounds_on_benchgen_alone(kind: Any, holds: bool) -> None:
    found = {"benchgen": _results(1.0)}  # 100 MiB, of which 50 above the features
    verdict = metrics._verdict(metrics.Bound(kind, 40), found["benchgen"], found)
    assert verdict.holds is holds


def test_published_algorithm_where_scipy_lacks_what_a_tool_calls(
    inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "SQRTM_HAS_DISP", False)
    found = metrics._fid_by_sqrtm("no.such.module", "none")(inputs)()
    assert found["fid"] == pytest.approx(metrics._our_fid(inputs)()["fid"], rel=1e-6)


def test_what_fails_is_listed_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = "Traceback ...\nFileNotFoundError: no file /home/someone/there/real.npy | or so\n"
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr=told)
    monkeypatch.setattr(metrics.subprocess, "run", lambda *_, **__: failed)
    claim = metrics.Claim("key", "Title", [metrics.Contestant("benchgen", lambda _: dict)])
    found = {"benchgen": metrics.Results()}
    given = metrics.argparse.Namespace(threads=1, timeout=1.0)
    metrics._round(claim, found, tmp_path, 0, given)
    reason = "round 1: FileNotFoundError: no file real.npy / or so"
    assert found["benchgen"].failure == reason
    assert f"| benchgen |  |  |  | {reason} |  |" in metrics._section(claim, found, [])
    assert [verdict.holds for verdict in metrics._verdicts(claim, found)] == [False]


def test_whole_script(tmp_path: Path) -> None:
    out = tmp_path / "there" / "metrics.json"
    command = [sys.executable, str(SCRIPT), "--only", "is", "--n", "200", "--d", "8"]
    done = subprocess.run(
        [*command, "--repeats", "1", "--threads", "1", "--out", str(out)],
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


def _module(package: str) -> str:
    return {"clean-fid": "cleanfid"}.get(package, package.replace("-", "_"))


def _results(seconds: float | None) -> Any:
    if seconds is None:
        return metrics.Results(failure="gone")
    return metrics.Results([metrics.Measurement(seconds, 50.0, 100.0, {})])
