"""A network made ready for inference: the same numbers up to rounding, in less time."""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp

from benchgen.arithmetic import exact_float32
from benchgen.features.memory import keep_freed_memory

_ROUNDING = 1e-4
"""A change may move an output by this share of the largest; more means that it went wrong."""

IMAGES_AT_ONCE = 16
"""Inputs of Inception that pass at once on a CPU, for which oneDNN orders its weights."""


def for_inference(
    network: nn.Module, example: Tensor, device: str | torch.device, *, autocast: bool = False
) -> nn.Module:
    """Fold batch norms into convolutions, choose a layout, and move to the device.

    On a CPU, averages are then taken of the few channels that a convolution of single pixels
    gives instead of the many that it takes; each convolution and the ReLU after it become one call
    of oneDNN, with weights in the order that it works in; and the activations of one image after
    another pass through memory that stays with the process. A network without convolutions is none
    the worse for it.

    The layout is channels last, but not for exact float32 on a graphics card: on an H200, 64 images
    through Inception took 38 ms in that layout, and 30 ms through torch-fidelity's by channels
    first, batch norms and all.

    Args:
        network: Left as it is.
        example: An input that it takes, float32 ``[b, 3, H, W]``: shows whether a change may be
            trusted. Where one cannot be made or moves the output, it is not made.
        device: Where the network will run.
        autocast: It will run under ``torch.autocast``, which oneDNN's own calls do not follow.

    Returns:
        A network for inputs in that layout (others are accepted, more slowly).
    """
    network = network.eval().requires_grad_(False)
    keep_freed_memory()
    ready = _folded(network, example)
    if torch.device(device).type == "cpu" and not autocast:
        ready = _packed(ready, example)
    if torch.device(device).type == "cuda" and not autocast:
        return ready.to(device)
    return ready.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _folded(network: nn.Module, example: Tensor) -> nn.Module:
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return network
    try:
        folded = fuse(network)
    except (fx.proxy.TraceError, TypeError, ValueError, AttributeError, NotImplementedError):
        return network  # control flow that depends on the data
    return folded if _agree(network, folded, example) else network


class _PackedConvolution(nn.Module):
    """A convolution, and the ReLU after it, as one call of oneDNN with weights in its order."""

    def __init__(self, convolution: nn.Conv2d, shape: list[int], relu: bool) -> None:
        super().__init__()
        padding, stride = list(convolution.padding), list(convolution.stride)
        self._how = (padding, stride, list(convolution.dilation), convolution.groups)
        self._then = "relu" if relu else "none"
        self._bias = convolution.bias
        self._weight: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            convolution.weight, *self._how, shape
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._how, self._then, [], ""
        )
        return made


def _packed(network: nn.Module, example: Tensor) -> nn.Module:
    """Convolutions packed; the network as it is where that cannot be done or moves the output."""
    if not isinstance(network, fx.GraphModule):
        return network
    graph, parts = deepcopy(network.graph), dict(network.named_modules())
    _average_last(graph, parts)
    try:
        with torch.inference_mode(), exact_float32():
            ShapeProp(fx.GraphModule(network, graph)).propagate(example)
            for node in graph.nodes:
                part = _part(node, parts)
                if isinstance(part, nn.Conv2d) and part.padding_mode == "zeros":
                    relu = _relu_after(node, parts)
                    shape = [IMAGES_AT_ONCE, *node.args[0].meta["tensor_meta"].shape[1:]]
                    node.target = f"packed_{node.name}"
                    parts[node.target] = _PackedConvolution(part, shape, relu is not None)
                    if relu is not None:
                        relu.replace_all_uses_with(node)
                        graph.erase_node(relu)
        packed = fx.GraphModule(parts, graph)
        return packed if _agree(network, packed, example) else network
    except (AttributeError, RuntimeError, TypeError):
        return network  # calls that are torch's own affair, and not the same in every version


def _average_last(graph: fx.Graph, parts: dict[str, nn.Module]) -> None:
    """Have a convolution of single pixels go before the averages over neighbours that it is of.

    The two change places freely, as long as the averages are over pixels that exist.
    """
    for average in graph.find_nodes(op="call_function", target=F.avg_pool2d):
        convolution = _only_user(average)
        part = _part(convolution, parts)
        padded = average.kwargs.get("padding") and average.kwargs.get("count_include_pad", True)
        if (
            convolution is not None
            and isinstance(part, nn.Conv2d)
            and (*part.kernel_size, *part.stride) == (1, 1, 1, 1)
            and part.padding in ((0, 0), "valid")
            and part.out_channels < part.in_channels
            and len(average.args) == 1
            and not padded
        ):
            convolution.replace_all_uses_with(average)
            convolution.args, average.args = average.args, (convolution,)
            convolution.append(average)


def _relu_after(node: fx.Node, parts: dict[str, nn.Module]) -> fx.Node | None:
    """The ReLU that a value goes to, if it goes nowhere else."""
    user = _only_user(node)
    function = user is not None and user.target in (F.relu, torch.relu)
    return user if function or isinstance(_part(user, parts), nn.ReLU) else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _part(node: fx.Node | None, parts: dict[str, nn.Module]) -> nn.Module | None:
    """The module that a node calls."""
    return parts[str(node.target)] if node is not None and node.op == "call_module" else None


def _agree(network: nn.Module, changed: nn.Module, example: Tensor) -> bool:
    with torch.inference_mode(), exact_float32():
        before, after = network(example), changed(example)
    apart = (after - before).abs().max()
    return bool(apart <= _ROUNDING * before.abs().max())
