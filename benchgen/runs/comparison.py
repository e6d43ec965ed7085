"""Scores side by side: who can be compared with whom, differences, ranks and ties."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from benchgen.errors import UsageError
from benchgen.runs.directory import Result, Run
from benchgen.runs.documents import EstimateRecord, MetricRecord
from benchgen.runs.fingerprint import differing_fields, require_comparable

if TYPE_CHECKING:
    import pandas as pd

    from benchgen.stats.paired import Difference
    from benchgen.stats.ranking import Contest, Ranked

_THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Line:
    """One row's standing on one metric.

    ``place`` is among all rows, ``rank`` among the generators alone: `real` and `noise` are the
    ceiling and the floor, and take no rank. ``unranked`` says why a row can have neither.
    """

    row: str
    record: EstimateRecord
    place: Ranked | None = None
    rank: Ranked | None = None
    unranked: str | None = None


@dataclass(frozen=True)
class Board:
    """One metric on one extractor: the lines of all rows, best first, unranked ones last."""

    metric: MetricRecord
    extractor: str | None
    lines: tuple[Line, ...]
    contest: Contest | None = None
    """Of the generators; None where the metric ranks nothing."""

    @property
    def key(self) -> str:
        return self.metric.id if self.extractor is None else f"{self.metric.id}@{self.extractor}"


@dataclass(frozen=True)
class Comparison:
    """Everything that a table or report of several results needs. Holds no estimate of its own.

    ``alpha`` is the chance of any false order of rows on a metric.
    """

    runs: tuple[Run, ...]
    results: dict[str, Result] = field(repr=False)
    alpha: float = 0.05

    @classmethod
    def of(cls, runs: Sequence[Run | str | os.PathLike[str]], *, alpha: float = 0.05) -> Comparison:
        """Put the results of one or more runs side by side.

        Rows that several runs share with the very same scores (``real`` and ``noise``, say)
        appear once.

        Raises:
            NotComparableError: If runs differ in the reference, an extractor or a metric.
        """
        opened = tuple(run if isinstance(run, Run) else Run(run) for run in runs)
        counts = Counter(name for run in opened for name in run.results)
        results: dict[str, Result] = {}
        for run in opened:
            for name, result in run.results.items():
                if result.document.row != "generator" and any(
                    _same_scores(result, other) for other in results.values()
                ):
                    continue
                unique = counts[name] == 1 or name not in results
                results[name if unique else f"{run.directory.name}/{name}"] = result
        return cls(opened, results, alpha)

    @cached_property
    def boards(self) -> tuple[Board, ...]:
        """One board a metric and extractor, in the order of the suites."""
        metrics = {m.id: m for run in self.runs for m in run.document.metrics}
        found: dict[tuple[str, str | None], dict[str, EstimateRecord]] = {}
        for row, result in self.results.items():
            for record in result.document.estimates:
                found.setdefault((record.metric, record.extractor), {})[row] = record
        with ThreadPoolExecutor(_THREADS) as pool:
            return tuple(
                pool.map(lambda key: self._board(metrics[key[0]], key[1], found[key]), found)
            )

    def table(self) -> pd.DataFrame:
        """One line per row and metric: value, stderr, low, high, place, rank, n and notes.

        ``place`` counts all rows, the best being 1; ``rank`` and the columns after it count
        generators alone.
        """
        import pandas as pd

        table = pd.DataFrame(
            [
                {
                    "row": line.row,
                    "kind": self.results[line.row].document.row,
                    "metric": board.metric.id,
                    "extractor": board.extractor,
                    "value": line.record.value,
                    "stderr": line.record.stderr,
                    "low": line.record.interval and line.record.interval[0],
                    "high": line.record.interval and line.record.interval[1],
                    "level": line.record.level,
                    "n": line.record.n,
                    "m": line.record.m,
                    "place": line.place and line.place.rank,
                    "rank": line.rank and line.rank.rank,
                    "rank_low": line.rank and line.rank.lowest,
                    "rank_high": line.rank and line.rank.highest,
                    "tied_with_best": line.rank and line.rank.tied_with_best,
                    "unit": board.metric.unit,
                    "fingerprint": line.record.fingerprint,
                    "note": line.unranked or line.record.reason or "; ".join(line.record.notes),
                }
                for board in self.boards
                for line in board.lines
            ]
        )
        whole = ("n", "m", "place", "rank", "rank_low", "rank_high")
        return table.astype({column: "Int64" for column in whole if column in table})

    def _board(
        self, metric: MetricRecord, extractor: str | None, records: dict[str, EstimateRecord]
    ) -> Board:
        lines = {row: Line(row, record) for row, record in records.items()}
        prints = {
            row: self.results[row].document.fingerprints[record.fingerprint]
            for row, record in records.items()
        }
        standard = self._standard(prints)
        for row, line in lines.items():
            differing = differing_fields(prints[standard], prints[row])
            if set(differing) - {"n"}:
                require_comparable(
                    prints[standard], prints[row], f"{metric.id} of {standard} and of {row}"
                )
            if differing:
                reason = (
                    f"n is {line.record.n} here and {lines[standard].record.n} elsewhere, and the "
                    "metric depends on n"
                )
                lines[row] = replace(line, unranked=reason)
            elif line.record.value is None:
                lines[row] = replace(line, unranked=line.record.reason or "undefined")
        if metric.direction == "none":
            return Board(metric, extractor, tuple(lines.values()))
        everyone = self._contest(metric, extractor, lines)
        models = everyone.among(
            {row for row in lines if self.results[row].document.row == "generator"}
        )
        ranks = {one.name: one for one in models.ranked()}
        ordered = [
            replace(lines[place.name], place=place, rank=ranks.get(place.name))
            for place in everyone.ranked()
        ]
        ordered += [line for line in lines.values() if line.unranked is not None]
        return Board(metric, extractor, tuple(ordered), models)

    def _contest(
        self, metric: MetricRecord, extractor: str | None, lines: dict[str, Line]
    ) -> Contest:
        from benchgen.stats.ranking import contest

        ranked = [row for row, line in lines.items() if line.unranked is None]
        return contest(
            {row: self.results[row].estimate(metric.id, extractor) for row in ranked},
            direction=metric.direction,
            shared_reference=True,
            paired={row: pairing(self.results[row]) for row in ranked},
            alpha=self.alpha,
        )

    def _standard(self, prints: dict[str, dict[str, Any]]) -> str:
        """The row whose fingerprint the others are held against: a generator's, if there is one."""
        generators = [r for r in prints if self.results[r].document.row == "generator"]
        largest = max(generators or prints, key=lambda row: self.results[row].document.n)
        return largest


