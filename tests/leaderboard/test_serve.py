"""The site over HTTP follows the board."""

from __future__ import annotations

import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchgen.errors import UsageError
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.site.serve import application, listen
from tests.benchmarks_loading import load

uvicorn = pytest.importorskip("uvicorn", reason="no uvicorn: the extra `serve` is not installed")


@contextmanager
def _serving(board: Path, folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = uvicorn.Config(application(str(board), folder), port=port, log_level="warning")
    server = uvicorn.Server(asked)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    for _ in range(200):
        if server.started:
            break
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def _get(url: str) -> tuple[int, str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_what_is_added_is_there_at_the_next_look(tmp_path: Path) -> None:
    synthetic: Any = load("leaderboard_inputs")
    options = {"metrics": ["alpha"], "extractors": ["one"], "n": 40}
    first = synthetic.write_run(tmp_path / "run", [synthetic.Model("first", 10.0)], **options)
    more = synthetic.write_run(tmp_path / "more", [synthetic.Model("second", 9.0)], **options)
    board = Board.begin(tmp_path / "board", "Live")
    board.add(first, by="Ada")
    with _serving(tmp_path / "board", tmp_path / "served") as url:
        status, text, headers = _get(f"{url}/")
        assert (status, "first is the only model" in text) == (200, True)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert _get(f"{url}/models/second.html")[0] == 404
        board.add(more, by="Bob")
        assert _get(f"{url}/models/second.html")[0] == 200
        for outside in ("/../board/board.json", "/%2e%2e/board/board.json", "/..%2fboard.json"):
            assert _get(url + outside)[0] == 404
        (tmp_path / "board/models/second/0001/run.json").write_text("{}")
        shutil.copytree(tmp_path / "board/models/second/0001", tmp_path / "board/models/third/0001")
        status, text, _ = _get(f"{url}/")
        assert status == 500
        assert "run.json was changed after it was added" in text


def test_a_board_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no leaderboard"):
        listen(str(tmp_path), "127.0.0.1", 0)


def test_without_the_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"pip install 'benchgen\[serve\]'"):
        listen(str(tmp_path), "127.0.0.1", 0)
