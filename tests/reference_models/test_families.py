"""What every family promises, whatever it learnt: sampling, training, saving."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import reference_models
from benchgen import SampleBatch
from reference_models import diffusion, gan, vae
from reference_models.checkpoint import save_weights
from reference_models.noise import SeededNoise
from reference_models.training import Recipe, fit
from tests.reference_models.families import LIKELIHOODS, TINY, batches

SHAPES = [(1, 8, 8), (3, 12, 8)]


@pytest.fixture(params=sorted(TINY))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _trained(
    family: str, seed: int = 0, shape: tuple[int, int, int] = (1, 8, 8), epochs: int = 2
) -> Recipe:
    recipe = TINY[family].made(shape, seed)
    fit(recipe, lambda epoch: batches(epoch, shape), epochs=epochs, seed=seed)
    return recipe


def _levels(images: Tensor) -> Tensor:
    return (images if images.dtype == torch.uint8 else (images * 255).round()).to(torch.int16)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("conditional", [True, False])
def test_samples_are_images(family: str, shape: tuple[int, int, int], conditional: bool) -> None:
    model: Any = _trained(family, shape=shape).model
    images = model.sample(SeededNoise(5), torch.arange(5) % 4 if conditional else None)
    assert images.shape == (5, *shape)
    assert images.dtype in (torch.uint8, torch.float32)
    if images.dtype == torch.float32:
        assert 0 <= images.min() <= images.max() <= 1
    assert not images.requires_grad


def test_an_image_depends_on_its_own_noise_and_label_alone(family: str) -> None:
    model: Any = _trained(family).model
    labels = torch.arange(12) % 4
    together = model.sample(SampleBatch(range(12), seed=3), labels)
    for start, stop in ((0, 1), (1, 8), (8, 12)):
        part = model.sample(SampleBatch(range(start, stop), seed=3), labels[start:stop])
        assert (_levels(part) - _levels(together[start:stop])).abs().max() <= 1


def test_the_label_and_the_noise_both_count(family: str) -> None:
    model: Any = _trained(family, epochs=100 if family == "transformer" else 20).model
    zeros = torch.zeros(32, dtype=torch.int64)
    first = model.sample(SeededNoise(32, seed=1), zeros)
    other_noise = model.sample(SeededNoise(32, seed=2), zeros)
    other_label = model.sample(SeededNoise(32, seed=1), zeros + 3)
    any_label = model.sample(SeededNoise(32, seed=1))
    assert not torch.equal(first, other_noise)
    assert not torch.equal(first, other_label)
    assert not torch.equal(first, any_label)


def test_sampling_leaves_the_global_random_state_alone(family: str) -> None:
    model: Any = TINY[family].made().eval().model
    before = torch.random.get_rng_state()
    assert torch.equal(model.sample(SeededNoise(3)), model.sample(SeededNoise(3)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_follows_from_the_seed_alone(family: str) -> None:
    first, second, other = (_trained(family, seed).model.state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_leaves_the_global_random_state_alone(family: str) -> None:
    before = torch.random.get_rng_state()
    _trained(family)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_training_moves_away_from_where_it_began(family: str) -> None:
    begun = TINY[family].made().model.state_dict()
    ended = _trained(family).model.state_dict()
    assert any(not torch.equal(begun[name], ended[name]) for name in begun)


def test_a_trained_model_survives_saving(family: str, tmp_path: Path) -> None:
    model: Any = _trained(family).model
    path = tmp_path / "model.safetensors"
    save_weights(path, model, family=family, config=model.config, metadata={"seed": "0"})
    loaded = TINY[family].module.load(path)
    assert loaded.config == model.config
    assert not loaded.training
    for name, kept in loaded.state_dict().items():
        torch.testing.assert_close(kept, model.state_dict()[name], rtol=1e-3, atol=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_training_goes_on_from_the_weights_of_a_model(family: str) -> None:
    begun = _trained(family)
    other = TINY[family].made(seed=9)
    other.adopt(begun.model.state_dict())
    for name, tensor in begun.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], tensor)
    fit(other, batches, epochs=1, seed=0)


@pytest.mark.parametrize("family", LIKELIHOODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_likelihoods_are_finite_and_prefer_what_was_seen(
    family: str, shape: tuple[int, int, int]
) -> None:
    model: Any = _trained(family, shape=shape, epochs=60).model
    images, labels = next(batches(99, shape))
    seen = (images * 255).round().to(torch.uint8)
    strange = 255 - seen
    bits = [
        -model.log_likelihood(kind, labels, SeededNoise(16)) / (math.prod(shape) * math.log(2))
        for kind in (seen, strange)
    ]
    assert bits[0].shape == (16,)
    assert bits[0].dtype == torch.float64
    assert torch.isfinite(torch.stack(bits)).all()
    assert bits[0].mean() < bits[1].mean()


def test_loading_another_family_is_an_error(tmp_path: Path) -> None:
    model: Any = TINY["vae"].made().model
    save_weights(tmp_path / "v.safetensors", model, family="vae", config=model.config, metadata={})
    with pytest.raises(ValueError, match="holds the family 'vae', not 'gan'"):
        gan.load(tmp_path / "v.safetensors")


def test_no_pickle_is_read_and_one_file_knows_benchgen() -> None:
    package = Path(reference_models.__file__).parent
    assert {path.suffix for path in (package / "weights").iterdir()} <= {".safetensors", ".md"}
    for source in package.glob("*.py"):
        text = source.read_text()
        assert "torch.load" not in text
        assert "torch.save" not in text
        assert "pickle" not in text
        knows = "import benchgen" in text or "from benchgen" in text
        assert knows == (source.name == "plugin.py"), source.name


def test_the_generator_of_the_gan_refuses_to_sample_in_training_mode() -> None:
    generator = gan.Generator(gan.Config(generator_width=4)).train()
    with pytest.raises(RuntimeError, match="eval mode"):
        generator.sample(SeededNoise(2))


def test_beta_weighs_the_kl_term() -> None:
    model = vae.VAE(vae.Config(width=4, hidden=16)).eval()
    levels, labels = torch.randint(0, 256, (4, 1, 28, 28)).to(torch.uint8), torch.arange(4)
    noise = torch.randn(4, model.config.latent_dim)
    losses = [model.negative_elbo(levels, labels, noise, beta) for beta in (0.0, 1.0, 2.0)]
    kl_term = losses[1] - losses[0]
    assert kl_term.abs().min() > 0
    torch.testing.assert_close(losses[2] - losses[1], kl_term, rtol=1e-3, atol=2e-2)


def test_the_flow_prior_inverts_and_knows_its_density() -> None:
    torch.manual_seed(0)
    prior = vae.FlowPrior(vae.Config(latent_dim=4, coupling_hidden=8)).double()
    z, label_code = torch.randn(3, 4).double(), torch.randn(3, 16).double()
    for one_z, one_code in zip(z, label_code, strict=True):

        def codes_of(noise: Tensor, code: Tensor = one_code) -> Tensor:
            return prior.codes_from_noise(noise[None], code[None])[0]

        volume = torch.func.jacrev(codes_of)(one_z).det().abs().log()
        normal = -0.5 * (one_z.square() + math.log(2 * math.pi)).sum()
        density = prior.log_density(codes_of(one_z)[None], one_code[None])[0]
        torch.testing.assert_close(density, normal - volume, rtol=1e-4, atol=1e-4)


def test_more_codes_tighten_the_bound_of_the_vae() -> None:
    model: Any = _trained("vae").model
    images = (next(batches(7))[0] * 255).round().to(torch.uint8)
    few = model.log_likelihood(images, None, SeededNoise(16), codes=1).mean()
    many = model.log_likelihood(images, None, SeededNoise(16), codes=64).mean()
    assert many > few


def test_pixels_of_a_channel_may_share_their_scale(tmp_path: Path) -> None:
    config = vae.Config(width=4, hidden=16, shape=(3, 8, 8), shared_scale=True)
    recipe = vae.VAERecipe(config)
    labels = torch.arange(16) % 10
    recipe.step(torch.rand(16, 3, 8, 8), labels)
    assert recipe.model.log_scales.grad is not None
    assert recipe.model.log_scales.grad.abs().min() > 0
    path = tmp_path / "v.safetensors"
    save_weights(path, recipe.model, family="vae", config=config, metadata={})
    loaded = vae.load(path)
    assert loaded.decode(torch.zeros(2, 32), labels[:2])[1].shape == (3, 1, 1)
    levels = torch.randint(0, 256, (2, 3, 8, 8)).to(torch.uint8)
    assert loaded.log_likelihood(levels, labels[:2], SeededNoise(2)).shape == (2,)


def test_the_prior_may_learn_on_alone() -> None:
    recipe = vae.VAERecipe(vae.Config(width=4, hidden=16, shape=(1, 8, 8)), prior_share=0.5)
    images, labels = torch.rand(16, 1, 8, 8), torch.arange(16) % 10
    moved = []
    for epoch in range(4):
        before = {name: value.clone() for name, value in recipe.model.named_parameters()}
        recipe.begin(epoch, 4)
        recipe.step(images, labels)
        after = dict(recipe.model.named_parameters())
        moved.append({n.partition(".")[0] for n in before if not torch.equal(before[n], after[n])})
    everything = {"label_embedding", "prior", "encoder_convolutions", "encoder_head", "decoder"}
    assert moved == [everything, everything, {"prior"}, {"prior"}]
    rates = []
    for epoch in range(4):
        recipe.begin(epoch, 4)
        rates.append(recipe.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 5e-4, 1e-3, 5e-4])


def test_a_discriminator_sees_how_the_images_of_a_class_differ() -> None:
    features, labels = torch.randn(7, 5), torch.tensor([0, 0, 0, 1, 1, 2, 0])
    found = gan.deviation_in_class(features, labels)
    for row, label in zip(found, labels.tolist(), strict=True):
        own = features[labels == label]
        expected = (own.var(dim=0, correction=0) + 1e-4).sqrt()
        torch.testing.assert_close(row, expected)
    config = gan.Config(shape=(1, 8, 8), discriminator_width=4)
    plain, told = (gan.Discriminator(config, spread=spread).eval() for spread in (False, True))
    images = torch.rand(8, 1, 8, 8)
    alike, labels = images[:1].expand(8, -1, -1, -1), torch.zeros(8, dtype=torch.int64)
    alone = torch.tensor([3])
    for net, differs in ((plain, False), (told, True)):
        together = net(alike, labels)[0][:1]
        among = net(torch.cat([alike[:1], images[1:]]), labels)[0][:1]
        assert bool((together - among).abs() > 1e-4) is differs
        assert net(images[:1], alone)[0].shape == (1,)
    halves, _ = told(torch.cat([images, alike]), torch.cat([labels, labels]), parts=2)
    torch.testing.assert_close(halves[8:], told(alike, labels)[0])


def test_a_discriminator_that_names_classes_teaches_the_generator_them() -> None:
    config = gan.Config(shape=(1, 8, 8), classes=3, generator_width=4, discriminator_width=4)
    recipe = gan.GANRecipe(config, class_weight=2.0)
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 3])  # the last is of any class
    chances = logits.softmax(dim=1)
    expected = -(chances[0, 0] * chances[1, 2] * chances[2, 1]).log() * 2 / 4
    torch.testing.assert_close(recipe._misnamed(logits, labels), expected)
    assert recipe.discriminator.class_of is not None
    before = recipe.discriminator.class_of.weight.clone()
    images = torch.rand(4, 1, 8, 8)
    recipe.step(images, labels)
    assert not torch.equal(before, recipe.discriminator.class_of.weight)
    assert recipe.discriminator(images, labels)[1].shape == (4, 3)
    for plain in (gan.GANRecipe(config), gan.GANRecipe(gan.Config(classes=0), class_weight=1.0)):
        assert plain.discriminator.class_of is None


def test_a_generator_doubles_its_grid_as_often_as_asked() -> None:
    deep = gan.Generator(gan.Config(shape=(3, 32, 32), doublings=3, generator_width=4)).eval()
    assert deep.layers[1].unflattened_size == (32, 4, 4)
    assert deep(torch.randn(2, 64), torch.tensor([0, 10])).shape == (2, 3, 32, 32)
    with pytest.raises(ValueError, match="multiples of 8; the images are 28 × 28"):
        gan.Config(doublings=3)


def test_noise_levels_fall_to_zero() -> None:
    levels = diffusion.noise_levels(20)
    assert len(levels) == 21
    assert levels[0] == pytest.approx(diffusion.SIGMA_MOST)
    assert levels[-2] == pytest.approx(diffusion.SIGMA_LEAST)
    assert levels[-1] == 0
    assert all(high > low for high, low in pairwise(levels))
    with pytest.raises(ValueError, match="steps is 0; take at least 1"):
        diffusion.noise_levels(0)


@pytest.mark.parametrize(
    ("sampler", "steps", "off"),
    [
        ("deterministic", 20, 0.08),
        ("deterministic", 100, 0.01),
        ("ancestral", 20, 0.15),
        ("ancestral", 100, 0.03),
    ],
)
def test_samplers_find_the_distribution_of_an_ideal_denoiser(
    sampler: diffusion.Sampler, steps: int, off: float
) -> None:
    """For data N(0, s²) the ideal denoiser is known, and so is what the samplers must reach."""
    spread = 0.3

    class Ideal(diffusion.Denoiser):
        def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
            level = sigma[:, None, None, None].square()
            return noisy * spread**2 / (spread**2 + level)

    model = Ideal(diffusion.Config(shape=(1, 8, 8), widths=(8, 32, 32)))
    images = model.sample(SeededNoise(200), steps=steps, sampler=sampler) * 2 - 1
    assert float(images.mean()) == pytest.approx(0, abs=0.01)
    assert float(images.std()) == pytest.approx(spread, rel=off)


def test_guidance_moves_away_from_any_class() -> None:
    model: Any = _trained("diffusion").model

    def images(steps: int, guidance: float, labels: Tensor | None) -> Tensor:
        made: Tensor = model.sample(SeededNoise(4), labels, steps=steps, guidance=guidance)
        return made

    threes = torch.full((4,), 3)
    assert not torch.equal(images(3, 1.0, threes), images(3, 3.0, threes))
    assert torch.equal(images(3, 1.0, None), images(3, 3.0, None))
    # One step begins and ends outside of the noise levels where guidance acts.
    assert torch.equal(images(1, 1.0, threes), images(1, 3.0, threes))


def test_guidance_adds_what_the_class_changes() -> None:
    class Told(diffusion.Denoiser):
        """Says 0.5 for a class, and 0.25 for any."""

        def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
            given = labels < self.config.classes
            return torch.where(given, 0.5, 0.25)[:, None, None, None].expand_as(noisy)

    model = Told(diffusion.Config(shape=(1, 8, 8), widths=(8, 32, 32)))
    sigma = (diffusion.GUIDED_LEAST + diffusion.GUIDED_MOST) / 2
    found = model._guided(torch.zeros(2, 1, 8, 8), sigma, torch.tensor([3, 10]), 2.0)
    assert found[:, 0, 0, 0].tolist() == [0.75, 0.25]
