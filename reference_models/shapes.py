"""The procedural data set ``shapes``: one anti-aliased shape on a background, its factors exact.

Images are 32x32 RGB. The set has no end: image i depends on (seed, i) and on the distribution
that was asked for, and an image is a function of its factors and of nothing else. So a question
about what a generator learned (does it know every colour, did it keep a dependence between two
factors, does it obey its class) has a known answer here.

``sample`` gives images with their factors; ``draw`` and ``render`` are its two halves.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

SIDE = 32
VERSION = "1"
"""Raised whenever the same factors or indices give other images."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring", "crescent")
CLASSES = SHAPES
"""The class label of an image is its shape."""

SYMMETRY = (0, 4, 3, 5, 4, 1, 0, 1)
"""How often each shape of ``SHAPES`` meets itself in a full turn; 0 where it always does."""

PALETTE: Mapping[str, tuple[int, int, int]] = {
    "red": (219, 58, 52),
    "orange": (243, 134, 48),
    "yellow": (247, 197, 43),
    "green": (73, 163, 86),
    "teal": (22, 158, 160),
    "blue": (52, 112, 226),
    "purple": (150, 80, 196),
    "pink": (238, 112, 166),
}
COLOURS = tuple(PALETTE)
BACKGROUNDS = ("white", "charcoal", "sand", "sky", "stripes", "dots")

CATEGORICAL: Mapping[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": COLOURS,
    "background": BACKGROUNDS,
}
"""The categorical factors with the names of their values."""

Interval = tuple[float, float]
"""From, to."""

RANGES: Mapping[str, Interval] = {
    "size": (6.0, 13.0),
    "x": (7.0, 25.0),
    "y": (7.0, 25.0),
    "rotation": (0.0, 2 * math.pi),
    "lightness": (-1.0, 1.0),
}
"""The continuous factors and what they range over."""

FACTOR_NAMES = (*CATEGORICAL, *RANGES)

# Proportions of the shapes, in units of their size.
RING_WIDTH = 0.44
STAR_INNER = 0.5  # radius of the notches
CROSS_HALF_WIDTH = 0.32
CRESCENT_SHIFT, CRESCENT_CUT = 0.42, 0.78  # where the disc cut out of it stands, and its radius
HEART_SIDE = 1.5 * math.sqrt(2) - 1  # of the square in the heart, for a circle around of radius 1

_MARGIN = 1.0  # pixels between a shape and the border of the image
_SHADE = 0.16  # how far lightness 1 moves a colour towards white, and -1 towards black


@dataclass(frozen=True, eq=False)
class Factors:
    """What N images show; each tensor is [N].

    Attributes:
        shape, colour, background: int64, positions in ``SHAPES``, ``COLOURS``, ``BACKGROUNDS``.
        size: float32, radius in pixels of the circle around the shape.
        x, y: float32, the centre of that circle in pixels from the left and the upper border.
        rotation: float32, radians clockwise from upright, below a full turn divided by the
            shape's symmetry; 0 for circles and rings.
        lightness: float32, from -1 (the darkest tone of the colour) to 1 (the lightest).
    """

    shape: Tensor
    colour: Tensor
    background: Tensor
    size: Tensor
    x: Tensor
    y: Tensor
    rotation: Tensor
    lightness: Tensor

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, rows: slice | Tensor) -> "Factors":
        """Those of some of the images."""
        return Factors(**{one.name: getattr(self, one.name)[rows] for one in fields(self)})


