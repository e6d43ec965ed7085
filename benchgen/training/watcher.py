"""Who hears how a training goes on."""

from __future__ import annotations

from typing import Protocol

from benchgen.training.job import Epoch


class Watcher(Protocol):
    """Hears how a training goes on; it must not raise."""

    def message(self, text: str) -> None:
        """Something a person should know."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is finished."""


class Silent:
    """A watcher that shows nothing."""

    def message(self, text: str) -> None: ...
    def epoch(self, epoch: Epoch) -> None: ...
