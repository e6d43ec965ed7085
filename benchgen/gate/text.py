"""The outcome of a gate for other programs and other pages: Markdown and JUnit XML."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from benchgen.gate import words
from benchgen.gate.documents import GateDocument
from benchgen.report.text import escaped

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


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
    suite = Xml.Element("testsuite", name=f"benchgen gate {_clean(document.suite)}")
    tally = {"failures": 0, "errors": 0, "skipped": 0}
    for check in document.checks:
        case = Xml.SubElement(
            suite,
            "testcase",
            classname=_clean(f"benchgen.{document.suite}.{check.generator}"),
            name=_clean(check.check),
            time="0",
        )
        said = _clean(words.sentence(check))
        tag, plural = _outcome(check.verdict, document.allow_inconclusive)
        if tag:
            tally[plural] += 1
            told = Xml.SubElement(case, tag, message=said, type=check.verdict)
            told.text = said
            if tag == "skipped":
                del told.attrib["type"]
    suite.attrib |= {"tests": str(len(document.checks)), "time": f"{document.seconds:.3f}"}
    suite.attrib |= {name: str(number) for name, number in tally.items()}
    root = Xml.Element("testsuites", suite.attrib)
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _outcome(verdict: str, allow_inconclusive: bool) -> tuple[str, str]:
    if verdict in ("degraded", "implausible"):
        return "failure", "failures"
    if verdict in ("failed", "missing"):
        return "error", "errors"
    if verdict == "inconclusive" and not allow_inconclusive:
        return "error", "errors"
    if verdict in ("incomparable", "inconclusive"):
        return "skipped", "skipped"
    return "", ""


def _clean(text: str) -> str:
    """XML has no place for control characters."""
    return _UNPRINTABLE.sub("\ufffd", text)
