"""Which column of a Parquet file is what: images, labels, texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchgen.errors import ImageError

_LABEL_COLUMNS = ("label", "labels", "class", "fine_label")


def image_column(path: Path, schema: Any, column: str | None) -> str:
    """The name of the image column: the one that is asked for, or the only one.

    Raises:
        ImageError: No such column, none, or several.
    """
    fitting = [field.name for field in schema if _holds_images(field.type)]
    if column is not None and column in fitting:
        return column
    if column is None and len(fitting) == 1:
        return str(fitting[0])
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if column is not None:
        raise ImageError(
            f"{path}: column {column!r} holds no images; expected binary or a struct with bytes; "
            f"found {there}"
        )
    if fitting:
        raise ImageError(
            f"{path} has several image columns, {', '.join(fitting)}; name one: column"
        )
    raise ImageError(
        f"{path} has no image column; expected binary or a struct with bytes; found {there}"
    )


def _holds_images(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def is_text(kind: Any) -> bool:
    """Whether values of this type are strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def light_columns(schema: Any, image: str) -> list[str]:
    """What is read at once: labels, texts and the images' paths; all but the images' bytes."""
    known = class_names(schema)
    label = label_column(schema, known)
    leaves = [field.name for field in schema if is_text(field.type) or field.name == label]
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
        leaves.append(f"{image}.path")
    return leaves


def label_column(schema: Any, known: dict[str, list[str]]) -> str | None:
    """The column that holds labels: by its name, or else because the classes' names are known."""
    fitting = {
        field.name for field in schema if pa.types.is_integer(field.type) or is_text(field.type)
    }
    named = [name for name in (*_LABEL_COLUMNS, *known) if name in fitting]
    return named[0] if named else None


def class_names(schema: Any) -> dict[str, list[str]]:
    """Names of classes by column, as Hugging Face's ``datasets`` writes them, where they are."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {
            name: [str(one) for one in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
