"""`benchgen compare`: runs side by side, with the difference of every score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from benchgen.runs.comparison import MetricDifference


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; the first is held against.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Tell what changed between runs: every row that they share, on every metric.

    Generators that share seeds, and whose images depend on (seed, index) alone, are compared
    image by image, which needs far fewer images; the others are marked.
    """
    import json

    from rich.console import Console

    from benchgen.errors import UsageError
    from benchgen.runs.comparison import compare as differences

    if len(runs) < 2:
        raise UsageError("compare needs two runs or more; found one")
    found = {str(other): differences(other, runs[0]) for other in runs[1:]}
    if json_:
        told = {name: [_record(one) for one in each] for name, each in found.items()}
        typer.echo(json.dumps({"first": str(runs[0]), "differences": told}, indent=1))
        return
    console = Console()
    for name, each in found.items():
        _show(console, str(runs[0]), name, each)


def _show(console: Console, first: str, other: str, found: list[MetricDifference]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from benchgen.report.numbers import interval, with_error

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for title in ("metric", "was", "is", "change", "95 %", ""):
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    extractors = {one.extractor for one in found} - {None}
    row = None
    for one in found:
        if one.a != row:
            row = one.a
            table.add_section()
            table.add_row(Text(row, style="bold"))
        delta = one.difference
        label = one.metric if len(extractors) < 2 else f"{one.metric}@{one.extractor}"
        table.add_row(
            Text(label),
            with_error(one.values[1], delta.stderr).partition(" ±")[0],
            with_error(one.values[0], delta.stderr).partition(" ±")[0],
            with_error(delta.value, delta.stderr).partition(" ±")[0],
            interval(delta.interval, delta.stderr),
            _word(one),
        )
    console.print(Text(f"{first} → {other}", style="bold"))
    console.print(table)


def _word(one: MetricDifference) -> Text:
    from rich.text import Text

    if one.difference.value == 0 and not one.difference.stderr:
        return Text("same", style="dim")
    word = {"a": Text("better", style="green"), "b": Text("worse", style="red")}.get(
        one.better or "", Text("")
    )
    if not one.difference.paired:
        word.append(", not paired" if word else "not paired", style="yellow")
    return word


def _record(one: MetricDifference) -> dict[str, Any]:
    delta = one.difference
    return {
        "row": one.a,
        "metric": one.metric,
        "extractor": one.extractor,
        "was": one.values[1],
        "is": one.values[0],
        "change": delta.value,
        "stderr": delta.stderr,
        "interval": delta.interval,
        "p": delta.p,
        "paired": delta.paired,
        "verdict": {"a": "better", "b": "worse"}.get(one.better or ""),
        "notes": list(delta.notes),
    }
