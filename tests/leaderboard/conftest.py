"""Runs of generators whose quality is known, for a board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchgen
from benchgen.images.embedded import load_digits
from benchgen.runs.directory import Run
from tests.conftest import InstallPlugin

BLURRY = """
    import torch
    import numpy as np
    from benchgen import GeneratorSpec, hookimpl

    class Copies:
        def __init__(self, noise=0.0, shift=0):
            self.noise, self.shift = noise, shift
            self.images = torch.from_numpy(np.load({path!r})).float()[:, None] / 255

        def sample(self, batch):
            chosen = (batch.indices + self.shift) % len(self.images)
            images = self.images[chosen]
            return (images + self.noise * batch.normal(1, 28, 28)).clamp(0, 1)

    @hookimpl
    def benchgen_generators():
        return [GeneratorSpec(
            name="copies", factory=__name__ + ":Copies", resolution=(28, 28), channels=1,
            parameters={{"noise": {{"type": "number", "default": 0.0}},
                        "shift": {{"type": "integer", "default": 0}}}},
            license="MIT", training_data="digits",
        )]
"""

MakeRun = Callable[..., Run]


@pytest.fixture
def scored(install_plugin: InstallPlugin, tmp_path: Path) -> MakeRun:
    """``scored({"a": 0.1, "b": 0.3})``: a run of models by the noise that they add."""
    images = next(load_digits("reference").read(range(900), 900)).images[:, 0].numpy()
    for name, part in (("reals", images[:300]), ("held", images[300:600]), ("own", images[600:])):
        np.save(tmp_path / f"{name}.npy", part)
    install_plugin("acme", BLURRY.format(path=str(tmp_path / "own.npy")))

    def made(noises: dict[str, float], folder: str = "run", **changes: Any) -> Run:
        suite = {
            "name": "board",
            "reference": {
                "source": str(tmp_path / "reals.npy"),
                "real": str(tmp_path / "held.npy"),
            },
            "generators": [
                {"source": "acme/copies", "name": name, "params": {"noise": noise}}
                for name, noise in noises.items()
            ],
            "extractors": ["digits"],
            "metrics": ["fid", "kid", "precision"],
            "noise": False,
            "n": 250,
            **changes,
        }
        return benchgen.run(benchgen.Suite.model_validate(suite), tmp_path / folder)

    return made
