"""What was found, in words: cells of tables, a sentence a metric, and which metric to trust."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchgen.doctor.documents import (
    DefectRecord,
    DoctorDocument,
    FindingRecord,
    MetricFindings,
)

NO_ERROR = "no error known: any change counts, be it chance"
_MOST_NAMED = 4
_ABOUT = {
    "quality": "the quality of images",
    "diversity": "diversity",
    "copying": "originality",
}


def cell(finding: FindingRecord, defect: DefectRecord) -> str:
    """The verdict for a table: ``≥0.7``, ``≥0.7~``, ``blind``, ``fades``, ``fooled ≥5``."""
    back = "~" if _goes_back(finding) else ""
    if finding.verdict == "fooled":
        first = finding.better_at[0]
        return f"fooled {bound(defect)}{first:g}{back}"
    if finding.verdict == "sees" and finding.seen_from is not None:
        return f"{bound(defect)}{finding.seen_from:g}{back}"
    return "–" if finding.verdict == "undefined" else finding.verdict


def bound(defect: DefectRecord) -> str:
    """Which way the strengths grow: JPEG gets worse as its quality falls."""
    return "≤" if defect.strengths[0] > defect.strengths[-1] else "≥"


def amount(defect: DefectRecord, *strengths: float, joint: str = " to ") -> str:
    """Strengths with their unit: ``0.7 px``, ``2 to 10 %``, ``quality 40``."""
    number = joint.join(f"{strength:g}" for strength in strengths)
    return f"quality {number}" if defect.unit == "quality" else f"{number} {defect.unit}"


def sees(metric: MetricFindings, defects: Sequence[DefectRecord]) -> str:
    """What a metric sees, what it is blind to and what fools it: one line for its documentation."""
    found = [(defect, metric.finding(defect.id)) for defect in defects]

    def having(verdict: str) -> list[tuple[DefectRecord, FindingRecord]]:
        return [(defect, finding) for defect, finding in found if finding.verdict == verdict]

    sentences = []
    if seen := [_seen(defect, finding) for defect, finding in having("sees")]:
        sentences.append(f"Sees {', '.join(seen)}.")
    if faded := [_faded(defect, finding) for defect, finding in having("fades")]:
        sentences.append(f"Unsteady on {', '.join(faded)}.")
    if blind := [defect.name for defect, _ in having("blind")]:
        sentences.append(f"Blind to {listed(blind)}.")
    if fooled := [_fooled(defect, finding) for defect, finding in having("fooled")]:
        sentences.append(f"Fooled by {', '.join(fooled)}.")
    if missing := [defect.name for defect, _ in having("undefined")]:
        sentences.append(f"Not tried on {listed(missing)}.")
    if metric.stderr is None:
        sentences.append("Its error is unknown: any change counts, be it chance.")
    return " ".join(sentences)


def conclusions(metrics: Sequence[MetricFindings], defects: Sequence[DefectRecord]) -> list[str]:
    """Which metric to trust for what: at most four sentences.

    Metrics without a known error are left out: any change of theirs would count.
    """
    judged = [metric for metric in metrics if metric.stderr is not None]
    others = [metric for metric in metrics if metric.stderr is None]
    sentences = []
    for kind, what in _ABOUT.items():
        own = [defect for defect in defects if defect.kind == kind and _planted(defect)]
        if own and metrics:
            sentences.append(_trust(judged, others, own, what))
    if mislead := [
        f"{metric.name} ({listed(names)})"
        for metric in judged
        if (names := [d.name for d in defects if metric.finding(d.id).verdict == "fooled"])
    ]:
        sentences.append(f"Some call worse images better: {'; '.join(mislead)}.")
    return sentences


def legend(document: DoctorDocument) -> list[str]:
    """What the words of the table mean; of those that occur."""
    cells = [finding for metric in document.metrics for finding in metric.findings]
    verdicts = {finding.verdict for finding in cells}
    said = ["≥ (JPEG ≤): gets worse, beyond its error, from this strength on"]
    if any(_goes_back(finding) for finding in cells):
        said.append("~: but goes back at some stronger one")
    meanings = {
        "fooled": "gets better instead",
        "fades": "gets worse, but not at the strongest",
        "blind": "does not move",
        "undefined": "no value",
    }
    shown = {"undefined": "–"}
    return said + [f"{shown.get(v, v)}: {text}" for v, text in meanings.items() if v in verdicts]


def shortfalls(document: DoctorDocument) -> list[str]:
    """What could not be planted, and where metrics have no value, each with its reason."""
    texts = []
    for defect in document.defects:
        by_reason: dict[str, list[str]] = {}
        for strength, reason in defect.not_run.items():
            by_reason.setdefault(reason, []).append(strength)
        for reason, strengths in by_reason.items():
            which = "" if len(strengths) == len(defect.strengths) else f" at {listed(strengths)}"
            texts.append(f"not planted: {defect.name}{which}: {reason}")
    for metric in document.metrics:
        for defect in document.defects:
            without = [
                response
                for response in metric.finding(defect.id).responses
                if response.value is None and f"{response.strength:g}" not in defect.not_run
            ]
            if without:
                at = listed([f"{response.strength:g}" for response in without])
                texts.append(f"no value: {metric.name}, {defect.name} at {at}: {without[0].reason}")
    return texts


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _trust(
    metrics: Sequence[MetricFindings],
    errorless: Sequence[MetricFindings],
    defects: Sequence[DefectRecord],
    what: str,
) -> str:
    """The metrics that see most of these defects, the most sensitive first."""
    names = listed([defect.name for defect in defects])
    ranked = _ranked(metrics, defects)
    if not ranked:
        moving = [name for _, name in _ranked(errorless, defects)]
        also = f" ({listed(moving)} {'moves' if len(moving) == 1 else 'move'})" if moving else ""
        it = "it" if len(defects) == 1 else "any of them"
        return f"For {what} ({names}) trust no metric: none whose error is known sees {it}{also}."
    missed = ranked[0][0][0]
    best = [name for (own, _, _), name in ranked if own == missed]
    shown = best[:_MOST_NAMED]
    text = f"For {what} ({names}) trust {listed(shown)}"
    if len(defects) > 1:
        seen = len(defects) - missed
        which = "which sees" if len(shown) == 1 else "which see"
        text += f", {which} {'all' if not missed else f'{seen} of these {len(defects)}'}"
    if len(shown) > 1:
        text += ", the most sensitive first"
    if len(defects) == 1 and (others := len(metrics) - len(best)):
        text += f"; the other {others} cannot be relied on for it"
    return f"{text}."


def _ranked(
    metrics: Sequence[MetricFindings], defects: Sequence[DefectRecord]
) -> list[tuple[tuple[int, float, float], str]]:
    return sorted(
        (key, metric.name) for metric in metrics if (key := _sight(metric, defects)) is not None
    )


def _sight(
    metric: MetricFindings, defects: Sequence[DefectRecord]
) -> tuple[int, float, float] | None:
    """A key to sort by: defects missed, how late the others are seen, and how faintly.

    None where a metric sees none of them, or is fooled by one.
    """
    missed, late, faint = 0, 0.0, 0.0
    for defect in defects:
        finding = metric.finding(defect.id)
        if finding.verdict == "fooled":
            return None
        if finding.seen_from is None:
            missed += 1
            continue
        late += defect.strengths.index(finding.seen_from)
        faint -= math.log1p(max(0.0, *(response.harm or 0.0 for response in finding.responses)))
    return None if missed == len(defects) else (missed, late, faint)


def _seen(defect: DefectRecord, finding: FindingRecord) -> str:
    assert finding.seen_from is not None
    back = "" if finding.monotone else ", not in step"
    return f"{defect.name} (from {amount(defect, finding.seen_from)}{back})"


def _faded(defect: DefectRecord, finding: FindingRecord) -> str:
    worse = [response.strength for response in finding.responses if response.move == "worse"]
    return f"{defect.name} (worse at {amount(defect, *worse, joint=', ')}, not at the strongest)"


def _fooled(defect: DefectRecord, finding: FindingRecord) -> str:
    first, last = finding.better_at[0], finding.better_at[-1]
    if finding.better_at == _tail(finding, first):
        said = f"better from {amount(defect, first)}"
    elif first == last:
        said = f"better at {amount(defect, first)}"
    else:
        said = f"better at {amount(defect, first, last)}"
    if finding.seen_from is not None:
        said += f", worse from {amount(defect, finding.seen_from)}"
    return f"{defect.name} ({said})"


def _goes_back(finding: FindingRecord) -> bool:
    if finding.verdict == "fooled":
        return finding.better_at != _tail(finding, finding.better_at[0])
    return finding.verdict == "sees" and not finding.monotone


def _tail(finding: FindingRecord, first: float) -> list[float]:
    """All strengths from the first one on at which the metric has a value."""
    defined = [r.strength for r in finding.responses if r.move is not None]
    return defined[defined.index(first) :]


def _planted(defect: DefectRecord) -> bool:
    return len(defect.not_run) < len(defect.strengths)
