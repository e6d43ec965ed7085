"""Commands as a user types them, and folders of small images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from benchgen.cli.main import main
from benchgen.images.embedded import load_digits


@dataclass(frozen=True)
class Outcome:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def benchgen_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Run ``benchgen ARGUMENTS`` in this process, in an empty working directory."""
    working = tmp_path / "here"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["benchgen", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


def write_digits(folder: Path, count: int, start: int = 0) -> Path:
    """Real digits as PNG files in class folders."""
    source = load_digits("reference")
    for batch in source.read(range(start, start + count), count):
        assert batch.labels is not None
        for index, image, label in zip(
            batch.indices.tolist(), batch.images, batch.labels.tolist(), strict=True
        ):
            path = folder / str(label) / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return folder
