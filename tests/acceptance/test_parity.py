"""Folders of real JPEGs to scores: the same numbers as torch-fidelity, on the same weights."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image

import benchgen
from benchgen.images.embedded import load_digits
from benchgen.suite import Suite
from tests.conftest import Oracle

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
CIFAR10 = SHARED / "cifar10-jpeg.tar.xz"


def _digits(folder: Path, count: int) -> tuple[Path, Path]:
    """Two folders of real digits, saved as JPEG."""
    parts: list[tuple[str, Literal["reference", "held-out"]]] = [
        ("fake", "reference"),
        ("real", "held-out"),
    ]
    for name, part in parts:
        (folder / name).mkdir(parents=True)
        source = load_digits(part)
        for batch in source.read(range(count), count):
            for index, image in zip(batch.indices.tolist(), batch.images, strict=True):
                path = folder / name / f"{index:04d}.jpg"
                Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=90)
    return folder / "fake", folder / "real"


def _photographs(folder: Path, count: int) -> tuple[Path, Path]:
    """Two folders of CIFAR-10 JPEGs."""
    for name in ("fake", "real"):
        (folder / name).mkdir(parents=True)
    taken = 0
    with tarfile.open(CIFAR10, "r|xz") as archive:
        for member in archive:
            if not member.isfile() or not member.name.endswith(".jpg"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            side = ("fake", "real")[taken % 2]
            (folder / side / f"{taken:05d}.jpg").write_bytes(file.read())
            taken += 1
            if taken == 2 * count:
                break
    return folder / "fake", folder / "real"


def _check_agreement(
    oracle: Oracle, fake: Path, real: Path, tmp_path: Path, count: int, subset: int
) -> None:
    import torch_fidelity

    theirs: dict[str, Any] = torch_fidelity.calculate_metrics(
        input1=str(fake), input2=str(real), cuda=False, verbose=False, cache=False,
        fid=True, isc=True, kid=True, prc=True, kid_subset_size=subset, save_cpu_ram=True,
        feature_extractor="inception-v3-compat", feature_extractor_weights_path=str(oracle.path),
    )  # fmt: skip
    tool = {"convention": "torch-fidelity"}
    suite = Suite.model_validate(
        {
            "reference": {"source": str(real), "real": "none"},
            "generators": [{"source": str(fake)}],
            "extractors": [
                {
                    "id": "inception",
                    "params": {"weights": str(oracle.path), "weights_sha256": oracle.sha256},
                }
            ],
            "metrics": [
                {"id": "fid", **tool},
                {"id": "is", **tool},
                {"id": "precision", **tool},
                {"id": "recall", **tool},
                {"id": "kid", "params": {"subset_size": subset}, **tool},
            ],
        }
    )
    ours = benchgen.run(suite, tmp_path / "run")["fake"]
    assert ours.document.n == count

    def value(metric: str) -> float:
        found = ours.record(metric).value
        assert found is not None
        return found

    for metric, theirs_name in {
        "fid": "frechet_inception_distance",
        "is": "inception_score_mean",
        "precision": "precision",
        "recall": "recall",
    }.items():
        assert value(metric) == pytest.approx(theirs[theirs_name], rel=1e-4), metric
    scale = _mean_kernel(ours)
    assert abs(value("kid") - theirs["kernel_inception_distance_mean"]) < 1e-6 * scale


def _mean_kernel(result: Any) -> float:
    from benchgen.features.store import Entry
    from benchgen.paths import cache_dir

    key = result.document.features["inception"]
    entry = Entry(cache_dir() / "features" / key[:2] / key, key)
    rows = torch.cat(list(entry.features(result.document.n).blocks())).double()
    return float(((rows @ rows.T) / rows.shape[1] + 1).pow(3).mean())


def test_digits_as_jpeg(oracle: Oracle, tmp_path: Path) -> None:
    fake, real = _digits(tmp_path / "images", 60)
    _check_agreement(oracle, fake, real, tmp_path, count=60, subset=30)


@pytest.mark.slow
@pytest.mark.skipif(not CIFAR10.is_file(), reason=f"needs {CIFAR10.name} beside the project")
def test_photographs(oracle: Oracle, tmp_path: Path) -> None:
    fake, real = _photographs(tmp_path / "images", 512)
    _check_agreement(oracle, fake, real, tmp_path, count=512, subset=256)
