"""A model card as a page for people, in Markdown."""

from __future__ import annotations

import re
from pathlib import Path

from benchgen.report import numbers
from benchgen.training.card import ModelCard, ScoreRecord

HEADING = "# Model card: "

_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~$#])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def page(card: ModelCard) -> str:
    """The card as GitHub-flavoured Markdown; names and texts are escaped."""
    parts = [
        f"{HEADING}{_escaped(card.name)}",
        _escaped(f"{_sentence(card)} Trained by {card.trainer}: {card.description}."),
        "## Quality",
        _quality(card),
        "## Data",
        _table(_data(card)),
        "## Training",
        _table(_training(card)),
        "## Made by",
        _code(card.command),
    ]
    return "\n\n".join(parts) + "\n"


def page_of(out: Path) -> Path:
    """Where the page of a weights file lies."""
    return out.with_suffix(".md")


def fid_line(card: ModelCard) -> str:
    """The validation FID with its error, in one line."""
    return "not computed" if card.fid is None else _score(card.fid)


def _sentence(card: ModelCard) -> str:
    channels, height, width = card.shape
    kind = "gray" if channels == 1 else "colour"
    of = f" of {len(card.classes)} classes" if card.classes else ""
    told = "class-conditional" if card.classes else "unconditional"
    return f"A {told} generator of {kind} images{of}, {height} × {width} pixels."


def _quality(card: ModelCard) -> str:
    lines = [f"- Validation FID: {_escaped(fid_line(card))}"]
    if card.bits_per_dim is not None:
        lines.append(
            f"- Bits per dimension of the validation images: {_escaped(_score(card.bits_per_dim))}"
        )
    lines.append(
        f"- The validation images also chose the epoch ({card.kept_epoch} of {card.epochs}), so "
        "expect slightly worse of others. `benchgen run` scores the model against a reference."
    )
    notes = [note for score in (card.fid, card.bits_per_dim) if score for note in score.notes]
    return "\n".join([*lines, *(f"- {_escaped(note)}" for note in notes)])


def _score(score: ScoreRecord) -> str:
    if score.value is None:
        return f"undefined: {score.reason}"
    told = numbers.with_error(score.value, score.stderr)
    if score.interval is not None:
        bounds = numbers.interval(score.interval, score.stderr)
        told += f", {score.level:.0%} interval {bounds}"
    told += f" (N = {numbers.count(score.n)}"
    told += f", {score.extractor} features)" if score.extractor else ")"
    return told if score.stderr is not None or not score.reason else f"{told}; {score.reason}"


def _data(card: ModelCard) -> list[tuple[str, str]]:
    data = card.data
    shown = ", ".join(card.classes[:20]) + (" …" if len(card.classes) > 20 else "")
    return [
        ("Source", data.source),
        ("What was learned from", card.training_data),
        ("Training images", numbers.count(data.training)),
        ("Validation images", numbers.count(data.validation)),
        ("Left out", numbers.count(data.left_out)),
        ("Classes", shown or "none"),
        ("Augmentation", ", ".join(data.augmentation) or "none"),
        ("Licence of the data", data.license or "not known"),
        ("sha256", data.fingerprint),
    ]


def _training(card: ModelCard) -> list[tuple[str, str]]:
    return [
        ("Licence of code and weights", card.license or "not known"),
        ("Seed", str(card.seed)),
        ("Epochs", f"{card.epochs}; epoch {card.kept_epoch} was kept"),
        *((name.replace("_", " "), str(value)) for name, value in _settings(card).items()),
        ("Begun from", "nothing" if card.begun_from is None else f"sha256 {card.begun_from}"),
        ("Time", numbers.duration(card.seconds)),
        ("Device", f"{card.device}, {card.precision}, {card.threads} thread(s)"),
        ("Trainer", f"{card.trainer}, version {card.trainer_version}"),
        *card.environment.items(),
    ]


def _settings(card: ModelCard) -> dict[str, object]:
    return {k: v for k, v in card.settings.items() if k not in ("epochs", "kept_epoch")}


def _table(rows: list[tuple[str, str]]) -> str:
    lines = [f"| {_escaped(name)} | {_escaped(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])


def _escaped(text: str) -> str:
    """A text that Markdown and the HTML inside it show as it is, on one line."""
    marked = _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
    return "".join(_HTML.get(character, character) for character in marked)


def _code(text: str) -> str:
    """A fenced block that the text cannot close."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}console\n$ {' '.join(text.split())}\n{fence}"
