"""`benchgen audit`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Command
from tests.audits.conftest import draw, write_labels


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    colours = ["red"] * 72 + ["blue"] * 18
    write_labels(tmp_path / "labels.csv", draw(tmp_path / "images", colours), colours)
    return tmp_path / "images"


def test_a_folder_with_labels(benchgen_command: Command, images: Path) -> None:
    said = benchgen_command(
        "audit",
        images,
        *("--labels", "labels.csv", "--attribute", "colour"),
        *("--target", "red=0.5,blue=0.5", "--parity", "0.8"),
        *("--limit", "saturation>=0.2", "--limit", "vendi<=50"),
    )
    assert said.code == 1, said.err
    assert "images fails parity of colour" in said.out
    [found] = Path("runs").glob("*/audit/audit.json")
    checks = {c["check"]: c["verdict"] for c in json.loads(found.read_text())["checks"]}
    assert checks["parity of colour"] == "fail"
    assert checks["shares of colour on target"] == "shown"
    assert checks["mean saturation"] == "pass"


def test_a_run_is_audited_again_with_other_limits(benchgen_command: Command, images: Path) -> None:
    asked = ("audit", images, "--labels", "labels.csv", "--attribute", "colour")
    assert benchgen_command(*asked, "--parity", "0.1").code == 0
    [run] = Path("runs").iterdir()
    again = benchgen_command(
        *("audit", run, "--labels", "labels.csv", "--attribute", "colour"),
        *("--target", "uniform", "--distance", "0.05", "--out", "other"),
    )
    assert again.code == 1, again.err
    assert {path.name for path in Path("other").iterdir()} == {
        "audit.json",
        "audit.md",
        "index.html",
        "junit.xml",
    }


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--parity", "0.8"), "say of which attribute"),
        (("--attribute", "colour", "--parity", "2"), "less than or equal to 1"),
        (("--attribute", "hue", "--parity", "0.8"), "no attribute 'hue'"),
        (("--limit", "vendi"), "is no limit"),
        (("--attribute", "colour", "--target", "red=x"), "give uniform, reference"),
    ],
)
def test_what_cannot_be_asked_is_said(
    benchgen_command: Command, images: Path, flags: tuple[str, ...], told: str
) -> None:
    said = benchgen_command("audit", images, "--labels", "labels.csv", *flags)
    assert said.code == 2
    assert told in " ".join((said.out + said.err).replace("│", " ").split())
