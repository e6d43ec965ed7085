"""Rebuild what benchgen publishes of its bundled models: comparisons and sample sheets.

    python reports/rebuild.py [digits shapes]
    python reports/rebuild.py --sheet fashion-mnist --weights FOLDER

Runs the bundled suites, puts each report into ``reports/<suite>/`` (HTML, PNG, JSON, CSV and
Markdown) with the suite's audit in ``audit/``, makes the suite's leaderboard and its site anew in
``reports/leaderboard/<suite>/``, and draws the sheets of ``docs/models.md`` into
``docs/images/``: a row for each family, two columns for each class, then four without a class. The
second form draws the sheet alone of a data set whose weights do not ship; they are called
``<data set>-<family>.safetensors``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import benchgen
from benchgen.asked import AuditChoice
from benchgen.images.pixels import to_uint8
from benchgen.leaderboard.board import Board
from benchgen.leaderboard.site import render
from benchgen.suite import Suite
from reference_models.noise import SeededNoise
from reference_models.plugin import FAMILIES, WEIGHTS, Family

ROOT = Path(__file__).parents[1]
SUITES = {"digits": "mnist", "shapes": "shapes"}
"""Each bundled suite, and the data that its models were trained on."""
PICTURES = ROOT / "docs" / "images"
ENLARGED, GAP, OF_ANY_CLASS = 2, 2, 4


def main() -> None:
    """Rebuild what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all")
    parser.add_argument("--sheet", metavar="DATA", help="draw the sheet of this data set alone")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where its weights lie")
    given = parser.parse_args()
    if given.sheet:
        sheet(given.sheet, given.weights).save(PICTURES / f"models-{given.sheet}.png")
        return
    wanted = given.suites or list(SUITES)
    if unknown := sorted(set(wanted) - SUITES.keys()):
        parser.error(f"no suite is called {unknown[0]!r}; known: {', '.join(SUITES)}")
    for suite in wanted:
        publish(suite, ROOT / "reports" / suite)
        sheet(SUITES[suite], WEIGHTS).save(PICTURES / f"models-{SUITES[suite]}.png")


def publish(suite: str, out: Path) -> None:
    """Run a bundled suite and put its report into ``out``, which is replaced."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # no folder of ours in the report
        run = benchgen.run(suite, "run")
        if run.failures:
            raise SystemExit(f"{suite}: {run.failures}")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(run.report.parent, out)
        if Suite.bundled(suite).audit != AuditChoice():
            benchgen.audit(run, command=f"benchgen audit {suite}")
            shutil.copytree(run.directory / "audit", out / "audit")
        lead(run, suite, out.parent / "leaderboard" / suite)


def lead(run: benchgen.Run, suite: str, out: Path) -> None:
    """Put the run on a board of its own in ``out``, which is replaced, and render its site."""
    shutil.rmtree(out, ignore_errors=True)
    board = Board.begin(out / "board", f"Bundled models: {suite}")
    board.add(run, by="benchgen")
    render(board, out / "site")


def sheet(data: str, weights: Path) -> Image.Image:
    """Samples of every family that was trained on ``data``, the same noise and labels for each."""
    files = [(family, weights / f"{data}-{family.name}.safetensors") for family in FAMILIES]
    rows = [torch.cat(_samples(path, family)) for family, path in files if path.is_file()]
    if not rows:
        raise SystemExit(f"{weights} has no {data}-<family>.safetensors")
    height, width = rows[0].shape[2:]
    across, down = len(rows[0]), len(rows)
    drawn = torch.full((3, down * (height + GAP) + GAP, across * (width + GAP) + GAP), 255)
    for at, images in enumerate(rows):
        for place, image in enumerate(images):
            top, left = GAP + at * (height + GAP), GAP + place * (width + GAP)
            drawn[:, top : top + height, left : left + width] = image
    picture = Image.fromarray(drawn.to(torch.uint8).permute(1, 2, 0).numpy())
    size = (picture.width * ENLARGED, picture.height * ENLARGED)
    return picture.resize(size, Image.Resampling.NEAREST)


def _samples(path: Path, family: Family) -> tuple[Tensor, Tensor]:
    """uint8: two of each class, and some of any class."""
    model = family.module.load(path)
    labels = torch.arange(model.config.classes).repeat_interleave(2)
    of_class = model.sample(SeededNoise(len(labels), seed=1), labels)
    return to_uint8(of_class), to_uint8(model.sample(SeededNoise(OF_ANY_CLASS, seed=2)))


if __name__ == "__main__":
    main()
