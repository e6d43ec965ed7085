"""How good the bundled MNIST models are, by a network that nobody here trained.

    python benchmarks/reference_quality.py --data DIR --lenet FILE [--n 10000]

Fréchet distance between ``n`` samples and the 10,000 MNIST test images in the 120 features of a
LeNet (its fifth layer after ReLU, of images enlarged to 32x32); how many samples that network
takes for the class asked for; and bits per dimension of the test images, 8 bits a pixel, where a
model has a likelihood. ``DIR`` holds ``MNIST/raw``; ``FILE`` is a state dict with the keys
``convnet.c1``, ``c3``, ``c5`` and ``fc.f6``, ``f7``. Writes JSON and a table, and exits with 1 if
a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from harness import json_file
from torch import Tensor

import benchgen
from benchgen.host.loader import host, with_defaults
from benchgen.images.datasets import load_mnist
from benchgen.images.generated import GeneratedSource
from benchgen.images.source import Source, known_labels
from benchgen.metrics.likelihood import bits_per_dim

FAMILIES = ("diffusion", "gan", "pixelcnn", "transformer", "vae", "ppca")
MOST_FID = {"diffusion": 15, "gan": 20, "pixelcnn": 25, "transformer": 30, "vae": 60}
LEAST_RECOGNISED = {"diffusion": 0.97, "gan": 0.97, "pixelcnn": 0.9, "transformer": 0.9, "vae": 0.9}
BATCH = 125


@dataclass(frozen=True)
class Row:
    """What was measured of one model.

    Attributes:
        fid, fid_stderr: Against the test images.
        recognised: Share of samples taken for the class asked for.
        bits, bits_stderr: Per dimension, of the test images; None without a likelihood.
        seconds: To sample.
    """

    model: str
    fid: float
    fid_stderr: float
    recognised: float | None
    bits: float | None
    bits_stderr: float | None
    seconds: float | None


def main() -> int:
    """Measure, print and write; 1 if a bound does not hold."""
    given = _arguments()
    lenet = LeNet(given.lenet)
    test = load_mnist("reference", root=given.data, download=False)
    train = load_mnist("held-out", root=given.data, download=False)
    real = lenet.features(_read(test, test.size or 0))
    rows = [_of_real_images(lenet, train, real, given.n)]
    for family in given.only:
        rows.append(_measured(lenet, f"benchgen/mnist-{family}", test, real, given.n))
        print(_line(rows[-1]), flush=True)
    failures = [told for row in rows for told in _broken(row)]
    _write(given.out, rows, given.n, failures)
    print("\n".join(failures))
    return int(bool(failures))


class LeNet:
    """The third-party network: 28x28 gray images to 120 features and 10 logits."""

    def __init__(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._state = {
            name.replace("convnet.", "").replace("fc.", ""): v for name, v in state.items()
        }

    @torch.no_grad()
    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``[B, 120]`` and logits ``[B, 10]`` of uint8 images ``[B, 3, 28, 28]``."""
        x = F.interpolate(images[:, :1].float() / 255, size=(32, 32), mode="bilinear")
        for name in ("c1", "c3"):
            x = F.max_pool2d(F.relu(F.conv2d(x, *self._layer(name))), 2)
        features = F.relu(F.conv2d(x, *self._layer("c5"))).flatten(1)
        hidden = F.relu(F.linear(features, *self._layer("f6")))
        return features, F.linear(hidden, *self._layer("f7"))

    def features(self, images: Tensor) -> np.ndarray:
        """float32 ``[n, 120]``."""
        return torch.cat([self(part)[0] for part in images.split(1000)]).numpy()

    def classes(self, images: Tensor) -> Tensor:
        """int64 ``[n]``."""
        return torch.cat([self(part)[1].argmax(1) for part in images.split(1000)])

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self._state[f"{name}.weight"], self._state[f"{name}.bias"]


