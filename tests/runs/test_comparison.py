"""Results side by side: pairing, refusals, places and ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchgen
from benchgen.errors import NotComparableError, UsageError
from benchgen.runs.comparison import Comparison
from tests.runs.conftest import Blobs


def test_paired_differences_are_sharper_and_a_twin_differs_by_nothing(
    blobs: Blobs, tmp_path: Path
) -> None:
    twins = blobs.suite(200).replace(
        generators=[{"source": "acme/blobs"}, {"source": "acme/blobs", "name": "twin"}]
    )
    run = benchgen.run(twins, tmp_path / "run")
    differences = benchgen.compare(run["blobs"], run["twin"])
    assert [d.metric for d in differences] == ["fid", "kid", "is", "precision", "coverage"]
    for difference in differences:
        assert difference.difference.paired
        assert (difference.difference.value, difference.difference.stderr) == (0, 0)
        assert difference.better is None
    table = run.table()
    fid = table[table.metric == "fid"].set_index("row")
    assert fid.tied_with_best["twin"]
    assert (fid.rank_low["twin"], fid.rank_high["twin"]) == (1, 2)
    assert fid.loc["real", ["rank", "rank_low"]].isna().all()
    against_noise = {d.metric: d for d in benchgen.compare(run["real"], run["noise"])}
    assert against_noise["fid"].better == "a"
    assert not against_noise["fid"].difference.paired


def test_other_settings_are_refused_with_the_field_named(blobs: Blobs, tmp_path: Path) -> None:
    one = benchgen.run(blobs.suite(100), tmp_path / "one")
    more = benchgen.run(blobs.suite(150), tmp_path / "more")
    with pytest.raises(NotComparableError, match=r"n is 100 and 150") as caught:
        benchgen.compare(one["blobs"], more["blobs"])
    assert caught.value.exit_code == 4
    five = blobs.suite(100).replace(metrics=[{"id": "precision", "params": {"k": 5}}])
    other = benchgen.run(five, tmp_path / "five")
    with pytest.raises(NotComparableError, match=r"metric\.parameters\.k is 3 and 5"):
        benchgen.compare(one, other)
    with pytest.raises(NotComparableError, match=r"metric\.parameters\.k"):
        _ = Comparison.of([one, other]).boards


def test_saying_a_default_changes_nothing(blobs: Blobs, tmp_path: Path) -> None:
    one = benchgen.run(blobs.suite(100), tmp_path / "one")
    said = blobs.suite(100).replace(metrics=[{"id": "precision", "params": {"k": 3}}])
    other = benchgen.run(said, tmp_path / "other")
    (difference,) = benchgen.compare(one["blobs"], other["blobs"])
    assert difference.difference.value == 0


def test_rows_of_another_n_are_shown_but_not_ranked(blobs: Blobs, tmp_path: Path) -> None:
    run = benchgen.run(blobs.suite(400), tmp_path / "run")  # only 300 images are held out
    assert run["real"].document.n == 300
    table = run.table().set_index(["metric", "row"])
    assert "n is 300 here and 400 elsewhere" in table.loc[("fid", "real"), "note"]
    assert table.loc[("fid", "real"), "value"] is not None
    assert table.loc[("kid", "real"), "place"] == 1
    assert any("row real has 300 images only" in text for text in run.document.messages)


def test_two_runs_in_one_comparison(blobs: Blobs, tmp_path: Path) -> None:
    one = benchgen.run(blobs.suite(100), tmp_path / "one")
    two = benchgen.run(blobs.suite(100, fail_at=10**6), tmp_path / "two")
    rows = set(Comparison.of([one, two]).results)
    assert rows == {"blobs", "two/blobs", "real", "noise"}
    with pytest.raises(UsageError, match="two results, or two runs"):
        benchgen.compare(one, two["blobs"])
