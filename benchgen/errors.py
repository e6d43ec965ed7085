"""Every exception of benchgen, on one page.

    BenchgenError               exit 3: the run failed or is incomplete
    ├── UsageError              exit 2: the command or suite asks for something impossible
    │   ├── SuiteError          a suite file or flag (names file, line and field)
    │   ├── UnknownIdError      no such generator, reference, extractor, measure or metric
    │   └── MetricError         a metric cannot be computed from what it was given
    ├── PluginError             a plugin that the run asks for is broken, blocked or incompatible
    │   └── GeneratorError      a generator raised or broke its contract (names the first bad index)
    ├── ImageError              a source of images is missing, empty, too small or unreadable
    ├── WeightsError            weights are missing, have another checksum, or cannot be fetched
    ├── StoreError              features or results cannot be written or read back
    └── NotComparableError      exit 4: two scores differ in what makes them comparable

A message says what was found, what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "BenchgenError",
    "GeneratorError",
    "ImageError",
    "MetricError",
    "NotComparableError",
    "PluginError",
    "StoreError",
    "SuiteError",
    "UnknownIdError",
    "UsageError",
    "WeightsError",
]


class BenchgenError(Exception):
    """Base of every error that benchgen raises on purpose."""

    exit_code = 3


class UsageError(BenchgenError):
    """The command, suite or call asks for something that cannot be done."""

    exit_code = 2


class SuiteError(UsageError):
    """A suite file or flag is wrong; the message names the file, the line and the field."""


class UnknownIdError(UsageError):
    """No spec of that kind has that id; the message offers the nearest ones."""

    def __init__(self, kind: str, wanted: str, known: Iterable[str], more: str = "") -> None:
        known = sorted(known)
        near = _nearest(wanted, known)
        hint = f"did you mean {' or '.join(near)}?" if near else "known: "
        if not near:
            hint += ", ".join(known) if known else "none"
        super().__init__(
            f"no {kind} is called {wanted!r}; {hint} (`benchgen ls {kind}s` lists all)"
            + (f". Not active: {more}" if more else "")
        )


def _nearest(wanted: str, known: list[str]) -> list[str]:
    """Ids like the one wanted; where there is none, those with a part like it."""
    bare = [name.rpartition("/")[2] for name in known]
    near = difflib.get_close_matches(wanted, [*known, *bare], n=3, cutoff=0.5)
    if near:
        return list(dict.fromkeys(near))
    parts = sorted({part for name in bare for part in name.split("-")})
    close = difflib.get_close_matches(wanted, parts, n=1)
    return [name for name in bare if set(close) & set(name.split("-"))]


class MetricError(UsageError):
    """A metric cannot be computed: too few images, unusable features or a bad parameter."""


class PluginError(BenchgenError):
    """A plugin that the run asks for is broken, blocked, incompatible or shadowed."""


class GeneratorError(PluginError):
    """A generator raised, or what it returned breaks the contract."""


@contextmanager
def blamed(who: str, doing: str = "", kind: type[PluginError] = PluginError) -> Iterator[None]:
    """Turn what a plugin raises into an error that names it; benchgen's own errors pass."""
    try:
        yield
    except BenchgenError:
        raise
    except Exception as error:
        what = " ".join(filter(None, (who, "raised", type(error).__name__, doing)))
        raise kind(
            f"{what}: {error}. It is at fault, or its parameters are; what was finished is kept, "
            "and the same command goes on from there."
        ) from error


class ImageError(BenchgenError):
    """A source of images is missing, empty, too small, or holds unreadable images."""


class WeightsError(BenchgenError):
    """A weights file is missing, has another checksum, or cannot be fetched."""


class StoreError(BenchgenError):
    """Features or results cannot be written (a full disk, say) or read back."""


class NotComparableError(BenchgenError):
    """Two scores differ in a field of their fingerprints that decides comparability."""

    exit_code = 4
