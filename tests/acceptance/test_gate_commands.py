"""`benchgen gate`, `baseline` and `compare`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Command
from tests.gate.conftest import MakeSuite, suite

__all__ = ["suite"]


@pytest.fixture
def files(suite: MakeSuite, benchgen_command: Command) -> dict[str, Path]:
    """Suite files: the generator as it is, broken, and with other seeds."""
    made = {
        "good": suite(n=200),
        "bad": suite("normalisation", n=200),
        "seeds": suite(n=200, seed=3),
    }
    for name, chosen in made.items():
        Path(f"{name}.toml").write_text(chosen.toml())
    return {name: Path(f"{name}.toml") for name in made}


def test_from_a_run_to_a_baseline_to_a_red_gate(
    benchgen_command: Command,
    files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert benchgen_command("gate", files["good"]).code == 4
    assert benchgen_command("baseline", "show").code == 4
    assert benchgen_command("run", files["good"], "--out", "run").code == 0
    accepted = benchgen_command(
        "baseline", "accept", "run", "--reason", "as <b>trained</b>", "--author", "Ada"
    )
    assert accepted.code == 0, accepted.err
    assert "strokes.json" in accepted.out
    shown = benchgen_command("baseline", "show", "strokes")
    assert "Ada: as <b>trained</b>" in shown.out
    assert "kid@digits" in shown.out

    green = benchgen_command("gate", files["good"])
    assert green.code == 0, green.out
    assert "Gate passed: 4 unchanged" in green.out

    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    red = benchgen_command("gate", files["bad"], "--out", "outcome")
    assert red.code == 1
    assert "strokes degraded on" in red.out
    assert (tmp_path / "summary.md").read_text().startswith("## Gate failed")
    assert {path.name for path in Path("outcome").iterdir()} == {
        "gate.json",
        "gate.md",
        "index.html",
        "junit.xml",
        "pairs-strokes.png",
        "suite.toml",
    }

    again = benchgen_command("baseline", "accept", "outcome", "--reason", "it is meant so")
    assert again.code == 0, again.err
    assert benchgen_command("gate", files["bad"]).code == 0
    assert benchgen_command("baseline", "diff", ".benchgen/baselines").out.strip() == (
        "no baseline differs"
    )


def test_a_baseline_needs_a_reason(benchgen_command: Command, files: dict[str, Path]) -> None:
    told = benchgen_command("baseline", "accept", files["good"])
    assert told.code == 2
    assert "--reason" in told.err


def test_size_tells_what_pairs_save(benchgen_command: Command, files: dict[str, Path]) -> None:
    benchgen_command("run", files["good"], "--out", "run")
    alone = benchgen_command("gate", "size", "run", "--margin", "10%")
    assert alone.code == 0, alone.err
    assert "taken as independent" in alone.out
    assert "fid@digits" in alone.out
    text = files["good"].read_text().replace('fault = "none"', 'fault = "slight"')
    Path("slight.toml").write_text(text)
    benchgen_command("run", "slight.toml", "--out", "slight")
    paired = benchgen_command("gate", "size", "run", "slight", "--margin", "10%")
    assert "compared image by image" in paired.out

    def needed(out: str) -> int:
        [line] = [line for line in out.splitlines() if "fid@digits" in line]
        return int(line.split()[-2].replace(",", ""))

    assert needed(paired.out) < needed(alone.out)


def test_compare_pairs_where_it_can_and_marks_where_not(
    benchgen_command: Command, files: dict[str, Path]
) -> None:
    for name in ("good", "bad", "seeds"):
        benchgen_command("run", files[name], "--out", name)
    worse = benchgen_command("compare", "good", "bad")
    assert worse.code == 0, worse.err
    assert "worse" in worse.out
    assert "not paired" not in worse.out
    assert "not paired" in benchgen_command("compare", "good", "seeds").out
    same = benchgen_command("compare", "good", "good").out
    assert same.count("same") == 3
    told = json.loads(benchgen_command("compare", "good", "bad", "seeds", "--json").out)
    assert list(told["differences"]) == ["bad", "seeds"]
    fid = next(one for one in told["differences"]["bad"] if one["metric"] == "fid")
    assert fid["change"] == pytest.approx(fid["is"] - fid["was"])
    assert fid["verdict"] == "worse"
    alone = benchgen_command("compare", "good")
    assert alone.code == 2
    assert "two runs or more" in alone.err
