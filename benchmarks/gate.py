"""How often a gate is wrong, by simulation on the features of a bundled model.

    python benchmarks/gate.py [--repetitions 2000] [--out FILE]

A pool of images of `mnist-gan` passes the digit network once. Each simulated gate draws a baseline
and what is compared with it from that pool, and asks of five metrics, with looks and with one look
at the budget. The margin is 0 where nothing is wrong: the hardest null. Where the true harm equals
the margin, the model is mixed with blurred images of its own, and each metric's margin is its mean
harm over the repetitions; there half as many repetitions tell as much, and a tenth where nothing
changed at all. Prints a table, writes JSON and Markdown, and exits with 1 if a rate is above 6.5 %
(alpha is 5 %).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from harness import REPORTS, json_file
from torch import Tensor

from benchgen.asked import GateChoice
from benchgen.gate.snapshot import Classes, Key, Snapshot, against_this_reference
from benchgen.gate.verdict import Judge
from benchgen.host.loader import host
from benchgen.images.embedded import load_digits
from benchgen.images.generated import GeneratedSource
from benchgen.metrics.base import TensorFeatures
from benchgen.runs.chosen import load_metrics, load_readers
from benchgen.runs.documents import MetricRecord, SourceRecord
from benchgen.runs.records import metric_record
from benchgen.runs.scoring import estimates
from benchgen.stats.estimates import Estimate
from benchgen.suite import Chosen, MetricChoice

METRICS = ("fid", "kid", "precision", "recall", "coverage")
SIZES = (125, 250, 500)
REAL = 1000
ALLOWED = 0.065
WORKERS = 2
_BATCH = 500
_BLURRED = 0.5
"""Share of images that the worse model blurs."""

Draw = Callable[[np.random.Generator, int], tuple[Tensor, Tensor, bool]]


@dataclass(frozen=True)
class Row:
    """One situation under one design: how often a wrong verdict was given.

    ``wrong`` is the share of gates with any false "degraded" (or, at the margin, the largest share
    over the metrics of a false "unchanged"); ``images`` the mean number looked at.
    """

    situation: str
    looks: int
    claim: str
    gates: int
    wrong: float
    images: float
    by_metric: dict[str, float]


@cache
def pools(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features ``[count, d]`` of the model, of the same images blurred, and of real digits."""
    plugins = host()
    [reader] = load_readers(plugins, "extractor", [Chosen(id="digits")], "cpu")
    registered = plugins.find("generator", "benchgen/mnist-gan")
    source = GeneratedSource(registered, {}, seed=0)
    line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (line[:, None] * line).expand(3, 1, 5, 5)
    sharp, blurred = [], []
    for batch in source.read(range(count), _BATCH):
        soft = F.conv2d(batch.images.float(), kernel, padding=2, groups=3).round().to(torch.uint8)
        sharp.append(reader.read(batch.images).features)
        blurred.append(reader.read(soft).features)
    digits = load_digits("reference")
    real = [reader.read(b.images).features for b in digits.read(range(REAL), _BATCH)]
    return torch.cat(sharp), torch.cat(blurred), torch.cat(real)


class Yardstick:
    """Metrics of features against one set of real ones, as gates compare them."""

    def __init__(self, metrics: Sequence[str], real: Tensor) -> None:
        self._metrics = list(load_metrics(host(), [MetricChoice(id=name) for name in metrics]))
        self._references = (TensorFeatures(real),)
        self._ready = {id(m.family): m.family.prepare(*self._references) for m in self._metrics}
        self.keys: dict[Key, MetricRecord] = {
            (m.label, "digits"): metric_record(m) for m in self._metrics
        }

    def snapshot(self, features: Tensor, seed: int, seen: Mapping[str, Classes]) -> Snapshot:
        """What a baseline keeps of these features ``[n, d]``, made from that seed."""
        rows = TensorFeatures(features)
        computed: dict[int, Mapping[str, Estimate]] = {}
        found = {}
        for metric, key in zip(self._metrics, self.keys, strict=True):
            family = id(metric.family)
            if family not in computed:
                computed[family] = estimates(
                    metric.family, self._ready[family], rows, self._references
                )
            one = computed[family][metric.spec.name]
            found[key] = against_this_reference(one, one.influence.fake, key)
        source = SourceRecord(
            name="gan", kind="generator", id="gan", fingerprint="", seed=seed, index_pure=True
        )
        same: dict[Key, dict[str, Any]] = {key: {} for key in found}
        return Snapshot(source, len(features), 0, found, same, seen, None)


