"""Suites: TOML in and out, identity, and mistakes told with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchgen.errors import SuiteError, UnknownIdError
from benchgen.suite import Suite

GOOD = 'reference = "digits"\n'


def test_bundled_suites_round_trip() -> None:
    for name in Suite.bundled_names():
        suite = Suite.bundled(name)
        assert Suite.parse(suite.toml()) == suite
    with pytest.raises(UnknownIdError, match="did you mean digits"):
        Suite.bundled("digit")


def test_what_says_how_to_open_images_round_trips() -> None:
    text = 'source = "photos.zip"\ntable = "labels.csv"\nbackground = [0, 128, 255]\n'
    suite = Suite.parse(f"[reference]\n{text}[[generators]]\n{text}")
    assert suite.reference.background == (0, 128, 255)
    assert suite.generators[0].table == "labels.csv"
    assert Suite.parse(suite.toml()) == suite
    assert Suite.parse(GOOD).reference.background == "white"


def test_identity_leaves_out_n_and_execution() -> None:
    suite = Suite.parse(GOOD)
    assert suite.hash == suite.replace(n=77).hash
    assert suite.hash == suite.replace(execution={"batch_size": 3}, skip_bad=0.1).hash
    assert suite.hash != suite.replace(seed=1).hash


MISTAKES = {
    "n = 1\n" + GOOD: r"line 1: n: .*greater than or equal to 2 \(found 1\)",
    GOOD + "seedd = 3\n": r"line 2: seedd: there is no such field; did you mean 'seed'\?",
    "seed = 3\n": r"reference: Field required",
    GOOD + '\n[[generators]]\nsource = "a"\n\n[[generators]]\nsorce = "b"\n': (
        r"line 7: generators\.1\.sorce: there is no such field; did you mean 'source'"
    ),
    GOOD + 'metrics = [\n  "fid",\n  {id = "kid", parms = {}},\n]\n': (
        r"line 4: metrics\.1\.parms: .*did you mean 'params'"
    ),
    GOOD + 'n = "many"\n': r"line 2: n: .*valid integer.*found 'many'",
    '[reference]\nsource = "a"\nbackground = "pink"\n': (
        r"line 3: reference\.background: expected 'white', .*as \[255, 128, 0\] \(found 'pink'\)"
    ),
    '[reference]\nsource = "a"\nbackground = [0, 0, 256]\n': r"line 3: reference\.background",
    GOOD + 'clusters = "promt"\n': r"line 2: clusters: .*'prompt'.*found 'promt'",
    "reference = [\n": r"not valid TOML: .*line|end of document",
    GOOD + "[execution]\nbatch_size = 0\n": r"line 3: execution\.batch_size",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_names_file_line_and_field(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SuiteError, match=MISTAKES[text]) as caught:
        Suite.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot read the suite"):
        Suite.load(tmp_path / "none.toml")
    (tmp_path / "bin.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="cannot read the suite"):
        Suite.load(tmp_path / "bin.toml")
