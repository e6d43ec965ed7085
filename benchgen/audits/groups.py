"""Whether the images of one kind are as good as those of another."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import torch

from benchgen.audits.attributes import Row
from benchgen.audits.documents import CheckRecord, QualityRecord
from benchgen.audits.labels import Labels
from benchgen.audits.questions import Question, images_needed, settled
from benchgen.errors import StoreError
from benchgen.metrics.base import FeatureSet
from benchgen.runs.directory import Result
from benchgen.runs.scoring import score
from benchgen.stats.estimates import Estimate
from benchgen.stats.paired import difference
from benchgen.suite import AttributeChoice, AuditChoice

_MOST = 200
"""Images of a kind that the permutation test takes, on each side."""
_SHUFFLES = 999


def judge_quality(
    row: Row,
    result: Result,
    real: Result | None,
    choice: AttributeChoice,
    labels: Labels,
    real_labels: Labels | None,
    asked: AuditChoice,
) -> tuple[list[QualityRecord], list[Question]]:
    """KID of each kind against the real images of that kind, all at equal numbers of images.

    KID has no bias at any number of images, so kinds that are rare do not look worse for that. The
    check is of the greatest difference between two kinds, over all pairs at once; beside it
    stands the p-value of all kinds being equally good, by shuffling kinds among the images.

    Args:
        row, result: The generator.
        real: The row of real images, or None.
        choice: The attribute; its ``quality`` is the limit.
        labels, real_labels: Its kinds on both sides.
        asked: Alpha and the least group.
    """
    if choice.quality is None:
        return [], []
    blank = CheckRecord(
        generator=row.name,
        topic="quality",
        check=f"equal quality over {choice.name}",
        verdict="shown",
        limit=f"KID at most {choice.quality:g} apart",
    )
    if real is None or real_labels is None:
        return [], [settled(blank, "not run", "the run has no row of real images")]
    enough = [
        place
        for place in range(len(labels.kinds))
        if min((side.values == place).sum() for side in (labels, real_labels)) >= asked.least
    ]
    few = [kind for place, kind in enumerate(labels.kinds) if place not in enough]
    missing = f"too few images of {', '.join(few)}" if few else ""
    if len(enough) < 2:
        return [], [settled(blank, "insufficient", f"{missing} on one side or both")]
    extractor = min(result.document.features)
    try:
        made, given = result.features(extractor), real.features(extractor)
        found = _by_kind(made, given, labels, real_labels, enough)
    except StoreError as error:
        return [], [settled(blank, "not run", str(error))]
    p = _shuffled(made, given, labels, real_labels, enough)
    records = [
        QualityRecord(
            kind=kind,
            n=one.n,
            kid=one.value or 0.0,
            interval=one.interval,
        )
        for kind, one in found.items()
    ]
    record = blank.model_copy(
        update={"reason": f"p = {p:.3g} of all kinds being equal" + (f"; {missing}" * bool(few))}
    )
    return records, [_worst(record, found, choice.quality, asked.alpha)]


def _by_kind(
    made: FeatureSet, given: FeatureSet, labels: Labels, real_labels: Labels, kinds: list[int]
) -> Mapping[str, Estimate]:
    sides = []
    for features, side in ((made, labels), (given, real_labels)):
        rows = torch.cat(list(features.blocks()))
        chosen = np.isin(side.values, kinds)
        names = [side.kinds[place] for place in side.values[chosen]]
        sides.append((rows[torch.from_numpy(chosen)], names))
    (fake, groups), (real, real_groups) = sides
    found = score("kid", fake=fake, real=real, groups=groups, real_groups=real_groups)
    return found.groups


def _worst(
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


def _shuffled(
    made: FeatureSet, given: FeatureSet, labels: Labels, real_labels: Labels, kinds: list[int]
) -> float:
    """p-value of equal KID of all kinds: (b + 1) / (B + 1) over shuffles of the kinds."""
    n = min(
        _MOST,
        *(int((side.values == k).sum()) for side in (labels, real_labels) for k in kinds),
    )
    rows = []
    for features, side in ((made, labels), (given, real_labels)):
        chosen = np.concatenate([np.flatnonzero(side.values == k)[:n] for k in kinds])
        rows.append(torch.cat(list(features.blocks()))[torch.from_numpy(chosen)].double())
    fake, real = rows
    of_fake, of_real, across = (
        (a @ b.T / a.shape[1] + 1) ** 3 for a, b in ((fake, fake), (real, real), (fake, real))
    )
    of_fake.fill_diagonal_(0)
    of_real.fill_diagonal_(0)
    groups = torch.eye(len(kinds), dtype=torch.float64).repeat_interleave(n, dim=0)
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
