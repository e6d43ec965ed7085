"""From a suite and its baselines to a verdict: what `benchgen gate` does."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from benchgen.auditing import audit
from benchgen.audits.documents import AuditDocument
from benchgen.errors import BenchgenError, NotComparableError, UsageError
from benchgen.evaluation import Silent, open_suite
from benchgen.files import write_atomically
from benchgen.gate import baseline as baselines
from benchgen.gate.baseline import DEFAULT, Baseline
from benchgen.gate.build import write_gate
from benchgen.gate.documents import GateDocument, WorstPair
from benchgen.gate.snapshot import Key
from benchgen.gate.verdict import Judge, gated
from benchgen.rounds import Rounds, generators_of, planned
from benchgen.runs.documents import MetricRecord, now
from benchgen.runs.engine import default_directory, execute
from benchgen.runs.passes import Observer, Passed
from benchgen.runs.plan import Plan, Row
from benchgen.runs.records import metric_record
from benchgen.stats.sequential import Looks
from benchgen.suite import Suite
from benchgen.version import __version__

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
            ``.benchgen/gate/<suite>``; an audit's run and its pages go there too.
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
    plan, looks = planned(chosen, trust_code)
    for text in plan.messages:
        watching.message(text)
    rows = generators_of(plan, generators)
    names = [row.name for row in rows]
    if not generators:
        names += sorted(_there(Path(folder), chosen.name) - set(names))
    if not names:
        raise UsageError(f"{chosen.name} has no generator to gate; add one, or its plugin")
    read = _read(Path(folder), chosen.name, names)
    found = {name: one for name, one in read.items() if isinstance(one, Baseline)}
    judge = Judge(chosen.gate, gated(chosen.gate, _metrics(plan)), found)
    _refuse(judge, read, plan, looks, {row.name for row in rows})
    said = {record.generator for record in judge.records}
    going = Rounds(plan, judge, watching, [row for row in rows if row.name not in said])
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
    if chosen.gate.audit and rows:
        # What the comparison found is kept, whatever becomes of the audit.
        audited = _audited(chosen, rows, looks.sizes[-1], where, trust_code, watching)
        document = document.model_copy(update={"audit": audited})
        write_gate(document, where)
    return document


def default_out(suite: Suite) -> Path:
    """Where a gate writes, unless told otherwise; kept out of version control."""
    ignore = Path(".benchgen/gate/.gitignore")
    if not ignore.is_file():
        write_atomically(ignore, "*\n")
    return ignore.parent / suite.name


def _audited(
    suite: Suite, rows: Sequence[Row], n: int, out: Path, trust_code: bool, observer: Observer
) -> AuditDocument:
    """What `[audit]` says of these generators, on as many images as the gate may take."""
    chosen = [row.choice for row in rows if row.choice is not None]
    whole = suite.replace(n=n, generators=[choice.model_dump() for choice in chosen])
    made = execute(whole, out / default_directory(whole), observer, trust_code=trust_code)
    return audit(made, out=out / "audit")


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


def _refuse(
    judge: Judge,
    read: Mapping[str, Baseline | BenchgenError],
    plan: Plan,
    looks: Looks,
    there: Collection[str],
) -> None:
    """Say of which generators nothing can be found out, and why."""
    for name, one in read.items():
        if isinstance(one, NotComparableError):
            judge.say(name, "missing", str(one))
        elif isinstance(one, BenchgenError):
            judge.say(name, "incomparable", str(one))
        elif (reason := _unlike(one, plan.suite.name, looks)) is not None:
            judge.say(name, "incomparable", reason)
        elif name not in there:
            judge.say(name, "missing", _gone(plan, one))


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
