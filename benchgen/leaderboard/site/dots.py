"""Interval dot plots as tables: places in percent, so that any width fits, and read aloud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from benchgen.report.plots import limits, scaled
from benchgen.report.standings import Cell, Column

_TICKS = 3


@dataclass(frozen=True)
class Dot:
    """A score between the ends of its plot, all in percent of the width.

    ``beyond`` says on which side a score lies that is off the scale.
    """

    cell: Cell
    at: float
    low: float
    high: float
    beyond: str


@dataclass(frozen=True)
class DotPlot:
    """The scores on one metric with their intervals; the bounds come last."""

    column: Column
    dots: list[Dot]
    ticks: list[tuple[float, str]]
    left_out: int

    @classmethod
    def of(cls, column: Column, most: int) -> DotPlot | None:
        """The best models, and the bounds; None without any defined score."""
        cells = [cell for cell in column.cells if cell.record.value is not None]
        models = [cell for cell in cells if cell.row.kind == "generator"]
        shown = models[:most] + [cell for cell in cells if cell.row.kind != "generator"]
        if not shown:
            return None
        low, high = limits(shown, column.metric.scale)
        ticks = [
            (_percent(tick, low, high), f"{tick:g}".replace("-", "−"))
            for tick in MaxNLocator(_TICKS).tick_values(low, high)
            if low <= tick <= high
        ]
        dots = [_dot(cell, low, high) for cell in shown]
        return cls(column, dots, ticks, len(models) - len(models[:most]))


def plots(columns: Sequence[Column], most: int) -> list[DotPlot]:
    """Those of the columns that have a defined score."""
    return [plot for column in columns if (plot := DotPlot.of(column, most)) is not None]


def _dot(cell: Cell, low: float, high: float) -> Dot:
    value, ends = scaled(cell)
    beyond = "left" if value < low else "right" if value > high else ""
    at, left, right = (_percent(min(max(x, low), high), low, high) for x in (value, *ends))
    return Dot(cell, at, left, right, beyond)


def _percent(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2)
