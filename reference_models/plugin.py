"""Registers the reference models with benchgen: the one file here that imports it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchgen import GeneratorSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from benchgen import SampleBatch

WEIGHTS = Path(__file__).parent / "weights"

_MNIST = (
    "MNIST train, 60,000 digits less the 5,000 that the reference `digits` holds, "
    "left out by pixel hash"
)


@hookimpl
def benchgen_generators() -> list[GeneratorSpec]:
    """Every model whose weights are here."""
    return [_spec(f, d) for f, d in _DESCRIPTIONS.items() if _weights(f).is_file()]


_DESCRIPTIONS = {
    "vae": "convolutional VAE with a flow prior, class-conditional (Kingma & Welling 2014)",
    "gan": "convolutional GAN, hinge loss, projection discriminator (Miyato & Koyama 2018)",
}


def _weights(family: str) -> Path:
    return WEIGHTS / f"mnist-{family}.safetensors"


def _spec(family: str, description: str) -> GeneratorSpec:
    return GeneratorSpec(
        name=family,
        factory=f"reference_models.plugin:ClassConditional.{family}",
        description=description,
        resolution=(28, 28),
        channels=1,
        conditioning="class",
        classes=tuple(str(digit) for digit in range(10)),
        license="Apache-2.0",
        training_data=_MNIST,
        weights_sha256=hashlib.sha256(_weights(family).read_bytes()).hexdigest(),
    )


class ClassConditional:
    """A one-pass model of noise and label, behind benchgen's sampling contract."""

    def __init__(self, model: object, latent_dim: int) -> None:
        self._model = model
        self._latent_dim = latent_dim

    @classmethod
    def vae(cls) -> ClassConditional:
        """The VAE trained on MNIST."""
        from reference_models import vae

        model = vae.load(_weights("vae"))
        return cls(model, model.config.latent_dim)

    @classmethod
    def gan(cls) -> ClassConditional:
        """The generator of the GAN trained on MNIST."""
        from reference_models import gan

        model = gan.load(_weights("gan"))
        return cls(model, model.config.latent_dim)

    def sample(self, batch: SampleBatch) -> Tensor:
        """float32 ``[B, 1, 28, 28]`` in [0, 1]."""
        model = self._model.to(batch.device)  # type: ignore[attr-defined]
        images: Tensor = model.sample(batch.normal(self._latent_dim), batch.condition)
        return images
