import hashlib
import importlib.util
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchgen.errors import PluginError, UsageError, WeightsError
from benchgen.features.custom import (
    custom_spec,
    load_callable,
    load_onnx,
    load_torchscript,
)
from benchgen.host.specs import ExtractorSpec
from benchgen.images.resize import resize
from tests.features.onnx_files import UINT8, mean_colour
from tests.features.pictures import photos

needs_onnxruntime = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None,
    reason="onnxruntime is not installed",
)


MEAN = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
STD = torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)


class Means(nn.Module):
    """Mean and largest value of each channel."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean((2, 3)), images.amax((2, 3))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchscript") / "net.pt"
    torch.jit.script(Means()).save(path)  # type: ignore[no-untyped-call]
    return path


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    path = tmp_path / "My Model.onnx"
    path.write_bytes(mean_colour())
    return path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with networks in it, that leaves a trace when imported."""
    name = f"networks_{tmp_path.name}"
    code = f"""
        import pathlib
        import torch
        pathlib.Path({str(tmp_path / "imported")!r}).touch()

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.full((1, 3), 2.0))
                self.drop = torch.nn.Dropout(0.9)
            def forward(self, images):
                return self.drop(self.scale * images.mean((2, 3)))

        instance = Net()
        def function():
            return lambda images: images.mean((2, 3))
        def direct(images):
            return images.mean((2, 3))
        def nothing():
            return None
        def broken():
            raise KeyError("weights.pth")
        number = 3
    """
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def means(images: Tensor) -> Tensor:
    return images.float().mean((2, 3))


def test_torchscript(archive: Path) -> None:
    images = photos(5, 30, 40)
    extractor = load_torchscript("cpu", archive, trust_code=True, layer=0, range=[0, 255])
    found = extractor(images)
    assert extractor.d == 3
    assert found.logits is None
    torch.testing.assert_close(found.features, means(images))
    assert extractor.fingerprint["weights"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    largest = load_torchscript("cpu", archive, trust_code=True, layer=1, range=[0, 255])
    torch.testing.assert_close(largest(images).features, images.float().amax((2, 3)))
    assert largest.fingerprint["layer"] != extractor.fingerprint["layer"]


@needs_onnxruntime
def test_onnx(onnx: Path) -> None:
    images = photos(5, 30, 40)
    extractor = load_onnx("cpu", onnx, range=[0, 255])
    found = extractor(images)
    assert extractor.d == 3
    torch.testing.assert_close(found.features, means(images))
    assert extractor.fingerprint["weights"] == hashlib.sha256(onnx.read_bytes()).hexdigest()
    assert extractor(images[:0]).features.shape == (0, 3)


@needs_onnxruntime
def test_onnx_of_fixed_size_and_batch(onnx: Path) -> None:
    onnx.write_bytes(mean_colour((4, 3, 16, 16)))
    with pytest.raises(UsageError, match="16 x 16 only; say size = 16"):
        load_onnx("cpu", onnx)
    extractor = load_onnx("cpu", onnx, size=16, resize="clean", range=[0, 255])
    images = photos(9, 30, 40)
    torch.testing.assert_close(extractor(images).features, means(resize(images, 16, "clean")))


@needs_onnxruntime
def test_onnx_outputs_by_name_or_index(onnx: Path) -> None:
    onnx.write_bytes(mean_colour(outputs=("maps", "rows")))
    images = photos(2, 8, 8)
    for layer in ("maps", 0, "rows", 1):
        extractor = load_onnx("cpu", onnx, layer=layer, range=[0, 255])
        torch.testing.assert_close(extractor(images).features, means(images))
        assert extractor.fingerprint["layer"] == ("maps" if layer in ("maps", 0) else "rows")
    for wrong in (None, "other", 2):
        with pytest.raises(UsageError, match="outputs maps, rows: name one"):
            load_onnx("cpu", onnx, layer=wrong)


@needs_onnxruntime
def test_a_classifier_whose_classes_are_named(onnx: Path) -> None:
    images = photos(5, 30, 40)
    plain = load_onnx("cpu", onnx)
    extractor = load_onnx("cpu", onnx, classes=["red", "green", "blue"])
    found = extractor(images)
    assert extractor.classes == ("red", "green", "blue")
    assert found.logits is not None
    torch.testing.assert_close(found.logits, found.features)
    assert extractor.fingerprint["classes"] != plain.fingerprint.get("classes")
    with pytest.raises(UsageError, match="names 2, and the onnx network gives 3 numbers"):
        load_onnx("cpu", onnx, classes=["red", "green"])


@needs_onnxruntime
def test_onnx_that_cannot_be_used(onnx: Path, tmp_path: Path) -> None:
    onnx.write_bytes(mean_colour(element=UINT8))
    with pytest.raises((UsageError, WeightsError), match=r"takes images tensor|no ONNX file"):
        load_onnx("cpu", onnx)
    onnx.write_bytes(mean_colour() + b"\x0a\x08location")
    with pytest.raises(WeightsError, match="keeps weights in other files"):
        load_onnx("cpu", onnx)
    for content in (b"", b"garbage", mean_colour()[:40]):
        onnx.write_bytes(content)
        with pytest.raises((WeightsError, UsageError)):
            load_onnx("cpu", onnx)


def test_onnx_without_onnxruntime(onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'benchgen\[onnxruntime\]'"):
        load_onnx("cpu", onnx)


@pytest.mark.parametrize(("name", "factor"), [("Net", 2), ("instance", 2), ("function", 1)])
def test_callable(module: str, tmp_path: Path, name: str, factor: int) -> None:
    images = photos(4, 20, 20)
    extractor = load_callable("cpu", f"{module}:{name}", trust_code=True, range=[0, 255])
    torch.testing.assert_close(extractor(images).features, factor * means(images))
    source = hashlib.sha256((tmp_path / f"{module}.py").read_bytes()).hexdigest()
    assert extractor.fingerprint["source"] == source
    assert ("weights" in extractor.fingerprint) == (factor == 2)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("absent", UsageError, "has no absent"),
        ("number", UsageError, "is a int; expected something callable"),
        ("nothing", UsageError, "returned a NoneType"),
        ("direct", PluginError, "missing 1 required positional argument"),
        ("broken", PluginError, "raised KeyError: 'weights.pth'"),
    ],
)
def test_callables_that_cannot_be_used(
    module: str, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        load_callable("cpu", f"{module}:{name}", trust_code=True)


def test_a_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lying_here.py").write_text("def net(): return lambda images: images")
    assert load_callable("cpu", "lying_here:net", trust_code=True).d == 3


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="No module named 'no_such_module'; is it on the Python"):
        load_callable("cpu", "no_such_module:net", trust_code=True)


