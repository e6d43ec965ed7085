"""The plots of a report, drawn once and written either as inline SVG or as PNG.

Ink (text, axes, grid) is one sentinel colour. In SVG it becomes ``currentColor``, so a plot takes
the colour of the text around it, in a light theme and in a dark one.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from benchgen.report.pictures import Sheet
from benchgen.report.standings import Cell, Column, Row, Standings
from benchgen.runs.documents import ClassShares

_INK = "#25303c"
MOST_CLASSES = 24
_FAR = 1.5
_NAMED = 24
_WIDE, _VERY_WIDE = 5, 50
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10.5,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def interval_plot(column: Column) -> Figure:
    """One metric: a dot and its interval for every row, best on top."""
    cells = _defined(column)
    with _style():
        figure = Figure(figsize=(3.75, 0.6 + 0.24 * max(len(cells), 2)), layout="constrained")
        _draw_intervals(figure.add_subplot(), column, cells, title=False)
    return figure


def ranking(standings: Standings) -> Figure | None:
    """All metrics side by side, as one picture; None without any defined score."""
    columns = [column for column in standings.columns if _defined(column)]
    if not columns:
        return None
    across = min(3 if len(columns) > 4 else 2, len(columns))
    down = -(-len(columns) // across)
    height = 0.95 + 0.27 * max(len(_defined(column)) for column in columns)
    with _style():
        figure = Figure(figsize=(4.6 * across, height * down), layout="constrained")
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
        grid = list(figure.subplots(down, across, squeeze=False).flat)
        for axes, column in zip(grid, columns, strict=False):
            _draw_intervals(axes, column, _defined(column), title=True)
        for axes in grid[len(columns) :]:
            axes.set_visible(False)
        legend = (
            "★ best generator   ≈ statistically tied with it   bars: intervals   ▸ off the scale"
        )
        figure.supxlabel(legend, fontsize=8.5, alpha=0.7)
    return figure


def fidelity_pairs(standings: Standings) -> list[tuple[Column, Column]]:
    """(fidelity, diversity) metrics that can be drawn against each other, by extractor."""
    found = {(column.metric.id, column.extractor): column for column in standings.columns}
    pairs = []
    for fidelity, diversity in (("precision", "recall"), ("density", "coverage")):
        for (metric, extractor), column in found.items():
            other = found.get((diversity, extractor))
            if metric == fidelity and other and _defined(column) and _defined(other):
                pairs.append((column, other))
    return pairs


def fidelity_diversity(pairs: Sequence[tuple[Column, Column]]) -> Figure:
    """Fidelity (right is better) against diversity (up is better), with intervals."""
    with _style():
        figure = Figure(figsize=(5.3 * len(pairs), 4.0), layout="constrained")
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08)
        shown: dict[str, Any] = {}
        for axes, (x, y) in zip(
            figure.subplots(1, len(pairs), squeeze=False).flat, pairs, strict=True
        ):
            shown |= _draw_pair(axes, x, y)
        figure.legend(
            handles=list(shown.values()),
            loc="outside lower center",
            frameon=False,
            ncols=3 * len(pairs),
            handletextpad=0.2,
            columnspacing=1.2,
        )
    return figure


def pareto(
    points: Sequence[tuple[Row, float, float]],
    front: Collection[str],
    *,
    across: str,
    text: Callable[[float], str],
    up: Column,
) -> Figure:
    """Cost against quality: a line joins the rows of the front.

    These have their names in bold; the others have theirs where there is room. ``text`` says a
    cost, whose axis is logarithmic where costs differ much.
    """
    scaled_points = [(row, cost, up.metric.scale * value) for row, cost, value in points]
    with _style():
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = figure.add_subplot()
        costs = [cost for _, cost, _ in points]
        if max(costs) > _WIDE * min(costs):
            axes.set_xscale("log", subs=())
            steps = (1,) if max(costs) > _VERY_WIDE * min(costs) else (1, 2, 5)
            axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=6))
        else:
            axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_formatter(lambda cost, _: text(cost))
        best = sorted((cost, value) for row, cost, value in scaled_points if row.name in front)
        axes.plot(*zip(*best, strict=True), color=_INK, alpha=0.35, linewidth=1.2, zorder=1)
        alike: dict[tuple[bool, str, str], list[tuple[float, float]]] = {}
        for row, cost, value in scaled_points:
            look = row.name in front, row.marker, row.colour
            alike.setdefault(look, []).append((cost, value))
        for (ahead, marker, colour), places in sorted(alike.items()):
            size, alpha = (7.5, 1.0) if ahead else (5.5, 0.6)
            xs, ys = zip(*places, strict=True)
            axes.plot(xs, ys, marker, color=colour, markersize=size, alpha=alpha)
        axes.margins(0.18)
        axes.set_xlabel(across)
        axes.set_ylabel(up.heading)
        _plain(axes, grid="both")
        first = sorted(scaled_points, key=lambda point: point[0].name not in front)
        _name_points(figure, axes, first[: max(len(front), _NAMED)], front)
    return figure


def _name_points(
    figure: Figure, axes: Axes, points: Sequence[tuple[Row, float, float]], bold: Collection[str]
) -> None:
    """Names above or below the points, those in bold first; others only where nothing is hidden."""
    figure.draw_without_rendering()
    taken: list[Bbox] = []
    for row, x, y in points:
        for offset in (9, -9):
            name = axes.annotate(
                shorten(row.name),
                (x, y),
                xytext=(0, offset),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=8.5,
                fontweight="bold" if row.name in bold else "normal",
            )
            box = name.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            name.remove()


def samples(sheets: Sequence[Sheet]) -> Figure:
    """The sheets of samples side by side under their names."""
    across = min(len(sheets), 5)
    down = -(-len(sheets) // across)
    with _style():
        figure = Figure(figsize=(2.5 * across, 2.85 * down), layout="constrained")
        grid = list(figure.subplots(down, across, squeeze=False).flat)
        for axes in grid:
            axes.set_axis_off()
        for axes, sheet in zip(grid, sheets, strict=False):
            smooth = "nearest" if sheet.picture.pixelated else "antialiased"
            axes.imshow(sheet.picture.image, interpolation=smooth)
            axes.set_title(shorten(sheet.name, 24), fontweight="bold")
    return figure


def class_balance(row: Row, shares: ClassShares, reference: ClassShares | None) -> Figure:
    """Share of each class in a row, with the reference's as ticks."""
    names, own, theirs = _most_differing(shares, reference)
    with _style():
        figure = Figure(figsize=(4.4, 2.1), layout="constrained")
        axes = figure.add_subplot()
        places = range(len(names))
        axes.bar(places, own, width=0.68, color=row.colour)
        if theirs is not None:
            axes.hlines(
                theirs,
                [p - 0.44 for p in places],
                [p + 0.44 for p in places],
                color=_INK,
                linewidth=2,
            )
        long = max(map(len, names), default=0) > 3 or len(names) > 12
        axes.set_xticks(
            places,
            [shorten(name, 12) for name in names],
            rotation=40 if long else 0,
            ha="right" if long else "center",
        )
        axes.yaxis.set_major_formatter("{x:.0f} %")
        axes.locator_params(axis="y", nbins=4)
        _plain(axes, grid="y")
    return figure


