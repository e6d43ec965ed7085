"""A random few of a run's images on a page, for a person to say what they show."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchgen.errors import UsageError
from benchgen.files import write_atomically
from benchgen.report.html import environment
from benchgen.runs.directory import Result, Run
from benchgen.version import __version__

_MOST_KINDS = 9
"""Each has a key from 1 to 9."""


def write_page(
    run: Run,
    *,
    attribute: str,
    kinds: Sequence[str],
    generator: str | None,
    n: int,
    seed: int,
    out: Path,
) -> int:
    """Draw images and write the page, one self-contained HTML file.

    Args:
        run: Whose images; its pictures are read from the feature store.
        attribute: Heads the column of the CSV that the page saves.
        kinds: The answers; "unknown" is offered beside them.
        generator: Name of the row; None where there is one alone.
        n: Images to draw; all, where there are fewer.
        seed: Of the draw: the same images again, and the first of a larger draw.
        out: The page.

    Returns:
        How many images it shows.

    Raises:
        UsageError: Too few or too many kinds, no such generator, or ``n`` below 1.
        StoreError: The pictures are not in the store, or the page cannot be written.
    """
    if not 2 <= len(set(kinds)) == len(kinds) <= _MOST_KINDS:
        raise UsageError(
            f"kinds are {', '.join(kinds) or 'none'}; give 2 to {_MOST_KINDS} different ones"
        )
    if n < 1:
        raise UsageError(f"n is {n}; draw at least 1 image")
    result = _chosen(run, generator)
    names = result.columns.set_index("index")["name"]
    order = np.random.default_rng(seed).permutation(len(names))[:n]
    indices = names.index[order].tolist()
    pictures = result.pictures(indices)
    images = [(str(names[index]), base64.b64encode(pictures[index]).decode()) for index in indices]
    page = (
        environment()
        .get_template("sample.html.j2")
        .render(
            attribute=attribute,
            kinds=list(kinds),
            generator=result.name,
            images=images,
            version=__version__,
        )
    )
    write_atomically(out, page)
    return len(images)


def _chosen(run: Run, generator: str | None) -> Result:
    names = [r.name for r in run.results.values() if r.document.row == "generator"]
    if generator is None and len(names) == 1:
        return run[names[0]]
    if generator not in names:
        raise UsageError(
            f"{run.directory} has the generators {', '.join(names) or 'none'}; name one of them "
            "with --generator"
        )
    return run[generator]
