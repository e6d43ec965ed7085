"""Train a reference model and write its weights.

``python -m reference_models.train vae|gan --dataset mnist --data DIR --out FILE [--seed 0] ...``

The defaults are those of the shipped weights. Equal arguments give equal weights on one machine
with one version of torch and one number of threads.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference_models import gan, vae
from reference_models.checkpoint import save_weights
from reference_models.data import Splits, mnist, shuffled_batches

Settings = dict[str, Any]
"""The settings of a training run that its weights file records."""

DATASETS: dict[str, Callable[..., Splits]] = {"mnist": mnist}


def main() -> None:
    """Train the family that the command line names and write it."""
    arguments = _parse_arguments()
    torch.set_num_threads(arguments.threads)
    splits = DATASETS[arguments.dataset](arguments.data, download=arguments.download)
    print(
        f"{len(splits.training)} training images, {len(splits.validation)} validation images, "
        f"{splits.excluded} excluded",
        flush=True,
    )
    started = time.perf_counter()
    model, settings = TRAINERS[arguments.family](splits, arguments)
    print(f"trained in {time.perf_counter() - started:.0f} s")
    save_weights(
        arguments.out,
        model,
        family=arguments.family,
        config=model.config,
        metadata={
            "dataset": arguments.dataset,
            "seed": arguments.seed,
            "training": settings,
            "training_images": len(splits.training),
            "validation_images": len(splits.validation),
            "excluded_images": splits.excluded,
            "license": "Apache-2.0",
            "torch": torch.__version__,
        },
    )


def train_vae(splits: Splits, arguments: argparse.Namespace) -> tuple[vae.VAE, Settings]:
    """The trained VAE and the settings to record; validated by its evidence lower bound."""
    settings: Settings = {
        "epochs": arguments.epochs or vae.EPOCHS,
        "batch_size": vae.BATCH_SIZE,
        "beta": arguments.beta,
    }
    model = vae.train_vae(
        shuffled_batches(splits.training, batch_size=vae.BATCH_SIZE, seed=arguments.seed),
        epochs=settings["epochs"],
        seed=arguments.seed,
        beta=settings["beta"],
        validate=lambda model: vae.mean_negative_elbo(model, splits.validation),
        device=arguments.device,
    )
    return model, settings


def train_gan(splits: Splits, arguments: argparse.Namespace) -> tuple[gan.Generator, Settings]:
    """The trained generator and the settings to record; validated by the energy distance."""
    settings: Settings = {"epochs": arguments.epochs or gan.EPOCHS, "batch_size": gan.BATCH_SIZE}

    def energy_distance_to_validation(generator: gan.Generator) -> float:
        labels = splits.validation.labels.to(arguments.device)
        noise = torch.Generator().manual_seed(arguments.seed)
        z = torch.randn(len(labels), generator.config.latent_dim, generator=noise)
        samples = generator.sample(z.to(arguments.device), labels).cpu()
        return energy_distance(samples, splits.validation.as_float())

    generator = gan.train_gan(
        shuffled_batches(splits.training, batch_size=gan.BATCH_SIZE, seed=arguments.seed),
        epochs=settings["epochs"],
        seed=arguments.seed,
        validate=energy_distance_to_validation,
        device=arguments.device,
    )
    return generator, settings


def energy_distance(first: Tensor, second: Tensor) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| over pixels (Székely and Rizzo 2013); 0 for equals."""
    x, y = first.flatten(1), second.flatten(1)

    def mean_distance_within(rows: Tensor) -> Tensor:
        return torch.cdist(rows, rows).sum() / (len(rows) * (len(rows) - 1))

    within = mean_distance_within(x) + mean_distance_within(y)
    return float(2 * torch.cdist(x, y).mean() - within)


TRAINERS: dict[str, Callable[[Splits, argparse.Namespace], tuple[Any, Settings]]] = {
    "vae": train_vae,
    "gan": train_gan,
}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a reference model and write its weights.")
    parser.add_argument("family", choices=sorted(TRAINERS))
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="mnist")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--download", action="store_true", help="fetch the data set if absent")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="instead of the family's default")
    parser.add_argument("--beta", type=float, default=vae.BETA, help="vae: weight of the KL term")
    parser.add_argument("--threads", type=int, default=1, help="threads that torch may use")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
