"""`benchgen leaderboard`: standings that anyone can check and extend."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from benchgen.leaderboard.board import Board

app = typer.Typer(
    help="Standings that last: results of many models that anyone can check and extend.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_PLACES = "a folder, sqlite:///FILE or postgresql://USER@HOST/DATABASE"

Address = Annotated[str, typer.Argument(help=f"Where the board is: {_PLACES}.")]


@app.command()
def init(
    board: Address,
    title: Annotated[str, typer.Option(help="What the board is called.")] = "Leaderboard",
    weight: Annotated[
        list[str] | None,
        typer.Option(help='Of a metric in the combined rank: "fid@inception=2"; or several.'),
    ] = None,
    alpha: Annotated[
        float, typer.Option(help="Chance of any false order of models on a metric.")
    ] = 0.05,
) -> None:
    """Begin an empty board. A folder can be committed to version control."""
    from benchgen.leaderboard.board import Board

    weights = dict(_weight(text) for text in weight or ())
    address = Board.begin(board, title, weights, alpha=alpha).address
    typer.echo(f"{address}: an empty board. Next: benchgen leaderboard add {address} RUN")


@app.command()
def add(
    board: Address,
    run: Annotated[
        list[Path], typer.Argument(help="Run directories, or results: RUN/results/NAME.json.")
    ],
    generator: Annotated[
        list[str] | None, typer.Option("--generator", "-g", help="Name of one to add; or all.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Who adds it. Default: GITHUB_ACTOR, or the user's name.")
    ] = None,
) -> None:
    """Put the generators of runs on the board; what cannot be compared with it is refused.

    A model that is there gets another revision; the older ones stay.
    """
    from benchgen.leaderboard.board import Board

    opened = Board(board)
    who = by or os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    for path in run:
        directory, names = _rows(path, generator or ())
        for one in opened.add(directory, by=who, names=names):
            typer.echo(f"{one.model}: {one.outcome}, revision {one.revision}")


@app.command()
def check(board: Address) -> None:
    """Tell what is wrong or doubtful with the entries, for whoever reviews them.

    Exit codes: 0 nothing is wrong (there may be doubts); 1 an entry was changed, does not fit
    the board, or states an error that its own influences deny.
    """
    from rich.console import Console
    from rich.text import Text

    from benchgen.leaderboard.board import Board
    from benchgen.leaderboard.checks import examine

    console = Console()
    found = examine(Board(board))
    for one in found:
        style = "red" if one.kind == "error" else "yellow"
        console.print(Text.assemble((f"{one.kind}: ", style), f"{one.model}: {one.text}"))
    errors = sum(one.kind == "error" for one in found)
    console.print(f"{errors} errors, {len(found) - errors} doubts")
    raise typer.Exit(1 if errors else 0)


@app.command()
def show(board: Address) -> None:
    """Print the standings: places over all metrics, then the scores."""
    from rich.console import Console

    from benchgen.leaderboard.board import Board
    from benchgen.report.terminal import render

    opened = Board(board)
    console = Console()
    if not opened.models:
        console.print(f"{opened.document.title}: no models yet")
        return
    console.print(_standings(opened))
    console.print(render(opened.comparison))


@app.command()
def copy(
    source: Address,
    target: Annotated[
        str, typer.Argument(help="Where the copy goes, likewise; nothing is there yet.")
    ],
) -> None:
    """Copy a whole board, every revision byte for byte: export from a database, or import into it.

    An entry that is not whole stops the copy, and nothing is left of it.
    """
    from benchgen.leaderboard.board import Board

    opened = Board(source)
    typer.echo(f"{opened.copy(target).address}: the whole of {opened.address}")


@app.command()
def render(
    board: Address,
    out: Annotated[Path, typer.Option(help="Where the site goes.")] = Path("site"),
) -> None:
    """Write the board as a site of plain files, for any static host or to be opened from disk.

    An older site at that place is replaced when the new one is whole.
    """
    from benchgen.leaderboard.board import Board
    from benchgen.leaderboard.site import render as write

    typer.echo(f"Site: {write(Board(board), out)}")


@app.command()
def serve(
    board: Address,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
) -> None:
    """Serve the same site live: what is added is there at the next look.

    Needs the extra `serve`: pip install 'benchgen[serve]'.
    """
    from benchgen.leaderboard.site.serve import listen

    listen(board, host, port)


def _standings(board: Board) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from benchgen.leaderboard.ranking import overall

    table = Table(title=board.document.title, box=SIMPLE_HEAD, title_justify="left")
    for heading in ("place", "model", "mean rank", "revision"):
        table.add_column(heading)
    for one in overall(board.comparison, board.document.weights):
        open_ = f"{one.best}–{one.worst}" if one.best < one.worst else f"{one.place}"
        revision = str(board.models[one.model].document.revision)
        cells = (open_, one.model, f"{one.mean:.2f} [{one.lowest:.2f}, {one.highest:.2f}]")
        table.add_row(*map(Text, (*cells, revision)))
    return table


def _rows(path: Path, names: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """A run and the names of its rows to add: of a result document, that one."""
    if path.suffix == ".json" and path.parent.name == "results":
        return path.parent.parent, [path.stem]
    return path, names


def _weight(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        return name.strip(), float(number)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no weight; give METRIC@EXTRACTOR=NUMBER") from None
