"""What a trainer is asked for, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from torch import Tensor

from benchgen.images.generated import Generator

Batch = tuple[Tensor, Tensor | None]
"""Images float32 ``[B, C, H, W]`` in [0, 1], and int64 ``[B]`` labels, or None without classes."""

Data = Callable[[int, int], Iterator[Batch]]
"""(epoch from 0, batch size) -> its batches, which depend on (seed, epoch, batch size) alone."""


@dataclass(frozen=True)
class Epoch:
    """What a trainer tells after each epoch.

    Attributes:
        number: From 1.
        of: How many there will be unless it stops early.
        losses: Means over the epoch, by name.
        fid: Validation FID, where it was computed after this epoch.
        seconds: What the epoch took, validation included.
    """

    number: int
    of: int
    losses: Mapping[str, float]
    fid: float | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """One training, from data to weights.

    Attributes:
        shape: (channels, height, width) of the images.
        classes: Names of the classes that labels point into; empty where there are no labels.
        data: The training images.
        validate: FID between held-out images and those of a generator; lower is better.
        seed: Everything random follows from it.
        device: Where to compute: "cpu", "cuda" or "cuda:N".
        precision: What layers compute in; weights and optimizers stay float32.
        epochs: How many at most; None for the trainer's own number.
        patience: Stop after so many validations in a row without a better FID; None: never.
        checkpoints: A folder of the trainer's own. A job that finds a checkpoint there goes on
            from it, to the very weights of a job that was never interrupted.
        start: Weights to begin from (fine-tuning), written by the same trainer; or None.
        report: To be called after each epoch.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    data: Data
    validate: Callable[[Generator], float]
    seed: int
    device: str
    precision: Literal["float32", "bfloat16"]
    epochs: int | None
    patience: int | None
    checkpoints: Path
    start: Path | None
    report: Callable[[Epoch], None]


class Trained(Protocol):
    """A finished training: the weights of the epoch with the best validation FID."""

    @property
    def settings(self) -> Mapping[str, str | int | float | bool]:
        """What the trainer chose: batch size, learning rate and the like.

        ``epochs`` says how many were trained, and ``kept_epoch``, from 1, which one's weights
        these are.
        """
        ...

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a safetensors file whose metadata hold these entries beside the trainer's own."""
        ...


class Trainer(Protocol):
    """What a trainer plugin implements. No base class is needed."""

    def train(self, job: TrainingJob) -> Trained:
        """Train, or go on with what was begun.

        Raises:
            ValueError: The images' shape or the weights to begin from do not suit.
            FloatingPointError: A loss or a validation is NaN or infinite; names the epoch.
        """
        ...
