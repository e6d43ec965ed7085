"""The defects that are planted: what each is called, how strong it gets, and what makes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchgen.doctor import degrade, swaps
from benchgen.doctor.parts import Parts
from benchgen.errors import UsageError

Kind = Literal["quality", "diversity", "copying"]


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One way in which generated images go wrong.

    Attributes:
        id: What the documents and ``--defect`` call it.
        name: What sentences call it.
        heading: What tables call it.
        kind: What it is about.
        unit: Unit of its strengths.
        strengths: Weakest (nearly invisible) to strongest (gross).
        sentence: What exactly is done.
    """

    id: str
    name: str
    heading: str
    kind: Kind
    unit: str
    strengths: tuple[float, ...]
    sentence: str

    def strengths_for(self, parts: Parts) -> tuple[float, ...]:
        """The strengths that make sense for these images."""
        return self.strengths


@dataclass(frozen=True, kw_only=True)
class ImageDefect(Defect):
    """A defect of single images; ``apply(images, strength, keys, seed)`` makes it.

    Images are uint8 ``[B, 3, H, W]``; a key tells one image from another, whatever its batch.
    """

    apply: Callable[[Tensor, float, Sequence[int], int], Tensor]


@dataclass(frozen=True, kw_only=True)
class SetDefect(Defect):
    """A defect of a set of images; ``select(parts, strength)`` gives the positions ``[n]``."""

    select: Callable[[Parts, float], Tensor]
    choose_strengths: Callable[[Parts], tuple[float, ...]] | None = None

    def strengths_for(self, parts: Parts) -> tuple[float, ...]:
        if self.choose_strengths is None or parts.labels is None:
            return self.strengths
        return self.choose_strengths(parts) or self.strengths


DEFECTS: tuple[ImageDefect | SetDefect, ...] = (
    ImageDefect(
        id="blur",
        name="blur",
        heading="blur",
        kind="quality",
        unit="px",
        strengths=(0.35, 0.5, 0.7, 1, 2),
        sentence=(
            "Gaussian blur; the strength is its standard deviation in pixels of an image of side "
            "32, and grows with the image."
        ),
        apply=degrade.blur,
    ),
    ImageDefect(
        id="noise",
        name="noise",
        heading="noise",
        kind="quality",
        unit="levels",
        strengths=(2, 5, 10, 25, 60),
        sentence=(
            "Gaussian noise, the same in the three channels; the strength is its standard "
            "deviation in grey levels (of 255)."
        ),
        apply=degrade.noise,
    ),
    ImageDefect(
        id="jpeg",
        name="JPEG",
        heading="JPEG",
        kind="quality",
        unit="quality",
        strengths=(90, 70, 40, 15, 5),
        sentence="JPEG with chroma at half the resolution (4:2:0); the strength is its quality.",
        apply=degrade.jpeg,
    ),
    ImageDefect(
        id="cast",
        name="colour cast",
        heading="colour cast",
        kind="quality",
        unit="levels",
        strengths=(2, 5, 10, 25, 60),
        sentence="So many grey levels (of 255) are added to red and taken from blue.",
        apply=degrade.colour_cast,
    ),
    SetDefect(
        id="dropped",
        name="dropped classes",
        heading="classes dropped",
        kind="diversity",
        unit="%",
        strengths=(10, 20, 30, 50),
        sentence=(
            "So many percent of the classes do not occur; unseen images of the other classes take "
            "their place, none of them twice."
        ),
        select=swaps.drop_classes,
        choose_strengths=swaps.drop_strengths,
    ),
    SetDefect(
        id="shifted",
        name="shifted class balance",
        heading="classes shifted",
        kind="diversity",
        unit="%",
        strengths=(2, 5, 10, 20, 40),
        sentence=(
            "So many percent of the images move from one half of the classes to the other; unseen "
            "images take their place, none of them twice."
        ),
        select=swaps.favour_classes,
    ),
    SetDefect(
        id="duplicated",
        name="duplicated images",
        heading="repeats",
        kind="diversity",
        unit="%",
        strengths=(2, 5, 10, 20, 50),
        sentence=(
            "So many percent of the images are replaced by exact copies of others of their class, "
            "each copied once."
        ),
        select=swaps.duplicate,
    ),
    SetDefect(
        id="copied",
        name="copied training images",
        heading="train copies",
        kind="copying",
        unit="%",
        strengths=(1, 3, 10, 30, 100),
        sentence=(
            "So many percent of the images are replaced by exact copies of training images of "
            "their class, each used once. The training set is as good as the reference, so only "
            "what looks for copies can see this."
        ),
        select=swaps.copy_training,
    ),
)


def chosen_defects(ids: Sequence[str] | None) -> tuple[ImageDefect | SetDefect, ...]:
    """The defects of these ids, in the order of ``DEFECTS``; all of them for None.

    Raises:
        UsageError: If there is no such defect.
    """
    known = [defect.id for defect in DEFECTS]
    for wanted in ids or ():
        if wanted not in known:
            raise UsageError(f"no defect is called {wanted!r}; known: {', '.join(known)}")
    return tuple(defect for defect in DEFECTS if ids is None or defect.id in ids)
