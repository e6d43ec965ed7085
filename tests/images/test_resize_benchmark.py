"""The benchmark of the resize rules at a tiny size: every tool runs, and agrees."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "resize.py"


def test_whole_script(tmp_path: Path) -> None:
    out = tmp_path / "there" / "resize.md"
    command = [sys.executable, str(SCRIPT), "--sides", "16,40", "--size", "24", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_text() == done.stdout.rstrip("\n") + "\n"
    for rule in ("tf1", "pytorch-fid", "clean", "torchvision-antialias", "pillow-bicubic"):
        assert done.stdout.count(f"| {rule} |") == 2