@pytest.mark.parametrize("text", ["torchscript:net.pt", "sys:exit", "a.b:c.d"])
def test_code_needs_permission_and_the_message_says_how(
    text: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    with pytest.raises(
        UsageError, match=r"runs code of its own.*--trust-code; a suite file cannot"
    ):
        custom_spec(text, trust_code=False)
    assert isinstance(custom_spec(text, trust_code=True), ExtractorSpec)
    load = load_torchscript if text.startswith("torchscript") else load_callable
    with pytest.raises(UsageError, match="--trust-code"):
        load("cpu", text.removeprefix("torchscript:"))


def test_refusal_comes_before_anything_is_imported(module: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        custom_spec(f"{module}:Net", trust_code=False)
    with pytest.raises(UsageError):
        load_callable("cpu", f"{module}:Net")
    assert custom_spec(f"{module}:Net", trust_code=True) is not None
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize("text", ["inception", "benchgen/inception", "pkg:", ":x", "a b:c", "C:/x"])
def test_other_texts_are_no_business_of_these(text: str) -> None:
    assert custom_spec(text, trust_code=False) is None


@pytest.mark.parametrize("trust_code", [False, True])
@needs_onnxruntime
def test_a_spec_loads_what_was_typed(onnx: Path, trust_code: bool) -> None:
    spec = custom_spec(f"onnx:{onnx}", trust_code)
    assert spec is not None
    assert spec.name == "onnx-my-model"
    extractor = spec.load(device="cpu", **{**spec.defaults(), "range": [0, 255], "size": 8})
    images = photos(2, 8, 8)
    torch.testing.assert_close(extractor(images).features, means(images))


def test_specs_of_the_others(archive: Path, module: str) -> None:
    spec = custom_spec(f"torchscript:{archive}", True)
    assert spec is not None
    assert spec.load(device="cpu", **{**spec.defaults(), "layer": 1}).d == 3
    spec = custom_spec(f"{module}:Net", True)
    assert spec is not None
    assert spec.load(device="cpu", **spec.defaults()).d == 3
    with pytest.raises(UsageError, match="there is no file at /absent"):
        custom_spec("onnx:/absent", False)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, lambda x: x / 255),
        ({"range": [-1, 1]}, lambda x: x / 127.5 - 1),
        ({"range": [0, 255]}, lambda x: x),
        ({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}, lambda x: (x / 255 - MEAN) / STD),
        (
            {"range": [-1, 1], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
            lambda x: (x / 127.5 - 1 - MEAN) / STD,
        ),
    ],
)
def test_what_the_network_is_fed(
    parameters: dict[str, Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "fed", nn.Flatten(), raising=False)
    target = f"{__name__}:fed"
    images = photos(2, 16, 16)
    extractor = load_callable("cpu", target, trust_code=True, size=8, resize="tf1", **parameters)
    rows = extractor(images).features
    assert rows.shape == (2, extractor.d) == (2, 192)
    small = resize(images, 8, "tf1")
    torch.testing.assert_close(rows.view(2, 3, 8, 8), expected(small), rtol=1e-5, atol=1e-5)


def test_outputs_that_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def using(network: Any, **parameters: Any) -> Any:
        monkeypatch.setattr(sys.modules[__name__], "fed", lambda: network, raising=False)
        return load_callable("cpu", f"{__name__}:fed", trust_code=True, **parameters)

    assert using(lambda x: x).d == 3  # maps are averaged
    assert using(lambda x: {"a": x.mean((2, 3))}).d == 3
    assert using(lambda x: {"a": x, "b": x.flatten(1)}, layer="a").d == 3
    with pytest.raises(UsageError, match=r"gives \(3,\) for 1 images; expected rows"):
        using(lambda x: x.mean((0, 2, 3)))
    with pytest.raises(UsageError, match="gives a NoneType"):
        using(lambda x: None)
    with pytest.raises(UsageError, match="has the outputs 'a', 'b': name one"):
        using(lambda x: {"a": x, "b": x})
    with pytest.raises(UsageError, match="has one output; leave layer out"):
        using(lambda x: x, layer=1)
    with pytest.raises(UsageError, match="no resize rule is called"):
        using(lambda x: x, resize="lanczos")


def test_a_wrong_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    for content in (b"", b"garbage", b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match="is no TorchScript archive"):
            load_torchscript("cpu", path, trust_code=True)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="is no TorchScript archive"):
        load_torchscript("cpu", path, trust_code=True)
