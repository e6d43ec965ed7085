"""Bad input: one clear message, the right exit code, nothing finished is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.conftest import Command, write_digits
from tests.conftest import InstallPlugin

FAST = ("-e", "pixels", "-m", "kid")


def test_a_missing_folder(benchgen_command: Command, tmp_path: Path) -> None:
    outcome = benchgen_command("run", "-r", tmp_path / "none", *FAST)
    assert outcome.code == 2
    assert f"reference: there is nothing at {tmp_path / 'none'}" in outcome.err
    outcome = benchgen_command("run", "-r", "digits", "-g", "./none", *FAST)
    assert outcome.code == 2
    assert "generators.0: there is nothing at ./none" in outcome.err


def test_a_folder_without_images(benchgen_command: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "readme.txt").write_text("no image")
    outcome = benchgen_command("run", "-r", "digits", "-g", tmp_path / "texts", *FAST)
    assert outcome.code == 3
    assert str(tmp_path / "texts") in outcome.err
    assert ".png" in outcome.err


def test_unreadable_images_are_named_counted_and_may_be_allowed(
    benchgen_command: Command, tmp_path: Path
) -> None:
    mine = write_digits(tmp_path / "mine", 40)
    (mine / "0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    (mine / "1" / "empty.png").write_bytes(b"")
    command = ("run", "-r", "digits", "-g", mine, *FAST, "-o", tmp_path / "run", "-n", "42")
    outcome = benchgen_command(*command)
    assert outcome.code == 3
    assert "2 of 42 images cannot be used, none may be" in outcome.err
    assert "broken.png" in outcome.err
    assert "the file has zero bytes" in outcome.err
    real = json.loads((tmp_path / "run" / "results" / "real.json").read_text())
    assert real["error"] is None
    assert benchgen_command(*command, "--skip-bad", "0.01").code == 3
    allowed = benchgen_command(*command, "--skip-bad", "0.05")
    assert allowed.code == 0
    mine_result = json.loads((tmp_path / "run" / "results" / "mine.json").read_text())
    assert mine_result["n"] == 40
    assert {e["name"] for e in mine_result["excluded"]} == {"0/broken.png", "1/empty.png"}


def test_images_of_different_sizes(benchgen_command: Command, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for number in range(30):
        colour = (number * 8, 255 - number * 8, number * 5)
        Image.new("RGB", (20 + number % 7, 31), colour).save(mine / f"{number}.png")
    outcome = benchgen_command("run", "-r", "digits", "-g", mine, *FAST, "-o", tmp_path / "run")
    assert outcome.code == 0
    result = json.loads((tmp_path / "run" / "results" / "mine.json").read_text())
    (fingerprint,) = result["fingerprints"].values()
    assert fingerprint["extractor"]["resize"] == "bilinear-antialiased"


def test_transparency_is_composited_and_counted(benchgen_command: Command, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for number in range(20):
        Image.new("RGBA", (28, 28), (9 * number, 0, 0, 100)).save(mine / f"{number}.png")
    outcome = benchgen_command("run", "-r", "digits", "-g", mine, *FAST, "-o", tmp_path / "run")
    assert outcome.code == 0
    result = json.loads((tmp_path / "run" / "results" / "mine.json").read_text())
    assert result["warnings"] == [
        "mine: 20 of 20 images are partly transparent and were composited on the background"
    ]


def test_fewer_images_than_asked(benchgen_command: Command, tmp_path: Path) -> None:
    mine = write_digits(tmp_path / "mine", 20)
    outcome = benchgen_command("run", "-r", "digits", "-g", mine, "-n", "50", *FAST)
    assert outcome.code == 3
    assert "has 20 images; n is 50. Say -n 20 or less" in outcome.err


def test_fewer_images_than_a_metric_needs(benchgen_command: Command, tmp_path: Path) -> None:
    mine = write_digits(tmp_path / "mine", 3)
    outcome = benchgen_command(
        "run", "-r", "digits", "-g", mine, "-e", "pixels", "-m", "precision", "-o", tmp_path / "run"
    )
    assert outcome.code == 3
    assert "mine failed: " in outcome.err
    assert "k" in outcome.err


def test_unknown_ids_offer_the_nearest(benchgen_command: Command) -> None:
    for arguments, message in {
        ("-m", "precison"): "no metric is called 'precison'; did you mean precision",
        ("-e", "digit"): "no extractor is called 'digit'; did you mean digits",
        ("-g", "mnist-vaee"): "no generator is called 'mnist-vaee'; did you mean mnist-vae",
        ("-g", "vaee"): "no generator is called 'vaee'; did you mean mnist-vae",
        ("-r", "digitss"): "no reference is called 'digitss'; did you mean digits",
    }.items():
        outcome = benchgen_command("run", *arguments)
        assert outcome.code == 2
        assert message in outcome.err


def test_a_toml_mistake(benchgen_command: Command, tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text('reference = "digits"\nmetric = ["fid"]\n')
    outcome = benchgen_command("run", suite)
    assert outcome.code == 2
    assert (
        f"{suite}, line 2: metric: there is no such field; did you mean 'metrics'?" in outcome.err
    )


def test_inception_offline_says_where_to_put_the_file(benchgen_command: Command) -> None:
    outcome = benchgen_command("run", "-e", "inception")
    assert outcome.code == 3
    assert "weights-inception-2015-12-05-6726825d.pth" in outcome.err
    assert "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2" in outcome.err
    assert "BENCHGEN_OFFLINE" in outcome.err


def test_a_generator_that_returns_nan(
    benchgen_command: Command, install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    install_plugin(
        "acme",
        """
        import torch
        from benchgen import GeneratorSpec, hookimpl

        class Broken:
            def sample(self, batch):
                images = batch.uniform(1, 28, 28)
                images[batch.indices == 33] = float("nan")
                return images

        @hookimpl
        def benchgen_generators():
            return [GeneratorSpec(name="broken", factory=__name__ + ":Broken")]
        """,
    )
    outcome = benchgen_command("run", "-g", "broken", "-n", "50", *FAST, "-o", tmp_path / "run")
    assert outcome.code == 3
    assert "generator acme/broken: finite, first at index 33" in outcome.err
    result = json.loads((tmp_path / "run" / "results" / "broken.json").read_text())
    assert "index 33" in result["error"]
    assert result["estimates"] == []
    assert "broken" in outcome.out


def test_a_full_disk(
    benchgen_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    command = ("run", "-g", "noise", "-g", "other=noise", "-n", "50", *FAST, "-o", tmp_path / "run")
    real = os.fsync
    left = [100]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    command = tuple("static=noise" if part == "noise" else part for part in command)
    outcome = benchgen_command(*command)
    assert outcome.code == 3
    assert "No space left on device; make room" in outcome.err
    assert not list(tmp_path.glob("run/**/.*.tmp"))
    left[0] = 10**6
    assert benchgen_command(*command).code == 0


def test_a_directory_of_something_else(benchgen_command: Command, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    outcome = benchgen_command("run", *FAST, "-o", tmp_path)
    assert outcome.code == 2
    assert "is not empty and holds no run" in outcome.err


def test_report_of_what_is_no_run(benchgen_command: Command, tmp_path: Path) -> None:
    outcome = benchgen_command("report", tmp_path)
    assert outcome.code == 2
    assert "is not a run directory: it has no run.json" in outcome.err


def test_runs_against_other_references_are_not_compared(
    benchgen_command: Command, tmp_path: Path
) -> None:
    for name, start in (("a", 0), ("b", 300)):
        folder = write_digits(tmp_path / name, 60, start)
        outcome = benchgen_command("run", "-r", folder, *FAST, "-o", tmp_path / f"run-{name}")
        assert outcome.code == 0
    outcome = benchgen_command("report", tmp_path / "run-a", tmp_path / "run-b")
    assert outcome.code == 4
    assert "cannot be compared: reference is" in outcome.err
