"""Registers the reference models with benchgen: the one file here that imports it."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchgen import (
    ExtractorSpec,
    GeneratorSpec,
    MeasureSpec,
    ReferenceSpec,
    TrainerSpec,
    hookimpl,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from benchgen import SampleBatch
    from benchgen.features.network import NetworkExtractor
    from benchgen.images.source import ImageBatch
    from benchgen.training.job import Trained, TrainingJob
    from reference_models.shapes import Factors
    from reference_models.training import Batch, EpochReport, Recipe

WEIGHTS = Path(__file__).parent / "weights"

_RATE: dict[str, Any] = {"type": "number", "exclusiveMinimum": 0, "maximum": 1}
_SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
_TEMPERATURE = {"temperature": {"type": "number", "exclusiveMinimum": 0, "default": 1.0}}


@hookimpl
def benchgen_generators() -> list[GeneratorSpec | TrainerSpec]:
    """The families' trainers, and a generator for each weights file that ships."""
    from benchgen.training.card import generator_spec, read_card

    trainers = [family.spec() for family in FAMILIES]
    bundled = [
        generator_spec(path, read_card(path), trainer, name=path.stem)
        for trainer in trainers
        for path in sorted(WEIGHTS.glob(f"*-{trainer.name}.safetensors"))
    ]
    return [*trainers, *bundled]


@hookimpl
def benchgen_references() -> list[ReferenceSpec]:
    """The procedural data set."""
    return [
        ReferenceSpec(
            name="shapes",
            factory="reference_models.plugin:load_shapes",
            description="drawn shapes, 32x32 RGB, every factor known: 60,000 train, 10,000 test",
            parameters={
                "split": {"enum": ["train", "test"], "default": "test"},
                "size": {**_COUNT, "type": ["integer", "null"], "maximum": 10**6, "default": None},
            },
            license="Apache-2.0",
        )
    ]


@hookimpl
def benchgen_extractors() -> list[ExtractorSpec]:
    """The network that reads shapes."""
    return [
        ExtractorSpec(
            name="shapes",
            factory="reference_models.plugin:load_shapes_extractor",
            description="network of the drawn shapes, 64 features, 8 classes; weights included",
            has_classes=True,
        )
    ]


@hookimpl
def benchgen_measures() -> list[MeasureSpec]:
    """What that network reads."""
    return [
        MeasureSpec(
            name="shapes",
            factory="reference_models.plugin:ShapesMeasure",
            description="shape, colour, background, size, place and turn, as a network reads them",
        )
    ]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family: how to train it, and how to sample from what was trained.

    Attributes:
        name: Of its module in this package.
        recipe: Name of the module's recipe.
        description: One line.
        architecture: JSON Schema of the fields of its config that a training may set.
        settings: JSON Schema of its recipe's arguments that a training may set.
        sampling: JSON Schema of the arguments of its ``sample``.
        likelihood: Whether it has one.
    """

    name: str
    recipe: str
    description: str
    architecture: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sampling: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    likelihood: bool = False

    def spec(self) -> TrainerSpec:
        """What benchgen lists."""
        return TrainerSpec(
            name=self.name,
            factory=f"reference_models.plugin:{self.name}.trainer",
            opens=f"reference_models.plugin:{self.name}.open",
            description=self.description,
            parameters={"batch_size": _COUNT, **self.architecture, **self.settings},
            sampling=self.sampling,
            likelihood=self.likelihood,
            license="Apache-2.0",
        )

    def trainer(self, **parameters: Any) -> FamilyTrainer:
        """A trainer with these parameters; the family's own stand for the others."""
        return FamilyTrainer(self, parameters)

    def open(self, weights: str, **sampling: Any) -> Sampler:
        """A generator of the weights in a file."""
        return Sampler(self.module.load(weights), sampling)

    @property
    def module(self) -> Any:
        """The family's own module: plain torch."""
        return importlib.import_module(f"reference_models.{self.name}")