@dataclass(frozen=True, eq=False)
class Joint:
    """A joint distribution of categorical factors.

    Args:
        factors: their names, one an axis of ``table``.
        table: the probability of each combination of values, floating-point.

    Raises:
        ValueError: an unknown factor, one named twice, a table of another shape, a negative
            probability, or probabilities that do not sum to 1.
    """

    factors: tuple[str, ...]
    table: Tensor

    def __post_init__(self) -> None:
        names = ", ".join(self.factors) or "no factor"
        for factor in self.factors:
            if factor not in CATEGORICAL:
                raise ValueError(
                    f"the joint of {names}: no categorical factor is called {factor!r}; "
                    f"known: {', '.join(CATEGORICAL)}"
                )
            if self.factors.count(factor) > 1:
                raise ValueError(f"the joint of {names} names {factor!r} twice; name it once")
        expected = [len(CATEGORICAL[factor]) for factor in self.factors]
        if not expected or list(self.table.shape) != expected:
            raise ValueError(
                f"the joint of {names}: its table has shape {list(self.table.shape)}; expected "
                f"{expected}, one axis a factor, at least one"
            )
        if not bool((self.table >= 0).all()):
            raise ValueError(
                f"the joint of {names}: its least probability is {self.table.min().item():g}; "
                "expected none below 0"
            )
        total = self.table.double().sum().item()
        if not abs(total - 1) <= 1e-5:
            raise ValueError(
                f"the joint of {names}: its probabilities sum to {total:.6g}; expected 1"
            )


@dataclass(frozen=True)
class Given:
    """Ranges of a continuous factor that depend on a categorical one.

    Args:
        factor: the categorical factor.
        intervals: one for each of its values, in their order.
    """

    factor: str
    intervals: tuple[Interval, ...]


Joints = Joint | Sequence[Joint] | None
Ranges = Mapping[str, Interval | Given] | None


def sample(
    seed: int, indices: Sequence[int] | Tensor, joint: Joints = None, ranges: Ranges = None
) -> tuple[Tensor, Factors]:
    """Images uint8 [N, 3, 32, 32] and their factors; arguments and errors as for ``draw``."""
    factors = draw(seed, indices, joint, ranges)
    return render(factors), factors


def draw(
    seed: int, indices: Sequence[int] | Tensor, joint: Joints = None, ranges: Ranges = None
) -> Factors:
    """The factors of the images at ``indices``.

    Every factor has random bits of its own, so a distribution of some factors leaves the draws
    of the others as they were.

    Args:
        seed: Of the whole set.
        indices: Which images, from 0.
        joint: The distribution of some categorical factors, or several of them over different
            factors. Factors in none are uniform and independent.
        ranges: Narrower ranges of continuous factors, which are uniform in theirs. Centres are
            uniform over the part of their range where the whole shape is inside the image.

    Raises:
        ValueError: a negative index, a factor in two distributions, or a range that is unknown,
            empty, beyond ``RANGES``, or without a place for the greatest shape.
    """
    tables = _disjoint(joint)
    intervals = _checked(ranges or {})
    uniforms = dict(zip(FACTOR_NAMES, _uniforms(seed, indices).T, strict=True))
    values: dict[str, np.ndarray] = {}
    for table in tables:
        values |= _combination(table, uniforms[table.factors[0]])

    def span(factor: str) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest value that each image may have."""
        found = intervals[factor]
        if isinstance(found, Given):
            low, high = np.array(found.intervals, dtype=np.float64)[values[found.factor]].T
            return low, high
        return np.asarray(found[0]), np.asarray(found[1])

    for factor in RANGES:  # the size before the centre, which depends on it
        low, high = span(factor)
        if factor in ("x", "y"):
            edge = values["size"] + _MARGIN
            low, high = np.maximum(low, edge), np.minimum(high, SIDE - edge)
        values[factor] = low + uniforms[factor] * (high - low)
    columns = {
        factor: torch.from_numpy(column.astype(np.int64 if factor in CATEGORICAL else np.float32))
        for factor, column in values.items()
    }
    columns["rotation"] = canonical_rotation(columns["shape"], columns["rotation"])
    return Factors(**columns)


def canonical_rotation(shape: Tensor, rotation: Tensor) -> Tensor:
    """``rotation`` less the turns after which ``shape`` looks the same, float32 [N]."""
    order = torch.tensor(SYMMETRY)[shape]
    period = 2 * math.pi / order.clamp_min(1).double()
    return (rotation.double() % period * (order > 0)).float()


def render(factors: Factors) -> Tensor:
    """The images of ``factors``, uint8 [N, 3, 32, 32].

    Each image is the same whatever else is rendered with it. Beyond sine and cosine, which are
    rounded, only exactly rounded operations are used, so that machines agree on every byte.
    """
    images = np.empty((len(factors), 3, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, len(factors), _CHUNK):
        rows = slice(start, start + _CHUNK)
        images[rows] = _rendered(factors[rows])
    return torch.from_numpy(images)


def coverage(factors: Factors) -> Tensor:
    """How much of each pixel the shape covers, float32 [N, 32, 32] in [0, 1]."""
    covered = np.empty((len(factors), SIDE, SIDE), dtype=np.float32)
    shapes = factors.shape.numpy()
    for code in np.unique(shapes):
        rows = np.flatnonzero(shapes == code)
        covered[rows] = _covered(SHAPES[code], factors[torch.from_numpy(rows)])
    return torch.from_numpy(covered)


def _disjoint(joint: Joints) -> list[Joint]:
    """Distributions that hold every categorical factor once."""
    given = [joint] if isinstance(joint, Joint) else list(joint or ())
    named = [factor for one in given for factor in one.factors]
    for factor in named:
        if named.count(factor) > 1:
            raise ValueError(f"{factor!r} is in more than one of the joint tables; expected one")
    uniform = [
        Joint((factor,), torch.full((len(names),), 1 / len(names)))
        for factor, names in CATEGORICAL.items()
        if factor not in named
    ]
    return given + uniform


def _combination(joint: Joint, uniforms: np.ndarray) -> dict[str, np.ndarray]:
    """One combination of the joint's factors for each uniform number: codes, each [N]."""
    cumulative = np.cumsum(joint.table.double().numpy().ravel())
    cells = np.searchsorted(cumulative / cumulative[-1], uniforms, side="right")
    codes = np.unravel_index(cells, tuple(joint.table.shape))
    return dict(zip(joint.factors, codes, strict=True))


