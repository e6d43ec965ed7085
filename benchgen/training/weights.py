"""A weights file as a generator: found by its card, opened by the trainer that wrote it."""

from __future__ import annotations

from pathlib import Path

from benchgen.errors import BenchgenError, PluginError
from benchgen.host.loader import Host, Registered
from benchgen.host.specs import TrainerSpec
from benchgen.training.card import generator_spec, read_card

SUFFIX = ".safetensors"


def is_weights(text: str) -> bool:
    """Whether a text names a weights file."""
    return text.lower().endswith(SUFFIX)


def open_weights(plugins: Host, text: str) -> Registered:
    """The generator of a weights file, as if its trainer's distribution offered it.

    Loads no model.

    Raises:
        WeightsError: The file is missing or damaged, or has no model card.
        PluginError: Its trainer is not to be had.
    """
    path = Path(text).expanduser()
    card = read_card(path)
    try:
        trainer = plugins.find("trainer", card.trainer)
    except BenchgenError as error:
        raise PluginError(
            f"{path} needs the trainer {card.trainer}, which wrote it: {error}"
        ) from error
    assert isinstance(trainer.spec, TrainerSpec)
    spec = generator_spec(path, card, trainer.spec)
    return Registered(spec, trainer.distribution, trainer.distribution_version)
