"""The model card that a weights file carries in its header, and the generator that it describes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from benchgen.errors import WeightsError
from benchgen.host.specs import GeneratorSpec, TrainerSpec
from benchgen.runs.documents import Document, Finite
from benchgen.training.header import parse_object, read_metadata

KEY = "benchgen"
"""The card's name among the metadata of a safetensors file."""

Setting = bool | int | Finite | str
Side = Annotated[int, Field(ge=1, le=16384)]


class ScoreRecord(Document):
    """A score with its uncertainty; undefined is null plus a reason."""

    value: Finite | None
    stderr: Finite | None
    interval: tuple[Finite, Finite] | None
    level: Finite
    n: int = Field(description="Images of the generator; for likelihoods, held-out images.")
    extractor: str | None = None
    notes: tuple[str, ...] = ()
    reason: str | None = None


class DataRecord(Document):
    """What the model learned from."""

    source: str = Field(description="An id or a path, as the command named it.")
    name: str
    license: str = ""
    fingerprint: str = Field(description="sha256 of pixels, labels, their order and the split.")
    training: int = Field(ge=1, description="Images.")
    validation: int = Field(ge=0, description="Held-out images, which chose the epoch.")
    left_out: int = Field(ge=0, description="Images that evaluations use as reference.")
    augmentation: tuple[str, ...] = ()


class ModelCard(Document):
    """What a weights file is, where it comes from, and how good it is."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", max_length=200)
    trainer: str = Field(pattern=r"^[a-z0-9._-]+/[a-z0-9._-]+$", description="Its id.")
    trainer_version: str
    description: str = Field(description="The trainer's, one line.")
    shape: tuple[Literal[1, 3], Side, Side] = Field(description="Channels, height, width.")
    classes: tuple[str, ...] = ()
    likelihood: bool = False
    license: str = Field(description="Of code and weights, an SPDX identifier.")
    training_data: str = Field(description="What it was trained on, and what was left out.")
    data: DataRecord
    seed: int
    settings: dict[str, Setting] = Field(default_factory=dict)
    epochs: int = Field(ge=1, description="Trained.")
    kept_epoch: int = Field(ge=1, description="Whose weights these are, from 1.")
    begun_from: str | None = Field(
        default=None, description="sha256 of the weights that training began from."
    )
    seconds: Finite = Field(ge=0, description="All epochs, validation included.")
    device: str
    precision: Literal["float32", "bfloat16"]
    threads: int
    environment: dict[str, str] = Field(default_factory=dict, description="Versions.")
    fid: ScoreRecord | None = Field(
        default=None, description="Between the validation images and as many of these weights."
    )
    bits_per_dim: ScoreRecord | None = Field(
        default=None, description="Of the validation images, where there is a likelihood."
    )
    command: str
    job: dict[str, Any] = Field(description="All that decides the weights.")


def read_card(path: str | Path) -> ModelCard:
    """The card of a weights file; loads no torch.

    Raises:
        WeightsError: The file is missing or damaged, or has no card that this benchgen reads.
    """
    path = Path(path)
    text = read_metadata(path).get(KEY)
    if text is None:
        raise WeightsError(f"{path} has no model card; expected a file that `benchgen train` wrote")
    raw = parse_object(text, path, "its model card")
    version = raw.get("schema_version")
    if isinstance(version, int) and version > 1:
        raise WeightsError(
            f"{path} has a model card of schema version {version}; this benchgen reads 1. "
            "Upgrade benchgen."
        )
    try:
        return ModelCard.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise WeightsError(
            f"{path} has a model card that is none: {field}: {first['msg']}; train it again"
        ) from error


def generator_spec(
    path: str | Path, card: ModelCard, trainer: TrainerSpec, name: str | None = None
) -> GeneratorSpec:
    """The generator that a weights file is. Hashes the file; loads no torch.

    Args:
        path: The weights.
        card: Their card.
        trainer: Whose ``opens`` makes a generator of them.
        name: Of the generator; the card's unless given.

    Raises:
        WeightsError: The file cannot be read.
    """
    channels, height, width = card.shape
    return GeneratorSpec(
        name=name or card.name,
        factory=trainer.opens,
        version=trainer.version,
        description=f"{card.description}; trained on {card.data.name}",
        parameters=trainer.sampling,
        resolution=(height, width),
        channels=channels,
        conditioning="class" if card.classes else "none",
        classes=card.classes,
        likelihood=card.likelihood,
        license=card.license,
        training_data=card.training_data,
        weights_sha256=file_sha256(Path(path)),
        fixed={"weights": str(path)},
    )


def file_sha256(path: Path) -> str:
    """Hash of a weights file, in hex.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
