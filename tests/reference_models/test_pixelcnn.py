"""The PixelCNN: what sees what, and that caching changes nothing but the time."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reference_models.noise import SeededNoise
from reference_models.pixel_distributions import draw
from reference_models.pixelcnn import Config, PixelCNN

SMALL = {"width": 12, "dilations": (1, 2, 4, 1), "components": 3}


def _model(shape: tuple[int, int, int], dtype: torch.dtype = torch.float32) -> PixelCNN:
    torch.manual_seed(0)
    model = PixelCNN(Config(shape=shape, classes=4, **SMALL)).to(dtype).eval()  # type: ignore[arg-type]
    with torch.no_grad():  # so that labels matter, as after training
        for layer in model.layers:
            layer.told.weight.mul_(10)  # type: ignore[union-attr, operator]
    return model


def _order(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Rows and columns of the pixels, in the order in which they come: blocks of 2 x 2."""
    corners = itertools.product(range(0, shape[1], 2), range(0, shape[2], 2))
    return [(top + i // 2, left + i % 2) for top, left in corners for i in range(4)]


def _levels(count: int, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *shape), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 8)])
def test_a_pixel_sees_all_before_it_and_nothing_else(shape: tuple[int, int, int]) -> None:
    model, levels, labels = _model(shape), _levels(1, shape), torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        plain = model(levels, labels)
        order = _order(shape)
        rows, columns = torch.tensor(order).T
        for place, (row, column) in enumerate(order):
            changed = levels.clone()
            changed[:, :, row, column] = 255 - changed[:, :, row, column]
            moved = ((model(changed, labels) - plain).abs().amax(-1) > 0)[0][rows, columns]
            assert not moved[: place + 1].any()
            rest_of_block = -(place + 1) % 4
            assert moved[place + 1 : place + 1 + rest_of_block].all()
            next_block = place + 1 + rest_of_block
            if column + 2 < shape[2]:
                assert moved[next_block : next_block + 4].all()
            below = place // 4 * 4 + 2 * shape[2]
            if below < len(order):
                assert moved[below : below + 4].all()


def test_no_pixel_before_is_out_of_sight() -> None:
    shape = (1, 8, 8)
    model, levels, labels = _model(shape), _levels(1, shape), torch.zeros(1, dtype=torch.int64)
    values = model._seen(levels).requires_grad_()
    model._seen = lambda _: values  # type: ignore[method-assign]
    (gradient,) = torch.autograd.grad(model(levels, labels)[0, -1, -1].sum(), values)
    seen = F.pixel_shuffle(gradient[:, :-1], 2)[0, 0] != 0
    assert seen.flatten()[:-1].all()
    assert not seen[-1, -1]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cached_parameters_are_those_of_a_whole_pass(
    shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    model, levels, labels = _model(shape, dtype), _levels(3, shape), torch.arange(3)
    places: dict[tuple[int, int], Tensor] = {}

    def follow(row: int, column: int, parameters: Tensor) -> Tensor:
        places[row, column] = parameters
        return levels[:, :, row, column]

    assert torch.equal(model.scan(labels, follow), levels)
    assert list(places) == _order(shape)
    found = torch.stack([places[key] for key in sorted(places)], dim=1).unflatten(1, shape[1:])
    with torch.no_grad():
        expected = model(levels, labels)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 0.95), (torch.float64, 1.0)])
def test_cached_and_naive_sampling_agree(dtype: torch.dtype, share: float) -> None:
    shape = (1, 8, 8)
    model, labels = _model(shape, dtype), torch.arange(40) % 4
    cached = model.sample(SeededNoise(40), labels)
    uniforms = SeededNoise(40).uniform(8, 8, 2)
    naive = torch.zeros(40, *shape, dtype=torch.uint8)
    with torch.no_grad():
        for row, column in _order(shape):
            parameters = model(naive, labels)[:, row, column]
            naive[:, :, row, column] = draw(parameters, uniforms[:, row, column])
    assert (cached == naive).flatten(1).all(dim=1).float().mean() >= share


def test_a_lower_temperature_is_less_varied() -> None:
    model = _model((1, 8, 8))
    with torch.no_grad():  # one component is likelier, as after training
        for place in model.places:
            place.leave.bias[0] += 1  # type: ignore[union-attr, operator]
    warm, cold = (
        model.sample(SeededNoise(50), temperature=temperature).float().std(dim=0).mean()
        for temperature in (1.0, 0.2)
    )
    assert cold < 0.8 * warm
