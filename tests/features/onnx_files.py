"""Small ONNX files, written field by field, so that tests need no package to make them."""

from __future__ import annotations

from collections.abc import Sequence

Dims = Sequence[int | str]

FLOAT, UINT8 = 1, 2


def mean_colour(
    dims: Dims = ("n", 3, "h", "w"), element: int = FLOAT, outputs: Sequence[str] = ("rows",)
) -> bytes:
    """A network whose outputs are the mean of each channel: ``[B, 3]``, or maps ``[B, 3, 1, 1]``.

    Of the outputs, ``"maps"`` is before flattening and any other name after it.
    """
    nodes = [_node("GlobalAveragePool", ["images"], ["maps"])]
    nodes += [_node("Flatten", ["maps"], [name]) for name in outputs if name != "maps"]
    shapes: dict[str, Dims] = {name: (dims[0], 3) for name in outputs}
    if "maps" in shapes:
        shapes["maps"] = (dims[0], 3, 1, 1)
    graph = b"".join(_bytes(1, node) for node in nodes)
    graph += _text(2, "mean colour") + _bytes(11, _value("images", element, dims))
    graph += b"".join(_bytes(12, _value(name, FLOAT, shape)) for name, shape in shapes.items())
    return _number(1, 8) + _bytes(8, _text(1, "") + _number(2, 13)) + _bytes(7, graph)


def _node(kind: str, given: Sequence[str], made: Sequence[str]) -> bytes:
    names = b"".join(_text(1, name) for name in given) + b"".join(_text(2, name) for name in made)
    return names + _text(4, kind)


def _value(name: str, element: int, dims: Dims) -> bytes:
    shape = b"".join(
        _bytes(1, _number(1, dim) if isinstance(dim, int) else _text(2, dim)) for dim in dims
    )
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, element) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
