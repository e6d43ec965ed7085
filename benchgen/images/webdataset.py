"""Tar files of images: single ones, and the shards of a WebDataset with labels and prompts."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from benchgen.errors import ImageError
from benchgen.images.archive import archived_classes, no_images
from benchgen.images.encoded import EncodedSource
from benchgen.images.hashes import Stamp
from benchgen.images.labelling import Labelling, numbered
from benchgen.images.table import as_text
from benchgen.images.tarred import Tar

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_HELD_BYTES = 2**28
_LABEL_KEYS = ("label", "cls", "class")
_PROMPT_KEYS = ("prompt", "caption", "text")


def load_tars(
    paths: Sequence[str | Path],
    *,
    column: str | None = None,
    table: str | Path | None = None,
    background: str | Sequence[int] = "white",
) -> EncodedSource:
    """Open one or several tar files of images; they are read where they lie.

    Files with a suffix of an image count, as in a ``FolderSource``; of members of one name the
    last one counts. Index order is that of the paths, and within a file that of its members.

    Text files that share the key of an image (its name up to the first dot) describe it, as in a
    WebDataset: ``.cls`` is its class, ``.txt`` its prompt, and ``.json`` an object with ``label``
    (or ``cls``, ``class``), ``prompt`` (or ``caption``, ``text``) and further columns. Without
    any, folders are classes; a folder that all images share is none.

    A compressed file has no index. Its images are kept in memory up to 256 MiB (of all paths
    together); beyond that, reading in another order than that of the file begins anew from its
    start for every 256 images.

    Args:
        paths: The files; their compression (gzip, bzip2, xz) is told by their content.
        column: Which image of a key to take where there are several: the rest of its name after
            the first dot (``jpg``, ``seg.png``).
        table: See ``EncodedSource``.
        background: See ``EncodedSource``.

    Raises:
        ImageError: A file that is missing, damaged, cut short, without images, or refused (a
            member that leads out of it, a bomb); several images of one key; labels that are
            missing or damaged.
    """
    return EncodedSource(
        _TarFiles([Path(path) for path in paths], column), table=table, background=background
    )


class _TarFiles:
    def __init__(self, paths: Sequence[Path], column: str | None) -> None:
        self._paths = paths
        self._tars = [Tar(path, _HELD_BYTES // len(paths)) for path in paths]
        self.rising = any(tar.rising for tar in self._tars)
        samples = [_Samples(tar, column) for tar in self._tars]
        self._chosen = [(at, number) for at, one in enumerate(samples) for number in one.chosen]
        members = [self._tars[at].members[number].name for at, number in self._chosen]
        several = len(paths) > 1
        self.names: tuple[str, ...] = tuple(
            f"{paths[at].name}/{member}" if several else member
            for (at, _), member in zip(self._chosen, members, strict=True)
        )
        if any(one.described for one in samples):
            self.labelling = _described([row for one in samples for row in one.rows], self.names)
        else:
            self.labelling = archived_classes(members)

    @property
    def name(self) -> str:
        if len(self._paths) == 1:
            return self._paths[0].name
        return f"{self._paths[0].name} and {len(self._paths) - 1} more"

    @cached_property
    def place(self) -> str:
        return "\n".join(os.path.realpath(path) for path in self._paths)

    def fetch(self, index: int) -> bytes:
        at, number = self._chosen[index]
        return self._tars[at].fetch(number)

    def stamp(self, index: int) -> Stamp | None:
        return self._tars[self._chosen[index][0]].stamp


class _Samples:
    """Which images of a tar file count, and what the text files beside them say."""

    def __init__(self, tar: Tar, column: str | None) -> None:
        if not tar.members:
            raise no_images(tar.path, [*tar.sidecars, *tar.others])
        self._tar = tar
        images = defaultdict(list)
        for number, member in enumerate(tar.members):
            images[_key(member.name)].append(number)
        beside = {name for name in tar.sidecars if _key(name) in images}
        self.described = bool(beside)
        self.chosen = list(range(len(tar.members)))
        if column is not None:
            self.chosen = [n for n in self.chosen if self._ending(n) == column.lstrip(".")]
        elif beside:
            self._refuse_several(images)
        if not self.chosen:
            endings = sorted({self._ending(number) for number in range(len(tar.members))})
            raise ImageError(
                f"{tar.path}: no image is called .{column}; column may be {', '.join(endings)}"
            )
        texts: dict[str, dict[str, str]] = defaultdict(dict)
        for name in beside:
            texts[_key(name)][_ending(name)] = self._text(name)
        self.rows = [
            _row(f"{tar.path}: {key}", texts.get(key, {}))
            for key in (_key(tar.members[number].name) for number in self.chosen)
        ]

    def _ending(self, number: int) -> str:
        return _ending(self._tar.members[number].name)

    def _refuse_several(self, images: Mapping[str, list[int]]) -> None:
        for key, numbers in images.items():
            if len(numbers) > 1:
                endings = ", ".join(self._ending(number) for number in numbers)
                raise ImageError(
                    f"{self._tar.path}: {key} has {len(numbers)} images ({endings}); say which "
                    "one counts by column"
                )

    def _text(self, name: str) -> str:
        content = self._tar.sidecars[name]
        if content is None:
            raise ImageError(f"{self._tar.path}: {name} is too long for a label or a prompt")
        try:
            return content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise ImageError(f"{self._tar.path}: {name} is not text in UTF-8: {error}") from None


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _row(where: str, texts: Mapping[str, str]) -> dict[str, str | None]:
    """Label, prompt and further columns of one sample."""
    row: dict[str, str | None] = {}
    if "json" in texts:
        row |= _json_row(where, texts["json"])
    if "cls" in texts:
        row["label"] = texts["cls"] or None
    if "txt" in texts:
        row["prompt"] = texts["txt"] or None
    return row


def _json_row(where: str, text: str) -> dict[str, str | None]:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{where}.json is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ImageError(f"{where}.json: expected an object with label or prompt in it")
    plain = {
        name: as_text(value) for name, value in found.items() if not isinstance(value, list | dict)
    }
    row: dict[str, str | None] = {}
    for column, keys in (("label", _LABEL_KEYS), ("prompt", _PROMPT_KEYS)):
        given = [value for key in keys if (value := plain.pop(key, None)) is not None]
        if given:
            row[column] = given[0]
    return plain | row


def _described(rows: Sequence[Mapping[str, str | None]], names: Sequence[str]) -> Labelling:
    columns = sorted({name for row in rows for name in row} - {"label"})
    labels = [row.get("label") for row in rows]
    given = [label for label in labels if label is not None]
    if given and len(given) < len(labels):
        lacking = [name for name, label in zip(names, labels, strict=True) if label is None]
        raise ImageError(
            f"{len(lacking)} of {len(labels)} images have no label, {', '.join(lacking[:3])} for "
            "example; add their .cls files, or give labels by a table"
        )
    classes, numbers = numbered(given) if given else ((), None)
    return Labelling(
        classes, numbers, {name: tuple(row.get(name) for row in rows) for name in columns}
    )
