"""Baselines on disk: small, read back as they were, refused where they are not whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchgen.accepting import accept_baseline
from benchgen.errors import BenchgenError, NotComparableError, StoreError
from benchgen.gate.baseline import Baseline, changes, read
from benchgen.gate.snapshot import in_steps
from benchgen.gating import run_gate
from tests.gate.conftest import MakeSuite

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def baseline(suite: MakeSuite) -> Baseline:
    [one] = accept_baseline(suite(), reason="first", author="Ada")
    return one


def test_steps_keep_influences_to_a_ten_thousandth_of_their_spread() -> None:
    values = torch.randn(5000, dtype=torch.float64) * 1e6
    steps, worth = in_steps(values)
    off = torch.from_numpy(steps * worth) - values
    assert off.abs().max() < 1e-4 * values.std()
    again, other = in_steps(values.clone())
    assert (again == steps).all()
    assert other == worth
    zero, worth = in_steps(torch.zeros(3))
    assert zero.tolist() == [0, 0, 0]
    assert worth == 1.0


def test_it_is_read_back_as_it_was_written(baseline: Baseline) -> None:
    again = read(baseline.path)
    assert again.document == baseline.document
    assert again.sizes == (100, 200, 400)
    snapshot = again.snapshot(1)
    found = snapshot.estimates["fid", "digits"]
    assert found.n == 200
    assert found.influence.fake is not None
    assert len(found.influence.fake) == 200
    assert found.influence.real is None
    spread = found.influence.fake.std() / 200**0.5
    assert 0 < spread <= (found.stderr or 0) * 1.001
    assert list(snapshot.seen) == ["digits"]
    assert len(snapshot.seen["digits"].values) == 200
    assert "version" in snapshot.seen["digits"].reader
    assert again.pictures[0].startswith(b"\x89PNG")


def test_it_is_small(suite: MakeSuite) -> None:
    names = ["fid", "fid-corrected", "kid", "is", "precision", "recall", "density", "coverage"]
    [one] = accept_baseline(
        suite(metrics=names, n=2000, gate={}), reason="all default metrics", author="Ada"
    )
    size = sum(path.stat().st_size for path in one.path.parent.iterdir())
    assert size <= 200_000


def damage(path: Path, how: str) -> None:
    text = path.read_text()
    if how == "truncated":
        path.write_text(text[: len(text) // 2])
    elif how == "newer":
        path.write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    elif how == "edited":
        document = json.loads(text)
        document["looks"][-1]["estimates"][0]["value"] += 0.5
        path.write_text(json.dumps(document))
    elif how == "no columns":
        path.with_suffix(".parquet").unlink()
    elif how == "other columns":
        with path.with_suffix(".parquet").open("ab") as file:
            file.write(b"x")
    elif how == "another suite":
        there = path.parent.parent / "other" / path.name
        there.parent.mkdir()
        path.rename(there)
        path.with_suffix(".parquet").rename(there.with_suffix(".parquet"))


@pytest.mark.parametrize(
    ("how", "kind", "told"),
    [
        ("truncated", StoreError, "is not a benchgen document"),
        ("newer", StoreError, "schema_version 2; this benchgen reads 1"),
        ("edited", StoreError, "was changed after it was accepted"),
        ("no columns", NotComparableError, "strokes.parquet is missing"),
        ("other columns", StoreError, "is not the file that was accepted"),
        ("another suite", NotComparableError, "there is no baseline"),
    ],
)
def test_what_is_not_whole_is_refused(
    baseline: Baseline, suite: MakeSuite, how: str, kind: type[BenchgenError], told: str
) -> None:
    damage(baseline.path, how)
    with pytest.raises(kind, match=told):
        read(baseline.path)
    document = run_gate(suite())
    assert document.exit_code == 4
    [check] = document.checks
    assert check.verdict in ("missing", "incomparable")
    assert told in check.reason
    accept_baseline(suite(), reason="mended", author="Ada")
    assert run_gate(suite()).exit_code == 0


def test_a_baseline_of_another_suite_under_this_name_is_refused(
    baseline: Baseline, suite: MakeSuite
) -> None:
    baseline.path.parent.rename(baseline.path.parent.parent / "renamed")
    document = run_gate(suite(name="renamed"))
    assert document.exit_code == 4
    assert "is of the suite 'strokes', not 'renamed'" in document.checks[0].reason


def test_changes_between_two_folders(baseline: Baseline, suite: MakeSuite) -> None:
    here = baseline.path.parent.parent
    accept_baseline(suite("slight"), reason="more noise", author="Bob", folder="new")
    lines = changes(here, Path("new"))
    assert [line[2] for line in lines] == ["fid@digits", "kid@digits", "precision@digits"]
    assert {line[-1] for line in lines} == {"more noise"}
    assert changes(here, here) == []
    assert {line[3] for line in changes(Path("none"), here)} == {"–"}
    with pytest.raises(NotComparableError, match="neither"):
        changes(Path("none"), Path("nowhere"))
