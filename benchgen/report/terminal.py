"""The ranking as a table for the terminal, laid out to fit the width that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchgen.report import numbers
from benchgen.report.findings import finding
from benchgen.report.standings import Cell, Column, Row, Standings
from benchgen.runs.comparison import Comparison

_BEST = "★"
_TIED = "≈"
_MOST_WARNINGS = 5


def render(comparison: Comparison | Standings) -> RenderableType:
    """The table of all scores with what belongs below it, as a rich renderable.

    Rows are generators and columns are metrics where that fits the terminal; else metrics are
    rows; else the metrics are spread over several tables. ``real`` and ``noise`` are set apart.
    """
    return _Ranking(Standings.of(comparison))


@dataclass(frozen=True)
class _Ranking:
    standings: Standings

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(finding(self.standings), style="bold")
        notes = _footnotes(self.standings)
        for table in _layout(self.standings, notes, console, options):
            yield Text()
            yield table
        yield from _below(self.standings, notes)


def _layout(
    standings: Standings, notes: dict[str, int], console: Console, options: ConsoleOptions
) -> list[Table]:
    """The first arrangement that fits: whole, turned, or in several tables."""
    columns = list(standings.columns)
    if not columns:
        return []

    def fits(table: Table) -> bool:
        return Measurement.get(console, options.update(width=1000), table).maximum <= (
            options.max_width
        )

    whole = _by_row(standings, columns, notes)
    if fits(whole):
        return [whole]
    turned = _by_metric(standings, columns, notes)
    if fits(turned):
        return [turned]
    tables: list[Table] = []
    while columns:
        taken = len(columns)
        while taken > 1 and not fits(_by_row(standings, columns[:taken], notes)):
            taken -= 1
        tables.append(_by_row(standings, columns[:taken], notes))
        columns = columns[taken:]
    return tables


def _by_row(standings: Standings, columns: Sequence[Column], notes: dict[str, int]) -> Table:
    table = _empty()
    table.add_column("", no_wrap=True, overflow="ellipsis", max_width=28)
    for column in columns:
        table.add_column(Text(column.heading), justify="left", no_wrap=True)
    for group in (standings.generators, standings.bounds):
        for row in group:
            cells = [_cell(column.cell(row), row, notes) for column in columns]
            table.add_row(_name(row), *cells)
        table.add_section()
    return table


def _by_metric(standings: Standings, columns: Sequence[Column], notes: dict[str, int]) -> Table:
    table = _empty()
    table.add_column("", no_wrap=True)
    for row in standings.rows:
        table.add_column(_name(row), no_wrap=True, overflow="ellipsis")
    for column in columns:
        cells = [_cell(column.cell(row), row, notes) for row in standings.rows]
        table.add_row(Text(column.heading, style="bold"), *cells)
    return table


def _empty() -> Table:
    return Table(
        box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )


def _name(row: Row) -> Text:
    if row.role:
        return Text(row.name, style="dim italic")
    return Text(row.name, style="red" if row.error is not None else "bold")


def _cell(cell: Cell | None, row: Row, notes: dict[str, int]) -> Text:
    if cell is None:
        return Text(numbers.UNDEFINED, style="dim")
    text = Text(cell.text, style="dim italic" if row.role else "")
    if cell.best:
        text = Text(f"{cell.text} {_BEST}", style="bold green")
    elif cell.tied:
        text = Text(f"{cell.text} {_TIED}", style="green")
    if cell.footnote is not None:
        text.append(numbers.superscript(notes[cell.footnote]), style="yellow")
    return text


def _footnotes(standings: Standings) -> dict[str, int]:
    """Every reason for a missing value, error or rank, numbered in the order of the table."""
    texts = dict.fromkeys(
        cell.footnote
        for column in standings.columns
        for cell in column.cells
        if cell.footnote is not None
    )
    return {text: place for place, text in enumerate(texts, start=1)}


def _below(standings: Standings, notes: dict[str, int]) -> Iterator[Text]:
    yield Text()
    yield _legend(standings)
    for text, place in notes.items():
        yield Text(f"{numbers.superscript(place)} {text}", style="yellow")
    for name, reason in standings.failures.items():
        yield Text(f"failed: {name}: {reason}", style="red")
    yield from _warnings(standings.warnings)
    for run in standings.comparison.runs:
        if run.report.is_file():
            yield Text(f"Report: {run.report}")


def _legend(standings: Standings) -> Text:
    cells = [cell for column in standings.columns for cell in column.cells]
    parts = ["value ± standard error"]
    if any(cell.best for cell in cells):
        parts.append(f"{_BEST} best generator")
    if any(cell.tied for cell in cells):
        parts.append(f"{_TIED} tied with the best")
    for kind, meaning in (("real", "ceiling"), ("noise", "floor")):
        parts += [f"{row.name}: {meaning}" for row in standings.bounds if row.kind == kind]
    if standings.lead is not None:
        parts.append(standings.lead.counts)
    extractors = dict.fromkeys(column.extractor for column in standings.columns)
    if len(extractors) == 1 and None not in extractors:
        parts.append(f"{next(iter(extractors))} features")
    return Text(" · ".join(parts), style="dim")


def _warnings(found: list[tuple[str, str]]) -> Iterator[Text]:
    if not found:
        return
    yield Text(f"{len(found)} warning{'' if len(found) == 1 else 's'}:", style="yellow")
    for row, text in found[:_MOST_WARNINGS]:
        yield Text(f"  {row}: {text}" if row else f"  {text}", style="yellow")
    if len(found) > _MOST_WARNINGS:
        yield Text(f"  and {len(found) - _MOST_WARNINGS} more, in the report", style="yellow")
