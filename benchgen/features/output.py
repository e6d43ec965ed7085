"""What a user's network returns, as rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from benchgen.errors import UsageError


class OneOutput:
    """A network's one output, or the one that is named, as rows ``[B, d]``.

    Args:
        network: Returns a tensor, or a tuple, list or dictionary of them.
        layer: Index or key of the output; None where there is but one.
        who: The network, for messages.
    """

    def __init__(self, network: Callable[[Tensor], Any], layer: str | int | None, who: str) -> None:
        self._network = network
        self._layer = layer
        self.who = who

    def __call__(self, images: Tensor) -> Tensor:
        """Rows as they are; maps ``[B, d, h, w]`` averaged over space.

        Raises:
            UsageError: Neither, or another number of them than of images; or no such output.
        """
        found = self._chosen(self._network(images))
        if isinstance(found, Tensor) and len(found.shape) in (2, 4) and len(found) == len(images):
            return found if found.dim() == 2 else found.mean((2, 3))
        what = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise UsageError(
            f"{self.who} gives {what} for {len(images)} images; expected rows [B, d] or maps "
            "[B, d, h, w]"
        )

    def _chosen(self, found: Any) -> Any:
        if not isinstance(found, (tuple, list, dict)):
            if self._layer is not None:
                raise UsageError(
                    f"layer is {self._layer!r}, but {self.who} has one output; leave layer out"
                )
            return found
        if len(found) == 1 and self._layer is None:
            return next(iter(found.values() if isinstance(found, dict) else found))
        names = list(found) if isinstance(found, dict) else list(range(len(found)))
        if self._layer not in names:
            raise UsageError(
                f"layer is {self._layer!r}; {self.who} has the outputs "
                f"{', '.join(map(repr, names))}: name one"
            )
        chosen: Any = self._layer
        return found[chosen]
