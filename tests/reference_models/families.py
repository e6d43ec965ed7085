"""The families, each in an architecture so small that training it takes a moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from reference_models import diffusion, gan, pixelcnn, ppca, transformer, vae
from reference_models.training import Batch, Recipe, seeded


@dataclass(frozen=True)
class Tiny:
    """A family's module, its recipe, and the fields that make it small."""

    module: ModuleType
    recipe: type[Recipe]
    fields: dict[str, Any] = field(default_factory=dict)

    def made(self, shape: tuple[int, int, int] = (1, 8, 8), seed: int = 0, **more: Any) -> Recipe:
        """A recipe with random weights."""
        with seeded(seed):
            config = self.module.Config(shape=shape, classes=4, **self.fields | more)
            return self.recipe(config)  # type: ignore[call-arg]


TINY = {
    "ppca": Tiny(ppca, ppca.PPCARecipe, {"components": 2}),
    "vae": Tiny(vae, vae.VAERecipe, {"width": 4, "hidden": 16, "latent_dim": 4}),
    "gan": Tiny(gan, gan.GANRecipe, {"generator_width": 4, "discriminator_width": 4}),
    "diffusion": Tiny(diffusion, diffusion.DiffusionRecipe, {"widths": (8, 32, 32)}),
    "transformer": Tiny(
        transformer,
        transformer.TransformerRecipe,
        {"codes": 16, "codec_width": 4, "width": 16, "layers": 2, "heads": 2},
    ),
    "pixelcnn": Tiny(
        pixelcnn, pixelcnn.PixelCNNRecipe, {"width": 8, "dilations": (1, 2), "components": 3}
    ),
}
LIKELIHOODS = ("pixelcnn", "ppca", "vae")


def batches(epoch: int, shape: tuple[int, int, int] = (1, 8, 8)) -> Iterator[Batch]:
    """Three batches of 16 images, brighter where the label is higher; ``epoch`` decides them."""
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(3):
        labels = torch.randint(0, 4, (16,), generator=generator)
        noise = torch.rand(16, *shape, generator=generator)
        yield ((noise + labels[:, None, None, None]) * (255 / 5)).round() / 255, labels
