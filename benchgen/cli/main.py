"""The `benchgen` command: collects the commands and turns errors into exit codes.

Exit codes: 0 fine; 1 quality degraded; 2 usage or config; 3 run failed or incomplete; 4 not
comparable, or no baseline; 5 inconclusive; 130 interrupted.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

import benchgen
from benchgen.cli import (
    audit,
    baseline,
    compare,
    doctor,
    gate,
    leaderboard,
    ls,
    plugins,
    report,
    run,
    sample,
    schema,
    train,
)
from benchgen.errors import BenchgenError

app = typer.Typer(
    help="Evaluate image generators: every score with its uncertainty, every comparison honest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.add_typer(gate.app, name="gate")
app.add_typer(baseline.app, name="baseline")
app.add_typer(audit.app, name="audit")
app.add_typer(leaderboard.app, name="leaderboard")
app.command()(sample.sample)
app.command()(train.train)
app.command()(compare.compare)
app.command()(report.report)
app.command()(schema.schema)
app.command()(doctor.doctor)
app.command()(ls.ls)
app.add_typer(plugins.app, name="plugins")


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Evaluate image generators: every score with its uncertainty, every comparison honest."""
    if version:
        typer.echo(f"benchgen {benchgen.__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point of the console script."""
    # Before torch is loaded. On a machine that is busy with other things, threads that spin while
    # they wait for each other wait for the scheduler: an eigendecomposition that takes a second
    # takes half a minute. A short spin costs nothing where the machine is idle.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # Modules and documents are many small objects that stay: looking through them for garbage
    # after every 700 new ones, as is the default, takes a tenth of the time of a short command.
    gc.set_threshold(10_000)
    try:
        app()
    except BenchgenError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        sys.exit(error.exit_code)
