"""What is wrong or doubtful with the entries of a leaderboard, for whoever reviews them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchgen.errors import BenchgenError
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.entries import Entry
from benchgen.runs.comparison import Board as MetricBoard
from benchgen.runs.comparison import Comparison
from benchgen.stats.estimates import Spread, variance_of_mean
from benchgen.stats.pairwise import differences

_APART = 3.0
"""How many times a standard error may differ from what its influences alone give."""


@dataclass(frozen=True)
class Finding:
    """One thing about one model: an error is wrong for sure, a doubt is for a person to judge."""

    kind: Literal["error", "doubt"]
    model: str
    text: str


def examine(board: Board) -> list[Finding]:
    """All findings, errors first. An entry that is not whole is an error, and hides the others."""
    broken = [Finding("error", name, str(error)) for name, error in board.damaged().items()]
    if broken:
        return broken
    found = [*_incomparable(board)]
    if not found:
        found += [*_implausible(board.comparison)]
    for entry in board.models.values():
        found += [*_unfounded(entry), *_without_origin(entry)]
    found += _several_seeds(board)
    return sorted(found, key=lambda one: one.kind != "error")


def _incomparable(board: Board) -> Iterator[Finding]:
    for name, entry in board.models.items():
        try:
            board.require_comparable(entry.result)
        except BenchgenError as error:
            yield Finding("error", name, str(error))


def _implausible(comparison: Comparison) -> Iterator[Finding]:
    """Models that are surely better than real images are."""
    for board in comparison.boards:
        names = [line.row for line in board.lines if line.unranked is None]
        if board.metric.direction == "none" or "real" not in names:
            continue
        yield from _beyond_real(comparison, board, names)


def _beyond_real(comparison: Comparison, board: MetricBoard, names: list[str]) -> Iterator[Finding]:
    estimates = [
        comparison.results[name].estimate(board.metric.id, board.extractor) for name in names
    ]
    found = differences(estimates, paired=False, shared_reference=True)
    distinct = found.adjusted() < comparison.alpha
    sign = 1.0 if board.metric.direction == "lower" else -1.0
    real = names.index("real")
    for place, name in enumerate(names):
        better = sign * found.value[place, real] < 0
        if better and distinct[place, real] and name != "noise":
            yield Finding(
                "doubt",
                name,
                f"{board.key} is {estimates[place].value:.4g}, surely better than real images "
                f"({estimates[real].value:.4g}); has it seen the reference?",
            )


def _unfounded(entry: Entry) -> Iterator[Finding]:
    """Errors that are far from what the influences give, where these alone make them."""
    for record in entry.result.document.estimates:
        if record.stderr is None or record.law is not None or record.halvings is not None:
            continue
        one = entry.result.estimate(record.metric, record.extractor)
        both = (one.influence.fake, one.clusters), (one.influence.real, one.real_clusters)
        spread = Spread.sum(variance_of_mean(*side) for side in both)
        expected = spread.variance**0.5
        if record.method != "influence" or expected == 0:
            continue
        if not 1 / _APART <= record.stderr / expected <= _APART:
            yield Finding(
                "error",
                entry.model,
                f"{record.metric}: its standard error is {record.stderr:.3g}; the influences "
                f"beside it give {expected:.3g}",
            )


def _without_origin(entry: Entry) -> Iterator[Finding]:
    source = entry.result.document.source
    lacking = [
        what
        for what, told in (("licence", source.license), ("training data", source.training_data))
        if not told
    ]
    if lacking:
        yield Finding("doubt", entry.model, f"no {' and no '.join(lacking)} is stated")


def _several_seeds(board: Board) -> list[Finding]:
    """One generator under several names and seeds: the best of several draws is no fair rank."""
    seen: dict[tuple[str, str, str], list[str]] = {}
    for name, entry in board.models.items():
        source = entry.result.document.source
        if source.seed is not None:
            key = source.id, source.version, repr(sorted(source.parameters.items()))
            seen.setdefault(key, []).append(name)
    return [
        Finding(
            "doubt",
            name,
            f"it is the same generator as {', '.join(o for o in names if o != name)}, with another "
            "seed or weights; the best of several draws looks better than it is",
        )
        for names in seen.values()
        for name in names
        if len(names) > 1
    ]
