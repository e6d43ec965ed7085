"""Writing the site of a board: whole, or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from importlib import resources
from pathlib import Path

from benchgen.errors import StoreError, UsageError
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.site import data
from benchgen.leaderboard.site.pages import pages
from benchgen.leaderboard.site.pairs import sheet_file
from benchgen.leaderboard.site.view import View
from benchgen.report.pictures import sheets
from benchgen.report.text import csv

_MARK = ".benchgen-site"
"""A file in every site, so that nothing else is ever replaced."""
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\}\s*;?")


def render(board: Board, out: str | os.PathLike[str]) -> Path:
    """Write the site; one that is there is replaced when the new one is whole.

    Returns:
        The path of index.html.

    Raises:
        UsageError: Something else is at ``out``.
        StoreError: An entry is not whole, or the site cannot be written.
    """
    target = Path(out)
    if target.exists() and not (target / _MARK).is_file() and not _is_empty(target):
        raise UsageError(
            f"{target} is there, and is no site of a leaderboard; remove it or choose another place"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".rendering-") as folder:
            made = Path(folder) / "site"
            _write(board, made)
            if target.exists():
                target.rename(Path(folder) / "older")
            made.rename(target)
    except OSError as error:
        raise StoreError(
            f"cannot write {target}: {error.strerror}; choose another place"
        ) from error
    return target / "index.html"


def _write(board: Board, folder: Path) -> None:
    view = View(board)
    found = {sheet.row.name: sheet for sheet in sheets(view.standings) if sheet.row is not None}
    contents: dict[str, str | bytes] = dict(pages(view, found))
    contents |= {sheet_file(name, one): one.picture.encoded for name, one in found.items()}
    contents |= {
        "standings.csv": data.standings_csv(view),
        "scores.csv": csv(view.standings),
        "board.json": data.board_json(view),
        _MARK: "Made by `benchgen leaderboard render`, which replaces this folder.\n",
        "assets/board.css": _text("report", "templates/style.css")
        + _text("leaderboard.site", "assets/board.css"),
        "assets/board.js": _text("leaderboard.site", "assets/board.js"),
        "assets/compare.js": _text("leaderboard.site", "assets/compare.js"),
        "assets/datatables.js": _datatables(),
    }
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def _text(package: str, name: str) -> str:
    return (resources.files(f"benchgen.{package}") / name).read_text(encoding="utf-8")


def _datatables() -> str:
    """DataTables as a classic script, since browsers load no modules from disk.

    itables ships it as a module; its exports become one name of the window.
    """
    path = resources.files("itables") / "html" / "dt_bundle.js"
    module = path.read_text(encoding="utf-8")
    *_, exports = _EXPORTS.finditer(module)
    local = re.search(r"([\w$]+) as default", exports[1])
    if local is None:
        raise StoreError(f"{path} exports no default; benchgen knows itables 2")
    script = module[: exports.start()] + module[exports.end() :]
    return f"(()=>{{{script}\nwindow.DataTable={local[1]};}})();\n"


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