def _checked(ranges: Mapping[str, Interval | Given]) -> dict[str, Interval | Given]:
    """All continuous factors' ranges: those given, and ``RANGES`` for the others."""
    for factor, found in ranges.items():
        if factor not in RANGES:
            raise ValueError(
                f"ranges: no continuous factor is called {factor!r}; known: {', '.join(RANGES)}"
            )
        if isinstance(found, Given):
            values = CATEGORICAL.get(found.factor)
            if values is None or len(found.intervals) != len(values):
                raise ValueError(
                    f"the range of {factor!r} has {len(found.intervals)} intervals given "
                    f"{found.factor!r}; expected one for each value of "
                    f"{' or '.join(CATEGORICAL)}"
                )
        least, greatest = RANGES[factor]
        for low, high in _intervals(found):
            if not least <= low <= high <= greatest:
                raise ValueError(
                    f"the range of {factor!r} is {low:g} to {high:g}; expected a part of "
                    f"{least:g} to {greatest:g}"
                )
    complete = {**RANGES, **ranges}
    edge = max(high for _, high in _intervals(complete["size"])) + _MARGIN
    for factor in ("x", "y"):
        for low, high in _intervals(complete[factor]):
            if low > SIDE - edge or high < edge:
                raise ValueError(
                    f"the range of {factor!r} is {low:g} to {high:g}, where a shape of size "
                    f"{edge - _MARGIN:g} is cut off; expected it to meet {edge:g} to "
                    f"{SIDE - edge:g}, or smaller shapes"
                )
    return complete


def _intervals(found: Interval | Given) -> tuple[Interval, ...]:
    return found.intervals if isinstance(found, Given) else (found,)


