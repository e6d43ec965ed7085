"""The findings as files: JSON, Markdown and two pictures."""

from __future__ import annotations

import re
from pathlib import Path

from benchgen.doctor import words
from benchgen.doctor.documents import DoctorDocument, MetricFindings
from benchgen.doctor.examine import Examination
from benchgen.doctor.plots import examples, responses
from benchgen.files import write_atomically
from benchgen.report.numbers import count, scale_label, superscript, with_error
from benchgen.report.plots import to_png
from benchgen.runs.sources import slug

_MARKDOWN = re.compile(r"([\\`*_{}\[\]|~$<>])")


def default_folder(document: DoctorDocument) -> Path:
    """Where the files go unless told otherwise: ``doctor/<reference>-<extractor>``."""
    return Path("doctor") / slug(f"{document.reference.name}-{document.extractor}")


def write(examination: Examination, folder: Path) -> None:
    """Write doctor.json, doctor.md, doctor.png and, where images were altered, examples.png.

    Raises:
        StoreError: If the folder cannot be written.
    """
    document = examination.document
    pictures = {"doctor.png": responses(document) if document.metrics else None}
    pictures["examples.png"] = examples(document, examination.example)
    for name, figure in pictures.items():
        if figure is not None:
            write_atomically(folder / name, to_png(figure))
    shown = [name for name, figure in pictures.items() if figure is not None]
    write_atomically(folder / "doctor.md", markdown(document, shown))
    write_atomically(folder / "doctor.json", document.model_dump_json(indent=1) + "\n")


def markdown(document: DoctorDocument, pictures: list[str]) -> str:
    """The table, what to trust, what each metric sees, and how it was found."""
    about = (
        f"{escaped(document.reference.name)}, {escaped(document.extractor)} features, "
        f"n = {count(document.n)}, seed {document.seed}, benchgen {document.benchgen_version}."
    )
    parts = ["# Which metric sees what", about]
    if document.conclusions:
        parts.append("\n".join(f"- {escaped(text)}" for text in document.conclusions))
    parts += [table(document), remarks(document)]
    parts += [f"![{name.removesuffix('.png')}]({name})" for name in pictures]
    parts += ["## Metrics", _metrics(document), "## Defects", defect_list(document)]
    parts += ["## How it was found", method(document), f"```sh\n{document.command}\n```"]
    return "\n\n".join(parts) + "\n"


def table(document: DoctorDocument) -> str:
    """The verdicts: a row for each metric, a column for each defect."""
    headings = [f"{escaped(defect.heading)}, {defect.unit}" for defect in document.defects]
    lines = [["", *headings], ["---"] * (1 + len(headings))]
    for metric in document.metrics:
        mark = superscript(1) if metric.stderr is None else ""
        cells = [
            escaped(words.cell(metric.finding(defect.id), defect)) for defect in document.defects
        ]
        lines.append([f"`{metric.name}`{mark}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def remarks(document: DoctorDocument) -> str:
    """What stands below the table: its words, what was not run, what has no value."""
    texts = [f"{escaped(' · '.join(words.legend(document)))}."]
    if any(metric.stderr is None for metric in document.metrics):
        texts.append(f"{superscript(1)} {words.NO_ERROR}.")
    texts += [f"Not run: `{metric}`: {escaped(why)}." for metric, why in document.not_run.items()]
    texts += [f"{escaped(text[0].upper() + text[1:])}." for text in words.shortfalls(document)]
    return "\n\n".join(texts)


def _metrics(document: DoctorDocument) -> str:
    return "\n".join(f"- {_metric(metric, document)}" for metric in document.metrics)


def _metric(metric: MetricFindings, document: DoctorDocument) -> str:
    direction = {"lower": " (lower is better)", "higher": " (higher is better)", "none": ""}
    scale = scale_label(metric.scale)
    value = with_error(metric.value, metric.stderr, metric.scale) + (f" ({scale})" if scale else "")
    text = f"`{metric.name}`{direction[metric.direction]}: {value} for a perfect generator. "
    text += escaped(words.sees(metric, document.defects))
    if metric.stderr is None and metric.reason:
        text += f" Why it has no error: {escaped(metric.reason)}."
    return text


def defect_list(document: DoctorDocument) -> str:
    """What each defect does, and the strengths that were tried."""
    return "\n".join(
        f"- **{escaped(defect.name)}**: {escaped(defect.sentence)} Tried: "
        f"{words.amount(defect, *defect.strengths, joint=', ')}."
        for defect in document.defects
    )


def method(document: DoctorDocument) -> str:
    """How the images were split, and what counts as a response."""
    n = count(document.n)
    return (
        f"{count(document.images)} real images were split into a reference, a training set and a "
        f"perfect generator of {n} each, alike in their classes where there are labels, and a "
        f"reserve of {count(document.reserve)}. Defects are planted in the perfect generator's "
        "images. A response is the metric's value with the defect less that without, compared "
        "image by image against the same reference; it counts where its p-value, adjusted for "
        f"all defects and strengths of the metric (Holm), is below {document.alpha:g}. Blind means "
        "that no response was found with so many images, not that there is none."
    )


def escaped(text: str) -> str:
    """Text with what Markdown would take for its own marked as text."""
    return _MARKDOWN.sub(r"\\\1", text)
