"""The difference of two estimates, with what they share taken out."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats
from torch import Tensor

from benchgen.errors import MetricError
from benchgen.stats.estimates import Estimate, Influence, first_order_variance


@dataclass(frozen=True)
class Difference:
    """A first value less a second one.

    Attributes:
        value: The difference, in units of the values; None where either is undefined.
        stderr: Its standard error; None where either side's is unknown.
        interval: Confidence interval (normal).
        p: Two-sided p-value of no difference (normal).
        paired: Whether the images were compared one by one.
        notes: Sentences that belong beside the value.
    """

    value: float | None
    stderr: float | None
    interval: tuple[float, float] | None
    p: float | None
    paired: bool
    notes: tuple[str, ...] = ()


def difference(
    a: Estimate, b: Estimate, *, paired: bool, shared_reference: bool, level: float = 0.95
) -> Difference:
    """Compare two estimates of one metric: ``a.value - b.value``.

    Where images are paired (same seeds, same order) the variance is that of the difference of
    their influences, image by image; likewise for reference images where both sides used the same.
    It is then scaled as the two estimates' own variances differ from those of their influences
    alone, which carries clusters and second-order terms over. No difference in any image gives
    exactly zero, with p = 1.

    Raises:
        MetricError: If ``level`` is out of range, or sides that are said to be paired or shared
            have different numbers of images.
    """
    if not 0 < level < 1:
        raise MetricError(f"level is {level}; use a number between 0 and 1, such as 0.95")
    if a.value is None or b.value is None:
        return Difference(None, None, None, None, paired, ("a value is undefined",))
    value = a.value - b.value
    if a.stderr is None or b.stderr is None:
        return Difference(value, None, None, None, paired, ("a standard error is unknown",))
    fakes = _combined(a.influence.fake, b.influence.fake, paired, "paired images")
    reals = _combined(a.influence.real, b.influence.real, shared_reference, "shared references")
    variance = sum(first_order_variance(Influence(x, None)) for x in (*fakes, *reals))
    separate = first_order_variance(a.influence) + first_order_variance(b.influence)
    own = a.stderr**2 + b.stderr**2
    variance = variance * own / separate if separate > 0 else own
    stderr = variance**0.5
    half = float(stats.norm.ppf((1 + level) / 2)) * stderr
    return Difference(value, stderr, (value - half, value + half), _p_value(value, stderr), paired)


def _combined(x: Tensor | None, y: Tensor | None, shared: bool, what: str) -> list[Tensor]:
    if x is None or y is None or not shared:
        return [side for side in (x, y) if side is not None]
    if len(x) != len(y):
        raise MetricError(
            f"{what} must be equally many on both sides, not {len(x)} and {len(y)}; "
            "score the same number, or compare them as independent"
        )
    return [x - y]


def _p_value(value: float, stderr: float) -> float:
    if value == 0:
        return 1.0
    if stderr == 0:
        return 0.0
    return float(2 * stats.norm.sf(abs(value) / stderr))
