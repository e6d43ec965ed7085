"""An audit of a run: verdicts, pages, and what is refused."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from benchgen import audit
from benchgen.asked import AuditChoice
from benchgen.audits.documents import AuditDocument
from benchgen.audits.sample import write_page
from benchgen.errors import UsageError
from benchgen.evaluation import run
from benchgen.suite import Suite, SuiteError
from tests.audits.conftest import MakeRun
from tests.features.onnx_files import mean_colour

UNFAIR = ["red"] * 60 + ["blue"] * 30
PARITY = {"name": "colour", "target": "uniform", "distance": 0.05, "parity": 0.8}


def asked(**more: object) -> AuditChoice:
    return AuditChoice.model_validate({"labels": "labels.csv", "attributes": [PARITY], **more})


def test_unfair_shares_fail_and_the_pages_say_so(squares: MakeRun) -> None:
    found = audit(squares(UNFAIR), asked())
    verdicts = {check.check: check.verdict for check in found.checks}
    assert verdicts == {
        "shares of colour on target": "fail",
        "parity of colour": "fail",
        "images that repeat others": "shown",
    }
    assert found.exit_code == 1
    [record] = found.attributes
    red, blue = sorted(record.shares, key=lambda share: -share.count)
    assert (red.kind, red.count, blue.count) == ("red", 60, 30)
    out = Path("run/audit")
    written = json.loads((out / "audit.json").read_text())
    assert written["checks"]
    jsonschema.validate(written, AuditDocument.model_json_schema(mode="serialization"))
    page = (out / "index.html").read_text()
    assert "squares fails shares of colour on target and parity of colour" in page
    assert 'failures="2"' in (out / "junit.xml").read_text()
    assert "| squares | parity of colour | **fail** |" in (out / "audit.md").read_text()
    for text in (page, (out / "audit.md").read_text()):
        assert "compliant" not in text.lower()


def test_fair_shares_do_not_fail(squares: MakeRun) -> None:
    found = audit(squares(["red", "blue"] * 45), asked())
    assert {check.verdict for check in found.checks} == {"inconclusive", "shown"}
    assert found.exit_code == 5
    assert all(c.needed for c in found.checks if c.verdict == "inconclusive")


def test_few_images_are_insufficient(squares: MakeRun) -> None:
    found = audit(squares(["red", "blue", "blue"]), asked())
    assert [c.verdict for c in found.checks[:2]] == ["insufficient", "insufficient"]
    assert "3 images were read" in found.checks[0].reason
    assert found.attributes[0].shares  # shown, not dropped


def test_a_calibrated_labeler(squares: MakeRun, tmp_path: Path) -> None:
    known = ["red,red"] * 45 + ["red,blue"] * 5 + ["blue,blue"] * 40 + ["blue,red"] * 10
    (tmp_path / "known.csv").write_text("\n".join(["true,read", *known]) + "\n")
    choice = {**PARITY, "calibration": "known.csv"}
    [record] = audit(squares(UNFAIR), asked(attributes=[choice])).attributes
    assert record.correction == "calibration"
    shares = {share.kind: share for share in record.shares}
    # p* = (p + specificity - 1) / (sensitivity + specificity - 1)
    assert shares["red"].corrected == pytest.approx((2 / 3 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert record.confusion == [[40, 10, 0], [5, 45, 0]]


def test_a_labeler_that_tells_nothing_is_not_run(squares: MakeRun, tmp_path: Path) -> None:
    known = ["red,red", "red,blue", "blue,blue", "blue,red"] * 10
    (tmp_path / "known.csv").write_text("\n".join(["true,read", *known]) + "\n")
    choice = {**PARITY, "calibration": "known.csv"}
    found = audit(squares(UNFAIR), asked(attributes=[choice]))
    assert found.checks[0].verdict == "not run"
    assert "hardly tells" in found.checks[0].reason
    assert found.exit_code == 3


def test_a_truth_for_a_few(squares: MakeRun, tmp_path: Path) -> None:
    made = squares(UNFAIR)
    lines = [f"{i:03d}.png,{'red' if i < 60 else 'blue'}" for i in range(0, 90, 3)]
    (tmp_path / "truth.csv").write_text("\n".join(["file,colour", *lines]) + "\n")
    [record] = audit(made, asked(attributes=[{**PARITY, "truth": "truth.csv"}])).attributes
    assert record.correction == "truth"
    assert record.notes == ["30 of the images have a true kind"]
    assert record.shares[1].corrected == pytest.approx(2 / 3)


def test_people_alone_may_have_looked(squares: MakeRun, tmp_path: Path) -> None:
    made = squares(UNFAIR)
    lines = [f"{i:03d}.png,{'big' if i % 4 else 'small'}" for i in range(0, 60)]
    (tmp_path / "truth.csv").write_text("\n".join(["file,size", *lines]) + "\n")
    choice = {"name": "size", "truth": "truth.csv", "parity": 0.8}
    found = audit(made, asked(attributes=[choice]))
    [record] = found.attributes
    assert [share.read for share in record.shares] == [None, None]
    assert [share.corrected for share in record.shares] == pytest.approx([0.75, 0.25])
    assert found.checks[0].verdict == "fail"


def test_the_truth_of_very_few_is_insufficient(squares: MakeRun, tmp_path: Path) -> None:
    made = squares(UNFAIR)
    lines = [f"{i:03d}.png,{'red' if i < 60 else 'blue'}" for i in range(0, 90, 9)]
    (tmp_path / "truth.csv").write_text("\n".join(["file,colour", *lines]) + "\n")
    found = audit(made, asked(attributes=[{**PARITY, "truth": "truth.csv"}]))
    assert [check.verdict for check in found.checks[:2]] == ["insufficient", "insufficient"]
    assert "10 images were read" in found.checks[0].reason


def test_a_page_to_label_a_few(squares: MakeRun, tmp_path: Path) -> None:
    made = squares(UNFAIR)
    ask = {"attribute": "tone", "generator": None, "seed": 1, "out": tmp_path / "label.html"}
    assert write_page(made, kinds=("dark", "light"), n=20, **ask) == 20  # type: ignore[arg-type]
    page = (tmp_path / "label.html").read_text()
    files = re.findall('data-file="([^"]*)"', page)
    assert len(set(files)) == 20
    assert page.count("data:image/png;base64,") == 20
    assert write_page(made, kinds=("dark", "light"), n=500, **ask) == 90  # type: ignore[arg-type]
    more = re.findall('data-file="([^"]*)"', (tmp_path / "label.html").read_text())
    assert more[:20] == files
    with pytest.raises(UsageError, match="give 2 to 9 different"):
        write_page(made, kinds=("dark", "dark"), n=20, **ask)  # type: ignore[arg-type]


def test_metrics_and_columns_have_limits(squares: MakeRun) -> None:
    limits = {
        "metrics": {"vendi": {"at_least": 1}, "fid": {"at_most": 3}},
        "columns": {"saturation": {"at_least": 0.2, "at_most": 0.3}},
    }
    found = audit(squares(UNFAIR), AuditChoice.model_validate(limits))
    assert "no error is known" in found.checks[0].reason  # near 1, where all images are alike
    verdicts = [(c.check, c.limit, c.verdict) for c in found.checks if c.verdict != "shown"]
    assert verdicts == [
        ("vendi", "at least 1", "inconclusive"),
        ("fid", "", "not run"),
        ("mean saturation", "at least 0.2", "pass"),
        ("mean saturation", "at most 0.3", "fail"),
    ]


def test_names_are_escaped(squares: MakeRun, tmp_path: Path) -> None:
    made = squares(UNFAIR)
    labels = (tmp_path / "labels.csv").read_text()
    evil = "<script>alert(1)</script>"
    (tmp_path / "labels.csv").write_text(labels.replace(",red", f',"{evil}"'))
    audit(made, asked())
    page = Path("run/audit/index.html").read_text()
    assert evil not in page
    assert "&lt;script&gt;" in page
    assert evil not in Path("run/audit/audit.md").read_text()


def test_an_attribute_that_is_not_there_is_refused(squares: MakeRun) -> None:
    made = squares(UNFAIR)
    with pytest.raises(UsageError, match="no attribute 'gender'; it has: "):
        audit(made, asked(attributes=[{"name": "gender", "parity": 0.8}]))
    green = {"name": "colour", "target": {"red": 0.5, "green": 0.5}, "kinds": ["red", "blue"]}
    with pytest.raises(UsageError, match="the target of colour names green"):
        audit(made, asked(attributes=[green]))
    with pytest.raises(UsageError, match="no row of real images"):
        audit(made, asked(attributes=[{"name": "colour", "target": "reference"}]))
    assert not Path("run/audit").exists()


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"name": "a", "distance": 0.1}, "distance needs a target"),
        ({"name": "a", "calibration": "x", "truth": "y"}, "not both"),
        ({"name": "a", "target": {"x": 0.5, "y": 0.6}}, "sum to 1.1"),
    ],
)
def test_bad_choices_are_named(choice: dict[str, object], told: str) -> None:
    from benchgen.suite import Suite

    with pytest.raises(SuiteError, match=told):
        Suite.from_reference("x").replace(audit={"attributes": [choice]})
    with pytest.raises(SuiteError, match="is no limit"):
        Suite.from_reference("x").replace(audit={"metrics": {"fid": {"at_most": "5 percent"}}})


def test_images_that_repeat_others_are_shown(squares: MakeRun) -> None:
    made = squares(["red", "blue"] * 20)
    for copy in ("011.png", "012.png"):
        Path("images", copy).write_bytes(Path("images/010.png").read_bytes())
    found = audit(run(Suite.load(made.directory / "suite.toml"), "again"), asked(duplicates=0.01))
    [group] = [group for group in found.repeated if group.exact]
    assert group.indices == [10, 11, 12]
    assert len(group.pictures) == 3
    page = Path("again/audit/index.html").read_text()
    assert page.count("equal pixels") == 1
    assert "equal images: 10, 11, 12" in Path("again/audit/audit.md").read_text()


@pytest.mark.skipif(not find_spec("onnxruntime"), reason="onnxruntime is not installed")
def test_a_classifier_of_ones_own_reads_the_labels(squares: MakeRun, tmp_path: Path) -> None:
    Path("colour.onnx").write_bytes(mean_colour())
    classes = ["red", "green", "blue"]
    reader = {"id": "onnx:colour.onnx", "name": "tint", "params": {"classes": classes}}
    attribute = {"name": "class@tint", "parity": 0.2}
    declared = AuditChoice.model_validate({"attributes": [attribute]})
    found = audit(squares(UNFAIR, extractors=[reader]), declared)
    [record] = found.attributes
    assert {share.kind: share.count for share in record.shares} == {"red": 60, "blue": 30}
    assert found.checks[0].verdict == "pass"
