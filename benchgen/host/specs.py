"""What plugins register: frozen specs that name a lazy factory. Listing one never loads a model."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_FACTORY = re.compile(r"[\w.]+:[\w.]+")
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The part that every spec shares.

    Attributes:
        name: Lower-case letters, digits, dots, dashes. The id is ``distribution/name``.
        factory: ``"package.module:callable"``; called with the parameters when first needed.
        version: Raised whenever the same input gives another output.
        description: One line for ``benchgen ls``.
        parameters: JSON Schema of the keyword parameters, by name; ``default`` is filled in.
    """

    name: str
    factory: str
    version: str = "1"
    description: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"{kind}: name is {self.name!r}; use a-z, 0-9, '.', '-' and '_'")
        if not isinstance(self.factory, str) or not _FACTORY.fullmatch(self.factory):
            raise ValueError(
                f"{kind} {self.name!r}: factory is {self.factory!r}; expected 'pkg.module:callable'"
            )

    def load(self, **arguments: Any) -> Any:
        """Import the factory and call it. This is where torch and weights come in."""
        module, _, path = self.factory.partition(":")
        target: Any = importlib.import_module(module)
        for part in path.split("."):
            target = getattr(target, part)
        return target(**arguments)

    def defaults(self) -> dict[str, Any]:
        """The default of every parameter that has one."""
        return {k: v["default"] for k, v in self.parameters.items() if "default" in v}


@dataclass(frozen=True, kw_only=True)
class GeneratorSpec(Spec):
    """An image generator. ``factory(**parameters)`` returns an object with ``sample(batch)``.

    Attributes:
        resolution: (height, width) of its images, or None where a parameter decides.
        channels: 1 or 3.
        conditioning: What ``batch.condition`` must hold: nothing, or int64 labels ``[B]``.
        classes: Names of the classes where conditioning is ``"class"``.
        likelihood: Whether it also has ``log_likelihood(images, batch)``.
        license: SPDX identifier of code and weights.
        training_data: What it was trained on, and what was left out.
        weights_sha256: Hash of the weights it loads; part of what identifies its images.
        fixed: Arguments that the factory gets beside its parameters, and that identify nothing,
            such as where the weights lie.
    """

    resolution: tuple[int, int] | None = None
    channels: Literal[1, 3] = 3
    conditioning: Literal["none", "class"] = "none"
    classes: tuple[str, ...] = ()
    likelihood: bool = False
    license: str = ""
    training_data: str = ""
    weights_sha256: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def load(self, **arguments: Any) -> Any:
        """Import the factory and call it with its fixed arguments too."""
        return super().load(**self.fixed, **arguments)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conditioning == "class" and not self.classes:
            raise ValueError(f"GeneratorSpec {self.name!r}: conditioning='class' needs classes")


@dataclass(frozen=True, kw_only=True)
class TrainerSpec(Spec):
    """How to train a generator. ``factory(**parameters)`` returns a trainer.

    Attributes:
        opens: ``"package.module:callable"``; ``callable(weights, **sampling)`` makes a generator
            of the weights file (a path) that the trainer wrote.
        sampling: JSON Schema of the parameters that such a generator has, by name.
        likelihood: Whether such a generator has ``log_likelihood(images, batch)``.
        license: SPDX identifier of the code.
    """

    opens: str
    sampling: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    likelihood: bool = False
    license: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.opens, str) or not _FACTORY.fullmatch(self.opens):
            raise ValueError(
                f"TrainerSpec {self.name!r}: opens is {self.opens!r}; "
                "expected 'pkg.module:callable'"
            )


@dataclass(frozen=True, kw_only=True)
class ReferenceSpec(Spec):
    """Real images. ``factory(part, **parameters)`` returns a source.

    ``part`` is ``"reference"`` or ``"held-out"``: two disjoint sets of real images. The second
    becomes the row ``real``, the ceiling that any generator is seen against.
    """

    license: str = ""


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec(Spec):
    """Images to feature rows. ``factory(device, **parameters)`` returns an extractor.

    Attributes:
        has_classes: Whether it has a classifier, whose logits come with the rows.
        spatial: Whether its rows say where in the image, not only what.
    """

    has_classes: bool = False
    spatial: bool = False


@dataclass(frozen=True, kw_only=True)
class MeasureSpec(Spec):
    """Images to named columns. ``factory(**parameters)`` returns a measure."""


@dataclass(frozen=True, kw_only=True)
class MetricSpec(Spec):
    """One metric id of a family. ``factory(**parameters)`` returns the family.

    Attributes:
        title: The name as the field writes it.
        direction: Whether lower or higher is better; "none" where neither is, and the metric
            ranks nothing.
        unit: Unit of the value.
        scale: Tables show value × scale (and say so).
        consumes: What it reads: feature rows, class logits, the rows of a spatial extractor, or
            the bits per dimension that a generator gives held-out images.
        compares_with: What it compares with, in the order that ``prepare`` takes them: ``real``
            (the reference), or ``train`` (the generator's training images) and ``test`` (real
            images it was not trained on: the reference again).
        optional_reference: Whether it also works without.
        depends_on_n: Whether its expectation depends on the number of images.
        population: Whether it estimates the population's value, rather than its own expectation
            at this number of images.
        reads: What moving this metric means, and how it can mislead: one or two sentences.
    """

    title: str
    direction: Literal["lower", "higher", "none"]
    unit: str = ""
    scale: float = 1.0
    consumes: Literal["features", "logits", "spatial", "likelihood"] = "features"
    compares_with: tuple[Literal["real", "train", "test"], ...] = ("real",)
    optional_reference: bool = False
    depends_on_n: bool = False
    population: bool = False
    reads: str = ""
