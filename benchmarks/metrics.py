"""Time and memory of the metrics against other tools, on the same features.

    python benchmarks/metrics.py [--n 10000] [--d 2048] [--only kid vendi] [--large]

Every measurement has a process of its own, which loads the features, warms up on a few small
rows, and then reports the seconds and the memory of the computation alone. Rounds are interleaved:
each runs every contestant of a claim once, in an order that rotates. Medians are printed as
ratios, and written as JSON and, beside it, as Markdown. Exits with 1 if a claim does not hold or
two values disagree. What cannot run is listed with its reason.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

DEFAULT_OUT = Path(__file__).parent.parent / "reports" / "benchmarks" / "metrics.json"
PACKAGES = (
    *("benchgen", "torch", "torch-fidelity", "clean-fid", "pytorch-fid", "torchmetrics"),
    *("prdc", "vendi-score", "scikit-learn", "numpy", "scipy"),
)
CLASSES = 1008

Array = NDArray[Any]
Values = Mapping[str, float]
Work = Callable[[], Values]


@dataclass(frozen=True)
class Contestant:
    """One way to compute something.

    Attributes:
        name: The distribution that must be installed and, after a comma, which way of several.
        load: Turns the inputs into what the tool takes; returns the computation to measure.
        relative: Largest relative difference from the values of ``same_as``; None where it
            computes something else.
        images: So many images more may fall on the other side (for shares of images).
        same_as: Whose values its own are held against; the first contestant's, where None. Only
            values of the same name are. A value ``sampling_error`` widens the tolerance to five
            times itself.
    """

    name: str
    load: Callable[[Inputs], Work]
    relative: float | None = None
    images: int = 0
    same_as: str | None = None


@dataclass(frozen=True)
class Bound:
    """What is claimed of the first contestant.

    Attributes:
        kind: ``"ratio"``: ``peer`` takes at least ``limit`` times as long. ``"seconds"``: it takes
            at most so many. ``"above"``: its peak is at most so many MiB above the features.
            ``"total"``: its process takes at most so many MiB.
    """

    kind: Literal["ratio", "seconds", "above", "total"]
    limit: float
    peer: str | None = None

    @property
    def promise(self) -> str:
        if self.kind == "ratio":
            return f"at least {self.limit:g}x {self.peer}"
        unit = {"seconds": "s", "above": "MiB above the features", "total": "MiB in all"}[self.kind]
        return f"at most {self.limit:g} {unit}"


@dataclass(frozen=True)
class Claim:
    """Contestants for one computation, benchgen first, and what must hold.

    With ``twice`` a process computes it two times and reports the second: first calls of LAPACK's
    large routines cost up to a second, whoever makes them.
    """

    key: str
    title: str
    contestants: Sequence[Contestant]
    bounds: Sequence[Bound] = ()
    twice: bool = False


@dataclass(frozen=True)
class Measurement:
    """One run of one contestant: seconds, MiB resident before and at the peak, and values."""

    seconds: float
    before: float
    peak: float
    values: Values


@dataclass
class Results:
    """Of one contestant.

    Attributes:
        rounds: A measurement for each round.
        failure: Why there are no more of them.
        apart: Largest relative difference from the values it must agree with, and the allowed one.
    """

    rounds: list[Measurement] = field(default_factory=list)
    failure: str | None = None
    apart: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.rounds)

    @property
    def above(self) -> float:
        return median(run.peak - run.before for run in self.rounds)

    @property
    def total(self) -> float:
        return median(run.peak for run in self.rounds)

    def document(self) -> dict[str, Any]:
        """Medians, where there are any, and all that they were made of."""
        names = ("seconds", "above", "total") if self.rounds else ()
        return {name: getattr(self, name) for name in names} | asdict(self)


@dataclass(frozen=True)
class Verdict:
    """What came of a bound or of an agreement; ``holds`` is None where it could not be tested."""

    text: str
    holds: bool | None


def main() -> int:
    """Measure, print and write; 1 if something that was tested does not hold."""
    given = _arguments()
    if given.child:
        return _child(*given.child)
    chosen = [c for c in CLAIMS if c.key in given.only and c.key not in given.skip]
    found = {c.key: {one.name: Results() for one in c.contestants} for c in chosen}
    if hasattr(os, "sched_setaffinity"):  # some tools start as many threads as they please
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    facts = _facts(given)
    print("\n".join(_told(facts)), flush=True)
    usual, large = ([c for c in chosen if (c.key == "large") is it] for it in (False, True))
    for claims, n, rounds in ((usual, given.n, given.repeats), (large, given.large_n, 1)):
        if claims:
            _measure(claims, found, n, rounds, given)
    verdicts = {c.key: _verdicts(c, found[c.key]) for c in chosen}
    text = "\n\n".join(_section(c, found[c.key], verdicts[c.key]) for c in chosen)
    print(f"\n{text}")
    _write(given.out, facts, chosen, found, verdicts, text)
    bad = any(verdict.holds is False for some in verdicts.values() for verdict in some)
    return int(bad and given.check)


def _arguments() -> argparse.Namespace:
    keys = [claim.key for claim in CLAIMS]
    usual = [key for key in keys if key != "large"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, default=10_000, help="images on each side")
    parser.add_argument("--d", type=int, default=2048, help="feature columns")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--only", nargs="+", choices=keys, default=usual, metavar="CLAIM")
    parser.add_argument("--skip", nargs="+", choices=keys, default=[], metavar="CLAIM")
    parser.add_argument("--large", action="store_true", help="also the claim `large`, once")
    parser.add_argument("--large-n", type=int, default=50_000, help="images of the claim `large`")
    parser.add_argument("--threads", type=int, default=2, help="threads of every contestant")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for a measurement")
    parser.add_argument("--no-check", dest="check", action="store_false", help="always exit with 0")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="the JSON file to write")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.epilog = f"claims: {', '.join(keys)}"
    given = parser.parse_args()
    given.only = [*given.only, "large"] if given.large else given.only
    if min(given.d, given.repeats, given.threads) < 1:
        parser.error("use at least one column, round and thread")
    if min(given.n, given.large_n) < max(200, given.d + 1):
        parser.error("use at least 200 images, and more images than columns")
    return given


def _measure(
    claims: Sequence[Claim],
    found: Mapping[str, Mapping[str, Results]],
    n: int,
    rounds: int,
    given: argparse.Namespace,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, n, given.d)
        for number in range(rounds):
            for claim in claims:
                _round(claim, found[claim.key], folder, number, given)
    for claim in claims:
        results = found[claim.key]
        for one in claim.contestants:
            other = results[one.same_as or claim.contestants[0].name]
            if one.relative is not None and other.rounds:
                values = [run.values for run in results[one.name].rounds]
                results[one.name].apart = apart(one, values, other.rounds[0].values, n)


def _round(
    claim: Claim, found: Mapping[str, Results], folder: Path, number: int, given: argparse.Namespace
) -> None:
    turn = number % len(claim.contestants)
    for one in [*claim.contestants[turn:], *claim.contestants[:turn]]:
        results = found[one.name]
        if results.failure is not None:
            continue
        try:
            results.rounds.append(_measured(claim, one, folder, given))
            told = f"{results.rounds[-1].seconds:.3g} s"
        except _FailedError as error:
            told = results.failure = f"round {number + 1}: {error}"
        print(f"round {number + 1}  {claim.key}  {one.name}: {told}", file=sys.stderr, flush=True)


class _FailedError(Exception):
    """Why a contestant gave no result."""


def _measured(
    claim: Claim, one: Contestant, folder: Path, given: argparse.Namespace
) -> Measurement:
    package = one.name.split(",")[0]
    if _version(package) is None:
        raise _FailedError(f"{package} is not installed")
    threads = str(given.threads)
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")
    command = [sys.executable, __file__, "--child", claim.key, one.name, str(folder), threads]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {f"{library}_NUM_THREADS": threads for library in libraries},
            capture_output=True,
            text=True,
            timeout=given.timeout,
        )
    except subprocess.TimeoutExpired:
        raise _FailedError(f"took more than {given.timeout:g} s") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise _FailedError(f"ended by {name}" + " (out of memory?)" * (name == "SIGKILL"))
    told = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode or not told:
        reason = re.sub(r"/\S*/", "", (told or ["no result"])[-1])  # no paths in what is published
        raise _FailedError(reason.replace("|", "/")[:200])
    measurement = Measurement(**json.loads(told[-1]))
    for name, value in measurement.values.items():
        if not math.isfinite(value):
            raise _FailedError(f"{name} came out as {value}")
    return measurement


def _facts(given: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in PACKAGES},
        "processor": _processor(),
        "cores": os.cpu_count(),
        **{name: getattr(given, name) for name in ("threads", "n", "d", "repeats", "large_n")},
    }


def _told(facts: Mapping[str, Any]) -> list[str]:
    versions = [f"{name} {found or '(none)'}" for name, found in facts["versions"].items()]
    return [
        ", ".join(versions),
        f"{facts['processor']}, {facts['cores']} cores, of which {facts['threads']} are used",
        f"n = {facts['n']:,} on each side ({facts['large_n']:,} in `large`), d = {facts['d']:,}",
        f"medians of {facts['repeats']} interleaved rounds; ratios are of medians, with the least "
        "and the greatest of a round",
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        told = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        told = None
    return told[1] if told else platform.processor() or platform.machine()


def apart(
    one: Contestant, rounds: Sequence[Values], expected: Values, n: int
) -> tuple[float, float] | None:
    """The worst relative difference of a contestant's values, and what is allowed of it."""
    pairs = []
    for values in rounds:
        slack = one.images / n + 5 * values.get("sampling_error", 0.0)
        for name in values.keys() & expected.keys():
            size = max(abs(expected[name]), 1e-300)
            difference = abs(values[name] - expected[name]) / size
            pairs.append((difference, (one.relative or 0.0) + slack / size))
    return max(pairs, key=lambda pair: pair[0] / pair[1], default=None)


