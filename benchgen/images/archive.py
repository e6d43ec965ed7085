"""The rules that archives of images share, and zip files.

Nothing is ever unpacked to disk, so no name in an archive can reach a file outside. Archives that
look as if they were made to do harm are refused all the same.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from posixpath import commonpath

from benchgen.errors import ImageError
from benchgen.images.encoded import EncodedSource, FetchError, checked_size, is_image
from benchgen.images.hashes import Stamp, stamp_of
from benchgen.images.labelling import Labelling, as_bytes, class_tree

# Encoded images hardly shrink in an archive; what grows this much is a bomb.
_BOMB_RATIO = 100
_BOMB_BYTES = 2**30

_DRIVE = re.compile(r"[A-Za-z]:")


def load_zip(
    path: str | Path,
    *,
    table: str | Path | None = None,
    background: str | Sequence[int] = "white",
) -> EncodedSource:
    """Open a zip file of images; it is read where it lies, image by image.

    Which members count, their order and their classes are as in a ``FolderSource``; a folder that
    all images share is no class. Of members of one name the last one counts, as in unpacking.
    Links, encrypted members and unknown compression are reported as unreadable images.

    Raises:
        ImageError: No zip file, damaged, or without images; a member with an absolute name or
            ``..`` in it; a bomb: members that declare more than 1 GiB and 100 times the file.
    """
    return EncodedSource(_ZipFiles(Path(path)), table=table, background=background)


class _ZipFiles:
    rising = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip, self._stamp = _opened(path)
        members = {
            name: info
            for info in self._zip.infolist()
            if (name := member_name(path, info.filename)) and not info.is_dir() and is_image(name)
        }
        if not members:
            raise no_images(path, self._zip.namelist())
        refuse_bomb(path, sum(info.file_size for info in members.values()), self._stamp[0])
        self.names: tuple[str, ...] = tuple(sorted(members, key=as_bytes))
        self._members = [members[name] for name in self.names]

    @property
    def name(self) -> str:
        return self._path.name

    @cached_property
    def place(self) -> str:
        return os.path.realpath(self._path)

    @cached_property
    def labelling(self) -> Labelling:
        return archived_classes(self.names)

    def fetch(self, index: int) -> bytes:
        info = self._members[index]
        if stat.S_ISLNK(info.external_attr >> 16):
            raise FetchError("a link; links in archives are not followed")
        if info.flag_bits & 1:
            raise FetchError("encrypted; unpack the archive with its password")
        checked_size(info.file_size)
        try:
            with self._zip.open(info) as member:
                return member.read()  # never more than the declared size
        except Exception as error:  # damaged archives raise almost any type
            raise FetchError(f"damaged in the archive: {error}") from error

    def stamp(self, index: int) -> Stamp | None:
        return self._stamp


def member_name(path: Path, name: str) -> str:
    """The name of a member, without ``./``.

    Raises:
        ImageError: It leads out of the archive.
    """
    parts = name.replace("\\", "/").split("/")
    if (parts[0] == "" and name) or ".." in parts or _DRIVE.match(name):
        raise ImageError(
            f"{path}: the member {name!r} leads out of the archive (an absolute name, or '..'); "
            "such archives are refused. Pack the images anew, with relative names."
        )
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def refuse_bomb(path: Path, unpacked: int, packed: int) -> None:
    """Refuse an archive that unpacks to absurdly much.

    Raises:
        ImageError: More than 1 GiB, and more than 100 times the archive.
    """
    if unpacked > max(_BOMB_BYTES, _BOMB_RATIO * packed):
        raise ImageError(
            f"{path} has {packed:,} bytes and unpacks to {unpacked:,} or more; an archive of "
            f"images unpacks to no more than {_BOMB_RATIO} times its size. If it is no bomb, "
            "unpack it to a folder."
        )


def archived_classes(names: Sequence[str]) -> Labelling:
    """The class tree below the folder that all members share."""
    folders = [name.rpartition("/")[0] for name in names]
    shared = commonpath(folders)
    return class_tree([name[len(shared) + 1 if shared else 0 :] for name in names])


def no_images(path: Path, members: Sequence[str]) -> ImageError:
    """The error about an archive that holds other things."""
    found = ", ".join(sorted(members)[:3]) + (", ..." if len(members) > 3 else "")
    return ImageError(f"{path} holds no images; it holds {found or 'nothing'}")


def _opened(path: Path) -> tuple[zipfile.ZipFile, Stamp]:
    try:
        stamp = stamp_of(path)  # first: should the file be replaced, its hashes must not last
        return zipfile.ZipFile(path), stamp
    except Exception as error:  # damaged archives raise almost any type
        raise ImageError(
            f"{path} cannot be read as a zip file: {error}; it may be cut short: get it again"
        ) from error
