from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchgen.errors import ImageError, UsageError
from benchgen.images.array import ArraySource
from benchgen.images.python import DatasetSource, load_callable, wrapped
from tests.images.making import excluded, noise, pixels

CODE = """
import numpy as np
from PIL import Image

def array(n=3):
    return np.zeros((n, 4, 5, 3), dtype=np.uint8)

def fail():
    raise RuntimeError("no disk")

def number():
    return 7

constant = 3

class Holder:
    @staticmethod
    def images(size=2):
        return [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(size)]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> str:
    name = f"own_images_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))  # so that sys.path is put back
    return name


def test_a_callable_gets_its_parameters(module: str) -> None:
    source = load_callable(f"{module}:array", {"n": 5})
    assert isinstance(source, ArraySource)
    assert source.size == 5
    assert source.name == f"{module}:array"
    assert load_callable(f"{module}:Holder.images", {}).size == 2


@pytest.mark.parametrize(
    ("name", "parameters", "error", "message"),
    [
        ("absent", {}, UsageError, "cannot be found"),
        ("constant", {}, UsageError, "is a int; expected a callable"),
        ("number", {}, UsageError, "gave a int; expected an array or tensor"),
        ("fail", {}, ImageError, "raised RuntimeError: no disk"),
        ("array", {"m": 1}, ImageError, "raised TypeError"),
    ],
)
def test_callables_that_do_not_work(
    name: str, parameters: dict[str, Any], error: type[Exception], message: str, module: str
) -> None:
    with pytest.raises(error, match=message):
        load_callable(f"{module}:{name}", parameters)


def test_a_missing_module() -> None:
    with pytest.raises(UsageError, match="no_such_module_at_all"):
        load_callable("no_such_module_at_all:f", {})


def test_a_source_stays_what_it_is() -> None:
    source = ArraySource(np.zeros((2, 4, 5), dtype=np.uint8))
    assert wrapped(source, "x") is source


class Labelled:
    """What torchvision's data sets look like."""

    classes = ("cat", "dog", "emu")

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.items[index], Exception):
            raise self.items[index]
        return self.items[index]


def test_a_data_set_of_pillow_images_with_labels() -> None:
    images = [Image.fromarray(noise(4 + n % 2, n)) for n in range(5)]
    source = DatasetSource(Labelled([(image, n % 3) for n, image in enumerate(images)]), "mine")
    assert source.size == 5
    assert source.classes == ("cat", "dog", "emu")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 0, 1]
    for batch in source.read([4, 0, 1], 2):
        assert batch.labels is not None
        for index, image, label in zip(batch.indices, batch.images, batch.labels, strict=True):
            expected = torch.from_numpy(noise(4 + int(index) % 2, int(index))).permute(2, 0, 1)
            assert torch.equal(image, expected)
            assert int(label) == int(index) % 3


@pytest.mark.parametrize(
    "item",
    [
        noise(6),
        torch.from_numpy(noise(6)).permute(2, 0, 1),
        torch.from_numpy(noise(6)).permute(2, 0, 1) / 255,
        Image.fromarray(noise(6)),
        (noise(6), torch.tensor(2)),
        (noise(6), {"boxes": []}),
        [Image.fromarray(noise(6))],
    ],
    ids=["HWC", "CHW", "float", "pillow", "tensor label", "other target", "no target"],
)
def test_every_kind_of_item_is_the_same_image(item: Any) -> None:
    (image,) = pixels(DatasetSource([item], "mine")).values()
    assert torch.equal(image, torch.from_numpy(noise(6)).permute(2, 0, 1))


def test_gray_items() -> None:
    for item in (noise(6, channels=1), noise(6, channels=1)[..., None], noise(6, channels=1)[None]):
        (image,) = pixels(DatasetSource([item], "mine")).values()
        assert torch.equal(image, torch.from_numpy(noise(6, channels=1)).expand(3, -1, -1))


def test_items_that_cannot_be_used_are_named() -> None:
    items = [(noise(4), 0), (OSError("broken"), 0), ("text", 1), (noise(4) / 2.0, 1), ()]
    data = Labelled([items[0], OSError("broken"), *items[2:]])
    source = DatasetSource(data, "mine")
    reasons = {index: one.reason for index, one in excluded(source).items()}
    assert reasons["1"] == "OSError: broken"
    assert reasons["2"] == "found a str; expected an image"
    assert "expected floats in [0, 1]" in reasons["3"]
    assert "empty tuple" in reasons["4"]
    assert source.labels is None
    assert len(source.fingerprint) == 64


def test_the_fingerprint_follows_pixels_labels_and_background() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    sources = [
        DatasetSource([(clear, 0)], "a"),
        DatasetSource([(clear, 1)], "a"),
        DatasetSource([(clear, 0)], "a", background="black"),
        DatasetSource([(clear, 0)] * 2, "a"),
    ]
    assert len({source.fingerprint for source in sources}) == 4
    assert sources[0].fingerprint == DatasetSource([(clear.copy(), 0)], "b").fingerprint


def test_transparent_items_take_the_background() -> None:
    source = DatasetSource([Image.new("RGBA", (2, 2), (0, 0, 0, 0))], "a", background="black")
    (batch,) = source.read([0], 1)
    assert batch.images.max() == 0
    assert batch.flags == (("composited",),)


def test_a_real_data_set_of_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import FakeData, ImageFolder

    source = wrapped(FakeData(4, (3, 8, 8), num_classes=10), "fake")
    assert source.size == 4
    assert len(pixels(source)) == 4
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(noise(5)).save(tmp_path / name / "1.png")
    source = wrapped(ImageFolder(str(tmp_path)), "folder")
    assert source.classes == ("cat", "dog")


@pytest.mark.parametrize("label", [-1, 2**40])
def test_labels_that_are_none(label: int) -> None:
    with pytest.raises(ImageError, match=f"item 1 has the label {label}; expected 0 to"):
        DatasetSource([(noise(4), 0), (noise(4), label)], "mine").fingerprint  # noqa: B018


def test_an_empty_data_set() -> None:
    with pytest.raises(UsageError, match="holds no images"):
        DatasetSource([], "mine")
