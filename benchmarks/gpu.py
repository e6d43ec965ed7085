"""Bundled models and the digit extractor on a GPU against the CPU: same images, how much faster.

``python benchmarks/gpu.py`` prints a table of ratios, medians of several runs on one machine. It
skips where there is no CUDA device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchgen.features.digits import DigitsExtractor
from benchgen.host.loader import host
from benchgen.images.generated import GeneratedSource

IMAGES = 2500
REPETITIONS = 5


def main() -> None:
    """Print the table, or why there is none."""
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    print(torch.cuda.get_device_name())
    print(f"{'':<16}{'CPU s':>10}{'GPU s':>10}{'ratio':>8}  largest difference")
    samples = None
    for model in ("mnist-vae", "mnist-gan", "mnist-diffusion"):
        slow, samples = _median(lambda d, model=model: _sample(model, d), "cpu")  # type: ignore[misc]
        fast, other = _median(lambda d, model=model: _sample(model, d), "cuda")  # type: ignore[misc]
        difference = (samples.int() - other.int()).abs()
        share = float((difference > 0).double().mean())
        told = f"{int(difference.max())} grey level(s), in {share:.4%} of pixels"
        print(f"{model:<16}{slow:>10.2f}{fast:>10.2f}{slow / fast:>8.1f}  {told}")
    assert samples is not None
    images = samples
    slow, features = _median(lambda d: DigitsExtractor(d)(images).features, "cpu")
    fast, other = _median(lambda d: DigitsExtractor(d)(images).features, "cuda")
    relative = float((features - other).abs().max() / features.abs().max())
    print(f"{'digits':<16}{slow:>10.2f}{fast:>10.2f}{slow / fast:>8.1f}  {relative:.1e} relative")


def _sample(model: str, device: str) -> Tensor:
    source = GeneratedSource(host().find("generator", model), {}, seed=0, device=device)
    return torch.cat([batch.images for batch in source.read(range(IMAGES), 250)])


def _median(work: Callable[[str], Tensor], device: str) -> tuple[float, Tensor]:
    """Median seconds over the repetitions, the first of which warms up, and what came out."""
    took = []
    for _ in range(REPETITIONS + 1):
        started = time.perf_counter()
        result = work(device)
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:]), result


if __name__ == "__main__":
    main()
