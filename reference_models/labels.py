"""Class labels as the models take them: the label one past the last class means "any class"."""

import torch
from torch import Tensor


def or_any(labels: Tensor | None, count: int, classes: int, device: torch.device) -> Tensor:
    """``labels``, or where there are none the label "any class" ``count`` times, int64 [count]."""
    if labels is None:
        return torch.full((count,), classes, device=device)
    return labels.to(device)


def drop(labels: Tensor, share: float, classes: int) -> Tensor:
    """``labels`` with a random share of them replaced by "any class".

    So one model learns both to obey a class and to do without.
    """
    dropped = torch.rand(labels.shape, device=labels.device) < share
    return labels.masked_fill(dropped, classes)
