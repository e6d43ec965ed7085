"""A network as an extractor: images prepared, passed through in pieces, rows returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchgen.arithmetic import exact_float32
from benchgen.errors import UsageError
from benchgen.features.extractor import Extracted
from benchgen.features.inference import IMAGES_AT_ONCE
from benchgen.features.memory import keep_freed_memory
from benchgen.images.resize import Rule, resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Images times pixels that pass through a network at once; it bounds memory. More at once is no
# faster on a processor, but on a graphics card it is.
_PIXELS_CPU, _PIXELS_ELSEWHERE = IMAGES_AT_ONCE * 299 * 299, 64 * 299 * 299
_MOST_IMAGES = 64

Arithmetic = Literal["float32", "bfloat16"]

CALIBRATION = 64
"""Images that the drift of a faster arithmetic is measured on."""

MOST_DRIFT = 0.1
"""Root mean square difference of a row from the exact one, over the spread of the exact rows."""

Prepare = Callable[[Tensor], Tensor]
Forward = Callable[[Tensor], Extracted]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Input:
    """What a network is fed: the image at a size, each channel moved and scaled.

    Attributes:
        size: Side of the square that images are resized to; None leaves them as they are.
        rule: How they are resized.
        shift: Subtracted from the channels R, G, B, in grey levels from 0 to 255.
        scale: What they are then divided by.
    """

    size: int | None
    rule: Rule
    shift: tuple[float, float, float]
    scale: tuple[float, float, float]

    @classmethod
    def of(
        cls,
        size: int | None,
        rule: str,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        low: float = 0.0,
        high: float = 1.0,
    ) -> Input:
        """Grey levels mapped onto ``[low, high]``, from which ``mean`` is taken; over ``std``.

        Raises:
            UsageError: no such resize rule.
        """
        if rule not in get_args(Rule):
            raise UsageError(
                f"no resize rule is called {rule!r}; known: {', '.join(get_args(Rule))}"
            )
        unit = 255 / (high - low)
        r, g, b = (unit * (m - low) for m in mean)
        sr, sg, sb = (unit * s for s in std)
        return cls(size, rule, (r, g, b), (sr, sg, sb))  # type: ignore[arg-type]

    @property
    def fingerprint(self) -> dict[str, str]:
        return {
            "resize": "none" if self.size is None else f"{self.rule} to {self.size}",
            "normalisation": f"(x - {list(self.shift)}) / {list(self.scale)}",
        }

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 ``[B, 3, H, W]`` to float32 ``[B, 3, h, w]``, on the device of the input."""
        sized = images.float() if self.size is None else resize(images, self.size, self.rule)
        shift, scale = (
            torch.tensor(v, dtype=torch.float32, device=images.device).view(3, 1, 1)
            for v in (self.shift, self.scale)
        )
        return (sized - shift) / scale


