import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchgen.errors import WeightsError
from benchgen.features import clip
from benchgen.features.weights import Published
from tests.features.pictures import photos, relative_error, saved

Weights = tuple[Path, str]


class Tree(nn.Module):
    """Nothing but parameters, under the names of a state dict."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in state.items():
            head, _, rest = name.partition(".")
            if not rest:
                self.register_parameter(head, nn.Parameter(value, requires_grad=False))
            elif head not in self._modules:
                inside = {
                    n.partition(".")[2]: v for n, v in state.items() if n.startswith(f"{head}.")
                }
                self.add_module(head, Tree(inside))

    def forward(self) -> int:
        return 0


def random_state(depth: int = 2, width: int = 768) -> dict[str, Tensor]:
    """Of the published layout and width, with fewer blocks; in half precision, as published."""
    from torch_fidelity.feature_extractor_clip import CLIPVisual

    torch.manual_seed(0)
    tower = CLIPVisual(512, 224, depth, width, 32)
    state = {name: value.half() for name, value in tower.state_dict().items()}
    return {
        **state,
        "text_projection": torch.zeros(4, 512),
        "logit_scale": torch.tensor(1.0),
        "ln_final.weight": torch.zeros(4),
        "transformer.resblocks.0.ln_1.weight": torch.zeros(4),
    }


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return saved(random_state(), tmp_path_factory.mktemp("clip") / "w.pth")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TorchScript archive, which is the form of the published weights."""
    path = tmp_path_factory.mktemp("clip") / "w.pt"
    torch.jit.script(Tree(random_state())).save(path)  # type: ignore[no-untyped-call]
    return path


@pytest.fixture(scope="module")
def oracle(archive: Path) -> Any:
    """torch-fidelity's own extractor with these weights."""
    from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP

    return FeatureExtractorCLIP("clip-vit-b-32", ["clip"], str(archive))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (250, 301)])
def test_tf1_equals_torch_fidelity(weights: Weights, oracle: Any, height: int, width: int) -> None:
    images = photos(3, height, width)
    with torch.no_grad():
        (expected,) = oracle(images)
    extractor = clip.load("cpu", *weights)
    found = extractor(images)
    assert found.logits is None
    assert found.features.shape == (3, extractor.d) == (3, 512)
    assert found.features.dtype == torch.float32
    assert relative_error(found.features, expected) < 1e-5
    alone = torch.cat([extractor(image[None]).features for image in images])
    assert relative_error(alone, found.features) < 1e-5


def test_the_published_archive_gives_the_same(
    weights: Weights, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(clip, "PUBLISHED", Published("w.pt", sha256, "file:///absent"))
    images = photos(1, 40, 40)
    from_archive = clip.load("cpu", archive)
    assert from_archive.fingerprint["weights"] == sha256
    expected = clip.load("cpu", *weights)(images).features
    assert torch.equal(from_archive(images).features, expected)


def test_no_other_archive_is_opened(archive: Path) -> None:
    with pytest.raises(WeightsError, match=clip.PUBLISHED.sha256):
        clip.load("cpu", archive)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(WeightsError, match="which carries code, and not the published one"):
        clip.load("cpu", archive, sha256)


def test_weights_of_another_network(tmp_path: Path) -> None:
    nothing = saved({"a": torch.zeros(2)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="are not CLIP ViT-B/32's"):
        clip.load("cpu", *nothing)
    wide = saved(random_state(1, 128), tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match=r"another CLIP: .* are \(32, 128, 512\)"):
        clip.load("cpu", *wide)


def test_the_published_hash_is_torch_fidelitys() -> None:
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

    assert MODEL_METADATA["clip-vit-b-32"]["hash"] == clip.PUBLISHED.sha256
    assert MODEL_URLS["clip-vit-b-32"] == clip.PUBLISHED.url


def test_loading_leaves_the_random_state_alone(weights: Weights) -> None:
    before = torch.get_rng_state()
    clip.load("cpu", *weights)
    assert torch.equal(torch.get_rng_state(), before)
