"""How good a generator is while it learns: FID to held-out images, and their likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from benchgen.errors import GeneratorError
from benchgen.features.likelihood import COLUMN, LikelihoodMeasure
from benchgen.host.loader import Host, Registered
from benchgen.host.specs import GeneratorSpec
from benchgen.images.array import ArraySource
from benchgen.images.generated import GeneratedSource, Generator
from benchgen.images.source import Source, is_stratified
from benchgen.metrics.base import TensorFeatures
from benchgen.metrics.frechet import Frechet
from benchgen.metrics.likelihood import Likelihood
from benchgen.runs.chosen import Reader
from benchgen.runs.readers import Limits, rows_of
from benchgen.runs.scoring import estimates
from benchgen.stats.estimates import Estimate
from benchgen.training.images import TrainingImages

_BATCH = 125
_DIGITS = tuple(str(digit) for digit in range(10))


def default_extractor(
    plugins: Host, identifier: str, shape: tuple[int, int, int], classes: tuple[str, ...]
) -> str:
    """The extractor that sees most in such images and needs no download.

    Args:
        plugins: Where an extractor of the data set's own name is looked for.
        identifier: Of the data set.
        shape: Channels, height and width of the training images.
        classes: Of the data set.
    """
    distribution, _, name = identifier.rpartition("/")
    if name == "shapes":
        own = [one.id for one in plugins.all("extractor") if one.id == f"{distribution}/shapes"]
        if own:
            return own[0]
    return "digits" if shape == (1, 28, 28) and classes == _DIGITS else "random-conv"


class Validation:
    """Compares generators with held-out images, whose features are extracted once.

    Args:
        images: The held-out images.
        reader: A loaded extractor.
        trainer: Who is blamed for what the generators do.
        seed: Of all samples.
        device: Where to sample.
        epoch: Tells, for messages, which epoch is under way.
        tell: Hears what a person should know.
    """

    def __init__(
        self,
        images: TrainingImages,
        reader: Reader,
        trainer: Registered,
        *,
        seed: int,
        device: str,
        epoch: Callable[[], int],
        tell: Callable[[str], None],
    ) -> None:
        self._images = images
        self._reader = reader
        self._trainer = trainer
        self._seed, self._device = seed, device
        self._epoch = epoch
        self._limits = Limits(tell)
        self._real = ArraySource(
            images.images,
            images.labels,
            "validation images",
            classes=images.classes,
            layout="NCHW",
        )
        self._family = Frechet()
        self._rows = self._features(self._real)
        self._prepared = self._family.prepare(self._rows)

    def __call__(self, generator: Generator) -> float:
        """FID of a generator that is being trained: the ``validate`` of a training job.

        Raises:
            GeneratorError: It fails or breaks the contract of generators; names the epoch.
        """
        _, height, width = self._images.shape
        spec = GeneratorSpec(
            name=self._trainer.spec.name,
            factory=f"{__name__}:given",
            resolution=(height, width),
            channels=1 if self._images.shape[0] == 1 else 3,
            conditioning="class" if self._images.classes else "none",
            classes=self._images.classes,
            fixed={"generator": generator},
        )
        try:
            rows = self._features(self.source(spec, {}))
        except GeneratorError as error:
            raise GeneratorError(f"epoch {self._epoch()}: {error}") from error
        value = self._family.compute(self._prepared, rows)["fid"].value
        assert value is not None  # plain FID is a number wherever there are two rows
        return value

    def source(self, spec: GeneratorSpec, parameters: dict[str, object]) -> GeneratedSource:
        """A generator as this validation samples it."""
        registered = replace(self._trainer, spec=spec)
        return GeneratedSource(registered, parameters, seed=self._seed, device=self._device)

    def fid(self, source: GeneratedSource) -> Estimate:
        """FID with its error, at as many samples as there are held-out images.

        Raises:
            GeneratorError: The generator fails or breaks its contract.
        """
        rows = self._features(source)
        return estimates(self._family, self._prepared, rows, (self._rows,))["fid"]

    def bits_per_dim(self, source: GeneratedSource) -> Estimate:
        """What the generator's likelihood says of the held-out images.

        Raises:
            GeneratorError: Its likelihood fails.
        """
        measure = LikelihoodMeasure(source, self._images.classes)
        bits = [
            value
            for batch in self._real.read(range(self._real.size), _BATCH)
            for value in measure(batch)[COLUMN]
        ]
        rows = TensorFeatures(torch.tensor(bits, dtype=torch.float64).reshape(-1, 1))
        return estimates(Likelihood(), None, rows, ())["nll"]

    def _features(self, source: Source) -> TensorFeatures:
        n = len(self._images)
        rows, labels = [], []
        for batch in source.read(range(n), _BATCH):
            rows.append(rows_of(self._reader, source, batch, self._limits).tensors["features"])
            labels.append(batch.labels)
        known = [one for one in labels if one is not None]
        strata = torch.cat(known) if known and is_stratified(source, n) else None
        return TensorFeatures(torch.cat(rows), strata)


def given(generator: Generator) -> Generator:
    """The generator itself: the factory of a spec for one that is there already."""
    return generator
