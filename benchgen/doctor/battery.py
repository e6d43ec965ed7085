"""Every metric on every set: what it says of a perfect generator, and how defects move that."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchgen.doctor.sets import ImageSet, Rows, Sets
from benchgen.errors import BenchgenError, blamed
from benchgen.hashing import digest
from benchgen.host.loader import Host, Registered
from benchgen.host.specs import MetricSpec
from benchgen.metrics.base import Family, TensorFeatures
from benchgen.runs.chosen import Reader
from benchgen.runs.passes import Observer
from benchgen.runs.scoring import References, estimates
from benchgen.stats.estimates import Estimate
from benchgen.stats.paired import Difference, difference

PROGRESS = "metrics"
Scored = Mapping[str, Estimate] | str
"""Estimates by metric name, or why there are none."""


@dataclass(frozen=True)
class Response:
    """One metric on one set.

    Attributes:
        strength: Of the defect.
        value: Of the metric; None where undefined.
        stderr: Its standard error; None where unknown.
        change: The value less that of the perfect generator; None where either is undefined.
        step: The value less that of the next weaker strength (of the perfect generator at first).
        reason: Why something is undefined.
    """

    strength: float
    value: float | None
    stderr: float | None
    change: Difference | None
    step: Difference | None
    reason: str | None


@dataclass(frozen=True)
class Examined:
    """One metric on all sets; ``responses`` are keyed by the defect's id, weakest first."""

    registered: Registered
    base: Estimate
    responses: Mapping[str, Sequence[Response]]

    @property
    def spec(self) -> MetricSpec:
        assert isinstance(self.registered.spec, MetricSpec)
        return self.registered.spec


@dataclass(frozen=True)
class Battery:
    """All metrics: those that were examined, why others were not, and what they took.

    ``not_run`` and ``seconds`` are keyed by metric id.
    """

    examined: tuple[Examined, ...]
    not_run: Mapping[str, str]
    seconds: Mapping[str, float]


def chosen_metrics(plugins: Host, ids: Sequence[str] | None) -> list[Registered]:
    """The metrics of these ids, or all that are registered.

    Raises:
        UnknownIdError: If there is no such metric.
    """
    if ids is None:
        return list(plugins.all("metric"))
    return list({found.id: found for found in (plugins.find("metric", i) for i in ids)}.values())


def run_battery(
    metrics: Sequence[Registered], sets: Sets, reader: Reader, observer: Observer
) -> Battery:
    """Compute every metric on every set. A metric that cannot be computed is told of, not raised.

    Metrics of one family are computed together.
    """
    groups: dict[str, list[Registered]] = {}
    not_run: dict[str, str] = {}
    for metric in metrics:
        if (reason := _unreadable(_spec(metric), reader)) is not None:
            not_run[metric.id] = reason
        else:
            groups.setdefault(_family_key(_spec(metric)), []).append(metric)
    count = 1 + sum(len(planted.sets) for planted in sets.planted)
    observer.begin(PROGRESS, count * len(groups), 0)
    examined: list[Examined] = []
    seconds: dict[str, float] = {}
    for group in groups.values():
        started = time.perf_counter()
        work = _Work(group[0], sets, observer)
        try:
            results = work.score()
        except BenchgenError as error:
            not_run |= dict.fromkeys((metric.id for metric in group), str(error))
            observer.advance(PROGRESS, count - work.done)
            continue
        for metric in group:
            found = _examined(metric, sets, results)
            if isinstance(found, str):
                not_run[metric.id] = found
            else:
                examined.append(found)
        took = (time.perf_counter() - started) / len(group)
        seconds |= dict.fromkeys((metric.id for metric in group), took)
    observer.end(PROGRESS)
    order = {metric.id: place for place, metric in enumerate(metrics)}
    examined.sort(key=lambda found: order[found.registered.id])
    return Battery(tuple(examined), not_run, seconds)


