"""Limits on numbers: metrics, image properties, power spectra and repeated images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse, stats

from benchgen.asked import AuditChoice, Limit
from benchgen.audits.attributes import Row
from benchgen.audits.documents import CheckRecord
from benchgen.audits.questions import Question, images_needed, settled
from benchgen.metrics.base import Score
from benchgen.report.numbers import significant
from benchgen.runs.directory import Result
from benchgen.stats.estimates import Estimate, estimate, quantile_of
from benchgen.stats.limits import p_at_least, p_at_most
from benchgen.stats.proportions import clopper_pearson

_BANDS = "band "
_NEAR = 4
"""Bits of 64 by which perceptual hashes of near copies differ at most."""

_TILE = 1024


@dataclass(frozen=True)
class Repeats:
    """Images of one row that repeat an earlier one: groups of indices, the largest first."""

    exact: list[list[int]]
    near: list[list[int]]


def judge_metric(
    row: Row,
    result: Result,
    real: Result | None,
    name: str,
    limit: Limit,
    asked: AuditChoice,
) -> list[Question]:
    """Whether a metric keeps its limits; ``name`` may say the extractor after an ``@``."""
    metric, _, extractor = name.partition("@")
    blank = CheckRecord(generator=row.name, topic="quality", check=name, verdict="shown")
    records = [
        record
        for record in result.document.estimates
        if metric.rpartition("/")[2] in _names(record.metric)
        and extractor in ("", str(record.extractor), str(record.extractor).rpartition("/")[2])
    ]
    if not records:
        have = ", ".join(sorted({record.metric for record in result.document.estimates}))
        return [
            settled(blank, "not run", f"the run does not have it (it has: {have}); add the metric")
        ]
    found = []
    for record in records:
        label = record.metric if len(records) == 1 else f"{record.metric}@{record.extractor}"
        here = blank.model_copy(update={"check": label})
        now = result.estimate(record.metric, record.extractor)
        if now.value is None:
            found.append(settled(here, "not run", f"it is undefined: {now.reason}"))
            continue
        best = None
        if real is not None:
            there = [r for r in real.document.estimates if r.metric == record.metric]
            if any(r.extractor == record.extractor for r in there):
                best = real.estimate(record.metric, record.extractor)
        found += _limited(here, now, best, limit, asked)
    return found


def _names(label: str) -> tuple[str, str]:
    """A metric's label, and that without its parameters; both without the distribution."""
    whole = label.rpartition("/")[2]
    return whole, whole.partition("[")[0]


def judge_column(
    row: Row, real: pd.DataFrame | None, column: str, limit: Limit, asked: AuditChoice
) -> list[Question]:
    """Whether the mean of a numeric column of the images keeps its limits."""
    record = CheckRecord(
        generator=row.name, topic="images", check=f"mean {column}", verdict="shown"
    )
    values, known = _numbers(row.columns.frame, column)
    if values is None:
        return [
            settled(
                record,
                "not run",
                f"the run has no numeric column {column!r}; add the measure that has it",
            )
        ]
    if len(values) < asked.least:
        few = f"{len(values)} images have it; fewer than {asked.least} say nothing"
        return [settled(record, "insufficient", few)]
    now = _mean(values, row.cluster_labels(known))
    others = None if real is None else _numbers(real, column)[0]
    best = None if others is None or len(others) < 2 else _mean(others, None)
    return _limited(record, now, best, limit, asked)


