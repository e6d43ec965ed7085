"""A third-party generator that writes down which images it was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchgen.images.embedded import load_digits
from benchgen.suite import Suite
from tests.conftest import InstallPlugin

COUNTING = """
    import os
    from pathlib import Path

    import torch
    from benchgen import GeneratorSpec, hookimpl

    LOG = Path({log!r})

    class Blobs:
        def __init__(self, fail_at=None, slow=0.0):
            self.fail_at, self.slow = fail_at, slow

        def sample(self, batch):
            import time
            time.sleep(self.slow)
            if self.fail_at is not None and int(batch.indices.max()) >= self.fail_at:
                if not LOG.with_suffix(".mended").exists():
                    raise RuntimeError("out of luck")
            with open(LOG, "a") as file:
                file.write("".join(f"{{i}}\\n" for i in batch.indices.tolist()))
            centre = batch.uniform(2, stream=1)[:, :, None, None] * 8 - 4
            y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
            at = torch.stack([y, x]) - 13.5
            image = torch.exp(-((at - centre) ** 2).sum(1, keepdim=True) / 20)
            return (image + 0.05 * batch.normal(1, 28, 28)).clamp(0, 1)

    @hookimpl
    def benchgen_generators():
        parameters = {{
            "fail_at": {{"type": ["integer", "null"], "default": None}},
            "slow": {{"type": "number", "default": 0.0}},
        }}
        return [GeneratorSpec(
            name="blobs", factory=__name__ + ":Blobs", resolution=(28, 28), channels=1,
            parameters=parameters,
        )]
"""


class Blobs:
    """The installed plugin: a suite that uses it, and its log."""

    def __init__(self, log: Path, reference: Path) -> None:
        self.log = log
        self.reference = reference

    def suite(self, n: int = 300, **params: object) -> Suite:
        return Suite.model_validate(
            {
                "name": "blobs",
                "reference": str(self.reference),
                "generators": [{"source": "acme/blobs", "params": params}],
                "extractors": ["digits"],
                "metrics": ["fid", "kid", "is", "precision", "coverage"],
                "measures": ["image-stats"],
                "n": n,
            }
        )

    def sampled(self) -> list[int]:
        """Indices in the order in which they were asked for, since the last call."""
        if not self.log.exists():
            return []
        indices = [int(line) for line in self.log.read_text().split()]
        self.log.unlink()
        return indices

    def mend(self) -> None:
        """From now on, no failure."""
        self.log.with_suffix(".mended").touch()


@pytest.fixture
def blobs(install_plugin: InstallPlugin, tmp_path: Path) -> Blobs:
    log = tmp_path / "asked.log"
    install_plugin("acme", COUNTING.format(log=str(log)))
    images = next(load_digits("reference").read(range(600), 600)).images
    np.save(tmp_path / "reals.npy", images[:, 0].numpy())
    return Blobs(log, tmp_path / "reals.npy")
