"""What caching saves when pixels and tokens are drawn one after the other.

    python benchmarks/sampling.py [--n 1000] [--only pixelcnn]

The bundled MNIST models, as benchgen samples them, against the same models with a whole pass for
each step: the same images from the same noise. Exits with 1 if a claim does not hold.
"""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import harness
import torch
from claims import Bound, Claim, Contestant, Values, Work
from harness import Benchmark, Stage
from torch import Tensor

from reference_models import pixelcnn, transformer
from reference_models.noise import SeededNoise
from reference_models.pixel_distributions import draw
from reference_models.plugin import WEIGHTS
from reference_models.transformer import choose

BATCH = 125
"""Images per call, as a run has it."""
FEW = 40
"""Images that both ways draw."""


def main() -> int:
    """Measure, print and write; 1 if something that was tested does not hold."""
    given = harness.parser(BENCHMARK, 1000, 3, (__doc__ or "").split("\n")[0]).parse_args()
    if given.child:
        return harness.child(BENCHMARK, *given.child)
    claims = harness.chosen(BENCHMARK, given)

    def write(folder: Path) -> None:
        (folder / "n").write_text(str(given.n))

    told = f"{FEW} images both ways; {given.n:,} images in batches of {BATCH}"
    return harness.run(BENCHMARK, given, [Stage(claims, given.n, given.repeats, write)], {}, told)


def many_pixels(n: int) -> Work:
    """``n`` images of the PixelCNN, as benchgen samples them."""
    model = pixelcnn.load(WEIGHTS / "mnist-pixelcnn.safetensors")

    def work() -> Values:
        brightness = 0.0
        for start in range(0, n, BATCH):
            count = min(BATCH, n - start)
            images = model.sample(SeededNoise(count, seed=start), _labels(count))
            brightness += float(images.double().mean()) * count / n
        return {"brightness": brightness}

    return work


def cached_pixels(n: int) -> Work:
    """A few images of the PixelCNN, as benchgen samples them."""
    model = pixelcnn.load(WEIGHTS / "mnist-pixelcnn.safetensors")

    def work() -> Values:
        model.sample(SeededNoise(FEW), _labels(FEW))
        return {AS_CACHED: 1.0}

    return work


def naive_pixels(n: int) -> Work:
    """The same with a whole pass for each pixel."""
    model = pixelcnn.load(WEIGHTS / "mnist-pixelcnn.safetensors")
    channels, height, width = model.config.shape
    side = model.config.block
    places = [
        (top + down, left + across)  # block by block, and within a block again
        for top in range(0, height, side)
        for left in range(0, width, side)
        for down, across in itertools.product(range(side), repeat=2)
    ]
    cached = model.sample(SeededNoise(FEW), _labels(FEW))

    @torch.no_grad()
    def work() -> Values:
        uniforms = SeededNoise(FEW).uniform(height, width, channels + 1)
        levels = torch.zeros(FEW, *model.config.shape, dtype=torch.uint8)
        for row, column in places:
            parameters = model(levels, _labels(FEW))[:, row, column]
            levels[:, :, row, column] = draw(parameters, uniforms[:, row, column])
        return {AS_CACHED: _same(levels, cached)}

    return work


def cached_tokens(n: int) -> Work:
    """A few images of the transformer, as benchgen samples them."""
    model = transformer.load(WEIGHTS / "mnist-transformer.safetensors")

    def work() -> Values:
        model.sample(SeededNoise(FEW), _labels(FEW))
        return {AS_CACHED: 1.0}

    return work


def naive_tokens(n: int) -> Work:
    """The same with a whole pass for each token."""
    model = transformer.load(WEIGHTS / "mnist-transformer.safetensors")
    places = math.prod(model.config.grid)
    cached = model.sample(SeededNoise(FEW), _labels(FEW))

    @torch.no_grad()
    def work() -> Values:
        uniforms = SeededNoise(FEW).uniform(places)
        tokens = torch.zeros(FEW, places, dtype=torch.int64)
        for place in range(places):
            logits = model.prior(tokens, _labels(FEW))[:, place]
            tokens[:, place] = choose(logits, uniforms[:, place], 1.0)
        return {AS_CACHED: _same(model.codec.decode(tokens), cached)}

    return work


def _labels(count: int) -> Tensor:
    return torch.arange(count) % 10


def _same(images: Tensor, cached: Tensor) -> float:
    """Share of the images that are those of the cached way, but for rounding."""
    apart = (images.double() - cached.double()).flatten(1).abs().amax(dim=1)
    return float((apart < 1e-4).double().mean())


AS_CACHED = "share of images as cached"
TURNED = 0.05
"""Share of images that may be others: a rounding may turn a pixel, and then all after it."""

BENCHMARK = Benchmark(
    title="Sampling one step after the other",
    script=Path(__file__),
    claims=(
        Claim(
            "pixelcnn",
            "PixelCNN: caching, against a whole pass for each pixel",
            [
                Contestant("benchgen, cached", cached_pixels),
                Contestant("benchgen, naive", naive_pixels, TURNED),
            ],
            [Bound("ratio", 30, "benchgen, naive")],
        ),
        Claim(
            "pixelcnn-many",
            "PixelCNN: many images",
            [Contestant("benchgen", many_pixels)],
            [Bound("seconds", 60)],
        ),
        Claim(
            "transformer",
            "Transformer: caching, against a whole pass for each token",
            [
                Contestant("benchgen, cached", cached_tokens),
                Contestant("benchgen, naive", naive_tokens, TURNED),
            ],
            [Bound("ratio", 1, "benchgen, naive")],
        ),
    ),
    packages=("benchgen", "torch"),
    read=lambda folder: int((folder / "n").read_text()),
)

if __name__ == "__main__":
    sys.exit(main())
