"""The FID Inception network (the TensorFlow graph of 2015-12-05), as torch-fidelity carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args
from unittest import mock

import torch
from torch import Tensor, nn

from benchgen.arithmetic import exact_float32
from benchgen.errors import UsageError, WeightsError
from benchgen.features.extractor import Extracted
from benchgen.features.weights import find_weights, load_state
from benchgen.images.resize import Rule, resize

FILENAME = "weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILENAME}"

_SIDE = 299
_CLASSES = tuple(str(number) for number in range(1008))
# Images that pass through the network at once; it bounds memory (about 20 MB an image).
_CHUNK = 64

# What each protocol feeds the network: the graph's own normalisation, or pytorch-fid's, which
# maps 255 to 1 where the graph maps it to 127/128.
_NORMALISE: Mapping[Rule, Callable[[Tensor], Tensor]] = {
    "tf1": lambda images: (images - 128) / 128,
    "clean": lambda images: (images - 128) / 128,
    "pytorch-fid": lambda images: images / 127.5 - 1,
}


def load(
    device: str | torch.device,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
) -> Inception:
    """The ``inception`` extractor on a device.

    Args:
        device: Where to compute.
        weights: Path to the weights; the published ones (96 MB) are found or fetched otherwise.
        weights_sha256: Allows weights other than the published ones, by naming their sha256.
        resize: "tf1" (the published protocol, torch-fidelity's), "pytorch-fid" or "clean";
            ``benchgen.images.resize`` says what they do.

    Raises:
        UsageError: no such resize rule, or a sha256 without weights.
        WeightsError: weights missing, with another sha256, or of another network.
    """
    rule = _known(resize)
    return Inception(*_network(weights, weights_sha256), device, rule)


def load_spatial(
    device: str | torch.device,
    weights: str | Path | None = None,
    weights_sha256: str | None = None,
    resize: Rule = "tf1",
) -> SpatialInception:
    """The ``inception-spatial`` extractor on a device; takes and raises what ``load`` does."""
    rule = _known(resize)
    return SpatialInception(*_network(weights, weights_sha256), device, rule)


class _Network:
    """The graph up to some layer, fed as a protocol says."""

    _layer: str

    def __init__(
        self, trunk: nn.Module, sha256: str, device: str | torch.device, rule: Rule
    ) -> None:
        self._trunk = trunk.to(device).eval()
        self._device = torch.device(device)
        self._sha256 = sha256
        self._rule: Rule = rule

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {
            "network": "inception-v3-compat",
            "weights": self._sha256,
            "layer": self._layer,
            "resize": self._rule,
            "arithmetic": "float32",
        }

    def _maps(self, images: Tensor) -> Iterator[Tensor]:
        """The layer's output ``[b, C, h, w]`` on the device, a few images at a time."""
        with torch.inference_mode(), exact_float32():
            for chunk in torch.split(images, _CHUNK):
                resized = resize(chunk.to(self._device), _SIDE, self._rule)
                yield self._trunk(_NORMALISE[self._rule](resized))


class Inception(_Network):
    """2048 features after the average pool, and the logits without bias.

    The 1008 logits are the last layer's product alone, as the Inception Score is defined; their
    classes have no names in the graph, so numbers stand for them.
    """

    d = 2048
    classes = _CLASSES
    _layer = "2048"

    def __init__(
        self, network: nn.Module, sha256: str, device: str | torch.device, rule: Rule
    ) -> None:
        parts = dict(network.to(device).named_children())
        # The children but the last, in order, are the graph: running them directly takes
        # images that another rule has resized, which the network's own forward does not.
        head = parts.pop("fc")
        self._head = head.get_parameter("weight").detach()
        super().__init__(nn.Sequential(*parts.values()), sha256, device, rule)

    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to float32 ``[B, 2048]`` and ``[B, 1008]``, on the CPU."""
        features, logits = [], []
        for maps in self._maps(images):
            rows = maps.flatten(1)
            features.append(rows.cpu())
            logits.append((rows @ self._head.T).cpu())
        return Extracted(torch.cat(features), torch.cat(logits))


class SpatialInception(_Network):
    """2023 features that keep their place: 7 channels of a 17x17 map in the middle of the graph.

    They are the first channels of the tensor ``mixed_6/conv``, in the order height, width,
    channel: what sFID is defined on (Nash et al. 2021, arXiv:2103.03841).
    """

    d = 17 * 17 * 7
    classes: tuple[str, ...] = ()
    _layer = "mixed_6/conv[:7]"

    def __init__(
        self, network: nn.Module, sha256: str, device: str | torch.device, rule: Rule
    ) -> None:
        parts = dict(network.named_children())
        before = list(parts)[: list(parts).index("Mixed_6d")]
        branch = parts["Mixed_6d"].get_submodule("branch1x1")
        trunk = nn.Sequential(*(parts[name] for name in before), branch)
        super().__init__(trunk, sha256, device, rule)

    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to float32 ``[B, 2023]``, on the CPU."""
        rows = [m[:, :7].permute(0, 2, 3, 1).flatten(1).cpu() for m in self._maps(images)]
        return Extracted(torch.cat(rows))


def _known(rule: Rule) -> Rule:
    if rule not in get_args(Rule):
        raise UsageError(
            f"inception: no resize rule is called {rule!r}; known: {', '.join(get_args(Rule))}"
        )
    return rule


def _network(weights: str | Path | None, weights_sha256: str | None) -> tuple[nn.Module, str]:
    """torch-fidelity's network with checked weights, and their sha256."""
    if weights is None and weights_sha256 is not None:
        raise UsageError("inception: weights_sha256 needs weights, the path of that file")
    sha256 = (weights_sha256 or SHA256).lower()
    try:
        state = load_state(find_weights(FILENAME, sha256, URL, weights), sha256)
    except WeightsError as error:
        if weights is None or not Path(weights).expanduser().is_file():
            raise
        raise WeightsError(
            f"{error}. To use other weights than the published ones, pass the file's own sha256 "
            "as weights_sha256"
        ) from error
    return _build(state), sha256


def _build(state: dict[str, Tensor]) -> nn.Module:
    """torch-fidelity's network with these weights."""
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