class Scored:
    """The metrics of one set of features at each look, as a gate asks for them."""

    def __init__(
        self,
        yardstick: Yardstick,
        features: Tensor,
        seed: int,
        sizes: tuple[int, ...],
        classes: np.ndarray | None = None,
    ) -> None:
        self.sizes = sizes
        self._yardstick, self._features, self._seed = yardstick, features, seed
        self._classes = classes
        self._taken: dict[int, Snapshot] = {}

    def value(self, key: Key) -> float | None:
        return self.at(self.sizes[-1]).estimates[key].value

    def snapshot(self, place: int) -> Snapshot:
        return self.at(self.sizes[place])

    def at(self, n: int) -> Snapshot:
        """The snapshot of the first ``n``."""
        if n not in self._taken:
            seen = {}
            if self._classes is not None:
                seen["digits"] = Classes(tuple(map(str, range(10))), {}, self._classes[:n])
            self._taken[n] = self._yardstick.snapshot(self._features[:n], self._seed, seen)
        return self._taken[n]


class _LastLook:
    """The same, looked at once."""

    def __init__(self, scored: Scored) -> None:
        self.sizes = scored.sizes[-1:]
        self.value = scored.value
        self._scored = scored

    def snapshot(self, place: int) -> Snapshot:
        return self._scored.at(self.sizes[place])


@cache
def _yardstick() -> Yardstick:
    return Yardstick(METRICS, pools(_POOL)[2])


def _new_seeds(random: np.random.Generator, n: int) -> tuple[Tensor, Tensor, bool]:
    sharp, _, _ = pools(_POOL)
    chosen = random.choice(len(sharp), 2 * n, replace=False)
    return sharp[chosen[:n]], sharp[chosen[n:]], False


def _half_redrawn(random: np.random.Generator, n: int) -> tuple[Tensor, Tensor, bool]:
    """Paired; half of the images are others of the same model."""
    before, other, _ = _new_seeds(random, n)
    kept = torch.from_numpy(random.random(n) < 0.5)[:, None]
    return before, torch.where(kept, before, other), True


def _unchanged(random: np.random.Generator, n: int) -> tuple[Tensor, Tensor, bool]:
    before, _, _ = _new_seeds(random, n)
    return before, before.clone(), True


def _worse(paired: bool) -> Draw:
    def draw(random: np.random.Generator, n: int) -> tuple[Tensor, Tensor, bool]:
        sharp, blurred, _ = pools(_POOL)
        first = random.choice(len(sharp), 2 * n, replace=False)
        second = first[:n] if paired else first[n:]
        soft = torch.from_numpy(random.random(n) < _BLURRED)[:, None]
        return sharp[first[:n]], torch.where(soft, blurred[second], sharp[second]), paired

    return draw


NULL: dict[str, Draw] = {
    "same seeds, nothing changed": _unchanged,
    "same seeds, half of the images redrawn": _half_redrawn,
    "new seeds": _new_seeds,
}
AT_MARGIN: dict[str, Draw] = {
    "same seeds, half of the images blurred": _worse(True),
    "new seeds, half of the images blurred": _worse(False),
}
_POOL = 40_000
_SEED = 1
"""Of all draws: not those on which the gate's constants were set, which had none."""


def _pair(situation: str, repetition: int) -> tuple[Scored, Scored]:
    draw = (NULL | AT_MARGIN)[situation]
    before, now, paired = draw(np.random.default_rng([_SEED, repetition]), SIZES[-1])
    seed = 0 if paired else 1
    return Scored(_yardstick(), before, 0, SIZES), Scored(_yardstick(), now, seed, SIZES)


def _judged(
    before: Scored, now: Scored, margins: dict[str, float], once: bool
) -> tuple[dict[str, str], int]:
    """The verdict of each metric, and the images looked at."""
    asked = GateChoice(margins=margins, class_shares=0.0)
    accepted, made = (_LastLook(before), _LastLook(now)) if once else (before, now)
    judge = Judge(asked, _yardstick().keys, {"gan": accepted})
    for place in range(len(accepted.sizes)):
        judge.look("gan", place, made.snapshot(place))
        if not judge.open("gan"):
            break
    judge.close("gan")
    told = {record.check.partition("@")[0]: str(record.verdict) for record in judge.records}
    return told, accepted.sizes[place]


def _null(job: tuple[str, int]) -> list[tuple[dict[str, str], int]]:
    torch.set_num_threads(1)
    before, now = _pair(*job)
    margins = dict.fromkeys(METRICS, 0.0)
    return [_judged(before, now, margins, once) for once in (False, True)]


