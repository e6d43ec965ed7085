"""Whole commands: what they print, what they write, what they load."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchgen.host.loader import host
from tests.acceptance.conftest import Command, write_digits


def test_listing_loads_no_torch() -> None:
    code = (
        "import sys, benchgen;"
        "from benchgen.cli.main import app;"
        "from typer.testing import CliRunner;"
        "runner = CliRunner();"
        "args = [['--help'], ['plugins', 'list']] + [['ls', k] for k in "
        "('generators', 'references', 'extractors', 'measures', 'metrics', 'suites')];"
        "results = [runner.invoke(app, a) for a in args];"
        "assert all(r.exit_code == 0 for r in results), results;"
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_is_quick() -> None:
    command = [sys.executable, "-m", "benchgen", "--help"]
    took = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.5


def test_run_prints_the_table_and_writes_everything(
    benchgen_command: Command, tmp_path: Path
) -> None:
    outcome = benchgen_command(
        "run", "-g", "static=noise", "-n", "60", "-e", "pixels", "-m", "kid", "-m", "fid"
    )
    assert outcome.code == 0, outcome.err
    assert "static" in outcome.out
    assert "±" in outcome.out
    assert "nan" not in outcome.out.lower()
    (run,) = (tmp_path / "here" / "runs").iterdir()
    assert run.name.startswith("digits-")
    for name in ("run.json", "suite.toml", "events.jsonl", "results/real.json"):
        assert (run / name).is_file()
    for name in ("index.html", "report.md", "report.csv", "report.json"):
        assert (run / "report" / name).is_file()
    again = benchgen_command("run", run / "suite.toml", "--out", run)
    assert again.code == 0
    assert "is finished; nothing to do" in again.err


def test_run_of_folders_with_class_labels(benchgen_command: Command, tmp_path: Path) -> None:
    reference = write_digits(tmp_path / "reference", 80)
    mine = write_digits(tmp_path / "mine", 40, start=100)
    outcome = benchgen_command(
        "run", "-r", reference, "-g", mine, "-e", "digits", "-m", "kid", "-o", tmp_path / "run"
    )
    assert outcome.code == 0, outcome.err
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["reference"]["classes"] == [str(digit) for digit in range(10)]
    assert document["reference"]["size"] == 40
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert {row["name"] for row in report["rows"]} == {"mine", "real", "noise"}


def test_an_id_goes_before_a_folder_of_that_name(benchgen_command: Command, tmp_path: Path) -> None:
    write_digits(tmp_path / "here" / "digits", 40)
    arguments = ("-g", "static=noise", "-e", "pixels", "-m", "kid", "-n", "20")
    for source, expected in (("digits", "benchgen/digits"), ("./digits", "./digits")):
        out = tmp_path / f"run-{len(source)}"
        assert benchgen_command("run", "-r", source, *arguments, "-o", out).code == 0
        document = json.loads((out / "run.json").read_text())
        assert document["reference"]["id"] == expected


def test_real_none_uses_the_whole_reference(benchgen_command: Command, tmp_path: Path) -> None:
    reference = write_digits(tmp_path / "reference", 80)
    arguments = ("-e", "pixels", "-m", "kid", "-n", "40", "-o", tmp_path / "run")
    assert benchgen_command("run", "-r", reference, "--real", "none", *arguments).code == 0
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["reference"]["size"] == 80
    assert document["rows"] == ["noise"]


def test_sample_writes_goes_on_and_refuses_another_seed(
    benchgen_command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "samples"
    assert benchgen_command("sample", "mnist-vae", "-n", "5", "-o", out).code == 0
    first = (out / "0000003.png").read_bytes()
    (out / "0000003.png").unlink()
    outcome = benchgen_command("sample", "mnist-vae", "-n", "8", "-o", out, "--batch-size", "2")
    assert outcome.code == 0
    assert "8 images (4 new)" in outcome.out
    before, after = (
        np.asarray(Image.open(p)).astype(int) for p in (_save(first, tmp_path), out / "0000003.png")
    )
    assert np.abs(before - after).max() <= 1
    rows = list(csv.DictReader((out / "samples.csv").open()))
    assert [row["file"] for row in rows] == [f"{i:07d}.png" for i in range(8)]
    assert all(row["label"] in "0123456789" for row in rows)
    outcome = benchgen_command("sample", "mnist-vae", "-n", "8", "-o", out, "--seed", "1")
    assert outcome.code == 2
    assert "holds samples of benchgen/mnist-vae with seed 0" in outcome.err


def _save(data: bytes, folder: Path) -> Path:
    path = folder / "before.png"
    path.write_bytes(data)
    return path


def test_schema_is_published(benchgen_command: Command) -> None:
    schema = json.loads(benchgen_command("schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    documents = {"ResultDocument", "RunDocument", "BaselineDocument", "GateDocument"}
    assert documents | {"AuditDocument"} <= set(schema["$defs"])


def test_the_default_suite_shrinks_without_reference_models(
    benchgen_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHGEN_DISABLE_PLUGINS", "reference_models")
    host.cache_clear()
    outcome = benchgen_command("run", "-n", "60", "-o", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "left out benchgen/mnist-vae" in outcome.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["rows"] == ["real", "noise"]


def test_threads_that_wait_do_not_spin_for_long(
    benchgen_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    assert benchgen_command("ls", "suites").code == 0
    assert os.environ["GOMP_SPINCOUNT"] == "1000"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    assert benchgen_command("ls", "suites").code == 0
    assert os.environ["GOMP_SPINCOUNT"] == "7"
