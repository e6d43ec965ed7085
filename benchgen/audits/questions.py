"""A question of an audit on its way to a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from benchgen.audits.documents import CheckRecord, Word
from benchgen.stats.multiplicity import holm

_MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Question:
    """What was found, and how surely a limit is broken or kept.

    Attributes:
        record: All but the verdict.
        p_kept: p-value of the limit being kept: small where it is surely broken. None where no
            limit is declared, or the verdict stands already.
        p_broken: p-value of its being broken: small where it is surely kept.
    """

    record: CheckRecord
    p_kept: float | None = None
    p_broken: float | None = None


def settled(record: CheckRecord, verdict: Word, reason: str) -> Question:
    """A question whose verdict no number can change."""
    return Question(record.model_copy(update={"verdict": verdict, "reason": reason}))


def decide(questions: Sequence[Question], alpha: float) -> list[CheckRecord]:
    """The verdicts of one generator's questions.

    "Fail" is adjusted over all of them (Holm 1979), so that a generator that keeps all limits
    fails in any with probability alpha at most. Passing needs all to pass, and no adjustment
    (Berger 1982).
    """
    asked = [q for q in questions if q.p_kept is not None]
    adjusted = iter(holm([q.p_kept for q in asked if q.p_kept is not None]))
    found = []
    for question in questions:
        if question.p_kept is None:
            found.append(question.record)
            continue
        p = next(adjusted)
        broken = 1.0 if question.p_broken is None else question.p_broken
        verdict: Word = "fail" if p <= alpha else "pass" if broken <= alpha else "inconclusive"
        changes: dict[str, Any] = {
            "verdict": verdict,
            "p": question.p_kept,
            "p_adjusted": p,
            "needed": _needed(question, len(asked), alpha) if verdict == "inconclusive" else None,
        }
        found.append(question.record.model_copy(update=changes))
    return found


def _needed(question: Question, asked: int, alpha: float) -> int | None:
    """Images that would decide; more where "fail" is near, which is adjusted for all questions."""
    needed, record = question.record.needed, question.record
    if needed is None or record.n is None:
        return None
    if (question.p_kept or 0.0) < (question.p_broken or 0.0):
        strict, plain = (float(stats.norm.isf(level)) for level in (alpha / asked, alpha))
        needed = math.ceil(needed * (strict / plain) ** 2)
    return max(record.n + 1, needed)


def images_needed(away: float, stderr: float | None, n: int, alpha: float) -> int | None:
    """Images at which a value so far from its limit decides half of the time.

    Errors fall with the root of n. None where no number in reach would do.
    """
    if not stderr or away == 0:
        return None
    needed = n * (float(stats.norm.isf(alpha)) * stderr / away) ** 2
    return None if needed > _MOST_IMAGES else math.ceil(needed)
