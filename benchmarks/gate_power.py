"""How many images the gate needs to tell a change of a bundled model from none.

    python benchmarks/gate_power.py [--repetitions 40] [--out FILE]

`mnist-gan` is compared with itself after a change. Of each change a pool of images passes the digit
network once, and every simulated gate draws its images from the pools: those of the same seeds, or
of others (*unpaired*). It asks of FID, with a margin of 5 % of its value, and of the classes'
shares, at up to seven looks from 156 to 10,000 images. Beside it stands what is done without
errors: two FIDs of 10,000 images of different seeds, whose difference is taken at its word. The
true harm is the mean over the repetitions at 10,000. Prints a table, writes JSON and Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from gate import Scored, Yardstick
from harness import REPORTS, json_file
from torch import Tensor

from benchgen.asked import GateChoice
from benchgen.gate.verdict import Judge
from benchgen.host.loader import host
from benchgen.images.embedded import load_digits
from benchgen.runs.chosen import load_readers
from benchgen.stats.sequential import Looks
from benchgen.suite import Chosen
from reference_models import gan
from reference_models.noise import SeededNoise

SIZES = Looks.halving(10_000, 7, 1).sizes
MARGIN = 0.05
CLASS_SHARES = 0.015
_POOL = 2 * SIZES[-1]
_BATCH = 500
_SUPPRESSED, _BY = 3, 0.3
_FID = ("fid", "digits")
_WEIGHTS = Path(gan.__file__).parent / "weights" / "mnist-gan.safetensors"


@dataclass(frozen=True)
class Pool:
    """What the digit network says of images ``0 .. _POOL - 1``: features, and classes' names."""

    features: Tensor
    classes: np.ndarray


@dataclass(frozen=True)
class Row:
    """One question about one change, asked of same or other seeds.

    Attributes:
        harm: What the change truly does, in the question's unit; ``margin`` what is put up with.
        right: The verdict that is true.
        share: How often it was given; ``false`` how often its opposite was.
        images: Median number at which a verdict was in, or that the gate says it needs.
        within: Share of gates with a verdict at all.
    """

    change: str
    question: str
    paired: bool
    harm: float
    margin: float
    right: str
    share: float
    false: float
    images: float
    within: float


@dataclass(frozen=True)
class Peer:
    """Two FIDs at 10,000, compared at their word."""

    change: str
    right: float


def _rounded(bits: int, together: int | None = None) -> Callable[[Tensor], Tensor]:
    """Whole steps of the largest of so many weights of a row; None: of the whole row."""

    def edit(weights: Tensor) -> Tensor:
        most = 2 ** (bits - 1) - 1
        rows = weights.flatten(1)
        width = rows.shape[1] if together is None else together
        groups = F.pad(rows, (0, -rows.shape[1] % width)).unflatten(1, (-1, width))
        step = groups.abs().amax(2, keepdim=True).clamp_min(1e-12) / most
        rounded = ((groups / step).round() * step).flatten(1)[:, : rows.shape[1]]
        return rounded.reshape(weights.shape)

    return edit


def _noisy(weights: Tensor) -> Tensor:
    noise = torch.randn(weights.shape, generator=torch.Generator().manual_seed(0))
    return weights + 0.05 * weights.std() * noise


WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "weights in bfloat16": lambda weights: weights.bfloat16().float(),
    "weights in int8": _rounded(8),
    "weights in int4, a scale for 32": _rounded(4, together=32),
    "weights in int4, a scale for 128": _rounded(4, together=128),
    "weights in int4, a scale a row": _rounded(4),
    "weight noise of 5 %": _noisy,
}
OTHERS = (f"class {_SUPPRESSED} suppressed by {_BY:.0%}", "slight blur")
"""Changes of what is asked for, or of the images made."""