def _uniforms(seed: int, indices: Sequence[int] | Tensor) -> np.ndarray:
    """A number in [0, 1) for each image and factor, float64 [N, factors].

    The bits are those of the counter-based generator Philox4x64-10 (Salmon et al. 2011), keyed by
    the seed. Each index has counters of its own, so a run of consecutive ones is one call.
    """
    wanted = np.asarray(indices, dtype=np.int64)
    if wanted.size and wanted.min() < 0:
        raise ValueError(f"found the index {wanted.min()}; indices of images start at 0")
    words = np.empty((len(wanted), len(FACTOR_NAMES)), dtype=np.uint64)
    borders = np.flatnonzero(np.diff(wanted) != 1) + 1
    for start, stop in pairwise([0, *borders.tolist(), len(wanted)] if len(wanted) else []):
        philox = np.random.Philox(key=seed & _SEEDS, counter=_BLOCKS * int(wanted[start]))
        words[start:stop] = philox.random_raw((stop - start, len(FACTOR_NAMES)))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


_SEEDS = (1 << 64) - 1
_BLOCKS = 2  # of four words, which Philox makes for each value of its counter
_CHUNK = 64  # images rendered at a time: what the processor's cache holds
_FINE = 2  # samples a pixel, along either axis


def _rendered(factors: Factors) -> np.ndarray:
    """uint8 [n, 3, 32, 32]."""
    base = np.array(list(PALETTE.values()), dtype=np.float32)[factors.colour.numpy()]
    lightness = factors.lightness.numpy()[:, None]
    end = np.where(lightness > 0, np.float32(255), np.float32(0))
    colour = base + np.float32(_SHADE) * abs(lightness) * (end - base)
    behind = _backgrounds()[factors.background.numpy()]
    covered = coverage(factors).numpy()[:, None]
    levels = behind + covered * (colour[:, :, None, None] - behind)
    images: np.ndarray = np.floor(levels + np.float32(0.5)).astype(np.uint8)
    return images


