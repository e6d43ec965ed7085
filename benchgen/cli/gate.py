"""`benchgen gate`: compare a suite's generators with their baselines, and say it by exit code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchgen.cli.groups import WithCheck

if TYPE_CHECKING:
    from rich.console import Console

    from benchgen.gate.documents import GateDocument


app = typer.Typer(
    cls=WithCheck,
    help="Have generators become worse than their baselines? `benchgen gate SUITE` checks.",
    rich_markup_mode="rich",
)

_COLOURS = {"unchanged": "green", "improved": "green", "inconclusive": "yellow"}

Folder = Annotated[
    Path | None,
    typer.Option(
        "--baselines",
        help="Where the baselines lie. Default: .benchgen/baselines.",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust-code", help="Run code of yours: module:callable, torchscript:PATH."),
]


@app.command()
def check(
    suite: Annotated[
        str | None,
        typer.Argument(help="A suite file (.toml) or a bundled suite. Default: digits."),
    ] = None,
    generator: Annotated[
        list[str] | None, typer.Option("--generator", "-g", help="Name of one to gate; or all.")
    ] = None,
    baselines: Folder = None,
    n: Annotated[int | None, typer.Option("-n", help="Most images per generator.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write. Default: .benchgen/gate/<suite>."),
    ] = None,
    allow_inconclusive: Annotated[
        bool, typer.Option("--allow-inconclusive", help="Let an undecided gate pass.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    trust_code: Trust = False,
) -> None:
    """Sample, compare with the accepted baselines, and exit with the verdict.

    Exit codes: 0 passed; 1 degraded; 3 a generator failed; 4 not comparable, or no baseline;
    5 inconclusive. Writes index.html, gate.md, gate.json and junit.xml, and appends the Markdown
    to the file that GITHUB_STEP_SUMMARY names.
    """
    from rich.console import Console

    from benchgen.cli.audit import show as show_audit
    from benchgen.cli.progress import RichObserver
    from benchgen.evaluation import open_suite
    from benchgen.gate.baseline import DEFAULT
    from benchgen.gate.text import markdown
    from benchgen.gating import default_out, run_gate

    chosen = open_suite(suite or "digits")
    if n is not None:
        chosen = chosen.replace(gate=chosen.gate.model_dump() | {"n": n})
    if device is not None:
        chosen = chosen.replace(execution=chosen.execution.model_dump() | {"device": device})
    where = default_out(chosen) if out is None else out
    with RichObserver(Console(stderr=True)) as observer:
        document = run_gate(
            chosen,
            generators=generator or (),
            folder=baselines or DEFAULT,
            out=where,
            allow_inconclusive=allow_inconclusive,
            trust_code=trust_code,
            observer=observer,
        )
    _show(document, where, Console())
    if document.audit is not None:
        show_audit(document.audit, where / "audit", Console())
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown(document))
    raise typer.Exit(document.exit_code)


@app.command()
def size(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    changed: Annotated[
        Path | None,
        typer.Argument(help="A run of the same generators after a small change, same seed and n."),
    ] = None,
    margin: Annotated[
        str | None, typer.Option(help='Of every metric, as 0.02 or "5%". Default: the suite\'s.')
    ] = None,
    power: Annotated[float, typer.Option(help="Probability of the right verdict.")] = 0.8,
) -> None:
    """Tell how many images a gate needs, from a run that is there."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from benchgen.gate.size import sizes
    from benchgen.report.numbers import UNDEFINED, count, significant
    from benchgen.runs.directory import Run
    from benchgen.suite import Suite

    opened = Run(run)
    suite = Suite.load(run / "suite.toml")
    if margin is not None:
        told: dict[str, Any] = {"margin": _number(margin), "margins": {}}
        suite = suite.replace(gate=suite.gate.model_dump() | told)
    found = sizes(opened, None if changed is None else Run(changed), suite.gate, power)
    table = Table(
        "generator",
        "check",
        "margin",
        "error",
        "n: unchanged",
        "n: twice the margin",
        box=SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        show_edge=False,
    )
    for one in found:
        needed = [UNDEFINED if n is None else count(n) for n in (one.unchanged, one.degraded)]
        error = UNDEFINED if one.error is None else significant(one.error, 2)
        table.add_row(one.generator, one.check, significant(one.margin, 3), error, *needed)
    console = Console()
    console.print(table)
    how = "compared image by image" if found[0].paired else "taken as independent (the most)"
    console.print(
        f"Images for the verdict with probability {power:g}: that a generator without harm is "
        f"unchanged, and that one worse by twice the margin is degraded; images are {how}.",
        style="dim",
        highlight=False,
    )


def _number(text: str) -> float | str:
    """A number, where the text is one; the suite judges the rest."""
    try:
        return float(text)
    except ValueError:
        return text


def _show(document: GateDocument, out: Path, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from benchgen.gate import words
    from benchgen.report.numbers import count

    colour = {0: "bold green", 5: "bold yellow"}.get(document.exit_code, "bold red")
    console.print(Text(words.headline(document), style=colour))
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for title in words.COLUMNS[1:-2]:
        table.add_column(title, no_wrap=True, overflow="ellipsis")
    notes = []
    generator = None
    extractors = {check.check.partition("@")[2] for check in document.checks} - {""}
    for check in words.sorted_checks(document):
        *told, _, note = words.cells(check)
        if check.generator != generator:
            generator = check.generator
            table.add_section()
            looked = document.made.get(generator)
            made = f"  {count(looked)} images" if looked else ""
            table.add_row(Text.assemble((generator, "bold"), (made, "dim")))
        if len(extractors) == 1:
            told[1] = told[1].partition("@")[0]
        if note and check.verdict not in ("unchanged", "improved"):
            notes.append(f"{told[0]} {told[1]}: {note}")
        shown = [Text(cell) for cell in told[1:]]
        shown[1].stylize(_COLOURS.get(check.verdict, "red"))
        table.add_row(*shown)
    if document.checks:
        console.print(table)
    for note in notes:
        console.print(Text(note, style="yellow"))
    for text in document.messages:
        console.print(Text(text, style="yellow"))
    console.print(Text(f"Report: {out / 'index.html'}"))
