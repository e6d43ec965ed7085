"""A gate in words: the headline, and a line for every question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from benchgen.audits import words as audit_words
from benchgen.gate.documents import CheckRecord, GateDocument, Word
from benchgen.report.numbers import UNDEFINED, count, fixed, significant

ORDER: tuple[Word, ...] = get_args(Word)

COLUMNS = ("generator", "check", "verdict", "baseline → now", "harm [95 %]", "margin", "n", "")
_MOST = 3
_DEEPEST = 6


def sorted_checks(document: GateDocument) -> list[CheckRecord]:
    """The questions by generator, the worst first; so within each, otherwise as they were asked."""
    worst: dict[str, int] = {}
    for check in document.checks:
        place = ORDER.index(check.verdict)
        worst[check.generator] = min(place, worst.get(check.generator, place))
    names = list(worst)
    return sorted(
        document.checks,
        key=lambda check: (
            worst[check.generator],
            names.index(check.generator),
            ORDER.index(check.verdict),
        ),
    )


def headline(document: GateDocument) -> str:
    """One sentence: passed or not, and what of."""
    counts = Counter(check.verdict for check in document.checks)
    listed = ", ".join(f"{counts[word]} {word}" for word in ORDER if counts[word])
    kind = {
        0: "Gate passed",
        1: "Gate failed",
        3: "Gate could not finish",
        4: "Gate has nothing to compare with",
        5: "Gate is undecided",
    }[document.exit_code]
    worst = [check for check in sorted_checks(document) if check.verdict in _BLAMED]
    told = [f"{kind}: {listed or 'nothing to compare'}."]
    if worst:
        told.append(_blame(worst))
    if document.audit is not None:
        told.append(f"Audit: {audit_words.headline(document.audit)}")
    return " ".join(told)


_BLAMED = ("degraded", "implausible", "failed", "incomparable", "missing")


def _blame(worst: Sequence[CheckRecord]) -> str:
    """Of the worst verdict, the first generator with its first checks."""
    first = [
        check
        for check in worst
        if (check.generator, check.verdict) == (worst[0].generator, worst[0].verdict)
    ]
    generator, verdict = worst[0].generator, worst[0].verdict
    if worst[0].harm is None:
        return f"{generator} {verdict}: {worst[0].reason}"
    told = [f"{check.check} ({values(check)}, margin {margin(check)})" for check in first[:_MOST]]
    more = len(worst) - len(told)
    others = f"; {more} more below" if more else ""
    return f"{generator} {verdict} on {', '.join(told)}{others}."


def sentence(check: CheckRecord) -> str:
    """One question with its verdict and numbers."""
    said = f"{check.generator}: {check.check} {check.verdict}"
    if check.harm is not None:
        said += (
            f": {values(check)}, worse by {harm(check)} (margin {margin(check)}, n = "
            f"{count(check.n or 0)}, {'paired' if check.paired else 'not paired'})"
        )
    return said + (f": {check.reason.rstrip('.')}" if check.reason else "")


def cells(check: CheckRecord) -> tuple[str, ...]:
    """A line of the table, by ``COLUMNS``."""
    note = check.reason
    if check.verdict == "inconclusive":
        enough = f"about {_roughly(check.needed)} images would decide it" if check.needed else ""
        note = "; ".join(filter(None, (note, enough or "no number of images in reach decides it")))
    if check.paired is False and check.n is not None:
        note = "; ".join(filter(None, (note, "not paired")))
    made = UNDEFINED if check.n is None else count(check.n)
    return (
        check.generator,
        check.check,
        check.verdict,
        values(check),
        harm(check),
        margin(check),
        made,
        note,
    )


def values(check: CheckRecord) -> str:
    """``baseline → now``."""
    if check.baseline is None and check.value is None:
        return UNDEFINED
    ends = (check.baseline, check.value)
    return " → ".join(UNDEFINED if end is None else significant(end, 3) for end in ends)


def harm(check: CheckRecord) -> str:
    """The harm with its interval."""
    if check.harm is None:
        return UNDEFINED
    if check.interval is None:
        return significant(check.harm, 3)
    half = (check.interval[1] - check.interval[0]) / 2
    if half == 0:
        return significant(check.harm, 3)
    places = max(0, 1 - int(f"{half:.0e}".partition("e")[2]))
    if places > _DEEPEST:
        return f"{significant(check.harm, 2)} ± {significant(half, 1)}"
    low, high = (fixed(end, places) for end in check.interval)
    sign = "+" if check.harm > 0 else ""
    return f"{sign}{fixed(check.harm, places)} [{low}, {high}]"


def _roughly(number: int) -> str:
    """Two digits of a number are plenty where it is an estimate."""
    return count(round(number, 2 - len(str(number))))


def margin(check: CheckRecord) -> str:
    """How much harm is put up with."""
    return UNDEFINED if check.margin is None else significant(check.margin, 3)
