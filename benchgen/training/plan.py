"""From a request to all that a training needs, and to all that decides its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchgen.errors import UsageError
from benchgen.host.loader import Registered, host, with_defaults
from benchgen.host.specs import TrainerSpec
from benchgen.report.numbers import count
from benchgen.runs.chosen import Reader, load_readers
from benchgen.runs.documents import SourceRecord
from benchgen.runs.environment import resolve_device
from benchgen.suite import Chosen
from benchgen.training.card import DataRecord, ModelCard, file_sha256, read_card
from benchgen.training.data import load, open_training_source
from benchgen.training.images import Splits, split
from benchgen.training.request import Precision, Request
from benchgen.training.validation import default_extractor


@dataclass(frozen=True)
class Plan:
    """A training, checked before anything is learned.

    Attributes:
        request: What was asked for.
        trainer: Who trains.
        parameters: Of the trainer, complete.
        device: Where.
        precision: Of the layers.
        splits: Images to learn from, and those held out.
        record: Where they come from.
        data_name: What to call them.
        left_out: How many images of the source may not be seen.
        reader: The extractor of the validation.
        start: The card of the weights to begin from, and their sha256.
    """

    request: Request
    trainer: Registered
    parameters: dict[str, Any]
    device: str
    precision: Precision
    splits: Splits
    record: SourceRecord
    data_name: str
    left_out: int
    reader: Reader
    start: tuple[ModelCard, str] | None

    @property
    def spec(self) -> TrainerSpec:
        assert isinstance(self.trainer.spec, TrainerSpec)
        return self.trainer.spec

    @property
    def job(self) -> dict[str, Any]:
        """All that decides the weights, as JSON has it."""
        training = self.splits.training
        decisive = {
            "trainer": self.trainer.id,
            "trainer_version": self.spec.version,
            "parameters": self.parameters,
            "data": self.splits.fingerprint,
            "shape": training.shape,
            "classes": len(training.classes),
            "validation": len(self.splits.validation),
            "augment": self.request.augment,
            "extractor": self.reader.fields,
            "seed": self.request.seed,
            "epochs": self.request.epochs,
            "patience": self.request.patience,
            "from": None if self.start is None else self.start[1],
            "device": self.device.partition(":")[0],
            "precision": self.precision,
        }
        as_json: dict[str, Any] = json.loads(json.dumps(decisive))
        return as_json

    @property
    def data(self) -> DataRecord:
        """What the card says of the images."""
        return DataRecord(
            source=self.request.dataset,
            name=self.data_name,
            license=self.record.license,
            fingerprint=self.splits.fingerprint,
            training=len(self.splits.training),
            validation=len(self.splits.validation),
            left_out=self.left_out,
            augmentation=self.request.augment,
        )

    @property
    def training_data(self) -> str:
        """What the model learns from, as a sentence."""
        told = (
            f"{self.data_name}: {count(len(self.splits.training))} images to learn from, "
            f"{count(len(self.splits.validation))} held out to choose the epoch"
        )
        if self.left_out:
            told += (
                f", {count(self.left_out)} left out that the reference digits holds, by pixel hash"
            )
        if self.start is not None:
            told += f"; begun from weights trained on {self.start[0].training_data}"
        return told


def make_plan(request: Request, tell: Callable[[str], None]) -> Plan:
    """Resolve a request, and read its images.

    Args:
        request: What was asked for.
        tell: Hears what a person should know.

    Raises:
        UnknownIdError, UsageError, PluginError: It asks for what is not there or does not fit.
        ImageError, WeightsError: Images, or weights to begin from, are missing or unusable.
    """
    plugins = host()
    trainer = plugins.find("trainer", request.trainer)
    parameters = with_defaults(trainer, dict(request.params), "--param")
    device = resolve_device(request.device)
    start = None if request.start is None else _start(request, trainer)
    source, record = open_training_source(
        plugins, request.dataset, request.root, trust_code=request.trust_code
    )
    loaded = load(source, record.id, request.resolution)
    images = loaded.images.unlabelled() if request.unconditional else loaded.images
    splits = split(images, request.validation)
    chosen = request.extractor or default_extractor(
        plugins, record.id, images.shape, loaded.images.classes
    )
    (reader,) = load_readers(
        plugins, "extractor", (Chosen(id=chosen),), device, trust_code=request.trust_code
    )
    precision = request.precision
    if precision == "auto":
        precision = "bfloat16" if device.startswith("cuda") else "float32"
    plan = Plan(
        request=request,
        trainer=trainer,
        parameters=parameters,
        device=device,
        precision=precision,
        splits=splits,
        record=record,
        data_name=source.name,
        left_out=loaded.left_out,
        reader=reader,
        start=start,
    )
    _require_suits(plan)
    tell(f"{plan.training_data}; validation by {reader.label} features")
    return plan


def _start(request: Request, trainer: Registered) -> tuple[ModelCard, str]:
    assert request.start is not None
    path = request.start.expanduser()
    card = read_card(path)
    if card.trainer != trainer.id:
        raise UsageError(
            f"--from: {path} was trained by {card.trainer}; {trainer.id} begins from weights of "
            "its own only"
        )
    return card, file_sha256(path)


def _require_suits(plan: Plan) -> None:
    """Refuse weights of images of another size, colour or number of classes."""
    if plan.start is None:
        return
    card, images = plan.start[0], plan.splits.training
    for what, theirs, ours in (
        ("images of shape", card.shape, images.shape),
        ("this many classes:", len(card.classes), len(images.classes)),
    ):
        if theirs != ours:
            raise UsageError(
                f"--from: {plan.request.start} is of {what} {theirs}, and {plan.data_name} gives "
                f"{ours}; --resolution and --unconditional may make them fit"
            )
