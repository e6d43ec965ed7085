"""From any source of images to training images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchgen.errors import ImageError, SuiteError
from benchgen.host.loader import Host
from benchgen.images.resize import resize
from benchgen.images.source import Source
from benchgen.runs.sources import Opened, is_own, open_images
from benchgen.suite import Images
from benchgen.training.images import TrainingImages
from benchgen.training.left_out import is_left_out, require_all_found

_BATCH = 512
_WHERE = "--dataset"


@dataclass(frozen=True)
class Loaded:
    """Images read into memory, and how many of the source were left out."""

    images: TrainingImages
    left_out: int


def open_training_source(
    plugins: Host, text: str, root: str | Path | None = None, *, trust_code: bool = False
) -> Opened:
    """Open what a text names, for training.

    A reference that has a split ``"train"`` gives the whole of it. Another one gives the part that
    it holds out: runs compare with the other part, and a model must not be scored on what it
    learned from.

    Args:
        plugins: Where ids are looked up.
        text: Id of a reference, or whatever ``benchgen run`` opens as images.
        root: Folder of a data set that is downloaded.
        trust_code: Whether ``module:callable`` may run the user's code.

    Raises:
        SuiteError: There is nothing, or a folder of downloads is named where none is taken.
        UnknownIdError, UsageError, PluginError, ImageError: As ``open_images`` has it.
    """
    if is_own(plugins, "reference", text):
        if root is not None:
            raise SuiteError(f"--root is for data sets that are downloaded; {text} is a path")
        return open_images(plugins, Images(source=text), _WHERE, trust_code=trust_code)
    spec = plugins.find("reference", text).spec
    has_split = "train" in spec.parameters.get("split", {}).get("enum", ())
    params: dict[str, Any] = {"split": "train"} if has_split else {}
    if root is not None:
        params["root"] = str(root)
    part = "reference" if has_split else "held-out"
    return open_images(plugins, Images(source=text, params=params), _WHERE, part)


def load(source: Source, identifier: str, resolution: int | None = None) -> Loaded:
    """Read a source into memory, without the digits that evaluations use as reference.

    Images become one channel where all of them are gray. With a ``resolution`` each is cut to
    its centred square and resized, antialiased. There are labels where every image has one.

    Args:
        source: A finite one.
        identifier: Its id or path.
        resolution: Height and width of the result; the images' own unless given.

    Raises:
        ImageError: Images are unreadable, of several sizes without a resolution, or none is left.
    """
    images: list[Tensor] = []
    labels: list[Tensor | None] = []
    left_out = 0
    for batch in source.read(range(source.size or 0), _BATCH):
        if batch.excluded:
            first = batch.excluded[0]
            raise ImageError(
                f"{source.name}: {first.name or f'image {first.index}'} cannot be used: "
                f"{first.reason}; repair or remove it"
            )
        kept = ~is_left_out(batch.images, identifier)
        left_out += int((~kept).sum())
        images.append(_narrowed(_sized(batch.images[kept], resolution)))
        labels.append(None if batch.labels is None else batch.labels[kept])
    require_all_found(left_out, identifier)
    parts = [part for part in images if len(part)]
    if not parts:
        raise ImageError(
            f"{source.name} has no image to train on; {left_out:,} were left out because "
            "evaluations use them as reference"
        )
    _require_one_size(source, parts)
    channels = max(part.shape[1] for part in parts)
    whole = torch.cat([part.expand(-1, channels, -1, -1) for part in parts])
    known = [one for one in labels if one is not None]
    if not source.classes or len(known) < len(labels):
        return Loaded(TrainingImages(whole, None), left_out)
    return Loaded(TrainingImages(whole, torch.cat(known), source.classes), left_out)


def _sized(images: Tensor, resolution: int | None) -> Tensor:
    height, width = images.shape[-2:]
    if resolution is None or not len(images) or height == width == resolution:
        return images
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side].contiguous()
    return resize(square, resolution, "clean").round().to(torch.uint8)


def _narrowed(images: Tensor) -> Tensor:
    """One channel where all images are gray; a copy, so that the other two can be forgotten."""
    return images[:, :1].clone() if bool((images == images[:, :1]).all()) else images


def _require_one_size(source: Source, parts: Sequence[Tensor]) -> None:
    sizes = sorted({tuple(part.shape[-2:]) for part in parts})
    if len(sizes) > 1:
        (h1, w1), (h2, w2) = sizes[0], sizes[-1]
        raise ImageError(
            f"{source.name} holds images of {len(sizes)} sizes, {h1} × {w1} and {h2} × {w2} among "
            "them; a model learns one: say --resolution N"
        )
