"""Generators as sources: the sampling contract, its checks, and the guard around plugin calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from benchgen.errors import GeneratorError, blamed
from benchgen.hashing import digest
from benchgen.host.loader import Registered
from benchgen.host.specs import GeneratorSpec
from benchgen.images import noise
from benchgen.images.pixels import PixelError, to_uint8
from benchgen.images.source import ImageBatch


class SampleBatch:
    """What a generator is asked for: images by index, with their noise and condition.

    Attributes:
        indices: int64 ``[B]``.
        condition: What the generator's spec asks for (int64 labels ``[B]``), or None.
        device: Where to compute; noise and condition are already there.
        seed: The run's seed; noise is a function of (seed, index, stream, kind).
    """

    def __init__(
        self,
        indices: Sequence[int] | Tensor,
        *,
        seed: int,
        condition: Tensor | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.indices = torch.as_tensor(indices, dtype=torch.int64)
        self.seed = seed
        self.device = torch.device(device)
        self.condition = None if condition is None else condition.to(self.device)
        self._asked: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return len(self.indices)

    def normal(self, *shape: int, stream: int = 0) -> Tensor:
        """Standard normal noise, float32 ``[B, *shape]``.

        Raises:
            ValueError: If this stream was drawn before in this call: two draws would be equal.
                A sampler with steps says ``stream=step``.
        """
        self._once("normal", stream)
        drawn = noise.normal(self.seed, self.indices.tolist(), shape, stream)
        return drawn.to(self.device)

    def uniform(self, *shape: int, stream: int = 0) -> Tensor:
        """Uniform noise in [0, 1), float32 ``[B, *shape]``; raises as ``normal`` does."""
        self._once("uniform", stream)
        drawn = noise.uniform(self.seed, self.indices.tolist(), shape, stream)
        return drawn.to(self.device)

    def torch_generators(self) -> list[torch.Generator]:
        """One seeded CPU ``torch.Generator`` per image: the form that diffusers takes."""
        return [noise.torch_generator(self.seed, int(index)) for index in self.indices]

    def _once(self, kind: str, stream: int) -> None:
        if (kind, stream) in self._asked:
            raise ValueError(
                f"batch.{kind}(stream={stream}) was drawn twice in one call; both draws would be "
                "equal. Give each draw its own stream, such as stream=step."
            )
        self._asked.add((kind, stream))


class Generator(Protocol):
    """What a plugin implements. No base class is needed."""

    def sample(self, batch: SampleBatch) -> Tensor:
        """Return uint8 ``[B, C, H, W]``, or float in [0, 1]; C is 1 or 3."""
        ...

    # Where its spec says ``likelihood=True``, also:
    # def log_likelihood(self, images: Tensor, batch: SampleBatch) -> Tensor: ...


class GeneratedSource:
    """A generator seen as a source without end. Loads the model when first read.

    Args:
        registered: The generator's spec with its distribution.
        parameters: Complete parameters (defaults filled in).
        seed: Seed of the run.
        device: Where to sample.
        name: Name of the row; defaults to the spec's.

    Attributes:
        stratified: Whether labels are conditions, of which there are equally many by design.
        warnings: What the guard found and mended, such as changed global torch state.
    """

    size: int | None = None

    def __init__(
        self,
        registered: Registered,
        parameters: dict[str, Any],
        *,
        seed: int,
        device: str = "cpu",
        name: str | None = None,
    ) -> None:
        assert isinstance(registered.spec, GeneratorSpec)
        self.registered = registered
        self.spec: GeneratorSpec = registered.spec
        self.parameters = parameters
        self.seed = seed
        self.device = device
        self.name = name or self.spec.name
        self.classes = self.spec.classes
        self.stratified = self.spec.conditioning == "class"
        self.warnings: list[str] = []
        self._generator: Generator | None = None
        self._most: int | None = None

    @property
    def fingerprint(self) -> str:
        """sha256 over id, versions, weights, parameters and seed."""
        return digest(
            {
                "generator": self.registered.id,
                "distribution_version": self.registered.distribution_version,
                "version": self.spec.version,
                "weights": self.spec.weights_sha256,
                "parameters": self.parameters,
                "seed": self.seed,
                "noise": noise.VERSION,
            }
        )

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Sample the images at these indices.

        Where a graphics card's memory does not suffice for a batch, from there on half as many
        are sampled at once: an image does not depend on its batch.

        Raises:
            GeneratorError: If the generator raises, returns too few images, or breaks the
                contract; names the plugin, the field and the first bad index.
        """
        start = 0
        while start < len(indices):
            chosen = list(indices[start : start + min(batch_size, self._most or batch_size)])
            labels = None
            if self.spec.conditioning == "class":
                labels = noise.labels(self.seed, chosen, len(self.spec.classes))
            try:
                images = self._sample(chosen, labels)
            except GeneratorError as error:
                if not isinstance(error.__cause__, torch.cuda.OutOfMemoryError) or len(chosen) < 2:
                    raise
                self._take_fewer(len(chosen))
                continue
            start += len(chosen)
            yield ImageBatch(
                indices=torch.tensor(chosen, dtype=torch.int64),
                images=images,
                labels=labels,
                names=tuple(str(index) for index in chosen),
            )

    def index_pure(self) -> bool:
        """Whether images 0 and 1 come out the same alone and in one batch (to one grey level)."""
        batch = next(self.read([0, 1], 2)).images
        alone = torch.cat([next(self.read([i], 1)).images for i in (0, 1)])
        return bool((batch.int() - alone.int()).abs().max() <= 1)

    def model_parameters(self) -> int | None:
        """How many numbers its networks learnt; None where it shows no network.

        Networks are ``torch.nn.Module``: the generator itself, or attributes of it.
        """
        generator = self._loaded()
        seen = [generator, *getattr(generator, "__dict__", {}).values()]
        learnt = {
            id(parameter): parameter.numel()
            for network in seen
            if isinstance(network, torch.nn.Module)
            for parameter in network.parameters()
        }
        return sum(learnt.values()) or None

    def log_likelihood(self, images: Tensor, indices: Tensor, labels: Tensor | None) -> Tensor:
        """Log-probability in nats, float64 ``[B]``, that the generator gives real images.

        Args:
            images: uint8 ``[B, C, H, W]``, with the generator's own channels and size.
            indices: int64 ``[B]``: which noise a generator draws that needs some.
            labels: int64 ``[B]`` into its classes, where it is conditioned on them.

        Raises:
            GeneratorError: If the generator raises, or returns anything but finite numbers.
        """
        who = self.registered.id
        batch = SampleBatch(indices, seed=self.seed, condition=labels, device=self.device)
        with self._calling(f"while weighing real images {int(indices[0])} to {int(indices[-1])}"):
            found = self._loaded().log_likelihood(images.to(self.device), batch)
        if not isinstance(found, Tensor) or tuple(found.shape) != (len(images),):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise GeneratorError(
                f"generator {who}: log_likelihood returned {shape}; expected a tensor "
                f"({len(images)},) in nats"
            )
        nats: Tensor = found.detach().cpu().double()
        if not torch.isfinite(nats).all():
            first = int(indices[(~torch.isfinite(nats)).nonzero()[0, 0]])
            raise GeneratorError(
                f"generator {who}: log_likelihood is {nats[~torch.isfinite(nats)][0]} at real "
                f"image {first}; a likelihood must give every image some probability"
            )
        return nats

    def _loaded(self) -> Any:
        if self._generator is None:
            self._generator = self.spec.load(**self.parameters)
        return self._generator

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Around every call of the plugin: who is to blame, and nothing global left changed."""
        with (
            blamed(f"generator {self.registered.id}", doing, GeneratorError),
            _guarded(self._warn),
            torch.no_grad(),
        ):
            yield

    def _sample(self, indices: list[int], labels: Tensor | None) -> Tensor:
        batch = SampleBatch(indices, seed=self.seed, condition=labels, device=self.device)
        who = self.registered.id
        with self._calling(f"while sampling images {indices[0]} to {indices[-1]}"):
            images = self._loaded().sample(batch)
        if not isinstance(images, Tensor):
            raise GeneratorError(
                f"generator {who} returned {type(images).__name__}; expected a torch.Tensor "
                "[B, C, H, W]"
            )
        if images.ndim == 4 and len(images) != len(indices):
            raise GeneratorError(
                f"generator {who} returned {len(images)} images; {len(indices)} were asked for "
                f"(indices {indices[0]} to {indices[-1]})"
            )
        try:
            converted = to_uint8(images.detach().cpu())
        except PixelError as error:
            place = "" if error.index is None else f", first at index {indices[error.index]}"
            raise GeneratorError(f"generator {who}: {error.field}{place}: {error}") from error
        expected = self.spec.resolution
        if expected is not None and tuple(converted.shape[-2:]) != tuple(expected):
            raise GeneratorError(
                f"generator {who}: shape: images are {tuple(converted.shape[-2:])}; its spec "
                f"promises resolution {tuple(expected)}"
            )
        return converted

    def _take_fewer(self, found: int) -> None:
        self._most = found // 2
        torch.cuda.empty_cache()
        self.warnings.append(
            f"{self.registered.id}: {self.device} has no memory for {found} images at once; "
            f"sampled {self._most} at a time"
        )

    def _warn(self, changed: str) -> None:
        message = f"{self.registered.id} changed global state ({changed}); it was restored"
        if message not in self.warnings:
            self.warnings.append(message)


_SETTINGS = {
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (torch.get_default_device, torch.set_default_device),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "float32 matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
}


@contextmanager
def _guarded(report: Any) -> Iterator[None]:
    """Save global torch and random state, and put it back whatever the plugin does."""
    import random

    settings = {name: get() for name, (get, _) in _SETTINGS.items()}
    backends = (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic)
    numpy_state, python_state = np.random.get_state(), random.getstate()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        changed = []
        for name, (get, put) in _SETTINGS.items():
            if get() != settings[name]:
                put(settings[name])  # type: ignore[operator]
                changed.append(name)
        if (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) != backends:
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = backends
            changed.append("cuDNN settings")
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        if changed:
            report(", ".join(changed))
