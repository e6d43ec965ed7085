"""The loop that trains every family: epochs, validation, early stopping, and checkpoints.

A family brings a :class:`Recipe`, which knows its modules, its optimizers and one step. The rest
is the same for all. Everything random follows from (seed, epoch), so a training that was killed
and goes on from its last checkpoint ends, on the CPU, with the very weights of one that was not.
"""

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from reference_models.checkpoint import read_metadata, write_tensors

Batch = tuple[Tensor, Tensor]
"""Images float32 [B, C, H, W] in [0, 1], and their labels int64 [B]."""

Data = Callable[[int], Iterator[Batch]]
"""Epoch number, from 0 -> that epoch's batches."""


class Recipe(nn.Module):
    """What a family learns and how; a subclass holds all its modules, so that they are saved.

    Attributes:
        model: What is kept in the end: it samples.
        optimizers: All of them, in a fixed order.
        autocast: A context in which to compute losses, set by :func:`fit`.
        epochs: How many to train for unless told otherwise.
        batch_size: Images per step unless told otherwise.
        validate_every: Epochs between validations: more where sampling is slow.
    """

    model: nn.Module
    optimizers: Sequence[Optimizer] = ()
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    epochs = 20
    batch_size = 128
    validate_every = 1

    def begin(self, epoch: int, epochs: int) -> None:
        """Prepare for an epoch: set learning rates, choose the stage."""

    def step(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Learn from one batch; return what to report, by name."""
        raise NotImplementedError

    def end(self) -> None:
        """Finish an epoch."""

    @property
    def can_sample(self) -> bool:
        """Whether ``model`` makes images already, so that validating it means something."""
        return True

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Begin from the weights of a model instead of random ones."""
        self.model.load_state_dict(state)


class AveragedRecipe(Recipe):
    """A recipe that trains ``network`` and keeps the moving average of its weights.

    Args:
        network: What learns.
        decay: Of the moving average.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = network
        self.average = Average(network, decay)
        self.model = self.average.module

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Begin from the weights of a model instead of random ones."""
        self.network.load_state_dict(state)
        self.model.load_state_dict(state)


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to: ``number`` counts from 1; ``score`` is None where not validated."""

    number: int
    of: int
    losses: Mapping[str, float]
    score: float | None
    seconds: float


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: Epochs finished.
        best_epoch: The epoch, from 1, of the best validation; None before the first.
        best_score: What ``validate`` gave there; lower is better.
        waited: Validations since then.
    """

    epoch: int = 0
    best_epoch: int | None = None
    best_score: float = math.inf
    waited: int = 0
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)


