"""An ONNX file run by onnxruntime: data, not code, so it needs no permission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchgen.errors import UsageError, WeightsError
from benchgen.features.weights import read_checked

# How the format spells that a tensor lies in another file: an entry whose key is "location".
_ELSEWHERE = b"\x0a\x08location"


class OnnxNetwork:
    """From float32 ``[B, 3, h, w]`` on any device to one output, float32 on the CPU.

    Args:
        path: The file; the very bytes that are hashed are the ones that are run.
        sha256: Of its content.
        device: Where to compute, if onnxruntime can.
        layer: Name or index of the output; None where there is but one.

    Attributes:
        side: Side of the only images it takes; None if it takes others.
        batch: The only number of images it takes; None if it takes any.
        output: Name of the output that is read.

    Raises:
        UsageError: onnxruntime is missing, or the inputs or outputs do not fit.
        WeightsError: No ONNX file that onnxruntime takes, or one with weights in other files.
    """

    def __init__(
        self, path: Path, sha256: str, device: torch.device, layer: str | int | None
    ) -> None:
        self._session = _session(path, read_checked(path, sha256), device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise UsageError(f"onnx:{path} takes {found}; expected one float32 [B, 3, h, w]")
        batch, _, height, width = inputs[0].shape
        self._input = inputs[0].name
        self.batch: int | None = batch if isinstance(batch, int) else None
        self.side: int | None = height if isinstance(height, int) and height == width else None
        self.output = _output(path, [o.name for o in self._session.get_outputs()], layer)

    def __call__(self, images: Tensor) -> Tensor:
        (found,) = self._session.run([self.output], {self._input: images.cpu().numpy()})
        return torch.from_numpy(found)


def _session(path: Path, content: bytes, device: torch.device) -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped,import-not-found]
    except ImportError as error:
        raise UsageError(
            f"onnx:{path} needs onnxruntime, which is not installed: "
            "pip install 'benchgen[onnxruntime]'"
        ) from error
    if _ELSEWHERE in content:
        raise WeightsError(
            f"{path} keeps weights in other files, which its sha256 does not cover; save the "
            "model as one file"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        exact = {"device_id": device.index or 0, "use_tf32": 0}
        providers.insert(0, ("CUDAExecutionProvider", exact))
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # its own exceptions share no base class
        first = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path} is no ONNX file that onnxruntime takes: {first}") from error


def _output(path: Path, names: list[str], layer: str | int | None) -> str:
    if layer is None and len(names) == 1:
        return names[0]
    if isinstance(layer, int) and layer < len(names):
        return names[layer]
    if isinstance(layer, str) and layer in names:
        return layer
    raise UsageError(
        f"onnx:{path}: layer is {layer!r}; the network has the outputs {', '.join(names)}: "
        "name one, or give its index"
    )
