"""JUnit XML, by its de-facto schema: what CI services read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as Xml

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        classname, name: What it is called.
        tag: What became of it; None: it passed.
        kind: The ``type`` of a failure or error.
        said: The message, of one that did not pass.
    """

    classname: str
    name: str
    tag: Literal["failure", "error", "skipped"] | None = None
    kind: str = ""
    said: str = ""


def junit_xml(name: str, cases: Sequence[Case], seconds: float = 0.0) -> str:
    """A document with one test suite."""
    suite = Xml.Element("testsuite", name=_clean(name))
    for case in cases:
        element = Xml.SubElement(
            suite, "testcase", classname=_clean(case.classname), name=_clean(case.name), time="0"
        )
        if case.tag is None:
            continue
        said = _clean(case.said)
        told = Xml.SubElement(element, case.tag, message=said)
        told.text = said
        if case.tag != "skipped":
            told.attrib["type"] = case.kind
    tally = Counter(case.tag for case in cases)
    suite.attrib |= {
        "tests": str(len(cases)),
        "time": f"{seconds:.3f}",
        "failures": str(tally["failure"]),
        "errors": str(tally["error"]),
        "skipped": str(tally["skipped"]),
    }
    root = Xml.Element("testsuites", suite.attrib)
    root.append(suite)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    """XML has no place for control characters."""
    return _UNPRINTABLE.sub("\ufffd", text)
