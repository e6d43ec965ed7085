"""What every bundled model promises: its shipped weights, its sampling, its training."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

import reference_models
from benchgen.features.digits import load_digits_net
from reference_models import gan, vae
from reference_models.checkpoint import read_metadata, save_weights

WEIGHTS = Path(reference_models.__file__).parent / "weights"
MODULES = {"gan": gan, "vae": vae}
LABEL_ACCURACY = {"gan": 0.97, "vae": 0.90}

Model = Any  # a Generator or a VAE: both have config, sample and the rest of nn.Module


@pytest.fixture(params=sorted(MODULES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(family: str) -> ModuleType:
    return MODULES[family]


@pytest.fixture
def weights(family: str) -> Path:
    return WEIGHTS / f"mnist-{family}.safetensors"


@pytest.fixture
def model(module: ModuleType, weights: Path) -> Model:
    return module.load(weights)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("conditional", [True, False])
def test_samples_are_images(model: Model, batch_size: int, conditional: bool) -> None:
    labels = torch.arange(batch_size) % 10 if conditional else None
    images = model.sample(_noise(model, batch_size), labels)
    assert images.shape == (batch_size, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert not images.requires_grad


@pytest.mark.parametrize("batch_size", [1, 7])
def test_an_image_does_not_depend_on_its_batch(model: Model, batch_size: int) -> None:
    z, labels = _noise(model, 64), torch.arange(64) % 10
    together = _grey_levels(model.sample(z, labels))
    parts = [
        _grey_levels(model.sample(z_part, label_part))
        for z_part, label_part in zip(
            torch.split(z, batch_size), torch.split(labels, batch_size), strict=True
        )
    ]
    difference = (together - torch.cat(parts)).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() <= 0.001


def test_sampling_leaves_the_global_random_state_alone(model: Model) -> None:
    before = torch.random.get_rng_state()
    z = _noise(model, 4)
    assert torch.equal(model.sample(z), model.sample(z))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_samples_are_recognised_as_the_class_asked_for(family: str, model: Model) -> None:
    labels = torch.arange(300) % 10
    recognised = _recognise(model.sample(_noise(model, 300), labels))
    assert (recognised == labels).float().mean() >= LABEL_ACCURACY[family]


def test_unconditional_samples_cover_every_class(model: Model) -> None:
    counts = torch.bincount(_recognise(model.sample(_noise(model, 500))), minlength=10)
    assert counts.min() >= 15


def test_samples_of_one_class_differ(model: Model) -> None:
    images = model.sample(_noise(model, 50), torch.full((50,), 3))
    distances = torch.pdist(images.flatten(1))
    assert distances.min() > 1


def test_shipped_weights_are_small_half_precision_safetensors(weights: Path) -> None:
    assert weights.stat().st_size <= 4_000_000
    with safe_open(weights, framework="pt") as tensors:
        dtypes = {tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
    assert dtypes <= {torch.float16, torch.int64}


def test_shipped_weights_say_where_they_come_from(family: str, weights: Path) -> None:
    metadata = read_metadata(weights)
    assert metadata["family"] == family
    assert metadata["dataset"] == "mnist"
    assert metadata["license"] == "Apache-2.0"
    assert metadata["excluded_images"] == "5000"
    assert int(metadata["training_images"]) + int(metadata["validation_images"]) == 55_000
    assert metadata["seed"] == "0"
    assert json.loads(metadata["config"])["classes"] == 10
    assert json.loads(metadata["training"])["epochs"] > 0


def test_no_pickle_is_shipped_or_read() -> None:
    assert {path.suffix for path in WEIGHTS.iterdir()} == {".safetensors"}
    for source in Path(reference_models.__file__).parent.glob("*.py"):
        text = source.read_text()
        assert "torch.load" not in text
        assert "torch.save" not in text
        assert "import pickle" not in text


def test_training_follows_from_the_seed_alone(family: str) -> None:
    first, second, other = (_trained(family, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_leaves_the_global_random_state_alone(family: str) -> None:
    before = torch.random.get_rng_state()
    _trained(family, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_validates_each_epoch_in_eval_mode(family: str) -> None:
    modes = []

    def validate(model: Model) -> float:
        modes.append(model.training)
        return 0.0

    model = _trained(family, 0, validate=validate)
    assert modes == [False, False]
    assert not model.training


def test_a_trained_model_survives_saving(family: str, module: ModuleType, tmp_path: Path) -> None:
    model = _trained(family, 0)
    path = tmp_path / "model.safetensors"
    save_weights(path, model, family=family, config=model.config, metadata={"seed": 0})
    loaded = module.load(path)
    assert loaded.config == model.config
    z = _noise(model, 8)
    torch.testing.assert_close(loaded.sample(z), model.sample(z), atol=0.02, rtol=0)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_loading_another_family_is_an_error() -> None:
    with pytest.raises(ValueError, match="holds the family 'vae', not 'gan'"):
        gan.load(WEIGHTS / "mnist-vae.safetensors")


def test_the_generator_refuses_to_sample_in_training_mode() -> None:
    generator = gan.Generator(gan.GANConfig(generator_width=4)).train()
    with pytest.raises(RuntimeError, match="eval mode"):
        generator.sample(torch.zeros(2, 64))


def test_beta_weighs_the_kl_term() -> None:
    model = vae.VAE(vae.VAEConfig(width=4, hidden=16)).eval()
    images, labels = torch.rand(4, 1, 28, 28), torch.arange(4)
    losses = []
    for beta in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        losses.append(vae.negative_elbo(model, images, labels, beta=beta))
    kl_term = losses[1] - losses[0]
    assert kl_term.abs().min() > 0
    torch.testing.assert_close(losses[2] - losses[1], kl_term, rtol=1e-3, atol=1e-3)


def test_the_flow_prior_inverts_and_knows_its_density() -> None:
    torch.manual_seed(0)
    prior = vae.FlowPrior(vae.VAEConfig(latent_dim=4, coupling_hidden=8)).double()
    z, label_code = torch.randn(3, 4).double(), torch.randn(3, 16).double()
    for one_z, one_code in zip(z, label_code, strict=True):

        def codes_of(noise: Tensor, code: Tensor = one_code) -> Tensor:
            return prior.codes_from_noise(noise[None], code[None])[0]

        volume = torch.func.jacrev(codes_of)(one_z).det().abs().log()
        normal = -0.5 * (one_z.square() + math.log(2 * math.pi)).sum()
        density = prior.log_density(codes_of(one_z)[None], one_code[None])[0]
        torch.testing.assert_close(density, normal - volume)


def _noise(model: Model, count: int) -> Tensor:
    return torch.randn(count, model.config.latent_dim, generator=torch.Generator().manual_seed(0))


def _grey_levels(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.int16)


def _recognise(images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = load_digits_net()(_grey_levels(images).float() / 255)[1]
    return logits.argmax(dim=1)


def _trained(family: str, seed: int, validate: Callable[[Model], float] | None = None) -> Model:
    def data(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(epoch)
        for _ in range(2):
            yield torch.rand(8, 1, 28, 28, generator=generator), torch.arange(8)

    if family == "gan":
        gan_config = gan.GANConfig(generator_width=4, discriminator_width=4)
        return gan.train_gan(data, config=gan_config, epochs=2, seed=seed, validate=validate)
    vae_config = vae.VAEConfig(width=4, hidden=16)
    return vae.train_vae(data, config=vae_config, epochs=2, seed=seed, validate=validate)
