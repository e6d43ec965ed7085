"""One training carried out: epochs, the evaluation of what is stored, weights and card in place."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import ValidationError

from benchgen.errors import (
    BenchgenError,
    PluginError,
    StoreError,
    UsageError,
    WeightsError,
    blamed,
)
from benchgen.files import write_atomically
from benchgen.runs.environment import environment
from benchgen.stats.estimates import Estimate
from benchgen.training.batches import epoch_batches
from benchgen.training.card import KEY, ModelCard, ScoreRecord, generator_spec, read_card
from benchgen.training.card_page import page, page_of
from benchgen.training.job import Epoch, Trained, TrainingJob
from benchgen.training.plan import Plan
from benchgen.training.validation import Validation
from benchgen.training.watcher import Watcher
from benchgen.training.workspace import Workspace


def make(plan: Plan, workspace: Workspace, out: Path, watcher: Watcher) -> ModelCard:
    """Train, evaluate the weights as they are stored, and put them in place with their card."""
    if begun := workspace.epochs():
        watcher.message(f"going on with a training of {max(begun)} epoch(s)")
    validation = Validation(
        plan.splits.validation,
        plan.reader,
        plan.trainer,
        seed=plan.request.seed,
        device=plan.device,
        epoch=lambda: 1 + max(workspace.epochs(), default=0),
        tell=watcher.message,
    )
    trained = _trained(plan, workspace, validation, watcher)
    draft = _draft(plan, workspace, trained, out)
    stored = workspace.folder / "stored.safetensors"
    _save(plan, trained, stored, draft)
    spec = generator_spec(stored, draft, plan.spec)
    source = validation.source(spec, spec.defaults())
    scores = {"fid": _record(validation.fid(source), plan.reader.label)}
    if plan.spec.likelihood:
        scores["bits_per_dim"] = _record(validation.bits_per_dim(source))
    card = draft.model_copy(update=scores)
    _save(plan, trained, stored, card)
    write_atomically(page_of(out), page(card))
    _put(stored, out)
    return card


def _trained(plan: Plan, workspace: Workspace, validation: Validation, watcher: Watcher) -> Trained:
    request, who = plan.request, f"trainer {plan.trainer.id}"

    def report(epoch: Epoch) -> None:
        for name, value in {**epoch.losses, "validation FID": epoch.fid}.items():
            if value is not None and not math.isfinite(value):
                raise FloatingPointError(f"epoch {epoch.number}: {name} is {value}")
        workspace.add(epoch)
        watcher.epoch(epoch)

    job = TrainingJob(
        shape=plan.splits.training.shape,
        classes=plan.splits.training.classes,
        data=epoch_batches(plan.splits.training, request.seed, request.augment),
        validate=validation,
        seed=request.seed,
        device=plan.device,
        precision=plan.precision,
        epochs=request.epochs,
        patience=request.patience,
        checkpoints=workspace.checkpoints,
        start=None if request.start is None else request.start.expanduser(),
        report=report,
    )
    with blamed(who), _random_state(request.seed, plan.device):
        try:
            trained: Trained = plan.spec.load(**plan.parameters).train(job)
        except FloatingPointError as error:
            raise BenchgenError(
                f"{who}: {error}. No weights were written; try a lower learning rate, or "
                f"--precision float32, and remove {workspace.folder} to begin anew"
            ) from error
        except ValueError as error:
            raise UsageError(f"{who}: {error}") from error
    return trained


def _draft(plan: Plan, workspace: Workspace, trained: Trained, out: Path) -> ModelCard:
    """The card without scores."""
    who = f"trainer {plan.trainer.id}"
    with blamed(who, "when asked for its settings"):
        settings = dict(trained.settings)
    try:
        return ModelCard.model_validate(
            {
                "name": _name(out),
                "trainer": plan.trainer.id,
                "trainer_version": plan.spec.version,
                "description": plan.spec.description,
                "shape": plan.splits.training.shape,
                "classes": plan.splits.training.classes,
                "likelihood": plan.spec.likelihood,
                "license": plan.spec.license,
                "training_data": plan.training_data,
                "data": plan.data,
                "seed": plan.request.seed,
                "settings": settings,
                "epochs": settings.get("epochs"),
                "kept_epoch": settings.get("kept_epoch"),
                "begun_from": None if plan.start is None else plan.start[1],
                "seconds": sum(told["seconds"] for told in workspace.epochs().values()),
                "device": _device_name(plan.device),
                "precision": plan.precision,
                "threads": torch.get_num_threads(),
                "environment": environment(),
                "command": plan.request.command,
                "job": plan.job,
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise PluginError(
            f"{who}: its settings do not fit the model card: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']} (found {first['input']!r})"
        ) from error


def _save(plan: Plan, trained: Trained, path: Path, card: ModelCard) -> None:
    """Have the trainer write its weights, and make sure that the card is in the file."""
    who = f"trainer {plan.trainer.id}"
    with blamed(who, "while saving"):
        trained.save(path, {KEY: card.model_dump_json()})
    try:
        kept = read_card(path)
    except WeightsError as error:
        raise PluginError(f"{who} saved no safetensors file with its metadata: {error}") from error
    if kept != card:
        raise PluginError(f"{who} changed the metadata {KEY!r} that it was to save")


def _record(estimate: Estimate, extractor: str | None = None) -> ScoreRecord:
    return ScoreRecord(
        value=estimate.value,
        stderr=estimate.stderr,
        interval=estimate.interval,
        level=estimate.level,
        n=estimate.n,
        extractor=extractor,
        notes=estimate.notes,
        reason=estimate.reason,
    )


def _put(stored: Path, out: Path) -> None:
    try:
        with stored.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(stored, out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error


def _name(out: Path) -> str:
    """The file's name as a generator may be called."""
    return re.sub(r"[^a-z0-9._-]+", "-", out.stem.lower())[:200].strip("._-") or "model"


def _device_name(device: str) -> str:
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


@contextmanager
def _random_state(seed: int, device: str) -> Iterator[None]:
    """Torch's own random state follows from the seed inside, and is as before afterwards."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        torch.manual_seed(seed)
        yield
