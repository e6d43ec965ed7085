"""How often the 95 % intervals of every metric hold what they claim, by simulation.

    python benchmarks/coverage.py [--metrics fid,kid] [--short] [--repetitions 1000] [--out FILE]

Prints one table, and writes it as JSON and, beside it, as Markdown. Exits with 1 if a claimed
interval covers in fewer than 92 or more than 98 % of the repetitions, or a case fails.

Features are rectified mixtures of Laplace variables, which are not Gaussian. Repetition r draws
from ``numpy.random.default_rng(r)``, so that the study comes out the same every time. Where no
truth is given, the estimand is the metric's own expectation at this number of images: the mean of
the values over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import json_file
from torch import Tensor

from benchgen.errors import BenchgenError
from benchgen.host.loader import host
from benchgen.host.specs import MetricSpec
from benchgen.metrics.base import Score, TensorFeatures
from benchgen.stats.estimates import Estimate, estimate
from benchgen.stats.paired import Difference, difference

CLAIMED = (0.92, 0.98)
WORKERS = 2
DEFAULT_OUT = Path(__file__).parent.parent / "reports" / "benchmarks" / "coverage.json"

Random = np.random.Generator


@dataclass(frozen=True)
class Inputs:
    """What one repetition draws. ``other`` is a second generator, with the same seeds."""

    fake: Tensor
    references: tuple[Tensor, ...] = ()
    other: Tensor | None = None
    clusters: Tensor | None = None


@dataclass(frozen=True)
class Case:
    """A situation, and the metrics of one family in it.

    Attributes:
        metrics: Metric ids, separated by spaces; the first one's family computes them all.
        situation: What is drawn, in words.
        draw: Makes the inputs of a repetition.
        parameters: Of the family.
        truth: The estimand by metric id, where it is known; the metric's own expectation otherwise.
        main: Whether the short study has it too.
    """

    metrics: str
    situation: str
    draw: Callable[[Random], Inputs]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, float | Callable[[], float]] = field(default_factory=dict)
    main: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.metrics.split())


@dataclass(frozen=True)
class Row:
    """What came of one metric in one case.

    Attributes:
        metric, parameters, situation: Which it is.
        estimand: What the intervals are held against.
        ratio: Root mean square standard error over the standard deviation of the values.
        coverage: Share of the intervals that hold the estimand.
        repetitions: How many values there are.
        no_interval: How many of them came without an interval.
        error: Why the case could not be run.
    """

    metric: str
    parameters: str
    situation: str
    estimand: str
    ratio: float | None
    coverage: float | None
    repetitions: int
    no_interval: int
    error: str | None = None

    @property
    def holds(self) -> bool:
        """Whether every claim made is true; no interval is no claim."""
        if self.error is not None:
            return False
        return self.coverage is None or CLAIMED[0] <= self.coverage <= CLAIMED[1]


# --- What is drawn ------------------------------------------------------------------------------


def features(z: np.ndarray) -> Tensor:
    """Rectified mixtures ``[n, d]`` of independent variables ``[n, d]``."""
    d = z.shape[1]
    mixing = _fixed(1).normal(size=(d, d)) / np.sqrt(d)
    return torch.from_numpy(np.maximum(z @ mixing, 0))


def _fixed(number: int) -> Random:
    """What is the same in all repetitions, and drawn as none of them draws."""
    return np.random.default_rng((2**32, number))


def one(d: int, n: int, m: int, scale: float = 1.0, shift: float = 0.0) -> Any:
    """One generator; at equality unless scaled or shifted."""

    def draw(rng: Random) -> Inputs:
        real = rng.laplace(size=(m, d))
        return Inputs(features(rng.laplace(size=(n, d)) * scale + shift), (features(real),))

    return draw


def alone(d: int, n: int, scale: float = 1.0) -> Any:
    """One generator without a reference."""

    def draw(rng: Random) -> Inputs:
        return Inputs(features(rng.laplace(size=(n, d)) * scale))

    return draw


def two(
    d: int, n: int, m: int, scales: tuple[float, float] = (1.0, 1.0), shift: float = 0.0,
    kept: float = 0.7,
) -> Any:  # fmt: skip
    """Two generators with the same seeds and reference; each keeps a share of the noise."""

    def draw(rng: Random) -> Inputs:
        real, z, fresh = (rng.laplace(size=(rows, d)) for rows in (m, n, n))
        w = np.where(rng.random((n, d)) < kept, z, fresh)
        first, second = (features(x * s + shift) for x, s in zip((z, w), scales, strict=True))
        return Inputs(first, (features(real),), second)

    return draw


def prompts(d: int, count: int, size: int, m: int, shift: float = 0.0) -> Any:
    """Images of ``count`` prompts, about ``size`` of each, alike within a prompt."""

    def draw(rng: Random) -> Inputs:
        labels = np.repeat(np.arange(count), np.arange(count) % 3 + size - 1)
        common = rng.laplace(size=(count, d))[labels]
        own = rng.laplace(size=(len(labels), d))
        fake = 0.5 * common + 0.75**0.5 * own + shift
        real = features(rng.laplace(size=(m, d)))
        return Inputs(features(fake), (real,), clusters=torch.from_numpy(labels))

    return draw


def logits(classes: int, n: int, m: int = 0, second: bool = False, tilt: float = 0.0) -> Any:
    """Class logits, of the generator or two of them, and of a reference where m is given."""

    def answers(rng: Random, rows: int, tilt: float) -> tuple[np.ndarray, np.ndarray]:
        shares = np.exp(tilt * np.linspace(-1, 1, classes))
        labels = rng.choice(classes, size=rows, p=shares / shares.sum())
        return rng.laplace(size=(rows, classes)), np.eye(classes)[labels]

    def draw(rng: Random) -> Inputs:
        noise, sure = answers(rng, n, tilt)
        references: tuple[Tensor, ...] = ()
        if m:
            other, theirs = answers(rng, m, 0.0)
            references = (torch.from_numpy(other + 4 * theirs),)
        worse = 3.5 * sure + noise + 0.5 * rng.laplace(size=noise.shape)
        other_model = torch.from_numpy(worse) if second else None
        return Inputs(torch.from_numpy(4 * sure + noise), references, other_model)

    return draw


def copying(
    d: int, n: int, train: int, test: int = 0, copied: float = 0.0, second: bool = False
) -> Any:
    """A fixed training set, test images where asked for, and a generator that copies a share."""
    known = _fixed(2).laplace(size=(train, d))

    def draw(rng: Random) -> Inputs:
        held_out = (features(rng.laplace(size=(test, d))),) if test else ()
        z = rng.laplace(size=(n, d))
        copies = known[rng.integers(train, size=n)] + 0.02 * rng.normal(size=(n, d))
        chance = rng.random((n, 1))
        fake = features(np.where(chance < copied, copies, z))
        more = features(np.where(chance < 1.5 * copied, copies, z)) if second else None
        return Inputs(fake, (features(known), *held_out), more)

    return draw


def collisions(n: int, kinds: int, d: int = 8) -> Any:
    """Images that repeat: each is one of some kinds, nearly; the reference never repeats."""
    centres = _fixed(3).laplace(size=(kinds, d))

    def draw(rng: Random) -> Inputs:
        fake = centres[rng.integers(kinds, size=n)] + 1e-3 * rng.normal(size=(n, d))
        return Inputs(features(fake), (features(rng.laplace(size=(n, d))),))

    return draw


def bits(n: int) -> Any:
    """Bits per dimension of held-out images under two models."""

    def draw(rng: Random) -> Inputs:
        a = rng.gamma(4.0, size=(n, 1))
        return Inputs(torch.from_numpy(a), (), torch.from_numpy(a + 0.1 * rng.laplace(size=(n, 1))))

    return draw


def population_frechet(d: int, scale: float, shift: float) -> Callable[[], float]:
    """The populations' FID, from the moments of very many images, less what bias is left."""

    def compute() -> float:
        rng = _fixed(4)
        rows = one(d, 400_000, 400_000, scale, shift)(rng)
        return _value("fid-corrected", rows.fake, rows.references)

    return compute


