"""Do the features order sets of photographs as a person would? FID and KID tell.

    python benchmarks/order.py CIFAR [--n 2000] [--only-class horse] [--seed 0] [--out FILE]

CIFAR is a folder with ``train/<class>/*.jpg`` and ``test/<class>/*.jpg`` (or PNG), as CIFAR-10 is
often unpacked. Against n training images stand n test images, n training images of one class (none
of which is among the first), and copies of those test images: blurred, and compressed as JPEG.
Images are drawn at random; the seed decides which.

Prints one table, and writes it as JSON and, beside it, as Markdown. Exits with 1 where the test
images are not the nearest.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchgen_efficientnet_lite.extractor import load
from PIL import Image, ImageFilter
from torch import Tensor

import benchgen

METRICS = ("fid", "fid-corrected", "kid")
DEFAULT_OUT = Path(__file__).parent / "order.json"

Change = Callable[[Image.Image], Image.Image]


def main() -> int:
    """Run the comparison; 0 where the order is as expected."""
    given = _arguments()
    rows = _rows(given)
    report = {
        "n": given.n,
        "seed": given.seed,
        "extractor": dict(load("cpu").fingerprint),
        "torch": torch.__version__,
        "rows": rows,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    table = _table(rows, given.n)
    given.out.with_suffix(".md").write_text(table)
    print(table)
    near, *others = (row["kid"]["value"] for row in rows)
    return 0 if all(near < other for other in others) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cifar", type=Path, help="folder with train/ and test/")
    parser.add_argument("--n", type=int, default=2000, help="images in each set")
    parser.add_argument("--only-class", default="horse", help="the class that stands alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    return parser.parse_args()


def _rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    draw = np.random.default_rng(given.seed)
    real = _draw(draw, _files(given.cifar / "train"), given.n)
    test = _draw(draw, _files(given.cifar / "test"), given.n)
    alone = _files(given.cifar / "train" / given.only_class)
    alone = _draw(draw, sorted(set(alone) - set(real)), given.n)
    sets: list[tuple[str, Sequence[Path], Change]] = [
        ("test images, all classes", test, lambda image: image),
        ("the same, JPEG quality 20", test, _compressed(20)),
        ("the same, blurred by 0.5 pixels", test, _blurred(0.5)),
        ("the same, blurred by 1 pixel", test, _blurred(1.0)),
        (f"training images of one class ({given.only_class})", alone, lambda image: image),
    ]
    extract = _Features()
    reference = extract("training images, all classes", real, lambda image: image)
    return [
        {"set": name, **_scores(extract(name, files, change), reference)}
        for name, files, change in sets
    ]


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"})
    if not found:
        sys.exit(f"{folder} holds no .jpg or .png files; expected CIFAR-10 in folders by class")
    return found


def _draw(draw: np.random.Generator, files: Sequence[Path], n: int) -> list[Path]:
    if len(files) < n:
        sys.exit(f"--n is {n}, but a set has {len(files)} images")
    return [files[i] for i in draw.choice(len(files), n, replace=False)]


def _blurred(sigma: float) -> Change:
    return lambda image: image.filter(ImageFilter.GaussianBlur(sigma))


def _compressed(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        return Image.open(stream).convert("RGB")

    return change


class _Features:
    """Extracts a set at a time, and says how long it took."""

    def __init__(self) -> None:
        self._extractor = load("cpu")

    def __call__(self, name: str, files: Sequence[Path], change: Change) -> Tensor:
        started = time.perf_counter()
        images = np.stack([np.asarray(change(Image.open(f).convert("RGB"))) for f in files])
        rows = self._extractor(torch.from_numpy(images).permute(0, 3, 1, 2)).features
        seconds = time.perf_counter() - started
        print(f"{name}: {len(files)} images in {seconds:.0f} s", file=sys.stderr, flush=True)
        return rows


def _scores(fake: Tensor, real: Tensor) -> dict[str, dict[str, float | None]]:
    found = {}
    for metric in METRICS:
        estimate = benchgen.score(metric, fake=fake, real=real)
        found[metric] = {"value": estimate.value, "stderr": estimate.stderr}
    return found


def _table(rows: Sequence[dict[str, Any]], n: int) -> str:
    lines = [
        f"Against {n:,} CIFAR-10 training images, {n:,} of each set; value ± standard error.",
        "",
        "| Set | FID | corrected FID | KID ×1000 |",
        "|---|---:|---:|---:|",
    ]
    for row in rows:
        cells = [
            _cell(row["fid"], 1, 2),
            _cell(row["fid-corrected"], 1, 2),
            _cell(row["kid"], 1000, 2),
        ]
        lines.append(f"| {row['set']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(score: dict[str, float | None], scale: float, digits: int) -> str:
    value, stderr = score["value"], score["stderr"]
    if value is None:
        return "undefined"
    error = "" if stderr is None else f" ± {scale * stderr:.{digits}f}"
    return f"{scale * value:.{digits}f}{error}"


if __name__ == "__main__":
    sys.exit(main())
