"""What a training is asked for, checked, and the command that asks for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from benchgen.errors import UsageError
from benchgen.training.weights import SUFFIX, is_weights

Augmentation = Literal["flip", "shift"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One training as a person asks for it; ``benchgen.train`` says what each field means.

    Raises:
        UsageError: A field is out of range; names its flag.
    """

    trainer: str
    dataset: str
    out: Path
    root: Path | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    patience: int | None = None
    seed: int = 0
    start: Path | None = None
    resolution: int | None = None
    augment: tuple[Augmentation, ...] = ()
    validation: int | None = None
    extractor: str | None = None
    unconditional: bool = False
    device: str = "auto"
    precision: Literal["auto"] | Precision = "auto"
    threads: int | None = None
    trust_code: bool = False

    def __post_init__(self) -> None:
        if not is_weights(self.out.name) or self.out.is_dir():
            raise UsageError(f"--out is {self.out}; expected a file whose name ends in {SUFFIX}")
        for name, least in {"epochs": 1, "patience": 1, "validation": 2, "threads": 1}.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name} is {value}; expected {least} or more")
        if self.resolution is not None and not 1 <= self.resolution <= 16384:
            raise UsageError(f"--resolution is {self.resolution}; expected 1 to 16384")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}; expected 0 to 2**63 - 1")
        _require_known("--augment", self.augment, get_args(Augmentation))
        _require_known("--precision", (self.precision,), ("auto", *get_args(Precision)))
        _require_storable(self)

    @property
    def command(self) -> str:
        """What to type for the same training."""
        return shlex.join(["benchgen", "train", self.trainer, *self._flags()])

    def _flags(self) -> Iterator[str]:
        yield from ("--dataset", self.dataset, "--out", str(self.out))
        for name, value in self.params.items():
            text = value if isinstance(value, str) else json.dumps(value)
            yield from ("--param", f"{name}={text}")
        for name in self.augment:
            yield from ("--augment", name)
        for name in _PLAIN:
            value = getattr(self, name)
            if value != getattr(type(self), name):
                yield from (f"--{'from' if name == 'start' else name}", str(value))
        yield from ("--seed", str(self.seed))
        for flag in ("unconditional", "trust_code"):
            if getattr(self, flag):
                yield f"--{flag.replace('_', '-')}"


_PLAIN = (
    "root", "epochs", "patience", "start", "resolution", "validation", "extractor", "device",
    "precision", "threads",
)  # fmt: skip


def _require_known(flag: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    for value in given:
        if value not in known:
            raise UsageError(f"{flag} is {value!r}; expected one of {', '.join(known)}")


def _require_storable(request: Request) -> None:
    """Refuse what the model card could not hold."""
    try:
        json.dumps(dict(request.params), allow_nan=False)
        request.command.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the command holds {error.object!r}, which is no UTF-8; rename the file"
        ) from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"--param: {error}; expected numbers, texts, lists and the like") from None
