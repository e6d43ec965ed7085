"""The outcome of a gate for other programs and other pages: Markdown and JUnit XML."""

from __future__ import annotations

from typing import Literal

from benchgen.audits import text as audit_text
from benchgen.gate import words
from benchgen.gate.documents import GateDocument
from benchgen.report.junit import Case, junit_xml
from benchgen.report.text import escaped


def markdown(document: GateDocument) -> str:
    """The verdict first, then a line for every question; names and texts are escaped."""
    parts = [f"## {escaped(words.headline(document))}"]
    checks = words.sorted_checks(document)
    if checks:
        lines = ["| " + " | ".join(words.COLUMNS) + " |", "|" + "---|" * len(words.COLUMNS)]
        for check in checks:
            told = [escaped(cell) for cell in words.cells(check)]
            if check.verdict not in ("unchanged", "improved"):
                told[2] = f"**{told[2]}**"
            lines.append("| " + " | ".join(told) + " |")
        parts.append("\n".join(lines))
    parts.append(escaped(method(document)))
    if document.audit is not None:
        parts += ["### Audit", audit_text.checks_table(document.audit)]
    if document.messages:
        parts.append("\n".join(f"- {escaped(text)}" for text in document.messages))
    return "\n\n".join(parts) + "\n"


def method(document: GateDocument) -> str:
    """How the verdicts came about."""
    looks = ", ".join(f"{n:,}" for n in document.looks)
    made = ", ".join(f"{name} {n:,}" for name, n in document.made.items()) or "none"
    return (
        f"Suite {document.suite}, baselines in {document.baselines}; alpha {document.alpha:g}, "
        f"looks at up to {looks} images (looked at: {made}). Harm is the change for the worse "
        "since the baseline, against the same reference images. Degraded: significantly beyond "
        "the margin, adjusted for all questions and looks. Unchanged: significantly within it."
    )


def junit(document: GateDocument) -> str:
    """A test case for every question, by JUnit's de-facto schema.

    Degraded and implausible are failures; failed, missing and, unless allowed, inconclusive are
    errors; incomparable is skipped.
    """
    own = [
        Case(
            classname=f"benchgen.{document.suite}.{check.generator}",
            name=check.check,
            tag=_outcome(check.verdict, document.allow_inconclusive),
            kind=check.verdict,
            said=words.sentence(check),
        )
        for check in document.checks
    ]
    audited = [] if document.audit is None else audit_text.cases(document.audit)
    return junit_xml(f"benchgen gate {document.suite}", [*own, *audited], document.seconds)


def _outcome(
    verdict: str, allow_inconclusive: bool
) -> Literal["failure", "error", "skipped"] | None:
    if verdict in ("degraded", "implausible"):
        return "failure"
    if verdict in ("failed", "missing"):
        return "error"
    if verdict == "inconclusive" and not allow_inconclusive:
        return "error"
    return "skipped" if verdict in ("incomparable", "inconclusive") else None
