"""Where models stand over several metrics at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchgen.errors import UsageError
from benchgen.runs.comparison import Board as MetricBoard
from benchgen.runs.comparison import Comparison


@dataclass(frozen=True)
class Overall:
    """A model's weighted mean rank over metrics.

    Attributes:
        model: Its name.
        mean: The mean of its ranks.
        lowest, highest: What the ranks that each metric leaves open make of the mean.
        place: 1 + the number of models with a lower mean.
        best, worst: The places that are left open.
    """

    model: str
    mean: float
    lowest: float
    highest: float
    place: int
    best: int
    worst: int


def overall(comparison: Comparison, weights: Mapping[str, float]) -> list[Overall]:
    """Models by weighted mean rank, the best first.

    Rank intervals hold at once on each metric with the comparison's confidence; their means
    are taken as ends here, which is cautious. A model that lacks a metric is ranked behind all
    others on it, with any rank open. Where no metric ranks, all places are open.

    Args:
        comparison: The models' results.
        weights: By metric@extractor; none: equal weights on all metrics with a better side.

    Raises:
        UsageError: A weight is of no such metric, or none is above 0.
    """
    boards = {board.key: board for board in comparison.boards if board.metric.direction != "none"}
    models = [name for name, r in comparison.results.items() if r.document.row == "generator"]
    if not (boards or weights):
        k = len(models)
        return [Overall(name, (1 + k) / 2, 1, k, place=1, best=1, worst=k) for name in models]
    chosen = dict(weights) or dict.fromkeys(boards, 1.0)
    if unknown := sorted(chosen.keys() - boards.keys()):
        raise UsageError(
            f"no metric of the board is called {unknown[0]!r}; those that rank: {', '.join(boards)}"
        )
    total = sum(chosen.values())
    if min(chosen.values(), default=0.0) < 0 or total <= 0:
        raise UsageError(f"the weights are {chosen}; expected none below 0, and one above")
    sums = {name: [0.0, 0.0, 0.0] for name in models}
    for key, weight in chosen.items():
        for name, ranks in _ranks(boards[key], models).items():
            for place, rank in enumerate(ranks):
                sums[name][place] += weight / total * rank
    found = []
    for name, (mean, lowest, highest) in sums.items():
        others = [ends for other, ends in sums.items() if other != name]
        found.append(
            Overall(
                model=name,
                mean=mean,
                lowest=lowest,
                highest=highest,
                place=1 + sum(other[0] < mean for other in others),
                best=1 + sum(other[2] < lowest for other in others),
                worst=1 + sum(other[1] <= highest for other in others),
            )
        )
    return sorted(found, key=lambda one: (one.mean, one.model))


def _ranks(board: MetricBoard, models: list[str]) -> dict[str, tuple[int, int, int]]:
    """Rank, and the lowest and highest that are open, of every model."""
    found = dict.fromkeys(models, (len(models), 1, len(models)))
    for line in board.lines:
        rank = line.rank
        if rank is None or rank.rank is None or rank.lowest is None or rank.highest is None:
            continue
        found[line.row] = rank.rank, rank.lowest, rank.highest
    return found