gan = Family(
    name="gan",
    recipe="GANRecipe",
    description="convolutional GAN: hinge loss, spectral norm, projection (Miyato & Koyama 2018)",
    architecture={
        "latent_dim": _COUNT,
        "doublings": {**_COUNT, "maximum": 4},
        "generator_width": _COUNT,
        "discriminator_width": _COUNT,
    },
    settings={
        "generator_learning_rate": _RATE,
        "discriminator_learning_rate": _RATE,
        "label_dropout": _SHARE,
        "spread": {"type": "boolean"},
        "class_weight": {"type": "number", "minimum": 0},
        "average_decay": _SHARE,
    },
)
vae = Family(
    name="vae",
    recipe="VAERecipe",
    description="convolutional VAE with a flow prior (Kingma & Welling 2014)",
    architecture={
        "latent_dim": {**_COUNT, "multipleOf": 2},
        "width": _COUNT,
        "shared_scale": {"type": "boolean"},
        "couplings": _COUNT,
        "coupling_hidden": _COUNT,
    },
    settings={
        "beta": {"type": "number", "exclusiveMinimum": 0},
        "learning_rate": _RATE,
        "label_dropout": _SHARE,
        "prior_share": _SHARE,
    },
    likelihood=True,
)
pixelcnn = Family(
    name="pixelcnn",
    recipe="PixelCNNRecipe",
    description="gated PixelCNN with logistic mixtures (van den Oord 2016, Salimans 2017)",
    architecture={"width": _COUNT, "components": _COUNT},
    settings={"learning_rate": _RATE, "label_dropout": _SHARE, "average_decay": _SHARE},
    sampling=_TEMPERATURE,
    likelihood=True,
)
transformer = Family(
    name="transformer",
    recipe="TransformerRecipe",
    description="causal transformer over the tokens of a VQ-VAE (van den Oord 2017)",
    architecture={"codes": _COUNT, "code_dim": _COUNT},
    settings={
        "learning_rate": _RATE,
        "codec_share": _SHARE,
        "commitment": {"type": "number", "minimum": 0},
        "label_dropout": _SHARE,
        "average_decay": _SHARE,
    },
    sampling=_TEMPERATURE,
)
diffusion = Family(
    name="diffusion",
    recipe="DiffusionRecipe",
    description="U-Net denoiser in 20 steps (Ho 2020, Karras 2022)",
    settings={"learning_rate": _RATE, "label_dropout": _SHARE, "average_decay": _SHARE},
    sampling={
        "steps": {**_COUNT, "maximum": 1000, "default": 20},
        "sampler": {"enum": ["deterministic", "ancestral"], "default": "deterministic"},
        "guidance": {"type": "number", "minimum": 0, "default": 1.25},
    },
)
ppca = Family(
    name="ppca",
    recipe="PPCARecipe",
    description="probabilistic PCA of each class: the floor among models (Tipping & Bishop 1999)",
    architecture={"components": _COUNT},
    likelihood=True,
)
FAMILIES = (gan, vae, pixelcnn, transformer, diffusion, ppca)


class Sampler:
    """A family's model behind benchgen's sampling contract."""

    def __init__(self, model: nn.Module, sampling: Mapping[str, Any]) -> None:
        self._model = model
        self._sampling = sampling

    def sample(self, batch: SampleBatch) -> Tensor:
        """``[B, C, H, W]``: uint8, or float32 in [0, 1]."""
        model: Any = self._model.to(batch.device)
        images: Tensor = model.sample(batch, batch.condition, **self._sampling)
        return images

    def log_likelihood(self, images: Tensor, batch: SampleBatch) -> Tensor:
        """Log p(image) in nats, or a lower bound of it, float64 ``[B]``, of uint8 images."""
        model: Any = self._model.to(batch.device)
        found: Tensor = model.log_likelihood(images.to(batch.device), batch.condition, batch)
        return found


class FamilyTrainer:
    """A family's recipe behind benchgen's training contract."""

    def __init__(self, family: Family, parameters: Mapping[str, Any]) -> None:
        self._family = family
        self._architecture = {k: v for k, v in parameters.items() if k in family.architecture}
        self._settings = {k: v for k, v in parameters.items() if k in family.settings}
        self._batch_size: int | None = parameters.get("batch_size")

    def train(self, job: TrainingJob) -> Trained:
        """Train, or go on with what was begun.

        Raises:
            ValueError: The images' shape, or the weights to begin from, do not suit.
            FloatingPointError: A loss is NaN or infinite.
        """
        import torch

        from reference_models.training import fit, seeded

        module = self._family.module
        config = self._config(job)
        with seeded(job.seed):
            recipe: Recipe = getattr(module, self._family.recipe)(config, **self._settings)
        if job.start is not None:
            _adopt(recipe, config, job.start, module)
        size = self._batch_size or recipe.batch_size
        any_class = torch.full((size,), config.classes)

        def data(epoch: int) -> Iterator[Batch]:
            for images, labels in job.data(epoch, size):
                yield images, any_class[: len(images)] if labels is None else labels

        progress = fit(
            recipe,
            data,
            epochs=job.epochs or recipe.epochs,
            seed=job.seed,
            device=job.device,
            precision=getattr(torch, job.precision),
            validate=lambda model: job.validate(Sampler(model, {})),
            validate_every=recipe.validate_every,
            patience=job.patience,
            checkpoint=job.checkpoints / "state.safetensors",
            report=lambda told: job.report(_as_told(told)),
        )
        settings = {
            "epochs": progress.epoch,
            "kept_epoch": progress.best_epoch or progress.epoch,
            "batch_size": size,
            **self._architecture,
            **self._settings,
        }
        return _Trained(self._family, recipe.model, config, settings)

    def _config(self, job: TrainingJob) -> Any:
        height, width = job.shape[1:]
        if height % 4 or width % 4 or min(height, width) < 8:
            raise ValueError(
                f"{self._family.name} makes images whose height and width are multiples of 4, 8 "
                f"or more; these are {height} × {width}: give another resolution"
            )
        return self._family.module.Config(
            shape=job.shape, classes=len(job.classes), **self._architecture
        )