def _harms(job: tuple[str, int]) -> dict[str, float]:
    torch.set_num_threads(1)
    before, now = _pair(*job)
    harms = {}
    for key, metric in _yardstick().keys.items():
        sign = 1 if metric.direction == "lower" else -1
        harms[metric.id] = sign * ((now.value(key) or 0.0) - (before.value(key) or 0.0))
    return harms


def _at_margin(job: tuple[str, int, dict[str, float]]) -> list[tuple[dict[str, str], int]]:
    torch.set_num_threads(1)
    before, now = _pair(*job[:2])
    return [_judged(before, now, job[2], once) for once in (False, True)]


def main() -> int:
    """Simulate, print and write; 1 if a rate is above what is allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--out", type=json_file, default=REPORTS / "gate.json")
    given = parser.parse_args()
    begun = time.perf_counter()
    _yardstick()
    rows: list[Row] = []
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as workers:
        for situation, draw in NULL.items():
            count = given.repetitions // 10 if draw is _unchanged else given.repetitions
            jobs = [(situation, r) for r in range(max(1, count))]
            found = list(workers.map(_null, jobs, chunksize=8))
            for place, looks in enumerate((len(SIZES), 1)):
                rows.append(_row(situation, looks, "degraded", [one[place] for one in found]))
                print(_line(rows[-1]), flush=True)
            _write(given.out, rows, time.perf_counter() - begun)
        for situation in AT_MARGIN:
            jobs = [(situation, r) for r in range(max(1, given.repetitions // 2))]
            harms = list(workers.map(_harms, jobs, chunksize=8))
            margins = {name: float(np.mean([h[name] for h in harms])) for name in METRICS}
            asked = [(*job, margins) for job in jobs]
            found = list(workers.map(_at_margin, asked, chunksize=8))
            for place, looks in enumerate((len(SIZES), 1)):
                rows.append(_row(situation, looks, "unchanged", [one[place] for one in found]))
                print(_line(rows[-1]), flush=True)
    failures = _write(given.out, rows, time.perf_counter() - begun)
    print("\n".join(failures))
    return int(bool(failures))


def _row(situation: str, looks: int, claim: str, found: list[tuple[dict[str, str], int]]) -> Row:
    false = {"degraded": ("degraded",), "unchanged": ("unchanged", "improved")}[claim]
    each = {
        name: float(np.mean([told.get(name) in false for told, _ in found])) for name in METRICS
    }
    anywhere = float(np.mean([any(v in false for v in told.values()) for told, _ in found]))
    wrong = anywhere if claim == "degraded" else max(each.values())
    images = float(np.mean([n for _, n in found]))
    return Row(situation, looks, claim, len(found), wrong, images, each)


def _line(row: Row) -> str:
    each = " | ".join(f"{row.by_metric[name]:.1%}" for name in METRICS)
    return (
        f"| {row.situation} | {row.gates:,} | {row.looks} | {row.claim} | {row.wrong:.1%} "
        f"| {row.images:,.0f} | {each} |"
    )


def _write(out: Path, rows: list[Row], seconds: float) -> list[str]:
    """Write what there is; return the claims that do not hold."""
    failures = [
        f"{row.situation}, {row.looks} look(s): {row.wrong:.1%} falsely {row.claim}"
        for row in rows
        if row.wrong > ALLOWED
    ]
    document = {
        "sizes": SIZES,
        "pool": _POOL,
        "seconds": round(seconds),
        "torch": torch.__version__,
        "rows": [asdict(row) for row in rows],
        "failures": failures,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    told = [
        "# How often the gate is wrong",
        "",
        f"Simulated gates on digit features of `mnist-gan`, budget {SIZES[-1]:,} "
        f"images against {REAL:,} real ones, alpha 5 %, five metrics. {WORKERS} "
        f"processes, {seconds / 60:.0f} min. "
        "A false *degraded* counts where any of the five is; margin 0, nothing is wrong. A false "
        "*unchanged* is counted for each metric, its margin being the true harm; the largest "
        "share stands in the column *wrong*.",
        "",
        "| situation | gates | looks | false verdict | wrong | images | "
        + " | ".join(METRICS)
        + " |",
        "| --- | --- | --- | --- | --- | --- | " + " | ".join("---" for _ in METRICS) + " |",
        *map(_line, rows),
        "",
        *(f"- {failure}" for failure in failures),
    ]
    out.with_suffix(".md").write_text("\n".join(told).rstrip() + "\n")
    return failures


if __name__ == "__main__":
    sys.exit(main())