class NetworkExtractor:
    """Rows (and logits) that a network gives for prepared images, in exact float32 by default.

    In bfloat16 the first images are computed both ways. ``drift`` then says how far the rows moved,
    over the spread of rows between images, and more than ``MOST_DRIFT`` is refused.

    Args:
        forward: From a prepared batch on the device to rows ``[B, d]`` and logits or None.
        prepare: From uint8 images on the device to what ``forward`` takes.
        device: Where to compute.
        d: Width of a row.
        fingerprint: All that decides the rows but the arithmetic.
        side: Side of the prepared image, where it is fixed: it decides how many pass at once.
        classes: Names of the logits.
        batch: The only number of images that ``forward`` takes, if it is fixed.
        arithmetic: "float32" or "bfloat16".

    Raises:
        UsageError: no such arithmetic; when called, more drift than is allowed.
    """

    def __init__(
        self,
        forward: Forward,
        prepare: Prepare,
        device: str | torch.device,
        d: int,
        fingerprint: Mapping[str, str],
        *,
        side: int | None = None,
        classes: tuple[str, ...] = (),
        batch: int | None = None,
        arithmetic: Arithmetic = "float32",
    ) -> None:
        if arithmetic not in get_args(Arithmetic):
            raise UsageError(
                f"no arithmetic is called {arithmetic!r}; known: {', '.join(get_args(Arithmetic))}"
            )
        keep_freed_memory()
        self._arithmetic: Arithmetic = arithmetic
        self.drift: float | None = None
        self._forward = forward
        self._prepare = prepare
        self._device = torch.device(device)
        self._side = side
        self._batch = batch
        self._most = _MOST_IMAGES  # halved where the device's memory does not suffice
        self.d = d
        self.classes = classes
        self.fingerprint: Mapping[str, str] = {**fingerprint, "arithmetic": arithmetic}

    def __call__(self, images: Tensor) -> Extracted:
        """uint8 ``[B, 3, H, W]`` to float32 ``[B, d]``, on the CPU."""
        if self._arithmetic != "float32" and self.drift is None and len(images):
            some = images[:CALIBRATION]
            exact, fast = (self._rows(some, mode) for mode in ("float32", self._arithmetic))
            self.drift = _drift(exact.features, fast.features)
            if self.drift > MOST_DRIFT:
                raise UsageError(
                    f"{self._arithmetic} moved features by {self.drift:.1%} of their spread over "
                    f"the first {len(some)} images, and {MOST_DRIFT:.0%} is allowed; use "
                    'arithmetic = "float32"'
                )
        return self._rows(images, self._arithmetic)

    def _rows(self, images: Tensor, arithmetic: Arithmetic) -> Extracted:
        # Rows stay where they are computed until all are queued: a graphics card then copies the
        # next images in while it computes.
        features = [torch.empty(0, self.d, device=self._device)]
        logits = [torch.empty(0, len(self.classes), device=self._device)]
        with torch.inference_mode(), _computing(arithmetic, self._device):
            at = 0
            while at < len(images):
                chunk = images[at : at + self._at_once(images)]
                try:
                    found = self._of(_sent(chunk, self._device))
                except torch.cuda.OutOfMemoryError:
                    if len(chunk) == 1 or self._batch is not None:
                        raise
                    self._most = len(chunk) // 2
                    torch.cuda.empty_cache()
                    continue
                at += len(chunk)
                features.append(found.features.float())
                if found.logits is not None:
                    logits.append(found.logits.float())
        return Extracted(
            torch.cat(features).cpu(), torch.cat(logits).cpu() if self.classes else None
        )

    def _of(self, images: Tensor) -> Extracted:
        prepared = self._prepare(images)
        if self._batch is None or len(prepared) == self._batch:
            return self._forward(prepared)
        # The network takes one number of images only: the last one fills the places left.
        filled = torch.cat(
            [prepared, prepared[-1:].expand(self._batch - len(prepared), -1, -1, -1)]
        )
        found = self._forward(filled)
        logits = None if found.logits is None else found.logits[: len(prepared)]
        return Extracted(found.features[: len(prepared)], logits)

    def _at_once(self, images: Tensor) -> int:
        if self._batch is not None:
            return self._batch
        pixels = images.shape[2] * images.shape[3] if self._side is None else self._side**2
        bound = _PIXELS_CPU if self._device.type == "cpu" else _PIXELS_ELSEWHERE
        return max(1, min(self._most, bound // max(pixels, 1)))


@contextmanager
def _computing(arithmetic: Arithmetic, device: torch.device) -> Iterator[None]:
    """Exact float32, with attention in plain products, since fused kernels may round more; or
    bfloat16 where torch takes that for safe."""
    with ExitStack() as stack:
        if arithmetic == "float32":
            stack.enter_context(exact_float32())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        else:
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        yield


def _sent(images: Tensor, device: torch.device) -> Tensor:
    """Images on the device; from pinned memory, a graphics card copies while the caller goes on."""
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=True)


def _drift(exact: Tensor, fast: Tensor) -> float:
    centre = exact.mean(dim=0) if len(exact) > 1 else exact.mean()
    spread = (exact - centre).square().sum().sqrt()
    apart = (fast - exact).square().sum().sqrt()
    return float(apart / spread) if spread > 0 else float(apart > 0)


def channels_last(network: nn.Module, device: str | torch.device) -> Callable[[Tensor], Any]:
    """A network of convolutions for inference on a device, in the layout that is fastest there."""
    placed = network.eval().requires_grad_(False).to(device)
    placed = placed.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda images: placed(images.contiguous(memory_format=torch.channels_last))


def made_when_needed(
    make: Callable[[], Callable[[Tensor], Made]], *, at_once: bool
) -> Callable[[Tensor], Made]:
    """A network that is read and built for its first images: a finished run needs it no more.

    Args:
        make: Builds it.
        at_once: Build it now, for weights that may turn out to be another network's.
    """
    made = cache(make)
    if at_once:
        made()
    return lambda images: made()(images)


def features_only(network: Callable[[Tensor], Tensor]) -> Forward:
    """A forward without logits."""
    return lambda images: Extracted(network(images))
