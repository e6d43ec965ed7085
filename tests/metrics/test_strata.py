"""Samples with so many images of each class by design: corrections and errors must know it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchgen.metrics.base import Family, Strata, TensorFeatures
from benchgen.metrics.frechet import Frechet
from benchgen.metrics.kernel import Kernel
from benchgen.stats.estimates import estimate

CLASSES, WIDTH = 5, 8
CENTRES = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(1)).double() * 2


def draw(n: int, generator: torch.Generator, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """n images, as many of each class; classes differ in mean and in spread."""
    labels = torch.arange(n) % CLASSES
    noise = torch.randn(n, WIDTH, generator=generator, dtype=torch.float64)
    spread = (0.5 + 0.2 * labels)[:, None]
    return CENTRES[labels] + spread * noise + shift * noise.square(), labels


def repeat(
    family: Callable[[], Family], metric: str, told: bool, shift: float, n: int = 200
) -> tuple[Tensor, Tensor]:
    """Values and standard errors over 200 repetitions."""
    generator = torch.Generator().manual_seed(7)
    values, errors = [], []
    for _ in range(200):
        sides = []
        for amount in (shift, 0.0):
            rows, labels = draw(n, generator, amount)
            sides.append(TensorFeatures(rows, labels if told else None))
        instance = family()
        score = instance.compute(instance.prepare(sides[1]), sides[0])[metric]
        found = estimate(score, n=n, m=n)
        assert found.value is not None
        assert found.stderr is not None
        values.append(found.value)
        errors.append(found.stderr)
    return torch.tensor(values), torch.tensor(errors)


@pytest.mark.parametrize(
    ("family", "metric"), [(Frechet, "fid-corrected"), (Kernel, "kid")], ids=["fid", "kid"]
)
def test_no_bias_at_equality_once_the_strata_are_known(
    family: Callable[[], Family], metric: str
) -> None:
    untold, _ = repeat(family, metric, told=False, shift=0.0)
    told, _ = repeat(family, metric, told=True, shift=0.0)
    own_error = told.std() / len(told) ** 0.5
    assert told.mean().abs() < 0.25 * untold.mean().abs()
    assert told.mean().abs() < 4 * own_error + 0.1 * told.std()
    assert untold.mean() < -10 * own_error


@pytest.mark.parametrize(
    ("family", "metric"),
    [(Frechet, "fid"), (Frechet, "fid-corrected"), (Kernel, "kid")],
    ids=["fid", "fid-corrected", "kid"],
)
def test_errors_agree_with_the_spread(family: Callable[[], Family], metric: str) -> None:
    """Away from equality, where the first order rules."""
    values, errors = repeat(family, metric, told=True, shift=0.4)
    assert float(errors.square().mean().sqrt() / values.std()) == pytest.approx(1, abs=0.2)
    _, careless = repeat(family, metric, told=False, shift=0.4)
    assert careless.mean() > errors.mean()


def test_corrected_is_the_large_sample_value() -> None:
    generator = torch.Generator().manual_seed(3)
    many = [TensorFeatures(*draw(100_000, generator, shift)) for shift in (0.15, 0.0)]
    family = Frechet()
    truth = family.compute(family.prepare(many[1]), many[0])["fid"].value
    assert truth is not None
    values, _ = repeat(Frechet, "fid-corrected", told=True, shift=0.15)
    assert values.mean() == pytest.approx(truth, abs=4 * float(values.std()) / 200**0.5 + 0.002)


def test_strata_of_a_set() -> None:
    rows = torch.zeros(6, 2)
    strata = Strata.of(TensorFeatures(rows, torch.tensor([4, 4, 9, 9, 9, 4])))
    assert strata.labels.tolist() == [0, 0, 1, 1, 1, 0]
    assert strata.shares.tolist() == [0.5, 0.5]
    single = TensorFeatures(rows, torch.tensor([4, 4, 9, 4, 4, 4]))
    assert Strata.of(single).shares.tolist() == [1.0]
    values = torch.tensor([1.0, 2.0, 10.0, 20.0, 30.0, 3.0], dtype=torch.float64)
    assert strata.centred(values).tolist() == [-1, 0, -10, 0, 10, 1]
