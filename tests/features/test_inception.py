import hashlib
from pathlib import Path
from typing import get_args

import pytest
import torch

from benchgen.errors import UsageError, WeightsError
from benchgen.features import inception, network
from benchgen.features.network import NetworkExtractor
from benchgen.images.resize import Rule, resize
from tests.conftest import Oracle


@pytest.fixture(scope="module")
def extractor(oracle: Oracle) -> NetworkExtractor:
    return inception.load("cpu", oracle.path, oracle.sha256)


def photos(n: int, height: int, width: int) -> torch.Tensor:
    """Smooth noise: neither flat nor white."""
    generator = torch.Generator().manual_seed(n)
    small = torch.rand(n, 3, 5, 5, generator=generator) * 255
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")
    return large.clamp(0, 255).round().to(torch.uint8)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("n", "height", "width"), [(12, 32, 32), (1, 299, 299), (2, 310, 420)])
def test_tf1_equals_torch_fidelity(
    oracle: Oracle, extractor: NetworkExtractor, n: int, height: int, width: int
) -> None:
    images = photos(n, height, width)
    with torch.no_grad():
        features, logits = oracle.network(images)
    found = extractor(images)
    assert found.logits is not None
    assert found.features.shape == (n, 2048)
    assert found.logits.shape == (n, 1008)
    assert found.features.dtype == found.logits.dtype == torch.float32
    assert relative_error(found.features, features) < 1e-5
    assert relative_error(found.logits, logits) < 1e-5


@pytest.mark.parametrize("rule", get_args(Rule))
def test_each_protocol_feeds_the_network_its_own_input(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch, rule: Rule
) -> None:
    fed: list[torch.Tensor] = []

    def trunk(images: torch.Tensor) -> torch.Tensor:
        fed.append(images)
        return torch.zeros(len(images), 2048, 1, 1)

    monkeypatch.setattr(inception, "pooled", lambda *_: (trunk, torch.zeros(1008, 2048)))
    images = photos(3, 310, 420)
    images[0], images[1] = 0, 255
    inception.load("cpu", oracle.path, oracle.sha256, rule)(images)
    scale, white = (127.5, 1.0) if rule == "pytorch-fid" else (128.0, 127 / 128)
    torch.testing.assert_close(fed[0][0], torch.full((3, 299, 299), -1.0))
    torch.testing.assert_close(fed[0][1], torch.full((3, 299, 299), white))
    torch.testing.assert_close(fed[0][2], resize(images[2:], 299, rule)[0] / scale - 1)


def test_rows_come_in_order_over_chunks(extractor: NetworkExtractor) -> None:
    images = photos(19, 40, 40)  # more than pass at once
    whole, one = extractor(images), extractor(images[17:18])
    assert relative_error(one.features, whole.features[17:18]) < 1e-5
    empty = extractor(images[:0])
    assert empty.features.shape == (0, 2048)
    assert empty.logits is not None
    assert empty.logits.shape == (0, 1008)


def test_bfloat16_measures_its_drift(
    oracle: Oracle, extractor: NetworkExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = photos(6, 40, 40)
    exact = extractor(images).features
    fast = inception.load("cpu", oracle.path, oracle.sha256, arithmetic="bfloat16")
    assert fast.drift is None
    moved = fast(images).features - exact
    assert fast.drift == pytest.approx(
        float(moved.norm() / (exact - exact.mean(dim=0)).norm()), rel=1e-3
    )
    assert 1e-5 < fast.drift < network.MOST_DRIFT
    assert fast.fingerprint["arithmetic"] == "bfloat16"
    monkeypatch.setattr(network, "MOST_DRIFT", fast.drift / 2)
    again = inception.load("cpu", oracle.path, oracle.sha256, arithmetic="bfloat16")
    with pytest.raises(UsageError, match=r"bfloat16 moved features by .* use arithmetic"):
        again(images)
    with pytest.raises(UsageError, match="float16"):
        inception.load("cpu", oracle.path, oracle.sha256, arithmetic="float16")  # type: ignore[arg-type]


def test_what_it_says_of_itself(oracle: Oracle, extractor: NetworkExtractor) -> None:
    assert (extractor.d, len(extractor.classes)) == (2048, 1008)
    assert extractor.fingerprint == {
        "network": "inception-v3-compat",
        "weights": oracle.sha256,
        "layer": "2048",
        "resize": "tf1 to 299",
        "normalisation": "(x - [128.0, 128.0, 128.0]) / [128.0, 128.0, 128.0]",
        "arithmetic": "float32",
    }


def test_loading_leaves_the_random_state_alone(oracle: Oracle) -> None:
    before = torch.get_rng_state()
    inception.load("cpu", oracle.path, oracle.sha256)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_weights_need_their_sha256(oracle: Oracle) -> None:
    with pytest.raises(WeightsError) as caught:
        inception.load("cpu", oracle.path)
    message = str(caught.value)
    assert f"has sha256 {oracle.sha256}; expected {inception.PUBLISHED.sha256}" in message
    assert "pass the file's own sha256 as weights_sha256" in message
    with pytest.raises(WeightsError, match="expected 0000"):
        inception.load("cpu", oracle.path, "0" * 64)


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="are not the FID Inception's"):
        inception.load("cpu", path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_missing_weights_and_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("BENCHGEN_OFFLINE", "1")
    with pytest.raises(WeightsError, match=inception.PUBLISHED.url):
        inception.load("cpu")
    with pytest.raises(WeightsError, match="is no file"):
        inception.load("cpu", tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="weights_sha256 needs weights"):
        inception.load("cpu", weights_sha256="0" * 64)
    with pytest.raises(UsageError, match="known: tf1, pytorch-fid, clean"):
        inception.load("cpu", resize="lanczos")  # type: ignore[arg-type]


def test_spatial_features_are_the_first_channels_in_their_place(oracle: Oracle) -> None:
    images = photos(2, 32, 32)
    seen: list[torch.Tensor] = []
    branch = oracle.network.Mixed_6d.branch1x1
    hook = branch.register_forward_hook(lambda module, given, found: seen.append(found))
    with torch.no_grad():
        oracle.network(images)
    hook.remove()
    spatial = inception.load_spatial("cpu", oracle.path, oracle.sha256)
    found = spatial(images)
    assert found.features.shape == (2, spatial.d) == (2, 2023)
    assert found.logits is None
    expected = seen[0][:, :7]
    rows = found.features.reshape(2, 17, 17, 7)
    assert relative_error(rows.permute(0, 3, 1, 2), expected) < 1e-5
    assert (
        spatial.fingerprint["layer"]
        != inception.load("cpu", oracle.path, oracle.sha256).fingerprint["layer"]
    )
