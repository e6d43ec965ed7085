"""Simulated data with a known law, and the comparison of standard errors with actual spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from benchgen.metrics.base import Family, Score, TensorFeatures
from benchgen.stats.estimates import estimate

Draw = Callable[[np.random.Generator], tuple[Tensor | None, Tensor]]
Ratios = dict[str, float]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Many small products: threads would cost more than they bring."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def score() -> Callable[..., Mapping[str, Score]]:
    """Run a family on tensors: ``score(family, fake, real)``."""

    def run(family: Family, fake: Tensor, real: Tensor | None = None) -> Mapping[str, Score]:
        reference = None if real is None else TensorFeatures(real)
        return family.compute(family.prepare(reference), TensorFeatures(fake))

    return run


@pytest.fixture
def relu_laplace() -> Callable[..., Draw]:
    """Non-Gaussian features: rectified mixtures of Laplace variables; the fakes differ."""

    def make(d: int, n: int, m: int, scale: float, shift: float) -> Draw:
        mixing = np.random.default_rng(1).normal(size=(d, d)) / np.sqrt(d)

        def features(rng: np.random.Generator, rows: int, scale: float, shift: float) -> Tensor:
            z = rng.laplace(size=(rows, d)) * scale + shift
            return torch.from_numpy(np.maximum(z @ mixing, 0))

        def draw(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
            return features(rng, m, 1.0, 0.0), features(rng, n, scale, shift)

        return draw

    return make


@pytest.fixture
def stderr_over_spread(score: Callable[..., Mapping[str, Score]]) -> Callable[..., Ratios]:
    """Root mean square standard error over the standard deviation of the values, by metric id.

    A metric that came out the same every time has no spread, and is left out.
    """

    def measure(family: Family, draw: Draw, repetitions: int = 200) -> Ratios:
        values: dict[str, list[tuple[float, float]]] = {}
        for seed in range(repetitions):
            real, fake = draw(np.random.default_rng(seed))
            m = None if real is None else len(real)
            for name, one in score(family, fake, real).items():
                seen = estimate(one, n=len(fake), m=m)
                assert seen.value is not None
                assert seen.stderr is not None
                values.setdefault(name, []).append((seen.value, seen.stderr))
        ratios = {}
        for name, pairs in values.items():
            value, stderr = np.array(pairs).T
            if value.std() > 0:
                ratios[name] = float(np.sqrt(np.mean(stderr**2)) / value.std(ddof=1))
        return ratios

    return measure