def judge_spectrum(row: Row, real: pd.DataFrame | None, asked: AuditChoice) -> list[Question]:
    """Whether the power in every band of frequencies is that of the real images.

    The bands' intervals hold all at once (Bonferroni). A generator passes where every band surely
    differs by less than the limit.
    """
    if asked.spectrum is None:
        return []
    record = CheckRecord(
        generator=row.name, topic="images", check="power spectrum as real images", verdict="shown"
    )
    frame = row.columns.frame
    bands = [str(name) for name in frame.columns if str(name).startswith(_BANDS)]
    if not bands or real is None or any(band not in real.columns for band in bands):
        missing = "the run has no row of real images" if bands else "add the measure `spectrum`"
        return [settled(record, "not run", f"{missing}: there is nothing to compare")]
    apart = {}
    for band in bands:
        (here, known), (there, _) = _numbers(frame, band), _numbers(real, band)
        assert here is not None
        assert there is not None
        if min(len(here), len(there)) < asked.least:
            few = f"{len(here)} images and {len(there)} real ones have a spectrum"
            return [settled(record, "insufficient", few)]
        apart[band] = _contrast(here, there, row.cluster_labels(known))
    beyond = {
        band: min(
            p_at_most(found, asked.spectrum),
            p_at_least(found, -asked.spectrum),
        )
        for band, found in apart.items()
    }
    worst = max(apart, key=lambda band: abs(apart[band].value or 0.0))
    shown = apart[worst]
    assert shown.value is not None
    assert shown.stderr is not None
    half = quantile_of(1 - asked.alpha / len(bands), shown.degrees) * shown.stderr
    away = abs(abs(shown.value) - asked.spectrum)
    record = record.model_copy(
        update={
            "effect": f"log power in {worst} of {len(bands)}, less that of real images",
            "value": shown.value,
            "interval": (shown.value - half, shown.value + half),
            "limit": f"at most {asked.spectrum:g} either way",
            "n": shown.n,
            "needed": images_needed(away, shown.stderr, shown.n, asked.alpha),
            "reason": "the band that differs most; the interval holds for all bands at once",
        }
    )
    within = max(
        max(p_at_least(found, asked.spectrum), p_at_most(found, -asked.spectrum))
        for found in apart.values()
    )
    return [Question(record, min(1.0, len(bands) * min(beyond.values())), within)]


def repeats(frame: pd.DataFrame) -> Repeats | None:
    """Images with equal pixels, and images with nearly equal perceptual hashes.

    None where the run did not measure ``hashes``.
    """
    if "pixels" not in frame.columns or "phash" not in frame.columns:
        return None
    indices = frame["index"].to_numpy()
    exact = _groups(indices, pd.factorize(frame["pixels"])[0])
    known = frame["phash"].notna().to_numpy()
    hashes = np.array([list(bytes.fromhex(text)) for text in frame["phash"][known]], dtype=np.uint8)
    near = _linked(np.unpackbits(hashes, axis=1)) if len(hashes) else hashes
    return Repeats(exact, _groups(indices[known], near))


def judge_repeats(row: Row, found: Repeats | None, asked: AuditChoice) -> list[Question]:
    """Whether few images repeat others of the same generator, exactly or nearly."""
    record = CheckRecord(
        generator=row.name, topic="images", check="images that repeat others", verdict="shown"
    )
    if found is None:
        if asked.duplicates is None:
            return []
        return [settled(record, "not run", "add the measure `hashes`")]
    n = len(row.columns.frame)
    count, near = (sum(len(g) - 1 for g in groups) for groups in (found.exact, found.near))
    share = clopper_pearson(count, n, level=1 - asked.alpha)
    record = record.model_copy(
        update={
            "effect": "share with the pixels of another",
            "value": share.value,
            "interval": share.interval,
            "limit": "" if asked.duplicates is None else f"at most {asked.duplicates:g}",
            "n": n,
            "reason": f"{count} repeat another exactly; {near} have a perceptual hash within "
            f"{_NEAR} of 64 bits of another's, which plain images have too",
        }
    )
    if asked.duplicates is None:
        return [Question(record)]
    limit = asked.duplicates
    if count == 0 and limit > 0:
        needed = math.ceil(math.log(asked.alpha) / math.log1p(-limit))
        record = record.model_copy(update={"needed": needed})
    kept = float(stats.binom.sf(count - 1, n, limit)) if count else 1.0
    return [Question(record, kept, float(stats.binom.cdf(count, n, limit)))]


def _limited(
    record: CheckRecord, now: Estimate, best: Estimate | None, limit: Limit, asked: AuditChoice
) -> list[Question]:
    """A question for each of the two bounds that is declared."""
    found = []
    for word, bound in (("at least", limit.at_least), ("at most", limit.at_most)):
        if bound is None:
            continue
        here = record.model_copy(
            update={
                "effect": record.check,
                "value": now.value,
                "interval": now.interval,
                "limit": f"{word} {bound if isinstance(bound, str) else format(bound, 'g')}",
                "n": now.n,
                "reason": now.reason or "",
            }
        )
        resolved = _resolved(bound, now, best)
        if isinstance(resolved, str):
            found.append(settled(here, "not run", resolved))
            continue
        compared, value, told = resolved
        if compared.stderr is None:
            found.append(_without_error(here, compared, value, word))
            continue
        here = here.model_copy(update={"limit": here.limit + told})
        tests = (p_at_least, p_at_most) if word == "at least" else (p_at_most, p_at_least)
        kept, broken = (test(compared, value) for test in tests)
        away = abs((compared.value or 0.0) - value)
        needed = images_needed(away, compared.stderr, compared.n, asked.alpha)
        found.append(Question(here.model_copy(update={"needed": needed}), kept, broken))
    return found