def _verdicts(claim: Claim, found: Mapping[str, Results]) -> list[Verdict]:
    told = [_verdict(bound, found[claim.contestants[0].name], found) for bound in claim.bounds]
    for name, results in found.items():
        if results.failure is not None and name.split(",")[0] == "benchgen":
            told.append(Verdict(f"{name} FAILED: {results.failure}", holds=False))
        if results.apart is not None and not results.apart[0] <= results.apart[1]:
            told.append(Verdict(f"{name} DISAGREES: {_agreement(results)}", holds=False))
    return told


def _verdict(bound: Bound, ours: Results, found: Mapping[str, Results]) -> Verdict:
    claim = f"claim: {bound.promise}"
    if not ours.rounds:
        return Verdict(f"{claim}: does NOT hold ({ours.failure})", holds=False)
    if bound.peer is not None:
        peer = found[bound.peer]
        if not peer.rounds:
            return Verdict(f"{claim}: not tested ({peer.failure})", holds=None)
        reached, holds = _ratio(peer, ours), peer.seconds / ours.seconds >= bound.limit
    else:
        value = float(getattr(ours, bound.kind))
        unit = "s" if bound.kind == "seconds" else "MiB"
        reached, holds = f"{value:.4g} {unit}", value <= bound.limit
    return Verdict(f"{claim}: {reached}: {'holds' if holds else 'does NOT hold'}", holds)


