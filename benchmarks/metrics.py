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
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import harness
import numpy as np
import scipy.linalg
from claims import Bound, Claim, Contestant, Values, Work
from harness import Benchmark, Stage
from numpy.typing import NDArray

CLASSES = 1008

Array = NDArray[Any]


def main() -> int:
    """Measure, print and write; 1 if something that was tested does not hold."""
    given = _arguments()
    if given.child:
        return harness.child(BENCHMARK, *given.child)
    claims = harness.chosen(BENCHMARK, given)
    usual, large = ([c for c in claims if (c.key == "large") is it] for it in (False, True))
    stages = [
        Stage(usual, given.n, given.repeats, partial(write_inputs, n=given.n, d=given.d)),
        Stage(large, given.large_n, 1, partial(write_inputs, n=given.large_n, d=given.d)),
    ]
    told = f"n = {given.n:,} on each side ({given.large_n:,} in `large`), d = {given.d:,}"
    return harness.run(BENCHMARK, given, stages, {"d": given.d, "large_n": given.large_n}, told)


def _arguments() -> argparse.Namespace:
    parser = harness.parser(BENCHMARK, 10_000, 5, (__doc__ or "").split("\n")[0])
    parser.set_defaults(only=[claim.key for claim in CLAIMS if claim.key != "large"])
    parser.add_argument("--d", type=int, default=2048, help="feature columns")
    parser.add_argument("--large", action="store_true", help="also the claim `large`, once")
    parser.add_argument("--large-n", type=int, default=50_000, help="images of the claim `large`")
    given = parser.parse_args()
    given.only = [*given.only, "large"] if given.large else given.only
    if min(given.d, given.repeats, given.threads) < 1:
        parser.error("use at least one column, round and thread")
    if min(given.n, given.large_n) < max(200, given.d + 1):
        parser.error("use at least 200 images, and more images than columns")
    return given


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

BENCHMARK = Benchmark(
    title="Metrics against other tools",
    script=Path(__file__),
    claims=CLAIMS,
    packages=(
        *("benchgen", "torch", "torch-fidelity", "clean-fid", "pytorch-fid", "torchmetrics"),
        *("prdc", "vendi-score", "scikit-learn", "numpy", "scipy"),
    ),
    read=Inputs,
    read_small=partial(Inputs, small=True),
)

if __name__ == "__main__":
    sys.exit(main())