class _Work:
    """One family on all sets."""

    def __init__(self, metric: Registered, sets: Sets, observer: Observer) -> None:
        self._metric, self._sets, self._observer = metric, sets, observer
        self._rows = _rows_read(_spec(metric))
        self.done = 0

    def score(self) -> dict[tuple[str, float] | None, Scored]:
        """Estimates of every set, by defect and strength; None stands for the base.

        Raises:
            BenchgenError: If the family cannot be loaded, or cannot score a perfect generator.
        """
        spec = _spec(self._metric)
        sides = {"real": self._sets.test, "test": self._sets.test, "train": self._sets.train}
        references = tuple(sides[role].rows(self._rows) for role in spec.compares_with)
        with blamed(f"metric {self._metric.id}"):
            family: Family = spec.load()
            prepared = family.prepare(*references)
        results: dict[tuple[str, float] | None, Scored] = {
            None: self._one(family, prepared, self._sets.base, references)
        }
        for planted in self._sets.planted:
            for strength, images in planted.sets.items():
                key = planted.defect.id, strength
                if isinstance(images, str):
                    results[key] = images
                    self._advance()
                    continue
                try:
                    results[key] = self._one(family, prepared, images, references)
                except BenchgenError as error:
                    results[key] = str(error)
        return results

    def _one(
        self, family: Family, prepared: Any, images: ImageSet, references: References
    ) -> Mapping[str, Estimate]:
        rows: TensorFeatures = images.rows(self._rows)
        self._advance()
        with blamed(f"metric {self._metric.id}"):
            return estimates(family, prepared, rows, references)

    def _advance(self) -> None:
        self.done += 1
        self._observer.advance(PROGRESS, 1)


def _examined(
    metric: Registered, sets: Sets, results: Mapping[tuple[str, float] | None, Scored]
) -> Examined | str:
    """The responses of one metric; where it is undefined for a perfect generator, why."""
    name = _spec(metric).name
    scored = results[None]
    assert not isinstance(scored, str)
    if name not in scored:
        return f"its family gives no score of that name (it gives {', '.join(scored)})"
    base = scored[name]
    if base.value is None:
        return base.reason or "it is undefined for real images"
    responses: dict[str, list[Response]] = {}
    for planted in sets.planted:
        previous = base
        for strength in planted.sets:
            found = results[planted.defect.id, strength]
            if isinstance(found, str):
                response = Response(strength, None, None, None, None, found)
            else:
                response = _response(strength, found[name], base, previous)
                previous = previous if response.value is None else found[name]
            responses.setdefault(planted.defect.id, []).append(response)
    return Examined(metric, base, responses)


def _response(strength: float, own: Estimate, base: Estimate, previous: Estimate) -> Response:
    if own.value is None:
        return Response(strength, None, None, None, None, own.reason or "it is undefined")
    change = difference(own, base, paired=True, shared_reference=True)
    step = difference(own, previous, paired=True, shared_reference=True)
    return Response(strength, own.value, own.stderr, change, step, own.reason)


def _unreadable(spec: MetricSpec, reader: Reader) -> str | None:
    if spec.consumes == "likelihood":
        return "it reads the likelihood that a generator gives images; here is no generator"
    if spec.consumes == "logits" and not reader.classes:
        return f"it reads class logits; {reader.label} has no classifier"
    if spec.consumes == "spatial" and not reader.spatial:
        return (
            f"it reads features that keep their place; {reader.label} averages over the image "
            "(inception-spatial does not)"
        )
    return None


def _family_key(spec: MetricSpec) -> str:
    return digest([spec.factory, _rows_read(spec), list(spec.compares_with)])


def _rows_read(spec: MetricSpec) -> Rows:
    return "logits" if spec.consumes == "logits" else "features"


def _spec(metric: Registered) -> MetricSpec:
    assert isinstance(metric.spec, MetricSpec)
    return metric.spec
