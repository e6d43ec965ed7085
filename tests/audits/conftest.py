"""A run of a folder of coloured squares, and a table of what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchgen.evaluation import run
from benchgen.runs.directory import Run
from benchgen.suite import Suite

COLOURS = {"red": (200, 40, 40), "blue": (40, 40, 200)}

MakeRun = Callable[..., Run]


def draw(folder: Path, colours: list[str]) -> list[str]:
    """Noisy squares of 20 pixels a side; the names of their files."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = []
    for index, colour in enumerate(colours):
        noise = random.integers(-30, 30, (20, 20, 3))
        pixels = (np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8)
        names.append(f"{index:03d}.png")
        Image.fromarray(pixels).save(folder / names[-1])
    return names


def write_labels(path: Path, names: list[str], labels: list[str]) -> Path:
    lines = [f"{name},{label}" for name, label in zip(names, labels, strict=True)]
    path.write_text("\n".join(["file,colour", *lines]) + "\n")
    return path


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A run of squares of the given colours, with their labels in labels.csv."""
    monkeypatch.chdir(tmp_path)

    def made(colours: list[str], **more: Any) -> Run:
        names = draw(tmp_path / "images", colours)
        write_labels(tmp_path / "labels.csv", names, colours)
        suite = Suite.model_validate(
            {
                "name": "squares",
                "reference": {"source": str(tmp_path / "images"), "real": "none"},
                "generators": [{"source": str(tmp_path / "images"), "name": "squares"}],
                "noise": False,
                "extractors": ["random-conv"],
                "metrics": ["vendi"],
                "measures": ["image-stats", "hashes"],
                **more,
            }
        )
        return run(suite, tmp_path / "run")

    return made
