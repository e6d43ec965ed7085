"""What to evaluate: a suite, from a TOML file, from flags, or built in Python."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import (
    Field,
    ValidationError,
    field_validator,
)

from benchgen.asked import AuditChoice, GateChoice, Part, Shorthand
from benchgen.errors import SuiteError, UnknownIdError
from benchgen.hashing import digest

DEFAULT_METRICS = (
    "fid",
    "fid-corrected",
    "kid",
    "is",
    "precision",
    "recall",
    "density",
    "coverage",
)

_BACKGROUNDS = ("white", "black", "gray")
_BUNDLED = resources.files("benchgen") / "suites"


class Images(Shorthand):
    """Where images come from: a plugin id, a path, or code of the user's own.

    Attributes:
        source: A plugin id; the path of a folder, archive, Parquet or NumPy file; or
            ``module:callable``, which runs code and therefore needs ``--trust-code``.
        params: Parameters of the plugin or callable.
        table: A CSV, JSONL or Parquet file that says of each image file its label, prompt or group.
        background: What transparent images are composited on: "white", "black", "gray", or red,
            green and blue from 0 to 255.
        column: The column that holds the images, where a Parquet file has several.
    """

    source: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)
    table: str | None = None
    background: str | tuple[int, int, int] = "white"
    column: str | None = None

    @field_validator("background", mode="before")
    @classmethod
    def _colour(cls, value: Any) -> Any:
        if isinstance(value, str) and value in _BACKGROUNDS:
            return value
        parts = value if isinstance(value, list | tuple) else ()
        levels = [part for part in parts if type(part) is int and 0 <= part <= 255]
        if len(parts) == len(levels) == 3:
            return tuple(levels)
        known = ", ".join(map(repr, _BACKGROUNDS))
        raise ValueError(
            f"expected {known}, or red, green and blue from 0 to 255, as [255, 128, 0]"
        )


class ReferenceChoice(Images):
    """The real images. ``real`` says where the row `real` comes from.

    Unset, it is the part that the reference holds out (for a folder: one stratified half);
    ``"none"`` leaves the row out and uses all images as reference; else a plugin id or a path,
    opened with the reference's own ``background``.

    ``moments:FILE.npz`` as the source is a published mean and covariance instead of images: then
    there is no row `real` unless ``real`` names its images.
    """

    real: str | None = None


class GeneratorChoice(Images):
    """One row to evaluate. An ``optional`` one is left out, with a message, where unknown."""

    name: str | None = Field(default=None, pattern=r"^[\w.() -]{1,80}$")
    optional: bool = False


class Chosen(Shorthand):
    """An extractor, measure or metric by id, with its parameters."""

    id: str = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict)


class ExtractorChoice(Chosen):
    """An extractor.

    Attributes:
        name: What it is called in results, instead of its id.
        jpeg: The quality at which it sees all images compressed, if at any.
    """

    name: str | None = Field(default=None, pattern=r"^[\w.-]{1,40}$")
    jpeg: int | None = Field(default=None, ge=1, le=95)


class MetricChoice(Chosen):
    """A metric; ``convention`` names the tool whose exact definition it follows."""

    convention: str | None = None


class ExecutionChoice(Part):
    """How to run; never changes what is estimated."""

    device: str = Field(default="auto", description='"auto", "cpu", "cuda" or "cuda:N"')
    batch_size: int = Field(default=125, ge=1, description="images per call")


class Suite(Part):
    """Everything that one run evaluates.

    Attributes:
        name: Names the run directory.
        reference: The real images.
        training: The generators' training images, for the metrics that look for copies.
        generators: Rows to evaluate; `real` and `noise` come in by themselves.
        noise: Whether the row `noise`, the floor, is there.
        n: Images per row. None: as many as the smallest finite source has (at most 10,000),
            or 2,500 where all are generators.
        seed: Seed of all sampling.
        extractors, measures, metrics: What to compute.
        per_class: Whether every metric is also computed within each class.
        clusters: Which images of a generator are not independent: those that share a "prompt" or
            a "group", or "none". Unset: those that share a prompt, where prompts repeat.
        level: Confidence level of the intervals.
        skip_bad: Share of a source's images that may be unreadable before the run stops.
        gate: What `benchgen gate` asks; a run does not depend on it.
        audit: What `benchgen audit` asks; a run does not depend on it.
        execution: Device and batch size.
    """

    name: str = Field(default="custom", pattern=r"^[\w.-]{1,60}$")
    reference: ReferenceChoice
    training: Images | None = None
    generators: tuple[GeneratorChoice, ...] = ()
    noise: bool = True
    n: int | None = Field(default=None, ge=2)
    seed: int = Field(default=0, ge=0, lt=2**63)
    extractors: tuple[ExtractorChoice, ...] = Field(
        default=(ExtractorChoice(id="inception"),), min_length=1
    )
    measures: tuple[Chosen, ...] = ()
    metrics: tuple[MetricChoice, ...] = Field(
        default=tuple(MetricChoice(id=name) for name in DEFAULT_METRICS), min_length=1
    )
    per_class: bool = False
    clusters: Literal["prompt", "group", "none"] | None = None
    level: float = Field(default=0.95, gt=0.5, lt=1)
    skip_bad: float = Field(default=0.0, ge=0, lt=1)
    gate: GateChoice = GateChoice()
    audit: AuditChoice = AuditChoice()
    execution: ExecutionChoice = ExecutionChoice()

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a suite file.

        Raises:
            SuiteError: Naming the file, the line and the field.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SuiteError(f"cannot read the suite {path}: {error}") from error
        return cls.parse(text, where=str(path))

    @classmethod
    def bundled(cls, name: str = "digits") -> Self:
        """A suite that ships with benchgen.

        Raises:
            UnknownIdError: If there is none of that name.
        """
        if name not in cls.bundled_names():
            raise UnknownIdError("suite", name, cls.bundled_names())
        text = (_BUNDLED / f"{name}.toml").read_text("utf-8")
        return cls.parse(text, where=f"bundled {name}.toml")

    @staticmethod
    def bundled_names() -> list[str]:
        """Names of the suites that ship with benchgen."""
        files = [path.name for path in _BUNDLED.iterdir()]
        return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))

    @classmethod
    def from_reference(cls, source: str) -> Self:
        """A suite with all defaults against one reference: what flags alone describe."""
        return cls.model_validate({"reference": source})

    @classmethod
    def parse(cls, text: str, where: str = "suite") -> Self:
        """Read a suite from TOML text; raises as ``load`` does, with ``where`` as the file."""
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise SuiteError(f"{where}: not valid TOML: {error}") from None
        except ValidationError as error:
            raise SuiteError(_explain(error, where, text)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated.

        Raises:
            SuiteError: Naming the field.
        """
        try:
            return type(self).model_validate(self.model_dump(exclude_unset=False) | changes)
        except ValidationError as error:
            raise SuiteError(_explain(error, "flags")) from None

    def toml(self) -> str:
        """The suite as TOML, complete; ``Suite.parse`` reads it back."""
        return tomli_w.dumps(_without_none(self.model_dump(mode="json")))

    def identity(self) -> dict[str, Any]:
        """What decides which run this is: all but how many images, and how it is carried out."""
        return self.model_dump(mode="json", exclude={"n", "gate", "audit", "execution", "skip_bad"})

    def summary(self) -> str:
        """One line: what it compares, by which metrics."""
        rows = ", ".join(choice.source for choice in self.generators)
        return f"{rows} against {self.reference.source}, n={self.n}"

    @property
    def hash(self) -> str:
        """sha256 of ``identity``."""
        return digest(self.identity())


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_none(v) for v in value]
    return value


