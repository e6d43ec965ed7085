"""The HTML report: one file with everything in it, no network and no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchgen.report import findings, numbers, pictures, plots
from benchgen.report.standings import Cell, Column, Row, Standings
from benchgen.runs.comparison import Comparison
from benchgen.runs.documents import ClassShares, EstimateRecord, Execution
from benchgen.runs.fingerprint import flatten

_AT_THIS_N = (
    "These scores estimate what is expected at this number of images, and the intervals cover "
    "that expectation. With more images the score itself moves, not only its interval."
)
_POPULATION = (
    "These scores are corrected for the number of images: they estimate what unlimited images "
    "would give, and the intervals cover that value."
)


def html(comparison: Comparison | Standings) -> str:
    """The whole report as one self-contained HTML document.

    Names and texts from result documents are escaped; images and plots are inside the file.
    """
    standings = Standings.of(comparison)
    return environment().get_template("report.html.j2").render(_context(standings))


@cache
def environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("benchgen.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": numbers.count,
        "duration": numbers.duration,
        "size": numbers.size,
        "tight": _tight,
    }
    return environment


def _tight(text: str) -> str:
    """No line break inside ``12.8 ± 0.3`` and ``N = 1,000``."""
    for sign in ("±", "="):
        text = text.replace(f" {sign} ", f"\u00a0{sign}\u00a0")
    return text


def _context(standings: Standings) -> dict[str, Any]:
    pairs = plots.fidelity_pairs(standings)
    return {
        "standings": standings,
        "runs": standings.runs,
        "references": _references(standings),
        "finding": findings.finding(standings),
        "tables": _tables(standings),
        "interval_plots": [
            (column, _interval_plot(column, place))
            for place, column in enumerate(standings.columns)
            if any(cell.record.value is not None for cell in column.cells)
        ],
        "fidelity_plots": [_fidelity_plot(x, y) for x, y in pairs],
        "disagreements": findings.disagreements(standings),
        "unsettled": findings.listed(findings.unsettled(standings)),
        "sheets": pictures.sheets(standings),
        "offenders": [found for row in standings.rows if (found := offenders(row))],
        "balances": _balances(standings),
        "by_class": _by_class(standings),
        "fingerprints": _fingerprints(standings),
        "excluded": [
            (row, row.result.document.excluded)
            for row in standings.rows
            if row.result.document.excluded
        ],
        "timings": [_timing(row) for row in standings.rows],
        "environments": _environments(standings),
    }


def _references(standings: Standings) -> list[str]:
    names = (d.reference.name for d in standings.runs if d.reference is not None)
    return list(dict.fromkeys(names))


@dataclass(frozen=True)
class _Table:
    """Columns that share an extractor and a kind of estimand."""

    title: str
    explanation: str
    columns: tuple[Column, ...]
    footnotes: Mapping[str, int]

    def cell(self, row: Row, column: Column) -> Cell | None:
        return column.cell(row)

    def number(self, cell: Cell) -> int | None:
        """The footnote of a cell, by number."""
        return self.footnotes.get(cell.footnote) if cell.footnote else None


def _tables(standings: Standings) -> list[_Table]:
    tables = []
    for population, extractor, columns in standings.groups:
        what = "Population estimates" if population else "Scores at this N"
        title = what if extractor is None else f"{what}, {extractor} features"
        texts = dict.fromkeys(c.footnote for column in columns for c in column.cells if c.footnote)
        footnotes = {text: place for place, text in enumerate(texts, start=1)}
        explanation = _POPULATION if population else _AT_THIS_N
        tables.append(_Table(title, explanation, columns, footnotes))
    return tables


def _interval_plot(column: Column, place: int) -> Markup:
    scores = "; ".join(f"{cell.row.name} {cell.text}" for cell in column.cells)
    description = f"Interval plot of {column.heading}: {scores}"
    return Markup(plots.to_svg(plots.interval_plot(column), f"intervals-{place}", description))


def _fidelity_plot(x: Column, y: Column) -> Markup:
    described = []
    for cell in x.cells:
        other = y.cell(cell.row)
        if other is not None:
            described.append(f"{cell.row.name} {cell.text} and {other.text}")
    description = f"{x.name} against {y.name}: {'; '.join(described)}"
    figure = plots.fidelity_diversity([(x, y)])
    return Markup(plots.to_svg(figure, f"fidelity-{x.key}", description))


@dataclass(frozen=True)
class Offenders:
    row: Row
    metric: str
    raising: list[tuple[pictures.Picture, str, str]]
    lowering: list[tuple[pictures.Picture, str, str]]


def offenders(row: Row) -> Offenders | None:
    exhibits = row.result.document.exhibits
    if exhibits.offender_metric is None:
        return None

    def shown(chosen: Any) -> Iterator[tuple[pictures.Picture, str, str]]:
        for exhibit in chosen:
            picture = pictures.single(row.result.directory, exhibit)
            if picture is not None and exhibit.influence is not None:
                label = f"{exhibit.name}" + (f" ({exhibit.label})" if exhibit.label else "")
                yield picture, f"{exhibit.influence:+.3g}".replace("-", "−"), label

    raising, lowering = list(shown(exhibits.raising)), list(shown(exhibits.lowering))
    if not raising and not lowering:
        return None
    return Offenders(row, exhibits.offender_metric, raising, lowering)


@dataclass(frozen=True)
class _Balance:
    """How one row spreads over the classes or values that are seen in it."""

    row: Row
    shares: ClassShares
    reference: ClassShares | None
    plot: Markup

    @property
    def drawn(self) -> int:
        return min(plots.MOST_CLASSES, len(self.shares.classes))

    @property
    def left_out(self) -> int:
        return len(self.shares.classes) - self.drawn

    @property
    def lines(self) -> list[tuple[str, int, int | None]]:
        """(class, count, count in the reference) of the classes that have any."""
        theirs = self.reference.counts if self.reference else [None] * len(self.shares.classes)
        together = zip(self.shares.classes, self.shares.counts, theirs, strict=True)
        return [(name, own, other) for name, own, other in together if own or other]


def _balances(standings: Standings) -> dict[tuple[str, str], list[_Balance]]:
    """By what is seen, and the extractor or measure that sees it."""
    references = {(s.attribute, s.reader): s for r in standings.runs for s in r.reference_classes}
    found: dict[tuple[str, str], list[_Balance]] = {}
    for row in standings.rows:
        for shares in row.result.document.class_shares:
            key = shares.attribute, shares.reader
            reference = references.get(key)
            if reference is not None:
                names = list(dict.fromkeys([*reference.classes, *shares.classes]))
                shares, reference = _over(names, shares), _over(names, reference)
            figure = plots.class_balance(row, shares, reference)
            several = f"classes-{len(found)}-{row.name}"
            description = f"Share of each {key[0]} in {row.name}, as {key[1]} sees it"
            plot = Markup(plots.to_svg(figure, several, description))
            found.setdefault(key, []).append(_Balance(row, shares, reference, plot))
    return found


def _over(names: list[str], shares: ClassShares) -> ClassShares:
    """The same shares listed over these names, which hold all of its own."""
    counts = dict(zip(shares.classes, shares.counts, strict=True))
    told = {"classes": names, "counts": [counts.get(name, 0) for name in names]}
    return shares.model_copy(update=told)


@dataclass(frozen=True)
class _ByClass:
    """One metric within each class: ``lines`` holds a row and its record in each class."""

    column: Column
    classes: list[str]
    lines: list[tuple[Row, list[EstimateRecord | None]]]

    @property
    def counts(self) -> str:
        """How many images stand behind each number."""
        records = [record for _, line in self.lines for record in line if record is not None]
        parts = [f"N = {numbers.extent(record.n for record in records)}"]
        real = [record.m for record in records if record.m is not None]
        return ", ".join(parts + ([f"M = {numbers.extent(real)}"] if real else []))

    def text(self, record: EstimateRecord | None) -> str:
        if record is None:
            return numbers.UNDEFINED
        return numbers.with_error(record.value, record.stderr, self.column.metric.scale)

    def worst(self, line: list[EstimateRecord | None]) -> EstimateRecord | None:
        """The class on which a row does worst."""
        known = [record for record in line if record is not None and record.value is not None]
        sign = {"lower": 1, "higher": -1}.get(self.column.metric.direction)
        if sign is None:
            return None
        return max(known, key=lambda record: sign * (record.value or 0.0), default=None)


def _by_class(standings: Standings) -> list[_ByClass]:
    found = []
    for column in standings.columns:
        lines = []
        for row in standings.rows:
            groups = {
                name: next((r for r in records if _is_of(r, column)), None)
                for name, records in row.result.document.groups.items()
            }
            if any(groups.values()):
                lines.append((row, groups))
        classes = list(dict.fromkeys(name for _, groups in lines for name in groups))
        if lines:
            table = [(row, [groups.get(name) for name in classes]) for row, groups in lines]
            found.append(_ByClass(column, classes, table))
    return found


def _is_of(record: EstimateRecord, column: Column) -> bool:
    return (record.metric, record.extractor) == (column.metric.id, column.extractor)


def _fingerprints(standings: Standings) -> list[tuple[Column, str, list[str], dict[str, Any]]]:
    """(column, hash, rows that carry it, its fields) for every distinct fingerprint."""
    found = []
    for column in standings.columns:
        rows: dict[str, list[Row]] = {}
        for cell in column.cells:
            rows.setdefault(cell.record.fingerprint, []).append(cell.row)
        for key, carriers in rows.items():
            fields = carriers[0].result.document.fingerprints.get(key, {})
            found.append((column, key, [row.name for row in carriers], flatten(fields)))
    return found


@dataclass(frozen=True)
class _Timing:
    row: Row
    execution: Execution

    @property
    def rate(self) -> str:
        """Images a second while they were made or decoded."""
        if not self.execution.images_made or not self.execution.source_seconds:
            return "from the store"
        return f"{self.execution.images_made / self.execution.source_seconds:,.3g} images/s"


def _timing(row: Row) -> _Timing:
    return _Timing(row, row.result.document.execution)


def _environments(standings: Standings) -> list[tuple[list[str], dict[str, str]]]:
    """Distinct environments with the rows that were computed in them."""
    found: list[tuple[list[str], dict[str, str]]] = []
    for row in standings.rows:
        environment = row.result.document.execution.environment
        for rows, known in found:
            if known == environment:
                rows.append(row.name)
                break
        else:
            found.append(([row.name], environment))
    return found
