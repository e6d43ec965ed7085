"""What documents say of plans, passes and scores: from the run's own objects to plain records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from benchgen.hashing import digest
from benchgen.host.loader import host
from benchgen.images.decode import CHANGES
from benchgen.metrics.base import SquaredDistance
from benchgen.runs.chosen import Metric
from benchgen.runs.documents import (
    ClassShares,
    EstimateRecord,
    LawRecord,
    MetricRecord,
    PluginRecord,
)
from benchgen.runs.passes import Passed
from benchgen.runs.plan import Plan
from benchgen.runs.scorer import Scores

_MOST_VALUES = 50
"""A text column with more values than this is no attribute, nor is one whose values hardly ever
come twice: ids, captions, hashes."""


def score_records(
    scored: Scores, plan: Plan
) -> tuple[list[EstimateRecord], dict[str, dict[str, Any]]]:
    """Estimates as the result document holds them, and their fingerprints by hash."""
    records, fingerprints = [], {}
    for (metric, reader), found in scored.items():
        fields = plan.fingerprint(metric, reader, found.n)
        fingerprints[digest(fields)] = fields
        records.append(
            EstimateRecord(
                metric=metric.label,
                extractor=None if reader is None else reader.label,
                value=found.value,
                stderr=found.stderr,
                interval=found.interval,
                level=found.level,
                n=found.n,
                m=found.m,
                method=found.method,
                degrees=found.degrees,
                law=None if found.law is None else _law_record(found.law),
                halvings=None if found.halvings is None else _rounded(found.halvings),
                details=dict(found.details),
                notes=list(found.notes),
                reason=found.reason,
                fingerprint=digest(fields),
            )
        )
    return records, fingerprints


def _law_record(law: SquaredDistance) -> LawRecord:
    draws = None if law.draws is None else [_rounded(part) for part in law.draws]
    return LawRecord(null_variance=law.null_variance, growth=law.growth, bias=law.bias, draws=draws)


def _rounded(draws: torch.Tensor) -> list[float]:
    """What says how much two estimates share: four digits are plenty."""
    return [float(f"{value:.4g}") for value in draws.tolist()]


@dataclass(frozen=True)
class Seen:
    """What a classifier or a measure sees in each image: one of a few names, or nothing.

    ``attribute`` is the measure's column; "class" of a classifier.
    """

    reader: str
    attribute: str
    classes: tuple[str, ...]
    values: list[str | None]


def seen_classes(passed: Passed, plan: Plan) -> list[Seen]:
    """What every classifier sees in each image, and every measure that has names for it."""
    found = []
    for reader in plan.extractors:
        if reader.classes:
            blocks = passed.logits(reader.label).blocks()
            values = [reader.classes[i] for block in blocks for i in block.argmax(1).tolist()]
            found.append(Seen(reader.label, "class", reader.classes, values))
    for label, columns in passed.measures.items():
        for attribute, measured in columns.items():
            named = [value if isinstance(value, str) else None for value in measured]
            names = tuple(sorted({value for value in named if value is not None}))
            if 0 < len(names) <= min(_MOST_VALUES, max(2, len(named) // 2)):
                found.append(Seen(label, attribute, names, named))
    return found


def class_shares(passed: Passed, plan: Plan) -> list[ClassShares]:
    """How often each classifier sees each class, and each measure each value it has a name for."""
    shares = []
    for seen in seen_classes(passed, plan):
        counts = Counter(seen.values)
        shares.append(
            ClassShares(
                reader=seen.reader,
                attribute=seen.attribute,
                classes=list(seen.classes),
                counts=[counts[name] for name in seen.classes],
            )
        )
    return shares


def decoding_warnings(passed: Passed, name: str) -> list[str]:
    """How many images decoding had to change, by what it changed."""
    counts = Counter(word for flags in passed.images["decoding"] for word in flags.split())
    return [
        f"{name}: {count} of {passed.n} images {CHANGES[word]}" for word, count in counts.items()
    ]


def metric_record(metric: Metric) -> MetricRecord:
    """What a report must know of a metric."""
    spec = metric.spec
    name, mark, parameters = metric.label.partition("[")
    owner = f" ({metric.registered.distribution})" if "/" in name else ""
    return MetricRecord(
        id=metric.label,
        title=f"{spec.title}{owner}{mark}{parameters}",
        direction=spec.direction,
        unit=spec.unit,
        scale=spec.scale,
        depends_on_n=spec.depends_on_n,
        population=spec.population,
        reads=spec.reads,
    )


def plugin_records() -> list[PluginRecord]:
    """Every plugin as the loader found it."""
    return [
        PluginRecord(
            plugin=p.name, version=p.version, state=p.state, reason=p.reason, offers=p.offers
        )
        for p in host().plugins
    ]
