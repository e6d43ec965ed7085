"""`benchgen leaderboard`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import Command, write_digits


@pytest.fixture
def run(benchgen_command: Command, tmp_path: Path) -> Path:
    reference = write_digits(tmp_path / "reference", 120)
    mine = write_digits(tmp_path / "mine", 60, start=200)
    said = benchgen_command(
        *("run", "-r", reference, "-g", f"mine={mine}", "-g", "static=noise"),
        *("-e", "digits", "-m", "fid", "-m", "kid", "-n", "60", "-o", "run"),
    )
    assert said.code == 0, said.err
    return Path("run")


def test_from_an_empty_board_to_standings(benchgen_command: Command, run: Path) -> None:
    assert benchgen_command("leaderboard", "init", "board", "--title", "Mine").code == 0
    assert "no models yet" in benchgen_command("leaderboard", "show", "board").out
    result = run / "results" / "mine.json"
    said = benchgen_command("leaderboard", "add", "board", result, "--by", "Ada")
    assert said.code == 0, said.err
    assert said.out == "mine: added, revision 1\n"
    said = benchgen_command("leaderboard", "add", "board", run)
    assert said.out == "mine: already there, revision 1\nstatic: added, revision 1\n"
    assert "already there" in benchgen_command("leaderboard", "add", "board", run).out
    shown = benchgen_command("leaderboard", "show", "board").out
    assert shown.index("Mine") < shown.index("mine") < shown.index("static")
    said = benchgen_command("leaderboard", "render", "board", "--out", "site")
    assert said.out == "Site: site/index.html\n"
    assert Path("site/models/mine.html").is_file()
    checked = benchgen_command("leaderboard", "check", "board")
    assert checked.code == 0
    assert "doubt: mine: no licence and no training data is stated" in checked.out
    said = benchgen_command("leaderboard", "copy", "board", "sqlite:///board.sqlite")
    assert said.out == "sqlite:///board.sqlite: the whole of board\n"
    assert benchgen_command("leaderboard", "show", "sqlite:///board.sqlite").out == shown
    said = benchgen_command("leaderboard", "add", "sqlite:///board.sqlite", run)
    assert "mine: already there, revision 1" in said.out
    assert benchgen_command("leaderboard", "check", "sqlite:///board.sqlite").code == 0
    assert benchgen_command("leaderboard", "copy", "sqlite:///board.sqlite", "board").code == 2
    Path("board/models/mine/0001/results/mine.json").write_text("{}")
    checked = benchgen_command("leaderboard", "check", "board")
    assert checked.code == 1
    assert "was changed after it was added" in " ".join(checked.out.split())


def test_what_cannot_be_done_is_said(benchgen_command: Command) -> None:
    said = benchgen_command("leaderboard", "add", "nowhere", "run")
    assert said.code == 2
    assert "Begin one: benchgen leaderboard init nowhere" in said.err
    said = benchgen_command("leaderboard", "show", "mysql://ada:secret@host/board")
    assert said.code == 2
    assert "sqlite:///FILE or postgresql://USER@HOST/DATABASE" in said.err
    assert "secret" not in said.err
    said = benchgen_command("leaderboard", "init", "board", "--weight", "fid")
    assert said.code == 2
    assert not Path("board").exists()
