"""An audit for other programs and other pages: Markdown and JUnit XML."""

from __future__ import annotations

from benchgen.audits import words
from benchgen.audits.documents import AuditDocument
from benchgen.report.junit import Case, junit_xml
from benchgen.report.text import escaped


def markdown(document: AuditDocument) -> str:
    """The verdict first, then a line for every check, then the shares; texts are escaped."""
    parts = [f"## {escaped(words.headline(document))}", checks_table(document)]
    for record in document.attributes:
        heads, shares = words.shares_table(record)
        parts.append(f"### {escaped(record.generator)}: {escaped(record.attribute)}")
        parts.append(_table(heads, [[escaped(cell) for cell in line] for line in shares]))
        parts.append(escaped(words.about(record)))
        if record.kinds:
            heads, kinds = words.kinds_table(record)
            parts.append(_table(heads, [[escaped(cell) for cell in line] for line in kinds]))
    for pair in document.copies:
        parts.append(
            f"- {escaped(pair.generator)}: image {pair.index} looks like training image "
            f"{pair.training_index} (distance {pair.distance:.3g})"
        )
    for group in document.repeated:
        shown = ", ".join(map(str, group.indices[:20])) + (
            ", ..." if len(group.indices) > 20 else ""
        )
        what = "equal images" if group.exact else "nearly equal perceptual hashes"
        parts.append(f"- {escaped(group.generator)}: {what}: {shown}")
    parts.append(escaped(words.SCOPE))
    parts.append(f"Made by `{document.command.replace('`', '')}`, digest {document.digest[:16]}.")
    return "\n\n".join(parts) + "\n"


def checks_table(document: AuditDocument) -> str:
    """A line for every check, what is not passed in bold."""
    lines = []
    for check in words.sorted_checks(document):
        told = [escaped(cell) for cell in words.cells(check)]
        if check.verdict not in ("pass", "shown"):
            told[2] = f"**{told[2]}**"
        lines.append(told)
    return _table(words.COLUMNS, lines)


def junit(document: AuditDocument) -> str:
    """A test case for every check that is judged; see ``cases``."""
    return junit_xml(f"benchgen audit {document.suite}", cases(document))


def cases(document: AuditDocument) -> list[Case]:
    """The test cases of an audit.

    Failed checks are failures; those not run are errors, and so are insufficient and inconclusive
    ones: a limit that may be broken is not kept.
    """
    return [
        Case(
            classname=f"benchgen.audit.{check.generator}",
            name=check.check,
            tag={"fail": "failure", "pass": None}.get(check.verdict, "error"),
            kind=check.verdict,
            said=words.sentence(check),
        )
        for check in document.checks
        if check.verdict != "shown"
    ]


def _table(heads: tuple[str, ...], lines: list[list[str]]) -> str:
    rows = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return "\n".join([*rows, *("| " + " | ".join(line) + " |" for line in lines)])
