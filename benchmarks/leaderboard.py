"""How long a leaderboard of many models takes to read and render, and whether its ranks are true.

    python benchmarks/leaderboard.py [--models 500] [--out FILE]

Makes boards of models whose order is known: some tie, and some are copies of others under another
name. Times `benchgen leaderboard render` on one of 500 models and 20 metrics, and
counts on boards of 200 models how often the ranks that are left open hold the true one. Writes JSON
and Markdown, and exits with 1 where a bound is missed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from harness import REPORTS, json_file
from leaderboard_inputs import EXTRACTORS, METRICS, contenders, write_run

from benchgen.leaderboard.board import Board
from benchgen.runs.comparison import Comparison

SECONDS = 10.0
HELD = 0.93
FRAME = 50.0
"""Milliseconds: 20 frames a second, drawn without a graphics card."""


@dataclass(frozen=True)
class Row:
    """One claim: what was measured, and the bound that it must keep."""

    what: str
    found: float
    bound: float
    unit: str
    at_most: bool = True

    @property
    def kept(self) -> bool:
        return self.found <= self.bound if self.at_most else self.found >= self.bound


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--boards", type=int, default=20, help="of 200 models, for the ranks")
    parser.add_argument("--out", type=json_file, default=REPORTS / "leaderboard.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [*rendering(Path(folder), given.models), *ranks(Path(folder), given.boards)]
    document = {"models": given.models, "boards": given.boards, "rows": [asdict(r) for r in rows]}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(document, indent=1) + "\n")
    lines = [f"| {r.what} | {r.found:.4g} {r.unit} | {r.bound:g} {r.unit} |" for r in rows]
    told = ["# Leaderboard", "", "| what | measured | bound |", "| --- | --- | --- |", *lines]
    given.out.with_suffix(".md").write_text("\n".join(told) + "\n")
    print("\n".join(lines))
    return 0 if all(row.kept for row in rows) else 1


def rendering(folder: Path, models: int) -> list[Row]:
    """Seconds of the command on a big board, and how the page of its table scrolls."""
    run = write_run(folder / "run", contenders(models), pictures=12)
    Board.begin(folder / "board", "Big").add(run, by="benchmark")
    command = [sys.executable, "-m", "benchgen", "leaderboard", "render", str(folder / "board")]
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([*command, "--out", str(folder / "site")], check=True, stdout=sys.stderr)
        seconds.append(time.perf_counter() - begun)
    keys = len(METRICS) * len(EXTRACTORS)
    found = [Row(f"render {models} models × {keys} metrics", median(seconds), SECONDS, "s")]
    return found + browsing(folder / "site" / "index.html")


def browsing(index: Path) -> list[Row]:
    """Seconds until the table can be used, and the longest of most frames while it scrolls."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("no Chromium: the page is not opened", file=sys.stderr)
        return []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        begun = time.perf_counter()
        page.goto(index.as_uri())
        page.wait_for_selector(".dt-search")
        ready = time.perf_counter() - begun
        frames = page.evaluate(_SCROLL)
        browser.close()
    slow = float(np.quantile(frames, 0.95))
    return [
        Row("the table can be used after", ready, SECONDS, "s"),
        Row("95 % of frames while it scrolls take at most", slow, FRAME, "ms"),
    ]


_SCROLL = """() => new Promise((done) => {
  const frame = document.querySelector(".scroll.board"), times = [];
  let last = performance.now();
  const step = (now) => {
    times.push(now - last);
    last = now;
    frame.scrollTop += 60;
    if (times.length < 240) requestAnimationFrame(step); else done(times.slice(5));
  };
  requestAnimationFrame(step);
})"""


def ranks(folder: Path, boards: int) -> list[Row]:
    """How often open ranks hold the true one, on boards of 200 models with ties and copies.

    A model's true rank is any that its ties leave it: it is held where the open ranks reach one.
    On whole boards, no wrong order at all should be said in 95 %.
    """
    models = contenders(200)
    qualities = np.array([model.quality for model in models])
    held, whole = [], []
    for seed in range(boards):
        run = write_run(
            folder / f"ranks-{seed}",
            models,
            metrics=METRICS[:1],
            extractors=EXTRACTORS[:1],
            seed=1 + seed,
        )
        [board] = Comparison.of([run]).boards
        open_ = {line.row: line.rank for line in board.lines if line.rank is not None}
        found = []
        for model in models:
            rank = open_[model.name]
            best = 1 + int((qualities < model.quality).sum())
            worst = int((qualities <= model.quality).sum())
            found.append(rank.lowest <= worst and best <= rank.highest)
            if model.copies is not None:
                twin = open_[model.copies]
                if (rank.lowest, rank.highest) != (twin.lowest, twin.highest):
                    raise SystemExit(f"{model.name} is not tied with {model.copies}")
        held.append(np.mean(found))
        whole.append(all(found))
    return [
        Row("true ranks held, of 200 models a board", float(np.mean(held)), HELD, "", False),
        Row("boards without any wrong order", float(np.mean(whole)), HELD, "", False),
    ]


if __name__ == "__main__":
    sys.exit(main())