# --- The cases ----------------------------------------------------------------------------------

FID = "fid fid-corrected"
NEIGHBOURS = "precision recall density coverage"

CASES: tuple[Case, ...] = (
    Case(FID, "at equality", one(16, 320, 400), truth={"fid-corrected": 0.0}, main=True),
    Case(FID, "at equality, d 64", one(64, 800, 1000), truth={"fid-corrected": 0.0}),
    Case(
        FID, "away", one(16, 320, 400, 1.1, 0.1),
        truth={"fid-corrected": population_frechet(16, 1.1, 0.1)}, main=True,
    ),
    Case(
        FID, "away, d 64", one(64, 1000, 800, 1.2, 0.2),
        truth={"fid-corrected": population_frechet(64, 1.2, 0.2)},
    ),
    Case(FID, "paired difference at equality", two(16, 320, 400), main=True),
    Case(FID, "paired difference away", two(16, 320, 400, (1.2, 1.3), 0.2), main=True),
    Case(FID, "paired difference, one at equality", two(16, 320, 400, (1.0, 1.1))),
    Case(FID, "clustered", prompts(16, 200, 3, 400, 0.2), main=True),
    Case("fid-inf", "away", one(16, 500, 500, 1.2, 0.2)),
    Case("fid-inf", "at equality", one(16, 500, 500)),
    Case("kid", "at equality", one(16, 320, 400), truth={"kid": 0.0}, main=True),
    Case("kid", "at equality, d 64", one(64, 800, 640), truth={"kid": 0.0}),
    Case("kid", "away", one(16, 320, 400, 1.2, 0.2), main=True),
    Case("kid", "away, d 64", one(64, 800, 640, 1.2, 0.2)),
    Case("kid", "paired difference at equality", two(16, 320, 400), truth={"kid": 0.0}, main=True),
    Case("kid", "paired difference away", two(16, 320, 400, (1.2, 1.3), 0.2), main=True),
    Case("kid", "paired difference, one at equality", two(16, 320, 400, (1.0, 1.1))),
    Case("kid", "clustered", prompts(16, 200, 3, 400, 0.2), main=True),
    Case("cmmd", "at equality", one(32, 320, 400)),
    Case("cmmd", "away", one(16, 320, 400, 1.0, 0.3)),
    Case("cmmd", "paired difference at equality", two(32, 320, 400)),
    Case("cmmd", "paired difference away", two(16, 320, 400, (1.0, 1.2), 0.3)),
    Case("cmmd", "clustered", prompts(16, 200, 3, 400, 0.3)),
    Case("is", "10 classes", logits(10, 400), main=True),
    Case("is", "100 classes", logits(100, 1000)),
    Case("is", "5 splits", logits(10, 400), {"splits": 5}),
    Case("is", "paired difference away", logits(10, 400, second=True), main=True),
    Case(NEIGHBOURS, "at equality", one(16, 320, 400), main=True),
    Case(NEIGHBOURS, "away", one(16, 400, 320, 1.2, 0.2), main=True),
    Case(NEIGHBOURS, "away, k 5", one(32, 640, 400, 1.1, 0.1), {"k": 5}),
    Case(NEIGHBOURS, "paired difference at equality", two(16, 320, 400)),
    Case(NEIGHBOURS, "paired difference away", two(16, 320, 400, (1.2, 1.4), 0.2)),
    Case(NEIGHBOURS, "clustered", prompts(16, 200, 3, 400, 0.2)),
    Case("vendi", "one generator", alone(16, 400)),
    Case("vendi", "q 2", alone(16, 400), {"q": 2.0}),
    Case("vendi", "paired difference", two(32, 400, 1, (1.0, 1.1), 0.2)),
    Case("vendi", "clustered", prompts(16, 200, 3, 1)),
    Case("rke", "bandwidth given", alone(16, 400, 1.1), {"sigma": 3.0}),
    Case("rke", "paired difference", two(16, 400, 300, (1.0, 1.1), 0.2), {"sigma": 3.0}),
    Case("support", "500 images", collisions(400, 500), truth={"support": 500.0}),
    Case("class-kl", "at equality", logits(10, 500, 400), truth={"class-kl": 0.0}),
    Case("class-kl", "away", logits(10, 500, 400, tilt=1.0)),
    Case("class-kl", "paired difference", logits(10, 500, 400, second=True, tilt=1.0)),
    Case("authpct", "copies none", copying(8, 400, 500)),
    Case("authpct", "copies a fifth", copying(8, 400, 500, copied=0.2)),
    Case("authpct", "paired difference", copying(8, 400, 500, copied=0.2, second=True)),
    Case("ct", "copies none", copying(8, 400, 500, test=300)),
    Case("ct", "copies a fifth", copying(8, 400, 500, test=300, copied=0.2)),
    Case("copy-rate", "copies none", copying(8, 400, 500, test=400), {"quantile": 0.05}),
    Case(
        "copy-rate", "copies a fifth", copying(8, 400, 500, test=400, copied=0.2),
        {"quantile": 0.05},
    ),
    Case(
        "copy-rate", "paired difference", copying(8, 400, 500, 400, copied=0.2, second=True),
        {"quantile": 0.05},
    ),
    Case("c2st", "at equality", one(8, 200, 240)),
    Case("c2st", "away", one(8, 200, 240, 1.3, 0.3)),
    Case("nll", "one model", bits(200)),
    Case("nll", "paired difference", bits(200)),
)  # fmt: skip


