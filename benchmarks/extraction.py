"""From two folders of images to FID, against other tools, with the same weights.

    python benchmarks/extraction.py [--images REAL FAKE] [--n 2000] [--only tf1 network]

Inception has random weights, which cost what the published ones do; every tool is given them where
it would load its own. Every measurement has a process of its own, which imports the tool and then
reports the seconds and the memory of all the rest. Without ``--images`` the script makes JPEGs of
32x32 pixels; the claims are made for those of CIFAR-10. Exits with 1 if a claim does not hold or
two values disagree. What cannot run is listed with its reason.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import harness
from claims import Bound, Claim, Contestant
from extraction_inputs import SIDES, SUFFIXES, Inputs, list_images, write_inputs
from extraction_network import eager, matrix_products, prepared, resizing
from extraction_tools import benchgen_run, clean_fid, pytorch_fid, torch_fidelity, torchmetrics
from harness import Benchmark, Stage


def main() -> int:
    """Measure, print and write; 1 if something that was tested does not hold."""
    given = _arguments()
    if given.child:
        return harness.child(BENCHMARK, *given.child)
    claims = harness.chosen(BENCHMARK, given)
    once = ("beside", "doubled")
    write = partial(write_inputs, images=given.images)
    stages = [
        Stage(kept, n, rounds, partial(write, n=n))
        for kept, n, rounds in (
            ([c for c in claims if c.key not in once], given.n, given.repeats),
            ([c for c in claims if c.key == "beside"], given.n, 1),
            ([c for c in claims if c.key == "doubled"], 2 * given.n, 1),
        )
    ]
    kind = "files of two folders" if given.images else "made JPEGs of 32x32 pixels"
    told = (
        f"n = {given.n:,} on each side (twice as many in `doubled`), {kind}; random weights; "
        "`beside` and `doubled` are measured once"
    )
    return harness.run(BENCHMARK, given, stages, {"images": kind}, told)


def _arguments() -> argparse.Namespace:
    parser = harness.parser(BENCHMARK, 2000, 3, (__doc__ or "").split("\n")[0])
    parser.set_defaults(timeout=7200.0)
    what = "two folders, of which the first files are taken"
    parser.add_argument("--images", nargs=2, type=Path, metavar=SIDES, help=what)
    given = parser.parse_args()
    if given.child:
        return given
    if min(given.n // 2, given.repeats, given.threads) < 1:
        parser.error("use at least two images, one round and one thread")
    doubled = any(claim.key == "doubled" for claim in harness.chosen(BENCHMARK, given))
    needed = (1 + doubled) * given.n
    for folder in given.images or ():
        if not folder.is_dir():
            parser.error(f"there is no folder {folder}")
        if (count := len(list_images(folder))) < needed:
            why = "; `doubled` needs twice --n (else --skip doubled)" * doubled
            parser.error(f"{folder} has {count} images ({', '.join(SUFFIXES)}), not {needed}{why}")
    return given


ALL = ("fid", "is", "kid", "precision", "recall")
# What benchgen has its C library do, for everybody: freed memory is kept for the next batch.
SAME_ALLOCATOR = {f"MALLOC_{name}_THRESHOLD_": str(2**30) for name in ("MMAP", "TRIM")}
AGREE = 0.01
"""By how much two tools may differ in FID."""


_FID = Contestant("benchgen, fid", benchgen_run("tf1", "fid"))
_PEER = Contestant("torch-fidelity", torch_fidelity, 0.0, AGREE)
_SMALL = Bound("total", 2048)
_TF1 = "Two folders to FID, resized as TensorFlow 1 does"

CLAIMS = (
    Claim(
        "tf1",
        f"{_TF1}; `defaults`",
        [_FID, Contestant("benchgen, all", benchgen_run("tf1", *ALL), 0.0, AGREE), _PEER],
        [Bound("ratio", 2, "torch-fidelity"), Bound("cost", 1.05, "benchgen, all"), _SMALL],
        memory="total",
    ),
    Claim(
        "same-allocator",
        f"{_TF1}; `same-allocator`",
        [_FID, _PEER],
        [Bound("ratio", 1.7, "torch-fidelity"), _SMALL],
        environment=SAME_ALLOCATOR,
        memory="total",
    ),
    Claim(
        "pytorch-fid",
        "Two folders to FID, resized as pytorch-fid does; `defaults`",
        [
            Contestant("benchgen, fid", benchgen_run("pytorch-fid", "fid")),
            Contestant("pytorch-fid", pytorch_fid, 0.0, AGREE),
        ],
        [Bound("ratio", 2, "pytorch-fid"), _SMALL],
        memory="total",
    ),
    Claim(
        "clean",
        "Two folders to FID, resized as clean-fid does; `defaults`",
        [
            Contestant("benchgen, fid", benchgen_run("clean", "fid")),
            Contestant("clean-fid", clean_fid, 0.0, AGREE),
        ],
        [Bound("ratio", 2, "clean-fid"), _SMALL],
        memory="total",
    ),
    Claim(
        "network",
        "Inception alone, on batches of its input; and resizing 32x32 to that input",
        [
            Contestant("benchgen", prepared),
            Contestant("torch-fidelity", eager, 1e-4),
            Contestant("benchgen, resizing by tf1", resizing("tf1")),
            Contestant("benchgen, resizing by pytorch-fid", resizing("pytorch-fid")),
            Contestant("benchgen, resizing by clean", resizing("clean")),
        ],
        [
            Bound("ratio", 1.4, "torch-fidelity"),
            Bound("cost", 0.03, "benchgen, resizing by tf1"),
            Bound("cost", 0.03, "benchgen, resizing by pytorch-fid"),
            Bound("cost", 0.03, "benchgen, resizing by clean"),
        ],
        memory="total",
    ),
    Claim(
        "products",
        "Inception's rate beside that of products of 2048 x 2048 matrices in float32",
        [Contestant("benchgen", matrix_products)],
        [Bound("value", 0.9, value="share of torch.mm")],
        memory="total",
    ),
    Claim(
        "beside",
        f"{_TF1}: with the row of noise, and beside a tool that resizes by its own rule",
        [
            Contestant(
                "benchgen, fid, with the row of noise", benchgen_run("tf1", "fid", noise=True)
            ),
            Contestant("torchmetrics, resizes by its own rule", torchmetrics),
        ],
        [_SMALL],
        memory="total",
    ),
    Claim(
        "doubled",
        "`doubled`: memory with twice the images",
        [_FID],
        [_SMALL],
        memory="total",
    ),
)

BENCHMARK = Benchmark(
    title="From images to FID, against other tools",
    script=Path(__file__),
    claims=CLAIMS,
    packages=(
        *("benchgen", "torch", "torch-fidelity", "clean-fid", "pytorch-fid", "torchmetrics"),
        *("numpy", "scipy", "pillow"),
    ),
    read=Inputs,
)

if __name__ == "__main__":
    sys.exit(main())