def pool(change: str | None) -> Pool:
    """Of the model after a change, or as it ships."""
    [reader] = load_readers(host(), "extractor", [Chosen(id="digits")], "cpu")
    model = gan.load(_WEIGHTS)
    if change in WEIGHTS:
        edited = {
            name: WEIGHTS[change](one) if one.dim() > 1 else one
            for name, one in model.state_dict().items()
        }
        model.load_state_dict(edited)
    labels = torch.arange(_POOL) % 10
    if change == OTHERS[0]:
        random = torch.Generator().manual_seed(0)
        moved = (labels == _SUPPRESSED) & (torch.rand(_POOL, generator=random) < _BY)
        others = (_SUPPRESSED + torch.randint(1, 10, (_POOL,), generator=random)) % 10
        labels = torch.where(moved, others, labels)
    features, classes = [], []
    for place, told in enumerate(labels.split(_BATCH)):
        images = model.sample(SeededNoise(len(told), seed=place), told)
        if change == OTHERS[1]:
            line = torch.tensor([0.107, 0.786, 0.107])  # a Gaussian of half a pixel
            images = F.conv2d(images, (line[:, None] * line).expand(1, 1, 3, 3), padding=1)
        levels = (images * 255).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
        read = reader.read(levels)
        assert read.logits is not None
        features.append(read.features)
        classes.append(read.logits.argmax(dim=1))
    return Pool(torch.cat(features), torch.cat(classes).numpy().astype(str))


