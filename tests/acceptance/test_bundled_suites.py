"""The bundled suites, run and gated; one feature store, so that all is sampled but once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

import benchgen
from benchgen.gate import words
from tests.acceptance.conftest import Command

BASELINES = Path(__file__).parents[2] / "reports" / "baselines"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def _one_store(_isolated: None, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHGEN_CACHE", str(store))


MODELS = ("gan", "diffusion", "pixelcnn", "transformer", "vae", "ppca")


@pytest.mark.timeout(1800)
def test_the_main_job(benchgen_command: Command, tmp_path: Path) -> None:
    """`benchgen run` with no arguments: the ceiling is first, the floor last, beyond doubt."""
    started = time.process_time()
    outcome = benchgen_command("run")
    assert outcome.code == 0, outcome.err
    assert time.process_time() - started < 2 * 240  # four minutes of two processors
    (directory,) = (tmp_path / "here" / "runs").iterdir()
    run = benchgen.Run(directory)
    assert list(run) == [*MODELS, "real", "noise"]
    for metric in ("fid", "kid"):
        low = {row: run[row].record(metric).interval or (0, 0) for row in run}
        assert low["real"][1] < min(low[model][0] for model in MODELS)
        assert low["noise"][0] > max(low[model][1] for model in MODELS)
    corrected = run["real"].record("fid-corrected").interval
    assert corrected is not None
    assert corrected[0] < 0 < corrected[1]
    for row in MODELS:
        assert run[row].document.source.index_pure
        columns = run[row].columns
        least = 0.6 if row == "ppca" else 0.9
        assert (columns["label"] == columns["class@digits"]).mean() > least
    report = json.loads((directory / "report" / "report.json").read_text())
    assert all(board["lines"] for board in report["boards"])


SHAPES = ("diffusion", "transformer", "vae", "ppca")


def test_the_suite_of_shapes(benchgen_command: Command, tmp_path: Path) -> None:
    """`benchgen run shapes`: ceiling, floor, and what the images show by attribute."""
    outcome = benchgen_command("run", "shapes", "-n", "500", "--out", "run")
    assert outcome.code == 0, outcome.err
    run = benchgen.Run(tmp_path / "here" / "run")
    assert list(run) == [*SHAPES, "real", "noise"]
    low = {row: run[row].record("fid").interval or (0, 0) for row in run}
    assert low["real"][1] < min(low[model][0] for model in SHAPES)
    assert low["noise"][0] > max(low[model][1] for model in SHAPES)
    shares = {s.attribute: s for s in run["real"].document.class_shares}
    assert set(shares) == {"class", "shape", "colour", "background"}
    assert len(shares["colour"].classes) == 8
    assert min(shares["colour"].counts) > 500 / 8 / 2
    text = run.report.read_text(encoding="utf-8")
    assert "background <span" in text


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", [path.name for path in sorted(BASELINES.iterdir())])
def test_bundled_models_are_what_was_accepted(suite: str, tmp_path: Path) -> None:
    outcome = benchgen.run_gate(suite, folder=BASELINES, out=tmp_path)
    assert outcome.exit_code == 0, words.headline(outcome)
    assert set(outcome.made) == {path.stem for path in (BASELINES / suite).glob("*.json")}
    assert all(check.paired for check in outcome.checks)
