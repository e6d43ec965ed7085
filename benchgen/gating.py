"""From a suite and its baselines to a verdict: what `benchgen gate` and `baseline accept` do."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchgen.errors import BenchgenError, NotComparableError, StoreError, SuiteError, UsageError
from benchgen.evaluation import Silent, open_suite
from benchgen.files import write_atomically
from benchgen.gate import baseline as baselines
from benchgen.gate.baseline import DEFAULT, Acceptance, Baseline
from benchgen.gate.build import write_gate
from benchgen.gate.documents import GateDocument, WorstPair
from benchgen.gate.snapshot import Classes, Key, Snapshot
from benchgen.gate.verdict import Judge, gated
from benchgen.metrics.covariances.moments import moments
from benchgen.runs.carrier import Carrier, ScoredRow
from benchgen.runs.directory import Run, estimate_of
from benchgen.runs.documents import EstimateRecord, MetricRecord
from benchgen.runs.passes import Observer, Passed
from benchgen.runs.plan import Plan, Row, make_plan
from benchgen.runs.records import metric_record, now, score_records, seen_classes
from benchgen.stats.sequential import Looks
from benchgen.suite import Suite
from benchgen.version import __version__

LEAST = 100
"""Fewer images than these settle nothing."""
_USUAL = 2_000
_PAIRS = 8


def run_gate(
    suite: Suite | str | os.PathLike[str],
    *,
    generators: Sequence[str] = (),
    folder: str | os.PathLike[str] = DEFAULT,
    out: str | os.PathLike[str] | None = None,
    allow_inconclusive: bool = False,
    trust_code: bool = False,
    observer: Observer | None = None,
) -> GateDocument:
    """Compare a suite's generators with their baselines, on no more images than it takes.

    Args:
        suite: A suite, the path of a suite file, or the name of a bundled suite.
        generators: Names of those to gate; none: all of the suite, and none may be gone.
        folder: Where the baselines lie: ``<folder>/<suite>/<generator>.json``.
        out: Where gate.json, gate.md, junit.xml and index.html go; default
            ``.benchgen/gate/<suite>``.
        allow_inconclusive: Whether an undecided gate passes.
        trust_code: As for ``run``.
        observer: Hears of progress.

    Returns:
        The outcome: a verdict for every generator and metric; ``exit_code`` sums up.

    Raises:
        SuiteError, UnknownIdError, PluginError, ImageError, WeightsError: If the suite cannot be
            carried out at all.
        UsageError: If there is no generator, or none of such a name.
        StoreError: If the outcome cannot be written.
    """
    begun = time.perf_counter()
    chosen = open_suite(suite)
    watching = observer or Silent()
    plan, looks = _planned(chosen, trust_code)
    for text in plan.messages:
        watching.message(text)
    rows = _generators(plan, generators)
    names = [row.name for row in rows]
    if not generators:
        names += sorted(_there(Path(folder), chosen.name) - set(names))
    if not names:
        raise UsageError(f"{chosen.name} has no generator to gate; add one, or its plugin")
    read = _read(Path(folder), chosen.name, names)
    found = {name: one for name, one in read.items() if isinstance(one, Baseline)}
    judge = Judge(chosen.gate, gated(chosen.gate, _metrics(plan)), found)
    for name, one in read.items():
        if isinstance(one, NotComparableError):
            judge.say(name, "missing", str(one))
        elif isinstance(one, BenchgenError):
            judge.say(name, "incomparable", str(one))
        elif (reason := _unlike(one, chosen.name, looks)) is not None:
            judge.say(name, "incomparable", reason)
        elif name not in [row.name for row in rows]:
            judge.say(name, "missing", _gone(plan, one))
    said = {record.generator for record in judge.records}
    going = _Rounds(plan, judge, watching, [row for row in rows if row.name not in said])
    going.carry_out(looks)
    for name in set(going.made) - {record.generator for record in judge.records}:
        judge.say(name, "incomparable", "nothing was asked of it: no gated metric has a value")
    document = GateDocument(
        benchgen_version=__version__,
        finished=now(),
        suite=chosen.name,
        baselines=str(folder),
        alpha=chosen.gate.alpha,
        looks=list(looks.sizes),
        made=going.made,
        seconds=round(time.perf_counter() - begun, 3),
        checks=judge.records,
        pairs=_worst_pairs(judge, found, going.passed),
        messages=list(plan.messages),
        allow_inconclusive=allow_inconclusive,
    )
    where = default_out(chosen) if out is None else Path(out)
    write_atomically(where / "suite.toml", chosen.toml())
    write_gate(document, where)
    return document


def default_out(suite: Suite) -> Path:
    """Where a gate writes, unless told otherwise; kept out of version control."""
    ignore = Path(".benchgen/gate/.gitignore")
    if not ignore.is_file():
        write_atomically(ignore, "*\n")
    return ignore.parent / suite.name


def accept_baseline(
    run: str | os.PathLike[str] | Suite,
    *,
    reason: str,
    author: str,
    generators: Sequence[str] = (),
    folder: str | os.PathLike[str] = DEFAULT,
    trust_code: bool = False,
    observer: Observer | None = None,
) -> list[Baseline]:
    """Make a run's generators the baselines that gates compare with from now on.

    They are scored at every look of the suite's gate, from the feature store where it has them.

    Args:
        run: A run directory; a suite, or its file or name, is sampled and accepted as it is now.
        reason: Why this is what the generators should be; kept with the baseline.
        author: Who says so.
        generators: Names of those to accept; none: all.
        folder: As for ``run_gate``.
        trust_code: As for ``run``.
        observer: Hears of progress.

    Raises:
        UsageError: If there is no reason, or no such generator.
        NotComparableError: If the run's generator is another than the one installed now.
        GeneratorError, ImageError, StoreError: As for ``run``; nothing is replaced then.
    """
    if not reason.strip() or not author.strip():
        raise UsageError("a baseline needs a reason and an author; say --reason and --author")
    suite, made = _suite_of(run)
    watching = observer or Silent()
    plan, looks = _planned(suite, trust_code)
    rows = _generators(plan, generators)
    if not rows:
        raise UsageError(f"{suite.name} has no generator to accept")
    if made is not None:
        for row in rows:
            _require_same(row, made)
    carrier = Carrier(plan, watching, _unlogged)
    carrier.open()
    ready = [(row, _acceptance(plan, row, looks, carrier)) for row in rows]
    return [
        baselines.write(
            baselines.place(Path(folder), suite.name, row.name),
            accepted,
            author=author,
            reason=reason,
            at=now(),
            version=__version__,
        )
        for row, accepted in ready
    ]


class _Rounds:
    """Samples look by look, and leaves a generator alone once all about it is settled."""

    def __init__(self, plan: Plan, judge: Judge, observer: Observer, rows: list[Row]) -> None:
        self.plan, self.judge, self.rows = plan, judge, rows
        self.observer = observer
        self.made: dict[str, int] = {}
        self.passed: dict[str, Passed] = {}

    def carry_out(self, looks: Looks) -> None:
        if not self.rows:
            return
        carrier = Carrier(self.plan, self.observer, _unlogged)
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
                self.judge.look(row.name, place, _snapshot(scored, self.plan, n)[0])
            going = [row for row in going if self.judge.open(row.name)]
        for row in going:
            self.judge.close(row.name)


def _unlogged(event: str, **fields: object) -> None:
    """Where no run directory is, nothing is logged."""


def _planned(suite: Suite, trust_code: bool) -> tuple[Plan, Looks]:
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


def _generators(plan: Plan, names: Sequence[str]) -> list[Row]:
    """The generators of these names; all where there are none."""
    rows = [row for row in plan.rows if row.kind == "generator"]
    known = [row.name for row in rows]
    if missing := [name for name in names if name not in known]:
        raise UsageError(
            f"{plan.suite.name} has no generator {', '.join(missing)}; it has: "
            f"{', '.join(known) or 'none'}"
        )
    return [row for row in rows if not names or row.name in names]


def _metrics(plan: Plan) -> list[tuple[Key, MetricRecord]]:
    return [
        ((metric.label, None if reader is None else reader.label), metric_record(metric))
        for metric, reader in plan.scores
    ]


def _there(folder: Path, suite: str) -> set[str]:
    return {path.stem for path in (folder / suite).glob("*.json")}


def _read(folder: Path, suite: str, names: Iterable[str]) -> dict[str, Baseline | BenchgenError]:
    """The baseline of every generator, or why there is none."""
    found: dict[str, Baseline | BenchgenError] = {}
    for name in names:
        try:
            found[name] = baselines.read(baselines.place(folder, suite, name))
        except BenchgenError as error:
            found[name] = error
    return found


def _unlike(one: Baseline, suite: str, looks: Looks) -> str | None:
    """Why a baseline is not of this suite."""
    again = "Accept anew: benchgen baseline accept RUN --reason …"
    if one.document.suite != suite:
        return f"{one.path} is of the suite {one.document.suite!r}, not {suite!r}. {again}"
    if one.sizes != looks.sizes:
        return (
            f"{one.path} was accepted with looks at {', '.join(map(str, one.sizes))} images; the "
            f"suite's gate has {', '.join(map(str, looks.sizes))}. {again}"
        )
    return None


def _gone(plan: Plan, one: Baseline) -> str:
    why = [text for text in plan.messages if one.document.source.id in text]
    return "it has a baseline, but the suite does not have it" + (f": {why[0]}" if why else "")


def _snapshot(scored: ScoredRow, plan: Plan, n: int) -> tuple[Snapshot, list[EstimateRecord]]:
    records, prints = score_records(scored.scores, plan)
    keys: list[Key] = [(record.metric, record.extractor) for record in records]
    source = scored.row.record.model_copy(update={"index_pure": scored.pure})
    return Snapshot(
        source=source,
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


def _acceptance(plan: Plan, row: Row, looks: Looks, carrier: Carrier) -> Acceptance:
    snapshots, records = [], []
    for n in looks.sizes:
        scored = carrier.score(row, n)
        snapshot, found = _snapshot(scored, plan, n)
        snapshots.append(snapshot)
        records.append(found)
    passed = scored.passed
    first = passed.pictures(passed.images["index"][:LEAST])
    return Acceptance(
        suite=plan.suite.name,
        reference=plan.reference_record,
        snapshots=snapshots,
        records=records,
        clusters=scored.clusters.labels,
        moments={reader.label: _moments(passed, reader.label) for reader in plan.extractors},
        pictures=[base64.b64decode(picture) for _, picture in sorted(first.items())],
    )


def _moments(passed: Passed, label: str) -> str:
    found = moments(passed.features(label))
    both = (found.mean, found.covariance)
    return hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in both)).hexdigest()


def _suite_of(run: str | os.PathLike[str] | Suite) -> tuple[Suite, Run | None]:
    """A run's suite with the run, or a suite alone."""
    if isinstance(run, Suite) or not Path(run).is_dir():
        return open_suite(run), None
    if (Path(run) / "gate.json").is_file():
        return Suite.load(Path(run) / "suite.toml"), None
    return Suite.load(Path(run) / "suite.toml"), Run(run)


