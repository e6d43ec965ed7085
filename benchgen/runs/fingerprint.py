"""What makes two scores comparable, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchgen.errors import NotComparableError


def flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by dotted name, for messages: ``{"extractor.resize": "tf1"}``."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def differing_fields(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which two fingerprints differ, with both values."""
    if a == b:
        return {}
    one, two = flatten(a), flatten(b)
    return {
        key: (one.get(key), two.get(key))
        for key in sorted(one.keys() | two.keys())
        if one.get(key) != two.get(key)
    }


def require_comparable(a: Mapping[str, Any], b: Mapping[str, Any], what: str) -> None:
    """Refuse two fingerprints that differ.

    Raises:
        NotComparableError: Naming every field that differs and both its values.
    """
    differing = differing_fields(a, b)
    if differing:
        listed = "; ".join(f"{key} is {x!r} and {y!r}" for key, (x, y) in differing.items())
        raise NotComparableError(
            f"{what} cannot be compared: {listed}. Score both under the same settings."
        )
