"""The self-test from end to end, and the command."""

from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from benchgen.cli.main import app
from benchgen.doctor.documents import DoctorDocument
from benchgen.doctor.examine import Examination, examine
from benchgen.doctor.terminal import render
from benchgen.doctor.write import markdown, write
from benchgen.errors import BenchgenError, ImageError, UnknownIdError
from tests.conftest import InstallPlugin

_FEW = ("fid-corrected", "is", "coverage", "authpct", "modes", "nll")


@pytest.fixture(scope="module")
def small() -> Examination:
    return examine(n=250, metrics=_FEW, seed=1, defects=["blur", "dropped", "copied"])


def test_verdicts_on_digits(small: Examination) -> None:
    document = small.document
    verdicts = {
        (metric.name, finding.defect): finding.verdict
        for metric in document.metrics
        for finding in metric.findings
    }
    assert verdicts["is", "copied"] == "blind"
    assert verdicts["authpct", "copied"] == "sees"
    assert verdicts["coverage", "dropped"] == "sees"
    assert verdicts["fid-corrected", "blur"] == "sees"
    assert document.not_run.keys() == {"benchgen/nll"}
    assert "likelihood" in document.not_run["benchgen/nll"]
    assert (document.n, document.images, document.reserve) == (250, 5000, 4250)


def test_a_line_for_the_documentation(small: Examination) -> None:
    said = small.sees("is")
    assert "dropped classes (from " in said
    assert "Blind to copied training images." in said
    assert small.sees("benchgen/is") == said
    assert "error is unknown" not in said
    assert "error is unknown" in small.sees("modes")
    with pytest.raises(UnknownIdError, match="no metric is called 'authpc'; did you mean"):
        small.sees("authpc")


def test_conclusions_name_what_to_trust(small: Examination) -> None:
    originality = next(text for text in small.document.conclusions if "originality" in text)
    assert "trust authpct; the other 3 cannot be relied on for it" in originality


def test_metrics_without_an_error_are_not_recommended() -> None:
    found = examine(n=60, metrics=["modes"], defects=["dropped"])
    assert found.document.metrics[0].finding("dropped").verdict == "sees"
    (said,) = found.document.conclusions
    assert "none whose error is known sees it (modes moves)" in said


def test_the_same_seed_gives_the_same_numbers(small: Examination) -> None:
    again = examine(n=250, metrics=["is"], seed=1, defects=["blur"], batch_size=37)
    first = next(metric for metric in small.document.metrics if metric.name == "is")
    assert again.document.metrics[0].value == pytest.approx(first.value, rel=1e-6)
    ours, theirs = again.document.metrics[0].finding("blur"), first.finding("blur")
    assert [r.value for r in ours.responses] == pytest.approx([r.value for r in theirs.responses])


