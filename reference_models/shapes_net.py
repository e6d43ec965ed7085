"""A small network that reads the factors of a ``shapes`` image; its weights are shipped.

Its features serve distances between distributions, so they must not fold each class onto a point
(neural collapse, Papyan et al. 2020). What keeps them apart are the continuous factors, which are
read from the same features, and in training two more numbers: how blurred and how noisy the image
was made. So an imperfect image is read well, and still looks different from a perfect one.

``python -m reference_models.shapes_net --out FILE [--seed 0]`` trains it anew.
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from reference_models.shapes import (
    CATEGORICAL,
    RANGES,
    SYMMETRY,
    Factors,
    canonical_rotation,
    sample,
)

WEIGHTS = Path(__file__).parent / "weights" / "shapes-net.safetensors"
FEATURE_WIDTH = 64
SCALARS = ("size", "x", "y", "lightness")
"""The factors that are read as plain numbers; rotation is read as a direction."""

BATCH_SIZE = 128
STEPS = 4000
EMA_DECAY = 0.998
SCALAR_WEIGHT, TURN_WEIGHT, FAULT_WEIGHT = 8.0, 2.0, 2.0
# Far from the indices that training reaches, with any seed.
FRESH = range(1 << 40, (1 << 40) + 10_000)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the network says of B images.

    Attributes:
        logits: float32 [B, values] of each categorical factor.
        scalars: float32 [B, 4], ``SCALARS`` with their ranges scaled to [-1, 1].
        turn: float32 [B, 2], cosine and sine of the rotation times the shape's symmetry;
            meaningless for circles and rings.
    """

    logits: Mapping[str, Tensor]
    scalars: Tensor
    turn: Tensor


@dataclass(frozen=True, eq=False)
class Reading:
    """The factors read from N images.

    Attributes:
        factors: the likeliest values.
        probabilities: float32 [N, values] of each categorical factor.
    """

    factors: Factors
    probabilities: Mapping[str, Tensor]


class ShapesNet(nn.Module):
    """A VGG-like network with a narrow, smooth penultimate layer, from which all is read linearly.

    The features are batch-normalised and pass through SiLU rather than ReLU, so that no unit is
    constantly zero and their covariance has full rank.

    Papers: Simonyan and Zisserman 2015 (stacked 3x3 convolutions); Ioffe and Szegedy 2015 (batch
    normalisation); Elfwing et al. 2018 (SiLU).
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(3, 32, kernel=5, stride=2),
            *_convolution(32, 48),
            nn.MaxPool2d(2),
            *_convolution(48, 96),
            *_convolution(96, 96),
            *_convolution(96, 96, stride=2),
            nn.Flatten(),
        )
        self.penultimate = nn.Sequential(
            nn.Linear(96 * 4 * 4, FEATURE_WIDTH, bias=False),
            nn.BatchNorm1d(FEATURE_WIDTH),
            nn.SiLU(),
        )
        self.heads = nn.Linear(FEATURE_WIDTH, sum(_HEADS.values()))

    def forward(self, images: Tensor) -> tuple[Tensor, Predictions]:
        """Features float32 [B, 64] and what is read from them.

        ``images`` is float32 [B, 3, 32, 32] in [0, 1].
        """
        features = self.penultimate(self.convolutions(images))
        parts = self.heads(features).split(list(_HEADS.values()), dim=1)
        outputs = dict(zip(_HEADS, parts, strict=True))
        logits = {factor: outputs[factor] for factor in CATEGORICAL}
        return features, Predictions(logits, outputs["scalars"], outputs["turn"])


def load_shapes_net(path: str | Path = WEIGHTS) -> ShapesNet:
    """The trained network in eval mode; stored as float16, computed in float32."""
    net = ShapesNet()
    net.load_state_dict(load_file(path))
    return net.eval()


@torch.no_grad()
def read_factors(net: ShapesNet, images: Tensor, batch_size: int = 500) -> Reading:
    """What ``net`` sees in ``images``, uint8 [N, 3, 32, 32], N at least 1."""
    read = [_read(net(batch.float() / 255)[1]) for batch in torch.split(images, batch_size)]
    return Reading(
        Factors(**{name: torch.cat([one[name] for one, _ in read]) for name in read[0][0]}),
        {name: torch.cat([one[name] for _, one in read]) for name in CATEGORICAL},
    )


def mistakes(read: Factors, true: Factors) -> dict[str, Tensor]:
    """How far a reading is off, float32 [N] for each factor.

    0 or 1 for categorical factors, the absolute difference for the others. Rotations are compared
    around the period of the true shape, and have no mistake where it is a circle or a ring.
    """
    off = {name: (getattr(read, name) != getattr(true, name)).float() for name in CATEGORICAL}
    off |= {name: (getattr(read, name) - getattr(true, name)).abs() for name in SCALARS}
    order = torch.tensor(SYMMETRY)[true.shape]
    apart = canonical_rotation(true.shape, read.rotation - true.rotation)
    off["rotation"] = torch.minimum(apart, 2 * math.pi / order.clamp_min(1) - apart) * (order > 0)
    return off


def main() -> None:
    """Train, write the weights, and print how well what was written reads fresh images."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    net = train_shapes_net(seed=arguments.seed, steps=arguments.steps)
    quality = _quality(copy.deepcopy(net).half().float(), arguments.seed)
    facts = {
        "dataset": "shapes",
        "license": "Apache-2.0",
        "seed": str(arguments.seed),
        "training_images": str(arguments.steps * BATCH_SIZE),
        "measured_on": f"{len(FRESH):,} fresh images, after the rounding to float16",
        "accuracy": json.dumps({name: quality[name] for name in CATEGORICAL}),
        "mean_error": json.dumps({name: quality[name] for name in RANGES}),
    }
    _save(arguments.out, net, facts)
    print(f"accuracy {facts['accuracy']}\nmean error {facts['mean_error']}")


