"""Numbers as people read them: a value is rounded by its standard error, never further."""

from __future__ import annotations

import math
from collections.abc import Iterable

UNDEFINED = "–"
_DEEPEST = 6
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def with_error(value: float | None, stderr: float | None, scale: float = 1.0) -> str:
    """``value × scale ± stderr × scale``, the error to two significant digits.

    The value is cut at the error's last digit: ``with_error(12.3456, 0.234)`` is
    ``"12.35 ± 0.23"``. Without an error the value has four significant digits. An undefined
    value is a dash. An error of exactly zero (no image moved the value) is not shown, for it would
    claim certainty.
    """
    if value is None:
        return UNDEFINED
    value *= scale
    if not stderr:
        return significant(value)
    stderr = abs(stderr * scale)
    places = decimals(stderr)
    if places <= _DEEPEST:
        return f"{fixed(value, places)} ± {fixed(stderr, places)}"
    largest = max(abs(value), stderr)
    power = math.floor(math.log10(largest))
    if power > -_DEEPEST:
        return f"{fixed(value, _DEEPEST)} ± {_scientific(stderr, 1)}"
    unit = 10.0**power
    places = decimals(stderr / unit)
    mantissas = f"{fixed(value / unit, places)} ± {fixed(stderr / unit, places)}"
    return f"({mantissas}) × 10{superscript(power)}"


def interval(bounds: tuple[float, float] | None, stderr: float | None, scale: float = 1.0) -> str:
    """``[low, high]`` to the last digit that `with_error` shows; a dash where undefined."""
    if bounds is None:
        return UNDEFINED
    low, high = (bound * scale for bound in bounds)
    width = abs(stderr * scale) if stderr else abs(high - low) / 4
    if width == 0 or decimals(width) > _DEEPEST:
        return f"[{significant(low)}, {significant(high)}]"
    return f"[{fixed(low, decimals(width))}, {fixed(high, decimals(width))}]"


def decimals(error: float) -> int:
    """Decimal places that show a positive error with two significant digits (may be negative)."""
    return 1 - int(f"{error:.1e}".partition("e")[2])


def fixed(value: float, places: int) -> str:
    """A number with that many decimal places; negative places round to tens, hundreds ..."""
    text = f"{round(value, places):.{max(places, 0)}f}"
    negative = text.startswith("-") and text.strip("-0.") != ""
    return f"−{text[1:]}" if negative else text.lstrip("-")


def significant(value: float, digits: int = 4) -> str:
    """A number with that many significant digits."""
    if value == 0:
        return "0"
    places = digits - 1 - int(f"{value:.{digits - 1}e}".partition("e")[2])
    if places > _DEEPEST + digits or places < -_DEEPEST:
        return _scientific(value, digits - 1)
    return fixed(value, places)


def scale_label(scale: float) -> str:
    """What a table's heading says of a scale: ``"×10³"``; empty for 1."""
    if scale == 1:
        return ""
    power = math.log10(scale) if scale > 0 else 0.5
    if power == round(power):
        return f"×10{superscript(round(power))}"
    return f"×{scale:g}"


def superscript(number: int) -> str:
    """An integer in superscript digits."""
    return str(number).translate(_SUPERSCRIPT)


def count(number: int) -> str:
    """An integer with thousands separated: ``10,000``."""
    return f"{number:,}"


def extent(counts: Iterable[int]) -> str:
    """The range of some integers: ``"10,000"`` where all are alike, else ``"250–300"``."""
    ordered = sorted(counts)
    return "–".join(count(end) for end in dict.fromkeys((ordered[0], ordered[-1])))


def size(number: float | None) -> str:
    """Bytes in the unit that fits: ``"1.4 GiB"``."""
    if number is None:
        return UNDEFINED
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    power = min(int(math.log(number, 1024)), len(units) - 1) if number >= 1 else 0
    return f"{number / 1024**power:.{0 if power < 2 else 1}f} {units[power]}"


def duration(seconds: float) -> str:
    """Seconds as ``"0.42 s"``, ``"12.3 s"``, ``"4 min 05 s"`` or ``"2 h 10 min"``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _scientific(value: float, places: int) -> str:
    mantissa, _, power = f"{value:.{places}e}".partition("e")
    sign = "−" if mantissa.startswith("-") else ""
    return f"{sign}{mantissa.lstrip('-')} × 10{superscript(int(power))}"
