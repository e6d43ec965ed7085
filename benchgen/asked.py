"""What a gate and an audit ask: the tables ``[gate]`` and ``[audit]`` of a suite."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Part(BaseModel):
    """A table of a suite: it takes no field that it does not know, and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shorthand(Part):
    """A table that a plain string may stand for: the string is its first field."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {next(iter(cls.model_fields)): value} if isinstance(value, str) else value


class GateChoice(Part):
    """What `benchgen gate` asks of each generator, compared with its accepted baseline.

    Attributes:
        margin: How much worse every metric that has a better side may become: a number in the
            metric's unit, or a share of the baseline's value, as "5%".
        margins: The same by metric, instead: metrics that are not here are not gated.
        bounds: By metric, what no honest generator reaches: a value significantly better fails.
            By themselves, distances that are corrected for n have the bound 0, and coverage what
            real images expect.
        class_shares: How much the share of any class may move either way; 0 asks nothing.
        alpha: Chance of any false "degraded" in one gate, and of each false "unchanged".
        looks: How often it may look at most; each look has twice the images of the one before.
        n: Images a generator may take; None: as many as the suite's runs.
        audit: Whether the limits of ``[audit]`` gate too, on as many images as that.
    """

    margin: float | str = "5%"
    margins: dict[str, float | str] = Field(default_factory=dict)
    bounds: dict[str, float] = Field(default_factory=dict)
    class_shares: float = Field(default=0.05, ge=0, lt=1)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    looks: int = Field(default=4, ge=1, le=10)
    n: int | None = Field(default=None, ge=2)
    audit: bool = False

    @field_validator("margin")
    @classmethod
    def _margin(cls, value: float | str) -> float | str:
        return _checked_margin(value, "every metric")

    @field_validator("margins")
    @classmethod
    def _margins(cls, value: dict[str, float | str]) -> dict[str, float | str]:
        return {name: _checked_margin(margin, name) for name, margin in value.items()}


def _checked_margin(margin: float | str, of: str) -> float | str:
    number = margin.removesuffix("%") if isinstance(margin, str) else margin
    try:
        amount = float(number)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf") or (isinstance(margin, str) and number == margin):
        raise ValueError(
            f"the margin of {of} is {margin!r}; expected a number from 0, or a share of the "
            'baseline\'s value, as "5%"'
        )
    return margin


class AttributeChoice(Shorthand):
    """What an audit asks of one attribute of the images.

    Attributes:
        name: A column of the run (a measure's, ``class@EXTRACTOR``, ``label``), or of ``labels``.
        kinds: All values that it may have. Default: those that occur, or that ``target`` names.
        target: The shares wanted: "uniform", "reference" (those of the row `real`), or a share
            by kind. Unset: distance to a target is not asked.
        distance: The greatest distance (total variation) from the target that is put up with.
        parity: The least ratio of any kind's share to that of another that is put up with.
        calibration: A CSV with the columns ``true`` and ``read``: what the labeler of this
            attribute reads in images whose kind is known; "reference": in the real images, where
            their source knows it. Shares are corrected with it.
        truth: A CSV with the columns ``file`` and this attribute's name: what a person sees in a
            random few of the images of each generator. Shares are corrected with it.
        ordinal: Whether ``kinds`` are in an order.
        association: The greatest Cramér's V with prompts (or, without these, with labels) that is
            put up with.
        amplification: How much more the attribute may hang on the label than in the real images,
            as a mean difference of shares.
        quality: The greatest difference in KID between two kinds, each against the real images of
            that kind, that is put up with.
        diversity: The least Vendi score of the images of any kind, as a share of that of as many
            real images of that kind.
    """

    name: str = Field(min_length=1)
    kinds: tuple[str, ...] = ()
    target: Literal["uniform", "reference"] | dict[str, float] | None = None
    distance: float | None = Field(default=None, gt=0, lt=1)
    parity: float | None = Field(default=None, gt=0, le=1)
    calibration: str | None = None
    truth: str | None = None
    ordinal: bool = False
    association: float | None = Field(default=None, gt=0, lt=1)
    amplification: float | None = Field(default=None, ge=0, lt=1)
    quality: float | None = Field(default=None, ge=0)
    diversity: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_correction(self) -> Self:
        if self.calibration is not None and self.truth is not None:
            raise ValueError("give calibration or truth, not both: each corrects the shares alone")
        if self.distance is not None and self.target is None:
            raise ValueError("distance needs a target to be a distance from")
        if isinstance(self.target, dict):
            total = sum(self.target.values())
            if min(self.target.values(), default=-1) < 0 or abs(total - 1) > 1e-6:
                raise ValueError(f"the target's shares sum to {total:g}; expected 1, none below 0")
        return self


class Limit(Part):
    """How low or high a number may be.

    Attributes:
        at_least, at_most: A number in the metric's unit; or a share, as "80% of real", of what
            the real images have; or "90% of equal", of what images like the real ones expect.
    """

    at_least: float | str | None = None
    at_most: float | str | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most, or both")
        for bound in (self.at_least, self.at_most):
            if isinstance(bound, str) and not re.fullmatch(
                r"\d+(\.\d+)?% of (real|equal)", bound.strip()
            ):
                raise ValueError(
                    f'{bound!r} is no limit; give a number, "80% of real" or "90% of equal"'
                )
        return self


class AuditChoice(Part):
    """What `benchgen audit` asks of each generator's images, and what its user puts up with.

    Attributes:
        attributes: Whose shares are judged.
        labels: A CSV, JSONL or Parquet table with the column ``file`` and one column an attribute.
        metrics: Limits by metric, as ``copy-rate`` or ``fid@inception``.
        columns: Limits by numeric column of the images (``sharpness``), on its mean.
        spectrum: The greatest difference of the mean log power (natural logarithm) from the real
            images in any band of the measure `spectrum`.
        duplicates: The greatest share of images that repeat another one.
        alpha: Chance of any false "fail" for a generator, and of each false "pass".
        least: Groups of fewer images are called insufficient.
    """

    attributes: tuple[AttributeChoice, ...] = ()
    labels: str | None = None
    metrics: dict[str, Limit] = Field(default_factory=dict)
    columns: dict[str, Limit] = Field(default_factory=dict)
    spectrum: float | None = Field(default=None, gt=0)
    duplicates: float | None = Field(default=None, ge=0, lt=1)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    least: int = Field(default=30, ge=2)
