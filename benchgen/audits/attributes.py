"""Attributes: shares as read and corrected, parity, distance to a target, and dependences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchgen.asked import AttributeChoice, AuditChoice
from benchgen.audits.documents import AttributeRecord, CheckRecord, ShareRecord
from benchgen.audits.labels import (
    JOINT,
    Columns,
    Labels,
    confusion_on,
    labels_of,
    read_confusion,
    truth_of,
)
from benchgen.audits.questions import Question, images_needed, settled
from benchgen.errors import MetricError, UsageError
from benchgen.report.numbers import significant
from benchgen.stats.association import amplification, dependence
from benchgen.stats.calibrated import Confusion, corrected_shares
from benchgen.stats.limits import p_at_least, p_at_most
from benchgen.stats.parity import Distances, distances, p_distance, parity
from benchgen.stats.shares import UNKNOWN, Shares, powered_shares, read_shares


@dataclass(frozen=True)
class Row:
    """A generator's images as an audit sees them.

    Attributes:
        columns: What is known of them.
        clusters: The column whose equal values are not independent, or None.
    """

    columns: Columns
    clusters: str | None

    @property
    def name(self) -> str:
        return self.columns.row

    def cluster_labels(self, of: np.ndarray) -> list[str] | None:
        """The clusters of the images that a mask ``[n]`` chooses; a missing one stands alone."""
        if self.clusters is None:
            return None
        values = self.columns.frame[self.clusters]
        return [
            f"#{at}" if pd.isna(value) else f"={value}" for at, value in enumerate(values) if of[at]
        ]


def judge_attribute(
    row: Row,
    choice: AttributeChoice,
    kinds: tuple[str, ...],
    target: np.ndarray | None,
    real: Columns | None,
    asked: AuditChoice,
) -> tuple[AttributeRecord, list[Question]]:
    """The shares of one attribute in one generator's images, and what is asked of them.

    Args:
        row: The images.
        choice: What is asked.
        kinds: All values.
        target: The shares wanted, ``[K]``, or None.
        real: What is known of the real images, or None.
        asked: The audit's alpha and least group.

    Raises:
        UsageError, ImageError: Of the columns and tables; names the file.
        MetricError: The labeler cannot be calibrated.
    """
    if choice.truth is not None and not row.columns.has(choice.name):
        nothing = np.full(len(row.columns.frame), UNKNOWN)
        labels = Labels(kinds, nothing, "people alone")
    else:
        labels = labels_of(row.columns, choice.name, kinds)
    known = labels.known
    clusters = row.cluster_labels(known)
    read = None
    if known.any():
        read = read_shares(labels.values[known], kinds, clusters=clusters)
    shares, correction, confusion, notes = _corrected(row, choice, labels, read, real)
    record = AttributeRecord(
        generator=row.name,
        attribute=choice.name,
        labeler=labels.labeler,
        n=len(labels.values),
        unread=int((~known).sum()),
        clusters=row.clusters,
        correction=correction if shares is not read else None,
        confusion=None if confusion is None else confusion.counts.tolist(),
        shares=_share_records(labels, read, None if shares is read else shares, target),
        notes=notes,
    )
    if JOINT in choice.name and read is not None:
        empty = [kind for kind, value in zip(kinds, read.values, strict=True) if value == 0]
        if empty:
            record = record.model_copy(update={"notes": [*notes, f"none seen: {'; '.join(empty)}"]})
    found = int(known.sum())
    if shares is not None and shares.labelled is not None:
        found = int(shares.labelled.sum())
    if shares is None or found < asked.least:
        reason = f"{found} images were read; fewer than {asked.least} say nothing"
        return record, [settled(one, "insufficient", reason) for one in _blank(row, choice)]
    questions = []
    if target is not None:
        measured = distances(shares, target, ordinal=choice.ordinal, alpha=asked.alpha)
        record = record.model_copy(
            update={"distances": dict(measured.values), "floors": dict(measured.floors)}
        )
        questions.append(_distance(row, choice, shares, target, measured, asked))
    if choice.parity is not None:
        questions.append(_parity(row, choice, shares, asked))
    questions += _dependences(row, choice, labels, asked)
    questions += _amplified(row, choice, labels, real, asked)
    return record, questions


def target_of(
    choice: AttributeChoice, kinds: tuple[str, ...], real: Columns | None
) -> np.ndarray | None:
    """The shares that an attribute should have, ``[K]``; None where none are declared.

    Raises:
        UsageError: The target names other kinds, or there are no real images to read it from.
    """
    wanted = choice.target
    if wanted is None:
        return None
    if wanted == "uniform":
        return np.full(len(kinds), 1 / len(kinds))
    if isinstance(wanted, Mapping):
        if strange := set(wanted) - set(kinds):
            raise UsageError(
                f"the target of {choice.name} names {', '.join(sorted(strange))}; its kinds are "
                f"{', '.join(kinds)}"
            )
        return np.array([wanted.get(kind, 0.0) for kind in kinds])
    if real is None:
        raise UsageError(
            f"the target of {choice.name} is 'reference', and the run has no row of real images; "
            "declare shares, or run with real images"
        )
    labels = labels_of(real, choice.name, kinds)
    if not labels.known.any():
        raise UsageError(f"{choice.name} is not read in any real image; declare its target")
    return read_shares(labels.values[labels.known], kinds).values


def _corrected(
    row: Row, choice: AttributeChoice, labels: Labels, read: Shares | None, real: Columns | None
) -> tuple[Shares | None, Any, Confusion | None, list[str]]:
    """The shares to judge by, how they were corrected, and by what."""
    everything = np.ones(len(labels.values), dtype=bool)
    if choice.calibration is not None:
        if choice.calibration == "reference":
            confusion = confusion_on(real, choice.name, labels.kinds)
        else:
            confusion = read_confusion(choice.calibration, labels.kinds)
        if read is None:
            return None, "calibration", confusion, []
        clusters = row.cluster_labels(everything)
        found = corrected_shares(labels.values, confusion, clusters=clusters)
        return found, "calibration", confusion, []
    if choice.truth is not None:
        told = truth_of(choice.truth, choice.name, row.columns)
        truth = labels_of(told, choice.name, labels.kinds).values
        clusters = row.cluster_labels(everything)
        found = powered_shares(labels.values, truth, labels.kinds, clusters=clusters)
        few = int((truth != UNKNOWN).sum())
        return found, "truth", None, [f"{few} of the images have a true kind"]
    return read, None, None, []


def _share_records(
    labels: Labels, read: Shares | None, corrected: Shares | None, target: np.ndarray | None
) -> list[ShareRecord]:
    told = {} if read is None else read.estimates()
    better = {} if corrected is None else corrected.estimates()
    return [
        ShareRecord(
            kind=kind,
            count=int((labels.values == place).sum()),
            read=told[kind].value if told else None,
            read_interval=told[kind].interval if told else None,
            corrected=better[kind].value if better else None,
            corrected_interval=better[kind].interval if better else None,
            target=None if target is None else float(target[place]),
        )
        for place, kind in enumerate(labels.kinds)
    ]


def _blank(row: Row, choice: AttributeChoice) -> list[CheckRecord]:
    """The checks that were asked for, without what was found."""
    checks = []
    if choice.target is not None:
        checks.append(f"shares of {choice.name} on target")
    if choice.parity is not None:
        checks.append(f"parity of {choice.name}")
    return [_check(row, text) for text in checks or [f"shares of {choice.name}"]]


def _check(row: Row, text: str) -> CheckRecord:
    return CheckRecord(generator=row.name, topic="attributes", check=text, verdict="shown")


def _distance(
    row: Row,
    choice: AttributeChoice,
    shares: Shares,
    target: np.ndarray,
    found: Distances,
    asked: AuditChoice,
) -> Question:
    value, floor = found.values["tv"], found.floors["tv"]
    record = _check(row, f"shares of {choice.name} on target").model_copy(
        update={
            "effect": "total variation from the target",
            "value": value,
            "interval": (found.lower, found.upper),
            "limit": "" if choice.distance is None else f"at most {choice.distance:g}",
            "n": shares.n,
            "reason": f"on target chance alone makes it {significant(floor, 2)} on average",
        }
    )
    if choice.distance is None:
        return Question(record)
    kept, broken = p_distance(shares, target, choice.distance)
    end = found.upper if value < choice.distance else found.lower
    stderr = abs(end - value) / 2
    needed = images_needed(abs(value - choice.distance), stderr, shares.n, asked.alpha)
    return Question(record.model_copy(update={"needed": needed}), kept, broken)


def _parity(row: Row, choice: AttributeChoice, shares: Shares, asked: AuditChoice) -> Question:
    assert choice.parity is not None
    found = parity(shares, choice.parity, asked.alpha)
    worst = found.worst
    record = _check(row, f"parity of {choice.name}").model_copy(
        update={
            "effect": f"share of {worst.kind} over {worst.other}",
            "value": worst.value,
            "interval": (worst.lower, worst.upper),
            "limit": f"at least {choice.parity:g}",
            "n": shares.n,
            "needed": found.needed,
            "reason": f"the least of {len(shares.names) * (len(shares.names) - 1)} ratios; the "
            "interval holds for all of them at once",
        }
    )
    return Question(record, found.p, found.p_broken)


def _dependences(
    row: Row, choice: AttributeChoice, labels: Labels, asked: AuditChoice
) -> list[Question]:
    """Whether the attribute hangs on the prompt, or else on the label, of an image."""
    frame = row.columns.frame
    for other in ("prompt", "label"):
        if other not in frame.columns or other == choice.name:
            continue
        given = frame[other]
        known = labels.known & given.notna().to_numpy()
        names = sorted({str(value) for value in given[known]})
        if not 2 <= len(names) <= known.sum() / 2:
            continue
        record = _check(row, f"{choice.name} independent of the {other}")
        if known.sum() < asked.least:
            return [settled(record, "insufficient", f"{int(known.sum())} images are known")]
        places = np.array([names.index(str(value)) for value in given[known]])
        return [_dependence(record, places, labels.values[known], choice, asked)]
    if choice.association is None:
        return []
    record = _check(row, f"{choice.name} independent of the prompt")
    return [settled(record, "not run", "the images have no prompts and no labels")]


def _dependence(
    record: CheckRecord,
    rows: np.ndarray,
    values: np.ndarray,
    choice: AttributeChoice,
    asked: AuditChoice,
) -> Question:
    try:
        found = dependence(rows, values)
    except MetricError as error:
        return settled(record, "insufficient", str(error))
    assert found.value is not None
    most = min(len(set(rows.tolist())), len(set(values.tolist()))) - 1
    ends = found.interval or (0.0, float(most))
    low, high = (min(1.0, (max(0.0, end) / most) ** 0.5) for end in ends)
    v = min(1.0, (max(0.0, found.value) / most) ** 0.5)
    record = record.model_copy(
        update={
            "effect": "Cramér's V",
            "value": v,
            "interval": (low, high),
            "limit": "" if choice.association is None else f"at most {choice.association:g}",
            "n": found.n,
        }
    )
    if choice.association is None:
        return Question(record)
    limit = most * choice.association**2
    needed = images_needed(abs(found.value - limit), found.stderr, found.n, asked.alpha)
    record = record.model_copy(update={"needed": needed})
    return Question(record, p_at_most(found, limit), p_at_least(found, limit))


def _amplified(
    row: Row, choice: AttributeChoice, labels: Labels, real: Columns | None, asked: AuditChoice
) -> list[Question]:
    """Whether the attribute hangs on the label more than it does in the real images."""
    if choice.amplification is None:
        return []
    record = _check(row, f"{choice.name} by label not amplified")
    sides = [(row.columns, labels)]
    if real is not None:
        sides.insert(0, (real, labels_of(real, choice.name, labels.kinds)))
    tasks = sorted({str(t) for side, _ in sides for t in _given(side) if not pd.isna(t)})
    if len(sides) < 2 or len(tasks) < 2:
        return [settled(record, "not run", "it needs real images, and labels on both sides")]
    wanted, made = (_pairs(side, found, tasks) for side, found in sides)
    if min(len(wanted), len(made)) < asked.least:
        few = f"{len(made)} images and {len(wanted)} real ones have a label and a kind"
        return [settled(record, "insufficient", few)]
    try:
        found = amplification(wanted, made, level=1 - asked.alpha)
    except MetricError as error:
        return [settled(record, "insufficient", str(error))]
    assert found.value is not None
    away = abs(found.value - choice.amplification)
    record = record.model_copy(
        update={
            "effect": "mean difference of shares given the label, towards the real dependence",
            "value": found.value,
            "interval": found.interval,
            "limit": f"at most {choice.amplification:g}",
            "n": found.n,
            "needed": images_needed(away, found.stderr, found.n, asked.alpha),
        }
    )
    limit = choice.amplification
    return [Question(record, p_at_most(found, limit), p_at_least(found, limit))]


def _given(columns: Columns) -> list[Any]:
    frame = columns.frame
    return frame["label"].tolist() if "label" in frame.columns else []


def _pairs(columns: Columns, labels: Labels, tasks: list[str]) -> np.ndarray:
    """Label and kind of the images that have both, int64 ``[n, 2]``."""
    places = {task: place for place, task in enumerate(tasks)}
    found = [
        (places[str(task)], kind)
        for task, kind in zip(_given(columns), labels.values.tolist(), strict=True)
        if not pd.isna(task) and kind != UNKNOWN
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)
