"""Planted defects: each fails the check that is for it, and no other; sound images fail none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from benchgen import audit
from benchgen.evaluation import run
from benchgen.suite import Suite
from reference_models.shapes import CLASSES, draw, render

_N = 800
_BAD = 2
"""The class that lacks something."""

Defect = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def sound(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return images, labels


def dropped(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    kept = labels != _BAD
    return images[kept], labels[kept]


def blurred(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    at = labels == _BAD
    images[at] = gaussian_blur(images[at], [7, 7], [0.7, 0.7])
    return images, labels


def upsampled(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A tenth of what zero insertion by 2 adds beside the image: its replicas in the spectrum."""
    low = F.avg_pool2d(images, 2)
    inserted = torch.zeros_like(images)
    inserted[:, :, ::2, ::2] = 4 * low
    return images + 0.1 * (inserted - F.interpolate(low, scale_factor=2, mode="bilinear")), labels


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The checks that fail for images with each defect."""
    folder = tmp_path_factory.mktemp("defects")
    factors = draw(1, range(_N))  # none of the real images
    pixels = render(factors).float()
    for defect in (sound, dropped, blurred, upsampled):
        images, labels = defect(pixels.clone(), factors.shape)
        rows = images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for place, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
            path = folder / defect.__name__ / CLASSES[label] / f"{place:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(row).save(path, compress_level=1)
    names = [defect.__name__ for defect in (sound, dropped, blurred, upsampled)]
    suite = Suite.model_validate(
        {
            "extractors": ["benchgen/shapes"],
            "measures": ["artifacts", "spectrum", "hashes"],
            "metrics": ["kid", "coverage"],
            "reference": {"source": "benchgen/shapes", "params": {"size": _N}},
            "generators": [{"source": str(folder / name), "name": name} for name in names],
            "audit": {
                "attributes": [
                    {
                        "name": "label",
                        "target": "uniform",
                        "distance": 0.2,
                        "parity": 0.5,
                        "quality": 0.1,
                    }
                ],
                "columns": {"blur": {"at_most": "125% of real"}},
                "metrics": {"coverage": {"at_least": "75% of equal"}},
                "spectrum": 0.6,
                "duplicates": 0.01,
            },
        }
    )
    found: dict[str, set[str]] = {name: set() for name in names}
    for check in audit(run(suite, folder / "run")).checks:
        if check.verdict == "fail":
            found[check.generator].add(check.check)
    return found


@pytest.mark.parametrize(
    ("defect", "checks"),
    [
        (sound, set()),
        (dropped, {"parity of label"}),
        (blurred, {"equal quality over label"}),
        (upsampled, {"power spectrum as real images"}),
    ],
)
def test_the_right_check_fails_alone(
    failed: dict[str, set[str]], defect: Defect, checks: set[str]
) -> None:
    assert failed[defect.__name__] == checks
