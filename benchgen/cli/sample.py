"""`benchgen sample`: a generator's images as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sample(
    generator: Annotated[
        str, typer.Argument(help="Generator id, or weights file.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many images.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed; image i depends on (seed, i).")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per call.")] = 125,
) -> None:
    """Write images 0 to n-1 of a generator as PNG, with their labels in samples.csv.

    Image i is the same one that a run with this seed scores. Files that are there already are
    kept, so the same command goes on after an interruption, and a larger -n adds to it.
    """
    from rich.console import Console

    from benchgen.cli.progress import RichObserver
    from benchgen.runs.sampling import sample_to_folder

    with RichObserver(Console(stderr=True)) as observer:
        written = sample_to_folder(
            generator, n, out, seed=seed, device=device, batch_size=batch_size, observer=observer
        )
    typer.echo(f"{out}: {n} images ({written} new)")