def _without_error(record: CheckRecord, now: Estimate, bound: float, word: str) -> Question:
    """A number whose error is unknown settles nothing, but that a count of modes is reached."""
    is_count = record.check.partition("@")[0].rpartition("/")[2] == "modes"
    if is_count and word == "at least" and (now.value or 0.0) >= bound:
        return Question(record.model_copy(update={"reason": ""}), 1.0, 0.0)
    return settled(record, "inconclusive", f"no error is known: {now.reason or 'none is given'}")


def _resolved(
    bound: float | str, now: Estimate, best: Estimate | None
) -> tuple[Estimate, float, str] | str:
    """What to compare with which number, and that limit in words; or why it cannot be."""
    if not isinstance(bound, str):
        return now, bound, ""
    percent, _, whose = bound.partition("% of ")
    factor = float(percent) / 100
    if whose.strip() == "equal":
        expected = now.details.get("expected_if_equal")
        if expected is None:
            return "it does not know what images like the real ones expect; give a number"
        return now, factor * expected, f" = {significant(factor * expected, 3)}"
    if best is None or best.value is None or best.stderr is None:
        return "the run has no row of real images that has it; give a number"
    assert now.value is not None
    apart = replace(
        now,
        value=now.value - factor * best.value,
        stderr=None if now.stderr is None else math.hypot(now.stderr, factor * best.stderr),
        law=None,
    )
    return apart, 0.0, f" = {significant(factor * best.value, 3)}"


def _mean(values: np.ndarray, clusters: Sequence[Any] | None) -> Estimate:
    mean = float(values.mean())
    score = Score(mean, torch.from_numpy(values - mean))
    return estimate(score, n=len(values), m=None, clusters=clusters)


def _contrast(here: np.ndarray, there: np.ndarray, clusters: Sequence[Any] | None) -> Estimate:
    """The mean of some numbers less that of others."""
    apart = float(here.mean() - there.mean())
    fake, real = torch.from_numpy(here - here.mean()), torch.from_numpy(there.mean() - there)
    return estimate(Score(apart, fake, real), n=len(here), m=len(there), clusters=clusters)


def _numbers(frame: pd.DataFrame, column: str) -> tuple[np.ndarray | None, np.ndarray]:
    """The numbers of a column that are known, and which images have one."""
    known = np.zeros(len(frame), dtype=bool)
    if column not in frame.columns or not pd.api.types.is_numeric_dtype(frame[column]):
        return None, known
    values = frame[column].to_numpy(dtype=np.float64)
    known = np.isfinite(values)
    return values[known], known


def _groups(indices: np.ndarray, codes: np.ndarray) -> list[list[int]]:
    """Indices with equal codes, where several have one; the largest group first."""
    found: dict[int, list[int]] = {}
    for index, code in zip(indices.tolist(), codes.tolist(), strict=True):
        found.setdefault(code, []).append(index)
    return sorted((g for g in found.values() if len(g) > 1), key=len, reverse=True)


def _linked(bits: np.ndarray) -> np.ndarray:
    """Of each hash ``[n, 64]`` the group that it belongs to: chains of hashes a few bits apart."""
    signs = 2 * bits.astype(np.float32) - 1
    near = []
    for start in range(0, len(signs), _TILE):
        apart = (signs.shape[1] - signs[start : start + _TILE] @ signs.T) / 2
        near.append(np.argwhere(apart <= _NEAR) + np.array([start, 0]))
    pairs = np.concatenate(near)
    links = sparse.coo_matrix((np.ones(len(pairs)), pairs.T), shape=(len(bits), len(bits)))
    groups: np.ndarray = sparse.csgraph.connected_components(links, directed=False)[1]
    return groups
