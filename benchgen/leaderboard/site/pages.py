"""The pages of a board's site: what each template is given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from benchgen.audits import words
from benchgen.leaderboard.entries import Entry
from benchgen.leaderboard.site import agreement, cost, dots
from benchgen.leaderboard.site.pairs import comparison_data, sheet_file
from benchgen.leaderboard.site.view import MOST_DRAWN, Matrix, Model, View
from benchgen.report import html
from benchgen.report.findings import listed
from benchgen.report.numbers import UNDEFINED, size, with_error
from benchgen.report.pictures import Sheet
from benchgen.report.standings import Column
from benchgen.runs.documents import ClassShares
from benchgen.runs.fingerprint import flatten
from benchgen.version import __version__

_MOST_IN_PAGE = 60


def pages(view: View, sheets: Mapping[str, Sheet]) -> Iterator[tuple[str, str]]:
    """Every page by its path within the site. ``sheets``: of samples, by model."""
    yield "index.html", _page("index", view, "", _index(view))
    data = Markup(_embedded(comparison_data(view, sheets)))
    yield "compare.html", _page("compare", view, "", {"data": data})
    for column in view.standings.columns:
        yield f"metrics/{column.key}.html", _page("metric", view, "../", _metric(view, column))
    for model in view.models.values():
        context = _model(view, model, sheets.get(model.name))
        yield f"models/{model.name}.html", _page("model", view, "../", context)


def _page(template: str, view: View, root: str, context: dict[str, Any]) -> str:
    shared = {
        "view": view,
        "root": root,
        "version": __version__,
        "alpha": view.board.document.alpha,
        "metric_page": lambda column: f"metrics/{quote(column.key)}.html",
    }
    return html.environment().get_template(f"board/{template}.html.j2").render(shared | context)


def _embedded(data: Any) -> str:
    """JSON that no text can break out of, inside a script element."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _index(view: View) -> dict[str, Any]:
    lead = view.standings.lead
    contest = view.contests.get(lead.key) if lead else None
    references = (r.reference.name for r in view.standings.runs if r.reference is not None)
    return {
        "finding": _finding(view),
        "rule": _rule(view),
        "references": list(dict.fromkeys(references)),
        "most": MOST_DRAWN,
        "plots": dots.plots(view.standings.columns, MOST_DRAWN),
        "matrix": Matrix.of(contest) if contest and len(contest.names) > 1 else None,
        "agreements": agreement.agreements(view.ranking),
        "trades": cost.trades(view.competing, lead),
    }


def _finding(view: View) -> str:
    """Who comes first over all metrics, and who else could."""
    if not view.competing:
        return "No models yet."
    best, *others = view.competing
    assert best.place is not None
    tied = [m.name for m in others if m.place is not None and m.place.best == 1]
    rank = f"mean rank {best.place.mean:.2f} [{best.place.lowest:.2f}, {best.place.highest:.2f}]"
    if not others:
        return f"{best.name} is the only model."
    if not tied:
        return f"{best.name} is first: {rank}."
    whom = listed(tied) if len(tied) <= 4 else f"{len(tied)} other models"
    return f"{best.name} leads with {rank}, but {whom} could be first as well."


def _rule(view: View) -> str:
    if not view.weights:
        return "Models are ordered by their mean rank over all metrics that have a better side."
    told = listed([f"{key} ({weight:g})" for key, weight in view.weights.items()])
    return f"Models are ordered by their mean rank, weighted: {told}."


def _metric(view: View, column: Column) -> dict[str, Any]:
    contest = view.contests.get(column.key)
    first = column.cells[0]
    prints = first.row.result.document.fingerprints
    return {
        "column": column,
        "plot": dots.DotPlot.of(column, _MOST_IN_PAGE),
        "matrix": Matrix.of(contest) if contest and len(contest.names) > 1 else None,
        "fields": flatten(prints.get(first.record.fingerprint, {})),
    }


@dataclass(frozen=True)
class _Past:
    """A revision of a model, and what it scored on the metrics that rank."""

    entry: Entry
    scores: list[str]


def _model(view: View, model: Model, sheet: Sheet | None) -> dict[str, Any]:
    audit = model.entry.audit
    history = [_Past(entry, _past(view, entry)) for entry in reversed(_revisions(view, model))]
    return {
        "model": model,
        "scores": list(zip(view.standings.columns, view.cells(model), strict=True)),
        "sheet": sheet,
        "sheet_file": None if sheet is None else quote(sheet_file(model.name, sheet)),
        "offenders": html.offenders(model.row),
        "balances": _balances(model),
        "widest": _widest,
        "columns": words.COLUMNS,
        "checks": [(c, words.cells(c)) for c in words.sorted_checks(audit)] if audit else [],
        "history": history,
        "provenance": _provenance(model),
    }


def _revisions(view: View, model: Model) -> list[Entry]:
    if model.entry.document.revision == 1:
        return [model.entry]
    return view.board.history(model.name)


def _past(view: View, entry: Entry) -> list[str]:
    records = {(r.metric, r.extractor): r for r in entry.result.document.estimates}
    texts = []
    for column in view.ranking:
        record = records.get((column.metric.id, column.extractor))
        if record is None:
            texts.append(UNDEFINED)
        else:
            texts.append(with_error(record.value, record.stderr, column.metric.scale))
    return texts


def _balances(model: Model) -> list[tuple[ClassShares, list[tuple[str, float, float | None]]]]:
    """What is seen in a model's images: (kind, share, share in the reference)."""
    references = {(s.attribute, s.reader): s for s in model.entry.run.document.reference_classes}
    found = []
    for shares in model.row.result.document.class_shares:
        reference = references.get((shares.attribute, shares.reader))
        own, theirs = _portions(shares), _portions(reference)
        kinds = dict.fromkeys([*(reference.classes if reference else ()), *shares.classes])
        lines = [
            (kind, own.get(kind, 0.0), theirs.get(kind, 0.0) if reference else None)
            for kind in kinds
        ]
        found.append((shares, lines))
    return found


def _portions(shares: ClassShares | None) -> dict[str, float]:
    if shares is None:
        return {}
    total = sum(shares.counts) or 1
    return {kind: n / total for kind, n in zip(shares.classes, shares.counts, strict=True)}


def _widest(lines: list[tuple[str, float, float | None]]) -> float:
    return max((max(own, other or 0.0) for _, own, other in lines), default=0.0) or 1.0


def _provenance(model: Model) -> dict[str, Any]:
    """Field and value of everything that is stated on where the images come from."""
    document, source = model.row.result.document, model.row.result.document.source
    speed = cost.speed(model)
    parameters = " ".join(f"{name}={value}" for name, value in source.parameters.items())
    return {
        "generator": source.id,
        "version": source.version or None,
        "description": source.description or None,
        "parameters": parameters or None,
        "seed": source.seed,
        "index-pure": source.index_pure,
        "learnt numbers": None if (n := source.model_parameters) is None else f"{n:,}",
        "trained on": source.training_data or "not stated",
        "licence": source.license or "not stated",
        "weights (sha256)": source.weights_sha256,
        "images (fingerprint)": source.fingerprint,
        "speed": None if speed is None else f"{speed:,.3g} images/s on {document.execution.device}",
        "peak memory": size(cost.memory(model)),
        "evaluated": document.execution.finished,
        "benchgen": document.benchgen_version,
        "added by": model.entry.document.by,
        "entry (sha256)": model.entry.document.sha256,
    }
