"""The leaderboards that benchgen publishes are whole, and of the models that it ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchgen.host.loader import host
from benchgen.leaderboard.board import Board
from benchgen.suite import Suite
from tests.acceptance.conftest import Command

PUBLISHED = Path(__file__).parents[2] / "reports" / "leaderboard"
AGAIN = "python reports/rebuild.py makes it anew"


@pytest.mark.parametrize("suite", ["digits", "shapes"])
def test_a_published_board_is_of_what_ships(suite: str, benchgen_command: Command) -> None:
    folder = PUBLISHED / suite / "board"
    outcome = benchgen_command("leaderboard", "check", str(folder))
    assert outcome.code == 0, outcome.out
    board = Board(folder)
    shipped = {one.name: one.source for one in Suite.bundled(suite).generators}
    assert set(board.models) == set(shipped), AGAIN
    assert list(board.entries)[-2:] == ["real", "noise"]
    for name, entry in board.models.items():
        spec = host().find("generator", shipped[name]).spec
        assert entry.result.document.source.weights_sha256 == spec.weights_sha256, AGAIN
    site = json.loads((PUBLISHED / suite / "site" / "board.json").read_text())
    rendered = {model["model"]: model["sha256"] for model in site["models"]}
    assert rendered == {name: one.document.sha256 for name, one in board.entries.items()}, AGAIN
