"""Rows are found again by image, whichever source and place it has come to."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchgen.features.pool import Pool, identities
from benchgen.features.store import SHARD, Entry, Shard, Store
from benchgen.hashing import digest
from benchgen.images.source import ImageBatch

READER = {"network": "n"}


@dataclass(frozen=True)
class Words:
    """A source whose images are known one by one: each is a word."""

    words: Sequence[str]
    classes: tuple[str, ...] = ()
    name = "words"

    @property
    def size(self) -> int:
        return len(self.words)

    @property
    def fingerprint(self) -> str:
        return digest(list(self.words))

    def part(self, start: int, stop: int) -> str:
        return digest(list(self.words[start:stop]))

    def read(self, indices: Sequence[int], batch_size: int) -> Iterator[ImageBatch]:
        raise NotImplementedError


def words(count: int) -> list[str]:
    return [f"word {number}" for number in range(count)]


def rows(source: Words, start: int, stop: int) -> Shard:
    """What a reader makes of a range: the number in each word."""
    chosen = source.words[start:stop]
    values = torch.tensor([[float(word.split()[1])] for word in chosen])
    tensors = {"indices": torch.arange(start, stop), "features": values}
    return Shard(tensors, {"name": list(chosen)})


def store_all(store: Store, source: Words) -> Entry:
    """What a pass does: known rows are kept, the others made."""
    entry, pool = store.entry(source.fingerprint, READER), Pool(store, READER)
    for start, stop in entry.missing(source.size):
        images = identities(source, start, stop)
        assert images is not None
        entry.write(start, stop, rows(source, start, stop))
        pool.announce(entry.key, start, images)
    return entry


def known(store: Store, source: Words, start: int, stop: int) -> Shard | None:
    images = identities(source, start, stop)
    assert images is not None
    return Pool(store, READER).known(start, images)


def test_a_source_that_does_not_know_its_images_has_no_identities() -> None:
    class Plain(Words):
        part = None  # type: ignore[assignment]

    assert identities(Plain(["word 1"]), 0, 1) is None


def test_all_but_the_changed_image_are_known_wherever_they_stand(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store_all(store, Words(words(600)))
    changed = Words(["word 9999", *reversed(words(600)[1:])])
    found = known(store, changed, 0, 250)
    assert found is not None
    assert found.tensors["indices"].tolist() == list(range(1, 250))
    assert found.tensors["features"][:, 0].tolist() == list(range(599, 350, -1))
    assert found.columns["name"] == [f"word {number}" for number in range(599, 350, -1)]


def test_another_reader_or_other_classes_know_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    source = Words(words(10))
    store_all(store, source)
    images = identities(source, 0, 10)
    assert images is not None
    assert Pool(store, {"network": "other"}).known(0, images) is None
    assert known(store, Words(source.words, classes=("cat", "dog")), 0, 10) is None


def test_rows_of_a_damaged_or_vanished_shard_are_unknown(tmp_path: Path) -> None:
    store = Store(tmp_path)
    source = Words(words(2 * SHARD))
    entry = store_all(store, source)
    path = entry.path(0, SHARD)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    longer = Words([*source.words, "word 7777"])
    found = known(store, longer, 0, 2 * SHARD + 1)
    assert found is not None
    assert found.tensors["indices"].tolist() == list(range(SHARD, 2 * SHARD))
    assert not path.exists()
    assert entry.missing(2 * SHARD) == [(0, SHARD)]
    entry.path(SHARD, 2 * SHARD).unlink()
    assert known(store, longer, 0, 2 * SHARD + 1) is None
    store_all(store, source)
    assert known(store, longer, 0, 2 * SHARD) is not None


def test_excluded_images_are_not_known(tmp_path: Path) -> None:
    store = Store(tmp_path)
    source = Words(words(5))
    entry, pool = store.entry(source.fingerprint, READER), Pool(store, READER)
    whole = rows(source, 0, 5)
    entry.write(0, 5, whole.rows(torch.tensor([0, 1, 4])))
    images = identities(source, 0, 5)
    assert images is not None
    pool.announce(entry.key, 0, images)
    found = known(store, source, 0, 5)
    assert found is not None
    assert found.tensors["indices"].tolist() == [0, 1, 4]


def test_processes_that_write_the_same_and_different_entries(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_versions, args=(tmp_path, k)) for k in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = Store(tmp_path)
    for version in range(_VERSIONS + 1):
        source = _version(version)
        entry = store.entry(source.fingerprint, READER)
        assert entry.missing(source.size) == []
        assert entry.drop_damaged(source.size) == 0
        stored = torch.cat(list(entry.features(source.size).blocks()))[:, 0]
        assert stored.tolist() == [float(word.split()[1]) for word in source.words]
    assert not list(tmp_path.rglob(".*tmp"))


_VERSIONS = 6


def _version(number: int) -> Words:
    """Six hundred words, of which ``number`` are replaced."""
    return Words([f"word {1000 + i}" if i < number else f"word {i}" for i in range(600)])


def _write_versions(directory: Path, first: int) -> None:
    """Store versions in turn, each from what is known of the others; half are the other's too."""
    store = Store(directory)
    for version in range(first, _VERSIONS + first):
        source = _version(version)
        entry, pool = store.entry(source.fingerprint, READER), Pool(store, READER)
        for start, stop in entry.missing(source.size):
            images = identities(source, start, stop)
            assert images is not None
            have = pool.known(start, images)
            there = [] if have is None else have.tensors["indices"].tolist()
            lacking = torch.tensor([i - start for i in range(start, stop) if i not in there])
            fresh = rows(source, start, stop).rows(lacking.long())
            entry.write(start, stop, Shard.joined([fresh, *([] if have is None else [have])]))
            pool.announce(entry.key, start, images)
