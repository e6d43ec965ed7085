"""`benchgen doctor`: which metric sees what, on these images and with this extractor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import TaskID


def doctor(
    reference: Annotated[
        str, typer.Option("--reference", "-r", help="Real images: id, folder, .npy or .npz.")
    ] = "digits",
    extractor: Annotated[
        str | None,
        typer.Option(
            "--extractor", "-e", help="Extractor id. Default: digits for digits, else inception."
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Images of each part. Default: 1,000, or what there is."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Metric id. Default: all.")
    ] = None,
    defect: Annotated[
        list[str] | None,
        typer.Option(
            "--defect",
            "-d",
            help="blur, noise, jpeg, cast, dropped, shifted, duplicated, copied. Default: all.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all drawing.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder. Default: doctor/<reference>-<extractor>."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per call.")] = 125,
) -> None:
    """Plant defects in real images, and tell which metrics see them and from which strength on.

    Real images play a perfect generator. They are blurred, compressed, duplicated, replaced by
    training images and so on, ever more strongly; a metric sees a defect where its value gets
    worse by more than its error. Without arguments it uses the embedded digits.
    """
    from rich.console import Console

    from benchgen.doctor.examine import examine
    from benchgen.doctor.terminal import render
    from benchgen.doctor.write import default_folder, write

    with _Bars(Console(stderr=True)) as bars:
        examination = examine(
            reference,
            extractor,
            n,
            metric,
            seed,
            bars,
            defects=defect,
            device=device,
            batch_size=batch_size,
        )
    folder = out or default_folder(examination.document)
    write(examination, folder)
    Console().print(render(examination.document, folder))


class _Bars:
    """An observer that draws a bar for images, and one for metrics times sets."""

    def __init__(self, console: Console) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, row: str, total: int, done: int) -> None:
        self._tasks[row] = self._progress.add_task(row, total=total, completed=done)

    def advance(self, row: str, images: int) -> None:
        self._progress.advance(self._tasks[row], images)

    def end(self, row: str) -> None:
        self._progress.stop_task(self._tasks[row])

    def message(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)
