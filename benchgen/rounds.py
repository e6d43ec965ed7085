"""A suite's generators, look by look: what a gate and the acceptance of a baseline share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchgen.errors import BenchgenError, StoreError, SuiteError, UsageError
from benchgen.gate.snapshot import Classes, Key, Snapshot
from benchgen.gate.verdict import Judge
from benchgen.runs.carrier import Carrier, ScoredRow
from benchgen.runs.directory import estimate_of
from benchgen.runs.documents import EstimateRecord
from benchgen.runs.passes import Observer, Passed
from benchgen.runs.plan import Plan, Row, make_plan
from benchgen.runs.records import score_records, seen_classes
from benchgen.stats.sequential import Looks
from benchgen.suite import Suite

LEAST = 100
"""Fewer images than these settle nothing."""
_USUAL = 2_000


def planned(suite: Suite, trust_code: bool) -> tuple[Plan, Looks]:
    """The suite for a gate: its generators alone, as many images as the budget has."""
    budget = suite.gate.n or suite.n or _USUAL
    plan = make_plan(suite.replace(n=budget, noise=False, per_class=False), trust_code=trust_code)
    _require_gated(suite, plan)
    return plan, Looks.halving(budget, suite.gate.looks, LEAST)


def _require_gated(suite: Suite, plan: Plan) -> None:
    """Margins and bounds are of metrics that the suite has."""
    known = [metric.label for metric in plan.metrics]
    for field in ("margins", "bounds"):
        for name in getattr(suite.gate, field):
            if name not in known:
                raise SuiteError(
                    f"gate.{field}.{name}: the suite has no such metric; it has: {', '.join(known)}"
                )


def generators_of(plan: Plan, names: Sequence[str]) -> list[Row]:
    """The generators of these names; all where there are none."""
    rows = [row for row in plan.rows if row.kind == "generator"]
    known = [row.name for row in rows]
    if missing := [name for name in names if name not in known]:
        raise UsageError(
            f"{plan.suite.name} has no generator {', '.join(missing)}; it has: "
            f"{', '.join(known) or 'none'}"
        )
    return [row for row in rows if not names or row.name in names]


class Rounds:
    """Samples look by look, and leaves a generator alone once all about it is settled."""

    def __init__(self, plan: Plan, judge: Judge, observer: Observer, rows: list[Row]) -> None:
        self.plan, self.judge, self.rows = plan, judge, rows
        self.observer = observer
        self.made: dict[str, int] = {}
        self.passed: dict[str, Passed] = {}

    def carry_out(self, looks: Looks) -> None:
        if not self.rows:
            return
        carrier = Carrier(self.plan, self.observer, unlogged)
        carrier.open()
        going = list(self.rows)
        for place, n in enumerate(looks.sizes):
            for row in list(going):
                try:
                    scored = carrier.score(row, n)
                except StoreError:
                    raise
                except BenchgenError as error:
                    self.judge.say(row.name, "failed", str(error))
                    going.remove(row)
                    continue
                self.made[row.name] = n
                self.passed[row.name] = scored.passed
                self.judge.look(row.name, place, snapshot(scored, self.plan, n)[0])
            going = [row for row in going if self.judge.open(row.name)]
        for row in going:
            self.judge.close(row.name)


def unlogged(event: str, **fields: object) -> None:
    """Where no run directory is, nothing is logged."""


def snapshot(scored: ScoredRow, plan: Plan, n: int) -> tuple[Snapshot, list[EstimateRecord]]:
    records, prints = score_records(scored.scores, plan)
    keys: list[Key] = [(record.metric, record.extractor) for record in records]
    return Snapshot(
        source=scored.row.record,
        n=n,
        excluded=len(scored.passed.excluded),
        estimates={
            key: estimate_of(record, found.influence, found.clusters)
            for key, record, found in zip(keys, records, scored.scores.values(), strict=True)
        },
        fingerprints={
            key: prints[record.fingerprint] for key, record in zip(keys, records, strict=True)
        },
        seen=_seen(scored.passed, plan),
        clusters=scored.clusters.column,
    ), records


def _seen(passed: Passed, plan: Plan) -> dict[str, Classes]:
    """By reader, and attribute where it is a measure's, what it sees in each image."""
    readers = {reader.label: reader.fields for reader in (*plan.measures, *plan.extractors)}
    return {
        seen.reader if seen.attribute == "class" else f"{seen.attribute}@{seen.reader}": Classes(
            names=seen.classes,
            reader=readers[seen.reader],
            values=np.array([value or "" for value in seen.values]),
        )
        for seen in seen_classes(passed, plan)
    }
