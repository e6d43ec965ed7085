"""Model cards: written, read back without torch, and hostile files refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from benchgen.errors import PluginError, WeightsError
from benchgen.host.loader import host
from benchgen.host.specs import TrainerSpec
from benchgen.training.card import (
    KEY,
    DataRecord,
    ModelCard,
    ScoreRecord,
    generator_spec,
    read_card,
)
from benchgen.training.card_page import HEADING, page
from benchgen.training.header import MOST_BYTES
from benchgen.training.weights import is_weights, open_weights

CARD = ModelCard(
    name="squares",
    trainer="acme/tiny",
    trainer_version="1",
    description="mean images",
    shape=(1, 8, 6),
    classes=("a", "b"),
    likelihood=True,
    license="MIT",
    training_data="squares.npz: 100 images",
    data=DataRecord(
        source="squares.npz", name="squares", fingerprint="0", training=100, validation=20,
        left_out=3,
    ),
    seed=5,
    settings={"epochs": 3, "rate": 0.5, "flag": True, "word": "x"},
    epochs=3,
    kept_epoch=2,
    seconds=12.5,
    device="cpu",
    precision="float32",
    threads=1,
    fid=ScoreRecord(
        value=1.234, stderr=0.056, interval=(1.1, 1.35), level=0.95, n=20, extractor="digits"
    ),
    bits_per_dim=ScoreRecord(value=8.0, stderr=0.0, interval=None, level=0.95, n=20),
    command="benchgen train tiny --dataset squares.npz --out squares.safetensors",
    job={"seed": 5},
)  # fmt: skip
TRAINER = TrainerSpec(
    name="tiny",
    factory="m:f",
    opens="m:open",
    version="7",
    sampling={"noise": {"type": "number", "default": 0.1}},
)

Write = Callable[[dict[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(metadata: dict[str, str]) -> Path:
        path = tmp_path / "model.safetensors"
        path.write_bytes(save({"w": torch.ones(3)}, metadata=metadata))
        return path

    return write


def test_a_card_comes_back_as_it_was(write: Write) -> None:
    path = write({KEY: CARD.model_dump_json(), "format": "pt"})
    assert read_card(path) == CARD
    assert [type(value) for value in read_card(path).settings.values()] == [int, float, bool, str]


def test_a_card_describes_a_generator(write: Write) -> None:
    path = write({KEY: CARD.model_dump_json()})
    spec = generator_spec(path, read_card(path), TRAINER)
    assert spec.name == "squares"
    assert spec.factory == "m:open"
    assert spec.version == "7"
    assert (spec.channels, spec.resolution) == (1, (8, 6))
    assert (spec.conditioning, spec.classes) == ("class", ("a", "b"))
    assert spec.likelihood
    assert spec.defaults() == {"noise": 0.1}
    assert spec.fixed == {"weights": str(path)}
    assert spec.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (spec.license, spec.training_data) == ("MIT", "squares.npz: 100 images")
    unlabelled = CARD.model_copy(update={"classes": ()})
    spec = generator_spec(path, unlabelled, TRAINER, name="other")
    assert (spec.name, spec.conditioning) == ("other", "none")


def test_reading_a_card_loads_no_torch(write: Write) -> None:
    path = write({KEY: CARD.model_dump_json()})
    code = (
        "import sys; from benchgen.training.card import read_card, generator_spec; "
        "from benchgen.host.specs import TrainerSpec; "
        f"card = read_card({str(path)!r}); "
        f"generator_spec({str(path)!r}, card, TrainerSpec(name='t', factory='m:f', opens='m:o')); "
        "print([m for m in ('torch', 'numpy', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def _file(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + body


def _with_card(card: str) -> bytes:
    return _file(json.dumps({"__metadata__": {KEY: card}}).encode())


def _changed(**fields: Any) -> bytes:
    return _with_card(json.dumps(CARD.model_dump(mode="json") | fields))


TENSOR = b'{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header would be 0 bytes long, of a file of 0"),
        (b"\x01\x02", "no whole safetensors file"),
        (_file(b"{}", length=2**60), "its header would be 1,152,921,504,606,846,976 bytes long"),
        (_file(b" " * (MOST_BYTES + 1)), r"at most 16,777,216 are read"),
        (_file(b"{}", length=3), "its header would be 3 bytes long, of a file of 10"),
        (_file(b"<html>"), "its header is not JSON"),
        (_file(b"\xff\xfe\xff"), "its header is not JSON"),
        (_file(b"[" * 100_000), "its header is not JSON"),
        (_file(b"[1]"), "its header is no JSON object"),
        (_file(b'{"__metadata__": {"benchgen": 1}}'), "metadata are no table of texts"),
        (_file(b'{"__metadata__": []}'), "metadata are no table of texts"),
        (_file(TENSOR, b"12345678901"), "its tensors take 12 bytes, and 11 are there"),
        (_file(b'{"w": 3}'), "does not say where its tensors are"),
        (_file(b'{"w": {"data_offsets": [0, NaN]}}'), "it holds NaN, which is no number"),
        (_file(TENSOR, b"123456789012"), "has no model card; expected a file that"),
        (_with_card("no card"), "its model card is not JSON"),
        (_with_card("[]"), "its model card is no JSON object"),
        (_with_card("{}"), "model card that is none: name: Field required"),
        (_with_card('{"seconds": NaN}'), "it holds NaN"),
        (_with_card('{"seconds": Infinity}'), "it holds Infinity"),
        (_changed(schema_version=2), "schema version 2; this benchgen reads 1. Upgrade"),
        (_changed(schema_version="x"), "schema_version: Input should be 1"),
        (_changed(name="<script>"), "name: String should match"),
        (_changed(name="../../etc"), "name: String should match"),
        (_changed(trainer="os:system"), "trainer: String should match"),
        (_changed(shape=[2, 8, 8]), r"shape\.0: Input should be 1 or 3"),
        (_changed(shape=[1, 10**9, 8]), r"shape\.1: Input should be less"),
        (_changed(surprise=1), "surprise: Extra inputs"),
        (_changed(settings={"rate": [1]}), "settings.rate"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused_by_name(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_card(path)
    assert str(path) in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_card(tmp_path / "none.safetensors")
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path, tmp_path / "pipe.safetensors"):
        with pytest.raises(WeightsError, match="is no file"):
            read_card(path)


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.safetensors"
    with path.open("wb") as file:
        file.write((2**33).to_bytes(8, "little"))
        file.truncate(2**34)  # takes no space on the disk
    with pytest.raises(WeightsError, match="8,589,934,592 bytes long"):
        read_card(path)


def test_an_unknown_trainer_is_named(write: Write) -> None:
    path = write({KEY: CARD.model_dump_json()})
    with pytest.raises(PluginError, match=r"model\.safetensors needs the trainer acme/tiny"):
        open_weights(host(), str(path))


def test_what_is_a_weights_file() -> None:
    assert is_weights("a/B.SafeTensors")
    assert not is_weights("safetensors")


def test_the_page_says_it_all() -> None:
    text = page(CARD)
    assert text.startswith(f"{HEADING}squares\n")
    for told in (
        "class-conditional generator of gray images of 2 classes, 8 × 6 pixels",
        "1.234 ± 0.056, 95% interval \\[1.100, 1.350\\] (N = 20, digits features)",
        "8.000 (N = 20)",
        "chose the epoch (2 of 3)",
        "| Left out | 3 |",
        "| Licence of code and weights | MIT |",
        "| Licence of the data | not known |",
        "| Seed | 5 |",
        "| rate | 0.5 |",
        "| Time | 12.5 s |",
        "$ benchgen train tiny --dataset squares.npz --out squares.safetensors",
    ):
        assert told in text, told


def test_the_page_escapes_what_others_wrote() -> None:
    evil = "<script>alert(1)</script> | `x` [a](javascript:b)\n# Title"
    record = CARD.data.model_copy(update={"source": evil, "license": evil})
    changes = {"classes": (evil,), "training_data": evil, "command": "```\n<b>", "data": record}
    changes |= {"settings": {evil: evil}, "environment": {evil: evil}, "device": evil}
    text = page(CARD.model_copy(update=changes))
    body, _, command = text.partition("## Made by")
    assert "<script>" not in body
    assert "\n# Title" not in body
    assert "[a](" not in body
    assert command.strip().startswith("````console\n$ ``` <b>\n````")
    assert all(line.count(" | ") == 1 for line in body.splitlines() if line.startswith("| L"))


def test_undefined_scores_have_their_reason_on_the_page() -> None:
    few = ScoreRecord(
        value=3.5, stderr=None, interval=None, level=0.95, n=9, extractor="pixels",
        reason="too few images", notes=("biased",),
    )  # fmt: skip
    text = page(CARD.model_copy(update={"fid": few}))
    assert "- Validation FID: 3.500 (N = 9, pixels features); too few images" in text
    assert "- biased" in text
