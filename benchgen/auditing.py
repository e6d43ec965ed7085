"""From a run, or from images, to an audit: what `benchgen audit` does."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchgen.audits.attributes import Row, judge_attribute, target_of
from benchgen.audits.build import write_audit
from benchgen.audits.copies import copies
from benchgen.audits.documents import (
    AttributeRecord,
    AuditDocument,
    CheckRecord,
    CopyRecord,
    RepeatedRecord,
)
from benchgen.audits.groups import judge_kinds
from benchgen.audits.labels import Columns, columns_of, kinds_of, labels_of, truth_of
from benchgen.audits.limits import (
    judge_column,
    judge_metric,
    judge_repeats,
    judge_spectrum,
    repeats,
)
from benchgen.audits.questions import Question, decide, settled
from benchgen.errors import MetricError, StoreError, UsageError
from benchgen.hashing import digest
from benchgen.images.table import read_table
from benchgen.runs.directory import Result, Run
from benchgen.runs.records import now
from benchgen.suite import AttributeChoice, AuditChoice, Suite
from benchgen.version import __version__

_SHOWN_GROUPS = 6


def audit(
    run: Run | str | os.PathLike[str],
    declared: AuditChoice | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    plain: bool = False,
    command: str = "",
) -> AuditDocument:
    """Judge a run's generators by the limits that its user declares.

    Args:
        run: A run, or its directory.
        declared: What is asked; default the ``[audit]`` of the run's suite.
        out: Where audit.json, audit.md, junit.xml and index.html go; default ``audit`` in the
            run's directory.
        plain: Whether pictures are shown as they are; else they are blurred.
        command: What a reader can type to make the document anew.

    Returns:
        The outcome; ``exit_code`` sums up.

    Raises:
        UsageError: If the run has no generator, or an attribute, kind or target does not fit.
        ImageError: If a table of labels does not fit; names the file.
        StoreError: If the run cannot be read or the outcome not be written.
    """
    opened = run if isinstance(run, Run) else Run(run)
    suite = Suite.load(opened.directory / "suite.toml")
    asked = suite.audit if declared is None else declared
    made = [r for r in opened.results.values() if r.document.row == "generator"]
    if not made:
        raise UsageError(f"{opened.directory} has no generator to audit")
    table = None if asked.labels is None else read_table(asked.labels)
    fine = [result for result in made if result.document.error is None]
    rows = {
        result.name: Row(
            columns_of(result.name, result.columns, table, alone=len(made) == 1),
            result.document.clusters,
        )
        for result in fine
    }
    real = next(
        (
            r
            for r in opened.results.values()
            if r.document.row == "real" and r.document.error is None
        ),
        None,
    )
    known = None if real is None else Columns(real.name, real.columns, {})
    attributes: list[AttributeRecord] = []
    questions: dict[str, list[Question]] = {result.name: [] for result in made}
    for choice in asked.attributes:
        kinds = _kinds(choice, list(rows.values()), known)
        target = target_of(choice, kinds, known)
        for result in fine:
            row = rows[result.name]
            record, found = _attribute(row, choice, kinds, target, known, asked)
            if choice.quality is not None or choice.diversity is not None:
                own = labels_of(row.columns, choice.name, kinds)
                others = None if known is None else labels_of(known, choice.name, kinds)
                by_kind, more = judge_kinds(row, result, real, choice, own, others, asked)
                record = [one.model_copy(update={"kinds": by_kind}) for one in record]
                found += more
            attributes += record
            questions[row.name] += found
    repeated: list[RepeatedRecord] = []
    copied: list[CopyRecord] = []
    messages: list[str] = []
    for result in fine:
        row = rows[result.name]
        questions[row.name] += _limits(row, result, real, asked)
        groups = repeats(result.columns)
        questions[row.name] += judge_repeats(row, groups, asked)
        repeated += _repeated(row, [] if groups is None else groups.exact)
        try:
            copied += copies(opened, result, plain=plain)
        except StoreError as error:
            messages.append(f"{result.name}: copies cannot be shown: {error}")
    for result in made:
        if result.document.error is not None:
            blank = CheckRecord(
                generator=result.name, topic="quality", check="sampling", verdict="not run"
            )
            questions[result.name].append(settled(blank, "not run", result.document.error))
    checks = [check for own in questions.values() for check in decide(own, asked.alpha)]
    if not checks:
        raise UsageError(
            "nothing is asked: declare attributes or limits under [audit] in the suite, or give "
            "--attribute, --limit"
        )
    reference = made[0].document.reference
    document = AuditDocument(
        benchgen_version=__version__,
        finished=now(),
        suite=suite.name,
        run=str(opened.directory),
        command=command or f"benchgen audit {shlex.quote(str(opened.directory))}",
        digest=_digest(made, real, asked),
        alpha=asked.alpha,
        reference=reference,
        generators=[result.document.source for result in made],
        declared=asked.model_dump(mode="json", exclude_defaults=True),
        checks=checks,
        attributes=attributes,
        repeated=repeated,
        copies=copied,
        messages=messages,
    )
    write_audit(document, opened.directory / "audit" if out is None else Path(out))
    return document


def _kinds(choice: AttributeChoice, rows: Sequence[Row], real: Columns | None) -> tuple[str, ...]:
    if choice.kinds:
        return choice.kinds
    if isinstance(choice.target, dict):
        return tuple(choice.target)
    columns = [row.columns for row in rows]
    if choice.truth is not None:
        told = [truth_of(choice.truth, choice.name, one) for one in columns]
        columns = [one for one in columns if one.has(choice.name)] + told
    if real is not None and real.has(choice.name):
        columns.append(real)  # what the generator never makes is a kind too
    return kinds_of(columns, choice.name)


def _attribute(
    row: Row,
    choice: AttributeChoice,
    kinds: tuple[str, ...],
    target: np.ndarray | None,
    real: Columns | None,
    asked: AuditChoice,
) -> tuple[list[AttributeRecord], list[Question]]:
    """One attribute's record and questions; a labeler that cannot be corrected is "not run"."""
    try:
        record, found = judge_attribute(row, choice, kinds, target, real, asked)
    except MetricError as error:
        blank = CheckRecord(
            generator=row.name,
            topic="attributes",
            check=f"shares of {choice.name}",
            verdict="not run",
        )
        return [], [settled(blank, "not run", str(error))]
    return [record], found


def _limits(row: Row, result: Result, real: Result | None, asked: AuditChoice) -> list[Question]:
    others: pd.DataFrame | None = None if real is None else real.columns
    found = []
    for name, limit in asked.metrics.items():
        found += judge_metric(row, result, real, name, limit, asked)
    for column, limit in asked.columns.items():
        found += judge_column(row, others, column, limit, asked)
    return found + judge_spectrum(row, others, asked)


def _repeated(row: Row, groups: Sequence[Sequence[int]]) -> list[RepeatedRecord]:
    return [
        RepeatedRecord(generator=row.name, indices=list(group)) for group in groups[:_SHOWN_GROUPS]
    ]


def _digest(made: Sequence[Result], real: Result | None, asked: AuditChoice) -> str:
    results = [*made, *([] if real is None else [real])]
    return digest(
        {
            "audit": asked.model_dump(mode="json"),
            "results": [
                r.document.model_dump(
                    mode="json", include={"source", "reference", "n", "estimates"}
                )
                for r in results
            ],
        }
    )