def to_svg(figure: Figure, name: str, description: str) -> str:
    """Inline SVG whose ink is ``currentColor``. ``name`` keeps its ids apart from other plots'."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _style(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = svg.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
    svg = svg.replace(_INK, "currentColor")
    label = _attribute(description)
    head = re.search(r'viewBox="[^"]*"', svg)
    body = svg[svg.index(">") + 1 :]
    box = head.group() if head else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box} role="img" aria-label="{label}">{body}'
    )


def to_png(figure: Figure) -> bytes:
    """PNG on white, at a size fit for a README."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(
            buffer, format="png", dpi=160, facecolor="white", metadata={"Software": None}
        )
    return buffer.getvalue()


def shorten(name: str, length: int = 18) -> str:
    """A name cut to fit a plot, without control characters."""
    clean = "".join(c if c.isprintable() else " " for c in name)
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _defined(column: Column) -> list[Cell]:
    return [cell for cell in column.cells if cell.record.value is not None]


def _draw_intervals(axes: Axes, column: Column, cells: list[Cell], title: bool) -> None:
    low, high = limits(cells, column.metric.scale)
    for place, cell in enumerate(cells):
        value, bounds = scaled(cell)
        colour = cell.row.colour
        if low <= value <= high:
            axes.hlines(place, *bounds, color=colour, linewidth=2.4, alpha=0.65, zorder=2)
            axes.plot(value, place, cell.row.marker, color=colour, markersize=6.5, zorder=3)
        else:
            inset = 0.02 * (high - low)
            edge, arrow = (high - inset, ">") if value > high else (low + inset, "<")
            axes.plot(edge, place, arrow, color=colour, markersize=6.5, zorder=3)
        axes.annotate(
            f"{cell.text}{' ★' if cell.best else ' ≈' if cell.tied else ''}",
            (1.03, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8.5,
            fontweight="bold" if cell.best else "normal",
            alpha=1.0 if cell.row.kind == "generator" else 0.65,
        )
    axes.set_xlim(low, high)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    names = [shorten(cell.row.name, 16) for cell in cells]
    axes.set_yticks(range(len(cells)), names)
    for label, cell in zip(axes.get_yticklabels(), cells, strict=True):
        label.set_fontstyle("normal" if cell.row.kind == "generator" else "italic")
    axes.locator_params(axis="x", nbins=4 if max(map(len, names)) > 8 else 5)
    _plain(axes, grid="x")
    if title:
        heading = shorten(column.heading, 40)
        axes.set_title(f"{heading}   {column.counts}", loc="left", fontweight="bold")


def limits(cells: list[Cell], scale: float) -> tuple[float, float]:
    """The range of all rows; a bound far away does not stretch it and becomes an arrow."""
    near = [cell for cell in cells if cell.row.kind != "noise"] or cells
    ends = [end for cell in near for end in scaled(cell)[1]]
    low, high = min(ends), max(ends)
    span = (high - low) or abs(high) * 0.1 or 1.0
    for cell in cells:
        value, bounds = scaled(cell)
        if low - _FAR * span <= value <= high + _FAR * span:
            low, high = min(low, *bounds), max(high, *bounds)
    margin = 0.06 * ((high - low) or span)
    return low - margin, high + margin


def scaled(cell: Cell) -> tuple[float, tuple[float, float]]:
    """Value and interval in the shown unit; where no interval is known it has no width."""
    scale = cell.metric.scale
    value = (cell.record.value or 0.0) * scale
    low, high = cell.record.interval or (cell.record.value or 0.0,) * 2
    return value, (low * scale, high * scale)


def _draw_pair(axes: Axes, x: Column, y: Column) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    left: list[str] = []
    for cell in x.cells:
        other = y.cell(cell.row)
        if cell.record.value is None or other is None or other.record.value is None:
            continue
        (value, bounds), (height, tall) = scaled(cell), scaled(other)
        if cell.row.kind == "noise":
            left.append(f"{shorten(cell.row.name)} at ({value:.2g}, {height:.2g})")
            continue
        colour = cell.row.colour
        axes.hlines(height, *bounds, color=colour, linewidth=1.8, alpha=0.6)
        axes.vlines(value, *tall, color=colour, linewidth=1.8, alpha=0.6)
        role = f" ({cell.row.role})" if cell.row.role else ""
        (shown[cell.row.name],) = axes.plot(
            value,
            height,
            cell.row.marker,
            color=colour,
            markersize=8.5,
            linestyle="none",
            label=f"{shorten(cell.row.name)}{role}",
        )
    axes.margins(0.12)
    axes.set_xlabel(f"{x.metric.title}, fidelity →")
    axes.set_ylabel(f"{y.metric.title}, diversity →")
    extractor = f"{x.extractor} features, " if x.extractor else ""
    off = f"\nnot drawn: {'; '.join(left)}" if left else ""
    axes.set_title(f"{extractor}{x.counts}{off}", loc="left", fontsize=9, alpha=0.8)
    _plain(axes, grid="both")
    return shown


def _most_differing(
    shares: ClassShares, reference: ClassShares | None
) -> tuple[list[str], list[float], list[float] | None]:
    own = _percent(shares.counts)
    theirs = None
    if reference is not None and reference.classes == shares.classes:
        theirs = _percent(reference.counts)
    kept = list(range(len(own)))
    if len(own) > MOST_CLASSES:
        gap = [abs(a - b) for a, b in zip(own, theirs or [0.0] * len(own), strict=True)]
        kept = sorted(sorted(kept, key=lambda i: -gap[i])[:MOST_CLASSES])
    return (
        [shares.classes[i] for i in kept],
        [own[i] for i in kept],
        None if theirs is None else [theirs[i] for i in kept],
    )


def _percent(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [100 * n / total if total else 0.0 for n in counts]


def _plain(axes: Axes, grid: str) -> None:
    for side in ("top", "right", *(("left",) if grid == "x" else ())):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_alpha(0.4)
    axes.spines["left"].set_alpha(0.4)
    axes.grid(axis=grid, color=_INK, alpha=0.13, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _attribute(text: str) -> str:
    clean = textwrap.shorten(text, 400, placeholder=" …")
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        clean = clean.replace(character, entity)
    return clean