def _adopt(recipe: Recipe, config: Any, start: Path, module: Any) -> None:
    model = module.load(start)
    found, wanted = asdict(model.config), asdict(config)
    differing = [f"{k} is {found[k]}, not {v}" for k, v in wanted.items() if found[k] != v]
    if differing:
        raise ValueError(f"{start} holds another architecture: {'; '.join(differing)}")
    recipe.adopt(model.state_dict())


def _as_told(told: EpochReport) -> Any:
    from benchgen.training.job import Epoch

    return Epoch(told.number, told.of, told.losses, told.score, told.seconds)


@dataclass(frozen=True)
class _Trained:
    family: Family
    model: nn.Module
    config: Any
    settings: Mapping[str, str | int | float | bool]

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the weights in float16, with the config and these metadata."""
        from reference_models.checkpoint import save_weights

        save_weights(
            path, self.model, family=self.family.name, config=self.config, metadata=metadata
        )


# The drawn shapes.

_SHAPES_SPLITS = {"train": (0, 60_000), "test": (1 << 32, 10_000)}
"""Of each split the first index, and how many there are by default. The drawing is endless."""
_SHAPES_SEED = 0


def load_shapes(part: str, split: str = "test", size: int | None = None) -> ShapesSource:
    """The first ``size`` images of a split; the part "held-out" is the other one, whole."""
    if part == "reference":
        return ShapesSource(split, size)
    return ShapesSource("train" if split == "test" else "test")


class ShapesSource:
    """Drawn shapes as a source: the class is the shape, further factors are columns."""

    def __init__(self, split: str, size: int | None = None) -> None:
        from reference_models.shapes import CLASSES, draw

        self._first, whole = _SHAPES_SPLITS[split]
        self.size = size or whole
        self.name = f"shapes ({split})"
        self.classes: tuple[str, ...] = CLASSES
        self._factors = draw(_SHAPES_SEED, range(self._first, self._first + self.size))
        self.labels = self._factors.shape

    @property
    def fingerprint(self) -> str:
        """sha256 over what decides the images."""
        from benchgen.hashing import digest
        from reference_models.shapes import VERSION

        drawn = {"seed": _SHAPES_SEED, "first": self._first, "n": self.size}
        return digest({"source": "shapes", "version": VERSION, **drawn})

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        """Draw the images at these indices."""
        import torch

        from benchgen.images.source import ImageBatch, checked_indices
        from reference_models.shapes import render

        wanted = torch.tensor(checked_indices(self, indices), dtype=torch.int64)
        for rows in torch.split(wanted, batch_size) if len(wanted) else ():
            factors = self._factors[rows]
            yield ImageBatch(
                indices=rows,
                images=render(factors),
                labels=factors.shape,
                names=tuple(map(str, rows.tolist())),
                columns=_as_text(factors),
            )


def load_shapes_extractor(device: str | torch.device) -> NetworkExtractor:
    """The ``shapes`` extractor: 64 features, and the logits of the shape."""
    from benchgen.features.extractor import Extracted
    from benchgen.features.network import Input, NetworkExtractor
    from reference_models.shapes import CLASSES, SIDE
    from reference_models.shapes_net import FEATURE_WIDTH, WEIGHTS, load_shapes_net

    net = load_shapes_net().to(device)
    prepare = Input.of(SIDE, "torchvision-antialias")

    def forward(images: Tensor) -> Extracted:
        features, predictions = net(images)
        return Extracted(features, predictions.logits["shape"])

    return NetworkExtractor(
        forward,
        prepare,
        device,
        FEATURE_WIDTH,
        {
            "network": "shapes",
            "weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
            "layer": f"penultimate-{FEATURE_WIDTH}",
            **prepare.fingerprint,
        },
        side=SIDE,
        classes=CLASSES,
    )


class ShapesMeasure:
    """The factors of each image, as the network reads them: names, pixels and degrees."""

    def __init__(self) -> None:
        from reference_models.shapes import CATEGORICAL
        from reference_models.shapes_net import SCALARS, WEIGHTS, load_shapes_net

        self._net = load_shapes_net()
        self.columns = (*CATEGORICAL, *SCALARS, "rotation")
        self.fingerprint: Mapping[str, str] = {
            "measure": "shapes",
            "weights": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        }

    def __call__(self, batch: ImageBatch) -> Mapping[str, Sequence[str | float]]:
        """One value a column and image; images of another size are resized."""
        from benchgen.images.resize import resize
        from reference_models.shapes import SIDE
        from reference_models.shapes_net import SCALARS, read_factors

        images = batch.images
        if images.shape[-2:] != (SIDE, SIDE):
            images = resize(images, SIDE, "torchvision-antialias").round().to(images.dtype)
        factors = read_factors(self._net, images).factors
        degrees = (factors.rotation * (180 / math.pi)).tolist()
        return {
            **_as_text(factors),
            **{name: getattr(factors, name).tolist() for name in SCALARS},
            "rotation": degrees,
        }


def _as_text(factors: Factors) -> dict[str, tuple[str, ...]]:
    """The names of the categorical factors' values."""
    from reference_models.shapes import CATEGORICAL

    return {
        name: tuple(values[at] for at in getattr(factors, name).tolist())
        for name, values in CATEGORICAL.items()
    }
