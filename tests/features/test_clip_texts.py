"""Classes that CLIP tells apart by texts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchgen.errors import UsageError, WeightsError
from benchgen.features import clip
from benchgen.suite import ExtractorChoice
from tests.features.pictures import photos, saved
from tests.features.test_clip import random_state

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")

Weights = tuple[Path, str]
CLASSES = {"cat": "a cat", "dog": ["a dog", "a photo of a dog"], "bird": "a bird"}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Both towers of OpenAI's layout, with two blocks and one."""
    torch.manual_seed(0)
    vision = open_clip.model.CLIPVisionCfg(layers=2, width=768, patch_size=32, image_size=224)
    text = open_clip.model.CLIPTextCfg(vocab_size=49408, width=64, heads=1, layers=1)
    model = open_clip.model.CLIP(512, vision, text, quick_gelu=True)
    own = {name: value.half() for name, value in model.state_dict().items()}
    return {**own, "logit_scale": torch.tensor(4.6052)}  # 100, as published


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return saved(state, tmp_path_factory.mktemp("clip") / "w.pth")


def test_logits_are_cosines_of_image_and_text(weights: Weights, state: dict[str, Tensor]) -> None:
    images = photos(3, 40, 30)
    plain = clip.load("cpu", *weights)
    extractor = clip.load("cpu", *weights, classes=CLASSES)
    found = extractor(images)
    assert extractor.classes == ("cat", "dog", "bird")
    torch.testing.assert_close(found.features, plain(images).features)
    model = open_clip.model.build_model_from_openai_state_dict(dict(state)).float()
    with torch.no_grad():
        cat, dog, photo, bird = F.normalize(
            model.encode_text(
                open_clip.tokenize(["a cat", "a dog", "a photo of a dog", "a bird"])
            ).float()
        )
    texts = torch.stack([cat, F.normalize(dog + photo, dim=0), bird])
    expected = 100 * F.normalize(found.features) @ texts.T
    assert found.logits is not None
    torch.testing.assert_close(found.logits, expected, atol=2e-2, rtol=1e-3)
    assert extractor.fingerprint["classes"].startswith("cat: a cat; dog: a dog | a photo of a dog")
    assert "classes" not in plain.fingerprint


def test_what_is_missing_is_said(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="give two or more"):
        clip.load("cpu", *weights, classes={"cat": "a cat"})
    images_alone = saved(random_state(), tmp_path / "images.pth")
    with pytest.raises(WeightsError, match="no text tower"):
        clip.load("cpu", *images_alone, classes=CLASSES)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UsageError, match=r"pip install 'benchgen\[clip\]'"):
        clip.load("cpu", *weights, classes=CLASSES)


def test_an_extractor_may_have_a_name() -> None:
    assert ExtractorChoice.model_validate({"id": "clip-vit-b-32", "name": "tone"}).name == "tone"
    with pytest.raises(ValueError, match="pattern"):
        ExtractorChoice.model_validate({"id": "clip-vit-b-32", "name": "a tone"})