@dataclass(frozen=True)
class MetricDifference:
    """``a - b`` on one metric.

    ``a`` and ``b`` are the names of the rows, ``values`` what they score; ``better`` says which of
    the two is better where the interval leaves out 0.
    """

    metric: str
    extractor: str | None
    a: str
    b: str
    values: tuple[float, float]
    difference: Difference
    better: Literal["a", "b"] | None


def compare(
    a: Result | Run | str | os.PathLike[str], b: Result | Run | str | os.PathLike[str]
) -> list[MetricDifference]:
    """Difference of two results on every metric that both have, with its uncertainty.

    Two generators that share seeds, and whose images depend on (seed, index) alone, are
    compared image by image (paired), which needs far fewer images for the same certainty.

    Args:
        a: A result (``run["vae"]``), or a run (object or directory): all rows that both runs
            have under one name are compared.
        b: The same.

    Returns:
        One difference per row and metric. ``difference.value`` is ``a - b`` in the metric's unit.

    Raises:
        NotComparableError: If the fingerprints differ; names the fields.
        UsageError: If the two have no row or no metric in common.
    """
    pairs, metrics = _pairs(a, b)
    found = [d for one, two in pairs for d in _differences(one, two, metrics)]
    if not found:
        raise UsageError("the two have no metric in common that is defined for both")
    return found


def pairable(a: Result, b: Result) -> bool:
    """Whether image i of both came from the same seed and depends on (seed, i) alone.

    Files without a seed pair with themselves.
    """
    shared = pairing(a)
    return shared is not None and shared == pairing(b)


def pairing(result: Result) -> Hashable:
    """What images that pair have in common; None where these pair with none."""
    document, source = result.document, result.document.source
    excluded = tuple((image.index, image.name, image.reason) for image in document.excluded)
    if source.seed is None:
        return document.n, excluded, source.fingerprint
    return (document.n, source.seed) if source.index_pure and not excluded else None


def _pairs(
    a: Result | Run | str | os.PathLike[str], b: Result | Run | str | os.PathLike[str]
) -> tuple[list[tuple[Result, Result]], dict[str, MetricRecord]]:
    one = a if isinstance(a, Result | Run) else Run(a)
    two = b if isinstance(b, Result | Run) else Run(b)
    metrics: dict[str, MetricRecord] = {}
    for side in (one, two):
        run = side if isinstance(side, Run) else Run(side.directory)
        metrics |= {m.id: m for m in run.document.metrics}
    if isinstance(one, Result) and isinstance(two, Result):
        return [(one, two)], metrics
    if isinstance(one, Run) and isinstance(two, Run):
        shared = [name for name in one.results if name in two.results]
        if not shared:
            raise UsageError(
                f"no row in common: {one.directory} has {', '.join(one)}; "
                f"{two.directory} has {', '.join(two)}"
            )
        return [(one[name], two[name]) for name in shared], metrics
    raise UsageError("compare takes two results, or two runs; got one of each")


def _differences(a: Result, b: Result, metrics: dict[str, MetricRecord]) -> list[MetricDifference]:
    from benchgen.stats.paired import difference

    found = []
    keys = {(r.metric, r.extractor): r for r in b.document.estimates}
    for record in a.document.estimates:
        other = keys.get((record.metric, record.extractor))
        if other is None:
            continue
        require_comparable(
            a.document.fingerprints[record.fingerprint],
            b.document.fingerprints[other.fingerprint],
            f"{record.metric} of {a.name} and of {b.name}",
        )
        if record.value is None or other.value is None:
            continue
        delta = difference(
            a.estimate(record.metric, record.extractor),
            b.estimate(record.metric, record.extractor),
            paired=pairable(a, b),
            shared_reference=True,
        )
        better: Literal["a", "b"] | None = None
        if delta.interval is not None and not delta.interval[0] <= 0 <= delta.interval[1]:
            wins = metrics[record.metric].direction
            if wins != "none":
                better = "a" if (delta.interval[1] < 0) == (wins == "lower") else "b"
        found.append(
            MetricDifference(
                metric=record.metric,
                extractor=record.extractor,
                a=a.name,
                b=b.name,
                values=(record.value, other.value),
                difference=delta,
                better=better,
            )
        )
    return found


def _same_scores(a: Result, b: Result) -> bool:
    one, two = a.document, b.document
    return one.source.fingerprint == two.source.fingerprint and one.estimates == two.estimates
