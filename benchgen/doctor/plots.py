"""The findings as pictures: how strongly each metric responds, and what the defects look like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from benchgen.doctor import words
from benchgen.doctor.defects import DEFECTS, ImageDefect
from benchgen.doctor.documents import DefectRecord, DoctorDocument, MetricFindings, ResponseRecord
from benchgen.report.numbers import count, superscript
from benchgen.report.plots import shorten

_INK = "#25303c"
_WORSE, _BETTER, _STILL = "#1f66b3", "#d64a3f", "#eef0f2"
_FAINTEST, _STRONGEST = 2.0, 100.0
_NARROWEST = 8.6
_BAR_LENGTH, _BAR_HEIGHT = 6.0, 0.13
_PALEST = 0.18
_UNKNOWN = 10.0
"""Standard errors that a change is drawn with where its error is unknown."""
_SHADES = LinearSegmentedColormap.from_list(
    "response", [_BETTER, "#f7d3cf", "#ffffff", "#cfe2f5", _WORSE]
)


def responses(document: DoctorDocument) -> Figure:
    """One panel a defect, one row a metric, one field a strength: the change in standard errors."""
    metrics, defects = document.metrics, document.defects
    with _style():
        widths = [len(defect.strengths) for defect in defects]
        wide = max(1.9 + 0.31 * sum(widths) + 0.12 * len(widths), _NARROWEST)
        figure = Figure(figsize=(wide, 2.0 + 0.235 * len(metrics)), layout="constrained")
        figure.set_layout_engine("constrained", w_pad=0.03, wspace=0.0)
        panels = figure.subplots(1, len(defects), width_ratios=widths, squeeze=False)[0]
        for axes, defect in zip(panels, defects, strict=True):
            _panel(axes, defect, metrics, names=axes is panels[0])
        figure.suptitle(
            f"Which metric responds to which defect   ({document.reference.name}, "
            f"{document.extractor} features, n = {count(document.n)})",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
        _colour_bar(figure, list(panels), metrics)
    return figure


def examples(document: DoctorDocument, image: Tensor) -> Figure | None:
    """One image, uint8 ``[3, H, W]``, under every defect of single images; None without any."""
    planted = {defect.id for defect in document.defects}
    rows = [d for d in DEFECTS if isinstance(d, ImageDefect) and d.id in planted]
    if not rows:
        return None
    records = {defect.id: defect for defect in document.defects}
    columns = 1 + max(len(records[defect.id].strengths) for defect in rows)
    with _style():
        figure = Figure(figsize=(1.25 * columns + 0.6, 1.42 * len(rows)), layout="constrained")
        figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for line, defect in zip(grid, rows, strict=True):
            record = records[defect.id]
            _show(line[0], image, "real")
            line[0].text(
                -0.12,
                0.5,
                record.name,
                transform=line[0].transAxes,
                rotation=90,
                ha="right",
                va="center",
                fontweight="bold",
            )
            for axes, strength in zip(line[1:], record.strengths, strict=False):
                altered = defect.apply(image[None], strength, [0], document.seed)[0]
                _show(axes, altered, words.amount(record, strength))
    return figure


@contextmanager
def _style() -> Iterator[None]:
    settings = {
        "font.size": 9.5,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        yield


def _panel(
    axes: Axes, defect: DefectRecord, metrics: Sequence[MetricFindings], *, names: bool
) -> None:
    fields = [metric.finding(defect.id).responses for metric in metrics]
    colours = np.array([[_colour(response) for response in row] for row in fields])
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    for down, row in enumerate(fields):
        for across, response in enumerate(row):
            if mark := _mark(response):
                bright = mark == "×" or abs(_shade(response) - 0.5) < 0.4
                ink = _INK if bright else "white"
                axes.text(across, down, mark, ha="center", va="center", fontsize=8, color=ink)
    axes.set_xticks(range(len(defect.strengths)), [f"{s:g}" for s in defect.strengths], fontsize=8)
    axes.set_yticks(range(len(metrics)), [_name(metric) for metric in metrics])
    axes.tick_params(length=0, labelleft=names)
    axes.set_xticks(np.arange(len(defect.strengths) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(metrics) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.4)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(defect.heading.replace(" ", "\n"), fontweight="bold")
    axes.set_xlabel(defect.unit, fontsize=8.5)


def _name(metric: MetricFindings) -> str:
    return shorten(metric.name) + (superscript(1) if metric.stderr is None else "")


def _colour(response: ResponseRecord) -> tuple[float, ...]:
    if response.move in (None, "still"):
        return matplotlib.colors.to_rgba(_STILL)
    return _SHADES(_shade(response))


def _shade(response: ResponseRecord) -> float:
    """0 (far better) over ½ (no change) to 1 (far worse), by the logarithm of standard errors."""
    if response.move in (None, "still"):
        return 0.5
    depth = _depth(abs(response.harm) if response.harm is not None else _UNKNOWN)
    return 0.5 + (depth if response.move == "worse" else -depth)


def _depth(errors: float) -> float:
    """How far from no change a response of so many standard errors is shown, at most ½."""
    reach = math.log(max(errors, _FAINTEST) / _FAINTEST) / math.log(_STRONGEST / _FAINTEST)
    return _PALEST + (0.5 - _PALEST) * min(1.0, reach)


def _mark(response: ResponseRecord) -> str:
    if response.move is None:
        return "×"
    return {"still": "", "worse": "", "better": "+"}[response.move]


def _colour_bar(figure: Figure, panels: list[Axes], metrics: Sequence[MetricFindings]) -> None:
    shades = matplotlib.cm.ScalarMappable(Normalize(0, 1), _SHADES)
    bar = figure.colorbar(
        shades,
        ax=panels,
        location="bottom",
        fraction=1.2 * _BAR_HEIGHT / figure.get_figheight(),
        aspect=_BAR_LENGTH / _BAR_HEIGHT,
        shrink=min(1.0, _BAR_LENGTH / (figure.get_figwidth() - 1.3)),
        pad=0.02,
    )
    sizes = (3, 10, 30, 100)
    places = [0.5 + _depth(size) for size in sizes]
    ticks = [1 - place for place in reversed(places)] + [0.5, *places]
    labels = [*(f"{size}" for size in reversed(sizes)), "0", *(f"{size}" for size in sizes)]
    bar.set_ticks(ticks, labels=labels, fontsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.tick_params(length=0)
    errorless = any(metric.stderr is None for metric in metrics)
    note = f"     {superscript(1)} {words.NO_ERROR}" if errorless else ""
    bar.set_label(
        "← fooled (+): the metric gets better     change in standard errors     "
        "the metric gets worse: it sees the defect →\n"
        f"grey: no change beyond the error     ×: no value{note}",
        fontsize=8.5,
    )


def _show(axes: Axes, image: Tensor, label: str) -> None:
    small = max(image.shape[-2:]) <= 96
    axes.imshow(
        image.permute(1, 2, 0).to(torch.uint8).numpy(),
        interpolation="nearest" if small else "antialiased",
    )
    axes.set_title(label, fontsize=8.5, pad=2.5)
