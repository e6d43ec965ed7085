"""The FID Inception network (the TensorFlow graph of 2015-12-05), as torch-fidelity carries it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from benchgen.errors import WeightsError
from benchgen.features.extractor import Extracted
from benchgen.features.inference import for_inference
from benchgen.features.network import Arithmetic, Forward, Input, NetworkExtractor, made_when_needed
from benchgen.features.weights import Published, load_state, locate
from benchgen.images.resize import Rule

PUBLISHED = Published(
    filename="weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
)

SIDE = 299
_CLASSES = tuple(str(number) for number in range(1008))


def load(
    device: str | torch.device,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
    arithmetic: Arithmetic = "float32",
) -> NetworkExtractor:
    """The ``inception`` extractor: 2048 features after the average pool, and 1008 logits.

    The logits are the last layer's product alone, without bias, as the Inception Score is defined;
    their classes have no names in the graph, so numbers stand for them.

    Args:
        device: Where to compute.
        weights: Path to the weights; the published ones (96 MB) are found or fetched otherwise.
        weights_sha256: Allows weights other than the published ones, by naming their sha256.
        resize: "tf1" is the published protocol, and torch-fidelity's;
            ``benchgen.images.resize`` says what the others do.
        arithmetic: "float32", or "bfloat16" for speed where its drift is small.

    Raises:
        UsageError: no such resize rule or arithmetic, or a sha256 without weights.
        WeightsError: weights missing, with another sha256, or of another network.
    """

    def forward(network: nn.Module) -> Forward:
        trunk, head = pooled(network, device, arithmetic)

        def rows_and_logits(images: Tensor) -> Extracted:
            rows = trunk(images).flatten(1)
            return Extracted(rows, rows @ head.T)

        return rows_and_logits

    return _extractor(
        forward, device, weights, weights_sha256, resize, arithmetic, 2048, "2048", _CLASSES
    )


def load_spatial(
    device: str | torch.device,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
    arithmetic: Arithmetic = "float32",
) -> NetworkExtractor:
    """The ``inception-spatial`` extractor; takes and raises what ``load`` does.

    2023 features that keep their place: the first 7 channels of the 17 x 17 tensor
    ``mixed_6/conv``, in the order height, width, channel: what sFID is defined on (Nash et al.
    2021, arXiv:2103.03841).
    """

    def forward(network: nn.Module) -> Forward:
        parts = dict(network.named_children())
        before = list(parts)[: list(parts).index("Mixed_6d")]
        branch = parts["Mixed_6d"].get_submodule("branch1x1")
        trunk = _ready(nn.Sequential(*(parts[name] for name in before), branch), device, arithmetic)
        return lambda images: Extracted(trunk(images)[:, :7].permute(0, 2, 3, 1).flatten(1))

    return _extractor(
        forward,
        device,
        weights,
        weights_sha256,
        resize,
        arithmetic,
        17 * 17 * 7,
        "mixed_6/conv[:7]",
    )


def pooled(
    network: nn.Module, device: str | torch.device, arithmetic: Arithmetic = "float32"
) -> tuple[nn.Module, Tensor]:
    """The graph up to its average pool, ready on a device, and the last layer's ``[1008, 2048]``.

    The children but the last, in order, are the graph: running them directly takes images that
    another rule has resized, which the network's own forward does not.
    """
    parts = dict(network.named_children())
    head = parts.pop("fc").get_parameter("weight").detach().to(device)
    return _ready(nn.Sequential(*parts.values()), device, arithmetic), head


def build(state: dict[str, Tensor]) -> nn.Module:
    """torch-fidelity's network with these weights.

    Raises:
        WeightsError: They are another network's.
    """
    # Here, because this import takes seconds.
    from torch_fidelity import feature_extractor_inceptionv3 as module

    # The constructor insists on loading weights, and from a path it would do so by an unguarded
    # torch.load. Without a path it asks this function, so we answer with checked weights. The
    # random initialisation before that must not move the caller's random state.
    answer = mock.patch.object(module, "load_state_dict_from_url", return_value=state)
    try:
        with answer, torch.random.fork_rng(devices=[]):
            network: nn.Module = module.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"]
            )
    except RuntimeError as error:
        raise WeightsError(f"these weights are not the FID Inception's: {error}") from error
    return network


def _extractor(
    forward: Callable[[nn.Module], Forward],
    device: str | torch.device,
    weights: str | Path | None,
    weights_sha256: str | None,
    rule: Rule,
    arithmetic: Arithmetic,
    d: int,
    layer: str,
    classes: tuple[str, ...] = (),
) -> NetworkExtractor:
    prepare = _input(rule)
    path, sha256 = locate("inception", PUBLISHED, weights, weights_sha256)
    built: list[nn.Module] = []
    if weights_sha256 is not None:
        built.append(build(load_state(path, sha256)))  # they may turn out to be another network's

    def make() -> Forward:
        # Taken out, so that no second copy of the weights stays in memory.
        return forward(built.pop() if built else build(load_state(path, sha256)))

    return NetworkExtractor(
        made_when_needed(make, at_once=False),
        prepare,
        device,
        d,
        {
            "network": "inception-v3-compat",
            "weights": sha256,
            "layer": layer,
            **prepare.fingerprint,
        },
        side=SIDE,
        classes=classes,
        arithmetic=arithmetic,
    )


def _input(rule: Rule) -> Input:
    """What each protocol feeds the network: the graph's own normalisation, or pytorch-fid's,
    which maps 255 to 1 where the graph maps it to 127/128."""
    return Input.of(SIDE, rule, low=-1.0, high=1.0 if rule == "pytorch-fid" else 127 / 128)


def _ready(trunk: nn.Module, device: str | torch.device, arithmetic: Arithmetic) -> nn.Module:
    example = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return for_inference(trunk, 2 * example - 1, device, autocast=arithmetic != "float32")
