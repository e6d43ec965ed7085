"""Members of tar files, plain or compressed, read where they lie."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from benchgen.errors import ImageError
from benchgen.images.archive import member_name, refuse_bomb
from benchgen.images.encoded import FetchError, checked_size, is_image
from benchgen.images.hashes import stamp_of

_SIDECARS = (".cls", ".txt", ".json")
_SIDECAR_BYTES = 2**20
# Long names and the like; tarfile would read whatever size is declared.
_HEADER_BYTES = 2**20

_Entries = Generator[tuple[tarfile.TarInfo, tarfile.TarFile], None, None]

_COMPRESSED: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)


@dataclass(frozen=True)
class Member:
    """An image in a tar file: its name, where its bytes lie, and why they cannot be had, if so."""

    name: str
    offset: int
    size: int
    problem: str | None


class Tar:
    """The images of one tar file, and the small text files beside them.

    A plain file is read at the offsets that its headers give. A compressed one has no index: its
    images are kept in memory where they are few, and read one after another otherwise.

    Args:
        path: The file; its compression is told by its first bytes.
        held_bytes: How many bytes of a compressed file's images may be kept in memory.

    Attributes:
        members: The images, in the order of the file. Of one name the last one counts.
        sidecars: Content of the ``.cls``, ``.txt`` and ``.json`` files by name; None where it is
            too long to be a label or a prompt.
        others: Names of the other members.
        rising: Whether ``fetch`` is cheap in rising order alone.

    Raises:
        ImageError: Missing, damaged or cut short; a member with an absolute name or ``..`` in it;
            a compressed file that unpacks to more than 1 GiB and 100 times its size.
    """

    def __init__(self, path: Path, held_bytes: int) -> None:
        self.path = path
        self.sidecars: dict[str, bytes | None] = {}
        self.others: list[str] = []
        self._held: dict[int, bytes] = {}
        self._held_bytes = held_bytes
        self._going: _Entries | None = None
        self._lock = threading.Lock()
        try:
            self.stamp = stamp_of(path)
            self._open_stream = _stream_of(path)
            found = self._scan()
        except ImageError:
            raise
        except Exception as error:  # damaged archives raise almost any type
            raise ImageError(
                f"{path} cannot be read as a tar file: {error}; it may be damaged or cut short: "
                "get it again, or pack it anew"
            ) from error
        self.members = sorted(found.values(), key=lambda member: member.offset)
        self.rising = self._open_stream is not None and not self._held

    def fetch(self, number: int) -> bytes:
        """The bytes of one of ``members``.

        Raises:
            FetchError, OSError: They cannot be had.
        """
        member = self.members[number]
        if member.problem is not None:
            raise FetchError(member.problem)
        checked_size(member.size)
        if self._open_stream is None:
            with open(self.path, "rb") as file:
                file.seek(member.offset)
                content = file.read(member.size)
        elif self._held:
            content = self._held[member.offset]
        else:
            content = self._streamed(member)
        if len(content) != member.size:
            raise FetchError(f"cut short: {len(content):,} of {member.size:,} bytes are there")
        return content

    def _scan(self) -> dict[str, Member]:
        found: dict[str, Member] = {}
        held = 0
        with closing(self._walk()) as entries:
            for entry, tar in entries:
                name = member_name(self.path, entry.name)
                if entry.isdir():
                    continue
                if is_image(name):
                    member = Member(name, entry.offset_data, entry.size, _problem(entry))
                    found[name] = member
                    held += entry.size
                    if self._open_stream and member.problem is None and held <= self._held_bytes:
                        self._held[member.offset] = _content(tar, entry)
                elif name.lower().endswith(_SIDECARS) and _problem(entry) is None:
                    small = entry.size <= _SIDECAR_BYTES
                    self.sidecars[name] = _content(tar, entry) if small else None
                else:
                    self.others.append(name)
        if held > self._held_bytes:
            self._held.clear()
        return found

    def _streamed(self, member: Member) -> bytes:
        """Go on in the stream to a member; from the start again where it has passed."""
        with self._lock:
            going, self._going = self._going, None
            try:
                for entries in (going, self._walk()):
                    for entry, tar in entries or ():
                        if entry.offset_data == member.offset:
                            self._going = entries
                            return _content(tar, entry)
                        if entry.offset_data > member.offset:
                            break
            except Exception as error:  # damaged archives raise almost any type
                raise FetchError(f"damaged in the archive: {error}") from error
        raise FetchError("no longer in the archive, which has changed")

    def _walk(self) -> _Entries:
        with self._opened() as tar:
            while (entry := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all it has seen
                yield entry, tar

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        if self._open_stream is None:
            with tarfile.open(self.path, "r:", tarinfo=_StrictInfo) as tar:
                yield tar
            return
        with self._open_stream(self.path, "rb") as stream:
            counted = cast("io.BufferedReader", _Counted(stream, self.path, self.stamp[0]))
            with tarfile.open(fileobj=counted, mode="r|", tarinfo=_StrictInfo) as tar:
                yield tar


class _StrictInfo(tarfile.TarInfo):
    """A header that is damaged is an error; tarfile takes most for the end of the file."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictInfo:
        info = super().frombuf(buf, encoding, errors)
        extended = info.type in (b"L", b"K", b"x", b"X", b"g")
        if info.size < 0 or (extended and info.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header declares {info.size:,} bytes")
        return info

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _StrictInfo:
        try:
            info = super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the mark that closes a tar file
                raise
            raise tarfile.ReadError(
                f"{error}, where a header or the closing mark belongs"
            ) from None
        if info.size < 0:
            raise tarfile.ReadError(f"a header declares {info.size:,} bytes")
        return info


class _Counted(io.RawIOBase):
    """What a compressed file unpacks to, up to the bound of a bomb."""

    def __init__(self, stream: Any, path: Path, packed: int) -> None:
        self._stream, self._path, self._packed = stream, path, packed
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._stream.read(size)
        self._count += len(content)
        refuse_bomb(self._path, self._count, self._packed)
        return content


def _stream_of(path: Path) -> Callable[..., Any] | None:
    with open(path, "rb") as file:
        start = file.read(6)
    return next((opener for mark, opener in _COMPRESSED if start.startswith(mark)), None)


def _problem(entry: tarfile.TarInfo) -> str | None:
    if entry.islnk() or entry.issym():
        return "a link; links in archives are not followed"
    if not entry.isreg() or entry.issparse():
        return "not a regular file"
    with suppress(FetchError):
        checked_size(entry.size)
        return None
    return f"{entry.size:,} bytes are more than an image has"


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    assert file is not None  # only of regular files
    with file:
        return file.read()
