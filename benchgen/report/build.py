"""Everything a report consists of, written into one directory."""

from __future__ import annotations

from pathlib import Path

from benchgen.files import write_atomically
from benchgen.report import pictures, plots
from benchgen.report.html import html
from benchgen.report.standings import Standings
from benchgen.report.text import csv, json_document, markdown
from benchgen.runs.comparison import Comparison


def write_report(comparison: Comparison, out: Path) -> Path:
    """Write index.html, report.md, report.csv, report.json and the plots as PNG.

    The plots are ranking.png, fidelity-diversity.png and samples.png; one for which there is
    nothing to draw is left out, and an older one of that name removed.

    Returns:
        The path of index.html.

    Raises:
        StoreError: If the place cannot be written.
        NotComparableError: If rows differ in what makes their scores comparable.
    """
    standings = Standings.of(comparison)
    for name, picture in _plots(standings).items():
        if picture is None:
            (out / name).unlink(missing_ok=True)
        else:
            write_atomically(out / name, picture)
    write_atomically(out / "report.md", markdown(standings))
    write_atomically(out / "report.csv", csv(standings))
    write_atomically(out / "report.json", json_document(standings))
    index = out / "index.html"
    write_atomically(index, html(standings))
    return index


def _plots(standings: Standings) -> dict[str, bytes | None]:
    pairs = plots.fidelity_pairs(standings)
    shown = pictures.sheets(standings)
    figures = {
        "ranking.png": plots.ranking(standings),
        "fidelity-diversity.png": plots.fidelity_diversity(pairs) if pairs else None,
        "samples.png": plots.samples(shown) if shown else None,
    }
    return {
        name: None if figure is None else plots.to_png(figure) for name, figure in figures.items()
    }