def _explain(error: ValidationError, where: str, text: str | None = None) -> str:
    """One sentence a mistake: file, line and field, what was found, what was expected."""
    import difflib

    sentences = []
    for item in error.errors():
        loc = item["loc"]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            known = _fields_at(loc[:-1])
            near = difflib.get_close_matches(str(loc[-1]), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            message = f"there is no such field; {hint}"
        elif item["type"] != "missing":
            message += f" (found {item['input']!r})"
        place = where
        if text is not None and (line := _line_of(loc, text)) is not None:
            place += f", line {line}"
        sentences.append(f"{place}: {'.'.join(map(str, loc))}: {message}")
    return "\n".join(sentences)


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    models: dict[str, type[Part]] = {
        "reference": ReferenceChoice,
        "training": Images,
        "generators": GeneratorChoice,
        "extractors": ExtractorChoice,
        "measures": Chosen,
        "metrics": MetricChoice,
        "gate": GateChoice,
        "audit": AuditChoice,
        "execution": ExecutionChoice,
    }
    model: type[Part] = models.get(str(loc[0]), Suite) if loc else Suite
    return list(model.model_fields)


def _line_of(loc: tuple[int | str, ...], text: str) -> int | None:
    """The line (from 1) where a field stands: walks table headers and keys, not values.

    A field inside an inline table or array is found at the line of the key that holds it, or
    where its own key is seen first below that.
    """
    keys = [part for part in loc if isinstance(part, str)]
    if not keys:
        return None
    occurrence = next((part for part in loc if isinstance(part, int)), 0)
    lines = text.splitlines()
    header = re.compile(rf"\s*\[\[?\s*{re.escape(keys[0])}[\s.\]]")
    headers = [i for i, line in enumerate(lines) if header.match(line)]
    key_at = re.compile(rf"\s*(?:\"?){re.escape(keys[0])}(?:\"?)\s*[.=]")
    start = next((i for i, line in enumerate(lines) if key_at.match(line)), None)
    if headers:
        start = headers[min(occurrence, len(headers) - 1)]
    if start is None:
        return None
    if len(keys) > 1:
        inner = re.compile(rf"(?:^|[\s{{,\"]){re.escape(keys[-1])}\"?\s*=")
        for i in range(start, len(lines)):
            if i > start and lines[i].lstrip().startswith("["):
                break
            if inner.search(lines[i]):
                return i + 1
    return start + 1