def _ratio(peer: Results, ours: Results) -> str:
    """Ratio of the medians, and the least and greatest of a round."""
    each = [p.seconds / o.seconds for p, o in zip(peer.rounds, ours.rounds, strict=False)]
    return f"{peer.seconds / ours.seconds:.3g}x ({min(each):.3g}-{max(each):.3g})"


def _agreement(results: Results) -> str:
    return "{:.1e} (allowed {:.1e})".format(*results.apart) if results.apart else ""


def _section(claim: Claim, found: Mapping[str, Results], verdicts: Sequence[Verdict]) -> str:
    """Heading, table and verdicts of a claim, as Markdown."""
    ours = found[claim.contestants[0].name]
    lines = [
        f"## {claim.title}",
        "",
        "| | seconds | ratio | MiB above the features | values | relative difference |",
        "|---|---:|---:|---:|---|---|",
    ]
    for name, results in found.items():
        cells = [name, "", "", "", results.failure or "", _agreement(results)]
        if results.rounds:
            values = ", ".join(f"{k} {v:.7g}" for k, v in results.rounds[0].values.items())
            ratio = "1" if results is ours else _ratio(results, ours) if ours.rounds else ""
            cells[1:4] = f"{results.seconds:.3g}", ratio, f"{results.above:.0f}"
            cells[4] = f"{values}; {results.failure}" if results.failure else values
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {verdict.text}" for verdict in verdicts)])


