"""The numbers of a board for other programs."""

from __future__ import annotations

import json

import pandas as pd

from benchgen.leaderboard.site import cost
from benchgen.leaderboard.site.view import Model, View
from benchgen.report.text import board_lines, harmless


def standings_csv(view: View) -> str:
    """One line a model: place, ranks and where it comes from; what is undefined is empty."""
    table = pd.DataFrame([_line(model) for model in view.models.values()])
    whole = [name for name in ("best_place", "worst_place", "parameters", "seed") if name in table]
    typed = table.astype(dict.fromkeys(whole, "Int64"))
    return str(typed.map(harmless).to_csv(index=False, lineterminator="\n"))


def board_json(view: View) -> str:
    """Standings and scores in one document; undefined is null, never NaN."""
    document = {
        "schema_version": 1,
        "board": view.board.document.model_dump(mode="json"),
        "models": [_line(model) for model in view.models.values()],
        "scores": [board_lines(column) for column in view.standings.columns],
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False) + "\n"


def _line(model: Model) -> dict[str, object]:
    document, source = model.row.result.document, model.row.result.document.source
    place, entry = model.place, model.entry.document
    return {
        "model": model.name,
        "kind": model.row.kind,
        "best_place": place and place.best,
        "worst_place": place and place.worst,
        "mean_rank": place and place.mean,
        "mean_rank_low": place and place.lowest,
        "mean_rank_high": place and place.highest,
        "n": document.n,
        "excluded": len(document.excluded),
        "seed": source.seed,
        "generator": source.id,
        "version": source.version,
        "training_data": source.training_data,
        "license": source.license,
        "parameters": source.model_parameters,
        "images_per_second": cost.speed(model),
        "peak_memory_bytes": cost.memory(model),
        "revision": entry.revision,
        "added": entry.added,
        "by": entry.by,
        "sha256": entry.sha256,
    }