def _covered(shape: str, factors: Factors) -> np.ndarray:
    """The coverage of images that all show ``shape``, float32 [n, 32, 32]."""
    size = factors.size.numpy()[:, None]
    angle = factors.rotation.double().numpy()[:, None]
    cos, sin = _rounded(np.cos(angle)), _rounded(np.sin(angle))
    places = (np.arange(SIDE * _FINE, dtype=np.float32) + np.float32(0.5)) / np.float32(_FINE)
    right = (places - factors.x.numpy()[:, None]) / size
    down = (places - factors.y.numpy()[:, None]) / size
    # The shape's own axes, in which it is upright and within the unit circle.
    u = (cos * right)[:, None, :] + (sin * down)[:, :, None]
    v = (cos * down)[:, :, None] - (sin * right)[:, None, :]
    outside = _DISTANCES[shape](u, v) * (size * np.float32(_FINE))[:, :, None]
    fine = np.clip(np.float32(0.5) - outside, 0, 1)
    rows = fine[:, 0::2] + fine[:, 1::2]
    covered: np.ndarray = (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(1 / _FINE**2)
    return covered


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """float32 on a grid coarser than what libraries disagree about."""
    return (np.round(numbers * 2.0**20) * 2.0**-20).astype(np.float32)


@lru_cache(maxsize=1)
def _backgrounds() -> np.ndarray:
    """float32 [backgrounds, 3, 32, 32] in levels of 0 to 255."""
    centres = np.arange(SIDE, dtype=np.float64) + 0.5
    x, y = np.meshgrid(centres, centres)
    stripe = abs((x + y) % 11.0 - 5.5) * math.sqrt(0.5) - 1.95
    row = np.floor(y / 5.0)
    dot = np.sqrt(((x + 5.0 * (row % 2)) % 10.0 - 4.5) ** 2 + (y % 5.0 - 2.5) ** 2) - 1.4
    pictures = {
        "white": _blended((250, 250, 248), (250, 250, 248), 0 * x),
        "charcoal": _blended((42, 46, 54), (42, 46, 54), 0 * x),
        "sand": _blended((236, 221, 190), (236, 221, 190), 0 * x),
        "sky": _blended((133, 190, 238), (235, 245, 252), y / SIDE),
        "stripes": _blended((56, 60, 84), (72, 78, 106), np.clip(0.5 - stripe, 0, 1)),
        "dots": _blended((232, 228, 240), (198, 190, 217), np.clip(0.5 - dot, 0, 1)),
    }
    return np.stack([pictures[name] for name in BACKGROUNDS]).astype(np.float32)


def _blended(
    first: tuple[int, int, int], second: tuple[int, int, int], share: np.ndarray
) -> np.ndarray:
    """Two colours, with so much of the second at each pixel [32, 32]: float64 [3, 32, 32]."""
    one, other = np.array([first, second], dtype=np.float64)[:, :, None, None]
    picture: np.ndarray = one + share * (other - one)
    return picture


# Signed distances, negative inside, to shapes within the unit circle; v points down.


def _circle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _length(u, v) - np.float32(1)


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return abs(_length(u, v) - np.float32(1 - RING_WIDTH / 2)) - np.float32(RING_WIDTH / 2)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _box(abs(u), abs(v), math.sqrt(0.5), math.sqrt(0.5))


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _pointed(abs(u), -v, points=3, inner=0.5, mirrors=(60,))


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _pointed(abs(u), -v, points=5, inner=STAR_INNER, mirrors=(108, 36))


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = abs(u), abs(v)
    # Of the two bars, the nearer one lies along the longer coordinate.
    reach = math.sqrt(1 - CROSS_HALF_WIDTH**2)
    return _box(np.maximum(u, v), np.minimum(u, v), reach, CROSS_HALF_WIDTH)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A square standing on a corner, with a half-disc on either upper side."""
    # From the lower corner along the square's right and left side, for the heart's right half.
    right = (np.float32(1) - v + abs(u)) * np.float32(math.sqrt(0.5))
    left = (np.float32(1) - v - abs(u)) * np.float32(math.sqrt(0.5))
    side, half = np.float32(HEART_SIDE), np.float32(HEART_SIDE / 2)
    square = _box(abs(right - half), abs(left - half), HEART_SIDE / 2, HEART_SIDE / 2)
    disc = _length(right - side, left - half) - half
    either: np.ndarray = np.minimum(square, disc)
    return either


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    cut = _length(u - np.float32(CRESCENT_SHIFT), v) - np.float32(CRESCENT_CUT)
    left: np.ndarray = np.maximum(_circle(u, v), -cut)
    return left


def _length(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.sqrt(u * u + v * v)
    return length


def _box(u: np.ndarray, v: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """The distance to a rectangle around the origin, for u and v at least 0."""
    beside, beyond = u - np.float32(half_width), v - np.float32(half_height)
    outside = _length(np.maximum(beside, 0), np.maximum(beyond, 0))
    return outside + np.minimum(np.maximum(beside, beyond), 0)


def _pointed(
    u: np.ndarray, up: np.ndarray, *, points: int, inner: float, mirrors: tuple[int, ...]
) -> np.ndarray:
    """The distance to a star with its first tip upwards, for u at least 0.

    Mirrored along lines so many degrees from upright, all the plane falls into half a point, of
    which one edge is left: from the tip at 1 to the notch at ``inner``.
    """
    for degrees in mirrors:
        angle = math.radians(degrees)
        cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        beyond = np.maximum(u * cos - up * sin, 0) * np.float32(2)
        u, up = u - beyond * cos, up + beyond * sin
    u = abs(u)
    notch = inner * math.sin(math.pi / points), inner * math.cos(math.pi / points)
    length = math.hypot(notch[0], notch[1] - 1)
    edge = np.float32(notch[0] / length), np.float32((notch[1] - 1) / length)
    from_tip = up - np.float32(1)
    along = np.clip(u * edge[0] + from_tip * edge[1], 0, np.float32(length))
    distance = _length(u - along * edge[0], from_tip - along * edge[1])
    signed: np.ndarray = np.copysign(distance, from_tip * edge[0] - u * edge[1])
    return signed


_DISTANCES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "ring": _ring,
    "crescent": _crescent,
}
