"""A generator that can be broken in known ways, in a suite with a gate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchgen.images.embedded import load_digits
from benchgen.suite import Suite
from tests.conftest import InstallPlugin

DRAWN = """
    import torch
    from benchgen import GeneratorSpec, hookimpl

    class Strokes:
        def __init__(self, fault="none"):
            self.fault = fault

        def sample(self, batch):
            if self.fault == "raises":
                raise RuntimeError("weights are of another shape")
            ends = batch.uniform(2, 2, stream=1) * 20 + 4
            along = torch.linspace(0, 1, 24)[None, :, None]
            path = ends[:, :1] * (1 - along) + ends[:, 1:] * along
            y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
            grid = torch.stack([y, x], -1).reshape(1, -1, 2)
            near = torch.cdist(grid.expand(len(path), -1, -1), path).min(-1).values
            image = torch.sigmoid(2 * (1.6 - near)).reshape(-1, 1, 28, 28)
            if self.fault == "normalisation":
                image = image * 0.5 + 0.5
            if self.fault == "slight":
                image = (image + 0.004 * batch.normal(1, 28, 28, stream=2)).clamp(0, 1)
            if self.fault == "refactored":
                image = torch.cat([one[None] for one in image])
            return image

    @hookimpl
    def benchgen_generators():
        return [GeneratorSpec(
            name="strokes", factory=__name__ + ":Strokes", resolution=(28, 28), channels=1,
            parameters={"fault": {"type": "string", "default": "none"}},
        )]
"""

MakeSuite = Callable[..., Suite]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def suite(install_plugin: InstallPlugin, tmp_path: Path) -> MakeSuite:
    """``suite(fault=…, **changes)``."""
    install_plugin("acme", DRAWN)
    images = next(load_digits("reference").read(range(600), 600)).images
    np.save(tmp_path / "reals.npy", images[:, 0].numpy())

    def make(fault: str = "none", **changes: Any) -> Suite:
        chosen = {
            "name": "strokes",
            "reference": {"source": str(tmp_path / "reals.npy"), "real": "none"},
            "generators": [{"source": "acme/strokes", "params": {"fault": fault}}],
            "extractors": ["digits"],
            "metrics": ["fid", "kid", "precision"],
            "noise": False,
            "n": 400,
            "gate": {"margins": {"fid": "5%", "kid": "5%", "precision": 0.05}},
        }
        return Suite.model_validate(chosen | changes)

    return make