def _drawn(random: np.random.Generator, paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images before and now, ten neighbours at a time: one of each class."""
    tens = random.permutation(_POOL // 10)
    indices = (10 * tens[:, None] + np.arange(10)).reshape(-1)
    before, others = np.split(indices, 2)
    return before, before if paired else others


def simulate(yardstick: Yardstick, base: Pool, change: str, repetitions: int) -> list[Row | Peer]:
    """Gates of one change: rows of same seeds, of others, and what two FIDs would say."""
    now = pool(change)
    found: dict[bool, list[dict[str, tuple[str, float]]]] = {True: [], False: []}
    harms: dict[bool, list[float]] = {True: [], False: []}
    margins: list[float] = []
    for repetition in range(repetitions):
        for paired in found:
            random = np.random.default_rng(repetition)
            first, second = _drawn(random, paired)
            before = Scored(yardstick, base.features[first], 0, SIZES, base.classes[first])
            after = Scored(
                yardstick, now.features[second], 0 if paired else 1, SIZES, now.classes[second]
            )
            found[paired].append(_asked(yardstick, before, after))
            was, is_now = before.value(_FID), after.value(_FID)
            assert was is not None
            assert is_now is not None
            harms[paired].append(is_now - was)
            margins.append(MARGIN * was)
    shares = np.mean([now.classes == str(c) for c in range(10)], axis=1)
    shares -= np.mean([base.classes == str(c) for c in range(10)], axis=1)
    truths = {
        "FID": (float(np.mean(harms[True])), float(np.mean(margins))),
        "class shares": (float(np.abs(shares).max()), CLASS_SHARES),
    }
    rows: list[Row | Peer] = [
        _row(change, question, paired, *truths[question], [one[question] for one in found[paired]])
        for question in truths
        for paired in found
    ]
    harm, margin = truths["FID"]
    told = np.array(harms[False]) > np.array(margins[1::2])
    return [*rows, Peer(change, float(np.mean(told == (harm > margin))))]


def _asked(yardstick: Yardstick, before: Scored, now: Scored) -> dict[str, tuple[str, float]]:
    """By question, the verdict, and the images at which it was in."""
    margins: dict[str, float | str] = {"fid": f"{100 * MARGIN:g}%"}
    asked = GateChoice(margins=margins, class_shares=CLASS_SHARES)
    judge = Judge(asked, yardstick.keys, {"gan": before})
    for place in range(len(SIZES)):
        judge.look("gan", place, now.snapshot(place))
        if not judge.open("gan"):
            break
    judge.close("gan")
    told = {}
    for record in judge.records:
        question = "FID" if record.check.startswith("fid") else "class shares"
        images = record.n if record.verdict != "inconclusive" else record.needed
        told[question] = (str(record.verdict), float(images or np.inf))
    return told


def _row(
    change: str,
    question: str,
    paired: bool,
    harm: float,
    margin: float,
    told: list[tuple[str, float]],
) -> Row:
    harmed = harm > margin
    fine = ("unchanged", "improved")
    right, wrong = (("degraded",), fine) if harmed else (fine, ("degraded",))
    words = [word for word, _ in told]
    return Row(
        change=change,
        question=question,
        paired=paired,
        harm=harm,
        margin=margin,
        right="degraded" if harmed else "unchanged",
        share=float(np.mean([word in right for word in words])),
        false=float(np.mean([word in wrong for word in words])),
        images=float(np.median([images for _, images in told])),
        within=float(np.mean([word != "inconclusive" for word in words])),
    )


def main() -> int:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--out", type=json_file, default=REPORTS / "gate_power.json")
    given = parser.parse_args()
    begun = time.perf_counter()
    [reader] = load_readers(host(), "extractor", [Chosen(id="digits")], "cpu")
    digits = load_digits("reference")
    real = torch.cat(
        [reader.read(b.images).features for b in digits.read(range(digits.size), _BATCH)]
    )
    yardstick, base = Yardstick(["fid"], real), pool(None)
    rows: list[Row] = []
    peers: dict[str, Peer] = {}
    for change in (*WEIGHTS, *OTHERS):
        for one in simulate(yardstick, base, change, given.repetitions):
            if isinstance(one, Peer):
                peers[change] = one
            else:
                rows.append(one)
        for line in _lines([row for row in rows if row.change == change], peers):
            print(line, flush=True)
    _write(given.out, rows, peers, given.repetitions, time.perf_counter() - begun)
    return 0


def _lines(rows: list[Row], peers: dict[str, Peer]) -> list[str]:
    found = []
    for paired, other in zip(rows[::2], rows[1::2], strict=True):
        is_fid = paired.question == "FID"
        unit = "{:.3g}" if is_fid else "{:.2%}"
        ratio = other.images / paired.images
        found.append(
            f"| {paired.change} | {paired.question} | {unit.format(paired.harm)} | "
            f"{unit.format(paired.margin)} | {paired.right} | {_told(paired)} | {_told(other)} | "
            f"{ratio:,.0f}× | "
            + (f"right {peers[paired.change].right:.0%}" if is_fid else "—")
            + " |"
        )
    return found


def _told(row: Row) -> str:
    more = "" if row.within >= 0.5 else " needed"
    images = f"{row.images:,.0f}{more}" if np.isfinite(row.images) else "not to be told"
    return f"{images} (right {row.share:.0%}, wrong {row.false:.0%})"


def _write(
    out: Path, rows: list[Row], peers: dict[str, Peer], repetitions: int, seconds: float
) -> None:
    document = {
        "sizes": SIZES,
        "pool": _POOL,
        "repetitions": repetitions,
        "seconds": round(seconds),
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
        "peers": [asdict(peer) for peer in peers.values()],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    told = [
        "# How many images the gate needs",
        "",
        f"`mnist-gan` against itself after a change, digit features, {repetitions} simulated gates "
        f"a line, up to {SIZES[-1]:,} images in {len(SIZES)} looks, alpha 5 %; margins: "
        f"{MARGIN:.0%} of FID, {CLASS_SHARES:.1%} of the images for a class. *Images*: the median "
        "at which the verdict was in; where most gates ended without one, what they say is "
        "needed. *Two FIDs*: "
        f"how often the bare difference of two FIDs at {SIZES[-1]:,} images of different seeds "
        "falls on the right side of the margin.",
        "",
        "| change | question | true harm | margin | right verdict | images, same seeds "
        f"| images, other seeds | ratio | two FIDs at {SIZES[-1]:,} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *_lines(rows, peers),
    ]
    out.with_suffix(".md").write_text("\n".join(told) + "\n")


if __name__ == "__main__":
    sys.exit(main())
