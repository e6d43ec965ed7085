"""The site of a board: every page whole, every text escaped, nothing from elsewhere."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchgen.errors import UsageError
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.site import render
from benchgen.leaderboard.site.agreement import agreements
from benchgen.leaderboard.site.cost import trades
from benchgen.leaderboard.site.view import Matrix, View
from tests.benchmarks_loading import load

MakeBoard = Callable[..., Board]


@pytest.fixture(scope="module")
def make_board(tmp_path_factory: pytest.TempPathFactory) -> MakeBoard:
    """``make_board(models, **options)``: a board of a synthetic run, for all tests here."""
    synthetic: Any = load("leaderboard_inputs")

    def made(models: Any = None, title: str = "Synthetic", **options: Any) -> Board:
        folder = tmp_path_factory.mktemp("board")
        options = {"metrics": ["alpha", "beta"], "extractors": ["one", "two"], "n": 80} | options
        chosen = synthetic.contenders(9, tied=3, copied=1) if models is None else models
        run = synthetic.write_run(folder / "run", chosen, pictures=6, **options)
        board = Board.begin(folder / "board", title)
        board.add(run, by="Ada")
        return board

    return made


@pytest.fixture(scope="module")
def site(make_board: MakeBoard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(make_board(), tmp_path_factory.mktemp("site") / "out").parent


def test_a_site_has_every_page_and_reaches_for_nothing_else(site: Path) -> None:
    found = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    models = [f"model-{place:03d}" for place in range(8)] + ["model-000 copy", "real", "noise"]
    assert {f"models/{name}.html" for name in models} <= found
    assert {f"images/{name}.png" for name in models} <= found
    assert {f"metrics/{m}@{e}.html" for m in ("alpha", "beta") for e in ("one", "two")} <= found
    assert {"index.html", "compare.html", "standings.csv", "scores.csv", "board.json"} <= found
    for page in site.rglob("*.html"):
        text = page.read_text()
        for target in re.findall(r'(?:href|src)="([^"#?]+)', text):
            if target.startswith("data:"):
                continue
            assert "//" not in target
            assert (page.parent / target.replace("%20", " ").replace("%40", "@")).is_file(), target


def test_the_numbers_beside_it_are_those_of_the_board(site: Path) -> None:
    lines = list(csv.DictReader((site / "standings.csv").read_text().splitlines()))
    assert [line["kind"] for line in lines] == ["generator"] * 9 + ["real", "noise"]
    document = json.loads((site / "board.json").read_text())
    assert [line["model"] for line in document["models"]] == [line["model"] for line in lines]
    assert lines[0]["license"] == "MIT"
    assert lines[0]["parameters"] == "1000000"
    assert len(document["scores"]) == 4
    assert len(list(csv.DictReader((site / "scores.csv").read_text().splitlines()))) == 11 * 4


def test_a_copy_is_tied_with_its_original(make_board: MakeBoard) -> None:
    view = View(make_board())
    places = {model.name: model.place for model in view.competing}
    one, other = places["model-000"], places["model-000 copy"]
    assert one is not None
    assert other is not None
    assert (one.mean, one.best, one.worst) == (other.mean, other.best, other.worst)
    for contest in view.contests.values():
        at = [contest.names.index(name) for name in ("model-000", "model-000 copy")]
        assert not contest.distinct[at[0], at[1]]
        words = dict(Matrix.of(contest).lines)
        assert words["model-000"][contest.names.index("model-000 copy")] == "tied"


def test_the_matrix_tells_better_from_worse(make_board: MakeBoard) -> None:
    synthetic: Any = load("leaderboard_inputs")
    far = [synthetic.Model("worst", 30.0), synthetic.Model("best", 10.0)]
    view = View(make_board([*far, synthetic.Model("middle", 20.0)]))
    [contest, *_] = view.contests.values()
    assert Matrix.of(contest).lines == [
        ("best", [None, "better", "better"]),
        ("middle", ["worse", None, "better"]),
        ("worst", ["worse", "worse", None]),
    ]
    few = Matrix.of(contest, most=2)
    assert (few.names, few.left_out) == (("best", "middle"), 1)


def test_networks_that_agree_have_a_correlation_of_one(make_board: MakeBoard) -> None:
    synthetic: Any = load("leaderboard_inputs")
    models = [synthetic.Model(f"m{place}", 10.0 + 5 * place) for place in range(5)]
    found = agreements(View(make_board(models)).ranking)
    assert [(one.metric, one.extractors) for one in found] == [
        ("Alpha", ("one", "two")),
        ("Beta", ("one", "two")),
    ]
    for one in found:
        assert one.correlation == pytest.approx(1.0)
        assert one.leaders == ("m0", "m0")
        assert not one.settled


def test_the_data_of_any_two_models_gives_their_difference(make_board: MakeBoard) -> None:
    """What the page decodes is what the contest of that metric says."""
    import base64

    from benchgen.leaderboard.site.pairs import comparison_data

    view = View(make_board())
    data = comparison_data(view, {})
    names = [model["name"] for model in data["models"]]
    upper = np.triu_indices(len(names), 1)
    for column, metric in zip(view.standings.columns, data["metrics"], strict=True):
        contest = view.contests[column.key]
        assert contest.differences is not None
        ratios = np.frombuffer(base64.b64decode(metric["apart"]), dtype="<f2")
        place = view.standings.columns.index(column)
        for i, j, ratio in zip(*upper, ratios, strict=True):
            if names[j] in ("real", "noise"):
                assert np.isnan(ratio)
                continue
            a, b = contest.names.index(names[i]), contest.names.index(names[j])
            errors = [data["models"][k]["errors"][place] for k in (i, j)]
            stderr = contest.differences.stderr[a, b]
            assert abs(ratio) * np.hypot(*errors) == pytest.approx(stderr, rel=2e-3, abs=2e-4)
            assert (ratio < 0) == contest.distinct[a, b]


def test_texts_of_a_contributor_are_escaped(make_board: MakeBoard, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    board = make_board(title=f"Board {evil}", training_data=f"{evil}=1+1", license=evil)
    folder = render(board, tmp_path / "out").parent
    for page in folder.rglob("*.html"):
        text = page.read_text()
        assert "<script>alert" not in text, page
        assert "alert(1)" in text, page
    assert "\n=" not in (folder / "standings.csv").read_text()


def test_only_a_site_is_replaced(make_board: MakeBoard, tmp_path: Path) -> None:
    board = make_board()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is no site of a leaderboard"):
        render(board, mine)
    assert (mine / "thesis.txt").read_text() == "years of work"
    out = tmp_path / "site"
    render(board, out)
    (out / "models" / "gone.html").write_text("an older model")
    render(board, out)
    assert not (out / "models" / "gone.html").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_empty_board_says_so(tmp_path: Path) -> None:
    index = render(Board.begin(tmp_path / "board", "Nothing yet"), tmp_path / "site")
    assert "There are no models yet" in index.read_text()


def test_revisions_are_the_history(make_board: MakeBoard, tmp_path: Path) -> None:
    synthetic: Any = load("leaderboard_inputs")
    board = make_board([synthetic.Model("a", 10.0), synthetic.Model("b", 20.0)])
    options = {"metrics": ["alpha", "beta"], "extractors": ["one", "two"], "n": 80, "seed": 5}
    again = synthetic.write_run(tmp_path / "again", [synthetic.Model("a", 12.0)], **options)
    board.add(again, by="Bob")
    page = (render(board, tmp_path / "site").parent / "models" / "a.html").read_text()
    history = page[page.index('id="history"') : page.index('id="provenance"')]
    assert re.findall(r'<th scope="row">(\d)</th>', history) == ["2", "1"]
    assert history.index("Bob") < history.index("Ada")


def test_nobody_beats_the_front_on_both(make_board: MakeBoard) -> None:
    view = View(make_board())
    found = {trade.cost.title: trade for trade in trades(view.competing, view.standings.lead)}
    assert set(found) == {"Sampling speed"}  # all have the same memory and parameters
    trade = found["Sampling speed"]
    placed = {model.name: (-speed, value) for model, speed, value in trade.points}
    for name, own in placed.items():
        better = [o for o in placed.values() if o != own and o[0] <= own[0] and o[1] <= own[1]]
        if name in trade.front:
            assert not better, name
        else:
            assert better or own in [placed[other] for other in trade.front], name
    assert "beaten on neither" in trade.plot
