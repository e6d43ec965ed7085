"""Folders of images: what is extracted again, and what is not; GPU memory; images named bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import benchgen
from benchgen.evaluation import Silent, evaluate
from benchgen.features.store import SHARD
from benchgen.paths import cache_dir
from benchgen.suite import Suite
from tests.conftest import InstallPlugin

COUNTING = """
    from pathlib import Path

    import torch
    from benchgen import ExtractorSpec, hookimpl
    from benchgen.features.extractor import Extracted

    LOG = Path({log!r})

    class Means:
        d, classes = 3, ()

        def __init__(self, device, most=None):
            self.most = most
            self.fingerprint = {{"network": "means", "most": str(most)}}

        def __call__(self, images):
            if self.most is not None and len(images) > self.most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            with open(LOG, "a") as file:
                file.write(f"{{len(images)}}\\n")
            return Extracted(images.float().mean((2, 3)))

    @hookimpl
    def benchgen_extractors():
        most = {{"type": ["integer", "null"], "default": None}}
        factory = __name__ + ":Means"
        return [ExtractorSpec(name="means", factory=factory, parameters={{"most": most}})]
"""


class Asked:
    """The batches that the installed extractor was asked for."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def batches(self) -> list[int]:
        """Their sizes since the last call."""
        if not self._log.exists():
            return []
        sizes = [int(line) for line in self._log.read_text().split()]
        self._log.unlink()
        return sizes

    def images(self) -> int:
        return sum(self.batches())


@pytest.fixture
def asked(install_plugin: InstallPlugin, tmp_path: Path) -> Asked:
    log = tmp_path / "asked.log"
    install_plugin("acme", COUNTING.format(log=str(log)))
    return Asked(log)


def paint(folder: Path, numbers: range, seed: int) -> Path:
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(seed)
    for number in numbers:
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Reference and generated images."""
    return paint(tmp_path / "real", range(700), 0), paint(tmp_path / "fake", range(600), 1)


def suite(folders: tuple[Path, Path], **fields: object) -> Suite:
    real, fake = folders
    return Suite.model_validate(
        {
            "reference": {"source": str(real), "real": "none"},
            "generators": [{"source": str(fake)}],
            "extractors": ["means"],
            "metrics": ["fid"],
            "measures": ["image-stats"],
            **fields,
        }
    )


NOISE = 600  # the row `noise` is sampled and extracted once, with as many images


def test_touching_one_image_extracts_that_image_alone(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchgen.run(suite(folders), tmp_path / "one")
    assert asked.images() == 700 + 600 + NOISE
    paint(folders[1], range(300, 301), 2)
    touched = benchgen.run(suite(folders), tmp_path / "one")
    assert asked.images() == 1
    assert touched["fake"].document.execution.images_made == 1
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / "fresh-cache"))
    fresh = benchgen.run(suite(folders), tmp_path / "fresh")
    assert fresh["fake"].document.estimates == touched["fake"].document.estimates
    assert fresh["fake"].columns.equals(touched["fake"].columns)


def test_halves_and_parts_extract_no_more_either(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    whole = suite(folders).replace(reference=str(folders[0]))
    benchgen.run(whole, tmp_path / "run")
    asked.batches()
    paint(folders[0], range(5, 6), 2)
    paint(folders[1], range(7, 8), 3)
    run = benchgen.run(whole, tmp_path / "run")
    assert run["real"].document.n == 350
    assert asked.images() <= 2


def test_images_that_come_and_go_leave_the_others_known(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    benchgen.run(suite(folders), tmp_path / "before")
    asked.batches()
    (folders[1] / "0000.png").unlink()
    paint(folders[1], range(600, 605), 4)
    benchgen.run(suite(folders, n=604), tmp_path / "after")
    assert asked.images() == 5 + 4  # and four more of the noise


def test_a_finished_run_computes_and_renders_nothing(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run = benchgen.run(suite(folders), tmp_path / "run")
    asked.batches()
    before = {p: p.stat().st_mtime_ns for p in run.directory.rglob("*") if p.is_file()}
    benchgen.run(suite(folders), tmp_path / "run")
    assert asked.batches() == []
    after = {p: p.stat().st_mtime_ns for p in run.directory.rglob("*") if p.is_file()}
    assert after == before
    run.report.unlink()
    assert benchgen.run(suite(folders), tmp_path / "run").report.is_file()


def test_a_damaged_shard_is_found_and_rebuilt(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run = benchgen.run(suite(folders), tmp_path / "run")
    asked.batches()
    key = run["fake"].document.features["means"]
    shard = cache_dir() / "features" / key[:2] / key / f"{0:09d}-{SHARD:09d}.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    again = benchgen.run(suite(folders), tmp_path / "again")
    assert asked.images() == SHARD
    assert again["fake"].document.estimates == run["fake"].document.estimates
    events = [json.loads(e) for e in (again.directory / "events.jsonl").read_text().splitlines()]
    assert [e["row"] for e in events if e["event"] == "damaged"] == ["fake"]


def test_bad_images_are_named_also_beside_known_ones(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    benchgen.run(suite(folders), tmp_path / "before")
    asked.batches()
    (folders[1] / "0010.png").write_bytes(b"")
    (folders[1] / "0400.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    run = benchgen.run(suite(folders, skip_bad=0.01), tmp_path / "after")
    document = run["fake"].document
    assert asked.images() == 0
    assert document.n == 598
    assert [e.name for e in document.excluded] == ["0010.png", "0400.png"]
    assert document.excluded[0].reason == "the file has zero bytes"
    assert len(run["fake"].columns) == 598


def test_too_little_gpu_memory_halves_the_batch_and_the_run_goes_on(
    asked: Asked, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    class Listening(Silent):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def message(self, text: str) -> None:
            self.heard.append(text)

    tight = suite(folders, extractors=[{"id": "means", "params": {"most": 40}}])
    observer = Listening()
    run = evaluate(tight, tmp_path / "tight", observer)
    assert run.document.status == "complete"
    assert max(asked.batches()) <= 31
    assert observer.heard == [
        "extractor acme/means: GPU memory does not hold 125 images at once; going on with 62",
        "extractor acme/means: GPU memory does not hold 62 images at once; going on with 31",
    ]
    roomy = benchgen.run(suite(folders), tmp_path / "roomy")
    one, two = (r["fake"].record("fid").value for r in (run, roomy))
    assert one == pytest.approx(two)
    hopeless = suite(folders, extractors=[{"id": "means", "params": {"most": 0}}])
    with pytest.raises(benchgen.PluginError, match="too little free memory for a single image"):
        benchgen.run(hopeless, tmp_path / "hopeless")
