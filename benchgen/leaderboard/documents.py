"""What a leaderboard keeps: the board itself, and a record of each revision of each model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchgen.runs.documents import Document, Finite

MODEL_NAME = r"\w[\w.() -]{0,79}"
"""What a model may be called: names of files and links are made of it."""

MOST_ALPHA = 0.5


class BoardDocument(Document):
    """``board.json``: what the board is called, and how models are ranked over several metrics."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    title: str
    created: str
    alpha: Finite = Field(
        default=0.05, gt=0, lt=MOST_ALPHA, description="Chance of any false order on a metric."
    )
    weights: dict[str, Finite] = Field(
        default_factory=dict,
        description="Weight of the rank on each metric@extractor; none: those of equal weight "
        "that have a better side.",
    )


class EntryDocument(Document):
    """``entry.json``: one revision of a model, and the files that belong to it."""

    schema_version: Literal[1] = 1
    benchgen_version: str
    model: str = Field(pattern=rf"^{MODEL_NAME}$")
    revision: int = Field(ge=1)
    added: str = Field(description="When, in UTC.")
    by: str = Field(description="Who added it.")
    files: dict[str, str] = Field(description="sha256 of each file, by path within the entry.")
    sha256: str = Field(description="Of all other fields: an edited entry is refused.")
