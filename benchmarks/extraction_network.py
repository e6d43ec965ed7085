"""Inception alone: what the network takes, and what resizing to its input takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from claims import Values, Work
from extraction_inputs import Inputs, pictures, random_network, trunk
from torch import Tensor, nn

from benchgen.arithmetic import exact_float32, products
from benchgen.features import inception
from benchgen.images.resize import Rule, resize

BATCH, MOST_BATCHES = 16, 8
"""As many images at once as benchgen's extractor passes on a processor."""
SIDE = 32
"""Of the images that are resized to the network's input."""
MATRIX = 2048
"""Rows and columns of the matrices whose product is timed."""
PRODUCTS = 5


def prepared(inputs: Inputs) -> Work:
    """benchgen's network, as its extractor runs it, on batches that are ready for it."""
    network, batches = _ready(inputs), _batches(inputs)
    return lambda: _through(network, batches)


def eager(inputs: Inputs) -> Work:
    """torch-fidelity's network as it is, on the same batches."""
    network = trunk(random_network())
    batches = [batch.contiguous() for batch in _batches(inputs)]
    with torch.no_grad():
        network(batches[0])
    return lambda: _through(network, batches)


def resizing(rule: Rule) -> Callable[[Inputs], Work]:
    """Images of 32x32 to Inception's input, as many as the network is given."""

    def load(inputs: Inputs) -> Work:
        batches = [pictures(BATCH, SIDE, 1)] * _count(inputs)
        resize(batches[0], inception.SIDE, rule)

        def work() -> Values:
            started = time.perf_counter()
            for batch in batches:
                resize(batch, inception.SIDE, rule)
            seconds = time.perf_counter() - started
            return {"ms an image": 1000 * seconds / (len(batches) * BATCH)}

        return work

    return load


def matrix_products(inputs: Inputs) -> Work:
    """The rate of benchgen's network beside that of large matrix products before and after it."""
    network, batches = _ready(inputs), _batches(inputs)
    images = sum(len(batch) for batch in batches)
    operations = 2 * images * _multiply_adds(trunk(random_network()))

    def work() -> Values:
        before = _product_rates()
        started = time.perf_counter()
        _through(network, batches)
        reached = operations / (time.perf_counter() - started)
        after = _product_rates()
        blas, onednn = ((x + y) / 2 for x, y in zip(before, after, strict=True))
        return {
            "share of torch.mm": reached / blas,
            "network GFLOP/s": reached / 1e9,
            "torch.mm GFLOP/s": blas / 1e9,
            "oneDNN GFLOP/s": onednn / 1e9,
        }

    return work


def _ready(inputs: Inputs) -> nn.Module:
    """benchgen's prepared network, after a first call."""
    network, _ = inception.pooled(random_network(), "cpu")
    with torch.inference_mode(), exact_float32():
        network(_batches(inputs)[0])
    return network


def _batches(inputs: Inputs) -> list[Tensor]:
    """Of the extractor's chunk, resized, in [-1, 1), channels last."""
    images = pictures(BATCH, SIDE, 1)
    batch = (resize(images, inception.SIDE, "tf1") - 128) / 128
    return [batch.to(memory_format=torch.channels_last)] * _count(inputs)


def _count(inputs: Inputs) -> int:
    """Batches to measure on: fewer for a trial with few images."""
    return min(MOST_BATCHES, -(-inputs.n // BATCH))


def _through(network: nn.Module, batches: list[Tensor]) -> Values:
    with torch.inference_mode(), exact_float32():
        for batch in batches:
            rows = network(batch).flatten(1)
    return {"first feature": float(rows[0, 0]), "mean feature": float(rows.double().mean())}


def _multiply_adds(network: nn.Module) -> int:
    """Of all convolutions, for one image."""
    counted: list[int] = []

    def count(part: nn.Module, given: object, found: Tensor) -> None:
        assert isinstance(part, nn.Conv2d)
        counted.append(found.numel() * part.weight[0].numel())

    hooks = [
        part.register_forward_hook(count)
        for part in network.modules()
        if isinstance(part, nn.Conv2d)
    ]
    with torch.no_grad():
        network(torch.zeros(1, 3, inception.SIDE, inception.SIDE))
    for hook in hooks:
        hook.remove()
    return sum(counted)


def _product_rates() -> tuple[float, float]:
    """Operations a second of ``torch.mm`` and of benchgen's products, both in exact float32."""
    x, y = torch.rand(2, MATRIX, MATRIX, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), exact_float32():
        return _rate(lambda: torch.mm(x, y)), _rate(lambda: products(x, y))


def _rate(product: Callable[[], Tensor]) -> float:
    product()
    seconds = []
    for _ in range(PRODUCTS):
        started = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - started)
    return 2 * MATRIX**3 / median(seconds)
