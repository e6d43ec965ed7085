"""A tiny trainer, installed, and a hundred and twenty small images to train it on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import InstallPlugin
from tests.training.tiny import TINY


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny(install_plugin: InstallPlugin) -> Path:
    """The distribution ``acme`` with the trainer ``tiny``; returns where it is installed."""
    return install_plugin("acme", TINY)


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """120 gray images of 8x8 pixels in three classes, each of which is bright elsewhere."""
    return write_squares(tmp_path / "squares.npz")


def write_squares(path: Path, count: int = 120, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = random.integers(0, 60, size=(count, 8, 8), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 3] += np.uint8(150)
    np.savez(path, images=images, labels=labels)
    return path
