"""From responses to verdicts: does a metric see a defect, from where on, and in step with it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchgen.doctor.battery import Response
from benchgen.stats.multiplicity import holm
from benchgen.stats.paired import Difference

Verdict = Literal["sees", "fades", "blind", "fooled", "undefined"]
Direction = Literal["lower", "higher", "none"]
Move = Literal["worse", "better", "still"]

ALPHA = 0.05
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """A response with what it means.

    Attributes:
        response: What was found.
        move: Whether the metric got worse, got better, or did not move beyond its error; None
            where it is undefined.
        p: p-value of the change, adjusted (Holm) for all defects and strengths of the metric.
        harm: The change in standard errors, positive for worse; None where that is unknown.
    """

    response: Response
    move: Move | None
    p: float | None
    harm: float | None


@dataclass(frozen=True)
class Finding:
    """What a metric makes of a defect.

    Attributes:
        verdict: ``sees``: worse at some strength and at all that are stronger. ``fades``: worse
            at some strength, but not at the strongest. ``blind``: moves at no strength.
            ``fooled``: better at some strength. ``undefined``: has no value at any strength.
        seen_from: The strength from which on all are worse; None where the strongest is not.
        better_at: The strengths at which it is better.
        monotone: Whether no step to the next strength goes back by more than its error; None
            where it does not move.
        judged: Each strength, weakest first.
    """

    verdict: Verdict
    seen_from: float | None
    better_at: tuple[float, ...]
    monotone: bool | None
    judged: tuple[Judged, ...]


def judge(direction: Direction, responses: Mapping[str, Sequence[Response]]) -> dict[str, Finding]:
    """The verdicts of one metric, by defect.

    p-values are adjusted over all defects and strengths together, so that a metric that sees
    nothing is called blind to all with 95 % probability. Of a metric without standard errors any
    change counts. A metric without a direction is worse wherever it departs from what it says of
    a perfect generator.
    """
    every = [(defect, one) for defect, found in responses.items() for one in found]
    adjusted = _adjusted([one.change for _, one in every])
    backward = _adjusted([one.step for _, one in every])
    findings = {}
    for defect in responses:
        own = [i for i, (name, _) in enumerate(every) if name == defect]
        moved = [_moved(every[i][1].change, adjusted[i]) for i in own]
        sign = _harmful_sign(direction, moved)
        judged = [
            _judged(every[i][1], adjusted[i], sign * way, sign, direction)
            for i, way in zip(own, moved, strict=True)
        ]
        steps = [sign * _moved(every[i][1].step, backward[i]) for i in own]
        findings[defect] = _finding(judged, monotone=min(steps, default=0) >= 0)
    return findings


def _finding(judged: Sequence[Judged], *, monotone: bool) -> Finding:
    defined = [one for one in judged if one.move is not None]
    better = tuple(one.response.strength for one in defined if one.move == "better")
    seen_from: float | None = None
    for one in reversed(defined):
        if one.move != "worse":
            break
        seen_from = one.response.strength
    verdict: Verdict = "blind"
    if not defined:
        verdict = "undefined"
    elif better:
        verdict = "fooled"
    elif seen_from is not None:
        verdict = "sees"
    elif any(one.move == "worse" for one in defined):
        verdict = "fades"
    moves = verdict not in ("undefined", "blind")
    return Finding(verdict, seen_from, better, monotone if moves else None, tuple(judged))


def _adjusted(differences: Sequence[Difference | None]) -> list[float | None]:
    known = [i for i, one in enumerate(differences) if one is not None and one.p is not None]
    corrected = holm([differences[i].p for i in known])  # type: ignore[union-attr,misc]
    found: list[float | None] = [None] * len(differences)
    for i, p in zip(known, corrected, strict=True):
        found[i] = p
    return found


def _moved(change: Difference | None, p: float | None) -> int:
    """The sign of a change beyond its error, else 0; without an error, any change counts."""
    if change is None or change.value is None or abs(change.value) < _ROUNDING:
        return 0
    if p is not None and p >= ALPHA:
        return 0
    return 1 if change.value > 0 else -1


def _harmful_sign(direction: Direction, moved: Sequence[int]) -> int:
    """The sign of a change for the worse; without a direction, that of the strongest response."""
    if direction != "none":
        return 1 if direction == "lower" else -1
    return next((way for way in reversed(moved) if way), 1)


def _judged(
    response: Response, p: float | None, way: int, sign: int, direction: Direction
) -> Judged:
    change = response.change
    if change is None or change.value is None:
        return Judged(response, None, None, None)
    move: Move = "still" if not way else "better" if way < 0 and direction != "none" else "worse"
    harm = sign * change.value / change.stderr if change.stderr else None
    return Judged(response, move, p, harm)
