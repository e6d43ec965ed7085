"""Whether the images of one kind are as good, and as diverse, as those of another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from benchgen.asked import AttributeChoice, AuditChoice
from benchgen.audits.attributes import Row
from benchgen.audits.documents import CheckRecord, KindRecord, ValueRecord
from benchgen.audits.labels import Labels
from benchgen.audits.questions import Question, images_needed, settled
from benchgen.errors import MetricError, StoreError
from benchgen.metrics.base import FeatureSet
from benchgen.runs.directory import Result
from benchgen.runs.scoring import score
from benchgen.stats.estimates import Estimate
from benchgen.stats.limits import p_at_least, p_at_most
from benchgen.stats.paired import difference

_BESIDE = ("fid", "precision", "recall")
"""Shown beside KID: at equal numbers these are comparable between kinds, though biased."""
_MOST = 200
"""Images of a kind that the permutation test takes, on each side."""
_SHUFFLES = 999

Rows = Mapping[str, Tensor]
"""Features of the images of each kind, equally many for all: [n, d]."""


def judge_kinds(
    row: Row,
    result: Result,
    real: Result | None,
    choice: AttributeChoice,
    labels: Labels,
    real_labels: Labels | None,
    asked: AuditChoice,
) -> tuple[list[KindRecord], list[Question]]:
    """How good and how diverse the images of each kind are, beside the real ones of that kind.

    All kinds are taken at equal numbers of images. Quality is by KID, which has no bias at any
    number, so kinds that are rare do not look worse for that; the check is of the greatest
    difference between two kinds, over all pairs at once, and beside it stands the p-value of all
    kinds being equally good, by shuffling kinds among the images. Diversity is the Vendi score of
    as many generated as real images; the check is of the kind with the least, over all kinds.

    Args:
        row, result: The generator.
        real: The row of real images, or None.
        choice: The attribute; its ``quality`` and ``diversity`` are the limits.
        labels, real_labels: Its kinds on both sides.
        asked: Alpha and the least group.
    """
    blanks = _blanks(row, choice)
    if not blanks:
        return [], []
    if real is None or real_labels is None:
        why = "the run has no row of real images"
        return [], [settled(blank, "not run", why) for blank in blanks.values()]
    enough = [
        place
        for place in range(len(labels.kinds))
        if min((side.values == place).sum() for side in (labels, real_labels)) >= asked.least
    ]
    few = [kind for place, kind in enumerate(labels.kinds) if place not in enough]
    missing = f"too few images of {', '.join(few)}" if few else ""
    if len(enough) < 2:
        why = f"{missing} on one side or both"
        return [], [settled(blank, "insufficient", why) for blank in blanks.values()]
    extractor = min(result.document.features)
    try:
        made = _rows_by_kind(result.features(extractor), labels, enough)
        given = _rows_by_kind(real.features(extractor), real_labels, enough)
    except StoreError as error:
        return [], [settled(blank, "not run", str(error)) for blank in blanks.values()]
    values: dict[str, dict[str, Estimate]] = {kind: {} for kind in made}
    questions = []
    if (blank := blanks.get("quality")) is not None and choice.quality is not None:
        for kind, found in values.items():
            found |= _scores(made[kind], given[kind])
        p = _shuffled(made, given)
        why = "; ".join(filter(None, (f"p = {p:.3g} of all kinds being equal", missing)))
        blank = blank.model_copy(update={"reason": why})
        kid = {kind: found["kid"] for kind, found in values.items()}
        questions.append(_furthest_apart(blank, kid, choice.quality, asked.alpha))
    if (blank := blanks.get("diversity")) is not None and choice.diversity is not None:
        n = min(len(rows) for side in (made, given) for rows in side.values())
        for kind, found in values.items():
            found["vendi"] = score("vendi", fake=made[kind][:n])
            found["vendi of real"] = score("vendi", fake=given[kind][:n])
        blank = blank.model_copy(update={"reason": missing})
        questions.append(_least_diverse(blank, values, choice.diversity, asked.alpha))
    records = [
        KindRecord(
            kind=kind,
            n=len(made[kind]),
            values=[_value(name, one) for name, one in found.items() if one.value is not None],
        )
        for kind, found in values.items()
    ]
    return records, questions


def _blanks(row: Row, choice: AttributeChoice) -> dict[str, CheckRecord]:
    """The checks that are asked for, without what was found."""
    told = {}
    if choice.quality is not None:
        told["quality"] = (
            f"equal quality over {choice.name}",
            f"KID at most {choice.quality:g} apart",
        )
    if choice.diversity is not None:
        told["diversity"] = (
            f"diversity within each {choice.name}",
            f"at least {100 * choice.diversity:g} % of real",
        )
    return {
        what: CheckRecord(
            generator=row.name, topic="quality", check=check, verdict="shown", limit=limit
        )
        for what, (check, limit) in told.items()
    }


def _rows_by_kind(features: FeatureSet, labels: Labels, kinds: list[int]) -> Rows:
    rows = torch.cat(list(features.blocks()))
    places = {kind: np.flatnonzero(labels.values == kind) for kind in kinds}
    n = min(len(found) for found in places.values())
    return {labels.kinds[kind]: rows[torch.from_numpy(found[:n])] for kind, found in places.items()}


def _scores(made: Tensor, given: Tensor) -> dict[str, Estimate]:
    """KID, and what can be told beside it at this number of images."""
    found = {"kid": score("kid", fake=made, real=given)}
    for metric in _BESIDE:
        try:
            found[metric] = score(metric, fake=made, real=given)
        except MetricError:
            continue  # undefined at so few images
    return found


def _value(name: str, found: Estimate) -> ValueRecord:
    assert found.value is not None
    return ValueRecord(name=name, value=found.value, interval=found.interval)


def _least_diverse(
    record: CheckRecord, values: Mapping[str, Mapping[str, Estimate]], limit: float, alpha: float
) -> Question:
    """The kind whose images are most surely less diverse than that share of the real ones'."""
    excess: dict[str, Estimate] = {}
    for kind, found in values.items():
        made, real = found["vendi"], found["vendi of real"]
        for one in (made, real):
            if one.stderr is None:
                return settled(record, "insufficient", f"Vendi of {kind}: {one.reason}")
        assert made.value is not None
        assert made.stderr is not None
        assert real.value is not None
        assert real.stderr is not None
        stderr = math.hypot(made.stderr, limit * real.stderr)
        value = made.value - limit * real.value
        excess[kind] = replace(made, value=value, stderr=stderr, law=None)
    kept = {kind: p_at_least(one, 0.0) for kind, one in excess.items()}
    broken = max(p_at_most(one, 0.0) for one in excess.values())
    worst = min(kept, key=lambda kind: (kept[kind], excess[kind].value))
    made, real = values[worst]["vendi"], values[worst]["vendi of real"]
    assert real.value
    assert made.value is not None
    ends = None if made.interval is None else tuple(end / real.value for end in made.interval)
    away, error = abs(excess[worst].value or 0.0), excess[worst].stderr
    record = record.model_copy(
        update={
            "effect": f"Vendi score of {worst} over that of real ones",
            "value": made.value / real.value,
            "interval": ends,
            "n": made.n,
            "needed": images_needed(away, error, made.n, alpha),
        }
    )
    return Question(record, min(1.0, len(kept) * kept[worst]), broken)


