"""The numbers of a report for other programs and other pages: Markdown, CSV and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from benchgen.report import numbers
from benchgen.report.findings import finding
from benchgen.report.standings import Cell, Column, Row, Standings
from benchgen.runs.comparison import Comparison

_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~$])")
_BLOCK_START = re.compile(r"^(\d*)([#+\-=.)])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def markdown(comparison: Comparison | Standings) -> str:
    """The ranking as GitHub-flavoured Markdown; names and texts are escaped."""
    standings = Standings.of(comparison)
    notes: dict[str, int] = {}
    parts = [f"# {escaped(standings.title)}", escaped(finding(standings))]
    for population, extractor, columns in standings.groups:
        features = "" if extractor is None else f", {escaped(extractor)} features"
        covered = "the population's value" if population else "the score expected at this N"
        counts = escaped(columns[0].counts)
        parts.append(f"Intervals cover {covered}{features}, {counts}.")
        parts.append(_table(standings, columns, notes))
    parts.append(
        "Value ± standard error. **Bold**: best generator; ≈: statistically tied with it. "
        "*real* is the ceiling, *noise* the floor; neither takes a rank."
    )
    parts += [f"{numbers.superscript(place)} {escaped(text)}" for text, place in notes.items()]
    for name, reason in standings.failures.items():
        parts.append(f"**Failed**: {escaped(name)}: {escaped(reason)}")
    warnings = [f"{row}: {text}" if row else text for row, text in standings.warnings]
    if warnings:
        parts.append("\n".join(["Warnings:", "", *(f"- {escaped(text)}" for text in warnings)]))
    parts += [_code(document.command) for document in standings.runs]
    return "\n\n".join(parts) + "\n"


def csv(comparison: Comparison | Standings) -> str:
    """`Comparison.table` as CSV: raw values, what is undefined is empty.

    A text that a spreadsheet would take for a formula gets a leading apostrophe.
    """
    table = Standings.of(comparison).comparison.table()
    return str(table.map(harmless).to_csv(index=False, lineterminator="\n"))


def json_document(comparison: Comparison | Standings) -> str:
    """Rows, and every board's lines with intervals and ranks; undefined is null, never NaN."""
    standings = Standings.of(comparison)
    document = {
        "schema_version": 1,
        "title": standings.title,
        "finding": finding(standings),
        "rows": [
            {
                "name": row.name,
                "kind": row.kind,
                "n": row.n,
                "source": row.result.document.source.id,
                "fingerprint": row.result.document.source.fingerprint,
                "error": row.error,
                "groups": {
                    name: [record.model_dump(mode="json") for record in records]
                    for name, records in row.result.document.groups.items()
                },
            }
            for row in standings.rows
        ],
        "boards": [board_lines(column) for column in standings.columns],
        "failures": standings.failures,
        "warnings": [{"row": row or None, "text": text} for row, text in standings.warnings],
        "commands": [document.command for document in standings.runs],
    }
    return json.dumps(document, allow_nan=False, ensure_ascii=False, indent=2) + "\n"


def _table(standings: Standings, columns: Sequence[Column], notes: dict[str, int]) -> str:
    headings = ["", *(escaped(column.heading) for column in columns)]
    lines = [headings, ["---"] * len(headings)]
    for row in (*standings.generators, *standings.bounds):
        name = f"*{escaped(row.name)}*" if row.role else escaped(row.name)
        lines.append([name, *(_cell(column.cell(row), row, notes) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell | None, row: Row, notes: dict[str, int]) -> str:
    if cell is None:
        return numbers.UNDEFINED
    text = cell.text
    if cell.best:
        text = f"**{text}**"
    elif cell.tied:
        text = f"{text} ≈"
    if cell.footnote is not None:
        place = notes.setdefault(cell.footnote, len(notes) + 1)
        text += f" {numbers.superscript(place)}"
    return text


def escaped(text: str) -> str:
    """A text that Markdown and the HTML inside it show as it is, on one line."""
    marked = _MARKDOWN.sub(r"\\\1", _one_line(text))
    marked = _BLOCK_START.sub(r"\1\\\2", marked)
    return "".join(_HTML.get(character, character) for character in marked)


def _code(text: str) -> str:
    """A fenced block that the text cannot close."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{_one_line(text)}\n{fence}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def harmless(value: Any) -> Any:
    """A cell of a table, with an apostrophe before a text that would be taken for a formula."""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def board_lines(column: Column) -> dict[str, Any]:
    """A metric, and the score of every row on it, as JSON holds them."""
    metric = column.metric
    return {
        "metric": metric.id,
        "title": metric.title,
        "extractor": column.extractor,
        "direction": metric.direction,
        "unit": metric.unit,
        "scale": metric.scale,
        "population": metric.population,
        "depends_on_n": metric.depends_on_n,
        "lines": [_line(cell) for cell in column.cells],
    }


def _line(cell: Cell) -> dict[str, Any]:
    record, rank = cell.record, cell.line.rank
    return {
        "row": cell.row.name,
        "kind": cell.row.kind,
        "value": record.value,
        "stderr": record.stderr,
        "interval": record.interval,
        "level": record.level,
        "n": record.n,
        "m": record.m,
        "method": record.method,
        "place": None if cell.line.place is None else cell.line.place.rank,
        "rank": None if rank is None else rank.rank,
        "rank_interval": None if rank is None else [rank.lowest, rank.highest],
        "best": cell.best,
        "tied_with_best": cell.tied,
        "unranked": cell.line.unranked,
        "reason": record.reason,
        "details": record.details,
        "notes": record.notes,
        "fingerprint": record.fingerprint,
    }
