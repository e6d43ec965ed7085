"""From a run to baselines: what `benchgen baseline accept` does."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from benchgen.errors import NotComparableError, UsageError
from benchgen.evaluation import Silent, open_suite
from benchgen.gate import baseline as baselines
from benchgen.gate.baseline import DEFAULT, Acceptance, Baseline
from benchgen.metrics.covariances.moments import moments
from benchgen.rounds import LEAST, generators_of, planned, snapshot, unlogged
from benchgen.runs.carrier import Carrier
from benchgen.runs.directory import Run
from benchgen.runs.documents import now
from benchgen.runs.passes import Observer, Passed
from benchgen.runs.plan import Plan, Row
from benchgen.stats.sequential import Looks
from benchgen.suite import Suite
from benchgen.version import __version__


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
    plan, looks = planned(suite, trust_code)
    rows = generators_of(plan, generators)
    if not rows:
        raise UsageError(f"{suite.name} has no generator to accept")
    if made is not None:
        for row in rows:
            _require_same(row, made)
    carrier = Carrier(plan, watching, unlogged)
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


def _acceptance(plan: Plan, row: Row, looks: Looks, carrier: Carrier) -> Acceptance:
    snapshots, records = [], []
    for n in looks.sizes:
        scored = carrier.score(row, n)
        seen, found = snapshot(scored, plan, n)
        snapshots.append(seen)
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
