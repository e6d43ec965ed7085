"""`benchgen train`: from images to a generator's weights, with a line for each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchgen.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from benchgen.training.job import Epoch


def train(
    trainer: Annotated[str, typer.Argument(help="Trainer id; `benchgen ls trainers` lists them.")],
    dataset: Annotated[
        str,
        typer.Option(help="Images to learn from: id, folder, archive, .parquet, .npy or .npz."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Weights file to write, .safetensors.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder of a data set that is downloaded.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="Parameter of the trainer: [dim]key=value[/].")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="At most so many. Default: the trainer's own number.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many validations without a better FID. Default: never."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    start: Annotated[
        Path | None,
        typer.Option("--from", help="Weights of the same trainer to begin from: fine-tuning."),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Cut images to a square and resize it to this side.")
    ] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option(help="flip (left to right), shift (up to a tenth). Default: none."),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(help="Images to hold out. Default: 2,000 or a tenth, whichever is less."),
    ] = None,
    extractor: Annotated[
        str | None,
        typer.Option(
            "--extractor",
            "-e",
            help="Of the validation FID. Default: digits for digits, else random-conv.",
        ),
    ] = None,
    unconditional: Annotated[
        bool, typer.Option("--unconditional", help="Forget the labels.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, float32 or bfloat16; auto is bfloat16 on a GPU.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="That torch may use. Default: as many as it chooses.")
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run code of yours: module:callable, torchscript:PATH."),
    ] = False,
) -> None:
    """Train a generator, and write its weights with a model card.

    Part of the images is held out: their FID chooses the epoch to keep. The same command again
    goes on after an interruption, and ends with the same weights. Afterwards the file is a
    generator: `benchgen run -g FILE`.
    """
    from rich.console import Console

    from benchgen.training.request import Request
    from benchgen.training.train import carry_out

    chosen: Any = sorted(set(augment or ()))
    exactness: Any = precision
    request = Request(
        trainer=trainer,
        dataset=dataset,
        out=out,
        root=root,
        params=dict(map(_parameter, param or ())),
        epochs=epochs,
        patience=patience,
        seed=seed,
        start=start,
        resolution=resolution,
        augment=tuple(chosen),
        validation=validation,
        extractor=extractor,
        unconditional=unconditional,
        device=device,
        precision=exactness,
        threads=threads,
        trust_code=trust_code,
    )
    console = Console(stderr=True)
    try:
        card = carry_out(request, _Lines(console))
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from the last finished epoch")
        raise
    from benchgen.training.card_page import fid_line

    typer.echo(f"{out}: validation FID {fid_line(card)}, epoch {card.kept_epoch} of {card.epochs}")


class _Lines:
    """A watcher that prints a line for each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def message(self, text: str) -> None:
        from rich.markup import escape

        self._console.print(f"[yellow]•[/] {escape(text)}", highlight=False)

    def epoch(self, epoch: Epoch) -> None:
        from rich.markup import escape

        from benchgen.report.numbers import duration, significant

        width = len(str(epoch.of))
        told = [f"{name} {significant(value)}" for name, value in epoch.losses.items()]
        if epoch.fid is not None:
            told.append(f"FID {significant(epoch.fid)}")
        told.append(duration(epoch.seconds))
        self._console.print(
            f"epoch {epoch.number:>{width}}/{epoch.of}  {escape('  '.join(told))}", highlight=False
        )


def _parameter(text: str) -> tuple[str, Any]:
    """``key=value``; the value is JSON where it can be, else text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"--param is {text!r}; expected key=value, such as learning_rate=0.001")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
