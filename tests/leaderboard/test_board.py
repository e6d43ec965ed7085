"""A board takes what fits, keeps what was, and ranks with ties."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from benchgen.errors import NotComparableError, StoreError, UsageError
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.checks import examine
from benchgen.leaderboard.ranking import overall
from tests.leaderboard.conftest import MakeRun


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board.begin(tmp_path / "board", "Digits")


def test_models_are_added_ranked_and_bounded(board: Board, scored: MakeRun) -> None:
    run = scored({"best": 0.05, "twin": 0.05, "worse": 0.3})
    added = board.add(run, by="Ada")
    assert [(one.model, one.revision, one.outcome) for one in added] == [
        ("best", 1, "added"),
        ("twin", 1, "added"),
        ("worse", 1, "added"),
    ]
    assert list(board.entries) == ["best", "twin", "worse", "real"]
    assert list(board.models) == ["best", "twin", "worse"]
    first = board.entries["best"]
    assert first.document.by == "Ada"
    own, kept = run["best"].estimate("fid"), first.result.estimate("fid")
    assert kept.value == own.value
    assert kept.influence.fake is not None
    assert own.influence.fake is not None
    assert (kept.influence.fake - own.influence.fake).abs().max() < 1e-5
    places = {one.model: (one.place, one.best, one.worst) for one in overall(board.comparison, {})}
    assert places == {"best": (1, 1, 2), "twin": (1, 1, 2), "worse": (3, 3, 3)}


def test_saying_the_same_again_changes_nothing_and_another_is_a_revision(
    board: Board, scored: MakeRun
) -> None:
    board.add(scored({"a": 0.1}), by="Ada")
    before = {path: path.read_bytes() for path in Path(board.address).rglob("*") if path.is_file()}
    [again] = board.add(scored({"a": 0.1}, "again"), by="Bob")
    assert again.outcome == "already there"
    after = {path: path.read_bytes() for path in Path(board.address).rglob("*") if path.is_file()}
    assert after == before
    [other] = board.add(scored({"a": 0.2}, "other"), by="Bob")
    assert (other.outcome, other.revision) == ("replaced", 2)
    assert [entry.document.by for entry in board.history("a")] == ["Ada", "Bob"]
    assert board.entries["a"].document.revision == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"n": 200}, "n is 250 and 200"),
        ({"extractors": ["pixels"]}, "it lacks fid@digits"),
        ({"metrics": ["fid", "kid"]}, "it lacks precision@digits"),
        ({"metrics": ["fid", "kid", {"id": "precision", "params": {"k": 5}}]}, "k is 3 and 5"),
    ],
)
def test_what_was_made_otherwise_is_refused_with_the_field(
    board: Board, scored: MakeRun, changes: dict[str, object], field: str
) -> None:
    board.add(scored({"a": 0.1}), by="Ada")
    with pytest.raises(NotComparableError, match=field):
        board.add(scored({"b": 0.1}, "other", **changes), by="Bob")
    assert list(Board(board.address).models) == ["a"]


def test_rows_that_are_not_there_are_named(board: Board, scored: MakeRun) -> None:
    with pytest.raises(UsageError, match="no generator c; it has: a"):
        board.add(scored({"a": 0.1}), by="Ada", names=["c"])
    with pytest.raises(UsageError, match="no model 'b'"):
        board.history("b")
    with pytest.raises(UsageError, match="is there already"):
        Board.begin(board.address, "again")
    with pytest.raises(UsageError, match="no leaderboard"):
        Board(Path(board.address) / "models")


def test_weights_choose_what_ranks(board: Board, scored: MakeRun) -> None:
    board.add(scored({"a": 0.02, "b": 0.25}), by="Ada")
    alone = overall(board.comparison, {"precision@digits": 1.0})
    assert {one.model: one.mean for one in alone}.keys() == {"a", "b"}
    with pytest.raises(UsageError, match="no metric of the board is called 'fid'"):
        overall(board.comparison, {"fid": 1.0})
    with pytest.raises(UsageError, match="one above"):
        overall(board.comparison, {"fid@digits": 0.0})


def test_alpha_of_the_board_says_who_is_told_apart(tmp_path: Path, scored: MakeRun) -> None:
    run = scored({"a": 0.1, "b": 0.2})
    board = Board.begin(tmp_path / "usual", "Usual")
    board.add(run, by="Ada")
    key, p = next(
        (place, contest.differences.p[0, 1])
        for place, one in enumerate(board.comparison.boards)
        if (contest := one.contest) is not None and contest.differences is not None
    )
    assert 0 < p < 0.2
    tied = {}
    for alpha in (p / 2, 2 * p):
        other = Board.begin(tmp_path / f"{alpha}", "Other", alpha=alpha)
        other.add(run, by="Ada")
        ranks = [line.rank for line in other.comparison.boards[key].lines if line.rank]
        tied[alpha] = ranks[0].highest == 2
    assert tied == {p / 2: True, 2 * p: False}
    with pytest.raises(UsageError, match="alpha is 0"):
        Board.begin(tmp_path / "none", "None", alpha=0.0)


def _edited(path: Path) -> None:
    document = json.loads(path.read_text())
    document["estimates"][0]["value"] = 0.0
    path.write_text(json.dumps(document))


def test_a_changed_entry_is_refused_and_named(board: Board, scored: MakeRun) -> None:
    board.add(scored({"a": 0.1, "b": 0.2}), by="Ada")
    assert [one for one in examine(board) if one.kind == "error"] == []
    folder = Path(board.address) / "models/a/0001"
    _edited(folder / "results/a.json")
    with pytest.raises(StoreError, match=r"a\.json was changed after it was added"):
        _ = Board(board.address).entries
    [finding] = examine(Board(board.address))
    assert (finding.kind, finding.model) == ("error", "a")
    (folder / "results/a.json").unlink()
    [finding] = examine(Board(board.address))
    assert "is missing" in finding.text


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/hostname", "a\\b"])
def test_files_outside_an_entry_are_refused(board: Board, scored: MakeRun, name: str) -> None:
    from benchgen.hashing import digest

    board.add(scored({"a": 0.1}), by="Ada")
    path = Path(board.address) / "models/a/0001/entry.json"
    document = json.loads(path.read_text())
    document["files"][name] = "0" * 64
    document["sha256"] = digest({k: v for k, v in document.items() if k != "sha256"})
    path.write_text(json.dumps(document))
    [finding] = examine(Board(board.address))
    assert "is not within the entry" in finding.text


def test_what_does_not_belong_to_an_entry_is_refused(board: Board, scored: MakeRun) -> None:
    board.add(scored({"a": 0.1}), by="Ada")
    folder = Path(board.address) / "models/a/0001"
    strange = folder / "images/strange.svg"

    def told() -> str:
        [finding] = examine(Board(board.address))
        assert (finding.kind, finding.model) == ("error", "a")
        return finding.text

    strange.write_text("<svg onload='alert(1)'/>")
    assert "does not belong to the entry" in told()
    strange.unlink()
    strange.symlink_to("/etc/hostname")
    assert "is a link" in told()
    strange.unlink()
    with strange.open("wb") as file:
        file.truncate(100_000_000)
    assert "100,000,000 bytes; 20,000,000 are allowed" in told()
    strange.unlink()
    deep = folder / "images" / "deep"
    deep.joinpath(*"a" * 100).mkdir(parents=True)
    assert "deeper than any file of an entry" in told()
    shutil.rmtree(deep)
    entry = folder / "entry.json"
    whole = entry.read_text()
    entry.write_text(whole.replace('"schema_version": 1', '"schema_version": 2'))
    assert "this benchgen reads 1" in told()
    entry.write_text(whole.replace('"model": "a"', '"model": "<script>"'))
    assert "not a benchgen document: model" in told()
    entry.write_text(whole.replace('"revision": 1', '"revision": NaN'))
    assert "not a benchgen document" in told()
    entry.write_text(whole)
    assert board.damaged() == {}


def test_a_revision_that_is_missing_or_misplaced_is_told(board: Board, scored: MakeRun) -> None:
    board.add(scored({"a": 0.1}), by="Ada")
    folder = Path(board.address) / "models/a"
    (folder / "0001").rename(folder / "0002")
    assert "one is missing" in str(board.damaged()["a"])
    (folder / "0002").rename(folder / "0001")
    shutil.copytree(folder / "0001", folder / "0002")
    assert "says that it is revision 1" in str(board.damaged()["a"])


def test_doubts_are_told(board: Board, scored: MakeRun) -> None:
    board.add(scored({"a": 0.1}), by="Ada")
    board.add(scored({"b": 0.1}, "other", seed=7), by="Bob")
    told = {(one.kind, one.model): one.text for one in examine(Board(board.address))}
    assert "the same generator as b" in told["doubt", "a"]
    assert all(kind == "doubt" for kind, _ in told)


def _add(address: str, run: Path) -> int:
    [added] = Board(address).add(run, by=run.name)
    return added.revision


def test_processes_that_add_at_once_lose_nothing(
    board: Board, scored: MakeRun, tmp_path: Path
) -> None:
    runs = [scored({"a": 0.1 * place}, f"run{place}").directory for place in range(4)]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as workers:
        revisions = list(workers.map(_add, [board.address] * 4, runs))
    assert sorted(revisions) == [1, 2, 3, 4]
    assert {entry.document.by for entry in board.history("a")} == {run.name for run in runs}
    assert [place for place in (Path(board.address) / "models").rglob(".*")] == []
    assert board.damaged() == {}
