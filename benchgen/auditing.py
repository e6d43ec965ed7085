"""From a run, or from images, to an audit: what `benchgen audit` does."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from benchgen.asked import AttributeChoice, AuditChoice
from benchgen.audits.attributes import Row, judge_attribute, target_of
from benchgen.audits.build import write_audit
from benchgen.audits.copies import copies, repeated
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
from benchgen.images.table import Table, read_table
from benchgen.runs.directory import Result, Run
from benchgen.runs.documents import now
from benchgen.suite import Suite
from benchgen.version import __version__


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
    real = next((r for r in opened.results.values() if r.document.row == "real" and _fine(r)), None)
    found = _Found({result.name: [] for result in made})
    _judge_attributes(found, made, real, asked)
    for result in made:
        if _fine(result):
            _judge_images(found, opened, result, real, asked, plain)
        else:
            blank = CheckRecord(
                generator=result.name, topic="quality", check="sampling", verdict="not run"
            )
            why = str(result.document.error)
            found.questions[result.name].append(settled(blank, "not run", why))
    checks = [check for own in found.questions.values() for check in decide(own, asked.alpha)]
    if not checks:
        raise UsageError(
            "nothing is asked: declare attributes or limits under [audit] in the suite, or give "
            "--attribute, --limit"
        )
    document = AuditDocument(
        benchgen_version=__version__,
        finished=now(),
        suite=suite.name,
        run=str(opened.directory),
        command=command or f"benchgen audit {shlex.quote(str(opened.directory))}",
        digest=_digest(made, real, asked),
        alpha=asked.alpha,
        reference=made[0].document.reference,
        generators=[result.document.source for result in made],
        declared=asked.model_dump(mode="json", exclude_defaults=True),
        checks=checks,
        attributes=found.attributes,
        repeated=found.repeated,
        copies=found.copies,
        messages=found.messages,
    )
    write_audit(document, opened.directory / "audit" if out is None else Path(out))
    return document


@dataclass
class _Found:
    """What an audit has come to so far; ``questions`` by generator."""

    questions: dict[str, list[Question]]
    attributes: list[AttributeRecord] = field(default_factory=list)
    repeated: list[RepeatedRecord] = field(default_factory=list)
    copies: list[CopyRecord] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)


def _fine(result: Result) -> bool:
    return result.document.error is None


def _judge_attributes(
    found: _Found, made: Sequence[Result], real: Result | None, asked: AuditChoice
) -> None:
    """Every attribute of every generator; its kinds and target are the same for all of these."""
    table = None if asked.labels is None else read_table(asked.labels)
    alone = len(made) == 1
    rows = [_row(result, table, alone) for result in made if _fine(result)]
    known = None if real is None else Columns(real.name, real.columns, {})
    for choice in asked.attributes:
        kinds = _kinds(choice, rows, known)
        target = target_of(choice, kinds, known)
        for row, result in zip(rows, filter(_fine, made), strict=True):
            records, more = _attribute(row, choice, kinds, target, known, asked)
            if choice.quality is not None or choice.diversity is not None:
                own = labels_of(row.columns, choice.name, kinds)
                others = None if known is None else labels_of(known, choice.name, kinds)
                by_kind, further = judge_kinds(row, result, real, choice, own, others, asked)
                records = [one.model_copy(update={"kinds": by_kind}) for one in records]
                more += further
            found.attributes += records
            found.questions[row.name] += more


def _judge_images(
    found: _Found,
    run: Run,
    result: Result,
    real: Result | None,
    asked: AuditChoice,
    plain: bool,
) -> None:
    """Limits on numbers, repeated images and copies of one generator."""
    row = _row(result, None, alone=True)
    others: pd.DataFrame | None = None if real is None else real.columns
    questions = found.questions[row.name]
    for name, limit in asked.metrics.items():
        questions += judge_metric(row, result, real, name, limit, asked)
    for column, limit in asked.columns.items():
        questions += judge_column(row, others, column, limit, asked)
    questions += judge_spectrum(row, others, asked)
    groups = repeats(result.columns)
    questions += judge_repeats(row, groups, asked)
    try:
        if groups is not None:
            found.repeated += repeated(result, groups, plain=plain)
        found.copies += copies(run, result, plain=plain)
    except StoreError as error:
        found.messages.append(f"{result.name}: some images cannot be shown: {error}")


def _row(result: Result, table: Table | None, alone: bool) -> Row:
    columns = columns_of(result.name, result.columns, table, alone=alone)
    return Row(columns, result.document.clusters)


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