def _furthest_apart(
    record: CheckRecord, found: Mapping[str, Estimate], limit: float, alpha: float
) -> Question:
    """The two kinds that differ most for sure."""
    pairs = {
        (one, other): difference(found[one], found[other], paired=False, shared_reference=False)
        for one, other in permutations(found, 2)
    }
    kept = {names: one.p_at_most(limit) for names, one in pairs.items()}
    broken = [one.p_at_least(limit) for one in pairs.values()]
    known = {names: p for names, p in kept.items() if p is not None}
    if len(known) < len(pairs) or any(p is None for p in broken):
        return settled(record, "inconclusive", "the error of KID is unknown for some kinds")
    worse, better = min(known, key=lambda names: (known[names], -(pairs[names].value or 0.0)))
    shown = pairs[worse, better]
    assert shown.value is not None
    record = record.model_copy(
        update={
            "effect": f"KID of {worse} less that of {better}",
            "value": shown.value,
            "interval": shown.interval,
            "n": found[worse].n,
            "needed": images_needed(abs(shown.value - limit), shown.stderr, found[worse].n, alpha),
        }
    )
    return Question(
        record,
        min(1.0, len(pairs) * min(known.values())),
        max(p for p in broken if p is not None),
    )


def _shuffled(made: Rows, given: Rows) -> float:
    """p-value of equal KID of all kinds: (b + 1) / (B + 1) over shuffles of the kinds."""
    n = min(_MOST, *(len(rows) for side in (made, given) for rows in side.values()))
    fake, real = (
        torch.cat([rows[:n] for rows in side.values()]).double() for side in (made, given)
    )
    of_fake, of_real, across = (
        (a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((fake, fake), (real, real), (fake, real))
    )
    of_fake.fill_diagonal_(0)
    of_real.fill_diagonal_(0)
    groups = torch.eye(len(made), dtype=torch.float64).repeat_interleave(n, dim=0)
    random = torch.Generator().manual_seed(0)

    def spread(x: torch.Tensor, y: torch.Tensor) -> float:
        within = sum((z * (k @ z)).sum(0) for z, k in ((x, of_fake), (y, of_real))) / (n * (n - 1))
        values = within - 2 * (x * (across @ y)).sum(0) / n**2
        return float(values.max() - values.min())

    seen = spread(groups, groups)
    reached = 0
    for _ in range(_SHUFFLES):
        x, y = (groups[torch.randperm(len(groups), generator=random)] for _ in range(2))
        reached += spread(x, y) >= seen
    return (reached + 1) / (_SHUFFLES + 1)
