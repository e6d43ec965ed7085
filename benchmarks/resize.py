"""What resizing costs, beside the tools whose rules these are.

    python benchmarks/resize.py [--sides 32,256,1024] [--size 299] [--threads 1] [--out FILE]

Prints one table: milliseconds of processor time an image, benchgen's and the tool's, the ratio, and
the largest difference in units of the value range; ``--out`` writes it as Markdown too. Exits with
1 where values differ by more than 1e-5 of the range.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchgen.images.resize import Rule, resize

ALLOWED = 1e-5
ROUNDS = 9
# At once: as many as an extractor takes, and few enough that no time goes into fresh memory.
IMAGES = 16

Tool = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Row:
    """One rule at one side; times in milliseconds an image."""

    rule: str
    tool: str
    side: int
    ours: float
    theirs: float
    difference: float


def main() -> int:
    """Measure; 0 where all values agree."""
    given = _arguments()
    torch.set_num_threads(given.threads)
    sides = [int(side) for side in given.sides.split(",")]
    rows = [
        measure(rule, name, tool, side, given.size)
        for rule, (name, tool) in TOOLS.items()
        for side in sides
    ]
    text = table(rows, given.size, given.threads)
    print(text)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(text)
    return 0 if all(row.difference <= ALLOWED for row in rows) else 1


def measure(rule: Rule, name: str, tool: Tool, side: int, size: int) -> Row:
    """Time both on the same noise, and compare."""
    count = max(2, min(IMAGES, (1024 // side) ** 2))
    generator = torch.Generator().manual_seed(side)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    apart = (resize(images, size, rule) - tool(images, size)).abs().max()
    return Row(
        rule,
        name,
        side,
        _milliseconds(lambda: resize(images, size, rule)) / count,
        _milliseconds(lambda: tool(images, size)) / count,
        float(apart) / 255,
    )


def table(rows: Sequence[Row], size: int, threads: int) -> str:
    """The rows as Markdown."""
    lines = [
        f"Noise, to {size}x{size}, {threads} thread(s), {IMAGES} images or fewer at once.",
        "",
        "| Rule | Tool | Side | benchgen, ms | tool, ms | ratio | largest difference |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.rule} | {row.tool} | {row.side} | {row.ours:.2f} | {row.theirs:.2f} | "
        f"{row.theirs / row.ours:.1f}x | {row.difference:.0e} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sides", default="32,64,256,512,1024", help="of the images, in pixels")
    parser.add_argument("--size", type=int, default=299, help="of the result, in pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def _milliseconds(work: Callable[[], object]) -> float:
    work()
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return 1000 * min(found)


def _torch_fidelity(images: Tensor, size: int) -> Tensor:
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x as theirs,
    )

    resized: Tensor = theirs(images.float(), size=(size, size), align_corners=False)
    return resized


def _pytorch_fid(images: Tensor, size: int) -> Tensor:
    return 255 * F.interpolate(images / 255, (size, size), mode="bilinear", align_corners=False)


def _clean_fid(images: Tensor, size: int) -> Tensor:
    planes = images.flatten(0, 1).numpy().astype(np.float32)
    small = [_bicubic(Image.fromarray(plane), size) for plane in planes]
    return torch.from_numpy(np.stack(small)).clamp(0, 255).view(-1, 3, size, size)


def _torchvision(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)


def _pillow(images: Tensor, size: int) -> Tensor:
    whole = images.permute(0, 2, 3, 1).contiguous().numpy()
    small = [_bicubic(Image.fromarray(image), size) for image in whole]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float()


def _bicubic(image: Image.Image, size: int) -> np.ndarray:
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


TOOLS: dict[Rule, tuple[str, Tool]] = {
    "tf1": ("torch-fidelity", _torch_fidelity),
    "pytorch-fid": ("pytorch-fid", _pytorch_fid),
    "clean": ("Pillow, as clean-fid", _clean_fid),
    "torchvision-antialias": ("torch", _torchvision),
    "pillow-bicubic": ("Pillow, as dgm-eval", _pillow),
}


if __name__ == "__main__":
    sys.exit(main())
