"""Everything that an audit leaves behind, written into one directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchgen.audits import words
from benchgen.audits.documents import AttributeRecord, AuditDocument, CopyRecord, ShareRecord
from benchgen.audits.text import junit, markdown
from benchgen.files import write_atomically
from benchgen.report.html import environment

_WIDE = 220


@dataclass(frozen=True)
class Bar:
    """Where a share, its interval and its target stand on a line, in pixels from the left."""

    at: float
    low: float
    high: float
    target: float | None


def write_audit(document: AuditDocument, out: Path) -> Path:
    """Write index.html, audit.md, audit.json and junit.xml.

    Returns:
        The path of index.html.

    Raises:
        StoreError: If the place cannot be written.
    """
    write_atomically(out / "audit.md", markdown(document))
    write_atomically(out / "junit.xml", junit(document))
    write_atomically(out / "audit.json", document.model_dump_json(indent=1) + "\n")
    index = out / "index.html"
    write_atomically(index, html(document))
    return index


def html(document: AuditDocument) -> str:
    """The outcome as one self-contained HTML document; names and texts are escaped."""
    return (
        environment()
        .get_template("audit.html.j2")
        .render(
            document=document,
            headline=words.headline(document),
            **checks_table(document),
            attributes=[
                (
                    record,
                    *words.shares_table(record),
                    words.about(record),
                    bars(record),
                    words.kinds_table(record) if record.kinds else None,
                )
                for record in document.attributes
            ],
            copies=_copies(document),
            scope=words.SCOPE,
            wide=_WIDE,
        )
    )


def checks_table(document: AuditDocument) -> dict[str, Any]:
    """Headings and lines of the checks, as the template shows them."""
    lines = [(check, words.cells(check)) for check in words.sorted_checks(document)]
    return {"columns": words.COLUMNS, "lines": lines}


def _copies(document: AuditDocument) -> dict[str, list[CopyRecord]]:
    """By generator and metric."""
    found: dict[str, list[CopyRecord]] = {}
    for pair in document.copies:
        found.setdefault(f"{pair.generator}, {pair.metric}", []).append(pair)
    return found


def bars(record: AttributeRecord) -> list[Bar]:
    """A bar for each share, on a scale that holds them all."""
    found = [(share, *_ends(share)) for share in record.shares]
    most = max((max(high, share.target or 0.0) for share, _, _, high in found), default=1.0)
    scale = _WIDE / max(most, 1e-9)
    return [
        Bar(
            at=scale * at,
            low=scale * low,
            high=scale * high,
            target=None if share.target is None else scale * share.target,
        )
        for share, at, low, high in found
    ]


def _ends(share: ShareRecord) -> tuple[float, float, float]:
    """The share that is judged, and its interval; inside [0, 1]."""
    value, interval = share.read, share.read_interval
    if share.corrected is not None:
        value, interval = share.corrected, share.corrected_interval
    value = value or 0.0
    low, high = interval or (value, value)
    value, low, high = (min(1.0, max(0.0, number)) for number in (value, low, high))
    return value, low, high
