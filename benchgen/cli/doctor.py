"""`benchgen doctor`: which metric sees what, on these images and with this extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    reference: Annotated[
        str,
        typer.Option(
            "--reference", "-r", help="Real images: id, folder, archive, .parquet, .npy or .npz."
        ),
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
    trust_code: Annotated[
        bool,
        typer.Option("--trust-code", help="Run code of yours: module:callable, torchscript:PATH."),
    ] = False,
) -> None:
    """Plant defects in real images, and tell which metrics see them and from which strength on.

    Real images play a perfect generator. They are blurred, compressed, duplicated, replaced by
    training images and so on, ever more strongly; a metric sees a defect where its value gets
    worse by more than its error. Without arguments it uses the embedded digits.
    """
    from rich.console import Console

    from benchgen.cli.progress import RichObserver
    from benchgen.doctor.examine import examine
    from benchgen.doctor.terminal import render
    from benchgen.doctor.write import default_folder, write

    with RichObserver(Console(stderr=True), resumes=False) as bars:
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
            trust_code=trust_code,
        )
    folder = out or default_folder(examination.document)
    write(examination, folder)
    Console().print(render(examination.document, folder))