def fit(
    recipe: Recipe,
    data: Data,
    *,
    epochs: int,
    seed: int,
    device: str | torch.device = "cpu",
    precision: torch.dtype = torch.float32,
    validate: Callable[[nn.Module], float] | None = None,
    validate_every: int = 1,
    patience: int | None = None,
    checkpoint: Path | None = None,
    report: Callable[[EpochReport], None] = lambda _: None,
) -> Progress:
    """Train ``recipe``; leave the best of its models in ``recipe.model``, in eval mode.

    Args:
        data: ``data(epoch)`` yields that epoch's batches; it must depend on nothing else.
        precision: What layers compute in under autocast; weights stay float32.
        validate: Called with the model in eval mode; lower is better. Without it, and for a
            recipe whose model never could sample, the last model is the best.
        validate_every: Epochs between validations; the last epoch is always validated.
        patience: Stop after so many validations without a better one; None: never.
        checkpoint: Where the state is written after each epoch, and read where it is there.
        report: Called after each epoch.

    Raises:
        FloatingPointError: a loss or a validation is NaN or infinite; names the epoch.
        ValueError: an epoch has no batches, or the checkpoint is of another recipe.
    """
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        recipe.to(device)
        recipe.autocast = partial(
            torch.autocast, device.type, dtype=precision, enabled=precision != torch.float32
        )
        began = checkpoint is not None and checkpoint.is_file()
        progress = _restore(checkpoint, recipe) if checkpoint and began else Progress()
        while progress.epoch < epochs and not _has_waited(progress, patience):
            started, epoch = time.perf_counter(), progress.epoch
            torch.manual_seed(epoch_seed(seed, epoch))
            losses = _epoch(recipe, data(epoch), epoch, epochs, device)
            progress.epoch += 1
            due = progress.epoch % validate_every == 0 or progress.epoch == epochs
            score = None
            if validate is not None and due and recipe.can_sample:
                score = _validated(recipe.model, validate, progress)
            if checkpoint is not None:
                _store(checkpoint, recipe, progress)
            seconds = time.perf_counter() - started
            report(EpochReport(progress.epoch, epochs, losses, score, seconds))
    if progress.best:
        recipe.model.load_state_dict(progress.best)
    recipe.eval()
    return progress


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn inside follows from ``seed``; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch, unlike those of the others."""
    # An odd multiplier mixes the two without collisions below 2**63.
    return (seed * 0x9E3779B97F4A7C15 + epoch * 0xD1342543DE82EF95 + 1) % 2**63


def _epoch(
    recipe: Recipe,
    batches: Iterator[Batch],
    epoch: int,
    epochs: int,
    device: torch.device,
) -> dict[str, float]:
    """The mean of each reported loss."""
    recipe.train()
    recipe.begin(epoch, epochs)
    sums: dict[str, Tensor] = {}
    count = 0
    for images, labels in batches:
        images, labels = images.to(device), labels.to(device)
        for name, value in recipe.step(images, labels).items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
        count += 1
    if count == 0:
        raise ValueError(f"epoch {epoch + 1} has no batches: there are fewer images than one needs")
    recipe.end()
    recipe.eval()
    means = {name: float(total) / count for name, total in sums.items()}
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"epoch {epoch + 1}: {name} is {mean}; try a lower learning rate, or float32"
            )
    return means


def _validated(
    model: nn.Module, validate: Callable[[nn.Module], float], progress: Progress
) -> float:
    score = validate(model)
    if not math.isfinite(score):
        raise FloatingPointError(f"epoch {progress.epoch}: the validation score is {score}")
    if score < progress.best_score:
        progress.best_score, progress.best_epoch, progress.waited = score, progress.epoch, 0
        progress.best = copy.deepcopy(model.state_dict())
    else:
        progress.waited += 1
    return score


def _has_waited(progress: Progress, patience: int | None) -> bool:
    return patience is not None and progress.waited >= patience


# Checkpoints.


def _store(path: Path, recipe: Recipe, progress: Progress) -> None:
    tensors = {f"recipe.{name}": value for name, value in recipe.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in progress.best.items()}
    for number, optimizer in enumerate(recipe.optimizers):
        for at, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{at}.{k}": v for k, v in state.items()}
    told = {key: value for key, value in asdict(progress).items() if key != "best"}
    if progress.best_epoch is None:
        told["best_score"] = None
    # Clones: safetensors takes no two tensors that share memory, as spectral norms' may.
    kept = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    write_tensors(path, kept, {"progress": json.dumps(told)})


def _restore(path: Path, recipe: Recipe) -> Progress:
    groups: dict[str, dict[str, Tensor]] = {"recipe": {}, "best": {}, "optimizer": {}}
    for name, tensor in load_file(path).items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    try:
        recipe.load_state_dict(groups["recipe"])
    except RuntimeError as error:
        raise ValueError(f"{path} is a checkpoint of another model: {error}") from error
    for number, optimizer in enumerate(recipe.optimizers):
        _restore_optimizer(optimizer, groups["optimizer"], f"{number}.")
    told: dict[str, Any] = json.loads(read_metadata(path)["progress"])
    if told["best_score"] is None:
        told["best_score"] = math.inf
    return Progress(**told, best=groups["best"])


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], prefix: str) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            at, _, key = name.removeprefix(prefix).partition(".")
            state.setdefault(int(at), {})[key] = tensor
    if state:
        optimizer.load_state_dict(
            {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
        )


# What several recipes do.


def optimize(optimizer: Optimizer, loss: Tensor, *, most: float | None = None) -> None:
    """One step down the gradient of ``loss``; its norm is cut at ``most``."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if most is not None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, most)
    optimizer.step()


def set_learning_rate(optimizer: Optimizer, value: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = value


def cosine(epoch: int, epochs: int) -> float:
    """From 1 at epoch 0 towards 0 along a half cosine (Loshchilov and Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * epoch / epochs))


class Average(nn.Module):
    """An exponential moving average of a module's weights, in eval mode.

    The first steps count for more: the average at step t decays by at most t / (t + 10).
    """

    steps: Tensor

    def __init__(self, source: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(source).eval().requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "Average":
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move towards the weights of ``source``."""
        self.steps += 1
        # On the device: a graphics card would stop and wait for a number that the CPU reads.
        weight = 1 - (self.steps / (self.steps + 10)).clamp(max=self.decay)
        current = source.state_dict()
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(current[name], weight)
            else:
                tensor.copy_(current[name])
