"""`benchgen train`, and its weights file as a generator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchgen.cli import train as command
from tests.acceptance.conftest import Command
from tests.conftest import InstallPlugin
from tests.training.conftest import write_squares
from tests.training.tiny import TINY


@pytest.fixture(autouse=True)
def tiny(install_plugin: InstallPlugin) -> None:
    install_plugin("acme", TINY)


def test_train_then_run_and_sample(benchgen_command: Command, tmp_path: Path) -> None:
    out = tmp_path / "here" / "mine.safetensors"
    arguments = ("tiny", "--dataset", "digits", "--out", out, "--epochs", "2", "--device", "cpu")
    done = benchgen_command("train", *arguments, "--param", "rate=0.5", "--augment", "shift")
    assert done.code == 0, done.err
    assert "epoch 1/2  loss 1.000  FID" in done.err
    assert "2,250 images to learn from, 250 held out" in " ".join(done.err.split())
    assert "validation FID" in done.out
    assert "±" in done.out
    assert "digits features" in done.out
    again = benchgen_command("train", *arguments, "--param", "rate=0.5", "--augment", "shift")
    assert again.code == 0
    assert "is finished; nothing to do" in again.err

    fast = ("-n", "60", "-e", "pixels", "-m", "kid", "-m", "nll", "-o", tmp_path / "run")
    run = benchgen_command("run", "-g", "mine.safetensors", "-g", f"other={out}", *fast)
    assert run.code == 0, run.err
    result = json.loads((tmp_path / "run" / "results" / "mine.json").read_text())
    assert result["source"]["kind"] == "generator"
    assert result["source"]["id"] == "mine.safetensors"
    assert result["source"]["parameters"] == {"noise": 0.1}
    assert result["source"]["classes"] == [str(digit) for digit in range(10)]
    assert result["source"]["license"] == "MIT"
    assert "digits (held-out)" in result["source"]["training_data"]
    assert result["source"]["index_pure"]
    other = json.loads((tmp_path / "run" / "results" / "other.json").read_text())
    # One file under two names: the same images.
    assert other["source"]["fingerprint"] == result["source"]["fingerprint"]
    values = {record["metric"]: record["value"] for record in result["estimates"]}
    assert values["nll"] == pytest.approx(8.0)

    sampled = benchgen_command("sample", out, "-n", "3", "-o", tmp_path / "samples")
    assert sampled.code == 0, sampled.err
    assert Image.open(tmp_path / "samples" / "0000002.png").size == (28, 28)


def test_a_suite_sets_parameters_of_sampling(benchgen_command: Command, tmp_path: Path) -> None:
    out = _trained(benchgen_command, tmp_path)
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'reference = "{tmp_path / "squares.npz"}"\nextractors = ["pixels"]\nmetrics = ["kid"]\n'
        f'n = 20\ngenerators = [{{ source = "{out}", params = {{ noise = 0.5 }} }}]\n'
    )
    outcome = benchgen_command("run", suite, "-o", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    result = json.loads((tmp_path / "run" / "results" / "model.json").read_text())
    assert result["source"]["parameters"] == {"noise": 0.5}
    suite.write_text(suite.read_text().replace("noise = 0.5", "nois = 0.5"))
    outcome = benchgen_command("run", suite, "-o", tmp_path / "run2")
    assert outcome.code == 2
    assert "acme/model has no parameter 'nois'; did you mean 'noise'?" in outcome.err


def test_weights_that_are_no_generator(
    benchgen_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _trained(benchgen_command, tmp_path)
    run = ("run", "-r", tmp_path / "squares.npz", "-e", "pixels", "-m", "kid", "-n", "20", "-g")
    missing = benchgen_command(*run, "none.safetensors")
    assert missing.code == 2
    assert "generators.0: there is nothing at none.safetensors" in missing.err
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(out.read_bytes()[:-3])
    outcome = benchgen_command(*run, damaged)
    assert outcome.code == 3
    assert "damaged.safetensors is no whole safetensors file" in outcome.err
    table = benchgen_command("sample", damaged, "-o", tmp_path / "samples")
    assert table.code == 3
    monkeypatch.setenv("BENCHGEN_DISABLE_PLUGINS", "acme")
    from benchgen.host.loader import host

    host.cache_clear()
    unknown = benchgen_command(*run, out)
    assert unknown.code == 3
    assert "model.safetensors needs the trainer acme/tiny, which wrote it" in unknown.err


def test_an_interruption_says_how_to_go_on(
    benchgen_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_squares(tmp_path / "squares.npz")

    def interrupted(self: object, epoch: object) -> None:
        raise KeyboardInterrupt

    arguments = ("--dataset", tmp_path / "squares.npz", "-o", "x.safetensors", "-e", "pixels")
    with monkeypatch.context() as patched:
        patched.setattr(command._Lines, "epoch", interrupted)
        outcome = benchgen_command("train", "tiny", *arguments)
    assert outcome.code == 130
    assert "the same command goes on from the last finished epoch" in outcome.err
    outcome = benchgen_command("train", "tiny", *arguments)
    assert outcome.code == 0, outcome.err
    assert "going on with a training of 1 epoch(s)" in outcome.err


def test_trainers_are_listed(benchgen_command: Command) -> None:
    listed = benchgen_command("ls", "trainers")
    assert listed.code == 0
    assert "acme/tiny" in listed.out
    assert "rate=0.2" in listed.out


def test_parameters_are_key_value(benchgen_command: Command, tmp_path: Path) -> None:
    for text in ("rate", "=3"):
        outcome = benchgen_command(
            "train", "tiny", "--dataset", "digits", "-o", "x.safetensors", "--param", text
        )
        assert outcome.code == 2
        assert "expected key=value" in outcome.err


def _trained(benchgen_command: Command, tmp_path: Path) -> Path:
    squares = write_squares(tmp_path / "squares.npz")
    out = tmp_path / "model.safetensors"
    arguments = ("--dataset", squares, "--out", out, "-e", "pixels", "--device", "cpu")
    outcome = benchgen_command("train", "tiny", *arguments)
    assert outcome.code == 0, outcome.err
    return out
