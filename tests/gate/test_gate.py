"""Whole gates on a generator that is broken in known ways."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as Xml
from pathlib import Path

import pytest

from benchgen.accepting import accept_baseline
from benchgen.errors import NotComparableError, SuiteError, UsageError
from benchgen.gate.documents import GateDocument
from benchgen.gating import run_gate
from benchgen.suite import Suite
from tests.gate.conftest import MakeSuite

pytestmark = pytest.mark.usefixtures("elsewhere")

BASELINES = Path(".benchgen/baselines/strokes")


def accepted(suite: Suite) -> None:
    accept_baseline(suite, reason="first", author="Ada")


def verdicts(document: GateDocument) -> dict[str, str]:
    return {check.check: check.verdict for check in document.checks}


def written() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in BASELINES.iterdir()}


@pytest.mark.parametrize("batch_size", [125, 7])
def test_a_refactoring_that_changes_nothing_is_green_at_the_first_look(
    suite: MakeSuite, batch_size: int
) -> None:
    accepted(suite())
    document = run_gate(suite("refactored", execution={"batch_size": batch_size}))
    assert document.exit_code == 0
    assert document.made == {"strokes": 100}
    assert set(verdicts(document).values()) == {"unchanged"}
    assert {check.n for check in document.checks} == {100}


def test_a_wrong_normalisation_is_red_and_says_where(suite: MakeSuite) -> None:
    accepted(suite())
    before = written()
    document = run_gate(suite("normalisation"))
    assert document.exit_code == 1
    assert verdicts(document)["fid@digits"] == "degraded"
    [check] = [check for check in document.checks if check.check == "fid@digits"]
    assert check.paired
    assert check.harm is not None
    assert check.margin is not None
    assert check.interval is not None
    assert check.margin < check.interval[0] < check.harm < check.interval[1]
    assert check.harm == pytest.approx((check.value or 0) - (check.baseline or 0))
    assert check.p_worse is not None
    assert check.p_worse < 0.05
    assert document.pairs
    out = Path(".benchgen/gate/strokes")
    assert (out / "pairs-strokes.png").read_bytes().startswith(b"\x89PNG")
    markdown = (out / "gate.md").read_text()
    assert markdown.startswith("## Gate failed: ")
    assert "fid@digits | **degraded**" in markdown
    page = (out / "index.html").read_text()
    assert "Gate failed" in page
    assert "before, after" in page
    assert GateDocument.model_validate(json.loads((out / "gate.json").read_text())) == document
    root = Xml.fromstring((out / "junit.xml").read_text())
    [failing] = [c for c in root.iter("testcase") if c.get("name") == "fid@digits"]
    [failure] = failing.iter("failure")
    assert "margin" in str(failure.get("message"))
    assert int(str(root.get("failures"))) == list(verdicts(document).values()).count("degraded")
    assert written() == before, "a failing gate must not rewrite the baseline"


def test_other_seeds_are_not_paired_and_say_so(suite: MakeSuite) -> None:
    accepted(suite())
    document = run_gate(suite(seed=5))
    assert not any(check.paired for check in document.checks if check.check != "sampling")
    assert "degraded" not in verdicts(document).values()
    undecided = [check for check in document.checks if check.verdict == "inconclusive"]
    assert undecided, "at n = 400 a change of 5 % cannot be told from chance without pairs"
    assert document.exit_code == 5
    assert all(check.n == 400 for check in undecided)
    assert any(check.needed and check.needed > 400 for check in undecided)
    assert run_gate(suite(seed=5), allow_inconclusive=True).exit_code == 0


def test_copies_of_the_reference_are_implausibly_good(suite: MakeSuite, tmp_path: Path) -> None:
    asked = {"metrics": ["fid", "coverage"], "gate": {}}
    accepted(suite(**asked))
    source = {"source": str(tmp_path / "reals.npy"), "name": "strokes"}
    document = run_gate(suite(**asked, generators=[source]))
    assert document.exit_code == 1
    assert verdicts(document)["coverage@digits"] == "implausible"
    assert "copies of the reference" in (Path(".benchgen/gate/strokes/gate.md")).read_text()


def test_a_declared_bound_fails_what_is_beyond(suite: MakeSuite) -> None:
    accepted(suite())
    reals = {"reference": "benchgen/digits", "generators": ["benchgen/mnist-vae"], "n": 200}
    accepted(suite(**reals))
    bound = {"margins": {"precision": 0.05}, "bounds": {"precision": 0.1}}
    document = run_gate(suite(**reals, gate=bound))
    assert verdicts(document)["precision@digits"] == "implausible"


def test_no_baseline_is_missing(suite: MakeSuite) -> None:
    document = run_gate(suite())
    assert document.exit_code == 4
    assert [(c.generator, c.verdict) for c in document.checks] == [("strokes", "missing")]
    assert "benchgen baseline accept" in document.checks[0].reason
    assert document.made == {}
    assert not BASELINES.exists()


def test_a_generator_that_raises_has_failed_by_name(suite: MakeSuite) -> None:
    accepted(suite())
    document = run_gate(suite("raises"))
    assert document.exit_code == 3
    [check] = document.checks
    assert check.verdict == "failed"
    assert "acme/strokes" in check.reason
    assert "another shape" in check.reason


def test_a_generator_that_is_gone_is_missing(suite: MakeSuite) -> None:
    accepted(suite())
    rest = suite(generators=[{"source": "acme/strokes", "name": "other"}])
    accept_baseline(rest, reason="also", author="Ada")
    document = run_gate(rest)
    assert document.exit_code == 4
    assert {c.generator for c in document.checks if c.verdict == "missing"} == {"strokes"}
    assert run_gate(rest, generators=["other"]).exit_code == 0
    with pytest.raises(UsageError, match="no generator strokes; it has: other"):
        run_gate(rest, generators=["strokes"])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"extractors": ["pixels"]}, "does not have this metric"),
        ({"reference": "benchgen/digits"}, "reference was"),
        ({"n": 300}, "looks at 100, 200, 400 images; the suite's gate has 150, 300"),
        ({"metrics": [{"id": "fid"}, {"id": "kid"}, {"id": "precision", "params": {"k": 5}}]}, "k"),
    ],
)
def test_other_settings_are_incomparable_with_the_field_named(
    suite: MakeSuite, changes: dict[str, object], field: str
) -> None:
    accepted(suite())
    asked = {"margins": {}} if "metrics" in changes else {"margins": {"fid": "5%"}}
    document = run_gate(suite(**changes, gate=asked))
    assert document.exit_code == 4
    reasons = [check.reason for check in document.checks if check.verdict == "incomparable"]
    assert any(field in reason for reason in reasons), reasons


def test_a_margin_of_no_metric_is_named(suite: MakeSuite) -> None:
    with pytest.raises(SuiteError, match=r"gate.margins.fjd: .*it has: fid, kid, precision"):
        run_gate(suite(gate={"margins": {"fjd": 0.1}}))


def test_a_reason_is_needed(suite: MakeSuite) -> None:
    with pytest.raises(UsageError, match="--reason"):
        accept_baseline(suite(), reason="  ", author="Ada")


def test_a_run_of_another_version_is_not_accepted(suite: MakeSuite) -> None:
    import benchgen

    run = benchgen.run(suite(), "run")
    accept_baseline(run.directory, reason="from a run", author="Ada")
    text = (run.directory / "suite.toml").read_text()
    (run.directory / "suite.toml").write_text(text.replace('fault = "none"', 'fault = "slight"'))
    changed = (run.directory / "suite.toml").read_text()
    assert 'fault = "slight"' in changed
    with pytest.raises(NotComparableError, match="another than the one that is installed"):
        accept_baseline(run.directory, reason="again", author="Ada")


def test_accepting_keeps_what_was_replaced(suite: MakeSuite) -> None:
    accepted(suite())
    [one] = accept_baseline(suite("slight"), reason="new noise", author="Bob")
    replaced = one.document.replaced
    assert replaced is not None
    assert (replaced.author, replaced.reason) == ("Ada", "first")
    assert set(replaced.values) == {"fid@digits", "kid@digits", "precision@digits"}
    assert run_gate(suite("slight")).exit_code == 0


def test_nothing_asked_is_no_pass(suite: MakeSuite) -> None:
    silent = suite(metrics=["nll"], gate={"class_shares": 0})
    accepted(silent)
    document = run_gate(silent)
    assert document.exit_code == 4
    assert "nothing was asked" in document.checks[0].reason
    with pytest.raises(UsageError, match="no generator to gate"):
        run_gate(suite(name="empty", generators=[]))


def test_documents_refuse_nan(suite: MakeSuite) -> None:
    accepted(suite())
    told = json.loads(run_gate(suite()).model_dump_json())
    told["checks"][0]["harm"] = math.nan
    with pytest.raises(ValueError, match="finite"):
        GateDocument.model_validate(told)


def test_what_a_gate_found_is_kept_where_its_audit_cannot_be_made(suite: MakeSuite) -> None:
    asked = {"gate": {"margins": {"fid": "5%"}, "audit": True}}
    accepted(suite(**asked))
    with pytest.raises(UsageError, match="nothing is asked"):
        run_gate(suite("refactored", **asked))
    kept = json.loads(Path(".benchgen/gate/strokes/gate.json").read_text())
    assert {check["verdict"] for check in kept["checks"]} == {"unchanged"}


def test_limits_of_an_audit_gate_too(suite: MakeSuite) -> None:
    gate = {"margins": {"fid": "5%"}, "audit": True}
    brightness = {"brightness": {"at_most": 0.01}}
    asked = {"gate": gate, "measures": ["image-stats"], "audit": {"columns": brightness}}
    accepted(suite(**asked))
    document = run_gate(suite("refactored", **asked))
    assert set(verdicts(document).values()) == {"unchanged"}
    assert document.made == {"strokes": 100}
    assert document.audit is not None
    [check] = document.audit.checks
    assert (check.check, check.verdict, check.n) == ("mean brightness", "fail", 400)
    assert document.exit_code == 1
    out = Path(".benchgen/gate/strokes")
    said = "Gate failed: 2 unchanged. Audit: A declared limit is broken. strokes fails mean bright"
    for name in ("index.html", "gate.md"):
        assert said in (out / name).read_text()
    cases = Xml.parse(out / "junit.xml").getroot().iter("testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None]
    assert failed == ["mean brightness"]
    assert (out / "audit/index.html").is_file()
