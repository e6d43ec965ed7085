"""A comparison as a report shows it: rows, columns and cells, with the generators ranked alone.

``real`` and ``noise`` are the ceiling and the floor that generators are seen against. They take
no rank, so that the best generator is marked as such though real images score better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from benchgen.report import numbers
from benchgen.runs.comparison import Board, Comparison, Line
from benchgen.runs.directory import Result
from benchgen.runs.documents import EstimateRecord, MetricRecord, RunDocument

COLOURS = (
    "#2f7fd6",
    "#e07b1a",
    "#1f9e77",
    "#d1508f",
    "#8465cf",
    "#a8871b",
    "#d64a3f",
    "#2aa3b8",
    "#7a9a2a",
    "#a3663c",
    "#5a70e0",
    "#b657c4",
)
MARKERS = "osD^vPXpd<>h"
BOUND_COLOURS = {"real": "#6f7d8c", "noise": "#9a938c"}
BOUND_MARKERS = {"real": "D", "noise": "X"}


@dataclass(frozen=True)
class Row:
    """A generator, a folder, ``real`` or ``noise``, with the looks that it keeps throughout."""

    name: str
    kind: Literal["generator", "real", "noise"]
    result: Result
    colour: str
    marker: str

    @property
    def n(self) -> int:
        return self.result.document.n

    @property
    def error(self) -> str | None:
        return self.result.document.error

    @property
    def role(self) -> str:
        """What a bound is for; empty for generators."""
        return {"real": "ceiling", "noise": "floor"}.get(self.kind, "")


@dataclass(frozen=True)
class Cell:
    """One row's score on one metric, ready to be shown."""

    row: Row
    line: Line
    metric: MetricRecord
    best: bool = False
    tied: bool = False

    @property
    def record(self) -> EstimateRecord:
        return self.line.record

    @cached_property
    def text(self) -> str:
        return numbers.with_error(self.record.value, self.record.stderr, self.metric.scale)

    @cached_property
    def interval(self) -> str:
        return numbers.interval(self.record.interval, self.record.stderr, self.metric.scale)

    @property
    def level(self) -> str:
        return f"{100 * self.record.level:g} %"

    @property
    def rank(self) -> str:
        """The ranks that the evidence allows (``"1–2"``); empty without a rank."""
        found = self.line.rank
        if found is None or found.lowest is None:
            return ""
        if found.lowest == found.highest:
            return str(found.lowest)
        return f"{found.lowest}–{found.highest}"

    @property
    def footnote(self) -> str | None:
        """Why the value, its error or its rank is missing."""
        return self.line.unranked or self.record.reason


