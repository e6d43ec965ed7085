"""A graphics card: from two folders to FID beside torch-fidelity, and sampling beside the CPU.

    python benchmarks/gpu.py [--images REAL FAKE] [--n 2000] [--only fid]

Says that it skips, and exits with 0, where there is no CUDA device. Weights and images are those of
``extraction.py``; of the bundled models as many images are drawn as there are on a side. Exits with
1 if FIDs disagree, or images drawn there are not those of the CPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness
import torch
from claims import Claim, Contestant, Values, Work
from extraction import AGREE
from extraction_inputs import SIDES, Inputs, write_inputs
from extraction_tools import benchgen_run, torch_fidelity
from harness import Benchmark, Stage
from torch import Tensor

from benchgen.host.loader import host
from benchgen.images.generated import GeneratedSource

GPU = "cuda"
BATCH = 250
FEW = 100
"""Images of each model that are drawn on the CPU too, pixel for pixel."""
MODELS = {"gan": 0.01, "diffusion": 0.01, "pixelcnn": 0.05, "transformer": 0.05}
"""Share of images that may differ by more than a grey level: a rounding may turn a pixel or a
token, and then all after it."""
AS_CPU = "share of images as on the CPU"


def main() -> int:
    """Measure, print and write; 1 if something disagrees."""
    parser = harness.parser(BENCHMARK, 2000, 3, (__doc__ or "").split("\n")[0])
    what = "two folders, of which the first files are taken"
    parser.add_argument("--images", nargs=2, type=Path, metavar=SIDES, help=what)
    given: argparse.Namespace = parser.parse_args()
    if given.child:
        return harness.child(BENCHMARK, *given.child)
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return 0
    name = torch.cuda.get_device_name()
    write = partial(write_inputs, images=given.images, n=given.n)
    stage = Stage(harness.chosen(BENCHMARK, given), given.n, given.repeats, write)
    kind = "files of two folders" if given.images else "made JPEGs of 32x32 pixels"
    told = f"{name}; n = {given.n:,} on each side, {kind}; random weights; the first call counts"
    return harness.run(BENCHMARK, given, [stage], {"gpu": name, "images": kind}, told)


def drawn(model: str, device: str) -> Callable[[Inputs], Work]:
    """Images of a bundled model; on the card, the first ones are held against the CPU's."""

    def load(inputs: Inputs) -> Work:
        expected = _images(model, "cpu", min(FEW, inputs.n)) if device != "cpu" else None

        def work() -> Values:
            images = _images(model, device, inputs.n)
            if expected is None:
                return {AS_CPU: 1.0}
            apart = (images[:FEW].int() - expected.int()).abs().flatten(1).amax(dim=1)
            return {AS_CPU: float((apart <= 1).double().mean())}

        return work

    return load


def _images(model: str, device: str, n: int) -> Tensor:
    registered = host().find("generator", f"benchgen/mnist-{model}")
    source = GeneratedSource(registered, {}, seed=0, device=device)
    return torch.cat([batch.images for batch in source.read(range(n), BATCH)])


BENCHMARK = Benchmark(
    title="On a graphics card",
    script=Path(__file__),
    claims=(
        Claim(
            "fid",
            "Two folders to FID",
            [
                Contestant("benchgen, fid", benchgen_run("tf1", "fid", device=GPU)),
                Contestant("torch-fidelity", partial(torch_fidelity, device=GPU), 0.0, AGREE),
                Contestant(
                    "benchgen, fid in bfloat16",
                    benchgen_run("tf1", "fid", device=GPU, arithmetic="bfloat16"),
                ),
            ],
            memory="total",
        ),
        *(
            Claim(
                model,
                f"Images of `mnist-{model}`",
                [
                    Contestant("benchgen, GPU", drawn(model, GPU)),
                    Contestant("benchgen, CPU", drawn(model, "cpu"), turned),
                ],
                memory="total",
            )
            for model, turned in MODELS.items()
        ),
    ),
    packages=("benchgen", "torch", "torch-fidelity", "numpy", "scipy", "pillow"),
    read=Inputs,
)

if __name__ == "__main__":
    sys.exit(main())
