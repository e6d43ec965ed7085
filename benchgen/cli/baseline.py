"""`benchgen baseline`: accept what generators are, show it, and see what was accepted since."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchgen.cli.gate import Folder, Trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table
    from rich.text import Text

    from benchgen.gate.baseline import Baseline

app = typer.Typer(
    help="What generators were accepted to be: the files that `benchgen gate` compares with.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command()
def accept(
    run: Annotated[
        str, typer.Argument(help="A run directory; or a suite, file or bundled, to sample now.")
    ],
    reason: Annotated[str, typer.Option(help="Why this is what the generators should be.")],
    generator: Annotated[
        list[str] | None, typer.Option("--generator", "-g", help="Name of one to accept; or all.")
    ] = None,
    author: Annotated[
        str | None, typer.Option(help="Who says so. Default: GITHUB_ACTOR, or the user's name.")
    ] = None,
    baselines: Folder = None,
    trust_code: Trust = False,
) -> None:
    """Make a run's generators the baselines that gates compare with; commit what it writes."""
    from rich.console import Console

    from benchgen.accepting import accept_baseline
    from benchgen.cli.progress import RichObserver
    from benchgen.gate.baseline import DEFAULT

    with RichObserver(Console(stderr=True)) as observer:
        accepted = accept_baseline(
            run,
            reason=reason,
            author=author or os.environ.get("GITHUB_ACTOR") or getpass.getuser(),
            generators=generator or (),
            folder=baselines or DEFAULT,
            trust_code=trust_code,
            observer=observer,
        )
    console = Console()
    for line in _listed(accepted):
        console.print(line)
    for one in accepted:
        console.print(f"wrote {one.path}", highlight=False, markup=False)


@app.command()
def show(
    suite: Annotated[str | None, typer.Argument(help="Name of a suite. Default: all.")] = None,
    baselines: Folder = None,
) -> None:
    """Show the accepted values, by whom, when and why."""
    from rich.console import Console

    from benchgen.errors import NotComparableError
    from benchgen.gate.baseline import DEFAULT, read_all

    folder = baselines or DEFAULT
    names = [path.name for path in sorted(folder.glob("*")) if suite in (None, path.name)]
    found = [one for name in names for one in read_all(folder, name).values()]
    if not found:
        raise NotComparableError(
            f"there is no baseline in {folder / (suite or '')}; accept one: "
            "benchgen baseline accept RUN --reason …"
        )
    console = Console()
    for line in _listed(found):
        console.print(line)


@app.command()
def diff(
    other: Annotated[Path, typer.Argument(help="Other baselines: of the merge base, say.")],
    baselines: Folder = None,
) -> None:
    """Show what these baselines accept that others did not: values, with the reason."""
    from rich.console import Console

    from benchgen.gate.baseline import DEFAULT, changes

    found = changes(other, baselines or DEFAULT)
    console = Console()
    if not found:
        console.print("no baseline differs")
        return
    table = _empty("suite", "generator", "metric", "was", "is", "accepted", "reason")
    for line in found:
        table.add_row(*line)
    console.print(table)


def _listed(found: list[Baseline]) -> Iterator[Text]:
    """Two lines a baseline: what it is, and its values."""
    from rich.text import Text

    from benchgen.gate.baseline import named
    from benchgen.report.numbers import count, with_error

    for one in found:
        document = one.document
        about = f"n = {count(one.final.n)}, {document.accepted[:10]}, {document.author}"
        yield Text(f"{document.suite}/{document.source.name}", style="bold").append(
            f"  {about}: {document.reason}", style="not bold"
        )
        values = [
            f"{named((r.metric, r.extractor))} {with_error(r.value, r.stderr)}"
            for r in one.final.estimates
        ]
        yield Text("  " + " · ".join(values), style="dim")


def _empty(*titles: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*titles, box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
