"""What the page needs that compares any two models, small enough to be inside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np

from benchgen.leaderboard.site.view import Model, View
from benchgen.report.pictures import GAP, Sheet
from benchgen.report.standings import Column
from benchgen.runs.comparison import pairing
from benchgen.stats.ranking import Contest


def comparison_data(view: View, sheets: Mapping[str, Sheet]) -> dict[str, Any]:
    """Models, metrics, and for each metric what is known of every two models.

    ``apart`` holds, for each two models in order, the standard error of their difference over
    that of independent models, negative where the two are told apart, NaN where nothing is known:
    little-endian float16 in base64, the upper triangle by rows.
    """
    models = list(view.models.values())
    groups = {what: group for group, what in enumerate({pairing(m.entry.result) for m in models})}
    return {
        "models": [_model(view, model, groups, sheets.get(model.name)) for model in models],
        "metrics": [
            {
                "name": column.name,
                "heading": column.heading,
                "lower": column.metric.direction == "lower",
                "ranks": bool(column.arrow),
                "scale": column.metric.scale,
                "unit": column.metric.unit,
                "apart": _apart(column, view.contests.get(column.key), models),
            }
            for column in view.standings.columns
        ],
    }


def _model(
    view: View, model: Model, groups: Mapping[Any, int], sheet: Sheet | None
) -> dict[str, Any]:
    cells = view.cells(model)
    shared = pairing(model.entry.result)
    return {
        "name": model.name,
        "page": model.page,
        "places": model.places,
        "n": model.row.n,
        "seeds": None if shared is None else groups[shared],
        "sheet": None if sheet is None else _sheet(sheet, quote(sheet_file(model.name, sheet))),
        "values": [None if cell is None else cell.record.value for cell in cells],
        "errors": [None if cell is None else cell.record.stderr for cell in cells],
        "texts": ["–" if cell is None else cell.text for cell in cells],
        "ranks": ["" if cell is None else cell.rank for cell in cells],
    }


def _sheet(sheet: Sheet, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "count": sheet.count,
        "across": sheet.columns,
        "step": [side + GAP for side in sheet.tile],
        "tile": list(sheet.tile),
        "size": list(sheet.picture.image.size),
        "pixelated": sheet.picture.pixelated,
    }


def sheet_file(name: str, sheet: Sheet) -> str:
    """Where a model's samples are, within the site."""
    return f"images/{name}.{sheet.picture.kind}"


def _apart(column: Column, contest: Contest | None, models: list[Model]) -> str | None:
    if contest is None or contest.differences is None:
        return None
    at = {name: place for place, name in enumerate(contest.names)}
    errors = {cell.row.name: cell.record.stderr or 0.0 for cell in column.cells}
    own = np.array([errors[name] for name in contest.names])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = contest.differences.stderr / np.hypot(own[:, None], own)
    known = np.where(contest.distinct, -np.maximum(ratio, 1e-4), ratio)
    places = np.array([at.get(model.name, -1) for model in models])
    full = np.full((len(models), len(models)), np.nan)
    there = np.flatnonzero(places >= 0)
    full[np.ix_(there, there)] = known[np.ix_(places[there], places[there])]
    upper = full[np.triu_indices(len(models), 1)].astype("<f2")
    return base64.b64encode(upper.tobytes()).decode()
