"""Training a generator, from images to a weights file with its card: what `benchgen.train` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch

from benchgen.errors import UsageError, WeightsError
from benchgen.files import write_atomically
from benchgen.training.card import ModelCard, read_card
from benchgen.training.card_page import HEADING, page, page_of
from benchgen.training.make import make
from benchgen.training.plan import make_plan
from benchgen.training.request import Augmentation, Precision, Request
from benchgen.training.watcher import Silent, Watcher
from benchgen.training.workspace import claimed, folder_of, require_same_job


def train(
    trainer: str,
    dataset: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    start: str | os.PathLike[str] | None = None,
    resolution: int | None = None,
    augment: Sequence[Augmentation] = (),
    validation: int | None = None,
    extractor: str | None = None,
    unconditional: bool = False,
    device: str = "auto",
    precision: Literal["auto"] | Precision = "auto",
    threads: int | None = None,
    trust_code: bool = False,
) -> ModelCard:
    """Train a generator, or go on with a training that was begun, and write its weights.

    Args:
        trainer: Id of a trainer.
        dataset: Images: the id of a reference, or whatever a run opens.
        out: The weights file to write; its page, a ``.md`` file, comes beside it.
        root: Folder of a data set that is downloaded.
        params: Parameters of the trainer.
        epochs: How many at most; the trainer's own number unless given.
        patience: Stop after so many validations in a row without a better FID.
        seed: Everything random follows from it.
        start: Weights of the same trainer to begin from (fine-tuning).
        resolution: Make images square with this side.
        augment: ``"flip"`` and ``"shift"``: what is done to training images at random.
        validation: Images to hold out; 2,000 or a tenth, whichever is less, unless given.
        extractor: Of the validation FID.
        unconditional: Whether to forget labels.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        precision: Of the layers; ``"auto"`` is bfloat16 on a GPU, float32 elsewhere.
        threads: That torch may use; as it is set unless given.
        trust_code: Whether a data set or extractor that is code may be run.

    Returns:
        The model card, which is also in the file.

    Raises:
        UsageError: The training asks for what cannot be, or ``out`` is another one's.
        UnknownIdError: Nothing has that id.
        ImageError, WeightsError: Images or weights are missing or unusable.
        PluginError: The trainer breaks its contract.
        BenchgenError: A loss or a validation became NaN or infinite.
        StoreError: Something cannot be written.
    """
    request = Request(
        trainer=trainer,
        dataset=os.fspath(dataset),
        out=Path(out),
        root=None if root is None else Path(root),
        params=params or {},
        epochs=epochs,
        patience=patience,
        seed=seed,
        start=None if start is None else Path(start),
        resolution=resolution,
        augment=tuple(sorted(set(augment))),
        validation=validation,
        extractor=extractor,
        unconditional=unconditional,
        device=device,
        precision=precision,
        threads=threads,
        trust_code=trust_code,
    )
    return carry_out(request, Silent())


def carry_out(request: Request, watcher: Watcher) -> ModelCard:
    """What ``train`` does, with somebody watching."""
    with _threads(request.threads):
        plan = make_plan(request, watcher.message)
        out = request.out.expanduser()
        card = done = _finished(out, plan.job)
        if done is None or folder_of(out).is_dir():
            _require_free(page_of(out))
            with claimed(out, plan.job) as workspace:
                # Another process may have finished it before the lock was free.
                done = _finished(out, plan.job)
                card = done or make(plan, workspace, out, watcher)
                workspace.remove()
        assert card is not None
        if done is not None:
            watcher.message(f"{out} is finished; nothing to do")
        if not page_of(out).is_file():
            write_atomically(page_of(out), page(card))
        return card


def _finished(out: Path, job: Mapping[str, Any]) -> ModelCard | None:
    """The card of a training that has been finished; None where there is nothing yet."""
    if not out.exists():
        return None
    try:
        card = read_card(out)
    except WeightsError as error:
        raise UsageError(f"--out: {out} is there already: {error}. Name another file") from error
    require_same_job(card.job, job, f"{out} comes of another training")
    return card


def _require_free(path: Path) -> None:
    """Refuse to overwrite a page that is no model card."""
    if path.is_file() and not path.read_bytes().startswith(HEADING.encode()):
        raise UsageError(
            f"{path} is there already, and the model card would take its place; move it, or name "
            "another --out"
        )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
