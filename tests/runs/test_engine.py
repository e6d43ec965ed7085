"""Runs: what they write, that they resume and extend without sampling anything twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

import benchgen
from benchgen.errors import SuiteError
from benchgen.features.store import SHARD, StoredFeatures
from benchgen.metrics.base import FeatureSet, TensorFeatures
from benchgen.runs import passes
from benchgen.runs.documents import json_schema
from benchgen.suite import Suite
from tests.runs.conftest import Blobs


def values(directory: Path) -> dict[str, str]:
    """Everything that a run says, as text; what it took is left out."""
    found = {}
    for path in sorted((directory / "results").iterdir()):
        document = json.loads(path.read_text())
        del document["execution"]
        found[path.name] = json.dumps(document)
    return found


def scored(indices: list[int]) -> list[int]:
    """The indices sampled for scoring: the purity probe (0 and 1, alone and together) comes
    first, once for a generator and seed, and is set aside."""
    assert sorted(indices[:4]) == [0, 0, 1, 1]
    return indices[4:]


def test_a_run_leaves_documents_columns_images_and_a_report(blobs: Blobs, tmp_path: Path) -> None:
    run = benchgen.run(blobs.suite(), tmp_path / "run")
    assert run.document.status == "complete"
    assert list(run) == ["blobs", "real", "noise"]
    schema = json_schema()
    for path in [run.directory / "run.json", *(run.directory / "results").iterdir()]:
        jsonschema.validate(json.loads(path.read_text()), schema)
    result = run["blobs"]
    assert result.document.source.index_pure is True
    assert result.document.n == 300
    assert {r.metric for r in result.document.estimates} == {
        "fid",
        "kid",
        "is",
        "precision",
        "coverage",
    }
    columns = result.columns
    assert list(columns["index"]) == list(range(300))
    assert {"class@digits", "brightness", "influence.fid@digits"} <= set(columns)
    estimate = result.estimate("kid")
    assert estimate.influence.fake is not None
    assert abs(float(estimate.influence.fake.mean())) < 1e-9
    assert len(result.reference_columns) == 300
    halvings = result.estimate("precision").halvings
    assert halvings is not None
    assert float(halvings.square().mean()) > 0
    exhibits = result.document.exhibits
    assert (len(exhibits.sample), len(exhibits.raising), len(exhibits.lowering)) == (64, 12, 12)
    assert all((run.directory / e.file).is_file() for e in exhibits.sample + exhibits.raising)
    assert exhibits.raising[0].influence == pytest.approx(columns["influence.fid@digits"].max())
    assert [(s.reader, s.attribute) for s in result.document.class_shares] == [("digits", "class")]
    assert run.report.is_file()
    assert not pd.isna(run.table()["value"]).any()


def test_values_that_a_measure_has_names_for_are_counted(blobs: Blobs, tmp_path: Path) -> None:
    fields = {"metrics": ["kid"], "measures": ["shapes"], "extractors": ["pixels"]}
    suite = Suite.model_validate(blobs.suite(n=40).model_dump(mode="json") | fields)
    run = benchgen.run(suite, tmp_path / "run")
    shares = {s.attribute: s for s in run["blobs"].document.class_shares}
    assert set(shares) == {"shape", "colour", "background"}  # sizes and places are numbers
    seen = Counter(run["blobs"].columns["colour"])
    assert dict(zip(shares["colour"].classes, shares["colour"].counts, strict=True)) == seen
    assert {s.reader for s in run.document.reference_classes} == {"shapes"}


def test_sets_that_are_read_anew_in_each_pass_give_the_same(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = benchgen.run(blobs.suite(), tmp_path / "held").table()
    kept: list[bool] = []

    def whole(features: StoredFeatures) -> FeatureSet:
        found = in_memory(features)
        kept.append(isinstance(found, TensorFeatures))
        return found

    in_memory = passes._in_memory
    monkeypatch.setattr(passes, "_IN_MEMORY_BYTES", 300 * 64 * 4 - 1)  # a byte less than a row's
    monkeypatch.setattr(passes, "_in_memory", whole)
    anew = benchgen.run(blobs.suite(), tmp_path / "anew").table()
    assert not all(kept)
    pd.testing.assert_frame_equal(held, anew, rtol=1e-9)


def test_rank_of_ceiling_and_floor(blobs: Blobs, tmp_path: Path) -> None:
    table = benchgen.run(blobs.suite(), tmp_path / "run").table()
    for metric in ("fid", "kid"):
        lines = table[table.metric == metric].set_index("row")
        assert lines.place["real"] == 1
        assert lines.high["real"] < lines.low["blobs"]
        assert lines.high["real"] < lines.low["noise"]


def test_a_finished_run_is_a_no_op(blobs: Blobs, tmp_path: Path) -> None:
    benchgen.run(blobs.suite(), tmp_path / "run")
    blobs.sampled()
    before = values(tmp_path / "run")
    benchgen.run(blobs.suite(), tmp_path / "run")
    assert blobs.sampled() == []
    assert values(tmp_path / "run") == before


def test_extending_n_samples_only_what_is_new(blobs: Blobs, tmp_path: Path) -> None:
    benchgen.run(blobs.suite(500), tmp_path / "run")
    blobs.sampled()
    benchgen.run(blobs.suite(1000), tmp_path / "run")
    assert blobs.sampled() == list(range(500, 1000))
    fresh = tmp_path / "fresh"
    benchgen.run(blobs.suite(1000), fresh)
    assert values(fresh) == values(tmp_path / "run")


def test_more_generators_and_metrics_extend_a_run(blobs: Blobs, tmp_path: Path) -> None:
    benchgen.run(blobs.suite(), tmp_path / "run")
    blobs.sampled()
    suite = blobs.suite()
    more = suite.replace(
        generators=[*suite.generators, {"source": "acme/blobs", "name": "twin"}],
        metrics=[*suite.metrics, {"id": "recall"}],
    )
    run = benchgen.run(more, tmp_path / "run")
    assert list(run) == ["blobs", "twin", "real", "noise"]
    assert run["twin"].estimate("recall").value == run["blobs"].estimate("recall").value
    assert blobs.sampled() == []  # the twin's images are the same, and were in the store


def test_another_suite_in_the_same_directory_is_refused(blobs: Blobs, tmp_path: Path) -> None:
    benchgen.run(blobs.suite(), tmp_path / "run")
    with pytest.raises(SuiteError, match=r"seed was 0, is 1\); choose another --out"):
        benchgen.run(blobs.suite().replace(seed=1), tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(SuiteError, match="is not empty and holds no run"):
        benchgen.run(blobs.suite(), tmp_path / "mine")


def test_a_generator_that_fails_half_way_loses_nothing(blobs: Blobs, tmp_path: Path) -> None:
    run = benchgen.run(blobs.suite(1000, fail_at=700), tmp_path / "run")
    assert run.document.status == "incomplete"
    assert (
        "acme/blobs raised RuntimeError while sampling images 625 to 749: out of luck"
        in (run.failures["blobs"])
    )
    assert run["real"].document.error is None
    assert scored(blobs.sampled()) == list(range(625))
    blobs.mend()
    run = benchgen.run(blobs.suite(1000, fail_at=700), tmp_path / "run")
    assert run.document.status == "complete"
    assert blobs.sampled() == list(range(500, 1000))
    assert run.failures == {}


@pytest.mark.slow
def test_ten_kills_change_no_value_and_sample_nothing_twice(blobs: Blobs, tmp_path: Path) -> None:
    _check_kill_and_resume(blobs, tmp_path, kills=10)


def test_kills_change_no_value_and_sample_nothing_twice(blobs: Blobs, tmp_path: Path) -> None:
    _check_kill_and_resume(blobs, tmp_path, kills=2)


def _check_kill_and_resume(blobs: Blobs, tmp_path: Path, kills: int) -> None:
    """SIGKILL the run at random moments; each restart uses the same command."""
    suite = tmp_path / "suite.toml"
    suite.write_text(blobs.suite(2000, slow=0.15).toml())
    command = [sys.executable, "-m", "benchgen", "run", str(suite), "--out", str(tmp_path / "run")]
    environment = _environment(tmp_path)
    chance = random.Random(4)
    for _ in range(kills):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(2.0, 9.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    events = [json.loads(e) for e in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    shards = Counter((e["row"], e["start"]) for e in events if e["event"] == "shard")
    assert max(shards.values()) == 1
    counts = Counter(blobs.sampled())
    assert set(counts) == set(range(2000))
    twice = sum(counts.values()) - 2000
    assert twice <= 4 + kills * (SHARD + 4)  # the probe, and the shard in flight at each kill
    fresh = benchgen.run(Suite.load(suite), tmp_path / "fresh")
    assert values(fresh.directory) == values(tmp_path / "run")


def _environment(tmp_path: Path) -> dict[str, str]:
    import os

    return {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "BENCHGEN_CACHE": str(tmp_path / "other-cache"),
    }


def test_scores_do_not_depend_on_batch_size(
    blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = {}
    for batch_size in (1, 7, 256):
        monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / f"cache-{batch_size}"))
        suite = blobs.suite(250).replace(execution={"batch_size": batch_size})
        runs[batch_size] = benchgen.run(suite, tmp_path / f"run-{batch_size}")["blobs"]
    for other in (7, 256):
        for metric in ("fid", "kid", "is"):
            one, two = runs[1].record(metric), runs[other].record(metric)
            assert one.value is not None
            assert two.value is not None
            assert one.stderr is not None
            assert abs(one.value - two.value) < 1e-3 * one.stderr
        for metric in ("precision", "coverage"):
            one, two = runs[1].record(metric), runs[other].record(metric)
            assert one.value is not None
            assert two.value is not None
            counted = one.n if metric == "precision" else one.m
            assert abs(one.value - two.value) * (counted or 0) <= 2
