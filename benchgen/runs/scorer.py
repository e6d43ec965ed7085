"""Scores the rows of a run: each family once per extractor, its reference side once a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from benchgen.errors import MetricError, blamed
from benchgen.features.likelihood import COLUMN, LikelihoodMeasure
from benchgen.images.generated import GeneratedSource
from benchgen.metrics.base import FeatureSet, Score, TensorFeatures
from benchgen.metrics.frechet import KnownMoments
from benchgen.runs.chosen import Metric, Reader
from benchgen.runs.clusters import Clusters
from benchgen.runs.passes import Passed
from benchgen.runs.plan import Plan, Row
from benchgen.runs.scoring import References, by_group, estimates
from benchgen.stats.estimates import Estimate, Influence, estimate

Scores = Mapping[tuple[Metric, Reader | None], Estimate]
Weigh = Callable[[Reader], Passed]


@dataclass
class Scorer:
    """Turns what passes left in the store into estimates.

    Args:
        plan: What to score.
        reference: The pass over the reference images; None where the plan has their moments.
        training: The pass over the generators' training images, where the plan has some.
        weigh: Brings the reference images through one more measure.
    """

    plan: Plan
    reference: Passed | None
    training: Passed | None
    weigh: Weigh
    _prepared: dict[tuple[int, str], Any] = field(default_factory=dict)
    _sets: dict[tuple[str, str, str], FeatureSet] = field(default_factory=dict)

    def score(self, row: Row, passed: Passed, clusters: Clusters) -> Scores:
        """Every score of a row; its errors are over clusters of images."""
        computed: dict[tuple[int, str], Mapping[str, Estimate]] = {}
        found: dict[tuple[Metric, Reader | None], Estimate] = {}
        for metric, reader in self.plan.scores:
            if reader is None:
                found[metric, reader] = self._likelihood(metric, row)
                continue
            if (reason := _unreadable(metric, reader)) is not None:
                found[metric, reader] = estimate(Score(None, reason=reason), n=passed.n, m=None)
                continue
            key = (id(metric.family), reader.label)
            if key not in computed:
                with blamed(f"metric {metric.registered.id}"):
                    computed[key] = estimates(
                        metric.family,
                        self._prepare(metric, reader),
                        _rows(passed, metric, reader),
                        self._references(metric, reader),
                        clusters.labels,
                        level=self.plan.suite.level,
                    )
            found[metric, reader] = computed[key][metric.spec.name]
        return found

    def by_class(self, passed: Passed, clusters: Clusters) -> dict[str, Scores]:
        """Every score that compares with real images or with none, within each class.

        Classes are those that both the row's images and the reference's are labelled with; all
        are cut to equally many. Empty where either has no labels.
        """
        if self.reference is None:
            return {}
        ours, theirs = passed.images["label"], self.reference.images["label"]
        if None in ours or None in theirs or not set(ours) <= set(theirs):
            return {}
        found: dict[str, dict[tuple[Metric, Reader | None], Estimate]] = {}
        for metric, reader in self.plan.scores:
            if reader is None or _unreadable(metric, reader):
                continue
            if set(metric.spec.compares_with) - {"real"}:
                continue
            rows = _rows(passed, metric, reader)
            references = self._references(metric, reader)
            parts = by_group(rows, ours, references, theirs if references else None)
            for name, part in parts.items():
                with blamed(f"metric {metric.registered.id}, class {name}"):
                    scored = estimates(
                        metric.family,
                        metric.family.prepare(*part.references),
                        part.rows,
                        part.references,
                        clusters.of(part.indices),
                        level=self.plan.suite.level,
                    )
                found.setdefault(name, {})[metric, reader] = scored[metric.spec.name]
        return dict(found)

    def _prepare(self, metric: Metric, reader: Reader) -> Any:
        """The reference side of a family on an extractor, computed once a run."""
        key = (id(metric.family), reader.label)
        if key not in self._prepared:
            self._prepared[key] = metric.family.prepare(*self._references(metric, reader))
        return self._prepared[key]

    def _references(self, metric: Metric, reader: Reader) -> References:
        """What a metric compares with, in its own order."""
        passes = {"real": self.reference, "test": self.reference, "train": self.training}
        found: list[FeatureSet | KnownMoments] = []
        for role in metric.spec.compares_with:
            if role == "real" and self.plan.moments is not None:
                found.append(self.plan.moments)
                continue
            passed = passes[role]
            assert passed is not None  # the plan has made sure
            key = (role, metric.spec.consumes, reader.label)
            if key not in self._sets:
                self._sets[key] = _rows(passed, metric, reader)
            found.append(self._sets[key])
        return tuple(found)

    def _likelihood(self, metric: Metric, row: Row) -> Estimate:
        """A score of what the row's generator makes of the reference images."""
        source = row.source
        if not isinstance(source, GeneratedSource) or not source.spec.likelihood:
            return _undefined(f"{row.name} offers no likelihood of given images", row)
        reference = self.plan.reference
        assert reference is not None  # the plan has made sure
        measure = LikelihoodMeasure(source, reference.classes)
        reader = Reader("likelihood", source.registered, measure, dict(measure.fingerprint))
        size = reference.size or 0
        try:
            weighed = self.weigh(reader)
        except MetricError as error:
            return _undefined(str(error), row)
        bits = [v for s in weighed.measured["likelihood"].shards(size) for v in s.columns[COLUMN]]
        rows = TensorFeatures(torch.tensor(bits, dtype=torch.float64).reshape(-1, 1))
        with blamed(f"metric {metric.registered.id}"):
            scored = estimates(
                metric.family, metric.family.prepare(), rows, (), level=self.plan.suite.level
            )
        found = scored[metric.spec.name]
        # It is a mean over reference images, which generators share.
        return replace(found, m=found.n, influence=Influence(None, found.influence.fake))


def _undefined(reason: str, row: Row) -> Estimate:
    return estimate(Score(None, reason=reason), n=row.n, m=None)


def _unreadable(metric: Metric, reader: Reader) -> str | None:
    """Why a metric can make nothing of an extractor's rows."""
    if metric.spec.consumes == "logits" and not reader.classes:
        return f"{metric.label} needs class logits; {reader.label} has no classifier"
    if metric.spec.consumes == "spatial" and not reader.spatial:
        return (
            f"{metric.label} needs features that keep their place; {reader.label} averages over "
            "the image. Use a spatial extractor, such as inception-spatial"
        )
    return None


def _rows(passed: Passed, metric: Metric, reader: Reader) -> FeatureSet:
    """What a metric reads: feature rows, or class logits."""
    if metric.spec.consumes == "logits":
        return passed.logits(reader.label)
    return passed.features(reader.label)
