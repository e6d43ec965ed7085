"""Brings a plan's images through its readers into the store, and scores rows on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchgen.features.memory import release_freed_memory
from benchgen.features.store import Store
from benchgen.images.generated import GeneratedSource
from benchgen.images.source import Source
from benchgen.runs.chosen import Reader
from benchgen.runs.clusters import Clusters, find_clusters
from benchgen.runs.passes import Observer, Passed, probed, run_pass
from benchgen.runs.plan import Plan, Row
from benchgen.runs.readers import Limits
from benchgen.runs.scorer import Scorer, Scores


@dataclass(frozen=True)
class ScoredRow:
    """The first images of a row, whose record tells what its generator is; and their scores."""

    row: Row
    passed: Passed
    clusters: Clusters
    scores: Scores
    by_class: dict[str, Scores]
    metric_seconds: float


class Carrier:
    """One plan under way. Reference and training images pass first, in ``open``."""

    def __init__(self, plan: Plan, observer: Observer, log: Callable[..., None]) -> None:
        self.plan = plan
        self.reference: Passed | None = None
        self._observer = observer
        self._log = log
        self._store = Store()
        self._limits = Limits(observer.message)
        self._scorer: Scorer | None = None

    def open(self) -> None:
        """Bring the reference and the training images through the readers.

        Raises:
            ImageError, StoreError: As ``run_pass``.
        """
        training = None
        if self.plan.reference is not None:
            self.reference = self._pass(self.plan.reference, "reference")
        if self.plan.training is not None:
            training = self._pass(self.plan.training[0], "training")
        self._scorer = Scorer(self.plan, self.reference, training, self._weigh)

    def score(self, row: Row, n: int) -> ScoredRow:
        """The first ``n`` images of a row, scored; those that are stored are not made again.

        Raises:
            GeneratorError, ImageError, StoreError: As ``run_pass``.
            MetricError, PluginError: If a metric fails.
        """
        assert self._scorer is not None, "open comes first"
        if isinstance(row.source, GeneratedSource):
            found = probed(row.source, self._store)
            row = replace(row, record=row.record.model_copy(update=found))
        suite = self.plan.suite
        passed = self._pass(row.source, row.name, n)
        begun = time.perf_counter()
        asked = suite.clusters if row.kind == "generator" else "none"
        clusters = find_clusters(passed.images, asked)
        scores = self._scorer.score(row, passed, clusters)
        classes = self._scorer.by_class(passed, clusters) if suite.per_class else {}
        seconds = time.perf_counter() - begun
        release_freed_memory()
        return ScoredRow(row, passed, clusters, scores, classes, seconds)

    def _pass(self, source: Source, name: str, n: int | None = None) -> Passed:
        count = (source.size or 0) if n is None else n
        return self._through(source, name, count, self.plan.extractors, self.plan.measures)

    def _weigh(self, measure: Reader) -> Passed:
        """The reference images through one more measure."""
        reference = self.plan.reference
        assert reference is not None  # the plan has made sure
        return self._through(reference, "reference", reference.size or 0, (), (measure,))

    def _through(
        self,
        source: Source,
        name: str,
        n: int,
        extractors: Sequence[Reader],
        measures: Sequence[Reader],
    ) -> Passed:
        suite = self.plan.suite
        passed = run_pass(
            source,
            n,
            name=name,
            store=self._store,
            extractors=extractors,
            measures=measures,
            batch_size=suite.execution.batch_size,
            skip_bad=suite.skip_bad,
            limits=self._limits,
            observer=self._observer,
            log=self._log,
        )
        release_freed_memory()  # so that metrics do not come on top of activations
        return passed