def test_files_are_written(small: Examination, tmp_path: Path) -> None:
    write(small, tmp_path / "deep" / "folder")
    folder = tmp_path / "deep" / "folder"
    text = (folder / "doctor.json").read_text()
    assert DoctorDocument.model_validate_json(text) == small.document
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in doctor.json"))
    for name in ("doctor.png", "examples.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200
    page = (folder / "doctor.md").read_text()
    for said in ("| `is` |", "![examples](examples.png)", "Not run: `benchgen/nll`", "Holm"):
        assert said in page
    assert sorted(path.name for path in folder.iterdir()) == [
        "doctor.json",
        "doctor.md",
        "doctor.png",
        "examples.png",
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_and_says_in_words_what_colours_say(small: Examination, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render(small.document, Path("here")))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if line.startswith("is "))
    assert row.split()[-1] == "blind"
    assert "…" not in "".join(lines)
    assert "blind: does not move" in " ".join(" ".join(lines).split())


def _write_images(path: Path, *, labelled: bool, count: int = 240) -> Path:
    drawn = np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    arrays: dict[str, Any] = {"images": drawn}
    if labelled:
        arrays["labels"] = np.arange(count) % 3
    np.savez(path, **arrays)
    return path


def test_without_labels_or_logits_what_needs_them_is_not_run(tmp_path: Path) -> None:
    path = _write_images(tmp_path / "plain.npz", labelled=False)
    found = examine(str(path), "pixels", metrics=["is", "kid", "sfid"], defects=["dropped", "cast"])
    document = found.document
    assert set(document.not_run) == {"benchgen/is", "benchgen/sfid"}
    assert "pixels has no classifier" in document.not_run["benchgen/is"]
    dropped = next(defect for defect in document.defects if defect.id == "dropped")
    assert all("no labels" in reason for reason in dropped.not_run.values())
    assert document.metrics[0].finding("dropped").verdict == "undefined"
    assert document.metrics[0].finding("cast").verdict == "sees"
    assert "not planted: dropped classes: the images have no labels" in _printed(found)
    assert "Not planted: dropped classes" in markdown(document, [])


def test_few_classes_are_dropped_whole(tmp_path: Path) -> None:
    path = _write_images(tmp_path / "three.npz", labelled=True)
    found = examine(str(path), "pixels", metrics=["coverage"], defects=["dropped"])
    assert found.document.defects[0].strengths == pytest.approx([100 / 3])
    assert found.document.n == 60


def test_a_metric_that_breaks_is_told_of(install_plugin: InstallPlugin) -> None:
    install_plugin(
        "crooked",
        """
        from benchgen import MetricSpec, hookimpl

        class Family:
            parameters = {}

            def prepare(self, real):
                return real

            def compute(self, prepared, fake):
                raise ZeroDivisionError("one over none")

        @hookimpl
        def benchgen_metrics():
            return [
                MetricSpec(
                    name="crooked",
                    factory=f"{__name__}:Family",
                    title="Crooked",
                    direction="lower",
                )
            ]
        """,
    )
    found = examine(n=60, metrics=["crooked", "kid"], defects=["cast"])
    assert "one over none" in found.document.not_run["crooked/crooked"]
    assert [metric.name for metric in found.document.metrics] == ["kid"]


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="at least 150"):
        examine(str(_write_images(tmp_path / "few.npz", labelled=False, count=20)), "pixels")
    with pytest.raises(UnknownIdError, match=r"no extractor is called 'pixel'.*pixels"):
        examine(extractor="pixel")
    with pytest.raises(UnknownIdError, match="no metric is called 'fidd'"):
        examine(metrics=["fidd"])
    with pytest.raises(UnknownIdError, match="no reference is called 'digit'"):
        examine("digit")


def test_the_command_writes_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["doctor", "-n", "60", "-m", "kid", "-d", "copied", "-d", "cast"]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "doctor" / "digits-digits" / "doctor.json").is_file()
    assert "doctor/digits-digits" in outcome.stdout
    outcome = CliRunner().invoke(app, [*arguments, "-o", "elsewhere"])
    assert (tmp_path / "elsewhere" / "doctor.png").is_file()
    command = DoctorDocument.model_validate_json(
        (tmp_path / "elsewhere" / "doctor.json").read_text()
    ).command
    assert command == "benchgen doctor -r digits -e digits -n 60 --seed 0 -m kid -d copied -d cast"


def test_the_command_refuses_what_it_cannot_do() -> None:
    outcome = CliRunner().invoke(app, ["doctor", "-n", "60", "-d", "smudge"])
    assert isinstance(outcome.exception, BenchgenError)
    assert outcome.exception.exit_code == 2


def _printed(found: Examination) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(render(found.document, Path("here")))
    return console.export_text()


@pytest.mark.slow
def test_all_metrics_on_the_digits_as_the_command_runs_them() -> None:
    started = time.perf_counter()
    found = examine()
    took = time.perf_counter() - started
    print(f"benchgen doctor: {took:.0f} s")
    verdict = {
        (metric.name, finding.defect): finding
        for metric in found.document.metrics
        for finding in metric.findings
    }
    assert verdict["is", "copied"].verdict == "blind"
    coverage = verdict["coverage", "dropped"]
    assert coverage.verdict == "sees"
    changes = [response.change for response in coverage.responses]
    assert all(change is not None and change < 0 for change in changes)
    assert {verdict[name, "copied"].verdict for name in ("authpct", "copy-rate")} == {"sees"}
    for metric in found.document.metrics:
        for finding in metric.findings:
            for response in finding.responses:
                assert (response.value is None) == (response.move is None)
                assert response.value is not None or response.reason
                assert response.value is None or math.isfinite(response.value)