def _require_same(row: Row, made: Run) -> None:
    """The generator that is sampled now is the one that the run has judged."""
    result = made[row.name]
    if result.document.error is not None:
        raise UsageError(f"{row.name} failed in {made.directory}: {result.document.error}")
    if result.document.source.fingerprint != row.record.fingerprint:
        raise NotComparableError(
            f"{row.name} in {made.directory} is another than the one that is installed now (its "
            "fingerprint differs); run the suite again, and accept that run"
        )


def _worst_pairs(
    judge: Judge, baselines: dict[str, Baseline], passed: dict[str, Passed]
) -> list[WorstPair]:
    """Of each generator that degraded, the images that lost most, of those kept as pictures."""
    found = []
    for name in passed:
        bad = [
            record
            for record in judge.records
            if record.generator == name
            and record.verdict in ("degraded", "implausible")
            and (name, record.check) in judge.changes
        ]
        if not bad:
            continue
        check = bad[0].check
        kept = baselines[name].pictures
        change = judge.changes[name, check][: len(kept)]
        order = change.argsort(descending=True, stable=True).tolist()[:_PAIRS]
        after = passed[name].pictures(order)
        found += [
            WorstPair(
                generator=name,
                index=index,
                influence=float(change[index]),
                check=check,
                before=base64.b64encode(kept[index]).decode(),
                after=after[index],
            )
            for index in order
            if change[index] > 0
        ]
    return found
