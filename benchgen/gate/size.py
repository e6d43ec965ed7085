"""How many images a gate needs, told from a run beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchgen.asked import GateChoice
from benchgen.errors import UsageError
from benchgen.gate.baseline import named
from benchgen.gate.snapshot import Key, against_this_reference, gated_difference, influence_of
from benchgen.gate.verdict import gated, margin_of
from benchgen.runs.comparison import pairable
from benchgen.runs.directory import Result, Run
from benchgen.stats.estimates import Estimate
from benchgen.stats.sequential import Looks


@dataclass(frozen=True)
class Size:
    """Images that one question needs; None where its error is unknown or its margin is 0.

    Attributes:
        paired: Whether the error is that of images compared one by one.
        error: Standard error of the difference, at the run's n.
        unchanged: Images with which a generator without harm is called unchanged.
        degraded: Images with which a harm of twice the margin is called degraded.
    """

    generator: str
    check: str
    paired: bool
    margin: float
    error: float | None
    unchanged: int | None
    degraded: int | None


def sizes(run: Run, other: Run | None, asked: GateChoice, power: float) -> list[Size]:
    """The images that each question of a gate needs, as the run's errors tell.

    Errors fall with the root of n. Without another run the two sides are taken as independent,
    which is the most that can be needed. Another run of a generator that was changed a little
    tells what pairing leaves of that.

    Args:
        run: Holds the generators at some n.
        other: The same generators after a change like those to come, at the same n and seed.
        asked: Margins, alpha and looks of the gate.
        power: Probability of the verdict.

    Raises:
        UsageError: If no generator is in both runs, or no metric is gated.
        MetricError: If the power is not above alpha and below 1.
    """
    metrics = {metric.id: metric for metric in run.document.metrics}
    results = {
        name: result
        for name, result in run.results.items()
        if result.document.row == "generator" and result.document.error is None
    }
    asking = [
        (name, key)
        for name, result in results.items()
        for key in gated(
            asked,
            (
                ((record.metric, record.extractor), metrics[record.metric])
                for record in result.document.estimates
            ),
        )
    ]
    if other is not None:
        asking = [(name, key) for name, key in asking if name in other.results]
    if not asking:
        raise UsageError(
            f"{run.directory} has no generator and metric to gate"
            + ("" if other is None else f" in common with {other.directory}")
        )
    looks = Looks(tuple(2**place for place in range(asked.looks)))
    within = looks.drift(asked.alpha, power)
    worse = looks.drift(asked.alpha / len(asking), power)
    found = []
    for name, key in asking:
        result = results[name]
        n, value = result.record(*key).n, result.record(*key).value
        margin = margin_of(asked, key[0], value)
        error, paired = _error(result, None if other is None else other[name], key)
        known = error is not None and margin > 0
        needed: Mapping[bool, int | None] = {
            harmful: math.ceil(n * (drift * error / margin) ** 2) if known and error else None
            for harmful, drift in ((False, within), (True, worse))
        }
        found.append(Size(name, named(key), paired, margin, error, needed[False], needed[True]))
    return found


def _error(result: Result, other: Result | None, key: Key) -> tuple[float | None, bool]:
    one = _fixed(result, key)
    if other is None:
        one = replace(one, halvings=None)  # those of one run are not two independent runs'
        return gated_difference(one, one, paired=False).stderr, False
    paired = pairable(result, other)
    two = _fixed(other, key)
    return gated_difference(one, two, paired=paired).stderr, paired


def _fixed(result: Result, key: Key) -> Estimate:
    found = result.estimate(*key)
    return against_this_reference(found, influence_of(found, key), key)
