"""Trainings: the same weights after a kill, no mixing of jobs, and faults named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import benchgen
from benchgen.errors import BenchgenError, PluginError, SuiteError, UnknownIdError, UsageError
from benchgen.host.loader import host
from benchgen.training.card import ModelCard, read_card
from benchgen.training.plan import make_plan
from benchgen.training.request import Request
from benchgen.training.validation import default_extractor
from benchgen.training.workspace import claimed
from tests.conftest import InstallPlugin
from tests.training.conftest import write_squares

pytestmark = pytest.mark.usefixtures("tiny")

FAST = {"extractor": "pixels", "device": "cpu"}


def trained(squares: Path, out: Path, **options: Any) -> ModelCard:
    return benchgen.train("tiny", squares, out, **(FAST | options))


def weights(path: Path) -> torch.Tensor:
    return load_file(path)["means"]


def test_a_training_leaves_weights_card_and_page(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "My Model.safetensors"
    card = trained(squares, out, seed=3)
    assert card == read_card(out)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "My Model.md",
        "My Model.safetensors",
    ]
    assert card.name == "my-model"
    assert (card.trainer, card.shape, card.classes) == ("acme/tiny", (1, 8, 8), ("0", "1", "2"))
    assert (card.data.training, card.data.validation, card.data.left_out) == (108, 12, 0)
    assert (card.epochs, card.seconds, card.seed) == (3, 0.75, 3)
    assert 1 <= card.kept_epoch <= 3
    assert card.fid is not None
    assert card.fid.value is not None
    assert card.fid.n == 12
    assert card.bits_per_dim is not None
    assert card.bits_per_dim.value == pytest.approx(8.0)
    assert card.command.startswith("benchgen train tiny --dataset ")
    assert card.precision == "float32"
    assert weights(out).dtype == torch.float16
    assert out.stat().st_mode & 0o044 == 0o044
    assert "acme/tiny" in out.with_suffix(".md").read_text()


def test_the_model_has_learned(squares: Path, tmp_path: Path) -> None:
    card = trained(squares, tmp_path / "a.safetensors", epochs=8)
    worse = trained(squares, tmp_path / "b.safetensors", epochs=1, params={"rate": 0.01})
    assert card.fid is not None
    assert worse.fid is not None
    assert card.fid.value is not None
    assert worse.fid.value is not None
    assert card.fid.value < worse.fid.value / 2
    means = weights(tmp_path / "a.safetensors")
    for label in range(3):
        assert means[label, 0, 2 * label : 2 * label + 3].mean() > 0.6


def test_everything_follows_from_the_seed(squares: Path, tmp_path: Path) -> None:
    options = {"augment": ["shift"]}
    one, two, other = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "other"))
    cards = [trained(squares, out, **options) for out in (one, two)]
    trained(squares, other, seed=1, **options)
    assert torch.equal(weights(one), weights(two))
    assert cards[0].fid == cards[1].fid
    assert not torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("epoch", [1, 3])
def test_after_a_kill_the_weights_are_the_same(
    tiny: Path, squares: Path, tmp_path: Path, epoch: int
) -> None:
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    expected = trained(squares, whole, epochs=4)
    code = (
        f"import benchgen; benchgen.train('tiny', {str(squares)!r}, {str(killed)!r}, "
        "epochs=4, extractor='pixels', device='cpu', threads=1)"
    )
    environment = os.environ | {"PYTHONPATH": str(tiny), "TINY_KILL_IN": str(epoch)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not killed.exists()
    folder = tmp_path / "killed.safetensors.training"
    assert (folder / "job.json").is_file()
    card = trained(squares, killed, epochs=4)
    assert torch.equal(weights(killed), weights(whole))
    assert (card.fid, card.epochs, card.kept_epoch) == (
        expected.fid,
        expected.epochs,
        expected.kept_epoch,
    )
    assert card.seconds == expected.seconds
    assert not folder.exists()


def test_a_finished_training_is_left_alone(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    card = trained(squares, out)
    before = out.stat().st_mtime_ns
    out.with_suffix(".md").unlink()
    assert trained(squares, out) == card
    assert out.stat().st_mtime_ns == before
    assert out.with_suffix(".md").is_file()


def test_data_in_another_order_are_the_same_job(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    trained(squares, out)
    arrays = np.load(squares)
    rows = np.random.default_rng(0).permutation(120)
    np.savez(tmp_path / "b.npz", images=arrays["images"][rows], labels=arrays["labels"][rows])
    before = out.stat().st_mtime_ns
    trained(tmp_path / "b.npz", out)
    assert out.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"params": {"rate": 0.5}}, r"parameters\.rate is 0\.2 there, 0\.5 here"),
        ({"epochs": 9}, "epochs is None there, 9 here"),
        ({"validation": 20}, "validation is 12 there, 20 here"),
        ({"augment": ["flip"]}, "augment"),
        ({"patience": 1}, "patience"),
        ({"precision": "bfloat16"}, "precision"),
        ({"unconditional": True}, "classes is 3 there, 0 here"),
        ({"extractor": "random-conv"}, r"extractor\.id"),
        ({"resolution": 4}, "shape"),
    ],
)
def test_another_jobs_weights_are_not_overwritten(
    changes: dict[str, Any], field: str, squares: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    trained(squares, out, epochs=None)
    before = out.read_bytes()
    with pytest.raises(UsageError, match=field) as caught:
        trained(squares, out, **changes)
    assert "name another --out" in str(caught.value)
    assert out.read_bytes() == before


def test_another_jobs_checkpoints_are_not_used(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(BenchgenError, match="epoch 2: loss is nan"):
        trained(squares, out, params={"fault": "nan loss"})
    with pytest.raises(UsageError, match=r"parameters\.fault is 'nan loss' there, None here"):
        trained(squares, out)
    assert not out.exists()


def test_two_processes_do_not_train_one_file(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    request = Request(trainer="tiny", dataset=str(squares), out=out, **FAST)  # type: ignore[arg-type]
    job = make_plan(request, lambda _: None).job
    with (
        claimed(out, job),
        pytest.raises(UsageError, match="another process is training in"),
    ):
        trained(squares, out)
    assert not (tmp_path / "a.safetensors.training").exists()
    assert trained(squares, out).epochs == 3


def test_what_lies_at_out_is_not_overwritten(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    out.write_text("my notes")
    with pytest.raises(UsageError, match=r"is there already: .* Name another file"):
        trained(squares, out)
    out.unlink()
    out.with_suffix(".md").write_text("my notes")
    with pytest.raises(UsageError, match=r"a\.md is there already, and the model card would"):
        trained(squares, out)
    assert out.with_suffix(".md").read_text() == "my notes"
    assert not out.exists()
    out.with_suffix(".md").unlink()
    mine = tmp_path / "a.safetensors.training" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("my notes")
    with pytest.raises(UsageError, match=r"mine\.txt is there already, and no training left it"):
        trained(squares, out)
    assert mine.read_text() == "my notes"


def test_fine_tuning_begins_from_weights(squares: Path, tmp_path: Path) -> None:
    base, tuned = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    first = trained(squares, base, epochs=8)
    more = write_squares(tmp_path / "more.npz", seed=1)
    card = trained(more, tuned, epochs=1, start=base, params={"rate": 0.0001})
    assert (weights(base) - weights(tuned)).abs().max() < 0.01
    assert card.begun_from == card.job["from"]
    assert first.training_data in card.training_data
    assert f"--from {base}" in card.command
    with pytest.raises(UsageError, match=r"of images of shape \(1, 8, 8\), and .* \(1, 4, 4\)"):
        trained(more, tmp_path / "x.safetensors", start=base, resolution=4)
    with pytest.raises(UsageError, match="this many classes: 3"):
        trained(more, tmp_path / "x.safetensors", start=base, unconditional=True)


def test_weights_of_another_trainer_are_refused(
    install_plugin: InstallPlugin, squares: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base.safetensors"
    trained(squares, base)
    install_plugin(
        "other",
        """
        from benchgen import TrainerSpec, hookimpl

        @hookimpl
        def benchgen_generators():
            return [TrainerSpec(name="huge", factory="m:f", opens="m:o")]
        """,
        where="elsewhere",
    )
    with pytest.raises(UsageError, match="was trained by acme/tiny; other/huge begins from"):
        benchgen.train("huge", squares, tmp_path / "x.safetensors", start=base)


def test_early_stopping(squares: Path, tmp_path: Path) -> None:
    card = trained(squares, tmp_path / "a.safetensors", epochs=60, patience=2)
    assert card.epochs == card.kept_epoch + 2
    assert card.epochs < 60


def test_without_labels(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    card = trained(squares, out, unconditional=True)
    assert card.classes == ()
    assert weights(out).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("nan loss", BenchgenError, r"trainer acme/tiny: epoch 2: loss is nan\. No weights were"),
        ("told nan", BenchgenError, "trainer acme/tiny: epoch 1: loss is nan"),
        ("nan images", PluginError, "epoch 1: generator acme/tiny: finite, first at index 0"),
        ("shape", UsageError, "trainer acme/tiny: images must be larger"),
        ("crash", PluginError, "trainer acme/tiny raised RuntimeError: out of luck"),
        ("settings", PluginError, "trainer acme/tiny: its settings do not fit .* epochs"),
        ("rubbish", PluginError, "trainer acme/tiny saved no safetensors file"),
        ("no metadata", PluginError, "trainer acme/tiny saved no .* has no model card"),
    ],
)
def test_faults_are_named_and_leave_no_weights(
    fault: str, kind: type[BenchgenError], message: str, squares: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(kind, match=message):
        trained(squares, out, params={"fault": fault})
    assert not out.exists()
    assert not out.with_suffix(".md").exists()


def test_a_training_without_an_epoch_leaves_nothing(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(UsageError):
        trained(squares, out, params={"fault": "shape"})
    assert trained(squares, out).epochs == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "a.bin"}, r"--out is a\.bin; expected a file whose name ends in \.safetensors"),
        ({"epochs": 0}, "--epochs is 0; expected 1 or more"),
        ({"patience": 0}, "--patience"),
        ({"validation": 1}, "--validation is 1; expected 2 or more"),
        ({"threads": 0}, "--threads"),
        ({"seed": -1}, "--seed"),
        ({"resolution": 0}, "--resolution"),
        ({"augment": ["mirror"]}, "--augment is 'mirror'; expected one of flip, shift"),
        ({"precision": "int8"}, "--precision is 'int8'; expected one of auto, float32"),
        ({"params": {"rat": 1}}, r"acme/tiny has no parameter 'rat'; did you mean 'rate'"),
        ({"params": {"rate": 0}}, "parameter 'rate' of acme/tiny"),
        ({"params": {"rate": float("inf")}}, "--param: Out of range float values"),
        ({"validation": 119}, "of 120 images 119 would be held out"),
        ({"extractor": "nothing"}, "no extractor is called 'nothing'"),
        ({"root": "data"}, "--root is for data sets that are downloaded"),
    ],
)
def test_requests_that_cannot_be(
    changes: dict[str, Any], message: str, squares: Path, tmp_path: Path
) -> None:
    out = changes.pop("out", tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=message):
        trained(squares, out, **changes)
    changes["out"] = out  # parametrized values are shared


def test_a_path_that_is_no_text(squares: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9.npz")
    with pytest.raises(UsageError, match="which is no UTF-8; rename the file"):
        trained(odd, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="which is no UTF-8; rename the file"):
        trained(squares, odd.with_suffix(".safetensors"))


def test_unknown_trainers_and_data(tmp_path: Path, squares: Path) -> None:
    with pytest.raises(UnknownIdError, match="no trainer is called 'tinny'; did you mean"):
        benchgen.train("tinny", squares, tmp_path / "a.safetensors")
    with pytest.raises(SuiteError, match=r"--dataset: there is nothing at \./none"):
        benchgen.train("tiny", "./none", tmp_path / "a.safetensors")


def test_the_command_is_complete() -> None:
    request = Request(
        trainer="tiny",
        dataset="a b",
        out=Path("x.safetensors"),
        params={"rate": 0.5, "fault": None, "word": "w"},
        augment=("flip",),
        start=Path("y.safetensors"),
        validation=7,
        unconditional=True,
    )
    assert request.command == (
        "benchgen train tiny --dataset 'a b' --out x.safetensors --param rate=0.5 --param "
        "fault=null --param word=w --augment flip --from y.safetensors --validation 7 --seed 0 "
        "--unconditional"
    )


def test_the_extractor_suits_the_images(install_plugin: InstallPlugin) -> None:
    digits = tuple(map(str, range(10)))
    assert default_extractor(host(), "benchgen/mnist", (1, 28, 28), digits) == "digits"
    for shape, classes in (((1, 28, 28), ("a",)), ((3, 28, 28), digits), ((1, 32, 32), digits)):
        assert default_extractor(host(), "x/", shape, classes) == "random-conv"
    assert default_extractor(host(), "more/shapes", (3, 32, 32), ()) == "random-conv"
    install_plugin(
        "more",
        """
        from benchgen import ExtractorSpec, hookimpl

        @hookimpl
        def benchgen_extractors():
            return [ExtractorSpec(name="shapes", factory="m:f")]
        """,
        where="elsewhere",
    )
    assert default_extractor(host(), "more/shapes", (3, 32, 32), ()) == "more/shapes"


def test_the_trainer_of_the_documentation(
    install_plugin: InstallPlugin, squares: Path, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    code = text.rpartition("```python\n")[2].partition("```")[0]
    hook = """
from benchgen import TrainerSpec, hookimpl


@hookimpl
def benchgen_generators():
    return [TrainerSpec(
        name="mean", factory=__name__ + ":MeanTrainer", opens=__name__ + ":MeanImage"
    )]
"""
    install_plugin("docs", code + hook, where="elsewhere")
    out = tmp_path / "a.safetensors"
    card = benchgen.train("mean", squares, out, **FAST)  # type: ignore[arg-type]
    assert (card.epochs, card.kept_epoch, card.name) == (1, 1, "a")


def test_a_log_line_cut_short_by_a_kill_is_passed_over(squares: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(BenchgenError):
        trained(squares, out, params={"fault": "nan loss"})
    log = tmp_path / "a.safetensors.training" / "epochs.jsonl"
    log.write_text(log.read_text() + '{"number": 2, "se')
    with pytest.raises(BenchgenError, match="epoch 2: loss is nan"):
        trained(squares, out, params={"fault": "nan loss"})
    told = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    assert [one["number"] for one in told] == [1]