def _write(
    out: Path,
    facts: Mapping[str, Any],
    claims: Sequence[Claim],
    found: Mapping[str, Mapping[str, Results]],
    verdicts: Mapping[str, Sequence[Verdict]],
    text: str,
) -> None:
    document = {
        **facts,
        "claims": {
            claim.key: {
                "title": claim.title,
                "contestants": {name: one.document() for name, one in found[claim.key].items()},
                "verdicts": [asdict(verdict) for verdict in verdicts[claim.key]],
            }
            for claim in claims
        },
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    listed = "\n".join(f"- {fact}" for fact in _told(facts))
    out.with_suffix(".md").write_text(f"# Metrics against other tools\n\n{listed}\n\n{text}\n")


# The features.


def write_inputs(folder: Path, n: int, d: int) -> None:
    """Features [n, d] of two sides, their moments, and logits, as ``.npy`` files.

    Features are a softly rectified linear map of Gaussian mixtures whose spectrum falls by a power
    law: positive, skewed, and of full rank, as those of the usual networks are.
    """
    shape = np.random.default_rng(0)
    kinds, spectrum = 20, np.arange(1, d + 1) ** -0.75
    mixing = (shape.standard_normal((d, d)) / 2).astype(np.float32)
    centres = shape.standard_normal((kinds, d))
    weights = shape.dirichlet(np.full(kinds, 3.0), size=2)
    for side, name in enumerate(("real", "fake")):
        random = np.random.default_rng(1 + side)
        path = folder / f"{name}.npy"
        rows = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
        for start in range(0, n, 4096):
            kind = random.choice(kinds, size=min(4096, n - start), p=weights[side])
            spread = (1.0, 0.95)[side] * random.standard_normal((len(kind), d))
            hidden = ((centres[kind] + spread) * spectrum).astype(np.float32)
            rows[start : start + len(kind)] = np.logaddexp(0, 4 * (hidden @ mixing - 0.5)) / 4
        rows.flush()
        np.save(folder / f"{name}-mean.npy", rows.mean(axis=0, dtype=np.float64))
        np.save(folder / f"{name}-covariance.npy", np.cov(rows, rowvar=False))
    random = np.random.default_rng(3)
    logits = 2 * random.standard_normal((n, CLASSES))
    logits[np.arange(n), random.integers(CLASSES, size=n)] += 8
    np.save(folder / "logits.npy", logits.astype(np.float32))


@dataclass(frozen=True)
class Inputs:
    """What ``write_inputs`` wrote, read into memory where asked for.

    ``small``: a few rows and columns of it, to warm up on.
    """

    folder: Path
    small: bool = False

    @cached_property
    def real(self) -> Array:
        return self._read("real")

    @cached_property
    def fake(self) -> Array:
        return self._read("fake")

    @cached_property
    def logits(self) -> Array:
        return self._read("logits")

    @cached_property
    def moments(self) -> tuple[Array, Array, Array, Array]:
        """Mean [d] and covariance [d, d] of fake, then of real, in float64."""
        mu1, mu2 = self._read("fake-mean"), self._read("real-mean")
        return mu1, self._read("fake-covariance"), mu2, self._read("real-covariance")

    @property
    def subset(self) -> int:
        """Images in a subset of the kernel distance."""
        return min(1000, len(self.fake) // 2)

    def _read(self, name: str) -> Array:
        values = np.load(self.folder / f"{name}.npy", mmap_mode="r" if self.small else None)
        if self.small:
            rows = 64 if name in ("real", "fake", "logits") else 16
            values = values[:rows] if values.ndim == 1 else values[:rows, :16]
        return np.array(values) if self.small else values


# The child: one measurement.


def _child(key: str, name: str, folder: str, threads: str) -> int:
    """Measure one contestant and print its ``Measurement`` as JSON."""
    import torch

    torch.set_num_threads(int(threads))
    (claim,) = (claim for claim in CLAIMS if claim.key == key)
    (one,) = (one for one in claim.contestants if one.name == name)
    with redirect_stdout(sys.stderr):  # some tools print
        one.load(Inputs(Path(folder), small=True))()
        work = one.load(Inputs(Path(folder)))
        if claim.twice:
            work()
        before = _forget_peak()
        started = time.perf_counter()
        values = work()
        seconds = time.perf_counter() - started
        peak = _peak()
    print(json.dumps(asdict(Measurement(seconds, before, peak, values))))
    return 0


def _forget_peak() -> float:
    """MiB in use; the peak starts from there where the system can forget the one so far."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """Most MiB that were ever resident."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError("/proc/self/status has no VmHWM; the peak cannot be measured")
    return int(found[1]) / 1024


# The contestants: each loads what its tool takes, and returns the computation.


def _feature_set(rows: Array) -> Any:
    import torch

    from benchgen.metrics.base import TensorFeatures

    return TensorFeatures(torch.from_numpy(rows))


def _tensors(*arrays: Array) -> Any:
    import torch

    return [torch.from_numpy(array) for array in arrays]


def _our_fid(inputs: Inputs) -> Work:
    from benchgen.metrics.frechet import frechet_distance

    moments = _tensors(*inputs.moments)
    return lambda: {"fid": frechet_distance(*moments)}


def _our_fid_cached(inputs: Inputs) -> Work:
    from benchgen.metrics.covariances.transport import factor, root_sum

    mu1, sigma1, mu2, sigma2 = _tensors(*inputs.moments)
    of_real = factor(sigma2)

    def work() -> Values:
        squares = (mu1 - mu2).square().sum() + sigma1.trace() + sigma2.trace()
        return {"fid": float(squares) - 2 * root_sum(of_real, sigma1)}

    return work


def _fid_by_sqrtm(module: str, function: str) -> Callable[[Inputs], Work]:
    """A tool that calls ``sqrtm(disp=False)``; where scipy has that no more, its algorithm."""

    def load(inputs: Inputs) -> Work:
        moments = inputs.moments
        if not SQRTM_HAS_DISP:
            return lambda: {"fid": _published_fid(*moments)}
        distance = getattr(import_module(module), function)
        return lambda: {"fid": float(distance(*moments))}

    return load


def _published_fid(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    root = np.real(scipy.linalg.sqrtm(sigma1.dot(sigma2)))
    traces = np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(root)
    return float((mu1 - mu2).dot(mu1 - mu2) + traces)


def _torch_fidelity_fid(inputs: Inputs) -> Work:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    mu1, sigma1, mu2, sigma2 = inputs.moments
    fake, real = {"mu": mu1, "sigma": sigma1}, {"mu": mu2, "sigma": sigma2}
    return lambda: {"fid": fid_statistics_to_metric(fake, real, verbose=False)[KEY_METRIC_FID]}


def _torchmetrics_fid(inputs: Inputs) -> Work:
    from torchmetrics.image.fid import _compute_fid

    moments = _tensors(*inputs.moments)
    return lambda: {"fid": float(_compute_fid(*moments))}


def _our_fid_with_error(inputs: Inputs) -> Work:
    from benchgen.metrics.frechet import Frechet
    from benchgen.stats.estimates import estimate

    family, real, fake = Frechet(), _feature_set(inputs.real), _feature_set(inputs.fake)
    prepared = family.prepare(real)

    def work() -> Values:
        scores = family.compute(prepared, fake)
        values: dict[str, float] = {}
        for name, key in (("fid", "fid"), ("fid-corrected", "corrected")):
            found = estimate(scores[name], n=fake.n, m=real.n)
            values |= {key: found.value or 0.0, f"{key} error": found.stderr or 0.0}
        return values

    return work


def _our_fid_prepare(inputs: Inputs) -> Work:
    from benchgen.metrics.frechet import Frechet

    real = _feature_set(inputs.real)

    def work() -> Values:
        Frechet().prepare(real)
        return {}

    return work


def _torch_fidelity_fid_of_features(inputs: Inputs) -> Work:
    from torch_fidelity.metric_fid import (
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    real, fake = _tensors(inputs.real, inputs.fake)
    theirs = fid_features_to_statistics(real)

    def work() -> Values:
        ours = fid_features_to_statistics(fake)
        return {"fid": fid_statistics_to_metric(ours, theirs, verbose=False)[KEY_METRIC_FID]}

    return work


def _ours(
    module: str,
    family: str,
    *ids: str,
    of: Sequence[str] = ("real", "fake"),
    prepared: bool = False,
    **parameters: Any,
) -> Callable[[Inputs], Work]:
    """A family of benchgen: its values, made with errors and influences.

    The reference is part of the work, unless it is ``prepared``, as it is from the second
    generator of a run on.
    """

    def load(inputs: Inputs) -> Work:
        built = getattr(import_module(f"benchgen.metrics.{module}"), family)(**parameters)
        *real, fake = (_feature_set(getattr(inputs, name)) for name in of)

        known = built.prepare(*real) if prepared else None

        def work() -> Values:
            scores = built.compute(known if prepared else built.prepare(*real), fake)
            return {name: scores[name].value for name in ids}

        return work

    return load


def _prdc(inputs: Inputs) -> Work:
    from prdc import compute_prdc  # type: ignore[import-untyped]

    real, fake = inputs.real, inputs.fake

    def work() -> Values:
        return {k: float(v) for k, v in compute_prdc(real, fake, nearest_k=5).items()}

    return work


def _torch_fidelity_prc(inputs: Inputs) -> Work:
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake = _tensors(inputs.real, inputs.fake)

    def work() -> Values:
        values = prc_features_to_metric(fake, real, verbose=False)
        return {name: values[name] for name in ("precision", "recall")}

    return work


def _our_subsets(inputs: Inputs) -> Work:
    size = inputs.subset
    return _ours("kernel", "Kernel", "kid", convention="torch-fidelity", subset_size=size)(inputs)


def _torch_fidelity_kid(inputs: Inputs) -> Work:
    from torch_fidelity.metric_kid import (
        KEY_METRIC_KID_MEAN,
        KEY_METRIC_KID_STD,
        kid_features_to_metric,
    )

    real, fake = _tensors(inputs.real, inputs.fake)

    def work() -> Values:
        values = kid_features_to_metric(fake, real, kid_subset_size=inputs.subset, verbose=False)
        error = values[KEY_METRIC_KID_STD] / SUBSETS**0.5
        return {"kid": values[KEY_METRIC_KID_MEAN], "sampling_error": error}

    return work


def _torchmetrics_kid(inputs: Inputs) -> Work:
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(torch.nn.Identity(), SUBSETS, inputs.subset)
    real, fake = _tensors(inputs.real, inputs.fake)
    metric.update(real, real=True)
    metric.update(fake, real=False)

    def work() -> Values:
        torch.manual_seed(0)
        mean, spread = (float(value) for value in metric.compute())
        return {"kid": mean, "sampling_error": spread / SUBSETS**0.5}

    return work


def _vendi_score(function: str) -> Callable[[Inputs], Work]:
    def load(inputs: Inputs) -> Work:
        score = getattr(import_module("vendi_score.vendi"), function)
        rows = inputs.fake.astype(np.float64)  # its arithmetic is that of its input
        return lambda: {"vendi": float(score(rows))}

    return load


def _torch_fidelity_is(inputs: Inputs) -> Work:
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    (logits,) = _tensors(inputs.logits)
    return lambda: {"is": isc_features_to_metric(logits)[KEY_METRIC_ISC_MEAN]}


SUBSETS = 100
SQRTM_HAS_DISP = "disp" in inspect.signature(scipy.linalg.sqrtm).parameters
_ALGORITHM = "" if SQRTM_HAS_DISP else ", its algorithm (it does not run under this scipy)"
PYTORCH_FID, CLEAN_FID = f"pytorch-fid{_ALGORITHM}", f"clean-fid{_ALGORITHM}"
_PYTORCH_FID = _fid_by_sqrtm("pytorch_fid.fid_score", "calculate_frechet_distance")
_CLEAN_FID = _fid_by_sqrtm("cleanfid.fid", "frechet_distance")
_PRDC = ("precision", "recall", "density", "coverage")
_NEIGHBOURS = _ours("neighbours", "Neighbours", *_PRDC)
_NEIGHBOURS_AS_PRDC = _ours("neighbours", "Neighbours", *_PRDC, convention="prdc")
_VENDI = _ours("diversity", "Vendi", "vendi", of=["fake"])
_IS = _ours("inception_score", "InceptionScore", "is", of=["logits"], convention="torch-fidelity")

CLAIMS = (
    Claim(
        "fid-value",
        "FID, value alone, from moments; the second of two in a process",
        [
            Contestant("benchgen", _our_fid),
            Contestant("benchgen, factor of the reference prepared", _our_fid_cached, 1e-9),
            Contestant(PYTORCH_FID, _PYTORCH_FID, 1e-6),
            Contestant(CLEAN_FID, _CLEAN_FID, 1e-6),
            Contestant("torch-fidelity", _torch_fidelity_fid, 1e-6),
            Contestant("torchmetrics", _torchmetrics_fid, 1e-6),
        ],
        [
            Bound("ratio", 8, PYTORCH_FID),
            Bound("ratio", 8, CLEAN_FID),
            Bound("ratio", 2, "torch-fidelity"),
        ],
        twice=True,
    ),
    Claim(
        "fid-error",
        "FID with standard error, correction and influence, from features; the reference prepared",
        [
            Contestant("benchgen", _our_fid_with_error),
            Contestant("benchgen, preparing the reference", _our_fid_prepare),
            Contestant("torch-fidelity, value alone", _torch_fidelity_fid_of_features, 1e-4),
        ],
        [Bound("seconds", 10)],
    ),
    Claim(
        "prdc",
        "Precision, recall, density and coverage (k = 5); benchgen's with errors and influence",
        [
            Contestant("benchgen", _NEIGHBOURS_AS_PRDC),
            Contestant("prdc", _prdc, 1e-6, images=2),
        ],
        [Bound("ratio", 3.5, "prdc"), Bound("above", 300)],
    ),
    Claim(
        "precision-recall",
        "Precision and recall (k = 3); benchgen's with density, coverage, errors and influence",
        [
            Contestant("benchgen", _NEIGHBOURS),
            Contestant("torch-fidelity", _torch_fidelity_prc, 1e-4, images=10),
        ],
        [Bound("ratio", 1.7, "torch-fidelity"), Bound("above", 300)],
    ),
    Claim(
        "kid",
        "KID over all pairs, with error and influence, reference prepared; 100 subsets of 1,000",
        [
            Contestant("benchgen", _ours("kernel", "Kernel", "kid", prepared=True)),
            Contestant("benchgen, reference and all", _ours("kernel", "Kernel", "kid"), 1e-9),
            Contestant("torch-fidelity", _torch_fidelity_kid, 1e-4),
            Contestant("torchmetrics", _torchmetrics_kid, 1e-4),
            Contestant(
                "benchgen, torch-fidelity's subsets", _our_subsets, 1e-4, same_as="torch-fidelity"
            ),
        ],
        [Bound("ratio", 1, "torch-fidelity")],
    ),
    Claim(
        "vendi",
        "Vendi score; benchgen's with error and influence, the others in float64",
        [
            Contestant("benchgen", _VENDI),
            Contestant("vendi-score, n x n", _vendi_score("score_X"), 1e-8),
            Contestant("vendi-score, d x d", _vendi_score("score_dual"), 1e-8),
        ],
        [Bound("ratio", 15, "vendi-score, n x n")],
    ),
    Claim(
        "is",
        f"Inception score of {CLASSES} logits, ten parts; benchgen's with error and influence",
        [
            Contestant("benchgen", _IS),
            Contestant("torch-fidelity", _torch_fidelity_is, 1e-6),
        ],
    ),
    Claim(
        "large",
        "`large`: precision, recall, density and coverage of many images, alone",
        [Contestant("benchgen", _NEIGHBOURS)],
        [Bound("total", 24 * 1024)],
    ),
)

if __name__ == "__main__":
    sys.exit(main())
