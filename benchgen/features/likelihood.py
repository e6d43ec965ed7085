"""What a generator's likelihood says of real images, as a measure of each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.images.generated import GeneratedSource
from benchgen.images.source import ImageBatch
from benchgen.metrics.likelihood import bits_per_dim

COLUMN = "bits_per_dim"


class LikelihoodMeasure:
    """Bits per dimension of each real image under one generator, fewer being better.

    Args:
        generator: A generator whose spec offers a likelihood.
        classes: Names of the classes that the real images' labels point into.
    """

    columns = (COLUMN,)

    def __init__(self, generator: GeneratedSource, classes: Sequence[str]) -> None:
        self._generator = generator
        self._classes = tuple(classes)

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The generator decides it all."""
        return {"generator": self._generator.fingerprint}

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[float]]:
        """Return the column for a batch of real images.

        Raises:
            MetricError: If the generator cannot make images of this size, colour or class.
            GeneratorError: If its likelihood fails.
        """
        images = self._as_its_own(batch.images)
        labels = self._its_labels(batch.labels)
        nats = self._generator.log_likelihood(images, batch.indices, labels)
        return {COLUMN: bits_per_dim(nats, images[0].numel()).tolist()}

    def _as_its_own(self, images: Tensor) -> Tensor:
        """The images in the channels of the generator."""
        spec = self._generator.spec
        size = tuple(images.shape[-2:])
        own = spec.resolution or tuple(
            self._generator.parameters.get(side, size[i])
            for i, side in enumerate(("height", "width"))
        )
        if size != tuple(own):
            raise MetricError(
                f"nll: {self._generator.name} makes images of {tuple(own)}; the real ones are "
                f"{size}. Its likelihood is of its own size only"
            )
        gray = bool((images == images[:, :1]).all())
        if self._generator.parameters.get("channels", spec.channels) == 3:
            return images
        if not gray:
            raise MetricError(
                f"nll: {self._generator.name} makes gray images; the real ones have colours"
            )
        return images[:, :1]

    def _its_labels(self, labels: Tensor | None) -> Tensor | None:
        spec = self._generator.spec
        if spec.conditioning != "class":
            return None
        if labels is None:
            raise MetricError(
                f"nll: {self._generator.name} is conditioned on classes, and the real images "
                "have no labels"
            )
        unknown = sorted(set(self._classes) - set(spec.classes))
        if unknown:
            raise MetricError(
                f"nll: the real images have classes that {self._generator.name} does not know: "
                f"{', '.join(unknown)}"
            )
        own = torch.tensor([spec.classes.index(name) for name in self._classes])
        return own[labels]
