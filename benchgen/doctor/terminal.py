"""The findings as a table for the terminal: metrics as rows, defects as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchgen.doctor import words
from benchgen.doctor.documents import DefectRecord, DoctorDocument, MetricFindings
from benchgen.report.numbers import count, duration, superscript

_NARROWEST = 7
"""Fits the longest word of a heading, and eight defects into 80 columns."""
_STYLES = {
    "sees": "green",
    "fades": "yellow",
    "fooled": "red",
    "blind": "dim",
    "undefined": "dim",
}


def render(document: DoctorDocument, folder: Path) -> RenderableType:
    """The table, what it means, and what could not be tried."""
    return Group(*_parts(document, folder))


def _parts(document: DoctorDocument, folder: Path) -> Iterator[RenderableType]:
    yield Text(_title(document), style="bold")
    yield Text()
    if document.metrics:
        yield from _verdicts(document)
    for metric, reason in document.not_run.items():
        yield Text(f"not run: {metric.rpartition('/')[2]}: {reason}", style="yellow")
    for text in words.shortfalls(document):
        yield Text(text, style="yellow")
    seconds = document.extract_seconds + document.metric_seconds
    yield Text(f"Details and plot: {folder} ({duration(seconds)})")


def _verdicts(document: DoctorDocument) -> Iterator[RenderableType]:
    yield _table(document)
    yield Text()
    yield Text(" · ".join(words.legend(document)), style="dim")
    if any(metric.stderr is None for metric in document.metrics):
        yield Text(f"{superscript(1)} {words.NO_ERROR}", style="yellow")
    yield Text()
    yield _bullets(document.conclusions)
    yield Text()


def _title(document: DoctorDocument) -> str:
    return (
        f"Which metric sees what: {document.reference.name}, {document.extractor} features, "
        f"n={count(document.n)}"
    )


def _bullets(sentences: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    for sentence in sentences:
        grid.add_row("•", Text(sentence))
    return grid


def _table(document: DoctorDocument) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=0)
    table.add_column("", no_wrap=True)
    for defect in document.defects:
        heading = Text(defect.heading)
        heading.append(f"\n{defect.unit}", style="not bold dim")
        table.add_column(heading, min_width=_NARROWEST)
    for metric in document.metrics:
        cells = [_cell(metric, defect) for defect in document.defects]
        table.add_row(_name(metric), *cells)
    return table


def _name(metric: MetricFindings) -> Text:
    name = Text(metric.name, style="bold")
    if metric.stderr is None:
        name.append(superscript(1), style="yellow")
    return name


def _cell(metric: MetricFindings, defect: DefectRecord) -> Text:
    finding = metric.finding(defect.id)
    style = _STYLES[finding.verdict]
    if metric.stderr is None:
        style = "dim"  # it may be chance
    elif finding.seen_from == finding.responses[0].strength:
        style = f"bold {style}"
    return Text(words.cell(finding, defect), style=style)