# --- The study ----------------------------------------------------------------------------------


def study(cases: Sequence[int], repetitions: int = 1000) -> Iterator[list[Row]]:
    """Run cases, by their number in ``CASES``, over so many repetitions in two processes.

    Yields the rows of each case when it is done.
    """
    chunks = [range(i, min(i + 25, repetitions)) for i in range(0, repetitions, 25)]
    jobs = [(case, list(chunk)) for case in cases for chunk in chunks]
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), _one_thread) as pool:
        results = pool.map(_repeat, jobs)
        for case in cases:
            yield _rows(CASES[case], [next(results) for _ in chunks])


def selected(metrics: Sequence[str] | None = None, main: bool = False) -> list[int]:
    """Numbers of the cases that have one of these metrics; of the main ones alone if asked."""
    return [
        number
        for number, case in enumerate(CASES)
        if (not main or case.main) and (metrics is None or set(metrics) & set(case.ids))
    ]


def _one_thread() -> None:
    torch.set_num_threads(1)


def _repeat(job: tuple[int, list[int]]) -> list[dict[str, tuple[float, ...]]] | str:
    """Value, standard error and interval by metric, for each repetition; or what went wrong."""
    case = CASES[job[0]]
    try:
        return [_repetition(case, seed) for seed in job[1]]
    except (BenchgenError, ImportError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"


def _repetition(case: Case, seed: int) -> dict[str, tuple[float, ...]]:
    inputs = case.draw(np.random.default_rng(seed))
    family = _family(case.ids[0], tuple(case.parameters.items()))
    prepared, m = _prepared(case.ids[0], family, inputs.references)
    found: dict[str, tuple[float, ...]] = {}
    ours = family.compute(prepared, TensorFeatures(inputs.fake))
    theirs = None if inputs.other is None else family.compute(
        prepared, TensorFeatures(inputs.other)
    )  # fmt: skip
    for metric in case.ids:
        mine = _estimate(ours[metric], inputs, m)
        seen: Estimate | Difference = mine
        if theirs is not None:
            other = _estimate(theirs[metric], inputs, m)
            seen = difference(mine, other, paired=True, shared_reference=True)
        if seen.value is None:
            continue
        nothing = (math.nan, math.nan)
        stderr = math.nan if seen.stderr is None else seen.stderr
        found[metric] = (seen.value, stderr, *(seen.interval or nothing))
    return found


def _estimate(score: Score, inputs: Inputs, m: int | None) -> Estimate:
    return estimate(score, n=len(inputs.fake), m=m, clusters=inputs.clusters)


@cache
def _family(metric: str, parameters: tuple[tuple[str, Any], ...]) -> Any:
    return host().find("metric", metric).spec.load(**dict(parameters))


def _prepared(metric: str, family: Any, references: Sequence[Tensor]) -> tuple[Any, int | None]:
    spec = host().find("metric", metric).spec
    assert isinstance(spec, MetricSpec)
    sets = [TensorFeatures(rows) for rows in references][: len(spec.compares_with)]
    missing = [None] * (len(spec.compares_with) - len(sets))
    return family.prepare(*sets, *missing), sets[-1].n if sets else None


def _value(metric: str, fake: Tensor, references: Sequence[Tensor]) -> float:
    family = _family(metric, ())
    prepared, _ = _prepared(metric, family, references)
    value = family.compute(prepared, TensorFeatures(fake))[metric].value
    return float(value)


def _rows(case: Case, parts: Sequence[list[dict[str, tuple[float, ...]]] | str]) -> list[Row]:
    said = ", ".join(f"{name} {value}" for name, value in case.parameters.items())
    errors = [part for part in parts if isinstance(part, str)]
    if errors:
        return [
            Row(metric, said, case.situation, "", None, None, 0, 0, errors[0])
            for metric in case.ids
        ]
    repetitions = [found for part in parts if not isinstance(part, str) for found in part]
    return [_row(case, metric, said, repetitions) for metric in case.ids]


def _row(
    case: Case, metric: str, said: str, repetitions: list[dict[str, tuple[float, ...]]]
) -> Row:
    seen = np.array([found[metric] for found in repetitions if metric in found]).reshape(-1, 4)
    value, stderr, lower, upper = seen.T
    claimed = np.isfinite(lower)
    given = case.truth.get(metric)
    truth = float(value.mean()) if given is None else given() if callable(given) else given
    ratio = coverage = None
    if claimed.any():
        spread = float(value.std(ddof=1))
        ratio = float(np.sqrt(np.mean(stderr[claimed] ** 2))) / spread if spread > 0 else None
        coverage = float(np.mean((lower <= truth) & (truth <= upper), where=claimed))
    return Row(
        metric,
        said,
        case.situation,
        "own expectation" if given is None else f"{truth:.4g}",
        ratio,
        coverage,
        len(seen),
        int((~claimed).sum()),
    )


# --- The report ---------------------------------------------------------------------------------

HEADINGS = (
    "metric", "situation", "estimand", "stderr / spread", "coverage %", "repetitions",
    "no interval", "",
)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS)]
    for row in rows:
        name = f"{row.metric} ({row.parameters})" if row.parameters else row.metric
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        coverage = "" if row.coverage is None else f"{100 * row.coverage:.1f}"
        verdict = "" if row.holds else row.error or "outside"
        counts = str(row.repetitions), str(row.no_interval)
        lines.append((name, row.situation, row.estimand, ratio, coverage, *counts, verdict))
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def main() -> int:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(description="Coverage of the 95 % intervals, by simulation.")
    parser.add_argument("--metrics", help="metric ids, separated by commas; all by default")
    parser.add_argument("--short", action="store_true", help="the main cases alone")
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--out", type=json_file, default=DEFAULT_OUT, help="the JSON file to write")
    given = parser.parse_args()
    metrics = None if given.metrics is None else given.metrics.split(",")
    rows: list[Row] = []
    given.out.parent.mkdir(parents=True, exist_ok=True)
    for found in study(selected(metrics, given.short), given.repetitions):
        rows += [row for row in found if metrics is None or row.metric in metrics]
        document = {"claimed": CLAIMED, "rows": [asdict(row) for row in rows]}
        given.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        given.out.with_suffix(".md").write_text(table(rows) + "\n", encoding="utf-8")
        print(f"{len(rows)} rows", end="\r", file=sys.stderr)
    print(table(rows))
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
