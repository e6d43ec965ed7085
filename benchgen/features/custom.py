"""A user's own network: ``torchscript:PATH``, ``onnx:PATH`` or ``module:callable``."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchgen.errors import UsageError, WeightsError, blamed
from benchgen.features.extractor import Extracted
from benchgen.features.network import Input, NetworkExtractor, features_only
from benchgen.features.onnx import OnnxNetwork
from benchgen.features.output import OneOutput
from benchgen.features.torchscript import load_torchscript_module
from benchgen.features.weights import state_digest
from benchgen.host.bundled import RESIZE
from benchgen.host.specs import ExtractorSpec

_CALLABLE = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_UNSAFE = re.compile(r"[^a-z0-9._-]+")
# The image that tells a network's width, where no size is given.
_PROBE_SIDE = 224

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
PARAMETERS: dict[str, dict[str, Any]] = {
    "size": {"type": ["integer", "null"], "minimum": 1, "maximum": 16384, "default": None},
    "resize": RESIZE,
    "range": {"enum": [[0, 1], [-1, 1], [0, 255]], "default": [0, 1]},
    "mean": {**_NUMBERS, "default": [0, 0, 0]},
    "std": {
        **_NUMBERS,
        "items": {"type": "number", "exclusiveMinimum": 0},
        "default": [1, 1, 1],
    },
    "layer": {"type": ["string", "integer", "null"], "default": None},
    "classes": {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "uniqueItems": True,
        "default": [],
    },
}


@dataclass(frozen=True, kw_only=True)
class CustomSpec(ExtractorSpec):
    """The spec of a user's own network; ``load`` knows what was typed.

    Attributes:
        target: The path, or ``module:callable``.
        trust_code: Whether the user allowed its code to run, where it has any.
    """

    target: str
    trust_code: bool

    def load(self, **arguments: Any) -> Any:
        """Import the factory and call it with the target and the permission."""
        return super().load(target=self.target, trust_code=self.trust_code, **arguments)


def custom_spec(text: str, trust_code: bool) -> ExtractorSpec | None:
    """The spec of ``torchscript:PATH``, ``onnx:PATH`` or ``module:callable``; None of other texts.

    Args:
        text: As typed for an extractor's id.
        trust_code: Whether the user allowed code of the sources and extractors to run. A suite
            file cannot say so.

    Raises:
        UsageError: It would run code, which is not allowed; or no file is there.
    """
    kind, _, target = text.partition(":")
    factories: Mapping[str, str] = {"torchscript": "load_torchscript", "onnx": "load_onnx"}
    if kind not in factories and not _CALLABLE.fullmatch(text):
        return None
    if kind != "onnx":
        _demand_trust(text, trust_code)
    if kind in factories:
        _existing(text, target)
        name = f"{kind}-{Path(target).stem}"
    else:
        kind, target, name = "callable", text, text.replace(":", "-")
    return CustomSpec(
        name=_UNSAFE.sub("-", name.lower()).strip("._-"),
        factory=f"benchgen.features.custom:{factories.get(kind, 'load_callable')}",
        description=f"your own network: {text}",
        parameters=PARAMETERS,
        target=target,
        trust_code=trust_code,
    )


def load_torchscript(
    device: str | torch.device,
    target: str | Path,
    *,
    trust_code: bool = False,
    layer: str | int | None = None,
    classes: Sequence[str] = (),
    **preparation: Any,
) -> NetworkExtractor:
    """A TorchScript archive as an extractor.

    Args:
        device: Where to compute.
        target: Path of the archive; it takes float32 ``[B, 3, h, w]`` and gives rows ``[B, d]``,
            or maps ``[B, d, h, w]``, which are averaged over space.
        trust_code: Must be true: an archive carries code.
        layer: Index or key of the output, where it gives several.
        classes: Names of what the numbers of a row score, where these are a classifier's logits
            (or probabilities): labels can then be read from them.
        preparation: ``size``, ``resize``, ``range``, ``mean``, ``std``, as for ``prepared``.

    Raises:
        UsageError: Code is not allowed to run, a parameter is wrong, or the output is no row.
        WeightsError: No such file, or no TorchScript archive.
    """
    _demand_trust(f"torchscript:{target}", trust_code)
    path = _existing(f"torchscript:{target}", target)
    sha256 = _file_sha256(path)
    network = load_torchscript_module(path, sha256).to(device).eval()
    identity = {"weights": sha256, "layer": _layer_name(layer)}
    return _extractor("torchscript", network, device, identity, layer, classes, preparation)


def load_onnx(
    device: str | torch.device,
    target: str | Path,
    *,
    trust_code: bool = False,
    layer: str | int | None = None,
    classes: Sequence[str] = (),
    **preparation: Any,
) -> NetworkExtractor:
    """An ONNX file as an extractor, run by onnxruntime. ONNX is data: it needs no permission.

    On a CUDA device onnxruntime computes there if its GPU package is installed, else on the CPU.

    Args:
        device: Where to compute.
        target: Path of the file; its one input is float32 ``[B, 3, h, w]``. Weights must lie
            within the file.
        trust_code: Not needed.
        layer: Name or index of the output, where it has several.
        classes: Names of what the numbers of a row score, where these are a classifier's logits
            (or probabilities): labels can then be read from them.
        preparation: ``size``, ``resize``, ``range``, ``mean``, ``std``, as for ``prepared``.

    Raises:
        UsageError: onnxruntime is missing, a parameter is wrong, or the output is no row.
        WeightsError: No such file, or no ONNX file that onnxruntime takes.
    """
    path = _existing(f"onnx:{target}", target)
    sha256 = _file_sha256(path)
    network = OnnxNetwork(path, sha256, torch.device(device), layer)
    if preparation.get("size") is None and network.side is not None:
        raise UsageError(
            f"onnx:{target} takes images of {network.side} x {network.side} only; "
            f"say size = {network.side}"
        )
    identity = {"weights": sha256, "layer": network.output}
    return _extractor("onnx", network, device, identity, None, classes, preparation, network.batch)


def load_callable(
    device: str | torch.device,
    target: str,
    *,
    trust_code: bool = False,
    layer: str | int | None = None,
    classes: Sequence[str] = (),
    **preparation: Any,
) -> NetworkExtractor:
    """What ``module:callable`` names, as an extractor.

    Args:
        device: Where to compute.
        target: A ``torch.nn.Module``; or a class or function that, called without arguments,
            returns one, or returns a function. The network takes float32 ``[B, 3, h, w]`` on the
            device and gives rows ``[B, d]``, or maps, which are averaged over space.
        trust_code: Must be true: importing runs code.
        layer: Index or key of the output, where it gives several.
        classes: Names of what the numbers of a row score, where these are a classifier's logits
            (or probabilities): labels can then be read from them.
        preparation: ``size``, ``resize``, ``range``, ``mean``, ``std``, as for ``prepared``.

    Raises:
        UsageError: Code is not allowed to run, there is no such callable, a parameter is wrong,
            or the output is no row.
        PluginError: The code raised.
    """
    _demand_trust(target, trust_code)
    found, source = _imported(target)
    with blamed(f"extractor {target}"):
        network = found if isinstance(found, nn.Module) else found()
    if not callable(network):
        raise UsageError(
            f"{target} returned a {type(network).__name__}; expected a torch.nn.Module or a "
            "function of a batch of images"
        )
    identity = {"source": source, "callable": target, "layer": _layer_name(layer)}
    if isinstance(network, nn.Module):
        network = network.to(device).eval()
        identity["weights"] = state_digest(network.state_dict())
    return _extractor("callable", network, device, identity, layer, classes, preparation)


def prepared(
    size: int | None = None,
    resize: str = "tf1",
    range: Sequence[float] = (0, 1),
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
) -> Input:
    """What a network of the user's is fed.

    Args:
        size: Side of the square that images are resized to; None leaves them as they are.
        resize: How; a rule of ``benchgen.images.resize``.
        range: What black and white are mapped to: (0, 1), (-1, 1) or (0, 255).
        mean: Then subtracted from the channels R, G, B.
        std: What they are then divided by.

    Raises:
        UsageError: no such resize rule.
    """
    return Input.of(size, resize, mean, std, *range)


def _demand_trust(text: str, trust_code: bool) -> None:
    if not trust_code:
        raise UsageError(
            f"{text} runs code of its own. If you trust it, say so with --trust-code; a suite "
            "file cannot"
        )


def _existing(text: str, target: str | Path) -> Path:
    path = Path(target).expanduser()
    if not path.is_file():
        raise UsageError(f"{text}: there is no file at {target}")
    return path


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def _imported(target: str) -> tuple[Any, str]:
    """The object that is named, and the sha256 of its module's source file.

    Modules in the working directory are found too, after the installed ones.
    """
    module_name, _, attribute = target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        with blamed(f"extractor {target}", "on import"):
            found: Any = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise UsageError(f"{target}: {error.__cause__}; is it on the Python path?") from error
        raise
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{target}: {module_name} has no {attribute}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{target} is a {type(found).__name__}; expected something callable")
    file = inspect.getsourcefile(sys.modules[module_name])
    return found, _file_sha256(Path(file)) if file else "none"


def _layer_name(layer: str | int | None) -> str:
    return "output" if layer is None else f"output {layer!r}"


def _extractor(
    kind: str,
    network: Callable[[Tensor], Any],
    device: str | torch.device,
    identity: Mapping[str, str],
    layer: str | int | None,
    classes: Sequence[str],
    preparation: Mapping[str, Any],
    batch: int | None = None,
) -> NetworkExtractor:
    """The extractor of a network that gives one output, or whose output ``layer`` is taken."""
    prepare = prepared(**preparation)
    rows = OneOutput(network, layer, f"the {kind} network")
    width = _width(rows, prepare, device, batch or 1)
    if classes and len(classes) != width:
        raise UsageError(
            f"classes names {len(classes)}, and {rows.who} gives {width} numbers an image; name "
            "each of them, in order"
        )
    named = {"classes": ", ".join(classes)} if classes else {}
    return NetworkExtractor(
        _also_logits(rows) if classes else features_only(rows),
        prepare,
        device,
        width,
        {"network": kind, **identity, **named, **prepare.fingerprint},
        side=prepare.size,
        classes=tuple(classes),
        batch=batch,
    )


def _also_logits(rows: OneOutput) -> Callable[[Tensor], Extracted]:
    def forward(images: Tensor) -> Extracted:
        found = rows(images)
        return Extracted(found, found)

    return forward


def _width(rows: OneOutput, prepare: Input, device: str | torch.device, batch: int) -> int:
    """The width of a row, found by passing black images."""
    side = prepare.size or _PROBE_SIDE
    black = torch.zeros(batch, 3, side, side, dtype=torch.uint8, device=device)
    with blamed(rows.who, f"on a black image of {side} x {side}"), torch.inference_mode():
        return rows(prepare(black)).shape[1]
