"""The store: shards are found again, damage is noticed, writers do not hurt one another."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch

from benchgen.errors import StoreError
from benchgen.features.store import SHARD, Entry, Shard, Store
from benchgen.images.source import Excluded


def shard(start: int, stop: int) -> Shard:
    indices = torch.arange(start, stop)
    return Shard(
        {"indices": indices, "features": indices.float()[:, None] * torch.ones(3)},
        {"name": [f"image {i}" for i in indices.tolist()]},
    )


def fill(entry: Entry, n: int) -> None:
    for start, stop in entry.missing(n):
        entry.write(start, stop, shard(start, stop))


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return Store(tmp_path).entry("source", {"network": "n"})


def test_missing_is_cut_into_shards(entry: Entry) -> None:
    assert entry.missing(600) == [(0, 250), (250, 500), (500, 600)]
    fill(entry, 600)
    assert entry.missing(600) == []
    assert entry.missing(400) == []
    assert entry.missing(1000) == [(600, 750), (750, 1000)]


def test_rows_come_back_in_order_for_any_n(entry: Entry) -> None:
    fill(entry, 600)
    fill(entry, 900)
    for n in (1, SHARD, 600, 601, 900):
        rows = torch.cat(list(entry.features(n).blocks()))
        assert torch.equal(rows[:, 0], torch.arange(n).float())
        assert (entry.features(n).n, entry.features(n).d) == (n, 3)


def test_overlapping_shards_count_once(entry: Entry) -> None:
    entry.write(0, 100, shard(0, 100))
    entry.write(0, 250, shard(0, 250))
    rows = torch.cat(list(entry.features(200).blocks()))
    assert torch.equal(rows[:, 0], torch.arange(200).float())


def test_excluded_and_columns_survive(entry: Entry) -> None:
    whole = shard(0, 3)
    excluded = (Excluded(3, "bad.png", "truncated"),)
    entry.write(0, 4, Shard(whole.tensors, whole.columns, excluded))
    found = next(entry.shards(4))
    assert found.columns["name"] == ["image 0", "image 1", "image 2"]
    assert found.excluded == excluded
    assert next(entry.shards(3)).excluded == ()


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_shard_is_noticed_and_rebuilt(entry: Entry, damage: str) -> None:
    fill(entry, 500)
    path = next(p for p in entry.directory.iterdir() if p.name.startswith("000000250"))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
    path.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-9]), "empty": b""}[damage])
    with pytest.raises(StoreError, match="was damaged and has been removed"):
        list(entry.features(500).blocks())
    assert entry.missing(500) == [(250, 500)]
    fill(entry, 500)
    assert entry.drop_damaged(500) == 0


def test_fewer_images_than_asked_for_is_an_error_never_a_shorter_set(entry: Entry) -> None:
    fill(entry, 750)
    entry.path(250, 500).unlink()
    with pytest.raises(StoreError, match=r"lacks the images from 250 on \(of 750\); run again"):
        list(entry.features(750).blocks())
    with pytest.raises(StoreError, match=r"lacks the images from 250 on \(of 400\)"):
        list(entry.features(400).blocks())
    assert entry.features(250).n == 250


def test_a_shard_that_another_process_has_just_mended_is_not_removed(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(entry, 250)
    path = entry.path(0, 250)
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])

    def mended(damaged: Path, **_: object) -> object:
        """Another process replaces the file while this one reads the old one."""
        path.with_suffix(".new").write_bytes(sound)
        path.with_suffix(".new").replace(path)
        raise OSError("the old file is cut short")

    with monkeypatch.context() as patch:
        patch.setattr("benchgen.features.store.safe_open", mended)
        with pytest.raises(StoreError):
            entry.read(0, 250)
    assert entry.features(250).n == 250


def test_joined_rows_are_in_order_and_leave_out_what_is_excluded() -> None:
    gone = Excluded(4, "4.png", "truncated")
    joined = Shard.joined([shard(3, 6), shard(0, 3)], [gone])
    assert joined.tensors["indices"].tolist() == [0, 1, 2, 3, 5]
    assert joined.columns["name"][-1] == "image 5"
    assert joined.excluded == (gone,)


def test_other_fields_are_another_entry(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = {
        store.entry("a", {"x": 1}).key,
        store.entry("b", {"x": 1}).key,
        store.entry("a", {"x": 2}).key,
    }
    assert len(keys) == 3


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_all, args=(tmp_path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    entry = Store(tmp_path).entry("source", {"network": "n"})
    assert entry.missing(1000) == []
    assert entry.drop_damaged(1000) == 0
    assert not list(entry.directory.glob(".*tmp"))


def _write_all(directory: Path) -> None:
    entry = Store(directory).entry("source", {"network": "n"})
    for start in range(0, 1000, SHARD):
        entry.write(start, start + SHARD, shard(start, start + SHARD))


def test_a_full_disk_is_a_clear_error_and_leaves_no_part(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left on device; make room"):
        entry.write(0, 250, shard(0, 250))
    assert entry.missing(250) == [(0, 250)]
    assert not list(entry.directory.glob(".*tmp"))
