"""The folder of a training under way: whose it is, its checkpoints, and its epochs so far."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from benchgen.errors import StoreError, UsageError
from benchgen.files import write_atomically
from benchgen.runs.fingerprint import differing_fields
from benchgen.training.job import Epoch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Workspace:
    """``OUT.training/`` while it is locked for this process."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """The trainer's own folder."""
        return self.folder / "checkpoints"

    def epochs(self) -> dict[int, dict[str, Any]]:
        """What was told of each epoch, by number; one that a kill cut short is not there."""
        found: dict[int, dict[str, Any]] = {}
        with suppress(FileNotFoundError):
            for line in self._log.read_text("utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    told = json.loads(line)
                    found[int(told["number"])] = told
        return found

    def add(self, epoch: Epoch) -> None:
        """Keep what was told of an epoch."""
        told = asdict(epoch) | {"losses": dict(epoch.losses)}
        try:
            with self._log.open("a", encoding="utf-8") as file:
                # A line that a kill cut short must not swallow this one.
                file.write("\n" + json.dumps(told) + "\n")
        except OSError as error:
            raise StoreError(f"cannot write {self._log}: {error.strerror}; make room") from error

    def remove(self) -> None:
        """Forget it all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _log(self) -> Path:
        return self.folder / "epochs.jsonl"


def folder_of(out: Path) -> Path:
    """Where a training towards ``out`` keeps what it needs to go on."""
    return out.with_name(f"{out.name}.training")


@contextmanager
def claimed(out: Path, job: Mapping[str, Any]) -> Iterator[Workspace]:
    """The workspace of a job, new or as it was left; removed again if no epoch comes of it.

    Args:
        out: The weights to be.
        job: All that decides them, as JSON has it.

    Raises:
        UsageError: It is another job's, or another process trains there now.
        StoreError: It cannot be written.
    """
    workspace = Workspace(folder_of(out))
    with _locked(workspace.folder):
        path = workspace.folder / "job.json"
        if path.is_file():
            require_same_job(_read(path), job, f"{workspace.folder} holds another training")
        else:
            _require_own(workspace.folder)
            write_atomically(path, json.dumps(job, indent=1) + "\n")
        workspace.checkpoints.mkdir(exist_ok=True)
        try:
            yield workspace
        finally:
            if workspace.folder.is_dir() and not _has_begun(workspace):
                workspace.remove()


def require_same_job(before: Mapping[str, Any], now: Mapping[str, Any], found: str) -> None:
    """Refuse to go on with, or to overwrite, what another command made.

    Raises:
        UsageError: Naming every field that differs.
    """
    differing = differing_fields(before, now)
    if differing:
        listed = "; ".join(f"{key} is {x!r} there, {y!r} here" for key, (x, y) in differing.items())
        raise UsageError(
            f"{found}: {listed}. Say the command that began it, remove it, or name another --out"
        )


def _require_own(folder: Path) -> None:
    """Refuse a folder with anything in it that no training left: it would be removed in the end."""
    strange = [path for path in folder.iterdir() if not re.match(r"lock$|\.job\.json\.", path.name)]
    if strange:
        raise UsageError(
            f"{strange[0]} is there already, and no training left it; name another --out"
        )


def _has_begun(workspace: Workspace) -> bool:
    return bool(workspace.epochs()) or any(workspace.checkpoints.glob("*"))


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
        return dict(found)
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(
            f"{path} cannot be read: {error}; remove {path.parent} to begin anew"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; a kill sets it free."""
    with _claim(folder) as file:
        if fcntl is None:
            file.close()  # Windows removes no open file
        yield


def _claim(folder: Path) -> IO[bytes]:
    path = folder / "lock"
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}") from error
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise UsageError(
                    f"another process is training in {folder}; wait for it, or name another --out"
                ) from None
            except OSError:  # a file system without locks
                return file
        # Who held the lock may have finished, and removed the folder with it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
