"""One opener for all that can hold images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchgen.errors import SuiteError, UsageError
from benchgen.images.archive import load_zip
from benchgen.images.array import load_array
from benchgen.images.folder import FolderSource, holds_images
from benchgen.images.source import Source
from benchgen.images.webdataset import TAR_SUFFIXES, load_tars

KNOWN_SUFFIXES = (".zip", *TAR_SUFFIXES, ".npy", ".npz", ".parquet")
"""Files that the opener knows, beside folders."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 100_000


def open_images_at(
    text: str,
    *,
    table: str | Path | None = None,
    background: str | Sequence[int] = "white",
    column: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    trust_code: bool = False,
    where: str,
) -> Source:
    """Open whatever a text names.

    - A folder of images, of ``.tar`` shards, or of ``.parquet`` files of one split.
    - A file with one of ``KNOWN_SUFFIXES``.
    - A pattern for several tar or Parquet files: ``name-{000..012}.tar``, ``data/train-*.parquet``.
    - ``module:callable``, which is imported and called, where code is trusted.

    Args:
        text: The path or name; ``~`` is the home folder.
        table: Labels, prompts and groups by file; see ``benchgen.images.table``.
        background: What transparent images are composited on; see ``decode.parse_background``.
        column: The image column of a Parquet file, or which image of a WebDataset's sample.
        parameters: Keyword arguments of the callable.
        trust_code: Whether the user has said that code may run. No file can say so.
        where: What asks for it, for messages: a field of a suite, a flag.

    Raises:
        SuiteError: There is nothing, or nothing that is known.
        UsageError: Code would run without trust, or an argument does not apply.
        ImageError: It is there, but cannot be used.
    """
    path = Path(text).expanduser()
    if is_callable_name(text) and not path.exists():
        _refuse(where, text, table=table, column=column)
        return _open_callable(text, parameters or {}, background, trust_code, where)
    if parameters:
        raise SuiteError(f"{where}.params: {text} is a path and takes none")
    if path.is_dir():
        return _open_folder(path, table, background, column, where)
    paths = [path] if path.exists() else _matching(path, where)
    suffix = _suffix(paths[0], where)
    if any(_suffix(one, where) != suffix for one in paths):
        raise SuiteError(f"{where}: {text} names files of several kinds; name those of one kind")
    if suffix == ".parquet":
        from benchgen.images.parquet import load_parquet

        return load_parquet(paths, column=column, table=table, background=background)
    if suffix in TAR_SUFFIXES:
        return load_tars(paths, column=column, table=table, background=background)
    if len(paths) > 1:
        raise SuiteError(f"{where}: {text} names {len(paths)} files; expected one {suffix} file")
    _refuse(where, text, column=column)
    if suffix == ".zip":
        return load_zip(path, table=table, background=background)
    return load_array(path, table=table)


def is_callable_name(text: str) -> bool:
    """Whether a text has the form ``module:callable``: two dotted names around a colon."""
    module, colon, name = text.partition(":")
    parts = [*module.split("."), *name.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def _open_callable(
    text: str,
    parameters: Mapping[str, Any],
    background: str | Sequence[int],
    trust_code: bool,
    where: str,
) -> Source:
    if not trust_code:
        raise UsageError(
            f"{where}: {text} is Python code, which runs when it is opened; if you trust it, say "
            "--trust-code on the command line (a suite file cannot)"
        )
    from benchgen.images.python import load_callable

    return load_callable(text, parameters, background=background)


def _open_folder(
    path: Path,
    table: str | Path | None,
    background: str | Sequence[int],
    column: str | None,
    where: str,
) -> Source:
    if not holds_images(path):
        if tars := sorted(path.glob("*.tar")):
            return load_tars(tars, column=column, table=table, background=background)
        if parquets := sorted(path.rglob("*.parquet")):
            from benchgen.images.parquet import load_parquet

            _refuse_splits(path, parquets, where)
            return load_parquet(parquets, column=column, table=table, background=background)
    _refuse(where, str(path), column=column)
    return FolderSource(path, table=table, background=background)


def _refuse(where: str, text: str, **given: Any) -> None:
    """Refuse arguments that a source of this kind would have to ignore."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{where}.{name}: {text} takes none; leave it out")


def _refuse_splits(path: Path, parquets: Sequence[Path], where: str) -> None:
    """Hugging Face names files ``train-00000-of-00012``; test images must not join in."""
    splits = sorted({re.sub(r"-\d+-of-\d+.*", "", one.stem) for one in parquets})
    if len(splits) > 1:
        raise SuiteError(
            f"{where}: {path} holds Parquet files of several splits, {', '.join(splits)}; name "
            f"those that you mean, {parquets[0].parent}/{splits[0]}-*.parquet for example"
        )


def _matching(path: Path, where: str) -> list[Path]:
    """The files that a pattern names, in order."""
    text = str(path)
    if braces := _RANGE.search(text):
        return _counted(text, braces, where)
    found = []
    if "*" in path.name:
        found = sorted(path.parent.glob(path.name))
    if not found:
        raise SuiteError(
            f"{where}: there is nothing at {path}; expected a folder of images, a file with "
            f"{', '.join(KNOWN_SUFFIXES)}, or module:callable"
        )
    return found


def _counted(text: str, braces: re.Match[str], where: str) -> list[Path]:
    first, last = braces.groups()
    if not 0 <= int(last) - int(first) < _MOST_SHARDS:
        raise SuiteError(
            f"{where}: {braces[0]} names no files, or more than {_MOST_SHARDS:,}; expected a range "
            "such as {000..012}"
        )
    before, after = text[: braces.start()], text[braces.end() :]
    return [
        Path(f"{before}{number:0{len(first)}d}{after}")
        for number in range(int(first), int(last) + 1)
    ]


def _suffix(path: Path, where: str) -> str:
    name = path.name.lower()
    fitting = [suffix for suffix in KNOWN_SUFFIXES if name.endswith(suffix)]
    if not fitting:
        raise SuiteError(
            f"{where}: {path} has the suffix {path.suffix!r}; expected a folder of images, or a "
            f"file with {', '.join(KNOWN_SUFFIXES)}"
        )
    return max(fitting, key=len)
