"""`benchgen run`: evaluate a suite, print the table, write the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from benchgen.suite import Suite


def run(
    suite: Annotated[
        str | None,
        typer.Argument(help="A suite file (.toml) or a bundled suite. Default: digits."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            "-r",
            help="Real images: id, folder, archive, .parquet, .npy, .npz; or moments:FILE.npz.",
        ),
    ] = None,
    real: Annotated[
        str | None,
        typer.Option(help="Held-out real images for the row `real`; `none` leaves it out."),
    ] = None,
    noise: Annotated[
        bool | None, typer.Option("--noise/--no-noise", help="Whether the row `noise` is there.")
    ] = None,
    generator: Annotated[
        list[str] | None,
        typer.Option(
            "--generator",
            "-g",
            help="What to evaluate: id, weights file, folder, archive or array; "
            "[dim]name=source[/].",
        ),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(help="The generators' training images, to look for copies: id or path."),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", help="Images per row.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all sampling.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", "-m", help="Metric id.")] = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(
            "--extractor",
            "-e",
            help="Extractor: id, onnx:FILE, torchscript:FILE or module:callable.",
        ),
    ] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Measure id.")] = None,
    per_class: Annotated[
        bool | None, typer.Option("--per-class", help="Also score each class by itself.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory. Default: runs/<suite>-<hash>."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per call.")] = None,
    skip_bad: Annotated[
        float | None, typer.Option(help="Share of unreadable images to put up with.")
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Run code of yours: module:callable, torchscript:PATH. No suite can say so.",
        ),
    ] = False,
) -> None:
    """Sample, score and compare generators; resume or extend a run that was begun.

    Without arguments it compares the bundled models of handwritten digits. The same command
    again goes on where it stopped, and a larger -n extends the run; with --out, more generators
    and metrics extend it too.
    """
    changes: dict[str, Any] = {
        "n": n,
        "seed": seed,
        "skip_bad": skip_bad,
        "training": training,
        "noise": noise,
        "per_class": per_class,
        "generators": generator and [_named(text) for text in generator],
        "metrics": metric,
        "extractors": extractor,
        "measures": measure,
    }
    chosen = _suite(suite, reference, real, {k: v for k, v in changes.items() if v is not None})
    execution = {"device": device, "batch_size": batch_size}
    given = {k: v for k, v in execution.items() if v is not None}
    if given:
        chosen = chosen.replace(execution=chosen.execution.model_dump() | given)

    from rich.console import Console

    from benchgen.cli.progress import RichObserver
    from benchgen.evaluation import evaluate
    from benchgen.report.terminal import render
    from benchgen.runs.comparison import Comparison

    console = Console()
    with RichObserver(Console(stderr=True)) as observer:
        finished = evaluate(chosen, out, observer, trust_code=trust_code)
    console.print(render(Comparison.of([finished])))
    if finished.document.status != "complete":
        raise typer.Exit(3)


def _suite(
    suite: str | None, reference: str | None, real: str | None, changes: dict[str, Any]
) -> Suite:
    """The suite named, or the one that the flags describe, with the flags' changes."""
    from benchgen.suite import Suite

    if suite is not None:
        chosen = Suite.load(suite) if suite.endswith(".toml") else Suite.bundled(suite)
    elif reference is not None:
        chosen = Suite.from_reference(reference)
    else:
        chosen = Suite.bundled()
    if suite is not None and reference is not None:
        changes["reference"] = {"source": reference}
    if real is not None:
        base = changes.get("reference") or chosen.reference.model_dump()
        changes["reference"] = base | {"real": real}
    return chosen.replace(**changes) if changes else chosen


def _named(text: str) -> dict[str, str]:
    """``name=source``, or a source alone."""
    name, sign, source = text.partition("=")
    if sign and not Path(text).exists() and name.replace("-", "_").isidentifier():
        return {"name": name, "source": source}
    return {"source": text}
