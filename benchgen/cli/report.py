"""`benchgen report`: the table and report of one or more finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write. Default: RUN/report, or ./report."),
    ] = None,
) -> None:
    """Render runs again, or several side by side: terminal table, HTML, Markdown, CSV, JSON."""
    from rich.console import Console

    from benchgen.report.build import write_report
    from benchgen.report.terminal import render
    from benchgen.runs.comparison import Comparison

    comparison = Comparison.of(runs)
    folder = out or (runs[0] / "report" if len(runs) == 1 else Path("report"))
    page = write_report(comparison, folder)
    console = Console()
    console.print(render(comparison))
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
