"""The benchmark of extraction at a tiny size: every contestant runs, and they agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.benchmarks_loading import BENCHMARKS, contestants, is_installed, load

claims, extraction, network = load("claims"), load("extraction"), load("extraction_network")
inputs_, gpu = load("extraction_inputs"), load("gpu")
N = 4
# The same tools under another environment are no other test; neither are twice as many images.
KEYS = ("tf1", "pytorch-fid", "clean", "network", "products")
CONTESTANTS = [pair for pair in contestants(extraction.BENCHMARK) if pair[0].key in KEYS]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("inputs")
    inputs_.write_inputs(folder, N, None)
    return inputs_.Inputs(folder)


@pytest.fixture(scope="module")
def first_values(inputs: Any) -> Callable[[Any], Any]:
    """What the first contestant of a claim finds, once."""
    known: dict[str, Any] = {}

    def find(claim: Any) -> Any:
        if claim.key not in known:
            known[claim.key] = claim.contestants[0].load(inputs)()
        return known[claim.key]

    return find


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("claim", "one"), CONTESTANTS, ids=[f"{claim.key}: {one.name}" for claim, one in CONTESTANTS]
)
def test_contestant_runs_and_agrees(
    claim: Any, one: Any, inputs: Any, first_values: Callable[[Any], Any]
) -> None:
    if not is_installed(one.name):
        pytest.skip(f"{one.name.split(',')[0]} is not installed")
    cache = os.environ["BENCHGEN_CACHE"]
    values = one.load(inputs)()
    assert values
    assert os.environ["BENCHGEN_CACHE"] == cache
    if one.relative is not None:
        difference, allowed = claims.apart(one, [values], first_values(claim), N)
        assert difference <= allowed


def test_resizing_tells_its_time(tmp_path: Path) -> None:
    inputs_.write_images(tmp_path, N, None)
    for rule in ("tf1", "pytorch-fid", "clean"):
        assert 0 < network.resizing(rule)(inputs_.Inputs(tmp_path))()["ms an image"] < 1000


def test_without_a_graphics_card_its_benchmark_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 0
    assert capsys.readouterr().out == "skipped: no CUDA device\n"


def test_images_of_another_device_are_held_against_those_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs_.write_images(tmp_path, N, None)
    inputs = inputs_.Inputs(tmp_path)
    assert gpu.drawn("gan", "cpu:0")(inputs)() == {gpu.AS_CPU: 1.0}
    work = gpu.drawn("gan", "cpu:0")(inputs)
    drawn = gpu._images("gan", "cpu", N)
    drawn[0, :, 9:19, 9:19] ^= 8
    monkeypatch.setattr(gpu, "_images", lambda *_: drawn)
    assert work() == {gpu.AS_CPU: 1 - 1 / N}


def test_network_is_measured_on_as_many_images_as_the_extractor_passes() -> None:
    pixels = import_module("benchgen.features.network")._PIXELS_CPU
    assert pixels // network.inception.SIDE**2 == network.BATCH


def test_operations_are_counted() -> None:
    """A 3x3 convolution from 3 to 8 channels makes 299x299 outputs of each, one image at a time."""
    counted = network._multiply_adds(torch.nn.Conv2d(3, 8, 3, padding=1))
    assert counted == 8 * 299 * 299 * 3 * 9


def test_inception_is_of_the_known_size() -> None:
    """5.7 thousand million multiply-adds (Szegedy et al. 2015, arXiv:1512.00567: 5 and more)."""
    assert 5.6e9 < network._multiply_adds(inputs_.trunk(inputs_.random_network())) < 5.8e9


def test_sides_are_the_first_files_of_the_folders_that_are_given(tmp_path: Path) -> None:
    given = []
    for side, level in (("one", 10), ("two", 200)):
        (tmp_path / side).mkdir()
        (tmp_path / side / "notes.txt").write_text("no image")
        for number in range(4):
            image = Image.new("RGB", (8, 8), (level + number, 0, 0))
            image.save(tmp_path / side / f"{number}.png")
        given.append(tmp_path / side)
    found = tmp_path / "found"
    found.mkdir()
    inputs_.write_images(found, 3, given)
    known = inputs_.Inputs(found)
    assert known.n == 3
    for folder, level in ((known.real, 10), (known.fake, 200)):
        pixels = [Image.open(path).getpixel((0, 0)) for path in inputs_.list_images(folder)]
        assert pixels == [(level + number, 0, 0) for number in range(3)]


def test_too_few_images_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "only.jpg")
    for images, reason in (
        (tmp_path, "has 1 images (.jpg, .jpeg, .png), not 4; `doubled` needs twice --n"),
        (tmp_path / "none", "there is no folder"),
    ):
        options = ["--images", str(images), str(images), "--n", "2"]
        monkeypatch.setattr(sys, "argv", ["extraction.py", *options])
        with pytest.raises(SystemExit) as caught:
            extraction.main()
        assert caught.value.code == 2
        assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_whole_script(tmp_path: Path) -> None:
    out = tmp_path / "extraction.json"
    size = ("--n", str(N), "--repeats", "1", "--threads", "1")
    command = [sys.executable, str(BENCHMARKS / "extraction.py"), "--only", "network", *size]
    done = subprocess.run(
        [*command, "--no-check", "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())["claims"]["network"]["contestants"]
    assert [len(one["rounds"]) for one in found.values()] == [1] * 5
    assert found["torch-fidelity"]["apart"][0] < 1e-4
    assert "## Inception alone" in out.with_suffix(".md").read_text()