def _of_real_images(lenet: LeNet, train: Source, real: np.ndarray, n: int) -> Row:
    fid = benchgen.score("fid", fake=lenet.features(_read(train, n)), real=real)
    return Row("real (train)", fid.value, fid.stderr or math.nan, None, None, None, None)


def _measured(lenet: LeNet, model: str, test: Source, real: np.ndarray, n: int) -> Row:
    registered = host().find("generator", model)
    parameters = with_defaults(registered, {}, model)
    source = GeneratedSource(registered, parameters, seed=0)
    started = time.perf_counter()
    batches = list(source.read(range(n), BATCH))
    seconds = time.perf_counter() - started
    images = torch.cat([batch.images for batch in batches])
    asked = torch.cat([batch.labels for batch in batches if batch.labels is not None])
    fid = benchgen.score("fid", fake=lenet.features(images), real=real)
    recognised = float((lenet.classes(images) == asked).double().mean())
    bits = _bits(source, test) if source.spec.likelihood else None
    return Row(
        model,
        fid.value,
        fid.stderr or math.nan,
        recognised,
        None if bits is None else float(bits.mean()),
        None if bits is None else float(bits.std() / math.sqrt(len(bits))),
        seconds,
    )


def _bits(source: GeneratedSource, test: Source) -> Tensor:
    labels = known_labels(test)
    assert labels is not None
    found = []
    for batch in test.read(range(test.size or 0), BATCH):
        images = batch.images[:, :1]
        nats = source.log_likelihood(images, batch.indices, labels[batch.indices])
        found.append(bits_per_dim(nats, images[0].numel()))
    return torch.cat(found)


def _read(source: Source, n: int) -> Tensor:
    return torch.cat([batch.images for batch in source.read(range(n), 1000)])


def _broken(row: Row) -> list[str]:
    family = row.model.rpartition("-")[2]
    told = []
    if row.fid > MOST_FID.get(family, math.inf):
        told.append(f"{row.model}: FID is {row.fid:.2f}, not at most {MOST_FID[family]}")
    if row.recognised is not None and row.recognised < LEAST_RECOGNISED.get(family, 0):
        told.append(
            f"{row.model}: {row.recognised:.2%} are recognised, not {LEAST_RECOGNISED[family]:.0%}"
        )
    return told


def _line(row: Row) -> str:
    recognised = "" if row.recognised is None else f"{row.recognised:.2%}"
    bits = "" if row.bits is None else f"{row.bits:.3f} ± {row.bits_stderr:.3f}"
    seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
    fid = f"{row.fid:.2f} ± {row.fid_stderr:.2f}"
    return f"| {row.model} | {fid} | {recognised} | {bits} | {seconds} |"


def _write(out: Path, rows: list[Row], n: int, failures: list[str]) -> None:
    facts: dict[str, Any] = {"n": n, "threads": torch.get_num_threads(), "torch": torch.__version__}
    document = {**facts, "rows": [asdict(row) for row in rows], "failures": failures}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    told = [
        "# The bundled MNIST models, by a LeNet of other people",
        "",
        f"{n:,} samples against the 10,000 test images; 120 features, ReLU of the fifth layer, "
        "bilinear 32x32. Real training images stand in the first row. Bits per dimension: of the "
        "test images, 8 bits a pixel, labels given (exact for pixelcnn; a bound for vae, from 16 "
        "codes, and for ppca, by uniform noise).",
        "",
        "| model | FID | recognised | bits/dim | s to sample |",
        "| --- | --- | --- | --- | --- |",
        *map(_line, rows),
        "",
        *(f"- {failure}" for failure in failures),
    ]
    out.with_suffix(".md").write_text("\n".join(told).rstrip() + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST/raw")
    parser.add_argument("--lenet", type=Path, required=True, help="weights of the LeNet")
    parser.add_argument("--n", type=int, default=10_000, help="samples of each model")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--threads", type=int, default=2)
    default = Path(__file__).parents[1] / "reports" / "benchmarks" / "reference_quality.json"
    parser.add_argument("--out", type=json_file, default=default)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    return given


if __name__ == "__main__":
    sys.exit(main())