def train_shapes_net(*, seed: int = 0, steps: int = STEPS) -> ShapesNet:
    """The moving average of the trained weights, in eval mode; everything follows from ``seed``.

    No image is seen twice. AdamW with a warm-up and a cosine schedule (Loshchilov and Hutter
    2017, 2019).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ShapesNet()
        fault_head = nn.Linear(FEATURE_WIDTH, 2)
        averaged = copy.deepcopy(net)
        optimizer = torch.optim.AdamW(
            [*net.parameters(), *fault_head.parameters()], lr=4e-3, weight_decay=0.02
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: _warmup_then_cosine(step / max(1, steps))
        )
        net.train()
        started, losses = time.perf_counter(), []
        for step in range(steps):
            images, factors = sample(seed, range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE))
            spoilt, faults = spoil(images.float() / 255)
            features, predictions = net(spoilt)
            loss = _loss(predictions, factors)
            loss = loss + FAULT_WEIGHT * F.mse_loss(fault_head(features), faults)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            _update_average(averaged, net)
            losses.append(loss.item())
            if (step + 1) % 250 == 0:
                recent = sum(losses[-250:]) / 250
                seconds = time.perf_counter() - started
                print(f"step {step + 1}/{steps}  loss {recent:.4f}  {seconds:.0f} s", flush=True)
    return averaged.eval()


def spoil(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images with the faults that generators leave, and how strong they are, float32 [B, 2].

    Half of the images are blurred and half, independently, get noise: in that order, each up to a
    strength of 1. Brightness and tint shift a little in all of them.

    Args:
        images: float32 [B, 3, H, W] in [0, 1].
    """
    count = len(images)
    faults = torch.rand(count, 2) * (torch.rand(count, 2) < 0.5)
    blur, noise = faults[:, :, None, None, None].unbind(dim=1)
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    window = (kernel[:, None] * kernel).expand(images.shape[1], 1, 3, 3)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    images = images.lerp(F.conv2d(padded, window, groups=images.shape[1]), blur)
    gain = 1 + 0.04 * _symmetric_uniform(count, 3, 1, 1)
    shift = 0.03 * _symmetric_uniform(count, 3, 1, 1)
    images = images * gain + shift + 0.08 * noise * torch.randn(images.shape)
    return images.clamp(0, 1), faults


def _read(predictions: Predictions) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Factors, and probabilities of the categorical ones."""
    probabilities = {name: logits.softmax(dim=1) for name, logits in predictions.logits.items()}
    factors = {name: shares.argmax(dim=1) for name, shares in probabilities.items()}
    for name, column in zip(SCALARS, predictions.scalars.unbind(dim=1), strict=True):
        low, high = RANGES[name]
        factors[name] = low + (column.clamp(-1, 1) + 1) * (high - low) / 2
    cosine, sine = predictions.turn.unbind(dim=1)
    order = torch.tensor(SYMMETRY)[factors["shape"]]
    factors["rotation"] = canonical_rotation(
        factors["shape"], torch.atan2(sine, cosine) / order.clamp_min(1)
    )
    return factors, probabilities


def _loss(predictions: Predictions, factors: Factors) -> Tensor:
    low, high = torch.tensor([RANGES[name] for name in SCALARS]).T
    scalars = torch.stack([getattr(factors, name) for name in SCALARS], dim=1)
    scaled = 2 * (scalars - low) / (high - low) - 1
    order = torch.tensor(SYMMETRY)[factors.shape]
    angle = factors.rotation * order
    off = predictions.turn - torch.stack([angle.cos(), angle.sin()], dim=1)
    loss = SCALAR_WEIGHT * F.mse_loss(predictions.scalars, scaled)
    loss = loss + TURN_WEIGHT * (off.square() * (order > 0)[:, None]).mean()
    for name, logits in predictions.logits.items():
        loss = loss + F.cross_entropy(logits, getattr(factors, name))
    return loss


def _quality(net: ShapesNet, seed: int) -> dict[str, float]:
    """Accuracy of each categorical factor and mean absolute error of the others."""
    images, true = sample(seed, FRESH)
    off = mistakes(read_factors(net, images).factors, true)
    mean = {name: column.mean().item() for name, column in off.items()}
    return {name: 1 - value if name in CATEGORICAL else value for name, value in mean.items()}


_HEADS = {name: len(values) for name, values in CATEGORICAL.items()}
_HEADS |= {"scalars": len(SCALARS), "turn": 2}


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(),
    ]


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


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the network that reads shapes.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of {BATCH_SIZE} images each")
    parser.add_argument("--threads", type=int, default=1, help="threads that torch may use")
    return parser.parse_args()


def _save(path: Path, net: ShapesNet, facts: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    # Not save_file: it makes the file readable by its owner alone.
    unfinished.write_bytes(save(copy.deepcopy(net).half().state_dict(), metadata=dict(facts)))
    os.replace(unfinished, path)


if __name__ == "__main__":
    main()
