"""`benchgen audit`: judge a run's images, or a folder of images, by declared limits."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchgen.cli.groups import WithCheck

if TYPE_CHECKING:
    from rich.console import Console

    from benchgen.audits.documents import AuditDocument
    from benchgen.suite import Suite

app = typer.Typer(
    cls=WithCheck,
    help="Judge images by declared limits: `benchgen audit RUN`, a suite, or a folder.",
    rich_markup_mode="rich",
)

_COLOURS = {"pass": "green", "shown": "dim", "fail": "red", "not run": "red"}


@app.command()
def check(
    what: Annotated[
        str,
        typer.Argument(
            help="A run directory; a suite (file or name), which is run first; or images: "
            "folder, archive, .parquet, .npy or .npz."
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option("--reference", "-r", help="Real images to compare with: id or path."),
    ] = None,
    training: Annotated[
        str | None, typer.Option(help="Training images, to look for copies: id or path.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="CSV, JSONL or Parquet: the column file, and one column an attribute."),
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", help="Attribute to judge: a column; or several."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Shares wanted of each attribute: uniform, reference, or a=0.5,b=0.5."),
    ] = None,
    distance: Annotated[
        float | None, typer.Option(help="Greatest total variation from the target.")
    ] = None,
    parity: Annotated[
        float | None, typer.Option(help="Least ratio of a kind's share to another's.")
    ] = None,
    calibration: Annotated[
        str | None, typer.Option(help="CSV with the columns true and read, of known images.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="CSV with the true attribute of a random few: file, ATTR.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", "-l", help='Of a metric or column: "coverage>=90% of real"; or several.'
        ),
    ] = None,
    extractor: Annotated[
        list[str] | None, typer.Option("--extractor", "-e", help="Extractor id, for images.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Metric id, for images.")
    ] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Measure id, for images.")] = None,
    n: Annotated[int | None, typer.Option("-n", help="Images per row.")] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Show pictures as they are, not blurred.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write. Default: audit, in the run directory."),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run code of yours: module:callable, torchscript:PATH."),
    ] = False,
) -> None:
    """Judge shares, diversity, copying and artifacts by the limits that you declare.

    Limits come from [audit] in the suite, and from flags. Exit codes: 0 all kept; 1 one is broken;
    3 a check could not be made; 5 undecided, or too few images. Writes index.html, audit.md,
    audit.json and junit.xml.
    """
    from rich.console import Console

    from benchgen.auditing import audit as judge
    from benchgen.cli.progress import RichObserver
    from benchgen.evaluation import evaluate
    from benchgen.runs.directory import Run
    from benchgen.suite import Suite

    folder = Path(what)
    if (folder / "run.json").is_file():
        opened = Run(folder)
        suite = Suite.load(folder / "suite.toml")
    else:
        changes: dict[str, Any] = {
            "training": training,
            "extractors": extractor,
            "metrics": metric,
            "measures": measure,
            "n": n,
        }
        suite = _suite(what, reference, {k: v for k, v in changes.items() if v is not None})
        with RichObserver(Console(stderr=True)) as observer:
            opened = evaluate(suite, None, observer, trust_code=trust_code)
    asked = suite.audit.model_dump(exclude_unset=True)
    shared = {
        "target": _target(target),
        "distance": distance,
        "parity": parity,
        "calibration": calibration,
        "truth": truth,
    }
    given = {k: v for k, v in shared.items() if v is not None}
    if attribute:
        asked["attributes"] = [{"name": name, **given} for name in attribute]
    elif given and asked.get("attributes"):
        asked["attributes"] = [one | given for one in asked["attributes"]]
    elif given:
        raise typer.BadParameter("say of which attribute: --attribute NAME")
    if labels is not None:
        asked["labels"] = labels
    for text in limit or ():
        where, name, bound = _limit(text, opened)
        asked[where] = {**asked.get(where, {})}
        asked[where][name] = asked[where].get(name, {}) | bound
    declared = suite.replace(audit=asked).audit
    command = shlex.join(["benchgen", *sys.argv[1:]])
    document = judge(opened, declared, out=out, plain=pictures, command=command)
    show(document, opened.directory / "audit" if out is None else out, Console())
    raise typer.Exit(document.exit_code)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    attribute: Annotated[
        str, typer.Option("--attribute", "-a", help="What a person shall tell of each image.")
    ],
    kinds: Annotated[str, typer.Option(help="The answers to choose from: dark,medium,light.")],
    generator: Annotated[
        str | None, typer.Option("--generator", "-g", help="Whose images. Default: the only one.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="Images to draw.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Page to write: a person answers in a browser.")
    ] = Path("label.html"),
) -> None:
    """Draw a random few of a run's images, and make a page on which a person labels them.

    The page saves a CSV for --truth. Labels of a random few correct the shares that a labeler reads
    in all images.
    """
    from rich.console import Console

    from benchgen.audits.sample import write_page
    from benchgen.runs.directory import Run

    answers = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    count = write_page(
        Run(run), attribute=attribute, kinds=answers, generator=generator, n=n, seed=seed, out=out
    )
    console = Console()
    console.print(
        f"{out}: {count} images to label as {', '.join(answers)}. Open it in a browser, answer, "
        f"and save; then: benchgen audit {run} --attribute {attribute} --truth {attribute}.csv",
        highlight=False,
        markup=False,
    )


def _suite(what: str, reference: str | None, changes: dict[str, Any]) -> Suite:
    """The suite named; or that of images alone, or against real ones."""
    from benchgen.suite import Suite

    if what.endswith(".toml"):
        return Suite.load(what).replace(**changes)
    if what in Suite.bundled_names() and not Path(what).exists():
        return Suite.bundled(what).replace(**changes)
    asked: dict[str, Any] = {
        "name": "audit",
        "generators": [what],
        "noise": False,
        "measures": ["image-stats", "artifacts", "spectrum", "encoding", "hashes"],
    }
    if reference is None:
        # Nothing to compare with: the images stand for themselves, and only what needs no
        # reference is measured.
        asked |= {
            "reference": {"source": what, "real": "none"},
            "metrics": ["vendi"],
            "extractors": ["random-conv"],
        }
    else:
        asked |= {"reference": reference}
    return Suite.model_validate(asked).replace(**changes)


def _target(text: str | None) -> str | dict[str, float] | None:
    if text is None or "=" not in text:
        return text
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        return {name.strip(): float(share) for name, _, share in pairs}
    except ValueError:
        raise typer.BadParameter(
            f"the target is {text!r}; give uniform, reference, or shares as a=0.5,b=0.5"
        ) from None


def _limit(text: str, run: Any) -> tuple[str, str, dict[str, Any]]:
    """``name>=bound`` as the section, the name and the bound; metrics come before columns."""
    for sign, word in ((">=", "at_least"), ("<=", "at_most")):
        name, found, bound = text.partition(sign)
        if not found:
            continue
        name, bound = name.strip(), bound.strip()
        metrics = {metric.id.rpartition("/")[2] for metric in run.document.metrics}
        base = name.partition("@")[0].rpartition("/")[2]
        where = "metrics" if base in metrics else "columns"
        try:
            return where, name, {word: float(bound)}
        except ValueError:
            return where, name, {word: bound}
    raise typer.BadParameter(f"{text!r} is no limit; give NAME>=NUMBER or NAME<=NUMBER")


def show(document: AuditDocument, out: Path, console: Console) -> None:
    """Print the headline and a table of the checks."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from benchgen.audits import words

    colour = {0: "bold green", 5: "bold yellow"}.get(document.exit_code, "bold red")
    console.print(Text(words.headline(document), style=colour))
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.padding = (0, 1, 0, 0)
    for title in words.COLUMNS[1:-1]:
        table.add_column(title, overflow="fold")
    generator = None
    names = [source.name for source in document.generators]
    for check in sorted(document.checks, key=lambda c: names.index(c.generator)):
        if check.generator != generator:
            generator = check.generator
            table.add_section()
            table.add_row(Text(generator, style="bold"))
        shown = [Text(cell) for cell in words.cells(check)[1:-1]]
        shown[1].stylize(_COLOURS.get(check.verdict, "yellow"))
        table.add_row(*shown)
    console.print(table)
    console.print(Text(f"Report: {out / 'index.html'}"))