@dataclass(frozen=True)
class Column:
    """One metric on one extractor.

    ``cells`` holds generators best first, then those without a rank, then ``real`` and ``noise``.
    ``all_lines`` is every row's line by name, the bounds' too.
    """

    metric: MetricRecord
    extractor: str | None
    name: str
    cells: tuple[Cell, ...]
    all_lines: dict[str, Line]

    @property
    def key(self) -> str:
        return self.metric.id if self.extractor is None else f"{self.metric.id}@{self.extractor}"

    @cached_property
    def arrow(self) -> str:
        return {"lower": "↓", "higher": "↑"}.get(self.metric.direction, "")

    @cached_property
    def heading(self) -> str:
        """Title, scale and direction: ``"KID ×10³ ↓"``."""
        parts = (self.name, numbers.scale_label(self.metric.scale), self.arrow)
        return " ".join(part for part in parts if part)

    @cached_property
    def ranked(self) -> tuple[Cell, ...]:
        """Generators that have a rank, best first."""
        return tuple(cell for cell in self.cells if cell.line.rank is not None)

    def cell(self, row: Row) -> Cell | None:
        return next((cell for cell in self.cells if cell.row.name == row.name), None)

    @property
    def counts(self) -> str:
        """How many images stand behind the numbers: ``"N = 1,000, M = 1,000"``."""
        parts = []
        for letter, values in (
            ("N", {cell.record.n for cell in self.cells}),
            ("M", {cell.record.m for cell in self.cells if cell.record.m is not None}),
        ):
            if values:
                parts.append(f"{letter} = {numbers.extent(values)}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Standings:
    """Everything that the tables, sentences and plots of one report share."""

    comparison: Comparison

    @classmethod
    def of(cls, comparison: Comparison | Standings) -> Standings:
        """Ranks are worked out once where several products share one `Standings`."""
        return comparison if isinstance(comparison, Standings) else cls(comparison)

    @property
    def runs(self) -> tuple[RunDocument, ...]:
        return tuple(run.document for run in self.comparison.runs)

    @property
    def title(self) -> str:
        """The suite's name, or names."""
        names = [str(document.suite.get("name") or "benchgen") for document in self.runs]
        return " and ".join(dict.fromkeys(names))

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Generators first, the better one on the leading metric above; then the bounds."""
        order: list[str] = []
        if self.lead is not None:
            order = [cell.row.name for cell in self.lead.ranked]
        place = {name: index for index, name in enumerate(order)}
        kinds = ("generator", "real", "noise")

        def key(row: Row) -> tuple[int, bool, int]:
            return kinds.index(row.kind), row.error is not None, place.get(row.name, len(place))

        return tuple(sorted(self._rows.values(), key=key))

    @property
    def generators(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.kind == "generator")

    @property
    def bounds(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.kind != "generator")

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The metrics in the order of the suite."""
        boards = self.comparison.boards
        several = len({board.extractor for board in boards} - {None}) > 1
        return tuple(self._column(board, several) for board in boards)

    @property
    def groups(self) -> list[tuple[bool, str | None, tuple[Column, ...]]]:
        """Columns apart by estimand (population or not) and extractor; plain scores first."""
        groups: dict[tuple[bool, str | None], list[Column]] = {}
        for column in self.columns:
            groups.setdefault((column.metric.population, column.extractor), []).append(column)
        ordered = sorted(groups.items(), key=lambda item: item[0][0])
        return [(*key, tuple(columns)) for key, columns in ordered]

    @cached_property
    def lead(self) -> Column | None:
        """The metric that orders the rows: FID where there is one, else the first that ranks."""
        ids = [column.metric.id for column in self.columns if column.metric.direction != "none"]
        for wanted in ("fid", *ids[:1]):
            if wanted in ids:
                return next(column for column in self.columns if column.metric.id == wanted)
        return None

    @property
    def failures(self) -> dict[str, str]:
        """Rows without a complete result, with the reason."""
        failed = {row.name: row.error for row in self.rows if row.error is not None}
        for run in self.comparison.runs:
            for name in run.document.rows:
                if name not in run.results:
                    failed[name] = "no result yet: the run was stopped before this row"
        return failed

    @property
    def warnings(self) -> list[tuple[str, str]]:
        """(row, text) of every warning; an empty row for those of the whole run."""
        whole = [("", text) for document in self.runs for text in document.messages]
        return whole + [(row.name, t) for row in self.rows for t in row.result.document.warnings]

    @cached_property
    def _rows(self) -> dict[str, Row]:
        rows: dict[str, Row] = {}
        seen = 0
        for name, result in self.comparison.results.items():
            kind = result.document.row
            if kind == "generator":
                look = COLOURS[seen % len(COLOURS)], MARKERS[seen % len(MARKERS)]
                seen += 1
            else:
                look = BOUND_COLOURS[kind], BOUND_MARKERS[kind]
            rows[name] = Row(name, kind, result, *look)
        return rows

    def _column(self, board: Board, several: bool) -> Column:
        cells: list[Cell] = []
        for line in board.lines:
            if self._rows[line.row].kind == "generator":
                best = not cells and line.rank is not None
                tied = not best and line.rank is not None and line.rank.tied_with_best
                cells.append(Cell(self._rows[line.row], line, board.metric, best, tied))
        everyone = {line.row: line for line in board.lines}
        for name, row in self._rows.items():
            if row.kind != "generator" and name in everyone:
                cells.append(Cell(row, everyone[name], board.metric))
        name = board.metric.title
        if several and board.extractor is not None:
            name = f"{name} ({board.extractor})"
        return Column(board.metric, board.extractor, name, tuple(cells), everyone)
