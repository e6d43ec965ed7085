"""All images seen through one codec: what tells files apart no longer tells the sides apart."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

import benchgen
from benchgen.features.pixels import load as load_pixels
from benchgen.features.recoded import Recoded
from benchgen.images.folder import FolderSource
from benchgen.suite import Suite
from reference_models.shapes import draw, render


def test_rows_are_those_of_the_compressed_images(tmp_path: Path) -> None:
    images = render(draw(0, range(3)))
    for place, image in enumerate(images):
        pixels = image.permute(1, 2, 0).numpy()
        path = tmp_path / f"{place}.jpg"
        Image.fromarray(pixels).save(path, quality=60, subsampling="4:2:0")
    (batch,) = FolderSource(tmp_path).read(range(3), 3)
    plain = load_pixels("cpu")
    recoded = Recoded(plain, 60)
    torch.testing.assert_close(recoded(images).features, plain(batch.images).features)
    assert (recoded.d, recoded.classes) == (plain.d, plain.classes)
    assert recoded.fingerprint == {**plain.fingerprint, "jpeg": "quality 60, 4:2:0"}
    assert recoded(images[:0]).features.shape == (0, plain.d)


def test_a_classifier_no_longer_tells_jpeg_from_png(tmp_path: Path) -> None:
    n = 400
    for name, seed, suffix in (("real", 1, "jpg"), ("made", 2, "png")):
        (tmp_path / name).mkdir()
        for place, image in enumerate(render(draw(seed, range(n)))):
            pixels = image.permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(tmp_path / name / f"{place:03}.{suffix}", quality=90)
    suite = Suite.model_validate(
        {
            "reference": {"source": str(tmp_path / "real"), "real": "none"},
            "generators": [str(tmp_path / "made")],
            "noise": False,
            "extractors": ["random-conv", {"id": "random-conv", "jpeg": 50}],
            "metrics": ["c2st"],
        }
    )
    run = benchgen.run(suite, tmp_path / "run")
    plain, equal = (
        run["made"].record("c2st", label) for label in ("random-conv", "random-conv[jpeg=50]")
    )
    assert plain.details["p_value"] < 1e-3
    assert equal.details["p_value"] > 0.01
