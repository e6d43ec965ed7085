"""Weights on disk: safetensors in half precision, with all that is needed to rebuild the model."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

Config = TypeVar("Config")


def save_weights(
    path: str | Path, model: nn.Module, *, family: str, config: Any, metadata: Mapping[str, str]
) -> None:
    """Write ``model`` in float16, its dataclass ``config``, and further ``metadata``."""
    tensors = {name: to_storage(tensor) for name, tensor in model.state_dict().items()}
    header = {"family": family, "config": json.dumps(asdict(config)), **metadata}
    write_tensors(path, tensors, header)


def read_config(path: str | Path, family: str, config_type: type[Config]) -> Config:
    """The config that ``path`` was written with.

    Raises:
        ValueError: the file holds another family, or was not written by :func:`save_weights`.
    """
    header = read_metadata(path)
    if header.get("family") != family:
        raise ValueError(f"{path} holds the family {header.get('family')!r}, not {family!r}")
    fields = json.loads(header["config"])
    return config_type(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def load_weights(path: str | Path, model: nn.Module) -> None:
    """Fill ``model``, which computes in float32, from ``path``, and put it in eval mode."""
    # Copying into the model's own tensors converts float16 to float32.
    model.load_state_dict(load_file(path))
    model.eval()


def to_storage(tensor: Tensor) -> Tensor:
    """``tensor`` as it is stored: float16 where it is floating-point."""
    tensor = tensor.detach().cpu()
    return tensor.to(torch.float16).contiguous() if tensor.is_floating_point() else tensor


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(path, framework="pt") as weights:
        return dict(weights.metadata() or {})


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    # Not save_file: it makes the file readable by its owner alone.
    with unfinished.open("wb") as file:
        file.write(save(dict(tensors), metadata=dict(metadata)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
