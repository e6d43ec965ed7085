"""What the numbers say, in sentences: who leads, and why metrics disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchgen.report import numbers
from benchgen.report.standings import Cell, Column, Standings
from benchgen.runs.comparison import Line


def finding(standings: Standings) -> str:
    """One or two sentences: who leads on FID among the generators, with whom it is tied."""
    lead = standings.lead
    if lead is None:
        return "No metric was computed."
    if not standings.generators:
        return "No generator was evaluated: the scores are those of the bounds alone."
    if not lead.ranked:
        return f"No generator can be ranked on {lead.name}; the reasons stand below the table."
    sentences = [_leader(lead)]
    bounds = [
        f"{cell.row.name} {cell.text}"
        for cell in lead.cells
        if cell.row.kind != "generator" and cell.record.value is not None
    ]
    if bounds:
        sentences.append(f"For scale: {', '.join(bounds)}.")
    return " ".join(sentences)


def _leader(lead: Column) -> str:
    best, *others = lead.ranked
    score = f"{best.text}{_scaled(lead)} ({_at(best)})"
    if not others:
        return f"{best.row.name} is the only generator ranked; its {lead.name} is {score}."
    tied = [cell.row.name for cell in others if cell.tied]
    if not tied:
        second = others[0]
        return (
            f"{best.row.name} leads on {lead.name} with {score}, "
            f"ahead of {second.row.name} with {second.text}{_scaled(lead)}."
        )
    extreme = "lowest" if lead.metric.direction == "lower" else "highest"
    return (
        f"{best.row.name} has the {extreme} {lead.name}, {score}, "
        f"but is statistically tied with {listed(tied)} at this N."
    )


def _at(cell: Cell) -> str:
    images = f"N = {numbers.count(cell.record.n)}"
    extractor = cell.record.extractor
    return images if extractor is None else f"{images}, {extractor} features"


def _scaled(column: Column) -> str:
    label = numbers.scale_label(column.metric.scale)
    return f" ({label})" if label else ""


@dataclass(frozen=True)
class Disagreement:
    """Where one metric contradicts the leading one, or a bound; ``reads`` says how to read it."""

    metric: str
    statements: tuple[str, ...]
    reads: str


def disagreements(standings: Standings) -> list[Disagreement]:
    """Contradictions that the errors do not explain.

    Two rows count as told apart where one is the best and the other not tied with it, or where
    their rank intervals do not touch.
    """
    found = []
    for column in standings.columns:
        statements = (
            *_against_lead(column, standings.lead),
            *_against_real(column, standings),
            *_against_noise(column, standings),
        )
        if statements:
            found.append(Disagreement(column.name, statements, column.metric.reads))
    return found


def unsettled(standings: Standings) -> list[str]:
    """Metrics on which another generator comes first, with the leading one tied."""
    lead = standings.lead
    if lead is None or not lead.ranked:
        return []
    leader = lead.ranked[0].row
    return [
        column.name
        for column in standings.columns
        if (cell := column.cell(leader)) is not None and cell.tied
    ]


def listed(names: Sequence[str]) -> str:
    """``"a, b and c"``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _against_lead(column: Column, lead: Column | None) -> list[str]:
    if lead is None or column is lead:
        return []
    elsewhere = {cell.row.name: cell.line for cell in lead.ranked}
    statements = []
    for index, better in enumerate(column.ranked):
        beaten = [
            worse.row.name
            for worse in column.ranked[index + 1 :]
            if _ahead(better.line, worse.line)
            and _ahead(elsewhere.get(worse.row.name), elsewhere.get(better.row.name))
        ]
        if beaten:
            statements.append(
                f"{column.name} puts {better.row.name} ahead of {listed(beaten)}; "
                f"{lead.name} has it the other way round."
            )
    return statements


def _against_real(column: Column, standings: Standings) -> list[str]:
    statements = []
    for real in (row for row in standings.bounds if row.kind == "real"):
        above = [
            row.name
            for row in standings.generators
            if _ahead(column.all_lines.get(row.name), column.all_lines.get(real.name))
        ]
        if above:
            statements.append(
                f"{listed(above)} {_verb(above)} better on {column.name} than {real.name}, "
                "which are real images."
            )
    return statements


def _against_noise(column: Column, standings: Standings) -> list[str]:
    statements = []
    for noise in (row for row in standings.bounds if row.kind == "noise"):
        below = [
            row.name
            for row in standings.rows
            if _ahead(column.all_lines.get(noise.name), column.all_lines.get(row.name))
        ]
        if below:
            statements.append(
                f"{noise.name} scores better on {column.name} than {listed(below)}, "
                "though it shows nothing."
            )
    return statements


def _verb(names: Sequence[str]) -> str:
    return "scores" if len(names) == 1 else "score"


def _ahead(a: Line | None, b: Line | None) -> bool:
    if a is None or b is None or a.place is None or b.place is None:
        return False
    if a.place.rank == 1 and not b.place.tied_with_best:
        return True
    worst, best = a.place.highest, b.place.lowest
    return worst is not None and best is not None and worst < best
