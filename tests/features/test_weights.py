import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from benchgen.errors import UsageError, WeightsError
from benchgen.features.weights import Published, find_weights, load_state, locate, state_digest

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("BENCHGEN_OFFLINE", "1")


def write(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def find(tmp_path: Path, explicit: Path | None = None) -> Path:
    return find_weights("w.pth", SHA256, (tmp_path / "remote.pth").as_uri(), explicit)


def test_an_explicit_path_comes_first(tmp_path: Path) -> None:
    write(tmp_path / "cache/weights/w.pth")
    mine = write(tmp_path / "mine.pth")
    assert find(tmp_path, mine) == mine


def test_an_explicit_path_must_exist_and_match(tmp_path: Path) -> None:
    write(tmp_path / "cache/weights/w.pth")
    with pytest.raises(WeightsError, match=r"absent\.pth is no file"):
        find(tmp_path, tmp_path / "absent.pth")
    other = write(tmp_path / "other.pth", b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(WeightsError, match=f"has sha256 {found}; expected {SHA256}"):
        find(tmp_path, other)


def test_the_own_cache_comes_before_that_of_torch_hub(tmp_path: Path) -> None:
    hub = write(tmp_path / "torch/hub/checkpoints/w.pth")
    assert find(tmp_path) == hub
    write(tmp_path / "cache/weights/w.pth", b"damaged")
    assert find(tmp_path) == hub
    own = write(tmp_path / "cache/weights/w.pth")
    assert find(tmp_path) == own


def test_offline_says_what_to_put_where(tmp_path: Path) -> None:
    write(tmp_path / "torch/hub/checkpoints/w.pth", b"other")
    write(tmp_path / "remote.pth")
    with pytest.raises(WeightsError) as caught:
        find(tmp_path)
    message = str(caught.value)
    assert "BENCHGEN_OFFLINE is set" in message
    assert hashlib.sha256(b"other").hexdigest() in message
    assert f"sha256 {SHA256}) and put it at {tmp_path / 'cache/weights/w.pth'}" in message
    assert (tmp_path / "remote.pth").as_uri() in message


def test_it_is_downloaded_into_the_own_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCHGEN_OFFLINE")
    write(tmp_path / "remote.pth")
    write(tmp_path / "cache/weights/w.pth", b"damaged")
    target = find(tmp_path)
    assert target == tmp_path / "cache/weights/w.pth"
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("remote", [None, b"something else"])
def test_a_failed_download_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: bytes | None
) -> None:
    monkeypatch.delenv("BENCHGEN_OFFLINE")
    if remote is not None:
        write(tmp_path / "remote.pth", remote)
    with pytest.raises(WeightsError, match=r"could not be fetched|gave 14 bytes with sha256"):
        find(tmp_path)
    assert list((tmp_path / "cache/weights").iterdir()) == []


def save_torch(state: Any, path: Path) -> None:
    torch.save(state, path)


def save_legacy(state: Any, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("save", "suffix"),
    [(save_torch, "pth"), (save_legacy, "pth"), (safetensors.torch.save_file, "safetensors")],
)
def test_a_state_is_read(tmp_path: Path, save: Callable[[Any, Path], None], suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    save({"a.weight": torch.arange(6.0).view(2, 3)}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    state = load_state(path, sha256.upper())
    assert list(state) == ["a.weight"]
    assert torch.equal(state["a.weight"], torch.arange(6.0).view(2, 3))


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("save", [save_torch, save_legacy])
@pytest.mark.parametrize("trusted", [False, True])
def test_pickled_code_is_never_run(
    tmp_path: Path, save: Callable[[Any, Path], None], trusted: bool
) -> None:
    path = tmp_path / "w.pth"
    save({"a": Trap(tmp_path / "sprung")}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if trusted else SHA256
    with pytest.raises(WeightsError, match="holds no plain weights" if trusted else "has sha256"):
        load_state(path, sha256)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("state", [[torch.zeros(2)], {"epoch": 3}, {1: torch.zeros(2)}])
def test_anything_but_named_tensors_is_refused(tmp_path: Path, state: Any) -> None:
    path = tmp_path / "w.pth"
    torch.save(state, path)
    with pytest.raises(WeightsError, match="expected tensors by name"):
        load_state(path, hashlib.sha256(path.read_bytes()).hexdigest())


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut off, or with some bits flipped, or with a byte near the start changed."""
    kind = rng.choice(["cut", "bits", "byte"])
    if kind == "cut":
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    if kind == "byte":
        changed[rng.randrange(min(400, len(changed)))] = rng.randrange(256)
    else:
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # what torch says of damaged pickles
@pytest.mark.parametrize(
    ("save", "suffix"),
    [(save_torch, "pth"), (save_legacy, "pth"), (safetensors.torch.save_file, "safetensors")],
)
def test_damage_of_any_kind_is_one_error_or_harmless(
    tmp_path: Path, save: Callable[[Any, Path], None], suffix: str
) -> None:
    path = tmp_path / f"w.{suffix}"
    save({"a": torch.randn(4, 3), "b": torch.arange(5), "c": torch.tensor(2.0).half()}, path)
    content = path.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        path.write_bytes(damaged(content, rng))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        try:
            state = load_state(path, sha256)
        except WeightsError:
            refused += 1
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert refused > 100


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02garbage", b"PK\x03\x04"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(WeightsError, match="holds no plain weights"):
        load_state(path, hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsError, match="cannot be read"):
        load_state(tmp_path / "absent.pth", SHA256)


def published(tmp_path: Path, sha256: str = SHA256) -> Published:
    return Published("w.pth", sha256, (tmp_path / "remote.pth").as_uri())


def test_the_first_digits_of_a_hash_find_a_file_and_the_whole_is_told(tmp_path: Path) -> None:
    hub = write(tmp_path / "torch/hub/checkpoints/w.pth")
    assert locate("x", published(tmp_path, SHA256[:8])) == (hub, SHA256)
    write(hub, b"other")
    with pytest.raises(WeightsError, match="BENCHGEN_OFFLINE is set"):
        locate("x", published(tmp_path, SHA256[:8]))


def test_own_weights_need_their_own_hash(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.pth", b"mine")
    found = hashlib.sha256(b"mine").hexdigest()
    assert locate("x", published(tmp_path), mine, found.upper()) == (mine, found)
    with pytest.raises(WeightsError, match="pass the file's own sha256 as weights_sha256"):
        locate("x", published(tmp_path), mine)
    with pytest.raises(WeightsError, match=r"absent\.pth is no file; expected"):
        locate("x", published(tmp_path), tmp_path / "absent.pth")
    with pytest.raises(UsageError, match="x: weights_sha256 needs weights"):
        locate("x", published(tmp_path), None, found)
    with pytest.raises(UsageError, match="expected 64 hex digits"):
        locate("x", published(tmp_path), mine, found[:8])


def test_a_state_has_a_digest_of_names_shapes_and_values() -> None:
    state = {"a": torch.zeros(2, 3), "b": torch.tensor(1), "c": torch.empty(0)}
    same = dict(reversed(state.items()))
    assert state_digest(state) == state_digest(same)
    others = [
        {**state, "a": torch.zeros(3, 2)},
        {**state, "a": torch.ones(2, 3)},
        {**state, "b": torch.tensor(1, dtype=torch.int32)},
        {"x": state["a"], "b": state["b"], "c": state["c"]},
    ]
    assert len({state_digest(other) for other in [state, *others]}) == 5
